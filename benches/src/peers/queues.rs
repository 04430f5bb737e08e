//! Common bounded queues: std, crossbeam, flume, kanal, thingbuf.

use std::sync::mpsc::{self, Receiver, SyncSender};

use super::traits::{TryRead, TryWrite};
use crate::payload::Payload;

/// `std::sync::mpsc::sync_channel`.
#[must_use]
pub fn sync_channel<P: Payload>(capacity: usize) -> (SyncSender<P>, Vec<Receiver<P>>) {
    let (sender, receiver) = mpsc::sync_channel(capacity);
    (sender, vec![receiver])
}

try_ends!(SyncSender<P>, Receiver<P>);
blocking_ends!(SyncSender<P>, send, Receiver<P>, recv);

/// crossbeam's bounded channel.
#[must_use]
pub fn crossbeam<P: Payload>(
    capacity: usize,
) -> (crossbeam_channel::Sender<P>, Vec<crossbeam_channel::Receiver<P>>) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    (sender, vec![receiver])
}

try_ends!(crossbeam_channel::Sender<P>, crossbeam_channel::Receiver<P>);
blocking_ends!(crossbeam_channel::Sender<P>, send, crossbeam_channel::Receiver<P>, recv);

/// flume's bounded channel.
#[must_use]
pub fn flume<P: Payload>(capacity: usize) -> (flume::Sender<P>, Vec<flume::Receiver<P>>) {
    let (sender, receiver) = flume::bounded(capacity);
    (sender, vec![receiver])
}

try_ends!(flume::Sender<P>, flume::Receiver<P>);
async_ends!(flume::Sender<P>, send_async, flume::Receiver<P>, recv_async);
blocking_ends!(flume::Sender<P>, send, flume::Receiver<P>, recv);

/// kanal's bounded channel for threads.
#[must_use]
pub fn kanal<P: Payload>(capacity: usize) -> (kanal::Sender<P>, Vec<kanal::Receiver<P>>) {
    let (sender, receiver) = kanal::bounded(capacity);
    (sender, vec![receiver])
}

blocking_ends!(kanal::Sender<P>, send, kanal::Receiver<P>, recv);

/// kanal's bounded channel for tasks.
#[must_use]
pub fn kanal_async<P: Payload>(
    capacity: usize,
) -> (kanal::AsyncSender<P>, Vec<kanal::AsyncReceiver<P>>) {
    let (sender, receiver) = kanal::bounded_async(capacity);
    (sender, vec![receiver])
}

impl<P: Payload> TryWrite<P> for kanal::AsyncSender<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        assert!(self.try_send(value).expect("open"), "not full");
    }
}

impl<P: Payload> TryRead<P> for kanal::AsyncReceiver<P> {
    #[inline]
    fn try_read(&mut self) -> Option<P> {
        self.try_recv().expect("open")
    }
}

async_ends!(kanal::AsyncSender<P>, send, kanal::AsyncReceiver<P>, recv);

/// thingbuf's mpsc.
#[must_use]
pub fn thingbuf<P: Payload>(
    capacity: usize,
) -> (thingbuf::mpsc::Sender<P>, Vec<thingbuf::mpsc::Receiver<P>>) {
    let (sender, receiver) = thingbuf::mpsc::channel(capacity);
    (sender, vec![receiver])
}

try_ends!(thingbuf::mpsc::Sender<P>, thingbuf::mpsc::Receiver<P>);
async_ends!(thingbuf::mpsc::Sender<P>, send, thingbuf::mpsc::Receiver<P>, recv);
