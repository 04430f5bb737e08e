//! The disruptor: threads that spin instead of waiting, and a core for each of them, as the limit of what can be had.
//!
//! Here it offers its core to others after a while (`kit::spin_until`), which a machine with a core for each thread does
//! not notice.

use disruptor::{
    BusySpin, EventPoller, MissingFreeSlots, MultiConsumerBarrier, Producer, RingBufferFull,
    SingleConsumerBarrier, SingleProducer, SingleProducerBarrier, build_single_producer,
};

use super::{Get, Read, Set, TryRead, TryWrite, Write};
use crate::kit::spin_until;
use crate::payload::Payload;

/// What is published at once where values come in batches.
const BATCH: usize = 256;

/// A producer, for one reader or for several.
#[expect(missing_debug_implementations, reason = "the disruptor's producers have none")]
pub enum Spinning<P: Payload> {
    /// One reader.
    One(SingleProducer<P, SingleConsumerBarrier>),
    /// Several.
    Several(SingleProducer<P, MultiConsumerBarrier>),
}

/// A reader.
#[expect(missing_debug_implementations, reason = "the disruptor's pollers have none")]
pub struct Poller<P: Payload>(EventPoller<P, SingleProducerBarrier>);

/// A ring of values made beforehand, and its readers, each of which sees all.
///
/// # Panics
///
/// If there is no reader.
#[must_use]
pub fn disruptor<P: Payload>(capacity: usize, readers: usize) -> (Spinning<P>, Vec<Poller<P>>) {
    let builder = build_single_producer(capacity, P::default, BusySpin);
    let (first, builder) = builder.new_event_poller();
    let mut pollers = vec![Poller(first)];
    assert!(readers > 0, "somebody reads");
    if readers == 1 {
        return (Spinning::One(builder.build()), pollers);
    }
    let (second, mut builder) = builder.new_event_poller();
    pollers.push(Poller(second));
    for _ in 2..readers {
        let (next, rest) = builder.new_event_poller();
        pollers.push(Poller(next));
        builder = rest;
    }
    (Spinning::Several(builder.build()), pollers)
}

impl<P: Payload> Spinning<P> {
    #[inline]
    fn publish(&mut self, value: &P) -> Result<(), RingBufferFull> {
        let fill = |place: &mut P| *place = value.clone();
        match self {
            Self::One(producer) => producer.try_publish(fill),
            Self::Several(producer) => producer.try_publish(fill),
        }
        .map(drop)
    }

    fn publish_batch(&mut self, values: &[P]) -> Result<(), MissingFreeSlots> {
        let count = values.len();
        match self {
            Self::One(producer) => producer.try_batch_publish(count, |places| {
                places.zip(values).for_each(|(place, value)| *place = value.clone());
            }),
            Self::Several(producer) => producer.try_batch_publish(count, |places| {
                places.zip(values).for_each(|(place, value)| *place = value.clone());
            }),
        }
        .map(drop)
    }
}

impl<P: Payload> TryWrite<P> for Spinning<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.publish(&value).expect("not full");
    }
}

impl<P: Payload> Set<P> for Spinning<P> {
    #[inline]
    fn set(&mut self, value: P) {
        spin_until(|| self.publish(&value).ok());
    }

    fn set_many(&mut self, values: impl Iterator<Item = P>) {
        let mut values = values.peekable();
        let mut batch = Vec::with_capacity(BATCH);
        while values.peek().is_some() {
            batch.extend(values.by_ref().take(BATCH));
            spin_until(|| self.publish_batch(&batch).ok());
            batch.clear();
        }
    }
}

/// It never waits as a task should; with a thread to itself it does what it does.
impl<P: Payload> Write<P> for Spinning<P> {
    #[inline]
    async fn write(&mut self, value: P) {
        self.set(value);
    }

    async fn write_many(&mut self, values: impl Iterator<Item = P> + Send) {
        self.set_many(values);
    }
}

impl<P: Payload> TryRead<P> for Poller<P> {
    #[inline]
    fn try_read(&mut self) -> Option<P> {
        let mut guard = self.0.take(1).ok()?;
        (&mut guard).next().cloned()
    }
}

impl<P: Payload> Get<P> for Poller<P> {
    #[inline]
    fn get(&mut self) -> P {
        spin_until(|| self.try_read())
    }

    fn get_many(&mut self, into: &mut Vec<P>, limit: usize) {
        spin_until(|| {
            let mut guard = self.0.take(limit as u64).ok()?;
            into.extend((&mut guard).cloned());
            Some(())
        });
    }
}

impl<P: Payload> Read<P> for Poller<P> {
    #[inline]
    async fn read(&mut self) -> P {
        self.get()
    }

    async fn read_many(&mut self, into: &mut Vec<P>, limit: usize) {
        self.get_many(into, limit);
    }
}
