//! async-channel and async-broadcast.

use async_broadcast::{InactiveReceiver, RecvError, TryRecvError};

use super::traits::{Read, TryRead, TryWrite, Write};
use crate::payload::{Payload, Value};

/// async-channel's bounded queue.
#[must_use]
pub fn async_channel<P: Payload>(
    capacity: usize,
) -> (async_channel::Sender<P>, Vec<async_channel::Receiver<P>>) {
    let (sender, receiver) = async_channel::bounded(capacity);
    (sender, vec![receiver])
}

try_ends!(async_channel::Sender<P>, async_channel::Receiver<P>);
async_ends!(async_channel::Sender<P>, send, async_channel::Receiver<P>, recv);
blocking_ends!(async_channel::Sender<P>, send_blocking, async_channel::Receiver<P>, recv_blocking);

/// An async-broadcast sender.
#[derive(Debug)]
pub struct AsyncBroadcastSender<P: Payload = Value> {
    sender: async_broadcast::Sender<P>,
    /// Keeps the channel open.
    _keep_open: InactiveReceiver<P>,
}

/// An async-broadcast receiver that counts lost values.
#[derive(Debug)]
pub struct AsyncBroadcastReceiver<P: Payload = Value> {
    receiver: async_broadcast::Receiver<P>,
    lagged: u64,
}

/// async-broadcast in its default mode: a full channel makes the writer wait.
#[must_use]
pub fn async_broadcast<P: Payload>(
    capacity: usize,
    readers: usize,
) -> (AsyncBroadcastSender<P>, Vec<AsyncBroadcastReceiver<P>>) {
    async_broadcast_with(capacity, readers, false)
}

/// async-broadcast in its overflow mode: a full channel drops the oldest value.
#[must_use]
pub fn async_broadcast_overflowing<P: Payload>(
    capacity: usize,
    readers: usize,
) -> (AsyncBroadcastSender<P>, Vec<AsyncBroadcastReceiver<P>>) {
    async_broadcast_with(capacity, readers, true)
}

fn async_broadcast_with<P: Payload>(
    capacity: usize,
    readers: usize,
    overflow: bool,
) -> (AsyncBroadcastSender<P>, Vec<AsyncBroadcastReceiver<P>>) {
    let (mut sender, receiver) = async_broadcast::broadcast(capacity);
    sender.set_overflow(overflow);
    let subscribe = |_| AsyncBroadcastReceiver { receiver: receiver.new_receiver(), lagged: 0 };
    let readers = (0..readers).map(subscribe).collect();
    (AsyncBroadcastSender { sender, _keep_open: receiver.deactivate() }, readers)
}

impl<P: Payload> TryWrite<P> for AsyncBroadcastSender<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.sender.try_broadcast(value).expect("open and not full");
    }
}

impl<P: Payload> Write<P> for AsyncBroadcastSender<P> {
    #[inline]
    async fn write(&mut self, value: P) {
        self.sender.broadcast_direct(value).await.expect("open");
    }
}

impl<P: Payload> TryRead<P> for AsyncBroadcastReceiver<P> {
    #[inline]
    fn try_read(&mut self) -> Option<P> {
        loop {
            match self.receiver.try_recv() {
                Ok(value) => return Some(value),
                Err(TryRecvError::Overflowed(missed)) => self.lagged += missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    fn lagged(&self) -> u64 {
        self.lagged
    }
}

impl<P: Payload> Read<P> for AsyncBroadcastReceiver<P> {
    #[inline]
    async fn read(&mut self) -> P {
        loop {
            match self.receiver.recv_direct().await {
                Ok(value) => return value,
                Err(RecvError::Overflowed(missed)) => self.lagged += missed,
                Err(RecvError::Closed) => panic!("the sender lives"),
            }
        }
    }
}
