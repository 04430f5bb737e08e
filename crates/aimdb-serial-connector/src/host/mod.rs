//! The connector for hosts, on Tokio.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

use aimdb_core::link::{LinkRequest, Links};
use aimdb_core::{Connector, Finding, Runtime, RuntimeContext};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::driver;
use crate::settings::{SerialSettings, check, setters};

mod stream;
mod tcp;
#[cfg(feature = "tty")]
mod tty;

use stream::StreamPort;

/// A connector over a serial device, a TCP connection, or any other Tokio stream.
///
/// The [crate] documentation has its guarantees. The connector opens nothing before the database starts.
///
/// ```
/// use std::time::Duration;
/// use aimdb_serial_connector::SerialConnector;
///
/// let serial = SerialConnector::tcp("192.168.1.20:5555")
///     .named("tractor") // for links such as `tractor://sensors/speed`
///     .idle_timeout(Duration::from_secs(10));
/// let status = serial.status();
/// # let _ = status;
/// ```
pub struct SerialConnector {
    port: StreamPort,
    settings: SerialSettings,
}

impl SerialConnector {
    /// Returns a connector that connects to `host:port`: a serial device server, or a peer that listens.
    #[must_use]
    pub fn tcp(address: impl Into<String>) -> Self {
        Self::over(tcp::client(address.into()))
    }

    /// Returns a connector that serves the clients of `listener`, one at a time.
    ///
    /// A new connection replaces the current one. The connector authenticates no client, so `build()` requires a
    /// listener that is bound to a loopback address.
    ///
    /// ```
    /// use std::net::TcpListener;
    /// use aimdb_serial_connector::SerialConnector;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let serial = SerialConnector::listener(listener);
    /// # let _ = serial;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    #[must_use]
    pub fn listener(listener: std::net::TcpListener) -> Self {
        Self::over(tcp::server(listener))
    }

    /// Returns a connector over the serial device or pty `path`: 8 data bits, no parity, 1 stop bit, no flow control.
    #[cfg(feature = "tty")]
    #[must_use]
    pub fn tty(path: impl Into<String>, baud: u32) -> Self {
        Self::over(tty::device(path.into(), baud))
    }

    /// Returns a connector over the streams that `open` returns.
    ///
    /// The connector calls `open` for the first connection, and again after each connection that failed. `target` names
    /// the peer in logs and in the graph.
    ///
    /// ```
    /// use aimdb_serial_connector::SerialConnector;
    /// use tokio::net::UnixStream;
    ///
    /// let serial = SerialConnector::stream("the modem", || UnixStream::connect("/run/modem"));
    /// # let _ = serial;
    /// ```
    #[must_use]
    pub fn stream<S, F>(target: impl Into<String>, open: impl FnMut() -> F + Send + 'static) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        Self::over(StreamPort::new(target, open))
    }

    fn over(port: StreamPort) -> Self {
        Self { port, settings: SerialSettings::new(fastrand::u16(..)) }
    }

    /// Sets the session number. Default: a random number.
    #[must_use]
    pub fn session(mut self, number: u16) -> Self {
        self.settings.session = number;
        self
    }

    setters!();
}

impl fmt::Debug for SerialConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerialConnector")
            .field("name", &self.settings.name)
            .field("target", &self.port.target)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime> Connector<R> for SerialConnector
where
    R::Sleep: Send,
{
    type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn name(&self) -> &str {
        &self.settings.name
    }

    fn describe(&self) -> String {
        format!("a serial line over {}", self.port.target)
    }

    fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        check(&self.settings, self.port.problem.clone(), links)
    }

    fn run(self, links: Links, context: RuntimeContext<R>) -> Self::Run {
        Box::pin(driver::run(self.port, self.settings, links, context))
    }
}
