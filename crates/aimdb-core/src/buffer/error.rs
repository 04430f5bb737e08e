//! What can go wrong with one operation. Each error hands back what it did not use.

use core::fmt;

/// The record is closed and, for a reader, has been read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the record is closed: the database has been shut down")
    }
}

impl core::error::Error for Closed {}

/// The record is closed; the value was not accepted and is handed back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ProduceError<T>(pub T);

impl<T> fmt::Debug for ProduceError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProduceError(..)")
    }
}

impl<T> fmt::Display for ProduceError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value was not accepted: the record is closed")
    }
}

impl<T> core::error::Error for ProduceError<T> {}

/// The record closed while several values were being produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceManyError {
    /// How many values were accepted, from the first on. The others were dropped.
    pub accepted: usize,
}

impl fmt::Display for ProduceManyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "only the first {} values were accepted: the record is closed", self.accepted)
    }
}

impl core::error::Error for ProduceManyError {}

/// Why a value was not accepted at once. Both variants hand it back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TryProduceError<T> {
    /// A queue without room; another attempt may succeed when its slowest reader has gone on.
    Full(T),
    /// The record is closed; no attempt will succeed.
    Closed(T),
}

impl<T> TryProduceError<T> {
    /// The value that was not accepted.
    #[must_use]
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }
}

impl<T> fmt::Debug for TryProduceError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TryProduceError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => {
                "the value was not accepted: the queue is full until its slowest reader goes on"
            }
            Self::Closed(_) => "the value was not accepted: the record is closed",
        })
    }
}

impl<T> core::error::Error for TryProduceError<T> {}

/// Why there is no value at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// Nothing new; a value may come later.
    Empty,
    /// The record is closed and read to its end; no value will come.
    Closed,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "nothing new to read",
            Self::Closed => "the record is closed and read to its end",
        })
    }
}

impl core::error::Error for TryRecvError {}
