//! The time of the newest value: exact while readers are slow, after bursts, on every kind of buffer.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Event, Instant, Producer};
use aimdb_testing::TestRuntime;

const KINDS: [BufferCfg; 4] =
    [BufferCfg::ring(512), BufferCfg::queue(512), BufferCfg::latest(), BufferCfg::mailbox()];
const PERIOD: Duration = Duration::from_millis(333);

/// A record with a reader that takes one value each 20 s.
fn with_a_slow_reader(
    cfg: BufferCfg,
) -> (Arc<TestRuntime>, AimDb<TestRuntime>, Producer<u64, TestRuntime>) {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("r", |reg| {
        reg.buffer(cfg).written_from_outside().tap(|ctx, r| async move {
            let Ok(mut r) = r.subscribe() else { return };
            while r.recv().await.is_ok() {
                ctx.time().sleep(ctx.time().secs(20)).await;
            }
        });
    });
    let db = builder.build().unwrap();
    db.start();
    let producer = db.producer("r").unwrap();
    (runtime, db, producer)
}

fn last_update(db: &AimDb<TestRuntime>) -> Option<Instant> {
    db.metrics().record("r").unwrap().last_update
}

fn age(db: &AimDb<TestRuntime>) -> Option<Duration> {
    let metrics = db.metrics();
    metrics.record("r").unwrap().age(metrics.at)
}

#[test]
fn the_time_is_exact_while_a_reader_is_slow_whether_or_not_somebody_measures() {
    for cfg in KINDS {
        for measured in [true, false] {
            let (runtime, db, producer) = with_a_slow_reader(cfg);
            assert_eq!(age(&db), None);
            for value in 0..200 {
                runtime.advance(PERIOD);
                let now = db.now();
                producer.try_produce(value).unwrap();
                if measured || value == 199 {
                    assert_eq!(last_update(&db), Some(now), "{cfg}, value {value}");
                }
            }
            runtime.advance(Duration::from_secs(7));
            assert_eq!(age(&db), Some(Duration::from_secs(7)), "{cfg}");
        }
    }
}

#[test]
fn after_a_burst_a_snapshot_makes_the_next_value_exact() {
    for cfg in KINDS {
        let (runtime, db, producer) = with_a_slow_reader(cfg);
        // All at one instant: a burst.
        (0..300).for_each(|value| producer.try_produce(value).unwrap());
        runtime.advance(PERIOD);
        producer.try_produce(300).unwrap();
        let _outdated = last_update(&db);
        for value in 301..400 {
            runtime.advance(PERIOD);
            let now = db.now();
            producer.try_produce(value).unwrap();
            assert_eq!(last_update(&db), Some(now), "{cfg}, value {value}");
        }
    }
}

/// A reader that runs dry after each value, as fast as values come: a reading of the clock for each would cost as much as
/// the wake-up.
#[test]
fn in_a_burst_that_is_read_at_once_the_time_is_that_of_one_of_the_last_eight_values() {
    for cfg in KINDS {
        let runtime = Arc::new(TestRuntime::new());
        let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
        builder.configure::<u64>("r", |reg| {
            reg.buffer(cfg).written_from_outside().tap(|_, r| async move {
                let Ok(mut r) = r.subscribe() else { return };
                while r.recv().await.is_ok() {}
            });
        });
        let db = builder.build().unwrap();
        db.start();
        let producer = db.producer::<u64>("r").unwrap();
        // A burst first, so that the next values are of a fast record.
        (0..300).for_each(|value| producer.try_produce(value).unwrap());
        let mut times = Vec::new();
        for value in 300..340 {
            runtime.advance(Duration::from_nanos(100));
            times.push(db.now());
            producer.try_produce(value).unwrap();
            runtime.advance(Duration::ZERO);
        }
        let noted = last_update(&db).unwrap();
        assert!(times[32..].contains(&noted), "{cfg}: {noted:?} of {times:?}");
        // Values that come seldom again are exact before a window is over.
        for value in 340..350 {
            runtime.advance(PERIOD);
            producer.try_produce(value).unwrap();
        }
        assert_eq!(age(&db), Some(Duration::ZERO), "{cfg}");
    }
}

#[test]
fn after_a_burst_that_nobody_measures_the_time_is_exact_again_after_two_windows() {
    for cfg in KINDS {
        let (runtime, db, producer) = with_a_slow_reader(cfg);
        (0..300).for_each(|value| producer.try_produce(value).unwrap());
        for value in 300..428 {
            runtime.advance(PERIOD);
            producer.try_produce(value).unwrap();
        }
        assert_eq!(age(&db), Some(Duration::ZERO), "{cfg}");
    }
}

/// The present time of the database's clock.
trait RuntimeNow {
    fn now(&self) -> Instant;
}

impl RuntimeNow for AimDb<TestRuntime> {
    fn now(&self) -> Instant {
        aimdb_core::Runtime::now(&**self.runtime())
    }
}

/// A reader that runs dry notes a time too; that must not move the next note of the writer by a window.
#[test]
fn in_a_burst_the_time_is_that_of_one_of_the_last_seventy_two_values_wherever_a_reader_runs_dry() {
    for cfg in KINDS {
        for dry_at in [0, 1, 56, 57, 63, 64, 65, 71, 127] {
            for count in [1, 8, 63, 64, 65, 127, 128, 129, 191, 192, 193] {
                let runtime = Arc::new(TestRuntime::new());
                let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
                builder.configure::<u64>("r", |reg| {
                    reg.buffer(cfg).written_from_outside().read_from_outside();
                });
                let db = builder.build().unwrap();
                let producer = db.producer::<u64>("r").unwrap();
                let mut reader = db.consumer::<u64>("r").unwrap().subscription().unwrap();
                let mut times = Vec::new();
                for value in 0..512 + count {
                    runtime.advance(Duration::from_nanos(100));
                    times.push(db.now());
                    producer.try_produce(value).unwrap();
                    if value == 512 + dry_at {
                        while reader.try_value().is_ok() {}
                        let mut cx = Context::from_waker(Waker::noop());
                        assert!(reader.poll_value(&mut cx).is_pending());
                    } else if reader.pending() > 400 {
                        while reader.try_value().is_ok() {}
                    }
                }
                let noted = last_update(&db).unwrap();
                assert!(
                    times[times.len() - 72..].contains(&noted),
                    "{cfg}, dry at {dry_at}, {count} values: {noted:?} of {:?}",
                    times.last()
                );
            }
        }
    }
}

#[test]
fn a_command_that_returns_to_its_mailbox_is_no_new_value() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("r", |reg| {
        reg.buffer(BufferCfg::mailbox()).written_from_outside().read_from_outside();
    });
    let db = builder.build().unwrap();
    let producer = db.producer::<u64>("r").unwrap();
    let mut taker = db.consumer::<u64>("r").unwrap().subscription().unwrap();
    for command in 0..2 {
        producer.try_produce(command).unwrap();
    }
    // The command is in the taker's stash.
    assert_eq!(taker.try_event().unwrap(), Event::Lagged(1));
    runtime.advance(Duration::from_secs(100));
    drop(taker);
    assert_eq!(db.metrics().record("r").unwrap().depth, 1, "it is pending again");
    assert_eq!(age(&db), Some(Duration::from_secs(100)));
}
