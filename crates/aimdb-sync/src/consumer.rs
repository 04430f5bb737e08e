//! Reading a record from a thread.

use std::fmt;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aimdb_core::buffer::Subscription;
use aimdb_core::{Closed, Event, Record, TryRecvError};

use crate::error::GetError;
use crate::handle::Home;
use crate::limit::WaitLimit;
use crate::park;
use crate::queued::QueuedOut;
use crate::wait::{WaitTicket, Waitable, Waiting};

/// Reads a record, with one position of its own. All methods take `&self`: threads that share a consumer divide the
/// values among them, each value going to one of them.
pub struct SyncConsumer<T: Record> {
    bridge: Bridge<T>,
    home: Home,
}

enum Bridge<T: Record> {
    /// On the record's own buffer.
    Direct(Subscription<T>),
    /// Through a queue of its own.
    Queued(QueuedOut<T>),
}

impl<T: Record> SyncConsumer<T> {
    pub(crate) fn direct(subscription: Subscription<T>, home: Home) -> Self {
        subscription.share();
        Self { bridge: Bridge::Direct(subscription), home }
    }

    pub(crate) fn queued(queue: QueuedOut<T>, home: Home) -> Self {
        Self { bridge: Bridge::Queued(queue), home }
    }

    /// The next value, waiting for it. Values lost on the way are skipped and counted in [`lagged`](Self::lagged).
    ///
    /// # Errors
    ///
    /// [`GetError::Closed`] once the database has been detached or shut down and everything has been read, also if that
    /// happens while it waits; [`GetError::WouldDeadlock`] if it would have to wait on the runtime thread.
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

    /// The next value if there is one.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] and [`GetError::Closed`].
    #[inline]
    pub fn try_get(&self) -> Result<T, GetError> {
        match &self.bridge {
            Bridge::Direct(subscription) => Ok(subscription.try_value()?),
            Bridge::Queued(queued) => loop {
                if let Event::Value(value) = queued.try_event()? {
                    return Ok(value);
                }
            },
        }
    }

    /// The next value or lag if there is one; [`next_event`](Self::next_event) waits for it.
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

    /// Appends up to `limit` values to `into` and returns how many; [`get_many`](Self::get_many) waits for the first.
    ///
    /// # Errors
    ///
    /// As for [`try_get`](Self::try_get), if there was not even one. A `limit` of zero gives `Ok(0)`.
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

    /// Appends up to `limit` values to `into`, waiting until there is at least one, and returns how many. It may
    /// return fewer than are there. A `limit` of zero returns at once.
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

    /// The next value or, before it, how many were lost: [`Event::Lagged`] comes exactly where the gap is.
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

    /// The newest value the record holds, without consuming it. `None` if there was none yet, and on a queue or a
    /// mailbox also when everything has been taken.
    #[must_use]
    pub fn latest(&self) -> Option<T> {
        self.subscription().latest()
    }

    /// How many values this consumer has lost so far, those it has not come to yet included. On a mailbox: how many
    /// commands were replaced by the ones it took.
    #[must_use]
    pub fn lagged(&self) -> u64 {
        self.subscription().lagged()
    }

    /// Values one after the other, waiting for each, until the database is detached and everything has been read.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { consumer: self }
    }

    fn subscription(&self) -> &Subscription<T> {
        match &self.bridge {
            Bridge::Direct(subscription) => subscription,
            Bridge::Queued(queued) => queued.subscription(),
        }
    }

    /// What `attempt` gives soon, or else what `poll` gives in the line of those who wait.
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
        if let Some(outcome) = park::soon(limit, attempt) {
            return outcome;
        }
        let mut waiting = Waiting::new(self);
        park::wait(limit, |cx| poll(self, &mut waiting.ticket, cx))?
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
        self.home.is_here()
    }
}

impl From<Closed> for GetError {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<TryRecvError> for GetError {
    fn from(error: TryRecvError) -> Self {
        match error {
            TryRecvError::Empty => Self::Empty,
            TryRecvError::Closed => Self::Closed,
        }
    }
}

/// Blocking iteration; made by [`SyncConsumer::iter`].
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
