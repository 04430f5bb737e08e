//! Processors: edges of the graph, answers made while draining, several outputs, failures, findings.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aimdb_core::health::StageState;
use aimdb_core::{
    AimDb, AimDbBuilder, BufferCfg, Consumer, DbError, Producer, Restart, RuntimeContext, input,
    output,
};
use aimdb_testing::{Recorder, TestRuntime};

const PATIENCE: Duration = Duration::from_secs(60);

type BoxError = Box<dyn Error + Send + Sync>;

/// Doubles each value, 3 ms after it came.
async fn double(
    ctx: RuntimeContext<TestRuntime>,
    numbers: Consumer<u64, TestRuntime>,
    doubles: Producer<u64, TestRuntime>,
) -> Result<(), BoxError> {
    let mut numbers = numbers.subscribe()?;
    while let Ok(number) = numbers.recv().await {
        ctx.time().sleep(ctx.time().millis(3)).await;
        doubles.produce(number * 2).await?;
    }
    Ok(())
}

fn graph(runtime: &Arc<TestRuntime>) -> AimDbBuilder<TestRuntime> {
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(runtime));
    builder.configure::<u64>("numbers", |reg| {
        reg.buffer(BufferCfg::queue(64)).written_from_outside();
    });
    builder.configure::<u64>("doubles", |reg| {
        reg.buffer(BufferCfg::queue(64)).processor(input::<u64>("numbers"), double);
    });
    builder
}

fn build_error(builder: AimDbBuilder<TestRuntime>) -> String {
    match builder.build().unwrap_err() {
        DbError::Build(findings) => findings
            .iter()
            .map(|finding| {
                format!(
                    "{} {}: {}; {}",
                    finding.rule.code(),
                    finding.record,
                    finding.problem,
                    finding.help
                )
            })
            .collect::<Vec<_>>()
            .join("\n"),
        other => panic!("{other}"),
    }
}

/// The values that the taps of `doubles` received, and the report's undelivered values.
fn drain_while_answers_are_made(seed: u64) -> (Vec<u64>, u64) {
    let runtime = Arc::new(TestRuntime::seeded(seed));
    let received = Recorder::new();
    let mut builder = graph(&runtime);
    builder.configure::<u64>("doubles", |reg| {
        let received = received.clone();
        reg.tap(move |_, doubles: Consumer<u64, _>| async move {
            let Ok(mut doubles) = doubles.subscribe() else { return };
            while let Ok(double) = doubles.recv().await {
                received.push(double);
            }
        });
    });
    let db = builder.build().unwrap();
    db.start();
    let numbers = db.producer::<u64>("numbers").unwrap();
    for number in 0..20 {
        numbers.try_produce(number).unwrap();
    }
    let report = runtime.block_on(db.shutdown(PATIENCE));
    assert!(report.is_clean(), "{report}");
    runtime.drop_tasks();
    (received.values(), report.total_undelivered())
}

#[test]
fn a_processor_is_an_edge_of_the_graph() {
    let runtime = Arc::new(TestRuntime::new());
    let graph = graph(&runtime).graph();
    assert_eq!(
        graph.to_string(),
        "numbers  u64  queue of 64
  ← outside
  → processor double of doubles
doubles  u64  queue of 64
  ← processor double of numbers
"
    );
    let mermaid = graph.mermaid();
    assert!(mermaid.contains("r1s0[[\"double\"]] --> r1\n  r0 --> r1s0\n"), "{mermaid}");
    assert!(mermaid.contains("r0o([\"outside\"]) -.-> r0\n"), "{mermaid}");
}

#[test]
fn answers_made_while_draining_are_delivered_in_a_thousand_schedules() {
    let expected: Vec<u64> = (0..20).map(|number| number * 2).collect();
    for seed in 0..1000 {
        assert_eq!(drain_while_answers_are_made(seed), (expected.clone(), 0), "seed {seed}");
    }
}

#[test]
fn a_processor_with_several_outputs_writes_each_of_them_and_ends_before_they_close() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("raw", |reg| {
        reg.buffer(BufferCfg::queue(16)).written_from_outside();
    });
    for key in ["odd", "large"] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(BufferCfg::queue(16));
        });
    }
    builder.configure::<u64>("even", |reg| {
        let outputs = (output::<u64>("odd"), [output::<u64>("large")]);
        reg.buffer(BufferCfg::queue(16))
            .processor_to(
                (input::<u64>("raw"),),
                outputs,
                |_, (raw,), (even, (odd, [large]))| async move {
                    let mut raw = raw.subscribe()?;
                    while let Ok(value) = raw.recv().await {
                        let to = match value {
                            100.. => &large,
                            value if value % 2 == 0 => &even,
                            _ => &odd,
                        };
                        to.produce(value).await?;
                    }
                    Ok::<(), BoxError>(())
                },
            )
            .named("sort");
    });
    let db = builder.build().unwrap();
    assert!(db.graph().to_string().contains("odd  u64  queue of 16\n  ← processor sort of even\n"));
    let mut readers: Vec<_> = ["even", "odd", "large"]
        .map(|key| db.consumer::<u64>(key).unwrap().subscribe().unwrap())
        .into();
    db.start();
    let raw = db.producer::<u64>("raw").unwrap();
    [1, 2, 300, 4].into_iter().for_each(|value| raw.try_produce(value).unwrap());
    let report = runtime.block_on(db.shutdown(PATIENCE));
    assert!(report.is_clean(), "{report}");
    let received: Vec<Vec<u64>> = readers
        .iter_mut()
        .map(|reader| std::iter::from_fn(|| reader.try_recv().ok()).collect())
        .collect();
    assert_eq!(received, [vec![2, 4], vec![1], vec![300]]);
}

fn state(db: &AimDb<TestRuntime>, stage: &str) -> (StageState, Option<String>, u32) {
    let health = db.health();
    let stage = health.stages.iter().find(|health| health.stage == stage).unwrap();
    (stage.state, stage.cause.clone(), stage.restarts)
}

#[test]
fn an_error_of_a_stage_is_its_failure_with_its_chain_as_the_cause() {
    #[derive(Debug)]
    struct Unreadable(std::num::ParseIntError);
    impl std::fmt::Display for Unreadable {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("cannot read the sensor")
        }
    }
    impl Error for Unreadable {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("sensor", |reg| {
        reg.buffer(BufferCfg::latest())
            .source(|_, _| async { "x".parse::<u64>().map(|_| ()).map_err(Unreadable) })
            .named("source")
            .tap(|_, _| async { Err::<(), _>(String::from("no display")) })
            .named("tap")
            .tap(|_, _| async { Err::<(), BoxError>("boxed".into()) })
            .named("boxed");
    });
    let db = builder.build().unwrap();
    db.start();
    runtime.run_until_idle();
    let cause = |stage| state(&db, stage).1.unwrap();
    assert_eq!(cause("source"), "cannot read the sensor: invalid digit found in string");
    assert_eq!((cause("tap"), cause("boxed")), ("no display".into(), "boxed".into()));
    assert_eq!(state(&db, "source").0, StageState::Failed);
}

#[test]
fn a_stage_that_loops_without_end_compiles_as_a_closure() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("ticks", |reg| {
        reg.buffer(BufferCfg::latest())
            .source(|ctx, ticks| async move {
                loop {
                    ticks.produce(1).await.ok();
                    ctx.time().sleep(ctx.time().secs(1)).await;
                }
            })
            .tap_with(Restart::on_failure(), |ctx, _| async move {
                loop {
                    ctx.time().sleep(ctx.time().secs(1)).await;
                }
            });
    });
    let db = builder.build().unwrap();
    db.start();
    runtime.run_until_idle();
    assert_eq!(db.consumer::<u64>("ticks").unwrap().latest(), Some(1));
}

#[test]
fn a_restarted_processor_loses_the_value_in_progress_and_no_other() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("numbers", |reg| {
        reg.buffer(BufferCfg::queue(16)).written_from_outside();
    });
    let policy =
        Restart::on_failure().backoff(Duration::from_millis(10), Duration::from_millis(10));
    builder.configure::<u64>("answers", |reg| {
        reg.buffer(BufferCfg::queue(16)).processor_with(
            policy,
            input::<u64>("numbers"),
            |_, numbers, answers| async move {
                let mut numbers = numbers.subscribe()?;
                while let Ok(number) = numbers.recv().await {
                    if number == 2 {
                        return Err::<(), BoxError>("two".into());
                    }
                    answers.produce(number).await?;
                }
                Ok(())
            },
        );
    });
    let db = builder.build().unwrap();
    let mut answers = db.consumer::<u64>("answers").unwrap().subscribe().unwrap();
    db.start();
    let numbers = db.producer::<u64>("numbers").unwrap();
    (1..=4).for_each(|number| numbers.try_produce(number).unwrap());
    runtime.advance(Duration::from_millis(100));
    let report = runtime.block_on(db.shutdown(PATIENCE));
    assert!(report.is_clean(), "{report}");
    assert_eq!(std::iter::from_fn(|| answers.try_recv().ok()).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(state(&db, "processor").2, 1);
}

#[test]
fn one_zero_does_not_end_the_dividers_pipeline() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("divisors", |reg| {
        reg.buffer(BufferCfg::queue(16)).written_from_outside();
    });
    let skip = Restart::skip_failures;
    builder.configure::<u64>("quotients", |reg| {
        reg.buffer(BufferCfg::queue(16)).transform_with(
            skip(),
            input::<u64>("divisors"),
            |divisor| 100 / divisor,
        );
    });
    builder.configure::<u64>("filtered", |reg| {
        reg.buffer(BufferCfg::queue(16)).filter_map_with(
            skip(),
            input::<u64>("divisors"),
            |divisor| Some(200 / divisor),
        );
    });
    builder.configure::<u64>("sums", |reg| {
        reg.buffer(BufferCfg::queue(16)).scan_with(
            skip(),
            input::<u64>("divisors"),
            0,
            |sum, divisor| {
                *sum += 100 / divisor;
                Some(*sum)
            },
        );
    });
    builder.configure::<u64>("joined", |reg| {
        reg.buffer(BufferCfg::queue(16)).join_with(
            skip(),
            (input::<u64>("divisors"),),
            |(divisor,)| 100 / divisor,
        );
    });
    let db = builder.build().unwrap();
    let keys = ["quotients", "filtered", "sums", "joined"];
    let mut readers = keys.map(|key| db.consumer::<u64>(key).unwrap().subscribe().unwrap());
    db.start();
    let divisors = db.producer::<u64>("divisors").unwrap();
    [1, 0, 0, 2].into_iter().for_each(|divisor| divisors.try_produce(divisor).unwrap());
    let report = runtime.block_on(db.shutdown(PATIENCE));
    assert!(report.is_clean(), "{report}");
    let received = readers
        .each_mut()
        .map(|reader| std::iter::from_fn(|| reader.try_recv().ok()).collect::<Vec<_>>());
    assert_eq!(received, [[100, 50], [200, 100], [100, 150], [100, 50]]);
    for stage in ["transform", "filter_map", "scan", "join"] {
        let (state, cause, restarts) = state(&db, stage);
        assert_eq!((state, restarts), (StageState::Finished, 2), "{stage}");
        assert!(cause.unwrap().contains("divide by zero"), "{stage}");
    }
}

#[test]
fn a_transform_gives_up_after_the_limit_of_its_policy() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("divisors", |reg| {
        reg.buffer(BufferCfg::queue(16)).written_from_outside();
    });
    builder.configure::<u64>("quotients", |reg| {
        reg.buffer(BufferCfg::queue(16)).transform_with(
            Restart::skip_failures().limit(1),
            input::<u64>("divisors"),
            |divisor| 100 / divisor,
        );
    });
    let db = builder.build().unwrap();
    db.start();
    let divisors = db.producer::<u64>("divisors").unwrap();
    (0..3).for_each(|_| divisors.try_produce(0).unwrap());
    runtime.run_until_idle();
    let (state, cause, restarts) = state(&db, "transform");
    assert_eq!((state, restarts), (StageState::Failed, 1));
    assert!(cause.unwrap().ends_with("(given up after 1 restarts)"));
}

#[test]
fn an_initial_value_reaches_every_reader_of_the_graph_before_any_other_value() {
    for cfg in [BufferCfg::ring(4), BufferCfg::queue(4), BufferCfg::latest(), BufferCfg::mailbox()]
    {
        let runtime = Arc::new(TestRuntime::new());
        let seen = Recorder::new();
        let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
        builder.configure::<u64>("limit", |reg| {
            let seen = seen.clone();
            reg.buffer(cfg).initial(7).written_from_outside().tap(move |_, limit| async move {
                let Ok(mut limit) = limit.subscribe() else { return };
                while let Ok(limit) = limit.recv().await {
                    seen.push(limit);
                }
            });
        });
        let db = builder.build().unwrap();
        assert_eq!(db.consumer::<u64>("limit").unwrap().latest(), Some(7), "{cfg}");
        db.start();
        runtime.run_until_idle();
        db.producer::<u64>("limit").unwrap().try_produce(8).unwrap();
        runtime.run_until_idle();
        assert_eq!(seen.values(), [7, 8], "{cfg}");
    }
}

#[test]
fn a_join_has_an_initial_value_from_the_start() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("limit", |reg| {
        reg.buffer(BufferCfg::latest()).initial(10).written_from_outside();
    });
    builder.configure::<u64>("level", |reg| {
        reg.buffer(BufferCfg::queue(4)).source(|_, level| async move {
            level.produce(12).await.ok();
        });
    });
    builder.configure::<bool>("alarm", |reg| {
        reg.buffer(BufferCfg::latest())
            .join((input::<u64>("level"), input::<u64>("limit")), |(level, limit)| level > limit);
    });
    let db = builder.build().unwrap();
    db.start();
    runtime.run_until_idle();
    assert_eq!(db.consumer::<bool>("alarm").unwrap().latest(), Some(true));
}

#[test]
fn what_is_wrong_with_a_processor_is_a_finding_that_names_both_ends() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("numbers", |reg| {
        reg.buffer(BufferCfg::latest()).initial(1).initial(2).source(|_, _| async {});
    });
    builder.configure::<u64>("same", |reg| {
        reg.buffer(BufferCfg::latest()).processor(input::<u64>("same"), |_, _, _| async {});
    });
    builder.configure::<u64>("results", |reg| {
        let outputs = (output::<u8>("numbers"), output::<u64>("nowhere"), output::<u64>("numbers"));
        reg.buffer(BufferCfg::latest())
            .processor_to(input::<u64>("same"), outputs, |_, _, _| async {})
            .named("work");
    });
    builder.configure::<u64>("idle", |reg| {
        let none: [aimdb_core::Input<u64>; 0] = [];
        reg.buffer(BufferCfg::latest()).processor(none, |_, _, _| async {});
    });
    assert_eq!(
        build_error(builder),
        "E10 idle: its processor `processor` has no inputs and would never produce anything; give it at least one `input::<T>(key)`
E05 numbers: its writers exclude each other: processor `work` of `results` and source `source`; a derived record follows its inputs alone: give every other writer a record of its own and join them
E22 numbers: has 2 initial values; keep one `.initial(…)` call
E06 results: its processor `work` writes `nowhere`, which does not exist; configure it: `builder.configure::<u64>(\"nowhere\", …)`
E07 results: its processor `work` writes `numbers` as `u8`, but it holds `u64`; use `output::<u64>` and that type
E24 results: its processor `work` writes `numbers` twice; name each further output once; the producer of the record itself is the first of the pair
E09 same: depends on itself: same → same; break the cycle: let one of these stages read a record that a source or a link writes"
    );
}

#[test]
fn a_record_is_named_once_among_the_outputs_and_a_mailbox_once_among_the_inputs() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("command", |reg| {
        reg.buffer(BufferCfg::mailbox()).written_from_outside();
    });
    builder.configure::<u64>("own", |reg| {
        let inputs = [input::<u64>("command"), input::<u64>("command")];
        reg.buffer(BufferCfg::latest()).read_from_outside();
        reg.processor_to(inputs, output::<u64>("own"), |_, _, _| async {});
    });
    assert_eq!(
        build_error(builder),
        "E16 command: its mailbox gives each command to one taker, but has 2: processor `processor` of `own` and processor `processor` of `own`; keep one, declare the record `.shared()` if they are meant to divide the commands, or use a queue
E24 own: its processor `processor` writes `own` twice; name each further output once; the producer of the record itself is the first of the pair"
    );
}

#[test]
fn a_cycle_through_a_further_output_is_found() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("a", |reg| {
        reg.buffer(BufferCfg::latest());
    });
    builder.configure::<u64>("b", |reg| {
        reg.buffer(BufferCfg::latest()).processor_to(
            input::<u64>("a"),
            output::<u64>("a"),
            |_, _, _| async {},
        );
    });
    let error = build_error(builder);
    assert!(error.starts_with("E09 a: depends on itself: a → a;"), "{error}");
}

#[test]
fn several_processors_may_write_one_record() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = graph(&runtime);
    builder.configure::<u64>("doubles", |reg| {
        reg.processor(input::<u64>("numbers"), double);
    });
    let db = builder.build().unwrap();
    assert!(db.graph().to_string().contains("processor double#2 of numbers"));
}

#[test]
fn an_outer_join_runs_at_every_change_and_says_which_input_changed() {
    type Seen = (Option<u64>, Option<u64>, usize);
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    for key in ["a", "b"] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(BufferCfg::queue(8)).written_from_outside();
        });
    }
    let (inputs, seen) = ((input::<u64>("a"), input::<u64>("b")), Recorder::<Seen>::new());
    builder.configure::<u64>("joined", |reg| {
        let seen = seen.clone();
        reg.buffer(BufferCfg::queue(8)).outer_join(inputs, move |(a, b), changed| {
            seen.push((a, b, changed));
            (changed == 1).then_some(0)
        });
    });
    let db = builder.build().unwrap();
    let mut joined = db.consumer::<u64>("joined").unwrap().subscribe().unwrap();
    db.start();
    for (key, value) in [("b", 1), ("b", 2), ("a", 3), ("b", 4)] {
        db.producer::<u64>(key).unwrap().try_produce(value).unwrap();
        runtime.run_until_idle();
    }
    let (a, none) = (Some(3), None);
    assert_eq!(
        seen.values(),
        [(none, Some(1), 1), (none, Some(2), 1), (a, Some(2), 0), (a, Some(4), 1)]
    );
    assert_eq!(std::iter::from_fn(|| joined.try_recv().ok()).count(), 3);
}

#[test]
fn for_each_sees_every_value_and_fails_with_its_first_error_unless_a_policy_goes_on() {
    let runtime = Arc::new(TestRuntime::new());
    let (all, some, skipped) = (Recorder::new(), Recorder::new(), Recorder::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    let refuse_two = |number: u64| if number == 2 { Err("two") } else { Ok(()) };
    builder.configure::<u64>("numbers", |reg| {
        reg.buffer(BufferCfg::queue(8)).written_from_outside();
        let seen = all.clone();
        reg.for_each(move |_, number| seen.push(number)).named("all");
        let seen = some.clone();
        reg.for_each(move |_, number| {
            seen.push(number);
            refuse_two(number)
        })
        .named("some");
        let seen = skipped.clone();
        reg.for_each_with(Restart::skip_failures(), move |_, number| {
            refuse_two(number)?;
            seen.push(number);
            Ok::<(), &str>(())
        })
        .named("skipping");
    });
    let db = builder.build().unwrap();
    db.start();
    let numbers = db.producer::<u64>("numbers").unwrap();
    (1..=3).for_each(|number| numbers.try_produce(number).unwrap());
    runtime.run_until_idle();
    assert_eq!((all.values(), some.values()), (vec![1, 2, 3], vec![1, 2]));
    assert_eq!(skipped.values(), [1, 3]);
    assert_eq!(state(&db, "some"), (StageState::Failed, Some("two".into()), 0));
    assert_eq!(state(&db, "skipping"), (StageState::Running, Some("two".into()), 1));
}
