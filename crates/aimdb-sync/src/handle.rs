//! The running database, as a blocking caller holds it.

use std::fmt;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use aimdb_core::health::{Health, StageHealth};
use aimdb_core::metrics::Metrics;
use aimdb_core::{AimDb, Graph, Record, RecordKey, ShutdownReport, StageId, Undelivered};
use aimdb_tokio_adapter::{TokioAdapter, polls_a_stage_of};
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;

use crate::consumer::SyncConsumer;
use crate::error::{DetachError, OpenError};
use crate::limit::WaitLimit;
use crate::park;
use crate::producer::SyncProducer;
use crate::queued::{Gates, QueuedIn, QueuedOut};

/// How long the runtime thread may take to end once the shutdown is over: some for a loaded machine.
const MARGIN: Duration = Duration::from_secs(1);

/// How long queued producers may take to say what they were left with.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// What [`SyncHandle::detach`] gives a shutdown.
pub(crate) const DETACH_DEADLINE: Duration = Duration::from_secs(10);

/// The thread whose runtime would wait for itself if it waited for a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home(Option<ThreadId>);

impl Home {
    pub(crate) fn new(thread: ThreadId) -> Self {
        Self(Some(thread))
    }

    /// With several workers no single thread is indispensable.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Whether all stages run on one thread.
    fn is_one_thread(self) -> bool {
        self.0.is_some()
    }

    /// Whether the caller stands on it. Asked only before a wait.
    pub(crate) fn is_here(self) -> bool {
        self.0.is_some_and(|home| home == thread::current().id())
    }
}

/// The thread that drives the runtime.
pub(crate) struct RuntimeThread {
    pub(crate) thread: JoinHandle<()>,
    pub(crate) end: Arc<Notify>,
    pub(crate) has_ended: Receiver<()>,
    pub(crate) home: Home,
}

/// A running database behind blocking calls. `Send + Sync`: share it by reference or in an `Arc`.
///
/// Dropped without [`detach`](Self::detach), it detaches with the deadline of
/// [`AttachOptions::drop_deadline`](crate::AttachOptions::drop_deadline), 2 s unless set, and never takes more than
/// two seconds longer. Dropped by a stage, or on the runtime thread, it does so without waiting.
pub struct SyncHandle {
    db: AimDb<TokioAdapter>,
    tokio: Handle,
    home: Home,
    gates: Gates,
    drop_deadline: Duration,
    /// `Err` once it has been detached: with what came of it.
    thread: Mutex<Result<RuntimeThread, Result<ShutdownReport, DetachError>>>,
}

impl SyncHandle {
    pub(crate) fn new(
        db: AimDb<TokioAdapter>,
        tokio: Handle,
        gates: Gates,
        thread: RuntimeThread,
        drop_deadline: Duration,
    ) -> Self {
        let home = thread.home;
        Self { db, tokio, home, gates, drop_deadline, thread: Mutex::new(Ok(thread)) }
    }

    /// A handle that writes a record, directly on its buffer: no task and no queue in between, so the semantics are the
    /// buffer's own, and [`try_get`](SyncConsumer::try_get) after [`set`](SyncProducer::set) sees the value.
    ///
    /// # Errors
    ///
    /// [`OpenError::Db`] if there is no such record or it holds another type.
    pub fn producer<T: Record>(&self, key: impl RecordKey) -> Result<SyncProducer<T>, OpenError> {
        Ok(SyncProducer::direct(self.db.producer(key)?, self.home))
    }

    /// A handle that reads a record, directly on its buffer, from now on (a latest record: from its current value on).
    ///
    /// # Errors
    ///
    /// [`OpenError::Db`] if there is no such record or it holds another type; [`OpenError::Subscribe`] if it is a
    /// mailbox that has a taker and was not declared shared, or the database has been shut down.
    pub fn consumer<T: Record>(&self, key: impl RecordKey) -> Result<SyncConsumer<T>, OpenError> {
        Ok(SyncConsumer::direct(self.db.consumer(key)?.subscription()?, self.home))
    }

    /// A handle that writes a record through a queue of its own: a Tokio MPSC of `capacity` values and a task that
    /// moves them into the record. A burst waits in the queue; a full queue holds back, refuses or times out this
    /// handle's callers only. What the queue accepted is drained on detach. Clones of the handle share the queue.
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
        refuse_zero(&key, capacity)?;
        let queue = QueuedIn::start(&self.tokio, producer, capacity, &self.gates);
        Ok(SyncProducer::queued(queue, self.home))
    }

    /// A handle that reads a record through a queue of its own: a task moves values from the record into a
    /// `std::sync::mpsc` of `capacity`, so that this many more than the record's buffer holds can wait. Lag comes in
    /// order, and is counted.
    ///
    /// A latest record and a mailbox have one current value, which a queue would let grow stale: there the handle
    /// stands directly on the buffer, whatever the capacity, and never gives a value that a newer one has replaced, but
    /// for the one behind a lag that `next_event` has reported.
    ///
    /// # Errors
    ///
    /// As for [`consumer`](Self::consumer), [`OpenError::ZeroCapacity`], and [`OpenError::NoMemory`]: the queue's places
    /// are made at once.
    pub fn consumer_with_capacity<T: Record>(
        &self,
        key: impl RecordKey,
        capacity: usize,
    ) -> Result<SyncConsumer<T>, OpenError> {
        let subscription = self.db.consumer(&key)?.subscription()?;
        refuse_zero(&key, capacity)?;
        if subscription.keeps_one() {
            return Ok(SyncConsumer::direct(subscription, self.home));
        }
        let no_memory = |_| OpenError::NoMemory { key: key.as_str().into(), capacity };
        Vec::<aimdb_core::Event<T>>::new().try_reserve_exact(capacity).map_err(no_memory)?;
        Ok(SyncConsumer::queued(QueuedOut::start(&self.tokio, subscription, capacity), self.home))
    }

    /// The newest value a record holds, without a reader and without consuming it. `None` if there was none yet, and on
    /// a queue or a mailbox also when everything has been taken.
    ///
    /// # Errors
    ///
    /// [`OpenError::Db`] if there is no such record or it holds another type.
    pub fn latest<T: Record>(&self, key: impl RecordKey) -> Result<Option<T>, OpenError> {
        Ok(self.db.consumer(key)?.latest())
    }

    /// How every stage, link and blocked writer is now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.db.health()
    }

    /// What was counted so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.db.metrics()
    }

    /// The graph, as data, text and Mermaid.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        self.db.graph()
    }

    /// Whether a shutdown has begun, from here or from a stage.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.db.is_closed()
    }

    /// Asks for a shutdown and does not wait for it: the way out for a thread that may not wait, for instance in a
    /// callback. [`shutdown`](Self::shutdown) and [`detach`](Self::detach) give its report.
    pub fn request_shutdown(&self) {
        self.db.request_shutdown();
    }

    /// Shuts down in order: queues are drained into their records, sources stop, everything accepted flows through,
    /// every blocked `set` and `get` is woken with `Closed`. What is not done by the `deadline` is cut off and
    /// reported. The runtime thread stays until [`detach`](Self::detach).
    ///
    /// # Errors
    ///
    /// [`DetachError::WouldDeadlock`] on the runtime thread itself and inside a stage of this database, which could not
    /// end before the call does; [`DetachError::Unresponsive`] if a stage keeps the runtime thread busy past the deadline.
    pub fn shutdown(&self, deadline: Duration) -> Result<ShutdownReport, DetachError> {
        if self.would_wait_for_itself() {
            return Err(DetachError::WouldDeadlock);
        }
        let report = self.close(deadline);
        if self.home.is_one_thread() && !report.unresponsive.is_empty() {
            let stages = report.unresponsive.clone();
            return Err(DetachError::Unresponsive { report: Box::new(report), stages });
        }
        Ok(report)
    }

    /// Whether the caller is what a shutdown would have to wait for.
    fn would_wait_for_itself(&self) -> bool {
        self.home.is_here() || polls_a_stage_of(&self.tokio)
    }

    /// Ends queues, then records.
    fn close(&self, deadline: Duration) -> ShutdownReport {
        self.gates.take_over(Instant::now().checked_add(deadline));
        self.gates.close();
        let mut report = self.close_records(self.gates.drain_in_time());
        // With the records closed, queues that had to wait for room end too, and say what they were left with.
        let _late = park::block_on(WaitLimit::after(LAST_WORDS), self.gates.drained());
        report.undelivered.extend(
            self.gates
                .left()
                .into_iter()
                .map(|(record, unread)| Undelivered::new(record, "queued producer", unread, 0)),
        );
        report
    }

    /// On a thread with timers of its own: those of the database's runtime stand still when a stage keeps its thread
    /// busy, and wherever the caller stands there may be none.
    fn close_records(&self, deadline: Duration) -> ShutdownReport {
        // Made and dropped over there: in a worker of the caller's a runtime may not be dropped.
        let close = move || {
            let timers = Builder::new_current_thread().enable_time().build().ok()?;
            Some(timers.block_on(self.db.shutdown(deadline)))
        };
        let closed = park::blocking(|| {
            thread::scope(|scope| {
                let thread = thread::Builder::new().name("aimdb-detach".into());
                thread.spawn_scoped(scope, close).ok()?.join().ok()?
            })
        });
        closed.unwrap_or_else(|| self.close_records_here(deadline))
    }

    /// [`close_records`](Self::close_records) where no thread can be had for it. Timers of the database's runtime do
    /// while that runs; this thread's own clock decides when it does not.
    fn close_records_here(&self, deadline: Duration) -> ShutdownReport {
        const STEP: Duration = Duration::from_millis(50);
        let _timers = self.tokio.enter();
        let mut left = deadline;
        loop {
            let limit = Instant::now()
                .checked_add(left.max(STEP))
                .map_or(WaitLimit::none(), WaitLimit::until);
            if let Ok(report) = park::block_on(limit, self.db.shutdown(left)) {
                return report;
            }
            left = Duration::ZERO;
        }
    }

    /// [`shutdown`](Self::shutdown) with a deadline of 10 s, then the end of the runtime thread.
    ///
    /// A second detach, from whichever thread, waits for the first and gives the same answer. A shutdown that a stage, a
    /// callback or a call of [`shutdown`](Self::shutdown) has begun goes on with this call's deadline. Producers then get
    /// `Closed`; consumers get what is left, and then `Closed`.
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
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(outcome) = &*thread {
            return outcome.clone();
        }
        let report = self.close(deadline);
        let before = std::mem::replace(&mut *thread, Err(Ok(report.clone())));
        let Ok(running) = before else { return Ok(report) };
        let outcome = self.join(running, report);
        *thread = Err(outcome.clone());
        outcome
    }

    /// A stage has dropped the handle: the runtime thread cannot wait for itself, but it can end when it is done.
    fn end_from_inside(&mut self) {
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Ok(running) = thread else { return };
        let (db, gates, deadline) = (self.db.clone(), self.gates.clone(), self.drop_deadline);
        let end = Arc::clone(&running.end);
        gates.take_over(Instant::now().checked_add(deadline));
        gates.close();
        self.tokio.spawn(async move {
            let _late = tokio::time::timeout(deadline, gates.drained()).await;
            db.shutdown(deadline).await;
            end.notify_one();
        });
    }

    fn join(
        &self,
        running: RuntimeThread,
        report: ShutdownReport,
    ) -> Result<ShutdownReport, DetachError> {
        running.end.notify_one();
        match running.has_ended.recv_timeout(MARGIN) {
            // The thread's last act has been to say so.
            Ok(()) => _ = running.thread.join(),
            Err(_) => {
                let stages = self.running_stages();
                return Err(DetachError::Unresponsive { report: Box::new(report), stages });
            }
        }
        Ok(report)
    }

    fn running_stages(&self) -> Vec<StageId> {
        let stages = self.db.health().stages;
        stages.iter().filter(|s| !s.state.is_terminal()).map(StageHealth::id).collect()
    }
}

impl Drop for SyncHandle {
    fn drop(&mut self) {
        if self.would_wait_for_itself() {
            return self.end_from_inside();
        }
        // Nobody is left to tell; the report is in the log.
        let _report = self.detach_with_timeout(self.drop_deadline);
    }
}

impl fmt::Debug for SyncHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncHandle").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

fn refuse_zero(key: &impl RecordKey, capacity: usize) -> Result<(), OpenError> {
    match capacity {
        0 => Err(OpenError::ZeroCapacity { key: key.as_str().into() }),
        _ => Ok(()),
    }
}
