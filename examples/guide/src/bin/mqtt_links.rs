//! A program of the guide: docs/guide/src.
use aimdb::link::only_if;
use aimdb::prelude::*;
use aimdb::{CodecError, Decode, Encode, Incoming, decode_with, encode_with};
use embedded_broker::EmbeddedBroker;

#[derive(Clone, Debug)]
struct Reading {
    device: String,
    quantity: String,
    value: f32,
}

type Builder = AimDbBuilder<TokioAdapter>;

fn publish(builder: &mut Builder) {
    builder.configure::<f32>("room.temp", |reg| {
        reg.buffer(BufferCfg::latest()).written_from_outside();
        reg.link_to("mqtt://room/temp", Json);
    });
}

fn subscribe(builder: &mut Builder) {
    builder.configure::<Reading>("reading", |reg| {
        let reading = decode_with(|message: &Incoming<'_>| {
            let [device, quantity] = message.parts else {
                return Err(CodecError::new("the filter has two wildcards"));
            };
            let value = Json.decode(message)?;
            Ok(Reading { device: (*device).into(), quantity: (*quantity).into(), value })
        });
        reg.buffer(BufferCfg::ring(64)).read_from_outside();
        reg.link_from("mqtt://devices/+/+?qos=1", reading);
    });
}

fn publish_to_computed_topics(builder: &mut Builder) {
    builder.configure::<Reading>("measured", |reg| {
        let topic = mqtt::topic_from(|reading: &Reading| {
            format!("devices/{}/{}", reading.device, reading.quantity)
        });
        let value = encode_with(|reading: &Reading, out: &mut _| Json.encode(&reading.value, out));
        reg.buffer(BufferCfg::queue(16)).written_from_outside();
        reg.link_to(topic.qos(QoS::AtLeastOnce), value);
    });
}

fn publish_alarms(builder: &mut Builder) {
    builder.configure::<f32>("boiler.temp", |reg| {
        let alarm = mqtt::topic("boiler/alarm").qos(QoS::AtLeastOnce);
        reg.buffer(BufferCfg::queue(16)).written_from_outside();
        reg.link_to(only_if(alarm, |celsius: &f32| *celsius > 90.0), Json);
    });
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
    let broker = EmbeddedBroker::start().await?;
    let observer = observer(&broker.url())?;
    observer.start();
    // The broker keeps nothing for a subscription that is not made yet.
    observer.links_connected().await?;
    let mut messages = observer.consumer::<String>("message")?.subscribe()?;

    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.connector(MqttConnector::new(broker.url()).client_id("gateway"));
    publish(&mut builder);
    subscribe(&mut builder);
    publish_to_computed_topics(&mut builder);
    publish_alarms(&mut builder);
    let db = builder.build()?;
    db.start();
    db.links_connected().await?;

    db.producer::<f32>("room.temp")?.produce(21.5).await?;
    println!("{}", messages.recv().await?);

    let mut readings = db.consumer::<Reading>("reading")?.subscribe()?;
    let humidity = Reading { device: "hall".into(), quantity: "humidity".into(), value: 48.0 };
    db.producer::<Reading>("measured")?.produce(humidity).await?;
    println!("{}", messages.recv().await?);
    println!("{:?}", readings.recv().await?);

    for celsius in [85.0, 95.0, 88.0] {
        db.producer::<f32>("boiler.temp")?.produce(celsius).await?;
    }
    println!("{}", messages.recv().await?);

    db.shutdown(Duration::from_secs(5)).await;
    observer.shutdown(Duration::from_secs(5)).await;
    broker.stop().await;
    Ok(())
}
