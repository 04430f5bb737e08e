//! Why a connection ends, and why a request is refused.

use alloc::string::String;
use core::fmt;

use crate::reason::Reason;

/// The fault of a packet from the broker.
///
/// ```
/// use aimdb_mqtt_protocol::Malformed;
///
/// assert_eq!(Malformed::Utf8.to_string(), "a text is not UTF-8");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// A CONNACK is missing, or there are two.
    Connack,
    /// A CONNACK has unknown flags.
    ConnackFlags,
    /// A packet precedes the CONNACK.
    Early,
    /// A field exceeds its packet.
    Field,
    /// A packet has the wrong flags.
    Flags,
    /// A packet identifier is zero.
    Identifier,
    /// A packet is of a kind that no broker sends.
    Kind,
    /// A length has more than four bytes.
    Length,
    /// A maximum packet size is 0.
    MaximumPacket,
    /// A maximum QoS is not 0 or 1.
    MaximumQos,
    /// A text has a NUL character.
    Nul,
    /// A message has no identifier, or a topic that exceeds it.
    Oversized,
    /// A property is unknown.
    Property,
    /// A message has QoS 3.
    Qos,
    /// 64 times the receive maximum is unanswered.
    ReceiveMaximum,
    /// The broker has a session that it was to forget.
    Session,
    /// A packet exceeds the limit and is no message.
    Size,
    /// A message has no topic.
    Topic,
    /// A message has a topic alias, and none is allowed.
    TopicAlias,
    /// A text is not UTF-8.
    Utf8,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connack => "a CONNACK is missing, or there are two",
            Self::ConnackFlags => "a CONNACK has unknown flags",
            Self::Early => "a packet precedes the CONNACK",
            Self::Field => "a field exceeds its packet",
            Self::Flags => "a packet has the wrong flags",
            Self::Identifier => "a packet identifier is zero",
            Self::Kind => "a packet is of a kind that no broker sends",
            Self::Length => "a length has more than four bytes",
            Self::MaximumPacket => "a maximum packet size is 0",
            Self::MaximumQos => "a maximum QoS is not 0 or 1",
            Self::Nul => "a text has a NUL character",
            Self::Oversized => "a message has no identifier, or a topic that exceeds it",
            Self::Property => "a property is unknown",
            Self::Qos => "a message has QoS 3",
            Self::ReceiveMaximum => "64 times the receive maximum is unanswered",
            Self::Session => "the broker has a session that it was to forget",
            Self::Size => "a packet exceeds the limit and is no message",
            Self::Topic => "a message has no topic",
            Self::TopicAlias => "a message has a topic alias, and none is allowed",
            Self::Utf8 => "a text is not UTF-8",
        })
    }
}

/// Why a connection must end.
///
/// ```
/// use aimdb_mqtt_protocol::Error;
///
/// /// Whether another attempt with the same settings can succeed.
/// fn is_temporary(error: &Error) -> bool {
///     match error {
///         Error::Refused(reason, _) => reason.is_temporary(),
///         _ => true,
///     }
/// }
/// # assert!(is_temporary(&Error::Silent));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The broker refused the connection in its CONNACK, for this reason and with this text.
    Refused(Reason, String),
    /// The broker ended the connection with a DISCONNECT, for this reason and with this text.
    Disconnected(Reason, String),
    /// The broker sent something that MQTT does not allow.
    Malformed(Malformed),
    /// Nothing arrived although the session asked for an answer: the peer is gone, or the network.
    Silent,
    /// Nothing could be written for as long.
    Blocked,
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason, text) => {
                f.write_str("the broker refused the connection: ")?;
                with_text(f, *reason, text)?;
                f.write_str(reason.hint())
            }
            Self::Disconnected(reason, text) => {
                f.write_str("the broker ended the connection: ")?;
                with_text(f, *reason, text)
            }
            Self::Malformed(what) => write!(f, "the broker sent a malformed packet: {what}"),
            Self::Silent => f.write_str("the broker did not answer within the keep-alive interval"),
            Self::Blocked => {
                f.write_str("nothing could be written for longer than the keep-alive interval")
            }
        }
    }
}

/// The reason and the broker's own words for it, if it sent any.
fn with_text(f: &mut fmt::Formatter<'_>, reason: Reason, text: &str) -> fmt::Result {
    match text {
        "" => write!(f, "{reason}"),
        text => write!(f, "{reason} ({text})"),
    }
}

impl core::error::Error for Error {}

/// Why a message cannot be published, or a filter not be subscribed to, on this connection.
///
/// ```
/// use aimdb_mqtt_protocol::{Message, QoS, Session, SessionConfig, Unsent};
///
/// let mut session = Session::new(SessionConfig::new("node-7"));
/// let message = Message::new("room/temp", b"21.5");
/// assert_eq!(session.publish(&message), Err(Unsent::Full), "there is no connection yet");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsent {
    /// There is no room now, or no connection. Answers of the broker and bytes written make room.
    Full,
    /// The packet has `size` bytes and may have `limit`: the broker's limit, or the program's if `own`.
    TooLarge {
        /// The size of the packet, in bytes.
        size: usize,
        /// The largest packet, in bytes.
        limit: usize,
        /// Whether the limit is the program's, not the broker's.
        own: bool,
    },
    /// The broker takes no message at this QoS.
    Qos,
    /// The broker keeps no messages.
    Retain,
    /// The broker has no wildcard subscriptions.
    Wildcard,
    /// The broker has no shared subscriptions.
    Shared,
    /// The topic or filter is empty, longer than 65,535 bytes, or has a character that MQTT forbids.
    Topic,
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "there is no room now",
            Self::TooLarge { size, limit, own: true } => {
                return write!(f, "its packet of {size} bytes is over the own limit of {limit}");
            }
            Self::TooLarge { size, limit, own: false } => {
                return write!(
                    f,
                    "its packet of {size} bytes is over the broker's limit of {limit}"
                );
            }
            Self::Qos => "the broker does not take its QoS",
            Self::Retain => "the broker keeps no retained messages",
            Self::Wildcard => "the broker has no wildcard subscriptions",
            Self::Shared => "the broker has no shared subscriptions",
            Self::Topic => "its topic cannot be sent",
        })
    }
}

impl core::error::Error for Unsent {}
