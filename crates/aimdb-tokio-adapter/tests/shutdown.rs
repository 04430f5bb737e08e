//! A shutdown processes what was accepted, says exactly what it could not, never hangs and leaves no task behind.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimdb_core::health::{DbState, StageState};
use aimdb_core::{
    AimDb, AimDbBuilder, BufferCfg, Closed, Consumer, ProduceError, SubscribeError, Undelivered,
    input,
};
use aimdb_tokio_adapter::TokioAdapter;

const ACCEPTED: u32 = 50;
const AMPLE: Duration = Duration::from_secs(10);
const RING: BufferCfg = BufferCfg::SpmcRing { capacity: 64 };
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 64 };

type Seen = Arc<Mutex<Vec<u32>>>;

fn builder() -> AimDbBuilder<TokioAdapter> {
    AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new().unwrap()))
}

async fn collect_slowly(numbers: Consumer<u32, TokioAdapter>, seen: Seen, pause: Duration) {
    let mut reader = numbers.subscribe().unwrap();
    while let Ok(n) = reader.recv().await {
        tokio::time::sleep(pause).await;
        seen.lock().unwrap().push(n);
    }
}

/// A record with one slow tap. `guard` lives as long as the tap does.
fn slow_tap(buffer: BufferCfg, pause: Duration) -> (AimDb<TokioAdapter>, Seen, Arc<()>) {
    let (seen, guard) = (Seen::default(), Arc::new(()));
    let (list, alive) = (Arc::clone(&seen), Arc::clone(&guard));
    let mut builder = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(buffer).tap(move |_, numbers| async move {
            let _alive = alive;
            collect_slowly(numbers, list, pause).await;
        });
    });
    (builder.build().unwrap(), seen, guard)
}

fn produce_now(db: &AimDb<TokioAdapter>, key: &str) {
    let producer = db.producer::<u32>(key.to_string()).unwrap();
    (0..ACCEPTED).for_each(|n| producer.try_produce(n).unwrap());
}

#[tokio::test(start_paused = true)]
async fn everything_accepted_is_processed_by_a_slow_tap() {
    for buffer in [RING, QUEUE] {
        let (db, seen, guard) = slow_tap(buffer, Duration::from_millis(10));
        db.start();
        produce_now(&db, "numbers");
        let report = db.shutdown(AMPLE).await;
        assert!(report.is_clean(), "{buffer}: {report}");
        assert_eq!(report.drained, u64::from(ACCEPTED));
        assert_eq!(*seen.lock().unwrap(), Vec::from_iter(0..ACCEPTED));
        assert_eq!(Arc::strong_count(&guard), 1, "the tap's task is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn everything_accepted_flows_through_a_transform() {
    for buffer in [RING, QUEUE, BufferCfg::SpmcQueue { capacity: 1 }] {
        let seen = Seen::default();
        let list = Arc::clone(&seen);
        let mut builder = builder();
        builder.configure::<u32>("numbers", |reg| {
            reg.buffer(QUEUE);
        });
        builder.configure::<u32>("doubled", |reg| {
            reg.buffer(buffer)
                .transform(input::<u32>("numbers"), |n| n * 2)
                .tap(|_, doubled| collect_slowly(doubled, list, Duration::from_millis(10)));
        });
        let db = builder.build().unwrap();
        db.start();
        produce_now(&db, "numbers");
        let report = db.shutdown(AMPLE).await;
        assert!(report.is_clean(), "{buffer}: {report}");
        assert_eq!(report.drained, u64::from(2 * ACCEPTED), "by the transform and by the tap");
        assert_eq!(*seen.lock().unwrap(), Vec::from_iter((0..ACCEPTED).map(|n| n * 2)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_source_produced_before_the_shutdown_is_processed() {
    let seen = Seen::default();
    let list = Arc::clone(&seen);
    let mut builder = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 4 })
            .source(|ctx, numbers| async move {
                for n in 0.. {
                    numbers.produce(n).await.unwrap();
                    ctx.time().sleep(Duration::from_millis(1)).await;
                }
            })
            .tap(|_, numbers| collect_slowly(numbers, list, Duration::from_millis(10)));
    });
    let db = builder.build().unwrap();
    db.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let report = db.shutdown(AMPLE).await;
    assert!(report.is_clean(), "{report}");
    let produced = db.metrics().record("numbers").unwrap().produced;
    assert_eq!(seen.lock().unwrap().len() as u64, produced);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_is_too_short_tells_exactly_what_was_left() {
    for buffer in [RING, QUEUE] {
        let (db, seen, guard) = slow_tap(buffer, Duration::from_millis(10));
        db.start();
        produce_now(&db, "numbers");
        let report = db.shutdown(Duration::from_millis(105)).await;
        let processed = seen.lock().unwrap().len() as u64;
        assert_eq!(processed, 10);
        let unread = u64::from(ACCEPTED) - processed - 1;
        let left = Undelivered::new("numbers", "tap", unread, 1);
        assert_eq!(report.undelivered, [left], "on a {buffer}");
        assert_eq!(report.drained, processed + 1);
        assert_eq!(report.aborted, ["numbers/tap"]);
        assert!(report.unresponsive.is_empty());
        assert_eq!(Arc::strong_count(&guard), 1, "the tap's task is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_left_before_a_transform_is_counted_too() {
    let mut builder = builder();
    let seen = Seen::default();
    let list = Arc::clone(&seen);
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(QUEUE);
    });
    builder.configure::<u32>("doubled", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 1 })
            .transform(input::<u32>("numbers"), |n| n * 2)
            .tap(|_, doubled| collect_slowly(doubled, list, Duration::from_millis(10)));
    });
    let db = builder.build().unwrap();
    db.start();
    produce_now(&db, "numbers");
    let report = db.shutdown(Duration::from_millis(105)).await;
    let processed = seen.lock().unwrap().len() as u64;
    assert_eq!(processed + report.total_undelivered(), u64::from(ACCEPTED), "{report}");
    assert_eq!(report.aborted, ["doubled/transform", "doubled/tap"]);
}

#[tokio::test(start_paused = true)]
async fn a_tap_that_has_returned_was_not_interrupted() {
    let mut builder = builder();
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
    produce_now(&db, "numbers");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(db.health().stage("numbers", "tap").unwrap().state, StageState::Finished);
    let report = db.shutdown(AMPLE).await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn two_shutdowns_at_once_give_the_same_report() {
    let (db, seen, _guard) = slow_tap(QUEUE, Duration::from_millis(10));
    db.start();
    produce_now(&db, "numbers");
    let other = db.clone();
    let (first, second) = tokio::join!(db.shutdown(AMPLE), other.shutdown(AMPLE));
    assert_eq!(first, second);
    assert_eq!(first, db.shutdown(AMPLE).await, "and so does a late one");
    assert_eq!(seen.lock().unwrap().len(), ACCEPTED as usize);
}

#[tokio::test(start_paused = true)]
async fn a_second_shutdown_without_time_cuts_the_first_one_short() {
    let (db, seen, _guard) = slow_tap(QUEUE, Duration::from_millis(10));
    db.start();
    produce_now(&db, "numbers");
    let other = db.clone();
    let (first, second) = tokio::join!(db.shutdown(AMPLE), other.shutdown(Duration::ZERO));
    assert_eq!(first, second);
    assert_eq!(first.aborted, ["numbers/tap"]);
    assert_eq!(seen.lock().unwrap().len() as u64 + first.total_undelivered(), u64::from(ACCEPTED));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_was_dropped_half_way_can_be_taken_up_again() {
    let (db, seen, _guard) = slow_tap(QUEUE, Duration::from_millis(10));
    db.start();
    produce_now(&db, "numbers");
    let half = tokio::time::timeout(Duration::from_millis(205), db.shutdown(AMPLE)).await;
    assert!(half.is_err());
    assert_eq!(db.health().state, DbState::Stopping);
    let report = db.shutdown(AMPLE).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.drained, u64::from(ACCEPTED), "counted from where the shutdown began");
    assert!(report.elapsed >= Duration::from_millis(500), "as is the time: {report}");
    assert_eq!(seen.lock().unwrap().len(), ACCEPTED as usize);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_takes_over_from_a_shutdown_that_was_dropped() {
    let (db, seen, _guard) = slow_tap(QUEUE, Duration::from_millis(10));
    db.start();
    produce_now(&db, "numbers");
    let half = tokio::time::timeout(Duration::from_millis(105), db.shutdown(AMPLE));
    let (half, whole) = tokio::join!(half, db.shutdown(AMPLE));
    assert!(half.is_err());
    assert!(whole.is_clean(), "{whole}");
    assert_eq!(seen.lock().unwrap().len(), ACCEPTED as usize);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_never_started_shuts_down_at_once() {
    let (db, seen, guard) = slow_tap(QUEUE, Duration::from_millis(10));
    let report = db.shutdown(AMPLE).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.elapsed, report.drained), (Duration::ZERO, 0));
    assert_eq!(db.health().state, DbState::Stopped);
    db.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(db.health().state, DbState::Stopped, "there is no way back");
    assert!(seen.lock().unwrap().is_empty());
    assert_eq!(Arc::strong_count(&guard), 1, "the tap's task is gone");
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_before_a_start_that_never_came_is_reported() {
    let (db, _seen, _guard) = slow_tap(QUEUE, Duration::ZERO);
    produce_now(&db, "numbers");
    let report = db.shutdown(AMPLE).await;
    assert_eq!(report.total_undelivered(), u64::from(ACCEPTED));
    assert!(report.aborted.is_empty() && report.unresponsive.is_empty(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_the_stages() {
    let (db, _seen, guard) = slow_tap(QUEUE, Duration::from_secs(3600));
    let producer = db.producer::<u32>("numbers").unwrap();
    let mut reader = db.consumer::<u32>("numbers").unwrap().subscribe().unwrap();
    db.start();
    let clone = db.clone();
    drop(db);
    tokio::time::sleep(Duration::from_secs(1)).await;
    producer.produce(1).await.expect("a clone keeps the database going");
    assert_eq!(reader.recv().await, Ok(1));
    drop(clone);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(Arc::strong_count(&guard), 1, "the tap's task is gone");
    assert_eq!(producer.produce(2).await, Err(ProduceError(2)));
    assert_eq!(reader.recv().await, Err(Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stage_that_blocks_its_thread_is_reported_as_stuck() {
    let (free, blocks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (gate, entered) = (Arc::clone(&free), Arc::clone(&blocks));
    let mut builder = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(QUEUE).tap(move |_, numbers| async move {
            let mut reader = numbers.subscribe().unwrap();
            reader.recv().await.unwrap();
            tokio::task::block_in_place(|| {
                entered.store(true, Relaxed);
                while !gate.load(Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        });
    });
    let db = builder.build().unwrap();
    db.start();
    produce_now(&db, "numbers");
    // Before that the stage could still be cut off.
    while !blocks.load(Relaxed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let report =
        tokio::time::timeout(Duration::from_secs(60), db.shutdown(Duration::from_millis(50)));
    let report = report.await.expect("a shutdown does not wait for a blocked thread");
    free.store(true, Relaxed);
    assert_eq!(report.unresponsive, ["numbers/tap"]);
    assert!(report.aborted.is_empty());
    assert_eq!(report.total_undelivered(), u64::from(ACCEPTED), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tap_that_ignores_closed_does_not_hang_the_shutdown() {
    let (free, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (gate, count) = (Arc::clone(&free), Arc::clone(&turns));
    let mut builder = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(QUEUE).tap(|_, numbers| async move {
            let mut reader = numbers.subscribe().unwrap();
            while !gate.load(Relaxed) {
                let _whatever = reader.recv().await;
                count.fetch_add(1, Relaxed);
            }
        });
    });
    let db = builder.build().unwrap();
    db.start();
    produce_now(&db, "numbers");
    // It has read everything, so what follows is told that the record has closed.
    while turns.load(Relaxed) < ACCEPTED as usize {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let report =
        tokio::time::timeout(Duration::from_secs(60), db.shutdown(Duration::from_millis(50)));
    let report = report.await.expect("a shutdown does not wait for a tap that never ends");
    free.store(true, Relaxed);
    assert_eq!(report.aborted, ["numbers/tap"], "its readers give way, so it can be cut off");
    assert_eq!(report.total_undelivered(), 0, "{report}");
    assert!(turns.load(Relaxed) > ACCEPTED as usize);
}

#[tokio::test(start_paused = true)]
async fn producers_that_wait_for_room_get_their_values_back() {
    let mut builder = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 1 }).tap(|ctx, never_subscribes| async move {
            ctx.stopping().await;
            drop(never_subscribes);
        });
    });
    let db = builder.build().unwrap();
    db.start();
    let waiting: Vec<_> = (0..100)
        .map(|n| {
            let producer = db.producer::<u32>("numbers").unwrap();
            tokio::spawn(async move { producer.produce(n).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(db.health().blocked[0].blocked.held_back_by, "tap");
    assert_eq!(db.health().blocked[0].blocked.writers, 99);
    // A tap that ends makes room, so what still waits then may be accepted: each value is in one place only.
    let report = db.shutdown(AMPLE).await;
    let mut accepted = 0;
    for (n, waiter) in (0..).zip(waiting) {
        match waiter.await.unwrap() {
            Ok(()) => accepted += 1,
            Err(ProduceError(back)) => assert_eq!(back, n),
        }
    }
    assert_eq!(accepted, db.metrics().record("numbers").unwrap().produced);
    assert!(report.total_undelivered() >= 1, "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_that_nobody_reads_gives_every_waiting_value_back() {
    let (db, _seen, _guard) =
        slow_tap(BufferCfg::SpmcQueue { capacity: 1 }, Duration::from_secs(3600));
    db.start();
    let producer = db.producer::<u32>("numbers").unwrap();
    producer.produce(0).await.unwrap();
    tokio::task::yield_now().await;
    producer.produce(1).await.unwrap();
    let waiting: Vec<_> = (2..52)
        .map(|n| {
            let producer = producer.clone();
            tokio::spawn(async move { producer.produce(n).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let report = db.shutdown(Duration::from_secs(1)).await;
    assert_eq!(report.total_undelivered(), 2, "one in hand, one in the queue: {report}");
    for (n, waiter) in (2..).zip(waiting) {
        assert_eq!(waiter.await.unwrap(), Err(ProduceError(n)));
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_every_door_says_closed() {
    let (db, _seen, _guard) = slow_tap(QUEUE, Duration::ZERO);
    let mut reader = db.consumer::<u32>("numbers").unwrap().subscribe().unwrap();
    db.start();
    produce_now(&db, "numbers");
    db.shutdown(AMPLE).await;
    for n in 0..ACCEPTED {
        assert_eq!(reader.recv().await, Ok(n), "what was there stays readable");
    }
    assert_eq!(reader.recv().await, Err(Closed));
    let consumer = db.consumer::<u32>("numbers").unwrap();
    assert_eq!(consumer.subscribe().unwrap_err(), SubscribeError::Closed { key: "numbers".into() });
}

#[tokio::test(start_paused = true)]
async fn run_ends_when_another_clone_shuts_down() {
    let (db, _seen, _guard) = slow_tap(QUEUE, Duration::ZERO);
    let other = db.clone();
    let driven = tokio::spawn(async move { other.run().await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(db.shutdown(AMPLE).await.is_clean());
    assert_eq!(driven.await.unwrap(), Ok(()));
}

#[test]
fn a_stage_whose_future_panics_when_the_runtime_goes_has_ended() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped by the runtime");
        }
    }
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let db = tokio.block_on(async {
        let mut builder = builder();
        builder.configure::<u64>("record", |reg| {
            reg.buffer(BufferCfg::SingleLatest).source(|_, _| async {
                let _bomb = Bomb;
                std::future::pending::<()>().await;
            });
        });
        let db = builder.build().unwrap();
        db.start();
        tokio::task::yield_now().await;
        db
    });
    drop(tokio);
    let health = db.health();
    let stage = health.stage("record", "source").unwrap();
    assert!(stage.state.is_terminal(), "{health}");
    assert!(stage.cause.as_ref().is_some_and(|cause| cause.contains("dropped by the runtime")));
}

/// A `tracing` subscriber that panics at every line of a shutdown's report.
struct PanicsAtReports;

impl tracing::Subscriber for PanicsAtReports {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "aimdb"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        panic!("a log that panics");
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_a_report_though_the_log_panics() {
    let (db, _seen, _guard) = slow_tap(QUEUE, Duration::from_millis(10));
    db.start();
    let _log = tracing::subscriber::set_default(PanicsAtReports);
    let other = db.clone();
    let first = tokio::spawn(async move { other.shutdown(AMPLE).await }).await;
    assert!(first.is_err_and(|error| error.is_panic()));
    let report = tokio::time::timeout(AMPLE, db.shutdown(AMPLE)).await.expect("it is over");
    assert!(report.is_clean(), "{report}");
}
