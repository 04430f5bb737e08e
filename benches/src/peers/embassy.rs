//! embassy-sync's channels, locked by the critical section of std. They have to be statics, so each channel is leaked.

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::pubsub::{PubSubChannel, Subscriber, WaitResult};
use embassy_sync::watch::{Receiver, Sender, Watch};

use super::traits::{Read, TryRead, TryWrite, Write};
use crate::payload::{Payload, Value};

type Channel<P, const CAPACITY: usize, const READERS: usize> =
    PubSubChannel<CriticalSectionRawMutex, P, CAPACITY, READERS, 1>;

/// The publisher of a pub-sub channel. It overwrites old values, as a ring does.
#[derive(Debug)]
pub struct PubSubPublisher<P: Payload, const CAPACITY: usize, const READERS: usize>(
    &'static Channel<P, CAPACITY, READERS>,
);

/// A subscriber of a pub-sub channel that counts lost values.
#[derive(Debug)]
pub struct PubSubSubscriber<P: Payload, const CAPACITY: usize, const READERS: usize> {
    subscriber: Subscriber<'static, CriticalSectionRawMutex, P, CAPACITY, READERS, 1>,
    lagged: u64,
}

/// Creates a pub-sub channel with its maximal number of readers.
///
/// # Panics
///
/// Never: the channel has capacity for `READERS` subscribers.
#[must_use]
pub fn pubsub<P: Payload, const CAPACITY: usize, const READERS: usize>()
-> (PubSubPublisher<P, CAPACITY, READERS>, Vec<PubSubSubscriber<P, CAPACITY, READERS>>) {
    let channel: &'static _ = Box::leak(Box::new(PubSubChannel::new()));
    let subscribe =
        |_| PubSubSubscriber { subscriber: channel.subscriber().expect("room"), lagged: 0 };
    (PubSubPublisher(channel), (0..READERS).map(subscribe).collect())
}

impl<P: Payload, const CAPACITY: usize, const READERS: usize> TryWrite<P>
    for PubSubPublisher<P, CAPACITY, READERS>
{
    #[inline]
    fn try_write(&mut self, value: P) {
        self.0.immediate_publisher().publish_immediate(value);
    }
}

impl<P: Payload, const CAPACITY: usize, const READERS: usize> Write<P>
    for PubSubPublisher<P, CAPACITY, READERS>
{
    #[inline]
    async fn write(&mut self, value: P) {
        self.try_write(value);
    }
}

impl<P: Payload, const CAPACITY: usize, const READERS: usize>
    PubSubSubscriber<P, CAPACITY, READERS>
{
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
    for PubSubSubscriber<P, CAPACITY, READERS>
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
    for PubSubSubscriber<P, CAPACITY, READERS>
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

/// The sender of a watch.
#[derive(Debug)]
pub struct WatchSender<P: Payload = Value>(Sender<'static, CriticalSectionRawMutex, P, 1>);

/// The receiver of a watch.
#[expect(missing_debug_implementations, reason = "embassy's receiver has none")]
pub struct WatchReceiver<P: Payload = Value>(Receiver<'static, CriticalSectionRawMutex, P, 1>);

/// Creates a watch with one reader.
///
/// # Panics
///
/// Never: the watch has capacity for one receiver.
#[must_use]
pub fn watch<P: Payload>() -> (WatchSender<P>, Vec<WatchReceiver<P>>) {
    let watch: &'static Watch<_, P, 1> = Box::leak(Box::new(Watch::new()));
    (WatchSender(watch.sender()), vec![WatchReceiver(watch.receiver().expect("a place"))])
}

impl<P: Payload> TryWrite<P> for WatchSender<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.0.send(value);
    }
}

impl<P: Payload> Write<P> for WatchSender<P> {
    #[inline]
    async fn write(&mut self, value: P) {
        self.try_write(value);
    }
}

impl<P: Payload> TryRead<P> for WatchReceiver<P> {
    #[inline]
    fn try_read(&mut self) -> Option<P> {
        self.0.try_changed()
    }
}

impl<P: Payload> Read<P> for WatchReceiver<P> {
    #[inline]
    async fn read(&mut self) -> P {
        self.0.changed().await
    }
}
