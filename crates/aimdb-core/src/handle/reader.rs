//! One reader of a record.

use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::Stream;

use super::budget::BUDGET;
use crate::buffer::event::Event;
use crate::buffer::{Closed, Subscription, TryRecvError, WaitTicket};
use crate::sync::{Arc, Lock};

/// The reader of a stage that was subscribed before the graph started: here until the stage takes it, and between the
/// attempts of a stage that restarts.
pub(super) struct InitialReader<T: Clone> {
    name: Arc<str>,
    subscription: Lock<Option<Subscription<T>>>,
    of_stage: bool,
    /// Only this reader returns here when it is dropped. Another reader that a later attempt does not take again would
    /// hold the writers of a queue back without limit.
    restarts: bool,
}

impl<T: Clone> InitialReader<T> {
    pub(super) fn none(name: Arc<str>) -> Self {
        Self { name, subscription: Lock::new(None), of_stage: false, restarts: false }
    }

    pub(super) fn of_stage(name: Arc<str>, subscription: Subscription<T>, restarts: bool) -> Self {
        Self { name, subscription: Lock::new(Some(subscription)), of_stage: true, restarts }
    }

    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    pub(super) fn is_of_stage(&self) -> bool {
        self.of_stage
    }

    pub(super) fn take(&self) -> Option<Subscription<T>> {
        self.subscription.with(Option::take)
    }
}

/// One reader of a record, with a position of its own.
///
/// The idiom `while let Ok(value) = reader.recv().await { … }` survives any burst and ends when the record is closed
/// and read to its end.
pub struct Reader<T: Clone> {
    /// `None` only while the reader is being dropped.
    subscription: Option<Subscription<T>>,
    ticket: WaitTicket,
    /// For waiting until the record is drained.
    drain_ticket: WaitTicket,
    /// Operations since the reader last yielded.
    spent: u8,
    /// Where the subscription returns to for the next attempt of its stage.
    initial: Option<Arc<InitialReader<T>>>,
}

impl<T: Clone> Reader<T> {
    pub(super) fn new(subscription: Subscription<T>) -> Self {
        Self {
            subscription: Some(subscription),
            ticket: WaitTicket::default(),
            drain_ticket: WaitTicket::default(),
            spent: 0,
            initial: None,
        }
    }

    /// The reader that was taken from `initial`.
    pub(super) fn initial(subscription: Subscription<T>, initial: &Arc<InitialReader<T>>) -> Self {
        let mut reader = Self::new(subscription);
        reader.initial = initial.restarts.then(|| Arc::clone(initial));
        reader
    }

    fn subscription(&self) -> &Subscription<T> {
        self.subscription.as_ref().expect("a reader has its subscription until it is dropped")
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event<T>, Closed>> {
        self.poll(cx, |subscription, ticket, cx| subscription.poll_event(ticket, cx))
    }

    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Closed>> {
        self.poll(cx, |subscription, ticket, cx| subscription.poll_value_mut(ticket, cx))
    }

    /// Declares that the stage has done with the values it was given, without a further read.
    pub(crate) fn finish(&self) {
        self.subscription().finish();
    }

    /// Declares that what it takes is handed to somebody who counts it: a connector, for a link.
    pub(crate) fn hand_on(&self) {
        self.subscription().hand_on();
    }

    /// Ready when the record is closed and nothing is left for this reader.
    pub(crate) fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { subscription, ticket, drain_ticket, .. } = self;
        let subscription =
            subscription.as_ref().expect("a reader has its subscription until it is dropped");
        // Who only waits for the end takes nothing: a value that it was woken for is another's.
        subscription.cancel_wait(ticket);
        subscription.poll_drained(drain_ticket, cx)
    }

    /// Polls the subscription, giving way to other tasks after [`BUDGET`] successes in a row.
    #[inline]
    fn poll<O>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&mut Subscription<T>, &mut WaitTicket, &mut Context<'_>) -> Poll<O>,
    ) -> Poll<O> {
        if self.spent >= BUDGET {
            self.spent = 0;
            // The stage came back for more; only its task gives way.
            self.subscription().finish();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Self { subscription, ticket, .. } = self;
        let subscription =
            subscription.as_mut().expect("a reader has its subscription until it is dropped");
        let outcome = attempt(subscription, ticket, cx);
        self.spent = if outcome.is_ready() { self.spent + 1 } else { 0 };
        outcome
    }

    /// The next value, waiting for it. Values lost on the way are skipped and counted in [`lagged`](Self::lagged).
    ///
    /// # Errors
    ///
    /// [`Closed`] when the record is closed and read to its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no value and no wake-up.
    pub fn recv(&mut self) -> Recv<'_, T> {
        Recv { reader: self }
    }

    /// The next value or, before it, how many were lost: [`Event::Lagged`] comes exactly where the gap is.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the record is closed and read to its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event and no wake-up.
    pub fn next_event(&mut self) -> NextEvent<'_, T> {
        NextEvent { reader: self }
    }

    /// The next value if there is one.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let subscription = self.subscription.as_mut();
        subscription.expect("a reader has its subscription until it is dropped").try_value_mut()
    }

    /// Appends up to `limit` values to `into`, waiting until there is at least one, and returns how many. A `limit` of
    /// zero returns at once. It may return fewer than are there.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the record is closed and read to its end.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has taken nothing.
    pub fn recv_many<'r>(&'r mut self, into: &'r mut Vec<T>, limit: usize) -> RecvMany<'r, T> {
        RecvMany { reader: self, into, limit }
    }

    /// How many values this reader has lost so far, those it has not come to yet included. On a mailbox: how many
    /// commands were replaced by the ones it took.
    #[must_use]
    pub fn lagged(&self) -> u64 {
        self.subscription().lagged()
    }

    /// How many values wait for this reader.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.subscription().pending()
    }

    /// The newest value the buffer holds, without consuming it.
    #[must_use]
    pub fn latest(&self) -> Option<T> {
        self.subscription().latest()
    }

    /// Ends the wait of a future that is ready, or dropped.
    fn suspend_wait(&mut self) {
        if let Some(subscription) = &self.subscription {
            subscription.suspend_wait(&mut self.ticket);
        }
    }
}

impl<T: Clone> Drop for Reader<T> {
    fn drop(&mut self) {
        if let Some(subscription) = &self.subscription {
            subscription.cancel_wait(&mut self.ticket);
            subscription.cancel_drain_wait(&mut self.drain_ticket);
        }
        if let Some(initial) = &self.initial {
            let subscription = self.subscription.take();
            let _replaced =
                initial.subscription.with(|returned| core::mem::replace(returned, subscription));
        }
    }
}

impl<T: Clone> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("subscription", &self.subscription).finish_non_exhaustive()
    }
}

/// Values as [`Reader::recv`] gives them, ending when the record is closed.
impl<T: Clone> Stream for Reader<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_recv(cx).map(Result::ok)
    }
}

/// The future of [`Reader::recv`].
#[must_use = "nothing is read until the future is awaited"]
#[derive(Debug)]
pub struct Recv<'r, T: Clone> {
    reader: &'r mut Reader<T>,
}

impl<T: Clone> Future for Recv<'_, T> {
    type Output = Result<T, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.reader.poll_recv(cx)
    }
}

impl<T: Clone> Drop for Recv<'_, T> {
    fn drop(&mut self) {
        self.reader.suspend_wait();
    }
}

/// The future of [`Reader::next_event`].
#[must_use = "nothing is read until the future is awaited"]
#[derive(Debug)]
pub struct NextEvent<'r, T: Clone> {
    reader: &'r mut Reader<T>,
}

impl<T: Clone> Future for NextEvent<'_, T> {
    type Output = Result<Event<T>, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.reader.poll_event(cx)
    }
}

impl<T: Clone> Drop for NextEvent<'_, T> {
    fn drop(&mut self) {
        self.reader.suspend_wait();
    }
}

/// The future of [`Reader::recv_many`].
#[must_use = "nothing is read until the future is awaited"]
pub struct RecvMany<'r, T: Clone> {
    reader: &'r mut Reader<T>,
    into: &'r mut Vec<T>,
    limit: usize,
}

impl<T: Clone> Future for RecvMany<'_, T> {
    type Output = Result<usize, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { reader, into, limit } = &mut *self;
        reader.poll(cx, |subscription, ticket, cx| subscription.poll_many(into, *limit, ticket, cx))
    }
}

impl<T: Clone> Drop for RecvMany<'_, T> {
    fn drop(&mut self) {
        self.reader.suspend_wait();
    }
}

impl<T: Clone> fmt::Debug for RecvMany<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvMany").field("limit", &self.limit).finish_non_exhaustive()
    }
}
