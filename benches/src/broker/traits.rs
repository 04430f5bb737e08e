//! A broker of a comparison, and who sends and receives at its other end.

use std::time::Duration;

/// The longest start of a broker, and the longest wait of either end for its next byte.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

/// A broker on a port of 127.0.0.1. Dropping it stops it.
pub trait Broker: std::fmt::Debug {
    /// The name of the broker, for a table's title.
    const NAME: &str;

    /// Receives what a contestant sends.
    type Subscriber: Subscriber;
    /// Sends what a contestant receives.
    type Publisher: Publisher;

    /// Starts a broker.
    ///
    /// # Panics
    ///
    /// If it does not start; a Mosquitto that is not [`installed`](super::installed) does not.
    fn start() -> Self;

    /// The port that the broker listens on.
    fn port(&self) -> u16;

    /// The receiver of `count` messages for `topic`, at QoS 0. Call this before the contestant connects.
    fn subscriber(&self, topic: &str, count: u64) -> Self::Subscriber;

    /// The sender of `count` prepared messages for `topic`. Call this before the contestant connects.
    fn publisher(&self, topic: &str, qos: u8, count: u64) -> Self::Publisher;
}

/// See [`Broker::subscriber`].
pub trait Subscriber {
    /// Returns when all messages have arrived.
    ///
    /// # Panics
    ///
    /// If they do not arrive in time.
    fn receive(self);
}

/// See [`Broker::publisher`].
pub trait Publisher {
    /// Sends all messages, reads the answers, and stays connected until `arrived` returns.
    ///
    /// # Panics
    ///
    /// If the other end closes the connection.
    fn publish_until<O>(self, arrived: impl FnOnce() -> O) -> O;
}
