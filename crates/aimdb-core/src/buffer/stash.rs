//! Storage for the value that follows a lag which a reader has just received as an event.

use crate::sync::Lock;
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

/// Storage for one value. Only the thread that has locked the reader's cursor stores or takes it.
///
/// A writer may overwrite the value behind a lag between two calls of the reader. The reader therefore takes that value
/// together with the lag and keeps it here: a lag that was reported is always followed by a value.
pub(super) struct Stash<T> {
    full: AtomicBool,
    value: Lock<Option<T>>,
}

impl<T> Stash<T> {
    pub(super) fn new() -> Self {
        Self { full: AtomicBool::new(false), value: Lock::new(None) }
    }

    /// Whether there is a value, without the lock.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        // Pairs with the `Release` store in `put`.
        self.full.load(Acquire)
    }

    /// Stores a value. The stash must be empty.
    pub(super) fn put(&self, value: Option<T>) {
        self.value.with(|stashed| {
            debug_assert!(stashed.is_none(), "a stash holds one value");
            *stashed = value;
            // Pairs with the `Acquire` load in `is_full`.
            self.full.store(true, Release);
        });
    }

    /// Moves the value out.
    #[cold]
    pub(super) fn take(&self) -> Option<T> {
        self.value.with(|stashed| {
            // Pairs with the `Acquire` load in `is_full`.
            self.full.store(false, Release);
            stashed.take()
        })
    }
}
