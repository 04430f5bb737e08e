//! Looking at a record without being one of its readers.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::budget::paced;
use crate::buffer::Subscription;
use crate::buffer::error::{Closed, TryRecvError};
use crate::buffer::mirror::Seen;
use crate::buffer::observe::{ObserveRefused, observe, unobserve};
use crate::clock::Instant;
use crate::error::SubscribeError;
use crate::key::Record;
use crate::record::RecordCell;
use crate::sync::Arc;

/// The values that a record keeps for its observers.
const OBSERVED_VALUES: usize = 64;

/// A value that an observer has seen.
///
/// ```
/// use aimdb_core::Observed;
///
/// fn print(seen: &Observed<f32>) {
///     if seen.missed > 0 {
///         println!("… {} values", seen.missed);
///     }
///     println!("#{} at {:?}: {}", seen.seq, seen.at, seen.value);
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Observed<T> {
    /// The number of the value among those that the record accepted, from one.
    pub seq: u64,
    /// The time at which its writer made the copy, by the runtime's clock: just before the record accepted the value. That
    /// of another writer's next value may be a little earlier.
    pub at: Instant,
    /// Values between this one and the one before that this observer did not see, or since it came.
    pub missed: u64,
    /// A clone of the value, which all observers share.
    pub value: Arc<T>,
}

/// Looks at the values of a record, and changes nothing: no writer waits for it, it takes no command, and readers receive
/// what they would without it. It misses values if it is slow, and counts them exactly.
///
/// [`Consumer::observe`](crate::Consumer::observe) returns it.
///
/// # Cost
///
/// A record without observers has none of this but one look at a flag for each value. With observers, however many, the
/// writer clones each value once before it writes it (for [`produce_with`](crate::Producer::produce_with) while it writes),
/// reads the clock, and stores the copy for all of them. The record keeps the last 64 copies, whose memory is used again;
/// the writer allocates for the first 64, and where an observer still has the copy that goes.
///
/// ```
/// use aimdb_core::{Consumer, Runtime};
///
/// async fn tail<R: Runtime>(commands: Consumer<String, R>) {
///     let Ok(mut observer) = commands.observe("tail") else { return };
///     while let Ok(seen) = observer.see().await {
///         println!("#{}: {}", seen.seq, seen.value);
///     }
/// }
/// ```
pub struct Observer<T: Record> {
    record: Arc<RecordCell<T>>,
    /// `None` only while the observer is being dropped.
    subscription: Option<Subscription<Seen<T>>>,
    /// The number of the value seen last, or accepted before the observer came.
    last: u64,
    missed: u64,
    /// Values seen since the observer last yielded.
    spent: u8,
}

const SUBSCRIBED: &str = "an observer has its subscription until it is dropped";

impl<T: Record> Observer<T> {
    pub(crate) fn new(record: &Arc<RecordCell<T>>, name: Arc<str>) -> Result<Self, SubscribeError> {
        let key = || record.key.as_ref().into();
        let (subscription, last) =
            observe(&record.buffer, name, OBSERVED_VALUES).map_err(|refused| match refused {
                ObserveRefused::Closed => SubscribeError::Closed { key: key() },
                ObserveRefused::NoMemory(no) => {
                    SubscribeError::NoMemory { key: key(), bytes: no.bytes }
                }
            })?;
        let record = Arc::clone(record);
        Ok(Self { record, subscription: Some(subscription), last, missed: 0, spent: 0 })
    }

    fn subscription(&mut self) -> &mut Subscription<Seen<T>> {
        self.subscription.as_mut().expect(SUBSCRIBED)
    }

    /// Waits for the next value.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the record is closed and everything has been seen.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no value.
    pub fn see(&mut self) -> See<'_, T> {
        See { observer: self }
    }

    /// Returns the next value if there is one.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`].
    pub fn try_see(&mut self) -> Result<Observed<T>, TryRecvError> {
        match self.subscription().try_value() {
            Ok(seen) => Ok(self.count(seen)),
            Err(TryRecvError::Closed) => {
                self.count_rest();
                Err(TryRecvError::Closed)
            }
            Err(empty) => Err(empty),
        }
    }

    /// [`see`](Self::see) by polling. After a poll that was pending, a caller that polls no more calls
    /// [`cancel_wait`](Self::cancel_wait).
    pub fn poll_see(&mut self, cx: &mut Context<'_>) -> Poll<Result<Observed<T>, Closed>> {
        let Self { subscription, spent, .. } = self;
        let subscription = subscription.as_mut().expect(SUBSCRIBED);
        let seen = paced(spent, cx, |cx| subscription.poll_value(cx));
        seen.map(|seen| match seen {
            Ok(seen) => Ok(self.count(seen)),
            Err(closed) => {
                self.count_rest();
                Err(closed)
            }
        })
    }

    /// Ends the wait of a poll that was pending.
    pub fn cancel_wait(&mut self) {
        self.subscription().cancel_wait();
    }

    /// The number of values that this observer has missed, up to the one seen last; after the end, all of them.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The record is closed, and the mirror seen to its end: what is not in it was missed.
    fn count_rest(&mut self) {
        let produced = self.record.buffer.produced();
        self.missed += produced.saturating_sub(self.last);
        self.last = self.last.max(produced);
    }

    fn count(&mut self, seen: Seen<T>) -> Observed<T> {
        let Seen { seq, at, value } = seen;
        let missed = seq.saturating_sub(self.last + 1);
        self.last = seq;
        self.missed += missed;
        Observed { seq, at, missed, value }
    }
}

/// Leaves the record, also if the subscription's drop panics.
struct Leaves<'o, T: Record>(&'o RecordCell<T>);

impl<T: Record> Drop for Leaves<'_, T> {
    fn drop(&mut self) {
        unobserve(&self.0.buffer);
    }
}

impl<T: Record> Drop for Observer<T> {
    fn drop(&mut self) {
        let _left = Leaves(&self.record);
        // Before the mirror goes, which may go with it.
        drop(self.subscription.take());
    }
}

impl<T: Record> fmt::Debug for Observer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("last", &self.last).finish_non_exhaustive()
    }
}

/// The future of [`Observer::see`].
#[must_use = "nothing is seen until the future is awaited"]
#[derive(Debug)]
pub struct See<'o, T: Record> {
    observer: &'o mut Observer<T>,
}

impl<T: Record> Future for See<'_, T> {
    type Output = Result<Observed<T>, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.observer.poll_see(cx)
    }
}

impl<T: Record> Drop for See<'_, T> {
    fn drop(&mut self) {
        self.observer.cancel_wait();
    }
}
