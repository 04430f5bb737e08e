//! Run with `tools/firmware run embassy-demo`.
//!
//! The graph of `tokio-mqtt-connector-demo` on a microcontroller: the same function declares it (`sensor_graph::house`), on
//! Embassy. Instead of a broker, this demo has a source that commands a faster sampling after two
//! seconds, and taps that print. After five seconds the database shuts down, and the demo prints the report.
#![no_std]
#![no_main]

use core::time::Duration;

use aimdb::embassy::spawner::SendOnlySpawner;
use aimdb::prelude::*;
use board::console;
use embassy_executor::Spawner;
use embassy_time::Timer;
use sensor_graph::{CommandKey, Display, Mean, SamplingPeriod, SensorKey, Settings, Unit, house};

type Adapter = EmbassyAdapter<SendOnlySpawner>;
type Context = RuntimeContext<Adapter>;

#[cortex_m_rt::entry]
fn main() -> ! {
    board::heap::init(64 * 1024);
    board::executor::run(|spawner| spawner.spawn(demo(spawner).expect("the first task")))
}

#[embassy_executor::task]
async fn demo(spawner: Spawner) {
    let db = match build(spawner) {
        Ok(db) => db,
        Err(problem) => {
            console::line(format_args!("error: {problem}"));
            console::exit(1)
        }
    };
    console::line(format_args!("{}\nheap: {} bytes in use\n", db.graph(), board::heap::used()));
    db.start();
    Timer::after_secs(1).await;
    // Every stage has run once by now; from here on no stage allocates.
    let allocations = board::heap::allocations();
    Timer::after_secs(4).await;
    let allocated = board::heap::allocations() - allocations;
    let report = db.shutdown(Duration::from_secs(1)).await;
    console::line(format_args!("\n{report}\nallocations in the last four seconds: {allocated}"));
    console::exit(u32::from(allocated != 0))
}

/// Declares the whole graph and builds the database.
fn build(spawner: Spawner) -> DbResult<AimDb<Adapter>> {
    let mut builder = AimDbBuilder::on(EmbassyAdapter::for_send_stages(spawner, log));

    house(&mut builder, &Settings::new(SamplingPeriod { millis: 500 }));
    builder.configure::<Mean>(SensorKey::Mean, |reg| {
        reg.tap(show);
    });
    builder.configure::<SamplingPeriod>(CommandKey::Period, |reg| {
        reg.source(operator);
    });
    builder.configure::<Display>(CommandKey::Display, |reg| {
        reg.source(display);
    });
    builder.build()
}

/// A tap: prints the mean, at most twice a second.
async fn show(ctx: Context, means: Consumer<Mean, Adapter>) {
    let Ok(mut reader) = means.subscribe() else { return };
    while let Ok(Mean { celsius, min, max }) = reader.recv().await {
        let seconds = ctx.time().now().as_nanos() as f32 / 1e9;
        console::line(format_args!(
            "{seconds:5.1} s   mean {celsius:5.2} °C   coldest {min:5.2} °C   warmest {max:5.2} °C"
        ));
        ctx.time().sleep(ctx.time().millis(500)).await;
    }
}

/// A source: commands a faster sampling after two seconds.
async fn operator(ctx: Context, commands: Producer<SamplingPeriod, Adapter>) {
    ctx.time().sleep(ctx.time().secs(2)).await;
    commands.produce(SamplingPeriod { millis: 100 }).await.ok();
}

/// A source: commands the unit in which temperatures are shown.
async fn display(_: Context, display: Producer<Display, Adapter>) {
    display.produce(Display { unit: Unit::Celsius }).await.ok();
}

fn log(level: aimdb::LogLevel, origin: &str, message: core::fmt::Arguments<'_>) {
    console::line(format_args!("{level:?} {origin}: {message}"));
}
