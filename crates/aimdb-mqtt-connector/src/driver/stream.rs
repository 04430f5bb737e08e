//! The stream beneath the session, and how it is opened: the part in which the two connectors differ.

use alloc::string::String;
use core::task::{Context, Poll};

use aimdb_core::link::driver::Failure;
use aimdb_mqtt_protocol::SessionConfig;

/// A stream of bytes in both directions.
pub(crate) trait ByteStream {
    /// Reads at least one byte; 0 bytes mean that the broker has closed its half.
    fn poll_read(&mut self, bytes: &mut [u8], cx: &mut Context<'_>) -> Poll<Result<usize, String>>;

    /// Writes at least one byte.
    fn poll_write(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<Result<usize, String>>;

    /// Passes written bytes on.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>>;

    /// Passes written bytes on and, where the stream can, tells the broker that no more follow.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        self.poll_flush(cx)
    }
}

/// Opens streams to a broker.
pub(crate) trait Dial {
    type Stream<'d>: ByteStream
    where
        Self: 'd;

    /// Sets what may differ from connection to connection.
    ///
    /// # Errors
    ///
    /// Why there can be no connection now.
    fn prepare(&mut self, config: &mut SessionConfig) -> Result<(), Failure>;

    /// Opens a stream.
    ///
    /// # Errors
    ///
    /// Why there is none.
    async fn dial(&mut self) -> Result<Self::Stream<'_>, Failure>;

    /// The stream led to a broker that has accepted the client, for a connection that lasted, or it did not.
    fn note_outcome(&mut self, accepted: bool);
}
