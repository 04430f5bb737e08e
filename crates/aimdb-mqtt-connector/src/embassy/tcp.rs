//! Streams of embassy-net.

use alloc::boxed::Box;
use core::fmt;

use embassy_net::tcp::{ConnectError, Error, TcpSocket};
use embassy_net::{IpEndpoint, Stack};
use embassy_time::Duration;
use embedded_io_async::{ErrorType, Read, Write};

use super::{DEFAULT_BUFFER, Network};

/// How long nothing may come from the broker's machine before the connection counts as broken.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How often an idle connection is tested: a few times before it counts as broken.
const TEST: Duration = Duration::from_secs(8);

/// TCP to one address, over a stack of embassy-net. Needs one of its sockets, and a buffer of [`DEFAULT_BUFFER`] bytes on
/// the heap for each direction.
///
/// A broker's machine that says nothing for 30 s, neither data nor acknowledgements, is taken for gone. When nothing else
/// is sent TCP asks it every 8 s.
pub struct TcpNetwork {
    stack: Stack<'static>,
    broker: IpEndpoint,
    receive: Box<[u8]>,
    send: Box<[u8]>,
}

impl TcpNetwork {
    /// Connections to `broker`. While `stack` has no address there are none, which is tried again like any other failure.
    #[must_use]
    pub fn new(stack: Stack<'static>, broker: impl Into<IpEndpoint>) -> Self {
        let buffer = || Box::from([0; DEFAULT_BUFFER]);
        Self { stack, broker: broker.into(), receive: buffer(), send: buffer() }
    }
}

impl fmt::Debug for TcpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpNetwork").field("broker", &self.broker).finish_non_exhaustive()
    }
}

impl Network for TcpNetwork {
    type Stream<'n> = TcpStream<'n>;
    type Error = NoConnection;

    async fn connect(&mut self) -> Result<TcpStream<'_>, NoConnection> {
        let mut socket = TcpSocket::new(self.stack, &mut self.receive, &mut self.send);
        socket.set_timeout(Some(TIMEOUT));
        socket.set_keep_alive(Some(TEST));
        // Acknowledgements are small, and wait for nothing.
        socket.set_nagle_enabled(false);
        socket.connect(self.broker).await.map_err(NoConnection)?;
        Ok(TcpStream(socket))
    }
}

/// A connection of [`TcpNetwork`].
///
/// Its `flush` does not wait: what is written goes out by itself. The socket's own waits until the other machine has
/// acknowledged it, which Linux puts off by 40 ms where it has nothing else to say; every message would wait for that.
pub struct TcpStream<'n>(TcpSocket<'n>);

impl fmt::Debug for TcpStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TcpStream").field(&self.0.remote_endpoint()).finish()
    }
}

impl ErrorType for TcpStream<'_> {
    type Error = Error;
}

impl Read for TcpStream<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.0.read(buffer).await
    }
}

impl Write for TcpStream<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.0.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// Why [`TcpNetwork`] has no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoConnection(ConnectError);

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            ConnectError::InvalidState => "the socket is in use",
            ConnectError::ConnectionReset => "the broker's machine refused the connection",
            ConnectError::TimedOut => "the broker's machine does not answer",
            ConnectError::NoRoute => "there is no route to the broker",
        })
    }
}

impl core::error::Error for NoConnection {}
