//! The kind of a record's buffer, as the registration of a record declares it.

use core::fmt;

/// The kind of a record's buffer, and its capacity.
///
/// The [`buffer`](crate::buffer) module compares the four kinds. A choice in short: a ring for
/// samples of which the last few matter, a queue for values of which none may be lost, a latest
/// record for a state, and a mailbox for a command.
///
/// It is plain data: building a graph from it allocates the memory, and two equal values describe
/// equal buffers. `Display` gives the words of findings and metrics. Each kind has a constructor
/// that can be used in constants:
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
    /// Keeps the current value. Readers skip to the newest. A new reader receives the current value
    /// at once.
    SingleLatest,
    /// Keeps one pending command. A newer command replaces it; one taker takes it. A command that
    /// is produced while there is no taker waits for the next one.
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

    /// The number of values that the buffer holds at most: `capacity` for a ring and a queue,
    /// otherwise one. A value that a reader has received and a value in its stash are not among
    /// them.
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
