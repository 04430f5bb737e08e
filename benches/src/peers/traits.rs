//! The traits that each contestant implements: a pair of ends for each calling convention.

use std::future::Future;

use crate::kit::Delivery;
use crate::payload::{Payload, Value};

/// Implements [`TryWrite`] and [`TryRead`] by `try_send` and `try_recv`, as most channels call them.
macro_rules! try_ends {
    ($sender:ty, $receiver:ty) => {
        impl<P: Payload> crate::peers::traits::TryWrite<P> for $sender {
            #[inline]
            fn try_write(&mut self, value: P) {
                self.try_send(value).expect("open and not full");
            }
        }

        impl<P: Payload> crate::peers::traits::TryRead<P> for $receiver {
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
        impl<P: Payload> crate::peers::traits::Write<P> for $sender {
            #[inline]
            async fn write(&mut self, value: P) {
                self.$send(value).await.expect("open");
            }
        }

        impl<P: Payload> crate::peers::traits::Read<P> for $receiver {
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
        impl<P: Payload> crate::peers::traits::Set<P> for $sender {
            #[inline]
            fn set(&mut self, value: P) {
                self.$send(value).expect("open");
            }
        }

        impl<P: Payload> crate::peers::traits::Get<P> for $receiver {
            #[inline]
            fn get(&mut self) -> P {
                self.$recv().expect("open")
            }
        }
    };
}

/// A writer that never waits.
pub trait TryWrite<P: Payload = Value>: Send + 'static {
    /// Accepts a value. The case ensures that the contestant is neither full nor closed.
    fn try_write(&mut self, value: P);
}

/// A reader that never waits.
pub trait TryRead<P: Payload = Value>: Send + 'static {
    /// Takes the next value, if there is one.
    fn try_read(&mut self) -> Option<P>;

    /// The number of lost values that the contestant has reported to this reader.
    fn lagged(&self) -> u64 {
        0
    }
}

/// A writer that waits as a task.
pub trait Write<P: Payload = Value>: TryWrite<P> {
    /// Accepts a value and waits while the contestant is full.
    fn write(&mut self, value: P) -> impl Future<Output = ()> + Send;

    /// Accepts all values, in order.
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

/// A reader that waits as a task.
pub trait Read<P: Payload = Value>: TryRead<P> {
    /// Takes the next value and waits until there is one.
    fn read(&mut self) -> impl Future<Output = P> + Send;

    /// Takes at least one value and at most `limit`; waits for the first one only.
    fn read_many(&mut self, into: &mut Vec<P>, limit: usize) -> impl Future<Output = ()> + Send {
        async move {
            into.push(self.read().await);
            into.extend(std::iter::from_fn(|| self.try_read()).take(limit - 1));
        }
    }
}

/// A writer that waits as a thread.
pub trait Set<P: Payload = Value>: Send + 'static {
    /// Accepts a value and waits while the contestant is full.
    fn set(&mut self, value: P);

    /// Accepts all values, in order.
    fn set_many(&mut self, values: impl Iterator<Item = P>) {
        values.for_each(|value| self.set(value));
    }
}

/// A reader that waits as a thread.
pub trait Get<P: Payload = Value>: Send + 'static {
    /// Takes the next value and waits until there is one.
    fn get(&mut self) -> P;

    /// Takes at least one value and at most `limit`; waits for the first one only.
    fn get_many(&mut self, into: &mut Vec<P>, limit: usize) {
        let _ = limit;
        into.push(self.get());
    }
}

impl Delivery {
    /// Counts a value; returns whether more values follow in its stream.
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
pub async fn drain<P: Payload>(mut reader: impl Read<P>) -> Delivery {
    let mut delivery = Delivery::default();
    while delivery.take(&std::hint::black_box(reader.read().await)) {}
    Delivery { lagged: reader.lagged(), ..delivery }
}

/// Reads to the last value of a stream, in batches.
pub async fn drain_many<P: Payload>(mut reader: impl Read<P>, limit: usize) -> Delivery {
    let (mut delivery, mut batch) = (Delivery::default(), Vec::with_capacity(limit));
    loop {
        reader.read_many(&mut batch, limit).await;
        if !std::hint::black_box(batch.drain(..)).all(|value| delivery.take(&value)) {
            return Delivery { lagged: reader.lagged(), ..delivery };
        }
    }
}

/// Reads to the last value of a stream, on this thread.
pub fn get_all<P: Payload>(mut reader: impl Get<P>) -> Delivery {
    let mut delivery = Delivery::default();
    while delivery.take(&std::hint::black_box(reader.get())) {}
    delivery
}

/// Reads to the last value of a stream, on this thread, in batches.
pub fn get_all_many<P: Payload>(mut reader: impl Get<P>, limit: usize) -> Delivery {
    let (mut delivery, mut batch) = (Delivery::default(), Vec::with_capacity(limit));
    loop {
        reader.get_many(&mut batch, limit);
        if !std::hint::black_box(batch.drain(..)).all(|value| delivery.take(&value)) {
            return delivery;
        }
    }
}
