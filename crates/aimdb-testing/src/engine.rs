//! What the engine promises on every runtime: start, stages, restarts, shutdown.
//!
//! ```
//! mod on_my_runtime {
//!     use std::{future::Future, sync::Arc};
//!     use aimdb_testing::TestRuntime;
//!
//!     fn run<F: Future<Output = ()>>(case: impl FnOnce(Arc<TestRuntime>) -> F) {
//!         let runtime = Arc::new(TestRuntime::new());
//!         runtime.block_on(case(Arc::clone(&runtime)));
//!     }
//!
//!     aimdb_testing::engine_conformance!(run);
//! }
//! ```
//!
//! Most cases fill a record between `build` and `start`, when every reader is subscribed and nothing runs: then the
//! numbers are the same on one thread and on many.

use aimdb_core::Arc;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::pending;
use core::time::Duration;

use aimdb_core::BufferCfg::{self, Mailbox, SingleLatest};
use aimdb_core::health::{DbState, StageHealth, StageState};
use aimdb_core::{
    AimDb, AimDbBuilder, Consumer, DbError, Event, ProduceError, Producer, Registrar, Restart,
    RuntimeContext, SubscribeError, TryProduceError, Undelivered, input,
};

use crate::host::{BoxStage, FilterFn, Host, JoinFn, MapFn, ScanFn, SourceFn, TapFn};
use crate::notes::Notes;

/// More than any of this takes on a busy machine; nothing waits for it when all is well.
const AMPLE: Duration = Duration::from_secs(60);

#[doc(hidden)]
#[macro_export]
macro_rules! __engine_cases {
    ($with:ident! $head:tt) => {
        $crate::$with! { $head engine
            nothing_is_lost_at_the_start
            stages_wait_for_the_start
            a_tap_survives_a_burst_with_exact_lag
            a_burst_from_a_source_is_received_or_counted
            every_tap_of_a_queue_gets_every_value
            shared_taps_divide_a_mailbox
            a_transform_gives_one_value_for_each_in_order
            filter_map_leaves_out_what_is_none
            scan_keeps_its_state_from_value_to_value
            a_join_gives_the_latest_of_each
            transforms_in_a_row_pass_everything_on
            a_source_that_never_waits_leaves_room_for_others
            a_batch_that_never_ends_leaves_room_for_others
            run_ends_when_the_last_source_has_returned
            a_stage_may_ask_for_the_shutdown
            a_restarted_tap_keeps_its_place
            a_restarted_stage_that_returns_has_finished
            restarts_end_at_their_limit
            a_stage_that_reports_a_failure_has_failed
            one_failure_leaves_the_others_running
            a_failure_stops_everything_if_so_declared
            a_failed_tap_lets_go_of_its_queue
            health_names_the_tap_that_holds_a_writer_back
            shutdown_drains_what_was_accepted
            shutdown_reports_exactly_what_was_left
            shutdown_before_the_start_leaves_what_was_accepted
            a_second_shutdown_gives_the_same_report
            a_producer_gets_its_value_back_after_shutdown
            dropping_the_database_closes_its_records
        }
    };
}

/// The cases in which user code panics, which only `std` survives.
#[cfg(feature = "std")]
#[doc(hidden)]
#[macro_export]
macro_rules! __panic_cases {
    ($with:ident! $head:tt) => {
        $crate::$with! { $head engine
            a_panicking_stage_stops_no_other_and_health_names_it
            a_panicking_transform_fails_alone
            a_panicking_tap_is_restarted_at_its_place
        }
    };
}

#[cfg(not(feature = "std"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __panic_cases {
    ($with:ident! $head:tt) => {};
}

/// One `#[test]` for each case of the [engine suite](crate::engine). `run(case)` calls `case` with the runtime and
/// drives the future it gives.
#[macro_export]
macro_rules! engine_conformance {
    ($run:path) => {
        $crate::__engine_cases! { __async_tests! ($run) }
        $crate::__panic_cases! { __async_tests! ($run) }
    };
}

/// Runs every case on `runtime`, after telling `report` its name. A broken promise is a panic.
pub async fn run_all<R: Host>(runtime: Arc<R>, report: &mut dyn FnMut(&'static str)) {
    crate::__engine_cases! { __await_cases! (runtime, report) }
    crate::__panic_cases! { __await_cases! (runtime, report) }
}

const fn ring(capacity: usize) -> BufferCfg {
    BufferCfg::SpmcRing { capacity }
}

const fn queue(capacity: usize) -> BufferCfg {
    BufferCfg::SpmcQueue { capacity }
}

/// Builds what `declare` says.
fn build<R: Host>(runtime: &Arc<R>, declare: impl FnOnce(&mut AimDbBuilder<R>)) -> AimDb<R> {
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(runtime));
    declare(&mut builder);
    builder.build().expect("the case's graph is valid")
}

/// Puts `values` into a record from outside.
fn fill<R: Host>(db: &AimDb<R>, key: &str, values: impl IntoIterator<Item = u64>) {
    let producer = db.producer::<u64>(key).expect("the record is there");
    for value in values {
        assert_eq!(producer.try_produce(value), Ok(()), "there is room for {value}");
    }
}

/// Starts, and shuts down with time enough. What was accepted has been dealt with then.
async fn run_through<R: Host>(db: &AimDb<R>) {
    db.start();
    let report = db.shutdown(AMPLE).await;
    assert!(report.is_clean(), "{report}");
}

/// Waits until `condition` holds.
async fn until<R: Host>(runtime: &R, condition: impl Fn() -> bool) {
    let deadline = runtime.now() + AMPLE;
    while !condition() {
        assert!(runtime.now() < deadline, "what the case waits for does not happen");
        runtime.sleep_until(runtime.now() + Duration::from_millis(1)).await;
    }
}

fn stage<R: Host>(db: &AimDb<R>, record: &str, stage: &str) -> StageHealth {
    let health = db.health();
    health
        .stage(record, stage)
        .unwrap_or_else(|| panic!("no {stage} of {record}: {health}"))
        .clone()
}

/// A tap that notes every value.
fn tap_into<R: Host>(reg: &mut Registrar<'_, u64, R>, seen: &Notes<u64>) {
    let seen = seen.clone();
    reg.tap(move |_: RuntimeContext<R>, values: Consumer<u64, R>| -> BoxStage {
        Box::pin(note_all(values, seen))
    });
}

async fn note_all<R: Host>(values: Consumer<u64, R>, seen: Notes<u64>) {
    let mut reader = values.subscribe().expect("a tap may read");
    while let Ok(value) = reader.recv().await {
        seen.add(value);
    }
}

/// A tap that takes `count` values and then does nothing more, without letting go of its reader.
fn tap_and_hang<R: Host>(reg: &mut Registrar<'_, u64, R>, count: usize, seen: &Notes<u64>) {
    let seen = seen.clone();
    reg.tap(move |_: RuntimeContext<R>, values: Consumer<u64, R>| -> BoxStage {
        Box::pin(async move {
            let mut reader = values.subscribe().expect("a tap may read");
            for _ in 0..count {
                seen.add(reader.recv().await.expect("the record is open"));
            }
            pending::<()>().await;
        })
    });
}

/// A source that produces `values`, waiting where it must, and returns.
fn source_of<R: Host>(reg: &mut Registrar<'_, u64, R>, values: core::ops::Range<u64>) {
    reg.source(move |_: RuntimeContext<R>, record: Producer<u64, R>| -> BoxStage {
        Box::pin(async move {
            for value in values {
                record.produce(value).await.expect("the record is open");
            }
        })
    });
}

fn numbers(range: core::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

/// The source is declared first and does not wait; the taps see its first value all the same.
pub async fn nothing_is_lost_at_the_start<R: Host>(runtime: Arc<R>) {
    for cfg in [ring(8), queue(8)] {
        let seen = [Notes::new(), Notes::new()];
        let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfg);
            source_of(reg, 0..8);
            seen.iter().for_each(|seen| tap_into(reg, seen));
        });
        builder.run().await.expect("a source and two taps run");
        assert_eq!(seen.map(|seen| seen.all()), [numbers(0..8), numbers(0..8)], "{cfg}");
    }
}

/// Built is not started.
pub async fn stages_wait_for_the_start<R: Host>(runtime: Arc<R>) {
    let seen = Notes::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(8));
            source_of(reg, 0..3);
            tap_into(reg, &seen);
        });
    });
    runtime.sleep_until(runtime.now() + Duration::from_millis(5)).await;
    assert_eq!((seen.count(), db.health().state), (0, DbState::Built));
    assert_eq!(stage(&db, "record", "source").state, StageState::Ready);
    db.start();
    db.start();
    until(&*runtime, || seen.count() == 3).await;
    assert_eq!(db.health().state, DbState::Running);
    db.shutdown(AMPLE).await;
    assert_eq!(db.health().state, DbState::Stopped);
}

/// Of a thousand values in a ring of sixteen, a tap gets the last sixteen and is told of the others, first.
pub async fn a_tap_survives_a_burst_with_exact_lag<R: Host>(runtime: Arc<R>) {
    let (seen, events) = (Notes::new(), Notes::new());
    let told = events.clone();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(ring(16));
            tap_into(reg, &seen);
            reg.tap(move |_: RuntimeContext<R>, values: Consumer<u64, R>| -> BoxStage {
                Box::pin(async move {
                    let mut reader = values.subscribe().expect("a tap may read");
                    while let Ok(event) = reader.next_event().await {
                        told.add(event);
                    }
                })
            });
        });
    });
    fill(&db, "record", 0..1000);
    let metrics = db.metrics();
    assert_eq!(metrics.records[0].readers.iter().map(|r| r.lagged).collect::<Vec<_>>(), [984, 984]);
    run_through(&db).await;
    assert_eq!(seen.all(), numbers(984..1000));
    let expected = core::iter::once(Event::Lagged(984)).chain((984..1000).map(Event::Value));
    assert_eq!(events.all(), expected.collect::<Vec<_>>());
}

/// However the tasks are interleaved: received and lagged make up what was produced, in order, up to the last.
pub async fn a_burst_from_a_source_is_received_or_counted<R: Host>(runtime: Arc<R>) {
    let (seen, lagged) = (Notes::new(), Notes::new());
    let (note, note_lag) = (seen.clone(), lagged.clone());
    let mut builder = AimDbBuilder::new().runtime(runtime);
    builder.configure::<u64>("record", |reg| {
        reg.buffer(ring(16));
        source_of(reg, 0..1000);
        reg.tap(move |_: RuntimeContext<R>, values: Consumer<u64, R>| -> BoxStage {
            Box::pin(async move {
                let mut reader = values.subscribe().expect("a tap may read");
                while let Ok(value) = reader.recv().await {
                    note.add(value);
                }
                note_lag.add(reader.lagged());
            })
        });
    });
    builder.run().await.expect("a source and a tap run");
    let seen = seen.all();
    assert_eq!(seen.len() as u64 + lagged.all()[0], 1000);
    assert!(seen.is_sorted_by(|a, b| a < b));
    assert_eq!(seen.last(), Some(&999));
}

/// A queue of two carries a hundred values to three taps.
pub async fn every_tap_of_a_queue_gets_every_value<R: Host>(runtime: Arc<R>) {
    let seen = [Notes::new(), Notes::new(), Notes::new()];
    let mut builder = AimDbBuilder::new().runtime(runtime);
    builder.configure::<u64>("record", |reg| {
        reg.buffer(queue(2));
        seen.iter().for_each(|seen| tap_into(reg, seen));
        source_of(reg, 0..100);
    });
    builder.run().await.expect("a source and three taps run");
    assert!(seen.iter().all(|seen| seen.all() == numbers(0..100)));
}

/// Commands that are given one at a time are all taken, each by one tap.
pub async fn shared_taps_divide_a_mailbox<R: Host>(runtime: Arc<R>) {
    let seen = Notes::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(Mailbox).shared();
            tap_into(reg, &seen);
            tap_into(reg, &seen);
        });
    });
    db.start();
    for command in 0..20 {
        fill(&db, "record", [command]);
        until(&*runtime, || seen.count() as u64 == command + 1).await;
    }
    assert_eq!(seen.all(), numbers(0..20));
    assert!(db.shutdown(AMPLE).await.is_clean());
}

/// Runs `input` through what `derive` declares, and gives what came out.
async fn derived<R: Host>(
    runtime: &Arc<R>,
    input: core::ops::Range<u64>,
    derive: impl FnOnce(&mut Registrar<'_, u64, R>),
) -> Vec<u64> {
    let seen = Notes::new();
    let db = build(runtime, |builder| {
        // The output is declared first: order does not matter.
        builder.configure::<u64>("out", |reg| {
            reg.buffer(queue(2));
            derive(reg);
            tap_into(reg, &seen);
        });
        builder.configure::<u64>("in", |reg| {
            reg.buffer(queue(64));
        });
    });
    fill(&db, "in", input);
    run_through(&db).await;
    seen.all()
}

/// Through a queue of two, so that the transform waits for its readers.
pub async fn a_transform_gives_one_value_for_each_in_order<R: Host>(runtime: Arc<R>) {
    let double: MapFn = |value| value * 2;
    let out = derived(&runtime, 0..40, |reg| {
        reg.transform(input::<u64>("in"), double);
    });
    assert_eq!(out.await, (0..40).map(|value| value * 2).collect::<Vec<_>>());
}

/// `None` is not a value.
pub async fn filter_map_leaves_out_what_is_none<R: Host>(runtime: Arc<R>) {
    let odd_squares: FilterFn = |value| (value % 2 == 1).then_some(value * value);
    let out = derived(&runtime, 0..10, |reg| {
        reg.filter_map(input::<u64>("in"), odd_squares);
    });
    assert_eq!(out.await, [1, 9, 25, 49, 81]);
}

/// The sum so far, at every second value.
pub async fn scan_keeps_its_state_from_value_to_value<R: Host>(runtime: Arc<R>) {
    let sum: ScanFn = |sum, value| {
        *sum += value;
        (value % 2 == 0).then_some(*sum)
    };
    let out = derived(&runtime, 1..9, |reg| {
        reg.scan(input::<u64>("in"), 100, sum);
    });
    assert_eq!(out.await, [103, 110, 121, 136]);
}

/// Nothing before there is one of each; then one output for each input, taken in turns.
pub async fn a_join_gives_the_latest_of_each<R: Host>(runtime: Arc<R>) {
    let seen = Notes::new();
    let sum: JoinFn = |(tens, ones)| tens + ones;
    let db = build(&runtime, |builder| {
        for key in ["tens", "ones"] {
            builder.configure::<u64>(key, |reg| {
                reg.buffer(queue(8));
            });
        }
        builder.configure::<u64>("sum", |reg| {
            reg.buffer(queue(8)).join((input::<u64>("tens"), input::<u64>("ones")), sum);
            tap_into(reg, &seen);
        });
    });
    fill(&db, "tens", [10, 20]);
    fill(&db, "ones", [1, 2, 3, 4]);
    run_through(&db).await;
    assert_eq!(seen.all(), [11, 21, 22, 23, 24]);
}

/// Upstream first: what the first of three has taken in comes out of the last.
pub async fn transforms_in_a_row_pass_everything_on<R: Host>(runtime: Arc<R>) {
    let seen = Notes::new();
    let add_one: MapFn = |value| value + 1;
    let db = build(&runtime, |builder| {
        for (from, to) in [("2", "3"), ("0", "1"), ("1", "2")] {
            builder.configure::<u64>(to, |reg| {
                reg.buffer(queue(1)).transform(input::<u64>(from), add_one);
            });
        }
        builder.configure::<u64>("0", |reg| {
            reg.buffer(queue(50));
        });
        builder.configure::<u64>("3", |reg| tap_into(reg, &seen));
    });
    fill(&db, "0", 0..50);
    run_through(&db).await;
    assert_eq!(seen.all(), numbers(3..53));
}

/// `produce` in a loop on a ring gives way now and then: the tap runs, and the shutdown gets through.
pub async fn a_source_that_never_waits_leaves_room_for_others<R: Host>(runtime: Arc<R>) {
    let seen = Notes::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(ring(4));
            source_of(reg, 0..u64::MAX);
            tap_into(reg, &seen);
        });
    });
    until_with_a_restless_source(&db, &seen).await;
}

/// So does `produce_many`.
pub async fn a_batch_that_never_ends_leaves_room_for_others<R: Host>(runtime: Arc<R>) {
    let seen = Notes::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(ring(4));
            reg.source(|_: RuntimeContext<R>, record: Producer<u64, R>| -> BoxStage {
                Box::pin(async move {
                    let _cut_off = record.produce_many(0..u64::MAX).await;
                })
            });
            tap_into(reg, &seen);
        });
    });
    until_with_a_restless_source(&db, &seen).await;
}

/// A paused clock stands still while a source is busy, so this waits for values, not for time.
async fn until_with_a_restless_source<R: Host>(db: &AimDb<R>, seen: &Notes<u64>) {
    let values = db.consumer::<u64>("record").expect("the record is there");
    let mut reader = values.subscribe().expect("the record is open");
    db.start();
    while seen.count() < 10 {
        reader.recv().await.expect("the source is not done");
    }
    let report = db.shutdown(AMPLE).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(stage(db, "record", "source").state, StageState::Stopped);
}

/// And everything the sources produced has been processed by then.
pub async fn run_ends_when_the_last_source_has_returned<R: Host>(runtime: Arc<R>) {
    let seen = Notes::new();
    let mut builder = AimDbBuilder::new().runtime(runtime);
    for (key, values) in [("a", 0..5), ("b", 5..50)] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(queue(3));
            source_of(reg, values);
            tap_into(reg, &seen);
        });
    }
    builder.run().await.expect("nothing fails");
    let mut seen = seen.all();
    seen.sort_unstable();
    assert_eq!(seen, numbers(0..50));
}

/// `run` carries it out.
pub async fn a_stage_may_ask_for_the_shutdown<R: Host>(runtime: Arc<R>) {
    let seen = Notes::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(8));
            tap_into(reg, &seen);
            reg.source(|ctx: RuntimeContext<R>, record: Producer<u64, R>| -> BoxStage {
                Box::pin(async move {
                    record.produce(1).await.expect("the record is open");
                    ctx.shutdown();
                    pending::<()>().await;
                })
            });
        });
    });
    db.run().await.expect("nothing fails");
    assert_eq!((seen.all(), db.is_closed()), (Vec::from([1]), true));
    assert_eq!(stage(&db, "record", "source").state, StageState::Stopped);
    assert_eq!(stage(&db, "record", "tap").state, StageState::Finished);
}

fn quickly() -> Restart {
    Restart::on_failure().backoff(Duration::from_millis(1), Duration::from_millis(4))
}

/// A tap with a restart policy that calls `fail` at every value in `bad`, and notes the others.
fn tap_failing_at<R: Host>(
    reg: &mut Registrar<'_, u64, R>,
    policy: Restart,
    bad: &'static [u64],
    seen: &Notes<u64>,
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
                seen.add(value);
            }
        })
    });
    reg.tap_with(policy, tap);
}

fn report_failure<R: Host>(ctx: &RuntimeContext<R>, value: u64) {
    ctx.fail(format_args!("cannot use {value}"));
}

/// Fills a queue with six values, of which the tap fails at two, and runs it through.
async fn run_failing_tap<R: Host>(runtime: Arc<R>, fail: fn(&RuntimeContext<R>, u64), cause: &str) {
    let seen = Notes::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(6));
            tap_failing_at(reg, quickly(), &[1, 3], &seen, fail);
        });
    });
    fill(&db, "record", 0..6);
    run_through(&db).await;
    assert_eq!(seen.all(), [0, 2, 4, 5]);
    let tap = stage(&db, "record", "tap");
    assert_eq!((tap.state, tap.restarts), (StageState::Finished, 2));
    assert_eq!(tap.cause.as_deref(), Some(cause));
}

/// Only the value it had in hand is lost to it.
pub async fn a_restarted_tap_keeps_its_place<R: Host>(runtime: Arc<R>) {
    run_failing_tap(runtime, report_failure::<R>, "cannot use 3").await;
}

/// What ended the attempt before is not held against it: it is not started a third time.
pub async fn a_restarted_stage_that_returns_has_finished<R: Host>(runtime: Arc<R>) {
    let attempts = Notes::new();
    let note = attempts.clone();
    let source: SourceFn<R> = Box::new(move |ctx, _record| {
        note.add(());
        let first = note.count() == 1;
        Box::pin(async move {
            if first {
                ctx.fail("not yet");
            }
        })
    });
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(SingleLatest).source_with(quickly().limit(5), source);
        });
    });
    db.start();
    until(&*runtime, || stage(&db, "record", "source").state.is_terminal()).await;
    let health = stage(&db, "record", "source");
    assert_eq!((health.state, health.restarts), (StageState::Finished, 1));
    assert_eq!(attempts.count(), 2);
    assert!(db.shutdown(AMPLE).await.failures.is_empty());
}

/// Three restarts are four attempts; then it has failed for good, and says why.
pub async fn restarts_end_at_their_limit<R: Host>(runtime: Arc<R>) {
    let attempts = Notes::new();
    let note = attempts.clone();
    let source: SourceFn<R> = Box::new(move |ctx, _record| {
        note.add(());
        Box::pin(async move { ctx.fail("no sensor") })
    });
    // The pauses are longer than a slow machine takes for an attempt, so that none counts as a recovery.
    let policy = Restart::on_failure().backoff(Duration::from_millis(1), AMPLE).limit(3);
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(SingleLatest).source_with(policy, source);
        });
    });
    db.start();
    until(&*runtime, || stage(&db, "record", "source").state.is_terminal()).await;
    let health = stage(&db, "record", "source");
    assert_eq!((health.state, health.restarts, attempts.count()), (StageState::Failed, 3, 4));
    assert_eq!(health.cause.as_deref(), Some("no sensor (given up after 3 restarts)"));
    assert_eq!(db.shutdown(AMPLE).await.failures.len(), 1);
}

/// `fail` and return is a failure; to return alone is not.
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
    let [failure] = &report.failures[..] else { panic!("one has failed: {report}") };
    assert_eq!(failure.cause, "no sensor");
}

/// Other records, and other taps of the same one, go on.
pub async fn one_failure_leaves_the_others_running<R: Host>(runtime: Arc<R>) {
    let seen = Notes::new();
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
    until(&*runtime, || seen.count() == 4).await;
    let health = db.health();
    assert!(!health.is_healthy());
    assert_eq!(health.failures()[0].cause, "no display");
    assert_eq!(stage(&db, "record", "tap#2").state, StageState::Running);
    db.shutdown(AMPLE).await;
}

/// `stop_on_failure`: `run` shuts down in order and gives the failure.
pub async fn a_failure_stops_everything_if_so_declared<R: Host>(runtime: Arc<R>) {
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
        panic!("the failure is the outcome")
    };
    let [failure] = &failures[..] else { panic!("one has failed: {failures:?}") };
    let told = [failure.owner.name(), &failure.stage, &failure.cause];
    assert_eq!(told, ["bad", "source", "no sensor"]);
}

/// A writer does not wait for a reader that is no more.
pub async fn a_failed_tap_lets_go_of_its_queue<R: Host>(runtime: Arc<R>) {
    let seen = Notes::new();
    let mut builder = AimDbBuilder::new().runtime(runtime);
    builder.configure::<u64>("record", |reg| {
        reg.buffer(queue(2));
        source_of(reg, 0..50);
        tap_failing_at(reg, quickly().limit(0), &[1], &Notes::new(), report_failure::<R>);
        tap_into(reg, &seen);
    });
    builder.run().await.expect("a failed tap is not the end");
    assert_eq!(seen.all(), numbers(0..50));
}

/// Who is waited for, and how many wait.
pub async fn health_names_the_tap_that_holds_a_writer_back<R: Host>(runtime: Arc<R>) {
    let (seen, stuck) = (Notes::new(), Notes::new());
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(2));
            tap_into(reg, &seen);
            tap_and_hang(reg, 1, &stuck);
            source_of(reg, 0..10);
        });
    });
    db.start();
    until(&*runtime, || !db.health().blocked.is_empty() && seen.count() == 3).await;
    let [blocked] = &db.health().blocked[..] else { panic!("one record is blocked") };
    assert_eq!((blocked.key.as_str(), blocked.blocked.writers), ("record", 1));
    assert_eq!(blocked.blocked.held_back_by, "tap#2");
    assert_eq!((seen.all(), stuck.all()), (numbers(0..3), numbers(0..1)));
    assert!(db.health().is_healthy(), "to wait is not to fail");
    db.shutdown(Duration::ZERO).await;
}

/// A slow tap is waited for.
pub async fn shutdown_drains_what_was_accepted<R: Host>(runtime: Arc<R>) {
    let seen = Notes::new();
    let note = seen.clone();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(20));
            reg.tap(move |ctx: RuntimeContext<R>, values: Consumer<u64, R>| -> BoxStage {
                Box::pin(async move {
                    ctx.stopping().await;
                    let mut reader = values.subscribe().expect("its reader was made at start");
                    while let Ok(value) = reader.recv().await {
                        ctx.time().sleep(Duration::from_millis(1)).await;
                        note.add(value);
                    }
                })
            });
        });
    });
    fill(&db, "record", 0..20);
    db.start();
    let report = db.shutdown(AMPLE).await;
    assert_eq!((seen.all(), report.drained, report.is_clean()), (numbers(0..20), 20, true));
    assert!(report.elapsed >= Duration::from_millis(20));
}

/// To the last value: what waited in the buffer and what was in hand.
pub async fn shutdown_reports_exactly_what_was_left<R: Host>(runtime: Arc<R>) {
    let (seen, stuck) = (Notes::new(), Notes::new());
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(8));
            tap_into(reg, &seen);
            tap_and_hang(reg, 2, &stuck);
        });
    });
    fill(&db, "record", 0..7);
    db.start();
    until(&*runtime, || stuck.count() == 2 && seen.count() == 7).await;
    let report = db.shutdown(Duration::from_millis(10)).await;
    let left = Undelivered::new("record", "tap#2", 5, 1);
    assert_eq!((&report.undelivered[..], report.total_undelivered()), (&[left][..], 6));
    assert_eq!((report.aborted.len(), report.drained), (1, 0));
    assert_eq!(report.aborted[0], "record/tap#2");
    assert!(report.unresponsive.is_empty() && report.failures.is_empty());
}

/// Stages that never ran deal with nothing, and nobody waits for them.
pub async fn shutdown_before_the_start_leaves_what_was_accepted<R: Host>(runtime: Arc<R>) {
    let seen = Notes::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(8));
            tap_into(reg, &seen);
        });
    });
    fill(&db, "record", 0..5);
    let report = db.shutdown(AMPLE).await;
    assert_eq!((seen.count(), report.drained, report.total_undelivered()), (0, 0, 5));
    assert!(report.aborted.is_empty() && report.unresponsive.is_empty(), "{report}");
}

/// From whichever clone.
pub async fn a_second_shutdown_gives_the_same_report<R: Host>(runtime: Arc<R>) {
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(8));
            tap_into(reg, &Notes::new());
        });
    });
    fill(&db, "record", 0..5);
    db.start();
    let first = db.clone().shutdown(AMPLE).await;
    assert_eq!(db.shutdown(Duration::ZERO).await, first);
}

/// Handles outlive the database, and say so.
pub async fn a_producer_gets_its_value_back_after_shutdown<R: Host>(runtime: Arc<R>) {
    for cfg in [ring(4), queue(4), SingleLatest, Mailbox] {
        let db = build(&runtime, |builder| {
            builder.configure::<u64>("record", |reg| {
                reg.buffer(cfg);
            });
        });
        let producer = db.producer::<u64>("record").expect("the record is there");
        let consumer = db.consumer::<u64>("record").expect("the record is there");
        let mut reader = consumer.subscribe().expect("the record is open");
        db.start();
        producer.produce(1).await.expect("the record is open");
        db.shutdown(AMPLE).await;
        assert_eq!(producer.produce(2).await, Err(ProduceError(2)), "{cfg}");
        assert_eq!(producer.try_produce(3), Err(TryProduceError::Closed(3)), "{cfg}");
        assert_eq!((reader.recv().await, reader.recv().await.is_err()), (Ok(1), true), "{cfg}");
        assert!(matches!(consumer.subscribe(), Err(SubscribeError::Closed { .. })), "{cfg}");
    }
}

/// Without a word: stages end, readers get `Closed`.
pub async fn dropping_the_database_closes_its_records<R: Host>(runtime: Arc<R>) {
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(4));
            tap_into(reg, &Notes::new());
        });
    });
    let producer = db.producer::<u64>("record").expect("the record is there");
    let mut reader =
        db.consumer::<u64>("record").expect("the record is there").subscribe().expect("it is open");
    db.start();
    producer.produce(1).await.expect("the record is open");
    drop(db);
    assert_eq!(producer.produce(2).await, Err(ProduceError(2)));
    assert_eq!(reader.recv().await, Ok(1));
    assert!(reader.recv().await.is_err());
}

/// The others get everything; the cause is the panic's message.
#[cfg(feature = "std")]
pub async fn a_panicking_stage_stops_no_other_and_health_names_it<R: Host>(runtime: Arc<R>) {
    let seen = Notes::new();
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
    until(&*runtime, || seen.count() == 1).await;
    fill(&db, "record", 1..5);
    run_through_failed(&db).await;
    assert_eq!(seen.all(), numbers(0..5));
}

/// Its output closes with the rest; its input is let go of.
#[cfg(feature = "std")]
pub async fn a_panicking_transform_fails_alone<R: Host>(runtime: Arc<R>) {
    let (seen_in, seen_out) = (Notes::new(), Notes::new());
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
    until(&*runtime, || seen_in.count() == 20).await;
    run_through_failed(&db).await;
    assert_eq!((seen_in.all(), seen_out.all()), (numbers(0..20), numbers(0..2)));
}

/// A panic is a failure like any other.
#[cfg(feature = "std")]
pub async fn a_panicking_tap_is_restarted_at_its_place<R: Host>(runtime: Arc<R>) {
    run_failing_tap(runtime, |_, value| panic!("what is {value}?"), "panicked: what is 3?").await;
}

/// Shuts down; one stage has failed and none was cut off.
#[cfg(feature = "std")]
async fn run_through_failed<R: Host>(db: &AimDb<R>) {
    let report = db.shutdown(AMPLE).await;
    assert_eq!(report.failures.len(), 1, "{report}");
    assert!(report.aborted.is_empty() && report.unresponsive.is_empty(), "{report}");
}
