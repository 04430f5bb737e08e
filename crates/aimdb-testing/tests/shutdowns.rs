//! Several callers of one shutdown: each joins it, the last deadline asked for holds, records close and there is a
//! report in every case. On a virtual clock.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aimdb_core::health::DbState;
use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Closed, ShutdownReport, input};
use aimdb_testing::TestRuntime;

const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 1 };

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// `a → transform → b` (a queue of one whose tap takes a second for each value) `→ transform → c`. Ten values are in
/// `a`. The builder gives a shutdown 100 s.
fn slow_graph() -> (Arc<TestRuntime>, AimDb<TestRuntime>) {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.shutdown_deadline(Duration::from_secs(100));
    builder.configure::<u64>("a", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 16 });
    });
    builder.configure::<u64>("b", |reg| {
        reg.buffer(QUEUE).transform(input::<u64>("a"), |n| n).tap(|ctx, b| async move {
            let mut reader = b.subscribe().unwrap();
            while reader.recv().await.is_ok() {
                ctx.time().sleep(ms(1000)).await;
            }
        });
    });
    builder.configure::<u64>("c", |reg| {
        reg.buffer(QUEUE).transform(input::<u64>("b"), |n| n);
    });
    let db = builder.build().unwrap();
    let a = db.producer::<u64>("a").unwrap();
    (0..10).for_each(|n| a.try_produce(n).unwrap());
    (runtime, db)
}

/// Everything that must hold after any shutdown.
fn assert_over(db: &AimDb<TestRuntime>, report: &ShutdownReport) {
    assert_eq!(db.health().state, DbState::Stopped);
    for key in ["a", "b", "c"] {
        assert!(db.producer::<u64>(key).unwrap().is_closed(), "{key} is open after {report}");
    }
    assert!(db.health().stages.iter().all(|stage| stage.state.is_terminal()), "{report}");
    let seen = db.metrics().record("a").unwrap().produced;
    assert_eq!(seen, 10);
}

/// The database is driven by `run`, and a shutdown has been asked for, with the builder's deadline.
async fn a_shutdown_under_way(runtime: &Arc<TestRuntime>, db: &AimDb<TestRuntime>) {
    db.start();
    runtime.sleep_a_little().await;
    db.request_shutdown();
    let mut run = Box::pin(db.run());
    assert!(poll(run.as_mut()).is_pending());
    // It is never polled again: whoever drives it has something else to do.
    std::mem::forget(run);
}

trait SleepALittle {
    fn sleep_a_little(&self) -> impl Future<Output = ()>;
}

impl SleepALittle for Arc<TestRuntime> {
    fn sleep_a_little(&self) -> impl Future<Output = ()> {
        use aimdb_core::Runtime;
        self.sleep_until(self.now() + ms(10))
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_caller_shortens_a_shutdown_that_was_requested() {
    let (runtime, db) = slow_graph();
    let report = runtime.block_on(async {
        a_shutdown_under_way(&runtime, &db).await;
        db.shutdown(ms(300)).await
    });
    assert_over(&db, &report);
    assert!(report.elapsed <= ms(900), "{report}");
    assert!(report.total_undelivered() > 0 && report.unresponsive.is_empty(), "{report}");
}

#[test]
fn a_caller_lengthens_a_shutdown_that_was_requested() {
    let (runtime, db) = slow_graph();
    let report = runtime.block_on(async {
        db.start();
        runtime.sleep_a_little().await;
        db.request_shutdown();
        let run = async { db.run().await.unwrap() };
        let long = db.shutdown(Duration::MAX);
        let (mut run, mut long) = (pin!(run), pin!(long));
        let mut report = None;
        std::future::poll_fn(|cx| {
            let ran = run.as_mut().poll(cx);
            if report.is_none()
                && let Poll::Ready(got) = long.as_mut().poll(cx)
            {
                report = Some(got);
            }
            if report.is_some() && ran.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        report.unwrap()
    });
    assert_over(&db, &report);
    assert!(report.is_clean(), "{report}");
    assert!(report.elapsed >= ms(9000), "{report}");
}

#[test]
fn the_builders_deadline_does_not_move_one_that_was_asked_for() {
    let (runtime, db) = slow_graph();
    let report = runtime.block_on(async {
        db.start();
        runtime.sleep_a_little().await;
        let mut asked = pin!(db.shutdown(ms(500)));
        assert!(poll(asked.as_mut()).is_pending());
        // `run` joins with a hundred seconds of its own.
        let mut run = pin!(db.run());
        assert!(poll(run.as_mut()).is_pending());
        asked.await
    });
    assert_over(&db, &report);
    assert!(report.elapsed <= ms(1100), "{report}");
}

#[test]
fn the_last_deadline_asked_for_holds() {
    for (first, last) in [(ms(60_000), ms(200)), (ms(200), ms(60_000))] {
        let (runtime, db) = slow_graph();
        let (one, other) = runtime.block_on(async {
            db.start();
            runtime.sleep_a_little().await;
            let (mut one, other) = (pin!(db.shutdown(first)), db.shutdown(last));
            assert!(poll(one.as_mut()).is_pending());
            let other = other.await;
            (one.await, other)
        });
        assert_eq!(one, other);
        assert_over(&db, &one);
        assert_eq!(one.is_clean(), last > first, "{one}");
    }
}

#[test]
fn a_caller_that_is_dropped_leaves_the_others_to_go_on() {
    let (runtime, db) = slow_graph();
    let report = runtime.block_on(async {
        db.start();
        runtime.sleep_a_little().await;
        let mut other = pin!(db.shutdown(ms(2500)));
        {
            let mut first = pin!(db.shutdown(ms(2500)));
            assert!(poll(first.as_mut()).is_pending());
            assert!(poll(other.as_mut()).is_pending());
        }
        other.await
    });
    assert_over(&db, &report);
    assert!(report.elapsed <= ms(3100), "{report}");
}

#[test]
fn a_shutdown_that_nobody_drove_to_its_end_goes_on_with_the_next_call() {
    let (runtime, db) = slow_graph();
    let report = runtime.block_on(async {
        db.start();
        runtime.sleep_a_little().await;
        assert!(poll(pin!(db.shutdown(ms(100)))).is_pending());
        runtime.sleep_a_little().await;
        db.shutdown(ms(50)).await
    });
    assert_over(&db, &report);
    assert!(report.elapsed <= ms(600), "counted from the first call: {report}");
}

#[test]
fn readers_and_writers_of_a_cut_off_graph_are_told_that_it_is_closed() {
    let (runtime, db) = slow_graph();
    let mut reader = db.consumer::<u64>("c").unwrap().subscribe().unwrap();
    let (report, end) = runtime.block_on(async {
        a_shutdown_under_way(&runtime, &db).await;
        let report = db.shutdown(ms(300)).await;
        let end = loop {
            if let Err(end) = reader.recv().await {
                break end;
            }
        };
        (report, end)
    });
    assert_eq!(end, Closed);
    assert_over(&db, &report);
    assert!(db.producer::<u64>("c").unwrap().try_produce(1).is_err());
}
