//! The counters of a database, as plain data.
//!
//! The engine always counts. [`AimDb::metrics`](crate::AimDb::metrics) returns a [`Metrics`]: a snapshot of every
//! record, reader and link. Counters start at zero when the database is built, only grow, and are never reset. The
//! numbers of one moment rise and fall: `depth`, `pending`, `blocked`, and whether a link is connected.
//!
//! A reader has the name of its stage; a transform's is `record/stage`, because its stage belongs to another record. All
//! readers outside of the graph are named `outside`, so that the name occurs once for each of them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::address::Direction;
use crate::buffer::cfg::BufferCfg;
use crate::clock::{Instant, UnixTime};
use crate::loss::{Loss, Losses};

/// A snapshot of all counters of a database.
///
/// `Display` prints one line for each record and each link.
///
/// ```
/// use aimdb_core::{AimDb, Runtime};
///
/// fn print_loss<R: Runtime>(db: &AimDb<R>) {
///     let metrics = db.metrics();
///     if let Some(record) = metrics.record("temp.indoor") {
///         for reader in &record.readers {
///             println!("{} lost {} of {} values", reader.name, reader.lagged, record.produced);
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Metrics {
    /// The time of the snapshot, by the runtime's clock, as all times in it.
    pub at: Instant,
    /// The calendar's time of the snapshot, where there is a clock for it. [`UnixTime::of`] makes the calendar's times of
    /// the others.
    pub unix_at: Option<UnixTime>,
    /// One entry for each record, in the order of registration.
    pub records: Vec<RecordMetrics>,
    /// One entry for each link, in the order of registration.
    pub links: Vec<LinkMetrics>,
}

/// The counters of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RecordMetrics {
    /// The record's key.
    pub key: String,
    /// The kind and the capacity of the record's buffer.
    pub buffer: BufferCfg,
    /// Values that the record accepted.
    pub produced: u64,
    /// Values that left the buffer before any reader took them: overwritten, or, on a queue, accepted while the queue
    /// had no subscriber.
    pub overwritten: u64,
    /// Values in the buffer.
    pub depth: usize,
    /// Values of which the closures of this record's transforms made none: [`filter_map`](crate::Registrar::filter_map),
    /// [`scan`](crate::Registrar::scan), and [`outer_join`](crate::Registrar::outer_join). They are no loss.
    pub filtered: u64,
    /// The time of the newest value.
    ///
    /// It is exact, to one reading of the clock, while values come 10 µs apart or more on average, whether readers wait,
    /// are slow or do not exist. In a faster burst, and after it until 64 values have come, it is that of one of the
    /// last 64 values. A snapshot ends that: the values after it have exact times, unless they are a burst too.
    pub last_update: Option<Instant>,
    /// The record's present readers.
    pub readers: Vec<ReaderMetrics>,
    /// The names of those who [observe](crate::Consumer::observe) the record at present. They are no readers.
    pub observers: Vec<String>,
    /// The readers that have left.
    pub departed: DepartedReaders,
    /// The writers that wait for room, if there are any.
    pub blocked: Option<BlockedWriter>,
}

/// The sums of the readers of a record that have left: of stages that have ended, and of handles that were dropped.
///
/// ```
/// use aimdb_core::{AimDb, Runtime};
///
/// /// The values that readers of the record lost, those that have left included.
/// fn lost<R: Runtime>(db: &AimDb<R>, key: &str) -> u64 {
///     let metrics = db.metrics();
///     let Some(record) = metrics.record(key) else { return 0 };
///     let present: u64 = record.readers.iter().map(|reader| reader.lagged).sum();
///     present + record.departed.lagged
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DepartedReaders {
    /// The number of readers that have left.
    pub readers: u64,
    /// Values that they were to have.
    pub entered: u64,
    /// Values that they took.
    pub delivered: u64,
    /// Values that they lost.
    pub lagged: u64,
    /// Values that they could have taken when they left. A command that was pending in a mailbox is none of them.
    pub unread: u64,
    /// The part of `unread` that is of a closed record, and of stages that a shutdown ended.
    pub unread_at_end: u64,
}

/// The counters of one reader.
///
/// ```
/// use aimdb_core::metrics::{ReaderMetrics, RecordMetrics};
///
/// /// The reader that is furthest behind.
/// fn slowest(record: &RecordMetrics) -> Option<&ReaderMetrics> {
///     record.readers.iter().max_by_key(|reader| reader.pending)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ReaderMetrics {
    /// The name of the stage that reads, or `"outside"` for a reader of a handle outside the graph.
    pub name: String,
    /// Values that the reader was to have: those that the record accepted since the reader began, and the values of the past
    /// with which it began. In a mailbox, the commands that it took.
    pub entered: u64,
    /// Values that the reader took.
    pub delivered: u64,
    /// Values that this reader lost.
    pub lagged: u64,
    /// Values that the reader has yet to take. The value behind a lag that an event has reported counts as one of them,
    /// in addition to those in the buffer.
    pub pending: u64,
}

/// The writers of one record that wait, and the reader that they wait for.
///
/// ```
/// use aimdb_core::{AimDb, Runtime};
/// use std::time::Duration;
///
/// fn print_blocked<R: Runtime>(db: &AimDb<R>) {
///     for record in &db.metrics().records {
///         let Some(blocked) = &record.blocked else { continue };
///         if blocked.waiting > Duration::from_secs(1) {
///             println!("{} of {} does not keep up", blocked.held_back_by, record.key);
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BlockedWriter {
    /// The number of waiting writers.
    pub writers: usize,
    /// The name of the slowest reader: the one that is furthest behind.
    pub held_back_by: String,
    /// The time that the first writer has waited.
    pub waiting: Duration,
}

/// The counters of one link.
///
/// ```
/// use aimdb_core::{AimDb, Runtime};
///
/// fn print_loss<R: Runtime>(db: &AimDb<R>) {
///     for link in &db.metrics().links {
///         if link.lost.total() > 0 {
///             let error = link.last_error.as_deref().unwrap_or("no error");
///             println!("{} lost {}: {error}", link.address, link.lost);
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LinkMetrics {
    /// The record's key.
    pub key: String,
    /// The link's name, unique within its record.
    pub stage: String,
    /// The link's address.
    pub address: String,
    /// The direction of the link.
    pub direction: Direction,
    /// Whether the connector has a connection that serves this link.
    pub connected: bool,
    /// Outbound values that the link took from the record, including those that it takes again to send them anew.
    pub taken: u64,
    /// Outbound messages that the connector sent and, where the protocol acknowledges, the broker acknowledged.
    pub sent: u64,
    /// Inbound messages that the connector received, including those that did not decode.
    pub received: u64,
    /// Inbound values that the record accepted.
    pub delivered: u64,
    /// Outbound values that are under way. Inbound ones that are neither in the record nor lost: one that waits for room,
    /// and those that the peer keeps because they were not acknowledged.
    pub held: u64,
    /// Values that were lost at this link, by cause.
    pub lost: Losses,
    /// Values that the link's [filter](crate::link::only_if) left out. They are no loss.
    pub filtered: u64,
    /// Connections after the first one.
    pub reconnects: u64,
    /// The link's last error. It remains after the link has recovered.
    pub last_error: Option<String>,
    /// The time of the last error.
    pub last_error_at: Option<Instant>,
    /// Whether a connection was made or a message went through since the last error. `true` without an error.
    pub last_error_is_over: bool,
}

impl DepartedReaders {
    /// Adds the numbers of others.
    pub(crate) fn add(&mut self, others: &Self) {
        self.readers += others.readers;
        self.entered += others.entered;
        self.delivered += others.delivered;
        self.lagged += others.lagged;
        self.unread += others.unread;
        self.unread_at_end += others.unread_at_end;
    }
}

impl LinkMetrics {
    /// Payloads that did not decode.
    #[must_use]
    pub fn decode_errors(&self) -> u64 {
        self.lost.of(Loss::DecodeError)
    }

    /// Values that did not encode, or whose computed topic was not valid.
    #[must_use]
    pub fn encode_errors(&self) -> u64 {
        self.lost.of(Loss::EncodeError)
    }

    /// Messages that were lost for another reason than their encoding: inbound ones of a quality of service without
    /// acknowledgement that arrived while the record could not accept them; outbound ones of such a quality that were in
    /// flight when the connection broke; and messages that are too large for the broker or that the broker refused.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.lost.total() - self.decode_errors() - self.encode_errors()
    }
}

impl RecordMetrics {
    /// The time since the newest value at the time `at` of the snapshot, or `None` if there was no value yet.
    ///
    /// ```
    /// use aimdb_core::{AimDb, Runtime};
    /// use std::time::Duration;
    ///
    /// fn is_stale<R: Runtime>(db: &AimDb<R>, key: &str) -> bool {
    ///     let metrics = db.metrics();
    ///     let age = metrics.record(key).and_then(|record| record.age(metrics.at));
    ///     age.is_none_or(|age| age > Duration::from_secs(5))
    /// }
    /// ```
    #[must_use]
    pub fn age(&self, at: Instant) -> Option<Duration> {
        self.last_update.map(|update| at - update)
    }
}

impl Metrics {
    /// Returns the counters of the record `key`, if the graph has it.
    #[must_use]
    pub fn record(&self, key: &str) -> Option<&RecordMetrics> {
        self.records.iter().find(|record| record.key == key)
    }

    /// Returns the counters of the link of the record `key` with the address `address`, if the graph has it.
    #[must_use]
    pub fn link(&self, key: &str, address: &str) -> Option<&LinkMetrics> {
        self.links.iter().find(|link| link.key == key && link.address == address)
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for record in &self.records {
            writeln!(f, "{record}")?;
        }
        self.links.iter().try_for_each(|link| writeln!(f, "{link}"))
    }
}

impl fmt::Display for RecordMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}): {} produced, {} overwritten, {} held",
            self.key, self.buffer, self.produced, self.overwritten, self.depth
        )?;
        for reader in &self.readers {
            write!(
                f,
                "; {}: {} delivered, {} lagged, {} pending",
                reader.name, reader.delivered, reader.lagged, reader.pending
            )?;
        }
        match &self.blocked {
            Some(blocked) => write!(f, "; {blocked}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for BlockedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} writer(s) held back by {} for {:?}",
            self.writers, self.held_back_by, self.waiting
        )
    }
}

impl fmt::Display for LinkMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = match self.direction {
            Direction::Outbound => "→",
            Direction::Inbound => "←",
        };
        let state = if self.connected { "connected" } else { "not connected" };
        write!(
            f,
            "{} {arrow} {} ({state}): {} sent, {} received, {} encode errors, {} decode errors, {} dropped, {} reconnects",
            self.key,
            self.address,
            self.sent,
            self.received,
            self.encode_errors(),
            self.decode_errors(),
            self.dropped(),
            self.reconnects
        )
    }
}
