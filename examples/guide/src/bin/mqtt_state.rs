//! A program of the guide: docs/guide/src.
use aimdb::events::{DbEventKind, DbEvents};
use aimdb::prelude::*;
use aimdb::{CodecError, Incoming, LastWill, decode_with, encode_with};
use embedded_broker::EmbeddedBroker;

const STATE: &str = "gateways/7/state";

fn gateway(broker: &str) -> DbResult<AimDb<TokioAdapter>> {
    let will = LastWill::new(STATE, "offline").qos(QoS::AtLeastOnce).retain();
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.connector(MqttConnector::new(broker).client_id("gateway-7").last_will(will));
    builder.configure::<&str>("state", |reg| {
        let text = encode_with(|state: &&str, out: &mut Vec<u8>| {
            out.extend_from_slice(state.as_bytes());
            Ok::<_, CodecError>(())
        });
        reg.buffer(BufferCfg::latest()).written_from_outside();
        reg.link_to(mqtt::topic(STATE).qos(QoS::AtLeastOnce).retain(), text);
    });
    builder.build()
}

/// Publishes `online` on each new connection: the broker may have published the last will before it.
async fn announce(mut events: DbEvents, state: Producer<&'static str, TokioAdapter>) {
    while let Some(event) = events.next().await {
        if matches!(event.kind, DbEventKind::LinkUp { .. }) {
            state.produce("online").await.ok();
        }
    }
}

/// Another client of the broker, which receives every message as a line of text.
fn observer(broker: &str) -> DbResult<AimDb<TokioAdapter>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.connector(MqttConnector::new(broker).client_id("observer"));
    builder.configure::<String>("message", |reg| {
        let line = decode_with(|message: &Incoming<'_>| {
            let retained = if message.retained { " (retained)" } else { "" };
            let payload = String::from_utf8_lossy(message.payload);
            Ok::<_, CodecError>(format!("{}: {payload}{retained}", message.topic))
        });
        reg.buffer(BufferCfg::queue(64)).read_from_outside().link_from("mqtt://#?qos=1", line);
    });
    builder.build()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(broker) = std::env::args().nth(1) {
        let db = gateway(&broker)?; // the process that is killed below
        tokio::spawn(announce(db.events(), db.producer("state")?));
        return Ok(db.run().await?);
    }
    let broker = EmbeddedBroker::start().await?;
    let watching = observer(&broker.url())?;
    watching.start();
    // The broker keeps nothing for a subscription that is not made yet.
    watching.links_connected().await?;
    let mut messages = watching.consumer::<String>("message")?.subscribe()?;

    println!("an orderly end");
    let db = gateway(&broker.url())?;
    let state = db.producer::<&str>("state")?;
    tokio::spawn(announce(db.events(), state.clone()));
    db.start();
    println!("{}", messages.recv().await?);
    state.produce("offline").await?; // after an orderly shutdown the broker discards the will
    db.shutdown(Duration::from_secs(5)).await;
    println!("{}", messages.recv().await?);

    println!("a crash");
    let program = std::env::current_exe()?;
    let mut process = std::process::Command::new(program).arg(broker.url()).spawn()?;
    println!("{}", messages.recv().await?);
    process.kill()?;
    process.wait()?;
    println!("{}", messages.recv().await?);

    println!("a later subscriber");
    let later = observer(&broker.url())?;
    let mut messages = later.consumer::<String>("message")?.subscribe()?;
    watching.shutdown(Duration::from_secs(5)).await;
    later.start();
    println!("{}", messages.recv().await?);
    later.shutdown(Duration::from_secs(5)).await;
    broker.stop().await;
    Ok(())
}
