//! What the four kinds of buffer have in common: the questions every one of them answers.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::cursor::{Cursor, Held};
use super::slot::Claim;

/// How values get into a buffer and out of it. All methods may be called from many threads at once.
pub(super) trait Kind<T: Clone> {
    /// Writers wait for readers, so they look at where those are.
    const GATED: bool = false;

    /// The right to write the next value.
    type Turn<'k>: Turn<T>
    where
        Self: 'k;

    /// [`turn`](Self::turn) in the common case: at the first attempt, without asking anybody. This and
    /// [`try_read`](Self::try_read) are what a value costs; everything rarer stays out of their way, in `turn` and `read`.
    fn try_turn(&self) -> Option<Self::Turn<'_>>;

    /// Waits for other writers that are half-way, never for room. `slowest` says where the last reader stands.
    fn turn(&self, slowest: impl FnOnce() -> u64) -> Result<Self::Turn<'_>, Refused>;

    /// [`read`](Self::read) in the common case: the next value, if it is there and nobody is busy with it.
    fn try_read(&self, held: &mut Held<'_>, out: &mut Outlet<T>) -> bool;

    /// Gives the reader the next value that is still there. The cursor counts the values lost before it.
    fn read(&self, held: &mut Held<'_>, out: &mut Outlet<T>) -> Taken;

    /// A second look by a reader that found nothing and is about to sleep: whether it may. If not, there is something
    /// by now, or somebody is half-way and it must look again.
    ///
    /// Whoever changes this afterwards sees everything the caller wrote before.
    fn may_sleep(&self, next: u64) -> bool;

    /// A second look by a task that waits for the reader of `cursor` to have read everything: whether it has not.
    /// `None` if a step is under way that may change the answer, so the task must look again.
    ///
    /// The step that changes the answer afterwards sees everything the caller wrote before.
    fn has_unread(&self, cursor: &Cursor) -> Option<bool> {
        Some(self.readable(cursor.settled()?) > 0)
    }

    /// Where a new reader starts.
    fn start(&self) -> u64;

    /// What the reader at `next` has lost without having been told.
    fn missed(&self, next: u64) -> u64;

    /// How many values wait for the reader at `next`.
    fn readable(&self, next: u64) -> u64;

    /// How many values it holds; `slowest` as for [`turn`](Self::turn), `None` without readers.
    fn depth(&self, slowest: Option<u64>) -> usize;

    /// Values accepted.
    fn produced(&self) -> u64;

    /// Values that left before any reader had taken them.
    fn overwritten(&self) -> u64;

    /// Lets nothing in any more. A value whose writer has its turn already gets in before. It waits for such a writer,
    /// never for a reader, whose `Clone` may last.
    fn close(&self);

    fn is_closed(&self) -> bool;
}

/// The right to write one value; given back unused when it is dropped.
pub(super) trait Turn<T> {
    fn write(self, value: T) -> Pushed<T>;
}

/// What a write came to.
pub(super) struct Pushed<T> {
    /// What had to leave, for the writer to drop when it holds nothing any more.
    pub(super) evicted: Option<T>,
    /// Values accepted so far.
    pub(super) produced: u64,
}

/// Why a value stayed with its writer.
#[derive(Clone, Copy)]
pub(super) enum Refused {
    Full,
    Closed,
}

/// Where a read puts things. They are moved in place, not through results: see DESIGN.md, "Values move in place".
pub(super) struct Outlet<T> {
    /// Which value of this turn of the reader it is, counted from one.
    pub(super) nth: u64,
    pub(super) value: Option<T>,
    /// What the buffer calls it, not zero; a mailbox by how many commands there had been.
    pub(super) number: u64,
    /// An original that nobody wants any more because its last two readers cloned it at once, to be dropped outside.
    pub(super) spare: Option<T>,
}

impl<T> Outlet<T> {
    #[inline(always)]
    pub(super) const fn nth(nth: u64) -> Self {
        Self { nth, value: None, number: 1, spare: None }
    }
}

/// Gives a reader a clone of the value that it has claimed.
#[inline(always)]
pub(super) fn deliver<T: Clone>(mut claim: Claim<'_, T>, held: &mut Held<'_>, out: &mut Outlet<T>) {
    out.value = claim.value().cloned();
    claim.mark_read();
    held.deliver(out.nth);
}

/// What a read came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Value,
    Empty,
    Closed,
}

/// A ring's place for a position; a mask where the capacity allows, because a division costs as much as the rest.
#[derive(Clone, Copy)]
pub(super) struct Lap {
    capacity: u64,
    /// All ones if the capacity is no power of two.
    mask: u64,
}

impl Lap {
    pub(super) fn of(capacity: usize) -> Self {
        let capacity = capacity as u64;
        Self { capacity, mask: if capacity.is_power_of_two() { capacity - 1 } else { u64::MAX } }
    }

    #[inline(always)]
    pub(super) const fn capacity(self) -> u64 {
        self.capacity
    }

    #[inline(always)]
    pub(super) const fn index(self, position: u64) -> usize {
        if self.mask == u64::MAX {
            (position % self.capacity) as usize
        } else {
            (position & self.mask) as usize
        }
    }
}

/// A buffer asked for more memory than there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoMemory {
    pub(crate) bytes: usize,
}

/// The places for a buffer's values, in one piece.
pub(super) fn places<P>(
    capacity: usize,
    mut place: impl FnMut() -> P,
) -> Result<Box<[P]>, NoMemory> {
    let mut places = Vec::new();
    let bytes = capacity.saturating_mul(size_of::<P>());
    places.try_reserve_exact(capacity).map_err(|_| NoMemory { bytes })?;
    places.extend((0..capacity).map(|_| place()));
    Ok(places.into_boxed_slice())
}
