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
/// Several numbers are changing. A mark lasts for a few stores, never for user code, so a measurer waits for its end.
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
    /// The part of `lagged` that events have reported, or that reads without events have passed over.
    told: AtomicU64,
    /// Not zero while a value that was read is in the reader's stash, behind the lag that was reported before it: the
    /// number that its buffer gave it.
    stashed: AtomicU64,
    /// Its reader has done with everything before this position: it came back for more. From here to the word's
    /// position values are in its hand. A position rather than a count: a measurer that sees one of the two stores and
    /// not yet the other counts no value twice.
    done: AtomicU64,
}

/// A cursor's numbers at one moment, consistent in themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) next: u64,
    pub(super) lagged: u64,
    pub(super) delivered: u64,
    pub(super) in_hand: u64,
    /// Read and not handed out yet: the value behind a reported lag.
    pub(super) stashed: u64,
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
                told: AtomicU64::new(0),
                stashed: AtomicU64::new(0),
                done: AtomicU64::new(next),
            }),
        }
    }

    pub(super) fn share(&self) {
        self.shared.store(true, Relaxed);
    }

    pub(super) fn is_shared(&self) -> bool {
        self.shared.load(Relaxed)
    }

    /// Its only reader has done with what was handed out, without a further read.
    pub(super) fn finish(&self) {
        self.place.done.store(self.next(), Relaxed);
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

    /// Whether a reader has its turn at this moment.
    pub(super) fn is_held(&self) -> bool {
        self.place.word.load(Relaxed) & HELD != 0
    }

    /// Takes the turn to read.
    #[inline(always)]
    pub(super) fn hold(&self) -> Held<'_> {
        match self.try_hold() {
            Some(held) => held,
            None => self.hold_in_turn(),
        }
    }

    /// [`hold`](Self::hold), if no other reader has its turn.
    #[inline(always)]
    pub(super) fn try_hold(&self) -> Option<Held<'_>> {
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
            let stashed = u64::from(place.stashed.load(Relaxed) != 0);
            let standing = Standing {
                next,
                lagged: place.lagged.load(Relaxed),
                delivered: next.saturating_sub(place.passed.load(Relaxed) + stashed),
                in_hand: next.saturating_sub(place.done.load(Relaxed)),
                stashed,
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
        self.place.done.load(Relaxed) != self.next
    }

    /// Its reader has done with the values handed out before: it came back for more.
    #[inline(always)]
    pub(super) fn empty_hand(&mut self) {
        if self.has_hand() {
            self.place.done.store(self.next, Relaxed);
        }
    }

    /// The `nth` value is handed out by this read.
    #[inline(always)]
    pub(super) fn deliver(&mut self, nth: u64) {
        if nth == 1 {
            self.place.done.store(self.next, Relaxed);
        }
        self.next += 1;
    }

    /// Goes over values that its reader gives up.
    pub(super) fn pass(&mut self, left: u64) {
        self.go_over(left, 0);
    }

    /// Goes over values that are lost.
    pub(super) fn skip(&mut self, missed: u64) {
        self.go_over(missed, missed);
    }

    /// Counts values that are lost without going anywhere.
    pub(super) fn charge(&mut self, missed: u64) {
        self.go_over(0, missed);
    }

    /// Moves on by `left` positions that give no value and counts `missed`, as one change to
    /// [measurers](Cursor::standing). The change is complete here and not at the end of the turn, because the turn may
    /// go on with a `Clone`.
    fn go_over(&mut self, left: u64, missed: u64) {
        self.change(|place, next| {
            *next += left;
            add(&place.passed, left);
            add(&place.done, left);
            add(&place.lagged, missed);
        });
    }

    /// The value of the last read is not handed out yet.
    pub(super) fn stash_one(&mut self, number: u64) {
        self.change(|place, next| {
            place.done.store(*next, Relaxed);
            place.stashed.store(number, Relaxed);
        });
    }

    /// The value in the stash is handed out; or, with `lost`, it is not and never will be. Gives its number.
    pub(super) fn unstash_one(&mut self, lost: bool) -> u64 {
        let number = self.place.stashed.load(Relaxed);
        self.change(|place, next| {
            place.stashed.store(0, Relaxed);
            if lost {
                add(&place.passed, 1);
            } else {
                place.done.store(*next - 1, Relaxed);
            }
        });
        number
    }

    /// Changes several numbers at once, as a measurer sees it.
    fn change(&mut self, change: impl FnOnce(&Place, &mut u64)) {
        let place = self.place;
        let held = place.word.load(Relaxed) & HELD;
        // Not visible before it is over: the position of the last read, too.
        place.word.store(place.word.load(Relaxed) | MARKED, Relaxed);
        // Pairs with the `Acquire` fence in `standing`: a measurer that sees one of the stores below sees the mark.
        fence(Release);
        change(place, &mut self.next);
        // Pairs with the `Acquire` load of the word in `standing`.
        place.word.store((self.next * ONE) | held, Release);
    }

    /// The lost values that no event has reported. They count as reported from now on.
    pub(super) fn take_untold(&mut self) -> u64 {
        let lagged = self.place.lagged.load(Relaxed);
        let untold = lagged - self.place.told.load(Relaxed);
        if untold > 0 {
            self.place.told.store(lagged, Relaxed);
        }
        untold
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
