//! Whole graphs under schedules that a seed chooses: the engine's suite, and scenarios with exact accounts.
//!
//! ```sh
//! AIMDB_SEEDS=10000 cargo test -p aimdb-testing --test seeds --release  # the seeds from 0 on, 100 unless set
//! AIMDB_SEED=4711 cargo test -p aimdb-testing --test seeds a_join       # one seed, of the cases named so
//! ```
//!
//! A failure prints its seed, its case and the command that runs it again. In a scenario the seed also chooses the
//! graph: how many stages, values and places, and where something fails.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Once};
use std::task::Poll;
use std::time::Duration;

use aimdb_core::health::{DbState, StageState};
use aimdb_core::{
    AimDb, AimDbBuilder, BufferCfg, Consumer, Incoming, Producer, Registrar, Restart, Runtime,
    RuntimeContext, ShutdownReport, decode_with, encode_with, input,
};
use aimdb_testing::{Fault, MemoryPeer, Notes, TestRuntime};
use fastrand::Rng;

type Db = AimDb<TestRuntime>;
type Builder = AimDbBuilder<TestRuntime>;
type Context = RuntimeContext<TestRuntime>;
type Reg<'r> = Registrar<'r, u64, TestRuntime>;

/// More than anything takes by the virtual clock.
const AMPLE: Duration = Duration::from_secs(60);

mod engine {
    aimdb_testing::engine_conformance!(super::run);
}

/// Faults of the engine that the scenarios found, each as small as it gets.
mod found {
    use super::*;

    fn alone<F: Future<Output = ()>>(case: impl FnOnce(Arc<TestRuntime>) -> F) {
        let runtime = Arc::new(TestRuntime::new());
        runtime.block_on(case(Arc::clone(&runtime)));
        runtime.drop_tasks();
    }

    fn fill(db: &Db, key: &str, values: std::ops::Range<u64>) {
        let producer = db.producer::<u64>(key).expect("the record is there");
        values.for_each(|value| producer.try_produce(value).expect("there is room"));
    }

    /// A tap that takes one value and does nothing more.
    fn tap_and_hang(reg: &mut Reg<'_>) {
        reg.tap(|_: Context, record: Consumer<u64, _>| async move {
            let mut reader = record.subscribe().expect("a tap may read");
            reader.recv().await.expect("the record is open");
            std::future::pending::<()>().await;
        });
    }

    /// `a_deadline_counts_what_each_of_several_stages_had`, seed 1. `engine/shutdown.rs`, `has_finished`: it looks for
    /// the reader's stage by the record that is read, but a transform's cell has the record that it writes. So the
    /// transform `a` → `b`, which has finished, is taken for the transform `b` → `c`, which reads `b` under the same
    /// name, and the value that `b` → `c` had in hand is in nobody's account.
    #[test]
    fn what_the_second_of_two_transforms_had_in_hand_is_reported() {
        alone(|runtime| async move {
            let db = build(&runtime, |builder| {
                builder.configure::<u64>("a", |reg| {
                    reg.buffer(BufferCfg::SpmcQueue { capacity: 4 });
                });
                builder.configure::<u64>("b", |reg| {
                    reg.buffer(BufferCfg::SpmcQueue { capacity: 4 });
                    reg.transform(input::<u64>("a"), |value| value);
                });
                builder.configure::<u64>("c", |reg| {
                    reg.buffer(BufferCfg::SpmcQueue { capacity: 1 });
                    reg.transform(input::<u64>("b"), |value| value);
                    tap_and_hang(reg);
                });
            });
            fill(&db, "a", 0..4);
            db.start();
            let report = db.shutdown(Duration::from_millis(10)).await;
            assert_eq!((left_of(&report, "b"), left_of(&report, "c")), (2, 2), "{report}");
        });
    }

    /// `a_deadline_counts_what_a_join_had`, seed 1. `engine/transform.rs`, `JoinStage::poll`: only the next read of the
    /// same leg says that its last value has been dealt with (`Held::empty_hand` in `buffer/cursor.rs`). A join that
    /// waits with an output made from another leg has not asked this leg again, and its value, which is in the output
    /// record, is reported as interrupted too.
    #[test]
    fn a_join_has_one_value_in_hand_not_one_of_each_leg() {
        alone(|runtime| async move {
            let db = build(&runtime, |builder| {
                for key in ["a", "b"] {
                    builder.configure::<u64>(key, |reg| {
                        reg.buffer(BufferCfg::SpmcQueue { capacity: 4 });
                    });
                }
                builder.configure::<u64>("out", |reg| {
                    reg.buffer(BufferCfg::SpmcQueue { capacity: 1 });
                    reg.join((input::<u64>("a"), input::<u64>("b")), |(a, b)| a + b);
                    tap_and_hang(reg);
                });
            });
            fill(&db, "a", 0..3);
            fill(&db, "b", 0..3);
            db.start();
            let report = db.shutdown(Duration::from_millis(10)).await;
            // Of six inputs the first makes no output, two outputs are at the tap, and three are left.
            assert_eq!(left_of(&report, "out"), 2, "{report}");
            assert_eq!(left_of(&report, "a") + left_of(&report, "b"), 3, "{report}");
        });
    }

    /// `a_deadline_counts_what_each_of_several_stages_had`, seed 15 once the first fault is fixed. `handle.rs`, `Reader::poll`: after 128 values a
    /// reader gives way before it asks its subscription, so the 128th is not noted as dealt with. A stage that is cut off
    /// in that moment has it counted as interrupted, though the transform has passed it on (and a tap is done with it).
    #[test]
    fn a_stage_that_gives_way_has_nothing_in_hand() {
        alone(|runtime| async move {
            let db = build(&runtime, |builder| {
                builder.configure::<u64>("in", |reg| {
                    reg.buffer(BufferCfg::SpmcQueue { capacity: 200 });
                });
                builder.configure::<u64>("out", |reg| {
                    reg.buffer(BufferCfg::SpmcQueue { capacity: 200 });
                    reg.transform(input::<u64>("in"), |value| value);
                });
            });
            fill(&db, "in", 0..130);
            db.start();
            give_way().await;
            let report = db.shutdown(Duration::ZERO).await;
            let passed_on = db.metrics().record("out").expect("the record is there").produced;
            assert_eq!(
                passed_on + report.total_undelivered(),
                130,
                "{passed_on} passed on; {report}"
            );
        });
    }
}

mod scenarios {
    macro_rules! under_seeds {
        ($($scenario:ident)*) => {$(
            #[test]
            fn $scenario() {
                super::run_drawn(super::$scenario);
            }
        )*};
    }

    under_seeds! {
        a_graph_drains_upstream_first
        overwritten_values_are_counted
        a_join_answers_each_value_once_it_has_one_of_each
        shared_takers_answer_for_every_command
        restarted_stages_lose_only_what_they_had_in_hand
        links_bring_everything_over_a_connection_that_fails
        a_shutdown_accounts_for_what_links_did_not_bring
        a_connector_that_fails_at_its_start_leaves_the_rest_running
        a_stage_that_asks_for_the_shutdown_loses_nothing
        a_failure_that_stops_everything_loses_nothing
        a_deadline_cuts_off_and_counts
        a_deadline_counts_what_shared_takers_had
        links_from_records_that_overwrite_count_what_they_lost
        a_deadline_counts_what_each_of_several_stages_had
        a_deadline_counts_what_a_join_had
        writers_outside_meet_a_shutdown
        a_start_may_meet_a_shutdown
        all_who_shut_down_get_one_report
        a_dropped_database_ends_every_stage
        futures_dropped_half_way_lose_nothing
    }
}

// Running under seeds.

/// Runs a case of a suite.
fn run<F: Future<Output = ()>>(case: impl Fn(Arc<TestRuntime>) -> F) {
    under_each_seed(std::any::type_name_of_val(&case), |_, runtime| case(runtime));
}

/// Runs a scenario, which draws its parts.
fn run_drawn<F: Future<Output = ()>>(scenario: impl Fn(Arc<TestRuntime>, Rng) -> F) {
    under_each_seed(std::any::type_name_of_val(&scenario), |seed, runtime| {
        scenario(runtime, Rng::with_seed(!seed))
    });
}

fn under_each_seed<F: Future<Output = ()>>(case: &str, make: impl Fn(u64, Arc<TestRuntime>) -> F) {
    let path = case.split('<').next().unwrap_or(case);
    let name = path.rsplit("::").next().unwrap_or(path);
    keep_panics_quiet();
    for seed in seeds() {
        if let Err(panic) = try_seed(seed, |runtime| make(seed, runtime)) {
            panic!(
                "`{name}` fails with the seed {seed}: {panic}\n\
                 again: AIMDB_SEED={seed} cargo test -p aimdb-testing --test seeds {name}"
            );
        }
    }
}

/// `AIMDB_SEED` alone, or the first `AIMDB_SEEDS`.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
    };
    match number("AIMDB_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("AIMDB_SEEDS").unwrap_or(100),
    }
}

/// One run. When it is over, nothing goes on and nothing holds the runtime.
fn try_seed<F: Future<Output = ()>>(
    seed: u64,
    make: impl FnOnce(Arc<TestRuntime>) -> F,
) -> Result<(), String> {
    let runtime = Arc::new(TestRuntime::seeded(seed));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(make(Arc::clone(&runtime)));
        runtime.run_until_idle();
        assert_eq!(runtime.tasks(), 0, "tasks of databases that are gone go on");
    }));
    runtime.drop_tasks();
    outcome.map_err(|_| LAST_PANIC.take())?;
    match Arc::strong_count(&runtime) {
        1 => Ok(()),
        more => Err(format!("{} still hold the runtime", more - 1)),
    }
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Stages of the suite panic on purpose, thousands of times: a panic is told only if it ends a run.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.location().is_some_and(|at| at.file().ends_with("seeds.rs"))
                && info.payload_as_str().is_some_and(|text| text.contains("again: AIMDB_SEED="))
            {
                tell(info);
            } else {
                LAST_PANIC.set(info.to_string());
            }
        }));
    });
}

// The parts of the scenarios.

fn queue(rng: &mut Rng) -> BufferCfg {
    BufferCfg::SpmcQueue { capacity: rng.usize(1..5) }
}

fn build(runtime: &Arc<TestRuntime>, declare: impl FnOnce(&mut Builder)) -> Db {
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(runtime));
    declare(&mut builder);
    builder.build().expect("the scenario's graph is valid")
}

/// Goes on at once, or gives way to the other tasks, or sleeps for up to three milliseconds.
async fn dawdle(runtime: &TestRuntime, rng: &mut Rng) {
    match rng.u8(..8) {
        0 => pause(runtime, rng.u64(1..4)).await,
        1 | 2 => give_way().await,
        _ => {}
    }
}

async fn pause(runtime: &TestRuntime, millis: u64) {
    runtime.sleep_until(runtime.now() + Duration::from_millis(millis)).await;
}

/// Pending once, and woken at once.
async fn give_way() {
    let mut given = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut given, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// `future`, dropped if it is not ready after one poll and `more`. Other tasks may have woken it by then: it is not asked
/// again.
async fn half<F: Future>(future: F, more: u32) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), more + 1);
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        cx.waker().wake_by_ref();
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// A source of `values` that notes what was accepted, and returns when it is done or the record is closed.
fn source(reg: &mut Reg<'_>, values: std::ops::Range<u64>, accepted: &Notes<u64>, rng: &mut Rng) {
    let (accepted, mut rng) = (accepted.clone(), rng.fork());
    reg.source(move |ctx: Context, record: Producer<u64, _>| async move {
        for value in values {
            // Noted before the task can be ended between the two.
            let produced = record.produce(value);
            if noting(produced, || accepted.add(value)).await.is_err() {
                return;
            }
            dawdle(ctx.runtime(), &mut rng).await;
        }
    });
}

/// `future`, with a note in the same poll in which it succeeds.
async fn noting<O, E>(
    future: impl Future<Output = Result<O, E>>,
    note: impl FnOnce(),
) -> Result<O, E> {
    let outcome = future.await;
    if outcome.is_ok() {
        note();
    }
    outcome
}

/// A tap that notes every value and, at its end, how many it lost.
fn tap(reg: &mut Reg<'_>, seen: &Notes<u64>, lagged: &Notes<u64>, rng: &mut Rng) {
    let (seen, lagged, mut rng) = (seen.clone(), lagged.clone(), rng.fork());
    reg.tap(move |ctx: Context, record: Consumer<u64, _>| async move {
        let mut reader = record.subscribe().expect("a tap may read");
        while let Ok(value) = reader.recv().await {
            seen.add(value);
            dawdle(ctx.runtime(), &mut rng).await;
        }
        lagged.add(reader.lagged());
    });
}

/// Every stage has ended, every record is closed.
fn assert_ended(db: &Db) {
    let health = db.health();
    assert_eq!(health.state, DbState::Stopped);
    assert!(health.stages.iter().all(|stage| stage.state.is_terminal()), "{health}");
    for record in &db.graph().records {
        let producer = db.producer::<u64>(record.key.as_str()).expect("the record is there");
        assert!(producer.is_closed(), "{} is open", record.key);
    }
}

/// Each reader of the graph has got, lost or still before it all that the record accepted.
fn assert_balanced(db: &Db) {
    for record in db.metrics().records {
        for reader in record.readers.iter().filter(|reader| reader.name != "outside") {
            let all = reader.delivered + reader.lagged + reader.pending;
            assert!(all == record.produced || record.buffer == BufferCfg::Mailbox, "{record}");
        }
    }
}

/// Lets time go by, less than so many milliseconds, or only lets others run for a moment while they are busy. Looks at
/// the metrics now and then.
async fn wait(db: &Db, rng: &mut Rng, millis: u64) {
    let idle = rng.bool();
    for _ in 0..rng.u64(..millis) {
        assert_balanced(db);
        match idle {
            true => pause(db.runtime(), 1).await,
            false => give_way().await,
        }
    }
    assert_balanced(db);
}

/// Waits for the end of all stages, without a shutdown.
async fn have_ended(db: &Db) {
    for _ in 0..1000 {
        if db.health().stages.iter().all(|stage| stage.state.is_terminal()) {
            return;
        }
        pause(db.runtime(), 1).await;
    }
    panic!("after a second of virtual time there are still stages: {}", db.health());
}

/// A shutdown with time enough leaves nothing.
async fn shut_down(db: &Db) -> ShutdownReport {
    let report = db.shutdown(AMPLE).await;
    assert!(report.is_clean(), "{report}");
    assert_ended(db);
    report
}

fn sum(notes: &Notes<u64>) -> u64 {
    notes.all().iter().sum()
}

fn left_of(report: &ShutdownReport, record: &str) -> u64 {
    let of_record = report.undelivered.iter().filter(|left| left.record == record);
    of_record.map(|left| left.unread + left.interrupted).sum()
}

// The scenarios.

/// Sources and transforms on queues, each transform from any record before it, taps anywhere. The shutdown comes at any
/// time; each value that the sources had got rid of by then reaches every tap downstream, in order.
async fn a_graph_drains_upstream_first(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let (sources, transforms) = (rng.usize(1..4), rng.usize(0..5));
    let accepted: Vec<Notes<u64>> = (0..sources).map(|_| Notes::new()).collect();
    let mut seen: Vec<(usize, Notes<u64>)> = Vec::new();
    let db = build(&runtime, |builder| {
        let mut roots: Vec<usize> = (0..sources).collect();
        for at in 0..sources + transforms {
            let cfg = queue(&mut rng);
            if at >= sources {
                roots.push(roots[rng.usize(..at)]);
            }
            let taps = rng.usize(0..3);
            builder.configure::<u64>(at.to_string(), |reg| {
                reg.buffer(cfg);
                if at < sources {
                    source(reg, 0..rng.u64(0..30), &accepted[at], &mut rng);
                } else {
                    // From any record before it that has the same root, which all lead to.
                    let from = (0..at).rev().find(|&from| roots[from] == roots[at]);
                    let from = from.expect("its root, at least");
                    reg.transform(input::<u64>(from.to_string()), |value| value);
                }
                for _ in 0..taps {
                    seen.push((roots[at], Notes::new()));
                    tap(reg, &seen.last().expect("just pushed").1, &Notes::new(), &mut rng);
                }
            });
        }
    });
    if rng.bool() {
        pause(&runtime, 1).await;
    }
    db.start();
    wait(&db, &mut rng, 20).await;
    shut_down(&db).await;
    for (root, seen) in seen {
        assert_eq!(seen.all(), accepted[root].all());
    }
    for (at, accepted) in accepted.iter().enumerate() {
        assert_eq!(db.metrics().records[at].produced, accepted.count() as u64);
    }
}

/// On a ring and a latest record: seen and lagged are what was produced, for each tap, up to the last value.
async fn overwritten_values_are_counted(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let cfg = match rng.bool() {
        true => BufferCfg::SpmcRing { capacity: rng.usize(1..5) },
        false => BufferCfg::SingleLatest,
    };
    let accepted = Notes::new();
    let taps: Vec<_> = (0..rng.usize(1..4)).map(|_| (Notes::new(), Notes::new())).collect();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfg);
            source(reg, 0..rng.u64(1..200), &accepted, &mut rng);
            taps.iter().for_each(|(seen, lagged)| tap(reg, seen, lagged, &mut rng));
        });
    });
    db.start();
    wait(&db, &mut rng, 30).await;
    let seen_by_all = || taps.iter().map(|(seen, _)| seen.count() as u64).sum::<u64>();
    let before = seen_by_all();
    let report = shut_down(&db).await;
    assert_eq!(report.drained, seen_by_all() - before);
    for (seen, lagged) in taps {
        assert_eq!(seen.count() as u64 + sum(&lagged), accepted.count() as u64, "{cfg}");
        assert!(seen.all().is_sorted_by(|a, b| a < b));
        assert_eq!(seen.all().last(), accepted.all().last());
    }
}

/// Each output is read, the last one is made of the last of each, and no input is left.
async fn a_join_answers_each_value_once_it_has_one_of_each(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let accepted: [Notes<u64>; 3] = Default::default();
    let (made, seen) = (Notes::new(), Notes::new());
    let note = made.clone();
    let db = build(&runtime, |builder| {
        for (at, accepted) in accepted.iter().enumerate() {
            let cfg = queue(&mut rng);
            builder.configure::<u64>(at.to_string(), |reg| {
                reg.buffer(cfg);
                source(reg, 1..rng.u64(1..20), accepted, &mut rng);
            });
        }
        let cfg = queue(&mut rng);
        builder.configure::<u64>("sum", |reg| {
            let inputs = ["0", "1", "2"].map(input::<u64>);
            reg.buffer(cfg).join(inputs, move |[a, b, c]| {
                note.add([a, b, c]);
                a + b + c
            });
            tap(reg, &seen, &Notes::new(), &mut rng);
        });
    });
    db.start();
    wait(&db, &mut rng, 20).await;
    shut_down(&db).await;
    let made = made.all();
    assert_eq!(seen.all(), made.iter().map(|latest| latest.iter().sum()).collect::<Vec<u64>>());
    let lasts: Option<Vec<u64>> =
        accepted.iter().map(|values| values.all().last().copied()).collect();
    assert_eq!(made.last().map(|last| last.to_vec()), lasts);
    let Some(first) = made.first() else { return };
    // The inputs before there was one of each make one output together.
    let before: u64 = first.iter().sum::<u64>() - 1;
    let inputs: u64 = accepted.iter().map(|values| values.count() as u64).sum();
    assert_eq!(made.len() as u64, inputs - before);
}

/// Every command is taken once or was replaced by a newer one, which its taker is told; the last one is taken.
async fn shared_takers_answer_for_every_command(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let (seen, lagged, accepted) = (Notes::new(), Notes::new(), Notes::new());
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(BufferCfg::Mailbox).shared();
            source(reg, 0..rng.u64(1..40), &accepted, &mut rng);
            for _ in 0..rng.usize(1..5) {
                tap(reg, &seen, &lagged, &mut rng);
            }
        });
    });
    db.start();
    wait(&db, &mut rng, 20).await;
    shut_down(&db).await;
    let taken: BTreeSet<u64> = seen.all().into_iter().collect();
    assert_eq!(taken.len(), seen.count(), "a command was taken twice");
    assert_eq!(seen.count() as u64 + sum(&lagged), accepted.count() as u64);
    assert_eq!(taken.last(), accepted.all().last());
}

/// A source and a tap that fail and panic here and there, and begin again.
async fn restarted_stages_lose_only_what_they_had_in_hand(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let policy = Restart::on_failure().backoff(Duration::from_millis(1), Duration::from_millis(4));
    let end = rng.u64(1..30);
    let (accepted, seen, taken) = (Notes::new(), Notes::new(), Notes::new());
    let fails = move |rng: &mut Rng, ctx: &Context| match rng.u8(..16) {
        0 => panic!("on purpose"),
        1 => {
            ctx.fail("on purpose");
            true
        }
        _ => false,
    };
    let cfg = queue(&mut rng);
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            let (produced, dice) = (accepted.clone(), rng.u64(..));
            reg.buffer(cfg).source_with(policy, move |ctx: Context, record: Producer<u64, _>| {
                let produced = produced.clone();
                let mut rng =
                    Rng::with_seed(dice ^ produced.count() as u64 ^ ctx.time().now().as_nanos());
                async move {
                    while (produced.count() as u64) < end {
                        let value = produced.count() as u64;
                        let done = noting(record.produce(value), || produced.add(value)).await;
                        if done.is_err() || fails(&mut rng, &ctx) {
                            return;
                        }
                        dawdle(ctx.runtime(), &mut rng).await;
                    }
                }
            });
            let (note, took, dice) = (seen.clone(), taken.clone(), rng.u64(..));
            reg.tap_with(policy, move |ctx: Context, record: Consumer<u64, _>| {
                let (note, took) = (note.clone(), took.clone());
                let mut rng =
                    Rng::with_seed(dice ^ note.count() as u64 ^ ctx.time().now().as_nanos());
                async move {
                    let mut reader = record.subscribe().expect("a tap may read");
                    while let Ok(value) = reader.recv().await {
                        took.add(value);
                        dawdle(ctx.runtime(), &mut rng).await;
                        if fails(&mut rng, &ctx) {
                            return;
                        }
                        note.add(value);
                    }
                }
            });
        });
    });
    db.start();
    wait(&db, &mut rng, 60).await;
    shut_down(&db).await;
    // The tap took each value once and in order; a value in whose work it failed is not in `seen`.
    assert_eq!(taken.all(), accepted.all());
    let health = db.health();
    let tap = health.stage("record", "tap").expect("there is a tap");
    assert_eq!(tap.state, StageState::Finished);
    assert_eq!(taken.count() - seen.count(), tap.restarts as usize);
}

/// A number as a payload, and back.
fn link_in(reg: &mut Reg<'_>, address: &str) {
    let codec = decode_with(|message: &Incoming<'_>| {
        let bytes = message.payload.try_into().map_err(|_| "not eight bytes")?;
        Ok::<u64, &str>(u64::from_le_bytes(bytes))
    });
    reg.link_from(address, codec);
}

fn link_out(reg: &mut Reg<'_>, address: &str) {
    let codec = encode_with(|value: &u64, out: &mut Vec<u8>| {
        out.extend_from_slice(&value.to_le_bytes());
        Ok::<(), String>(())
    });
    reg.link_to(address, codec);
}

/// The numbers that came under a topic.
fn arrived(peer: &MemoryPeer, topic: &str) -> Vec<u64> {
    let number = |payload: Vec<u8>| u64::from_le_bytes(payload.try_into().expect("eight bytes"));
    peer.received(topic).into_iter().map(number).collect()
}

fn publish(peer: &MemoryPeer, topic: &str, values: std::ops::Range<u64>) {
    values.for_each(|value| peer.publish(topic, value.to_le_bytes()));
}

/// Without those that came twice in a row.
fn once_each(mut values: Vec<u64>) -> Vec<u64> {
    values.dedup();
    values
}

/// Some of all faults, at messages that there will be.
fn draw_faults(rng: &mut Rng, peer: &MemoryPeer, messages: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    for _ in 0..rng.usize(..6) {
        let nth = rng.u64(1..messages.max(2));
        let fault = match rng.u8(..6) {
            0 => Fault::Connect(nth.min(3)),
            1 => Fault::Send(nth),
            2 => Fault::SendAcknowledgement(nth),
            3 => Fault::Receive(nth),
            4 => Fault::ReceiveAcknowledgement(nth),
            _ => Fault::Repeat(nth),
        };
        if !faults.contains(&fault) {
            peer.fail(fault);
            faults.push(fault);
        }
    }
    faults
}

/// In, through a transform, and out, and from a source out: at least once, in order, whatever fails, and counted.
async fn links_bring_everything_over_a_connection_that_fails(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let peer = MemoryPeer::new();
    let messages = rng.u64(0..15);
    draw_faults(&mut rng, &peer, messages);
    let (accepted, seen) = (Notes::new(), Notes::new());
    let db = build(&runtime, |builder| {
        builder.connector(peer.connector());
        let cfgs = [queue(&mut rng), queue(&mut rng), queue(&mut rng)];
        builder.configure::<u64>("in", |reg| {
            reg.buffer(cfgs[0]);
            link_in(reg, "memory://in");
            tap(reg, &seen, &Notes::new(), &mut rng);
        });
        builder.configure::<u64>("through", |reg| {
            reg.buffer(cfgs[1]).transform(input::<u64>("in"), |value| value);
            link_out(reg, "memory://through");
        });
        builder.configure::<u64>("out", |reg| {
            reg.buffer(cfgs[2]);
            source(reg, 0..messages, &accepted, &mut rng);
            link_out(reg, "memory://out");
        });
    });
    db.start();
    publish(&peer, "in", 0..messages);
    if rng.bool() {
        pause(&runtime, rng.u64(0..5)).await;
        peer.disconnect();
        pause(&runtime, rng.u64(0..50)).await;
        peer.accept();
    }
    while peer.unacknowledged("in") > 0 {
        pause(&runtime, 1).await;
    }
    shut_down(&db).await;
    assert_eq!(once_each(seen.all()), Vec::from_iter(0..messages));
    assert_eq!(once_each(arrived(&peer, "through")), Vec::from_iter(0..messages));
    assert_eq!(once_each(arrived(&peer, "out")), accepted.all());

    let (metrics, counts) = (db.metrics(), peer.counts());
    let link = |key, address| metrics.link(key, address).expect("the link is there");
    let sent = [link("through", "memory://through").sent, link("out", "memory://out").sent];
    assert_eq!(sent, [seen.count() as u64, accepted.count() as u64]);
    assert_eq!(link("in", "memory://in").received, seen.count() as u64);
    assert_eq!(counts.acknowledged, messages);
    assert!(counts.received >= sent[0] + sent[1]);
    assert!(counts.given >= seen.count() as u64);
}

/// At any time and with any deadline, the peer perhaps gone for good: sent and left are what the records accepted.
async fn a_shutdown_accounts_for_what_links_did_not_bring(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let peer = MemoryPeer::new();
    draw_faults(&mut rng, &peer, 10);
    let (accepted, seen) = (Notes::new(), Notes::new());
    let db = build(&runtime, |builder| {
        builder.connector(peer.connector());
        let cfgs = [queue(&mut rng), queue(&mut rng)];
        builder.configure::<u64>("in", |reg| {
            reg.buffer(cfgs[0]);
            link_in(reg, "memory://in");
            tap(reg, &seen, &Notes::new(), &mut rng);
        });
        builder.configure::<u64>("out", |reg| {
            reg.buffer(cfgs[1]);
            source(reg, 0..20, &accepted, &mut rng);
            link_out(reg, "memory://out");
        });
    });
    db.start();
    publish(&peer, "in", 0..20);
    pause(&runtime, rng.u64(0..5)).await;
    let mut deadline = Duration::from_millis(rng.u64(0..8));
    if rng.bool() {
        peer.disconnect();
        wait(&db, &mut rng, 5).await;
    } else if rng.bool() {
        deadline = AMPLE;
    }
    let report = db.shutdown(deadline).await;
    assert!(deadline < AMPLE || report.is_clean(), "{report}");
    assert_ended(&db);
    let metrics = db.metrics();
    let sent = metrics.link("out", "memory://out").expect("the link is there").sent;
    assert_eq!(sent + left_of(&report, "out"), accepted.count() as u64, "{report}");
    assert_eq!(
        once_each(arrived(&peer, "out")).len() as u64 - sent,
        u64::from(peer_has_more(&peer, sent))
    );
    // A tap notes what it took at once, and may be busy still: then it is counted on both sides.
    let produced = metrics.record("in").expect("the record is there").produced;
    let unread: u64 =
        report.undelivered.iter().filter(|left| left.record == "in").map(|left| left.unread).sum();
    assert_eq!(seen.count() as u64 + unread, produced, "{report}");
    if report.is_clean() {
        // All messages that the link had accepted are in the record.
        let received = metrics.link("in", "memory://in").expect("the link is there").received;
        assert_eq!(received, produced);
    }
    let acknowledged = 20 - peer.unacknowledged("in") as u64;
    assert!(produced >= acknowledged, "{produced} in the record of {acknowledged} acknowledged");
}

/// Whether the peer has one message of which the sender does not know.
fn peer_has_more(peer: &MemoryPeer, sent: u64) -> bool {
    once_each(arrived(peer, "out")).len() as u64 > sent
}

/// Its links are gone; records and stages that have nothing to do with it go on, and the end is orderly.
async fn a_connector_that_fails_at_its_start_leaves_the_rest_running(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let peer = MemoryPeer::new();
    peer.fail(Fault::Start);
    let (accepted, seen) = (Notes::new(), Notes::new());
    let values = rng.u64(1..20);
    let db = build(&runtime, |builder| {
        builder.connector(peer.connector());
        let cfg = queue(&mut rng);
        builder.configure::<u64>("in", |reg| {
            reg.buffer(cfg);
            link_in(reg, "memory://in");
            tap(reg, &Notes::new(), &Notes::new(), &mut rng);
        });
        builder.configure::<u64>("out", |reg| {
            reg.buffer(cfg);
            source(reg, 0..values, &accepted, &mut rng);
            tap(reg, &seen, &Notes::new(), &mut rng);
            link_out(reg, "memory://out");
        });
    });
    db.start();
    pause(&runtime, 100).await;
    assert_eq!(seen.all(), Vec::from_iter(0..values));
    let report = db.shutdown(AMPLE).await;
    assert_ended(&db);
    assert_eq!(report.failures.len(), 1, "{report}");
    assert!(report.aborted.is_empty() && report.unresponsive.is_empty(), "{report}");
    assert_eq!(peer.counts().connections, 0);
}

/// The tap that asks, and every other one, gets what was accepted before and until the sources were stopped.
async fn a_stage_that_asks_for_the_shutdown_loses_nothing(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let (accepted, seen, asked) = (Notes::new(), Notes::new(), Notes::new());
    let at = rng.u64(0..20);
    let cfg = queue(&mut rng);
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfg);
            source(reg, 0..u64::MAX, &accepted, &mut rng);
            tap(reg, &seen, &Notes::new(), &mut rng);
            let (asked, mut rng) = (asked.clone(), rng.fork());
            reg.tap(move |ctx: Context, record: Consumer<u64, _>| async move {
                let mut reader = record.subscribe().expect("a tap may read");
                while let Ok(value) = reader.recv().await {
                    asked.add(value);
                    if value == at {
                        ctx.shutdown();
                    }
                    dawdle(ctx.runtime(), &mut rng).await;
                }
            });
        });
    });
    db.run().await.expect("nothing fails");
    assert_ended(&db);
    assert_eq!((seen.all(), asked.all()), (accepted.all(), accepted.all()));
    assert!(accepted.count() as u64 > at);
}

/// `run` gives the failure; each accepted value reaches the tap that did not fail.
async fn a_failure_that_stops_everything_loses_nothing(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let (accepted, seen) = (Notes::new(), Notes::new());
    let at = rng.u64(0..20);
    let panics = rng.bool();
    let cfg = queue(&mut rng);
    let db = build(&runtime, |builder| {
        builder.stop_on_failure();
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfg);
            source(reg, 0..u64::MAX, &accepted, &mut rng);
            tap(reg, &seen, &Notes::new(), &mut rng);
            reg.tap(move |ctx: Context, record: Consumer<u64, _>| async move {
                let mut reader = record.subscribe().expect("a tap may read");
                while reader.recv().await.is_ok_and(|value| value < at) {}
                assert!(!panics, "on purpose");
                ctx.fail("on purpose");
            });
        });
    });
    let outcome = db.run().await;
    assert!(matches!(outcome, Err(aimdb_core::DbError::StagesFailed { .. })), "{outcome:?}");
    assert_ended(&db);
    assert_eq!(seen.all(), accepted.all());
}

/// Taps that take a millisecond for each value, one that hangs or returns before the end, deadlines that fall together with their timers.
async fn a_deadline_cuts_off_and_counts(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let values = rng.u64(0..8);
    let slow: Vec<Notes<u64>> = (0..rng.usize(1..4)).map(|_| Notes::new()).collect();
    let stuck = Notes::new();
    let (ends_at, returns) = (rng.u64(0..8), rng.bool());
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 8 });
            for done in &slow {
                let done = done.clone();
                reg.tap(move |ctx: Context, record: Consumer<u64, _>| async move {
                    let mut reader = record.subscribe().expect("a tap may read");
                    while let Ok(value) = reader.recv().await {
                        pause(ctx.runtime(), 1).await;
                        done.add(value);
                    }
                });
            }
            let stuck = stuck.clone();
            reg.tap(move |_: Context, record: Consumer<u64, _>| async move {
                let mut reader = record.subscribe().expect("a tap may read");
                while let Ok(value) = reader.recv().await {
                    if value == ends_at && !returns {
                        std::future::pending::<()>().await;
                    }
                    stuck.add(value);
                    if value == ends_at {
                        return;
                    }
                }
            });
        });
    });
    let producer = db.producer::<u64>("record").expect("the record is there");
    for value in 0..values {
        producer.try_produce(value).expect("there is room");
    }
    db.start();
    let report = db.shutdown(Duration::from_millis(rng.u64(0..8))).await;
    assert_ended(&db);
    assert!(report.unresponsive.is_empty(), "{report}");
    for (at, done) in slow.iter().chain([&stuck]).enumerate() {
        let name = if at == 0 { "tap".into() } else { format!("tap#{}", at + 1) };
        let left = report.undelivered.iter().find(|left| left.stage == name);
        let (unread, interrupted) = left.map_or((0, 0), |left| (left.unread, left.interrupted));
        assert_eq!(done.count() as u64 + unread + interrupted, values, "{name}: {report}");
        assert!(interrupted <= 1);
        let ended_by_itself = at == slow.len() && returns;
        if ended_by_itself {
            assert_eq!(interrupted, 0, "{report}");
        } else if unread + interrupted > 0 {
            assert!(report.aborted.iter().any(|stage| stage.stage == name), "{report}");
        }
    }
}

/// Each command was dealt with, replaced, or is left: in the mailbox, or in the hand of a taker that was cut off.
async fn a_deadline_counts_what_shared_takers_had(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let (accepted, done) = (Notes::new(), Notes::new());
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(BufferCfg::Mailbox).shared();
            source(reg, 0..rng.u64(1..40), &accepted, &mut rng);
            for _ in 0..rng.usize(1..4) {
                let (done, mut rng) = (done.clone(), rng.fork());
                reg.tap(move |ctx: Context, record: Consumer<u64, _>| async move {
                    let mut reader = record.subscribe().expect("a tap may read");
                    while let Ok(value) = reader.recv().await {
                        dawdle(ctx.runtime(), &mut rng).await;
                        done.add(value);
                    }
                });
            }
        });
    });
    db.start();
    wait(&db, &mut rng, 10).await;
    let report = db.shutdown(Duration::from_millis(rng.u64(0..5))).await;
    assert_ended(&db);
    let replaced = db.metrics().records[0].overwritten;
    let (done, left) = (done.count() as u64, report.total_undelivered());
    assert_eq!(done + replaced + left, accepted.count() as u64, "{done}, {replaced}; {report}");
}

/// From a ring, a latest record and a mailbox: each value was sent or overwritten, and the last one was sent.
async fn links_from_records_that_overwrite_count_what_they_lost(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let peer = MemoryPeer::new();
    draw_faults(&mut rng, &peer, 20);
    let cfg = match rng.u8(..3) {
        0 => BufferCfg::SpmcRing { capacity: rng.usize(1..5) },
        1 => BufferCfg::SingleLatest,
        _ => BufferCfg::Mailbox,
    };
    let accepted = Notes::new();
    let db = build(&runtime, |builder| {
        builder.connector(peer.connector());
        builder.configure::<u64>("out", |reg| {
            reg.buffer(cfg);
            source(reg, 0..rng.u64(1..60), &accepted, &mut rng);
            link_out(reg, "memory://out");
        });
    });
    db.start();
    wait(&db, &mut rng, 10).await;
    if rng.bool() {
        peer.disconnect();
        wait(&db, &mut rng, 20).await;
        peer.accept();
    }
    shut_down(&db).await;
    let metrics = db.metrics();
    let sent = metrics.link("out", "memory://out").expect("the link is there").sent;
    let arrived = once_each(arrived(&peer, "out"));
    assert_eq!(arrived.len() as u64, sent);
    assert_eq!(sent + metrics.records[0].overwritten, accepted.count() as u64, "{cfg}");
    assert!(arrived.is_sorted_by(|a, b| a < b));
    assert_eq!(arrived.last(), accepted.all().last());
}

/// A source, transforms in a row, and a slow tap, with bursts longer than a stage handles in one go: what the source got
/// rid of has reached the tap, or the report says where it is.
async fn a_deadline_counts_what_each_of_several_stages_had(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let burst = if rng.u8(..4) == 0 { rng.u64(0..400) } else { rng.u64(0..10) };
    let (accepted, done) = (Notes::new(), Notes::new());
    let transforms = rng.usize(0..4);
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("0", |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 400 });
            source(reg, burst..burst + 20, &accepted, &mut rng);
        });
        for at in 1..=transforms {
            let cfg =
                if rng.bool() { queue(&mut rng) } else { BufferCfg::SpmcQueue { capacity: 400 } };
            builder.configure::<u64>(at.to_string(), |reg| {
                reg.buffer(cfg).transform(input::<u64>((at - 1).to_string()), |value| value);
            });
        }
        builder.configure::<u64>(transforms.to_string(), |reg| {
            let (done, mut rng) = (done.clone(), rng.fork());
            reg.tap(move |ctx: Context, record: Consumer<u64, _>| async move {
                let mut reader = record.subscribe().expect("a tap may read");
                while let Ok(value) = reader.recv().await {
                    dawdle(ctx.runtime(), &mut rng).await;
                    done.add(value);
                }
            });
        });
    });
    let producer = db.producer::<u64>("0").expect("the record is there");
    for value in 0..burst {
        producer.try_produce(value).expect("there is room");
        accepted.add(value);
    }
    db.start();
    wait(&db, &mut rng, 10).await;
    let report = db.shutdown(Duration::from_millis(rng.u64(0..10))).await;
    assert_ended(&db);
    let (done, left) = (done.count() as u64, report.total_undelivered());
    assert_eq!(done + left, accepted.count() as u64, "{done} done; {report}");
}

/// Each input was made into an output that the record has, came before there was one of each, or is left.
async fn a_deadline_counts_what_a_join_had(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let accepted: [Notes<u64>; 2] = Default::default();
    let made = Notes::new();
    let note = made.clone();
    let db = build(&runtime, |builder| {
        for (at, accepted) in accepted.iter().enumerate() {
            let cfg = queue(&mut rng);
            builder.configure::<u64>(at.to_string(), |reg| {
                reg.buffer(cfg);
                source(reg, 1..rng.u64(1..20), accepted, &mut rng);
            });
        }
        let cfg = queue(&mut rng);
        builder.configure::<u64>("pair", |reg| {
            let inputs = (input::<u64>("0"), input::<u64>("1"));
            reg.buffer(cfg).join(inputs, move |(a, b)| {
                note.add([a, b]);
                a + b
            });
            let mut rng = rng.fork();
            reg.tap(move |ctx: Context, record: Consumer<u64, _>| async move {
                let mut reader = record.subscribe().expect("a tap may read");
                while reader.recv().await.is_ok() {
                    pause(ctx.runtime(), rng.u64(0..3)).await;
                }
            });
        });
    });
    db.start();
    wait(&db, &mut rng, 10).await;
    let report = db.shutdown(Duration::from_millis(rng.u64(0..10))).await;
    assert_ended(&db);
    let inputs: u64 = accepted.iter().map(|values| values.count() as u64).sum();
    let produced = db.metrics().record("pair").expect("the record is there").produced;
    let left = left_of(&report, "0") + left_of(&report, "1");
    match made.all().first() {
        Some(first) => {
            let before: u64 = first.iter().sum::<u64>() - 1;
            assert_eq!(before + produced + left, inputs, "{before}, {produced}; {report}");
        }
        None => assert!(left <= inputs && produced == 0, "{report}"),
    }
}

/// Writers outside the graph go on until they are refused: each accepted value reaches the tap.
async fn writers_outside_meet_a_shutdown(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let (seen, accepted) = (Notes::new(), Notes::new());
    let cfg = queue(&mut rng);
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfg);
            tap(reg, &seen, &Notes::new(), &mut rng);
        });
    });
    let writers = rng.usize(1..4);
    let other = build(&runtime, |builder| {
        for writer in 0..writers {
            let record = db.producer::<u64>("record").expect("the record is there");
            builder.configure::<u64>(writer.to_string(), |reg| {
                let (accepted, mut rng) = (accepted.clone(), rng.fork());
                reg.buffer(BufferCfg::SingleLatest).source(move |ctx: Context, _| async move {
                    loop {
                        if rng.bool() {
                            match record.produce(7).await {
                                Ok(()) => accepted.add(1),
                                Err(refused) => return assert_eq!(refused.0, 7),
                            }
                        } else {
                            match record.produce_many(0..rng.u64(0..50)).await {
                                Ok(all) => accepted.add(all as u64),
                                Err(cut) => return accepted.add(cut.accepted as u64),
                            }
                        }
                        dawdle(ctx.runtime(), &mut rng).await;
                    }
                });
            });
        }
    });
    db.start();
    other.start();
    wait(&db, &mut rng, 20).await;
    shut_down(&db).await;
    have_ended(&other).await;
    shut_down(&other).await;
    assert_eq!(seen.count() as u64, sum(&accepted));
}

/// In either order: seen and left are all that was accepted, and there is an end.
async fn a_start_may_meet_a_shutdown(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let (accepted, done) = (Notes::new(), Notes::new());
    let peer = MemoryPeer::new();
    let values = rng.u64(0..4);
    let db = build(&runtime, |builder| {
        builder.connector(peer.connector());
        builder.configure::<u64>("record", |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 4 });
            source(reg, 10..20, &accepted, &mut rng);
            let (done, mut rng) = (done.clone(), rng.fork());
            reg.tap(move |ctx: Context, record: Consumer<u64, _>| async move {
                let mut reader = record.subscribe().expect("a tap may read");
                while let Ok(value) = reader.recv().await {
                    dawdle(ctx.runtime(), &mut rng).await;
                    done.add(value);
                }
            });
        });
        builder.configure::<u64>("in", |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 4 });
            link_in(reg, "memory://in");
            tap(reg, &Notes::new(), &Notes::new(), &mut rng);
        });
    });
    let producer = db.producer::<u64>("record").expect("the record is there");
    for value in 0..values {
        producer.try_produce(value).expect("there is room");
        accepted.add(value);
    }
    drop(producer);
    let other = build(&runtime, |builder| {
        builder.configure::<u64>("starts", |reg| {
            let (db, mut rng) = (db.clone(), rng.fork());
            reg.buffer(BufferCfg::SingleLatest).source(move |ctx: Context, _| async move {
                dawdle(ctx.runtime(), &mut rng).await;
                db.start();
            });
        });
    });
    other.start();
    dawdle(&runtime, &mut rng).await;
    let deadline = if rng.bool() { AMPLE } else { Duration::from_millis(rng.u64(0..8)) };
    let report = db.shutdown(deadline).await;
    assert_ended(&db);
    let (done, left) = (done.count() as u64, left_of(&report, "record"));
    assert_eq!(done + left, accepted.count() as u64, "{done} done; {report}");
    assert!(report.unresponsive.is_empty(), "{report}");
    drop(db);
    pause(&runtime, 10).await;
    shut_down(&other).await;
}

/// Stages of another database shut this one down, some of them only half; at the end there is one report.
async fn all_who_shut_down_get_one_report(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let (accepted, seen, reports) = (Notes::new(), Notes::new(), Notes::new());
    let cfg = queue(&mut rng);
    // Sometimes more than are woken in one go, and a shutdown for which all of them wait.
    let many = rng.u8(..16) == 0;
    let callers = if many { 40 } else { rng.usize(1..4) };
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfg);
            source(reg, 0..20, &accepted, &mut rng);
            tap(reg, &seen, &Notes::new(), &mut rng);
        });
        builder.configure::<u64>("slow", |reg| {
            reg.buffer(BufferCfg::SingleLatest).tap(move |ctx: Context, _| async move {
                ctx.stopping().await;
                pause(ctx.runtime(), if many { 100 } else { 0 }).await;
            });
        });
    });
    let other = build(&runtime, |builder| {
        for caller in 0..callers {
            builder.configure::<u64>(caller.to_string(), |reg| {
                let (db, reports, mut rng) = (db.clone(), reports.clone(), rng.fork());
                reg.buffer(BufferCfg::SingleLatest).source(move |ctx: Context, _| async move {
                    dawdle(ctx.runtime(), &mut rng).await;
                    for _ in 0..rng.u8(..3) {
                        let more = rng.u32(..4);
                        let report = match rng.bool() {
                            true => half(db.shutdown(AMPLE), more).await,
                            false => {
                                let run = db.run_until(dawdle(ctx.runtime(), &mut rng));
                                half(run, more).await.map(|report| report.expect("nothing fails"))
                            }
                        };
                        report.into_iter().for_each(|report| reports.add(report));
                        dawdle(ctx.runtime(), &mut rng).await;
                    }
                    reports.add(db.shutdown(AMPLE).await);
                });
            });
        }
    });
    if rng.u8(..4) > 0 {
        db.start();
    }
    other.start();
    pause(&runtime, rng.u64(0..5)).await;
    let report = db.shutdown(AMPLE).await;
    assert_ended(&db);
    assert_eq!(seen.all(), accepted.all());
    have_ended(&other).await;
    shut_down(&other).await;
    assert!(reports.count() >= callers);
    assert!(reports.all().iter().all(|other| *other == report), "{:?}", reports.all());
}

/// A reader outside gets what was accepted and then the end; the taps have ended.
async fn a_dropped_database_ends_every_stage(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let (accepted, seen) = (Notes::new(), Notes::new());
    let cfgs = [queue(&mut rng), queue(&mut rng)];
    let peer = MemoryPeer::new();
    let db = build(&runtime, |builder| {
        builder.connector(peer.connector());
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfgs[0]);
            source(reg, 0..u64::MAX, &accepted, &mut rng);
            tap(reg, &seen, &Notes::new(), &mut rng);
            link_out(reg, "memory://out");
        });
        builder.configure::<u64>("copy", |reg| {
            reg.buffer(cfgs[1]).transform(input::<u64>("record"), |value| value);
            tap(reg, &Notes::new(), &Notes::new(), &mut rng);
        });
    });
    let consumer = db.consumer::<u64>("record").expect("the record is there");
    let producers =
        ["record", "copy"].map(|key| db.producer::<u64>(key).expect("the record is there"));
    let mut reader = consumer.subscribe().expect("the record is open");
    db.start();
    let mut got = Vec::new();
    for _ in 0..rng.usize(0..20) {
        got.push(reader.recv().await.expect("the record is open"));
        dawdle(&runtime, &mut rng).await;
    }
    drop(db);
    while let Ok(value) = reader.recv().await {
        got.push(value);
    }
    assert!(producers.iter().all(Producer::is_closed));
    pause(&runtime, 1).await;
    assert_eq!(runtime.tasks(), 0, "its stages have ended");
    assert_eq!(got, accepted.all());
    assert!(got.starts_with(&seen.all()));
}

/// Writers and readers that give up and try again; shared takers and taps of a queue beside them.
async fn futures_dropped_half_way_lose_nothing(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let writers = rng.usize(1..4);
    let takers = rng.usize(1..4);
    let (accepted, commands) = (Notes::new(), Notes::new());
    let (seen, taken, lagged) = (Notes::new(), Notes::new(), Notes::new());
    let cfg = queue(&mut rng);
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("queue", |reg| {
            reg.buffer(cfg);
            impatient_tap(reg, &seen, &Notes::new(), &mut rng);
        });
        builder.configure::<u64>("mailbox", |reg| {
            reg.buffer(BufferCfg::Mailbox).shared();
            (0..takers).for_each(|_| impatient_tap(reg, &taken, &lagged, &mut rng));
        });
    });
    // The writers are stages of another database: this one has no source that a shutdown would end.
    let other = build(&runtime, |builder| {
        for writer in 0..writers as u64 {
            let queue = db.producer::<u64>("queue").expect("the record is there");
            let mailbox = db.producer::<u64>("mailbox").expect("the record is there");
            builder.configure::<u64>(writer.to_string(), |reg| {
                let (accepted, commands, mut rng) =
                    (accepted.clone(), commands.clone(), rng.fork());
                reg.buffer(BufferCfg::SingleLatest).source(move |ctx: Context, _| async move {
                    for value in (0..12).map(|nth| writer * 1000 + nth) {
                        let more = rng.u32(..4);
                        if let Some(outcome) = half(queue.produce(value), more).await {
                            outcome.expect("the record is open");
                            accepted.add(value);
                        }
                        mailbox.produce(value).await.expect("the record is open");
                        commands.add(value);
                        dawdle(ctx.runtime(), &mut rng).await;
                    }
                });
            });
        }
    });
    db.start();
    other.start();
    have_ended(&other).await;
    shut_down(&other).await;
    shut_down(&db).await;
    let sorted = |notes: &Notes<u64>| notes.all().into_iter().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&seen), sorted(&accepted));
    assert_eq!(seen.count(), accepted.count());
    assert_eq!(sorted(&taken).len(), taken.count(), "a command was taken twice");
    assert_eq!(taken.count() as u64 + sum(&lagged), commands.count() as u64);
}

/// A tap that gives up waiting now and then, and comes back.
fn impatient_tap(reg: &mut Reg<'_>, seen: &Notes<u64>, lagged: &Notes<u64>, rng: &mut Rng) {
    let (seen, lagged, mut rng) = (seen.clone(), lagged.clone(), rng.fork());
    reg.tap(move |ctx: Context, record: Consumer<u64, _>| async move {
        let mut reader = record.subscribe().expect("a tap may read");
        loop {
            let received = match rng.bool() {
                true => Some(reader.recv().await),
                false => half(reader.recv(), rng.u32(..4)).await,
            };
            match received {
                Some(Ok(value)) => seen.add(value),
                Some(Err(_closed)) => break,
                None => dawdle(ctx.runtime(), &mut rng).await,
            }
        }
        lagged.add(reader.lagged());
    });
}
