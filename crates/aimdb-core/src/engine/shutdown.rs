//! The steps of a shutdown.

use alloc::vec::Vec;
use core::pin::pin;
use core::time::Duration;

use super::events::DbEventKind;
use super::health::StageState;
use super::inner::DbInner;
use super::report::{ShutdownReport, Undelivered};
use super::shutdown_state::{Abort, Baseline, Deadline};
use super::stage::StageCell;
use crate::clock::Instant;
use crate::graph::node::StageRole;
use crate::race::race;
use crate::runtime::adapter::{LogLevel, Runtime, log};
use crate::sync::Arc;

/// The time between the abort of the stages and the report.
///
/// An aborted stage ends at its next await. A stage that keeps its thread busy reaches none; the report lists it as
/// unresponsive if it has not ended after this time.
const ABORT_GRACE: Duration = Duration::from_millis(500);

/// The time between two log lines that name what a shutdown waits for.
const PROGRESS: Duration = Duration::from_secs(1);

/// The next action of a caller that drives a shutdown.
enum NextAction {
    /// Waits until the state is no longer the one of `version`, a record can be closed, the database is drained, or the
    /// time is `until`.
    Wait {
        until: Instant,
        version: u64,
    },
    LogProgress,
    /// The services end.
    Finish,
    Abort,
    /// The services have not ended within the grace of the abort.
    StopServices,
    Report,
    Return(ShutdownReport),
}

/// Joins the shutdown in progress, or begins one, and drives it until its report is written.
pub(crate) async fn shutdown<R: Runtime>(db: &DbInner<R>, deadline: Deadline) -> ShutdownReport {
    join_or_begin(db, deadline);
    loop {
        close_finished_records(db);
        match next_action(db) {
            NextAction::Return(report) => return report,
            NextAction::LogProgress => log_progress(db),
            NextAction::Finish => db.engine.begin_finish(),
            NextAction::Abort => abort(db),
            NextAction::StopServices => stop_services(db),
            NextAction::Report => report(db),
            NextAction::Wait { until, version } => {
                let changed = || {
                    db.shutdown.with(|state| state.version != version)
                        || db.order.iter().any(|&at| may_close(db, at))
                        || is_drained(db) && (!db.engine.is_finishing() || all_ended(&db.cells))
                };
                let timer = pin!(db.runtime.sleep_until(until));
                race(db.engine.changed.until(changed), timer).await;
            }
        }
    }
}

/// Begins the shutdown if no caller has done so, and sets the deadline as this caller requests it.
fn join_or_begin<R: Runtime>(db: &DbInner<R>, deadline: Deadline) {
    let now = db.runtime.now();
    let delivered = delivered(db);
    let first = db.shutdown.with(|state| {
        let first = state.baseline.is_none();
        state.baseline.get_or_insert(Baseline { at: now, delivered });
        state.next_progress.get_or_insert(now + PROGRESS);
        match deadline {
            Deadline::Requested(after) => {
                state.deadline = Some(now + after);
                state.deadline_requested = true;
            }
            Deadline::Default(after) if !state.deadline_requested => {
                let earlier = state.deadline.unwrap_or(now + after);
                state.deadline = Some(earlier.min(now + after));
            }
            Deadline::Default(_) => {}
        }
        state.version += 1;
        if first {
            // Under the lock, so that it precedes the events of the steps that another caller takes at once.
            db.engine.events.queue(|| DbEventKind::ShutdownBegan);
        }
        first
    });
    if first {
        db.engine.events.dispatch();
        db.engine.begin_stop();
        // A pause between two attempts ends: the shutdown waits for the stage to drain.
        let paused = |cell: &&Arc<StageCell>| cell.state() == StageState::Restarting;
        db.cells.iter().filter(paused).for_each(|cell| cell.wake());
        stop_sources(db);
    } else {
        db.engine.changed.notify();
    }
}

fn next_action<R: Runtime>(db: &DbInner<R>) -> NextAction {
    let (version, deadline, progress, abort, reporting, report) = db.shutdown.with(|state| {
        let (deadline, progress) = (state.deadline.unwrap_or_default(), state.next_progress);
        let (abort, report) = (state.abort.clone(), state.report.clone());
        (state.version, deadline, progress.unwrap_or(deadline), abort, state.reporting, report)
    });
    if let Some(report) = report {
        return NextAction::Return(report);
    }
    let now = db.runtime.now();
    match abort {
        None if now >= deadline || all_ended(&db.cells) && is_drained(db) => NextAction::Abort,
        None if is_drained(db) && !db.engine.is_finishing() => NextAction::Finish,
        None if now >= progress => NextAction::LogProgress,
        None => NextAction::Wait { until: deadline.min(progress), version },
        Some(abort) if !reporting && all_ended(&abort.stages) => NextAction::Report,
        Some(abort) if !reporting && now >= abort.grace_ends => {
            if abort.services_stopped {
                NextAction::Report
            } else {
                NextAction::StopServices
            }
        }
        Some(abort) => NextAction::Wait { until: abort.grace_ends, version },
    }
}

/// Logs what the shutdown waits for, unless another caller has just done so.
fn log_progress<R: Runtime>(db: &DbInner<R>) {
    let now = db.runtime.now();
    let begun = db.shutdown.with(|state| {
        let due = state.next_progress.is_some_and(|due| now >= due);
        if due {
            state.next_progress = Some(now + PROGRESS);
        }
        state.baseline.filter(|_| due)
    });
    let Some(begun) = begun else { return };
    let mut waits_for = Vec::new();
    // Services wait for the stages, until it is their turn.
    let is_awaited = |cell: &&Arc<StageCell>| {
        !cell.has_ended() && (!is_service(cell) || db.engine.is_finishing())
    };
    for cell in db.cells.iter().filter(is_awaited) {
        waits_for.push(alloc::format!("{} `{}`", cell.role, cell.id()));
    }
    let (elapsed, undelivered) = (now - begun.at, undelivered(db));
    let values: u64 = undelivered.iter().map(Undelivered::total).sum();
    let message = format_args!(
        "shutting down for {elapsed:.0?}, {values} values undelivered: waiting for {}",
        waits_for.join(", ")
    );
    log(&*db.runtime, LogLevel::Info, "aimdb", message);
}

/// Writes the report, unless another caller is writing it.
fn report<R: Runtime>(db: &DbInner<R>) {
    let (baseline, abort) = db.shutdown.with(|state| {
        let first = !core::mem::replace(&mut state.reporting, true);
        (state.baseline, state.abort.clone().filter(|_| first))
    });
    let (Some(baseline), Some(abort)) = (baseline, abort) else { return };
    // An unresponsive stage that goes on later takes nothing that the report counts as undelivered.
    db.records.iter().for_each(|record| record.end_stages());
    // `abort.stages` also has stages that ended by themselves while the abort was in progress: they have finished. If
    // the database never started, it has stages that never ran. Neither kind was aborted.
    let started = db.engine.is_started();
    let (mut aborted, mut unresponsive) = (Vec::new(), Vec::new());
    for cell in abort.stages.iter() {
        // One look at each: a stage that ends meanwhile is in one of the lists.
        if !cell.has_ended() {
            unresponsive.push(cell.id());
        } else if started && cell.state() == StageState::Stopped {
            aborted.push(cell.id());
        }
    }
    let report = ShutdownReport {
        elapsed: db.runtime.now() - baseline.at,
        drained: delivered(db) - baseline.delivered,
        undelivered: undelivered(db),
        aborted,
        unresponsive,
        failures: db.cells.iter().filter_map(|cell| cell.failure()).collect(),
    };
    let level = if report.is_clean() { LogLevel::Info } else { LogLevel::Warn };
    let clean = report.is_clean();
    db.report_freed_writers();
    db.shutdown.with(|state| {
        state.version += 1;
        state.report = Some(report.clone());
        db.engine.events.queue(|| DbEventKind::ShutdownEnded { clean });
        db.engine.events.queue_end();
    });
    db.engine.changed.notify();
    db.engine.events.dispatch();
    log(&*db.runtime, level, "aimdb", format_args!("{report}"));
}

/// The number of values that the stages have taken since the start.
fn delivered<R: Runtime>(db: &DbInner<R>) -> u64 {
    db.records.iter().map(|record| record.delivered_to_stages()).sum()
}

/// Stops the sources, which end at their next await. If the database never started, stops all stages: none has
/// anything to drain.
fn stop_sources<R: Runtime>(db: &DbInner<R>) {
    let never_started = !db.engine.is_started();
    let stopped = db.cells.iter().filter(|cell| never_started || cell.role == StageRole::Source);
    stopped.for_each(|cell| cell.stop());
}

/// Closes the open records whose writers have ended, upstream first. A record waits for its own writers alone: a branch that
/// does not drain holds back no other.
fn close_finished_records<R: Runtime>(db: &DbInner<R>) {
    for &at in &db.order {
        if may_close(db, at) {
            db.records[at].close();
        }
    }
}

/// Whether the record at index `at` is open, and the stages and inbound links that write it have ended.
fn may_close<R: Runtime>(db: &DbInner<R>, at: usize) -> bool {
    let record = &db.records[at];
    !record.is_closed()
        && record.writers.iter().all(|writer| writer.has_ended())
        && record.inbound.iter().all(|link| link.status.has_ended())
}

/// Whether all records are closed and all stages have ended. Services end after that.
fn is_drained<R: Runtime>(db: &DbInner<R>) -> bool {
    let mut stages = db.cells.iter().filter(|cell| !is_service(cell));
    db.records.iter().all(|record| record.is_closed()) && stages.all(|cell| cell.has_ended())
}

fn all_ended(cells: &[Arc<StageCell>]) -> bool {
    cells.iter().all(|cell| cell.has_ended())
}

/// Closes the records that are open and stops the stages that have not ended, at their next await.
fn abort<R: Runtime>(db: &DbInner<R>) {
    db.records.iter().for_each(|record| record.close());
    let stages: Vec<_> = db.cells.iter().filter(|cell| !cell.has_ended()).cloned().collect();
    // Those whose turn had come had the rest of the deadline. The others see the abort, and have its grace.
    let services_stopped = db.engine.is_finishing() || !stages.iter().any(is_service);
    let grace_ends = db.runtime.now() + ABORT_GRACE;
    let abort = Abort { grace_ends, stages: stages.into(), services_stopped };
    let (first, abort) = db.shutdown.with(|state| {
        state.version += 1;
        let first = state.abort.is_none();
        (first, state.abort.get_or_insert(abort).clone())
    });
    let Abort { stages, services_stopped, .. } = abort;
    let aborted = || stages.iter().filter(|cell| services_stopped || !is_service(cell));
    if first && aborted().next().is_some() {
        let ids = || aborted().map(|cell| cell.id()).collect();
        db.engine.events.emit(|| DbEventKind::ShutdownAborts { stages: ids() });
    }
    aborted().for_each(|cell| cell.stop());
    db.engine.begin_finish();
}

/// Stops the services that have not ended by themselves, unless another caller has.
fn stop_services<R: Runtime>(db: &DbInner<R>) {
    let now = db.runtime.now();
    let abort = db.shutdown.with(|state| {
        let abort = state.abort.as_mut().filter(|abort| !abort.services_stopped)?;
        state.version += 1;
        abort.services_stopped = true;
        abort.grace_ends = now + ABORT_GRACE;
        Some(abort.clone())
    });
    let Some(abort) = abort else { return };
    let services = || abort.stages.iter().filter(|cell| is_service(cell) && !cell.has_ended());
    let ids = || services().map(|cell| cell.id()).collect();
    if services().next().is_some() {
        db.engine.events.emit(|| DbEventKind::ShutdownAborts { stages: ids() });
    }
    services().for_each(|cell| cell.stop());
    db.engine.changed.notify();
}

fn is_service(cell: &Arc<StageCell>) -> bool {
    cell.role == StageRole::Service
}

/// The values that stages and links have not processed, by record and stage.
fn undelivered<R: Runtime>(db: &DbInner<R>) -> Vec<Undelivered> {
    let mut undelivered: Vec<Undelivered> = Vec::new();
    for record in &db.records {
        undelivered.extend(record.backlog().into_iter().map(|backlog| Undelivered {
            record: record.key.as_ref().into(),
            stage: backlog.reader.as_ref().into(),
            unread: backlog.unread,
            // A tap that returned by itself has processed the value that it had in progress.
            interrupted: if has_finished(db, &record.key, &backlog.reader) {
                0
            } else {
                backlog.interrupted
            },
        }));
    }
    undelivered.retain(|undelivered| undelivered.total() > 0);
    let in_flight = db.links.iter().filter(|link| link.status.in_flight() > 0);
    undelivered.extend(in_flight.map(|link| Undelivered {
        record: link.key.as_ref().into(),
        stage: alloc::format!("{}", link.address),
        unread: 0,
        interrupted: link.status.in_flight(),
    }));
    undelivered
}

/// Whether the reader `stage` of `record` belongs to a tap or a processor that returned by itself.
///
/// Transforms need no such check: the cell of a transform has the record that the transform writes, and a transform
/// that returned has drained its inputs.
fn has_finished<R: Runtime>(db: &DbInner<R>, record: &str, stage: &str) -> bool {
    let is_its_reader = |cell: &&Arc<StageCell>| {
        match cell.role {
            StageRole::Tap => cell.owner.record() == Some(record) && *cell.name == *stage,
            // Its readers are in other records and have its owner in their name.
            StageRole::Processor => stage
                .strip_suffix(&*cell.name)
                .is_some_and(|rest| rest.strip_suffix('/') == Some(cell.owner.name())),
            _ => false,
        }
    };
    let mut readers = db.cells.iter().filter(is_its_reader).peekable();
    // Keys and names with slashes may give two stages one reader's name.
    readers.peek().is_some() && readers.all(|cell| cell.state() == StageState::Finished)
}
