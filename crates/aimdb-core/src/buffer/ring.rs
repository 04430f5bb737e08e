//! `SpmcRing`: the last `capacity` values. Writers never wait; a reader that falls behind skips the lost ones.

use alloc::collections::VecDeque;

use super::Evicted;

/// One value, and whether any reader has had it.
struct Slot<T> {
    value: T,
    read: bool,
}

/// The values with the positions `head - slots.len() .. head`.
///
/// A position counts values since the record was made; a cursor is the position its reader wants next.
pub(super) struct Ring<T> {
    slots: VecDeque<Slot<T>>,
    capacity: usize,
    head: u64,
}

impl<T: Clone> Ring<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { slots: VecDeque::with_capacity(capacity), capacity, head: 0 }
    }

    /// The oldest position still held.
    fn base(&self) -> u64 {
        self.head - self.slots.len() as u64
    }

    pub(super) fn push(&mut self, value: T) -> Option<Evicted<T>> {
        let oldest = if self.slots.len() == self.capacity { self.slots.pop_front() } else { None };
        self.slots.push_back(Slot { value, read: false });
        self.head += 1;
        oldest.map(|slot| Evicted { value: slot.value, unread: !slot.read })
    }

    /// A new reader sees what comes after it subscribed.
    pub(super) fn first_position(&self) -> u64 {
        self.head
    }

    /// How many values the reader at `next` has lost for ever.
    pub(super) fn missed(&self, next: u64) -> u64 {
        self.base().saturating_sub(next)
    }

    pub(super) fn readable(&self, next: u64) -> u64 {
        self.head - next.max(self.base())
    }

    /// The value at `next`, which must not be a lost one.
    pub(super) fn read(&mut self, next: u64) -> Option<T> {
        let base = self.base();
        let slot = self.slots.get_mut(usize::try_from(next - base).ok()?)?;
        let value = slot.value.clone();
        slot.read = true;
        Some(value)
    }

    pub(super) fn latest(&self) -> Option<&T> {
        self.slots.back().map(|slot| &slot.value)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}
