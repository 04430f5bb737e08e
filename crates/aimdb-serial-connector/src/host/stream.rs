//! A port over Tokio's byte streams.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

use embedded_io_adapters::tokio_1::FromTokio;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::port::Port;
use crate::settings::ConfigProblem;

/// A bidirectional byte stream of Tokio.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

type OpenFuture = Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send>>;

/// A port that opens a new stream for each connection.
pub(crate) struct StreamPort {
    open: Box<dyn FnMut() -> OpenFuture + Send>,
    halves: Option<Halves>,
    /// The peer's name in logs and in the graph.
    pub(super) target: String,
    pub(super) problem: Option<ConfigProblem>,
}

type Halves = (FromTokio<ReadHalf<Box<dyn ByteStream>>>, FromTokio<WriteHalf<Box<dyn ByteStream>>>);

impl StreamPort {
    pub(super) fn new<S, F>(
        target: impl Into<String>,
        mut open: impl FnMut() -> F + Send + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        let open = Box::new(move || {
            let opening = open();
            Box::pin(async move { Ok(Box::new(opening.await?) as Box<dyn ByteStream>) })
                as OpenFuture
        });
        Self { open, halves: None, target: target.into(), problem: None }
    }

    /// Adds what `build()` reports about this port.
    pub(super) fn with_problem(self, problem: Option<ConfigProblem>) -> Self {
        Self { problem, ..self }
    }
}

impl Port for StreamPort {
    type Read = FromTokio<ReadHalf<Box<dyn ByteStream>>>;
    type Write = FromTokio<WriteHalf<Box<dyn ByteStream>>>;
    type Error = OpenError;

    async fn open(&mut self) -> Result<(&mut Self::Read, &mut Self::Write), OpenError> {
        let opening = (self.open)();
        let stream =
            opening.await.map_err(|error| OpenError(format!("{}: {error}", self.target)))?;
        let (read, write) = tokio::io::split(stream);
        let (read, write) = self.halves.insert((FromTokio::new(read), FromTokio::new(write)));
        Ok((read, write))
    }

    /// Shuts the write half down and reads until the peer has closed its end.
    ///
    /// A TCP socket that is dropped with unread bytes resets the connection, and the peer loses bytes it has not read.
    async fn close(&mut self) {
        let Some((read, write)) = self.halves.take() else { return };
        let (mut read, mut write) = (read.into_inner(), write.into_inner());
        let mut discarded = [0; 256];
        if write.shutdown().await.is_ok() {
            while matches!(read.read(&mut discarded).await, Ok(1..)) {}
        }
    }
}

/// The reason why a stream could not be opened.
#[derive(Debug)]
pub(crate) struct OpenError(String);

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns an error outside a Tokio runtime, where creating a socket would panic.
pub(super) fn require_tokio() -> io::Result<()> {
    tokio::runtime::Handle::try_current().map(drop).map_err(io::Error::other)
}
