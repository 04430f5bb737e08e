//! Stages that never wait, next to stages that do.

use aimdb_core::Arc;
use alloc::boxed::Box;

use aimdb_core::health::StageState;
use aimdb_core::{AimDb, Producer, RuntimeContext};

use super::support::{AMPLE, build, ring, source_of, stage, tap_into};
use crate::host::{BoxStage, Host};
use crate::recorder::Recorder;

/// `produce` in a loop on a ring never waits for room. Its cooperative budget lets the tap run and the shutdown end.
pub async fn a_source_that_never_waits_starves_no_other_stage<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(ring(4));
            source_of(reg, 0..u64::MAX);
            tap_into(reg, &seen);
        });
    });
    shut_down_next_to_a_busy_source(&db, &seen).await;
}

/// `produce_many` has the same cooperative budget.
pub async fn an_endless_batch_starves_no_other_stage<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(ring(4));
            reg.source(|_: RuntimeContext<R>, record: Producer<u64, R>| -> BoxStage {
                Box::pin(async move {
                    let _aborted = record.produce_many(0..u64::MAX).await;
                })
            });
            tap_into(reg, &seen);
        });
    });
    shut_down_next_to_a_busy_source(&db, &seen).await;
}

/// Waits for ten values at the tap, then shuts down. A paused clock does not move while a source is busy, so this waits
/// for values, not for time.
async fn shut_down_next_to_a_busy_source<R: Host>(db: &AimDb<R>, seen: &Recorder<u64>) {
    let values = db.consumer::<u64>("record").expect("the graph has the record");
    let mut reader = values.subscribe().expect("the record is open");
    db.start();
    while seen.len() < 10 {
        reader.recv().await.expect("the source is not done");
    }
    let report = db.shutdown(AMPLE).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(stage(db, "record", "source").state, StageState::Stopped);
}
