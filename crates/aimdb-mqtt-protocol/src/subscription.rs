//! Options of subscriptions.

use crate::message::QoS;

/// How a broker serves a subscription.
///
/// ```
/// use aimdb_mqtt_protocol::{QoS, RetainHandling, SubscribeOptions};
///
/// let mut options = SubscribeOptions::new(QoS::AtLeastOnce);
/// options.no_local = true;
/// options.retain_handling = RetainHandling::Never;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// The highest QoS of its messages.
    pub qos: QoS,
    /// The broker does not return the client's own messages, with MQTT 5.
    pub no_local: bool,
    /// The retain flag of a message stays as its publisher set it, with MQTT 5.
    pub retain_as_published: bool,
    /// Which retained messages the broker sends, with MQTT 5.
    pub retain_handling: RetainHandling,
}

impl SubscribeOptions {
    /// A subscription at this QoS.
    #[must_use]
    pub fn new(qos: QoS) -> Self {
        Self { qos, ..Self::default() }
    }
}

/// Which retained messages a broker sends for a subscription.
///
/// ```
/// use aimdb_mqtt_protocol::RetainHandling;
///
/// assert_eq!(RetainHandling::default(), RetainHandling::Always);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// With each SUBSCRIBE.
    #[default]
    Always = 0,
    /// Only if the session did not have the subscription.
    IfNew = 1,
    /// None.
    Never = 2,
}
