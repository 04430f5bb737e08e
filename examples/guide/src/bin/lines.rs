//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = AimDbBuilder::on(TokioAdapter);
    builder.configure::<String>("line", |reg| {
        reg.buffer(BufferCfg::queue(16)).source(blocking_source(|lines| {
            for line in std::io::stdin().lines() {
                if lines.set(line?).is_err() {
                    break; // the database shuts down
                }
            }
            std::io::Result::Ok(())
        }));
    });
    builder.configure::<usize>("words", |reg| {
        reg.buffer(BufferCfg::queue(16))
            .transform(input::<String>("line"), |line| line.split_whitespace().count())
            .for_each(|_ctx, words| println!("{words} words"));
    });
    tokio::runtime::Runtime::new()?.block_on(builder.run())?;
    Ok(())
}
