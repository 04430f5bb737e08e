//! `Mailbox`: one pending command, newest wins, each taken once.

use super::Evicted;

/// The pending command, and how many were replaced since the last one was taken.
pub(super) struct Mailbox<T> {
    pending: Option<T>,
    replaced: u64,
}

impl<T> Mailbox<T> {
    pub(super) fn new() -> Self {
        Self { pending: None, replaced: 0 }
    }

    pub(super) fn push(&mut self, value: T) -> Option<Evicted<T>> {
        let old = self.pending.replace(value)?;
        self.replaced += 1;
        Some(Evicted { value: old, unread: true })
    }

    pub(super) fn readable(&self) -> u64 {
        u64::from(self.pending.is_some())
    }

    /// Whoever takes the pending command answers for those it replaced.
    pub(super) fn settle(&mut self) -> u64 {
        core::mem::take(&mut self.replaced)
    }

    pub(super) fn read(&mut self) -> Option<T> {
        self.pending.take()
    }

    pub(super) fn latest(&self) -> Option<&T> {
        self.pending.as_ref()
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.pending.is_some())
    }
}
