//! `SingleLatest`: the current value. Writers never wait for a reader to go on; readers skip to the newest.
//!
//! One [`Slot`] whose word counts the values. Writers and readers claim it as it is, whatever it holds: the newest
//! value is the right one for everybody.

use super::cursor::{Held, add};
use super::gate::WriteGate;
use super::kind::{Kind, Outlet, Pushed, Refused, Taken, Turn, deliver};
use super::slot::{Claim, Slot};
use crate::sync::Padded;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub(super) struct Latest<T> {
    slot: Padded<Slot<T>>,
    gate: WriteGate,
    /// Changed under a claim to write.
    overwritten: AtomicU64,
}

impl<T: Clone> Latest<T> {
    pub(super) fn new() -> Self {
        Self {
            slot: Padded::new(Slot::new()),
            gate: WriteGate::new(),
            overwritten: AtomicU64::new(0),
        }
    }

    #[inline]
    fn head(&self) -> u64 {
        self.slot.look().written()
    }

    /// The newest value, not consumed.
    pub(super) fn latest(&self) -> Option<T> {
        self.slot.claim_any().value().cloned()
    }
}

pub(super) struct LatestTurn<'l, T> {
    latest: &'l Latest<T>,
    claim: Claim<'l, T>,
}

impl<T> Turn<T> for LatestTurn<'_, T> {
    #[inline(always)]
    fn write(self, value: T) -> Pushed<T> {
        let Self { latest, mut claim } = self;
        let unread = claim.word().is_full() && !claim.word().is_read();
        let produced = claim.word().written() + 1;
        if unread {
            add(&latest.overwritten, 1);
        }
        Pushed { evicted: claim.put(value, produced), produced }
    }
}

impl<T: Clone> Kind<T> for Latest<T> {
    type Turn<'k>
        = LatestTurn<'k, T>
    where
        Self: 'k;

    #[inline(always)]
    fn try_turn(&self) -> Option<LatestTurn<'_, T>> {
        let claim = self.slot.try_claim_to_write()?;
        if self.gate.is_open() { Some(LatestTurn { latest: self, claim }) } else { None }
    }

    fn turn(&self, _slowest: impl FnOnce() -> u64) -> Result<LatestTurn<'_, T>, Refused> {
        match self.slot.claim_any_to_write(|| self.gate.refuses()) {
            Some(claim) if self.gate.is_open() => Ok(LatestTurn { latest: self, claim }),
            _ => Err(Refused::Closed),
        }
    }

    #[inline(always)]
    fn try_read(&self, held: &mut Held<'_>, out: &mut Outlet<T>) -> bool {
        let word = self.slot.look();
        if !word.offers(held.next() + 1) {
            return false;
        }
        let Some(claim) = self.slot.claim(word) else { return false };
        deliver(claim, held, out);
        true
    }

    fn read(&self, held: &mut Held<'_>, out: &mut Outlet<T>) -> Taken {
        let next = held.next();
        if self.head() <= next {
            // Nothing is written once it is closed: a head seen after that is the last one.
            if !self.is_closed() {
                return Taken::Empty;
            }
            if self.head() <= next {
                return Taken::Closed;
            }
        }
        let claim = self.slot.claim_any();
        let missed = claim.word().written() - 1 - next;
        if missed > 0 {
            held.skip(missed);
        }
        deliver(claim, held, out);
        Taken::Value
    }

    fn may_sleep(&self, next: u64) -> bool {
        self.slot.second_look().is_some_and(|word| word.written() <= next) && !self.is_closed()
    }

    /// A new reader sees the current value at once.
    fn start(&self) -> u64 {
        self.head().saturating_sub(1)
    }

    fn missed(&self, next: u64) -> u64 {
        self.head().saturating_sub(1).saturating_sub(next)
    }

    fn readable(&self, next: u64) -> u64 {
        u64::from(next < self.head())
    }

    fn depth(&self, _slowest: Option<u64>) -> usize {
        usize::from(self.head() > 0)
    }

    fn produced(&self) -> u64 {
        self.head()
    }

    fn overwritten(&self) -> u64 {
        self.overwritten.load(Relaxed)
    }

    fn close(&self) {
        self.gate.close(|| self.slot.look_in_order().is_being_written());
    }

    #[inline]
    fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }
}
