//! Shutdowns at any time, by any caller.

use std::sync::Arc;
use std::time::Duration;

use aimdb_core::{BufferCfg, Consumer, Producer, input};
use aimdb_testing::{MemoryPeer, Recorder, TestRuntime};
use fastrand::Rng;

use crate::links::{link_in, link_out};
use crate::support::*;

/// The tap that requests the shutdown, and every other tap, receives each accepted value.
pub(crate) async fn a_stage_that_requests_the_shutdown_loses_no_value(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let (accepted, seen, asked) = (Recorder::new(), Recorder::new(), Recorder::new());
    let at = rng.u64(0..20);
    let cfg = queue(&mut rng);
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfg);
            source(reg, 0..u64::MAX, &accepted, &mut rng);
            tap(reg, &seen, &Recorder::new(), &mut rng);
            let (asked, mut rng) = (asked.clone(), rng.fork());
            reg.tap(move |ctx: Context, record: Consumer<u64, _>| async move {
                let mut reader = record.subscribe().expect("a tap may read");
                while let Ok(value) = reader.recv().await {
                    asked.push(value);
                    if value == at {
                        ctx.shutdown();
                    }
                    pause_at_random(ctx.runtime(), &mut rng).await;
                }
            });
        });
    });
    db.run().await.expect("nothing fails");
    assert_ended(&db);
    assert_eq!((seen.values(), asked.values()), (accepted.values(), accepted.values()));
    assert!(accepted.len() as u64 > at);
}

/// `run` returns the failure. Each accepted value reaches the tap that did not fail.
pub(crate) async fn stop_on_failure_loses_no_accepted_value(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let (accepted, seen) = (Recorder::new(), Recorder::new());
    let at = rng.u64(0..20);
    let panics = rng.bool();
    let cfg = queue(&mut rng);
    let db = build(&runtime, |builder| {
        builder.stop_on_failure();
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfg);
            source(reg, 0..u64::MAX, &accepted, &mut rng);
            tap(reg, &seen, &Recorder::new(), &mut rng);
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
    assert_eq!(seen.values(), accepted.values());
}

/// Writers outside of the graph write until the shutdown refuses a value. Each accepted value reaches the tap.
pub(crate) async fn writers_outside_of_the_graph_lose_no_accepted_value(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let (seen, accepted) = (Recorder::new(), Recorder::new());
    let cfg = queue(&mut rng);
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfg);
            tap(reg, &seen, &Recorder::new(), &mut rng);
        });
    });
    let writers = rng.usize(1..4);
    let other = build(&runtime, |builder| {
        for writer in 0..writers {
            let record = db.producer::<u64>("record").expect("the graph has the record");
            builder.configure::<u64>(writer.to_string(), |reg| {
                let (accepted, mut rng) = (accepted.clone(), rng.fork());
                reg.buffer(BufferCfg::SingleLatest).source(move |ctx: Context, _| async move {
                    loop {
                        if rng.bool() {
                            match record.produce(7).await {
                                Ok(()) => accepted.push(1),
                                Err(refused) => return assert_eq!(refused.0, 7),
                            }
                        } else {
                            match record.produce_many(0..rng.u64(0..50)).await {
                                Ok(all) => accepted.push(all as u64),
                                Err(cut) => return accepted.push(cut.accepted as u64),
                            }
                        }
                        pause_at_random(ctx.runtime(), &mut rng).await;
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
    assert_eq!(seen.len() as u64, sum(&accepted));
}

/// In either order, processed and undelivered values add up to the accepted ones, and the shutdown ends.
pub(crate) async fn a_start_during_a_shutdown_loses_no_value(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let (accepted, done) = (Recorder::new(), Recorder::new());
    let peer = MemoryPeer::new();
    let values = rng.u64(0..4);
    let db = build(&runtime, |builder| {
        builder.connector(peer.connector());
        builder.configure::<u64>("record", |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 4 });
            source(reg, 10..20, &accepted, &mut rng);
            slow_tap(reg, &done, &mut rng);
        });
        builder.configure::<u64>("in", |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 4 });
            link_in(reg, "memory://in");
            tap(reg, &Recorder::new(), &Recorder::new(), &mut rng);
        });
    });
    let producer = db.producer::<u64>("record").expect("the graph has the record");
    for value in 0..values {
        producer.try_produce(value).expect("the record has room");
        accepted.push(value);
    }
    drop(producer);
    let other = build(&runtime, |builder| {
        builder.configure::<u64>("starts", |reg| {
            let (db, mut rng) = (db.clone(), rng.fork());
            reg.buffer(BufferCfg::SingleLatest).source(move |ctx: Context, _| async move {
                pause_at_random(ctx.runtime(), &mut rng).await;
                db.start();
            });
        });
    });
    other.start();
    pause_at_random(&runtime, &mut rng).await;
    let deadline = if rng.bool() { AMPLE } else { Duration::from_millis(rng.u64(0..8)) };
    let report = db.shutdown(deadline).await;
    assert_ended(&db);
    let (done, undelivered) = (done.len() as u64, undelivered_of(&report, "record"));
    assert_eq!(done + undelivered, accepted.len() as u64, "{done} processed; {report}");
    assert!(report.unresponsive.is_empty(), "{report}");
    drop(db);
    pause(&runtime, 10).await;
    shut_down(&other).await;
}

/// Stages of another database shut this one down, and drop some of their calls. All completed calls return one report.
pub(crate) async fn all_callers_of_a_shutdown_receive_one_report(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let (accepted, seen, reports) = (Recorder::new(), Recorder::new(), Recorder::new());
    let cfg = queue(&mut rng);
    // Sometimes more callers than one batch of wake-ups, and a shutdown that all of them wait for.
    let many = rng.u8(..16) == 0;
    let callers = if many { 40 } else { rng.usize(1..4) };
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfg);
            source(reg, 0..20, &accepted, &mut rng);
            tap(reg, &seen, &Recorder::new(), &mut rng);
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
                    pause_at_random(ctx.runtime(), &mut rng).await;
                    for _ in 0..rng.u8(..3) {
                        let more = rng.u32(..4);
                        let report = match rng.bool() {
                            true => poll_and_cancel(db.shutdown(AMPLE), more).await,
                            false => {
                                let run = db.run_until(pause_at_random(ctx.runtime(), &mut rng));
                                poll_and_cancel(run, more)
                                    .await
                                    .map(|report| report.expect("nothing fails"))
                            }
                        };
                        report.into_iter().for_each(|report| reports.push(report));
                        pause_at_random(ctx.runtime(), &mut rng).await;
                    }
                    reports.push(db.shutdown(AMPLE).await);
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
    assert_eq!(seen.values(), accepted.values());
    have_ended(&other).await;
    shut_down(&other).await;
    assert!(reports.len() >= callers);
    assert!(reports.values().iter().all(|other| *other == report), "{:?}", reports.values());
}

/// A reader outside of the graph receives each accepted value and then `Closed`. The taps have ended.
pub(crate) async fn a_dropped_database_ends_every_stage(runtime: Arc<TestRuntime>, mut rng: Rng) {
    let (accepted, seen) = (Recorder::new(), Recorder::new());
    let cfgs = [queue(&mut rng), queue(&mut rng)];
    let peer = MemoryPeer::new();
    let db = build(&runtime, |builder| {
        builder.connector(peer.connector());
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfgs[0]);
            source(reg, 0..u64::MAX, &accepted, &mut rng);
            tap(reg, &seen, &Recorder::new(), &mut rng);
            link_out(reg, "memory://out");
        });
        builder.configure::<u64>("copy", |reg| {
            reg.buffer(cfgs[1]).transform(input::<u64>("record"), |value| value);
            tap(reg, &Recorder::new(), &Recorder::new(), &mut rng);
        });
    });
    let consumer = db.consumer::<u64>("record").expect("the graph has the record");
    let producers =
        ["record", "copy"].map(|key| db.producer::<u64>(key).expect("the graph has the record"));
    let mut reader = consumer.subscribe().expect("the record is open");
    db.start();
    let mut got = Vec::new();
    for _ in 0..rng.usize(0..20) {
        got.push(reader.recv().await.expect("the record is open"));
        pause_at_random(&runtime, &mut rng).await;
    }
    drop(db);
    while let Ok(value) = reader.recv().await {
        got.push(value);
    }
    assert!(producers.iter().all(Producer::is_closed));
    pause(&runtime, 1).await;
    assert_eq!(runtime.tasks(), 0, "its stages have ended");
    assert_eq!(got, accepted.values());
    assert!(got.starts_with(&seen.values()));
}
