//! Where one reader stands, for itself, for writers that must not pass it, and for whoever measures.
//!
//! The word of a cursor is the position its reader wants next, and a bit that a reader holds while it reads. Several
//! threads may share one cursor; the bit makes them take turns. Everything else in here is written by whoever has the
//! turn, so plain stores do; it is atomic because metrics look at it from outside.

use crate::sync::Arc;

use crate::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    fence,
};
use crate::sync::{Padded, Spin};

/// A reader has its turn.
const HELD: u64 = 1;
/// Several numbers are changing; whoever measures waits a moment.
const MARKED: u64 = 2;
const ONE: u64 = 4;

pub(super) struct Cursor {
    pub(super) name: Arc<str>,
    /// The graph made this reader: what it leaves behind is reported.
    pub(super) of_stage: bool,
    /// Several threads wait through this cursor, so a value left over must wake the next of them.
    shared: AtomicBool,
    /// What it takes is counted by whom it is handed to.
    hands_on: AtomicBool,
    place: Padded<Place>,
}

struct Place {
    /// The position wanted next, above the bit [`HELD`].
    word: AtomicU64,
    /// Positions that did not give a value: where it began, and what it had to skip. The others were delivered, so
    /// that delivering counts nothing but the position.
    passed: AtomicU64,
    lagged: AtomicU64,
    /// Values handed out by the last read and not yet followed by another one.
    in_hand: AtomicU64,
}

/// A cursor's numbers at one moment, consistent in themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) next: u64,
    pub(super) lagged: u64,
    pub(super) delivered: u64,
    pub(super) in_hand: u64,
}

impl Cursor {
    pub(super) fn new(name: Arc<str>, of_stage: bool, next: u64) -> Self {
        Self {
            name,
            of_stage,
            shared: AtomicBool::new(false),
            hands_on: AtomicBool::new(false),
            place: Padded::new(Place {
                word: AtomicU64::new(next * ONE),
                passed: AtomicU64::new(next),
                lagged: AtomicU64::new(0),
                in_hand: AtomicU64::new(0),
            }),
        }
    }

    pub(super) fn share(&self) {
        self.shared.store(true, Relaxed);
    }

    pub(super) fn is_shared(&self) -> bool {
        self.shared.load(Relaxed)
    }

    pub(super) fn hand_on(&self) {
        self.hands_on.store(true, Relaxed);
    }

    pub(super) fn hands_on(&self) -> bool {
        self.hands_on.load(Relaxed)
    }

    /// The position wanted next. The reader may be on its way past it; everything before it, it has done with.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        self.place.word.load(Acquire) / ONE
    }

    /// [`next`](Self::next), nothing older, and with the caller's earlier writes visible to the reader's next step.
    /// `None` while the reader is under way.
    pub(super) fn settled(&self) -> Option<u64> {
        let word = self.place.word.load(Relaxed);
        let current = word & HELD == 0
            && self.place.word.compare_exchange(word, word, AcqRel, Relaxed).is_ok();
        current.then_some(word / ONE)
    }

    /// Takes the turn to read.
    #[inline(always)]
    pub(super) fn hold(&self) -> Held<'_> {
        match self.try_hold() {
            Some(held) => held,
            None => self.hold_in_turn(),
        }
    }

    #[inline(always)]
    fn try_hold(&self) -> Option<Held<'_>> {
        let place = &*self.place;
        let word = place.word.load(Relaxed);
        let held = word & HELD == 0
            && place.word.compare_exchange(word, word | HELD, AcqRel, Relaxed).is_ok();
        if held { Some(Held { place, next: word / ONE }) } else { None }
    }

    #[cold]
    fn hold_in_turn(&self) -> Held<'_> {
        let mut spin = Spin::new();
        loop {
            if let Some(held) = self.try_hold() {
                return held;
            }
            spin.wait();
        }
    }

    /// [`hold`](Self::hold) for the only reader of a cursor whose buffer does not look at cursors: nobody else would
    /// take the turn, so it need not be marked as taken.
    #[inline(always)]
    pub(super) fn hold_alone(&self) -> Held<'_> {
        Held { place: &self.place, next: self.place.word.load(Relaxed) / ONE }
    }

    /// Its numbers, without disturbing the reader: looks again until nothing moved in between.
    pub(super) fn standing(&self) -> Standing {
        let place = &*self.place;
        let mut spin = Spin::new();
        loop {
            let word = place.word.load(Acquire);
            let next = word / ONE;
            let standing = Standing {
                next,
                lagged: place.lagged.load(Relaxed),
                delivered: next.saturating_sub(place.passed.load(Relaxed)),
                in_hand: place.in_hand.load(Relaxed),
            };
            fence(Acquire);
            let after = place.word.load(Relaxed);
            if (word | after) & MARKED == 0 && after / ONE == next {
                return standing;
            }
            spin.wait();
        }
    }
}

/// The turn to read through a cursor. Where it got to becomes visible when it is dropped.
pub(super) struct Held<'c> {
    place: &'c Place,
    next: u64,
}

impl Held<'_> {
    #[inline(always)]
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether the last read gave a value.
    #[inline(always)]
    pub(super) fn has_hand(&self) -> bool {
        self.place.in_hand.load(Relaxed) != 0
    }

    /// What was handed out before has been dealt with: its reader came back for more.
    #[inline(always)]
    pub(super) fn empty_hand(&mut self) {
        if self.place.in_hand.load(Relaxed) != 0 {
            self.place.in_hand.store(0, Relaxed);
        }
    }

    /// The `nth` value is handed out by this read.
    #[inline(always)]
    pub(super) fn deliver(&mut self, nth: u64) {
        self.next += 1;
        self.place.in_hand.store(nth, Relaxed);
    }

    /// Goes over values that its reader gives up.
    pub(super) fn pass(&mut self, left: u64) {
        self.mark();
        self.next += left;
        add(&self.place.passed, left);
    }

    /// Goes over values that are lost.
    pub(super) fn skip(&mut self, missed: u64) {
        self.pass(missed);
        self.charge(missed);
    }

    /// Counts values that are lost without going anywhere.
    pub(super) fn charge(&mut self, missed: u64) {
        self.mark();
        add(&self.place.lagged, missed);
    }

    /// Several numbers are about to change: whoever [looks](Cursor::standing) waits until the turn is over.
    fn mark(&mut self) {
        let word = self.place.word.load(Relaxed);
        self.place.word.store(word | MARKED, Relaxed);
        fence(Release);
    }
}

/// For a counter that one thread at a time writes.
#[inline(always)]
pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed) + more, Relaxed);
}

impl Drop for Held<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.place.word.store(self.next * ONE, Release);
    }
}
