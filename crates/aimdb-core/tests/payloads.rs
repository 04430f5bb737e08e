//! A panic whose payload panics when it is dropped is a failure like any other.

use std::panic::panic_any;
use std::sync::Arc;
use std::time::Duration;

use aimdb_core::health::StageState;
use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_testing::TestRuntime;

/// A payload that panics when it is dropped, with another one of its kind.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic_any(Self);
    }
}

#[test]
fn a_stage_and_a_hook_that_panic_with_such_a_payload_end_nothing_else() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.on_event(|_| panic_any(Bomb));
    builder.configure::<u64>("n", |reg| {
        reg.buffer(BufferCfg::queue(4)).written_from_outside();
        reg.for_each(|_, _: u64| panic_any(Bomb)).named("bomb");
        reg.for_each(|_, _: u64| {}).named("other");
    });
    let db = builder.build().unwrap();
    db.start();
    db.producer::<u64>("n").unwrap().try_produce(1).unwrap();
    runtime.run_until_idle();
    let health = db.health();
    assert_eq!(health.stage("n", "bomb").unwrap().state, StageState::Failed, "{health}");
    assert_eq!(health.stage("n", "other").unwrap().state, StageState::Running, "{health}");
    let report = runtime.block_on(db.shutdown(Duration::from_secs(5)));
    assert_eq!((report.failures.len(), report.unresponsive.len()), (1, 0), "{report}");
}
