//! The errors of one operation. Each returns the values that it did not use.

use core::fmt;

/// The record is closed and, for a reader, drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the record is closed: the database has been shut down")
    }
}

impl core::error::Error for Closed {}

/// The record is closed. The value was not accepted and is returned.
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

/// Why a value was not accepted at once. Both variants return it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TryProduceError<T> {
    /// The queue is full. Another attempt may succeed once its slowest reader has received a value.
    Full(T),
    /// The record is closed. No attempt will succeed.
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
                "the value was not accepted: the queue is full until its slowest reader receives a value"
            }
            Self::Closed(_) => "the value was not accepted: the record is closed",
        })
    }
}

impl<T> core::error::Error for TryProduceError<T> {}

/// Why there is no value at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is no value yet; one may follow.
    Empty,
    /// The record is closed and drained; no value will follow.
    Closed,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "there is no value to read",
            Self::Closed => "the record is closed and drained",
        })
    }
}

impl core::error::Error for TryRecvError {}
