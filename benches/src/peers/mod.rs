//! The contestants behind small traits, so that a case is written once for all of them.
//!
//! A pair for each calling convention: [`TryWrite`] and [`TryRead`] never wait and every contestant has them; [`Write`]
//! and [`Read`] wait as a task does, [`Set`] and [`Get`] as a thread does. Batches are part of the latter four: who has
//! batches of its own uses them, and the others do one value after the other.

use std::future::Future;

use crate::kit::Fate;
use crate::payload::{Payload, Value};

/// Implements [`TryWrite`] and [`TryRead`] by `try_send` and `try_recv`, as most channels call them.
macro_rules! try_ends {
    ($sender:ty, $receiver:ty) => {
        impl<P: Payload> crate::peers::TryWrite<P> for $sender {
            #[inline]
            fn try_write(&mut self, value: P) {
                self.try_send(value).expect("open and not full");
            }
        }

        impl<P: Payload> crate::peers::TryRead<P> for $receiver {
            #[inline]
            fn try_read(&mut self) -> Option<P> {
                self.try_recv().ok()
            }
        }
    };
}

/// Implements [`Write`] and [`Read`] by methods of these names.
macro_rules! async_ends {
    ($sender:ty, $send:ident, $receiver:ty, $recv:ident) => {
        impl<P: Payload> crate::peers::Write<P> for $sender {
            #[inline]
            async fn write(&mut self, value: P) {
                self.$send(value).await.expect("open");
            }
        }

        impl<P: Payload> crate::peers::Read<P> for $receiver {
            #[inline]
            async fn read(&mut self) -> P {
                self.$recv().await.expect("open")
            }
        }
    };
}

/// Implements [`Set`] and [`Get`] by methods of these names.
macro_rules! blocking_ends {
    ($sender:ty, $send:ident, $receiver:ty, $recv:ident) => {
        impl<P: Payload> crate::peers::Set<P> for $sender {
            #[inline]
            fn set(&mut self, value: P) {
                self.$send(value).expect("open");
            }
        }

        impl<P: Payload> crate::peers::Get<P> for $receiver {
            #[inline]
            fn get(&mut self) -> P {
                self.$recv().expect("open")
            }
        }
    };
}

mod aimdb;
mod disruptor;
mod embassy;
mod queues;
mod smol;
mod tokio;

pub use aimdb::{Door, Record, door, record};
pub use disruptor::{Poller, Spinning, disruptor};
pub use embassy::{Published, Subscribed, Watched, Watching, pubsub, watch as embassy_watch};
pub use queues::{crossbeam, flume, kanal, kanal_async, sync_channel, thingbuf};
pub use smol::{Overheard, Overwriting, async_broadcast, async_channel, overwriting};
pub use tokio::{Listener, Polite, Slot, broadcast, mpsc, reserving, slot, watch};

/// The end that values go into, without waiting.
pub trait TryWrite<P: Payload = Value>: Send + 'static {
    /// Accepts a value now. No contestant is full or closed when it is asked.
    fn try_write(&mut self, value: P);
}

/// The end that values come out of, without waiting.
pub trait TryRead<P: Payload = Value>: Send + 'static {
    /// The next value, if there is one.
    fn try_read(&mut self) -> Option<P>;

    /// How many values it was told it had lost.
    fn lagged(&self) -> u64 {
        0
    }
}

/// The end that values go into, as a task sees it.
pub trait Write<P: Payload = Value>: TryWrite<P> {
    /// Accepts a value, waiting for room where there is none.
    fn write(&mut self, value: P) -> impl Future<Output = ()> + Send;

    /// Accepts all of them.
    fn write_many(
        &mut self,
        values: impl Iterator<Item = P> + Send,
    ) -> impl Future<Output = ()> + Send {
        async {
            for value in values {
                self.write(value).await;
            }
        }
    }
}

/// The end that values come out of, as a task sees it.
pub trait Read<P: Payload = Value>: TryRead<P> {
    /// The next value, waiting for it.
    fn read(&mut self) -> impl Future<Output = P> + Send;

    /// At least one value and at most `limit`, waiting for the first.
    fn read_many(&mut self, into: &mut Vec<P>, limit: usize) -> impl Future<Output = ()> + Send {
        async move {
            into.push(self.read().await);
            into.extend(std::iter::from_fn(|| self.try_read()).take(limit - 1));
        }
    }
}

/// The end that values go into, as a thread sees it.
pub trait Set<P: Payload = Value>: Send + 'static {
    /// Accepts a value, waiting for room where there is none.
    fn set(&mut self, value: P);

    /// Accepts all of them.
    fn set_many(&mut self, values: impl Iterator<Item = P>) {
        values.for_each(|value| self.set(value));
    }
}

/// The end that values come out of, as a thread sees it.
pub trait Get<P: Payload = Value>: Send + 'static {
    /// The next value, waiting for it.
    fn get(&mut self) -> P;

    /// At least one value and at most `limit`, waiting for the first.
    fn get_many(&mut self, into: &mut Vec<P>, limit: usize) {
        let _ = limit;
        into.push(self.get());
    }
}

impl Fate {
    /// One more value came out; whether the stream goes on.
    #[inline]
    pub fn take<P: Payload>(&mut self, value: &P) -> bool {
        self.delivered += 1;
        let goes_on = !value.is_last();
        if goes_on {
            self.sum = self.sum.wrapping_add(value.number());
        }
        goes_on
    }
}

/// Reads to the last value of a stream.
pub async fn drain<P: Payload>(mut reader: impl Read<P>) -> Fate {
    let mut fate = Fate::default();
    while fate.take(&std::hint::black_box(reader.read().await)) {}
    Fate { lagged: reader.lagged(), ..fate }
}

/// Reads to the last value of a stream, by batches.
pub async fn drain_many<P: Payload>(mut reader: impl Read<P>, limit: usize) -> Fate {
    let (mut fate, mut batch) = (Fate::default(), Vec::with_capacity(limit));
    loop {
        reader.read_many(&mut batch, limit).await;
        if !std::hint::black_box(batch.drain(..)).all(|value| fate.take(&value)) {
            return Fate { lagged: reader.lagged(), ..fate };
        }
    }
}

/// Reads to the last value of a stream, on this thread.
pub fn get_all<P: Payload>(mut reader: impl Get<P>) -> Fate {
    let mut fate = Fate::default();
    while fate.take(&std::hint::black_box(reader.get())) {}
    fate
}

/// Reads to the last value of a stream, on this thread, by batches.
pub fn get_all_many<P: Payload>(mut reader: impl Get<P>, limit: usize) -> Fate {
    let (mut fate, mut batch) = (Fate::default(), Vec::with_capacity(limit));
    loop {
        reader.get_many(&mut batch, limit);
        if !std::hint::black_box(batch.drain(..)).all(|value| fate.take(&value)) {
            return fate;
        }
    }
}
