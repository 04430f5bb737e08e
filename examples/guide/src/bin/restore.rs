//! A program of the guide: docs/guide/src.
use std::path::Path;

use aimdb::prelude::*;
use aimdb::store::{Keep, Persist, Store};

fn build(store: &Store) -> DbResult<AimDb<TokioAdapter>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.service(store.clone());
    builder.configure::<f32>("setpoint", |reg| {
        reg.buffer(BufferCfg::latest()).written_from_outside().restore_or(store, Json, 20.0);
    });
    builder.configure::<f32>("boiler.celsius", |reg| {
        let reg = reg.buffer(BufferCfg::queue(16)).written_from_outside();
        reg.history(store, Json, Keep::values(1000).age(Duration::from_secs(3600)));
    });
    builder.build()
}

async fn life(path: &Path, setpoint: f32) -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::open(path)?;
    let db = build(&store)?;
    db.start();
    let restored = store.restored("setpoint").is_some();
    println!("begins with {:?}, restored: {restored}", db.consumer::<f32>("setpoint")?.latest());
    db.producer::<f32>("setpoint")?.produce(setpoint).await?;
    db.producer::<f32>("boiler.celsius")?.produce_many([setpoint - 1.0, setpoint]).await?;
    // The store has the values before the shutdown ends.
    assert!(db.shutdown(Duration::from_secs(5)).await.is_clean());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("plant-{}.db", std::process::id()));
    life(&path, 18.5).await?;
    life(&path, 23.0).await?;
    let store = Store::open(&path)?;
    if let Some(history) = store.history::<f32, _>("boiler.celsius", Json)? {
        for entry in history.last(10)? {
            println!("#{}: {:?}", entry.seq(), entry.value());
        }
    }
    drop(store);
    for end in ["", "-wal", "-shm", "-lock"] {
        _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
    Ok(())
}
