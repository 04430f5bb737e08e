//! The events of the database since its start, as far as they are kept.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use aimdb_core::events::{DbEvent, DbEventKind, DbEvents};
use aimdb_core::{Instant, StageId};

/// The number of events that are kept.
const KEPT: usize = 512;

/// The last events, and when each stage failed and each link went down.
pub(crate) struct Journal(Mutex<Entries>);

pub(crate) struct Entries {
    /// Where the events come from; `None` after the last one.
    source: Option<DbEvents>,
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
    pub(crate) fn new(source: DbEvents) -> Self {
        let (events, stages, links) = Default::default();
        Self(Mutex::new(Entries { source: Some(source), events, stages, links }))
    }

    /// Enters the events as they happen, and never ends.
    pub(crate) async fn keep(&self) {
        poll_fn(|cx| {
            let mut entries = self.lock();
            while let Some(source) = &mut entries.source {
                match source.poll_next(cx) {
                    Poll::Ready(Some(event)) => entries.add(event),
                    Poll::Ready(None) => entries.source = None,
                    Poll::Pending => break,
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The entries, those of events that have just happened included: a caller that has seen a failure elsewhere finds
    /// it here.
    pub(crate) fn entries(&self) -> MutexGuard<'_, Entries> {
        let mut entries = self.lock();
        while let Some(event) = entries.source.as_mut().and_then(DbEvents::try_next) {
            entries.add(event);
        }
        entries
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn add(&mut self, event: DbEvent) {
        match &event.kind {
            DbEventKind::StageFailed { stage, .. } => {
                // A failure for good follows the end of its last attempt.
                let ended = Ended { at: event.at, pause: None };
                self.stages.insert(stage.clone(), ended);
            }
            DbEventKind::StageRestarts { stage, pause, .. } => {
                let ended = Ended { at: event.at, pause: Some(*pause) };
                self.stages.insert(stage.clone(), ended);
            }
            DbEventKind::StageFinished { stage } => {
                self.stages.insert(stage.clone(), Ended { at: event.at, pause: None });
            }
            DbEventKind::LinkUp { link, .. } => _ = self.links.remove(&link.stage),
            DbEventKind::LinkDown { link } => {
                self.links.insert(link.stage.clone(), event.at);
            }
            _ => {}
        }
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
