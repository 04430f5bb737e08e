//! From `build` to the end of `run`.

use aimdb_core::Arc;
use core::time::Duration;

use aimdb_core::AimDbBuilder;
use aimdb_core::health::{DbState, StageState};

use super::support::{AMPLE, build, numbers, queue, ring, source_of, stage, tap_into, until};
use crate::host::Host;
use crate::recorder::Recorder;

/// The source is registered first and does not wait. Both taps see its first value nevertheless: every reader
/// subscribes before the first stage runs.
pub async fn nothing_is_lost_at_the_start<R: Host>(runtime: Arc<R>) {
    for cfg in [ring(8), queue(8)] {
        let seen = [Recorder::new(), Recorder::new()];
        let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfg);
            source_of(reg, 0..8);
            seen.iter().for_each(|seen| tap_into(reg, seen));
        });
        builder.run().await.expect("a source and two taps run");
        assert_eq!(seen.map(|seen| seen.values()), [numbers(0..8), numbers(0..8)], "{cfg}");
    }
}

/// `build` spawns the stages; none of them runs before `start`. A second `start` has no effect.
pub async fn stages_wait_for_the_start<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(8));
            source_of(reg, 0..3);
            tap_into(reg, &seen);
        });
    });
    runtime.sleep_until(runtime.now() + Duration::from_millis(5)).await;
    assert_eq!((seen.len(), db.health().state), (0, DbState::Built));
    assert_eq!(stage(&db, "record", "source").state, StageState::Ready);
    db.start();
    db.start();
    until(&*runtime, || seen.len() == 3).await;
    assert_eq!(db.health().state, DbState::Running);
    db.shutdown(AMPLE).await;
    assert_eq!(db.health().state, DbState::Stopped);
}

/// `run` returns after the taps have processed everything that the sources produced.
pub async fn run_ends_when_the_last_source_has_returned<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let mut builder = AimDbBuilder::new().runtime(runtime);
    for (key, values) in [("a", 0..5), ("b", 5..50)] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(queue(3));
            source_of(reg, values);
            tap_into(reg, &seen);
        });
    }
    builder.run().await.expect("nothing fails");
    let mut seen = seen.values();
    seen.sort_unstable();
    assert_eq!(seen, numbers(0..50));
}
