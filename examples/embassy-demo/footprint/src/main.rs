//! The smallest useful firmware, whose size `tools/footprint` measures.
//!
//! One record, one source, one tap, and no output. Each feature adds one item, so that the difference is the item's size.
#![no_std]
#![no_main]

#[cfg(not(feature = "console"))]
use panic_halt as _;

use core::ptr;
use embassy_executor::Spawner;
#[cfg(not(feature = "bare"))]
use {
    aimdb::{
        AimDbBuilder, BufferCfg, Consumer, EmbassyAdapter, Producer, RuntimeContext, embassy::sink,
    },
    alloc::sync::Arc,
};

#[cfg(not(feature = "bare"))]
extern crate alloc;

/// Writes to the machine's general-purpose outputs, so that the compiler cannot remove the value.
fn show(value: u32) {
    const OUTPUTS: *mut u32 = 0x4001_0004 as *mut u32;
    // SAFETY: the register accepts any word.
    unsafe { ptr::write_volatile(OUTPUTS, value) };
}

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

#[cfg(not(feature = "bare"))]
async fn listen(_: RuntimeContext<EmbassyAdapter>, count: Consumer<u32, EmbassyAdapter>) {
    let Ok(mut reader) = count.subscribe() else { return };
    while let Ok(count) = reader.recv().await {
        show(count);
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
async fn listen_wide(_: RuntimeContext<EmbassyAdapter>, count: Consumer<u64, EmbassyAdapter>) {
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
