//! What all clones of a database share.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::health::{BlockedRecord, DbState, Health, StageState};
use super::lifecycle::Engine;
use super::phase::Phase;
use super::stage::StageCell;
use crate::error::{DbError, DbResult};
use crate::graph::node::{Graph, StageKind, StageRole};
use crate::key::Record;
use crate::link::status::LinkInfo;
use crate::record::{AnyRecord, RecordCell, RecordIndex};
use crate::runtime::adapter::Runtime;
use crate::sync::{Arc, Lock};

/// What all clones share.
pub(crate) struct DbInner<R: Runtime> {
    pub(crate) runtime: Arc<R>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) graph: Graph,
    pub(crate) records: Vec<AnyRecord>,
    pub(crate) index: RecordIndex,
    /// Upstream first.
    pub(crate) order: Vec<usize>,
    pub(crate) cells: Vec<Arc<StageCell>>,
    pub(crate) links: Vec<LinkInfo>,
    pub(crate) stop_on_failure: bool,
    pub(crate) deadline: Duration,
    pub(crate) phase: Lock<Phase>,
}

impl<R: Runtime> DbInner<R> {
    pub(super) fn record<T: Record>(&self, key: &str) -> DbResult<Arc<RecordCell<T>>> {
        match self.index.get(key) {
            Some(indices) => self.records[indices[0]].typed(),
            None => Err(DbError::UnknownKey { key: key.into(), known: self.known_keys() }),
        }
    }

    /// Enough of them to find the mistake.
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
    pub(super) fn has_run_dry(&self) -> bool {
        let links_in = self.graph.records.iter().any(|record| {
            record.stages.iter().any(|stage| matches!(stage.kind, StageKind::LinkFrom { .. }))
        });
        let mut sources = self.sources().peekable();
        sources.peek().is_some() && !links_in && sources.all(|source| source.is_done())
    }

    pub(super) fn every_source_failed(&self) -> bool {
        self.sources().all(|source| source.state() == StageState::Failed)
    }
}

impl<R: Runtime> Drop for DbInner<R> {
    fn drop(&mut self) {
        self.engine.begin_stop();
        self.cells.iter().for_each(|cell| cell.stop());
        self.records.iter().for_each(|record| record.erased.close());
    }
}
