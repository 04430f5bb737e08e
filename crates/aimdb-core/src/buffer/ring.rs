//! `SpmcRing`: the last `capacity` values. Writers never wait for the progress of a reader. A
//! reader that falls behind skips the lost values.
//!
//! The value at position `p` is in slot `p % capacity`, whose state then counts `p + 1` written
//! values. So the slot itself shows a reader whether its value is present, and readers load no word
//! that every write changes:
//!
//! | the slot of position `p` counts | the value at `p` | a reader at `p` |
//! |---|---|---|
//! | at most `p` | is not written yet | has read everything |
//! | `p + 1` | is present | claims the slot and clones the value |
//! | more (at least `p + 1 + capacity`) | is overwritten | has lost it and lags |
//!
//! # Writing
//!
//! `head` is the position written next. A writer claims the slot of `head` if it still holds the
//! value written `capacity` positions before. That claim makes it the only writer: states only
//! grow, so no other writer can claim the same slot for the same position. The writer stores its
//! value, releases the slot, and increments `head`.
//!
//! ```text
//!   slot of head   count: head + 1 - capacity ──▶ claimed ──▶ count: head + 1
//!   head           ────────────────────────────────────────────────────────────▶ head + 1
//!   claims         any writer                    │ this writer alone            │ any writer
//! ```
//!
//! Between its two steps, the release of the slot and the store of `head`, the writer is still
//! alone: the slot of the old `head` counts too much for another claim, and no other writer knows
//! the new `head`. Everything in `WriterState` therefore has one writer at a time, without a lock.
//!
//! # Reading
//!
//! A reader claims the slot of its own position, clones the value, and releases the slot. A writer
//! that reaches the same slot meanwhile, `capacity` positions later, spins until the `Clone` has
//! returned, and for as long as the system suspends the reading thread. A reader causes no other
//! delay to a writer.
//!
//! # Lagging
//!
//! A reader that has lost its position moves to the oldest value, which is the next one to be
//! overwritten. Against a writer that never pauses it could lose that race again and again. After a
//! few lost races it therefore [pauses](WriteGate::pause) the writers until it has claimed its
//! slot. The pause ends before the `Clone`: from then on the claim keeps writers away.
//!
//! Every move is counted in the reader's cursor as lag before the next attempt, so the counts are
//! exact even if the `Clone` that follows panics.
//!
//! # Closing
//!
//! The closer marks the [gate](super::gate), waits for the writer that has the slot of `head`, and
//! marks the gate again. A slot that counts more than `head` shows the closer that its `head` is
//! outdated and that a writer may be active in a later slot, so the closer looks again. The closer
//! waits for no reader. Readers receive the values held, and then see the second mark.
//!
//! # Invariants
//!
//! - `head` never decreases, and lags behind the newest value by at most one, for the time between
//!   the two steps of a writer.
//! - The slot of position `p` counts `p + 1 - capacity` or `p + 1` while `head` is `p`; the first
//!   round starts from zero.
//! - A slot that was written is never empty again. Values leave a ring only by being overwritten,
//!   or with the ring.

use alloc::boxed::Box;

use super::cursor::{CursorGuard, increase};
use super::gate::{Pause, WriteGate};
use super::kind::{
    BufferState, Kind, NoMemory, ReadOutcome, ReadResult, Receive, ReserveError, RingIndex,
    WritePermit, Written, allocate_slots, read_in_slot,
};
use super::slot::{Claim, Slot, SlotState};
use super::start::Start;
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::{CachePadded, Spin};

/// Races against writers that a reader loses before it pauses them. The skip of values that were
/// lost before the read began counts as the first. The models explore the pause from the first
/// loss.
const LOSSES_BEFORE_PAUSE: u32 = if cfg!(aimdb_loom) { 0 } else { 3 };

/// The storage of a ring.
///
/// Readers access `slots` and `gate`; `writer` is on a cache line of its own, because every write
/// changes it.
pub(super) struct Ring<T> {
    /// One slot for each position modulo the capacity. Each is guarded by its own word.
    slots: Box<[Slot<T>]>,
    /// The index of a position in `slots`. Never changes.
    index: RingIndex,
    /// Closes the record, and pauses writers for a reader that loses its races.
    gate: WriteGate,
    /// The words that only the active writer changes.
    writer: CachePadded<WriterState>,
}

/// The words that writers change, one writer at a time: the one that has claimed the slot of `head`
/// and not incremented `head` yet. Other threads load them.
struct WriterState {
    /// The position written next. Stored last by a writer, so it may lag behind the newest value by
    /// one.
    head: AtomicU64,
    /// The number of values that were replaced before any reader received them.
    overwritten: AtomicU64,
}

impl<T: Clone> Ring<T> {
    /// An empty ring.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] if the allocator has no room for `capacity` slots.
    pub(super) fn new(capacity: usize) -> Result<Self, NoMemory> {
        Ok(Self {
            slots: allocate_slots(capacity, Slot::new)?,
            index: RingIndex::new(capacity),
            gate: WriteGate::new(),
            writer: CachePadded::new(WriterState {
                head: AtomicU64::new(0),
                overwritten: AtomicU64::new(0),
            }),
        })
    }

    /// The slot of a position, whichever value it holds by now.
    #[inline(always)]
    fn slot(&self, position: u64) -> &Slot<T> {
        &self.slots[self.index.of(position)]
    }

    /// The position written next, possibly outdated.
    #[inline(always)]
    fn head(&self) -> u64 {
        // Pairs with the `Release` store in `RingPermit::write`.
        self.writer.head.load(Acquire)
    }

    /// The position after the newest readable value: `head`, or one more, because a writer
    /// increments `head` last.
    ///
    /// Without the look at the slot, a new reader that subscribes between the two steps of a writer
    /// would start before a value that another reader may have received already.
    fn readable_head(&self) -> u64 {
        let head = self.head();
        self.slot(head).load().written().max(head)
    }

    /// The oldest position held, zero in the first round.
    fn oldest(&self) -> u64 {
        self.readable_head().saturating_sub(self.index.capacity())
    }

    /// Claims the slot of `head` for writing at the first attempt, without a look at the gate: the
    /// caller looks at it with the claim.
    ///
    /// `None` if another writer is active, a reader has claimed the slot for its `Clone`, or `head`
    /// was outdated. The caller cannot distinguish these cases and need not: it retries, or takes
    /// the slower path.
    #[inline(always)]
    fn try_claim_head(&self) -> Option<RingPermit<'_, T>> {
        let head = self.head();
        let slot = self.slot(head);
        let oldest = (head + 1).saturating_sub(self.index.capacity());
        // An attempt with the most likely state saves a load, for which the cache line would have
        // to be fetched twice.
        if oldest > 0
            && let Some(claim) = slot.claim_to_write(SlotState::full(oldest, true))
        {
            return Some(RingPermit { ring: self, claim, head });
        }
        let state = slot.load();
        // Claimed by a reader, or already written by a writer that was faster.
        if !state.is_available(oldest) {
            return None;
        }
        let claim = slot.claim_to_write(state)?;
        Some(RingPermit { ring: self, claim, head })
    }

    /// Claims the slot of `head` for writing once it is unclaimed and the gate is open. `None` once
    /// the gate refuses writers, whether or not a reader still has the slot.
    fn claim_head(&self) -> Option<RingPermit<'_, T>> {
        let mut spin = Spin::new();
        while !self.gate.is_refusing() {
            // A claim now would take the slot from the reader that pauses, only to be dropped
            // unused.
            if self.gate.is_paused() {
                spin.wait();
                continue;
            }
            match self.try_claim_head() {
                // The writer asks the gate while it has its claim. A permit that the gate refuses
                // is dropped here, which releases the slot unchanged.
                Some(permit) if self.gate.is_open() => return Some(permit),
                _ => spin.wait(),
            }
        }
        None
    }

    /// Whether a writer has the slot of `head`, or has just written there and not incremented
    /// `head` yet. For the closer, after its mark.
    ///
    /// An outdated `head` hides no writer: its slot counts more than `head`, and the closer asks
    /// again.
    fn is_being_written(&self) -> bool {
        let head = self.head();
        let state = self.slot(head).load_seq_cst();
        state.is_being_written() || state.written() > head
    }

    /// Claims the value at `position`, if it is present and no other thread has it.
    #[inline(always)]
    fn try_claim(&self, position: u64) -> Option<Claim<'_, T>> {
        // One load and one compare-and-swap on the same word; no other word of the ring is loaded
        // for a value.
        let slot = self.slot(position);
        let state = slot.load();
        if state.is_available(position + 1) { slot.claim(state) } else { None }
    }

    /// A clone of the newest value and its number, from one; `None` before the first one. Waits for
    /// a writer or another reader that has claimed the slot.
    pub(super) fn latest(&self) -> Option<(u64, T)> {
        // A value that replaces the newest one before the claim is newer.
        self.slot(self.readable_head().checked_sub(1)?).claim_any().numbered()
    }
}

/// The races that a reader has lost against writers within one read, and the pause that follows.
struct LostRaces<'r> {
    /// The gate of the ring.
    gate: &'r WriteGate,
    /// The number of times that the reader has moved to the oldest value.
    count: u32,
    /// Present from the first loss after [`LOSSES_BEFORE_PAUSE`] on. Its drop lets writers
    /// continue: once the reader has its claim, or when the read ends without a value.
    pause: Option<Pause<'r>>,
}

impl LostRaces<'_> {
    /// Counts one lost race, and pauses the writers after too many of them.
    fn add(&mut self, capacity: u64) {
        self.count += 1;
        // A pause shows the reader every earlier write, and one writer may have passed the gate
        // already: in a ring of one the reader loses two more races at most. In a longer ring an
        // outdated `head` may also lead it to a slot that is overwritten already.
        #[cfg(aimdb_loom)]
        assert!(
            capacity > 1 || self.count <= LOSSES_BEFORE_PAUSE + 3,
            "the pause holds no writer back"
        );
        let _ = capacity;
        // One pause for the whole read: it lasts until the reader has its claim.
        if self.count > LOSSES_BEFORE_PAUSE && self.pause.is_none() {
            self.pause = Some(self.gate.pause());
        }
    }
}

/// The right to write the value at position `head`. Dropped, it releases the slot as it was, and
/// `head` stays.
pub(super) struct RingPermit<'r, T> {
    /// The ring, for its `WriterState`: the permit is the right to change that too.
    ring: &'r Ring<T>,
    /// The claim on the slot of `head`, with the old value still in it.
    claim: Claim<'r, T>,
    /// The position that this permit writes. Current, because the claim succeeded.
    head: u64,
}

impl<T> RingPermit<'_, T> {
    /// The value that this permit replaces; `None` in the first round. A writer that changes it into
    /// its own value, instead of a [`write`](WritePermit::write), uses its memory again, and ends the
    /// permit with [`renewed`](Self::renewed).
    pub(super) fn replaced(&mut self) -> Option<&mut T> {
        self.claim.value_mut()
    }

    /// Publishes the value that was changed in its place, and ends the permit. Returns the number of
    /// values accepted so far.
    pub(super) fn renewed(self) -> u64 {
        let Self { ring, mut claim, head } = self;
        if !claim.state().is_read() {
            increase(&ring.writer.overwritten, 1);
        }
        claim.renewed(head + 1);
        // In the order of `write`.
        drop(claim);
        ring.writer.head.store(head + 1, Release);
        head + 1
    }
}

impl<T> WritePermit<T> for RingPermit<'_, T> {
    fn number(&self) -> u64 {
        self.head + 1
    }

    #[inline(always)]
    fn write(self, make: impl FnOnce() -> T) -> Written<T> {
        let Self { ring, mut claim, head } = self;
        // The claim still shows the flags of the old value; `replace` clears them.
        let unread = claim.state().is_full() && !claim.state().is_read();
        let evicted = claim.replace(make, head + 1);
        // Increased before the claim is dropped: from then on another writer may increase the
        // count.
        if unread {
            increase(&ring.writer.overwritten, 1);
        }
        // The drop shows readers the value; the store lets the next writer claim its slot.
        drop(claim);
        // Pairs with the `Acquire` load in `Ring::head`.
        ring.writer.head.store(head + 1, Release);
        Written { evicted, produced: head + 1 }
    }
}

impl<T: Clone> BufferState for Ring<T> {
    /// Every position before this one was accepted.
    fn produced(&self) -> u64 {
        self.readable_head()
    }

    fn overwritten(&self) -> u64 {
        // `Relaxed`: a count.
        self.writer.overwritten.load(Relaxed)
    }

    /// All of the last `capacity` values are held, whether they were read or not.
    fn depth(&self, _slowest: Option<u64>) -> usize {
        self.readable_head().min(self.index.capacity()) as usize
    }

    /// From the position of the reader, or from the oldest value if that is later.
    fn readable(&self, next: u64) -> u64 {
        let head = self.readable_head();
        head.saturating_sub(next.max(head.saturating_sub(self.index.capacity())))
    }

    /// The positions between the reader and the oldest value.
    fn missed(&self, next: u64) -> u64 {
        self.oldest().saturating_sub(next)
    }

    #[inline]
    fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }
}

impl<T: Clone> Kind<T> for Ring<T> {
    type Permit<'k>
        = RingPermit<'k, T>
    where
        Self: 'k;

    /// One compare-and-swap, and a load of the gate. `None` while the writers are paused or
    /// refused, too.
    #[inline(always)]
    fn try_reserve(&self) -> Option<RingPermit<'_, T>> {
        let permit = self.try_claim_head()?;
        if self.gate.is_open() { Some(permit) } else { None }
    }

    /// Waits for the active writer, for a `Clone` in the slot of `head`, and for a pause. Never
    /// [`ReserveError::Full`]: a ring overwrites.
    fn reserve(&self, _slowest: impl FnOnce() -> u64) -> Result<RingPermit<'_, T>, ReserveError> {
        self.claim_head().ok_or(ReserveError::Closed)
    }

    /// One compare-and-swap and the `Clone`. `false` if the reader lags, or there is no value, or
    /// the slot is claimed.
    #[inline(always)]
    fn try_read<P: Receive<T>>(
        &self,
        guard: &mut CursorGuard<'_>,
        out: &mut ReadResult<'_, T, P>,
    ) -> bool {
        let next = guard.next();
        // After a value the next one is likely present and unread: as in `try_claim_head`, the
        // attempt saves a load.
        let likely = SlotState::full(next + 1, false);
        let likely = if guard.is_in_progress() { self.slot(next).claim(likely) } else { None };
        let Some(claim) = likely.or_else(|| self.try_claim(next)) else { return false };
        read_in_slot(claim, guard, out);
        true
    }

    /// The mark is loaded after the slot: a record that is open then was open while the value was
    /// absent.
    #[inline(always)]
    fn is_dry(&self, next: u64) -> bool {
        self.slot(next).load().written() <= next && !self.is_closed()
    }

    /// Repeats four cases until one of them ends the read: the value is claimed here; the slot is
    /// claimed by another thread; the value is not written yet; or it is lost, and the reader moves
    /// to the oldest one.
    fn read<P: Receive<T>>(
        &self,
        guard: &mut CursorGuard<'_>,
        out: &mut ReadResult<'_, T, P>,
    ) -> ReadOutcome {
        let mut lost_races = LostRaces { gate: &self.gate, count: 0, pause: None };
        let mut spin = Spin::new();
        loop {
            let next = guard.next();
            if let Some(claim) = self.try_claim(next) {
                // Ends the pause before the `Clone`.
                drop(lost_races);
                read_in_slot(claim, guard, out);
                return ReadOutcome::Value;
            }
            let slot = self.slot(next);
            let written = slot.load().written();
            // Present, but claimed: by another reader of this position, or by a writer that
            // overwrites it.
            if written == next + 1 {
                spin.wait();
            } else if written <= next {
                if !self.is_closed() {
                    return ReadOutcome::Empty;
                }
                // No value is written after the close, so one that is absent now stays absent.
                if slot.load().written() <= next {
                    return ReadOutcome::Closed;
                }
            } else {
                // `head` may be older than the count of the slot. The count is at least
                // `next + 1 + capacity` here, so the reader moves by one position or more, and the
                // subtraction below does not overflow.
                let newest = self.readable_head().max(written);
                guard.skip_lagged(newest - self.index.capacity() - next);
                lost_races.add(self.index.capacity());
            }
        }
    }

    /// The slot of `next` is the word that the writer of the awaited value changes.
    fn may_sleep(&self, next: u64) -> bool {
        self.slot(next).revalidate().is_some_and(|state| state.written() <= next)
            && !self.is_closed()
    }

    /// After the newest value, unless the reader asks for values of the past.
    fn start(&self, start: Option<Start>) -> u64 {
        let past = start.map_or(0, Start::values).min(self.index.capacity());
        self.readable_head().saturating_sub(past)
    }

    fn close(&self) {
        self.gate.close(|| self.is_being_written());
    }
}
