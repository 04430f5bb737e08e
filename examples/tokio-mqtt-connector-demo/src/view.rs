//! The output: a table that is redrawn in place on a terminal, plain lines elsewhere.

use std::fmt::Write as _;

use aimdb::console::Addresses;
use aimdb::prelude::*;
use aimdb::{CodecError, Decode, Incoming};
use sensor_graph::{CommandKey, Display, Mean, SensorKey, Temperature, Unit};

/// The record of the readings that the broker sends back.
pub(crate) const ECHO: &str = "broker.echo";

/// Prints the graph, and commands that watch and control it through the broker.
pub(crate) fn introduce(db: &AimDb<TokioAdapter>, url: &str, embedded: bool) {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host).trim_end_matches('/');
    let (host, port) = host.rsplit_once(':').unwrap_or((host, "1883"));
    let origin = if embedded { "started in this process" } else { "from MQTT_BROKER_URL" };
    println!("broker: {host}:{port}, {origin}\n\n{}", db.graph());
    println!("look from outside:");
    println!("  mosquitto_sub -h {host} -p {port} -t 'sensors/#' -v");
    println!("  mosquitto_pub -h {host} -p {port} -t commands/period -m '{{\"millis\":100}}'");
    println!(
        "  mosquitto_pub -h {host} -p {port} -t commands/display -m '{{\"unit\":\"fahrenheit\"}}'\n"
    );
}

/// Prints how to look inside.
pub(crate) fn introduce_console(addresses: &Addresses) {
    let name = &addresses.name;
    println!(
        "look inside (`cargo install --path crates/aimdb-cli`, or `cargo run -p aimdb-cli --` for `aimdb`):"
    );
    println!("  aimdb top --db {name}");
    println!("  aimdb tail --db {name} 'sensor.*'");
    println!("  aimdb set --db {name} {} '{{\"millis\":100}}'", CommandKey::Period.as_str());
    if let Some(http) = addresses.http {
        println!("  the page: http://{http}/\n");
    }
}

/// Prints values until the task is aborted.
pub(crate) async fn show(db: AimDb<TokioAdapter>, live: bool) {
    let outcome = if live { table(db).await } else { lines(db).await };
    if let Err(problem) = outcome {
        eprintln!("error: {problem}");
    }
}

/// Redraws the table in place, ten times a second.
async fn table(db: AimDb<TokioAdapter>) -> DbResult<()> {
    let mut height = 0;
    loop {
        let table = render(&db)?;
        // The cursor moves up to the first line; each line clears the rest of its own row.
        print!("{}{}", if height > 0 { format!("\x1b[{height}A") } else { String::new() }, table);
        _ = std::io::Write::flush(&mut std::io::stdout());
        height = table.lines().count();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn render(db: &AimDb<TokioAdapter>) -> DbResult<String> {
    let unit = unit(db)?;
    let metrics = db.metrics();
    let mut out = format!(
        "{:<20} {:>10} {:>10} {:>10} {:>8}\x1b[K\n",
        "record", "now", "produced", "sent", "lost"
    );
    for key in SensorKey::THERMOMETERS.into_iter().chain([SensorKey::Mean]) {
        let celsius = match key {
            SensorKey::Mean => db.consumer::<Mean>(key)?.latest().map(|mean| mean.celsius),
            _ => db.consumer::<Temperature>(key)?.latest().map(|reading| reading.celsius),
        };
        let Some(record) = metrics.record(key.as_str()) else { continue };
        let link = metrics.links.iter().find(|link| link.key == key.as_str());
        let (sent, lost) = link.map_or((0, 0), |link| (link.sent, link.dropped()));
        let now = celsius.map_or_else(|| "–".into(), |celsius| in_unit(unit, celsius));
        _ = writeln!(
            out,
            "{:<20} {now:>10} {:>10} {sent:>10} {lost:>8}\x1b[K",
            key.as_str(),
            record.produced
        );
    }
    let received: u64 = metrics
        .links
        .iter()
        .filter(|link| !link.direction.is_outbound() && link.key == ECHO)
        .map(|l| l.received)
        .sum();
    let commands: u64 = metrics
        .links
        .iter()
        .filter(|link| link.key.starts_with("command."))
        .map(|l| l.received)
        .sum();
    let connected = metrics.links.iter().all(|link| link.connected);
    let broker = if connected { "connected" } else { "not connected" };
    _ = writeln!(
        out,
        "broker {broker}; {received} readings and {commands} commands received from it\x1b[K"
    );
    Ok(out)
}

/// Prints a line for each mean, in the unit that the last command has set.
async fn lines(db: AimDb<TokioAdapter>) -> DbResult<()> {
    let Ok(mut means) = db.consumer::<Mean>(SensorKey::Mean)?.subscribe() else { return Ok(()) };
    while let Ok(Mean { celsius, min, max }) = means.recv().await {
        let unit = unit(&db)?;
        let echoes = db.metrics().record(ECHO).map_or(0, |record| record.produced);
        let [celsius, min, max] = [celsius, min, max].map(|celsius| in_unit(unit, celsius));
        println!(
            "mean {celsius}, from {min} to {max}; {echoes} readings received back from the broker"
        );
    }
    Ok(())
}

fn unit(db: &AimDb<TokioAdapter>) -> DbResult<Unit> {
    Ok(db
        .consumer::<Display>(CommandKey::Display)?
        .latest()
        .map(|display| display.unit)
        .unwrap_or_default())
}

fn in_unit(unit: Unit, celsius: f32) -> String {
    let (value, sign) = unit.show(celsius);
    format!("{value:.1} {sign}")
}

/// Decodes a thermometer's reading, and a mean as a reading without a time: the topic filter matches both.
pub(crate) fn reading() -> impl Decode<Temperature> {
    aimdb::decode_with(|message: &Incoming<'_>| {
        let mut json = Json;
        if message.parts == ["mean"] {
            let Mean { celsius, .. } = json.decode(message)?;
            return Ok::<_, CodecError>(Temperature { celsius, at_ms: 0 });
        }
        json.decode(message)
    })
}

/// A tap that discards the values; the metrics count them.
pub(crate) async fn count_echo(
    _ctx: RuntimeContext<TokioAdapter>,
    echo: Consumer<Temperature, TokioAdapter>,
) {
    let Ok(mut reader) = echo.subscribe() else { return };
    while reader.recv().await.is_ok() {}
}
