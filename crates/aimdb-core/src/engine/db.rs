//! The database: what `build()` returns.

use core::fmt;
use core::future::Future;
use core::time::Duration;

use super::health::Health;
use super::inner::DbInner;
use super::phase::Deadline;
use super::report::ShutdownReport;
use super::shutdown;
use crate::error::{DbError, DbResult};
use crate::graph::node::Graph;
use crate::handle::consumer::Consumer;
use crate::handle::producer::Producer;
use crate::key::{Record, RecordKey};
use crate::link::status::LinkInfo;
use crate::metrics::Metrics;
use crate::race::race;
use crate::runtime::adapter::Runtime;
use crate::sync::Arc;

/// A built graph: records with their buffers, and stages that wait for [`start`](Self::start) or [`run`](Self::run).
///
/// Cheap to clone; all clones are the same database. When the last clone is dropped without a
/// [`shutdown`](Self::shutdown), stages are ended where they stand and records are closed.
pub struct AimDb<R: Runtime> {
    inner: Arc<DbInner<R>>,
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

impl<R: Runtime> AimDb<R> {
    pub(crate) fn new(inner: DbInner<R>) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Lets the stages run. Every reader of the graph has been subscribed since `build()`, so nothing is missed.
    /// Starting twice is starting once.
    pub fn start(&self) {
        self.inner.engine.open_gate();
        self.inner.cells.iter().for_each(|cell| cell.wake());
    }

    /// Starts the stages and drives the database until a shutdown is asked for ([`request_shutdown`] or
    /// [`RuntimeContext::shutdown`]) or another clone has shut it down, then shuts down in order, with the builder's
    /// deadline.
    ///
    /// # Errors
    ///
    /// [`DbError::StagesFailed`] if the builder said that a failed stage stops the database, and one did.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops driving; the stages go on for as long as a clone of the database lives.
    ///
    /// [`request_shutdown`]: Self::request_shutdown
    /// [`RuntimeContext::shutdown`]: crate::RuntimeContext::shutdown
    pub async fn run(&self) -> DbResult<()> {
        self.run_until(core::future::pending()).await.map(|_report| ())
    }

    /// [`run`](Self::run), ending also when `signal` completes (Ctrl-C, for instance), and giving the report.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub async fn run_until(&self, signal: impl Future<Output = ()>) -> DbResult<ShutdownReport> {
        self.start();
        let inner = &self.inner;
        let asked = inner
            .engine
            .changed
            .until(|| inner.engine.is_shutdown_requested() || inner.engine.is_stopping());
        race(asked, signal).await;
        let report = shutdown::shutdown(inner, Deadline::Default(inner.deadline)).await;
        if inner.stop_on_failure && !report.failures.is_empty() {
            return Err(DbError::StagesFailed { failures: report.failures });
        }
        Ok(report)
    }

    /// `run()` of the builder: nobody outside holds a handle, so it also ends when the last source has.
    pub(crate) async fn run_to_the_end(&self) -> DbResult<()> {
        self.start();
        let ended = self.inner.engine.changed.until(|| self.inner.has_run_dry());
        let report = {
            let inner = &self.inner;
            let asked = inner.engine.changed.until(|| inner.engine.is_shutdown_requested());
            race(asked, ended).await;
            shutdown::shutdown(inner, Deadline::Default(inner.deadline)).await
        };
        let sources_failed = self.inner.has_run_dry() && self.inner.every_source_failed();
        if !report.failures.is_empty() && (self.inner.stop_on_failure || sources_failed) {
            return Err(DbError::StagesFailed { failures: report.failures });
        }
        Ok(())
    }

    /// Asks whoever drives the database ([`run`](Self::run)) to shut it down.
    pub fn request_shutdown(&self) {
        self.inner.engine.request_shutdown();
    }

    /// Waits until somebody asks for a shutdown, or one has begun.
    pub async fn shutdown_requested(&self) {
        let engine = &self.inner.engine;
        engine.changed.until(|| engine.is_shutdown_requested() || engine.is_stopping()).await;
    }

    /// Shuts down in order: sources and inbound links stop; records close, upstream first, so that everything accepted
    /// flows through transforms, taps and outbound links; stages end. What has not ended by the `deadline` is cut off
    /// and reported.
    ///
    /// A second call, from any clone, joins the shutdown under way: it moves the deadline to its own, sooner or later,
    /// and all calls give the same report. So the deadline of the last call holds. The builder's own deadline, with
    /// which [`run`](Self::run) and its kin shut down, holds only until a call asks for another one. A deadline that has
    /// passed cannot be moved any more.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, records that were closed stay closed. Other calls go on by themselves, and so does the next one.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        shutdown::shutdown(&self.inner, Deadline::Asked(deadline)).await
    }

    /// Whether a shutdown has begun.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.engine.is_stopping()
    }

    /// A handle that writes a record.
    ///
    /// # Errors
    ///
    /// [`DbError::UnknownKey`] and [`DbError::WrongType`].
    pub fn producer<T: Record>(&self, key: impl RecordKey) -> DbResult<Producer<T, R>> {
        self.inner.record(key.as_str()).map(Producer::new)
    }

    /// A handle that reads a record. It has no reader of its own until it subscribes.
    ///
    /// # Errors
    ///
    /// [`DbError::UnknownKey`] and [`DbError::WrongType`].
    pub fn consumer<T: Record>(&self, key: impl RecordKey) -> DbResult<Consumer<T, R>> {
        self.inner.record(key.as_str()).map(Consumer::outside)
    }

    /// The graph, as data. It prints as text; [`Graph::mermaid`] draws it.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.inner.graph
    }

    /// How every stage, link and blocked writer is now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.inner.health()
    }

    /// What was counted so far. Taking it consumes nothing.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics {
            at: self.inner.runtime.now(),
            records: self.inner.records.iter().map(|record| record.metrics()).collect(),
            links: self.inner.links.iter().map(LinkInfo::metrics).collect(),
        }
    }

    /// The runtime it runs on.
    #[must_use]
    pub fn runtime(&self) -> &Arc<R> {
        &self.inner.runtime
    }
}
