//! `cargo run --manifest-path examples/opentelemetry/Cargo.toml -- http://127.0.0.1:4318`: two databases, a broker between
//! them, and an OTLP collector that receives their counters and a tenth of their traces.

use std::time::Duration;

use aimdb::run_until_signalled;
use embedded_broker::EmbeddedBroker;
use opentelemetry::trace::TracerProvider;
use opentelemetry_example::{control_room, metrics::OtlpMetrics, plant, traces};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:4318".to_owned());
    let broker = EmbeddedBroker::start().await?;
    let spans = [
        traces::provider("plant", &endpoint, 0.1)?,
        // A span with a remote parent is sampled as its parent was.
        traces::provider("control-room", &endpoint, 0.1)?,
    ];
    let interval = Duration::from_secs(1);
    let mut room = control_room(broker.port(), spans[1].tracer("control-room"))?;
    room.service(OtlpMetrics::new("control-room", &endpoint, interval));
    let mut plant = plant(broker.port(), spans[0].tracer("plant"), u64::MAX)?;
    plant.service(OtlpMetrics::new("plant", &endpoint, interval));
    println!("exporting to {endpoint}; Ctrl-C ends");
    let room = room.build()?;
    room.start();
    run_until_signalled(&plant.build()?).await?;
    println!("{}", room.shutdown(Duration::from_secs(5)).await);
    tokio::task::spawn_blocking(move || spans.iter().try_for_each(|provider| provider.shutdown()))
        .await??;
    broker.stop().await;
    Ok(())
}
