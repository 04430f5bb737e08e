//! The frame format: encoding, and decoding from a byte stream.
//!
//! This module performs no I/O. The [crate] documentation has the format as a table.
//!
//! [`Frame::encode`] writes one frame; a [`Decoder`] finds frames in received bytes:
//!
//! ```
//! use aimdb_serial_connector::frame::{Body, Decoder, Frame, TopicId};
//!
//! let body = Body::Data { topic: TopicId::of("sensors/temp"), payload: b"21.5" };
//! let frame = Frame::new(7, 1, body);
//! let mut encoded = Vec::new();
//! frame.encode(&mut encoded);
//!
//! let mut decoder = Decoder::new(512);
//! let mut received = &encoded[..];
//! assert_eq!(decoder.feed(&mut received), Some(Ok(frame)));
//! ```

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use cobs::{CobsEncoder, max_encoding_length};
use crc::{CRC_32_ISO_HDLC, Crc};

/// The default payload limit, in bytes.
pub const DEFAULT_MAX_PAYLOAD: usize = 512;

/// The largest payload limit a connector accepts, in bytes.
///
/// A 32-bit CRC detects errors reliably up to about this length.
pub const MAX_PAYLOAD_LIMIT: usize = 65_535;

/// The byte that ends a frame. COBS keeps it out of the frame's content.
pub const DELIMITER: u8 = 0;

/// CRC-32/ISO-HDLC: most microcontrollers compute it in hardware, and every CRC calculator offers it.
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

// The first byte: protocol version 1 in the upper half, the frame's kind in the lower.
const START: u8 = 0x10;
const DATA: u8 = 0x11;
const HEARTBEAT: u8 = 0x12;

/// Bytes of the header: kind, session, sequence number.
const HEADER_LENGTH: usize = 1 + 2 + 4;
const TOPIC_LENGTH: usize = 4;
const CHECKSUM_LENGTH: usize = 4;

/// A topic's id in a frame: the FNV-1a hash of the topic's text.
///
/// Both ends compute the id from the text, so the protocol needs no negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u32);

impl TopicId {
    /// Returns the id of `topic`.
    ///
    /// ```
    /// use aimdb_serial_connector::frame::TopicId;
    ///
    /// assert_eq!(TopicId::of("foobar"), TopicId(0xbf9c_f968));
    /// ```
    #[must_use]
    pub const fn of(topic: &str) -> Self {
        let bytes = topic.as_bytes();
        let (mut hash, mut index) = (0x811c_9dc5_u32, 0);
        while index < bytes.len() {
            hash = (hash ^ bytes[index] as u32).wrapping_mul(0x0100_0193);
            index += 1;
        }
        Self(hash)
    }
}

impl fmt::Display for TopicId {
    /// Writes the id as eight hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// One frame of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame<'p> {
    /// The sender's session number. A restarted sender uses another number if it can draw one.
    pub session: u16,
    /// The number of a data frame, counted from 1 within the session. A heartbeat carries the number of the latest data
    /// frame; a start carries 0.
    pub sequence: u32,
    /// The frame's kind and content.
    pub body: Body<'p>,
}

/// The kind and content of a [`Frame`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body<'p> {
    /// The sender begins this session; its sequence numbers start over.
    Start,
    /// One value.
    Data {
        /// The topic the value belongs to.
        topic: TopicId,
        /// The value, encoded by the record's codec.
        payload: &'p [u8],
    },
    /// The sender has nothing to send. The sequence number lets the peer detect a loss of the latest data frames.
    Heartbeat,
}

/// The reason why received bytes are not a valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// Bytes are missing, or a COBS block length was changed on the line.
    Truncated,
    /// The checksum does not match.
    Corrupted,
    /// The frame or its payload exceeds the decoder's limit.
    TooLong,
    /// The checksum matches, but the content belongs to another version or another protocol.
    Unsupported,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the frame is truncated",
            Self::Corrupted => "the frame's checksum does not match",
            Self::TooLong => "the frame exceeds the payload limit",
            Self::Unsupported => "the frame belongs to another version or another protocol",
        })
    }
}

impl core::error::Error for FrameError {}

impl<'p> Frame<'p> {
    /// Returns a frame of `session` with the number `sequence`.
    #[must_use]
    pub const fn new(session: u16, sequence: u32, body: Body<'p>) -> Self {
        Self { session, sequence, body }
    }

    /// Replaces the content of `out` with the encoded frame, [`DELIMITER`] included.
    ///
    /// `out` keeps its allocation, so a caller that reuses it allocates only for a frame longer than any before.
    ///
    /// ```
    /// use aimdb_serial_connector::frame::{Body, Frame};
    ///
    /// let mut bytes = Vec::new();
    /// Frame::new(7, 1, Body::Heartbeat).encode(&mut bytes);
    /// assert_eq!(bytes, [0x03, 0x12, 0x07, 0x02, 0x01, 0x01, 0x01, 0x05, 0x44, 0x05, 0x94, 0xc8, 0x00]);
    /// ```
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, topic, payload) = match self.body {
            Body::Start => (START, None, &[][..]),
            Body::Data { topic, payload } => (DATA, Some(topic.0.to_le_bytes()), payload),
            Body::Heartbeat => (HEARTBEAT, None, &[][..]),
        };
        let mut header = [kind; HEADER_LENGTH];
        header[1..3].copy_from_slice(&self.session.to_le_bytes());
        header[3..].copy_from_slice(&self.sequence.to_le_bytes());
        let topic = topic.as_ref().map_or(&[][..], |topic| topic);

        let mut digest = CRC.digest();
        [&header[..], topic, payload].iter().for_each(|part| digest.update(part));
        let checksum = digest.finalize().to_le_bytes();

        let length = HEADER_LENGTH + topic.len() + payload.len() + CHECKSUM_LENGTH;
        out.clear();
        out.resize(max_encoded_length(length), DELIMITER);
        let mut encoder = CobsEncoder::new(out);
        for part in [&header[..], topic, payload, &checksum] {
            encoder.push(part).expect("the buffer holds the longest encoding");
        }
        let encoded = encoder.finalize();
        out.truncate(encoded);
        out.push(DELIMITER);
    }
}

/// The largest encoding of `length` bytes of content, delimiter included.
///
/// It is one byte larger than the longest frame this crate writes: other encoders append an empty block to a full last
/// one.
const fn max_encoded_length(length: usize) -> usize {
    max_encoding_length(length) + 2
}

/// The largest encoding of a frame whose payload has at most `max_payload` bytes.
pub(crate) const fn max_frame_length(max_payload: usize) -> usize {
    max_encoded_length(HEADER_LENGTH + TOPIC_LENGTH + max_payload + CHECKSUM_LENGTH)
}

/// Finds frames in a stream of bytes that arrives in pieces of any size.
///
/// The decoder allocates one buffer when it is created; the buffer never grows. After an invalid frame the decoder
/// continues at the next [`DELIMITER`].
#[derive(Debug)]
pub struct Decoder {
    buffer: Box<[u8]>,
    /// Bytes of the current frame that `buffer` holds.
    filled: usize,
    /// The current frame does not fit into `buffer`.
    overflowed: bool,
    max_payload: usize,
}

impl Decoder {
    /// Returns a decoder for payloads of up to `max_payload` bytes.
    #[must_use]
    pub fn new(max_payload: usize) -> Self {
        let buffer = vec![0; max_frame_length(max_payload)].into();
        Self { buffer, filled: 0, overflowed: false, max_payload }
    }

    /// Consumes `bytes` up to the end of the next frame and returns that frame.
    ///
    /// Returns `None` after all of `bytes` if no frame ends in them; the decoder keeps the unfinished part for the next
    /// call. The caller calls `feed` again while it returns `Some`.
    ///
    /// # Errors
    ///
    /// `Some(Err(…))` if the bytes before a delimiter are not a valid frame. The next call continues behind that
    /// delimiter.
    ///
    /// ```
    /// use aimdb_serial_connector::frame::{Body, Decoder, Frame, FrameError};
    ///
    /// let mut decoder = Decoder::new(16);
    /// let mut bytes = &[9, 9, 0, 0x03, 0x12, 0x07, 0x02, 0x01, 0x01, 0x01, 0x05, 0x44, 0x05, 0x94, 0xc8, 0x00][..];
    /// assert_eq!(decoder.feed(&mut bytes), Some(Err(FrameError::Truncated)));
    /// assert_eq!(decoder.feed(&mut bytes), Some(Ok(Frame::new(7, 1, Body::Heartbeat))));
    /// assert_eq!(decoder.feed(&mut bytes), None);
    /// ```
    pub fn feed(&mut self, bytes: &mut &[u8]) -> Option<Result<Frame<'_>, FrameError>> {
        let length = loop {
            if !self.collect(bytes) {
                return None;
            }
            // Two delimiters in a row are valid: every connection begins with one.
            let length = core::mem::take(&mut self.filled);
            if length > 0 {
                break length;
            }
        };
        if core::mem::take(&mut self.overflowed) {
            return Some(Err(FrameError::TooLong));
        }
        Some(decode(&mut self.buffer[..length], self.max_payload))
    }

    /// Discards the unfinished frame. Returns whether there was one.
    pub fn reset(&mut self) -> bool {
        self.overflowed = false;
        core::mem::take(&mut self.filled) > 0
    }

    /// Moves bytes into the buffer up to the next delimiter. Returns whether a delimiter was found.
    fn collect(&mut self, bytes: &mut &[u8]) -> bool {
        let end = bytes.iter().position(|byte| *byte == DELIMITER);
        let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        let room = &mut self.buffer[self.filled..];
        let fits = part.len().min(room.len());
        room[..fits].copy_from_slice(&part[..fits]);
        self.filled += fits;
        self.overflowed |= fits < part.len();
        *bytes = rest.get(1..).unwrap_or_default();
        end.is_some()
    }
}

/// Decodes in place the bytes between two delimiters.
fn decode(encoded: &mut [u8], max_payload: usize) -> Result<Frame<'_>, FrameError> {
    let length = cobs::decode_in_place(encoded).map_err(|_| FrameError::Truncated)?;
    let content = &encoded[..length];
    let (content, checksum) =
        content.split_last_chunk::<CHECKSUM_LENGTH>().ok_or(FrameError::Truncated)?;
    if content.len() < HEADER_LENGTH {
        return Err(FrameError::Truncated);
    }
    if CRC.checksum(content) != u32::from_le_bytes(*checksum) {
        return Err(FrameError::Corrupted);
    }
    parse(content, max_payload).unwrap_or(Err(FrameError::Unsupported))
}

/// Parses content whose checksum matches. Returns `None` if the content is not of this version of the protocol.
fn parse(content: &[u8], max_payload: usize) -> Option<Result<Frame<'_>, FrameError>> {
    let (kind, rest) = content.split_first()?;
    let (session, rest) = rest.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (session, sequence) = (u16::from_le_bytes(*session), u32::from_le_bytes(*sequence));
    let body = match (*kind, rest.split_first_chunk::<TOPIC_LENGTH>()) {
        (START, None) if sequence == 0 && rest.is_empty() => Body::Start,
        (HEARTBEAT, None) if rest.is_empty() => Body::Heartbeat,
        (DATA, Some((_, payload))) if payload.len() > max_payload => {
            return Some(Err(FrameError::TooLong));
        }
        (DATA, Some((topic, payload))) if sequence > 0 => {
            Body::Data { topic: TopicId(u32::from_le_bytes(*topic)), payload }
        }
        _ => return None,
    };
    Some(Ok(Frame { session, sequence, body }))
}
