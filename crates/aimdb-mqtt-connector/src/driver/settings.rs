//! The settings of the driver, which both connectors make.

use alloc::string::String;
use core::time::Duration;

use aimdb_core::link::driver::{Limits, Reconnect};
use aimdb_mqtt_protocol::{QoS, SessionConfig};

use crate::will::LastWill;

/// The settings of the driver.
pub(crate) struct Settings {
    pub(crate) session: SessionConfig,
    /// The first connection begins a session, and later ones continue it.
    pub(crate) session_of_program: bool,
    /// For the stream and the CONNACK together.
    pub(crate) connect_timeout: Duration,
    /// The largest payload, in bytes.
    pub(crate) max_payload: usize,
    /// The broker in the log.
    pub(crate) target: String,
    pub(crate) limits: Limits,
    pub(crate) reconnect: Reconnect,
    /// There is another broker to try.
    pub(crate) has_alternatives: bool,
    /// How long a connection lasts to prove itself.
    pub(crate) proof: Duration,
    pub(crate) last_will: Option<LastWill>,
}

impl LastWill {
    pub(crate) fn to_protocol(&self) -> aimdb_mqtt_protocol::Will {
        aimdb_mqtt_protocol::Will {
            topic: self.topic.clone(),
            payload: self.payload.clone(),
            qos: self.qos,
            retain: self.retain,
            delay: u32::try_from(self.delay.as_secs()).unwrap_or(u32::MAX),
        }
    }

    /// A message on the will's topic.
    pub(crate) fn message<'m>(
        &'m self,
        payload: &'m [u8],
        highest: QoS,
    ) -> aimdb_mqtt_protocol::Message<'m> {
        aimdb_mqtt_protocol::Message::new(&self.topic, payload)
            .qos(self.qos.min(highest))
            .retain(self.retain)
    }
}
