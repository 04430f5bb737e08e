//! Writing a record.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use arrayvec::ArrayVec;
use portable_atomic::AtomicU8;

use super::budget::poll_budget;
use crate::buffer::WaitTicket;
use crate::buffer::buffer::Buffer;
use crate::buffer::error::{Closed, ProduceError, ProduceManyError, TryProduceError};
use crate::key::Record;
use crate::record::RecordCell;
use crate::sync::Arc;
use crate::wait::{CancelWait, WaitGuard};

/// The number of values that [`Producer::produce_many`] writes under one lock.
const BATCH: usize = 32;

/// Writes a record.
///
/// Cheap to clone. Several producers may write one record at the same time; each value is accepted as a whole.
///
/// ```
/// use aimdb_core::{Producer, Runtime, RuntimeContext};
///
/// async fn thermometer<R: Runtime>(ctx: RuntimeContext<R>, celsius: Producer<f32, R>) {
///     let mut ticks = ctx.time().interval(ctx.time().secs(1));
///     loop {
///         ticks.tick().await;
///         if celsius.produce(21.5).await.is_err() {
///             return; // the record is closed
///         }
///     }
/// }
/// ```
pub struct Producer<T: Record, R> {
    record: Arc<RecordCell<T>>,
    /// Operations since this handle last yielded; approximate when threads share a handle.
    spent: AtomicU8,
    runtime: PhantomData<fn() -> R>,
}

impl<T: Record, R> Producer<T, R> {
    pub(crate) fn new(record: Arc<RecordCell<T>>) -> Self {
        Self { record, spent: AtomicU8::new(0), runtime: PhantomData }
    }

    /// Counts a value of which a transform made none.
    pub(crate) fn count_filtered(&self) {
        self.record.filtered.with(|filtered| *filtered += 1);
    }

    /// The record's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.record.key
    }

    /// Produces a value. On a queue the future waits until there is room; every other buffer accepts the value at once.
    ///
    /// # Errors
    ///
    /// [`ProduceError`] with the value if the record is closed.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped before it is ready drops its value, which was not accepted, and cancels its wait.
    pub fn produce(&self, value: T) -> Produce<'_, T> {
        Produce {
            wait: WaitGuard::new(&*self.record.buffer),
            spent: &self.spent,
            value: Some(value),
        }
    }

    /// Produces the value that `make` returns, once there is room: a value that would not be accepted is not made. A
    /// compiler that sees that `make` cannot panic halfway can build a large value in its place in the buffer, without
    /// a copy: `|| [shade; 4096]` yes, a loop that fills an array no.
    ///
    /// # In place
    ///
    /// `make` should be short, must not use the record, and must not wait for anybody who does. As long as it runs,
    ///
    /// | buffer | who waits |
    /// |---|---|
    /// | each | the record's other writers, and a shutdown that closes it |
    /// | ring | readers of the oldest value of a full ring, whose place is taken |
    /// | latest, mailbox | each reader |
    /// | queue | `latest`, and readers that subscribe or leave |
    ///
    /// A reader that finds nothing cannot sleep meanwhile, and polls again. Without `std`, interrupts are off. If `make`
    /// panics, nothing was produced.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the record is closed; `make` was not called then.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped before it is ready has produced nothing, and cancels its wait.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled again after `make` panicked.
    ///
    /// ```
    /// use aimdb_core::{Closed, Producer, Runtime};
    ///
    /// async fn test_picture<R: Runtime>(frames: &Producer<[u8; 4096], R>, shade: u8) -> Result<(), Closed> {
    ///     frames.produce_with(|| [shade; 4096]).await
    /// }
    /// ```
    pub fn produce_with<F: FnOnce() -> T>(&self, make: F) -> ProduceWith<'_, T, F> {
        ProduceWith {
            wait: WaitGuard::new(&*self.record.buffer),
            spent: &self.spent,
            make: Some(make),
            accepted: false,
        }
    }

    /// Produces a value if there is room now.
    ///
    /// # Errors
    ///
    /// [`TryProduceError::Full`] on a queue without room and [`TryProduceError::Closed`], both with the value.
    #[inline]
    pub fn try_produce(&self, value: T) -> Result<(), TryProduceError<T>> {
        self.record.buffer.try_produce(value)
    }

    /// Produces the value that `make` returns, if there is room now: [`produce_with`](Self::produce_with) that does not
    /// wait.
    ///
    /// # Errors
    ///
    /// [`TryProduceError::Full`] on a queue without room and [`TryProduceError::Closed`]; `make` was not called then.
    #[inline]
    pub fn try_produce_with(&self, make: impl FnOnce() -> T) -> Result<(), TryProduceError<()>> {
        self.record.buffer.try_produce_with(make)
    }

    /// Produces all values, in order, in batches of up to 32. Waits for room as [`produce`](Self::produce) does. Returns the
    /// number of values.
    ///
    /// # Errors
    ///
    /// [`ProduceManyError`] if the record closed meanwhile. It contains the number of values accepted; the others are dropped.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the values accepted so far ([`ProduceMany::accepted`]) stay accepted and
    /// the others are dropped.
    pub fn produce_many<I: IntoIterator<Item = T>>(
        &self,
        values: I,
    ) -> ProduceMany<'_, T, I::IntoIter> {
        ProduceMany {
            wait: WaitGuard::new(&*self.record.buffer),
            spent: &self.spent,
            values: values.into_iter(),
            batch: ArrayVec::new(),
            accepted: 0,
        }
    }

    /// Produces one value by polling, for an API of one's own. The value stays in `value` until it is accepted.
    pub fn poll_produce(
        &self,
        value: &mut Option<T>,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        self.record.buffer.poll_produce(value, ticket, cx)
    }

    /// Cancels the wait of a [`poll_produce`](Self::poll_produce) that was pending. An unused wake-up passes to the next writer.
    pub fn cancel_wait(&self, ticket: &mut WaitTicket) {
        self.record.buffer.cancel_write_wait(ticket);
    }

    /// Whether the record is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.record.buffer.is_closed()
    }
}

impl<T: Record, R> CancelWait for Producer<T, R> {
    fn cancel_wait(&self, ticket: &mut WaitTicket) {
        Producer::cancel_wait(self, ticket);
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
    wait: WaitGuard<&'p Buffer<T>>,
    spent: &'p AtomicU8,
    value: Option<T>,
}

// The value is never pinned: it is moved out when it is accepted.
impl<T: Clone> Unpin for Produce<'_, T> {}

impl<T: Clone> Future for Produce<'_, T> {
    type Output = Result<(), ProduceError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { wait, spent, value } = &mut *self;
        ready!(poll_budget(spent, cx));
        let outcome = ready!(wait.on.poll_produce(value, &mut wait.ticket, cx));
        Poll::Ready(match (outcome, value.take()) {
            (Err(Closed), Some(value)) => Err(ProduceError(value)),
            _ => Ok(()),
        })
    }
}

impl<T: Clone> fmt::Debug for Produce<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Produce").field("accepted", &self.value.is_none()).finish_non_exhaustive()
    }
}

/// The future of [`Producer::produce_with`].
#[must_use = "nothing is produced until the future is awaited"]
pub struct ProduceWith<'p, T: Clone, F> {
    wait: WaitGuard<&'p Buffer<T>>,
    spent: &'p AtomicU8,
    /// `None` once it was called.
    make: Option<F>,
    accepted: bool,
}

// The closure is called, never pinned.
impl<T: Clone, F> Unpin for ProduceWith<'_, T, F> {}

impl<T: Clone, F: FnOnce() -> T> Future for ProduceWith<'_, T, F> {
    type Output = Result<(), Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { wait, spent, make, accepted } = &mut *self;
        if *accepted {
            return Poll::Ready(Ok(()));
        }
        ready!(poll_budget(spent, cx));
        let outcome = ready!(wait.on.poll_produce_with(make, &mut wait.ticket, cx));
        *accepted = outcome.is_ok();
        Poll::Ready(outcome)
    }
}

impl<T: Clone, F> fmt::Debug for ProduceWith<'_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProduceWith").field("accepted", &self.accepted).finish_non_exhaustive()
    }
}

/// The future of [`Producer::produce_many`].
#[must_use = "nothing is produced until the future is awaited"]
pub struct ProduceMany<'p, T: Clone, I> {
    wait: WaitGuard<&'p Buffer<T>>,
    spent: &'p AtomicU8,
    values: I,
    /// Values of the iterator that have not been accepted. The iterator is user code and runs outside the lock.
    batch: ArrayVec<T, BATCH>,
    accepted: usize,
}

// Neither the values nor the iterator are ever pinned.
impl<T: Clone, I> Unpin for ProduceMany<'_, T, I> {}

impl<T: Clone, I> ProduceMany<'_, T, I> {
    /// The number of values accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let Self { wait, batch, accepted, .. } = self;
        let before = batch.len();
        let outcome = wait.on.poll_produce_batch(batch, &mut wait.ticket, cx);
        *accepted += before - batch.len();
        outcome
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

impl<T: Clone, I> fmt::Debug for ProduceMany<'_, T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProduceMany").field("accepted", &self.accepted).finish_non_exhaustive()
    }
}
