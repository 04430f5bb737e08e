//! The firmware that `cargo run -p mcu-to-broker` starts; that process is the other end of its serial line.
//!
//! The thermometers of the sensor graph are linked to a gateway; a command from the gateway sets how often they measure.
#![no_std]
#![no_main]

use aimdb::embassy::sink;
use aimdb::prelude::*;
use aimdb::{EmbeddedSerialConnector, Postcard, Uart};
use board::{console, uart};
use embassy_executor::Spawner;
use sensor_graph::{
    CommandKey, SamplingPeriod, SensorKey, Settings, Temperature, serial_address, set_period,
    thermometer,
};

#[cortex_m_rt::entry]
fn main() -> ! {
    board::heap::init(128 * 1024);
    board::executor::run(|spawner| spawner.spawn(node(spawner).expect("the first task")))
}

#[embassy_executor::task]
async fn node(spawner: Spawner) {
    if let Err(problem) = build(spawner).run().await {
        console::line(format_args!("error: {problem}"));
        console::exit(1)
    }
}

fn build(spawner: Spawner) -> AimDbBuilder<EmbassyAdapter> {
    let mut builder =
        AimDbBuilder::new().runtime(Arc::new(EmbassyAdapter::new(spawner, sink::none)));
    let (receiver, transmitter) = uart::open();
    builder.connector(EmbeddedSerialConnector::new(Uart::new(receiver, transmitter)));

    let settings = Settings::new(SamplingPeriod { millis: 500 });
    for sensor in SensorKey::THERMOMETERS {
        let settings = Arc::clone(&settings);
        builder.configure::<Temperature>(sensor, |reg| {
            reg.buffer(BufferCfg::SpmcRing { capacity: 32 })
                .source(move |ctx, producer| thermometer(ctx, producer, sensor, settings))
                .link_to(serial_address(&sensor).as_str(), Postcard);
        });
    }
    builder.configure::<SamplingPeriod>(CommandKey::Period, |reg| {
        reg.buffer(BufferCfg::Mailbox)
            .link_from(serial_address(&CommandKey::Period).as_str(), Postcard)
            .tap(move |ctx, commands| set_period(ctx, commands, settings));
    });
    builder
}
