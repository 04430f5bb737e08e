//! The disruptor, whose threads spin instead of parking and occupy a core each: the limit of the achievable speed.
//!
//! Its threads yield after a number of spins (`kit::spin_until`); this costs nothing on a machine with a core for each
//! thread.

use disruptor::{
    BusySpin, EventPoller, MissingFreeSlots, MultiConsumerBarrier, Producer, RingBufferFull,
    SingleConsumerBarrier, SingleProducer, SingleProducerBarrier, build_single_producer,
};

use super::traits::{Get, Read, Set, TryRead, TryWrite, Write};
use crate::kit::spin_until;
use crate::payload::Payload;

/// The number of values in one published batch.
const BATCH: usize = 256;

/// A producer with one reader or several.
#[expect(missing_debug_implementations, reason = "the disruptor's producers have none")]
pub enum DisruptorProducer<P: Payload> {
    /// One reader.
    One(SingleProducer<P, SingleConsumerBarrier>),
    /// Several.
    Several(SingleProducer<P, MultiConsumerBarrier>),
}

/// A reader.
#[expect(missing_debug_implementations, reason = "the disruptor's pollers have none")]
pub struct DisruptorReader<P: Payload>(EventPoller<P, SingleProducerBarrier>);

/// Creates a ring of default values and its readers; every reader sees every value.
///
/// # Panics
///
/// If there is no reader.
#[must_use]
pub fn disruptor<P: Payload>(
    capacity: usize,
    readers: usize,
) -> (DisruptorProducer<P>, Vec<DisruptorReader<P>>) {
    let builder = build_single_producer(capacity, P::default, BusySpin);
    let (first, builder) = builder.new_event_poller();
    let mut pollers = vec![DisruptorReader(first)];
    assert!(readers > 0, "at least one reader");
    if readers == 1 {
        return (DisruptorProducer::One(builder.build()), pollers);
    }
    let (second, mut builder) = builder.new_event_poller();
    pollers.push(DisruptorReader(second));
    for _ in 2..readers {
        let (next, rest) = builder.new_event_poller();
        pollers.push(DisruptorReader(next));
        builder = rest;
    }
    (DisruptorProducer::Several(builder.build()), pollers)
}

impl<P: Payload> DisruptorProducer<P> {
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

impl<P: Payload> TryWrite<P> for DisruptorProducer<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.publish(&value).expect("not full");
    }
}

impl<P: Payload> Set<P> for DisruptorProducer<P> {
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

/// The futures spin and never return `Pending`, so each needs a thread of its own.
impl<P: Payload> Write<P> for DisruptorProducer<P> {
    #[inline]
    async fn write(&mut self, value: P) {
        self.set(value);
    }

    async fn write_many(&mut self, values: impl Iterator<Item = P> + Send) {
        self.set_many(values);
    }
}

impl<P: Payload> TryRead<P> for DisruptorReader<P> {
    #[inline]
    fn try_read(&mut self) -> Option<P> {
        let mut guard = self.0.take(1).ok()?;
        (&mut guard).next().cloned()
    }
}

impl<P: Payload> Get<P> for DisruptorReader<P> {
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

impl<P: Payload> Read<P> for DisruptorReader<P> {
    #[inline]
    async fn read(&mut self) -> P {
        self.get()
    }

    async fn read_many(&mut self, into: &mut Vec<P>, limit: usize) {
        self.get_many(into, limit);
    }
}
