//! What the machine allows: the least that any contestant must do, without its promises.
//!
//! - [`lines`]: a cache line for each value, written once and read once by each reader. No reader is ever overtaken only
//!   because the case, or [`Write::write`], keeps the writer less than a ring ahead.
//! - [`handoff`]: one value at a time, and one call of the system to wake the thread that waits for it.

use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

use super::traits::{Get, Read, Set, TryRead, TryWrite, Write};
use crate::kit::spin_until;
use crate::payload::Value;

/// The number of values after which a reader says how far it is.
const REPORT: u64 = 256;

/// A cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line {
    /// One more than the number of the value; stored last.
    written: AtomicU64,
    parts: [AtomicU64; 4],
}

impl Line {
    /// Stores a value, which the caller announces afterwards by another word.
    #[inline]
    fn put(&self, value: Value) {
        for (part, word) in self.parts.iter().zip(value.0) {
            part.store(word, Relaxed);
        }
    }

    #[inline]
    fn value(&self) -> Value {
        Value(self.parts.each_ref().map(|part| part.load(Relaxed)))
    }
}

#[derive(Debug)]
struct Lines {
    lines: Box<[Line]>,
    /// The number of values that the last reader has received, in steps of [`REPORT`].
    received: Line,
}

/// The writer of [`lines`].
#[derive(Debug)]
pub struct LineWriter {
    shared: Arc<Lines>,
    next: u64,
    /// The writer's copy of what the reader reported.
    received: u64,
}

/// A reader of [`lines`].
#[derive(Debug)]
pub struct LineReader {
    shared: Arc<Lines>,
    next: u64,
}

/// A ring of cache lines.
#[must_use]
pub fn lines(capacity: usize, readers: usize) -> (LineWriter, Vec<LineReader>) {
    let lines = (0..capacity).map(|_| Line::default()).collect();
    let shared = Arc::new(Lines { lines, received: Line::default() });
    let reader = |_| LineReader { shared: Arc::clone(&shared), next: 0 };
    let readers = (0..readers).map(reader).collect();
    (LineWriter { shared, next: 0, received: 0 }, readers)
}

impl TryWrite for LineWriter {
    #[inline]
    fn try_write(&mut self, value: Value) {
        let line = &self.shared.lines[self.next as usize % self.shared.lines.len()];
        line.put(value);
        self.next += 1;
        line.written.store(self.next, Release);
    }
}

impl TryRead for LineReader {
    #[inline]
    fn try_read(&mut self) -> Option<Value> {
        let line = &self.shared.lines[self.next as usize % self.shared.lines.len()];
        if line.written.load(Acquire) != self.next + 1 {
            return None;
        }
        let value = line.value();
        self.next += 1;
        if self.next.is_multiple_of(REPORT) {
            self.shared.received.written.store(self.next, Release);
        }
        Some(value)
    }
}

impl LineWriter {
    /// Waits until the only reader leaves room.
    #[inline]
    fn await_room(&mut self) {
        let capacity = self.shared.lines.len() as u64;
        if self.next - self.received >= capacity {
            spin_until(|| {
                self.received = self.shared.received.written.load(Acquire);
                (self.next - self.received < capacity).then_some(())
            });
        }
    }
}

impl Write for LineWriter {
    #[inline]
    async fn write(&mut self, value: Value) {
        self.await_room();
        self.try_write(value);
    }
}

impl Read for LineReader {
    #[inline]
    async fn read(&mut self) -> Value {
        spin_until(|| self.try_read())
    }
}

impl Set for LineWriter {
    #[inline]
    fn set(&mut self, value: Value) {
        self.await_room();
        self.try_write(value);
    }
}

impl Get for LineReader {
    #[inline]
    fn get(&mut self) -> Value {
        spin_until(|| self.try_read())
    }
}

#[derive(Debug, Default)]
struct Handoff {
    line: Line,
    full: AtomicBool,
    receiver: OnceLock<Thread>,
}

/// One end of [`handoff`].
#[derive(Debug)]
pub struct HandoffSender(Arc<Handoff>);

/// The other end of [`handoff`]. Its first call of [`Get::get`] fixes the thread that is woken.
#[derive(Debug)]
pub struct HandoffReceiver(Arc<Handoff>);

/// A place for one value. The sender overwrites it: the case sends a value after the one before was received.
#[must_use]
pub fn handoff() -> (HandoffSender, HandoffReceiver) {
    let shared = Arc::new(Handoff::default());
    (HandoffSender(Arc::clone(&shared)), HandoffReceiver(shared))
}

impl Set for HandoffSender {
    fn set(&mut self, value: Value) {
        self.0.line.put(value);
        // Both sides change the flag by a read-modify-write: so the sender knows the receiver's thread, or the receiver
        // sees the flag.
        self.0.full.swap(true, AcqRel);
        if let Some(receiver) = self.0.receiver.get() {
            receiver.unpark();
        }
    }
}

impl Get for HandoffReceiver {
    fn get(&mut self) -> Value {
        self.0.receiver.get_or_init(thread::current);
        while !self.0.full.swap(false, AcqRel) {
            thread::park();
        }
        self.0.line.value()
    }
}
