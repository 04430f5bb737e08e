//! `SingleLatest`: the current value. Writers never wait for the progress of a reader; readers skip
//! to the newest value.
//!
//! One [`Slot`] whose state counts the values. Writers and readers claim it whatever it holds: the
//! newest value is the next one for every reader. The value with the number `n` (counted from one)
//! has the position `n - 1`.
//!
//! # Writing
//!
//! A writer claims the slot, asks the [gate](super::gate), replaces the value, and releases the
//! slot. The claim is the lock of the record: writers take turns, and a writer waits for a reader's
//! `Clone` of the current value. The count in the slot's word is the head, so no other word changes
//! for a value, except `overwritten`.
//!
//! # Reading
//!
//! A reader whose position equals the head has received the current value. Otherwise it claims the
//! slot, clones the value, and moves to the head. Positions between its own and the newest one
//! count as lag. The value stays in the slot for the other readers.
//!
//! A new reader starts one position before the head, so that it receives the current value at once.
//!
//! # Closing
//!
//! The closer marks the gate, waits until no writer has the slot, and marks the gate again. The
//! current value stays: a reader that has not received it receives it, and then the close.
//!
//! # Invariants
//!
//! - The slot is empty only before the first value.
//! - The gate is open or refusing, never paused: a reader here needs one claim and cannot lose a
//!   race for a position.

use super::cursor::{CursorGuard, increase};
use super::gate::WriteGate;
use super::kind::{
    BufferState, Kind, ReadOutcome, ReadResult, Receive, ReserveError, WritePermit, Written,
    read_in_slot,
};
use super::slot::{Claim, Slot};
use super::start::Start;
use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The storage of a latest record.
pub(super) struct Latest<T> {
    /// The current value. On a cache line of its own, because every write and every read changes
    /// its word.
    slot: CachePadded<Slot<T>>,
    /// Closes the record.
    gate: WriteGate,
    /// The number of values that were replaced before any reader received them. Changed under a
    /// claim to write.
    overwritten: AtomicU64,
}

impl<T: Clone> Latest<T> {
    /// An empty latest record.
    pub(super) fn new() -> Self {
        Self {
            slot: CachePadded::new(Slot::new()),
            gate: WriteGate::new(),
            overwritten: AtomicU64::new(0),
        }
    }

    /// The number of values accepted: the position after the current value.
    #[inline]
    fn head(&self) -> u64 {
        self.slot.load().written()
    }

    /// A clone of the newest value and its number, from one; `None` before the first one. Waits for
    /// another claim of the slot.
    pub(super) fn latest(&self) -> Option<(u64, T)> {
        self.slot.claim_any().numbered()
    }
}

/// The right to write the next value. Dropped, it releases the slot as it was.
pub(super) struct LatestPermit<'l, T> {
    /// The record, for its count of overwritten values.
    latest: &'l Latest<T>,
    /// The claim on the slot, with the old value still in it.
    claim: Claim<'l, T>,
}

impl<T> WritePermit<T> for LatestPermit<'_, T> {
    fn number(&self) -> u64 {
        self.claim.state().written() + 1
    }

    #[inline(always)]
    fn write(self, make: impl FnOnce() -> T) -> Written<T> {
        let Self { latest, mut claim } = self;
        // The claim still shows the flags of the old value; `replace` clears them.
        let unread = claim.state().is_full() && !claim.state().is_read();
        let produced = claim.state().written() + 1;
        let evicted = claim.replace(make, produced);
        // The claim makes this thread the only one that changes the count.
        if unread {
            increase(&latest.overwritten, 1);
        }
        Written { evicted, produced }
    }
}

impl<T: Clone> BufferState for Latest<T> {
    /// The slot counts the values.
    fn produced(&self) -> u64 {
        self.head()
    }

    fn overwritten(&self) -> u64 {
        // `Relaxed`: a count.
        self.overwritten.load(Relaxed)
    }

    /// One from the first value on: the current value is held, whether it was read or not.
    fn depth(&self, _slowest: Option<u64>) -> usize {
        usize::from(self.head() > 0)
    }

    /// At most one.
    fn readable(&self, next: u64) -> u64 {
        u64::from(next < self.head())
    }

    /// The positions between the reader and the newest value.
    fn missed(&self, next: u64) -> u64 {
        self.head().saturating_sub(1).saturating_sub(next)
    }

    #[inline]
    fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }
}

impl<T: Clone> Kind<T> for Latest<T> {
    type Permit<'k>
        = LatestPermit<'k, T>
    where
        Self: 'k;

    /// Fails also while a reader clones the current value.
    #[inline(always)]
    fn try_reserve(&self) -> Option<LatestPermit<'_, T>> {
        let claim = self.slot.try_claim_to_write()?;
        if self.gate.is_open() { Some(LatestPermit { latest: self, claim }) } else { None }
    }

    /// Waits for the claims of other threads. A gate that is not open refuses writers here, because
    /// no reader of a latest record pauses it. Never [`ReserveError::Full`].
    fn reserve(&self, _slowest: impl FnOnce() -> u64) -> Result<LatestPermit<'_, T>, ReserveError> {
        match self.slot.claim_any_to_write(|| self.gate.is_refusing()) {
            Some(claim) if self.gate.is_open() => Ok(LatestPermit { latest: self, claim }),
            _ => Err(ReserveError::Closed),
        }
    }

    /// `false` if the reader has the current value, lags, or finds the slot claimed.
    #[inline(always)]
    fn try_read<P: Receive<T>>(
        &self,
        guard: &mut CursorGuard<'_>,
        out: &mut ReadResult<'_, T, P>,
    ) -> bool {
        let state = self.slot.load();
        if !state.is_available(guard.next() + 1) {
            return false;
        }
        // The claim expects the state just checked, so no newer value can be in the slot.
        let Some(claim) = self.slot.claim(state) else { return false };
        read_in_slot(claim, guard, out);
        true
    }

    /// The mark is loaded after the slot, as in a ring.
    #[inline(always)]
    fn is_dry(&self, next: u64) -> bool {
        self.head() <= next && !self.is_closed()
    }

    /// Clones the current value and counts the skipped positions as lag before the `Clone`.
    fn read<P: Receive<T>>(
        &self,
        guard: &mut CursorGuard<'_>,
        out: &mut ReadResult<'_, T, P>,
    ) -> ReadOutcome {
        let next = guard.next();
        if self.head() <= next {
            // No value is written after the close: a head loaded after that is the last one.
            if !self.is_closed() {
                return ReadOutcome::Empty;
            }
            if self.head() <= next {
                return ReadOutcome::Closed;
            }
        }
        let claim = self.slot.claim_any();
        // A writer may have replaced the value since the look at the head. The claim shows the
        // newest one, and its count is greater than `next` in any case.
        let missed = claim.state().written() - 1 - next;
        if missed > 0 {
            guard.skip_lagged(missed);
        }
        read_in_slot(claim, guard, out);
        ReadOutcome::Value
    }

    /// The slot's word is the one that every writer changes.
    fn may_sleep(&self, next: u64) -> bool {
        self.slot.revalidate().is_some_and(|state| state.written() <= next) && !self.is_closed()
    }

    /// Before the current value, so that a new reader receives it at once, unless it asks for the next one.
    fn start(&self, start: Option<Start>) -> u64 {
        self.head().saturating_sub(start.map_or(1, Start::values).min(1))
    }

    /// Waits for a writer that has the slot, not for a reader's `Clone`.
    fn close(&self) {
        self.gate.close(|| self.slot.load_seq_cst().is_being_written());
    }
}
