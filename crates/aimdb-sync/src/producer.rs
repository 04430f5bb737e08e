//! Writing a record from a thread.

use std::fmt;
use std::task::Poll;
use std::time::Duration;

use aimdb_core::wait::WaitGuard;
use aimdb_core::{Producer, Record, TryProduceError};
use aimdb_tokio_adapter::TokioAdapter;
use tokio::sync::mpsc::error::TrySendError;

use crate::error::{SetError, SetManyError};
use crate::limit::WaitLimit;
use crate::park;
use crate::queued::QueuedProducer;
use crate::runtime::ExecutorThread;

/// Writes a record from any thread.
///
/// It is cheap to clone, and any number of threads can use it at once.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use aimdb_core::{AimDbBuilder, BufferCfg};
/// # use aimdb_tokio_adapter::TokioAdapter;
/// use aimdb_sync::{Attach, SetError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
/// # builder.configure::<u32>("order", |reg| { reg.buffer(BufferCfg::SpmcQueue { capacity: 2 }); });
/// # let handle = builder.attach()?;
/// let consumer = handle.consumer::<u32>("order")?;
/// let producer = handle.producer::<u32>("order")?; // a queue record of 2
/// producer.set(1)?;
/// producer.set(2)?;
/// assert_eq!(producer.try_set(3), Err(SetError::Full(3)));
/// assert_eq!(producer.set_with_timeout(3, Duration::from_millis(1)), Err(SetError::Timeout(3)));
/// assert_eq!(consumer.get(), Ok(1));
/// producer.set(3)?;
/// # Ok(())
/// # }
/// ```
pub struct SyncProducer<T: Record> {
    bridge: Bridge<T>,
    executor: ExecutorThread,
}

enum Bridge<T: Record> {
    /// Writes into the record's own buffer.
    Direct(Producer<T, TokioAdapter>),
    /// Writes into a queue of its own.
    Queued(QueuedProducer<T>),
}

impl<T: Record> SyncProducer<T> {
    pub(crate) fn direct(producer: Producer<T, TokioAdapter>, executor: ExecutorThread) -> Self {
        Self { bridge: Bridge::Direct(producer), executor }
    }

    pub(crate) fn queued(queue: QueuedProducer<T>, executor: ExecutorThread) -> Self {
        Self { bridge: Bridge::Queued(queue), executor }
    }

    /// Writes a value and waits for room if there is none.
    ///
    /// A full queue record and a full queued bridge have no room. Every other buffer accepts the value at once.
    ///
    /// # Errors
    ///
    /// [`SetError::Closed`] once the database has been detached or shut down, also if that happens during the wait;
    /// [`SetError::WouldDeadlock`] if the call would have to wait on the runtime thread. Both return the value.
    pub fn set(&self, value: T) -> Result<(), SetError<T>> {
        self.set_within(value, WaitLimit::none())
    }

    /// [`set`](Self::set), waiting no longer than `limit`. A limit of zero tries once.
    ///
    /// # Errors
    ///
    /// [`SetError::Timeout`] with the value, besides those of [`set`](Self::set).
    pub fn set_with_timeout(&self, value: T, limit: Duration) -> Result<(), SetError<T>> {
        self.set_within(value, WaitLimit::after(limit))
    }

    /// [`set`](Self::set), waiting within `limit`.
    ///
    /// # Errors
    ///
    /// [`SetError::Timeout`] and [`SetError::Cancelled`] with the value, besides those of [`set`](Self::set).
    #[inline]
    pub fn set_within(&self, value: T, limit: WaitLimit<'_>) -> Result<(), SetError<T>> {
        match self.try_set(value) {
            Err(SetError::Full(value)) if self.executor.is_current() => {
                Err(SetError::WouldDeadlock(value))
            }
            Err(SetError::Full(value)) => self.wait_and_set(value, limit),
            outcome => outcome,
        }
    }

    /// Whether the database is detached or shut down, so that every further write returns `Closed`.
    ///
    /// A thread that waits for a device asks between two waits.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.bridge {
            Bridge::Direct(producer) => producer.is_closed(),
            Bridge::Queued(queued) => queued.queue.is_closed(),
        }
    }

    /// Writes a value if there is room now.
    ///
    /// # Errors
    ///
    /// [`SetError::Full`] and [`SetError::Closed`], both with the value.
    #[inline]
    pub fn try_set(&self, value: T) -> Result<(), SetError<T>> {
        match &self.bridge {
            Bridge::Direct(producer) => producer.try_produce(value).map_err(|error| match error {
                TryProduceError::Full(value) => SetError::Full(value),
                TryProduceError::Closed(value) => SetError::Closed(value),
            }),
            Bridge::Queued(queued) => queued.queue.try_send(value).map_err(|error| match error {
                TrySendError::Full(value) => SetError::Full(value),
                TrySendError::Closed(value) => SetError::Closed(value),
            }),
        }
    }

    /// Writes all values, in order, and returns their number.
    ///
    /// It waits for room where [`set`](Self::set) would, and writes up to 32 values at once under one lock.
    ///
    /// # Errors
    ///
    /// [`SetManyError`] if the database is detached or shut down before the last value, or if the call would have to wait on
    /// the runtime thread. The error has the number of accepted values; the others are dropped.
    pub fn set_many(&self, values: impl IntoIterator<Item = T>) -> Result<usize, SetManyError> {
        self.set_many_within(values, WaitLimit::none())
    }

    /// [`set_many`](Self::set_many), waiting within `limit` for all values together.
    ///
    /// # Errors
    ///
    /// As for [`set_many`](Self::set_many), and if `limit` expires first.
    pub fn set_many_within(
        &self,
        values: impl IntoIterator<Item = T>,
        limit: WaitLimit<'_>,
    ) -> Result<usize, SetManyError> {
        let Bridge::Direct(producer) = &self.bridge else {
            return self.set_each(values, limit);
        };
        if self.executor.is_current() {
            return self.set_each(values, limit);
        }
        let mut all = producer.produce_many(values);
        let outcome = match park::block_on(limit, &mut all) {
            Ok(outcome) => outcome.map_err(|_closed| SetError::Closed(())),
            Err(error) => Err(SetError::from_wait(error, ())),
        };
        outcome.map_err(|reason| SetManyError { accepted: all.accepted(), reason })
    }

    fn set_each(
        &self,
        values: impl IntoIterator<Item = T>,
        limit: WaitLimit<'_>,
    ) -> Result<usize, SetManyError> {
        let mut accepted = 0;
        for value in values {
            self.set_within(value, limit)
                .map_err(|refused| SetManyError { accepted, reason: refused.map(drop) })?;
            accepted += 1;
        }
        Ok(accepted)
    }

    #[cold]
    fn wait_and_set(&self, value: T, limit: WaitLimit<'_>) -> Result<(), SetError<T>> {
        let mut unsent = Some(value);
        let attempt = || match self.try_set(unsent.take()?) {
            Err(SetError::Full(value)) => {
                unsent = Some(value);
                None
            }
            outcome => Some(outcome),
        };
        if let Some(outcome) = park::spin_then_try(limit, attempt) {
            return outcome;
        }
        // The attempt was refused or not made, so the value is still here.
        let Some(value) = unsent else { return Ok(()) };
        match &self.bridge {
            Bridge::Direct(producer) => wait_and_produce(producer, value, limit),
            Bridge::Queued(queued) => match park::block_on(limit, queued.queue.reserve()) {
                Ok(Ok(permit)) => {
                    permit.send(value);
                    Ok(())
                }
                Ok(Err(_closed)) => Err(SetError::Closed(value)),
                Err(error) => Err(SetError::from_wait(error, value)),
            },
        }
    }
}

fn wait_and_produce<T: Record>(
    producer: &Producer<T, TokioAdapter>,
    value: T,
    limit: WaitLimit<'_>,
) -> Result<(), SetError<T>> {
    let mut room = WaitGuard::new(producer);
    let mut value = Some(value);
    let outcome = park::wait(limit, |cx| -> Poll<_> {
        room.on.poll_produce(&mut value, &mut room.ticket, cx)
    });
    match (outcome, value) {
        (Err(error), Some(value)) => Err(SetError::from_wait(error, value)),
        (Ok(Err(_closed)), Some(value)) => Err(SetError::Closed(value)),
        _ => Ok(()),
    }
}

impl<T: Record> Clone for SyncProducer<T> {
    fn clone(&self) -> Self {
        let bridge = match &self.bridge {
            Bridge::Direct(producer) => Bridge::Direct(producer.clone()),
            Bridge::Queued(queued) => Bridge::Queued(queued.clone()),
        };
        Self { bridge, executor: self.executor }
    }
}

impl<T: Record> fmt::Debug for SyncProducer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bridge = match self.bridge {
            Bridge::Direct(_) => "direct",
            Bridge::Queued(_) => "queued",
        };
        f.debug_struct("SyncProducer").field("bridge", &bridge).finish_non_exhaustive()
    }
}
