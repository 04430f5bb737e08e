//! The state that all clones of a database share.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::time::Duration;

use super::events::EventHub;
use super::health::{BlockedRecord, DbState, Health, StageState};
use super::lifecycle::Engine;
use super::monitor::{Monitor, Watched, watch_until};
use super::shutdown_state::ShutdownState;
use super::stage::StageCell;
use crate::error::{DbError, DbResult};
use crate::graph::node::{Graph, StageKind, StageRole};
use crate::key::Record;
use crate::link::status::LinkInfo;
use crate::record::{RecordCell, RecordEntry, RecordIndex};
use crate::runtime::adapter::{LogLevel, Runtime, log};
use crate::sync::{Arc, Lock};

/// The state behind every clone of an [`AimDb`](crate::AimDb).
pub(crate) struct DbInner<R: Runtime> {
    pub(crate) runtime: Arc<R>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) graph: Graph,
    pub(crate) records: Vec<RecordEntry>,
    pub(crate) index: RecordIndex,
    /// The indices of `records`, upstream first: the order in which a shutdown closes them.
    pub(crate) order: Vec<usize>,
    pub(crate) cells: Vec<Arc<StageCell>>,
    pub(crate) links: Vec<LinkInfo>,
    pub(crate) stop_on_failure: bool,
    pub(crate) deadline: Duration,
    pub(crate) shutdown: Lock<ShutdownState>,
    /// Watches the writers, unless that is turned off.
    pub(crate) monitor: Option<Monitor>,
}

impl<R: Runtime> Watched for DbInner<R> {
    fn records(&self) -> &[RecordEntry] {
        &self.records
    }

    fn events(&self) -> &EventHub {
        &self.engine.events
    }

    fn log(&self, level: LogLevel, record: &str, message: fmt::Arguments<'_>) {
        log(&*self.runtime, level, record, message);
    }
}

impl<R: Runtime> DbInner<R> {
    pub(super) fn record<T: Record>(&self, key: &str) -> DbResult<Arc<RecordCell<T>>> {
        self.entry(key)?.typed()
    }

    pub(super) fn entry(&self, key: &str) -> DbResult<&RecordEntry> {
        match self.index.get(key) {
            Some(indices) => Ok(&self.records[indices[0]]),
            None => Err(DbError::UnknownKey { key: key.into(), known: self.known_keys() }),
        }
    }

    /// Keys for an error message: enough to find a misspelt one, and a bound on the message's length.
    fn known_keys(&self) -> Vec<String> {
        const SHOWN: usize = 20;
        let mut keys: Vec<String> = self.index.keys().take(SHOWN).cloned().collect();
        if self.index.len() > SHOWN {
            keys.push(alloc::format!("… and {} more", self.index.len() - SHOWN));
        }
        keys
    }

    pub(super) fn health(&self) -> Health {
        let blocked = self.records.iter().filter_map(|record| {
            let blocked = record.metrics().blocked?;
            Some(BlockedRecord { key: record.key.as_ref().into(), blocked })
        });
        Health {
            at: self.runtime.now(),
            unix_at: self.runtime.unix_now(),
            state: self.state(),
            stages: self.cells.iter().map(|cell| cell.health()).collect(),
            blocked: blocked.collect(),
            links: self.links.iter().map(LinkInfo::health).collect(),
        }
    }

    /// Waits for `end` and watches for blocked writers meanwhile.
    pub(super) async fn watch_until(&self, end: impl Future<Output = ()>) {
        watch_until(self.monitor.as_ref(), self, &*self.runtime, end).await;
    }

    /// Reports the end of the waits that the monitor has reported. All records are closed.
    pub(super) fn report_freed_writers(&self) {
        if let Some(monitor) = &self.monitor {
            monitor.check(self);
        }
    }

    fn state(&self) -> DbState {
        match (
            self.shutdown.with(|shutdown| shutdown.report.is_some()),
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

    /// Whether no new value can enter the graph: it has sources, all of them have ended, and it has no inbound link.
    pub(super) fn is_exhausted(&self) -> bool {
        let has_inbound_link = self.graph.records.iter().any(|record| {
            record.stages.iter().any(|stage| matches!(stage.kind, StageKind::LinkFrom { .. }))
        });
        let mut sources = self.sources().peekable();
        sources.peek().is_some() && !has_inbound_link && sources.all(|source| source.has_ended())
    }

    pub(super) fn all_sources_failed(&self) -> bool {
        self.sources().all(|source| source.state() == StageState::Failed)
    }
}

impl<R: Runtime> Drop for DbInner<R> {
    fn drop(&mut self) {
        // No stage hears of a shutdown: one that began its goodbye would be cut off at some point of it, and whether a
        // broker then publishes a last will would be chance.
        self.cells.iter().for_each(|cell| cell.stop());
        self.records.iter().for_each(|record| record.close());
        self.engine.events.queue_end();
        self.engine.events.dispatch();
    }
}
