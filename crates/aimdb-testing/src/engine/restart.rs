//! Stages with a restart policy.

use aimdb_core::Arc;
use alloc::boxed::Box;
use core::time::Duration;

use aimdb_core::BufferCfg::SingleLatest;
use aimdb_core::health::StageState;
use aimdb_core::{Registrar, Restart, RuntimeContext};

use super::support::{AMPLE, build, fill, queue, run_through, stage, until};
use crate::host::{Host, SourceFn, TapFn};
use crate::recorder::Recorder;

/// A restart policy with pauses of 1 ms to 4 ms.
pub(super) fn short_backoff() -> Restart {
    Restart::on_failure().backoff(Duration::from_millis(1), Duration::from_millis(4))
}

/// A tap with a restart policy. It calls `fail` at every value in `bad` and records the others.
pub(super) fn tap_failing_at<R: Host>(
    reg: &mut Registrar<'_, u64, R>,
    policy: Restart,
    bad: &'static [u64],
    seen: &Recorder<u64>,
    fail: fn(&RuntimeContext<R>, u64),
) {
    let seen = seen.clone();
    let tap: TapFn<R> = Box::new(move |ctx, values| {
        let seen = seen.clone();
        Box::pin(async move {
            let mut reader = values.subscribe().expect("a tap may read");
            while let Ok(value) = reader.recv().await {
                if bad.contains(&value) {
                    return fail(&ctx, value);
                }
                seen.push(value);
            }
        })
    });
    reg.tap_with(policy, tap);
}

pub(super) fn report_failure<R: Host>(ctx: &RuntimeContext<R>, value: u64) {
    ctx.fail(format_args!("cannot use {value}"));
}

/// Runs a queue of six values through a tap that fails at two of them.
async fn run_failing_tap<R: Host>(runtime: Arc<R>, fail: fn(&RuntimeContext<R>, u64), cause: &str) {
    let seen = Recorder::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(6));
            tap_failing_at(reg, short_backoff(), &[1, 3], &seen, fail);
        });
    });
    fill(&db, "record", 0..6);
    run_through(&db).await;
    assert_eq!(seen.values(), [0, 2, 4, 5]);
    let tap = stage(&db, "record", "tap");
    assert_eq!((tap.state, tap.restarts), (StageState::Finished, 2));
    assert_eq!(tap.cause.as_deref(), Some(cause));
}

/// A restarted tap loses the value in progress at its failure, and no other.
pub async fn a_restarted_tap_keeps_its_cursor<R: Host>(runtime: Arc<R>) {
    run_failing_tap(runtime, report_failure::<R>, "cannot use 3").await;
}

/// A stage that returns in its second attempt has finished, although its first attempt failed: there is no third one.
pub async fn a_restarted_stage_that_returns_has_finished<R: Host>(runtime: Arc<R>) {
    let attempts = Recorder::new();
    let list = attempts.clone();
    let source: SourceFn<R> = Box::new(move |ctx, _record| {
        list.push(());
        let first = list.len() == 1;
        Box::pin(async move {
            if first {
                ctx.fail("not yet");
            }
        })
    });
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(SingleLatest).source_with(short_backoff().limit(5), source);
        });
    });
    db.start();
    until(&*runtime, || stage(&db, "record", "source").state.is_terminal()).await;
    let health = stage(&db, "record", "source");
    assert_eq!((health.state, health.restarts), (StageState::Finished, 1));
    assert_eq!(attempts.len(), 2);
    assert!(db.shutdown(AMPLE).await.failures.is_empty());
}

/// A limit of three restarts allows four attempts. Then the stage has failed, and its health has the cause.
pub async fn restarts_stop_at_their_limit<R: Host>(runtime: Arc<R>) {
    let attempts = Recorder::new();
    let list = attempts.clone();
    let source: SourceFn<R> = Box::new(move |ctx, _record| {
        list.push(());
        Box::pin(async move { ctx.fail("no sensor") })
    });
    let policy = Restart::on_failure().backoff(Duration::from_millis(1), AMPLE).limit(3);
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(SingleLatest).source_with(policy, source);
        });
    });
    db.start();
    until(&*runtime, || stage(&db, "record", "source").state.is_terminal()).await;
    let health = stage(&db, "record", "source");
    assert_eq!((health.state, health.restarts, attempts.len()), (StageState::Failed, 3, 4));
    assert_eq!(health.cause.as_deref(), Some("no sensor (given up after 3 restarts)"));
    assert_eq!(db.shutdown(AMPLE).await.failures.len(), 1);
}

/// A panic is a failure like any other: the policy restarts the stage.
#[cfg(feature = "std")]
pub async fn a_panicking_tap_is_restarted_at_its_cursor<R: Host>(runtime: Arc<R>) {
    run_failing_tap(runtime, |_, value| panic!("what is {value}?"), "panicked: what is 3?").await;
}
