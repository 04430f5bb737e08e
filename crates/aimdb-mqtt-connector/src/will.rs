//! The last will.

use alloc::string::String;
use alloc::vec::Vec;

use crate::QoS;

/// A message that the broker publishes when this client goes away without a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWill {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

impl LastWill {
    /// A will at QoS 0, not retained.
    #[must_use]
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos: QoS::AtMostOnce, retain: false }
    }

    /// The quality of service.
    #[must_use]
    pub fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// The broker keeps it for whoever subscribes later.
    #[must_use]
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }
}
