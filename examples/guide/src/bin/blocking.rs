//! A program of the guide: docs/guide/src.
use aimdb::AttachOptions;
use aimdb::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = AimDbBuilder::on(TokioAdapter);
    builder.configure::<u32>("count", |reg| {
        reg.buffer(BufferCfg::queue(4)).source(|_ctx, count| async move {
            for number in 1..=3 {
                count.produce(number).await.ok();
            }
        });
    });
    builder.configure::<u32>("square", |reg| {
        reg.buffer(BufferCfg::queue(4))
            .read_from_outside()
            .transform(input::<u32>("count"), |number| number * number);
    });
    // Nothing runs before `start`, so that a consumer opened here misses nothing.
    let handle = builder.attach_with(AttachOptions::new().paused())?;
    let squares = handle.consumer::<u32>("square")?;
    handle.start();
    for _ in 0..3 {
        println!("{}", squares.get()?);
    }
    println!("lost: {}", handle.detach()?.undelivered.len());
    Ok(())
}
