//! A program of the guide: docs/guide/src.
use std::collections::BTreeMap;

use aimdb::prelude::*;
use aimdb::{Decode, Incoming, decode_with};
use embedded_broker::EmbeddedBroker;

type Message = (String, u32);

fn gateway(broker: &str) -> DbResult<AimDb<TokioAdapter>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.connector(MqttConnector::new(broker).client_id("gateway"));
    builder.configure::<u32>("order", |reg| {
        reg.buffer(BufferCfg::queue(8)).written_from_outside();
        reg.link_to(mqtt::topic("order").qos(QoS::AtLeastOnce), Json);
    });
    builder.configure::<u32>("frame", |reg| {
        reg.buffer(BufferCfg::ring(2)).written_from_outside();
        reg.link_to(mqtt::topic("frame").qos(QoS::AtLeastOnce), Json);
    });
    builder.configure::<u32>("state", |reg| {
        reg.buffer(BufferCfg::latest()).written_from_outside();
        reg.link_to(mqtt::topic("state").qos(QoS::AtLeastOnce).retain(), Json);
    });
    builder.build()
}

/// Another client of the broker, which receives every message.
fn observer(broker: &str) -> DbResult<AimDb<TokioAdapter>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.connector(MqttConnector::new(broker).client_id("observer"));
    builder.configure::<Message>("message", |reg| {
        let message = decode_with(|message: &Incoming<'_>| {
            Json.decode(message).map(|number| (message.topic.to_string(), number))
        });
        reg.buffer(BufferCfg::queue(64)).read_from_outside().link_from("mqtt://#?qos=1", message);
    });
    builder.build()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = EmbeddedBroker::start().await?;
    let (gateway, observer) = (gateway(&broker.url())?, observer(&broker.url())?);
    observer.start();
    // The broker keeps nothing for a subscription that is not made yet.
    observer.links_connected().await?;
    let mut messages = observer.consumer::<Message>("message")?.subscribe()?;
    // Before the start there is no connection, as in an outage: the links take nothing from their records.
    for key in ["order", "frame", "state"] {
        let record = gateway.producer::<u32>(key)?;
        for number in 1..=5 {
            record.produce(number).await?;
        }
    }
    gateway.start();
    gateway.links_connected().await?;
    let mut received = BTreeMap::<_, Vec<_>>::new();
    for _ in 0..8 {
        let (topic, number) = messages.recv().await?;
        received.entry(topic).or_default().push(number);
    }
    println!("{received:?}");
    gateway.shutdown(Duration::from_secs(5)).await;
    observer.shutdown(Duration::from_secs(5)).await;
    broker.stop().await;
    Ok(())
}
