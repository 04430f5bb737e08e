//! Run with `tools/firmware run embassy-demo`.
//!
//! The graph of `tokio-mqtt-connector-demo` on a microcontroller: the same records, keys and stage functions, from the same
//! crate (`sensor-graph`), on Embassy. Instead of a broker, this demo has a source that commands a faster sampling after two
//! seconds, and taps that print. After five seconds the database shuts down, and the demo prints the report.
#![no_std]
#![no_main]

use core::time::Duration;

use aimdb::prelude::*;
use board::console;
use embassy_executor::Spawner;
use embassy_time::Timer;
use sensor_graph::{
    CommandKey, Display, Mean, SamplingPeriod, SensorKey, Settings, Temperature, Unit,
    announce_unit, mean, set_period, thermometer,
};

type Context = RuntimeContext<EmbassyAdapter>;

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
fn build(spawner: Spawner) -> DbResult<AimDb<EmbassyAdapter>> {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(EmbassyAdapter::new(spawner, log)));

    let settings = Settings::new(SamplingPeriod { millis: 500 });
    for sensor in SensorKey::THERMOMETERS {
        let settings = Arc::clone(&settings);
        builder.configure::<Temperature>(sensor, |reg| {
            reg.buffer(BufferCfg::SpmcRing { capacity: 32 })
                .source(move |ctx, producer| thermometer(ctx, producer, sensor, settings));
        });
    }
    builder.configure::<Mean>(SensorKey::Mean, |reg| {
        reg.buffer(BufferCfg::SingleLatest)
            .join(SensorKey::THERMOMETERS.map(input::<Temperature>), mean)
            .tap(show);
    });
    builder.configure::<SamplingPeriod>(CommandKey::Period, |reg| {
        reg.buffer(BufferCfg::Mailbox)
            .source(operator)
            .tap(move |ctx, commands| set_period(ctx, commands, settings));
    });
    builder.configure::<Display>(CommandKey::Display, |reg| {
        reg.buffer(BufferCfg::SingleLatest).source(display).tap(announce_unit);
    });
    builder.build()
}

/// A tap: prints the mean, at most twice a second.
async fn show(ctx: Context, means: Consumer<Mean, EmbassyAdapter>) {
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
async fn operator(ctx: Context, commands: Producer<SamplingPeriod, EmbassyAdapter>) {
    ctx.time().sleep(ctx.time().secs(2)).await;
    commands.produce(SamplingPeriod { millis: 100 }).await.ok();
}

/// A source: commands the unit in which temperatures are shown.
async fn display(_: Context, display: Producer<Display, EmbassyAdapter>) {
    display.produce(Display { unit: Unit::Celsius }).await.ok();
}

fn log(level: aimdb::LogLevel, origin: &str, message: core::fmt::Arguments<'_>) {
    console::line(format_args!("{level:?} {origin}: {message}"));
}
