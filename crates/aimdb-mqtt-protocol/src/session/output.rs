//! The bytes that wait to be written.

use alloc::vec::Vec;

/// A larger buffer is not kept when it is empty, in bytes.
const KEPT_SIZE: usize = 256 * 1024;

/// The output buffer. Positions count all bytes since the session began, so that a later write shows which messages it completes.
#[derive(Default)]
pub(crate) struct Output {
    buffer: Vec<u8>,
    /// How many bytes of the buffer are written.
    start: usize,
    /// The position of the buffer's first byte.
    base: u64,
}

impl Output {
    /// The buffer, to append a packet.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The position after the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    /// The position after the last byte that is written.
    pub(crate) fn written(&self) -> u64 {
        self.base + self.start as u64
    }

    pub(crate) fn advance(&mut self, count: usize) {
        self.start += count.min(self.len());
        if self.start == self.buffer.len() {
            self.base += self.start as u64;
            self.reset();
        } else if self.start > self.buffer.len() / 2 {
            // Each byte moves once at most for each byte that was written.
            self.base += self.start as u64;
            self.buffer.copy_within(self.start.., 0);
            self.buffer.truncate(self.buffer.len() - self.start);
            self.start = 0;
        }
    }

    /// Discards what is not written.
    pub(crate) fn clear(&mut self) {
        self.base = self.end();
        self.reset();
    }

    fn reset(&mut self) {
        self.start = 0;
        self.buffer.clear();
        // One large message must not hold its memory without end.
        if self.buffer.capacity() > KEPT_SIZE {
            self.buffer = Vec::new();
        }
    }
}
