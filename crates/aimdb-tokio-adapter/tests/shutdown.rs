//! Shutdowns with Tokio's threads, with a dropped Tokio runtime, and with a `tracing` subscriber that panics.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimdb_core::health::StageState;
use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Restart};
use aimdb_tokio_adapter::TokioAdapter;

/// The number of values that a test produces.
const ACCEPTED: u32 = 50;
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 64 };

fn builder() -> AimDbBuilder<TokioAdapter> {
    AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new().unwrap()))
}

fn produce_now(db: &AimDb<TokioAdapter>) {
    let producer = db.producer::<u32>("numbers").unwrap();
    (0..ACCEPTED).for_each(|n| producer.try_produce(n).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stage_that_blocks_its_thread_is_reported_as_unresponsive() {
    let (free, blocks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (gate, entered) = (Arc::clone(&free), Arc::clone(&blocks));
    let mut builder = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(QUEUE).tap(move |_, numbers| async move {
            let mut reader = numbers.subscribe().unwrap();
            reader.recv().await.unwrap();
            tokio::task::block_in_place(|| {
                entered.store(true, Relaxed);
                while !gate.load(Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        });
    });
    let db = builder.build().unwrap();
    db.start();
    produce_now(&db);
    // Before that, the shutdown could still abort the stage.
    while !blocks.load(Relaxed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let report =
        tokio::time::timeout(Duration::from_secs(60), db.shutdown(Duration::from_millis(50)));
    let report = report.await.expect("a shutdown does not wait for a blocked thread");
    free.store(true, Relaxed);
    assert_eq!(report.unresponsive, ["numbers/tap"]);
    assert!(report.aborted.is_empty());
    assert_eq!(report.total_undelivered(), u64::from(ACCEPTED), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tap_that_ignores_closed_does_not_hang_the_shutdown() {
    let (free, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (gate, count) = (Arc::clone(&free), Arc::clone(&turns));
    let mut builder = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(QUEUE).tap(|_, numbers| async move {
            let mut reader = numbers.subscribe().unwrap();
            while !gate.load(Relaxed) {
                let _closed = reader.recv().await;
                count.fetch_add(1, Relaxed);
            }
        });
    });
    let db = builder.build().unwrap();
    db.start();
    produce_now(&db);
    // The tap has read every value: its further reads return `Closed`.
    while turns.load(Relaxed) < ACCEPTED as usize {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let report =
        tokio::time::timeout(Duration::from_secs(60), db.shutdown(Duration::from_millis(50)));
    let report = report.await.expect("a shutdown does not wait for a tap that never ends");
    free.store(true, Relaxed);
    assert_eq!(report.aborted, ["numbers/tap"], "its reader yields, so the shutdown can abort it");
    assert_eq!(report.total_undelivered(), 0, "{report}");
    assert!(turns.load(Relaxed) > ACCEPTED as usize);
}

#[test]
fn a_stage_whose_future_panics_when_the_runtime_is_dropped_has_ended() {
    struct PanicsInDrop;
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("dropped by the runtime");
        }
    }
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let db = tokio.block_on(async {
        let mut builder = builder();
        builder.configure::<u64>("record", |reg| {
            reg.buffer(BufferCfg::SingleLatest).source(|_, _| async {
                let _panics = PanicsInDrop;
                std::future::pending::<()>().await;
            });
        });
        let db = builder.build().unwrap();
        db.start();
        tokio::task::yield_now().await;
        db
    });
    drop(tokio);
    let health = db.health();
    let stage = health.stage("record", "source").unwrap();
    assert!(stage.state.is_terminal(), "{health}");
    assert!(stage.cause.as_ref().is_some_and(|cause| cause.contains("dropped by the runtime")));
}

/// A `tracing` subscriber that panics at every line of AimDB.
struct PanicsAtReports;

impl tracing::Subscriber for PanicsAtReports {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "aimdb"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        panic!("on purpose");
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_panics_costs_its_lines_and_no_stage() {
    const AMPLE: Duration = Duration::from_secs(10);
    let mut builder = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(QUEUE).tap(|_, numbers| async move {
            let mut reader = numbers.subscribe().unwrap();
            while reader.recv().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    builder.configure::<u32>("divisor", |reg| {
        let seen = Arc::clone(&seen);
        reg.buffer(QUEUE).written_from_outside();
        reg.for_each_with(Restart::on_failure(), move |_, divisor: u32| {
            let quotient = 100 / divisor;
            seen.lock().unwrap().push(quotient);
        });
    });
    builder.configure::<u32>("failing", |reg| {
        reg.buffer(QUEUE).source(|_, _| async { Err("on purpose") });
    });
    let db = builder.build().unwrap();
    let _log = tracing::subscriber::set_default(PanicsAtReports);
    db.start();
    db.producer::<u32>("divisor").unwrap().produce_many([5, 0, 2]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await; // the source fails meanwhile
    let report =
        tokio::time::timeout(AMPLE, db.shutdown(AMPLE)).await.expect("the shutdown has ended");
    assert!(report.is_clean(), "{report}");
    assert_eq!(*seen.lock().unwrap(), [20, 50]);
    let health = db.health();
    assert_eq!(health.stage("failing", "source").unwrap().state, StageState::Failed, "{health}");
}
