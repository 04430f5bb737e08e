//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;

#[tokio::main]
async fn main() -> DbResult<()> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    // A port of your choice instead of 0, which takes any free one.
    let console = Console::new().name("thermometer").http("127.0.0.1:0");
    builder.service(console.on_listening(|at| println!("listens: {}", at.http.is_some())));
    // Read by its key: `aimdb get temp.celsius`.
    builder.configure::<f32>("temp.celsius", |reg| {
        reg.buffer(BufferCfg::ring(16)).expose(Json).source(|ctx, sensor| async move {
            for tick in 0_u32.. {
                let celsius = 20.0 + (tick as f32 / 10.0).sin();
                if sensor.produce(celsius).await.is_err() {
                    return; // the database shuts down
                }
                ctx.time().sleep(ctx.time().millis(100)).await;
            }
        });
    });
    // And set by it: `aimdb set temp.offset 1.5`.
    builder.configure::<f32>("temp.offset", |reg| {
        reg.buffer(BufferCfg::latest()).initial(0.0).expose(Json).settable();
    });
    let db = builder.build()?;
    // A service of yours ends with a signal: `run_until_signalled(&db).await?`.
    db.run_until(db.time().sleep(Duration::from_millis(300))).await?;
    Ok(())
}
