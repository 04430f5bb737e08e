//! A program of the guide: docs/guide/src.
use std::collections::BTreeMap;

use aimdb::prelude::*;
use aimdb::{CodecError, Decode, Encode, Incoming, decode_with, encode_with};
use embedded_broker::EmbeddedBroker;

#[derive(Clone)]
struct Reading {
    device: String,
    celsius: f32,
}

/// The newest reading of each device. An `Arc`, because a reader of the record receives a clone.
type Table = Arc<BTreeMap<String, f32>>;

/// Decodes the payload as JSON. The subscription's `+` matched the device's name.
fn reading() -> impl Decode<Reading> {
    decode_with(|message: &Incoming<'_>| {
        let celsius = Json.decode(message)?;
        Ok::<_, CodecError>(Reading { device: message.parts[0].into(), celsius })
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = EmbeddedBroker::start().await?;
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.connector(MqttConnector::new(broker.url()));
    builder.configure::<Reading>("reading", |reg| {
        reg.buffer(BufferCfg::queue(64))
            .link_from(mqtt::filter("devices/+/temp").qos(QoS::AtLeastOnce), reading())
            .for_each(|_ctx, Reading { device, celsius }| println!("{device}: {celsius} °C"));
    });
    builder.configure::<Table>("table", |reg| {
        reg.buffer(BufferCfg::latest()).read_from_outside().scan(
            input::<Reading>("reading"),
            Table::default(),
            |table, Reading { device, celsius }| {
                Arc::make_mut(table).insert(device, celsius);
                Some(Arc::clone(table))
            },
        );
    });
    // The devices are in the same program here. Each publishes to a topic of its own.
    builder.configure::<Reading>("devices", |reg| {
        let topic = mqtt::topic_from(|Reading { device, .. }| format!("devices/{device}/temp"));
        let celsius =
            encode_with(|reading: &Reading, out: &mut _| Json.encode(&reading.celsius, out));
        reg.buffer(BufferCfg::queue(8)).written_from_outside();
        reg.link_to(topic.qos(QoS::AtLeastOnce), celsius);
    });
    let db = builder.build()?;
    db.start();
    // The broker keeps nothing for a subscription that is not made yet.
    db.links_connected().await?;
    let mut tables = db.consumer::<Table>("table")?.subscribe()?;
    let devices = db.producer::<Reading>("devices")?;
    for (device, celsius) in [("kitchen", 20.5), ("hall", 18.0), ("kitchen", 21.0), ("attic", 15.5)]
    {
        devices.produce(Reading { device: device.into(), celsius }).await?;
    }
    let mut table = Table::default();
    while table.len() < 3 {
        table = tables.recv().await?; // skips to the newest table
    }
    db.shutdown(Duration::from_secs(5)).await;
    println!("{table:?}");
    broker.stop().await;
    Ok(())
}
