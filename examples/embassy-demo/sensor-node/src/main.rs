//! The firmware that `cargo run -p mcu-to-broker` starts; that process is the other end of its serial line.
//!
//! The thermometers of the sensor graph are linked to a gateway; a command from the gateway sets how often they measure.
#![no_std]
#![no_main]

use aimdb::embassy::sink;
use aimdb::embassy::spawner::SendOnlySpawner;
use aimdb::prelude::*;
use aimdb::{EmbeddedSerialConnector, Postcard, Uart};
use board::{console, uart};
use embassy_executor::Spawner;
use sensor_graph::{
    CommandKey, SamplingPeriod, SensorKey, Settings, Temperature, serial_address, thermometers,
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

fn build(spawner: Spawner) -> AimDbBuilder<EmbassyAdapter<SendOnlySpawner>> {
    let mut builder = AimDbBuilder::on(EmbassyAdapter::for_send_stages(spawner, sink::none));
    let (receiver, transmitter) = uart::open();
    builder.connector(EmbeddedSerialConnector::new(Uart::new(receiver, transmitter)));

    thermometers(&mut builder, &Settings::new(SamplingPeriod { millis: 500 }));
    for sensor in SensorKey::THERMOMETERS {
        builder.configure::<Temperature>(sensor, |reg| {
            reg.link_to(serial_address(&sensor).as_str(), Postcard);
        });
    }
    builder.configure::<SamplingPeriod>(CommandKey::Period, |reg| {
        reg.link_from(serial_address(&CommandKey::Period).as_str(), Postcard);
    });
    builder
}
