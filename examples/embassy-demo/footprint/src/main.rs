//! The smallest useful firmware, whose size `tools/footprint` measures.
//!
//! One record, one source, one tap, and no output. Each feature adds one item, so that the difference is the item's size.
#![no_std]
#![no_main]

#[cfg(not(feature = "console"))]
use panic_halt as _;

use embassy_executor::Spawner;
#[cfg(any(feature = "bare", feature = "type"))]
use show::show;
#[cfg(not(feature = "bare"))]
use {
    aimdb::{AimDbBuilder, BufferCfg, EmbassyAdapter, Producer, RuntimeContext, embassy::sink},
    alloc::sync::Arc,
    listen::listen,
};

#[cfg(any(not(feature = "bare"), feature = "client"))]
extern crate alloc;

#[cfg(feature = "client")]
mod client;
#[cfg(not(feature = "bare"))]
mod listen;
#[cfg(feature = "mqtt")]
mod mqtt;
mod show;
#[cfg(any(feature = "client", feature = "mqtt"))]
mod wire;

#[cortex_m_rt::entry]
fn main() -> ! {
    board::heap::init(16 * 1024);
    board::executor::run(|spawner| {
        if let Ok(token) = firmware(spawner) {
            spawner.spawn(token);
        }
        #[cfg(feature = "bare")]
        if let Ok(token) = listen() {
            spawner.spawn(token);
        }
        #[cfg(feature = "client")]
        if let Ok(token) = client::run() {
            spawner.spawn(token);
        }
    })
}

#[cfg(not(feature = "bare"))]
#[embassy_executor::task]
async fn firmware(spawner: Spawner) {
    let mut builder =
        AimDbBuilder::new().runtime(Arc::new(EmbassyAdapter::new(spawner, sink::none)));
    builder.configure::<u32>("count", |reg| {
        reg.buffer(BufferCfg::SingleLatest).source(count).tap(listen);
        #[cfg(feature = "tap")]
        reg.tap(listen);
    });
    #[cfg(feature = "mqtt")]
    mqtt::add(&mut builder);
    #[cfg(feature = "record")]
    builder.configure::<u32>("count.too", |reg| {
        reg.buffer(BufferCfg::SingleLatest).source(count).tap(listen);
    });
    #[cfg(feature = "type")]
    builder.configure::<u64>("count.too", |reg| {
        reg.buffer(BufferCfg::SingleLatest).source(count_wide).tap(listen_wide);
    });
    #[cfg(feature = "transform")]
    builder.configure::<u32>("count.twice", |reg| {
        reg.buffer(BufferCfg::SingleLatest)
            .transform(aimdb::input::<u32>("count"), |count| count * 2)
            .tap(listen);
    });
    if let Ok(db) = builder.build() {
        db.start();
        #[cfg(feature = "console")]
        {
            embassy_time::Timer::after_secs(1).await;
            board::console::line(format_args!("{}", board::heap::used()));
            board::console::exit(0);
        }
        // Dropping the database would end it.
        core::future::pending::<()>().await;
    }
}

#[cfg(not(feature = "bare"))]
async fn count(ctx: RuntimeContext<EmbassyAdapter>, count: Producer<u32, EmbassyAdapter>) {
    for n in 0.. {
        if count.produce(n).await.is_err() {
            return;
        }
        ctx.time().sleep(ctx.time().millis(10)).await;
    }
}

#[cfg(feature = "type")]
async fn count_wide(ctx: RuntimeContext<EmbassyAdapter>, count: Producer<u64, EmbassyAdapter>) {
    for n in 0.. {
        if count.produce(n).await.is_err() {
            return;
        }
        ctx.time().sleep(ctx.time().millis(10)).await;
    }
}

#[cfg(feature = "type")]
async fn listen_wide(
    _: RuntimeContext<EmbassyAdapter>,
    count: aimdb::Consumer<u64, EmbassyAdapter>,
) {
    let Ok(mut reader) = count.subscribe() else { return };
    while let Ok(count) = reader.recv().await {
        show(count as u32);
    }
}

#[cfg(feature = "bare")]
static COUNT: embassy_sync::signal::Signal<
    embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex,
    u32,
> = embassy_sync::signal::Signal::new();

#[cfg(feature = "bare")]
#[embassy_executor::task]
async fn firmware(_spawner: Spawner) {
    for n in 0.. {
        COUNT.signal(n);
        embassy_time::Timer::after_millis(10).await;
        #[cfg(feature = "console")]
        if n == 100 {
            board::console::line(format_args!("{}", board::heap::used()));
            board::console::exit(0);
        }
    }
}

#[cfg(feature = "bare")]
#[embassy_executor::task]
async fn listen() {
    loop {
        show(COUNT.wait().await);
    }
}
