//! Spawners that cross threads, each with its reason why a stage that is not `Send` stays on its executor.
//!
//! The engine's handles are `Send`, so an adapter must be `Send`; an Embassy `Spawner` is not, because the task it spawns need
//! not be. An [`EmbassyAdapter`](crate::EmbassyAdapter) therefore holds one of the three types of this module in its place.

use aimdb_core::runtime::SpawnError;
use aimdb_core::{Runtime, stages::Stage};
use core::future::Future;
use embassy_executor::{SendSpawner, Spawner};

use crate::task;

#[cfg(any(feature = "std", feature = "cortex-m-single-core"))]
mod place;

/// The home of an adapter that [`EmbassyAdapter::new`](crate::EmbassyAdapter::new) makes: [`Here`] with one of the features
/// `std` and `cortex-m-single-core`, [`Anywhere`] without.
#[cfg(any(feature = "std", feature = "cortex-m-single-core"))]
pub type Usual = Here;

/// The home of an adapter that [`EmbassyAdapter::new`](crate::EmbassyAdapter::new) makes: `Here` with one of the features
/// `std` and `cortex-m-single-core`, [`Anywhere`] without.
#[cfg(not(any(feature = "std", feature = "cortex-m-single-core")))]
pub type Usual = Anywhere;

/// Where an adapter may spawn, and which stages. The trait is sealed.
pub trait Home: Copy + Send + Sync + sealed::Sealed + 'static {}

/// Which stages a home can spawn. The trait is sealed by [`Home`].
pub trait Spawns<F: Future<Output = ()>>: Home {
    #[doc(hidden)]
    fn spawn<R: Runtime>(self, stage: Stage<R, F>) -> Result<(), SpawnError>;
}

mod sealed {
    pub trait Sealed {}
}

/// Spawns any stage where the adapter was made, and refuses to spawn elsewhere.
///
/// With the feature `std` a place is a thread. With `cortex-m-single-core` a place is an exception, or the mode without
/// one: each interrupt executor runs in its own.
#[cfg(any(feature = "std", feature = "cortex-m-single-core"))]
#[derive(Clone, Copy)]
pub struct Here {
    spawner: Spawner,
    place: place::Place,
}

#[cfg(any(feature = "std", feature = "cortex-m-single-core"))]
mod here {
    use super::*;

    // SAFETY: a `Spawner` is `!Send` for one reason: with it a future that is `!Send` would get to the executor's place from
    // another one. `spawn` uses it only where `of` got it, and `of` cannot be given a spawner of another place, since `Spawner`
    // is `!Send`. Nothing else of the spawner can be reached. Two places that run at the same time, or interrupt each other,
    // compare unequal: see `place`.
    #[expect(unsafe_code, reason = "argued above")]
    unsafe impl Send for Here {}

    // SAFETY: as above; a `Spawner` is `Copy` and has no interior mutability of its own.
    #[expect(unsafe_code, reason = "argued above")]
    unsafe impl Sync for Here {}

    impl Here {
        pub(crate) fn of(spawner: Spawner) -> Self {
            Self { spawner, place: place::Place::here() }
        }
    }

    impl Home for Here {}
    impl sealed::Sealed for Here {}

    impl<F: Future<Output = ()> + 'static> Spawns<F> for Here {
        fn spawn<R: Runtime>(self, stage: Stage<R, F>) -> Result<(), SpawnError> {
            if self.place != place::Place::here() {
                return Err(NOT_HERE);
            }
            self.spawner.spawn(task::of(stage)?);
            Ok(())
        }
    }

    const NOT_HERE: SpawnError = SpawnError::new(
        "this is not where the spawner's executor runs, and a stage may hold what must not leave it",
        "build the database in a task of that executor",
    );
}

/// Spawns stages that are `Send`, from any thread, interrupt or core.
#[derive(Clone, Copy)]
pub struct Anywhere(SendSpawner);

impl Anywhere {
    pub(crate) fn of(spawner: Spawner) -> Self {
        Self(spawner.make_send())
    }
}

impl Home for Anywhere {}
impl sealed::Sealed for Anywhere {}

impl<F: Future<Output = ()> + Send + 'static> Spawns<F> for Anywhere {
    fn spawn<R: Runtime>(self, stage: Stage<R, F>) -> Result<(), SpawnError> {
        self.0.spawn(task::of(stage)?);
        Ok(())
    }
}

/// Spawns any stage and checks nothing: the program has promised where it builds databases.
#[derive(Clone, Copy)]
pub struct Promised(Spawner);

// SAFETY: the caller of `of` has promised that the adapter spawns only where its spawner may be used.
#[expect(unsafe_code, reason = "argued above")]
unsafe impl Send for Promised {}

// SAFETY: as above; a `Spawner` is `Copy` and has no interior mutability of its own.
#[expect(unsafe_code, reason = "argued above")]
unsafe impl Sync for Promised {}

impl Promised {
    /// # Safety
    ///
    /// `spawn` is called only where `spawner` itself could be used: on its executor's thread, core and interrupt.
    #[expect(unsafe_code, reason = "the caller promises what cannot be checked")]
    pub(crate) unsafe fn of(spawner: Spawner) -> Self {
        Self(spawner)
    }
}

impl Home for Promised {}
impl sealed::Sealed for Promised {}

impl<F: Future<Output = ()> + 'static> Spawns<F> for Promised {
    fn spawn<R: Runtime>(self, stage: Stage<R, F>) -> Result<(), SpawnError> {
        self.0.spawn(task::of(stage)?);
        Ok(())
    }
}
