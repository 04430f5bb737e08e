//! The interface of an API under test, and the steps that its cases share.

use alloc::vec::Vec;
use core::task::Poll;

use aimdb_core::metrics::RecordMetrics;
use aimdb_core::{
    BufferCfg, Closed, Event, ProduceError, ProduceManyError, Record, SubscribeError,
    TryProduceError, TryRecvError,
};

/// The number of takers that a mailbox allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takers {
    /// One at a time.
    One,
    /// Several: the record is declared `shared`, and its takers divide the commands.
    Many,
}

/// A way to write and read records: the subject of the suite.
pub trait RecordApi {
    /// An open record of this API.
    type Open<T: Record>: OpenRecord<T>;

    /// Opens an empty record without readers.
    fn open<T: Record>(&self, cfg: BufferCfg, takers: Takers) -> Self::Open<T>;
}

/// A record that can be written, read and closed.
pub trait OpenRecord<T: Record> {
    /// A reader of the record.
    type Reader: RecordReader<T>;

    /// Produces a value without waiting.
    ///
    /// # Errors
    ///
    /// [`TryProduceError`], which returns the value, if the record is full or closed.
    fn try_produce(&self, value: T) -> Result<(), TryProduceError<T>>;

    /// Begins to produce a value, runs `during`, and returns the outcome.
    ///
    /// `during` runs when the value has been accepted or refused, or when the writer waits. The call is cancelled, and
    /// this returns `Pending`, if `during` did not wake the writer or the writer waits again.
    fn produce_during(&self, value: T, during: impl FnOnce()) -> Poll<Result<(), ProduceError<T>>>;

    /// Produces a value. A call that would wait is cancelled: `Pending`.
    fn produce(&self, value: T) -> Poll<Result<(), ProduceError<T>>> {
        self.produce_during(value, || ())
    }

    /// Produces all values in order. A call that would wait is cancelled with the remaining values: `Pending`.
    fn produce_many(&self, values: Vec<T>) -> Poll<Result<usize, ProduceManyError>>;

    /// Subscribes a new reader.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if the record is closed, or is a mailbox that has a taker and is not shared.
    fn subscribe(&self) -> Result<Self::Reader, SubscribeError>;

    /// Returns the newest value held, without consuming it.
    fn latest(&self) -> Option<T>;

    /// Closes the record.
    fn close(&self);

    /// Returns the record's metrics, or `None` if this API has none.
    fn metrics(&self) -> Option<RecordMetrics>;
}

/// A reader of a record.
pub trait RecordReader<T> {
    /// Receives the next value without waiting.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`] if there is no value, or the record is drained.
    fn try_recv(&mut self) -> Result<T, TryRecvError>;

    /// Begins to receive a value, runs `during`, and returns the outcome.
    ///
    /// `during` runs when there is a value or the reader waits. The call is cancelled, and this returns `Pending`, if
    /// `during` did not wake the reader or the reader waits again.
    fn recv_during(&mut self, during: impl FnOnce()) -> Poll<Result<T, Closed>>;

    /// Receives a value. A call that would wait is cancelled: `Pending`.
    fn recv(&mut self) -> Poll<Result<T, Closed>> {
        self.recv_during(|| ())
    }

    /// Receives the next event. A call that would wait is cancelled: `Pending`.
    fn next_event(&mut self) -> Poll<Result<Event<T>, Closed>>;

    /// Appends up to `limit` values to `into`. A call that would wait for the first one is cancelled: `Pending`.
    fn recv_many(&mut self, into: &mut Vec<T>, limit: usize) -> Poll<Result<usize, Closed>>;

    /// Returns the number of values that this reader has lost.
    fn lagged(&self) -> u64;

    /// Returns the number of values to be read, or `None` if this API has no such call.
    fn pending(&self) -> Option<u64>;

    /// Returns the newest value held, without consuming it.
    fn latest(&self) -> Option<T>;
}

/// One of each kind.
pub(super) const KINDS: [BufferCfg; 4] = [
    BufferCfg::SpmcRing { capacity: 4 },
    BufferCfg::SpmcQueue { capacity: 4 },
    BufferCfg::SingleLatest,
    BufferCfg::Mailbox,
];

pub(super) const fn ring(capacity: usize) -> BufferCfg {
    BufferCfg::SpmcRing { capacity }
}

pub(super) const fn queue(capacity: usize) -> BufferCfg {
    BufferCfg::SpmcQueue { capacity }
}

pub(super) fn open<A: RecordApi>(api: &A, cfg: BufferCfg) -> A::Open<u64> {
    api.open(cfg, Takers::One)
}

/// Produces values that the record must accept at once.
#[track_caller]
pub(super) fn produce_all(record: &impl OpenRecord<u64>, values: impl IntoIterator<Item = u64>) {
    for value in values {
        assert_eq!(record.produce(value), Poll::Ready(Ok(())), "{value} must be accepted at once");
    }
}

/// Reads every value that is there.
pub(super) fn read_all<T>(reader: &mut impl RecordReader<T>) -> Vec<T> {
    core::iter::from_fn(|| reader.try_recv().ok()).collect()
}

/// Reads every event that is there.
pub(super) fn all_events(reader: &mut impl RecordReader<u64>) -> Vec<Event<u64>> {
    core::iter::from_fn(|| match reader.next_event() {
        Poll::Ready(Ok(event)) => Some(event),
        _ => None,
    })
    .collect()
}

/// Compares `pending`, if the API has it.
#[track_caller]
pub(super) fn assert_pending<T>(reader: &impl RecordReader<T>, expected: u64) {
    assert_eq!(reader.pending().unwrap_or(expected), expected, "values to be read");
}
