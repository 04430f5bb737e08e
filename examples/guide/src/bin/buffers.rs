//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;

/// Writes 1 to 5 into a record, reads it only afterwards, and returns the values received and the number lost.
async fn late_look(cfg: BufferCfg) -> Result<(Vec<u32>, u64), Box<dyn std::error::Error>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.configure::<u32>("record", |reg| {
        reg.buffer(cfg).written_from_outside().read_from_outside();
    });
    let db = builder.build()?;
    let (producer, consumer) = (db.producer::<u32>("record")?, db.consumer("record")?);
    let mut reader = consumer.subscribe()?;
    let mut accepted = 0;
    for value in 1..=5 {
        accepted += u32::from(producer.try_produce(value).is_ok());
    }
    let mut received = Vec::new();
    while let Ok(value) = reader.try_recv() {
        received.push(value);
    }
    assert_eq!(u64::from(accepted), received.len() as u64 + reader.lagged());
    Ok((received, reader.lagged()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    for cfg in [BufferCfg::ring(3), BufferCfg::queue(3), BufferCfg::latest(), BufferCfg::mailbox()]
    {
        let (received, lost) = late_look(cfg).await?;
        println!("{cfg}: received {received:?}, lost {lost}");
    }
    Ok(())
}
