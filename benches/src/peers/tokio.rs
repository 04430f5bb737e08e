//! Tokio's channels, and a hand-written slot around its `Notify`.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc, watch};

use super::traits::{Get, Read, Set, TryRead, TryWrite, Write};
use crate::payload::{Payload, Value};

/// A broadcast receiver that counts lost values, as a reader of a record does.
#[derive(Debug)]
pub struct BroadcastReceiver<P: Payload = Value> {
    receiver: broadcast::Receiver<P>,
    lagged: u64,
}

/// Creates a broadcast channel.
#[must_use]
pub fn broadcast<P: Payload>(
    capacity: usize,
    readers: usize,
) -> (broadcast::Sender<P>, Vec<BroadcastReceiver<P>>) {
    let sender = broadcast::Sender::new(capacity);
    let listen = |_| BroadcastReceiver { receiver: sender.subscribe(), lagged: 0 };
    let readers = (0..readers).map(listen).collect();
    (sender, readers)
}

impl<P: Payload> TryWrite<P> for broadcast::Sender<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.send(value).expect("a receiver lives");
    }
}

impl<P: Payload> Write<P> for broadcast::Sender<P> {
    #[inline]
    async fn write(&mut self, value: P) {
        self.try_write(value);
    }
}

impl<P: Payload> Set<P> for broadcast::Sender<P> {
    #[inline]
    fn set(&mut self, value: P) {
        self.try_write(value);
    }
}

/// A writer that consumes Tokio's cooperative budget, as the producer of a record does.
#[derive(Debug)]
pub struct Cooperative<W>(pub W);

impl<P: Payload, W: TryWrite<P>> TryWrite<P> for Cooperative<W> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.0.try_write(value);
    }
}

impl<P: Payload, W: Write<P>> Write<P> for Cooperative<W> {
    #[inline]
    async fn write(&mut self, value: P) {
        tokio::task::coop::consume_budget().await;
        self.0.write(value).await;
    }
}

impl<P: Payload> TryRead<P> for BroadcastReceiver<P> {
    #[inline]
    fn try_read(&mut self) -> Option<P> {
        self.receiver.try_recv().ok()
    }

    fn lagged(&self) -> u64 {
        self.lagged
    }
}

impl<P: Payload> Read<P> for BroadcastReceiver<P> {
    #[inline]
    async fn read(&mut self) -> P {
        loop {
            match self.receiver.recv().await {
                Ok(value) => return value,
                Err(RecvError::Lagged(missed)) => self.lagged += missed,
                Err(RecvError::Closed) => panic!("the sender lives"),
            }
        }
    }
}

impl<P: Payload> Get<P> for BroadcastReceiver<P> {
    #[inline]
    fn get(&mut self) -> P {
        self.receiver.blocking_recv().expect("the sender lives, and nothing is lost")
    }
}

/// Creates a bounded queue.
#[must_use]
pub fn mpsc<P: Payload>(capacity: usize) -> (mpsc::Sender<P>, Vec<mpsc::Receiver<P>>) {
    let (sender, receiver) = mpsc::channel(capacity);
    (sender, vec![receiver])
}

try_ends!(mpsc::Sender<P>, mpsc::Receiver<P>);

impl<P: Payload> Write<P> for mpsc::Sender<P> {
    #[inline]
    async fn write(&mut self, value: P) {
        self.send(value).await.expect("open");
    }
}

impl<P: Payload> Read<P> for mpsc::Receiver<P> {
    #[inline]
    async fn read(&mut self) -> P {
        self.recv().await.expect("open")
    }

    async fn read_many(&mut self, into: &mut Vec<P>, limit: usize) {
        self.recv_many(into, limit).await;
    }
}

/// A sender that reserves permits for a whole batch before it sends.
#[derive(Debug)]
pub struct ReservingSender<P: Payload> {
    sender: mpsc::Sender<P>,
    batch: usize,
}

/// Creates a bounded queue whose sender writes in batches.
#[must_use]
pub fn mpsc_reserving<P: Payload>(
    capacity: usize,
    batch: usize,
) -> (ReservingSender<P>, Vec<mpsc::Receiver<P>>) {
    let (sender, readers) = mpsc(capacity);
    (ReservingSender { sender, batch }, readers)
}

impl<P: Payload> TryWrite<P> for ReservingSender<P> {
    fn try_write(&mut self, value: P) {
        self.sender.try_write(value);
    }
}

impl<P: Payload> Write<P> for ReservingSender<P> {
    async fn write(&mut self, value: P) {
        self.sender.write(value).await;
    }

    async fn write_many(&mut self, values: impl Iterator<Item = P> + Send) {
        let mut values = values.peekable();
        while values.peek().is_some() {
            let permits = self.sender.reserve_many(self.batch).await.expect("open");
            // Dropping `permits` returns the unused ones.
            permits.zip(&mut values).for_each(|(permit, value)| permit.send(value));
        }
    }
}

/// Creates a watch channel.
#[must_use]
pub fn watch<P: Payload>() -> (watch::Sender<P>, Vec<watch::Receiver<P>>) {
    let (sender, receiver) = watch::channel(P::default());
    (sender, vec![receiver])
}

impl<P: Payload> TryWrite<P> for watch::Sender<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.send(value).expect("a receiver lives");
    }
}

impl<P: Payload> Write<P> for watch::Sender<P> {
    #[inline]
    async fn write(&mut self, value: P) {
        self.try_write(value);
    }
}

impl<P: Payload> TryRead<P> for watch::Receiver<P> {
    #[inline]
    fn try_read(&mut self) -> Option<P> {
        Some(self.borrow_and_update().clone())
    }
}

impl<P: Payload> Read<P> for watch::Receiver<P> {
    #[inline]
    async fn read(&mut self) -> P {
        self.changed().await.expect("the sender lives");
        self.borrow_and_update().clone()
    }
}

/// The hand-written alternative to a mailbox: a slot and a `Notify`.
#[derive(Clone, Debug, Default)]
pub struct NotifySlot<P: Payload = Value>(Arc<(Mutex<Option<P>>, Notify)>);

/// Creates a slot; both ends are clones of it.
#[must_use]
pub fn notify_slot<P: Payload>() -> (NotifySlot<P>, Vec<NotifySlot<P>>) {
    let notify_slot = NotifySlot::default();
    (notify_slot.clone(), vec![notify_slot])
}

impl<P: Payload> TryWrite<P> for NotifySlot<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        let (pending, bell) = &*self.0;
        *pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        bell.notify_one();
    }
}

impl<P: Payload> Write<P> for NotifySlot<P> {
    #[inline]
    async fn write(&mut self, value: P) {
        self.try_write(value);
    }
}

impl<P: Payload> TryRead<P> for NotifySlot<P> {
    #[inline]
    fn try_read(&mut self) -> Option<P> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<P: Payload> Read<P> for NotifySlot<P> {
    #[inline]
    async fn read(&mut self) -> P {
        loop {
            if let Some(value) = self.try_read() {
                return value;
            }
            self.0.1.notified().await;
        }
    }
}
