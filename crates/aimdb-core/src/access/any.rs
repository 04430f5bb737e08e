//! A record found by its key, and its readers.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::erased::{ByteAccess, ByteObserver, ByteReader, Seen};
use super::error::AccessError;
#[cfg(feature = "schema")]
use super::schema::MakeSchema;
use crate::buffer::cfg::BufferCfg;
use crate::buffer::event::Event;
use crate::clock::Instant;
use crate::handle::budget::paced;
use crate::metrics::RecordMetrics;
use crate::record::{ErasedRecord, RecordEntry};
use crate::sync::Arc;

/// A record, found by its key, whose type the caller does not know.
///
/// [`AimDb::record`](crate::AimDb::record) and [`AimDb::records`](crate::AimDb::records) return it. Cheap to clone. It keeps
/// no record open.
///
/// ```
/// use aimdb_core::{AimDb, Runtime};
///
/// /// Prints each exposed record with its newest value.
/// fn print<R: Runtime>(db: &AimDb<R>) {
///     let mut value = Vec::new();
///     for record in db.records() {
///         value.clear();
///         match record.latest(&mut value) {
///             Ok(Some(stamp)) => println!("{} #{}: {}", record.key(), stamp.seq, String::from_utf8_lossy(&value)),
///             Ok(None) => println!("{}: no value yet", record.key()),
///             Err(error) => println!("{error}"), // it is not exposed
///         }
///     }
/// }
/// ```
pub struct AnyRecord {
    key: Arc<str>,
    type_name: &'static str,
    record: Box<dyn ErasedRecord>,
    /// Present if the record is exposed.
    access: Option<Box<dyn ByteAccess>>,
    #[cfg(feature = "schema")]
    schema: Option<MakeSchema>,
}

/// Which value was read, and when it was written.
///
/// ```
/// use aimdb_core::access::{AccessError, AnyRecord};
///
/// /// Whether the record has a value that `seen` was not yet.
/// fn has_news(record: &AnyRecord, seen: u64) -> Result<bool, AccessError> {
///     Ok(record.latest(&mut Vec::new())?.is_some_and(|stamp| stamp.seq > seen))
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stamp {
    /// The number of the value among those that the record accepted, from one.
    pub seq: u64,
    /// The time of the record's last value by the runtime's clock, taken after the value: that of a newer one if writers
    /// are active. As [`RecordMetrics::last_update`](crate::metrics::RecordMetrics::last_update) it may be that of one of
    /// the last 64 values of a burst; values after this call have exact times.
    pub at: Option<Instant>,
}

impl AnyRecord {
    pub(crate) fn of(entry: &RecordEntry) -> Self {
        Self {
            key: Arc::clone(&entry.key),
            type_name: entry.value.name,
            record: entry.erased(),
            access: entry.access.as_ref().map(|access| access.cloned()),
            #[cfg(feature = "schema")]
            schema: entry.schema,
        }
    }

    /// The record's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The name of the record's Rust type, or the one that [`type_name`](crate::Registrar::type_name) set.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// The kind and the capacity of the record's buffer.
    #[must_use]
    pub fn buffer(&self) -> BufferCfg {
        self.record.coordinator().cfg()
    }

    /// The media type of the record's values as bytes, for instance `application/json`. `None` if the record is not
    /// exposed.
    #[must_use]
    pub fn encoding(&self) -> Option<&'static str> {
        self.access.as_ref().map(|access| access.encoding())
    }

    /// The JSON Schema of the record's values, as JSON. `None` unless
    /// [`with_schema`](crate::Exposing::with_schema) shows it.
    #[cfg(feature = "schema")]
    #[must_use]
    pub fn schema(&self) -> Option<alloc::string::String> {
        self.schema.map(|make| make())
    }

    /// Whether [`write`](Self::write) accepts values.
    #[must_use]
    pub fn is_settable(&self) -> bool {
        self.access.as_ref().is_some_and(|access| access.is_settable())
    }

    /// The record's counters now.
    #[must_use]
    pub fn metrics(&self) -> RecordMetrics {
        self.record.metrics(&self.key)
    }

    /// Whether the record is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.record.state().is_closed()
    }

    /// Appends the newest value that the record holds to `out`, without consuming it, and returns which one it is. `None`
    /// if there was none yet, and on a queue or a mailbox also when everything has been taken, unless the record is
    /// observed: its observers keep the last values.
    ///
    /// # Errors
    ///
    /// [`AccessError::NotExposed`], and [`AccessError::Encode`] for a value without an encoding. `out` is then unchanged.
    pub fn latest(&self, out: &mut Vec<u8>) -> Result<Option<Stamp>, AccessError> {
        let Some(seq) = self.access()?.latest(out)? else { return Ok(None) };
        Ok(Some(Stamp { seq, at: self.record.coordinator().last_update(self.record.state()) }))
    }

    /// Subscribes a reader, which the metrics show under `name`. It is a reader as any other: a queue keeps values for it
    /// and holds its writers back, and of a mailbox it takes commands.
    ///
    /// # Errors
    ///
    /// [`AccessError::NotExposed`], [`AccessError::Closed`] and [`AccessError::Taken`].
    pub fn subscribe(&self, name: &str) -> Result<AnyReader, AccessError> {
        self.access()?.subscribe(name.into()).map(|reader| AnyReader { reader, spent: 0 })
    }

    /// Observes the record: sees the values that are produced from now on, and is no reader. The page of
    /// [`Observer`](crate::Observer) says what that costs and promises.
    ///
    /// # Errors
    ///
    /// [`AccessError::NotExposed`], [`AccessError::Closed`] and [`AccessError::NoMemory`].
    pub fn observe(&self, name: &str) -> Result<AnyObserver, AccessError> {
        self.access()?.observe(name).map(|observer| AnyObserver { observer })
    }

    /// Decodes a value and produces it, without waiting: as [`Producer::try_produce`](crate::Producer::try_produce).
    ///
    /// # Errors
    ///
    /// [`AccessError::NotExposed`], [`AccessError::NotSettable`], [`AccessError::Decode`] with the reason why the bytes are
    /// no value, [`AccessError::Full`] on a queue without room, and [`AccessError::Closed`].
    pub fn write(&self, bytes: &[u8]) -> Result<(), AccessError> {
        self.access()?.write(bytes)
    }

    fn access(&self) -> Result<&dyn ByteAccess, AccessError> {
        let not_exposed = || AccessError::NotExposed { key: self.key.as_ref().into() };
        self.access.as_deref().ok_or_else(not_exposed)
    }
}

impl Clone for AnyRecord {
    fn clone(&self) -> Self {
        Self {
            key: Arc::clone(&self.key),
            type_name: self.type_name,
            record: self.record.cloned(),
            access: self.access.as_ref().map(|access| access.cloned()),
            #[cfg(feature = "schema")]
            schema: self.schema,
        }
    }
}

impl fmt::Debug for AnyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyRecord")
            .field("key", &self.key())
            .field("type_name", &self.type_name)
            .field("encoding", &self.encoding())
            .finish_non_exhaustive()
    }
}

/// A reader of a record's values as bytes. [`AnyRecord::subscribe`] returns it.
///
/// ```
/// use aimdb_core::Event;
/// use aimdb_core::access::{AccessError, AnyRecord};
///
/// /// Prints the values as they come, and the gaps between them.
/// async fn tail(record: AnyRecord) -> Result<(), AccessError> {
///     let mut reader = record.subscribe("tail")?;
///     let mut value = Vec::new();
///     loop {
///         value.clear();
///         match reader.next(&mut value).await? {
///             Event::Value(()) => println!("{}", String::from_utf8_lossy(&value)),
///             Event::Lagged(missed) => println!("… {missed} values lost"),
///         }
///     }
/// }
/// ```
pub struct AnyReader {
    reader: Box<dyn ByteReader>,
    /// Events since the reader last yielded.
    spent: u8,
}

impl AnyReader {
    /// Receives the next event, waiting for it. For a value, its bytes are appended to `out`.
    ///
    /// # Errors
    ///
    /// [`AccessError::Closed`] when the record is closed and drained. [`AccessError::Encode`] for a value without an
    /// encoding: it counts as received, and the next call returns the next one.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event and no wake-up.
    pub fn next<'r>(&'r mut self, out: &'r mut Vec<u8>) -> NextBytes<'r> {
        NextBytes { reader: self, out }
    }

    /// Receives the next event if there is one; `None` if there is none yet.
    ///
    /// # Errors
    ///
    /// Those of [`next`](Self::next).
    pub fn try_next(&mut self, out: &mut Vec<u8>) -> Result<Option<Event<()>>, AccessError> {
        self.reader.try_next(out)
    }

    /// [`next`](Self::next) by polling. After a poll that was pending, a caller that polls no more calls
    /// [`cancel_wait`](Self::cancel_wait).
    pub fn poll_next(
        &mut self,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Event<()>, AccessError>> {
        let Self { reader, spent } = self;
        paced(spent, cx, |cx| reader.poll_next(out, cx))
    }

    /// Ends the wait of a poll that was pending. An unused wake-up passes to the next waiter.
    pub fn cancel_wait(&mut self) {
        self.reader.cancel_wait();
    }

    /// The number of values that this reader has lost.
    #[must_use]
    pub fn lagged(&self) -> u64 {
        self.reader.lagged()
    }

    /// The number of values that this reader can receive.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.reader.pending()
    }
}

impl fmt::Debug for AnyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyReader").finish_non_exhaustive()
    }
}

/// The future of [`AnyReader::next`].
#[must_use = "nothing is received until the future is awaited"]
#[derive(Debug)]
pub struct NextBytes<'r> {
    reader: &'r mut AnyReader,
    out: &'r mut Vec<u8>,
}

impl Future for NextBytes<'_> {
    type Output = Result<Event<()>, AccessError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { reader, out } = &mut *self;
        reader.poll_next(out, cx)
    }
}

impl Drop for NextBytes<'_> {
    fn drop(&mut self) {
        self.reader.cancel_wait();
    }
}

/// An observer of a record's values as bytes. [`AnyRecord::observe`] returns it.
///
/// ```
/// use aimdb_core::access::{AccessError, AnyRecord};
///
/// /// Prints the commands of a mailbox, which its taker receives all the same.
/// async fn tail(commands: AnyRecord) -> Result<(), AccessError> {
///     let mut observer = commands.observe("tail")?;
///     let mut command = Vec::new();
///     loop {
///         command.clear();
///         let seen = observer.see(&mut command).await?;
///         println!("#{}: {}", seen.seq, String::from_utf8_lossy(&command));
///     }
/// }
/// ```
pub struct AnyObserver {
    observer: Box<dyn ByteObserver>,
}

impl AnyObserver {
    /// Waits for the next value, and appends its bytes to `out`.
    ///
    /// # Errors
    ///
    /// [`AccessError::Closed`] when the record is closed and everything has been seen, and [`AccessError::Encode`] for a
    /// value without an encoding: the next call goes on behind it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no value.
    pub fn see<'o>(&'o mut self, out: &'o mut Vec<u8>) -> SeeBytes<'o> {
        SeeBytes { observer: self, out }
    }

    /// [`see`](Self::see), without waiting: `None` if there is no value yet.
    ///
    /// # Errors
    ///
    /// Those of [`see`](Self::see).
    pub fn try_see(&mut self, out: &mut Vec<u8>) -> Result<Option<Seen>, AccessError> {
        self.observer.try_see(out)
    }

    /// [`see`](Self::see) by polling. After a poll that was pending, a caller that polls no more calls
    /// [`cancel_wait`](Self::cancel_wait).
    pub fn poll_see(
        &mut self,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Seen, AccessError>> {
        self.observer.poll_see(out, cx)
    }

    /// Ends the wait of a poll that was pending.
    pub fn cancel_wait(&mut self) {
        self.observer.cancel_wait();
    }

    /// The number of values that this observer has missed, up to the one seen last.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.observer.missed()
    }
}

impl fmt::Debug for AnyObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyObserver").finish_non_exhaustive()
    }
}

/// The future of [`AnyObserver::see`].
#[must_use = "nothing is seen until the future is awaited"]
#[derive(Debug)]
pub struct SeeBytes<'o> {
    observer: &'o mut AnyObserver,
    out: &'o mut Vec<u8>,
}

impl Future for SeeBytes<'_> {
    type Output = Result<Seen, AccessError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { observer, out } = &mut *self;
        observer.poll_see(out, cx)
    }
}

impl Drop for SeeBytes<'_> {
    fn drop(&mut self) {
        self.observer.cancel_wait();
    }
}
