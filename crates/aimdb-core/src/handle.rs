//! What stages and callers hold of a record: [`Producer`], [`Consumer`], [`Reader`].

use crate::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::sync::atomic::Ordering::Relaxed;
use core::task::{Context, Poll};

use arrayvec::ArrayVec;
use futures_core::Stream;
use portable_atomic::AtomicU8;

use crate::buffer::{
    Buffer, Closed, Event, NoSeat, ProduceError, ProduceManyError, Subscription, TryProduceError,
    TryRecvError, WaitKey, WaitTicket,
};
use crate::error::SubscribeError;
use crate::key::Record;
use crate::sync::{Lock, Spin};

/// Values that [`Producer::produce_many`] moves in one go.
const BATCH: usize = 32;

/// Operations that may succeed in a row before a task gives way to the others on its thread. Without it a source that
/// never waits would keep a single-threaded runtime for itself.
const STREAK: u8 = 128;

/// Writes a record. Cheap to clone; several producers of one record are safe.
pub struct Producer<T: Record, R> {
    record: Arc<RecordCell<T>>,
    /// Values accepted since this handle last gave way; approximate when a handle is shared.
    streak: AtomicU8,
    runtime: PhantomData<fn() -> R>,
}

impl<T: Record, R> Producer<T, R> {
    pub(crate) fn new(record: Arc<RecordCell<T>>) -> Self {
        Self { record, streak: AtomicU8::new(0), runtime: PhantomData }
    }

    /// The record's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.record.key
    }

    /// Accepts a value. On a queue it waits until there is room; every other buffer takes it at once.
    ///
    /// # Errors
    ///
    /// [`ProduceError`] with the value if the record is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, the future drops its value, which then was not accepted, and gives up its place in
    /// line to the next writer.
    pub fn produce(&self, value: T) -> Produce<'_, T> {
        Produce { buffer: &self.record.buffer, streak: &self.streak, value: Some(value), key: None }
    }

    /// Accepts a value if that can be done now.
    ///
    /// # Errors
    ///
    /// [`TryProduceError::Full`] on a queue without room and [`TryProduceError::Closed`], both with the value.
    #[inline]
    pub fn try_produce(&self, value: T) -> Result<(), TryProduceError<T>> {
        self.record.buffer.try_produce(value)
    }

    /// Accepts all values, in order, up to 32 in one go, waiting for room where [`produce`](Self::produce) would.
    /// Returns how many there were.
    ///
    /// # Errors
    ///
    /// [`ProduceManyError`] if the record closed on the way. It says how many were accepted; the others are dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, the values accepted so far ([`ProduceMany::accepted`]) stay accepted and the others
    /// are dropped.
    pub fn produce_many<I: IntoIterator<Item = T>>(
        &self,
        values: I,
    ) -> ProduceMany<'_, T, I::IntoIter> {
        ProduceMany {
            buffer: &self.record.buffer,
            streak: &self.streak,
            values: values.into_iter(),
            batch: ArrayVec::new(),
            accepted: 0,
            key: None,
        }
    }

    /// One value at a time by polling, for those who build a front door of their own. The value stays in `value` until
    /// it is accepted.
    pub fn poll_produce(
        &self,
        value: &mut Option<T>,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        self.record.buffer.poll_produce(value, &mut ticket.0, cx)
    }

    /// Gives up waiting after [`poll_produce`](Self::poll_produce) was pending; the place goes to the next writer.
    pub fn cancel_wait(&self, ticket: &mut WaitTicket) {
        self.record.buffer.stop_writing(&mut ticket.0);
    }

    /// Whether the record is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.record.buffer.is_closed()
    }
}

impl<T: Record, R> Clone for Producer<T, R> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.record))
    }
}

impl<T: Record, R> fmt::Debug for Producer<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Producer").field(&self.key()).finish()
    }
}

/// The future of [`Producer::produce`].
#[must_use = "nothing is produced until the future is awaited"]
pub struct Produce<'p, T: Clone> {
    buffer: &'p Buffer<T>,
    streak: &'p AtomicU8,
    value: Option<T>,
    key: WaitKey,
}

// The value is never pinned: it is moved out when it is accepted.
impl<T: Clone> Unpin for Produce<'_, T> {}

impl<T: Clone> Future for Produce<'_, T> {
    type Output = Result<(), ProduceError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if gives_way(this.streak, cx) {
            return Poll::Pending;
        }
        let outcome =
            core::task::ready!(this.buffer.poll_produce(&mut this.value, &mut this.key, cx));
        Poll::Ready(match (outcome, this.value.take()) {
            (Err(Closed), Some(value)) => Err(ProduceError(value)),
            _ => Ok(()),
        })
    }
}

impl<T: Clone> Drop for Produce<'_, T> {
    fn drop(&mut self) {
        self.buffer.stop_writing(&mut self.key);
    }
}

impl<T: Clone> fmt::Debug for Produce<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Produce").field("accepted", &self.value.is_none()).finish_non_exhaustive()
    }
}

/// Counts one more attempt to produce; after [`STREAK`] of them the task's next turn comes after the others'.
fn gives_way(streak: &AtomicU8, cx: &Context<'_>) -> bool {
    let made = streak.load(Relaxed);
    if made >= STREAK {
        streak.store(0, Relaxed);
        cx.waker().wake_by_ref();
        return true;
    }
    streak.store(made + 1, Relaxed);
    false
}

/// The future of [`Producer::produce_many`].
#[must_use = "nothing is produced until the future is awaited"]
pub struct ProduceMany<'p, T: Clone, I> {
    buffer: &'p Buffer<T>,
    streak: &'p AtomicU8,
    values: I,
    /// Taken from the iterator, which is user code and runs outside the lock, and not accepted yet.
    batch: ArrayVec<T, BATCH>,
    accepted: usize,
    key: WaitKey,
}

// Neither the values nor the iterator are ever pinned.
impl<T: Clone, I> Unpin for ProduceMany<'_, T, I> {}

impl<T: Clone, I> ProduceMany<'_, T, I> {
    /// How many values have been accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted
    }

    /// Brings the batch into the buffer.
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut spin = Spin::new();
        loop {
            let before = self.batch.len();
            let outcome = self.buffer.try_produce_batch(&mut self.batch);
            self.accepted += before - self.batch.len();
            if outcome.is_err() || self.batch.is_empty() {
                self.buffer.stop_writing(&mut self.key);
                return Poll::Ready(outcome);
            }
            if self.buffer.wait_for_room(&mut self.key, cx.waker().clone())
                || crate::buffer::gives_way(&spin, cx)
            {
                return Poll::Pending;
            }
            spin.wait();
        }
    }
}

impl<T: Clone, I: Iterator<Item = T>> Future for ProduceMany<'_, T, I> {
    type Output = Result<usize, ProduceManyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if this.batch.is_empty() {
                this.batch.extend(this.values.by_ref().take(BATCH));
            }
            if this.batch.is_empty() {
                return Poll::Ready(Ok(this.accepted));
            }
            if gives_way(this.streak, cx) {
                return Poll::Pending;
            }
            if let Err(Closed) = core::task::ready!(this.poll_batch(cx)) {
                return Poll::Ready(Err(ProduceManyError { accepted: this.accepted }));
            }
        }
    }
}

impl<T: Clone, I> Drop for ProduceMany<'_, T, I> {
    fn drop(&mut self) {
        self.buffer.stop_writing(&mut self.key);
    }
}

impl<T: Clone, I> fmt::Debug for ProduceMany<'_, T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProduceMany").field("accepted", &self.accepted).finish_non_exhaustive()
    }
}

/// Reads a record: [`subscribe`](Self::subscribe) for a stream of values, [`latest`](Self::latest) for a look.
pub struct Consumer<T: Record, R> {
    record: Arc<RecordCell<T>>,
    seat: Arc<Seat<T>>,
    runtime: PhantomData<fn() -> R>,
}

impl<T: Record, R> Consumer<T, R> {
    /// A consumer from outside the graph. It has no reader until it subscribes.
    pub(crate) fn outside(record: Arc<RecordCell<T>>) -> Self {
        let seat = Arc::new(Seat {
            name: "outside".into(),
            waiting: Lock::new(None),
            of_stage: false,
            keeps: false,
        });
        Self { record, seat, runtime: PhantomData }
    }

    /// A stage's consumer, subscribed before anything runs. `keeps` its place when its reader is dropped.
    pub(crate) fn of_stage(record: Arc<RecordCell<T>>, name: Arc<str>, keeps: bool) -> Self {
        let reader = Buffer::subscribe(&record.buffer, Arc::clone(&name), true);
        let seat = Arc::new(Seat { name, waiting: Lock::new(Some(reader)), of_stage: true, keeps });
        Self { record, seat, runtime: PhantomData }
    }

    /// The record's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.record.key
    }

    /// A reader.
    ///
    /// In a stage the first call hands out the reader that was made at start, which misses nothing; later calls make
    /// new ones, which see what comes after (or, on a latest record, the current value at once). In a stage with a
    /// restart policy the reader that was made at start is handed out again where it stood once it has been dropped.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if the record is closed, or is a mailbox that has a taker and was not declared
    /// [`shared`](crate::Registrar::shared).
    pub fn subscribe(&self) -> Result<Reader<T>, SubscribeError> {
        let waiting = self.seat.waiting.with(Option::take);
        // Only the reader that was made at start goes back to its place: another one that a later attempt did not take
        // up again would hold the writers of a queue back for ever.
        let kept = self.seat.keeps && waiting.is_some();
        let subscription = match waiting {
            Some(subscription) => subscription,
            None => self.record.subscribe(Arc::clone(&self.seat.name), self.seat.of_stage)?,
        };
        Ok(Reader {
            subscription: Some(subscription),
            ticket: WaitTicket::default(),
            end_ticket: WaitTicket::default(),
            streak: 0,
            seat: kept.then(|| Arc::clone(&self.seat)),
        })
    }

    /// [`subscribe`](Self::subscribe) as the bare layer under a [`Reader`], for those who build a front door.
    ///
    /// # Errors
    ///
    /// As for [`subscribe`](Self::subscribe).
    pub fn subscription(&self) -> Result<Subscription<T>, SubscribeError> {
        self.record.subscribe(Arc::clone(&self.seat.name), self.seat.of_stage)
    }

    /// The newest value the buffer holds, without consuming it. `None` if there was none yet, and on a queue or a
    /// mailbox also when everything has been taken.
    #[must_use]
    pub fn latest(&self) -> Option<T> {
        self.record.buffer.latest()
    }
}

impl<T: Record, R> Clone for Consumer<T, R> {
    fn clone(&self) -> Self {
        Self {
            record: Arc::clone(&self.record),
            seat: Arc::clone(&self.seat),
            runtime: PhantomData,
        }
    }
}

impl<T: Record, R> fmt::Debug for Consumer<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Consumer").field(&self.key()).finish()
    }
}

/// Where a consumer's reader waits to be handed out.
struct Seat<T: Clone> {
    name: Arc<str>,
    waiting: Lock<Option<Subscription<T>>>,
    of_stage: bool,
    /// A dropped reader comes back here, so that a restarted stage goes on where it stood.
    keeps: bool,
}

/// One reader of a record, with a position of its own.
///
/// The idiom `while let Ok(value) = reader.recv().await { … }` survives any burst and ends when the record is closed
/// and read to its end.
pub struct Reader<T: Clone> {
    /// `None` only while it is being dropped.
    subscription: Option<Subscription<T>>,
    ticket: WaitTicket,
    /// For waiting until the record has ended.
    end_ticket: WaitTicket,
    /// Events handed out since this reader last gave way.
    streak: u8,
    seat: Option<Arc<Seat<T>>>,
}

impl<T: Clone> Reader<T> {
    fn place(&self) -> &Subscription<T> {
        self.subscription.as_ref().expect("a reader has its subscription until it is dropped")
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event<T>, Closed>> {
        self.poll(cx, |place, ticket, cx| place.poll_event(ticket, cx))
    }

    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Closed>> {
        self.poll(cx, |place, ticket, cx| place.poll_value_mut(ticket, cx))
    }

    /// Declares that the stage has done with the values it was given, without a further read.
    pub(crate) fn finish(&self) {
        self.place().finish();
    }

    /// Declares that what it takes is handed to somebody who counts it: a connector, for a link.
    pub(crate) fn hand_on(&self) {
        self.place().hand_on();
    }

    /// Ready when the record is closed and nothing is left for this reader.
    pub(crate) fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { subscription, ticket, end_ticket, .. } = self;
        let place =
            subscription.as_ref().expect("a reader has its subscription until it is dropped");
        // Who only waits for the end takes nothing: a value that it was woken for is another's.
        place.cancel_wait(ticket);
        place.poll_drained(end_ticket, cx)
    }

    /// Polls the subscription, giving way to other tasks after [`STREAK`] successes in a row.
    #[inline]
    fn poll<O>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&mut Subscription<T>, &mut WaitTicket, &mut Context<'_>) -> Poll<O>,
    ) -> Poll<O> {
        if self.streak >= STREAK {
            self.streak = 0;
            // The stage came back for more; only its task gives way.
            self.place().finish();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Self { subscription, ticket, .. } = self;
        let place =
            subscription.as_mut().expect("a reader has its subscription until it is dropped");
        let outcome = attempt(place, ticket, cx);
        self.streak = if outcome.is_ready() { self.streak + 1 } else { 0 };
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
        let place = self.subscription.as_mut();
        place.expect("a reader has its subscription until it is dropped").try_value_mut()
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
        self.place().lagged()
    }

    /// How many values wait for this reader.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.place().pending()
    }

    /// The newest value the buffer holds, without consuming it.
    #[must_use]
    pub fn latest(&self) -> Option<T> {
        self.place().latest()
    }

    /// Ends the wait of a future that is ready, or dropped.
    fn suspend_wait(&mut self) {
        if let Some(place) = &self.subscription {
            place.suspend_wait(&mut self.ticket);
        }
    }
}

impl<T: Clone> Drop for Reader<T> {
    fn drop(&mut self) {
        if let Some(place) = &self.subscription {
            place.cancel_wait(&mut self.ticket);
            place.cancel_drain_wait(&mut self.end_ticket);
        }
        if let Some(seat) = &self.seat {
            let place = self.subscription.take();
            let _replaced = seat.waiting.with(|waiting| core::mem::replace(waiting, place));
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
        reader.poll(cx, |place, ticket, cx| place.poll_many(into, *limit, ticket, cx))
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

/// A record as its handles see it.
pub(crate) struct RecordCell<T: Clone> {
    pub(crate) key: Arc<str>,
    pub(crate) buffer: Arc<Buffer<T>>,
    /// A mailbox with one taker only, until somebody says otherwise.
    pub(crate) exclusive: bool,
}

impl<T: Record> RecordCell<T> {
    fn subscribe(&self, name: Arc<str>, of_stage: bool) -> Result<Subscription<T>, SubscribeError> {
        let key = || self.key.as_ref().into();
        Buffer::try_subscribe(&self.buffer, name, of_stage, self.exclusive).map_err(|refusal| {
            match refusal {
                NoSeat::Closed => SubscribeError::Closed { key: key() },
                NoSeat::Taken(taker) => {
                    SubscribeError::Taken { key: key(), taker: taker.as_ref().into() }
                }
            }
        })
    }
}
