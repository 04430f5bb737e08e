//! Events on several threads: none is missing, and their order is possible.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use aimdb_core::events::DbEventKind;
use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_tokio_adapter::TokioAdapter;

const RUNS: usize = 500;

fn name(kind: &DbEventKind) -> &'static str {
    match kind {
        DbEventKind::StageFinished { .. } => "finished",
        DbEventKind::StageFailed { .. } => "failed",
        DbEventKind::ShutdownBegan => "began",
        DbEventKind::ShutdownEnded { .. } => "ended",
        _ => "other",
    }
}

fn check(events: &[&str], source: &str) {
    let place = |name| events.iter().position(|event| *event == name);
    assert_eq!(events.iter().filter(|event| **event == "finished").count(), 3, "{events:?}");
    assert_eq!(
        events.iter().filter(|event| **event == source).count(),
        if source == "failed" { 1 } else { 3 }
    );
    assert_eq!(place("ended"), Some(events.len() - 1), "{events:?}");
    assert_eq!(events.iter().filter(|event| **event == "began").count(), 1, "{events:?}");
    if source == "failed" {
        assert!(place("failed") < place("began"), "{events:?}");
    }
}

/// The failure of a source ends the database, whose three taps then finish, while two callers drive the shutdown.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_stage_has_its_event_between_those_of_the_shutdown() {
    for run in 0..RUNS {
        let mut builder = AimDbBuilder::on(TokioAdapter);
        let hooked = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&hooked);
        let slow = run % 2 == 0;
        builder.on_event(move |event| {
            if slow {
                thread::sleep(Duration::from_micros(30));
            }
            list.lock().unwrap().push(name(&event.kind));
        });
        builder.configure::<u64>("n", |reg| {
            reg.buffer(BufferCfg::queue(4));
            reg.source(|_, n| async move {
                n.produce(1).await.ok();
                Err("on purpose")
            });
            (0..3).for_each(|_| _ = reg.for_each(|_, _: u64| {}));
        });
        builder.stop_on_failure();
        let db = builder.build().unwrap();
        let mut stream = db.events();
        let other = tokio::spawn({
            let db = db.clone();
            async move { db.run().await }
        });
        let _failed = db.run().await;
        let _failed = other.await.unwrap();
        let mut streamed = Vec::new();
        while let Some(event) = stream.next().await {
            streamed.push(name(&event.kind));
        }
        check(&streamed, "failed");
        // The stream ends after the hook has seen the same events.
        check(&hooked.lock().unwrap(), "failed");
        assert_eq!(db.events().next().await, None);
    }
}
