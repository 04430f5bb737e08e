//! Writing a record.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use arrayvec::ArrayVec;
use portable_atomic::AtomicU8;

use super::budget::poll_budget;
use crate::buffer::{
    Buffer, Closed, ProduceError, ProduceManyError, TryProduceError, WaitKey, WaitTicket,
};
use crate::key::Record;
use crate::record::RecordCell;
use crate::sync::{Arc, Spin};

/// Values that [`Producer::produce_many`] moves in one go.
const BATCH: usize = 32;

/// Writes a record. Cheap to clone; several producers of one record are safe.
pub struct Producer<T: Record, R> {
    record: Arc<RecordCell<T>>,
    /// Values accepted since this handle last gave way; approximate when a handle is shared.
    spent: AtomicU8,
    runtime: PhantomData<fn() -> R>,
}

impl<T: Record, R> Producer<T, R> {
    pub(crate) fn new(record: Arc<RecordCell<T>>) -> Self {
        Self { record, spent: AtomicU8::new(0), runtime: PhantomData }
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
        Produce { buffer: &self.record.buffer, spent: &self.spent, value: Some(value), key: None }
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
            spent: &self.spent,
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
    spent: &'p AtomicU8,
    value: Option<T>,
    key: WaitKey,
}

// The value is never pinned: it is moved out when it is accepted.
impl<T: Clone> Unpin for Produce<'_, T> {}

impl<T: Clone> Future for Produce<'_, T> {
    type Output = Result<(), ProduceError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        ready!(poll_budget(this.spent, cx));
        let outcome = ready!(this.buffer.poll_produce(&mut this.value, &mut this.key, cx));
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

/// The future of [`Producer::produce_many`].
#[must_use = "nothing is produced until the future is awaited"]
pub struct ProduceMany<'p, T: Clone, I> {
    buffer: &'p Buffer<T>,
    spent: &'p AtomicU8,
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
            ready!(poll_budget(this.spent, cx));
            if let Err(Closed) = ready!(this.poll_batch(cx)) {
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
