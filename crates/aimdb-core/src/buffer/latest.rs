//! `SingleLatest`: the current value. Writers never wait; readers skip to the newest.

use super::Evicted;

/// The newest value and how many there have been.
pub(super) struct Latest<T> {
    value: Option<T>,
    read: bool,
    head: u64,
}

impl<T: Clone> Latest<T> {
    pub(super) fn new() -> Self {
        Self { value: None, read: false, head: 0 }
    }

    pub(super) fn push(&mut self, value: T) -> Option<Evicted<T>> {
        let old = self.value.replace(value);
        let unread = !core::mem::replace(&mut self.read, false);
        self.head += 1;
        old.map(|value| Evicted { value, unread })
    }

    /// A new reader sees the current value at once.
    pub(super) fn first_position(&self) -> u64 {
        self.head.saturating_sub(1)
    }

    /// How many values the reader at `next` skips to get to the newest.
    pub(super) fn missed(&self, next: u64) -> u64 {
        self.head.saturating_sub(1).saturating_sub(next)
    }

    pub(super) fn readable(&self, next: u64) -> u64 {
        u64::from(next < self.head)
    }

    /// The newest value, if `next` is its position.
    pub(super) fn read(&mut self, next: u64) -> Option<T> {
        if next >= self.head {
            return None;
        }
        let value = self.value.clone();
        self.read = true;
        value
    }

    pub(super) fn latest(&self) -> Option<&T> {
        self.value.as_ref()
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.value.is_some())
    }
}
