//! A program of the guide: docs/guide/src.
use aimdb::events::DbEventKind;
use aimdb::prelude::*;
use embedded_broker::EmbeddedBroker;

fn gateway(broker: &str, password: &str) -> DbResult<AimDb<TokioAdapter>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    TokioAdapter::silence(); // this program prints its events itself
    let connector = MqttConnector::new(broker).credentials("gateway", password);
    builder.connector(connector.require_connection(Duration::from_secs(30))).stop_on_failure();
    builder.configure::<f32>("temp", |reg| {
        reg.buffer(BufferCfg::queue(8))
            .written_from_outside()
            .link_to("mqtt://room/temp?qos=1", Json);
    });
    builder.on_event(|event| match &event.kind {
        DbEventKind::LinkUp { .. } => println!("up"),
        DbEventKind::LinkDown { .. } => println!("down"),
        _ => {}
    });
    builder.build()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = EmbeddedBroker::start_with_password("gateway", "right").await?;
    if let Err(DbError::StagesFailed { failures }) = gateway(&broker.url(), "wrong")?.run().await {
        // The port of this broker differs from run to run.
        println!("{}", failures[0].cause.replace(&broker.url(), "the broker"));
    }

    let db = gateway(&broker.url(), "right")?;
    db.start();
    db.links_connected().await?;
    db.producer::<f32>("temp")?.produce(21.5).await?;
    db.shutdown(Duration::from_secs(5)).await;
    let link = &db.metrics().links[0];
    println!("{} sent, {} dropped, {} reconnects", link.sent, link.dropped(), link.reconnects);
    broker.stop().await;
    Ok(())
}
