//! The queues of producers, for a shutdown that drains them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::limit::WaitLimit;
use crate::park;

/// All producer queues that a shutdown has to drain before it closes the records.
#[derive(Clone, Default)]
pub(crate) struct DrainTracker {
    state: Arc<Mutex<DrainState>>,
    /// Notified when a queue is drained or a caller sets a deadline.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct DrainState {
    queues: Vec<Weak<TrackedQueue>>,
    /// A shutdown has begun: a queue made from now on accepts nothing.
    closed: bool,
    /// `Some` once a caller waits for the queues; its deadline, or `None` for no limit. The last caller's deadline holds.
    deadline: Option<Option<Instant>>,
    /// Values that ended queues had accepted and could not forward, by record.
    undelivered: Vec<(String, u64)>,
}

impl DrainState {
    /// The deadline of the last caller; `None` without one.
    fn deadline(&self) -> Option<Instant> {
        self.deadline.flatten()
    }
}

/// One producer queue, as a shutdown sees it.
pub(super) struct TrackedQueue {
    key: String,
    /// Asks the queue's task to accept no more values and to drain.
    pub(super) closing: Notify,
    /// Counts the values in the queue. It erases the type of the sender that it asks.
    len: Box<dyn Fn() -> usize + Send + Sync>,
    /// Values that the task has taken from the queue and the record has not accepted.
    in_progress: AtomicU64,
}

impl TrackedQueue {
    pub(super) fn new(key: String, len: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        Self { key, closing: Notify::new(), len: Box::new(len), in_progress: AtomicU64::new(0) }
    }

    /// Counts values that the task has taken from the queue.
    pub(super) fn begin_forward(&self, values: u64) {
        self.in_progress.fetch_add(values, AcqRel);
    }

    /// Counts a value that the record has accepted.
    pub(super) fn end_forward(&self) {
        self.in_progress.fetch_sub(1, AcqRel);
    }

    pub(super) fn in_progress(&self) -> u64 {
        self.in_progress.load(Acquire)
    }

    /// Values accepted by the queue and not by the record.
    fn unforwarded(&self) -> u64 {
        (self.len)() as u64 + self.in_progress()
    }
}

impl DrainTracker {
    fn lock(&self) -> MutexGuard<'_, DrainState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queues(&self) -> Vec<Arc<TrackedQueue>> {
        self.lock().queues.iter().filter_map(Weak::upgrade).collect()
    }

    /// Adds a queue that a shutdown must drain. Returns `false` if a shutdown has begun: the queue may accept nothing then.
    pub(super) fn register(&self, queue: &Arc<TrackedQueue>) -> bool {
        let mut state = self.lock();
        if !state.closed {
            state.queues.push(Arc::downgrade(queue));
        }
        !state.closed
    }

    /// Removes a queue whose task has ended with `undelivered` values that the record did not accept.
    pub(super) fn unregister(&self, queue: &Arc<TrackedQueue>, undelivered: u64) {
        let mut state = self.lock();
        state.queues.retain(|known| !std::ptr::eq(known.as_ptr(), Arc::as_ptr(queue)));
        if undelivered > 0 {
            state.undelivered.push((queue.key.clone(), undelivered));
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Closes all queues, present and future: none accepts a value from here on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.queues().iter().for_each(|queue| queue.closing.notify_one());
    }

    /// Sets the deadline (`None`: no limit) of a caller that waits for the queues. It replaces every earlier deadline, for
    /// all callers that wait.
    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        self.lock().deadline = Some(deadline);
        self.changed.notify_waiters();
    }

    /// Waits until a caller has set a deadline.
    pub(crate) async fn deadline_set(&self) {
        self.wait_until(|state| state.deadline.is_some()).await;
    }

    /// Blocks until every queue is drained into its record, or the deadline of the last caller has passed. Returns the time
    /// that remains until that deadline.
    pub(crate) fn block_until_drained(&self) -> Duration {
        loop {
            let deadline = self.lock().deadline();
            let limit = deadline.map_or(WaitLimit::none(), WaitLimit::until);
            let drained_or_replaced =
                self.wait_until(|state| state.queues.is_empty() || state.deadline() != deadline);
            let in_time = park::block_on(limit, drained_or_replaced).is_ok();
            let state = self.lock();
            if state.deadline() == deadline && (state.queues.is_empty() || !in_time) {
                let remaining = |by: Instant| by.saturating_duration_since(Instant::now());
                return deadline.map_or(Duration::MAX, remaining);
            }
        }
    }

    /// Waits until every queue is drained into its record.
    pub(crate) async fn drained(&self) {
        self.wait_until(|state| state.queues.is_empty()).await;
    }

    async fn wait_until(&self, condition: impl Fn(&DrainState) -> bool) {
        loop {
            // Enabled before the check: a change after the check then wakes this wait.
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if condition(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Values that queues have accepted and not forwarded, by record.
    pub(crate) fn undelivered(&self) -> Vec<(String, u64)> {
        let mut undelivered = self.lock().undelivered.clone();
        let queued =
            self.queues().into_iter().map(|queue| (queue.key.clone(), queue.unforwarded()));
        undelivered.extend(queued.filter(|(_, values)| *values > 0));
        undelivered
    }
}
