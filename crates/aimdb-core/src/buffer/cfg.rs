//! The kind of a record's buffer.

use core::fmt;

/// The kind of a record's buffer. The [module](self) compares the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum BufferCfg {
    /// Keeps the last `capacity` values; a slow reader loses the oldest and is told how many.
    SpmcRing {
        /// Values kept. Reserved at start; zero is a finding.
        capacity: usize,
    },
    /// Keeps every value until every reader has it; a full queue holds its writers back.
    SpmcQueue {
        /// Values kept. Reserved at start; zero is a finding.
        capacity: usize,
    },
    /// Keeps the current value; readers skip to the newest.
    SingleLatest,
    /// Keeps one pending command; the newest wins and is taken once.
    Mailbox,
}

impl BufferCfg {
    /// How many values it holds at most.
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
