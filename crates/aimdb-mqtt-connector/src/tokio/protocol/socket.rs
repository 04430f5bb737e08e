//! The socket beneath the client library. It corrects three behaviours of the library.
//!
//! **Closing.** The library drops its socket as soon as it has written the DISCONNECT. If the broker writes to that
//! socket before it has read that far, its machine resets the connection, and the broker never reads the
//! acknowledgements that it had already received. A broker that keeps the session then sends their messages again, to a
//! client that has them. Therefore [`ReleasedSocket`] keeps the socket after the library drops it, and reads until the
//! broker has closed its half: then the broker has read everything. By then the broker has also released the session; a
//! successor with the same client id cannot displace a connection that still holds unread packets.
//!
//! **Unlisted refusal reasons.** The library treats a reason that MQTT 5 does not list for PUBACK or PUBREC as a
//! malformed packet and closes the connection. On the next connection it sends the message again, the broker refuses it
//! again, and so on without limit. Mosquitto gives such a reason to a message over its `message_size_limit`: 0x95,
//! packet too large. Therefore [`ClientSocket`] replaces an unlisted reason by a listed one before the library reads
//! it, and
//! [`RefusalReasons`] stores the original under the message's packet identifier. MQTT 3.1.1 has no reasons.
//!
//! **Repeated connection losses.** When a connection breaks, the library keeps its unanswered packets, and replays them
//! one by one on the next connection. If that connection breaks during the replay, the library forgets which PUBRELs it
//! had not replayed yet. Each of these then breaks a further connection and loses its packet identifier, and its
//! message is sent once more. Therefore [`ReplayGate`] hides everything from the library, a broken connection included,
//! until the library has replayed everything.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rumqttc_v5::tokio_rustls::TlsConnector;
use rumqttc_v5::{NetworkOptions, default_socket_connect};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const PUBACK: u8 = 4;
const PUBREC: u8 = 5;

/// The reasons that MQTT 5 lists for PUBACK and PUBREC.
const LISTED_REASONS: [u8; 9] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];

/// How long a broker may take to read the DISCONNECT and close. It needs a round trip and the time for the packets in
/// flight.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one address of a host may take before the next one is tried in parallel.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// "Implementation specific error": the replacement for an unlisted reason.
const SUBSTITUTE_REASON: u8 = 0x83;

/// Unlisted reasons by packet identifier, until [`take`](Self::take) removes them.
#[derive(Clone, Debug, Default)]
pub(super) struct RefusalReasons(Arc<Mutex<BTreeMap<u16, u8>>>);

impl RefusalReasons {
    pub(super) fn take(&self, id: u16) -> Option<u8> {
        self.with(|reasons| reasons.remove(&id))
    }

    fn with<O>(&self, change: impl FnOnce(&mut BTreeMap<u16, u8>) -> O) -> O {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Counts how many reads of the library are still to be deferred during a replay.
///
/// The library reads whenever it has no packet ready to send, and replays at least one packet before it reads again.
/// Therefore as many deferrals as there are packets suffice, and the replay ends even if the library needs fewer.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplayGate(Arc<AtomicUsize>);

impl ReplayGate {
    /// Closes the gate: the handshake is complete, and the library replays this number of packets.
    pub(super) fn begin(&self, packets: usize) {
        self.0.store(packets + 1, Relaxed);
    }

    fn end(&self) {
        self.0.store(0, Relaxed);
    }

    fn is_closed(&self) -> bool {
        self.0.load(Relaxed) > 0
    }

    /// Whether a read is to be deferred. Each `true` uses up one deferral.
    fn defer_read(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// Both directions of a connection.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for S {}

/// The socket that the library has dropped, if any.
#[derive(Clone, Default)]
pub(super) struct ReleasedSocket(Arc<Mutex<Option<Box<dyn Duplex>>>>);

impl ReleasedSocket {
    /// Drops the socket of a broken connection.
    pub(super) fn close(&self) {
        drop(self.take());
    }

    /// Closes the sending half, then reads and discards until the broker has closed its half, for up to
    /// [`CLOSE_TIMEOUT`].
    ///
    /// The caller has sent the DISCONNECT before. A discarded message that needs an acknowledgement is sent again if
    /// the broker keeps the session.
    pub(super) async fn drain_and_close(&self) {
        let Some(socket) = self.take() else { return };
        let (mut from_broker, mut to_broker) = tokio::io::split(socket);
        let mut discard = tokio::io::sink();
        // Concurrently: a broker may read nothing until it has written what it has to send.
        let closing = async {
            tokio::join!(to_broker.shutdown(), tokio::io::copy(&mut from_broker, &mut discard))
        };
        // The connection ends here with any outcome.
        let _outcome = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    }

    fn put(&self, socket: Box<dyn Duplex>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }

    fn take(&self) -> Option<Box<dyn Duplex>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Opens a connection to `address`. TLS is part of it because [`ClientSocket`] parses plain bytes and controls the
/// closing.
pub(super) async fn connect(
    address: String,
    network: NetworkOptions,
    tls: Option<(Arc<ClientConfig>, String)>,
    refusals: RefusalReasons,
    replay: ReplayGate,
    released: ReleasedSocket,
) -> Result<ClientSocket> {
    let socket = connect_first(tokio::net::lookup_host(address).await?, network).await?;
    let socket: Box<dyn Duplex> = match tls {
        None => Box::new(socket),
        Some((config, host)) => {
            let host = ServerName::try_from(host).map_err(Error::other)?;
            Box::new(TlsConnector::from(config).connect(host, socket).await?)
        }
    };
    // Stored reasons are obsolete: packet identifiers start over, or their messages are sent again.
    refusals.with(BTreeMap::clear);
    replay.end();
    Ok(ClientSocket::new(socket, refusals, replay, released))
}

/// Connects to the first address of a host that answers.
///
/// The addresses are tried in order. An address that does not answer delays the next one by [`ATTEMPT_DELAY`] instead
/// of blocking it: in many networks the IPv6 address of a host is unreachable.
async fn connect_first(
    addresses: impl Iterator<Item = SocketAddr>,
    network: NetworkOptions,
) -> Result<TcpStream> {
    let mut addresses = addresses.fuse().peekable();
    let mut attempts = JoinSet::new();
    let mut last_error = Error::new(ErrorKind::NotFound, "the host has no address");
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(default_socket_connect(address.to_string(), network.clone()));
        }
        let more = addresses.peek().is_some();
        tokio::select! {
            attempt = attempts.join_next() => match attempt {
                Some(Ok(Ok(socket))) => return Ok(socket),
                Some(Ok(Err(error))) => last_error = error,
                Some(Err(error)) => last_error = Error::other(error),
                None => return Err(last_error),
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if more => {}
        }
    }
}

/// The socket that the library uses. It replaces unlisted refusal reasons, defers reads and errors during a replay, and
/// hands the inner socket to [`ReleasedSocket`] when it is dropped.
pub(super) struct ClientSocket {
    socket: Box<dyn Duplex>,
    parser: ParserState,
    refusals: RefusalReasons,
    replay: ReplayGate,
    /// The error of a write during a replay, for the first read after it.
    deferred_error: Option<Error>,
    released: ReleasedSocket,
}

impl Drop for ClientSocket {
    fn drop(&mut self) {
        self.released.put(std::mem::replace(&mut self.socket, Box::new(tokio::io::empty())));
    }
}

/// The position of the next byte in the stream of packets.
#[derive(Clone, Copy, Debug)]
enum ParserState {
    Header,
    Length {
        kind: u8,
        value: usize,
        shift: u32,
    },
    Body {
        left: usize,
    },
    /// In a PUBACK or PUBREC, `offset` bytes after its header.
    Ack {
        offset: usize,
        id: u16,
        left: usize,
    },
    /// The stream is not MQTT. The library reports it.
    Invalid,
}

impl ClientSocket {
    fn new(
        socket: Box<dyn Duplex>,
        refusals: RefusalReasons,
        replay: ReplayGate,
        released: ReleasedSocket,
    ) -> Self {
        let parser = ParserState::Header;
        Self { socket, parser, refusals, replay, deferred_error: None, released }
    }

    /// The outcome of a write. During a replay an error becomes `success`, and the first read after the replay returns
    /// it.
    fn defer_error<O>(&mut self, outcome: Result<O>, success: O) -> Result<O> {
        match outcome {
            Err(error) if self.replay.is_closed() => {
                self.deferred_error = Some(error);
                Ok(success)
            }
            outcome => outcome,
        }
    }

    /// Replaces unlisted reasons in `bytes`, the next ones of the stream.
    fn replace_reasons(&mut self, mut bytes: &mut [u8]) {
        while let Some(first) = bytes.first_mut() {
            let mut consumed = 1;
            self.parser = match self.parser {
                ParserState::Header => {
                    ParserState::Length { kind: *first >> 4, value: 0, shift: 0 }
                }
                ParserState::Length { kind, value, shift } => {
                    let value = value | usize::from(*first & 0x7f) << shift;
                    match (*first < 0x80, kind) {
                        (false, _) if shift == 21 => ParserState::Invalid,
                        (false, _) => ParserState::Length { kind, value, shift: shift + 7 },
                        (true, PUBACK | PUBREC) => {
                            ParserState::Ack { offset: 0, id: 0, left: value }
                        }
                        (true, _) => ParserState::Body { left: value },
                    }
                    .or_next_header()
                }
                ParserState::Ack { offset, id, left } => {
                    let id = if offset < 2 { id << 8 | u16::from(*first) } else { id };
                    if offset == 2 && *first >= 0x80 && !LISTED_REASONS.contains(first) {
                        let reason = std::mem::replace(first, SUBSTITUTE_REASON);
                        self.refusals.with(|reasons| reasons.insert(id, reason));
                    }
                    ParserState::Ack { offset: offset + 1, id, left: left - 1 }.or_next_header()
                }
                ParserState::Body { left } => {
                    consumed = left.min(bytes.len());
                    ParserState::Body { left: left - consumed }.or_next_header()
                }
                ParserState::Invalid => return,
            };
            bytes = &mut bytes[consumed..];
        }
    }
}

impl ParserState {
    /// The header of the next packet follows a packet without bytes left.
    fn or_next_header(self) -> Self {
        match self {
            Self::Body { left: 0 } | Self::Ack { left: 0, .. } => Self::Header,
            state => state,
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = self.get_mut();
        if this.replay.defer_read() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(error) = this.deferred_error.take() {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buffer))?;
        this.replace_reasons(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes));
        Poll::Ready(self.defer_error(outcome, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, slices));
        let all = slices.iter().map(|slice| slice.len()).sum();
        Poll::Ready(self.defer_error(outcome, all))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let outcome = ready!(Pin::new(&mut self.socket).poll_flush(cx));
        Poll::Ready(self.defer_error(outcome, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn client_socket(
        socket: impl Duplex + 'static,
        refusals: &RefusalReasons,
        replay: &ReplayGate,
    ) -> ClientSocket {
        let (refusals, replay) = (refusals.clone(), replay.clone());
        ClientSocket::new(Box::new(socket), refusals, replay, ReleasedSocket::default())
    }

    #[tokio::test]
    async fn a_broken_connection_is_reported_by_a_read_after_the_replay_and_not_before() {
        let (inner, broker) = tokio::io::duplex(64);
        let replay = ReplayGate::default();
        let mut socket = client_socket(inner, &RefusalReasons::default(), &replay);
        drop(broker);
        replay.begin(3);
        for _ in 0..3 {
            socket.write_all(b"packet").await.unwrap();
            socket.flush().await.unwrap();
            let mut byte = [0];
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let read = Pin::new(&mut socket).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
            assert!(read.is_pending());
        }
        socket.write_all(b"the last").await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(socket.write_all(b"one more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    /// The bytes that the library reads, and the stored reasons, for a stream in pieces of `size` bytes.
    fn replaced(stream: &[u8], size: usize) -> (Vec<u8>, Vec<(u16, u8)>) {
        let refusals = RefusalReasons::default();
        let mut socket = client_socket(tokio::io::empty(), &refusals, &ReplayGate::default());
        let mut bytes = stream.to_vec();
        bytes.chunks_mut(size).for_each(|piece| socket.replace_reasons(piece));
        (
            bytes,
            refusals.with(|reasons| reasons.iter().map(|(id, reason)| (*id, *reason)).collect()),
        )
    }

    #[test]
    fn only_unlisted_reasons_in_acknowledgements_of_publishes_are_replaced() {
        let large = [&[0x30, 0xc8, 0x01][..], &[0x40; 200]].concat();
        let stream = [
            &[0x20, 3, 0x95, 0x95, 0x95][..], // CONNACK
            &[0x40, 2, 0x95, 0x95],           // PUBACK without a reason
            &[0x40, 3, 0x01, 0x02, 0x95],     // PUBACK
            &large,                           // PUBLISH
            &[0xd0, 0],                       // PINGRESP
            &[0x40, 3, 0x01, 0x03, 0x97],     // PUBACK, quota exceeded
            &[0x50, 4, 0x00, 0x07, 0x96, 0],  // PUBREC
            &[0x70, 3, 0x00, 0x08, 0x95],     // PUBCOMP
            &[0x40, 3, 0x00, 0x09, 0x10],     // PUBACK, no matching subscribers
        ]
        .concat();
        let mut expected = stream.clone();
        let second = 5 + 4 + 5 + large.len() + 2 + 5;
        (expected[13], expected[second + 4]) = (SUBSTITUTE_REASON, SUBSTITUTE_REASON);
        for size in 1..=stream.len() {
            let (bytes, reasons) = replaced(&stream, size);
            assert!(bytes == expected, "in pieces of {size}");
            assert_eq!(reasons, [(7, 0x96), (0x0102, 0x95)]);
        }
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_does_not_block_the_next_ones() {
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = silent.listen(1).unwrap();
        let unreachable = silent.local_addr().unwrap();
        // Once the backlog is full, the system answers no further connection.
        let mut waiting = Vec::new();
        let fill_backlog = async {
            while let Ok(Ok(socket)) =
                tokio::time::timeout(ATTEMPT_DELAY, TcpStream::connect(unreachable)).await
            {
                waiting.push(socket);
            }
        };
        tokio::time::timeout(20 * ATTEMPT_DELAY, fill_backlog).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let reachable = listener.local_addr().unwrap();
        let connected = connect_first([unreachable, reachable].into_iter(), NetworkOptions::new());
        let connected = tokio::time::timeout(20 * ATTEMPT_DELAY, connected).await.unwrap().unwrap();
        assert_eq!(connected.peer_addr().unwrap(), reachable);

        let refused = {
            let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        let network = NetworkOptions::new();
        assert!(connect_first([refused, reachable].into_iter(), network.clone()).await.is_ok());
        let error = connect_first([refused].into_iter(), network.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = connect_first(std::iter::empty(), network).await.unwrap_err();
        assert_eq!(error.to_string(), "the host has no address");
    }

    #[test]
    fn a_stream_that_is_not_mqtt_is_not_changed() {
        let stream = [0x40, 0xff, 0xff, 0xff, 0xff, 0x01, 0x95, 0x95, 0x95];
        assert_eq!(replaced(&stream, 2), (stream.to_vec(), Vec::new()));
    }
}
