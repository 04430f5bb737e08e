//! Reading a record from a thread.

use std::fmt;
use std::time::{Duration, Instant};

use aimdb_core::buffer::{Subscription, WaitTicket};
use aimdb_core::{Event, Record, TryRecvError};

use crate::error::GetError;
use crate::handle::Home;
use crate::park;
use crate::queued::QueuedOut;

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
    pub fn get(&self) -> Result<T, GetError> {
        self.value_by(None)
    }

    /// [`get`](Self::get), waiting no longer than `limit`. A limit of zero tries once.
    ///
    /// # Errors
    ///
    /// [`GetError::Timeout`], besides those of [`get`](Self::get).
    pub fn get_with_timeout(&self, limit: Duration) -> Result<T, GetError> {
        // A limit beyond the end of the clock is none.
        self.value_by(Instant::now().checked_add(limit))
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
        if limit == 0 {
            return Ok(0);
        }
        match &self.bridge {
            Bridge::Direct(subscription) => self.many(subscription, into, limit),
            Bridge::Queued(_) => {
                into.push(self.get()?);
                let more = std::iter::from_fn(|| self.try_get().ok()).take(limit - 1);
                let before = into.len();
                into.extend(more);
                Ok(1 + into.len() - before)
            }
        }
    }

    fn many(
        &self,
        subscription: &Subscription<T>,
        into: &mut Vec<T>,
        limit: usize,
    ) -> Result<usize, GetError> {
        let mut attempt = || match subscription.try_many(into, limit) {
            Err(TryRecvError::Empty) => None,
            outcome => Some(outcome),
        };
        match attempt() {
            Some(outcome) => return Ok(outcome?),
            None if self.home.is_here() => return Err(GetError::WouldDeadlock),
            None => {}
        }
        if let Some(outcome) = park::soon(None, attempt) {
            return Ok(outcome?);
        }
        let mut waiting = Waiting { subscription, ticket: WaitTicket::default() };
        let outcome =
            park::wait(None, |cx| subscription.poll_many(into, limit, &mut waiting.ticket, cx));
        outcome.unwrap_or(Ok(0)).map_err(|_closed| GetError::Closed)
    }

    /// The next value or, before it, how many were lost: [`Event::Lagged`] comes exactly where the gap is.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn next_event(&self) -> Result<Event<T>, GetError> {
        self.event_by(None)
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

    #[inline]
    fn value_by(&self, deadline: Option<Instant>) -> Result<T, GetError> {
        match self.try_get() {
            Err(GetError::Empty) => self.wait_for_value(deadline),
            outcome => outcome,
        }
    }

    #[cold]
    fn wait_for_value(&self, deadline: Option<Instant>) -> Result<T, GetError> {
        if self.home.is_here() {
            return Err(GetError::WouldDeadlock);
        }
        let attempt = || match self.try_get() {
            Err(GetError::Empty) => None,
            outcome => Some(outcome),
        };
        if let Some(outcome) = park::soon(deadline, attempt) {
            return outcome;
        }
        let Bridge::Direct(subscription) = &self.bridge else {
            loop {
                if let Event::Value(value) = self.event_by(deadline)? {
                    return Ok(value);
                }
            }
        };
        let mut waiting = Waiting { subscription, ticket: WaitTicket::default() };
        match park::wait(deadline, |cx| subscription.poll_value(&mut waiting.ticket, cx)) {
            Some(outcome) => outcome.map_err(|_closed| GetError::Closed),
            None => Err(GetError::Timeout),
        }
    }

    fn event_by(&self, deadline: Option<Instant>) -> Result<Event<T>, GetError> {
        let now = match &self.bridge {
            Bridge::Direct(subscription) => subscription.try_event(),
            Bridge::Queued(queued) => queued.try_event(),
        };
        match now {
            Err(TryRecvError::Empty) if self.home.is_here() => Err(GetError::WouldDeadlock),
            Err(TryRecvError::Empty) => self.wait_for_event(deadline),
            outcome => Ok(outcome?),
        }
    }

    fn wait_for_event(&self, deadline: Option<Instant>) -> Result<Event<T>, GetError> {
        match &self.bridge {
            Bridge::Queued(queued) => queued.event(deadline)?.ok_or(GetError::Timeout),
            Bridge::Direct(subscription) => {
                let mut waiting = Waiting { subscription, ticket: WaitTicket::default() };
                match park::wait(deadline, |cx| subscription.poll_event(&mut waiting.ticket, cx)) {
                    Some(outcome) => outcome.map_err(|_closed| GetError::Closed),
                    None => Err(GetError::Timeout),
                }
            }
        }
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

/// A place in the readers' line, given back when the wait ends in whatever way.
struct Waiting<'s, T: Record> {
    subscription: &'s Subscription<T>,
    ticket: WaitTicket,
}

impl<T: Record> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.subscription.stop_waiting(&mut self.ticket);
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
