//! A remote client of the broker, with a database of its own: it reads the readings and commands the period.

use aimdb::prelude::*;
use sensor_graph::{CommandKey, SamplingPeriod, Temperature};

use crate::gateway::mqtt_address;

const READINGS: &str = "readings";

pub(crate) struct RemoteClient {
    pub(crate) db: AimDb<TokioAdapter>,
    pub(crate) period: Producer<SamplingPeriod, TokioAdapter>,
}

impl RemoteClient {
    pub(crate) fn start(broker: &str) -> DbResult<Self> {
        let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new()?));
        builder.connector(MqttConnector::new(broker));
        builder.configure::<Temperature>(READINGS, |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 64 })
                .link_from(mqtt::filter("sensors/temp/+").qos(QoS::AtLeastOnce), Json)
                .tap(|_, readings| async move {
                    let Ok(mut reader) = readings.subscribe() else { return };
                    while reader.recv().await.is_ok() {}
                });
        });
        builder.configure::<SamplingPeriod>(CommandKey::Period, |reg| {
            reg.buffer(BufferCfg::SingleLatest).link_to(mqtt_address(&CommandKey::Period), Json);
        });
        let db = builder.build()?;
        db.start();
        let period = db.producer(CommandKey::Period)?;
        Ok(Self { db, period })
    }

    /// The number of readings received so far.
    pub(crate) fn readings(&self) -> u64 {
        self.db.metrics().record(READINGS).map_or(0, |record| record.produced)
    }
}
