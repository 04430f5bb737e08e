//! async-channel and async-broadcast.

use async_broadcast::{InactiveReceiver, RecvError, TryRecvError};

use super::{Read, TryRead, TryWrite, Write};
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
pub struct Overwriting<P: Payload = Value> {
    sender: async_broadcast::Sender<P>,
    /// So that new receivers can be had, and the channel stays open.
    _seat: InactiveReceiver<P>,
}

/// An async-broadcast receiver that counts what it lost.
#[derive(Debug)]
pub struct Overheard<P: Payload = Value> {
    receiver: async_broadcast::Receiver<P>,
    lagged: u64,
}

/// async-broadcast, which holds its writer back.
#[must_use]
pub fn async_broadcast<P: Payload>(
    capacity: usize,
    readers: usize,
) -> (Overwriting<P>, Vec<Overheard<P>>) {
    broadcasting(capacity, readers, false)
}

/// async-broadcast in its overflow mode, in which the oldest value goes.
#[must_use]
pub fn overwriting<P: Payload>(
    capacity: usize,
    readers: usize,
) -> (Overwriting<P>, Vec<Overheard<P>>) {
    broadcasting(capacity, readers, true)
}

fn broadcasting<P: Payload>(
    capacity: usize,
    readers: usize,
    overflow: bool,
) -> (Overwriting<P>, Vec<Overheard<P>>) {
    let (mut sender, receiver) = async_broadcast::broadcast(capacity);
    sender.set_overflow(overflow);
    let overhear = |_| Overheard { receiver: receiver.new_receiver(), lagged: 0 };
    let readers = (0..readers).map(overhear).collect();
    (Overwriting { sender, _seat: receiver.deactivate() }, readers)
}

impl<P: Payload> TryWrite<P> for Overwriting<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.sender.try_broadcast(value).expect("open and not full");
    }
}

impl<P: Payload> Write<P> for Overwriting<P> {
    #[inline]
    async fn write(&mut self, value: P) {
        self.sender.broadcast_direct(value).await.expect("open");
    }
}

impl<P: Payload> TryRead<P> for Overheard<P> {
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

impl<P: Payload> Read<P> for Overheard<P> {
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
