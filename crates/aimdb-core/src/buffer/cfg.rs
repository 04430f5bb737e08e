//! The kind of a record's buffer.

use core::fmt;

/// The kind of a record's buffer, and its capacity.
///
/// The [`buffer`](crate::buffer) module compares the four kinds. Each has a constructor that can be
/// used in constants:
///
/// ```
/// use aimdb_core::BufferCfg;
///
/// const HISTORY: BufferCfg = BufferCfg::ring(16);
/// assert_eq!(HISTORY, BufferCfg::SpmcRing { capacity: 16 });
/// assert_eq!(BufferCfg::queue(4).to_string(), "queue of 4");
/// assert_eq!(BufferCfg::latest().capacity(), 1);
/// assert_eq!(BufferCfg::mailbox(), BufferCfg::Mailbox);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum BufferCfg {
    /// Keeps the last `capacity` values. A slow reader loses the oldest values and learns how many.
    SpmcRing {
        /// The number of values kept. The build reserves their memory; zero is a finding.
        capacity: usize,
    },
    /// Keeps every value until every reader has it. A full queue holds its writers back.
    SpmcQueue {
        /// The number of values kept. The build reserves their memory; zero is a finding.
        capacity: usize,
    },
    /// Keeps the current value. Readers skip to the newest.
    SingleLatest,
    /// Keeps one pending command. A newer command replaces it; one taker takes it.
    Mailbox,
}

impl BufferCfg {
    /// A ring that keeps the last `capacity` values.
    #[must_use]
    pub const fn ring(capacity: usize) -> Self {
        Self::SpmcRing { capacity }
    }

    /// A queue that keeps up to `capacity` values until every reader has them.
    #[must_use]
    pub const fn queue(capacity: usize) -> Self {
        Self::SpmcQueue { capacity }
    }

    /// A buffer that keeps the current value.
    #[must_use]
    pub const fn latest() -> Self {
        Self::SingleLatest
    }

    /// A mailbox: one pending command.
    #[must_use]
    pub const fn mailbox() -> Self {
        Self::Mailbox
    }

    /// The number of values that the buffer holds at most.
    #[must_use]
    pub const fn capacity(self) -> usize {
        match self {
            Self::SpmcRing { capacity } | Self::SpmcQueue { capacity } => capacity,
            Self::SingleLatest | Self::Mailbox => 1,
        }
    }
}

impl fmt::Display for BufferCfg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpmcRing { capacity } => write!(f, "ring of {capacity}"),
            Self::SpmcQueue { capacity } => write!(f, "queue of {capacity}"),
            Self::SingleLatest => f.write_str("latest"),
            Self::Mailbox => f.write_str("mailbox"),
        }
    }
}
