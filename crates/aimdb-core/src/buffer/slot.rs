//! A place for one value, with a word that says what is in it and who may touch it.
//!
//! The word is the whole protocol. It holds how many values have been written here so far and four bits:
//!
//! ```text
//!             claim (compare-and-swap)                                 drop of the Claim (store)
//!   word ──────────────────────────────▶ word | BUSY (| WRITING) ──────────────────────────────▶ word, as the claim left it
//! ```
//!
//! The thread that makes the step to `BUSY` has the value alone until it drops the claim, panics included, so the value
//! needs no other lock: a writer replaces it, a reader clones it, a taker moves it out. A writer's claim is also
//! `WRITING`. Such a claim runs no user code, so another thread may wait for its end; a reader's claim lasts for a
//! `Clone`, so closing and measuring never wait for it.
//!
//! Orderings: a claim acquires what the claim before it released. [`Slot::look`] loads with acquire because readers go
//! on to other fields from the word. [`Slot::second_look`] is a read-modify-write for a task that is about to sleep; the
//! [module](super) says why. A writer's claim is sequentially consistent for the [`WriteGate`](super::gate::WriteGate).
#![allow(
    unsafe_code,
    reason = "the value is guarded by the word beside it, which the borrow checker cannot see"
)]

use core::mem::MaybeUninit;

use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};
use crate::sync::{Spin, UnsafeCell, seq_cst_for_loom};

const BUSY: u64 = 1;
const READ: u64 = 1 << 1;
const FULL: u64 = 1 << 2;
const WRITING: u64 = 1 << 3;
const ONE: u64 = 1 << 4;

/// What a slot says of itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

impl Word {
    /// The word of a slot with the `written`th value, free, and `read` by somebody or not.
    #[inline(always)]
    pub(super) const fn of(written: u64, read: bool) -> Self {
        Self((written * ONE) | FULL | if read { READ } else { 0 })
    }

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

    /// A writer has the slot.
    pub(super) const fn is_being_written(self) -> bool {
        self.0 & WRITING != 0
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

    /// The word for [`WriteGate::close`](super::gate::WriteGate::close): no older than any claim to write that came
    /// before this load in the order of all sequentially consistent operations.
    pub(super) fn look_in_order(&self) -> Word {
        seq_cst_for_loom();
        Word(self.word.load(SeqCst))
    }

    /// Claims the slot for reading, if the word still is `seen`.
    #[inline(always)]
    pub(super) fn claim(&self, seen: Word) -> Option<Claim<'_, T>> {
        debug_assert!(!seen.is_busy(), "another claim has a busy slot");
        match self.word.compare_exchange(seen.0, seen.0 | BUSY, AcqRel, Relaxed) {
            Ok(_) => Some(Claim { slot: self, word: seen }),
            Err(_) => None,
        }
    }

    /// Claims the slot for writing, if the word still is `seen`.
    ///
    /// Sequentially consistent: together with the load in `WriteGate::is_open` it pairs with the read-modify-write and
    /// the load in `WriteGate::close`.
    #[inline(always)]
    pub(super) fn claim_to_write(&self, seen: Word) -> Option<Claim<'_, T>> {
        debug_assert!(!seen.is_busy(), "another claim has a busy slot");
        match self.word.compare_exchange(seen.0, seen.0 | BUSY | WRITING, SeqCst, Relaxed) {
            Ok(_) => Some(Claim { slot: self, word: seen }),
            Err(_) => None,
        }
    }

    /// Claims the slot for reading, whatever it holds, if it is free.
    #[inline(always)]
    pub(super) fn try_claim(&self) -> Option<Claim<'_, T>> {
        let word = self.look();
        if word.is_busy() { None } else { self.claim(word) }
    }

    /// Claims the slot for writing, whatever it holds, if it is free.
    #[inline(always)]
    pub(super) fn try_claim_to_write(&self) -> Option<Claim<'_, T>> {
        let word = self.look();
        if word.is_busy() { None } else { self.claim_to_write(word) }
    }

    /// Claims the slot for reading, whatever it holds, as soon as it is free.
    pub(super) fn claim_any(&self) -> Claim<'_, T> {
        let mut spin = Spin::new();
        let mut word = self.look();
        loop {
            if word.is_busy() {
                spin.wait();
                word = self.look();
                continue;
            }
            // The failed attempt brings the word as it is now, and the cache line with it, so the next attempt follows at
            // once: after another load a writer that never pauses would hardly ever have left the word alone.
            match self.word.compare_exchange(word.0, word.0 | BUSY, AcqRel, Relaxed) {
                Ok(_) => return Claim { slot: self, word },
                Err(current) => word = Word(current),
            }
        }
    }

    /// Claims the slot for writing, whatever it holds, as soon as it is free. `None` if `is_in_vain` says so first.
    pub(super) fn claim_any_to_write(&self, is_in_vain: impl Fn() -> bool) -> Option<Claim<'_, T>> {
        let mut spin = Spin::new();
        loop {
            if let Some(claim) = self.try_claim_to_write() {
                return Some(claim);
            }
            if is_in_vain() {
                return None;
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
        Some(self.slot.value.with_mut(|value| unsafe { (*value).assume_init_read() }))
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
