//! A shutdown processes accepted values, reports undelivered ones exactly, always ends, and leaves no task behind.
#![cfg(not(aimdb_loom))]

mod common;

use std::sync::Arc;
use std::time::Duration;

use aimdb_core::health::{DbState, StageState};
use aimdb_core::{
    AimDb, BufferCfg, Closed, Consumer, ProduceError, RuntimeContext, ShutdownReport,
    SubscribeError, Undelivered, input,
};
use aimdb_testing::{Recorder, TestRuntime};
use common::{builder, join, join_all, ms, sleep, timeout};

/// The number of values that a test produces.
const ACCEPTED: u32 = 50;
/// A deadline that a test does not reach.
const AMPLE: Duration = Duration::from_secs(10);
const RING: BufferCfg = BufferCfg::SpmcRing { capacity: 64 };
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 64 };
const QUEUE_OF_ONE: BufferCfg = BufferCfg::SpmcQueue { capacity: 1 };

type Db = AimDb<TestRuntime>;

/// Reads until the record is drained, and works on each value for `pause`.
async fn collect_slowly(
    ctx: RuntimeContext<TestRuntime>,
    numbers: Consumer<u32, TestRuntime>,
    seen: Recorder<u32>,
    pause: Duration,
) {
    let mut reader = numbers.subscribe().unwrap();
    while let Ok(n) = reader.recv().await {
        ctx.time().sleep(pause).await;
        seen.push(n);
    }
}

/// A database whose one record has a slow tap.
struct SlowTap {
    runtime: Arc<TestRuntime>,
    db: Db,
    seen: Recorder<u32>,
    /// The tap's future holds a clone.
    guard: Arc<()>,
}

impl SlowTap {
    fn new(buffer: BufferCfg, pause: Duration) -> Self {
        let (seen, guard) = (Recorder::new(), Arc::new(()));
        let (list, alive) = (seen.clone(), Arc::clone(&guard));
        let (runtime, mut builder) = builder();
        builder.configure::<u32>("numbers", |reg| {
            reg.buffer(buffer).tap(move |ctx, numbers| async move {
                let _alive = alive;
                collect_slowly(ctx, numbers, list, pause).await;
            });
        });
        Self { runtime, db: builder.build().unwrap(), seen, guard }
    }

    /// As `new`, started, with `ACCEPTED` values in the record.
    fn filled(buffer: BufferCfg, pause: Duration) -> Self {
        let new = Self::new(buffer, pause);
        new.db.start();
        produce_now(&new.db);
        new
    }

    fn shut_down(&self, deadline: Duration) -> ShutdownReport {
        self.runtime.block_on(self.db.shutdown(deadline))
    }

    fn assert_task_is_dropped(&self) {
        assert_eq!(Arc::strong_count(&self.guard), 1, "the tap's future is dropped");
    }
}

fn produce_now(db: &Db) {
    let producer = db.producer::<u32>("numbers").unwrap();
    (0..ACCEPTED).for_each(|n| producer.try_produce(n).unwrap());
}

#[test]
fn a_slow_tap_processes_every_accepted_value() {
    for buffer in [RING, QUEUE] {
        let tap = SlowTap::filled(buffer, ms(10));
        let report = tap.shut_down(AMPLE);
        assert!(report.is_clean(), "{buffer}: {report}");
        assert_eq!(report.drained, u64::from(ACCEPTED));
        assert_eq!(tap.seen.values(), Vec::from_iter(0..ACCEPTED));
        tap.assert_task_is_dropped();
    }
}

/// `numbers → doubled`, with a slow tap of `doubled`.
fn doubled(buffer: BufferCfg) -> (Arc<TestRuntime>, Db, Recorder<u32>) {
    let seen = Recorder::new();
    let list = seen.clone();
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(QUEUE);
    });
    builder.configure::<u32>("doubled", |reg| {
        reg.buffer(buffer)
            .transform(input::<u32>("numbers"), |n| n * 2)
            .tap(|ctx, doubled| collect_slowly(ctx, doubled, list, ms(10)));
    });
    let db = builder.build().unwrap();
    db.start();
    produce_now(&db);
    (runtime, db, seen)
}

#[test]
fn a_transform_processes_every_accepted_value() {
    for buffer in [RING, QUEUE, QUEUE_OF_ONE] {
        let (runtime, db, seen) = doubled(buffer);
        let report = runtime.block_on(db.shutdown(AMPLE));
        assert!(report.is_clean(), "{buffer}: {report}");
        assert_eq!(report.drained, u64::from(2 * ACCEPTED), "by the transform and by the tap");
        assert_eq!(seen.values(), Vec::from_iter((0..ACCEPTED).map(|n| n * 2)));
    }
}

#[test]
fn values_that_a_source_produced_before_the_shutdown_are_processed() {
    let seen = Recorder::new();
    let list = seen.clone();
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 4 })
            .source(|ctx, numbers| async move {
                for n in 0.. {
                    numbers.produce(n).await.unwrap();
                    ctx.time().sleep(ms(1)).await;
                }
            })
            .tap(|ctx, numbers| collect_slowly(ctx, numbers, list, ms(10)));
    });
    let db = builder.build().unwrap();
    db.start();
    runtime.advance(ms(1000));
    let report = runtime.block_on(db.shutdown(AMPLE));
    assert!(report.is_clean(), "{report}");
    let produced = db.metrics().record("numbers").unwrap().produced;
    assert_eq!(seen.len() as u64, produced);
}

#[test]
fn a_deadline_that_is_too_short_reports_undelivered_values_exactly() {
    for buffer in [RING, QUEUE] {
        let tap = SlowTap::filled(buffer, ms(10));
        let report = tap.shut_down(ms(105));
        let processed = tap.seen.len() as u64;
        assert_eq!(processed, 10);
        let unread = u64::from(ACCEPTED) - processed - 1;
        let undelivered = Undelivered::new("numbers", "tap", unread, 1);
        assert_eq!(report.undelivered, [undelivered], "on a {buffer}");
        assert_eq!(report.drained, processed + 1);
        assert_eq!(report.aborted, ["numbers/tap"]);
        assert!(report.unresponsive.is_empty());
        tap.assert_task_is_dropped();
    }
}

#[test]
fn the_undelivered_inputs_of_a_transform_are_counted_too() {
    let (runtime, db, seen) = doubled(QUEUE_OF_ONE);
    let report = runtime.block_on(db.shutdown(ms(105)));
    let processed = seen.len() as u64;
    assert_eq!(processed + report.total_undelivered(), u64::from(ACCEPTED), "{report}");
    assert_eq!(report.aborted, ["doubled/transform", "doubled/tap"]);
}

#[test]
fn a_tap_that_has_returned_was_not_interrupted() {
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(QUEUE).tap(|_, numbers| async move {
            let mut reader = numbers.subscribe().unwrap();
            for _ in 0..ACCEPTED {
                reader.recv().await.unwrap();
            }
        });
    });
    let db = builder.build().unwrap();
    db.start();
    produce_now(&db);
    runtime.advance(ms(1000));
    assert_eq!(db.health().stage("numbers", "tap").unwrap().state, StageState::Finished);
    let report = runtime.block_on(db.shutdown(AMPLE));
    assert!(report.is_clean(), "{report}");
}

#[test]
fn two_simultaneous_shutdowns_return_the_same_report() {
    let SlowTap { runtime, db, seen, .. } = SlowTap::filled(QUEUE, ms(10));
    let other = db.clone();
    let (first, second) = runtime.block_on(join(db.shutdown(AMPLE), other.shutdown(AMPLE)));
    assert_eq!(first, second);
    assert_eq!(first, runtime.block_on(db.shutdown(AMPLE)), "and so does a later one");
    assert_eq!(seen.len(), ACCEPTED as usize);
}

#[test]
fn a_second_shutdown_without_time_ends_the_first_one() {
    let SlowTap { runtime, db, seen, .. } = SlowTap::filled(QUEUE, ms(10));
    let other = db.clone();
    let (first, second) =
        runtime.block_on(join(db.shutdown(AMPLE), other.shutdown(Duration::ZERO)));
    assert_eq!(first, second);
    assert_eq!(first.aborted, ["numbers/tap"]);
    assert_eq!(seen.len() as u64 + first.total_undelivered(), u64::from(ACCEPTED));
}

#[test]
fn a_call_after_a_dropped_shutdown_continues_it() {
    let SlowTap { runtime, db, seen, .. } = SlowTap::filled(QUEUE, ms(10));
    let dropped = runtime.block_on(timeout(&runtime, ms(205), db.shutdown(AMPLE)));
    assert!(dropped.is_none());
    assert_eq!(db.health().state, DbState::Stopping);
    let report = runtime.block_on(db.shutdown(AMPLE));
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.drained, u64::from(ACCEPTED), "counted from the first call");
    assert!(report.elapsed >= ms(500), "as is the time: {report}");
    assert_eq!(seen.len(), ACCEPTED as usize);
}

#[test]
fn a_waiting_call_continues_a_shutdown_whose_other_call_was_dropped() {
    let SlowTap { runtime, db, seen, .. } = SlowTap::filled(QUEUE, ms(10));
    let dropped = timeout(&runtime, ms(105), db.shutdown(AMPLE));
    let (dropped, report) = runtime.block_on(join(dropped, db.shutdown(AMPLE)));
    assert!(dropped.is_none());
    assert!(report.is_clean(), "{report}");
    assert_eq!(seen.len(), ACCEPTED as usize);
}

#[test]
fn a_database_that_never_started_shuts_down_at_once() {
    let tap = SlowTap::new(QUEUE, ms(10));
    let report = tap.shut_down(AMPLE);
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.elapsed, report.drained), (Duration::ZERO, 0));
    assert_eq!(tap.db.health().state, DbState::Stopped);
    tap.db.start();
    tap.runtime.advance(ms(1000));
    assert_eq!(tap.db.health().state, DbState::Stopped, "a stopped database does not start");
    assert!(tap.seen.is_empty());
    tap.assert_task_is_dropped();
}

#[test]
fn values_accepted_by_a_database_that_never_started_are_undelivered() {
    let tap = SlowTap::new(QUEUE, Duration::ZERO);
    produce_now(&tap.db);
    let report = tap.shut_down(AMPLE);
    assert_eq!(report.total_undelivered(), u64::from(ACCEPTED));
    assert!(report.aborted.is_empty() && report.unresponsive.is_empty(), "{report}");
}

#[test]
fn dropping_the_last_handle_ends_the_stages() {
    let SlowTap { runtime, db, guard, .. } = SlowTap::new(QUEUE, Duration::from_secs(3600));
    let producer = db.producer::<u32>("numbers").unwrap();
    let mut reader = db.consumer::<u32>("numbers").unwrap().subscribe().unwrap();
    db.start();
    let clone = db.clone();
    drop(db);
    runtime.advance(ms(1000));
    runtime.block_on(async {
        producer.produce(1).await.expect("a clone keeps the database running");
        assert_eq!(reader.recv().await, Ok(1));
    });
    drop(clone);
    runtime.advance(ms(1000));
    assert_eq!(Arc::strong_count(&guard), 1, "the tap's future is dropped");
    runtime.block_on(async {
        assert_eq!(producer.produce(2).await, Err(ProduceError(2)));
        assert_eq!(reader.recv().await, Err(Closed));
    });
}

#[test]
fn producers_that_wait_for_room_receive_their_values_back() {
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(QUEUE_OF_ONE).tap(|ctx, never_subscribes| async move {
            ctx.stopping().await;
            drop(never_subscribes);
        });
    });
    let db = builder.build().unwrap();
    db.start();
    let producer = db.producer::<u32>("numbers").unwrap();
    let outcomes = join_all((0..100).map(|n| producer.produce(n)));
    let shutdown = async {
        sleep(&runtime, ms(1000)).await;
        assert_eq!(db.health().blocked[0].blocked.held_back_by, "tap");
        assert_eq!(db.health().blocked[0].blocked.writers, 99);
        db.shutdown(AMPLE).await
    };
    let (outcomes, report) = runtime.block_on(join(outcomes, shutdown));
    // The tap makes room when it ends, so waiting values may be accepted then. Each value is accepted or returned.
    let mut accepted = 0;
    for (n, outcome) in (0..).zip(outcomes) {
        match outcome {
            Ok(()) => accepted += 1,
            Err(ProduceError(returned)) => assert_eq!(returned, n),
        }
    }
    assert_eq!(accepted, db.metrics().record("numbers").unwrap().produced);
    assert!(report.total_undelivered() >= 1, "{report}");
}

#[test]
fn a_full_queue_without_an_active_reader_returns_every_waiting_value() {
    let SlowTap { runtime, db, .. } = SlowTap::new(QUEUE_OF_ONE, Duration::from_secs(3600));
    db.start();
    let producer = db.producer::<u32>("numbers").unwrap();
    runtime.block_on(async {
        producer.produce(0).await.unwrap();
        sleep(&runtime, ms(1)).await;
        producer.produce(1).await.unwrap();
    });
    let outcomes = join_all((2..52).map(|n| producer.produce(n)));
    let shutdown = async {
        sleep(&runtime, ms(1000)).await;
        db.shutdown(ms(1000)).await
    };
    let (outcomes, report) = runtime.block_on(join(outcomes, shutdown));
    assert_eq!(report.total_undelivered(), 2, "one in progress, one in the queue: {report}");
    for (n, outcome) in (2..).zip(outcomes) {
        assert_eq!(outcome, Err(ProduceError(n)));
    }
}

#[test]
fn after_a_shutdown_readers_drain_the_record_and_subscriptions_are_refused() {
    let SlowTap { runtime, db, .. } = SlowTap::new(QUEUE, Duration::ZERO);
    let mut reader = db.consumer::<u32>("numbers").unwrap().subscribe().unwrap();
    db.start();
    produce_now(&db);
    runtime.block_on(async {
        db.shutdown(AMPLE).await;
        for n in 0..ACCEPTED {
            assert_eq!(reader.recv().await, Ok(n), "accepted values stay readable");
        }
        assert_eq!(reader.recv().await, Err(Closed));
    });
    let consumer = db.consumer::<u32>("numbers").unwrap();
    assert_eq!(consumer.subscribe().unwrap_err(), SubscribeError::Closed { key: "numbers".into() });
}

#[test]
fn run_returns_when_another_clone_shuts_down() {
    let SlowTap { runtime, db, .. } = SlowTap::new(QUEUE, Duration::ZERO);
    let other = db.clone();
    let shutdown = async {
        sleep(&runtime, ms(1000)).await;
        db.shutdown(AMPLE).await
    };
    let (ran, report) = runtime.block_on(join(other.run(), shutdown));
    assert!(report.is_clean());
    assert_eq!(ran, Ok(()));
}
