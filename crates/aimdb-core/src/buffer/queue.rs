//! `SpmcQueue`: every value until every reader has it. A full queue holds its writers back.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::Evicted;

/// One value, and how many readers still want it.
struct Slot<T> {
    value: T,
    wanted_by: usize,
}

/// The values with the positions `base .. base + slots.len()`.
pub(super) struct Queue<T> {
    slots: VecDeque<Slot<T>>,
    capacity: usize,
    base: u64,
    readers: usize,
}

impl<T: Clone> Queue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { slots: VecDeque::with_capacity(capacity), capacity, base: 0, readers: 0 }
    }

    /// Room for this many more values; without end while nobody reads.
    #[inline]
    pub(super) fn room(&self) -> usize {
        if self.readers == 0 { usize::MAX } else { self.capacity - self.slots.len() }
    }

    /// With no reader at all, "every reader has it" at once, and the value comes straight back as unread.
    #[inline]
    pub(super) fn push(&mut self, value: T) -> Option<Evicted<T>> {
        if self.readers == 0 {
            self.base += 1;
            return Some(Evicted { value, unread: true });
        }
        self.slots.push_back(Slot { value, wanted_by: self.readers });
        None
    }

    /// Counts a new reader in; it sees what comes after it subscribed.
    pub(super) fn enter(&mut self) -> u64 {
        self.readers += 1;
        self.base + self.slots.len() as u64
    }

    pub(super) fn readable(&self, next: u64) -> u64 {
        self.base + self.slots.len() as u64 - next
    }

    /// The value at `next`: moved out for the last reader that wants it, cloned for the others.
    ///
    /// Whoever is last to want a value finds it in front: everything before it was wanted by that reader too.
    pub(super) fn read(&mut self, next: u64) -> Option<T> {
        let at = usize::try_from(next - self.base).ok()?;
        let slot = self.slots.get_mut(at)?;
        if slot.wanted_by > 1 {
            let value = slot.value.clone();
            slot.wanted_by -= 1;
            return Some(value);
        }
        self.base += 1;
        self.slots.pop_front().map(|slot| slot.value)
    }

    /// Counts a reader out and lets go of what only it still wanted.
    pub(super) fn leave(&mut self, next: u64) -> Vec<T> {
        self.readers -= 1;
        let at = usize::try_from(next - self.base).unwrap_or(usize::MAX);
        self.slots.range_mut(at..).for_each(|slot| slot.wanted_by -= 1);
        let free = self.slots.iter().take_while(|slot| slot.wanted_by == 0).count();
        self.base += free as u64;
        self.slots.drain(..free).map(|slot| slot.value).collect()
    }

    pub(super) fn latest(&self) -> Option<&T> {
        self.slots.back().map(|slot| &slot.value)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}
