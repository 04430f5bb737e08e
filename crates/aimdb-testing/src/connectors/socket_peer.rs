//! A peer over TCP, for any protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::peer::Peer;

/// How often the listening thread looks for a connection or a change.
const POLL: Duration = Duration::from_millis(1);

/// How long a peer that has [hung up](Peer::hang_up) waits for the connector to close its end.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// The remote end of a protocol, without input and output: the part of a [`SocketPeer`] that differs between protocols.
///
/// ```
/// use aimdb_testing::connectors::{Exchange, Protocol};
///
/// /// One line for each message: the topic, a space, the payload. Nothing is acknowledged.
/// #[derive(Default)]
/// struct Lines(Vec<u8>);
///
/// impl Protocol for Lines {
///     fn connected(&mut self, _: &mut Exchange) {
///         self.0.clear(); // The rest of a line that the last connection broke.
///     }
///
///     fn read(&mut self, bytes: &[u8], exchange: &mut Exchange) {
///         self.0.extend(bytes);
///         while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
///             let line = String::from_utf8_lossy(&self.0[..end]).into_owned();
///             self.0.drain(..=end);
///             if let Some((topic, payload)) = line.split_once(' ') {
///                 exchange.receive(topic, payload.as_bytes());
///             }
///         }
///     }
///
///     fn send(&mut self, topic: &str, payload: &[u8], copies: usize, exchange: &mut Exchange) {
///         for _ in 0..copies {
///             exchange.write(&[topic.as_bytes(), b" ", payload, b"\n"].concat());
///         }
///     }
///
///     fn rubbish(&self) -> Vec<Vec<u8>> {
///         vec![b"\xff\n".to_vec(), b"\n".to_vec()]
///     }
/// }
///
/// let mut exchange = Exchange::default();
/// Lines::default().read(b"out 1\nout 2\nou", &mut exchange);
/// assert_eq!(exchange.received("out"), [b"1", b"2"]);
/// ```
pub trait Protocol: Send + 'static {
    /// A connection begins. Unfinished input of the one before is void.
    fn connected(&mut self, exchange: &mut Exchange);

    /// Handles bytes from the connector.
    fn read(&mut self, bytes: &[u8], exchange: &mut Exchange);

    /// Sends a message `copies` times, under one number where the protocol has numbers.
    ///
    /// Without a connection the bytes are discarded, so a protocol with sessions writes what it keeps in
    /// [`connected`](Self::connected) again.
    fn send(&mut self, topic: &str, payload: &[u8], copies: usize, exchange: &mut Exchange);

    /// Bytes that no correct peer sends, one entry for each kind.
    fn rubbish(&self) -> Vec<Vec<u8>>;
}

/// The output of a [`Protocol`], and the messages that it has received.
#[derive(Debug, Default)]
pub struct Exchange {
    output: Vec<u8>,
    received: BTreeMap<String, Vec<Vec<u8>>>,
    acknowledged: BTreeMap<String, usize>,
    hangs_up: bool,
}

impl Exchange {
    /// Writes bytes to the connector.
    pub fn write(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Counts a message from the connector.
    pub fn receive(&mut self, topic: &str, payload: &[u8]) {
        self.received.entry(topic.into()).or_default().push(payload.into());
    }

    /// Counts an acknowledgement from the connector.
    pub fn acknowledge(&mut self, topic: &str) {
        *self.acknowledged.entry(topic.into()).or_default() += 1;
    }

    /// Ends the connection, for instance because the connector has said goodbye.
    pub fn hang_up(&mut self) {
        self.hangs_up = true;
    }

    /// The messages received under `topic`.
    #[must_use]
    pub fn received(&self, topic: &str) -> &[Vec<u8>] {
        self.received.get(topic).map_or(&[], Vec::as_slice)
    }
}

/// A [`Peer`] that listens on a port of 127.0.0.1.
///
/// ```
/// # use aimdb_testing::connectors::{Exchange, Peer, Protocol, SocketPeer};
/// # struct Mute;
/// # impl Protocol for Mute {
/// #     fn connected(&mut self, _: &mut Exchange) {}
/// #     fn read(&mut self, bytes: &[u8], exchange: &mut Exchange) { exchange.receive("all", bytes) }
/// #     fn send(&mut self, _: &str, _: &[u8], _: usize, _: &mut Exchange) {}
/// #     fn rubbish(&self) -> Vec<Vec<u8>> { Vec::new() }
/// # }
/// let peer = SocketPeer::listen(Mute); // `Mute` is a `Protocol`
/// let connection = std::net::TcpStream::connect(("127.0.0.1", peer.port()));
/// assert!(connection.is_ok());
/// peer.stop();
/// assert!(std::net::TcpStream::connect(("127.0.0.1", peer.port())).is_err());
/// ```
pub struct SocketPeer<P: Protocol> {
    port: u16,
    shared: Arc<Shared<P>>,
    listening: Option<JoinHandle<()>>,
}

struct Shared<P> {
    state: Mutex<State<P>>,
    /// New output, a change by the case, or the end of a connection.
    changed: Condvar,
}

struct State<P> {
    protocol: P,
    exchange: Exchange,
    mode: Mode,
    /// The open connection. `None` as soon as the peer has ended its direction.
    stream: Option<TcpStream>,
    /// The listener, while the mode is not `Stopped`.
    listener: Option<TcpListener>,
    reads: bool,
    attempts: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Serving,
    Refusing,
    EndingEarly,
    Stopped,
    /// The peer has been dropped.
    Ended,
}

impl<P: Protocol> SocketPeer<P> {
    /// Starts a peer on a free port.
    ///
    /// # Panics
    ///
    /// If the thread cannot be started.
    #[must_use]
    pub fn listen(protocol: P) -> Self {
        let (port, listener) = bind_free_port();
        let state = State {
            protocol,
            exchange: Exchange::default(),
            mode: Mode::Serving,
            stream: None,
            listener: Some(listener),
            reads: true,
            attempts: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let listening = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept_all(&shared)
        });
        Self { port, shared, listening: Some(listening) }
    }

    /// The port of 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    fn change(&self, change: impl FnOnce(&mut State<P>)) {
        change(&mut self.shared.lock());
        self.shared.changed.notify_all();
    }

    fn with_connection(&self, act: impl FnOnce(&mut P, &mut Exchange)) {
        self.change(|state| {
            act(&mut state.protocol, &mut state.exchange);
            if state.stream.is_none() {
                state.exchange.output.clear();
            }
        });
    }
}

impl<P: Protocol> Peer for SocketPeer<P> {
    fn stop(&self) {
        self.change(|state| {
            state.mode = Mode::Stopped;
            state.listener = None;
            state.end(Shutdown::Both);
        });
    }

    fn start(&self) {
        let began = Instant::now();
        let mut state = self.shared.lock();
        while state.listener.is_none() {
            match bind(self.port) {
                Ok(listener) => state.listener = Some(listener),
                // A connector that asks at this moment may hold the port for an instant.
                Err(error) => assert!(began.elapsed() < CLOSE_LIMIT, "port {}: {error}", self.port),
            }
        }
        state.mode = Mode::Serving;
        self.shared.changed.notify_all();
    }

    fn refuse(&self) {
        self.change(|state| {
            state.mode = Mode::Refusing;
            state.end(Shutdown::Both);
        });
    }

    fn end_early(&self) {
        self.change(|state| {
            state.mode = Mode::EndingEarly;
            state.end(Shutdown::Both);
        });
    }

    fn cut(&self) {
        self.change(|state| state.end(Shutdown::Both));
    }

    fn hang_up(&self) {
        self.change(|state| state.end(Shutdown::Write));
    }

    fn pause_reading(&self) {
        self.change(|state| state.reads = false);
    }

    fn resume_reading(&self) {
        self.change(|state| state.reads = true);
    }

    fn send(&self, topic: &str, payload: &[u8]) {
        self.with_connection(|protocol, exchange| protocol.send(topic, payload, 1, exchange));
    }

    fn send_twice(&self, topic: &str, payload: &[u8]) {
        self.with_connection(|protocol, exchange| protocol.send(topic, payload, 2, exchange));
    }

    fn send_half(&self, topic: &str, payload: &[u8]) {
        self.with_connection(|protocol, exchange| {
            let before = exchange.output.len();
            protocol.send(topic, payload, 1, exchange);
            let message = exchange.output.len() - before;
            assert!(message > 1, "the protocol holds the message back");
            exchange.output.truncate(before + message / 2);
            exchange.hang_up();
        });
    }

    fn send_rubbish(&self, kind: usize) {
        self.with_connection(|protocol, exchange| exchange.write(&protocol.rubbish()[kind]));
    }

    fn kinds_of_rubbish(&self) -> usize {
        self.shared.lock().protocol.rubbish().len()
    }

    fn received(&self, topic: &str) -> Vec<Vec<u8>> {
        self.shared.lock().exchange.received(topic).to_vec()
    }

    fn acknowledged(&self, topic: &str) -> usize {
        self.shared.lock().exchange.acknowledged.get(topic).copied().unwrap_or(0)
    }

    fn is_connected(&self) -> bool {
        self.shared.lock().stream.is_some()
    }

    fn attempts(&self) -> usize {
        self.shared.lock().attempts
    }
}

impl<P: Protocol> Drop for SocketPeer<P> {
    fn drop(&mut self) {
        self.change(|state| {
            state.mode = Mode::Ended;
            state.listener = None;
            state.end(Shutdown::Both);
        });
        if let Some(listening) = self.listening.take() {
            // A panic of the protocol has failed the case already, or ends it here.
            assert!(
                listening.join().is_ok() || thread::panicking(),
                "the peer's protocol panicked"
            );
        }
    }
}

impl<P: Protocol> fmt::Debug for SocketPeer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketPeer").field("port", &self.port).finish_non_exhaustive()
    }
}

impl<P> Shared<P> {
    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> State<P> {
    /// Ends the connection, in this direction or in both.
    fn end(&mut self, how: Shutdown) {
        if let Some(stream) = self.stream.take() {
            let _closed_already = stream.shutdown(how);
        }
        self.exchange.output.clear();
    }
}

/// Accepts and serves one connection after the other, until the peer is dropped.
fn accept_all<P: Protocol>(shared: &Shared<P>) {
    loop {
        let mut state = shared.lock();
        if state.mode == Mode::Ended {
            return;
        }
        let accepted = state.listener.as_ref().map(TcpListener::accept);
        if let Some(Ok((stream, _))) = accepted {
            state.attempts += 1;
            if state.mode != Mode::Refusing && stream.set_nonblocking(false).is_ok() {
                serve(shared, state, &stream);
            }
            continue;
        }
        drop(state);
        thread::sleep(POLL);
    }
}

/// Serves a connection until either end has closed it and all that the connector has written is read.
fn serve<P: Protocol>(shared: &Shared<P>, mut state: MutexGuard<'_, State<P>>, stream: &TcpStream) {
    let (Ok(()), Ok(kept)) = (stream.set_nodelay(true), stream.try_clone()) else { return };
    let State { protocol, exchange, .. } = &mut *state;
    protocol.connected(exchange);
    state.stream = Some(kept);
    drop(state);
    thread::scope(|scope| {
        // A connector that does not read must not keep the peer from reading.
        scope.spawn(|| write_all(shared, stream));
        // A panic of the protocol must end the writer too.
        let read =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read_all(shared, stream)));
        shared.lock().end(Shutdown::Both);
        let _closed_already = stream.shutdown(Shutdown::Both);
        shared.changed.notify_all();
        if let Err(panic) = read {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Writes the output until the connection ends.
fn write_all<P>(shared: &Shared<P>, mut stream: &TcpStream) {
    let mut state = shared.lock();
    while state.stream.is_some() {
        if state.exchange.output.is_empty() {
            if state.exchange.hangs_up {
                state.end(Shutdown::Write);
                return;
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let output = core::mem::take(&mut state.exchange.output);
        drop(state);
        if stream.write_all(&output).is_err() {
            return;
        }
        state = shared.lock();
    }
}

/// Reads until the connector has closed its end, or the connection is broken.
fn read_all<P: Protocol>(shared: &Shared<P>, mut stream: &TcpStream) {
    shared.lock().exchange.hangs_up = false;
    let _blocks_without = stream.set_read_timeout(Some(Duration::from_millis(20)));
    let mut bytes = vec![0; 16 << 10];
    let mut ended = None;
    loop {
        let mut state = shared.lock();
        while !state.reads && state.stream.is_some() {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stream.is_none() && ended.get_or_insert_with(Instant::now).elapsed() > CLOSE_LIMIT
        {
            return;
        }
        drop(state);
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => {
                let mut state = shared.lock();
                let State { protocol, exchange, stream, mode, .. } = &mut *state;
                protocol.read(&bytes[..count], exchange);
                exchange.hangs_up |= *mode == Mode::EndingEarly;
                if stream.is_none() {
                    exchange.output.clear();
                }
                drop(state);
                shared.changed.notify_all();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

/// A free port below the range of outgoing connections: a client that connects to an unused port in that range may be
/// connected to itself.
fn bind_free_port() -> (u16, TcpListener) {
    loop {
        let port = fastrand::u16(20_000..32_000);
        if let Ok(listener) = bind(port) {
            return (port, listener);
        }
    }
}

fn bind(port: u16) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
