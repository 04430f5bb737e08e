//! Stages that fail, and the stages next to them.

use aimdb_core::Arc;
use alloc::boxed::Box;
use core::future::pending;
use core::time::Duration;

use aimdb_core::BufferCfg::SingleLatest;
use aimdb_core::health::StageState;
#[cfg(feature = "std")]
use aimdb_core::{AimDb, Consumer, input};
use aimdb_core::{AimDbBuilder, DbError, RuntimeContext};

use super::restart::{report_failure, short_backoff, tap_failing_at};
use super::support::{
    AMPLE, build, fill, numbers, queue, source_of, stage, tap_and_hang, tap_into, until,
};
#[cfg(feature = "std")]
use crate::host::MapFn;
use crate::host::{BoxStage, Host};
use crate::recorder::Recorder;

/// A stage that calls `fail` and returns has failed; a stage that only returns has finished.
pub async fn a_stage_that_reports_a_failure_has_failed<R: Host>(runtime: Arc<R>) {
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("good", |reg| {
            reg.buffer(SingleLatest);
            source_of(reg, 0..1);
        });
        builder.configure::<u64>("bad", |reg| {
            reg.buffer(SingleLatest).source(|ctx: RuntimeContext<R>, _| -> BoxStage {
                Box::pin(async move { ctx.fail("no sensor") })
            });
        });
    });
    db.start();
    let ended = |key| stage(&db, key, "source").state;
    until(&*runtime, || ended("good").is_terminal() && ended("bad").is_terminal()).await;
    assert_eq!((ended("good"), ended("bad")), (StageState::Finished, StageState::Failed));
    let report = db.shutdown(AMPLE).await;
    let [failure] = &report.failures[..] else { panic!("exactly one stage has failed: {report}") };
    assert_eq!(failure.cause, "no sensor");
}

/// Other taps of the same record keep running.
pub async fn one_failure_leaves_the_others_running<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(4));
            reg.tap(|ctx: RuntimeContext<R>, _| -> BoxStage {
                Box::pin(async move { ctx.fail("no display") })
            });
            tap_into(reg, &seen);
        });
    });
    db.start();
    until(&*runtime, || stage(&db, "record", "tap").state == StageState::Failed).await;
    fill(&db, "record", 0..4);
    until(&*runtime, || seen.len() == 4).await;
    let health = db.health();
    assert!(!health.is_healthy());
    assert_eq!(health.failures()[0].cause, "no display");
    assert_eq!(stage(&db, "record", "tap#2").state, StageState::Running);
    db.shutdown(AMPLE).await;
}

/// With `stop_on_failure`, `run` shuts down in order and returns the failure.
pub async fn stop_on_failure_shuts_the_database_down<R: Host>(runtime: Arc<R>) {
    let mut builder = AimDbBuilder::new().runtime(runtime);
    builder.stop_on_failure();
    builder.configure::<u64>("good", |reg| {
        reg.buffer(SingleLatest);
        reg.source(|_: RuntimeContext<R>, _| -> BoxStage { Box::pin(pending()) });
    });
    builder.configure::<u64>("bad", |reg| {
        reg.buffer(SingleLatest).source(|ctx: RuntimeContext<R>, _| -> BoxStage {
            Box::pin(async move { ctx.fail("no sensor") })
        });
    });
    let Err(DbError::StagesFailed { failures }) = builder.run().await else {
        panic!("run must return the failure")
    };
    let [failure] = &failures[..] else { panic!("exactly one stage has failed: {failures:?}") };
    let failure = [failure.owner.name(), &failure.stage, &failure.cause];
    assert_eq!(failure, ["bad", "source", "no sensor"]);
}

/// A writer of a queue does not wait for a tap that has failed.
pub async fn a_failed_tap_blocks_no_writer<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let mut builder = AimDbBuilder::new().runtime(runtime);
    builder.configure::<u64>("record", |reg| {
        reg.buffer(queue(2));
        source_of(reg, 0..50);
        tap_failing_at(reg, short_backoff().limit(0), &[1], &Recorder::new(), report_failure::<R>);
        tap_into(reg, &seen);
    });
    builder.run().await.expect("a failed tap does not end run");
    assert_eq!(seen.values(), numbers(0..50));
}

/// Health names the reader that holds the writers back, and the number of writers.
pub async fn health_names_the_tap_that_blocks_a_writer<R: Host>(runtime: Arc<R>) {
    let (seen, hung) = (Recorder::new(), Recorder::new());
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(2));
            tap_into(reg, &seen);
            tap_and_hang(reg, 1, &hung);
            source_of(reg, 0..10);
        });
    });
    db.start();
    until(&*runtime, || !db.health().blocked.is_empty() && seen.len() == 3).await;
    let [blocked] = &db.health().blocked[..] else { panic!("one record is blocked") };
    assert_eq!((blocked.key.as_str(), blocked.blocked.writers), ("record", 1));
    assert_eq!(blocked.blocked.held_back_by, "tap#2");
    assert_eq!((seen.values(), hung.values()), (numbers(0..3), numbers(0..1)));
    assert!(db.health().is_healthy(), "a blocked writer is no failure");
    db.shutdown(Duration::ZERO).await;
}

/// The other tap receives every value. The failure's cause is the panic's message.
#[cfg(feature = "std")]
pub async fn a_panicking_stage_stops_no_other_and_health_names_it<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("record", |reg| {
        reg.buffer(queue(4));
        reg.tap(|_: RuntimeContext<R>, values: Consumer<u64, R>| -> BoxStage {
            Box::pin(async move {
                let value = values.subscribe().expect("a tap may read").recv().await;
                panic!("no use for {value:?}");
            })
        });
        tap_into(reg, &seen);
    });
    let db = builder.build().expect("the case's graph is valid");
    db.start();
    fill(&db, "record", [0]);
    until(&*runtime, || stage(&db, "record", "tap").state == StageState::Failed).await;
    let cause = stage(&db, "record", "tap").cause;
    assert_eq!(cause.as_deref(), Some("panicked: no use for Ok(0)"));
    until(&*runtime, || seen.len() == 1).await;
    fill(&db, "record", 1..5);
    run_through_failed(&db).await;
    assert_eq!(seen.values(), numbers(0..5));
}

/// The failed transform holds no writer of its input back.
#[cfg(feature = "std")]
pub async fn a_panicking_transform_fails_alone<R: Host>(runtime: Arc<R>) {
    let (seen_in, seen_out) = (Recorder::new(), Recorder::new());
    let refuse_two: MapFn = |value| if value == 2 { panic!("two") } else { value };
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("in", |reg| {
            reg.buffer(queue(4));
            source_of(reg, 0..20);
            tap_into(reg, &seen_in);
        });
        builder.configure::<u64>("out", |reg| {
            reg.buffer(queue(4)).transform(input::<u64>("in"), refuse_two);
            tap_into(reg, &seen_out);
        });
    });
    db.start();
    until(&*runtime, || seen_in.len() == 20).await;
    run_through_failed(&db).await;
    assert_eq!((seen_in.values(), seen_out.values()), (numbers(0..20), numbers(0..2)));
}

/// Shuts down. Exactly one stage has failed; none was aborted.
#[cfg(feature = "std")]
async fn run_through_failed<R: Host>(db: &AimDb<R>) {
    let report = db.shutdown(AMPLE).await;
    assert_eq!(report.failures.len(), 1, "{report}");
    assert!(report.aborted.is_empty() && report.unresponsive.is_empty(), "{report}");
}
