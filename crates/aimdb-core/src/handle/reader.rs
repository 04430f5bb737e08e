//! One reader of a record.

use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::Stream;

use super::budget::BUDGET;
use crate::buffer::Subscription;
use crate::buffer::error::{Closed, TryRecvError};
use crate::buffer::event::Event;
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
/// The loop `while let Ok(value) = reader.recv().await { … }` continues through any burst and ends when the record is closed
/// and drained. A `Reader` is also a [`Stream`] of values.
///
/// ```
/// use aimdb_core::{Consumer, Event, Runtime, RuntimeContext};
///
/// async fn watch<R: Runtime>(ctx: RuntimeContext<R>, frames: Consumer<Vec<u8>, R>) {
///     let Ok(mut reader) = frames.subscribe() else { return };
///     while let Ok(event) = reader.next_event().await {
///         match event {
///             Event::Value(frame) => ctx.log().info(format_args!("{} bytes", frame.len())),
///             Event::Lagged(missed) => ctx.log().warn(format_args!("{missed} frames lost")),
///         }
///     }
/// }
/// ```
pub struct Reader<T: Clone> {
    /// `None` only while the reader is being dropped.
    subscription: Option<Subscription<T>>,
    /// Operations since the reader last yielded.
    spent: u8,
    /// The read that is in progress, or panicked.
    reading: Reading,
    /// Where the subscription returns to for the next attempt of its stage.
    initial: Option<Arc<InitialReader<T>>>,
}

/// Which read a reader makes: for the value that it skips if the read panics.
#[derive(Default)]
enum Reading {
    #[default]
    Nothing,
    ByValue,
    /// At this [progress](Subscription::progress).
    ByReference {
        began: u64,
    },
}

const SUBSCRIBED: &str = "a reader has its subscription until it is dropped";

impl<T: Clone> Reader<T> {
    pub(super) fn new(subscription: Subscription<T>) -> Self {
        Self {
            subscription: Some(subscription),
            spent: 0,
            reading: Reading::Nothing,
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
        self.subscription.as_ref().expect(SUBSCRIBED)
    }

    fn subscription_mut(&mut self) -> &mut Subscription<T> {
        self.subscription.as_mut().expect(SUBSCRIBED)
    }

    /// Receives the next value, waiting for it. Lost values are skipped and counted in [`lagged`](Self::lagged).
    ///
    /// # Errors
    ///
    /// [`Closed`] when the record is closed and drained.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no value and no wake-up.
    pub fn recv(&mut self) -> Recv<'_, T> {
        Recv { reader: PolledReader(self) }
    }

    /// Receives the next value by reference, waiting for it: calls `look` with it and returns what it returned. Nothing is
    /// cloned. Lost values are skipped and counted in [`lagged`](Self::lagged).
    ///
    /// For large values of which a reader wants a part, and for values whose `Clone` costs more than the look.
    ///
    /// # By reference
    ///
    /// `look` runs where a `Clone` would, with the value in its place in the buffer, so it should be short. As long as it
    /// runs,
    ///
    /// | buffer | who waits |
    /// |---|---|
    /// | ring | the writer that has come round to this value, with all writers behind it, and readers of this value |
    /// | latest, mailbox | each writer and each reader |
    /// | queue | writers of a full queue; `latest`, if no other reader has the newest value before it |
    ///
    /// Without `std`, interrupts are off meanwhile. `look` must not write to the same record, or read from it, which
    /// could wait for itself.
    ///
    /// If `look` panics, the value was not received. In a stage that restarts it is skipped, as one whose `Clone` panics.
    /// A stage whose database is shut down while `look` runs gets [`Closed`], and the value counts as interrupted.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the record is closed and drained.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no value and no wake-up.
    ///
    /// ```
    /// use aimdb_core::{Consumer, Runtime};
    ///
    /// /// The sum of each frame; the frames are not copied.
    /// async fn brightness<R: Runtime>(frames: Consumer<[u8; 1024], R>) -> u64 {
    ///     let Ok(mut reader) = frames.subscribe() else { return 0 };
    ///     let mut total = 0;
    ///     while let Ok(sum) = reader.recv_with(|frame| frame.iter().map(|&pixel| u64::from(pixel)).sum::<u64>()).await {
    ///         total += sum;
    ///     }
    ///     total
    /// }
    /// ```
    pub fn recv_with<O, F: FnOnce(&T) -> O>(&mut self, look: F) -> RecvWith<'_, T, F> {
        RecvWith { reader: PolledReader(self), look: Some(look) }
    }

    /// Receives the next value or, before it, the number of values lost: [`Event::Lagged`] is exactly where the gap is.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the record is closed and drained.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event and no wake-up.
    pub fn next_event(&mut self) -> NextEvent<'_, T> {
        NextEvent { reader: PolledReader(self) }
    }

    /// Receives the next value if there is one.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.read(Subscription::try_value)
    }

    /// Receives the next value by reference if there is one: [`recv_with`](Self::recv_with) that does not wait.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`]; `look` was not called then. One exception: a stage whose
    /// database was shut down while `look` ran gets [`TryRecvError::Closed`].
    #[inline]
    pub fn try_recv_with<O>(&mut self, look: impl FnOnce(&T) -> O) -> Result<O, TryRecvError> {
        self.look(|subscription| subscription.try_value_with(look))
    }

    /// Appends up to `limit` values to `into`, waiting until there is at least one, and returns how many. A `limit` of
    /// zero returns at once. It may append fewer values than the reader could receive.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the record is closed and drained.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped before it is ready has received nothing.
    pub fn recv_many<'r>(&'r mut self, into: &'r mut Vec<T>, limit: usize) -> RecvMany<'r, T> {
        RecvMany { reader: PolledReader(self), into, limit }
    }

    /// The number of values that this reader has lost, those it has not come to yet included. On a mailbox: the number of
    /// commands that were replaced by those it took.
    #[must_use]
    pub fn lagged(&self) -> u64 {
        self.subscription().lagged()
    }

    /// The number of values that this reader can receive.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.subscription().pending()
    }

    /// Returns a clone of the newest value held, without consuming it.
    #[must_use]
    pub fn latest(&self) -> Option<T> {
        self.subscription().latest()
    }

    /// The current value of a record that keeps one, whether this reader has received it or not.
    pub(crate) fn current(&self) -> Option<T> {
        let subscription = self.subscription();
        if subscription.keeps_one() { subscription.latest() } else { None }
    }

    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Closed>> {
        // Written once, where the caller has it.
        let mut value = Poll::Pending;
        let _ready = self.poll(cx, |subscription, cx| {
            subscription.poll_value_into(cx, &mut value);
            if value.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        });
        value
    }

    /// Declares that the stage has finished with the values it received, without a further read.
    pub(crate) fn finish(&self) {
        self.subscription().finish();
    }

    /// Declares that a connector accounts for the values of this reader.
    pub(crate) fn delegate_accounting(&self) {
        self.subscription().delegate_accounting();
    }

    /// Ends the wait of the last poll: nobody reads for a while, and a wake-up is another taker's. A value whose `Clone`
    /// panicked in the last read is skipped.
    pub(crate) fn suspend(&mut self) {
        let Some(subscription) = &mut self.subscription else { return };
        subscription.cancel_wait();
        let panicked = match core::mem::take(&mut self.reading) {
            Reading::Nothing => false,
            Reading::ByValue => true,
            Reading::ByReference { began } => began == subscription.progress(),
        };
        // Without `std` a panic ends the program: nobody is left to skip a value.
        if panicked && cfg!(feature = "std") {
            subscription.skip();
        }
    }

    /// Calls `attempt`. If that panics, `reading` says so.
    #[inline]
    fn read<O>(&mut self, attempt: impl FnOnce(&mut Subscription<T>) -> O) -> O {
        self.reading = Reading::ByValue;
        let outcome = attempt(self.subscription_mut());
        self.reading = Reading::Nothing;
        outcome
    }

    /// [`read`](Self::read) by reference. The reader drops the values that it looked at, and a panic in such a `Drop`
    /// must not skip the next one.
    fn look<O>(&mut self, attempt: impl FnOnce(&mut Subscription<T>) -> O) -> O {
        if cfg!(feature = "std") {
            self.reading = Reading::ByReference { began: self.subscription().progress() };
        }
        let outcome = attempt(self.subscription_mut());
        self.reading = Reading::Nothing;
        outcome
    }

    /// Ready when the record is closed and this reader has received everything.
    pub(crate) fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.subscription_mut().poll_drained(cx)
    }

    /// Polls the subscription by value or by event.
    #[inline]
    fn poll<O>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&mut Subscription<T>, &mut Context<'_>) -> Poll<O>,
    ) -> Poll<O> {
        self.paced(cx, |reader, cx| reader.read(|subscription| attempt(subscription, cx)))
    }

    /// Calls `attempt` and yields to other tasks after [`BUDGET`] successes in a row.
    #[inline]
    fn paced<O>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<O>,
    ) -> Poll<O> {
        if self.spent >= BUDGET {
            self.spent = 0;
            // The stage reads again; only its task yields.
            self.subscription().finish();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let outcome = attempt(self, cx);
        self.spent = if outcome.is_ready() { self.spent + 1 } else { 0 };
        outcome
    }
}

impl<T: Clone> Drop for Reader<T> {
    fn drop(&mut self) {
        if self.initial.is_some() {
            self.suspend();
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

/// The values that [`Reader::recv`] receives, until the record is closed and drained.
impl<T: Clone> Stream for Reader<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_recv(cx).map(Result::ok)
    }
}

/// A reader in one of its futures. The drop of the future suspends the reader's wait.
#[derive(Debug)]
struct PolledReader<'r, T: Clone>(&'r mut Reader<T>);

impl<T: Clone> Drop for PolledReader<'_, T> {
    fn drop(&mut self) {
        self.0.subscription_mut().suspend_wait();
    }
}

/// The future of [`Reader::recv`].
#[must_use = "nothing is received until the future is awaited"]
#[derive(Debug)]
pub struct Recv<'r, T: Clone> {
    reader: PolledReader<'r, T>,
}

impl<T: Clone> Future for Recv<'_, T> {
    type Output = Result<T, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.reader.0.poll_recv(cx)
    }
}

/// The future of [`Reader::recv_with`].
#[must_use = "nothing is received until the future is awaited"]
pub struct RecvWith<'r, T: Clone, F> {
    reader: PolledReader<'r, T>,
    /// `None` once it was called.
    look: Option<F>,
}

// The closure is called, never pinned.
impl<T: Clone, F> Unpin for RecvWith<'_, T, F> {}

impl<T: Clone, O, F: FnOnce(&T) -> O> Future for RecvWith<'_, T, F> {
    type Output = Result<O, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { reader, look } = &mut *self;
        reader.0.paced(cx, |reader, cx| {
            reader.look(|subscription| subscription.poll_value_with(look, cx))
        })
    }
}

impl<T: Clone, F> fmt::Debug for RecvWith<'_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvWith").finish_non_exhaustive()
    }
}

/// The future of [`Reader::next_event`].
#[must_use = "nothing is received until the future is awaited"]
#[derive(Debug)]
pub struct NextEvent<'r, T: Clone> {
    reader: PolledReader<'r, T>,
}

impl<T: Clone> Future for NextEvent<'_, T> {
    type Output = Result<Event<T>, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.reader.0.poll(cx, |subscription, cx| subscription.poll_event(cx))
    }
}

/// The future of [`Reader::recv_many`].
#[must_use = "nothing is received until the future is awaited"]
pub struct RecvMany<'r, T: Clone> {
    reader: PolledReader<'r, T>,
    into: &'r mut Vec<T>,
    limit: usize,
}

impl<T: Clone> Future for RecvMany<'_, T> {
    type Output = Result<usize, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { reader, into, limit } = &mut *self;
        reader.0.poll(cx, |subscription, cx| subscription.poll_many(into, *limit, cx))
    }
}

impl<T: Clone> fmt::Debug for RecvMany<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvMany").field("limit", &self.limit).finish_non_exhaustive()
    }
}
