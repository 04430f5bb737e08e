//! The writer of `tests/crash.rs`, which is killed: a record with restore and history, whose values count on from the restored
//! one. It prints the value that was restored, and then each value that the store says is written.
#![allow(clippy::print_stdout)]

use std::io::Write;
use std::time::Duration;

use aimdb_core::{AimDbBuilder, BufferCfg, Json};
use aimdb_store::{Entry, Keep, Persist, Store, StoreError};
use aimdb_tokio_adapter::TokioAdapter;

/// Waits until the file has the value, in both places.
fn wait_until_written(store: &Store, value: u64) -> Result<(), StoreError> {
    loop {
        let newest = store.newest::<u64, _>("count", Json)?.map(|(newest, _)| newest);
        let history = store.history::<u64, _>("count", Json)?;
        let last = history.map(|history| history.last(1)).transpose()?.unwrap_or_default();
        if newest == Some(value) && last.first().and_then(Entry::value) == Some(&value) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("the path of the file")?;
    let store = Store::open(path)?;
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.service(store.clone());
    builder.configure::<u64>("count", |reg| {
        reg.buffer(BufferCfg::queue(64)).written_from_outside();
        reg.restore(&store, Json).history(&store, Json, Keep::all());
    });
    let db = builder.build()?;
    let mut count = db.consumer::<u64>("count")?.latest().unwrap_or(0);
    println!("restored {count}");
    db.start();
    let producer = db.producer::<u64>("count")?;
    loop {
        for _ in 0..10 {
            count += 1;
            producer.produce(count).await?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (store, expected) = (store.clone(), count);
        tokio::task::spawn_blocking(move || wait_until_written(&store, expected)).await??;
        println!("written {count}");
        std::io::stdout().flush()?;
    }
}
