//! The orderly end.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::{Pin, pin};
use core::task::Poll;
use core::time::Duration;

use super::health::StageState;
use super::{DbInner, StageCell};
use crate::error::StageFailure;
use crate::graph::StageRole;
use crate::runtime::{LogLevel, Runtime};

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

/// Who shuts down, and what came of it.
#[derive(Default)]
pub(crate) struct Phase {
    in_charge: bool,
    pub(crate) report: Option<ShutdownReport>,
}

pub(crate) async fn shutdown<R: Runtime>(db: &DbInner<R>, deadline: Duration) -> ShutdownReport {
    loop {
        if let Some(report) = db.phase.with(|phase| phase.report.clone()) {
            return report;
        }
        if let Some(charge) = Charge::take(db) {
            let report = carry_out(db, deadline).await;
            charge.done(&report);
            return report;
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

impl<'d, R: Runtime> Charge<'d, R> {
    fn take(db: &'d DbInner<R>) -> Option<Self> {
        db.phase.with(|phase| !core::mem::replace(&mut phase.in_charge, true)).then_some(Self(db))
    }

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
    let began = db.runtime.now();
    let delivered_before = delivered(db);
    db.engine.begin_stop();
    stop_the_origins(db);
    let mut timer = pin!(db.runtime.sleep_until(began + deadline));
    drain(db, timer.as_mut()).await;
    let (cut_off, stuck) = cut_off_the_rest(db).await;
    let report = ShutdownReport {
        took: db.runtime.now() - began,
        drained: delivered(db) - delivered_before,
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
    db.records.iter().map(|record| record.erased.delivered_to_stages()).sum()
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

fn all_done(cells: &[alloc::sync::Arc<StageCell>]) -> bool {
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
    first_of(db.engine.changed.until(&condition), deadline).await;
    condition()
}

async fn cut_off_the_rest<R: Runtime>(db: &DbInner<R>) -> (Vec<String>, Vec<String>) {
    db.records.iter().for_each(|record| record.erased.close());
    let rest: Vec<_> = db.cells.iter().filter(|cell| !cell.is_done()).cloned().collect();
    rest.iter().for_each(|cell| cell.stop());
    let grace = pin!(db.runtime.sleep_until(db.runtime.now() + LAST_GRACE));
    in_time(db, || all_done(&rest), grace).await;
    let name =
        |cell: &&alloc::sync::Arc<StageCell>| alloc::format!("{}/{}", cell.record, cell.name);
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
        left.extend(record.erased.abandoned().into_iter().map(|abandoned| Leftover {
            record: record.key.as_ref().into(),
            stage: abandoned.reader.as_ref().into(),
            unread: abandoned.left,
            interrupted: abandoned.interrupted,
        }));
    }
    let in_flight = db.links.iter().filter(|link| link.status.in_flight() > 0);
    left.extend(in_flight.map(|link| Leftover {
        record: link.key.as_ref().into(),
        stage: alloc::format!("{}", link.address),
        unread: 0,
        interrupted: link.status.in_flight(),
    }));
    left
}

/// Completes with the first of two futures; the other one is dropped.
pub(super) async fn first_of(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    core::future::poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => b.as_mut().poll(cx),
    })
    .await;
}
