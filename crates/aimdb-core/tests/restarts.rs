//! The limit of restarts, for backoffs and runs of any length.
#![cfg(not(aimdb_loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use aimdb_core::health::StageState;
use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Restart};
use aimdb_testing::TestRuntime;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A source that runs for `runs[n]` in its nth attempt, and for the last of them in each further one, and then fails.
fn failing(policy: Restart, runs: &[Duration]) -> (Arc<TestRuntime>, AimDb<TestRuntime>) {
    let runtime = Arc::new(TestRuntime::new());
    let (attempts, runs) = (Arc::new(AtomicU32::new(0)), runs.to_vec());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("record", |reg| {
        reg.buffer(BufferCfg::SingleLatest).source_with(policy, move |ctx, _record| {
            let attempt = attempts.fetch_add(1, Relaxed) as usize;
            let run = runs[attempt.min(runs.len() - 1)];
            async move {
                ctx.time().sleep(run).await;
                ctx.fail("no sensor");
            }
        });
    });
    let db = builder.build().unwrap();
    db.start();
    (runtime, db)
}

/// The state of the source after an hour, and the number of its restarts.
fn after_an_hour(policy: Restart, runs: &[Duration]) -> (StageState, u32) {
    let (runtime, db) = failing(policy, runs);
    runtime.advance(Duration::from_secs(3600));
    let health = db.health();
    let stage = health.stage("record", "source").unwrap();
    (stage.state, stage.restarts)
}

#[test]
fn a_limit_counts_restarts_without_backoff() {
    let policy = Restart::on_failure().backoff(ms(0), ms(0)).limit(3);
    assert_eq!(after_an_hour(policy, &[ms(1)]), (StageState::Failed, 3));
}

#[test]
fn a_limit_counts_restarts_whose_runs_are_longer_than_the_longest_backoff() {
    let policy = Restart::on_failure().backoff(ms(10), ms(20)).limit(3);
    assert_eq!(after_an_hour(policy, &[ms(25)]), (StageState::Failed, 3));
    let policy = Restart::on_failure().backoff(ms(1), ms(1)).limit(5);
    assert_eq!(after_an_hour(policy, &[Duration::from_secs(9)]), (StageState::Failed, 5));
}

#[test]
fn a_limit_counts_restarts_of_a_stage_that_returns() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    let policy = Restart::always().backoff(ms(0), ms(0)).limit(7);
    builder.configure::<u64>("record", |reg| {
        reg.buffer(BufferCfg::SingleLatest).source_with(policy, |ctx, _record| async move {
            ctx.time().sleep(ms(3)).await;
        });
    });
    let db = builder.build().unwrap();
    db.start();
    runtime.advance(Duration::from_secs(60));
    let health = db.health();
    let stage = health.stage("record", "source").unwrap();
    assert_eq!((stage.state, stage.restarts), (StageState::Failed, 7));
}

#[test]
fn a_long_run_resets_the_count_of_restarts() {
    let policy = Restart::on_failure().backoff(ms(1), ms(1)).limit(2);
    // By default a run of more than ten seconds resets the count.
    let runs = [ms(1), Duration::from_secs(11), ms(1), ms(1), ms(1)];
    assert_eq!(after_an_hour(policy, &runs), (StageState::Failed, 3));
    let policy = policy.recovered_after(Duration::from_secs(12));
    assert_eq!(after_an_hour(policy, &runs), (StageState::Failed, 2));
    let policy = policy.recovered_after(Duration::from_secs(1));
    assert_eq!(after_an_hour(policy, &[Duration::from_secs(2)]).0, StageState::Running);
}

/// Each attempt of the stage subscribes two readers, reads two of six values from the first and all from the second,
/// and fails. The next attempt continues at the cursor of the reader that the start made.
#[test]
fn a_restarted_stage_that_held_several_readers_continues_at_the_cursor_of_its_first_one() {
    for reversed in [false, true] {
        let runtime = Arc::new(TestRuntime::new());
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let list = Arc::clone(&seen);
        let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
        builder.configure::<u64>("record", |reg| {
            reg.buffer(BufferCfg::SpmcRing { capacity: 16 });
            reg.tap_with(Restart::on_failure().backoff(ms(1), ms(1)), move |ctx, numbers| {
                let list = Arc::clone(&list);
                async move {
                    let mut readers = vec![numbers.subscribe().unwrap()];
                    readers.push(numbers.subscribe().unwrap());
                    for _ in 0..2 {
                        let Ok(number) = readers[0].recv().await else { return };
                        list.lock().unwrap().push(number);
                    }
                    // The cursor of the other reader is further ahead.
                    while readers[1].try_recv().is_ok() {}
                    if reversed {
                        readers.reverse();
                    }
                    ctx.fail("again");
                }
            });
        });
        let db = builder.build().unwrap();
        let producer = db.producer::<u64>("record").unwrap();
        (0..6).for_each(|n| producer.try_produce(n).unwrap());
        db.start();
        runtime.advance(ms(100));
        assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 3, 4, 5], "reversed: {reversed}");
    }
}
