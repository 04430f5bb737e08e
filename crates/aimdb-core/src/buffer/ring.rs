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
//! never pauses it could lose that race for ever. After a few lost races it therefore [pauses](WriteGate::pause) the
//! writers until it has claimed its slot. The pause ends before the `Clone`: from then on the claim keeps writers away.

use alloc::boxed::Box;

use super::cursor::{Held, add};
use super::gate::{Pause, WriteGate};
use super::kind::{Kind, Lap, NoMemory, Outlet, Pushed, Refused, Taken, Turn, deliver, places};
use super::slot::{Claim, Slot, Word};
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::{Padded, Spin};

/// Races against writers that a reader loses before it makes them wait. The models explore the pause from the first.
const PATIENCE: u32 = if cfg!(aimdb_loom) { 0 } else { 3 };

pub(super) struct Ring<T> {
    slots: Box<[Slot<T>]>,
    lap: Lap,
    /// Every writer asks it under its claim.
    gate: WriteGate,
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
            gate: WriteGate::new(),
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
            && let Some(claim) = slot.claim_to_write(Word::of(one_lap_before, true))
        {
            return Some(RingTurn { ring: self, claim, head });
        }
        let word = slot.look();
        if !word.offers(one_lap_before) {
            return None;
        }
        let claim = slot.claim_to_write(word)?;
        Some(RingTurn { ring: self, claim, head })
    }

    /// Becomes the writer of the next position once its slot is free and the gate is open. `None` if the ring refuses
    /// writers first, whether or not a reader still has the slot.
    fn claim_head(&self) -> Option<RingTurn<'_, T>> {
        let mut spin = Spin::new();
        while !self.gate.refuses() {
            if self.gate.is_paused() {
                spin.wait();
                continue;
            }
            match self.try_claim_head() {
                Some(turn) if self.gate.is_open() => return Some(turn),
                _ => spin.wait(),
            }
        }
        None
    }

    /// Whether a writer has the slot of the next position, or has just written there and not moved `head` yet.
    fn is_being_written(&self) -> bool {
        let head = self.head();
        let word = self.slot(head).look_in_order();
        word.is_being_written() || word.written() > head
    }

    /// Claims the value at `position`, if it is there and nobody else has it.
    #[inline(always)]
    fn try_claim(&self, position: u64) -> Option<Claim<'_, T>> {
        let slot = self.slot(position);
        let word = slot.look();
        if word.offers(position + 1) { slot.claim(word) } else { None }
    }

    /// The newest value, not consumed.
    pub(super) fn latest(&self) -> Option<T> {
        // Whatever is in the slot of the newest by the time it can be had is no older.
        self.slot(self.settled().checked_sub(1)?).claim_any().value().cloned()
    }
}

/// How often writers have overtaken a reader in one read, and the pause it then asks for.
struct Overtaken<'r> {
    gate: &'r WriteGate,
    times: u32,
    pause: Option<Pause<'r>>,
}

impl Overtaken<'_> {
    fn once_more(&mut self, lap: Lap) {
        self.times += 1;
        // After a pause has begun the reader sees at once what came before, and one writer may have asked the gate
        // already: two more lost races at most. (In a ring of one. In a longer one an old `head` may also bring the
        // reader to a slot that is lost already.)
        #[cfg(aimdb_loom)]
        assert!(lap.capacity() > 1 || self.times <= PATIENCE + 3, "the pause holds no writer back");
        let _ = lap;
        if self.times > PATIENCE && self.pause.is_none() {
            self.pause = Some(self.gate.pause());
        }
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
        if self.gate.is_open() { Some(turn) } else { None }
    }

    fn turn(&self, _slowest: impl FnOnce() -> u64) -> Result<RingTurn<'_, T>, Refused> {
        self.claim_head().ok_or(Refused::Closed)
    }

    #[inline(always)]
    fn try_read(&self, held: &mut Held<'_>, out: &mut Outlet<T>) -> bool {
        let next = held.next();
        // Where there was a value there is likely another, which nobody has read yet: as in `try_claim_head`.
        let likely = Word::of(next + 1, false);
        let likely = if held.has_hand() { self.slot(next).claim(likely) } else { None };
        let Some(claim) = likely.or_else(|| self.try_claim(next)) else { return false };
        deliver(claim, held, out);
        true
    }

    fn read(&self, held: &mut Held<'_>, out: &mut Outlet<T>) -> Taken {
        let mut overtaken = Overtaken { gate: &self.gate, times: 0, pause: None };
        let mut spin = Spin::new();
        loop {
            let next = held.next();
            if let Some(claim) = self.try_claim(next) {
                // Ends the pause before the `Clone`.
                drop(overtaken);
                deliver(claim, held, out);
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
                held.skip(self.settled().max(written) - self.lap.capacity() - next);
                overtaken.once_more(self.lap);
            }
        }
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
        self.gate.close(|| self.is_being_written());
    }

    #[inline]
    fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }
}
