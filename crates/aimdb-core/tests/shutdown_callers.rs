//! Several callers of one shutdown: each call joins it, the last requested deadline holds, and in each case the records
//! close and every caller has a report.
#![cfg(not(aimdb_loom))]

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use aimdb_core::health::DbState;
use aimdb_core::{AimDb, BufferCfg, Closed, ShutdownReport, input};
use aimdb_testing::TestRuntime;
use common::{builder, join, ms, poll, poll_once, sleep};

const QUEUE_OF_ONE: BufferCfg = BufferCfg::SpmcQueue { capacity: 1 };

/// `a → transform → b` (a queue of one whose tap takes a second for each value) `→ transform → c`. Ten values are in
/// `a`. The builder gives a shutdown 100 s.
fn slow_graph() -> (Arc<TestRuntime>, AimDb<TestRuntime>) {
    let (runtime, mut builder) = builder();
    builder.shutdown_deadline(Duration::from_secs(100));
    builder.configure::<u64>("a", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 16 });
    });
    builder.configure::<u64>("b", |reg| {
        reg.buffer(QUEUE_OF_ONE).transform(input::<u64>("a"), |n| n).tap(|ctx, b| async move {
            let mut reader = b.subscribe().unwrap();
            while reader.recv().await.is_ok() {
                ctx.time().sleep(ms(1000)).await;
            }
        });
    });
    builder.configure::<u64>("c", |reg| {
        reg.buffer(QUEUE_OF_ONE).transform(input::<u64>("b"), |n| n);
    });
    let db = builder.build().unwrap();
    let a = db.producer::<u64>("a").unwrap();
    (0..10).for_each(|n| a.try_produce(n).unwrap());
    (runtime, db)
}

/// Asserts the promises of every shutdown.
fn assert_shut_down(db: &AimDb<TestRuntime>, report: &ShutdownReport) {
    assert_eq!(db.health().state, DbState::Stopped);
    for key in ["a", "b", "c"] {
        assert!(db.producer::<u64>(key).unwrap().is_closed(), "{key} is open after {report}");
    }
    assert!(db.health().stages.iter().all(|stage| stage.state.is_terminal()), "{report}");
    let seen = db.metrics().record("a").unwrap().produced;
    assert_eq!(seen, 10);
}

/// Starts the database, requests a shutdown with the builder's deadline, and polls `run` once.
async fn start_and_request_shutdown(runtime: &TestRuntime, db: &AimDb<TestRuntime>) {
    db.start();
    sleep(runtime, ms(10)).await;
    db.request_shutdown();
    let mut run = Box::pin(db.run());
    assert!(poll(run.as_mut(), Waker::noop()).is_pending());
    // A task that is not polled for the rest of the test holds it.
    std::mem::forget(run);
}

#[test]
fn a_caller_shortens_a_requested_shutdown() {
    let (runtime, db) = slow_graph();
    let report = runtime.block_on(async {
        start_and_request_shutdown(&runtime, &db).await;
        db.shutdown(ms(300)).await
    });
    assert_shut_down(&db, &report);
    assert!(report.elapsed <= ms(900), "{report}");
    assert!(report.total_undelivered() > 0 && report.unresponsive.is_empty(), "{report}");
}

#[test]
fn a_caller_lengthens_a_requested_shutdown() {
    let (runtime, db) = slow_graph();
    let report = runtime.block_on(async {
        db.start();
        sleep(&runtime, ms(10)).await;
        db.request_shutdown();
        let (ran, report) = join(db.run(), db.shutdown(Duration::MAX)).await;
        ran.unwrap();
        report
    });
    assert_shut_down(&db, &report);
    assert!(report.is_clean(), "{report}");
    assert!(report.elapsed >= ms(9000), "{report}");
}

#[test]
fn the_builders_deadline_does_not_replace_a_requested_one() {
    let (runtime, db) = slow_graph();
    let report = runtime.block_on(async {
        db.start();
        sleep(&runtime, ms(10)).await;
        let mut requested = pin!(db.shutdown(ms(500)));
        assert!(poll(requested.as_mut(), Waker::noop()).is_pending());
        // `run` joins with the builder's deadline of a hundred seconds.
        let mut run = pin!(db.run());
        assert!(poll(run.as_mut(), Waker::noop()).is_pending());
        requested.await
    });
    assert_shut_down(&db, &report);
    assert!(report.elapsed <= ms(1100), "{report}");
}

#[test]
fn the_last_requested_deadline_holds() {
    for (first, last) in [(ms(60_000), ms(200)), (ms(200), ms(60_000))] {
        let (runtime, db) = slow_graph();
        let (one, other) = runtime.block_on(async {
            db.start();
            sleep(&runtime, ms(10)).await;
            let (mut one, other) = (pin!(db.shutdown(first)), db.shutdown(last));
            assert!(poll(one.as_mut(), Waker::noop()).is_pending());
            let other = other.await;
            (one.await, other)
        });
        assert_eq!(one, other);
        assert_shut_down(&db, &one);
        assert_eq!(one.is_clean(), last > first, "{one}");
    }
}

#[test]
fn a_dropped_call_leaves_the_shutdown_to_the_other_callers() {
    let (runtime, db) = slow_graph();
    let report = runtime.block_on(async {
        db.start();
        sleep(&runtime, ms(10)).await;
        let mut other = pin!(db.shutdown(ms(2500)));
        {
            let mut first = pin!(db.shutdown(ms(2500)));
            assert!(poll(first.as_mut(), Waker::noop()).is_pending());
            assert!(poll(other.as_mut(), Waker::noop()).is_pending());
        }
        other.await
    });
    assert_shut_down(&db, &report);
    assert!(report.elapsed <= ms(3100), "{report}");
}

#[test]
fn a_shutdown_whose_only_call_was_dropped_continues_with_the_next_call() {
    let (runtime, db) = slow_graph();
    let report = runtime.block_on(async {
        db.start();
        sleep(&runtime, ms(10)).await;
        assert!(poll_once(db.shutdown(ms(100)), Waker::noop()).is_pending());
        sleep(&runtime, ms(10)).await;
        db.shutdown(ms(50)).await
    });
    assert_shut_down(&db, &report);
    assert!(report.elapsed <= ms(600), "counted from the first call: {report}");
}

#[test]
fn readers_and_writers_of_an_aborted_graph_receive_closed() {
    let (runtime, db) = slow_graph();
    let mut reader = db.consumer::<u64>("c").unwrap().subscribe().unwrap();
    let (report, end) = runtime.block_on(async {
        start_and_request_shutdown(&runtime, &db).await;
        let report = db.shutdown(ms(300)).await;
        let end = loop {
            if let Err(end) = reader.recv().await {
                break end;
            }
        };
        (report, end)
    });
    assert_eq!(end, Closed);
    assert_shut_down(&db, &report);
    assert!(db.producer::<u64>("c").unwrap().try_produce(1).is_err());
}
