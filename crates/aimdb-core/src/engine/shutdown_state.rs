//! The state of a shutdown in progress.

use core::time::Duration;

use super::report::ShutdownReport;
use super::stage::StageCell;
use crate::clock::Instant;
use crate::sync::Arc;

/// A shutdown in progress, shared by every caller that waits for it.
///
/// No caller is in charge. All of them drive the same steps, and the caller that reaches a step first performs it,
/// once. The other callers therefore continue if one of them is dropped or its thread is busy.
#[derive(Default)]
pub(crate) struct ShutdownState {
    /// Counts the changes to this state, so that a waiting caller detects each of them.
    pub(super) version: u64,
    pub(super) baseline: Option<Baseline>,
    /// The time at which stages are aborted.
    pub(super) deadline: Option<Instant>,
    /// A caller has requested `deadline`, which therefore takes precedence over the builder's own.
    pub(super) deadline_requested: bool,
    /// The time of the next log line that names what the shutdown waits for.
    pub(super) next_progress: Option<Instant>,
    pub(super) abort: Option<Abort>,
    /// A caller is writing the report.
    pub(super) reporting: bool,
    pub(crate) report: Option<ShutdownReport>,
}

/// The time and the count of deliveries when the shutdown began.
#[derive(Clone, Copy)]
pub(super) struct Baseline {
    pub(super) at: Instant,
    pub(super) delivered: u64,
}

/// The stages that had not ended at the deadline.
#[derive(Clone)]
pub(super) struct Abort {
    pub(super) grace_ends: Instant,
    pub(super) stages: Arc<[Arc<StageCell>]>,
    /// The services among them have been stopped, too: at once if they had the rest of the deadline, or else after a grace
    /// of their own.
    pub(super) services_stopped: bool,
}

/// The time that a caller allows for a shutdown.
#[derive(Clone, Copy)]
pub(crate) enum Deadline {
    /// The builder's own deadline, in force until a caller requests another one.
    Default(Duration),
    /// A deadline that a caller requests. The latest request is in force.
    Requested(Duration),
}
