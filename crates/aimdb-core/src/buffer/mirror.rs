//! The mirror of a record: what its observers see.
//!
//! An observer holds no writer back, takes no command, and changes nothing that a reader receives. So it does not read the
//! record's buffer. While a record has observers, it has a mirror: a ring of its own that they read. The first observer
//! makes it, and the last one takes it along.
//!
//! ```text
//!   writer ── flag OBSERVED? ── not set: as ever
//!                 │ set
//!                 ├─ clones the value, reads the clock           user code, before the permit
//!                 ├─ permit of the record ─┬─ number of the value
//!                 │                        ├─ mirror: into a free slot, or the copy is left out
//!                 │                        └─ the value into its place
//!                 └─ wakes the observers, drops the copy that went, then wakes the readers
//! ```
//!
//! - **Order.** A copy enters the mirror under the record's write permit, so the mirror's order is the record's, also with
//!   several writers.
//! - **No wait for a look.** A writer makes one attempt to store the copy. If an observer is at that slot at this moment, the
//!   copy is left out. What a writer shares with observers besides is two locks, each for a few steps: that of the mirror's
//!   place, and that of the mirror's waiters, if one waits.
//! - **No allocation for a value.** The copy takes the place and the memory of the one that it replaces, unless an observer
//!   still has that one: then the writer allocates, with the permit. It also allocates for each copy of the first round.
//! - **Exact.** Each copy has the number of its value in the record. The gap to the one before is what the observer missed,
//!   for whatever reason.
//! - **Nothing without observers.** Producing a value loads the word of the flags once more and branches. The code of the
//!   mirror is reached through a trait object that only [`observe`](super::observe::observe) makes: a program whose records
//!   are neither observed nor exposed does not contain it.
//! - **The writer's business only.** A `Clone`, a `Drop` or an observer's waker that panics is caught: the copy is left out,
//!   and the write is as without observers. A batch is written value by value, so other writers may come between.
//!
//! The flag is set under the lock of the subscribers. A writer that begins after `observe` has returned, in the order of any
//! synchronization between the two, sees it. A writer that finds the flag and no mirror any more writes as ever.

use alloc::vec::Vec;
use core::any::Any;

use super::error::TryProduceError;
use super::kind::{ReserveError, Written};
use crate::clock::Instant;
use crate::sync::Arc;

/// A value in a mirror.
pub(crate) struct Seen<T> {
    /// The number of the value among those that the record accepted, from one.
    pub(crate) seq: u64,
    /// The time of the writer's call.
    pub(crate) at: Instant,
    /// A copy of the value, which all observers share: taking it runs no user code.
    pub(crate) value: Arc<T>,
}

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        Self { seq: self.seq, at: self.at, value: Arc::clone(&self.value) }
    }
}

/// The mirror of a record of `T` whose buffer is a `B`. A trait object, so that a buffer does not contain the type of its
/// mirror's buffer, which would contain the next one.
pub(super) trait Mirror<T, B: ?Sized>: Send + Sync {
    /// Writes a value, and a copy of it. The caller notifies the record's readers.
    fn put(&self, record: &B, value: T) -> Result<Written<T>, TryProduceError<T>>;

    /// Writes the value that `make` returns, and a copy of it. `make` is called at most once.
    fn put_with(&self, record: &B, make: &mut dyn FnMut() -> T)
    -> Result<Written<T>, ReserveError>;

    /// The names of the observers.
    fn observers(&self) -> Vec<Arc<str>>;

    /// Ends the observers once they have seen everything.
    fn close(&self);

    /// The mirror with its type, for [`observe`](super::observe::observe).
    fn as_any(&self) -> &dyn Any;
}

/// The mirror of a record, while it has observers.
pub(super) struct Observation<T, B: ?Sized> {
    pub(super) mirror: Option<Arc<dyn Mirror<T, B>>>,
    pub(super) observers: usize,
}

impl<T, B: ?Sized> Observation<T, B> {
    pub(super) const fn none() -> Self {
        Self { mirror: None, observers: 0 }
    }
}
