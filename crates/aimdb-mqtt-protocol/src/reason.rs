//! Reason codes.

use core::fmt;

/// The outcome of a request in the broker's words: a reason code of MQTT 5, or the same for a code of 3.1.1.
///
/// ```
/// use aimdb_mqtt_protocol::Reason;
///
/// assert_eq!(Reason(0x97).to_string(), "quota exceeded");
/// assert_eq!(Reason(0xf0).to_string(), "reason 0xf0");
/// assert!(!Reason(0x10).is_refusal(), "nobody subscribes to it, but the broker took it");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u8);

impl Reason {
    /// The packet identifier is in no use at the peer.
    pub const IDENTIFIER_NOT_FOUND: Self = Self(0x92);

    /// Whether the request failed.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        self.0 >= 0x80
    }

    /// Whether the same request can succeed later without a change of settings.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        matches!(
            self.0,
            0x80 | 0x83 | 0x88 | 0x89 | 0x8b | 0x8d | 0x8e | 0x93 | 0x96..=0x98 | 0x9f | 0xa0
        )
    }

    /// The reason for a return code of a CONNACK of MQTT 3.1.1.
    #[cfg(feature = "v311")]
    pub(crate) const fn of_return_code(code: u8) -> Self {
        Self(match code {
            1 => 0x84,
            2 => 0x85,
            3 => 0x88,
            4 => 0x86,
            5 => 0x87,
            other => other,
        })
    }

    /// The remedy for a refused connection.
    pub(crate) const fn hint(self) -> &'static str {
        match self.0 {
            0x84 => "; choose another MQTT version",
            0x85 => "; check the client id",
            0x86 | 0x87 | 0x8a => "; check user and password",
            0x8c => "; the broker wants another way of authentication",
            0x9c | 0x9d => "; use the broker's new address",
            _ => "",
        }
    }

    const fn text(self) -> Option<&'static str> {
        Some(match self.0 {
            0x00 => "success",
            0x04 => "disconnected with the last will",
            0x10 => "no matching subscribers",
            0x80 => "unspecified error",
            0x81 => "malformed packet",
            0x82 => "protocol error",
            0x83 => "implementation specific error",
            0x84 => "unsupported protocol version",
            0x85 => "client id not valid",
            0x86 => "bad user name or password",
            0x87 => "not authorized",
            0x88 => "server unavailable",
            0x89 => "server busy",
            0x8a => "banned",
            0x8b => "server shutting down",
            0x8c => "bad authentication method",
            0x8d => "keep alive timeout",
            0x8e => "session taken over: another client uses the same client id",
            0x8f => "topic filter invalid",
            0x90 => "topic name invalid",
            0x91 => "packet identifier in use",
            0x92 => "packet identifier not found",
            0x93 => "receive maximum exceeded",
            0x94 => "topic alias invalid",
            0x95 => "packet too large",
            0x96 => "message rate too high",
            0x97 => "quota exceeded",
            0x98 => "administrative action",
            0x99 => "payload format invalid",
            0x9a => "retain not supported",
            0x9b => "QoS not supported",
            0x9c => "use another server",
            0x9d => "server moved",
            0x9e => "shared subscriptions not supported",
            0x9f => "connection rate exceeded",
            0xa0 => "maximum connect time",
            0xa1 => "subscription identifiers not supported",
            0xa2 => "wildcard subscriptions not supported",
            _ => return None,
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => f.write_str(text),
            None => write!(f, "reason {:#04x}", self.0),
        }
    }
}
