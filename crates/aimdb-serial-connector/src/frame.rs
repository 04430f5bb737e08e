//! Frames: what crosses the line. Bytes in, bytes out, no I/O; the [crate] has the format as a table.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use cobs::{CobsEncoder, max_encoding_length};
use crc::{CRC_32_ISO_HDLC, Crc};

/// The largest payload unless set otherwise, in bytes.
pub const DEFAULT_MAX_PAYLOAD: usize = 512;

/// The largest payload that can be set, in bytes. A CRC of 32 bits is good for about as much.
pub const MOST_PAYLOAD: usize = 65_535;

/// Ends a frame, and stands nowhere inside one.
pub const DELIMITER: u8 = 0;

/// The one that everybody has in hardware, and a calculator for.
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Version 1 in the upper half of the first byte, the kind in the lower.
const START: u8 = 0x10;
const DATA: u8 = 0x11;
const HEARTBEAT: u8 = 0x12;

/// Kind, session, sequence number.
const HEAD: usize = 1 + 2 + 4;
const TOPIC: usize = 4;
const CHECKSUM: usize = 4;

/// A topic as the line knows it: FNV-1a of its text, so that nothing is negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u32);

impl TopicId {
    /// The id of `topic`.
    ///
    /// ```
    /// use aimdb_serial_connector::frame::TopicId;
    ///
    /// assert_eq!(TopicId::of("foobar"), TopicId(0xbf9c_f968));
    /// ```
    #[must_use]
    pub const fn of(topic: &str) -> Self {
        let bytes = topic.as_bytes();
        let (mut hash, mut at) = (0x811c_9dc5_u32, 0);
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
            at += 1;
        }
        Self(hash)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'p> {
    /// The sender's life: another number after a restart, if it can have one.
    pub session: u16,
    /// Counts the sender's data frames from 1. In a heartbeat it is the number reached.
    pub sequence: u32,
    /// What it says.
    pub body: Body<'p>,
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'p> {
    /// The sender begins with this session; numbers start over.
    Start,
    /// A value.
    Data {
        /// What it is a value of.
        topic: TopicId,
        /// The value, encoded.
        payload: &'p [u8],
    },
    /// Nothing new, so that what was lost last is noticed too.
    Heartbeat,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ended too early: bytes are missing, or one that says how many follow was changed.
    Cut,
    /// Its checksum is wrong.
    Corrupted,
    /// It is longer than the limit.
    TooLong,
    /// It arrived whole, from something that speaks another version or another protocol.
    Foreign,
}

impl Frame<'_> {
    /// Puts the frame's bytes in `out`, whose memory is kept, [`DELIMITER`] included.
    ///
    /// ```
    /// use aimdb_serial_connector::frame::{Body, Frame};
    ///
    /// let mut bytes = Vec::new();
    /// Frame { session: 7, sequence: 1, body: Body::Heartbeat }.encode(&mut bytes);
    /// assert_eq!(bytes, [0x03, 0x12, 0x07, 0x02, 0x01, 0x01, 0x01, 0x05, 0x44, 0x05, 0x94, 0xc8, 0x00]);
    /// ```
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, topic, payload) = match self.body {
            Body::Start => (START, None, &[][..]),
            Body::Data { topic, payload } => (DATA, Some(topic.0.to_le_bytes()), payload),
            Body::Heartbeat => (HEARTBEAT, None, &[][..]),
        };
        let mut head = [kind; HEAD];
        head[1..3].copy_from_slice(&self.session.to_le_bytes());
        head[3..].copy_from_slice(&self.sequence.to_le_bytes());
        let topic = topic.as_ref().map_or(&[][..], |topic| topic);

        let mut digest = CRC.digest();
        [&head[..], topic, payload].iter().for_each(|part| digest.update(part));
        let checksum = digest.finalize().to_le_bytes();

        let length = HEAD + topic.len() + payload.len() + CHECKSUM;
        out.clear();
        out.resize(room_for(length), DELIMITER);
        let mut encoder = CobsEncoder::new(out);
        for part in [&head[..], topic, payload, &checksum] {
            encoder.push(part).expect("there is room for the worst case");
        }
        let encoded = encoder.finalize();
        out.truncate(encoded);
        out.push(DELIMITER);
    }
}

/// The bytes that `length` bytes of content take at most, delimiter included. One more than we write: other encoders put
/// an empty block behind a full last one.
const fn room_for(length: usize) -> usize {
    max_encoding_length(length) + 2
}

/// The bytes on the line of the longest frame there can be.
pub(crate) const fn longest(max_payload: usize) -> usize {
    room_for(HEAD + TOPIC + max_payload + CHECKSUM)
}

/// Finds frames in bytes that come in any pieces. Its one buffer never grows, and after whatever it finds it goes on at
/// the next [`DELIMITER`].
#[derive(Debug)]
pub struct Decoder {
    buffer: Box<[u8]>,
    filled: usize,
    too_long: bool,
    max_payload: usize,
}

impl Decoder {
    /// A decoder for payloads of up to `max_payload` bytes.
    #[must_use]
    pub fn new(max_payload: usize) -> Self {
        let buffer = vec![0; longest(max_payload)].into();
        Self { buffer, filled: 0, too_long: false, max_payload }
    }

    /// Takes bytes from the front of `bytes` up to the end of a frame; `None` when they ended first.
    ///
    /// ```
    /// use aimdb_serial_connector::frame::{Body, Decoder, Fault, Frame};
    ///
    /// let mut decoder = Decoder::new(16);
    /// let mut bytes = &[9, 9, 0, 0x03, 0x12, 0x07, 0x02, 0x01, 0x01, 0x01, 0x05, 0x44, 0x05, 0x94, 0xc8, 0x00][..];
    /// assert_eq!(decoder.feed(&mut bytes), Some(Err(Fault::Cut)));
    /// let frame = Frame { session: 7, sequence: 1, body: Body::Heartbeat };
    /// assert_eq!(decoder.feed(&mut bytes), Some(Ok(frame)));
    /// assert_eq!(decoder.feed(&mut bytes), None);
    /// ```
    pub fn feed(&mut self, bytes: &mut &[u8]) -> Option<Result<Frame<'_>, Fault>> {
        let length = loop {
            if !self.collect(bytes) {
                return None;
            }
            // Between two delimiters there is nothing, which is nothing wrong.
            let length = core::mem::take(&mut self.filled);
            if length > 0 {
                break length;
            }
        };
        if core::mem::take(&mut self.too_long) {
            return Some(Err(Fault::TooLong));
        }
        Some(decode(&mut self.buffer[..length], self.max_payload))
    }

    /// Forgets what it has of a frame; whether that was anything.
    pub fn reset(&mut self) -> bool {
        self.too_long = false;
        core::mem::take(&mut self.filled) > 0
    }

    /// Whether a delimiter came.
    fn collect(&mut self, bytes: &mut &[u8]) -> bool {
        let end = bytes.iter().position(|byte| *byte == DELIMITER);
        let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        let room = &mut self.buffer[self.filled..];
        let fits = part.len().min(room.len());
        room[..fits].copy_from_slice(&part[..fits]);
        self.filled += fits;
        self.too_long |= fits < part.len();
        *bytes = rest.get(1..).unwrap_or_default();
        end.is_some()
    }
}

/// What stands between two delimiters.
fn decode(encoded: &mut [u8], max_payload: usize) -> Result<Frame<'_>, Fault> {
    let length = cobs::decode_in_place(encoded).map_err(|_| Fault::Cut)?;
    let content = &encoded[..length];
    let (content, checksum) = content.split_last_chunk::<CHECKSUM>().ok_or(Fault::Cut)?;
    if content.len() < HEAD {
        return Err(Fault::Cut);
    }
    if CRC.checksum(content) != u32::from_le_bytes(*checksum) {
        return Err(Fault::Corrupted);
    }
    parse(content, max_payload).unwrap_or(Err(Fault::Foreign))
}

/// Content whose checksum is right; `None` if it is none of ours.
fn parse(content: &[u8], max_payload: usize) -> Option<Result<Frame<'_>, Fault>> {
    let (kind, rest) = content.split_first()?;
    let (session, rest) = rest.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (session, sequence) = (u16::from_le_bytes(*session), u32::from_le_bytes(*sequence));
    let body = match (*kind, rest.split_first_chunk::<TOPIC>()) {
        (START, None) if sequence == 0 && rest.is_empty() => Body::Start,
        (HEARTBEAT, None) if rest.is_empty() => Body::Heartbeat,
        (DATA, Some((_, payload))) if payload.len() > max_payload => {
            return Some(Err(Fault::TooLong));
        }
        (DATA, Some((topic, payload))) if sequence > 0 => {
            Body::Data { topic: TopicId(u32::from_le_bytes(*topic)), payload }
        }
        _ => return None,
    };
    Some(Ok(Frame { session, sequence, body }))
}
