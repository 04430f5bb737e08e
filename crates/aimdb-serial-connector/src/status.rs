//! What the line counts.

use aimdb_core::Arc;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use aimdb_core::Instant;
use portable_atomic::AtomicU64;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident: $words:literal;)*) => {
        /// A line's counters at one moment. They begin at zero with the connector and never go back.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct SerialCounters {
            $($(#[doc = $doc])+ pub $name: u64,)*
        }

        #[derive(Default)]
        pub(crate) struct Cells {
            $(pub(crate) $name: Counter,)*
            /// In nanoseconds of the runtime's clock; zero for never.
            last_heard: AtomicU64,
        }

        impl Cells {
            fn snapshot(&self) -> SerialCounters {
                SerialCounters { $($name: self.$name.0.load(Relaxed),)* }
            }
        }

        impl SerialCounters {
            /// What has been counted since `earlier`.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }
        }

        impl fmt::Display for SerialCounters {
            /// Those that are not zero.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut between = "";
                $(if self.$name > 0 {
                    write!(f, "{between}{} {}", self.$name, $words)?;
                    between = ", ";
                })*
                if between.is_empty() { f.write_str("nothing") } else { Ok(()) }
            }
        }
    };
}

counters! {
    /// Values written to the line.
    sent: "sent";
    /// Values that came in new and whole, whatever became of them.
    received: "received";
    /// Values that the peer sent and that did not come.
    lost: "lost";
    /// Values that the peer had sent before anything was heard of it.
    unheard: "sent before anything was heard";
    /// Values that came again, and were dropped.
    doubled: "doubled";
    /// Frames whose checksum was wrong.
    corrupted: "corrupted frames";
    /// Frames of which bytes were missing.
    cut: "cut frames";
    /// Frames that came in longer than the limit.
    too_long: "frames over the limit";
    /// Frames of another version, or of another protocol.
    foreign: "foreign frames";
    /// Values of topics that no link here is for.
    unknown_topics: "of unknown topics";
    /// Deliveries that a record had no room for in time, or that came when it was closed.
    refused: "refused by a full or closed record";
    /// Values that were not sent because they are over the limit.
    oversized: "not sent, over the limit";
    /// Times that the peer began a new session.
    peer_restarts: "restarts of the peer";
    /// Times that the line was opened after the first.
    reconnects: "reconnects";
}

impl SerialCounters {
    /// Without what is as it should be.
    pub(crate) fn troubles(self) -> Self {
        Self { sent: 0, received: 0, reconnects: 0, oversized: 0, ..self }
    }
}

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u32) {
        self.0.fetch_add(count.into(), Relaxed);
    }
}

/// A line's counters, to look at from anywhere at any time. Cheap to clone.
///
/// What can be said of one link stands in `db.metrics()` too; which link a lost frame belonged to, nobody knows.
#[derive(Clone, Default)]
pub struct SerialStatus(Arc<Cells>);

impl SerialStatus {
    /// All counters now. Each is exact; those of one frame may be a moment apart.
    #[must_use]
    pub fn counters(&self) -> SerialCounters {
        self.0.snapshot()
    }

    /// When the last whole frame came, a heartbeat included, by the runtime's clock. A line that is open but silent is
    /// one that is not plugged in.
    #[must_use]
    pub fn last_heard(&self) -> Option<Instant> {
        let nanos = self.0.last_heard.load(Relaxed);
        (nanos > 0).then(|| Instant::from_nanos(nanos))
    }

    pub(crate) fn cells(&self) -> &Cells {
        &self.0
    }

    pub(crate) fn heard(&self, at: Instant) {
        // At the clock's origin it was a nanosecond later.
        self.0.last_heard.store(at.as_nanos().max(1), Relaxed);
    }
}

impl fmt::Debug for SerialStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SerialStatus").field(&self.counters()).finish()
    }
}
