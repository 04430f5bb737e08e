//! `Mailbox`: one pending command. The newest replaces an older one; one taker receives it.
//!
//! One [`Slot`] whose state counts the commands. The taker of the pending command counts those that it replaced as lagged.

use super::cursor::{Cursor, CursorGuard, increase};
use super::gate::WriteGate;
use super::kind::{BufferState, Kind, ReadOutcome, ReadResult, ReserveError, WritePermit, Written};
use super::slot::{Claim, Slot};
use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The storage of a mailbox.
pub(super) struct Mailbox<T> {
    pending: CachePadded<Slot<T>>,
    gate: WriteGate,
    /// Changed under a claim of the slot, as the next one.
    overwritten: AtomicU64,
    /// Commands replaced since one was taken.
    replaced: AtomicU64,
}

impl<T: Clone> Mailbox<T> {
    pub(super) fn new() -> Self {
        Self {
            pending: CachePadded::new(Slot::new()),
            gate: WriteGate::new(),
            overwritten: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
        }
    }

    /// Returns the `written`th command, which a taker took and did not receive. If a newer command was accepted since,
    /// pending or not, that one replaces it, and this returns the older one for the caller to drop.
    pub(super) fn give_back(&self, value: T, written: u64) -> Option<T> {
        let mut claim = self.pending.claim_any();
        if claim.state().written() != written {
            increase(&self.overwritten, 1);
            increase(&self.replaced, 1);
            return Some(value);
        }
        claim.replace(value, written)
    }

    /// A clone of the pending command.
    pub(super) fn latest(&self) -> Option<T> {
        self.pending.claim_any().value().cloned()
    }
}

/// The right to write the next command.
pub(super) struct MailboxPermit<'m, T> {
    mailbox: &'m Mailbox<T>,
    claim: Claim<'m, T>,
}

impl<T> WritePermit<T> for MailboxPermit<'_, T> {
    #[inline(always)]
    fn write(self, value: T) -> Written<T> {
        let Self { mailbox, mut claim } = self;
        let produced = claim.state().written() + 1;
        if claim.state().is_full() {
            increase(&mailbox.overwritten, 1);
            increase(&mailbox.replaced, 1);
        }
        Written { evicted: claim.replace(value, produced), produced }
    }
}

/// Positions have no meaning in a mailbox: each taker takes the pending command.
impl<T: Clone> BufferState for Mailbox<T> {
    fn produced(&self) -> u64 {
        self.pending.load().written()
    }

    fn overwritten(&self) -> u64 {
        // `Relaxed`: a count.
        self.overwritten.load(Relaxed)
    }

    fn depth(&self, _slowest: Option<u64>) -> usize {
        usize::from(self.pending.load().is_full())
    }

    fn readable(&self, _next: u64) -> u64 {
        u64::from(self.pending.load().is_full())
    }

    fn missed(&self, _next: u64) -> u64 {
        0
    }

    #[inline]
    fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }
}

impl<T: Clone> Kind<T> for Mailbox<T> {
    type Permit<'k>
        = MailboxPermit<'k, T>
    where
        Self: 'k;

    #[inline(always)]
    fn try_reserve(&self) -> Option<MailboxPermit<'_, T>> {
        let claim = self.pending.try_claim_to_write()?;
        if self.gate.is_open() { Some(MailboxPermit { mailbox: self, claim }) } else { None }
    }

    fn reserve(
        &self,
        _slowest: impl FnOnce() -> u64,
    ) -> Result<MailboxPermit<'_, T>, ReserveError> {
        match self.pending.claim_any_to_write(|| self.gate.is_refusing()) {
            Some(claim) if self.gate.is_open() => Ok(MailboxPermit { mailbox: self, claim }),
            _ => Err(ReserveError::Closed),
        }
    }

    #[inline(always)]
    fn try_read(&self, guard: &mut CursorGuard<'_>, out: &mut ReadResult<T>) -> bool {
        if !self.pending.load().is_full() {
            return false;
        }
        let Some(mut claim) = self.pending.try_claim() else { return false };
        // `Relaxed`: the claim orders it.
        if self.replaced.load(Relaxed) > 0 {
            return false;
        }
        out.value = claim.take();
        if out.value.is_some() {
            guard.advance(out.nth);
        }
        out.value.is_some()
    }

    fn read(&self, guard: &mut CursorGuard<'_>, out: &mut ReadResult<T>) -> ReadOutcome {
        let mut claim = loop {
            if !self.pending.load().is_full() {
                // No command is written after the close: if none is pending after that, none will be.
                if !self.is_closed() {
                    return ReadOutcome::Empty;
                }
                if !self.pending.load().is_full() {
                    return ReadOutcome::Closed;
                }
            }
            let claim = self.pending.claim_any();
            if claim.state().is_full() {
                break claim;
            }
            // Another taker was faster.
        };
        // `Relaxed`, both: the claim orders them.
        let missed = self.replaced.load(Relaxed);
        if missed > 0 {
            self.replaced.store(0, Relaxed);
            guard.count_lagged(missed);
        }
        out.number = claim.state().written();
        out.value = claim.take();
        guard.advance(out.nth);
        ReadOutcome::Value
    }

    fn may_sleep(&self, _next: u64) -> bool {
        self.pending.revalidate().is_some_and(|state| !state.is_full()) && !self.is_closed()
    }

    fn has_unread(&self, _cursor: &Cursor) -> Option<bool> {
        // Any taker changes the answer, so the word of one cursor says nothing.
        Some(self.pending.revalidate()?.is_full())
    }

    fn start(&self) -> u64 {
        0
    }

    fn close(&self) {
        self.gate.close(|| self.pending.load_seq_cst().is_being_written());
    }
}
