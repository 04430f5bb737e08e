//! The common interface of the four kinds of buffer.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::cursor::{Access, Cursor, CursorGuard};
use super::slot::Claim;

/// The state of a buffer, independent of the type of its values.
///
/// The caller must be inside a critical section or hold a lock, as for every access to a buffer's words.
pub(crate) trait BufferState {
    /// The number of values accepted.
    fn produced(&self) -> u64;

    /// The number of values that left before any reader received them.
    fn overwritten(&self) -> u64;

    /// The number of values held. `slowest` is the position of the slowest reader, `None` without readers.
    fn depth(&self, slowest: Option<u64>) -> usize;

    /// The number of values that the reader at `next` can receive.
    fn readable(&self, next: u64) -> u64;

    /// The number of values that the reader at `next` has lost and not yet counted.
    fn missed(&self, next: u64) -> u64;

    /// The number of values that can be accepted, if the slowest reader is at `slowest`.
    fn room(&self, _slowest: Option<u64>) -> u64 {
        u64::MAX
    }

    /// Whether the record is closed.
    fn is_closed(&self) -> bool;
}

/// How values enter and leave a buffer. Many threads may call all methods at once.
pub(super) trait Kind<T: Clone>: BufferState {
    /// Writers wait for readers, so writers read cursors.
    const GATED: bool = false;

    /// The right to write the next value.
    type Permit<'k>: WritePermit<T>
    where
        Self: 'k;

    /// Reserves the next position at the first attempt, if no other writer is active and there certainly is room.
    ///
    /// This and [`try_read`](Self::try_read) are the cost of a value. Everything rarer is in [`reserve`](Self::reserve) and
    /// [`read`](Self::read).
    fn try_reserve(&self) -> Option<Self::Permit<'_>>;

    /// Reserves the next position. Waits for other writers that are active, never for room. `slowest` returns the position
    /// of the slowest reader.
    fn reserve(&self, slowest: impl FnOnce() -> u64) -> Result<Self::Permit<'_>, ReserveError>;

    /// Locks a cursor for reading.
    #[inline(always)]
    fn lock<'c>(&self, cursor: &'c Cursor, access: Access) -> CursorGuard<'c> {
        if access == Access::Exclusive && !Self::GATED {
            cursor.lock_unshared()
        } else {
            cursor.lock()
        }
    }

    /// Reads the next value, if it is present and no other thread has it.
    fn try_read(&self, guard: &mut CursorGuard<'_>, out: &mut ReadResult<T>) -> bool;

    /// Reads the next value that is still present. The cursor counts the values lost before it.
    fn read(&self, guard: &mut CursorGuard<'_>, out: &mut ReadResult<T>) -> ReadOutcome;

    /// Whether a reader at `next` that found nothing, and has registered its waker, may sleep. Otherwise there is a value by
    /// now, or a writer is active, and the reader must retry.
    ///
    /// A writer that adds a value afterwards sees everything that the caller wrote before.
    fn may_sleep(&self, next: u64) -> bool;

    /// Whether the reader of `cursor` has values to read, for a task that waits until the record is drained and has
    /// registered its waker. `None` if an active reader or writer may change the answer, so that the task must retry.
    ///
    /// A reader that changes the answer afterwards sees everything that the caller wrote before.
    fn has_unread(&self, cursor: &Cursor) -> Option<bool> {
        Some(self.readable(cursor.revalidate()?) > 0)
    }

    /// The position of a new reader.
    fn start(&self) -> u64;

    /// Accepts no more values, except those of writers that have their permit. Waits for such a writer, never for a reader,
    /// whose `Clone` may take long.
    fn close(&self);
}

/// The right to write one value. Dropped, it is unused.
pub(super) trait WritePermit<T> {
    fn write(self, value: T) -> Written<T>;
}

/// The result of a write.
pub(super) struct Written<T> {
    /// The value that was pushed out, for the writer to drop once it holds no lock.
    pub(super) evicted: Option<T>,
    /// The number of values accepted so far.
    pub(super) produced: u64,
}

/// Why no permit was given.
#[derive(Clone, Copy)]
pub(super) enum ReserveError {
    Full,
    Closed,
}

/// The result of a read. Values are moved in place, not through return values: see DESIGN.md, "Values move in place".
pub(super) struct ReadResult<T> {
    /// The index of the value within this read, counted from one.
    pub(super) nth: u64,
    pub(super) value: Option<T>,
    /// The number that the buffer gave the value, not zero. A mailbox numbers its commands.
    pub(super) number: u64,
    /// The original of a value whose last two readers cloned it at the same time, for the reader to drop once it holds no
    /// lock.
    pub(super) evicted: Option<T>,
}

impl<T> ReadResult<T> {
    #[inline(always)]
    pub(super) const fn nth(nth: u64) -> Self {
        Self { nth, value: None, number: 1, evicted: None }
    }
}

/// Clones the claimed value for the reader.
#[inline(always)]
pub(super) fn read_clone<T: Clone>(
    mut claim: Claim<'_, T>,
    guard: &mut CursorGuard<'_>,
    out: &mut ReadResult<T>,
) {
    out.value = claim.value().cloned();
    claim.mark_read();
    guard.advance(out.nth);
}

/// How a read ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    Value,
    Empty,
    Closed,
}

/// The index of a position in a ring. Where the capacity is a power of two it is a mask, because a division costs as much
/// as the rest of a read.
#[derive(Clone, Copy)]
pub(super) struct RingIndex {
    capacity: u64,
    /// All ones if the capacity is no power of two.
    mask: u64,
}

impl RingIndex {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity as u64;
        Self { capacity, mask: if capacity.is_power_of_two() { capacity - 1 } else { u64::MAX } }
    }

    #[inline(always)]
    pub(super) const fn capacity(self) -> u64 {
        self.capacity
    }

    #[inline(always)]
    pub(super) const fn of(self, position: u64) -> usize {
        if self.mask == u64::MAX {
            (position % self.capacity) as usize
        } else {
            (position & self.mask) as usize
        }
    }
}

/// A buffer asked for more memory than the allocator has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoMemory {
    pub(crate) bytes: usize,
}

/// Allocates the slots of a buffer as one block.
pub(super) fn allocate_slots<S>(
    capacity: usize,
    mut slot: impl FnMut() -> S,
) -> Result<Box<[S]>, NoMemory> {
    let mut slots = Vec::new();
    let bytes = capacity.saturating_mul(size_of::<S>());
    slots.try_reserve_exact(capacity).map_err(|_| NoMemory { bytes })?;
    slots.extend((0..capacity).map(|_| slot()));
    Ok(slots.into_boxed_slice())
}
