//! The connection beneath the client library, with three things put right.
//!
//! **The end.** The library drops its socket as soon as it has written the goodbye. A broker that writes to it after
//! that, and has not read that far, learns that nobody is there, hangs up in turn, and never reads the acknowledgements
//! it had already received: a kept session sends their messages again, to a client that has them. So the socket outlives
//! the library, and is read until the broker has closed its half: then the broker has read everything. By then it has
//! also let go of the session; a successor with the same client id cannot push out the connection with all that it holds.
//!
//! **Unlisted reasons.** The library takes a reason that MQTT 5 does not list for PUBACK or PUBREC for a broken packet
//! and hangs up; on the next connection the message is sent again, refused again, and so on for ever. Mosquitto gives
//! such a reason to a message over its `message_size_limit`: 0x95, packet too large. So an unlisted reason is exchanged
//! for a listed one before the library reads it, and remembered under the message's identifier. MQTT 3.1.1 has no reasons.
//!
//! **Breaks one upon the other.** When a connection breaks, the library puts back what is unanswered, and on the next one
//! takes it up again piece by piece. If that breaks half way, it forgets which releases at QoS 2 it had not taken up yet.
//! Each of them then breaks a connection of its own, loses its identifier for good, and its message is sent once more. So
//! the library learns of a break, or of anything else, only when it has taken up everything.

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

/// What MQTT 5 lets a broker answer to a publish.
const LISTED: [u8; 9] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];

/// How long a broker may take to read to the goodbye and close. It takes a round trip and what is under way.
const CLOSING: Duration = Duration::from_secs(5);

/// How long an address of a host is given before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);

/// Implementation-specific error: what an unlisted reason becomes.
pub(crate) const STAND_IN: u8 = 0x83;

/// Unlisted reasons by packet identifier, until somebody asks for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unlisted(Arc<Mutex<BTreeMap<u16, u8>>>);

impl Unlisted {
    pub(crate) fn take(&self, id: u16) -> Option<u8> {
        self.with(|reasons| reasons.remove(&id))
    }

    fn with<O>(&self, change: impl FnOnce(&mut BTreeMap<u16, u8>) -> O) -> O {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How often the library is still put off when it wants to read.
///
/// It asks each time it has nothing at hand that it could send, and takes up at least one packet before it asks again. So
/// as many times as there are packets are enough, and the end does not hang on its doing so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replay(Arc<AtomicUsize>);

impl Replay {
    /// The handshake is done, and so many packets are to be sent again.
    pub(crate) fn begin(&self, packets: usize) {
        self.0.store(packets + 1, Relaxed);
    }

    fn end(&self) {
        self.0.store(0, Relaxed);
    }

    fn goes_on(&self) -> bool {
        self.0.load(Relaxed) > 0
    }

    fn put_off(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// Both directions of a connection.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for S {}

/// The socket that the library has let go of, if any.
#[derive(Clone, Default)]
pub(crate) struct LetGo(Arc<Mutex<Option<Box<dyn Duplex>>>>);

impl LetGo {
    /// Closes it without further ado: its connection is broken.
    pub(crate) fn close(&self) {
        drop(self.take());
    }

    /// Closes it from our side, then waits until the broker has, and throws away what comes meanwhile. To be called
    /// when the goodbye is sent: what is thrown away and needs an acknowledgement comes again if the session is kept.
    pub(crate) async fn read_to_the_end(&self) {
        let Some(socket) = self.take() else { return };
        let (mut from, mut to) = tokio::io::split(socket);
        let mut nowhere = tokio::io::sink();
        // Together: a broker may take nothing in until it has got rid of what it sends.
        let closing =
            async { tokio::join!(to.shutdown(), tokio::io::copy(&mut from, &mut nowhere)) };
        // Whichever way it ends, there is nothing more to be done.
        let _ended = tokio::time::timeout(CLOSING, closing).await;
    }

    fn put(&self, socket: Box<dyn Duplex>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }

    fn take(&self) -> Option<Box<dyn Duplex>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A connection to `address`, TLS included: what is read must be plain, and the end is ours.
pub(crate) async fn connect(
    address: String,
    network: NetworkOptions,
    tls: Option<(Arc<ClientConfig>, String)>,
    unlisted: Unlisted,
    replay: Replay,
    let_go: LetGo,
) -> Result<Wire> {
    let socket = first_to_answer(tokio::net::lookup_host(address).await?, network).await?;
    let socket: Box<dyn Duplex> = match tls {
        None => Box::new(socket),
        Some((config, host)) => {
            let host = ServerName::try_from(host).map_err(Error::other)?;
            Box::new(TlsConnector::from(config).connect(host, socket).await?)
        }
    };
    // Identifiers start over, or their messages are sent again.
    unlisted.with(BTreeMap::clear);
    replay.end();
    Ok(Wire { socket, place: Place::Header, unlisted, replay, broken: None, let_go })
}

/// Tries the addresses of a host in their order. One that does not answer keeps the next ones waiting for a moment, not
/// for ever: a name with an IPv6 address leads nowhere in many a network.
async fn first_to_answer(
    addresses: impl Iterator<Item = SocketAddr>,
    network: NetworkOptions,
) -> Result<TcpStream> {
    let mut addresses = addresses.fuse().peekable();
    let mut attempts = JoinSet::new();
    let mut last = Error::new(ErrorKind::NotFound, "the host has no address");
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(default_socket_connect(address.to_string(), network.clone()));
        }
        let more = addresses.peek().is_some();
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(socket))) => return Ok(socket),
                Some(Ok(Err(error))) => last = error,
                Some(Err(error)) => last = Error::other(error),
                None => return Err(last),
            },
            () = tokio::time::sleep(HEAD_START), if more => {}
        }
    }
}

/// A connection whose incoming acknowledgements are as the client library wants them, and whose socket outlives it.
pub(crate) struct Wire {
    socket: Box<dyn Duplex>,
    place: Place,
    unlisted: Unlisted,
    replay: Replay,
    /// What a write has met that must not be told yet.
    broken: Option<Error>,
    let_go: LetGo,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.let_go.put(std::mem::replace(&mut self.socket, Box::new(tokio::io::empty())));
    }
}

/// Where in the stream of packets the next byte is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Header,
    Length {
        kind: u8,
        value: usize,
        shift: u32,
    },
    Body {
        left: usize,
    },
    /// In a PUBACK or PUBREC, `at` bytes after its header.
    Answer {
        at: usize,
        id: u16,
        left: usize,
    },
    /// Not MQTT. The library will say so.
    Nowhere,
}

impl Wire {
    /// A failed write is told by the next read, if the library may not know of it yet.
    fn written<O>(&mut self, outcome: Result<O>, as_if: O) -> Result<O> {
        match outcome {
            Err(error) if self.replay.goes_on() => {
                self.broken = Some(error);
                Ok(as_if)
            }
            outcome => outcome,
        }
    }

    fn pass(&mut self, mut bytes: &mut [u8]) {
        while let Some(first) = bytes.first_mut() {
            let mut taken = 1;
            self.place = match self.place {
                Place::Header => Place::Length { kind: *first >> 4, value: 0, shift: 0 },
                Place::Length { kind, value, shift } => {
                    let value = value | usize::from(*first & 0x7f) << shift;
                    match (*first < 0x80, kind) {
                        (false, _) if shift == 21 => Place::Nowhere,
                        (false, _) => Place::Length { kind, value, shift: shift + 7 },
                        (true, PUBACK | PUBREC) => Place::Answer { at: 0, id: 0, left: value },
                        (true, _) => Place::Body { left: value },
                    }
                    .or_header()
                }
                Place::Answer { at, id, left } => {
                    let id = if at < 2 { id << 8 | u16::from(*first) } else { id };
                    if at == 2 && *first >= 0x80 && !LISTED.contains(first) {
                        let reason = std::mem::replace(first, STAND_IN);
                        self.unlisted.with(|reasons| reasons.insert(id, reason));
                    }
                    Place::Answer { at: at + 1, id, left: left - 1 }.or_header()
                }
                Place::Body { left } => {
                    taken = left.min(bytes.len());
                    Place::Body { left: left - taken }.or_header()
                }
                Place::Nowhere => return,
            };
            bytes = &mut bytes[taken..];
        }
    }
}

impl Place {
    /// A packet with nothing left in it is followed by the next one's header.
    fn or_header(self) -> Self {
        match self {
            Self::Body { left: 0 } | Self::Answer { left: 0, .. } => Self::Header,
            place => place,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = self.get_mut();
        if this.replay.put_off() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buffer))?;
        this.pass(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes));
        Poll::Ready(self.written(outcome, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, slices));
        let all = slices.iter().map(|slice| slice.len()).sum();
        Poll::Ready(self.written(outcome, all))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let outcome = ready!(Pin::new(&mut self.socket).poll_flush(cx));
        Poll::Ready(self.written(outcome, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn wire(socket: impl Duplex + 'static, unlisted: &Unlisted, replay: &Replay) -> Wire {
        let (unlisted, replay, let_go) = (unlisted.clone(), replay.clone(), LetGo::default());
        let socket = Box::new(socket);
        Wire { socket, place: Place::Header, unlisted, replay, broken: None, let_go }
    }

    #[tokio::test]
    async fn a_break_is_told_by_a_read_and_no_sooner_than_everything_is_sent_again() {
        let (socket, broker) = tokio::io::duplex(64);
        let replay = Replay::default();
        let mut wire = wire(socket, &Unlisted::default(), &replay);
        drop(broker);
        replay.begin(3);
        for _ in 0..3 {
            wire.write_all(b"packet").await.unwrap();
            wire.flush().await.unwrap();
            let mut byte = [0];
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let read = Pin::new(&mut wire).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
            assert!(read.is_pending());
        }
        wire.write_all(b"the last").await.unwrap();
        assert_eq!(wire.read_u8().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(wire.write_all(b"one more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    /// What the library gets to read, and what is remembered, if the stream comes in pieces of `size`.
    fn passed(stream: &[u8], size: usize) -> (Vec<u8>, Vec<(u16, u8)>) {
        let unlisted = Unlisted::default();
        let mut wire = wire(tokio::io::empty(), &unlisted, &Replay::default());
        let mut bytes = stream.to_vec();
        bytes.chunks_mut(size).for_each(|piece| wire.pass(piece));
        (
            bytes,
            unlisted.with(|reasons| reasons.iter().map(|(id, reason)| (*id, *reason)).collect()),
        )
    }

    #[test]
    fn only_unlisted_reasons_of_answers_to_publishes_are_exchanged() {
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
            &[0x40, 3, 0x00, 0x09, 0x10],     // PUBACK, nobody subscribed
        ]
        .concat();
        let mut expected = stream.clone();
        let second = 5 + 4 + 5 + large.len() + 2 + 5;
        (expected[13], expected[second + 4]) = (STAND_IN, STAND_IN);
        for size in 1..=stream.len() {
            let (bytes, reasons) = passed(&stream, size);
            assert!(bytes == expected, "in pieces of {size}");
            assert_eq!(reasons, [(7, 0x96), (0x0102, 0x95)]);
        }
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_does_not_keep_the_next_ones_waiting_for_ever() {
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = silent.listen(1).unwrap();
        let nowhere = silent.local_addr().unwrap();
        // Once nobody more can wait to be accepted, nobody more is answered.
        let mut waiting = Vec::new();
        let full = async {
            while let Ok(Ok(socket)) =
                tokio::time::timeout(HEAD_START, TcpStream::connect(nowhere)).await
            {
                waiting.push(socket);
            }
        };
        tokio::time::timeout(20 * HEAD_START, full).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let reached = first_to_answer([nowhere, there].into_iter(), NetworkOptions::new());
        let reached = tokio::time::timeout(20 * HEAD_START, reached).await.unwrap().unwrap();
        assert_eq!(reached.peer_addr().unwrap(), there);

        let refused = {
            let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        let network = NetworkOptions::new();
        assert!(first_to_answer([refused, there].into_iter(), network.clone()).await.is_ok());
        let error = first_to_answer([refused].into_iter(), network.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = first_to_answer(std::iter::empty(), network).await.unwrap_err();
        assert_eq!(error.to_string(), "the host has no address");
    }

    #[test]
    fn what_is_not_mqtt_passes_as_it_is() {
        let stream = [0x40, 0xff, 0xff, 0xff, 0xff, 0x01, 0x95, 0x95, 0x95];
        assert_eq!(passed(&stream, 2), (stream.to_vec(), Vec::new()));
    }
}
