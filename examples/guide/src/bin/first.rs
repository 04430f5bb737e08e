//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;

#[tokio::main]
async fn main() -> DbResult<()> {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new()?));
    builder.configure::<f32>("temp.celsius", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: 10 }).source(|ctx, sensor| async move {
            for reading in [19.5, 21.0, 22.5] {
                sensor.produce(reading).await.ok();
                ctx.time().sleep(ctx.time().millis(10)).await;
            }
        });
    });
    builder.configure::<String>("temp.report", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 4 })
            .transform(input::<f32>("temp.celsius"), |celsius| format!("{celsius:.1} °C"))
            .for_each(|_ctx, line| println!("{line}"));
    });
    builder.run().await // ends when the source has, with every reading printed
}
