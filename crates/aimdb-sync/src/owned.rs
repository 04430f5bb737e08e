//! A Tokio runtime that may be dropped anywhere.

use std::ops::Deref;
use std::time::Duration;

use tokio::runtime::Runtime;

/// A runtime that is dropped in the background. Tokio's own drop waits for its threads, and panics inside a worker of
/// another runtime.
pub(crate) struct OwnedRuntime(Option<Runtime>);

impl OwnedRuntime {
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self(Some(runtime))
    }

    /// Ends the runtime and waits for its threads, no longer than `limit`.
    pub(crate) fn end_within(mut self, limit: Duration) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(limit);
        }
    }
}

impl Deref for OwnedRuntime {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("the runtime is there until it is ended")
    }
}

impl Drop for OwnedRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
