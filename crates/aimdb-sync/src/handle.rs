//! The running database, as a blocking caller holds it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aimdb_core::health::{Health, StageHealth};
use aimdb_core::metrics::Metrics;
use aimdb_core::{AimDb, Graph, Record, RecordKey, ShutdownReport, StageId, Start, Undelivered};
use aimdb_tokio_adapter::{TokioAdapter, polls_a_stage_of};
use tokio::runtime::{Builder, Handle};

use crate::consumer::SyncConsumer;
use crate::error::{DetachError, OpenError};
use crate::limit::WaitLimit;
use crate::observer::SyncObserver;
use crate::park;
use crate::producer::SyncProducer;
use crate::queued::{DrainTracker, QueuedConsumer, QueuedProducer};
use crate::runtime::{DETACH_DEADLINE, ExecutorThread, RuntimeThread};

/// How long queued bridges may take, once the records are closed, to report the values they could not forward.
const FINAL_COUNT_TIMEOUT: Duration = Duration::from_millis(250);

/// A running database behind blocking calls.
///
/// It is `Send + Sync`: share it by reference or in an `Arc`.
///
/// Dropped without [`detach`](Self::detach), it detaches with the deadline of
/// [`AttachOptions::drop_deadline`](crate::AttachOptions::drop_deadline), 2 s unless set, and never takes more than
/// two seconds longer. Dropped by a stage, or on the runtime thread, it does so without waiting.
///
/// ```
/// # use std::sync::Arc;
/// # use aimdb_core::{AimDbBuilder, BufferCfg};
/// # use aimdb_sync::Attach;
/// # use aimdb_tokio_adapter::TokioAdapter;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
/// builder.configure::<u32>("order", |reg| {
///     reg.buffer(BufferCfg::SpmcQueue { capacity: 4 });
/// });
/// let handle = builder.attach()?;
/// let consumer = handle.consumer::<u32>("order")?;
/// handle.producer::<u32>("order")?.set_many(1..=3)?;
/// assert_eq!(handle.metrics().record("order").map(|record| record.produced), Some(3));
///
/// handle.detach()?;
/// assert_eq!(consumer.iter().collect::<Vec<_>>(), [1, 2, 3]);
/// # Ok(())
/// # }
/// ```
pub struct SyncHandle {
    db: AimDb<TokioAdapter>,
    tokio: Handle,
    executor: ExecutorThread,
    drain: DrainTracker,
    drop_deadline: Duration,
    state: Mutex<AttachState>,
}

/// Whether the runtime thread has been detached.
enum AttachState {
    Attached(RuntimeThread),
    /// Every further detach returns this outcome.
    Detached(Result<ShutdownReport, DetachError>),
}

impl SyncHandle {
    pub(crate) fn new(
        db: AimDb<TokioAdapter>,
        tokio: Handle,
        drain: DrainTracker,
        thread: RuntimeThread,
        drop_deadline: Duration,
    ) -> Self {
        let executor = thread.executor();
        let state = Mutex::new(AttachState::Attached(thread));
        Self { db, tokio, executor, drain, drop_deadline, state }
    }

    /// Makes a producer that writes directly into the record's buffer.
    ///
    /// No task and no queue lie in between, so the semantics are the buffer's own, and a
    /// [`try_get`](SyncConsumer::try_get) after [`set`](SyncProducer::set) sees the value.
    ///
    /// # Errors
    ///
    /// [`OpenError::Db`] if there is no such record or it holds another type.
    pub fn producer<T: Record>(&self, key: impl RecordKey) -> Result<SyncProducer<T>, OpenError> {
        Ok(SyncProducer::direct(self.db.producer(key)?, self.executor))
    }

    /// Makes a consumer that reads directly from the record's buffer.
    ///
    /// It sees the values written from now on; of a latest record also the current value, of a mailbox also the pending one.
    ///
    /// # Errors
    ///
    /// [`OpenError::Db`] if there is no such record or it holds another type; [`OpenError::Subscribe`] if it is a
    /// mailbox that has a taker and was not declared shared, or the database has been shut down.
    pub fn consumer<T: Record>(&self, key: impl RecordKey) -> Result<SyncConsumer<T>, OpenError> {
        Ok(SyncConsumer::direct(self.db.consumer(key)?.subscription()?, self.executor))
    }

    /// Makes a [`consumer`](Self::consumer) that begins at `start`, for instance at the oldest value that a ring still holds.
    ///
    /// # Errors
    ///
    /// As for [`consumer`](Self::consumer).
    pub fn consumer_from<T: Record>(
        &self,
        key: impl RecordKey,
        start: Start,
    ) -> Result<SyncConsumer<T>, OpenError> {
        let subscription = self.db.consumer(key)?.subscription_from(start)?;
        Ok(SyncConsumer::direct(subscription, self.executor))
    }

    /// Observes a record, under a name that its metrics show: sees the values that are produced from now on, and is no
    /// reader.
    ///
    /// # Errors
    ///
    /// [`OpenError::Db`] if there is no such record or it holds another type; [`OpenError::Subscribe`] if the database has
    /// been shut down, or there is no memory for the values that an observer may be behind.
    pub fn observe<T: Record>(
        &self,
        key: impl RecordKey,
        name: &str,
    ) -> Result<SyncObserver<T>, OpenError> {
        Ok(SyncObserver::new(self.db.consumer(key)?.observe(name)?, self.executor))
    }

    /// Makes a producer that writes through a queue of its own: a queued bridge.
    ///
    /// The bridge is a Tokio MPSC channel of `capacity` values and a task that forwards them into the record. A burst
    /// waits in the queue; the task holds one value more, of a queue of 32 or more up to a sixteenth of it (64 at most). A
    /// full queue holds back, refuses or times out only the callers of this producer. A detach drains the values that the
    /// queue has accepted. Clones of the producer share the queue.
    ///
    /// # Errors
    ///
    /// As for [`producer`](Self::producer), and [`OpenError::ZeroCapacity`].
    pub fn producer_with_capacity<T: Record>(
        &self,
        key: impl RecordKey,
        capacity: usize,
    ) -> Result<SyncProducer<T>, OpenError> {
        let producer = self.db.producer(&key)?;
        check_capacity(&key, capacity)?;
        let queue = QueuedProducer::start(&self.tokio, producer, capacity, &self.drain);
        Ok(SyncProducer::queued(queue, self.executor))
    }

    /// Makes a consumer that reads through a queue of its own: a queued bridge.
    ///
    /// A task moves values from the record into a `std::sync::mpsc` channel of `capacity`, so that this many values more
    /// than the record's buffer holds can wait. The consumer sees lags in order, and counts them.
    ///
    /// A latest record and a mailbox have one current value, which a queue would let grow stale. For them the consumer
    /// reads directly from the buffer, whatever the capacity, and never returns a value that a newer one has replaced,
    /// except the value behind a lag that [`next_event`](SyncConsumer::next_event) has reported.
    ///
    /// # Errors
    ///
    /// As for [`consumer`](Self::consumer), [`OpenError::ZeroCapacity`], and [`OpenError::NoMemory`]: the queue is
    /// allocated at once.
    pub fn consumer_with_capacity<T: Record>(
        &self,
        key: impl RecordKey,
        capacity: usize,
    ) -> Result<SyncConsumer<T>, OpenError> {
        let subscription = self.db.consumer(&key)?.subscription()?;
        check_capacity(&key, capacity)?;
        if subscription.keeps_one() {
            return Ok(SyncConsumer::direct(subscription, self.executor));
        }
        let no_memory = |_| OpenError::NoMemory { key: key.as_str().into(), capacity };
        Vec::<aimdb_core::Event<T>>::new().try_reserve_exact(capacity).map_err(no_memory)?;
        let queue = QueuedConsumer::start(&self.tokio, subscription, capacity);
        Ok(SyncConsumer::queued(queue, self.executor))
    }

    /// Lets the stages run, after [`AttachOptions::paused`](crate::AttachOptions::paused).
    ///
    /// A second call, or a call on a database that runs, has no effect.
    pub fn start(&self) {
        self.db.start();
    }

    /// The database, for the async API beside this one: its handles, `run_until`, `shutdown_requested`.
    ///
    /// Its futures may be awaited on any runtime. A shutdown through it does not drain the queues of
    /// [`producer_with_capacity`](Self::producer_with_capacity); a [`detach`](Self::detach) must still follow, or a drop.
    #[must_use]
    pub fn database(&self) -> &AimDb<TokioAdapter> {
        &self.db
    }

    /// The newest value that a record holds, without a reader and without consuming it.
    ///
    /// `None` if there was no value yet, and on a queue or a mailbox also when everything has been taken.
    ///
    /// # Errors
    ///
    /// [`OpenError::Db`] if there is no such record or it holds another type.
    pub fn latest<T: Record>(&self, key: impl RecordKey) -> Result<Option<T>, OpenError> {
        Ok(self.db.consumer(key)?.latest())
    }

    /// The current state of every stage, link and blocked writer.
    #[must_use]
    pub fn health(&self) -> Health {
        self.db.health()
    }

    /// The counters of every record and link so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.db.metrics()
    }

    /// The graph, as data, text and Mermaid.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        self.db.graph()
    }

    /// Whether a shutdown has begun, requested by this handle or by a stage.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.db.is_closed()
    }

    /// Requests a shutdown and does not wait for it.
    ///
    /// It is for a thread that may not wait, for instance in a callback. [`shutdown`](Self::shutdown) and
    /// [`detach`](Self::detach) return the shutdown's report.
    pub fn request_shutdown(&self) {
        self.db.request_shutdown();
    }

    /// Shuts the database down in order and returns a report.
    ///
    /// Queues are drained into their records, sources stop, every accepted value flows through, and every blocked `set`
    /// and `get` returns `Closed`. The shutdown aborts and reports the stages that are not finished by the `deadline`. The
    /// runtime thread stays until [`detach`](Self::detach).
    ///
    /// # Errors
    ///
    /// [`DetachError::WouldDeadlock`] on the runtime thread itself and inside a stage of this database, which could not
    /// end before the call does; [`DetachError::Unresponsive`] if a stage keeps the runtime thread busy past the deadline.
    pub fn shutdown(&self, deadline: Duration) -> Result<ShutdownReport, DetachError> {
        if self.would_wait_for_itself() {
            return Err(DetachError::WouldDeadlock);
        }
        let report = self.drain_and_close(deadline);
        if self.executor.is_single() && !report.unresponsive.is_empty() {
            let stages = report.unresponsive.clone();
            return Err(DetachError::Unresponsive { report: Box::new(report), stages });
        }
        Ok(report)
    }

    /// Whether a shutdown would have to wait for the calling thread or stage.
    fn would_wait_for_itself(&self) -> bool {
        self.executor.is_current() || polls_a_stage_of(&self.tokio)
    }

    /// Drains the queues, then drains and closes the records.
    fn drain_and_close(&self, deadline: Duration) -> ShutdownReport {
        self.drain.set_deadline(Instant::now().checked_add(deadline));
        self.drain.close();
        let mut report = self.shut_down_records(self.drain.block_until_drained());
        // The records are closed now, so a task that had to wait for room ends too, and reports what it could not forward.
        let _late = park::block_on(WaitLimit::after(FINAL_COUNT_TIMEOUT), self.drain.drained());
        let undelivered = self.drain.undelivered().into_iter();
        report.undelivered.extend(
            undelivered
                .map(|(record, unread)| Undelivered::new(record, "queued producer", unread, 0)),
        );
        report
    }

    /// Shuts the records down on a thread with timers of its own.
    ///
    /// The timers of the database's runtime do not run while a stage keeps its thread busy, and the calling thread may have
    /// no timers at all.
    fn shut_down_records(&self, deadline: Duration) -> ShutdownReport {
        // The runtime is built and dropped on the new thread: the caller may be a worker of another runtime, where a drop
        // would panic.
        let shut_down = move || {
            let timers = Builder::new_current_thread().enable_time().build().ok()?;
            Some(timers.block_on(self.db.shutdown(deadline)))
        };
        let report = park::run_blocking(|| {
            thread::scope(|scope| {
                let thread = thread::Builder::new().name("aimdb-detach".into());
                thread.spawn_scoped(scope, shut_down).ok()?.join().ok()?
            })
        });
        report.unwrap_or_else(|| self.shut_down_records_on_this_thread(deadline))
    }

    /// [`shut_down_records`](Self::shut_down_records) where the operating system starts no thread for it.
    ///
    /// While the database's runtime runs, its timers end the shutdown; while it does not, the calling thread's clock does.
    fn shut_down_records_on_this_thread(&self, deadline: Duration) -> ShutdownReport {
        const STEP: Duration = Duration::from_millis(50);
        let _timers = self.tokio.enter();
        let mut remaining = deadline;
        loop {
            let limit = Instant::now()
                .checked_add(remaining.max(STEP))
                .map_or(WaitLimit::none(), WaitLimit::until);
            if let Ok(report) = park::block_on(limit, self.db.shutdown(remaining)) {
                return report;
            }
            remaining = Duration::ZERO;
        }
    }

    /// Shuts the database down with a deadline of 10 s, then joins the runtime thread.
    ///
    /// A second detach, on any thread, waits for the first and returns the same outcome. A shutdown that a stage, a
    /// callback or a call of [`shutdown`](Self::shutdown) has begun continues with this call's deadline. Afterwards
    /// producers return `Closed`; consumers return the values that remain for them, and then `Closed`.
    ///
    /// # Errors
    ///
    /// As for [`shutdown`](Self::shutdown).
    pub fn detach(&self) -> Result<ShutdownReport, DetachError> {
        self.detach_with_timeout(DETACH_DEADLINE)
    }

    /// [`detach`](Self::detach) with another deadline.
    ///
    /// # Errors
    ///
    /// As for [`shutdown`](Self::shutdown).
    pub fn detach_with_timeout(&self, deadline: Duration) -> Result<ShutdownReport, DetachError> {
        if self.would_wait_for_itself() {
            return Err(DetachError::WouldDeadlock);
        }
        // Locked throughout, so that a second detach waits for the outcome of the first.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let AttachState::Detached(outcome) = &*state {
            return outcome.clone();
        }
        let report = self.drain_and_close(deadline);
        let detached = AttachState::Detached(Ok(report.clone()));
        let AttachState::Attached(thread) = std::mem::replace(&mut *state, detached) else {
            return Ok(report);
        };
        let outcome = if thread.join() {
            Ok(report)
        } else {
            let stages = self.running_stages();
            Err(DetachError::Unresponsive { report: Box::new(report), stages })
        };
        *state = AttachState::Detached(outcome.clone());
        outcome
    }

    /// Detaches for a stage that has dropped the handle: on a task, as the runtime thread cannot wait for itself.
    fn detach_in_background(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let AttachState::Attached(thread) = state else { return };
        let (db, drain, deadline) = (self.db.clone(), self.drain.clone(), self.drop_deadline);
        let exit = thread.exit_request();
        drain.set_deadline(Instant::now().checked_add(deadline));
        drain.close();
        self.tokio.spawn(async move {
            let _late = tokio::time::timeout(deadline, drain.drained()).await;
            db.shutdown(deadline).await;
            exit.notify_one();
        });
    }

    fn running_stages(&self) -> Vec<StageId> {
        let stages = self.db.health().stages;
        stages.iter().filter(|s| !s.state.is_terminal()).map(StageHealth::id).collect()
    }
}

impl Drop for SyncHandle {
    fn drop(&mut self) {
        if self.would_wait_for_itself() {
            return self.detach_in_background();
        }
        // A dropped handle has no caller to return the report to; the database has logged it.
        let _report = self.detach_with_timeout(self.drop_deadline);
    }
}

impl fmt::Debug for SyncHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncHandle").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

fn check_capacity(key: &impl RecordKey, capacity: usize) -> Result<(), OpenError> {
    match capacity {
        0 => Err(OpenError::ZeroCapacity { key: key.as_str().into() }),
        _ => Ok(()),
    }
}
