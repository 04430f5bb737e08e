//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;

/// Parses each text. Its third argument has a producer for its own record, and one for each further output.
async fn parse<R: SendRuntime>(
    _ctx: RuntimeContext<R>,
    raw: Consumer<String, R>,
    (celsius, rejected): (Producer<f64, R>, Producer<String, R>),
) -> Result<(), BoxError> {
    let mut raw = raw.subscribe()?;
    while let Ok(text) = raw.recv().await {
        match text.parse() {
            Ok(value) => celsius.produce(value).await?,
            Err(_) => rejected.produce(text).await?,
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> DbResult<()> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.configure::<String>("raw", |reg| {
        reg.buffer(BufferCfg::queue(4)).source(|_ctx, raw| async move {
            for text in ["21.5", "warm", "22.0"] {
                raw.produce(text.to_string()).await.ok();
            }
        });
    });
    builder.configure::<f64>("celsius", |reg| {
        reg.buffer(BufferCfg::queue(4))
            .processor_to(input::<String>("raw"), output::<String>("rejected"), parse)
            .for_each(|_ctx, celsius| println!("{celsius:.1} °C"));
    });
    builder.configure::<String>("rejected", |reg| {
        reg.buffer(BufferCfg::ring(16)).for_each(|_ctx, text| eprintln!("rejected: {text}"));
    });
    builder.run().await
}
