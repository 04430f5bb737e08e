//! The streams of a [`Network`], polled.

use alloc::string::String;
use core::fmt::Debug;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll};

use aimdb_core::link::driver::Failure;
use aimdb_mqtt_protocol::SessionConfig;
use embedded_io_async::{Read, Write};

use super::network::Network;
use crate::driver::{ByteStream, Dial};

pub(crate) struct NetworkDial<N>(pub(crate) N);

/// A stream whose reads and writes are cancel safe, which [`Network`] demands: each poll makes a future of its own.
pub(crate) struct NetworkStream<S>(S);

impl<N: Network> Dial for NetworkDial<N> {
    type Stream<'d>
        = NetworkStream<N::Stream<'d>>
    where
        N: 'd;

    fn prepare(&mut self, _: &mut SessionConfig) -> Result<(), Failure> {
        Ok(())
    }

    async fn dial(&mut self) -> Result<Self::Stream<'_>, Failure> {
        self.0.connect().await.map(NetworkStream).map_err(Failure::retry)
    }

    fn note_outcome(&mut self, _: bool) {}
}

fn poll<T, E: Debug>(
    future: impl Future<Output = Result<T, E>>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, String>> {
    pin!(future).poll(cx).map_err(|error| alloc::format!("{error:?}"))
}

impl<S: Read + Write> ByteStream for NetworkStream<S> {
    fn poll_read(&mut self, bytes: &mut [u8], cx: &mut Context<'_>) -> Poll<Result<usize, String>> {
        poll(self.0.read(bytes), cx)
    }

    fn poll_write(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<Result<usize, String>> {
        poll(self.0.write(bytes), cx)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        poll(self.0.flush(), cx)
    }
}
