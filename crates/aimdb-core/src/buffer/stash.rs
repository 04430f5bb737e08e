//! Storage for the value that follows a lag which a reader has just received as an event.
//!
//! A writer may overwrite the value behind a lag between two calls of the reader. The reader
//! therefore takes that value together with the lag and keeps it here: a lag that was reported is
//! always followed by a value.
//!
//! ```text
//!           try_read_event: Lagged(n)               next read, of any kind: the value
//!   empty ─────────────────────────────▶ full ──────────────────────────────────────────▶ empty
//!                                             the reader leaves: dropped, or given back
//!                                             to its mailbox
//! ```
//!
//! Two records of the same fact exist: the flag and the value here, and the number of the value in
//! the reader's [`Cursor`](super::cursor::Cursor), which metrics read. Both change while the cursor
//! is locked, so they agree for every thread that has locked it. Only the drop of the reader
//! takes the value without, and locks the cursor to clear the number. A thread that has locked neither may, for
//! a moment, see the value in the stash and as pending in the storage too, or, in a mailbox, in none
//! of the two.

use crate::sync::Lock;
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

/// Storage for one value. Only the thread that has locked the reader's cursor stores or takes it;
/// the drop of the reader, which has it exclusively, takes it without.
pub(super) struct Stash<T> {
    /// Whether `value` is present. Stored under the lock of `value`, loaded without: a read of a
    /// value costs one load here.
    full: AtomicBool,
    /// The value. The reader's cursor keeps other threads away already; the lock makes that safe
    /// code, and costs little where values are read as events only. `Drop` never runs under it:
    /// values are moved in and out.
    value: Lock<Option<T>>,
}

impl<T> Stash<T> {
    /// An empty stash.
    pub(super) fn new() -> Self {
        Self { full: AtomicBool::new(false), value: Lock::new(None) }
    }

    /// Whether there is a value, without the lock of the value. The answer is current for a thread
    /// that has locked the cursor, and for the only thread of the reader; for others it may be
    /// outdated.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        // Pairs with the `Release` store in `put`.
        self.full.load(Acquire)
    }

    /// Stores the value behind a lag. The stash must be empty, and the caller must have locked the
    /// cursor. It notes the value there afterwards.
    pub(super) fn put(&self, value: Option<T>) {
        self.value.with(|stashed| {
            debug_assert!(stashed.is_none(), "a stash holds one value");
            *stashed = value;
            // Pairs with the `Acquire` load in `is_full`. After the value, so that a thread that
            // sees the flag finds the value under the lock.
            self.full.store(true, Release);
        });
    }

    /// Moves the value out for a look at it, and stays full meanwhile: for other threads it is still
    /// the reader's next one. The caller must have locked the cursor, and then either
    /// [returns](Self::put_back) the value or empties the stash with [`take`](Self::take), before it
    /// unlocks.
    pub(super) fn lift(&self) -> Option<T> {
        self.value.with(Option::take)
    }

    /// Returns a value that was [lifted](Self::lift).
    pub(super) fn put_back(&self, value: Option<T>) {
        self.value.with(|stashed| *stashed = value);
    }

    /// Moves the value out; `None` if there is none. The caller must have locked the cursor, or be
    /// the drop of the reader.
    pub(super) fn take(&self) -> Option<T> {
        self.value.with(|stashed| {
            // Pairs with the `Acquire` load in `is_full`.
            self.full.store(false, Release);
            stashed.take()
        })
    }
}
