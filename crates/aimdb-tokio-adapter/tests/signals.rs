//! A database that runs until the process receives a signal. One test: signals belong to the whole process.
#![cfg(unix)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use aimdb_core::{AimDb, AimDbBuilder, BufferCfg};
use aimdb_tokio_adapter::{TokioAdapter, run_until_signalled};

fn signal(name: &str) {
    let sent = Command::new("kill").args([name, &std::process::id().to_string()]).status();
    assert!(sent.expect("there is a `kill`").success());
}

/// A queue of values whose tap takes `pause` for each.
fn database(pause: Duration) -> (AimDb<TokioAdapter>, Arc<AtomicU64>) {
    let taken = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&taken);
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    builder.shutdown_deadline(Duration::from_secs(3600));
    builder.configure::<u64>("r", |reg| {
        reg.buffer(BufferCfg::queue(8)).written_from_outside().tap(move |ctx, r| async move {
            let Ok(mut r) = r.subscribe() else { return };
            while r.recv().await.is_ok() {
                ctx.time().sleep(pause).await;
                counted.fetch_add(1, SeqCst);
            }
        });
    });
    let db = builder.build().unwrap();
    let producer = db.producer::<u64>("r").unwrap();
    (0..5).for_each(|value| producer.try_produce(value).unwrap());
    (db, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_signal_drains_the_database_and_a_second_one_ends_at_once() {
    for name in ["-INT", "-TERM"] {
        let (db, taken) = database(Duration::from_millis(10));
        let run = tokio::spawn({
            let db = db.clone();
            async move { run_until_signalled(&db).await }
        });
        while taken.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        signal(name);
        let report = run.await.unwrap().unwrap();
        assert!(report.is_clean(), "{name}: {report}");
        assert_eq!(taken.load(SeqCst), 5, "{name}");
    }

    let (db, taken) = database(Duration::from_secs(3600));
    let run = tokio::spawn({
        let db = db.clone();
        async move { run_until_signalled(&db).await }
    });
    while db.metrics().record("r").unwrap().readers[0].delivered == 0 {
        tokio::task::yield_now().await;
    }
    signal("-INT");
    db.shutdown_requested().await;
    while !db.is_closed() {
        tokio::task::yield_now().await;
    }
    signal("-INT");
    let report = run.await.unwrap().unwrap();
    assert_eq!((report.aborted.len(), report.total_undelivered()), (1, 5), "{report}");
    assert_eq!(taken.load(SeqCst), 0);
}
