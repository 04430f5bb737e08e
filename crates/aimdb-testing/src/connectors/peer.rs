//! The remote end of a connector under test, as the cases control it.

/// The remote end of a connector: a broker, a device, another database.
///
/// All methods return at once; a case polls for their effects. A peer serves one connector at a time. A
/// [`SocketPeer`](super::SocketPeer) implements the trait for any protocol over TCP, and
/// [`MemoryPeer`](crate::MemoryPeer) without a socket.
///
/// ```
/// use aimdb_testing::{MemoryPeer, connectors::Peer};
///
/// let peer = MemoryPeer::new();
/// peer.send("in", b"1");
/// assert_eq!((peer.attempts(), peer.acknowledged("in"), peer.is_connected()), (0, 0, false));
/// ```
pub trait Peer: 'static {
    /// Breaks the connection, and can no longer be reached.
    fn stop(&self);

    /// Can be reached again, at the same address, after [`stop`](Self::stop) or [`refuse`](Self::refuse).
    fn start(&self);

    /// Breaks the connection, and ends each new one before it is of any use.
    fn refuse(&self);

    /// Can be reached, greets, and then ends each connection, until [`start`](Self::start).
    fn end_early(&self);

    /// Breaks the connection without notice: what is under way in either direction is lost.
    fn cut(&self);

    /// Ends the connection in order: the peer receives all that the connector has written.
    fn hang_up(&self);

    /// Stops reading; the connection stays open.
    fn pause_reading(&self);

    /// Reads again after [`pause_reading`](Self::pause_reading).
    fn resume_reading(&self);

    /// Sends a message on the open connection. A peer with sessions keeps it until the connector has acknowledged it.
    fn send(&self, topic: &str, payload: &[u8]);

    /// Sends one message twice: the second time under the same number, where the protocol has numbers.
    fn send_twice(&self, topic: &str, payload: &[u8]);

    /// Sends the first half of a message, and ends the connection. A peer with sessions sends the message again.
    fn send_half(&self, topic: &str, payload: &[u8]);

    /// Sends what no correct peer sends, of the given kind: a number below [`kinds_of_rubbish`](Self::kinds_of_rubbish).
    fn send_rubbish(&self, kind: usize);

    /// The number of kinds of rubbish, at least one.
    fn kinds_of_rubbish(&self) -> usize;

    /// The payloads received under `topic`, oldest first. A value that the peer recognises as sent again is not among them.
    fn received(&self, topic: &str) -> Vec<Vec<u8>>;

    /// The number of messages under `topic` that the connector has acknowledged.
    fn acknowledged(&self, topic: &str) -> usize;

    /// Whether a connection is open.
    fn is_connected(&self) -> bool;

    /// The attempts of the connector to connect that have reached the peer, refused ones included.
    fn attempts(&self) -> usize;
}
