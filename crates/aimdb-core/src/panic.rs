//! Panics of user code. The engine catches them around a stage, a codec and a dead-letter hook.
//!
//! Without `std` a panic ends the program (or resets the board), so `catch` only calls its closure.

use alloc::string::String;

/// Runs `work` and returns its output, or the message of its panic.
#[cfg(feature = "std")]
pub(crate) fn catch<O>(work: impl FnOnce() -> O) -> Result<O, String> {
    // Asserting unwind safety is correct: each caller either drops the data that `work` borrows right after a panic (a
    // stage's future), or lends plain data that user code cannot leave half-changed (a link's payload buffer).
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or(payload.downcast_ref::<String>().map(String::as_str));
        let message =
            alloc::format!("panicked: {}", text.unwrap_or("with a payload that is not text"));
        drop_caught(payload);
        message
    })
}

/// Drops a panic's payload, whose drop is user code too. The payload of a panic in that drop is leaked: it could panic again.
#[cfg(feature = "std")]
fn drop_caught(payload: alloc::boxed::Box<dyn core::any::Any + Send>) {
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(payload)));
    dropped.unwrap_or_else(core::mem::forget);
}

#[cfg(not(feature = "std"))]
pub(crate) fn catch<O>(work: impl FnOnce() -> O) -> Result<O, String> {
    Ok(work())
}

/// A caught panic, which its holder resumes later.
#[cfg(feature = "std")]
pub(crate) struct Caught(alloc::boxed::Box<dyn core::any::Any + Send>);

#[cfg(feature = "std")]
impl Caught {
    /// Runs `work` and catches its panic. The caller must be able to continue with the state that `work` left.
    pub(crate) fn by(work: impl FnOnce()) -> Result<(), Self> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(Self)
    }

    /// Resumes the panic. It has no effect while the thread unwinds another panic, because two would abort the process.
    pub(crate) fn resume(self) {
        if !std::thread::panicking() {
            std::panic::resume_unwind(self.0);
        }
    }
}

/// Whether the calling thread unwinds a panic.
#[cfg(feature = "std")]
#[inline]
pub(crate) fn is_unwinding() -> bool {
    std::thread::panicking()
}

/// Without `std` a panic does not unwind.
#[cfg(not(feature = "std"))]
pub(crate) const fn is_unwinding() -> bool {
    false
}

/// Without `std` a panic is never caught.
#[cfg(not(feature = "std"))]
pub(crate) enum Caught {}

#[cfg(not(feature = "std"))]
impl Caught {
    pub(crate) fn by(work: impl FnOnce()) -> Result<(), Self> {
        work();
        Ok(())
    }

    pub(crate) fn resume(self) {}
}
