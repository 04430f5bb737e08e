//! The connector under test, and what it promises.

use core::future::Future;
use core::time::Duration;

use aimdb_core::{AimDbBuilder, Arc, Runtime};

use super::peer::Peer;

/// A connector under test: how to run it, its peer, its addresses and its promises.
///
/// The [module](super) has a complete example.
///
/// The connector's backoff MUST be short, with at most [`LONGEST_BACKOFF`](super::LONGEST_BACKOFF) between two attempts:
/// the cases wait for reconnects.
pub trait Subject: 'static {
    /// The runtime that runs the database.
    type Runtime: Runtime;

    /// The remote end.
    type Peer: Peer;

    /// The connector's promises.
    const PROMISES: Promises;

    /// Runs a case to its end on a runtime of its own, and propagates its panic.
    fn run<F: Future<Output = ()> + 'static>(case: fn(Arc<Self::Runtime>) -> F);

    /// Starts a peer that accepts connections. Dropping it ends it.
    fn peer() -> Self::Peer;

    /// Adds one connector of this peer. Returns the count of the peer's faults that the connector keeps beside its links.
    fn connect(builder: &mut AimDbBuilder<Self::Runtime>, peer: &Self::Peer) -> FaultCount;

    /// The address of an outbound link to `topic`.
    fn outbound(topic: &str) -> String;

    /// The address of an inbound link from `topic`.
    fn inbound(topic: &str) -> String;
}

/// The longest pause of a connector under test between two attempts to connect.
pub const LONGEST_BACKOFF: Duration = Duration::from_millis(100);

/// The topics of all cases, for protocols that send a number in place of a topic.
pub const TOPICS: [&str; 8] = ["a", "b", "c", "out", "more", "in", "full", "free"];

/// Reads how many faults of its peer a connector has counted outside of its links: damaged frames, for instance.
pub type FaultCount = Box<dyn Fn() -> u64>;

/// The promises of a connector, in both directions.
///
/// ```
/// use aimdb_testing::connectors::{Delivery, Promises, not_applicable};
///
/// // A datagram without numbers: nothing is acknowledged, nobody waits, and a repeated message is a new one.
/// let promises = Promises::new(Delivery::AtMostOnce, 1_000);
/// assert!(!promises.acknowledges());
/// let left_out = not_applicable(&promises);
/// assert!(left_out.iter().any(|(case, _)| *case == "nothing_is_acknowledged_before_the_record_has_it"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Promises {
    /// How often a value arrives.
    pub delivery: Delivery,
    /// The largest payload that passes in both directions, in bytes.
    pub largest_payload: usize,
    /// A message that arrives a second time under its number is recognised and not delivered again.
    pub detects_doubles: bool,
    /// The peer sends an unacknowledged message again after a reconnect.
    pub has_sessions: bool,
    /// A message for a full record waits. Without it the message is dropped and counted.
    pub holds_back: bool,
    /// Messages for other records that arrive while one record stays full: [`u64::MAX`] unless the protocol has a limit.
    pub others_while_full: u64,
}

/// How often a value arrives at the other end, connections that break included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// Nothing is acknowledged: a value under way may be lost when the connection breaks.
    AtMostOnce,
    /// A value is sent until it is acknowledged.
    AtLeastOnce,
    /// As [`AtLeastOnce`](Self::AtLeastOnce), and both ends recognise what was sent again.
    ExactlyOnce,
}

impl Promises {
    /// Promises of the delivery and the payload alone.
    #[must_use]
    pub const fn new(delivery: Delivery, largest_payload: usize) -> Self {
        Self {
            delivery,
            largest_payload,
            detects_doubles: false,
            has_sessions: false,
            holds_back: false,
            others_while_full: u64::MAX,
        }
    }

    /// Adds that the connector [recognises doubles](Self::detects_doubles).
    #[must_use]
    pub const fn detects_doubles(self) -> Self {
        Self { detects_doubles: true, ..self }
    }

    /// Adds that the peer [sends again](Self::has_sessions) what was not acknowledged.
    #[must_use]
    pub const fn has_sessions(self) -> Self {
        Self { has_sessions: true, ..self }
    }

    /// Adds that messages for a full record [wait](Self::holds_back).
    #[must_use]
    pub const fn holds_back(self) -> Self {
        Self { holds_back: true, ..self }
    }

    /// Limits the messages for [other records](Self::others_while_full) while one record stays full.
    #[must_use]
    pub const fn others_while_full(self, messages: u64) -> Self {
        Self { others_while_full: messages, ..self }
    }

    /// Whether both ends acknowledge messages.
    #[must_use]
    pub const fn acknowledges(&self) -> bool {
        !matches!(self.delivery, Delivery::AtMostOnce)
    }
}
