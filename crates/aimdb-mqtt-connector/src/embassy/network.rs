//! The interface to a network stack.

use core::fmt;

use embedded_io_async::{Read, Write};

/// Opens streams to the broker: a network stack and an address, with TLS on top if required.
///
/// ```
/// use std::io;
///
/// use aimdb_mqtt_connector::Network;
/// use embedded_io_adapters::tokio_1::FromTokio;
/// use tokio::net::TcpStream;
///
/// /// Tokio's TCP, for a test on the host.
/// struct Host(&'static str);
///
/// impl Network for Host {
///     type Stream<'n> = FromTokio<TcpStream>;
///     type Error = io::Error;
///
///     async fn connect(&mut self) -> io::Result<FromTokio<TcpStream>> {
///         Ok(FromTokio::new(TcpStream::connect(self.0).await?))
///     }
/// }
/// ```
///
/// # Implementing
///
/// - [`connect`](Self::connect) MUST return an unused stream, or an error. The connector calls it for each attempt, and
///   MAY drop its future before it is ready.
/// - Reads and writes of a stream MUST be cancel safe: dropping their futures loses no bytes, and leaves the waker of the
///   last poll registered. The connector makes a new future for each poll. A write that makes no
///   progress MUST fail in the end. embassy-net fulfils the first; `TcpSocket::set_timeout` enables the second.
/// - Written bytes MUST be sent without further calls after `flush`, which need not wait for it: after the DISCONNECT
///   the connector reads from the stream until the broker has closed it, for 5 s at most, and drops it.
#[expect(async_fn_in_trait, reason = "the implementation decides whether its futures are `Send`")]
pub trait Network {
    /// A stream of bytes in both directions. It may borrow buffers that the network owns.
    type Stream<'n>: Read + Write
    where
        Self: 'n;
    /// The reason why there is no connection. It appears in logs and in `health()`.
    type Error: fmt::Display;

    /// Opens a new stream to the broker.
    ///
    /// # Errors
    ///
    /// The reason why there is no connection now. The connector retries after its backoff.
    ///
    /// # Cancel safety
    ///
    /// The connector drops the future when its connect timeout expires, and calls this method again later.
    async fn connect(&mut self) -> Result<Self::Stream<'_>, Self::Error>;
}
