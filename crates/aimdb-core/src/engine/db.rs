//! The database: what `build()` gives.

use crate::sync::Arc;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::future::Future;
use core::time::Duration;

use super::health::{BlockedRecord, DbState, Health};
use super::shutdown::{self, Deadline, Phase, ShutdownReport};
use super::{Engine, StageCell};
use crate::buffer::{Abandoned, Reception, Values};
use crate::builder::Places;
use crate::error::{DbError, DbResult};
use crate::graph::{Graph, StageKind, StageRole, TypeNode};
use crate::handle::{Consumer, Producer, RecordCell};
use crate::key::{Record, RecordKey};
use crate::link::LinkInfo;
use crate::metrics::{Metrics, RecordMetrics};
use crate::race::race;
use crate::runtime::Runtime;
use crate::sync::Lock;

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
        self.inner.cells.iter().for_each(|cell| cell.nudge());
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

/// A record without its type.
pub(crate) trait ErasedRecord: Send + Sync {
    fn close(&self);
    fn values(&self) -> &dyn Values;
    fn reception(&self) -> &Reception;
    /// An `Arc<RecordCell<T>>`.
    fn typed(&self) -> &dyn Any;
}

impl<T: Record> ErasedRecord for Arc<RecordCell<T>> {
    fn close(&self) {
        self.buffer.close();
    }

    fn values(&self) -> &dyn Values {
        &*self.buffer
    }

    fn reception(&self) -> &Reception {
        self.buffer.reception()
    }

    fn typed(&self) -> &dyn Any {
        self
    }
}

/// One record as the engine keeps it.
pub(crate) struct AnyRecord {
    pub(crate) key: Arc<str>,
    pub(crate) value: TypeNode,
    pub(crate) erased: Box<dyn ErasedRecord>,
    /// The tasks that write it and must have ended before it is closed.
    pub(crate) writers: Vec<Arc<StageCell>>,
    /// The links that fill it and must have ended before it is closed.
    pub(crate) inlets: Vec<LinkInfo>,
}

impl AnyRecord {
    pub(crate) fn metrics(&self) -> RecordMetrics {
        self.erased.reception().metrics(self.erased.values(), &self.key)
    }

    pub(crate) fn abandoned(&self) -> Vec<Abandoned> {
        self.erased.reception().abandoned(self.erased.values())
    }

    pub(crate) fn delivered_to_stages(&self) -> u64 {
        self.erased.reception().delivered_to_stages()
    }

    pub(crate) fn new<T: Record>(record: Arc<RecordCell<T>>) -> Self {
        Self {
            key: Arc::clone(&record.key),
            value: TypeNode::of::<T>(),
            erased: Box::new(record),
            writers: Vec::new(),
            inlets: Vec::new(),
        }
    }

    pub(crate) fn typed<T: Record>(&self) -> DbResult<Arc<RecordCell<T>>> {
        self.erased.typed().downcast_ref().cloned().ok_or_else(|| DbError::WrongType {
            key: self.key.as_ref().into(),
            registered: self.value.name,
            requested: core::any::type_name::<T>(),
        })
    }
}

/// What all clones share.
pub(crate) struct DbInner<R: Runtime> {
    pub(crate) runtime: Arc<R>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) graph: Graph,
    pub(crate) records: Vec<AnyRecord>,
    pub(crate) places: Places,
    /// Upstream first.
    pub(crate) order: Vec<usize>,
    pub(crate) cells: Vec<Arc<StageCell>>,
    pub(crate) links: Vec<LinkInfo>,
    pub(crate) stop_on_failure: bool,
    pub(crate) deadline: Duration,
    pub(crate) phase: Lock<Phase>,
}

impl<R: Runtime> DbInner<R> {
    fn record<T: Record>(&self, key: &str) -> DbResult<Arc<RecordCell<T>>> {
        match self.places.get(key) {
            Some(places) => self.records[places[0]].typed(),
            None => Err(DbError::UnknownKey { key: key.into(), known: self.known_keys() }),
        }
    }

    /// Enough of them to find the mistake.
    fn known_keys(&self) -> Vec<String> {
        const SHOWN: usize = 20;
        let mut keys: Vec<String> = self.places.keys().take(SHOWN).cloned().collect();
        if self.places.len() > SHOWN {
            keys.push(alloc::format!("… and {} more", self.places.len() - SHOWN));
        }
        keys
    }

    fn health(&self) -> Health {
        let blocked = self.records.iter().filter_map(|record| {
            let blocked = record.metrics().blocked?;
            Some(BlockedRecord { key: record.key.as_ref().into(), blocked })
        });
        Health {
            state: self.state(),
            stages: self.cells.iter().map(|cell| cell.health()).collect(),
            blocked: blocked.collect(),
            links: self.links.iter().map(LinkInfo::health).collect(),
        }
    }

    fn state(&self) -> DbState {
        match (
            self.phase.with(|phase| phase.report.is_some()),
            self.engine.is_stopping(),
            self.engine.is_started(),
        ) {
            (true, ..) => DbState::Stopped,
            (false, true, _) => DbState::Stopping,
            (false, false, true) => DbState::Running,
            (false, false, false) => DbState::Built,
        }
    }

    fn sources(&self) -> impl Iterator<Item = &Arc<StageCell>> {
        self.cells.iter().filter(|cell| cell.role == StageRole::Source)
    }

    /// There were sources, all have ended, and no link brings anything in: nothing can flow any more.
    fn has_run_dry(&self) -> bool {
        let links_in = self.graph.records.iter().any(|record| {
            record.stages.iter().any(|stage| matches!(stage.kind, StageKind::LinkFrom { .. }))
        });
        let mut sources = self.sources().peekable();
        sources.peek().is_some() && !links_in && sources.all(|source| source.is_done())
    }

    fn every_source_failed(&self) -> bool {
        self.sources().all(|source| source.state() == super::health::StageState::Failed)
    }
}

impl<R: Runtime> Drop for DbInner<R> {
    fn drop(&mut self) {
        self.engine.begin_stop();
        self.cells.iter().for_each(|cell| cell.stop());
        self.records.iter().for_each(|record| record.erased.close());
    }
}
