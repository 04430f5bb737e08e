//! The subscription of one reader.

use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;
use core::task::{Context, Poll};

use super::buffer::{Buffer, yield_if_long};
use super::cfg::BufferCfg;
use super::cursor::{Access, Cursor};
use super::error::{Closed, TryRecvError};
use super::event::Event;
use super::kind::ReadOutcome;
use super::stash::Stash;
use super::waiters::WaitTicket;
use crate::sync::{Arc, Spin};
use crate::wait::CancelWait;

/// Why a buffer accepts no further reader.
pub(crate) enum SubscribeRefused {
    /// The record is closed.
    Closed,
    /// The mailbox has this taker, and takers may not share it.
    Taken(Arc<str>),
}

/// The subscription of one reader: the layer under [`Reader`](crate::Reader), for an API of one's
/// own.
///
/// It holds a position in the record's buffer and at most one wait. Several threads can read
/// through it after [`into_shared`](Self::into_shared).
///
/// ```
/// use core::task::{Context, Poll, Waker};
/// use aimdb_core::{Consumer, TryRecvError};
///
/// fn first<R>(celsius: &Consumer<f32, R>) -> Option<f32> {
///     let mut subscription = celsius.subscription().ok()?;
///     match subscription.poll_value(&mut Context::from_waker(Waker::noop())) {
///         Poll::Ready(value) => value.ok(),
///         Poll::Pending => None, // the waker will be woken
///     }
/// }
/// ```
pub struct Subscription<T: Clone> {
    reader: SubscribedReader<T>,
    ticket: WaitTicket,
    /// For the wait until the record is drained.
    drain_ticket: WaitTicket,
}

impl<T: Clone> Subscription<T> {
    /// Subscribes a reader of a stage.
    pub(crate) fn of_stage(buffer: &Arc<Buffer<T>>, name: Arc<str>) -> Self {
        match SubscribedReader::enter(buffer, name, true, |_| Ok::<(), Infallible>(())) {
            Ok(reader) => Self::new(reader),
            Err(never) => match never {},
        }
    }

    /// Subscribes a reader if the record is open and, when it is `exclusive`, has no reader.
    pub(crate) fn try_new(
        buffer: &Arc<Buffer<T>>,
        name: Arc<str>,
        of_stage: bool,
        exclusive: bool,
    ) -> Result<Self, SubscribeRefused> {
        let reader =
            SubscribedReader::enter(buffer, name, of_stage, |subscribers| {
                match subscribers.cursors().next() {
                    _ if buffer.is_closed() => Err(SubscribeRefused::Closed),
                    Some(taker) if exclusive => {
                        Err(SubscribeRefused::Taken(Arc::clone(&taker.name)))
                    }
                    _ => Ok(()),
                }
            });
        reader.map(Self::new)
    }

    fn new(reader: SubscribedReader<T>) -> Self {
        Self { reader, ticket: WaitTicket::default(), drain_ticket: WaitTicket::default() }
    }

    /// Lets several threads read through the subscription: each value is received by one of them.
    #[must_use]
    pub fn into_shared(mut self) -> SharedSubscription<T> {
        self.cancel_wait();
        self.reader.cursor.share();
        SharedSubscription { subscription: self }
    }

    /// Declares that the reader has finished with the values it received, without a further read.
    pub(crate) fn finish(&self) {
        // The value behind a reported lag has not been received.
        if !self.reader.stash.is_full() {
            self.reader.cursor.finish();
        }
    }

    /// Declares that a connector accounts for the values of this reader: none of them counts as
    /// interrupted.
    pub(crate) fn delegate_accounting(&self) {
        self.reader.cursor.delegate_accounting();
    }

    /// Returns the next event if there is one: a value, or before it the number of values lost.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`].
    #[inline]
    pub fn try_event(&mut self) -> Result<Event<T>, TryRecvError> {
        self.reader.try_event(Access::Exclusive)
    }

    /// Returns the next value if there is one. Lost values are only counted.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`].
    #[inline]
    pub fn try_value(&mut self) -> Result<T, TryRecvError> {
        self.reader.try_value(Access::Exclusive)
    }

    /// Appends up to `limit` values to `into` and returns how many.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`] if there was not even one. A `limit` of zero gives `Ok(0)`.
    pub fn try_many(&mut self, into: &mut Vec<T>, limit: usize) -> Result<usize, TryRecvError> {
        self.reader.try_many(Access::Exclusive, into, limit)
    }

    /// [`try_value`](Self::try_value), waiting while there is no value.
    #[inline]
    pub fn poll_value(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Closed>> {
        self.poll(cx, |reader| reader.try_value(Access::Exclusive))
    }

    /// [`try_event`](Self::try_event), waiting while there is no event.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event<T>, Closed>> {
        self.poll(cx, |reader| reader.try_event(Access::Exclusive))
    }

    /// [`try_many`](Self::try_many), waiting until there is at least one value.
    pub fn poll_many(
        &mut self,
        into: &mut Vec<T>,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Closed>> {
        self.poll(cx, |reader| reader.try_many(Access::Exclusive, into, limit))
    }

    /// Ready when the record is closed and this reader has received everything.
    pub(crate) fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A task that waits for the drain receives nothing: its wake-up for a value is another
        // waiter's.
        self.reader.cancel_wait(&mut self.ticket);
        if self.reader.stash.is_full() {
            return Poll::Pending;
        }
        let SubscribedReader { buffer, cursor, .. } = &self.reader;
        buffer.poll_drained(cursor, &mut self.drain_ticket, cx)
    }

    #[inline]
    fn poll<O>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnMut(&SubscribedReader<T>) -> Result<O, TryRecvError>,
    ) -> Poll<Result<O, Closed>> {
        let outcome = self.reader.poll(&mut self.ticket, cx, attempt);
        if outcome.is_ready() {
            self.suspend_wait();
        }
        outcome
    }

    /// Ends the wait for a value, if there is one. An unused wake-up passes to the next waiter.
    pub fn cancel_wait(&mut self) {
        self.reader.cancel_wait(&mut self.ticket);
        self.reader.buffer.cancel_drain_wait(&mut self.drain_ticket);
    }

    /// Ends the wait for a value and keeps its place in the wait list for the next one.
    #[inline]
    pub(crate) fn suspend_wait(&mut self) {
        if self.ticket.has_place() {
            let SubscribedReader { buffer, id, cursor, .. } = &self.reader;
            buffer.suspend_read_wait(*id, cursor, &mut self.ticket);
        }
    }

    /// The number of values that this reader has lost, those it has not come to yet included. For a
    /// mailbox: the number of commands that were replaced by those it took.
    #[must_use]
    pub fn lagged(&self) -> u64 {
        self.reader.lagged()
    }

    /// The number of values that this reader can receive.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.reader.pending()
    }

    /// Whether the record holds one current value, which a newer one replaces: latest and mailbox.
    #[must_use]
    pub fn keeps_one(&self) -> bool {
        self.reader.keeps_one()
    }

    /// Returns a clone of the newest value held, without consuming it.
    #[must_use]
    pub fn latest(&self) -> Option<T> {
        self.reader.buffer.latest()
    }

    /// Whether the record is closed. There may still be values to read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.reader.buffer.is_closed()
    }
}

impl<T: Clone> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.cancel_wait();
    }
}

impl<T: Clone> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reader.fmt("Subscription", f)
    }
}

/// A subscription that several threads read through: each value is received by one of them.
///
/// Each thread waits with a [`WaitTicket`] of its own. Made by [`Subscription::into_shared`].
pub struct SharedSubscription<T: Clone> {
    subscription: Subscription<T>,
}

impl<T: Clone> SharedSubscription<T> {
    /// Returns the next event if there is one: a value, or before it the number of values lost.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`].
    #[inline]
    pub fn try_event(&self) -> Result<Event<T>, TryRecvError> {
        self.subscription.reader.try_event(Access::Shared)
    }

    /// Returns the next value if there is one. Lost values are only counted.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`].
    #[inline]
    pub fn try_value(&self) -> Result<T, TryRecvError> {
        self.subscription.reader.try_value(Access::Shared)
    }

    /// Appends up to `limit` values to `into` and returns how many.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`] if there was not even one. A `limit` of zero gives `Ok(0)`.
    pub fn try_many(&self, into: &mut Vec<T>, limit: usize) -> Result<usize, TryRecvError> {
        self.subscription.reader.try_many(Access::Shared, into, limit)
    }

    /// [`try_value`](Self::try_value), waiting while there is no value.
    #[inline]
    pub fn poll_value(
        &self,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, Closed>> {
        self.poll(ticket, cx, |reader| reader.try_value(Access::Shared))
    }

    /// [`try_event`](Self::try_event), waiting while there is no event.
    pub fn poll_event(
        &self,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Event<T>, Closed>> {
        self.poll(ticket, cx, |reader| reader.try_event(Access::Shared))
    }

    /// [`try_many`](Self::try_many), waiting until there is at least one value.
    pub fn poll_many(
        &self,
        into: &mut Vec<T>,
        limit: usize,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Closed>> {
        self.poll(ticket, cx, |reader| reader.try_many(Access::Shared, into, limit))
    }

    /// Ready when there is a value, or when the record is closed and drained. It receives nothing,
    /// so another thread may be first. An unused wake-up of this ticket passes to the next waiter.
    pub fn poll_ready(&self, ticket: &mut WaitTicket, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self.poll(ticket, cx, |reader| {
            let ready = reader.pending() > 0 || reader.buffer.is_closed();
            if ready { Ok(()) } else { Err(TryRecvError::Empty) }
        });
        ready.map(|_| ())
    }

    #[inline]
    fn poll<O>(
        &self,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
        attempt: impl FnMut(&SubscribedReader<T>) -> Result<O, TryRecvError>,
    ) -> Poll<Result<O, Closed>> {
        let outcome = self.subscription.reader.poll(ticket, cx, attempt);
        if outcome.is_ready() {
            self.subscription.reader.cancel_wait(ticket);
        }
        outcome
    }

    /// Ends a wait. An unused wake-up passes to the next waiter.
    #[inline]
    pub fn cancel_wait(&self, ticket: &mut WaitTicket) {
        self.subscription.reader.cancel_wait(ticket);
    }

    /// The number of values that the threads have lost, those they have not come to yet included.
    /// For a mailbox: the number of commands that were replaced by those they took.
    #[must_use]
    pub fn lagged(&self) -> u64 {
        self.subscription.reader.lagged()
    }

    /// The number of values that the threads can receive.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.subscription.reader.pending()
    }

    /// Whether the record holds one current value, which a newer one replaces: latest and mailbox.
    #[must_use]
    pub fn keeps_one(&self) -> bool {
        self.subscription.reader.keeps_one()
    }

    /// Returns a clone of the newest value held, without consuming it.
    #[must_use]
    pub fn latest(&self) -> Option<T> {
        self.subscription.reader.buffer.latest()
    }

    /// Whether the record is closed. There may still be values to read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.subscription.reader.buffer.is_closed()
    }
}

impl<T: Clone> CancelWait for SharedSubscription<T> {
    fn cancel_wait(&self, ticket: &mut WaitTicket) {
        self.subscription.reader.cancel_wait(ticket);
    }
}

impl<T: Clone> fmt::Debug for SharedSubscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subscription.reader.fmt("SharedSubscription", f)
    }
}

/// A reader among a record's subscribers. The drop removes it.
struct SubscribedReader<T: Clone> {
    buffer: Arc<Buffer<T>>,
    id: usize,
    cursor: Arc<Cursor>,
    stash: Stash<T>,
}

// Values in the stash are moved out, never pinned.
impl<T: Clone> Unpin for SubscribedReader<T> {}

impl<T: Clone> SubscribedReader<T> {
    fn enter<E>(
        buffer: &Arc<Buffer<T>>,
        name: Arc<str>,
        of_stage: bool,
        condition: impl FnOnce(&super::subscribers::Subscribers) -> Result<(), E>,
    ) -> Result<Self, E> {
        let (id, cursor) = buffer.enter(name, of_stage, condition)?;
        Ok(Self { buffer: Arc::clone(buffer), id, cursor, stash: Stash::new() })
    }

    #[inline]
    fn try_event(&self, access: Access) -> Result<Event<T>, TryRecvError> {
        self.buffer.try_read_event(self.id, &self.cursor, access, &self.stash)
    }

    #[inline(always)]
    fn try_value(&self, access: Access) -> Result<T, TryRecvError> {
        if let Some(value) = self.stashed() {
            return Ok(value);
        }
        let mut value = None;
        let outcome = self.buffer.try_read(self.id, &self.cursor, access, &mut value);
        // Another thread may have stashed a value meanwhile.
        match (outcome, value.or_else(|| self.stashed())) {
            (_, Some(value)) => Ok(value),
            (ReadOutcome::Closed, None) => Err(TryRecvError::Closed),
            (_, None) => Err(TryRecvError::Empty),
        }
    }

    fn try_many(
        &self,
        access: Access,
        into: &mut Vec<T>,
        limit: usize,
    ) -> Result<usize, TryRecvError> {
        if limit == 0 {
            return Ok(0);
        }
        if let Some(value) = self.stashed() {
            into.push(value);
            return Ok(1);
        }
        let outcome = self.buffer.try_read_many(self.id, &self.cursor, access, into, limit);
        outcome.or_else(|nothing| {
            // Another thread may have stashed a value meanwhile.
            into.push(self.stashed().ok_or(nothing)?);
            Ok(1)
        })
    }

    /// The value behind a lag that was reported.
    #[inline(always)]
    fn stashed(&self) -> Option<T> {
        if self.stash.is_full() { self.buffer.unstash(&self.cursor, &self.stash) } else { None }
    }

    /// Makes attempts until one succeeds, the record is drained, or the task may sleep. The caller
    /// ends the wait once this is ready.
    #[inline]
    fn poll<O>(
        &self,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&Self) -> Result<O, TryRecvError>,
    ) -> Poll<Result<O, Closed>> {
        let mut spin = Spin::new();
        loop {
            match attempt(self) {
                Ok(received) => return Poll::Ready(Ok(received)),
                Err(TryRecvError::Closed) => return Poll::Ready(Err(Closed)),
                Err(TryRecvError::Empty) => {}
            }
            if self.buffer.register_reader(self.id, &self.cursor, ticket, cx.waker())
                || yield_if_long(&spin, cx)
            {
                return Poll::Pending;
            }
            spin.wait();
        }
    }

    #[inline]
    fn cancel_wait(&self, ticket: &mut WaitTicket) {
        self.buffer.cancel_read_wait(self.id, &self.cursor, ticket);
    }

    fn keeps_one(&self) -> bool {
        matches!(self.buffer.cfg(), BufferCfg::SingleLatest | BufferCfg::Mailbox)
    }

    fn lagged(&self) -> u64 {
        self.buffer.lagged(&self.cursor)
    }

    fn pending(&self) -> u64 {
        self.buffer.readable(&self.cursor) + u64::from(self.stash.is_full())
    }

    fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name).field("buffer", &self.buffer.cfg()).finish_non_exhaustive()
    }
}

impl<T: Clone> Drop for SubscribedReader<T> {
    fn drop(&mut self) {
        self.buffer.leave(self.id, &self.cursor, self.stash.take());
    }
}
