//! `SpmcRing`: the last `capacity` values. Writers never wait for a reader to go on; a reader that falls behind skips
//! the lost ones.
//!
//! The value at position `p` lives in slot `p % capacity`, whose word then says `p + 1` written. So a slot tells a
//! reader by itself whether its value is there (`p + 1`), not yet there (less) or lost (more), and readers need nothing
//! that writers keep changing.
//!
//! # Writing
//!
//! `head` is the position to be written next. A writer claims the slot of `head`, provided that it still holds what was
//! written one lap before; that claim makes it *the* writer, because words only grow: nobody else can claim the same
//! slot for the same position. It puts its value in, lets the slot go, and moves `head`.
//!
//! # Reading
//!
//! A reader claims the slot of its own position, clones, and lets go. A writer that comes to that very slot meanwhile,
//! a lap later, waits: for one `Clone`, and for as long as the system keeps the reading thread off its processor. That
//! is all a reader can cost a writer.
//!
//! # Being overtaken
//!
//! A reader that lost its place goes to the oldest value, which is the next to be overwritten: against a writer that
//! never pauses it could lose that race for ever. After a few attempts it therefore makes the writers wait at
//! [`Ring::pause`] for the length of one read.

use alloc::boxed::Box;

use super::cursor::{Held, add};
use super::kind::{Kind, Lap, NoMemory, Outlet, Pushed, Refused, Taken, Turn, places};
use super::slot::{Claim, Slot, Word};
use crate::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::{Lock, Padded, Spin};

/// Races against writers that a reader loses before it makes them wait.
const PATIENCE: u32 = 3;

/// Bits of [`Ring::flags`].
const CLOSED: usize = 1;
const PAUSED: usize = 2;

pub(super) struct Ring<T> {
    slots: Box<[Slot<T>]>,
    lap: Lap,
    /// Read by every writer under its claim.
    flags: AtomicUsize,
    /// Held by a reader while writers have to wait for it.
    pause: Lock<()>,
    written: Padded<Written>,
}

/// What writers change, one after the other.
struct Written {
    head: AtomicU64,
    overwritten: AtomicU64,
}

impl<T: Clone> Ring<T> {
    pub(super) fn new(capacity: usize) -> Result<Self, NoMemory> {
        Ok(Self {
            slots: places(capacity, Slot::new)?,
            lap: Lap::of(capacity),
            flags: AtomicUsize::new(0),
            pause: Lock::new(()),
            written: Padded::new(Written {
                head: AtomicU64::new(0),
                overwritten: AtomicU64::new(0),
            }),
        })
    }

    #[inline(always)]
    fn slot(&self, position: u64) -> &Slot<T> {
        &self.slots[self.lap.index(position)]
    }

    #[inline(always)]
    fn head(&self) -> u64 {
        self.written.head.load(Acquire)
    }

    /// The position after the newest value that a reader may have had: `head`, or one more, as its writer moves it last.
    fn settled(&self) -> u64 {
        let head = self.head();
        self.slot(head).look().written().max(head)
    }

    /// The oldest position still held.
    fn base(&self) -> u64 {
        self.settled().saturating_sub(self.lap.capacity())
    }

    /// Becomes the writer of the next position, whatever the flags say, at the first attempt.
    #[inline(always)]
    fn try_claim_head(&self) -> Option<RingTurn<'_, T>> {
        let head = self.head();
        let slot = self.slot(head);
        let one_lap_before = (head + 1).saturating_sub(self.lap.capacity());
        // Claiming what is most likely there spares a look, for which the cache line would have to come twice.
        if one_lap_before > 0
            && let Some(claim) = slot.claim(Word::of(one_lap_before, true))
        {
            return Some(RingTurn { ring: self, claim, head });
        }
        let word = slot.look();
        if !word.offers(one_lap_before) {
            return None;
        }
        let claim = slot.claim(word)?;
        Some(RingTurn { ring: self, claim, head })
    }

    fn claim_head(&self) -> RingTurn<'_, T> {
        let mut spin = Spin::new();
        loop {
            if let Some(turn) = self.try_claim_head() {
                return turn;
            }
            spin.wait();
        }
    }

    /// Claims the value at `position`, if it is there and nobody else has it.
    #[inline(always)]
    fn try_claim(&self, position: u64) -> Option<Claim<'_, T>> {
        let slot = self.slot(position);
        let word = slot.look();
        if word.offers(position + 1) { slot.claim(word) } else { None }
    }

    /// A read that makes the writers wait after they overtook it `patience` times.
    fn attempt(
        &self,
        held: &mut Held<'_>,
        tell_lag: bool,
        mut patience: u32,
        out: &mut Outlet<T>,
    ) -> Taken {
        let mut spin = Spin::new();
        loop {
            let next = held.next();
            if self.try_read(held, out) {
                return Taken::Value;
            }
            let slot = self.slot(next);
            let written = slot.look().written();
            if written == next + 1 {
                spin.wait();
            } else if written <= next {
                if !self.is_closed() {
                    return Taken::Empty;
                }
                // Nothing is written once it is closed, so what is not there now never will be.
                if slot.look().written() <= next {
                    return Taken::Closed;
                }
            } else {
                let missed = self.settled().max(written) - self.lap.capacity() - next;
                held.skip(missed);
                if tell_lag {
                    return Taken::Lagged(missed);
                }
                if patience == 0 {
                    return self.read_undisturbed(held, out);
                }
                patience -= 1;
            }
        }
    }

    /// A read that no writer overtakes.
    fn read_undisturbed(&self, held: &mut Held<'_>, out: &mut Outlet<T>) -> Taken {
        struct Paused<'r>(&'r AtomicUsize);

        impl Drop for Paused<'_> {
            fn drop(&mut self) {
                self.0.fetch_and(!PAUSED, Relaxed);
            }
        }

        self.pause.with(|()| {
            self.flags.fetch_or(PAUSED, Relaxed);
            let _until_read = Paused(&self.flags);
            self.attempt(held, false, u32::MAX, out)
        })
    }

    /// The newest value, not consumed.
    pub(super) fn latest(&self) -> Option<T> {
        // Whatever is in the slot of the newest by the time it can be had is no older.
        self.slot(self.settled().checked_sub(1)?).claim_any().value().cloned()
    }
}

/// The writer of position `head`.
pub(super) struct RingTurn<'r, T> {
    ring: &'r Ring<T>,
    claim: Claim<'r, T>,
    head: u64,
}

impl<T> Turn<T> for RingTurn<'_, T> {
    #[inline(always)]
    fn write(self, value: T) -> Pushed<T> {
        let Self { ring, mut claim, head } = self;
        let unread = claim.word().is_full() && !claim.word().is_read();
        let evicted = claim.put(value, head + 1);
        if unread {
            add(&ring.written.overwritten, 1);
        }
        // Readers see the value from here on, the next writer its turn one line later.
        drop(claim);
        ring.written.head.store(head + 1, Release);
        Pushed { evicted, produced: head + 1 }
    }
}

impl<T: Clone> Kind<T> for Ring<T> {
    type Turn<'k>
        = RingTurn<'k, T>
    where
        Self: 'k;

    #[inline(always)]
    fn try_turn(&self) -> Option<RingTurn<'_, T>> {
        let turn = self.try_claim_head()?;
        if self.flags.load(Relaxed) == 0 { Some(turn) } else { None }
    }

    fn turn(&self, _slowest: impl FnOnce() -> u64) -> Result<RingTurn<'_, T>, Refused> {
        loop {
            let turn = self.claim_head();
            let flags = self.flags.load(Relaxed);
            if flags == 0 {
                return Ok(turn);
            }
            drop(turn);
            if flags & CLOSED != 0 {
                return Err(Refused::Closed);
            }
            self.pause.with(|()| {});
        }
    }

    #[inline(always)]
    fn try_read(&self, held: &mut Held<'_>, out: &mut Outlet<T>) -> bool {
        let next = held.next();
        // Where there was a value there is likely another, which nobody has read yet: as in `try_claim_head`.
        let likely = Word::of(next + 1, false);
        let likely = if held.has_hand() { self.slot(next).claim(likely) } else { None };
        let Some(mut claim) = likely.or_else(|| self.try_claim(next)) else { return false };
        out.value = claim.value().cloned();
        claim.mark_read();
        held.deliver(out.nth);
        true
    }

    fn read(&self, held: &mut Held<'_>, tell_lag: bool, out: &mut Outlet<T>) -> Taken {
        self.attempt(held, tell_lag, PATIENCE, out)
    }

    fn may_sleep(&self, next: u64) -> bool {
        self.slot(next).second_look().is_some_and(|word| word.written() <= next)
            && !self.is_closed()
    }

    /// A new reader sees what comes after it subscribed.
    fn start(&self) -> u64 {
        self.settled()
    }

    fn missed(&self, next: u64) -> u64 {
        self.base().saturating_sub(next)
    }

    fn readable(&self, next: u64) -> u64 {
        let head = self.settled();
        head.saturating_sub(next.max(head.saturating_sub(self.lap.capacity())))
    }

    fn depth(&self, _slowest: Option<u64>) -> usize {
        self.settled().min(self.lap.capacity()) as usize
    }

    fn produced(&self) -> u64 {
        self.settled()
    }

    fn overwritten(&self) -> u64 {
        self.written.overwritten.load(Relaxed)
    }

    fn close(&self) {
        let _nobody_writes = self.claim_head();
        self.flags.fetch_or(CLOSED, Release);
    }

    #[inline]
    fn is_closed(&self) -> bool {
        self.flags.load(Acquire) & CLOSED != 0
    }
}
