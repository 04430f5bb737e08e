//! Run with `cargo run -p tokio-mqtt-connector-demo`; end with Ctrl-C or `-- --seconds 5`.
//!
//! Three thermometers, their mean, and two commands, linked to an MQTT broker in both directions. By default the broker runs
//! inside this process; `MQTT_BROKER_URL=mqtt://host:port` names another one.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A demo prints.

use std::io::IsTerminal;
use std::process::ExitCode;

use aimdb::console::Addresses;
use aimdb::prelude::*;
use embedded_broker::EmbeddedBroker;
use sensor_graph::{
    CommandKey, Display, Mean, SamplingPeriod, SensorKey, Settings, Temperature, house,
};
use tokio::sync::oneshot;

mod options;
mod view;

use options::Options;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::from_args() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    log_to_stderr();
    match demo(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let embedded = match &options.broker {
        Some(_) => None,
        None => Some(EmbeddedBroker::start().await?),
    };
    let url = embedded.as_ref().map(EmbeddedBroker::url).or(options.broker).unwrap_or_default();
    let (sender, console) = oneshot::channel();
    let db = build(&url, sender)?;
    db.start();
    view::introduce(&db, &url, embedded.is_some());
    if let Ok(addresses) = console.await {
        view::introduce_console(&addresses);
    }
    let view = tokio::spawn(view::show(db.clone(), std::io::stdout().is_terminal()));
    let outcome = db.run_until(stop_request(options.seconds)).await;
    view.abort();
    if let Some(broker) = embedded {
        broker.stop().await;
    }
    println!("\n{}", outcome?);
    Ok(())
}

/// Declares the whole graph and builds the database. `console` learns where the console listens.
fn build(url: &str, console: oneshot::Sender<Addresses>) -> DbResult<AimDb<TokioAdapter>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    let broker = MqttConnector::new(url).require_connection(Duration::from_secs(5));
    builder.connector(broker).stop_on_failure();

    let look = Console::new().name("demo").http("127.0.0.1:0");
    builder.service(look.on_listening(|addresses| _ = console.send(addresses.clone())));

    house(&mut builder, &Settings::new(SamplingPeriod { millis: 500 }));
    for sensor in SensorKey::THERMOMETERS {
        builder.configure::<Temperature>(sensor, |reg| {
            reg.link_to(link(&sensor), Json).expose(Json);
        });
    }
    builder.configure::<Mean>(SensorKey::Mean, |reg| {
        reg.link_to(link(&SensorKey::Mean), Json).expose(Json);
    });
    builder.configure::<SamplingPeriod>(CommandKey::Period, |reg| {
        reg.link_from(link(&CommandKey::Period), Json).expose(Json).settable();
    });
    builder.configure::<Display>(CommandKey::Display, |reg| {
        reg.link_from(link(&CommandKey::Display), Json).expose(Json).settable();
    });
    builder.configure::<Temperature>(view::ECHO, |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 64 })
            .link_from(mqtt::filter("sensors/temp/+").qos(QoS::AtLeastOnce), view::reading())
            .tap(view::count_echo)
            .expose(Json);
    });
    builder.build()
}

/// The address of a key's link.
fn link(key: &impl RecordKey) -> &str {
    key.link_address().expect("every key of the house has a link")
}

/// Waits for Ctrl-C, a termination signal, or the end of the requested time.
async fn stop_request(seconds: Option<Duration>) {
    let time_is_up = async {
        match seconds {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate() => {}
        () = time_is_up => {}
    }
}

#[cfg(unix)]
async fn terminate() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => _ = signal.recv().await,
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminate() {
    std::future::pending().await
}

/// Logs warnings and errors, or the levels that `RUST_LOG` selects.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "warn,mqtt5=off".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .init();
}
