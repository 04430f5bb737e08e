//! PUBLISH, in both directions.

use alloc::vec::Vec;

use crate::error::{Malformed, Unsent};
use crate::properties::{MessageProperties, Properties};
use crate::wire::{MAX_LENGTH, Reader, put_binary, put_varint, varint_length};

/// How reliably MQTT delivers a message.
///
/// It is the level between this client and the broker. The broker delivers a message to a subscriber at the lower of two
/// levels: the level it was published at, and the level of the subscription.
///
/// ```
/// use aimdb_mqtt_protocol::QoS;
///
/// assert!(QoS::AtMostOnce < QoS::AtLeastOnce && QoS::AtLeastOnce < QoS::ExactlyOnce);
/// assert_eq!(QoS::default(), QoS::AtMostOnce);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QoS {
    /// QoS 0: the message is sent once and not acknowledged.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: the message is sent until it is acknowledged; duplicates are possible.
    AtLeastOnce = 1,
    /// QoS 2: the message is handed over exactly once within a session.
    ExactlyOnce = 2,
}

impl QoS {
    pub(crate) const fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::AtMostOnce,
            1 => Self::AtLeastOnce,
            2 => Self::ExactlyOnce,
            _ => return None,
        })
    }
}

/// A message to publish.
///
/// ```
/// use aimdb_mqtt_protocol::{Message, QoS};
///
/// let message = Message::new("room/temp", b"21.5").qos(QoS::AtLeastOnce).retain(true);
/// # let _ = message;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    pub(crate) topic: &'m str,
    pub(crate) payload: &'m [u8],
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) properties: &'m [u8],
}

impl<'m> Message<'m> {
    /// A message at QoS 0 that the broker does not keep.
    #[must_use]
    pub const fn new(topic: &'m str, payload: &'m [u8]) -> Self {
        Self { topic, payload, qos: QoS::AtMostOnce, retain: false, properties: &[] }
    }

    /// Sets the quality of service.
    #[must_use]
    pub const fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Sets whether the broker keeps the message.
    #[must_use]
    pub const fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Sets the properties.
    #[must_use]
    pub fn properties(mut self, properties: &'m MessageProperties) -> Self {
        self.properties = properties.bytes();
        self
    }

    /// Checks what holds on every connection.
    pub(crate) fn check(&self) -> Result<(), Unsent> {
        let forbidden = |byte: &u8| matches!(byte, 0 | b'+' | b'#');
        let length = self.topic.len();
        if length == 0 || length > u16::MAX.into() || self.topic.as_bytes().iter().any(forbidden) {
            return Err(Unsent::Topic);
        }
        Ok(())
    }

    fn body_length(&self, v5: bool) -> usize {
        let properties = match v5 {
            true => varint_length(self.properties.len()) + self.properties.len(),
            false => 0,
        };
        let id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        2 + self.topic.len() + id + properties + self.payload.len()
    }

    /// The size of the packet, in bytes.
    pub(crate) fn size(&self, v5: bool) -> usize {
        let body = self.body_length(v5);
        1 + varint_length(body.min(MAX_LENGTH)) + body
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>, id: u16, v5: bool) {
        out.push(0x30 | (self.qos as u8) << 1 | u8::from(self.retain));
        put_varint(out, self.body_length(v5));
        put_binary(out, self.topic.as_bytes());
        if self.qos != QoS::AtMostOnce {
            out.extend_from_slice(&id.to_be_bytes());
        }
        if v5 {
            put_varint(out, self.properties.len());
            out.extend_from_slice(self.properties);
        }
        out.extend_from_slice(self.payload);
    }
}

/// A message that the broker sent.
///
/// It borrows the session's input buffer until the next call.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Received<'s> {
    /// The topic.
    pub topic: &'s str,
    /// The payload.
    pub payload: &'s [u8],
    /// The quality of service at which the broker sent it.
    pub qos: QoS,
    /// Whether the broker had kept it.
    pub retain: bool,
    /// Whether the broker says that it has sent it before.
    pub dup: bool,
    /// The argument of [`acknowledge`](crate::Session::acknowledge), at QoS 1 and 2.
    pub receipt: Option<Receipt>,
    /// The properties of MQTT 5.
    pub properties: Properties<'s>,
}

/// The identity of a received message until [`acknowledge`](crate::Session::acknowledge).
///
/// ```
/// use aimdb_mqtt_protocol::{Receipt, Session};
///
/// fn stored(session: &mut Session, receipts: impl Iterator<Item = Receipt>) {
///     receipts.for_each(|receipt| session.acknowledge(receipt));
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt(pub(crate) u32);

/// Reads a PUBLISH and returns it with its packet identifier, which is 0 at QoS 0.
pub(crate) fn read_publish(
    first: u8,
    body: &[u8],
    v5: bool,
) -> Result<(Received<'_>, u16), Malformed> {
    let qos = QoS::of(first >> 1 & 3).ok_or(Malformed::Qos)?;
    let mut reader = Reader::new(body);
    let topic = reader.text()?;
    let id = if qos == QoS::AtMostOnce { 0 } else { reader.id()? };
    let properties = if v5 { Properties::read(&mut reader)? } else { Properties::default() };
    if properties.iter().any(|(id, _)| id == crate::properties::TOPIC_ALIAS) {
        return Err(Malformed::TopicAlias);
    }
    if topic.is_empty() || topic.as_bytes().iter().any(|byte| matches!(byte, b'+' | b'#')) {
        return Err(Malformed::Topic);
    }
    let message = Received {
        topic,
        payload: reader.rest(),
        qos,
        retain: first & 1 != 0,
        dup: first & 8 != 0,
        receipt: None,
        properties,
    };
    Ok((message, id))
}
