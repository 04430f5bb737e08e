//! What the engine measures of itself: plain data, always compiled in.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::address::Direction;
use crate::buffer::cfg::BufferCfg;
use crate::clock::Instant;

/// One record at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RecordMetrics {
    /// The record's key.
    pub key: String,
    /// The kind of its buffer.
    pub buffer: BufferCfg,
    /// Values accepted.
    pub produced: u64,
    /// Values that left the buffer before any reader had taken them: overwritten, or, on a queue, accepted while
    /// nobody was subscribed.
    pub overwritten: u64,
    /// Values held now.
    pub depth: usize,
    /// When the newest value came. Exact when a reader was waiting for it or nobody reads; while readers are busy it
    /// is renewed at every 64th value and when a reader runs dry.
    pub last_update: Option<Instant>,
    /// The readers there are now.
    pub readers: Vec<ReaderMetrics>,
    /// Set while writers wait for room.
    pub blocked: Option<BlockedWriter>,
}

/// One reader of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ReaderMetrics {
    /// The stage that reads, or `"outside"` for a reader made through a handle.
    pub name: String,
    /// Values taken.
    pub delivered: u64,
    /// Values lost to this reader.
    pub lagged: u64,
    /// Values that wait for it. The value behind a lag that an event has
    /// reported is one of them, beside those that the buffer holds.
    pub pending: u64,
}

/// Writers that wait, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BlockedWriter {
    /// How many writers wait.
    pub writers: usize,
    /// The reader that is furthest behind.
    pub held_back_by: String,
    /// For how long the first of them has waited.
    pub waiting: Duration,
}

/// One link at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LinkMetrics {
    /// The record's key.
    pub key: String,
    /// The link's name, unique within its record.
    pub stage: String,
    /// The link's address.
    pub address: String,
    /// The direction of the link.
    pub direction: Direction,
    /// Whether the connector holds a connection that serves this link.
    pub connected: bool,
    /// Messages handed to the broker (outbound) and, where the protocol acknowledges, acknowledged by it.
    pub sent: u64,
    /// Messages taken from the broker (inbound), whatever became of them.
    pub received: u64,
    /// Payloads that did not decode.
    pub decode_errors: u64,
    /// Values that did not encode, or whose computed topic was not valid.
    pub encode_errors: u64,
    /// Messages lost at this link: came in at a quality of service without acknowledgement when the record could not
    /// take them; went out at such a quality when the connection broke; too large for the broker, or refused by it.
    pub dropped: u64,
    /// Connections made after the first.
    pub reconnects: u64,
    /// What went wrong last, with its own time.
    pub last_error: Option<String>,
}

/// Everything measured, in the order of registration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Metrics {
    /// When this snapshot was taken.
    pub at: Instant,
    /// One entry for each record.
    pub records: Vec<RecordMetrics>,
    /// One entry for each link.
    pub links: Vec<LinkMetrics>,
}

impl Metrics {
    /// The record with this key.
    #[must_use]
    pub fn record(&self, key: &str) -> Option<&RecordMetrics> {
        self.records.iter().find(|record| record.key == key)
    }

    /// The link with this address on this record.
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
            self.encode_errors,
            self.decode_errors,
            self.dropped,
            self.reconnects
        )
    }
}
