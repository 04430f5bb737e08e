//! Shutdowns whose deadline passes.

use std::sync::Arc;
use std::time::Duration;

use aimdb_core::{BufferCfg, Consumer, input};
use aimdb_testing::{Recorder, TestRuntime};
use fastrand::Rng;

use crate::support::*;

/// Taps that need a millisecond for each value, one tap that stays pending or returns early, and deadlines at the same
/// instants as the timers of the taps.
pub(crate) async fn a_deadline_aborts_stages_and_counts_their_values(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let values = rng.u64(0..8);
    let slow: Vec<Recorder<u64>> = (0..rng.usize(1..4)).map(|_| Recorder::new()).collect();
    let hung = Recorder::new();
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
                        done.push(value);
                    }
                });
            }
            let hung = hung.clone();
            reg.tap(move |_: Context, record: Consumer<u64, _>| async move {
                let mut reader = record.subscribe().expect("a tap may read");
                while let Ok(value) = reader.recv().await {
                    if value == ends_at && !returns {
                        std::future::pending::<()>().await;
                    }
                    hung.push(value);
                    if value == ends_at {
                        return;
                    }
                }
            });
        });
    });
    let producer = db.producer::<u64>("record").expect("the graph has the record");
    for value in 0..values {
        producer.try_produce(value).expect("the record has room");
    }
    db.start();
    let report = db.shutdown(Duration::from_millis(rng.u64(0..8))).await;
    assert_ended(&db);
    assert!(report.unresponsive.is_empty(), "{report}");
    for (at, done) in slow.iter().chain([&hung]).enumerate() {
        let name = if at == 0 { "tap".into() } else { format!("tap#{}", at + 1) };
        let undelivered = report.undelivered.iter().find(|undelivered| undelivered.stage == name);
        let (unread, interrupted) =
            undelivered.map_or((0, 0), |undelivered| (undelivered.unread, undelivered.interrupted));
        assert_eq!(done.len() as u64 + unread + interrupted, values, "{name}: {report}");
        assert!(interrupted <= 1);
        let ended_by_itself = at == slow.len() && returns;
        if ended_by_itself {
            assert_eq!(interrupted, 0, "{report}");
        } else if unread + interrupted > 0 {
            assert!(report.aborted.iter().any(|stage| stage.stage == name), "{report}");
        }
    }
}

/// Each command was processed or replaced, or is undelivered: pending in the mailbox, or in progress at an aborted
/// taker.
pub(crate) async fn a_deadline_counts_the_commands_of_shared_takers(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let (accepted, done) = (Recorder::new(), Recorder::new());
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(BufferCfg::Mailbox).shared();
            source(reg, 0..rng.u64(1..40), &accepted, &mut rng);
            for _ in 0..rng.usize(1..4) {
                slow_tap(reg, &done, &mut rng);
            }
        });
    });
    db.start();
    wait(&db, &mut rng, 10).await;
    let report = db.shutdown(Duration::from_millis(rng.u64(0..5))).await;
    assert_ended(&db);
    let replaced = db.metrics().records[0].overwritten;
    let (done, undelivered) = (done.len() as u64, report.total_undelivered());
    assert_eq!(
        done + replaced + undelivered,
        accepted.len() as u64,
        "{done}, {replaced}; {report}"
    );
}

/// A source, a chain of transforms and a slow tap, with bursts longer than the cooperative budget of a stage. Each
/// accepted value was processed by the tap or is undelivered.
pub(crate) async fn a_deadline_counts_the_values_of_chained_stages(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let burst = if rng.u8(..4) == 0 { rng.u64(0..400) } else { rng.u64(0..10) };
    let (accepted, done) = (Recorder::new(), Recorder::new());
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
            slow_tap(reg, &done, &mut rng);
        });
    });
    let producer = db.producer::<u64>("0").expect("the graph has the record");
    for value in 0..burst {
        producer.try_produce(value).expect("the record has room");
        accepted.push(value);
    }
    db.start();
    wait(&db, &mut rng, 10).await;
    let report = db.shutdown(Duration::from_millis(rng.u64(0..10))).await;
    assert_ended(&db);
    let (done, undelivered) = (done.len() as u64, report.total_undelivered());
    assert_eq!(done + undelivered, accepted.len() as u64, "{done} processed; {report}");
}

/// Each input value was made into an accepted output, preceded the first output, or is undelivered.
pub(crate) async fn a_deadline_counts_the_inputs_of_a_join(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let accepted: [Recorder<u64>; 2] = Default::default();
    let made = Recorder::new();
    let list = made.clone();
    let db = build(&runtime, |builder| {
        counting_sources(builder, &accepted, &mut rng);
        let cfg = queue(&mut rng);
        builder.configure::<u64>("pair", |reg| {
            let inputs = (input::<u64>("0"), input::<u64>("1"));
            reg.buffer(cfg).join(inputs, move |(a, b)| {
                list.push([a, b]);
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
    let inputs: u64 = accepted.iter().map(|values| values.len() as u64).sum();
    let produced = db.metrics().record("pair").expect("the graph has the record").produced;
    let undelivered = undelivered_of(&report, "0") + undelivered_of(&report, "1");
    match made.values().first() {
        Some(first) => {
            let before: u64 = first.iter().sum::<u64>() - 1;
            assert_eq!(before + produced + undelivered, inputs, "{before}, {produced}; {report}");
        }
        None => assert!(undelivered <= inputs && produced == 0, "{report}"),
    }
}
