//! The common interface of the four kinds of buffer.
//!
//! [`BufferState`] is the part that does not depend on the type of the values: metrics and waits
//! use it as a trait object, so that their code exists once. [`Kind`] is the path of a value;
//! [`Buffer`](super::buffer::Buffer) calls it through a `match` on the four kinds, so that each
//! call can be inlined.
//!
//! | | ring | queue | latest | mailbox |
//! |---|---|---|---|---|
//! | write permit | claim of the slot of `head` | lock of the head | claim of the slot | claim of the slot |
//! | refuses a writer | closed | full, closed | closed | closed |
//! | a read | clones | moves out, or clones for a further reader | clones | moves out |
//! | a cursor's position | the position of the next value | the same | the same | commands taken |
//! | word that a sleeping reader revalidates | its slot | the head | the slot | the slot |
//!
//! # Writing
//!
//! [`Kind::try_reserve`] or [`Kind::reserve`] gives the writer a [`WritePermit`]. The writer moves
//! its value into the permit, or makes it there, and the permit ends with that. Before, the value
//! is with the caller, so a refused write needs no way back for it. The value pushed out returns in
//! [`Written::evicted`]; the writer wakes the readers first and drops that value last.
//!
//! # Reading
//!
//! The reader locks its cursor ([`Kind::lock`]) and calls [`Kind::try_read`], or [`Kind::read`] if
//! that found nothing. Both write into a [`ReadResult`] and advance the cursor by one for a value.
//! The drop of the [`CursorGuard`] publishes the position. The reader wakes other waiters after
//! that.
//!
//! # Waiting
//!
//! A task registers its waker and then asks [`Kind::may_sleep`], [`Kind::has_unread`] or
//! [`BufferState::room`]. The first two revalidate with a read-modify-write; for the third the
//! coordinator revalidates each cursor. The [module](super) draws the race.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::task::Poll;

use super::cursor::{Access, Cursor, CursorGuard};
use super::error::TryProduceError;
use super::slot::Claim;
use super::start::Start;

/// The state of a buffer, independent of the type of its values.
///
/// The caller must be inside a critical section or hold a lock, as for every access to a buffer's
/// words. While values move, each answer may be outdated by the time it is used. A position passed
/// in may be outdated as well: no function panics or overflows because of that.
pub(crate) trait BufferState {
    /// The number of values accepted. It never decreases.
    fn produced(&self) -> u64;

    /// The number of values that left before any reader received them: overwritten in a ring or a
    /// latest record, replaced in a mailbox, accepted without readers in a queue.
    fn overwritten(&self) -> u64;

    /// The number of values held. `slowest` is the position of the slowest reader, `None` without
    /// readers; only a queue uses it.
    fn depth(&self, slowest: Option<u64>) -> usize;

    /// The number of values that the reader at `next` can receive, without those it has lost.
    fn readable(&self, next: u64) -> u64;

    /// The number of values that the reader at `next` has lost and not yet counted. The reader
    /// counts them at its next read; metrics add them until then.
    fn missed(&self, next: u64) -> u64;

    /// The number of values that can be accepted, if the slowest reader is at `slowest`. Only a
    /// queue has a limit.
    fn room(&self, _slowest: Option<u64>) -> u64 {
        u64::MAX
    }

    /// Whether the record is closed. Every value accepted before is visible to a caller that
    /// receives `true`. May be called outside a critical section.
    fn is_closed(&self) -> bool;
}

/// How values enter and leave a buffer. Many threads may call all methods at once.
///
/// User code runs only in [`try_read`](Self::try_read) and [`read`](Self::read): `Clone`, or the
/// closure of a reader that reads by reference; the closure of [`WritePermit::write`] besides. It
/// may panic: then the value stays, and the cursor stays at its position, with the lag before it
/// counted. `Drop` of a value runs in no method.
pub(super) trait Kind<T: Clone>: BufferState {
    /// Writers wait for readers, so writers load cursors. Then every read locks its cursor by the
    /// lock bit: that read-modify-write is the one that [`Cursor::revalidate`] of a writer about to
    /// sleep pairs with, and [`latest`](super::queue::Queue::latest) locks the cursor of another
    /// reader.
    const GATED: bool = false;

    /// The right to write the next value.
    type Permit<'k>: WritePermit<T>
    where
        Self: 'k;

    /// Reserves the next position at the first attempt, if no other writer is active and there
    /// certainly is room. `None` says only that [`reserve`](Self::reserve) must decide.
    ///
    /// This and [`try_read`](Self::try_read) are the cost of a value. Everything rarer is in
    /// [`reserve`](Self::reserve) and [`read`](Self::read), which the path of a single value calls
    /// from `#[cold]` functions only.
    fn try_reserve(&self) -> Option<Self::Permit<'_>>;

    /// Reserves the next position. Waits for other writers that are active, never for room.
    /// `slowest` returns the position of the slowest reader.
    ///
    /// # Errors
    ///
    /// [`ReserveError::Closed`] once the record closes, also during the wait, and
    /// [`ReserveError::Full`] for a queue without room.
    fn reserve(&self, slowest: impl FnOnce() -> u64) -> Result<Self::Permit<'_>, ReserveError>;

    /// Locks a cursor for reading. A reader that has the cursor to itself needs no lock bit unless
    /// the kind is [`GATED`](Self::GATED).
    #[inline(always)]
    fn lock<'c>(&self, cursor: &'c Cursor, access: Access) -> CursorGuard<'c> {
        if access == Access::Exclusive && !Self::GATED {
            cursor.lock_unshared()
        } else {
            cursor.lock()
        }
    }

    /// Reads the next value, if it is present and no other thread has it. `false` leaves the
    /// cursor, `out` and the buffer unchanged, and says only that [`read`](Self::read) must decide.
    fn try_read<P: Receive<T>>(
        &self,
        guard: &mut CursorGuard<'_>,
        out: &mut ReadResult<'_, T, P>,
    ) -> bool;

    /// Whether a reader at `next` finds nothing, at the first look: there is no value for it, and the
    /// record is open. `false` says only that [`read`](Self::read) must decide.
    fn is_dry(&self, next: u64) -> bool;

    /// Reads the next value that is still present. The cursor counts the values lost before it.
    /// Waits for threads that have the slot of that value, never for a value.
    fn read<P: Receive<T>>(
        &self,
        guard: &mut CursorGuard<'_>,
        out: &mut ReadResult<'_, T, P>,
    ) -> ReadOutcome;

    /// Whether a reader at `next` that found nothing, and has registered its waker, may sleep.
    /// Otherwise there is a value by now, or a writer is active, or the record is closed, and the
    /// reader must retry.
    ///
    /// A writer that adds a value afterwards sees everything that the caller wrote before.
    fn may_sleep(&self, next: u64) -> bool;

    /// Whether the reader of `cursor` has values to read, for a task that waits until the record is
    /// drained and has registered its waker. `None` if an active reader or writer may change the
    /// answer, so that the task must retry.
    ///
    /// A reader that changes the answer afterwards sees everything that the caller wrote before.
    /// The default revalidates the reader's cursor, the word that its next read changes. A reader
    /// that does not lock it ([`lock`](Self::lock)) is the task that waits.
    fn has_unread(&self, cursor: &Cursor) -> Option<bool> {
        // The position is current, because a read-modify-write read it. A head that is outdated
        // does no harm: an open record is not drained, and for a closed one the task retries.
        Some(self.readable(cursor.revalidate()?) > 0)
    }

    /// The position of a new reader that begins at `start`. Without one it begins as its kind does.
    fn start(&self, start: Option<Start>) -> u64;

    /// Accepts no more values, except those of writers that have their permit. Waits for such a
    /// writer, never for a reader, whose `Clone` may take long. When this returns, every accepted
    /// value is visible. A second call changes nothing.
    fn close(&self);
}

/// The right to write one value. Dropped, it is unused. While it exists, no other writer of the
/// record is active, so it exists for a few instructions, and across no user code but the closure of
/// a writer that asked for [`Producer::produce_with`](crate::Producer::produce_with).
pub(super) trait WritePermit<T> {
    /// The number of the value that this permit writes among those that the record accepts, from one.
    fn number(&self) -> u64;

    /// Stores the value that `make` returns, publishes it, and ends the permit. Infallible, because
    /// the permit is the proof that the value fits. If `make` panics, the permit is dropped unused.
    fn write(self, make: impl FnOnce() -> T) -> Written<T>;
}

/// The result of a write.
pub(super) struct Written<T> {
    /// The value that was pushed out, for the writer to drop once it holds no lock.
    pub(super) evicted: Option<T>,
    /// The number of values accepted so far, this one included. The buffer notes the time of the
    /// newest value by it.
    pub(super) produced: u64,
}

/// Why no permit was given. The value is still with the caller.
#[derive(Clone, Copy)]
pub(super) enum ReserveError {
    /// The queue's slowest reader has not received a value that is `capacity` positions before.
    /// Temporary.
    Full,
    /// The record accepts no more values. Final.
    Closed,
}

impl ReserveError {
    /// The refusal of a writer, with the value that it offered.
    #[inline]
    pub(super) fn refuse<T>(self, value: T) -> TryProduceError<T> {
        match self {
            Self::Full => TryProduceError::Full(value),
            Self::Closed => TryProduceError::Closed(value),
        }
    }
}

/// The place where a read puts its value.
///
/// A read is generic over it, so that a value is stored once, where its reader wants it: between
/// the access to a slot and the return of the read lies an atomic store, and over that no compiler
/// joins two copies to one. See DESIGN.md, "Values move in place".
pub(super) trait Receive<T> {
    /// The reader wants to look at the value where it is, also if it may have it.
    const BY_REFERENCE: bool = false;

    /// Receives a value that stays in the buffer. May panic, as it runs user code.
    fn receive_ref(&mut self, value: &T);

    /// Receives a value that leaves the buffer.
    fn receive(&mut self, value: T);
}

/// The place of a read that may fall short of the likely path.
impl<T: Clone> Receive<T> for Option<T> {
    #[inline(always)]
    fn receive_ref(&mut self, value: &T) {
        *self = Some(value.clone());
    }

    #[inline(always)]
    fn receive(&mut self, value: T) {
        *self = Some(value);
    }
}

/// The return value of a read that does not wait.
impl<T: Clone, E> Receive<T> for Result<T, E> {
    #[inline(always)]
    fn receive_ref(&mut self, value: &T) {
        *self = Ok(value.clone());
    }

    #[inline(always)]
    fn receive(&mut self, value: T) {
        *self = Ok(value);
    }
}

/// The return value of a read that waits.
impl<T: Clone, E> Receive<T> for Poll<Result<T, E>> {
    #[inline(always)]
    fn receive_ref(&mut self, value: &T) {
        *self = Poll::Ready(Ok(value.clone()));
    }

    #[inline(always)]
    fn receive(&mut self, value: T) {
        *self = Poll::Ready(Ok(value));
    }
}

/// The place of a reader that wants no value and only advances past it: nothing is cloned. A value
/// that leaves the buffer is here, for the reader to drop once it holds no lock.
pub(super) struct Discard<T>(pub(super) Option<T>);

impl<T> Receive<T> for Discard<T> {
    fn receive_ref(&mut self, _value: &T) {}

    fn receive(&mut self, value: T) {
        self.0 = Some(value);
    }
}

/// The place of a reader that reads by reference: it calls `look` with the value where it is.
pub(super) struct Look<F, O> {
    /// The closure, until it was called.
    pub(super) look: Option<F>,
    /// What it returned.
    pub(super) seen: Option<O>,
}

impl<T, O, F: FnOnce(&T) -> O> Receive<T> for Look<F, O> {
    const BY_REFERENCE: bool = true;

    #[inline]
    fn receive_ref(&mut self, value: &T) {
        if let Some(look) = self.look.take() {
            self.seen = Some(look(value));
        }
    }

    fn receive(&mut self, value: T) {
        self.receive_ref(&value);
    }
}

/// The result of a read.
pub(super) struct ReadResult<'p, T, P> {
    /// The index of the value within this read, counted from one. The caller sets it. The first
    /// value of a read also says that the reader has finished with those of the read before.
    pub(super) nth: u64,
    /// The place of the value: unchanged if there is none.
    pub(super) place: &'p mut P,
    /// The number that the buffer gave the value. A mailbox numbers its commands from one, for their
    /// [return](super::mailbox::Mailbox::give_back); in the other kinds it is zero, because the
    /// position of the cursor numbers them.
    pub(super) number: u64,
    /// An original that the reader drops once it holds no lock: the last two readers of a queue
    /// cloned it at the same time, or its only reader looked at it where it was.
    pub(super) evicted: Option<T>,
}

impl<'p, T, P> ReadResult<'p, T, P> {
    /// An empty result, for the `nth` value of a read.
    #[inline(always)]
    pub(super) const fn nth(nth: u64, place: &'p mut P) -> Self {
        Self { nth, place, number: 0, evicted: None }
    }
}

/// Gives the claimed value to the reader and leaves it in its slot. The claim must be on a full
/// slot.
///
/// User code that panics drops the claim on the way out: the slot is as before, and the cursor has
/// not advanced.
#[inline(always)]
pub(super) fn read_in_slot<T, P: Receive<T>>(
    mut claim: Claim<'_, T>,
    guard: &mut CursorGuard<'_>,
    out: &mut ReadResult<'_, T, P>,
) {
    if let Some(value) = claim.value() {
        out.place.receive_ref(value);
    }
    // After the `Clone`: a value whose `Clone` panicked was not received.
    claim.mark_read();
    guard.advance(out.nth);
    // Before the claim is dropped, which lets a writer overwrite the value: for a measurement the
    // value would be lost and not received.
    guard.publish();
}

/// How a read ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// A value is in the [`ReadResult`], and the cursor has advanced.
    Value,
    /// There is no value yet, and the record was open.
    Empty,
    /// The record is closed and drained for this reader: no value will follow, except a command
    /// that [returns](super::mailbox::Mailbox::give_back) to a mailbox.
    Closed,
}

/// The index of a position in a ring. Where the capacity is a power of two it is a mask, because a
/// division costs as much as the rest of a read.
#[derive(Clone, Copy)]
pub(super) struct RingIndex {
    /// The number of slots, not zero: the graph refuses a capacity of zero before any buffer is
    /// made.
    capacity: u64,
    /// `capacity - 1`; all ones if the capacity is no power of two. No power of two that fits has
    /// that mask.
    mask: u64,
}

impl RingIndex {
    /// The index for this many slots.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity as u64;
        Self { capacity, mask: if capacity.is_power_of_two() { capacity - 1 } else { u64::MAX } }
    }

    /// The number of slots, as a number of positions.
    #[inline(always)]
    pub(super) const fn capacity(self) -> u64 {
        self.capacity
    }

    /// The index of the slot of `position`: less than the capacity.
    #[inline(always)]
    pub(super) const fn of(self, position: u64) -> usize {
        if self.mask == u64::MAX {
            (position % self.capacity) as usize
        } else {
            (position & self.mask) as usize
        }
    }
}

/// A buffer asked for more memory than the allocator has. The builder reports it as a finding of
/// the record, instead of an abort of the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoMemory {
    /// The size of the slots together.
    pub(crate) bytes: usize,
}

/// Allocates the slots of a buffer as one block, when the record is built. Values need no further
/// allocation.
///
/// # Errors
///
/// [`NoMemory`] if the allocator refuses the block, or its size overflows.
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
