//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;

#[tokio::main]
async fn main() -> DbResult<()> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.configure::<u32>("order", |reg| {
        reg.buffer(BufferCfg::queue(8)).written_from_outside();
    });
    builder.configure::<String>("receipt", |reg| {
        reg.buffer(BufferCfg::queue(8))
            .transform(input::<u32>("order"), |order| format!("receipt for {order}"))
            .for_each(|_ctx, receipt| println!("{receipt}"));
    });
    let db = builder.build()?;
    db.start();
    let orders = db.producer::<u32>("order")?;
    for order in 1..=3 {
        orders.produce(order).await.ok();
    }
    // Everything that was accepted flows to its end before the stages end.
    let report = db.shutdown(Duration::from_secs(10)).await;
    assert!(report.is_clean());
    assert!(orders.produce(4).await.is_err(), "a closed record accepts nothing");
    println!("{} undelivered", report.undelivered.len());
    Ok(())
}
