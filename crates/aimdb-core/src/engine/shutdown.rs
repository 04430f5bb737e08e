//! The orderly end.

use alloc::vec::Vec;
use core::pin::pin;
use core::time::Duration;

use super::health::StageState;
use super::inner::DbInner;
use super::phase::{Abort, Beginning, Deadline};
use super::report::{ShutdownReport, Undelivered};
use super::stage::StageCell;
use crate::clock::Instant;
use crate::graph::node::StageRole;
use crate::race::race;
use crate::runtime::adapter::{LogLevel, Runtime};
use crate::sync::Arc;

/// After the deadline stages are aborted at their next await. One that keeps its thread busy cannot be; it is given
/// this long and then reported as stuck.
const LAST_GRACE: Duration = Duration::from_millis(500);

/// What a caller that drives a shutdown has to do next.
enum NextStep {
    Wait { until: Instant, version: u64 },
    Abort,
    Report,
    Over(ShutdownReport),
}

/// Joins the shutdown under way, or begins one, and drives it to its report.
pub(crate) async fn shutdown<R: Runtime>(db: &DbInner<R>, deadline: Deadline) -> ShutdownReport {
    join(db, deadline);
    let mut closed = 0;
    loop {
        closed = close_what_is_written(db, closed);
        match next_step(db, closed) {
            NextStep::Over(report) => return report,
            NextStep::Abort => abort(db),
            NextStep::Report => report(db),
            NextStep::Wait { until, version } => {
                let moved = || {
                    db.phase.with(|phase| phase.version != version)
                        || db.order.get(closed).is_some_and(|&at| is_written(db, at))
                        || is_drained(db, closed)
                };
                let timer = pin!(db.runtime.sleep_until(until));
                race(db.engine.changed.until(moved), timer).await;
            }
        }
    }
}

/// Begins the shutdown if that has not been done, and says how long this caller gives it.
fn join<R: Runtime>(db: &DbInner<R>, deadline: Deadline) {
    let now = db.runtime.now();
    let delivered = delivered(db);
    let first = db.phase.with(|phase| {
        let first = phase.began.is_none();
        phase.began.get_or_insert(Beginning { at: now, delivered });
        match deadline {
            Deadline::Asked(after) => {
                phase.deadline = Some(now + after);
                phase.asked = true;
            }
            Deadline::Default(after) if !phase.asked => {
                let earlier = phase.deadline.unwrap_or(now + after);
                phase.deadline = Some(earlier.min(now + after));
            }
            Deadline::Default(_) => {}
        }
        phase.version += 1;
        first
    });
    if first {
        db.engine.begin_stop();
        stop_the_origins(db);
    } else {
        db.engine.changed.notify();
    }
}

fn next_step<R: Runtime>(db: &DbInner<R>, closed: usize) -> NextStep {
    let (version, deadline, abort, reporting, report) = db.phase.with(|phase| {
        let deadline = phase.deadline.unwrap_or_default();
        (phase.version, deadline, phase.abort.clone(), phase.reporting, phase.report.clone())
    });
    if let Some(report) = report {
        return NextStep::Over(report);
    }
    let now = db.runtime.now();
    match abort {
        None if now >= deadline || is_drained(db, closed) => NextStep::Abort,
        None => NextStep::Wait { until: deadline, version },
        Some(abort) if !reporting && (now >= abort.grace_ends || all_done(&abort.stages)) => {
            NextStep::Report
        }
        Some(abort) => NextStep::Wait { until: abort.grace_ends, version },
    }
}

/// Writes the report, unless another caller does so already.
fn report<R: Runtime>(db: &DbInner<R>) {
    let (began, abort) = db.phase.with(|phase| {
        let mine = !core::mem::replace(&mut phase.reporting, true);
        (phase.began, phase.abort.clone().filter(|_| mine))
    });
    let (Some(began), Some(abort)) = (began, abort) else { return };
    let id = |cell: &Arc<StageCell>| cell.id();
    // A tap that watches instead of reading is not aborted but finished, and so is a stage that never started.
    let started = db.engine.is_started();
    let was_aborted = |cell: &&Arc<StageCell>| started && cell.state() == StageState::Stopped;
    let report = ShutdownReport {
        elapsed: db.runtime.now() - began.at,
        drained: delivered(db) - began.delivered,
        undelivered: undelivered(db),
        aborted: abort.stages.iter().filter(was_aborted).map(id).collect(),
        unresponsive: abort.stages.iter().filter(|cell| !cell.is_done()).map(id).collect(),
        failures: db.cells.iter().filter_map(|cell| cell.failure()).collect(),
    };
    let level = if report.is_clean() { LogLevel::Info } else { LogLevel::Warn };
    db.phase.with(|phase| {
        phase.version += 1;
        phase.report = Some(report.clone());
    });
    db.engine.changed.notify();
    // Last: a log that panics ends this caller, and no other.
    db.runtime.log(level, "aimdb", format_args!("{report}"));
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

/// Closes records one after the other, upstream first, each when its writers have ended. `closed` of them are closed;
/// the answer is how many are now.
fn close_what_is_written<R: Runtime>(db: &DbInner<R>, closed: usize) -> usize {
    let ready = db.order[closed..].iter().take_while(|&&at| {
        let is_written = is_written(db, at);
        if is_written {
            db.records[at].erased.close();
        }
        is_written
    });
    closed + ready.count()
}

/// Whether the stages and links that write this record have ended.
fn is_written<R: Runtime>(db: &DbInner<R>, at: usize) -> bool {
    let record = &db.records[at];
    record.writers.iter().all(|writer| writer.is_done())
        && record.inbound.iter().all(|inlet| inlet.status.has_ended())
}

/// Whether all records are closed and all stages have ended.
fn is_drained<R: Runtime>(db: &DbInner<R>, closed: usize) -> bool {
    closed == db.order.len() && all_done(&db.cells)
}

fn all_done(cells: &[Arc<StageCell>]) -> bool {
    cells.iter().all(|cell| cell.is_done())
}

/// Closes what is still open and ends the stages that have not ended, at their next await.
fn abort<R: Runtime>(db: &DbInner<R>) {
    db.records.iter().for_each(|record| record.erased.close());
    let rest: Vec<_> = db.cells.iter().filter(|cell| !cell.is_done()).cloned().collect();
    let begun = Abort { grace_ends: db.runtime.now() + LAST_GRACE, stages: rest.into() };
    let stages = db.phase.with(|phase| {
        phase.version += 1;
        Arc::clone(&phase.abort.get_or_insert(begun).stages)
    });
    stages.iter().for_each(|cell| cell.stop());
    db.engine.changed.notify();
}

fn undelivered<R: Runtime>(db: &DbInner<R>) -> Vec<Undelivered> {
    let mut left: Vec<Undelivered> = Vec::new();
    for record in &db.records {
        left.extend(record.backlog().into_iter().map(|backlog| Undelivered {
            record: record.key.as_ref().into(),
            stage: backlog.reader.as_ref().into(),
            unread: backlog.unread,
            // A stage that returned by itself was done with what it had in hand.
            interrupted: if has_finished(db, &record.key, &backlog.reader) {
                0
            } else {
                backlog.interrupted
            },
        }));
    }
    left.retain(|left| left.unread + left.interrupted > 0);
    let in_flight = db.links.iter().filter(|link| link.status.in_flight() > 0);
    left.extend(in_flight.map(|link| Undelivered {
        record: link.key.as_ref().into(),
        stage: alloc::format!("{}", link.address),
        unread: 0,
        interrupted: link.status.in_flight(),
    }));
    left
}

/// Whether this reader of a record is a tap that returned by itself. (A transform's cell has the record that it writes,
/// and a transform that returned has read to the end.)
fn has_finished<R: Runtime>(db: &DbInner<R>, record: &str, stage: &str) -> bool {
    let mut taps = db.cells.iter().filter(|cell| cell.role == StageRole::Tap);
    taps.any(|cell| {
        cell.owner.record() == Some(record)
            && *cell.name == *stage
            && cell.state() == StageState::Finished
    })
}
