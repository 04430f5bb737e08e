//! The connector for gateways, on Tokio.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

use aimdb_core::link::{LinkRequest, Links};
use aimdb_core::{Connector, Finding, Runtime, RuntimeContext};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::driver;
use crate::settings::{Settings, check, settings};
use crate::stream::StreamPort;

/// A serial line of a gateway: a device, a TCP connection, or any other stream of Tokio's. The [crate] says what it
/// promises.
///
/// Nothing is opened before the database starts.
pub struct SerialConnector {
    port: StreamPort,
    settings: Settings,
}

impl SerialConnector {
    /// Connects to `host:port`, a device server or a peer that listens.
    #[must_use]
    pub fn tcp(address: impl Into<String>) -> Self {
        Self::over(StreamPort::tcp(address.into()))
    }

    /// Serves whoever connects to `listener`, one at a time: a newer connection takes an older one's place. Nobody is
    /// asked who they are, so it must be bound to loopback.
    #[must_use]
    pub fn listener(listener: std::net::TcpListener) -> Self {
        Self::over(StreamPort::listener(listener))
    }

    /// A serial device, or a pty: eight bits, no parity, one stop bit, no flow control.
    #[cfg(feature = "tty")]
    #[must_use]
    pub fn tty(path: impl Into<String>, baud: u32) -> Self {
        Self::over(StreamPort::tty(path.into(), baud))
    }

    /// Streams that `open` gives, one after the other, each when the one before has failed. `target` says to people what
    /// they lead to.
    #[must_use]
    pub fn stream<S, F>(target: impl Into<String>, open: impl FnMut() -> F + Send + 'static) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        Self::over(StreamPort::new(target, open))
    }

    fn over(port: StreamPort) -> Self {
        Self { port, settings: Settings::new(fastrand::u16(..)) }
    }

    /// The session's number; a random one unless set.
    #[must_use]
    pub fn session(mut self, number: u16) -> Self {
        self.settings.session = number;
        self
    }

    settings!();
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
        check(&self.settings, self.port.fault.clone(), links)
    }

    fn run(self, links: Links, context: RuntimeContext<R>) -> Self::Run {
        Box::pin(driver::run(self.port, self.settings, links, context))
    }
}
