//! The state of a shutdown under way.

use core::time::Duration;

use super::report::ShutdownReport;
use super::stage::StageCell;
use crate::clock::Instant;
use crate::sync::Arc;

/// A shutdown under way, shared by all callers that wait for it.
///
/// No caller is in charge: each drives the same steps, of which each is done once, by the caller that comes to it
/// first. A caller that is dropped, or whose thread is busy, leaves the others to go on.
#[derive(Default)]
pub(crate) struct Phase {
    /// Counts the changes to this, so that a waiting caller sees that there was one.
    pub(super) version: u64,
    pub(super) began: Option<Beginning>,
    /// When stages are aborted.
    pub(super) deadline: Option<Instant>,
    /// A caller has asked for this deadline, which the builder's own gives way to.
    pub(super) asked: bool,
    pub(super) abort: Option<Abort>,
    /// The report is being written.
    pub(super) reporting: bool,
    pub(crate) report: Option<ShutdownReport>,
}

/// How things stood when the first caller began.
#[derive(Clone, Copy)]
pub(super) struct Beginning {
    pub(super) at: Instant,
    pub(super) delivered: u64,
}

/// The stages that had not ended when the deadline came.
#[derive(Clone)]
pub(super) struct Abort {
    pub(super) grace_ends: Instant,
    pub(super) stages: Arc<[Arc<StageCell>]>,
}

/// How long a caller gives a shutdown.
#[derive(Clone, Copy)]
pub(crate) enum Deadline {
    /// The builder's own. It holds until a caller asks for another one.
    Default(Duration),
    /// What a caller asks for. The last one asked for holds.
    Asked(Duration),
}
