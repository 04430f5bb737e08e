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
//!                 │                        ├─ mirror: a free slot, or the copy is left out
//!                 │                        └─ the value into its place
//!                 └─ wakes the readers, then the observers
//! ```
//!
//! - **Order.** A copy enters the mirror under the record's write permit, so the mirror's order is the record's, also with
//!   several writers.
//! - **No wait.** A writer makes one attempt. If an observer is at the slot at this moment, the copy is left out.
//! - **Exact.** Each copy has the number of its value in the record. The gap to the one before is what the observer missed,
//!   for whatever reason.
//! - **Nothing without observers.** Producing a value loads the word of the flags once more and branches. The code of the
//!   mirror is reached through a trait object that only [`Buffer::observe`] makes: a program that observes nothing does not
//!   contain it.
//!
//! The flag is set under the lock of the subscribers. A writer that begins after `observe` has returned, in the order of any
//! synchronization between the two, sees it. A writer that finds the flag and no mirror any more writes as ever.

use core::any::Any;

use super::error::TryProduceError;
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
    /// Produces a value, and a copy of it.
    fn produce(&self, record: &B, value: T) -> Result<(), TryProduceError<T>>;

    /// Produces the value that `make` returns, and a copy of it. `make` is called at most once.
    fn produce_with(
        &self,
        record: &B,
        make: &mut dyn FnMut() -> T,
    ) -> Result<(), TryProduceError<()>>;

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
