//! Storage for one value, with an atomic word that says what the slot holds and who may access it.
//!
//! The word holds the number of values written to the slot so far and four bits:
//!
//! ```text
//!              claim (compare-and-swap)                               drop of the Claim (store)
//!   state ──────────────────────────────▶ state | BUSY (| WRITING) ──────────────────────────────▶ state, as the claim left it
//! ```
//!
//! The thread that sets `BUSY` has exclusive access to the value until it drops the [`Claim`], panics included, so the
//! value needs no other lock: a writer replaces it, a reader clones it, a taker moves it out. A writer's claim also sets
//! `WRITING`. Such a claim runs no user code, so another thread may spin until it ends. A reader's claim lasts for a
//! `Clone`, so closing and measuring never wait for it.
//!
//! # Orderings
//!
//! | operation | ordering | pairs with |
//! |---|---|---|
//! | [`Slot::claim`] | `AcqRel` | the `Release` store in the drop of the claim before: the value is visible |
//! | [`Slot::claim_to_write`] | `SeqCst` | the load in [`WriteGate::is_open`], against [`WriteGate::close`] |
//! | drop of a [`Claim`] | `Release` | the next claim, and the `Acquire` in [`Slot::load`] |
//! | [`Slot::load`] | `Acquire` | the drop of a claim: readers use other fields that its writer changed before |
//! | [`Slot::revalidate`] | `AcqRel` | a read-modify-write before a task sleeps; the [module](super) draws the race |
//! | [`Slot::load_seq_cst`] | `SeqCst` | [`Slot::claim_to_write`], for [`WriteGate::close`] |
//!
//! [`WriteGate::is_open`]: super::gate::WriteGate::is_open
//! [`WriteGate::close`]: super::gate::WriteGate::close
#![allow(
    unsafe_code,
    reason = "the value is guarded by the word next to it, which the borrow checker cannot see"
)]

use core::mem::MaybeUninit;

use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};
use crate::sync::{Spin, UnsafeCell, seq_cst_for_loom};

/// A thread has a claim on the slot.
const BUSY: u64 = 1;
/// A reader has received the value.
const READ: u64 = 1 << 1;
/// The slot holds a value.
const FULL: u64 = 1 << 2;
/// The claim is a writer's.
const WRITING: u64 = 1 << 3;
/// One written value, in the bits above the flags.
const ONE: u64 = 1 << 4;

/// The word of a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotState(u64);

impl SlotState {
    /// The state of an unclaimed slot that holds the `written`th value.
    #[inline(always)]
    pub(super) const fn full(written: u64, read: bool) -> Self {
        Self((written * ONE) | FULL | if read { READ } else { 0 })
    }

    /// The number of values written. In a ring: one more than the position of the value in the slot.
    #[inline(always)]
    pub(super) const fn written(self) -> u64 {
        self.0 / ONE
    }

    /// Whether the slot is unclaimed and holds the `written`th value (or is empty, if `written` is zero).
    #[inline(always)]
    pub(super) const fn is_available(self, written: u64) -> bool {
        let full = if written == 0 { 0 } else { FULL };
        self.0 & !READ == (written * ONE) | full
    }

    /// Whether a thread has a claim on the slot.
    #[inline(always)]
    pub(super) const fn is_busy(self) -> bool {
        self.0 & BUSY != 0
    }

    /// Whether a writer has a claim on the slot.
    pub(super) const fn is_being_written(self) -> bool {
        self.0 & WRITING != 0
    }

    /// Whether the slot holds a value.
    #[inline(always)]
    pub(super) const fn is_full(self) -> bool {
        self.0 & FULL != 0
    }

    /// Whether a reader has received the value.
    #[inline(always)]
    pub(super) const fn is_read(self) -> bool {
        self.0 & READ != 0
    }
}

/// Storage for one value.
pub(super) struct Slot<T> {
    word: AtomicU64,
    /// Initialized if and only if the word is `FULL`. Only the owner of the claim accesses it.
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a slot owns its value like a `Mutex` does.
unsafe impl<T: Send> Send for Slot<T> {}
// SAFETY: through a shared slot only a `Claim` accesses the value, and there is one at a time: the compare-and-swap to
// `BUSY` succeeds for one thread, and the next one acquires what this one released. So the value moves between threads
// (`Send`), and two threads never use it at once.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// The state, possibly outdated by the time it is used.
    #[inline(always)]
    pub(super) fn load(&self) -> SlotState {
        // Pairs with the `Release` store in the drop of a `Claim`.
        SlotState(self.word.load(Acquire))
    }

    /// The current state, for a task that is about to sleep: a thread that changes the state afterwards sees everything
    /// the caller wrote before. `None` if a thread has a claim, so that the caller must retry.
    pub(super) fn revalidate(&self) -> Option<SlotState> {
        let state = self.load();
        // A read-modify-write reads the newest value of the word. Its `Release` half pairs with the `Acquire` of the next
        // claim, its `Acquire` half with the `Release` of the claim before.
        let current = !state.is_busy()
            && self.word.compare_exchange(state.0, state.0, AcqRel, Relaxed).is_ok();
        current.then_some(state)
    }

    /// The state for [`WriteGate::close`](super::gate::WriteGate::close): not older than any claim to write that precedes
    /// this load in the order of all sequentially consistent operations.
    pub(super) fn load_seq_cst(&self) -> SlotState {
        seq_cst_for_loom();
        // Pairs with the `SeqCst` compare-and-swap in `claim_to_write`.
        SlotState(self.word.load(SeqCst))
    }

    /// Claims the slot for reading, if its state still is `expected`.
    #[inline(always)]
    pub(super) fn claim(&self, expected: SlotState) -> Option<Claim<'_, T>> {
        debug_assert!(!expected.is_busy(), "another claim has a busy slot");
        // Pairs with the `Release` store in the drop of the claim before. `Relaxed` on failure: nothing is accessed.
        match self.word.compare_exchange(expected.0, expected.0 | BUSY, AcqRel, Relaxed) {
            Ok(_) => Some(Claim { slot: self, state: expected }),
            Err(_) => None,
        }
    }

    /// Claims the slot for writing, if its state still is `expected`.
    #[inline(always)]
    pub(super) fn claim_to_write(&self, expected: SlotState) -> Option<Claim<'_, T>> {
        debug_assert!(!expected.is_busy(), "another claim has a busy slot");
        // `SeqCst`: with the load in `WriteGate::is_open` it pairs with the read-modify-write and the load in
        // `WriteGate::close`.
        match self.word.compare_exchange(expected.0, expected.0 | BUSY | WRITING, SeqCst, Relaxed) {
            Ok(_) => Some(Claim { slot: self, state: expected }),
            Err(_) => None,
        }
    }

    /// Claims the slot for reading, whatever it holds, if it is unclaimed.
    #[inline(always)]
    pub(super) fn try_claim(&self) -> Option<Claim<'_, T>> {
        let state = self.load();
        if state.is_busy() { None } else { self.claim(state) }
    }

    /// Claims the slot for writing, whatever it holds, if it is unclaimed.
    #[inline(always)]
    pub(super) fn try_claim_to_write(&self) -> Option<Claim<'_, T>> {
        let state = self.load();
        if state.is_busy() { None } else { self.claim_to_write(state) }
    }

    /// Claims the slot for reading, whatever it holds, as soon as it is unclaimed.
    pub(super) fn claim_any(&self) -> Claim<'_, T> {
        let mut spin = Spin::new();
        let mut state = self.load();
        loop {
            if state.is_busy() {
                spin.wait();
                state = self.load();
                continue;
            }
            // A failed attempt returns the current state, and the cache line with it, so the next attempt follows at once:
            // against a writer that never pauses, a state from another load would nearly always be outdated.
            // Pairs with the `Release` store in the drop of the claim before.
            match self.word.compare_exchange(state.0, state.0 | BUSY, AcqRel, Relaxed) {
                Ok(_) => return Claim { slot: self, state },
                Err(current) => state = SlotState(current),
            }
        }
    }

    /// Claims the slot for writing, whatever it holds, as soon as it is unclaimed. `None` if `is_refused` returns `true`
    /// before that.
    pub(super) fn claim_any_to_write(&self, is_refused: impl Fn() -> bool) -> Option<Claim<'_, T>> {
        let mut spin = Spin::new();
        loop {
            if let Some(claim) = self.try_claim_to_write() {
                return Some(claim);
            }
            if is_refused() {
                return None;
            }
            spin.wait();
        }
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        // `Relaxed`: `&mut self` is exclusive.
        if SlotState(self.word.load(Relaxed)).is_full() {
            // SAFETY: full, so there is a value; `&mut self`, so no other thread uses it.
            self.value.with_mut(|value| unsafe { (*value).assume_init_drop() });
        }
    }
}

/// Exclusive access to the value of a slot. The drop publishes its changes.
pub(super) struct Claim<'s, T> {
    slot: &'s Slot<T>,
    /// The state that the drop stores.
    state: SlotState,
}

impl<T> Claim<'_, T> {
    /// The value, if there is one.
    #[inline(always)]
    pub(super) fn value(&self) -> Option<&T> {
        if !self.state.is_full() {
            return None;
        }
        // SAFETY: full, so there is a value; this claim is the only access to it, and the reference borrows the claim.
        Some(self.slot.value.with(|value| unsafe { (*value).assume_init_ref() }))
    }

    /// Stores the `written`th value and returns the one it replaces.
    #[inline(always)]
    pub(super) fn replace(&mut self, value: T, written: u64) -> Option<T> {
        let old = self.take();
        // SAFETY: this claim is the only access; the slot is empty, so no value is overwritten without a drop.
        self.slot.value.with_mut(|slot| unsafe { (*slot).write(value) });
        self.state = SlotState((written * ONE) | FULL);
        old
    }

    /// Moves the value out.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<T> {
        if !self.state.is_full() {
            return None;
        }
        self.state.0 &= !FULL;
        // SAFETY: full, so there is a value; this claim is the only access; no longer full, so it is not read again.
        Some(self.slot.value.with_mut(|value| unsafe { (*value).assume_init_read() }))
    }

    /// The state that the drop stores.
    #[inline(always)]
    pub(super) fn state(&self) -> SlotState {
        self.state
    }

    /// Notes that a reader has received the value.
    #[inline(always)]
    pub(super) fn mark_read(&mut self) {
        self.state.0 |= READ;
    }
}

impl<T> Drop for Claim<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // Pairs with the `Acquire` of the next claim and of `Slot::load`.
        self.slot.word.store(self.state.0, Release);
    }
}
