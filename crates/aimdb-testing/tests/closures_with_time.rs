//! Closures that ask for the time.

use std::sync::Arc;
use std::time::Duration;

use aimdb_core::{AimDbBuilder, BufferCfg, input};
use aimdb_testing::TestRuntime;

#[test]
fn a_closure_reads_the_clock_of_its_runtime() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("odometer", |reg| {
        reg.buffer(BufferCfg::latest()).source(|ctx, odometer| async move {
            for meters in [0, 100, 400] {
                odometer.produce(meters).await.ok();
                ctx.time().sleep(ctx.time().secs(10)).await;
            }
        });
    });
    let time = builder.time();
    builder.configure::<u64>("speed", |reg| {
        reg.buffer(BufferCfg::ring(4)).scan(
            input::<u64>("odometer"),
            None,
            move |before: &mut Option<(aimdb_core::Instant, u64)>, meters| {
                let (at, from) = before.replace((time.now(), meters))?;
                Some((meters - from) / (time.now() - at).as_secs())
            },
        );
    });
    let db = builder.build().unwrap();
    let mut speed = db.consumer::<u64>("speed").unwrap().subscribe().unwrap();
    db.start();
    runtime.advance(Duration::from_secs(60));
    assert_eq!((speed.try_recv(), speed.try_recv()), (Ok(10), Ok(30)));
}
