//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;

/// Makes degrees from the readings of a sensor. It waits for a calibration service with each of them.
async fn calibrate<R: SendRuntime>(
    ctx: RuntimeContext<R>,
    raw: Consumer<u16, R>,
    celsius: Producer<f32, R>,
) -> Result<(), BoxError> {
    let mut raw = raw.subscribe()?;
    while let Ok(reading) = raw.recv().await {
        ctx.time().sleep(ctx.time().millis(5)).await; // in place of a request
        celsius.produce(f32::from(reading) / 16.0).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.configure::<u16>("temp.raw", |reg| {
        reg.buffer(BufferCfg::queue(8)).written_from_outside();
    });
    builder.configure::<f32>("temp.celsius", |reg| {
        reg.buffer(BufferCfg::queue(8))
            .processor(input::<u16>("temp.raw"), calibrate)
            .for_each(|_ctx, celsius| println!("{celsius} °C"));
    });
    let db = builder.build()?;
    print!("{}", db.graph());
    db.start();
    let raw = db.producer::<u16>("temp.raw")?;
    for reading in [328, 336, 344] {
        raw.produce(reading).await?;
    }
    // The three readings are accepted, and none of them is answered yet.
    let report = db.shutdown(Duration::from_secs(10)).await;
    println!("{} undelivered", report.total_undelivered());
    Ok(())
}
