//! The events of the database since its start, as far as they are kept.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aimdb_core::events::{DbEvent, DbEventKind};
use aimdb_core::{Instant, StageId};

/// The number of events that are kept.
const KEPT: usize = 512;

/// The last events, and when each stage failed and each link went down.
#[derive(Default)]
pub(crate) struct Journal(Mutex<Entries>);

#[derive(Default)]
pub(crate) struct Entries {
    pub(crate) events: VecDeque<DbEvent>,
    /// The last end of an attempt of each stage that has had one.
    pub(crate) stages: HashMap<StageId, Ended>,
    /// When each link lost its connection. A link that is connected is not among them.
    pub(crate) links: HashMap<StageId, Instant>,
}

/// The end of an attempt of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) at: Instant,
    /// The pause until the next attempt, if there is one.
    pub(crate) pause: Option<Duration>,
}

impl Journal {
    pub(crate) fn add(&self, event: DbEvent) {
        let mut entries = self.entries();
        match &event.kind {
            DbEventKind::StageFailed { stage, .. } => {
                // A failure for good follows the end of its last attempt.
                let ended = Ended { at: event.at, pause: None };
                entries.stages.insert(stage.clone(), ended);
            }
            DbEventKind::StageRestarts { stage, pause, .. } => {
                let ended = Ended { at: event.at, pause: Some(*pause) };
                entries.stages.insert(stage.clone(), ended);
            }
            DbEventKind::StageFinished { stage } => {
                entries.stages.insert(stage.clone(), Ended { at: event.at, pause: None });
            }
            DbEventKind::LinkUp { link, .. } => _ = entries.links.remove(&link.stage),
            DbEventKind::LinkDown { link } => {
                entries.links.insert(link.stage.clone(), event.at);
            }
            _ => {}
        }
        if entries.events.len() == KEPT {
            entries.events.pop_front();
        }
        entries.events.push_back(event);
    }

    pub(crate) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
