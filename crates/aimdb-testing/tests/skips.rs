//! Stages that fail and go on: which value a failure costs, and what the others receive meanwhile.

use std::sync::Arc;
use std::time::Duration;

use aimdb_core::health::StageState;
use aimdb_core::{
    AimDb, AimDbBuilder, BoxError, BufferCfg, Consumer, Restart, Runtime, RuntimeContext, input,
};
use aimdb_testing::{Recorder, TestRuntime};

const MINUTE: Duration = Duration::from_secs(60);

fn builder() -> (Arc<TestRuntime>, AimDbBuilder<TestRuntime>) {
    let runtime = Arc::new(TestRuntime::new());
    (Arc::clone(&runtime), AimDbBuilder::new().runtime(runtime))
}

fn outside<T: aimdb_core::Record>(
    builder: &mut AimDbBuilder<TestRuntime>,
    key: &str,
    cfg: BufferCfg,
) {
    builder.configure::<T>(key, |reg| {
        reg.buffer(cfg).written_from_outside();
    });
}

/// A value whose `Clone` panics if it is 3.
#[derive(Debug, PartialEq)]
struct Fragile(u32);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert_ne!(self.0, 3, "the clone of 3");
        Self(self.0)
    }
}

#[test]
fn a_value_whose_clone_panics_costs_itself_alone_in_every_stage_that_goes_on() {
    // Of a queue with several readers and of a ring each reader clones. Nothing is advanced past 3 by a Clone.
    for cfg in [BufferCfg::queue(16), BufferCfg::ring(16)] {
        let (runtime, mut builder) = builder();
        outside::<u32>(&mut builder, "other", BufferCfg::queue(4));
        let [each, tapped] = [Recorder::new(), Recorder::new()];
        builder.configure::<Fragile>("in", |reg| {
            let (each, tapped) = (each.clone(), tapped.clone());
            reg.buffer(cfg).written_from_outside();
            reg.for_each_with(Restart::skip_failures(), move |_, value: Fragile| {
                each.push(value.0)
            });
            reg.tap_with(Restart::skip_failures(), move |_, values: Consumer<Fragile, _>| {
                let tapped = tapped.clone();
                async move {
                    let Ok(mut values) = values.subscribe() else { return };
                    while let Ok(value) = values.recv().await {
                        tapped.push(value.0);
                    }
                }
            });
        });
        builder.configure::<u32>("mapped", |reg| {
            reg.buffer(BufferCfg::ring(16)).read_from_outside();
            reg.transform_with(Restart::skip_failures(), input("in"), |value: Fragile| value.0);
        });
        builder.configure::<u32>("joined", |reg| {
            let inputs = (input::<Fragile>("in"), input::<u32>("other"));
            reg.buffer(BufferCfg::ring(16)).read_from_outside();
            reg.outer_join_with(Restart::skip_failures(), inputs, |(value, _), _| {
                value.map(|value| value.0)
            });
        });
        let db = builder.build().unwrap();
        db.start();
        let mut readers =
            ["mapped", "joined"].map(|key| db.consumer::<u32>(key).unwrap().subscribe().unwrap());
        let producer = db.producer::<Fragile>("in").unwrap();
        (1..=5).for_each(|value| producer.try_produce(Fragile(value)).unwrap());
        let before = runtime.now();
        runtime.run_until_idle();
        assert_eq!(runtime.now(), before, "{cfg}: no timer");
        assert_eq!((each.values(), tapped.values()), (vec![1, 2, 4, 5], vec![1, 2, 4, 5]), "{cfg}");
        for reader in &mut readers {
            for expected in [1, 2, 4, 5] {
                assert_eq!(reader.try_recv(), Ok(expected), "{cfg}");
            }
        }
        assert!(runtime.block_on(db.shutdown(MINUTE)).is_clean());
    }
}

#[test]
fn two_thousand_values_that_fail_take_no_time_and_starve_no_other_stage() {
    let (runtime, mut builder) = builder();
    let seen = Recorder::new();
    builder.configure::<u32>("in", |reg| {
        let seen = seen.clone();
        reg.buffer(BufferCfg::queue(2048)).written_from_outside();
        reg.for_each_with(Restart::skip_failures(), move |_, value: u32| {
            seen.push(0);
            if value > 0 { Err(format!("{value}")) } else { Ok(()) }
        });
    });
    builder.configure::<u32>("other", |reg| {
        let seen = seen.clone();
        reg.buffer(BufferCfg::queue(1)).written_from_outside();
        reg.for_each(move |_, value: u32| seen.push(value));
    });
    let db = builder.build().unwrap();
    db.start();
    runtime.run_until_idle();
    let producer = db.producer::<u32>("in").unwrap();
    (0..2000).for_each(|value| producer.try_produce(value).unwrap());
    db.producer::<u32>("other").unwrap().try_produce(7).unwrap();
    let before = runtime.now();
    runtime.run_until_idle();
    assert_eq!(runtime.now(), before);
    let values = seen.values();
    assert_eq!(values.len(), 2001);
    let other = values.iter().position(|value| *value == 7).unwrap();
    assert!(other < 200, "the other stage ran after {other} failures");
}

/// A command for a shared mailbox reaches the taker that is idle, while a join that waited for it too does something else.
#[test]
fn a_join_that_reads_nothing_leaves_the_commands_of_a_shared_mailbox_to_others() {
    for fails in [true, false] {
        let (runtime, mut builder) = builder();
        builder.configure::<u32>("command", |reg| {
            reg.buffer(BufferCfg::mailbox()).shared().written_from_outside();
        });
        outside::<u32>(&mut builder, "other", BufferCfg::queue(8));
        builder.configure::<u32>("joined", |reg| {
            let inputs = (input::<u32>("command"), input::<u32>("other"));
            let pause = Restart::on_failure().backoff(MINUTE, MINUTE);
            reg.buffer(BufferCfg::queue(1));
            reg.outer_join_with(pause, inputs, move |_, changed| {
                assert!(!fails || changed == 0, "the other");
                Some(0)
            });
            // It holds the queue, so that the join waits for room.
            reg.tap(|ctx, joined| async move {
                let reader = joined.subscribe();
                ctx.stopping().await;
                drop(reader);
            });
        });
        builder.configure::<u32>("taken", |reg| {
            reg.buffer(BufferCfg::latest()).read_from_outside();
            reg.transform(input("command"), |command: u32| command);
        });
        let db = builder.build().unwrap();
        db.start();
        runtime.run_until_idle();
        let other = db.producer::<u32>("other").unwrap();
        (0..3).for_each(|value| other.try_produce(value).unwrap());
        runtime.run_until_idle();
        for command in 100..103 {
            db.producer::<u32>("command").unwrap().try_produce(command).unwrap();
            runtime.run_until_idle();
            let taken = db.consumer::<u32>("taken").unwrap().latest();
            assert_eq!(taken, Some(command), "the join fails: {fails}");
        }
        runtime.drop_tasks();
    }
}

fn failed_at(db: &AimDb<TestRuntime>, record: &str, stage: &str) -> StageState {
    db.health().stage(record, stage).unwrap().state
}

#[test]
fn a_pause_between_two_attempts_ends_with_the_begin_of_a_shutdown() {
    let (runtime, mut builder) = builder();
    let pause = Restart::on_failure().backoff(MINUTE, MINUTE);
    let seen = Recorder::new();
    builder.configure::<u32>("in", |reg| {
        let seen = seen.clone();
        reg.buffer(BufferCfg::queue(8)).written_from_outside();
        reg.tap_with(pause, |_: RuntimeContext<_>, values: Consumer<u32, _>| async move {
            let mut values = values.subscribe()?;
            while let Ok(value) = values.recv().await {
                if value == 1 {
                    return Err(BoxError::from("one"));
                }
            }
            Ok(())
        });
        reg.for_each_with(pause, move |_, value: u32| {
            seen.push(value);
            if value == 1 { Err("one") } else { Ok(()) }
        });
    });
    let db = builder.build().unwrap();
    db.start();
    (0..4).for_each(|value| db.producer::<u32>("in").unwrap().try_produce(value).unwrap());
    runtime.run_until_idle();
    for stage in ["tap", "for_each"] {
        assert_eq!(failed_at(&db, "in", stage), StageState::Restarting);
    }
    let before = runtime.now();
    let report = runtime.block_on(db.shutdown(MINUTE * 2));
    assert!(report.is_clean(), "{report}");
    assert!(runtime.now() - before < Duration::from_secs(1));
    assert_eq!(seen.values(), [0, 1, 2, 3]);
}

#[test]
fn an_error_that_says_closed_is_the_orderly_end_of_a_stage_with_a_policy() {
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("in", |reg| {
        let forever = Restart::on_failure().backoff(Duration::ZERO, Duration::ZERO);
        reg.buffer(BufferCfg::queue(8)).written_from_outside();
        reg.tap_with(forever, |_, values: Consumer<u32, _>| async move {
            let mut values = values.subscribe()?;
            loop {
                values.recv().await?;
            }
            #[expect(unreachable_code, reason = "it names the type of the result")]
            Ok::<(), BoxError>(())
        });
        reg.source_with(forever, |ctx, values| async move {
            loop {
                values.produce(1).await?;
                ctx.time().sleep(ctx.time().millis(1)).await;
            }
            #[expect(unreachable_code, reason = "it names the type of the result")]
            Ok::<(), BoxError>(())
        });
    });
    let db = builder.build().unwrap();
    db.start();
    runtime.advance(Duration::from_millis(10));
    let report = runtime.block_on(db.shutdown(MINUTE));
    assert!(report.is_clean(), "{report}");
    let health = db.health();
    let tap = health.stage("in", "tap").unwrap();
    assert_eq!((tap.state, tap.restarts), (StageState::Finished, 0), "{health}");
}
