//! Writing a record from a thread.

use std::fmt;
use std::task::Poll;
use std::time::Duration;

use aimdb_core::buffer::WaitTicket;
use aimdb_core::{Producer, Record, TryProduceError};
use aimdb_tokio_adapter::TokioAdapter;
use tokio::sync::mpsc::error::TrySendError;

use crate::error::{SetError, SetManyError};
use crate::handle::Home;
use crate::limit::{Over, WaitLimit};
use crate::park;
use crate::queued::QueuedIn;

/// Writes a record. Cheap to clone, and usable from any number of threads at once.
pub struct SyncProducer<T: Record> {
    bridge: Bridge<T>,
    home: Home,
}

enum Bridge<T: Record> {
    /// On the record's own buffer.
    Direct(Producer<T, TokioAdapter>),
    /// Through a queue of its own.
    Queued(QueuedIn<T>),
}

impl<T: Record> SyncProducer<T> {
    pub(crate) fn direct(producer: Producer<T, TokioAdapter>, home: Home) -> Self {
        Self { bridge: Bridge::Direct(producer), home }
    }

    pub(crate) fn queued(queue: QueuedIn<T>, home: Home) -> Self {
        Self { bridge: Bridge::Queued(queue), home }
    }

    /// Writes a value, waiting for room where there is none: on a queue record, or on a full queued bridge. Every other
    /// buffer takes it at once.
    ///
    /// # Errors
    ///
    /// [`SetError::Closed`] once the database has been detached or shut down, also if that happens while it waits;
    /// [`SetError::WouldDeadlock`] if it would have to wait on the runtime thread. Both with the value.
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
            Err(SetError::Full(value)) if self.home.is_here() => {
                Err(SetError::WouldDeadlock(value))
            }
            Err(SetError::Full(value)) => self.wait_and_set(value, limit),
            outcome => outcome,
        }
    }

    /// Writes a value if that can be done now.
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

    /// Writes all values, in order, waiting for room where [`set`](Self::set) would; up to 32 at once under one lock.
    /// Returns how many there were.
    ///
    /// # Errors
    ///
    /// [`SetManyError`] if the database is detached or shut down on the way, or it would have to wait on the runtime
    /// thread. It says how many were accepted; the others are dropped.
    pub fn set_many(&self, values: impl IntoIterator<Item = T>) -> Result<usize, SetManyError> {
        self.set_many_within(values, WaitLimit::none())
    }

    /// [`set_many`](Self::set_many), within `limit` for all of them together.
    ///
    /// # Errors
    ///
    /// As for [`set_many`](Self::set_many), and if the limit comes first.
    pub fn set_many_within(
        &self,
        values: impl IntoIterator<Item = T>,
        limit: WaitLimit<'_>,
    ) -> Result<usize, SetManyError> {
        let Bridge::Direct(producer) = &self.bridge else {
            return self.set_each(values, limit);
        };
        if self.home.is_here() {
            return self.set_each(values, limit);
        }
        let mut all = producer.produce_many(values);
        let outcome = match park::block_on(limit, &mut all) {
            Ok(outcome) => outcome.map_err(|_closed| SetError::Closed(())),
            Err(over) => Err(over.with(())),
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
        let mut waiting = Some(value);
        let attempt = || match self.try_set(waiting.take()?) {
            Err(SetError::Full(value)) => {
                waiting = Some(value);
                None
            }
            outcome => Some(outcome),
        };
        if let Some(outcome) = park::soon(limit, attempt) {
            return outcome;
        }
        // It was not accepted, so it is still here.
        let Some(value) = waiting else { return Ok(()) };
        match &self.bridge {
            Bridge::Direct(producer) => produce(producer, value, limit),
            Bridge::Queued(queued) => match park::block_on(limit, queued.queue.reserve()) {
                Ok(Ok(room)) => {
                    room.send(value);
                    Ok(())
                }
                Ok(Err(_closed)) => Err(SetError::Closed(value)),
                Err(over) => Err(over.with(value)),
            },
        }
    }
}

fn produce<T: Record>(
    producer: &Producer<T, TokioAdapter>,
    value: T,
    limit: WaitLimit<'_>,
) -> Result<(), SetError<T>> {
    let mut waiting = Waiting { producer, ticket: WaitTicket::default() };
    let mut value = Some(value);
    let outcome = park::wait(limit, |cx| -> Poll<_> {
        waiting.producer.poll_produce(&mut value, &mut waiting.ticket, cx)
    });
    match (outcome, value) {
        (Err(over), Some(value)) => Err(over.with(value)),
        (Ok(Err(_closed)), Some(value)) => Err(SetError::Closed(value)),
        _ => Ok(()),
    }
}

impl Over {
    fn with<T>(self, value: T) -> SetError<T> {
        match self {
            Self::Timeout => SetError::Timeout(value),
            Self::Cancelled => SetError::Cancelled(value),
        }
    }
}

/// A place in the writers' line, given back when the wait ends in whatever way.
struct Waiting<'p, T: Record> {
    producer: &'p Producer<T, TokioAdapter>,
    ticket: WaitTicket,
}

impl<T: Record> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.producer.cancel_wait(&mut self.ticket);
    }
}

impl<T: Record> Clone for SyncProducer<T> {
    fn clone(&self) -> Self {
        let bridge = match &self.bridge {
            Bridge::Direct(producer) => Bridge::Direct(producer.clone()),
            Bridge::Queued(queued) => Bridge::Queued(queued.clone()),
        };
        Self { bridge, home: self.home }
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
