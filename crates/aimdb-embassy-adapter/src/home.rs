//! A spawner, and where it may be used.
//!
//! The engine's handles are `Send`, so the adapter must be; an Embassy `Spawner` is not, because what it spawns need not be.
//! The adapter therefore remembers where it was made, and hands the spawner out there only.

use embassy_executor::Spawner;

#[derive(Clone, Copy)]
pub(crate) struct Home {
    spawner: Spawner,
    place: Place,
}

// SAFETY: the spawner is `!Send` for one reason: through it a future that is `!Send` would get to the executor's thread from
// another one. `spawner` gives it out only where `of` got it, and `of` cannot be given a spawner of anywhere else, since
// `Spawner` is `!Send`. Nothing else of it is reachable. (Cores of one chip are not told apart: see the crate's documentation.)
#[expect(unsafe_code, reason = "argued above")]
unsafe impl Send for Home {}

// SAFETY: as above; a `Spawner` is `Copy` and has no interior mutability of its own.
#[expect(unsafe_code, reason = "argued above")]
unsafe impl Sync for Home {}

impl Home {
    pub(crate) fn of(spawner: Spawner) -> Self {
        Self { spawner, place: Place::here() }
    }

    /// The spawner, if this is where it belongs.
    pub(crate) fn spawner(self) -> Option<Spawner> {
        (self.place == Place::here()).then_some(self.spawner)
    }
}

/// What an executor never leaves.
#[cfg(feature = "std")]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place(std::thread::ThreadId);

#[cfg(feature = "std")]
impl Place {
    fn here() -> Self {
        Self(std::thread::current().id())
    }
}

/// The exception that is being handled, 0 for none: an interrupt executor runs in its own.
#[cfg(all(feature = "cortex-m", not(feature = "std")))]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place(u32);

#[cfg(all(feature = "cortex-m", not(feature = "std")))]
impl Place {
    fn here() -> Self {
        let exception: u32;
        // SAFETY: reads a register that every Cortex-M has; changes nothing.
        #[expect(unsafe_code, reason = "argued above")]
        unsafe {
            core::arch::asm!("mrs {}, IPSR", out(reg) exception, options(nomem, nostack, preserves_flags));
        }
        Self(exception)
    }
}

#[cfg(not(any(feature = "std", feature = "cortex-m")))]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place;

#[cfg(not(any(feature = "std", feature = "cortex-m")))]
impl Place {
    fn here() -> Self {
        Self
    }
}
