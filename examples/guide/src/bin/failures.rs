//! A program of the guide: docs/guide/src.
use aimdb::events::DbEventKind;
use aimdb::prelude::*;

#[tokio::main(flavor = "current_thread")]
async fn main() -> DbResult<()> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    TokioAdapter::silence(); // this program prints its events itself
    builder.configure::<u32>("divisor", |reg| {
        reg.buffer(BufferCfg::queue(4)).source(|_ctx, divisor| async move {
            for number in [5, 0, 2] {
                divisor.produce(number).await?;
            }
            // An error of a stage is its failure; health and events show it with its sources.
            Err(Box::<dyn std::error::Error + Send + Sync>::from("no more numbers"))
        });
    });
    builder.configure::<u32>("quotient", |reg| {
        reg.buffer(BufferCfg::queue(4))
            // The zero panics, and costs its value instead of the pipeline.
            .transform_with(Restart::skip_failures(), input::<u32>("divisor"), |number| {
                100 / number
            })
            .for_each(|_ctx, quotient| println!("quotient {quotient}"));
    });
    builder.on_event(|event| match &event.kind {
        DbEventKind::StageRestarts { stage, cause, .. } => println!("{stage}: {cause}"),
        DbEventKind::StageFailed { stage, cause } => println!("{stage} has failed: {cause}"),
        _ => {}
    });
    let db = builder.build()?;
    let mut events = db.events();
    db.start();
    while let Some(event) = events.next().await {
        if matches!(event.kind, DbEventKind::StageFailed { .. }) {
            break;
        }
    }
    db.shutdown(Duration::from_secs(5)).await; // the transform and the tap finish first
    Ok(())
}
