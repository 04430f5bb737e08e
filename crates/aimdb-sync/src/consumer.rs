//! Reading a record from a thread.

use std::fmt;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aimdb_core::buffer::{SharedSubscription, Subscription};
use aimdb_core::{Event, Record};

use crate::error::GetError;
use crate::limit::WaitLimit;
use crate::park;
use crate::queued::QueuedConsumer;
use crate::runtime::ExecutorThread;
use crate::wait::{Wait, WaitTicket, Waitable};

/// Reads a record from any thread, with a cursor of its own.
///
/// All methods take `&self`. Threads that share a consumer divide the values among them: one of them receives each value.
/// A thread that is to see every value makes a consumer of its own.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use aimdb_core::{AimDbBuilder, BufferCfg, Event};
/// # use aimdb_tokio_adapter::TokioAdapter;
/// use aimdb_sync::{Attach, GetError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
/// # builder.configure::<u32>("level", |reg| { reg.buffer(BufferCfg::SpmcRing { capacity: 2 }); });
/// # let handle = builder.attach()?;
/// # let producer = handle.producer::<u32>("level")?;
/// let consumer = handle.consumer::<u32>("level")?; // a ring record of 2
/// assert_eq!(consumer.try_get(), Err(GetError::Empty));
/// producer.set_many(1..=5)?;
/// assert_eq!(consumer.next_event(), Ok(Event::Lagged(3)));
/// assert_eq!(consumer.get(), Ok(4));
/// assert_eq!(consumer.get_with_timeout(Duration::from_secs(1)), Ok(5));
/// handle.detach()?;
/// assert_eq!(consumer.get(), Err(GetError::Closed));
/// # Ok(())
/// # }
/// ```
pub struct SyncConsumer<T: Record> {
    bridge: Bridge<T>,
    executor: ExecutorThread,
}

enum Bridge<T: Record> {
    /// Reads from the record's own buffer.
    Direct(SharedSubscription<T>),
    /// Reads through a queue of its own.
    Queued(QueuedConsumer<T>),
}

impl<T: Record> SyncConsumer<T> {
    pub(crate) fn direct(subscription: Subscription<T>, executor: ExecutorThread) -> Self {
        Self { bridge: Bridge::Direct(subscription.into_shared()), executor }
    }

    pub(crate) fn queued(queue: QueuedConsumer<T>, executor: ExecutorThread) -> Self {
        Self { bridge: Bridge::Queued(queue), executor }
    }

    /// Returns the next value and waits for one if there is none.
    ///
    /// Lost values are skipped and counted in [`lagged`](Self::lagged).
    ///
    /// # Errors
    ///
    /// [`GetError::Closed`] once the database has been detached or shut down and everything has been read, also if that
    /// happens during the wait; [`GetError::WouldDeadlock`] if the call would have to wait on the runtime thread.
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        self.get_within(WaitLimit::none())
    }

    /// [`get`](Self::get), waiting no longer than `limit`. A limit of zero tries once.
    ///
    /// # Errors
    ///
    /// [`GetError::Timeout`], besides those of [`get`](Self::get).
    #[inline]
    pub fn get_with_timeout(&self, limit: Duration) -> Result<T, GetError> {
        self.get_within(WaitLimit::after(limit))
    }

    /// [`get`](Self::get), waiting within `limit`.
    ///
    /// # Errors
    ///
    /// [`GetError::Timeout`] and [`GetError::Cancelled`], besides those of [`get`](Self::get).
    #[inline]
    pub fn get_within(&self, limit: WaitLimit<'_>) -> Result<T, GetError> {
        match self.try_get() {
            Err(GetError::Empty) => self.wait_for(
                limit,
                || self.try_get(),
                |consumer, ticket, cx| consumer.poll_value(ticket, cx),
            ),
            outcome => outcome,
        }
    }

    /// Returns the next value if there is one now.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] and [`GetError::Closed`].
    #[inline]
    pub fn try_get(&self) -> Result<T, GetError> {
        match &self.bridge {
            Bridge::Direct(subscription) => subscription.try_value_as(),
            Bridge::Queued(queued) => loop {
                if let Event::Value(value) = queued.try_event()? {
                    return Ok(value);
                }
            },
        }
    }

    /// Returns the next value or lag if there is one now; [`next_event`](Self::next_event) waits for it.
    ///
    /// # Errors
    ///
    /// As for [`try_get`](Self::try_get).
    pub fn try_next_event(&self) -> Result<Event<T>, GetError> {
        let event = match &self.bridge {
            Bridge::Direct(subscription) => subscription.try_event(),
            Bridge::Queued(queued) => queued.try_event(),
        };
        Ok(event?)
    }

    /// Appends up to `limit` values to `into` and returns their number; [`get_many`](Self::get_many) waits for the first.
    ///
    /// A `limit` of zero returns `Ok(0)`.
    ///
    /// # Errors
    ///
    /// As for [`try_get`](Self::try_get), if there was no value at all.
    pub fn try_get_many(&self, into: &mut Vec<T>, limit: usize) -> Result<usize, GetError> {
        match &self.bridge {
            Bridge::Direct(subscription) => Ok(subscription.try_many(into, limit)?),
            Bridge::Queued(_) if limit == 0 => Ok(0),
            Bridge::Queued(_) => {
                into.push(self.try_get()?);
                let before = into.len();
                into.extend(std::iter::from_fn(|| self.try_get().ok()).take(limit - 1));
                Ok(1 + into.len() - before)
            }
        }
    }

    /// Appends up to `limit` values to `into`, waiting for the first, and returns their number.
    ///
    /// It may return fewer values than there are. A `limit` of zero returns at once.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn get_many(&self, into: &mut Vec<T>, limit: usize) -> Result<usize, GetError> {
        self.get_many_within(into, limit, WaitLimit::none())
    }

    /// [`get_many`](Self::get_many), waiting for the first value within `wait`.
    ///
    /// # Errors
    ///
    /// As for [`get_within`](Self::get_within).
    pub fn get_many_within(
        &self,
        into: &mut Vec<T>,
        limit: usize,
        wait: WaitLimit<'_>,
    ) -> Result<usize, GetError> {
        loop {
            match self.try_get_many(into, limit) {
                Err(GetError::Empty) => {}
                outcome => return outcome,
            }
            self.wait_for(
                wait,
                || Err(GetError::Empty),
                |consumer, ticket, cx| consumer.poll_ready(ticket, cx).map(Ok),
            )?;
        }
    }

    /// Returns the next value or lag and waits for one if there is none.
    ///
    /// [`Event::Lagged`] has the number of lost values and appears exactly where the gap is, before the next value.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn next_event(&self) -> Result<Event<T>, GetError> {
        self.next_event_within(WaitLimit::none())
    }

    /// [`next_event`](Self::next_event), waiting within `limit`.
    ///
    /// # Errors
    ///
    /// As for [`get_within`](Self::get_within).
    pub fn next_event_within(&self, limit: WaitLimit<'_>) -> Result<Event<T>, GetError> {
        match self.try_next_event() {
            Err(GetError::Empty) => self.wait_for(
                limit,
                || self.try_next_event(),
                |consumer, ticket, cx| consumer.poll_event(ticket, cx),
            ),
            outcome => outcome,
        }
    }

    /// The newest value that the record holds, without consuming it.
    ///
    /// `None` if there was no value yet, and on a queue or a mailbox also when everything has been taken.
    #[must_use]
    pub fn latest(&self) -> Option<T> {
        self.subscription().latest()
    }

    /// The number of values that this consumer has lost so far, including lost values that its cursor has not passed yet.
    ///
    /// On a mailbox: the number of commands that were replaced by those it took.
    #[must_use]
    pub fn lagged(&self) -> u64 {
        self.subscription().lagged()
    }

    /// Iterates over the values and waits for each, until the database is detached and everything has been read.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { consumer: self }
    }

    fn subscription(&self) -> &SharedSubscription<T> {
        match &self.bridge {
            Bridge::Direct(subscription) => subscription,
            Bridge::Queued(queued) => queued.subscription(),
        }
    }

    /// Returns what `attempt` yields after a short spin, or else waits on the wait list until `poll` is ready.
    #[cold]
    fn wait_for<O>(
        &self,
        limit: WaitLimit<'_>,
        mut attempt: impl FnMut() -> Result<O, GetError>,
        mut poll: impl FnMut(&Self, &mut WaitTicket, &mut Context<'_>) -> Poll<Result<O, GetError>>,
    ) -> Result<O, GetError> {
        if self.would_deadlock() {
            return Err(GetError::WouldDeadlock);
        }
        let attempt = || match attempt() {
            Err(GetError::Empty) => None,
            outcome => Some(outcome),
        };
        if let Some(outcome) = park::spin_then_try(limit, attempt) {
            return outcome;
        }
        let mut wait = Wait::new(self);
        park::wait(limit, |cx| poll(self, &mut wait.ticket, cx))?
    }

    fn poll_value(
        &self,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, GetError>> {
        match &self.bridge {
            Bridge::Direct(subscription) => {
                subscription.poll_value(&mut ticket.direct, cx).map_err(GetError::from)
            }
            Bridge::Queued(_) => loop {
                if let Event::Value(value) = ready!(self.poll_event(ticket, cx))? {
                    return Poll::Ready(Ok(value));
                }
            },
        }
    }

    fn poll_event(
        &self,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Event<T>, GetError>> {
        match &self.bridge {
            Bridge::Direct(subscription) => {
                subscription.poll_event(&mut ticket.direct, cx).map_err(GetError::from)
            }
            Bridge::Queued(queued) => {
                queued.poll_event(&mut ticket.queued, cx).map_err(GetError::from)
            }
        }
    }
}

impl<T: Record> Waitable for SyncConsumer<T> {
    fn poll_ready(&self, ticket: &mut WaitTicket, cx: &mut Context<'_>) -> Poll<()> {
        match &self.bridge {
            Bridge::Direct(subscription) => subscription.poll_ready(&mut ticket.direct, cx),
            Bridge::Queued(queued) => queued.poll_ready(&mut ticket.queued, cx),
        }
    }

    fn cancel_wait(&self, ticket: &mut WaitTicket) {
        match &self.bridge {
            Bridge::Direct(subscription) => subscription.cancel_wait(&mut ticket.direct),
            Bridge::Queued(queued) => queued.cancel_wait(&mut ticket.queued),
        }
    }

    fn would_deadlock(&self) -> bool {
        self.executor.is_current()
    }
}

/// A blocking iterator over a consumer's values, made by [`SyncConsumer::iter`].
#[derive(Debug)]
pub struct Iter<'c, T: Record> {
    consumer: &'c SyncConsumer<T>,
}

impl<T: Record> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.consumer.get().ok()
    }
}

impl<'c, T: Record> IntoIterator for &'c SyncConsumer<T> {
    type Item = T;
    type IntoIter = Iter<'c, T>;

    fn into_iter(self) -> Iter<'c, T> {
        self.iter()
    }
}

impl<T: Record> fmt::Debug for SyncConsumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bridge = match self.bridge {
            Bridge::Direct(_) => "direct",
            Bridge::Queued(_) => "queued",
        };
        f.debug_struct("SyncConsumer").field("bridge", &bridge).finish_non_exhaustive()
    }
}
