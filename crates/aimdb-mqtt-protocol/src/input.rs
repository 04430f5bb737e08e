//! The input buffer: packets out of a stream of bytes.

use alloc::vec::Vec;
use core::ops::Range;

use crate::error::Malformed;
use crate::wire::varint;

/// The size of the buffer before a packet needs more, in bytes. Where packets are limited to less, the buffer is as large
/// as the limit.
const FIRST_SIZE: usize = 64 * 1024;

/// The least limit, in bytes. MQTT allows no limit of zero, and a CONNACK must fit.
pub(crate) const LEAST_INCOMING: usize = 16;

/// How much of the topic of a packet that is read past is kept, in bytes.
const KEPT_TOPIC: usize = 256;

const PUBLISH: u8 = 3;

pub(crate) struct Input {
    buffer: Vec<u8>,
    /// The bytes that have arrived and are not taken.
    filled: Range<usize>,
    /// The largest packet, in bytes.
    limit: usize,
    skip: Option<Skip>,
}

/// The next thing in the stream.
pub(crate) enum Packet {
    /// A packet with this first byte, whose body is in this range of [`Input::bytes`].
    Whole(u8, Range<usize>),
    /// A message above the limit, whose bytes are gone.
    Skipped(Skip),
}

/// A message that is read past.
pub(crate) struct Skip {
    /// The first byte of the packet.
    pub(crate) first: u8,
    /// The size of the body, in bytes.
    pub(crate) size: usize,
    /// How many bytes of the body have arrived.
    position: usize,
    topic_length: usize,
    pub(crate) topic: Vec<u8>,
    pub(crate) id: u16,
}

impl Skip {
    fn id_length(&self) -> usize {
        if self.first & 0x06 == 0 { 0 } else { 2 }
    }

    /// Whether the topic and the identifier are within the packet, and the identifier is not zero.
    fn is_well_formed(&self) -> bool {
        let id_length = self.id_length();
        2 + self.topic_length + id_length <= self.size && (id_length == 0 || self.id != 0)
    }

    /// Takes the bytes that belong to the message, and returns how many.
    fn feed(&mut self, bytes: &[u8]) -> usize {
        let length = bytes.len().min(self.size - self.position);
        let end = self.position + length;
        let id_length = self.id_length();
        for byte in &bytes[..length] {
            let after_topic = 2 + self.topic_length;
            match self.position {
                0 => self.topic_length = usize::from(*byte) << 8,
                1 => self.topic_length |= usize::from(*byte),
                at if at >= after_topic + id_length => break,
                at if at >= after_topic => self.id = self.id << 8 | u16::from(*byte),
                _ if self.topic.len() < KEPT_TOPIC => self.topic.push(*byte),
                _ => {}
            }
            self.position += 1;
        }
        self.position = end;
        length
    }
}

impl Input {
    pub(crate) const fn new() -> Self {
        Self { buffer: Vec::new(), filled: 0..0, limit: 0, skip: None }
    }

    /// Discards what is not taken.
    pub(crate) fn clear(&mut self) {
        self.filled = 0..0;
        self.skip = None;
    }

    /// Begins a stream whose packets have at most `limit` bytes.
    pub(crate) fn begin(&mut self, limit: usize) {
        self.clear();
        self.limit = limit.max(LEAST_INCOMING);
        let first = FIRST_SIZE.min(self.limit);
        if self.buffer.len() != first {
            self.buffer = alloc::vec![0; first];
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// The free part of the buffer. It is empty only if whole packets fill the buffer.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        let Range { start, end } = self.filled;
        if start == end {
            self.filled = 0..0;
        } else if end == self.buffer.len() {
            if start > 0 {
                self.buffer.copy_within(start..end, 0);
                self.filled = 0..end - start;
            } else {
                // The packet at the start exceeds the buffer, which is not above the limit.
                let size = self.limit.min(2 * self.buffer.len());
                self.buffer.resize(size, 0);
            }
        }
        &mut self.buffer[self.filled.end..]
    }

    /// `count` bytes have been read into [`space`](Self::space).
    pub(crate) fn fill(&mut self, count: usize) {
        self.filled.end = self.buffer.len().min(self.filled.end + count);
    }

    /// Whether bytes have arrived that no packet has taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.filled.is_empty()
    }

    /// Takes the next packet, if all of it has arrived.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>, Malformed> {
        if let Some(skip) = &mut self.skip {
            self.filled.start += skip.feed(&self.buffer[self.filled.clone()]);
            if skip.position < skip.size {
                return Ok(None);
            }
        }
        if let Some(skip) = self.skip.take() {
            if !skip.is_well_formed() {
                return Err(Malformed::Oversized);
            }
            return Ok(Some(Packet::Skipped(skip)));
        }
        let bytes = &self.buffer[self.filled.clone()];
        let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
        let Some((size, length)) = varint(rest)? else { return Ok(None) };
        let body = self.filled.start + 1 + length;
        if 1 + length + size > self.limit {
            if first >> 4 != PUBLISH {
                return Err(Malformed::Size);
            }
            self.filled.start = body;
            let (first, topic) = (*first, Vec::new());
            self.skip = Some(Skip { first, size, position: 0, topic_length: 0, topic, id: 0 });
            return self.next();
        }
        if body + size > self.filled.end {
            return Ok(None);
        }
        self.filled.start = body + size;
        Ok(Some(Packet::Whole(*first, body..body + size)))
    }
}
