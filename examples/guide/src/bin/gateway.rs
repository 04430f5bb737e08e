//! A program of the guide: docs/guide/src.
use aimdb::events::DbEventKind;
use aimdb::prelude::*;
use embedded_broker::EmbeddedBroker;

/// The gateway: degrees Celsius from the broker, degrees Fahrenheit back to it.
fn gateway(broker: &str) -> DbResult<AimDb<TokioAdapter>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    TokioAdapter::silence(); // this program prints its events itself
    builder.connector(MqttConnector::new(broker).client_id("gateway"));
    builder.configure::<f32>("room.celsius", |reg| {
        reg.buffer(BufferCfg::queue(16)).link_from("mqtt://room/celsius?qos=1", Json);
    });
    builder.configure::<f32>("room.fahrenheit", |reg| {
        reg.buffer(BufferCfg::queue(16))
            .transform(input::<f32>("room.celsius"), |celsius| celsius * 1.8 + 32.0)
            .link_to("mqtt://room/fahrenheit?qos=1", Json);
    });
    builder.on_event(|event| match &event.kind {
        DbEventKind::LinkUp { .. } | DbEventKind::LinkDown { .. } => println!("{event}"),
        _ => {}
    });
    builder.build()
}

/// Two other clients of the broker: a thermometer, and a display which prints what the gateway publishes.
fn room(broker: &str) -> DbResult<AimDb<TokioAdapter>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.connector(MqttConnector::new(broker).client_id("room"));
    builder.configure::<f32>("thermometer", |reg| {
        reg.buffer(BufferCfg::queue(16)).written_from_outside();
        reg.link_to("mqtt://room/celsius?qos=1", Json);
    });
    builder.configure::<f32>("display", |reg| {
        reg.buffer(BufferCfg::queue(16)).read_from_outside();
        reg.link_from("mqtt://room/fahrenheit?qos=1", Json);
    });
    builder.build()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = EmbeddedBroker::start().await?;
    let (gateway, room) = (gateway(&broker.url())?, room(&broker.url())?);
    gateway.start();
    // The broker keeps nothing for a subscription that is not made yet.
    gateway.links_connected().await?;
    room.start();
    room.links_connected().await?;
    let thermometer = room.producer::<f32>("thermometer")?;
    let mut display = room.consumer::<f32>("display")?.subscribe()?;
    for celsius in [20.0, 21.5] {
        thermometer.produce(celsius).await?;
        println!("{celsius} °C is {} °F", display.recv().await?);
    }
    room.shutdown(Duration::from_secs(5)).await;
    let mut events = gateway.events();
    broker.stop().await;
    while gateway.metrics().links.iter().any(|link| link.connected) {
        events.next().await;
    }
    gateway.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
