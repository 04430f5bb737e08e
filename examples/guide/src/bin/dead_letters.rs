//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;
use aimdb_testing::{MemoryPeer, TestRuntime};

fn main() -> DbResult<()> {
    let (runtime, peer) = (Arc::new(TestRuntime::new()), MemoryPeer::new());
    let mut builder = AimDbBuilder::on(Arc::clone(&runtime));
    builder.connector(peer.connector());
    builder.configure::<f32>("temp", |reg| {
        reg.buffer(BufferCfg::queue(8))
            .link_from("memory://room/temp", Json)
            .for_each(|_ctx, celsius| println!("{celsius} °C"));
    });
    builder.on_dead_letter(|letter| {
        let payload = String::from_utf8_lossy(letter.message.payload);
        println!("dead letter for {} on {}: {payload}", letter.record, letter.message.topic);
        println!("  {}", letter.reason);
    });
    let db = builder.build()?;
    db.start();
    for payload in ["21.5", "\"warm\"", "22"] {
        peer.publish("room/temp", payload);
        runtime.run_until_idle();
    }
    println!("{} unacknowledged", peer.unacknowledged("room/temp"));
    let metrics = db.metrics();
    let link = metrics.link("temp", "memory://room/temp").expect("the graph has this link");
    println!("{} received, {} did not decode", link.received, link.decode_errors());
    Ok(())
}
