//! The gateway between the serial line and the broker: every record has a link to each.

use std::net::TcpListener;

use aimdb::prelude::*;
use aimdb::{Postcard, SerialConnector, SerialStatus};
use sensor_graph::{CommandKey, SamplingPeriod, SensorKey, Temperature, serial_address};

pub(crate) struct Gateway {
    pub(crate) db: AimDb<TokioAdapter>,
    /// Counters of the records that the serial line has lost, doubled and corrupted.
    pub(crate) status: SerialStatus,
}

impl Gateway {
    pub(crate) fn start(broker: &str, line: TcpListener) -> DbResult<Self> {
        let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new()?));
        let serial = SerialConnector::listener(line);
        let status = serial.status();
        builder.connector(serial).connector(MqttConnector::new(broker));
        // `aimdb top --db gateway`.
        builder.service(Console::new().name("gateway"));
        for sensor in SensorKey::THERMOMETERS {
            builder.configure::<Temperature>(sensor, |reg| {
                reg.buffer(BufferCfg::SpmcRing { capacity: 64 })
                    .link_from(serial_address(&sensor).as_str(), Postcard)
                    .link_to(mqtt_address(&sensor), Json)
                    .expose(Json);
            });
        }
        builder.configure::<SamplingPeriod>(CommandKey::Period, |reg| {
            reg.buffer(BufferCfg::SingleLatest)
                .link_from(mqtt_address(&CommandKey::Period), Json)
                .link_to(serial_address(&CommandKey::Period).as_str(), Postcard)
                .expose(Json)
                .settable();
        });
        let db = builder.build()?;
        db.start();
        Ok(Self { db, status })
    }
}

pub(crate) fn mqtt_address(key: &impl RecordKey) -> &str {
    key.link_address().expect("every key of the house has a link")
}
