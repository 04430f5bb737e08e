//! A place for one value, with a word that says what is in it and who may touch it.
//!
//! The word is the whole protocol. It holds how many values have been written here so far and three bits:
//!
//! ```text
//!             claim (compare-and-swap)                     drop of the Claim (store)
//!   word ────────────────────────────────▶ word | BUSY ────────────────────────────────▶ word, as the claim left it
//! ```
//!
//! Whoever makes the step to `BUSY` has the value alone until the claim is dropped, panics included, so the value needs
//! no other lock: a writer replaces it, a reader clones it, a taker moves it out. A claim is short (one value is moved,
//! or cloned for a reader); whoever finds a slot busy waits with [`Spin`](crate::sync::Spin) or goes away.
//!
//! Orderings: the claim acquires what the claim before it released. A word that is only [looked](Slot::look) at is
//! loaded with acquire too, because readers go on to other fields from it. [`Slot::second_look`] is a read-modify-write
//! for those about to sleep; the [module](super) says why.
#![allow(
    unsafe_code,
    reason = "the value is guarded by the word beside it, which the borrow checker cannot see"
)]

use core::mem::MaybeUninit;

use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::sync::{Spin, UnsafeCell, raise};

const BUSY: u64 = 1;
const READ: u64 = 1 << 1;
const FULL: u64 = 1 << 2;
const ONE: u64 = 1 << 3;

/// What a slot says of itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

impl Word {
    /// In a ring: one more than the position of the value here. In a slot by itself: how many values there have been.
    #[inline(always)]
    pub(super) const fn written(self) -> u64 {
        self.0 / ONE
    }

    /// Nobody has claimed the slot, and what is in it is the `written`th value (nothing, if that is zero).
    #[inline(always)]
    pub(super) const fn offers(self, written: u64) -> bool {
        let full = if written == 0 { 0 } else { FULL };
        self.0 & !READ == (written * ONE) | full
    }

    /// Somebody has the value to themselves.
    #[inline(always)]
    pub(super) const fn is_busy(self) -> bool {
        self.0 & BUSY != 0
    }

    /// There is a value.
    #[inline(always)]
    pub(super) const fn is_full(self) -> bool {
        self.0 & FULL != 0
    }

    /// Some reader has had the value.
    #[inline(always)]
    pub(super) const fn is_read(self) -> bool {
        self.0 & READ != 0
    }
}

pub(super) struct Slot<T> {
    word: AtomicU64,
    /// Holds a value if and only if the word is `FULL`; touched by the owner of the claim alone.
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a slot owns its value like a `Mutex` does.
unsafe impl<T: Send> Send for Slot<T> {}
// SAFETY: through a shared slot the value is reached by a `Claim` alone, and there is one at a time: the
// compare-and-swap to `BUSY` succeeds for one thread, and the next one acquires what this one released. So the value
// moves between threads (`Send`) but is never used by two at once.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    #[inline(always)]
    pub(super) fn look(&self) -> Word {
        Word(self.word.load(Acquire))
    }

    /// The word as it is now, nothing older, with the looker's earlier writes visible to whoever changes it next. `None`
    /// if somebody is busy with the slot.
    pub(super) fn second_look(&self) -> Option<Word> {
        let word = self.look();
        let current =
            !word.is_busy() && self.word.compare_exchange(word.0, word.0, AcqRel, Relaxed).is_ok();
        current.then_some(word)
    }

    /// Takes the value for oneself, if the word still is what was `seen`.
    #[inline(always)]
    pub(super) fn claim(&self, seen: Word) -> Option<Claim<'_, T>> {
        debug_assert!(!seen.is_busy(), "a busy slot is somebody else's");
        match self.word.compare_exchange(seen.0, seen.0 | BUSY, AcqRel, Relaxed) {
            Ok(_) => Some(Claim { slot: self, word: seen }),
            Err(_) => None,
        }
    }
}

impl<T> Slot<T> {
    /// Takes the value for oneself, whatever it is, if nobody else has it.
    #[inline(always)]
    pub(super) fn try_claim(&self) -> Option<Claim<'_, T>> {
        let word = self.look();
        if word.is_busy() { None } else { self.claim(word) }
    }

    /// Takes the value for oneself, whatever it is, once nobody else has it.
    pub(super) fn claim_any(&self) -> Claim<'_, T> {
        let mut spin = Spin::new();
        loop {
            // One read-modify-write rather than a look and a compare-and-swap: against a writer that never pauses the
            // second would hardly ever find what the first had seen.
            let word = Word(raise(&self.word, BUSY));
            if !word.is_busy() {
                return Claim { slot: self, word };
            }
            spin.wait();
        }
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        if Word(self.word.load(Relaxed)).is_full() {
            // SAFETY: full, so there is a value; `&mut self`, so nobody else uses it.
            self.value.with_mut(|value| unsafe { (*value).assume_init_drop() });
        }
    }
}

/// The sole access to a slot's value. What it did becomes visible when it is dropped.
pub(super) struct Claim<'s, T> {
    slot: &'s Slot<T>,
    /// What the word will be.
    word: Word,
}

impl<T> Claim<'_, T> {
    #[inline(always)]
    pub(super) fn value(&self) -> Option<&T> {
        if !self.word.is_full() {
            return None;
        }
        // SAFETY: full, so there is a value; this claim is the only access to it, and hands it out for as long as it
        // is itself borrowed.
        Some(self.slot.value.with(|value| unsafe { (*value).assume_init_ref() }))
    }

    /// Puts a value in, the `written`th, and gives back the one that was there.
    #[inline(always)]
    pub(super) fn put(&mut self, value: T, written: u64) -> Option<T> {
        let old = self.take();
        // SAFETY: this claim is the only access; the slot is empty, so nothing is overwritten without being dropped.
        self.slot.value.with_mut(|slot| unsafe { (*slot).write(value) });
        self.word = Word((written * ONE) | FULL);
        old
    }

    /// Moves the value out.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<T> {
        if !self.word.is_full() {
            return None;
        }
        self.word.0 &= !FULL;
        // SAFETY: full, so there is a value; this claim is the only access; no longer full, so nobody reads it again.
        Some(self.slot.value.with(|value| unsafe { (*value).assume_init_read() }))
    }

    /// What the word will be.
    #[inline(always)]
    pub(super) fn word(&self) -> Word {
        self.word
    }

    #[inline(always)]
    pub(super) fn mark_read(&mut self) {
        self.word.0 |= READ;
    }
}

impl<T> Drop for Claim<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.slot.word.store(self.word.0, Release);
    }
}
