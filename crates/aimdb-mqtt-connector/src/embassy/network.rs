//! Where a connection comes from.

use core::fmt;

use embedded_io_async::{Read, Write};

/// A way to the broker: a network stack and an address, TLS on top if need be.
///
/// # Implementing
///
/// - [`connect`](Self::connect) MUST give a stream that is not used yet, or an error. It is called for each attempt, and
///   MAY be dropped while it waits.
/// - A stream's reads and writes MUST lose nothing when their futures are dropped, and a write that makes no progress
///   MUST fail in the end. In embassy-net the first is so; the second is `TcpSocket::set_timeout`.
/// - What was written MUST go out by itself after `flush`, which need not wait for it: after the goodbye the stream is read
///   until the broker has closed it, for 5 s at most, and dropped.
#[expect(
    async_fn_in_trait,
    reason = "whether its futures are `Send` is for the implementation to say"
)]
pub trait Network {
    /// Bytes both ways. It may borrow buffers that the network keeps.
    type Stream<'n>: Read + Write
    where
        Self: 'n;
    /// Why there is no connection.
    type Error: fmt::Display;

    /// A new stream to the broker.
    ///
    /// # Errors
    ///
    /// When there is none now.
    async fn connect(&mut self) -> Result<Self::Stream<'_>, Self::Error>;
}
