//! A program of the guide: docs/guide/src.
use std::path::{Path, PathBuf};

use aimdb::prelude::*;

/// Keeps the newest value in the file. A crash between the two steps leaves the old file.
async fn save<R: SendRuntime>(
    ctx: RuntimeContext<R>,
    setpoint: Consumer<f32, R>,
    path: PathBuf,
) -> Result<(), BoxError> {
    let mut setpoint = setpoint.subscribe()?;
    while let Ok(celsius) = setpoint.recv().await {
        let new = path.with_extension("new");
        tokio::fs::write(&new, celsius.to_string()).await?;
        tokio::fs::rename(&new, &path).await?;
        ctx.log().debug(format_args!("{celsius} °C is saved"));
    }
    Ok(())
}

fn build(path: &Path) -> Result<AimDb<TokioAdapter>, Box<dyn std::error::Error>> {
    let saved = match std::fs::read_to_string(path) {
        Ok(text) => Some(text.parse::<f32>()?),
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => None,
        Err(problem) => return Err(problem.into()),
    };
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.configure::<f32>("setpoint", |reg| {
        let path = path.to_path_buf();
        reg.buffer(BufferCfg::latest())
            .initial(saved.unwrap_or(20.0))
            .written_from_outside()
            .tap_with(Restart::on_failure(), move |ctx, setpoint| {
                save(ctx, setpoint, path.clone())
            });
    });
    Ok(builder.build()?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("setpoint-{}", std::process::id()));
    for new in [18.5, 23.0] {
        let db = build(&path)?;
        db.start();
        println!("starts with {:?}", db.consumer::<f32>("setpoint")?.latest());
        db.producer::<f32>("setpoint")?.produce(new).await?;
        // The tap has the value before the shutdown ends.
        assert!(db.shutdown(Duration::from_secs(5)).await.is_clean());
    }
    println!("ends with {}", std::fs::read_to_string(&path)?);
    std::fs::remove_file(path)?;
    Ok(())
}
