//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;

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
    // One async stage with two outputs; each of the three edges is in `db.graph()`.
    builder.configure::<f64>("celsius", |reg| {
        reg.buffer(BufferCfg::queue(4))
            .processor_to(
                input::<String>("raw"),
                output::<String>("rejected"),
                |_ctx, raw, (celsius, rejected)| async move {
                    let mut raw = raw.subscribe().expect("its reader is there from the start");
                    while let Ok(text) = raw.recv().await {
                        match text.parse::<f64>() {
                            Ok(value) => celsius.produce(value).await.map_err(drop).ok(),
                            Err(_) => rejected.produce(text).await.map_err(drop).ok(),
                        };
                    }
                },
            )
            .for_each(|_ctx, celsius| println!("{celsius:.1} °C"));
    });
    builder.configure::<String>("rejected", |reg| {
        reg.buffer(BufferCfg::ring(16)).for_each(|_ctx, text| eprintln!("rejected: {text}"));
    });
    builder.run().await
}
