//! Spawners that the adapter can share between threads, with the reason why each is sound.
//!
//! The engine's handles are `Send`, so an adapter must be `Send`. An Embassy [`Spawner`] is not `Send`, because the tasks it
//! spawns need not be. An [`EmbassyAdapter`](crate::EmbassyAdapter) therefore holds one of the three types of this module
//! instead:
//!
//! | type | spawns | where |
//! |---|---|---|
//! | `CheckedSpawner` | any stage | in the execution context of its executor; elsewhere it returns an error |
//! | [`SendOnlySpawner`] | stages that are `Send` | anywhere |
//! | [`UncheckedSpawner`] | any stage | where the caller has promised to spawn |

use core::future::Future;

use aimdb_core::Runtime;
use aimdb_core::runtime::SpawnError;
use aimdb_core::stages::{Stage, StageResult};
use embassy_executor::{SendSpawner, Spawner};

use crate::task;

#[cfg(any(feature = "std", feature = "cortex-m-single-core"))]
mod execution_context;

/// The spawner of an adapter made by [`EmbassyAdapter::new`](crate::EmbassyAdapter::new): [`CheckedSpawner`] with one of the
/// features `std` and `cortex-m-single-core`, [`SendOnlySpawner`] without.
#[cfg(any(feature = "std", feature = "cortex-m-single-core"))]
pub type DefaultSpawner = CheckedSpawner;

/// The spawner of an adapter made by [`EmbassyAdapter::new`](crate::EmbassyAdapter::new): `CheckedSpawner` with one of the
/// features `std` and `cortex-m-single-core`, [`SendOnlySpawner`] without.
#[cfg(not(any(feature = "std", feature = "cortex-m-single-core")))]
pub type DefaultSpawner = SendOnlySpawner;

/// A spawner that an [`EmbassyAdapter`](crate::EmbassyAdapter) can hold. This trait is sealed.
pub trait StageSpawner: Copy + Send + Sync + sealed::Sealed + 'static {}

mod sealed {
    pub trait Sealed {}
}

/// Spawns any stage in the execution context in which it was created, and returns an error in every other one.
///
/// With the feature `std` an execution context is a thread. With `cortex-m-single-core` it is an exception, or thread mode:
/// each interrupt executor runs in its own exception.
#[cfg(any(feature = "std", feature = "cortex-m-single-core"))]
#[derive(Clone, Copy)]
pub struct CheckedSpawner {
    spawner: Spawner,
    context: execution_context::ExecutionContext,
}

#[cfg(any(feature = "std", feature = "cortex-m-single-core"))]
mod checked {
    use super::execution_context::ExecutionContext;
    use super::*;

    // SAFETY: a `Spawner` is `!Send` for one reason: with it, code in another execution context could move a `!Send` future to
    // the executor. `spawn` uses the spawner only in the context in which `new` received it, and `new` cannot receive a spawner
    // of another context, because `Spawner` is `!Send`. The type gives no other access to the spawner. Two contexts that run
    // concurrently, or that interrupt each other, compare unequal: see `execution_context`.
    #[expect(unsafe_code, reason = "argued above")]
    unsafe impl Send for CheckedSpawner {}

    // SAFETY: as for `Send`; a `Spawner` is `Copy` and has no interior mutability of its own.
    #[expect(unsafe_code, reason = "argued above")]
    unsafe impl Sync for CheckedSpawner {}

    impl CheckedSpawner {
        pub(crate) fn new(spawner: Spawner) -> Self {
            Self { spawner, context: ExecutionContext::current() }
        }

        pub(crate) fn spawn<R: Runtime, F>(self, stage: Stage<R, F>) -> Result<(), SpawnError>
        where
            F: Future<Output: StageResult> + 'static,
        {
            if self.context != ExecutionContext::current() {
                return Err(WRONG_CONTEXT);
            }
            self.spawner.spawn(task::allocate(stage)?);
            Ok(())
        }
    }

    impl StageSpawner for CheckedSpawner {}
    impl sealed::Sealed for CheckedSpawner {}

    const WRONG_CONTEXT: SpawnError = SpawnError::new(
        "the spawner's executor runs in another thread or interrupt, and a stage that is not `Send` must not be moved there",
        "build the database in a task of that executor",
    );
}

/// Spawns stages that are `Send`, from any thread, interrupt or core.
#[derive(Clone, Copy)]
pub struct SendOnlySpawner(SendSpawner);

impl SendOnlySpawner {
    pub(crate) fn new(spawner: Spawner) -> Self {
        Self(spawner.make_send())
    }

    pub(crate) fn spawn<R: Runtime, F>(self, stage: Stage<R, F>) -> Result<(), SpawnError>
    where
        F: Future<Output: StageResult> + Send + 'static,
    {
        self.0.spawn(task::allocate(stage)?);
        Ok(())
    }
}

impl StageSpawner for SendOnlySpawner {}
impl sealed::Sealed for SendOnlySpawner {}

/// Spawns any stage without a check: the program has promised where it builds databases.
#[derive(Clone, Copy)]
pub struct UncheckedSpawner(Spawner);

// SAFETY: the caller of `new` has promised that the adapter spawns only where its spawner may be used.
#[expect(unsafe_code, reason = "argued above")]
unsafe impl Send for UncheckedSpawner {}

// SAFETY: as for `Send`; a `Spawner` is `Copy` and has no interior mutability of its own.
#[expect(unsafe_code, reason = "argued above")]
unsafe impl Sync for UncheckedSpawner {}

impl UncheckedSpawner {
    /// # Safety
    ///
    /// The caller must call `spawn` only where `spawner` itself could be used: in its executor's thread or interrupt, on its
    /// core.
    #[expect(unsafe_code, reason = "the caller's promise cannot be checked")]
    pub(crate) unsafe fn new(spawner: Spawner) -> Self {
        Self(spawner)
    }

    pub(crate) fn spawn<R: Runtime, F>(self, stage: Stage<R, F>) -> Result<(), SpawnError>
    where
        F: Future<Output: StageResult> + 'static,
    {
        self.0.spawn(task::allocate(stage)?);
        Ok(())
    }
}

impl StageSpawner for UncheckedSpawner {}
impl sealed::Sealed for UncheckedSpawner {}
