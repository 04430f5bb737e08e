//! A value that waits behind the lag that was reported before it.

use crate::sync::Lock;
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

/// Room for one value. Only the thread that holds the reader's cursor puts one in or takes it out.
pub(super) struct Stash<T> {
    full: AtomicBool,
    value: Lock<Option<T>>,
}

impl<T> Stash<T> {
    pub(super) fn new() -> Self {
        Self { full: AtomicBool::new(false), value: Lock::new(None) }
    }

    /// Pairs with the `Release` store in [`put`](Self::put).
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Acquire)
    }

    /// Puts a value in. The stash must be empty.
    pub(super) fn put(&self, value: Option<T>) {
        self.value.with(|stashed| {
            debug_assert!(stashed.is_none(), "a stash holds one value");
            *stashed = value;
            self.full.store(true, Release);
        });
    }

    #[cold]
    pub(super) fn take(&self) -> Option<T> {
        self.value.with(|stashed| {
            self.full.store(false, Release);
            stashed.take()
        })
    }
}
