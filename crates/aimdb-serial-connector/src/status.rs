//! The counters of a connector.

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use aimdb_core::{Arc, Instant};
use portable_atomic::AtomicU64;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident: $label:literal;)*) => {
        /// A snapshot of a serial connector's counters.
        ///
        /// The counters begin at zero with the connector and never decrease. `Display` lists those above zero.
        ///
        /// ```
        /// use aimdb_serial_connector::SerialConnector;
        ///
        /// let serial = SerialConnector::tcp("127.0.0.1:5555");
        /// let status = serial.status();
        /// let before = status.counters();
        /// // The database runs.
        /// let since = status.counters().since(&before);
        /// assert_eq!((since.lost, since.to_string().as_str()), (0, "nothing"));
        /// ```
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct SerialCounters {
            $($(#[doc = $doc])+ pub $name: u64,)*
        }

        /// The live counters. Each is independent of the others, so `Relaxed` suffices for all of them.
        #[derive(Default)]
        pub(crate) struct CounterCells {
            $(pub(crate) $name: Counter,)*
            /// The arrival of the last valid frame in nanoseconds of the runtime's clock; zero before the first one.
            last_frame_at: AtomicU64,
        }

        impl CounterCells {
            fn snapshot(&self) -> SerialCounters {
                SerialCounters { $($name: self.$name.0.load(Relaxed),)* }
            }
        }

        impl SerialCounters {
            /// Returns the increase of each counter since the snapshot `earlier`.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }
        }

        impl fmt::Display for SerialCounters {
            /// Lists the counters above zero, or writes `nothing`.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut separator = "";
                $(if self.$name > 0 {
                    write!(f, "{separator}{} {}", self.$name, $label)?;
                    separator = ", ";
                })*
                if separator.is_empty() { f.write_str("nothing") } else { Ok(()) }
            }
        }
    };
}

counters! {
    /// Values written to the port.
    sent: "sent";
    /// New values received in valid frames, including those lost later (unknown topic, not decoded, refused).
    received: "received";
    /// Values that the peer sent and that did not arrive.
    lost: "lost";
    /// Values that the peer sent before the first frame ever received from it.
    before_first_frame: "sent before the first frame";
    /// Values that arrived a second time and were dropped.
    duplicates: "duplicates";
    /// Frames whose checksum did not match.
    corrupted: "corrupted frames";
    /// Frames with missing bytes.
    truncated: "truncated frames";
    /// Received frames over the payload limit.
    too_long: "frames over the limit";
    /// Frames of another version or another protocol.
    unsupported: "unsupported frames";
    /// Values whose topic no inbound link of this connector names.
    unknown_topics: "of unknown topics";
    /// Deliveries that failed because the record stayed full for the timeout, or was closed.
    refused: "refused by a full or closed record";
    /// Values that were not sent because they are over the payload limit.
    oversized: "not sent, over the limit";
    /// New sessions of the peer after its first one.
    peer_restarts: "restarts of the peer";
    /// Successful openings of the port after the first one.
    reconnects: "reconnects";
}

impl SerialCounters {
    /// Returns a copy in which only the counters of receive problems are kept.
    ///
    /// `oversized` is among those cleared: the outbound side logs each such value itself.
    pub(crate) fn receive_problems(self) -> Self {
        Self { sent: 0, received: 0, reconnects: 0, oversized: 0, ..self }
    }
}

/// One live counter.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u32) {
        self.0.fetch_add(count.into(), Relaxed);
    }
}

/// A handle to a serial connector's counters, readable at any time from any thread.
///
/// Clones share the counters. `db.metrics()` has the counters of each link; a lost frame is counted here alone, because
/// the receiver cannot know its topic.
///
/// ```
/// use aimdb_serial_connector::SerialConnector;
///
/// let serial = SerialConnector::tcp("127.0.0.1:5555");
/// let status = serial.status(); // before `builder.connector(serial)`
/// assert_eq!(status.counters().received, 0);
/// assert_eq!(status.last_frame_at(), None);
/// ```
#[derive(Clone, Default)]
pub struct SerialStatus(Arc<CounterCells>);

impl SerialStatus {
    /// Returns the current counters.
    ///
    /// Each counter is exact. The connector updates the counters of one frame one after the other, so a snapshot may
    /// have some of them without the rest.
    #[must_use]
    pub fn counters(&self) -> SerialCounters {
        self.0.snapshot()
    }

    /// Returns when the last valid frame arrived, heartbeats included, on the runtime's clock.
    ///
    /// `None` before the first frame: the port may be open without a peer on the line.
    #[must_use]
    pub fn last_frame_at(&self) -> Option<Instant> {
        let nanos = self.0.last_frame_at.load(Relaxed);
        (nanos > 0).then(|| Instant::from_nanos(nanos))
    }

    pub(crate) fn cells(&self) -> &CounterCells {
        &self.0
    }

    pub(crate) fn set_last_frame_at(&self, at: Instant) {
        // Zero means "never", so an arrival at the clock's origin is stored one nanosecond late.
        self.0.last_frame_at.store(at.as_nanos().max(1), Relaxed);
    }
}

impl fmt::Debug for SerialStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SerialStatus").field(&self.counters()).finish()
    }
}
