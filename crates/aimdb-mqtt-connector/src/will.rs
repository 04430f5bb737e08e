//! The last will.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use aimdb_mqtt_protocol::QoS;

/// A message that the broker publishes when this client disappears without a DISCONNECT.
///
/// The client gives the will to the broker with each connection. The broker publishes it after a crash or a broken
/// connection, and discards it after an orderly shutdown.
///
/// Its topic must be one exact topic, without wildcards; otherwise `build()` reports a finding.
///
/// A latest record with a retaining link to the same topic sends its current value again on each connection, because the
/// will may have replaced it. A program without such a record sets a [birth](Self::birth) message.
///
/// ```
/// use aimdb_mqtt_connector::{LastWill, QoS};
///
/// // `online` while the program is connected, `offline` after a crash and after an orderly shutdown.
/// let will = LastWill::new("gateways/7/state", "offline")
///     .qos(QoS::AtLeastOnce)
///     .retain()
///     .birth("online")
///     .also_at_shutdown();
/// # let _ = will;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWill {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) delay: Duration,
    pub(crate) birth: Option<Vec<u8>>,
    /// The message of an orderly shutdown.
    pub(crate) farewell: Option<Vec<u8>>,
}

impl LastWill {
    /// A will for `topic` with `payload`, at QoS 0 and not retained.
    #[must_use]
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            delay: Duration::ZERO,
            birth: None,
            farewell: None,
        }
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

    /// Sets how long the broker waits before it publishes the will, in whole seconds, with MQTT 5. Not at all unless
    /// set.
    ///
    /// A client that returns in this time with its session prevents the will. A broker publishes it at the latest when
    /// the session ends.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Publishes `payload` to the will's topic at the beginning of each connection, at the will's QoS, retained if the
    /// will is.
    #[must_use]
    pub fn birth(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.birth = Some(payload.into());
        self
    }

    /// Publishes the will's payload at an orderly shutdown too, before the DISCONNECT.
    #[must_use]
    pub fn also_at_shutdown(mut self) -> Self {
        self.farewell = Some(self.payload.clone());
        self
    }

    /// Publishes `payload` to the will's topic at an orderly shutdown, before the DISCONNECT.
    #[must_use]
    pub fn at_shutdown(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.farewell = Some(payload.into());
        self
    }
}
