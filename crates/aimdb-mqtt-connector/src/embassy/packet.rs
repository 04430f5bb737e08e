//! What a broker sends with a message, taken apart, and what it is answered.
//!
//! The client does the rest of MQTT. Not this, because it acknowledges whatever it has read.

use alloc::vec::Vec;
use core::ops::Range;

use crate::QoS;

pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBREL: u8 = 6;

/// The largest length a packet can say, and the most bytes it takes to say it.
const LONGEST_LENGTH: u32 = 4;

/// A whole packet: its first byte, and what follows the length.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug)]
pub(crate) enum Received {
    Publish(Message),
    /// PUBREL: the broker will not send the message with this identifier again.
    Release(u16),
}

#[derive(Debug)]
pub(crate) struct Message {
    body: Vec<u8>,
    topic: Range<usize>,
    payload: Range<usize>,
    pub(crate) qos: QoS,
    /// DUP: the broker may have sent it before.
    pub(crate) again: bool,
    /// 0 at QoS 0.
    pub(crate) id: u16,
    /// The subscriptions it came by.
    pub(crate) subscriptions: Vec<usize>,
}

impl Message {
    pub(crate) fn topic(&self) -> &str {
        // Looked at when it was read.
        core::str::from_utf8(&self.body[self.topic.clone()]).unwrap_or_default()
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.body[self.payload.clone()]
    }

    /// The memory it was read into.
    pub(crate) fn into_body(self) -> Vec<u8> {
        self.body
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Answer {
    /// PUBACK.
    Acknowledged = 0x40,
    /// PUBREC.
    Received = 0x50,
    /// PUBCOMP.
    Complete = 0x70,
}

impl Answer {
    /// "Success" needs no more bytes.
    pub(crate) const SIZE: usize = 4;

    pub(crate) fn packet(self, id: u16) -> [u8; Self::SIZE] {
        let [high, low] = id.to_be_bytes();
        [self as u8, 2, high, low]
    }
}

impl Packet {
    /// `None` if it is malformed.
    pub(crate) fn read(self) -> Option<Received> {
        let Self { first, body } = self;
        let mut rest = Bytes { all: &body, at: 0 };
        if first >> 4 == PUBREL {
            return Some(Received::Release(rest.u16()?));
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
        let properties = usize::try_from(rest.length()?).ok()?;
        let end = rest.at.checked_add(properties).filter(|end| *end <= body.len())?;
        let subscriptions = subscriptions(Bytes { all: &body[..end], at: rest.at })?;
        let payload = end..body.len();
        let again = first & 8 != 0;
        Some(Received::Publish(Message { topic, payload, qos, again, id, subscriptions, body }))
    }
}

/// The subscription identifiers among the properties of a message.
fn subscriptions(mut properties: Bytes<'_>) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    while let Some(property) = properties.byte() {
        match property {
            // Payload format, message expiry.
            0x01 => _ = properties.skip(1)?,
            0x02 => _ = properties.skip(4)?,
            // Content type, response topic, correlation data.
            0x03 | 0x08 | 0x09 => _ = properties.text()?,
            0x0b => found.push(usize::try_from(properties.length()?).ok()?),
            // User property.
            0x26 => _ = (properties.text()?, properties.text()?),
            // A topic alias, which nobody was allowed to use, or nothing that belongs here.
            _ => return None,
        }
    }
    Some(found)
}

struct Bytes<'b> {
    all: &'b [u8],
    at: usize,
}

impl Bytes<'_> {
    fn skip(&mut self, count: usize) -> Option<Range<usize>> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.all.len())?;
        Some(core::mem::replace(&mut self.at, end)..end)
    }

    fn byte(&mut self) -> Option<u8> {
        self.skip(1).map(|at| self.all[at.start])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// Bytes with their number before them.
    fn text(&mut self) -> Option<Range<usize>> {
        let count = self.u16()?;
        self.skip(usize::from(count))
    }

    fn length(&mut self) -> Option<u32> {
        let mut length = Length::default();
        loop {
            if let Some(whole) = length.add(self.byte()?)? {
                return Some(whole);
            }
        }
    }
}

/// MQTT's variable byte integer, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Length {
    bytes: u32,
    known: u32,
}

impl Length {
    /// The whole number if this was its last byte; `None` if it has too many.
    pub(crate) fn add(&mut self, byte: u8) -> Option<Option<u32>> {
        if self.bytes == LONGEST_LENGTH {
            return None;
        }
        self.known |= u32::from(byte & 0x7f) << (7 * self.bytes);
        self.bytes += 1;
        let more = byte & 0x80 != 0;
        match (more, self.bytes) {
            (true, LONGEST_LENGTH) => None,
            (true, _) => Some(None),
            (false, _) => Some(Some(self.known)),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn read(first: u8, body: &[u8]) -> Option<Received> {
        Packet { first, body: body.into() }.read()
    }

    fn message(first: u8, body: &[u8]) -> Message {
        match read(first, body) {
            Some(Received::Publish(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_message_is_taken_apart() {
        let zero = message(0x30, &[0, 3, b'a', b'/', b'b', 0]);
        assert_eq!((zero.topic(), zero.payload(), zero.id), ("a/b", &b""[..], 0));
        assert_eq!((zero.qos, zero.again), (QoS::AtMostOnce, false));
        let two = message(0x3c, &[0, 1, b't', 1, 2, 0, b'o', b'k']);
        assert_eq!((two.topic(), two.payload(), two.id), ("t", &b"ok"[..], 0x102));
        assert_eq!((two.qos, two.again), (QoS::ExactlyOnce, true));
    }

    #[test]
    fn of_its_properties_the_subscriptions_are_kept_and_the_others_passed_over() {
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
    fn a_release_says_for_which_message() {
        for body in [&[1, 2][..], &[1, 2, 0x92, 0]] {
            assert!(matches!(read(0x62, body), Some(Received::Release(0x102))));
        }
    }

    #[test]
    fn what_is_malformed_is_told_and_nothing_panics() {
        let whole = [0, 1, b't', 0, 9, 6, 0x0b, 7, 0x26, 0, 0, 0];
        for end in 0..whole.len() {
            assert!(read(0x32, &whole[..end]).is_none(), "{end}");
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
            assert!(read(first, body).is_none(), "{first:#x} {body:?}");
        }
    }

    #[test]
    fn lengths_are_read_to_their_limit() {
        let whole = |bytes: &[u8]| {
            let mut length = Length::default();
            bytes.iter().map(|byte| length.add(*byte)).collect::<Vec<_>>()
        };
        assert_eq!(whole(&[0x7f]), [Some(Some(127))]);
        assert_eq!(whole(&[0x80, 1]), [Some(None), Some(Some(128))]);
        assert_eq!(whole(&[0xff, 0xff, 0xff, 0x7f])[3], Some(Some((1 << 28) - 1)));
        assert_eq!(whole(&[0x80, 0x80, 0x80, 0x80])[3], None);
        assert_eq!(vec![Answer::Received.packet(0x102)], [[0x50, 2, 1, 2]]);
    }
}
