//! Running a stage as a task.

use core::fmt;
use core::future::Future;

use crate::engine::stage::Stage;
use crate::runtime::adapter::Runtime;

/// A runtime that can run the future `F` as a task.
///
/// The bound sits on each method that registers a stage, so `Send` is asked of a stage only where the runtime
/// moves tasks between threads: Tokio's adapter implements this for `F: Send`, Embassy's for any `F`.
#[diagnostic::on_unimplemented(
    message = "the runtime `{Self}` cannot run this stage as a task",
    label = "this stage's future does not fit the runtime",
    note = "on Tokio a stage must be `Send + 'static`: it may hold no `Rc`, no `RefCell` borrow and no \
            non-Send guard across an `.await`, and it must own what it captures (`move`)"
)]
pub trait Spawn<F: Future<Output = ()>>: Runtime {
    /// Starts `stage` as a task of its own. The engine supervises it from inside; the adapter only runs it.
    ///
    /// # Errors
    ///
    /// When the runtime cannot take another task, with its reason.
    fn spawn(&self, stage: Stage<Self, F>) -> Result<(), SpawnError>;
}

/// Why a runtime refused a task, and what to do. The build's finding says so, with the record and the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpawnError {
    /// Why.
    pub reason: &'static str,
    /// What to do.
    pub help: &'static str,
}

impl SpawnError {
    /// A refusal with its `reason` and the `help` to give.
    #[must_use]
    pub const fn new(reason: &'static str, help: &'static str) -> Self {
        Self { reason, help }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.help)
    }
}

impl core::error::Error for SpawnError {}
