//! `SingleLatest`: the current value. Writers never wait for the progress of a reader; readers skip to the newest value.
//!
//! One [`Slot`] whose state counts the values. Writers and readers claim it whatever it holds: the newest value is the next
//! one for every reader.

use super::cursor::{CursorGuard, increase};
use super::gate::WriteGate;
use super::kind::{
    BufferState, Kind, ReadOutcome, ReadResult, ReserveError, WritePermit, Written, read_clone,
};
use super::slot::{Claim, Slot};
use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The storage of a latest record.
pub(super) struct Latest<T> {
    slot: CachePadded<Slot<T>>,
    gate: WriteGate,
    /// Changed under a claim to write.
    overwritten: AtomicU64,
}

impl<T: Clone> Latest<T> {
    pub(super) fn new() -> Self {
        Self {
            slot: CachePadded::new(Slot::new()),
            gate: WriteGate::new(),
            overwritten: AtomicU64::new(0),
        }
    }

    #[inline]
    fn head(&self) -> u64 {
        self.slot.load().written()
    }

    /// A clone of the newest value.
    pub(super) fn latest(&self) -> Option<T> {
        self.slot.claim_any().value().cloned()
    }
}

/// The right to write the next value.
pub(super) struct LatestPermit<'l, T> {
    latest: &'l Latest<T>,
    claim: Claim<'l, T>,
}

impl<T> WritePermit<T> for LatestPermit<'_, T> {
    #[inline(always)]
    fn write(self, value: T) -> Written<T> {
        let Self { latest, mut claim } = self;
        let unread = claim.state().is_full() && !claim.state().is_read();
        let produced = claim.state().written() + 1;
        if unread {
            increase(&latest.overwritten, 1);
        }
        Written { evicted: claim.replace(value, produced), produced }
    }
}

impl<T: Clone> BufferState for Latest<T> {
    fn produced(&self) -> u64 {
        self.head()
    }

    fn overwritten(&self) -> u64 {
        // `Relaxed`: a count.
        self.overwritten.load(Relaxed)
    }

    fn depth(&self, _slowest: Option<u64>) -> usize {
        usize::from(self.head() > 0)
    }

    fn readable(&self, next: u64) -> u64 {
        u64::from(next < self.head())
    }

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

    #[inline(always)]
    fn try_reserve(&self) -> Option<LatestPermit<'_, T>> {
        let claim = self.slot.try_claim_to_write()?;
        if self.gate.is_open() { Some(LatestPermit { latest: self, claim }) } else { None }
    }

    fn reserve(&self, _slowest: impl FnOnce() -> u64) -> Result<LatestPermit<'_, T>, ReserveError> {
        match self.slot.claim_any_to_write(|| self.gate.is_refusing()) {
            Some(claim) if self.gate.is_open() => Ok(LatestPermit { latest: self, claim }),
            _ => Err(ReserveError::Closed),
        }
    }

    #[inline(always)]
    fn try_read(&self, guard: &mut CursorGuard<'_>, out: &mut ReadResult<T>) -> bool {
        let state = self.slot.load();
        if !state.is_available(guard.next() + 1) {
            return false;
        }
        let Some(claim) = self.slot.claim(state) else { return false };
        read_clone(claim, guard, out);
        true
    }

    fn read(&self, guard: &mut CursorGuard<'_>, out: &mut ReadResult<T>) -> ReadOutcome {
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
        let missed = claim.state().written() - 1 - next;
        if missed > 0 {
            guard.skip_lagged(missed);
        }
        read_clone(claim, guard, out);
        ReadOutcome::Value
    }

    fn may_sleep(&self, next: u64) -> bool {
        self.slot.revalidate().is_some_and(|state| state.written() <= next) && !self.is_closed()
    }

    /// Before the current value, so that a new reader receives it at once.
    fn start(&self) -> u64 {
        self.head().saturating_sub(1)
    }

    fn close(&self) {
        self.gate.close(|| self.slot.load_seq_cst().is_being_written());
    }
}
