//! The errors of one operation. Each returns the values that it did not use.
//!
//! | operation | error | the value |
//! |---|---|---|
//! | [`Producer::produce`](crate::Producer::produce) | [`ProduceError`] | is returned |
//! | [`Producer::try_produce`](crate::Producer::try_produce) | [`TryProduceError`] | is returned |
//! | [`Producer::produce_many`](crate::Producer::produce_many) | [`ProduceManyError`] | those not accepted are dropped |
//! | [`Reader::recv`](crate::Reader::recv) and its relatives | [`Closed`] | – |
//! | [`Reader::try_recv`](crate::Reader::try_recv) | [`TryRecvError`] | – |
//!
//! Errors that contain a value print without it: `Debug` and `Display` need nothing of the value's
//! type.

use core::fmt;

/// The record is closed and, for a reader, drained.
///
/// A record closes once, at shutdown, and never opens again. A stage that receives this ends its
/// loop and returns.
///
/// ```
/// use aimdb_core::{Consumer, Runtime};
///
/// async fn total<R: Runtime>(readings: Consumer<u64, R>) -> u64 {
///     let Ok(mut reader) = readings.subscribe() else { return 0 };
///     let mut total = 0;
///     // `Err(Closed)` follows the last value.
///     while let Ok(reading) = reader.recv().await {
///         total += reading;
///     }
///     total
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the record is closed: the database has been shut down")
    }
}

impl core::error::Error for Closed {}

/// The record is closed. The value was not accepted and is returned.
///
/// The only error of [`Producer::produce`](crate::Producer::produce): a full queue makes the future
/// wait instead.
///
/// ```
/// use aimdb_core::{Producer, ProduceError, Runtime};
///
/// /// Returns the order if the database has ended, so that the caller can store it.
/// async fn submit<R: Runtime>(orders: &Producer<String, R>, order: String) -> Option<String> {
///     match orders.produce(order).await {
///         Ok(()) => None,
///         Err(ProduceError(order)) => Some(order),
///     }
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ProduceError<T>(pub T);

impl<T> fmt::Debug for ProduceError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the value, so that `T` need not implement `Debug`.
        f.write_str("ProduceError(..)")
    }
}

impl<T> fmt::Display for ProduceError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value was not accepted: the record is closed")
    }
}

impl<T> core::error::Error for ProduceError<T> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&Closed)
    }
}

/// The record closed while several values were being produced.
///
/// The accepted values are received by the readers as usual.
///
/// ```
/// use aimdb_core::{ProduceManyError, Producer, Runtime};
///
/// /// Returns the lines that the record did not accept.
/// async fn replay<'l, R: Runtime>(lines: &'l [String], to: &Producer<String, R>) -> &'l [String] {
///     match to.produce_many(lines.iter().cloned()).await {
///         Ok(_) => &[],
///         Err(ProduceManyError { accepted }) => &lines[accepted..],
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceManyError {
    /// How many values were accepted, from the first on. The others were dropped. May be zero.
    pub accepted: usize,
}

impl fmt::Display for ProduceManyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "only the first {} values were accepted: the record is closed", self.accepted)
    }
}

impl core::error::Error for ProduceManyError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&Closed)
    }
}

/// Why a value was not accepted at once. Both variants return it.
///
/// ```
/// use aimdb_core::{Producer, TryProduceError};
///
/// /// Returns the frame if it may be offered again later.
/// fn offer<R>(frames: &Producer<Vec<u8>, R>, frame: Vec<u8>) -> Option<Vec<u8>> {
///     match frames.try_produce(frame) {
///         Ok(()) => None,
///         Err(TryProduceError::Full(frame)) => Some(frame),
///         Err(TryProduceError::Closed(_)) => None, // no reader would receive it
///     }
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TryProduceError<T> {
    /// The queue is full. Another attempt may succeed once its slowest reader has received a value.
    /// The other kinds of buffer never return it.
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

impl<T> core::error::Error for TryProduceError<T> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        matches!(self, Self::Closed(_)).then_some(&Closed as _)
    }
}

/// Why there is no value at once.
///
/// ```
/// use aimdb_core::{Reader, TryRecvError};
///
/// /// Receives every value that is readable now. Returns whether more may follow.
/// fn receive_all(reader: &mut Reader<u32>, into: &mut Vec<u32>) -> bool {
///     loop {
///         match reader.try_recv() {
///             Ok(value) => into.push(value),
///             Err(TryRecvError::Empty) => return true,
///             Err(TryRecvError::Closed) => return false,
///         }
///     }
/// }
/// ```
// One byte would share the first word of a `Result` with its tag. A value next to them is then copied byte by byte: 240
// instructions for 16 bytes at `opt-level = "z"`, and failed store forwarding elsewhere.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is no value yet; one may follow. The reader keeps its position.
    Empty,
    /// The record is closed and drained; no value will follow. Every later attempt returns this as
    /// well.
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
