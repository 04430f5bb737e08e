//! The subscription of one reader.
//!
//! Three types divide the work:
//!
//! | type | adds | waits |
//! |---|---|---|
//! | `SubscribedReader` | the entry among the subscribers, the cursor and the stash | with a ticket that its caller brings |
//! | [`Subscription`] | exclusive access (`&mut self`), tickets of its own | one task at a time |
//! | [`SharedSubscription`] | access from several threads (`&self`) | each thread with a ticket of its own |
//!
//! # Reading
//!
//! A read locks the cursor. It takes the value in the stash, the one behind a lag that was
//! reported, and reads the storage only if there is none: a value in the stash is older than every
//! value that the storage holds for the reader. Reads of values and of events may be mixed: a read of values counts a lag as
//! reported, and the events that follow do not repeat it.
//!
//! # Waiting
//!
//! A poll that finds nothing leaves its waker with the record and returns `Pending`. The wait lasts
//! until a poll is ready or the owner cancels it. Two functions end a wait, with the same meaning
//! in every layer: `cancel_wait` gives the place in the wait list up, and passes an unused wake-up
//! to the next waiter; `suspend_wait` keeps the place, so that the next wait allocates nothing and
//! often takes one lock less.
//!
//! # Leaving
//!
//! The drop ends the waits, returns a stashed command to its mailbox, and removes the reader. The
//! values that a reader of a stage has not received then count as its backlog.

use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;
use core::task::{Context, Poll};

use super::buffer::{Buffer, yield_if_long};
use super::cfg::BufferCfg;
use super::cursor::{Access, Cursor};
use super::error::{Closed, TryRecvError};
use super::event::Event;
use super::kind::Receive;
use super::start::Start;
use super::stash::Stash;
use super::waiters::WaitTicket;
use crate::sync::{Arc, CriticalSection, Spin};
use crate::wait::CancelWait;

/// Why a buffer accepts no further reader.
pub(crate) enum SubscribeRefused {
    /// The record is closed.
    Closed,
    /// The mailbox has the taker of this name, and takers may not share it.
    Taken(Arc<str>),
}

/// The subscription of one reader: the layer under [`Reader`](crate::Reader), for an API of one's
/// own.
///
/// It holds a position in the record's buffer and at most one wait. Several threads can read
/// through it after [`into_shared`](Self::into_shared).
///
/// Each `try_*` returns at once. Each `poll_*` registers the waker of its context if there is
/// nothing to return; a later poll with another waker replaces it. While it exists, a queue keeps
/// the values that this reader has not received, and holds its writers back.
///
/// # Cancel safety
///
/// A poll that returns `Pending` has received nothing, so a caller may stop polling without a loss.
/// It should then call [`cancel_wait`](Self::cancel_wait), so that a wake-up which this reader does
/// not use reaches another taker. The drop does so too.
///
/// ```
/// use core::task::{Context, Poll, Waker};
/// use aimdb_core::Consumer;
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
    /// For the wait for a value. It keeps its place while the wait is suspended.
    ticket: WaitTicket,
    /// For the wait until the record is drained. A reader that is read from does not use it.
    drain_ticket: WaitTicket,
}

impl<T: Clone> Subscription<T> {
    /// Subscribes a reader of a stage, while the graph is built: the record is open, and the rules
    /// of the graph have counted its takers.
    pub(crate) fn of_stage(buffer: &Arc<Buffer<T>>, name: Arc<str>) -> Self {
        match SubscribedReader::enter(buffer, name, true, None, |_| Ok::<(), Infallible>(())) {
            Ok(reader) => Self::new(reader),
            Err(never) => match never {},
        }
    }

    /// Subscribes an observer to a mirror, open or closed.
    pub(super) fn of_observer(buffer: &Arc<Buffer<T>>, name: Arc<str>) -> Self {
        match SubscribedReader::enter(buffer, name, false, None, |_| Ok::<(), Infallible>(())) {
            Ok(reader) => Self::new(reader),
            Err(never) => match never {},
        }
    }

    /// Subscribes a reader if the record is open and, when it is `exclusive`, has no reader.
    ///
    /// # Errors
    ///
    /// [`SubscribeRefused`]. The close precedes the taker: a closed record reports `Closed`.
    pub(crate) fn try_new(
        buffer: &Arc<Buffer<T>>,
        name: Arc<str>,
        of_stage: bool,
        exclusive: bool,
        start: Option<Start>,
    ) -> Result<Self, SubscribeRefused> {
        let reader =
            SubscribedReader::enter(buffer, name, of_stage, start, |subscribers| match subscribers
                .cursors()
                .next()
            {
                _ if buffer.is_closed() => Err(SubscribeRefused::Closed),
                Some(taker) if exclusive => Err(SubscribeRefused::Taken(Arc::clone(&taker.name))),
                _ => Ok(()),
            });
        reader.map(Self::new)
    }

    /// A subscription that does not wait.
    fn new(reader: SubscribedReader<T>) -> Self {
        Self { reader, ticket: WaitTicket::default(), drain_ticket: WaitTicket::default() }
    }

    /// Lets several threads read through the subscription: each value is received by one of them.
    /// The position and a value behind a reported lag are kept; a wait of this subscription ends.
    #[must_use]
    pub fn into_shared(mut self) -> SharedSubscription<T> {
        self.cancel_wait();
        // Before another thread can reach the cursor: `share` stores without ordering.
        self.reader.cursor.share();
        self.reader.buffer.coordinator().share();
        SharedSubscription { subscription: self }
    }

    /// Declares that the reader has finished with the values it received, without a further read. A
    /// shutdown then does not report them as interrupted.
    pub(crate) fn finish(&self) {
        // The value behind a reported lag has not been received.
        if !self.reader.stash.is_full() {
            // Without std a 64-bit word may be two halves, which metrics must not see apart.
            let _section = CriticalSection::enter();
            // `finish` loads and stores without the lock of the cursor: a subscription is not
            // shared.
            self.reader.cursor.finish();
        }
    }

    /// Declares that a connector accounts for the values of this reader: none of them counts as
    /// interrupted. Called before the first read.
    pub(crate) fn delegate_accounting(&self) {
        self.reader.cursor.delegate_accounting();
    }

    /// Returns the next event if there is one: a value, or before it the number of values lost.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if there is none yet, and [`TryRecvError::Closed`] if the record is
    /// closed and drained.
    #[inline]
    pub fn try_event(&mut self) -> Result<Event<T>, TryRecvError> {
        self.reader.try_event(Access::Exclusive)
    }

    /// Returns the next value if there is one. Lost values are skipped, and counted in
    /// [`lagged`](Self::lagged).
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if there is none yet, and [`TryRecvError::Closed`] if the record is
    /// closed and drained.
    #[inline]
    pub fn try_value(&mut self) -> Result<T, TryRecvError> {
        self.reader.try_value(Access::Exclusive)
    }

    /// Appends up to `limit` values to `into` and returns how many. A value behind a reported lag
    /// is returned alone, before the others.
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
        let mut value = Poll::Pending;
        self.poll_value_into(cx, &mut value);
        value
    }

    /// [`poll_value`](Self::poll_value) into a place of the caller, which is pending.
    #[inline]
    pub(crate) fn poll_value_into(
        &mut self,
        cx: &mut Context<'_>,
        place: &mut Poll<Result<T, Closed>>,
    ) {
        let read = |reader: &SubscribedReader<T>| reader.try_value_into(Access::Exclusive, place);
        if let Poll::Ready(Err(closed)) = self.poll(cx, read) {
            *place = Poll::Ready(Err(closed));
        }
    }

    /// Calls `look` with the next value if there is one, and returns what it returned:
    /// [`try_value`](Self::try_value) by reference. The section "By reference" of
    /// [`Reader::recv_with`](crate::Reader::recv_with) says what `look` holds back.
    ///
    /// # Errors
    ///
    /// Those of [`try_value`](Self::try_value).
    #[inline]
    pub fn try_value_with<O>(&mut self, look: impl FnOnce(&T) -> O) -> Result<O, TryRecvError> {
        self.reader.try_look(Access::Exclusive, look)
    }

    /// [`try_value_with`](Self::try_value_with), waiting while there is no value. `look` is `None`
    /// once it was called.
    ///
    /// # Panics
    ///
    /// If `look` is `None` already: an earlier poll was ready.
    #[inline]
    pub fn poll_value_with<O>(
        &mut self,
        look: &mut Option<impl FnOnce(&T) -> O>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<O, Closed>> {
        assert!(look.is_some(), "{POLLED_AGAIN}");
        self.poll(cx, |reader| reader.try_look(Access::Exclusive, |value| call(look, value)))
    }

    /// [`try_event`](Self::try_event), waiting while there is no event.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event<T>, Closed>> {
        self.poll(cx, |reader| reader.try_event(Access::Exclusive))
    }

    /// [`try_many`](Self::try_many), waiting until there is at least one value. It does not wait
    /// until there are `limit` values.
    pub fn poll_many(
        &mut self,
        into: &mut Vec<T>,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Closed>> {
        // Nothing to wait for.
        if limit == 0 {
            self.suspend_wait();
            return Poll::Ready(Ok(0));
        }
        self.poll(cx, |reader| reader.try_many(Access::Exclusive, into, limit))
    }

    /// A number that changes with each value received.
    pub(crate) fn progress(&self) -> u64 {
        self.reader.cursor.next() * 2 + u64::from(self.reader.stash.is_full())
    }

    /// Advances past the next value, which is neither cloned nor received by anyone.
    pub(crate) fn skip(&mut self) {
        let SubscribedReader { buffer, id, cursor, stash } = &self.reader;
        buffer.skip(*id, cursor, Access::Exclusive, stash);
    }

    /// Ready when the record is closed and this reader has received everything.
    ///
    /// While the stash has a value, it is pending without a registered waker: only the caller,
    /// which has the subscription to itself, can receive that value.
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

    /// Polls with the subscription's own ticket. A wait that is over keeps its place for the next
    /// one.
    #[inline]
    fn poll<O>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnMut(&SubscribedReader<T>) -> Result<O, TryRecvError>,
    ) -> Poll<Result<O, Closed>> {
        // A reader that has waited before is likely to wait again. A look at the storage then costs
        // less than an attempt, which would take the cache line of the next value from its writer.
        let dry = self.ticket.is_suspended() && self.reader.finds_nothing();
        let outcome = self.reader.poll(&mut self.ticket, cx, dry, attempt);
        if outcome.is_ready() {
            self.suspend(true);
        }
        outcome
    }

    /// Ends the wait for a value, if there is one. An unused wake-up passes to the next waiter. The
    /// waker of the last poll is dropped; a thread that notified the reader before may still wake
    /// it.
    pub fn cancel_wait(&mut self) {
        self.reader.cancel_wait(&mut self.ticket);
        self.reader.buffer.cancel_drain_wait(&mut self.drain_ticket);
    }

    /// Ends the wait for a value and keeps its place in the wait list for the next one, where it
    /// can. A reader that was not notified, and a taker of a mailbox, cancel the wait instead.
    #[inline]
    pub(crate) fn suspend_wait(&mut self) {
        self.suspend(false);
    }

    /// [`suspend_wait`](Self::suspend_wait). `received`: the reader has received what it waited for.
    #[inline]
    fn suspend(&mut self, received: bool) {
        if self.ticket.is_registered() {
            let SubscribedReader { buffer, id, cursor, .. } = &self.reader;
            buffer.suspend_read_wait(*id, cursor, &mut self.ticket, received);
        }
    }

    /// Whether the reader is in the FIFO of the waiters.
    #[cfg(all(test, aimdb_loom))]
    pub(super) fn is_in_list(&self) -> bool {
        self.reader.buffer.coordinator().is_in_list(&self.ticket)
    }

    /// The number of values that this reader has lost, those it has not come to yet included. For a
    /// mailbox: the number of commands that were replaced by those it took.
    #[must_use]
    pub fn lagged(&self) -> u64 {
        self.reader.lagged()
    }

    /// The number of values that this reader can receive, the one behind a reported lag included.
    /// Of several takers of a mailbox, each counts the pending command.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.reader.pending()
    }

    /// Whether the record holds one current value, which a newer one replaces: latest and mailbox.
    #[must_use]
    pub fn keeps_one(&self) -> bool {
        self.reader.keeps_one()
    }

    /// Returns a clone of the newest value held, without consuming it. It moves no position: the
    /// value may be one that was received already, or one far ahead of the next.
    #[must_use]
    pub fn latest(&self) -> Option<T> {
        self.reader.buffer.latest()
    }

    /// Whether the record is closed. There may still be values to read; [`TryRecvError::Closed`]
    /// reports that there are none.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.reader.buffer.is_closed()
    }
}

/// Gives the places in the wait lists up. The drop of the reader, a field, follows and removes it.
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
///
/// Reads take turns at one position, so each value is received once. A thread that waits for
/// another thread's read waits for its `Clone`. One value wakes one thread; a thread that receives
/// a value and leaves others wakes the next.
///
/// A poll that returns `Pending` keeps the ticket's place in the wait list. Its thread must poll
/// again until it is ready, or [cancel](Self::cancel_wait) the wait before it drops the ticket. A
/// [`WaitGuard`](crate::wait::WaitGuard) cancels it on drop.
///
/// ```
/// use core::task::{Context, Poll, Waker};
/// use aimdb_core::buffer::{SharedSubscription, WaitTicket};
///
/// fn value_or_none(celsius: &SharedSubscription<f32>) -> Option<f32> {
///     let mut ticket = WaitTicket::default();
///     match celsius.poll_value(&mut ticket, &mut Context::from_waker(Waker::noop())) {
///         Poll::Ready(value) => value.ok(),
///         Poll::Pending => {
///             celsius.cancel_wait(&mut ticket);
///             None
///         }
///     }
/// }
/// ```
pub struct SharedSubscription<T: Clone> {
    subscription: Subscription<T>,
}

impl<T: Clone> SharedSubscription<T> {
    /// Returns the next event if there is one: a value, or before it the number of values lost.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if there is none yet, and [`TryRecvError::Closed`] if the record is
    /// closed and drained.
    #[inline]
    pub fn try_event(&self) -> Result<Event<T>, TryRecvError> {
        self.subscription.reader.try_event(Access::Shared)
    }

    /// Returns the next value if there is one. Lost values are skipped, and counted in
    /// [`lagged`](Self::lagged).
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if there is none yet, and [`TryRecvError::Closed`] if the record is
    /// closed and drained.
    #[inline]
    pub fn try_value(&self) -> Result<T, TryRecvError> {
        self.try_value_as()
    }

    /// [`try_value`](Self::try_value) with an error type of one's own. A large value is then not
    /// moved again for the sake of the error.
    ///
    /// # Errors
    ///
    /// The [`TryRecvError`], converted.
    #[inline]
    pub fn try_value_as<E: From<TryRecvError>>(&self) -> Result<T, E> {
        self.subscription.reader.try_value(Access::Shared)
    }

    /// Appends up to `limit` values to `into` and returns how many. A value behind a reported lag
    /// is returned alone, before the others.
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
        let mut value = Poll::Pending;
        let read = |reader: &SubscribedReader<T>| reader.try_value_into(Access::Shared, &mut value);
        if let Poll::Ready(Err(closed)) = self.poll(ticket, cx, read) {
            value = Poll::Ready(Err(closed));
        }
        value
    }

    /// Calls `look` with the next value if there is one, and returns what it returned:
    /// [`try_value`](Self::try_value) by reference. Other threads of this reader wait meanwhile.
    /// The section "By reference" of [`Reader::recv_with`](crate::Reader::recv_with) says what else
    /// `look` holds back.
    ///
    /// # Errors
    ///
    /// Those of [`try_value`](Self::try_value).
    #[inline]
    pub fn try_value_with<O>(&self, look: impl FnOnce(&T) -> O) -> Result<O, TryRecvError> {
        self.subscription.reader.try_look(Access::Shared, look)
    }

    /// [`try_value_with`](Self::try_value_with), waiting while there is no value. `look` is `None`
    /// once it was called.
    ///
    /// # Panics
    ///
    /// If `look` is `None` already: an earlier poll was ready.
    #[inline]
    pub fn poll_value_with<O>(
        &self,
        look: &mut Option<impl FnOnce(&T) -> O>,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<O, Closed>> {
        assert!(look.is_some(), "{POLLED_AGAIN}");
        self.poll(ticket, cx, |reader| reader.try_look(Access::Shared, |value| call(look, value)))
    }

    /// [`try_event`](Self::try_event), waiting while there is no event.
    pub fn poll_event(
        &self,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Event<T>, Closed>> {
        self.poll(ticket, cx, |reader| reader.try_event(Access::Shared))
    }

    /// [`try_many`](Self::try_many), waiting until there is at least one value. It does not wait
    /// until there are `limit` values.
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
        // A ready poll cancels the wait, so a wake-up for a value passes to a thread that reads.
        let ready = self.poll(ticket, cx, |reader| {
            let ready = reader.pending() > 0 || reader.buffer.is_closed();
            if ready { Ok(()) } else { Err(TryRecvError::Empty) }
        });
        ready.map(|_| ())
    }

    /// Polls with the ticket of one thread. A wait that is over gives its place up: other threads
    /// wait through the same reader, and an unused wake-up is theirs.
    #[inline]
    fn poll<O>(
        &self,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
        attempt: impl FnMut(&SubscribedReader<T>) -> Result<O, TryRecvError>,
    ) -> Poll<Result<O, Closed>> {
        let outcome = self.subscription.reader.poll(ticket, cx, false, attempt);
        if outcome.is_ready() {
            self.subscription.reader.cancel_wait(ticket);
        }
        outcome
    }

    /// Ends a wait. An unused wake-up passes to the next waiter. The ticket can be used for another
    /// wait.
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

    /// The number of values that the threads can receive, the one behind a reported lag included.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.subscription.reader.pending()
    }

    /// Returns a clone of the newest value held, without consuming it. It moves no position: the
    /// value may be one that was received already, or one far ahead of the next.
    #[must_use]
    pub fn latest(&self) -> Option<T> {
        self.subscription.reader.buffer.latest()
    }

    /// Whether the record is closed. There may still be values to read; [`TryRecvError::Closed`]
    /// reports that there are none.
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

/// The panic of a poll by reference after it was ready.
const POLLED_AGAIN: &str = "polled again after it was ready: the closure was called already";

/// Calls the closure of a read by reference, once.
fn call<T, O, F: FnOnce(&T) -> O>(look: &mut Option<F>, value: &T) -> O {
    look.take().expect(POLLED_AGAIN)(value)
}

/// A reader among a record's subscribers. The drop removes it.
///
/// All methods take `&self`, so that threads can share it. [`Subscription`] passes
/// [`Access::Exclusive`] and guarantees it by `&mut self`; [`SharedSubscription`] passes
/// [`Access::Shared`].
struct SubscribedReader<T: Clone> {
    buffer: Arc<Buffer<T>>,
    /// The id of the entry among the subscribers, from [`Buffer::enter`] to [`Buffer::leave`].
    id: usize,
    /// Shared with the entry.
    cursor: Arc<Cursor>,
    /// Changed while the cursor is locked.
    stash: Stash<T>,
}

// Values in the stash are moved out, never pinned.
impl<T: Clone> Unpin for SubscribedReader<T> {}

impl<T: Clone> SubscribedReader<T> {
    /// Adds a reader to the subscribers if `condition` permits it. `condition` runs under their
    /// lock.
    fn enter<E>(
        buffer: &Arc<Buffer<T>>,
        name: Arc<str>,
        of_stage: bool,
        start: Option<Start>,
        condition: impl FnOnce(&super::subscribers::Subscribers) -> Result<(), E>,
    ) -> Result<Self, E> {
        let (id, cursor) = buffer.enter(name, of_stage, start, condition)?;
        Ok(Self { buffer: Arc::clone(buffer), id, cursor, stash: Stash::new() })
    }

    #[inline]
    fn try_event(&self, access: Access) -> Result<Event<T>, TryRecvError> {
        self.buffer.try_read_event(self.id, &self.cursor, access, &self.stash)
    }

    #[cfg_attr(feature = "std", inline(always))]
    fn try_value<E: From<TryRecvError>>(&self, access: Access) -> Result<T, E> {
        // The value is written here: the caller's place, if this is inlined.
        let mut value = Err(TryRecvError::Empty.into());
        if let Err(error) = self.try_value_into(access, &mut value) {
            value = Err(error.into());
        }
        value
    }

    /// Reads the next value into `place`.
    #[cfg_attr(feature = "std", inline(always))]
    fn try_value_into<P: Receive<T>>(
        &self,
        access: Access,
        place: &mut P,
    ) -> Result<(), TryRecvError> {
        self.buffer.try_read(self.id, &self.cursor, access, &self.stash, place)
    }

    /// Calls `look` with the next value.
    fn try_look<O>(&self, access: Access, look: impl FnOnce(&T) -> O) -> Result<O, TryRecvError> {
        self.buffer.try_look(self.id, &self.cursor, access, &self.stash, look)
    }

    /// Up to `limit` values; the one of the stash is returned alone. A `limit` of zero reads
    /// nothing, not even whether the record is closed.
    fn try_many(
        &self,
        access: Access,
        into: &mut Vec<T>,
        limit: usize,
    ) -> Result<usize, TryRecvError> {
        if limit == 0 {
            return Ok(0);
        }
        self.buffer.try_read_many(self.id, &self.cursor, access, &self.stash, into, limit)
    }

    /// Whether the only thread of the reader finds no value, and the record is open. Then it has
    /// finished with the values it received, as after a read that finds nothing.
    #[inline]
    fn finds_nothing(&self) -> bool {
        let _section = CriticalSection::enter();
        let nothing = !self.stash.is_full() && self.buffer.is_dry(&self.cursor);
        if nothing {
            self.cursor.finish();
        }
        nothing
    }

    /// Makes attempts until one succeeds, the record is drained, or the task may sleep. The caller
    /// ends the wait once this is ready.
    ///
    /// `dry`: a first attempt would find nothing.
    #[inline]
    fn poll<O>(
        &self,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
        mut dry: bool,
        mut attempt: impl FnMut(&Self) -> Result<O, TryRecvError>,
    ) -> Poll<Result<O, Closed>> {
        let mut spin = Spin::new();
        loop {
            // Before the registration: a reader that finds a value takes no lock.
            if !core::mem::take(&mut dry) {
                match attempt(self) {
                    Ok(received) => return Poll::Ready(Ok(received)),
                    Err(TryRecvError::Closed) => return Poll::Ready(Err(Closed)),
                    Err(TryRecvError::Empty) => {}
                }
            }
            // A waker of an earlier poll may still be registered: it is replaced, or found to be
            // equivalent. Another thread may have moved the next value from the buffer to the stash
            // since the attempt. It takes the lock of the wait list after that, so either it finds
            // this waiter, or this thread finds the stash full.
            let may_sleep = self.buffer.register_reader(self.id, &self.cursor, ticket, cx.waker())
                && !self.stash.is_full();
            if may_sleep || yield_if_long(&spin, cx) {
                return Poll::Pending;
            }
            spin.wait();
        }
    }

    /// Ends a wait to read, and gives its place up.
    #[inline]
    fn cancel_wait(&self, ticket: &mut WaitTicket) {
        self.buffer.cancel_read_wait(self.id, &self.cursor, ticket);
    }

    /// Whether the kind keeps one value.
    fn keeps_one(&self) -> bool {
        matches!(self.buffer.cfg(), BufferCfg::SingleLatest | BufferCfg::Mailbox)
    }

    fn lagged(&self) -> u64 {
        self.buffer.lagged(&self.cursor)
    }

    /// The values of the storage and of the stash, loaded one after the other: between the two,
    /// another thread may move a value from one to the other.
    fn pending(&self) -> u64 {
        self.buffer.readable(&self.cursor) + u64::from(self.stash.is_full())
    }

    fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name).field("buffer", &self.buffer.cfg()).finish_non_exhaustive()
    }
}

/// Removes the reader. Its owner has ended its waits.
impl<T: Clone> Drop for SubscribedReader<T> {
    fn drop(&mut self) {
        // No other thread has the reader any more, so the stash needs no lock of the cursor.
        self.buffer.leave(self.id, &self.cursor, self.stash.take());
    }
}
