//! The last will.

use alloc::string::String;
use alloc::vec::Vec;

use crate::qos::QoS;

/// A message that the broker publishes when this client disappears without a DISCONNECT.
///
/// The client gives the will to the broker with each connection. The broker publishes it after a crash or a broken
/// connection, and discards it after an orderly shutdown.
///
/// Its topic must be one exact topic, without wildcards; otherwise `build()` reports a finding.
///
/// ```
/// use aimdb_mqtt_connector::{LastWill, QoS};
///
/// let will = LastWill::new("gateways/7/state", "offline").qos(QoS::AtLeastOnce).retain();
/// # let _ = will;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWill {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

impl LastWill {
    /// A will for `topic` with `payload`, at QoS 0 and not retained.
    #[must_use]
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos: QoS::AtMostOnce, retain: false }
    }

    /// Sets the quality of service. [`QoS::AtMostOnce`] unless set.
    #[must_use]
    pub fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Makes the broker keep the will for later subscribers.
    #[must_use]
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }
}
