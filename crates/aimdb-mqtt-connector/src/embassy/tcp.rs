//! TCP over embassy-net.

use alloc::boxed::Box;
use core::fmt;

use embassy_net::tcp::{ConnectError, Error, TcpSocket};
use embassy_net::{IpEndpoint, Stack};
use embassy_time::Duration;
use embedded_io_async::{ErrorType, Read, Write};

use super::config::DEFAULT_BUFFER;
use super::network::Network;

/// The connection counts as broken after this time without a packet from the broker's machine.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The interval of TCP keep-alive packets: several before the connection counts as broken.
const KEEP_ALIVE: Duration = Duration::from_secs(8);

/// A [`Network`] of TCP connections to one address, over embassy-net.
///
/// It needs one socket of the stack, and allocates a buffer of [`DEFAULT_BUFFER`] bytes for each direction.
///
/// A connection counts as broken when the broker's machine sends nothing for 30 s, neither data nor acknowledgements.
/// TCP probes an idle connection every 8 s.
///
/// ```
/// use aimdb_mqtt_connector::{EmbassyMqttConnector, TcpNetwork};
/// use embassy_net::{Ipv4Address, Stack};
///
/// fn connector(stack: Stack<'static>) -> EmbassyMqttConnector<TcpNetwork> {
///     let broker = TcpNetwork::new(stack, (Ipv4Address::new(10, 0, 0, 2), 1883));
///     EmbassyMqttConnector::new("10.0.0.2:1883", broker)
/// }
/// ```
pub struct TcpNetwork {
    stack: Stack<'static>,
    broker: IpEndpoint,
    receive: Box<[u8]>,
    send: Box<[u8]>,
}

impl TcpNetwork {
    /// A network of connections to `broker`.
    ///
    /// While `stack` has no address, connecting fails; the connector retries as after any other failure.
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
        socket.set_keep_alive(Some(KEEP_ALIVE));
        // Nagle's algorithm would delay the acknowledgements, which are small.
        socket.set_nagle_enabled(false);
        socket.connect(self.broker).await.map_err(NoConnection)?;
        Ok(TcpStream(socket))
    }
}

/// A connection of [`TcpNetwork`].
///
/// Its `flush` returns at once, because the stack sends written bytes by itself. The `flush` of the socket waits for
/// the TCP acknowledgement, which Linux delays by 40 ms if it has no data to send; every message would wait for it.
///
/// ```
/// use aimdb_mqtt_connector::{Network, NoConnection, TcpNetwork, TcpStream};
///
/// /// The first of two brokers that accepts a connection.
/// struct Failover {
///     main: TcpNetwork,
///     spare: TcpNetwork,
/// }
///
/// impl Network for Failover {
///     type Stream<'n> = TcpStream<'n>;
///     type Error = NoConnection;
///
///     async fn connect(&mut self) -> Result<TcpStream<'_>, NoConnection> {
///         match self.main.connect().await {
///             Ok(stream) => Ok(stream),
///             Err(_) => self.spare.connect().await,
///         }
///     }
/// }
/// ```
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

/// The reason why [`TcpNetwork`] has no connection.
///
/// ```
/// use aimdb_mqtt_connector::{Network, NoConnection, TcpNetwork, TcpStream};
///
/// /// A network that logs each failure.
/// struct Logged(TcpNetwork);
///
/// impl Network for Logged {
///     type Stream<'n> = TcpStream<'n>;
///     type Error = NoConnection;
///
///     async fn connect(&mut self) -> Result<TcpStream<'_>, NoConnection> {
///         self.0.connect().await.inspect_err(|reason| println!("no broker: {reason}"))
///     }
/// }
/// ```
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
