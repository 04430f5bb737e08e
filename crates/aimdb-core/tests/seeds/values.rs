//! Values on their way through each kind of buffer and each kind of stage.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aimdb_core::health::StageState;
use aimdb_core::{BufferCfg, Consumer, Producer, Restart, input};
use aimdb_testing::{Recorder, TestRuntime};
use fastrand::Rng;

use crate::support::*;

/// Sources and transforms on queues, each transform after any record before it, taps anywhere. The shutdown comes at
/// any time. Each value accepted from the sources reaches every tap downstream, in order.
pub(crate) async fn a_graph_drains_upstream_first(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let (sources, transforms) = (rng.usize(1..4), rng.usize(0..5));
    let accepted: Vec<Recorder<u64>> = (0..sources).map(|_| Recorder::new()).collect();
    let mut seen: Vec<(usize, Recorder<u64>)> = Vec::new();
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
                    // From a record before it with the same root.
                    let from = (0..at).rev().find(|&from| roots[from] == roots[at]);
                    let from = from.expect("its root, at least");
                    reg.transform(input::<u64>(from.to_string()), |value| value);
                }
                for _ in 0..taps {
                    seen.push((roots[at], Recorder::new()));
                    tap(reg, &seen.last().expect("just pushed").1, &Recorder::new(), &mut rng);
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
        assert_eq!(seen.values(), accepted[root].values());
    }
    for (at, accepted) in accepted.iter().enumerate() {
        assert_eq!(db.metrics().records[at].produced, accepted.len() as u64);
    }
}

/// On a ring and a latest record: received and lost values of each tap add up to the accepted ones, and the last value
/// is received.
pub(crate) async fn overwritten_values_are_counted(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let cfg = match rng.bool() {
        true => BufferCfg::SpmcRing { capacity: rng.usize(1..5) },
        false => BufferCfg::SingleLatest,
    };
    let accepted = Recorder::new();
    let taps: Vec<_> = (0..rng.usize(1..4)).map(|_| (Recorder::new(), Recorder::new())).collect();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfg);
            source(reg, 0..rng.u64(1..200), &accepted, &mut rng);
            taps.iter().for_each(|(seen, lagged)| tap(reg, seen, lagged, &mut rng));
        });
    });
    db.start();
    wait(&db, &mut rng, 30).await;
    let seen_by_all = || taps.iter().map(|(seen, _)| seen.len() as u64).sum::<u64>();
    let before = seen_by_all();
    let report = shut_down(&db).await;
    assert_eq!(report.drained, seen_by_all() - before);
    for (seen, lagged) in taps {
        assert_eq!(seen.len() as u64 + sum(&lagged), accepted.len() as u64, "{cfg}");
        assert!(seen.values().is_sorted_by(|a, b| a < b));
        assert_eq!(seen.values().last(), accepted.values().last());
    }
}

/// Each output is read, the last output is made of the last value of each input, and no input value is left.
pub(crate) async fn a_join_produces_a_value_for_each_input_once_all_inputs_have_one(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let accepted: [Recorder<u64>; 3] = Default::default();
    let (made, seen) = (Recorder::new(), Recorder::new());
    let list = made.clone();
    let db = build(&runtime, |builder| {
        counting_sources(builder, &accepted, &mut rng);
        let cfg = queue(&mut rng);
        builder.configure::<u64>("sum", |reg| {
            let inputs = ["0", "1", "2"].map(input::<u64>);
            reg.buffer(cfg).join(inputs, move |[a, b, c]| {
                list.push([a, b, c]);
                a + b + c
            });
            tap(reg, &seen, &Recorder::new(), &mut rng);
        });
    });
    db.start();
    wait(&db, &mut rng, 20).await;
    shut_down(&db).await;
    let made = made.values();
    assert_eq!(seen.values(), made.iter().map(|latest| latest.iter().sum()).collect::<Vec<u64>>());
    let lasts: Option<Vec<u64>> =
        accepted.iter().map(|values| values.values().last().copied()).collect();
    assert_eq!(made.last().map(|last| last.to_vec()), lasts);
    let Some(first) = made.first() else { return };
    // The input values up to the first complete set make one output together.
    let before: u64 = first.iter().sum::<u64>() - 1;
    let inputs: u64 = accepted.iter().map(|values| values.len() as u64).sum();
    assert_eq!(made.len() as u64, inputs - before);
}

/// Every command is taken once, or replaced and counted by the taker of the newer one. The last command is taken.
pub(crate) async fn shared_takers_take_or_count_every_command(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let (seen, lagged, accepted) = (Recorder::new(), Recorder::new(), Recorder::new());
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
    let taken: BTreeSet<u64> = seen.values().into_iter().collect();
    assert_eq!(taken.len(), seen.len(), "no command is taken twice");
    assert_eq!(seen.len() as u64 + sum(&lagged), accepted.len() as u64);
    assert_eq!(taken.last(), accepted.values().last());
}

/// A source and a tap that fail and panic at random, and are restarted.
pub(crate) async fn restarted_stages_lose_only_the_values_in_progress(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let policy = Restart::on_failure().backoff(Duration::from_millis(1), Duration::from_millis(4));
    let end = rng.u64(1..30);
    let (accepted, seen, taken) = (Recorder::new(), Recorder::new(), Recorder::new());
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
                    Rng::with_seed(dice ^ produced.len() as u64 ^ ctx.time().now().as_nanos());
                async move {
                    while (produced.len() as u64) < end {
                        let value = produced.len() as u64;
                        let done = recording(record.produce(value), || produced.push(value)).await;
                        if done.is_err() || fails(&mut rng, &ctx) {
                            return;
                        }
                        pause_at_random(ctx.runtime(), &mut rng).await;
                    }
                }
            });
            let (list, took, dice) = (seen.clone(), taken.clone(), rng.u64(..));
            reg.tap_with(policy, move |ctx: Context, record: Consumer<u64, _>| {
                let (list, took) = (list.clone(), took.clone());
                let mut rng =
                    Rng::with_seed(dice ^ list.len() as u64 ^ ctx.time().now().as_nanos());
                async move {
                    let mut reader = record.subscribe().expect("a tap may read");
                    while let Ok(value) = reader.recv().await {
                        took.push(value);
                        pause_at_random(ctx.runtime(), &mut rng).await;
                        if fails(&mut rng, &ctx) {
                            return;
                        }
                        list.push(value);
                    }
                }
            });
        });
    });
    db.start();
    wait(&db, &mut rng, 60).await;
    shut_down(&db).await;
    // The tap took each value once, in order. A value in progress at a failure is not in `seen`.
    assert_eq!(taken.values(), accepted.values());
    let health = db.health();
    let tap = health.stage("record", "tap").expect("the graph has the tap");
    assert_eq!(tap.state, StageState::Finished);
    assert_eq!(taken.len() - seen.len(), tap.restarts as usize);
}

/// Writers and readers cancel their calls and try again, on a queue and on a shared mailbox.
pub(crate) async fn cancelled_futures_lose_nothing(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let writers = rng.usize(1..4);
    let takers = rng.usize(1..4);
    let (accepted, commands) = (Recorder::new(), Recorder::new());
    let (seen, taken, lagged) = (Recorder::new(), Recorder::new(), Recorder::new());
    let cfg = queue(&mut rng);
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("queue", |reg| {
            reg.buffer(cfg);
            cancelling_tap(reg, &seen, &Recorder::new(), &mut rng);
        });
        builder.configure::<u64>("mailbox", |reg| {
            reg.buffer(BufferCfg::Mailbox).shared();
            (0..takers).for_each(|_| cancelling_tap(reg, &taken, &lagged, &mut rng));
        });
    });
    // The writers are stages of another database: the shutdown of this one does not stop them.
    let other = build(&runtime, |builder| {
        for writer in 0..writers as u64 {
            let queue = db.producer::<u64>("queue").expect("the graph has the record");
            let mailbox = db.producer::<u64>("mailbox").expect("the graph has the record");
            builder.configure::<u64>(writer.to_string(), |reg| {
                let (accepted, commands, mut rng) =
                    (accepted.clone(), commands.clone(), rng.fork());
                reg.buffer(BufferCfg::SingleLatest).source(move |ctx: Context, _| async move {
                    for value in (0..12).map(|nth| writer * 1000 + nth) {
                        let more = rng.u32(..4);
                        if let Some(outcome) = poll_and_cancel(queue.produce(value), more).await {
                            outcome.expect("the record is open");
                            accepted.push(value);
                        }
                        mailbox.produce(value).await.expect("the record is open");
                        commands.push(value);
                        pause_at_random(ctx.runtime(), &mut rng).await;
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
    let sorted = |notes: &Recorder<u64>| notes.values().into_iter().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&seen), sorted(&accepted));
    assert_eq!(seen.len(), accepted.len());
    assert_eq!(sorted(&taken).len(), taken.len(), "no command is taken twice");
    assert_eq!(taken.len() as u64 + sum(&lagged), commands.len() as u64);
}

/// A tap that cancels some of its receives and tries again.
pub(crate) fn cancelling_tap(
    reg: &mut Reg<'_>,
    seen: &Recorder<u64>,
    lagged: &Recorder<u64>,
    rng: &mut Rng,
) {
    let (seen, lagged, mut rng) = (seen.clone(), lagged.clone(), rng.fork());
    reg.tap(move |ctx: Context, record: Consumer<u64, _>| async move {
        let mut reader = record.subscribe().expect("a tap may read");
        loop {
            let received = match rng.bool() {
                true => Some(reader.recv().await),
                false => poll_and_cancel(reader.recv(), rng.u32(..4)).await,
            };
            match received {
                Some(Ok(value)) => seen.push(value),
                Some(Err(_closed)) => break,
                None => pause_at_random(ctx.runtime(), &mut rng).await,
            }
        }
        lagged.push(reader.lagged());
    });
}
