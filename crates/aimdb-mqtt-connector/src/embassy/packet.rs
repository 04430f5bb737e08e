//! The packets around incoming messages: PUBLISH and PUBREL, parsed, and their acknowledgements.
//!
//! The client handles all other packets. It cannot handle these, because it acknowledges every message at once.

use alloc::vec::Vec;
use core::ops::Range;

use crate::qos::QoS;

pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBREL: u8 = 6;

/// The most bytes of a variable byte integer.
const MAX_VARINT_BYTES: u32 = 4;

/// A complete packet, not parsed: its first byte, and its bytes after the length.
#[derive(Debug)]
pub(crate) struct RawPacket {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug)]
pub(crate) enum InboundPacket {
    Publish(PublishPacket),
    /// PUBREL: the broker will not send the message with this packet identifier again.
    Release(u16),
}

#[derive(Debug)]
pub(crate) struct PublishPacket {
    body: Vec<u8>,
    topic: Range<usize>,
    payload: Range<usize>,
    pub(crate) qos: QoS,
    /// The DUP flag: the broker may have sent the message before.
    pub(crate) dup: bool,
    /// The RETAIN flag: the broker had kept the message.
    pub(crate) retained: bool,
    /// The packet identifier; 0 at QoS 0.
    pub(crate) id: u16,
    /// The subscription identifiers.
    pub(crate) subscriptions: Vec<usize>,
}

impl PublishPacket {
    pub(crate) fn topic(&self) -> &str {
        // `RawPacket::parse` has checked it.
        core::str::from_utf8(&self.body[self.topic.clone()]).unwrap_or_default()
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.body[self.payload.clone()]
    }

    /// The packet's memory, for reuse.
    pub(crate) fn into_body(self) -> Vec<u8> {
        self.body
    }
}

/// The acknowledgements of incoming packets, as the first byte of their packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum AckPacket {
    /// PUBACK, of a message at QoS 1.
    Acknowledged = 0x40,
    /// PUBREC, of a message at QoS 2.
    Received = 0x50,
    /// PUBCOMP, of a PUBREL.
    Complete = 0x70,
}

impl AckPacket {
    /// The size of each packet, in bytes: the reason "success" needs none.
    pub(crate) const SIZE: usize = 4;

    pub(crate) fn encode(self, id: u16) -> [u8; Self::SIZE] {
        let [high, low] = id.to_be_bytes();
        [self as u8, 2, high, low]
    }
}

impl RawPacket {
    /// Parses the packet; `None` if it is malformed.
    pub(crate) fn parse(self) -> Option<InboundPacket> {
        let Self { first, body } = self;
        let mut rest = PacketReader { bytes: &body, offset: 0 };
        if first >> 4 == PUBREL {
            return Some(InboundPacket::Release(rest.u16()?));
        }
        let qos = match first >> 1 & 3 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            2 => QoS::ExactlyOnce,
            _ => return None,
        };
        let topic = rest.text()?;
        core::str::from_utf8(&body[topic.clone()]).ok().filter(|topic| !topic.is_empty())?;
        let id = if qos == QoS::AtMostOnce { 0 } else { rest.u16().filter(|id| *id != 0)? };
        let properties = usize::try_from(rest.varint()?).ok()?;
        let end = rest.offset.checked_add(properties).filter(|end| *end <= body.len())?;
        let subscriptions =
            subscription_ids(PacketReader { bytes: &body[..end], offset: rest.offset })?;
        let payload = end..body.len();
        let dup = first & 8 != 0;
        Some(InboundPacket::Publish(PublishPacket {
            topic,
            payload,
            qos,
            dup,
            retained: first & 1 != 0,
            id,
            subscriptions,
            body,
        }))
    }
}

/// The subscription identifiers among the properties of a message; `None` if the properties are malformed.
fn subscription_ids(mut properties: PacketReader<'_>) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    while let Some(property) = properties.byte() {
        match property {
            // Payload format, message expiry.
            0x01 => _ = properties.skip(1)?,
            0x02 => _ = properties.skip(4)?,
            // Content type, response topic, correlation data.
            0x03 | 0x08 | 0x09 => _ = properties.text()?,
            0x0b => found.push(usize::try_from(properties.varint()?).ok()?),
            // User property.
            0x26 => _ = (properties.text()?, properties.text()?),
            // A topic alias, which the client's CONNECT does not permit, or a property that PUBLISH does not have.
            _ => return None,
        }
    }
    Some(found)
}

/// Reads MQTT's data types from a packet. Each method returns `None` at the end of the bytes.
struct PacketReader<'b> {
    bytes: &'b [u8],
    offset: usize,
}

impl PacketReader<'_> {
    fn skip(&mut self, count: usize) -> Option<Range<usize>> {
        let end = self.offset.checked_add(count).filter(|end| *end <= self.bytes.len())?;
        Some(core::mem::replace(&mut self.offset, end)..end)
    }

    fn byte(&mut self) -> Option<u8> {
        self.skip(1).map(|range| self.bytes[range.start])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// A string or binary value: a length of two bytes, then the bytes.
    fn text(&mut self) -> Option<Range<usize>> {
        let count = self.u16()?;
        self.skip(usize::from(count))
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = VarInt::default();
        loop {
            if let Some(whole) = value.push(self.byte()?)? {
                return Some(whole);
            }
        }
    }
}

/// A decoder of MQTT's variable byte integer, which takes one byte at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct VarInt {
    bytes: u32,
    value: u32,
}

impl VarInt {
    /// Adds a byte. Returns the integer if this was its last byte; `None` if it has too many bytes.
    pub(crate) fn push(&mut self, byte: u8) -> Option<Option<u32>> {
        if self.bytes == MAX_VARINT_BYTES {
            return None;
        }
        self.value |= u32::from(byte & 0x7f) << (7 * self.bytes);
        self.bytes += 1;
        let more = byte & 0x80 != 0;
        match (more, self.bytes) {
            (true, MAX_VARINT_BYTES) => None,
            (true, _) => Some(None),
            (false, _) => Some(Some(self.value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn parse(first: u8, body: &[u8]) -> Option<InboundPacket> {
        RawPacket { first, body: body.into() }.parse()
    }

    fn message(first: u8, body: &[u8]) -> PublishPacket {
        match parse(first, body) {
            Some(InboundPacket::Publish(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_publish_packet_is_parsed() {
        let zero = message(0x30, &[0, 3, b'a', b'/', b'b', 0]);
        assert_eq!((zero.topic(), zero.payload(), zero.id), ("a/b", &b""[..], 0));
        assert_eq!((zero.qos, zero.dup), (QoS::AtMostOnce, false));
        let two = message(0x3c, &[0, 1, b't', 1, 2, 0, b'o', b'k']);
        assert_eq!((two.topic(), two.payload(), two.id), ("t", &b"ok"[..], 0x102));
        assert_eq!((two.qos, two.dup), (QoS::ExactlyOnce, true));
    }

    #[test]
    fn parsing_keeps_subscription_identifiers_and_skips_the_other_properties() {
        let properties = [
            &[0x01, 1][..],
            &[0x0b, 7],
            &[0x02, 0, 0, 0, 9],
            &[0x03, 0, 1, b'x', 0x08, 0, 1, b'y', 0x09, 0, 0],
            &[0x26, 0, 1, b'k', 0, 2, b'v', b'w'],
            &[0x0b, 0x80, 1],
        ]
        .concat();
        let length = u8::try_from(properties.len()).unwrap();
        let body = [&[0, 1, b't', 0, 9, length][..], &properties, b"!"].concat();
        let message = message(0x32, &body);
        assert_eq!(message.subscriptions, [7, 128]);
        assert_eq!(message.payload(), b"!");
    }

    #[test]
    fn a_release_names_its_message() {
        for body in [&[1, 2][..], &[1, 2, 0x92, 0]] {
            assert!(matches!(parse(0x62, body), Some(InboundPacket::Release(0x102))));
        }
    }

    #[test]
    fn a_malformed_packet_is_refused_without_a_panic() {
        let whole = [0, 1, b't', 0, 9, 6, 0x0b, 7, 0x26, 0, 0, 0];
        for end in 0..whole.len() {
            assert!(parse(0x32, &whole[..end]).is_none(), "{end}");
        }
        let bad: [(u8, &[u8]); 7] = [
            (0x36, &[0, 1, b't', 0, 9, 0]),
            (0x32, &[0, 1, b't', 0, 0, 0]),
            (0x30, &[0, 0, 0]),
            (0x30, &[0, 1, 0xff, 0]),
            (0x30, &[0, 1, b't', 3, 0x23, 0, 1]),
            (0x30, &[0, 1, b't', 0x80, 0x80, 0x80, 0x80, 0]),
            (0x62, &[1]),
        ];
        for (first, body) in bad {
            assert!(parse(first, body).is_none(), "{first:#x} {body:?}");
        }
    }

    #[test]
    fn variable_byte_integers_are_decoded_up_to_their_limit() {
        let whole = |bytes: &[u8]| {
            let mut value = VarInt::default();
            bytes.iter().map(|byte| value.push(*byte)).collect::<Vec<_>>()
        };
        assert_eq!(whole(&[0x7f]), [Some(Some(127))]);
        assert_eq!(whole(&[0x80, 1]), [Some(None), Some(Some(128))]);
        assert_eq!(whole(&[0xff, 0xff, 0xff, 0x7f])[3], Some(Some((1 << 28) - 1)));
        assert_eq!(whole(&[0x80, 0x80, 0x80, 0x80])[3], None);
        assert_eq!(vec![AckPacket::Received.encode(0x102)], [[0x50, 2, 1, 2]]);
    }
}
