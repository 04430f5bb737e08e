//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;
use aimdb_testing::TestRuntime;

/// The graph under test: a reading each second, and its mean over each minute.
fn graph<R: SendRuntime>(builder: &mut AimDbBuilder<R>) {
    builder.configure::<u64>("reading", |reg| {
        reg.buffer(BufferCfg::queue(8)).source(|ctx, reading| async move {
            for second in 0.. {
                reading.produce(second).await.ok();
                ctx.time().sleep(ctx.time().secs(1)).await;
            }
        });
    });
    builder.configure::<u64>("mean", |reg| {
        reg.buffer(BufferCfg::latest()).scan(
            input::<u64>("reading"),
            Vec::new(),
            |minute: &mut Vec<u64>, reading| {
                minute.push(reading);
                (minute.len() == 60).then(|| minute.drain(..).sum::<u64>() / 60)
            },
        );
    });
}

fn main() -> DbResult<()> {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    graph(&mut builder);
    let db = builder.build()?;
    db.start();
    runtime.advance(Duration::from_secs(24 * 60 * 60));
    let metrics = db.metrics();
    assert_eq!(metrics.record("reading").map(|record| record.produced), Some(86_401));
    assert_eq!(metrics.record("mean").map(|record| record.produced), Some(1_440));
    // The last whole minute of the day: 86,340 to 86,399.
    assert_eq!(db.consumer::<u64>("mean")?.latest(), Some(86_369));
    println!("a day has passed");
    Ok(())
}
