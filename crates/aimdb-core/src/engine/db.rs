//! The database that `build()` returns.

use core::fmt;
use core::future::Future;
use core::time::Duration;

use super::events::DbEvents;
use super::health::Health;
use super::inner::DbInner;
use super::report::ShutdownReport;
use super::shutdown;
use super::shutdown_state::Deadline;
use crate::access::any::AnyRecord;
use crate::buffer::error::Closed;
use crate::context::Time;
use crate::error::{DbError, DbResult};
use crate::graph::node::Graph;
use crate::handle::consumer::Consumer;
use crate::handle::producer::Producer;
use crate::key::{Record, RecordKey};
use crate::link::status::LinkInfo;
use crate::metrics::Metrics;
use crate::race::race;
use crate::runtime::adapter::Runtime;
use crate::sync::{Arc, Lock, Weak};

/// A built database: records with their buffers, and stages.
///
/// [`AimDbBuilder::build`](crate::AimDbBuilder::build) returns it. Its stages wait for [`start`](Self::start) or
/// [`run`](Self::run); handles work before that. A clone is cheap, and all clones refer to the same database. When the
/// last clone is dropped without a [`shutdown`](Self::shutdown), the engine stops the stages at their next await and
/// closes the records.
///
/// ```
/// use aimdb_core::{AimDb, DbResult, Runtime};
/// use std::time::Duration;
///
/// async fn heat<R: Runtime>(db: AimDb<R>) -> DbResult<()> {
///     db.start();
///     let setpoint = db.producer::<f32>("heating.setpoint")?;
///     if setpoint.produce(21.5).await.is_ok() {
///         println!("{}", db.metrics());
///     }
///     let report = db.shutdown(Duration::from_secs(5)).await;
///     assert!(report.is_clean(), "{report}");
///     Ok(())
/// }
/// ```
pub struct AimDb<R: Runtime> {
    inner: Arc<DbInner<R>>,
}

impl<R: Runtime> AimDb<R> {
    pub(crate) fn new(inner: DbInner<R>) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Lets the stages run.
    ///
    /// `build()` has subscribed every reader of the graph, so no reader misses a value. A second call has no effect.
    pub fn start(&self) {
        self.inner.engine.open_gate();
        self.inner.cells.iter().for_each(|cell| cell.wake());
    }

    /// Starts the stages and drives the database until its shutdown.
    ///
    /// The shutdown begins when [`request_shutdown`] or [`RuntimeContext::shutdown`] requests it, or when another clone
    /// has called [`shutdown`](Self::shutdown). It has the builder's deadline
    /// ([`shutdown_deadline`](crate::AimDbBuilder::shutdown_deadline), 10 s unless set).
    ///
    /// # Errors
    ///
    /// [`DbError::StagesFailed`] if a stage failed and the builder has
    /// [`stop_on_failure`](crate::AimDbBuilder::stop_on_failure).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops no stage; stages run as long as a clone of the database lives. Another call continues
    /// to drive the database.
    ///
    /// [`request_shutdown`]: Self::request_shutdown
    /// [`RuntimeContext::shutdown`]: crate::RuntimeContext::shutdown
    pub async fn run(&self) -> DbResult<()> {
        self.run_until(core::future::pending()).await.map(|_report| ())
    }

    /// As [`run`](Self::run), until `signal` completes at the latest, and returns the report.
    ///
    /// `signal` is for example the runtime's future for Ctrl-C.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// As for [`run`](Self::run).
    pub async fn run_until(&self, signal: impl Future<Output = ()>) -> DbResult<ShutdownReport> {
        self.start();
        let inner = &self.inner;
        race(self.shutdown_requested(), signal).await;
        let report = shutdown::shutdown(inner, Deadline::Default(inner.deadline)).await;
        if inner.stop_on_failure && !report.failures.is_empty() {
            return Err(DbError::StagesFailed { failures: report.failures });
        }
        Ok(report)
    }

    /// The builder's `run()`: it ends also when the graph is exhausted, because no handle outside the graph exists.
    pub(crate) async fn run_until_exhausted(&self) -> DbResult<()> {
        self.start();
        let inner = &self.inner;
        let exhausted = inner.engine.changed.until(|| inner.is_exhausted());
        let requested = inner.engine.changed.until(|| inner.engine.is_shutdown_requested());
        inner
            .watch_until(async {
                let _first = race(requested, exhausted).await;
            })
            .await;
        let report = shutdown::shutdown(inner, Deadline::Default(inner.deadline)).await;
        let sources_failed = inner.is_exhausted() && inner.all_sources_failed();
        if !report.failures.is_empty() && (inner.stop_on_failure || sources_failed) {
            return Err(DbError::StagesFailed { failures: report.failures });
        }
        Ok(())
    }

    /// Requests a shutdown, which the caller of [`run`](Self::run) performs.
    ///
    /// Returns at once. Without such a caller only [`shutdown_requested`](Self::shutdown_requested) completes.
    pub fn request_shutdown(&self) {
        self.inner.engine.request_shutdown();
    }

    /// Waits until a shutdown has been requested or has begun.
    ///
    /// Meanwhile it watches for writers that are blocked ([`blocked_after`](crate::AimDbBuilder::blocked_after)), as
    /// [`run`](Self::run) does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn shutdown_requested(&self) {
        let engine = &self.inner.engine;
        let requested =
            engine.changed.until(|| engine.is_shutdown_requested() || engine.is_stopping());
        self.inner.watch_until(requested).await;
    }

    /// Shuts the database down in order and returns the report.
    ///
    /// Sources and inbound links stop. Records close, upstream first, so that every accepted value flows through
    /// transforms, taps and outbound links. Then the stages end, and after them the [services](crate::service). The engine
    /// aborts the stages that have not ended after `deadline`, counted from this call, and reports them. It waits half a second
    /// for their end, and if the drain took the whole deadline, half a second before that for the services.
    ///
    /// A further call, from any clone, joins the shutdown in progress: it moves the deadline to its own, earlier or
    /// later, and all calls return the same report. The deadline of the latest call is therefore in force. The
    /// builder's deadline, which [`run`](Self::run) and [`run_until`](Self::run_until) use, is in force only until a
    /// call requests another one. A deadline that has passed cannot be moved.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, closed records stay closed. Other calls, and the next one, continue the shutdown.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        shutdown::shutdown(&self.inner, Deadline::Requested(deadline)).await
    }

    /// Waits until every link of the graph is connected. Completes at once if the graph has no link. Links connect once the
    /// database has [started](Self::start).
    ///
    /// ```
    /// use aimdb_core::{AimDb, RuntimeContext, SendRuntime};
    /// # use std::time::Duration;
    ///
    /// async fn is_online<R: SendRuntime>(db: &AimDb<R>, ctx: &RuntimeContext<R>) -> bool {
    ///     let connected = ctx.time().timeout(Duration::from_secs(5), db.links_connected());
    ///     connected.await.is_ok_and(|all| all.is_ok())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Closed`] once a shutdown has begun, or if a connector has ended while one of its links was not connected.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn links_connected(&self) -> Result<(), Closed> {
        let (engine, links) = (&self.inner.engine, &self.inner.links);
        let connected = || links.iter().all(|link| link.status.is_connected());
        let hopeless = || {
            let ended = |link: &LinkInfo| link.status.has_ended() && !link.status.is_connected();
            engine.is_stopping() || links.iter().any(ended)
        };
        engine.changed.until(|| connected() || hopeless()).await;
        if connected() && !engine.is_stopping() { Ok(()) } else { Err(Closed) }
    }

    /// Whether a shutdown has begun.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.engine.is_stopping()
    }

    /// Returns a handle that writes the record `key`.
    ///
    /// # Errors
    ///
    /// [`DbError::UnknownKey`] if the graph has no such record, [`DbError::WrongType`] if it holds another type.
    pub fn producer<T: Record>(&self, key: impl RecordKey) -> DbResult<Producer<T, R>> {
        self.inner.record(key.as_str()).map(Producer::new)
    }

    /// Returns a handle that reads the record `key`.
    ///
    /// The record has no reader for this handle until the caller [subscribes](Consumer::subscribe).
    ///
    /// # Errors
    ///
    /// [`DbError::UnknownKey`] if the graph has no such record, [`DbError::WrongType`] if it holds another type.
    pub fn consumer<T: Record>(&self, key: impl RecordKey) -> DbResult<Consumer<T, R>> {
        self.inner.record(key.as_str()).map(Consumer::outside)
    }

    /// Returns the record `key`, for code that does not know its type.
    ///
    /// # Errors
    ///
    /// [`DbError::UnknownKey`] if the graph has no such record.
    pub fn record(&self, key: impl RecordKey) -> DbResult<AnyRecord> {
        self.inner.entry(key.as_str()).map(AnyRecord::of)
    }

    /// All records, in the order in which they were configured, for code that does not know their types.
    pub fn records(&self) -> impl Iterator<Item = AnyRecord> {
        self.inner.records.iter().map(AnyRecord::of)
    }

    /// The graph, as data.
    ///
    /// It prints as text; [`Graph::mermaid`] draws it.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.inner.graph
    }

    /// The present state of every stage, link and blocked writer.
    #[must_use]
    pub fn health(&self) -> Health {
        self.inner.health()
    }

    /// A snapshot of all counters.
    ///
    /// A snapshot resets no counter.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics {
            at: self.inner.runtime.now(),
            unix_at: self.inner.runtime.unix_now(),
            records: self.inner.records.iter().map(|record| record.metrics()).collect(),
            links: self.inner.links.iter().map(LinkInfo::metrics).collect(),
        }
    }

    /// A stream of what happens in the database from now on: failures and restarts of stages, links that connect and
    /// disconnect, writers that are blocked, the steps of a shutdown.
    ///
    /// It holds no clone of the database.
    #[must_use]
    pub fn events(&self) -> DbEvents {
        self.inner.engine.events.subscribe()
    }

    /// The runtime's clock and timers, for code outside of the stages.
    ///
    /// ```
    /// use aimdb_core::{AimDb, Runtime};
    ///
    /// async fn first<R: Runtime>(db: &AimDb<R>) -> Option<f32> {
    ///     let mut celsius = db.consumer::<f32>("temp").ok()?.subscribe().ok()?;
    ///     db.time().timeout(db.time().secs(1), celsius.recv()).await.ok()?.ok()
    /// }
    /// ```
    #[must_use]
    pub fn time(&self) -> Time<R> {
        Time::new(Arc::clone(&self.inner.runtime))
    }

    /// Returns a handle that does not keep the database alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakAimDb<R> {
        let weak = WeakAimDb::unset();
        weak.set(self);
        weak
    }

    /// The runtime adapter that runs the database.
    #[must_use]
    pub fn runtime(&self) -> &Arc<R> {
        &self.inner.runtime
    }
}

/// A handle that keeps no database alive.
///
/// A [service](crate::service) receives one. [`AimDb::downgrade`] makes one for code outside of the graph.
///
/// ```
/// use aimdb_core::{Runtime, WeakAimDb};
///
/// fn is_healthy<R: Runtime>(db: &WeakAimDb<R>) -> bool {
///     db.upgrade().is_some_and(|db| db.health().is_healthy())
/// }
/// ```
pub struct WeakAimDb<R: Runtime> {
    /// Empty until the build has made the database.
    inner: Arc<Lock<Option<Weak<DbInner<R>>>>>,
}

impl<R: Runtime> WeakAimDb<R> {
    /// The handle of a database that is being built.
    pub(crate) fn unset() -> Self {
        Self { inner: Arc::new(Lock::new(None)) }
    }

    pub(crate) fn set(&self, db: &AimDb<R>) {
        self.inner.with(|inner| *inner = Some(Arc::downgrade(&db.inner)));
    }

    /// The database, if a clone of it lives. `None` also during the build.
    #[must_use]
    pub fn upgrade(&self) -> Option<AimDb<R>> {
        let inner = self.inner.with(|inner| inner.as_ref().and_then(Weak::upgrade))?;
        Some(AimDb { inner })
    }
}

impl<R: Runtime> Clone for WeakAimDb<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<R: Runtime> fmt::Debug for WeakAimDb<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakAimDb").finish_non_exhaustive()
    }
}

impl<R: Runtime> Clone for AimDb<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<R: Runtime> fmt::Debug for AimDb<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AimDb").field("records", &self.inner.records.len()).finish_non_exhaustive()
    }
}
