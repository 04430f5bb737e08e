//! A stage's task: allocated once, for ever.

use alloc::vec::Vec;
use core::future::Future;

use aimdb_core::runtime::SpawnError;
use embassy_executor::SpawnToken;
use embassy_executor::raw::TaskStorage;

/// A task that runs `stage`, ready to be spawned. The token is `Send` if the stage is.
pub(crate) fn of<F: Future + 'static>(
    stage: F,
) -> Result<SpawnToken<impl Sized + use<F>>, SpawnError> {
    let storage = allocate().ok_or(NO_MEMORY)?;
    storage.spawn(|| stage).map_err(|_| NO_MEMORY)
}

const NO_MEMORY: SpawnError = SpawnError::new(
    "there is no memory for its task",
    "give the allocator more memory, or the graph fewer stages",
);

fn allocate<F: Future + 'static>() -> Option<&'static TaskStorage<F>> {
    let mut room = Vec::new();
    room.try_reserve_exact(1).ok()?;
    room.push(TaskStorage::new());
    room.leak().first()
}
