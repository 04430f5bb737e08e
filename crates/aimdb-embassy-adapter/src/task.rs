//! Allocation of a stage's task: once, and never freed.

use alloc::vec::Vec;
use core::future::Future;

use aimdb_core::runtime::SpawnError;
use embassy_executor::SpawnToken;
use embassy_executor::raw::TaskStorage;

/// Allocates a task for `stage`, ready to be spawned. The token is `Send` if the stage is.
///
/// # Errors
///
/// If the allocator has no memory for the task.
pub(crate) fn allocate<F: Future + 'static>(
    stage: F,
) -> Result<SpawnToken<impl Sized + use<F>>, SpawnError> {
    let storage = allocate_storage().ok_or(OUT_OF_MEMORY)?;
    storage.spawn(|| stage).map_err(|_| OUT_OF_MEMORY)
}

const OUT_OF_MEMORY: SpawnError = SpawnError::new(
    "there is no memory for its task",
    "give the allocator more memory, or the graph fewer stages",
);

fn allocate_storage<F: Future + 'static>() -> Option<&'static TaskStorage<F>> {
    // `Box::new` aborts without memory; a `Vec` can report it.
    let mut storage = Vec::new();
    storage.try_reserve_exact(1).ok()?;
    storage.push(TaskStorage::new());
    storage.leak().first()
}
