//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;
use aimdb_testing::{MemoryPeer, TestRuntime};

/// The graph under test: a command from the broker opens a door, whose state the broker receives.
fn graph<R: SendRuntime>(builder: &mut AimDbBuilder<R>, broker: &str) {
    builder.configure::<bool>("door.command", |reg| {
        reg.buffer(BufferCfg::mailbox()).link_from(format!("{broker}://door/command"), Json);
    });
    builder.configure::<bool>("door.open", |reg| {
        reg.buffer(BufferCfg::latest())
            .transform(input::<bool>("door.command"), |open| open)
            .link_to(format!("{broker}://door/open"), Json);
    });
}

fn main() -> DbResult<()> {
    let (runtime, broker) = (Arc::new(TestRuntime::new()), MemoryPeer::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.connector(broker.connector());
    graph(&mut builder, "memory");
    let db = builder.build()?;
    db.start();
    broker.publish("door/command", "true");
    runtime.advance(Duration::from_secs(1));
    assert_eq!(broker.received("door/open"), [b"true"]);
    broker.disconnect();
    broker.publish("door/command", "false");
    runtime.advance(Duration::from_secs(60));
    assert_eq!(broker.received("door/open").len(), 1, "there is no connection");
    broker.accept();
    runtime.advance(Duration::from_secs(60));
    assert_eq!(broker.received("door/open").last().unwrap(), b"false");
    println!("the door is closed again");
    Ok(())
}
