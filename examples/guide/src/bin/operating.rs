//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.configure::<u32>("frames", |reg| {
        reg.buffer(BufferCfg::ring(2)).written_from_outside().read_from_outside();
    });
    let db = builder.build()?;
    db.start();
    let mut slow = db.consumer::<u32>("frames")?.subscribe()?;
    let frames = db.producer::<u32>("frames")?;
    for frame in 0..5 {
        frames.produce(frame).await?;
    }
    println!("{}", db.metrics());
    assert_eq!(slow.recv().await, Ok(3), "a ring of two holds the last two");
    // The same as JSON, for an exporter: feature `serde`.
    let json = serde_json::to_value(db.metrics())?;
    println!("lost: {}", json["records"][0]["readers"][0]["lagged"]);
    assert!(db.health().is_healthy());
    Ok(())
}
