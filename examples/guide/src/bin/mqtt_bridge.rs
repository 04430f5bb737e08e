//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;
use embedded_broker::EmbeddedBroker;

/// Passes the temperatures of a plant's broker on to the broker of the head office.
fn bridge(plant: &str, office: &str) -> DbResult<AimDb<TokioAdapter>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.connector(MqttConnector::new(plant).named("plant"));
    builder.connector(MqttConnector::new(office).named("office"));
    builder.configure::<f32>("oven.temp", |reg| {
        reg.buffer(BufferCfg::queue(64))
            .link_from("plant://oven/temp?qos=1", Json)
            .link_to(mqtt::topic("plants/7/oven").on("office").qos(QoS::AtLeastOnce), Json);
    });
    builder.build()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (plant, office) = (EmbeddedBroker::start().await?, EmbeddedBroker::start().await?);
    let bridge = bridge(&plant.url(), &office.url())?;
    bridge.start();
    // The broker keeps nothing for a subscription that is not made yet.
    bridge.links_connected().await?;

    // The oven is a client of one broker, and the report one of the other.
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.connector(MqttConnector::new(plant.url()).named("plant"));
    builder.connector(MqttConnector::new(office.url()).named("office"));
    builder.configure::<f32>("oven", |reg| {
        reg.buffer(BufferCfg::queue(8)).written_from_outside();
        reg.link_to("plant://oven/temp?qos=1", Json);
    });
    builder.configure::<f32>("report", |reg| {
        reg.buffer(BufferCfg::queue(8)).read_from_outside();
        reg.link_from("office://plants/+/oven?qos=1", Json);
    });
    let ends = builder.build()?;
    ends.start();
    ends.links_connected().await?;
    let mut report = ends.consumer::<f32>("report")?.subscribe()?;
    ends.producer::<f32>("oven")?.produce(182.5).await?;
    println!("{} °C", report.recv().await?);
    ends.shutdown(Duration::from_secs(5)).await;
    bridge.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
