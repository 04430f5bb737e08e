//! Run with `cargo run -p mcu-to-broker`; end with Ctrl-C or `-- --seconds 10`. Needs what `tools/firmware install` installs.
//!
//! ```text
//! microcontroller (QEMU)          gateway (this process)           broker (this process)   outsider
//! thermometers ─▶ serial:// ═══ TCP ═══▶ records ─▶ mqtt:// ───▶ sensors/temp/+ ───▶ reads
//! set_period ◀── serial:// ◀═══ TCP ════ record ◀── mqtt:// ◀─── commands/period ◀─── writes
//! ```
//!
//! After three seconds the outsider commands faster sampling; after six the microcontroller's power is cut. Every reading is
//! counted on its way. With `--seconds` of at least nine it ends with status 0 if all of that went as it should.
#![allow(clippy::print_stdout, clippy::print_stderr)] // It is a demo: it talks.

use std::process::ExitCode;

use aimdb::SerialCounters;
use aimdb::prelude::*;
use embedded_broker::EmbeddedBroker;
use sensor_graph::{SamplingPeriod, SensorKey};
use tokio::time::{Instant, interval, sleep_until};

mod gateway;
mod microcontroller;
mod outsider;

use gateway::Gateway;
use microcontroller::Microcontroller;
use outsider::Outsider;

const COMMAND_AT: Duration = Duration::from_secs(3);
const POWER_CUT_AT: Duration = Duration::from_secs(6);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "error,mqtt5=off".into()),
        )
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    let seconds = match seconds() {
        Ok(seconds) => seconds,
        Err(problem) => {
            eprintln!("{problem}\n\nusage: mcu-to-broker [--seconds N]");
            return ExitCode::from(2);
        }
    };
    match demo(seconds).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn seconds() -> Result<Option<Duration>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut seconds = None;
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("seconds") => seconds = Some(Duration::from_secs(args.value()?.parse()?)),
            other => return Err(other.unexpected()),
        }
    }
    Ok(seconds)
}

async fn demo(seconds: Option<Duration>) -> Outcome<()> {
    let firmware = microcontroller::build().await?;
    let broker = EmbeddedBroker::start().await?;
    let line = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = line.local_addr()?;
    let gateway = Gateway::start(&broker.url(), line)?;
    let outsider = Outsider::start(&broker.url())?;
    println!(
        "{}\nserial line: tcp {address}; broker: 127.0.0.1:{}",
        gateway.db.graph(),
        broker.port()
    );
    println!("  mosquitto_sub -h 127.0.0.1 -p {} -t 'sensors/#' -v", broker.port());
    println!(
        "  mosquitto_pub -h 127.0.0.1 -p {} -t commands/period -m '{{\"millis\":100}}'\n",
        broker.port()
    );
    let mut mcu = Microcontroller::start(&firmware, address)?;
    let story = tell(&gateway, &outsider, &mut mcu, &firmware, address, seconds).await;
    mcu.stop().await?;
    outsider.db.shutdown(Duration::from_secs(5)).await;
    println!("\ngateway: {}", gateway.db.shutdown(Duration::from_secs(5)).await);
    println!("serial line: {}", gateway.status.counters());
    broker.stop().await;
    story
}

/// Shows what flows, commands and cuts the power at their times, and judges at the end.
async fn tell(
    gateway: &Gateway,
    outsider: &Outsider,
    mcu: &mut Microcontroller,
    firmware: &std::path::Path,
    line: std::net::SocketAddr,
    seconds: Option<Duration>,
) -> Outcome<()> {
    let began = Instant::now();
    let (mut commanded, mut cut) = (None, None);
    let mut ticks = interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            _ = ticks.tick() => show(began, gateway, outsider)?,
            () = sleep_until(began + COMMAND_AT), if commanded.is_none() => {
                commanded = Some(outsider.readings());
                println!("        the outsider publishes {{\"millis\":100}} on commands/period");
                outsider.period.produce(SamplingPeriod { millis: 100 }).await?;
            }
            () = sleep_until(began + POWER_CUT_AT), if cut.is_none() => {
                cut = Some((outsider.readings(), gateway.status.counters()));
                println!("        the microcontroller loses its power, and has it back");
                mcu.stop().await?;
                *mcu = Microcontroller::start(firmware, line)?;
            }
            exited = mcu.exited() => return Err(format!("the microcontroller ended by itself: {exited}").into()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = sleep_until(began + seconds.unwrap_or_default()), if seconds.is_some() => break,
        }
    }
    match (commanded, cut) {
        (Some(slow), Some((fast, before))) => judge(
            slow,
            fast - slow,
            outsider.readings() - fast,
            gateway.status.counters().since(&before),
        ),
        _ => Ok(()),
    }
}

fn show(began: Instant, gateway: &Gateway, outsider: &Outsider) -> DbResult<()> {
    let mut now = String::new();
    for place in SensorKey::THERMOMETERS {
        let latest = gateway.db.consumer::<sensor_graph::Temperature>(place)?.latest();
        let celsius =
            latest.map_or_else(|| "–".into(), |reading| format!("{:.1}", reading.celsius));
        now += &format!("{celsius:>5} ");
    }
    let SerialCounters { received, lost, peer_restarts, .. } = gateway.status.counters();
    println!(
        "{:4.1} s  {now}°C   over the line {received:>4}, lost {lost}, restarts {peer_restarts}   at the outsider {:>4}",
        began.elapsed().as_secs_f32(),
        outsider.readings()
    );
    Ok(())
}

/// Readings before the command, from the command to the power cut, and after it; what the line counted since then.
fn judge(slow: u64, fast: u64, after: u64, line: SerialCounters) -> Outcome<()> {
    println!(
        "\nreadings at the outsider: {slow} in the first {COMMAND_AT:?}, {fast} in the next, {after} since the power cut"
    );
    let as_it_should = [
        (slow > 0, "no reading came through"),
        (fast > 2 * slow, "the command did not make it measure faster"),
        (after > 0, "nothing came after the power cut"),
        (line.peer_restarts == 1, "the gateway did not notice exactly one restart"),
        (line.corrupted + line.doubled == 0, "something came twice or corrupted"),
    ];
    match as_it_should.iter().find(|(kept, _)| !kept) {
        Some((_, what)) => Err((*what).into()),
        None => Ok(()),
    }
}
