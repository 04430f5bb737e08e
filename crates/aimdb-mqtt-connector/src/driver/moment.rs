//! The circumstances of one step, and the names of suspects.

use aimdb_core::Instant;

/// A reason for which a broker may end its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspect {
    /// The messages of an outbound link.
    Link(usize),
    /// The subscription of a route.
    Route(usize),
    /// The birth message.
    Birth,
}

/// The circumstances that all messages and requests of one step share.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) stopping: bool,
    /// The connection has lasted long enough for the things that are accused.
    pub(super) may_try_accused: bool,
}
