//! `Mailbox`: one pending command, newest wins, each taken once.
//!
//! One [`Slot`] whose word counts the commands. Whoever takes the pending one answers for those it replaced.

use super::cursor::{Cursor, Held, add};
use super::gate::WriteGate;
use super::kind::{Kind, Outlet, Pushed, Refused, Taken, Turn};
use super::slot::{Claim, Slot};
use crate::sync::Padded;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub(super) struct Mailbox<T> {
    pending: Padded<Slot<T>>,
    gate: WriteGate,
    /// Changed under a claim of the slot, like the one below.
    overwritten: AtomicU64,
    /// Commands replaced since one was taken.
    replaced: AtomicU64,
}

impl<T: Clone> Mailbox<T> {
    pub(super) fn new() -> Self {
        Self {
            pending: Padded::new(Slot::new()),
            gate: WriteGate::new(),
            overwritten: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
        }
    }

    /// Puts the `written`th command back, which was taken and not handed out. If a newer one has come since, whether or
    /// not it is still pending, that replaces it, and it comes out again.
    pub(super) fn give_back(&self, value: T, written: u64) -> Option<T> {
        let mut claim = self.pending.claim_any();
        if claim.word().written() != written {
            add(&self.overwritten, 1);
            add(&self.replaced, 1);
            return Some(value);
        }
        claim.put(value, written)
    }

    /// The pending command, not taken.
    pub(super) fn latest(&self) -> Option<T> {
        self.pending.claim_any().value().cloned()
    }
}

pub(super) struct MailboxTurn<'m, T> {
    mailbox: &'m Mailbox<T>,
    claim: Claim<'m, T>,
}

impl<T> Turn<T> for MailboxTurn<'_, T> {
    #[inline(always)]
    fn write(self, value: T) -> Pushed<T> {
        let Self { mailbox, mut claim } = self;
        let produced = claim.word().written() + 1;
        if claim.word().is_full() {
            add(&mailbox.overwritten, 1);
            add(&mailbox.replaced, 1);
        }
        Pushed { evicted: claim.put(value, produced), produced }
    }
}

impl<T: Clone> Kind<T> for Mailbox<T> {
    type Turn<'k>
        = MailboxTurn<'k, T>
    where
        Self: 'k;

    #[inline(always)]
    fn try_turn(&self) -> Option<MailboxTurn<'_, T>> {
        let claim = self.pending.try_claim_to_write()?;
        if self.gate.is_open() { Some(MailboxTurn { mailbox: self, claim }) } else { None }
    }

    fn turn(&self, _slowest: impl FnOnce() -> u64) -> Result<MailboxTurn<'_, T>, Refused> {
        match self.pending.claim_any_to_write(|| self.gate.refuses()) {
            Some(claim) if self.gate.is_open() => Ok(MailboxTurn { mailbox: self, claim }),
            _ => Err(Refused::Closed),
        }
    }

    #[inline(always)]
    fn try_read(&self, held: &mut Held<'_>, out: &mut Outlet<T>) -> bool {
        if !self.pending.look().is_full() {
            return false;
        }
        let Some(mut claim) = self.pending.try_claim() else { return false };
        if self.replaced.load(Relaxed) > 0 {
            return false;
        }
        out.value = claim.take();
        if out.value.is_some() {
            held.deliver(out.nth);
        }
        out.value.is_some()
    }

    fn read(&self, held: &mut Held<'_>, out: &mut Outlet<T>) -> Taken {
        let mut claim = loop {
            if !self.pending.look().is_full() {
                // Nothing is written once it is closed: what is not pending after that never will be.
                if !self.is_closed() {
                    return Taken::Empty;
                }
                if !self.pending.look().is_full() {
                    return Taken::Closed;
                }
            }
            let claim = self.pending.claim_any();
            if claim.word().is_full() {
                break claim;
            }
            // Another taker was faster.
        };
        let missed = self.replaced.load(Relaxed);
        if missed > 0 {
            self.replaced.store(0, Relaxed);
            held.charge(missed);
        }
        out.number = claim.word().written();
        out.value = claim.take();
        held.deliver(out.nth);
        Taken::Value
    }

    fn may_sleep(&self, _next: u64) -> bool {
        self.pending.second_look().is_some_and(|word| !word.is_full()) && !self.is_closed()
    }

    fn has_unread(&self, _cursor: &Cursor) -> Option<bool> {
        // Any taker changes the answer, so the word of its cursor says nothing.
        Some(self.pending.second_look()?.is_full())
    }

    /// Positions mean nothing here: whoever comes takes what is pending.
    fn start(&self) -> u64 {
        0
    }

    fn missed(&self, _next: u64) -> u64 {
        0
    }

    fn readable(&self, _next: u64) -> u64 {
        u64::from(self.pending.look().is_full())
    }

    fn depth(&self, _slowest: Option<u64>) -> usize {
        usize::from(self.pending.look().is_full())
    }

    fn produced(&self) -> u64 {
        self.pending.look().written()
    }

    fn overwritten(&self) -> u64 {
        self.overwritten.load(Relaxed)
    }

    fn close(&self) {
        self.gate.close(|| self.pending.look_in_order().is_being_written());
    }

    #[inline]
    fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }
}
