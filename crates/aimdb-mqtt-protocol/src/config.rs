//! The settings of a session.

use alloc::string::String;
use alloc::vec::Vec;

use crate::message::QoS;
use crate::properties::MessageProperties;

/// The version of MQTT.
///
/// ```
/// use aimdb_mqtt_protocol::Version;
///
/// assert_eq!(Version::default(), Version::V5);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// MQTT 5.
    #[default]
    V5,
    /// MQTT 3.1.1.
    #[cfg(feature = "v311")]
    V311,
}

impl Version {
    pub(crate) const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }
}

/// A message that the broker publishes when this client disappears without a DISCONNECT.
///
/// ```
/// use aimdb_mqtt_protocol::{QoS, Will};
///
/// let will = Will {
///     topic: "nodes/7/state".into(),
///     payload: b"offline".to_vec(),
///     qos: QoS::AtLeastOnce,
///     retain: true,
///     delay: 10,
/// };
/// # let _ = will;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// One exact topic.
    pub topic: String,
    /// At most 65,535 bytes.
    pub payload: Vec<u8>,
    /// The quality of service.
    pub qos: QoS,
    /// Whether the broker keeps the message.
    pub retain: bool,
    /// Seconds between the end of the connection and the message, with MQTT 5.
    pub delay: u32,
}

impl Will {
    pub(crate) fn properties(&self) -> MessageProperties {
        let mut properties = MessageProperties::new();
        if self.delay > 0 {
            properties.will_delay(self.delay);
        }
        properties
    }
}

/// The settings of a [`Session`](crate::Session).
///
/// All fields may change between two connections, for instance a password that expires; `version` may not.
///
/// ```
/// use aimdb_mqtt_protocol::SessionConfig;
///
/// let mut config = SessionConfig::new("node-7");
/// config.keep_alive = 60;
/// config.max_incoming = 1024; // a microcontroller
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionConfig {
    /// The version of MQTT: 5 unless set.
    pub version: Version,
    /// At most 65,535 bytes. If it is empty, the broker assigns one.
    pub client_id: String,
    /// Whether the broker forgets an earlier session of the client id. `true` unless set.
    pub clean_start: bool,
    /// For how many seconds the broker keeps the session after a connection, with MQTT 5. 0 unless set. MQTT 3.1.1
    /// keeps it if `clean_start` is `false`.
    pub session_expiry: u32,
    /// Seconds after which a silent connection is tested; 0 never tests. 30 unless set. A broker may set another value.
    pub keep_alive: u16,
    /// User and password.
    pub credentials: Option<(String, Vec<u8>)>,
    /// The last will.
    pub will: Option<Will>,
    /// How many messages at QoS 1 and 2 the broker may send before it has the answer to the first, with MQTT 5. 64
    /// unless set.
    pub receive_maximum: u16,
    /// The size of the largest packet that is read whole, in bytes; the input buffer grows up to it. 64 KiB unless set.
    pub max_incoming: usize,
    /// The size of the largest packet that is sent, in bytes. 256 MiB, MQTT's own limit, unless set.
    pub max_outgoing: usize,
    /// How many messages at QoS 1 and 2 may be sent before the broker has answered the first. 20 unless set: Mosquitto
    /// loses what a client of MQTT 3.1.1 has under way above its `max_inflight_messages`, which is 20.
    pub window: u16,
    /// How many bytes may wait to be written before [`has_room`](crate::Session::has_room) is `false`. 64 KiB unless
    /// set.
    pub output_room: usize,
    /// The packet identifier after which the first one is chosen. A random number makes it unlikely that a session
    /// which the broker kept for an earlier program mistakes a message for one of that program. 0 unless set.
    pub first_id: u16,
}

impl SessionConfig {
    /// The settings named above, for this client id.
    #[must_use]
    pub fn new(client_id: impl Into<String>) -> Self {
        Self {
            version: Version::V5,
            client_id: client_id.into(),
            clean_start: true,
            session_expiry: 0,
            keep_alive: 30,
            credentials: None,
            will: None,
            receive_maximum: 64,
            max_incoming: 64 * 1024,
            max_outgoing: crate::wire::MAX_LENGTH,
            window: 20,
            output_room: 64 * 1024,
            first_id: 0,
        }
    }
}
