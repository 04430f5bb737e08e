//! embassy-sync's channels, locked by the critical section that std gives. They live in statics where they are at home,
//! so each one made here is leaked.

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::pubsub::{PubSubChannel, Subscriber, WaitResult};
use embassy_sync::watch::{Receiver, Sender, Watch};

use super::{Read, TryRead, TryWrite, Write};
use crate::payload::{Payload, Value};

type Channel<P, const CAPACITY: usize, const READERS: usize> =
    PubSubChannel<CriticalSectionRawMutex, P, CAPACITY, READERS, 1>;

/// The end of a pub-sub channel that values go into. It overwrites, as a ring does.
#[derive(Debug)]
pub struct Published<P: Payload, const CAPACITY: usize, const READERS: usize>(
    &'static Channel<P, CAPACITY, READERS>,
);

/// An end of a pub-sub channel that counts what it lost.
#[derive(Debug)]
pub struct Subscribed<P: Payload, const CAPACITY: usize, const READERS: usize> {
    subscriber: Subscriber<'static, CriticalSectionRawMutex, P, CAPACITY, READERS, 1>,
    lagged: u64,
}

/// A pub-sub channel with all the readers it has room for.
///
/// # Panics
///
/// Never: there are as many places as readers.
#[must_use]
pub fn pubsub<P: Payload, const CAPACITY: usize, const READERS: usize>()
-> (Published<P, CAPACITY, READERS>, Vec<Subscribed<P, CAPACITY, READERS>>) {
    let channel: &'static _ = Box::leak(Box::new(PubSubChannel::new()));
    let subscribe = |_| Subscribed { subscriber: channel.subscriber().expect("room"), lagged: 0 };
    (Published(channel), (0..READERS).map(subscribe).collect())
}

impl<P: Payload, const CAPACITY: usize, const READERS: usize> TryWrite<P>
    for Published<P, CAPACITY, READERS>
{
    #[inline]
    fn try_write(&mut self, value: P) {
        self.0.immediate_publisher().publish_immediate(value);
    }
}

impl<P: Payload, const CAPACITY: usize, const READERS: usize> Write<P>
    for Published<P, CAPACITY, READERS>
{
    #[inline]
    async fn write(&mut self, value: P) {
        self.try_write(value);
    }
}

impl<P: Payload, const CAPACITY: usize, const READERS: usize> Subscribed<P, CAPACITY, READERS> {
    fn note(&mut self, result: WaitResult<P>) -> Option<P> {
        match result {
            WaitResult::Message(value) => Some(value),
            WaitResult::Lagged(missed) => {
                self.lagged += missed;
                None
            }
        }
    }
}

impl<P: Payload, const CAPACITY: usize, const READERS: usize> TryRead<P>
    for Subscribed<P, CAPACITY, READERS>
{
    #[inline]
    fn try_read(&mut self) -> Option<P> {
        loop {
            let result = self.subscriber.try_next_message()?;
            if let Some(value) = self.note(result) {
                return Some(value);
            }
        }
    }

    fn lagged(&self) -> u64 {
        self.lagged
    }
}

impl<P: Payload, const CAPACITY: usize, const READERS: usize> Read<P>
    for Subscribed<P, CAPACITY, READERS>
{
    #[inline]
    async fn read(&mut self) -> P {
        loop {
            let result = self.subscriber.next_message().await;
            if let Some(value) = self.note(result) {
                return value;
            }
        }
    }
}

/// The end of a watch that values go into.
#[derive(Debug)]
pub struct Watched<P: Payload = Value>(Sender<'static, CriticalSectionRawMutex, P, 1>);

/// The end of a watch that values come out of.
#[expect(missing_debug_implementations, reason = "embassy's receiver has none")]
pub struct Watching<P: Payload = Value>(Receiver<'static, CriticalSectionRawMutex, P, 1>);

/// A watch with one reader.
///
/// # Panics
///
/// Never: there is a place for it.
#[must_use]
pub fn watch<P: Payload>() -> (Watched<P>, Vec<Watching<P>>) {
    let watch: &'static Watch<_, P, 1> = Box::leak(Box::new(Watch::new()));
    (Watched(watch.sender()), vec![Watching(watch.receiver().expect("a place"))])
}

impl<P: Payload> TryWrite<P> for Watched<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.0.send(value);
    }
}

impl<P: Payload> Write<P> for Watched<P> {
    #[inline]
    async fn write(&mut self, value: P) {
        self.try_write(value);
    }
}

impl<P: Payload> TryRead<P> for Watching<P> {
    #[inline]
    fn try_read(&mut self) -> Option<P> {
        self.0.try_changed()
    }
}

impl<P: Payload> Read<P> for Watching<P> {
    #[inline]
    async fn read(&mut self) -> P {
        self.0.changed().await
    }
}
