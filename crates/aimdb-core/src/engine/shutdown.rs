//! The orderly end.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::pin::{Pin, pin};
use core::time::Duration;

use super::health::StageState;
use super::{DbInner, StageCell};
use crate::error::StageFailure;
use crate::graph::StageRole;
use crate::race::race;
use crate::runtime::{Instant, LogLevel, Runtime};

/// After the deadline stages are cut off at their next await. One that keeps its thread busy cannot be; it is given
/// this long and then reported as stuck.
const LAST_GRACE: Duration = Duration::from_millis(500);

/// What a shutdown did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ShutdownReport {
    /// How long it took.
    pub took: Duration,
    /// Values that taps, transforms and outbound links took after the shutdown began.
    pub drained: u64,
    /// Values that were accepted and not dealt with, stage by stage. Empty after a shutdown in time.
    pub left: Vec<Leftover>,
    /// Stages that were cut off at the deadline, as `record/stage`.
    pub cut_off: Vec<String>,
    /// Stages that could not even be cut off because they keep their thread busy.
    pub stuck: Vec<String>,
    /// Stages that had failed, at any time, for good.
    pub failures: Vec<StageFailure>,
}

/// What one stage did not get to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Leftover {
    /// The record.
    pub record: String,
    /// The stage that should have read it.
    pub stage: String,
    /// Values still in the buffer.
    pub unread: u64,
    /// Values the stage had taken and was still busy with: handed out, but the stage never came back for another, or,
    /// for a link, sent and not acknowledged.
    pub interrupted: u64,
}

impl ShutdownReport {
    /// Everything accepted was dealt with and every stage ended by itself.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.left.is_empty() && self.cut_off.is_empty() && self.stuck.is_empty()
    }

    /// How many values were left, unread or interrupted.
    #[must_use]
    pub fn total_left(&self) -> u64 {
        self.left.iter().map(|left| left.unread + left.interrupted).sum()
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "shut down in {:.1?}: {} values drained, {} left",
            self.took,
            self.drained,
            self.total_left()
        )?;
        for left in &self.left {
            write!(
                f,
                "\n  {} of `{}`: {} unread, {} interrupted",
                left.stage, left.record, left.unread, left.interrupted
            )?;
        }
        self.cut_off.iter().try_for_each(|stage| write!(f, "\n  cut off: {stage}"))?;
        self.stuck.iter().try_for_each(|stage| write!(f, "\n  stuck: {stage}"))?;
        self.failures.iter().try_for_each(|failure| write!(f, "\n  failed: {failure}"))
    }
}

/// Who shuts down, since when, and what came of it.
#[derive(Default)]
pub(crate) struct Phase {
    in_charge: bool,
    began: Option<Beginning>,
    pub(crate) report: Option<ShutdownReport>,
}

/// How things stood when the first caller began.
#[derive(Clone, Copy)]
struct Beginning {
    at: Instant,
    delivered: u64,
}

pub(crate) async fn shutdown<R: Runtime>(db: &DbInner<R>, deadline: Duration) -> ShutdownReport {
    loop {
        match Turn::take(db) {
            Turn::Over(report) => return report,
            Turn::Mine(charge) => {
                let report = carry_out(db, deadline).await;
                charge.done(&report);
                return report;
            }
            Turn::Taken => {}
        }
        // Somebody else is at it: wait for the report, or for the charge if that caller gave up.
        db.engine
            .changed
            .until(|| db.phase.with(|phase| phase.report.is_some() || !phase.in_charge))
            .await;
    }
}

/// The duty of shutting down, given back if its holder is dropped half way.
struct Charge<'d, R: Runtime>(&'d DbInner<R>);

/// Whose turn it is when somebody wants to shut down.
enum Turn<'d, R: Runtime> {
    Over(ShutdownReport),
    Mine(Charge<'d, R>),
    Taken,
}

impl<'d, R: Runtime> Turn<'d, R> {
    fn take(db: &'d DbInner<R>) -> Self {
        db.phase.with(|phase| match (&phase.report, phase.in_charge) {
            (Some(report), _) => Self::Over(report.clone()),
            (None, true) => Self::Taken,
            (None, false) => {
                phase.in_charge = true;
                Self::Mine(Charge(db))
            }
        })
    }
}

impl<R: Runtime> Charge<'_, R> {
    fn done(self, report: &ShutdownReport) {
        self.0.phase.with(|phase| phase.report = Some(report.clone()));
    }
}

impl<R: Runtime> Drop for Charge<'_, R> {
    fn drop(&mut self) {
        self.0.phase.with(|phase| phase.in_charge = false);
        self.0.engine.changed.notify();
    }
}

async fn carry_out<R: Runtime>(db: &DbInner<R>, deadline: Duration) -> ShutdownReport {
    let now = Beginning { at: db.runtime.now(), delivered: delivered(db) };
    // A shutdown that was dropped half way began when it first did.
    let began = db.phase.with(|phase| *phase.began.get_or_insert(now));
    db.engine.begin_stop();
    stop_the_origins(db);
    let mut timer = pin!(db.runtime.sleep_until(now.at + deadline));
    drain(db, timer.as_mut()).await;
    let (cut_off, stuck) = cut_off_the_rest(db).await;
    let report = ShutdownReport {
        took: db.runtime.now() - began.at,
        drained: delivered(db) - began.delivered,
        left: leftovers(db),
        cut_off,
        stuck,
        failures: db.cells.iter().filter_map(|cell| cell.failure()).collect(),
    };
    let level = if report.is_clean() { LogLevel::Info } else { LogLevel::Warn };
    db.runtime.log(level, "aimdb", format_args!("{report}"));
    report
}

fn delivered<R: Runtime>(db: &DbInner<R>) -> u64 {
    db.records.iter().map(|record| record.delivered_to_stages()).sum()
}

/// Sources end at their next await. Stages that never started have nothing to drain.
fn stop_the_origins<R: Runtime>(db: &DbInner<R>) {
    let never_started = !db.engine.is_started();
    let origins = db.cells.iter().filter(|cell| never_started || cell.role == StageRole::Source);
    origins.for_each(|cell| cell.stop());
}

/// Closes records one after the other, upstream first, each when its writers have ended; then waits for the readers.
async fn drain<R: Runtime>(db: &DbInner<R>, mut deadline: Pin<&mut R::Sleep>) {
    for &at in &db.order {
        let record = &db.records[at];
        let written_to_the_end = || {
            record.writers.iter().all(|writer| writer.is_done())
                && record.inlets.iter().all(|inlet| inlet.status.has_ended())
        };
        if !in_time(db, written_to_the_end, deadline.as_mut()).await {
            return;
        }
        record.erased.close();
    }
    in_time(db, || all_done(&db.cells), deadline).await;
}

fn all_done(cells: &[crate::sync::Arc<StageCell>]) -> bool {
    cells.iter().all(|cell| cell.is_done())
}

/// Waits for `condition` unless the deadline comes first.
async fn in_time<R: Runtime>(
    db: &DbInner<R>,
    condition: impl Fn() -> bool,
    deadline: Pin<&mut R::Sleep>,
) -> bool {
    if condition() {
        return true;
    }
    race(db.engine.changed.until(&condition), deadline).await;
    condition()
}

async fn cut_off_the_rest<R: Runtime>(db: &DbInner<R>) -> (Vec<String>, Vec<String>) {
    db.records.iter().for_each(|record| record.erased.close());
    let rest: Vec<_> = db.cells.iter().filter(|cell| !cell.is_done()).cloned().collect();
    rest.iter().for_each(|cell| cell.stop());
    let grace = pin!(db.runtime.sleep_until(db.runtime.now() + LAST_GRACE));
    in_time(db, || all_done(&rest), grace).await;
    let name =
        |cell: &&crate::sync::Arc<StageCell>| alloc::format!("{}/{}", cell.record, cell.name);
    // A tap that watches instead of reading is not cut off but simply over, and so is a stage that never started.
    let started = db.engine.is_started();
    (
        rest.iter()
            .filter(|cell| started && cell.state() == StageState::Stopped)
            .map(|cell| name(&cell))
            .collect(),
        rest.iter().filter(|cell| !cell.is_done()).map(|cell| name(&cell)).collect(),
    )
}

fn leftovers<R: Runtime>(db: &DbInner<R>) -> Vec<Leftover> {
    let mut left: Vec<Leftover> = Vec::new();
    for record in &db.records {
        left.extend(record.abandoned().into_iter().map(|abandoned| Leftover {
            record: record.key.as_ref().into(),
            stage: abandoned.reader.as_ref().into(),
            unread: abandoned.left,
            // A stage that returned by itself was done with what it had in hand.
            interrupted: if has_finished(db, &record.key, &abandoned.reader) {
                0
            } else {
                abandoned.interrupted
            },
        }));
    }
    left.retain(|left| left.unread + left.interrupted > 0);
    let in_flight = db.links.iter().filter(|link| link.status.in_flight() > 0);
    left.extend(in_flight.map(|link| Leftover {
        record: link.key.as_ref().into(),
        stage: alloc::format!("{}", link.address),
        unread: 0,
        interrupted: link.status.in_flight(),
    }));
    left
}

fn has_finished<R: Runtime>(db: &DbInner<R>, record: &str, stage: &str) -> bool {
    db.cells.iter().any(|cell| {
        *cell.record == *record && *cell.name == *stage && cell.state() == StageState::Finished
    })
}
