//! The properties of MQTT 5.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::Malformed;
use crate::wire::{Reader, put_binary, put_varint};

// The properties that the session reads or writes.
pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
pub(crate) const CONTENT_TYPE: u8 = 0x03;
pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
pub(crate) const CORRELATION_DATA: u8 = 0x09;
pub(crate) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
pub(crate) const SESSION_EXPIRY: u8 = 0x11;
pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(crate) const WILL_DELAY: u8 = 0x18;
pub(crate) const SERVER_REFERENCE: u8 = 0x1c;
pub(crate) const REASON_STRING: u8 = 0x1f;
pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
pub(crate) const TOPIC_ALIAS: u8 = 0x23;
pub(crate) const MAXIMUM_QOS: u8 = 0x24;
pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
pub(crate) const USER_PROPERTY: u8 = 0x26;
pub(crate) const MAXIMUM_PACKET: u8 = 0x27;
pub(crate) const WILDCARDS_AVAILABLE: u8 = 0x28;
pub(crate) const IDENTIFIERS_AVAILABLE: u8 = 0x29;
pub(crate) const SHARED_AVAILABLE: u8 = 0x2a;

/// The value of one property.
#[derive(Clone, Copy)]
pub(crate) enum Value<'p> {
    Number(usize),
    Text(&'p str),
    Bytes(&'p [u8]),
    Pair(&'p str, &'p str),
}

impl<'p> Value<'p> {
    pub(crate) const fn number(self) -> usize {
        match self {
            Self::Number(number) => number,
            _ => 0,
        }
    }

    const fn text(self) -> Option<&'p str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The properties of a received message, which are decoded when they are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Properties<'p> {
    /// Checked when the packet was decoded.
    bytes: &'p [u8],
}

impl<'p> Properties<'p> {
    /// Reads the properties at this place of a packet, and checks each.
    pub(crate) fn read(packet: &mut Reader<'p>) -> Result<Self, Malformed> {
        let length = packet.varint()?;
        let bytes = packet.take(length)?;
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            next(&mut reader)?;
        }
        Ok(Self { bytes })
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = (u8, Value<'p>)> {
        let mut reader = Reader::new(self.bytes);
        core::iter::from_fn(move || if reader.is_empty() { None } else { next(&mut reader).ok() })
    }

    fn text(self, wanted: u8) -> Option<&'p str> {
        self.iter().find(|(id, _)| *id == wanted).and_then(|(_, value)| value.text())
    }

    /// The broker's words for the end of a connection, or else the server that it refers to.
    pub(crate) fn explanation(self) -> String {
        let text = self.text(REASON_STRING).or(self.text(SERVER_REFERENCE));
        text.unwrap_or_default().into()
    }

    /// Whether the message has no property.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The identifiers of the subscriptions that the message is for.
    pub fn subscriptions(self) -> impl Iterator<Item = usize> {
        self.iter()
            .filter(|(id, _)| *id == SUBSCRIPTION_IDENTIFIER)
            .map(|(_, value)| value.number())
    }

    /// The kind of the payload.
    #[must_use]
    pub fn content_type(self) -> Option<&'p str> {
        self.text(CONTENT_TYPE)
    }

    /// The topic on which the sender expects a response.
    #[must_use]
    pub fn response_topic(self) -> Option<&'p str> {
        self.text(RESPONSE_TOPIC)
    }

    /// Bytes that the response must repeat.
    #[must_use]
    pub fn correlation_data(self) -> Option<&'p [u8]> {
        self.iter().find_map(|(id, value)| match value {
            Value::Bytes(bytes) if id == CORRELATION_DATA => Some(bytes),
            _ => None,
        })
    }

    /// The user properties, in the sender's order.
    pub fn user(self) -> impl Iterator<Item = (&'p str, &'p str)> {
        self.iter().filter_map(|(_, value)| match value {
            Value::Pair(name, value) => Some((name, value)),
            _ => None,
        })
    }
}

/// The next property and its value.
fn next<'p>(reader: &mut Reader<'p>) -> Result<(u8, Value<'p>), Malformed> {
    let id = reader.u8()?;
    let value = match id {
        0x01
        | 0x17
        | 0x19
        | MAXIMUM_QOS
        | RETAIN_AVAILABLE
        | WILDCARDS_AVAILABLE
        | IDENTIFIERS_AVAILABLE
        | SHARED_AVAILABLE => Value::Number(reader.u8()?.into()),
        SERVER_KEEP_ALIVE | RECEIVE_MAXIMUM | TOPIC_ALIAS_MAXIMUM | TOPIC_ALIAS => {
            Value::Number(reader.u16()?.into())
        }
        MESSAGE_EXPIRY | SESSION_EXPIRY | WILL_DELAY | MAXIMUM_PACKET => {
            Value::Number(usize::try_from(reader.u32()?).unwrap_or(usize::MAX))
        }
        SUBSCRIPTION_IDENTIFIER => Value::Number(reader.varint()?),
        CONTENT_TYPE | RESPONSE_TOPIC | ASSIGNED_CLIENT_ID | 0x15 | 0x1a | SERVER_REFERENCE
        | REASON_STRING => Value::Text(reader.text()?),
        CORRELATION_DATA | 0x16 => Value::Bytes(reader.binary()?),
        USER_PROPERTY => Value::Pair(reader.text()?, reader.text()?),
        _ => return Err(Malformed::Property),
    };
    Ok((id, value))
}

/// The properties of messages that are to be sent, in their encoding.
///
/// MQTT 3.1.1 has none: there they are not sent.
///
/// ```
/// use aimdb_mqtt_protocol::{Message, MessageProperties};
///
/// let mut properties = MessageProperties::new();
/// properties.expiry(60).content_type("application/json").user("unit", "kelvin");
/// let message = Message::new("room/temp", b"294.5").properties(&properties);
/// # let _ = message;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageProperties {
    bytes: Vec<u8>,
}

/// Texts in a property have at most 65,535 bytes; what is longer is cut off at a character.
fn bounded(text: &str) -> &[u8] {
    let mut end = text.len().min(u16::MAX.into());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text.as_bytes()[..end]
}

impl MessageProperties {
    /// No properties.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn text(&mut self, id: u8, text: &str) -> &mut Self {
        self.bytes.push(id);
        put_binary(&mut self.bytes, bounded(text));
        self
    }

    /// The broker forgets the message after this many seconds.
    pub fn expiry(&mut self, seconds: u32) -> &mut Self {
        self.bytes.push(MESSAGE_EXPIRY);
        self.bytes.extend_from_slice(&seconds.to_be_bytes());
        self
    }

    /// Sets the kind of the payload, for instance a MIME type.
    pub fn content_type(&mut self, content_type: &str) -> &mut Self {
        self.text(CONTENT_TYPE, content_type)
    }

    /// Sets the topic for responses.
    pub fn response_topic(&mut self, topic: &str) -> &mut Self {
        self.text(RESPONSE_TOPIC, topic)
    }

    /// Adds a user property.
    pub fn user(&mut self, name: &str, value: &str) -> &mut Self {
        self.text(USER_PROPERTY, name);
        put_binary(&mut self.bytes, bounded(value));
        self
    }

    /// The broker publishes a last will with these properties only after this many seconds.
    pub fn will_delay(&mut self, seconds: u32) -> &mut Self {
        self.bytes.push(WILL_DELAY);
        self.bytes.extend_from_slice(&seconds.to_be_bytes());
        self
    }
}

/// The properties of a packet other than a message: `bytes` with their length before them.
pub(crate) fn put_properties(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len());
    out.extend_from_slice(bytes);
}
