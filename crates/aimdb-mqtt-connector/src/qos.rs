//! The quality of service of a link.

/// How reliably MQTT delivers a message.
///
/// The level of a link is the level between this client and the broker. The broker delivers a message to a subscriber
/// at the lower of two levels: the level it was published at, and the level of the subscription.
///
/// The levels are ordered: a higher one gives a stronger guarantee.
///
/// ```
/// use aimdb_mqtt_connector::QoS;
///
/// assert!(QoS::AtMostOnce < QoS::AtLeastOnce && QoS::AtLeastOnce < QoS::ExactlyOnce);
/// assert_eq!(QoS::default(), QoS::AtMostOnce);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum QoS {
    /// QoS 0: the message is sent once and not acknowledged.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: the message is sent until it is acknowledged; duplicates are possible.
    AtLeastOnce = 1,
    /// QoS 2: the message is handed over exactly once within a session.
    ExactlyOnce = 2,
}
