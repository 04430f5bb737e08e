//! Run with `cargo run -p mcu-to-broker`; end with Ctrl-C or `-- --seconds 10`. Needs what `tools/firmware install` installs.
//!
//! ```text
//! microcontroller (QEMU)          gateway (this process)           broker (this process)   remote client
//! thermometers ─▶ serial:// ═══ TCP ═══▶ records ─▶ mqtt:// ───▶ sensors/temp/+ ───▶ reads
//! set_period ◀── serial:// ◀═══ TCP ════ record ◀── mqtt:// ◀─── commands/period ◀─── writes
//! ```
//!
//! After three seconds the remote client commands faster sampling; after six the demo cuts the microcontroller's power. The
//! serial line and the remote client count every reading. With `--seconds` of at least nine, the exit status is 0 only if the
//! counts show all of that.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A demo prints.

use std::process::ExitCode;

use aimdb::SerialCounters;
use aimdb::prelude::*;
use embedded_broker::EmbeddedBroker;
use sensor_graph::{SamplingPeriod, SensorKey};
use tokio::time::{Instant, interval, sleep_until};

mod gateway;
mod microcontroller;
mod remote;

use gateway::Gateway;
use microcontroller::{Microcontroller, Outcome};
use remote::RemoteClient;

const COMMAND_AT: Duration = Duration::from_secs(3);
const POWER_CUT_AT: Duration = Duration::from_secs(6);

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
    let remote = RemoteClient::start(&broker.url())?;
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
    let outcome = run_demo(&gateway, &remote, &mut mcu, &firmware, address, seconds).await;
    mcu.stop().await?;
    remote.db.shutdown(Duration::from_secs(5)).await;
    println!("\ngateway: {}", gateway.db.shutdown(Duration::from_secs(5)).await);
    println!("serial line: {}", gateway.status.counters());
    broker.stop().await;
    outcome
}

/// Prints the readings, sends the command and cuts the power at their times, and checks the counts at the end.
async fn run_demo(
    gateway: &Gateway,
    remote: &RemoteClient,
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
            _ = ticks.tick() => show(began, gateway, remote)?,
            () = sleep_until(began + COMMAND_AT), if commanded.is_none() => {
                commanded = Some(remote.readings());
                println!("        the remote client publishes {{\"millis\":100}} on commands/period");
                remote.period.produce(SamplingPeriod { millis: 100 }).await?;
            }
            () = sleep_until(began + POWER_CUT_AT), if cut.is_none() => {
                cut = Some((remote.readings(), gateway.status.counters()));
                println!("        the microcontroller loses its power and starts again");
                mcu.stop().await?;
                *mcu = Microcontroller::start(firmware, line)?;
            }
            exited = mcu.exited() => return Err(format!("the microcontroller exited: {exited}").into()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = sleep_until(began + seconds.unwrap_or_default()), if seconds.is_some() => break,
        }
    }
    match (commanded, cut) {
        (Some(slow), Some((fast, before))) => check_counts(
            slow,
            fast - slow,
            remote.readings() - fast,
            gateway.status.counters().since(&before),
        ),
        _ => Ok(()),
    }
}

fn show(began: Instant, gateway: &Gateway, remote: &RemoteClient) -> DbResult<()> {
    let mut now = String::new();
    for sensor in SensorKey::THERMOMETERS {
        let latest = gateway.db.consumer::<sensor_graph::Temperature>(sensor)?.latest();
        let celsius =
            latest.map_or_else(|| "–".into(), |reading| format!("{:.1}", reading.celsius));
        now += &format!("{celsius:>5} ");
    }
    let SerialCounters { received, lost, peer_restarts, .. } = gateway.status.counters();
    println!(
        "{:4.1} s  {now}°C   over the line {received:>4}, lost {lost}, restarts {peer_restarts}   at the remote client {:>4}",
        began.elapsed().as_secs_f32(),
        remote.readings()
    );
    Ok(())
}

/// Checks the readings before the command, from the command to the power cut, and after the cut; and the counters of the serial
/// line since the cut.
fn check_counts(slow: u64, fast: u64, after: u64, line: SerialCounters) -> Outcome<()> {
    println!(
        "\nreadings at the remote client: {slow} in the first {COMMAND_AT:?}, {fast} in the next, {after} since the power cut"
    );
    let checks = [
        (slow > 0, "no reading reached the remote client"),
        (fast > 2 * slow, "the microcontroller did not measure faster after the command"),
        (after > 0, "no reading reached the remote client after the power cut"),
        (line.peer_restarts == 1, "the gateway did not notice exactly one restart"),
        (line.corrupted + line.duplicates == 0, "the line counted duplicate or corrupted records"),
    ];
    match checks.iter().find(|(holds, _)| !holds) {
        Some((_, problem)) => Err((*problem).into()),
        None => Ok(()),
    }
}
