//! Storage for one value, with an atomic word that says what the slot holds and who may access it.
//!
//! A ring has `capacity` slots, a latest record and a mailbox have one slot each. A queue
//! guards its cells with cursors instead: see [`queue`](super::queue).
//!
//! # The word
//!
//! The word holds the number of values written to the slot so far, in 60 bits, above four flags:
//!
//! | bit | set by | cleared by |
//! |---|---|---|
//! | `BUSY` | each claim | the drop of the [`Claim`] |
//! | `READ` | [`Claim::mark_read`]: a reader of a ring or a latest record has the value | [`Claim::replace`] |
//! | `FULL` | [`Claim::replace`] | [`Claim::take`]: only a mailbox empties its slot |
//! | `WRITING` | a writer's claim | the drop of the [`Claim`] |
//!
//! The count never decreases. It grows with each [`Claim::replace`] by a writer and stays as it is
//! when a mailbox stores a command [again](super::mailbox::Mailbox::give_back). At one value a
//! nanosecond it overflows after 36 years.
//!
//! # Claiming
//!
//! ```text
//!          claim (compare-and-swap)                           drop of the Claim (store)
//!  state ───────────────────▶ state | BUSY (| WRITING) ───────────────────▶ state of the claim
//! ```
//!
//! The thread that sets `BUSY` has exclusive access to the value until it drops the [`Claim`],
//! panics included, so the value needs no other lock: a writer replaces it, a reader clones it, a
//! taker moves it out. A writer's claim also sets `WRITING`. Such a claim runs no user code except
//! where a writer makes its value in place, so another thread may spin until it ends. A reader's
//! claim lasts for a `Clone`, so closing and measuring never wait for it.
//!
//! The claim changes a copy of the state, and its drop stores that copy. While a claim exists, the
//! word of the slot therefore still shows the count and the content from before the claim, next to
//! `BUSY`: a thread that only measures needs no claim.
//!
//! # Invariants
//!
//! - The value is initialized if and only if the slot is unclaimed and `FULL`, or claimed and the
//!   state of the claim is `FULL`.
//! - At most one [`Claim`] of a slot exists, because each claim is a compare-and-swap from a word
//!   without `BUSY`.
//! - Without std every access is inside a [`CriticalSection`](crate::sync::CriticalSection),
//!   because the word may consist of two halves there. A claim ends before the section does, so no
//!   operation finds a slot busy, except one that a `Clone` makes on its own record.
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

use core::mem::{MaybeUninit, needs_drop};

use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};
use crate::sync::{Spin, UnsafeCell, seq_cst_for_loom};

/// A thread has a claim on the slot. No other thread accesses the value or changes the word.
const BUSY: u64 = 1;
/// At least one reader has received the value. A writer that replaces a value without this flag
/// counts it as overwritten. A mailbox does not use the flag: there an empty slot means the same.
const READ: u64 = 1 << 1;
/// The slot holds a value.
const FULL: u64 = 1 << 2;
/// The claim is a writer's. It is set only together with `BUSY`, for
/// [`WriteGate::close`](super::gate::WriteGate::close), which waits for writers and not for
/// readers.
const WRITING: u64 = 1 << 3;
/// One written value, in the bits above the flags.
const ONE: u64 = 1 << 4;

/// The word of a slot at one moment.
///
/// The state of a [`Claim`] has neither `BUSY` nor `WRITING`: it is the word that the drop of the
/// claim stores.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotState(u64);

impl SlotState {
    /// The state of an unclaimed slot that holds the `written`th value, for an attempt to claim
    /// without a load.
    #[inline(always)]
    pub(super) const fn full(written: u64, read: bool) -> Self {
        Self((written * ONE) | FULL | if read { READ } else { 0 })
    }

    /// The number of values written. In a ring: one more than the position of the value in the
    /// slot.
    #[inline(always)]
    pub(super) const fn written(self) -> u64 {
        self.0 / ONE
    }

    /// Whether the slot is unclaimed and holds the `written`th value (or is empty, if `written` is
    /// zero). One comparison: the `READ` flag is the only bit that may differ.
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

    /// Whether a writer has a claim on the slot. A writer whose claim the gate refuses counts as
    /// well, until it drops the claim.
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

/// Storage for one value. Many threads share it; a [`Claim`] gives one of them access to the value.
pub(super) struct Slot<T> {
    /// The [`SlotState`]. Any thread changes it from an unclaimed state, by compare-and-swap; from
    /// a claimed state only the owner of the claim does, by a store.
    word: AtomicU64,
    /// Initialized if and only if the word is `FULL`. Only the owner of the claim accesses it.
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a slot owns its value like a `Mutex` does.
unsafe impl<T: Send> Send for Slot<T> {}
// SAFETY: through a shared slot only a `Claim` accesses the value, and there is one at a time: the
// compare-and-swap to `BUSY` succeeds for one thread, and the next one acquires what this one
// released. So the value moves between threads (`Send`), and two threads never use it at once.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    /// An empty slot to which no value was written.
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// The state, possibly outdated by the time it is used.
    #[inline(always)]
    pub(super) fn load(&self) -> SlotState {
        // Pairs with the `Release` store in the drop of a `Claim`.
        SlotState(self.word.load(Acquire))
    }

    /// The current state, for a task that is about to sleep: a thread that changes the state
    /// afterwards sees everything the caller wrote before. `None` if a thread has a claim, or took
    /// one during the call, so that the caller must retry.
    ///
    /// A plain load is not enough: it may return an outdated word after the task has registered its
    /// waker, and the task would miss a value whose writer has not seen the waker.
    pub(super) fn revalidate(&self) -> Option<SlotState> {
        let state = self.load();
        // A read-modify-write reads the newest value of the word. Its `Release` half pairs with the
        // `Acquire` of the next claim, its `Acquire` half with the `Release` of the claim before.
        let current = !state.is_busy()
            && self.word.compare_exchange(state.0, state.0, AcqRel, Relaxed).is_ok();
        current.then_some(state)
    }

    /// The state for [`WriteGate::close`](super::gate::WriteGate::close): not older than any claim
    /// to write that precedes this load in the order of all sequentially consistent operations.
    pub(super) fn load_seq_cst(&self) -> SlotState {
        seq_cst_for_loom();
        // Pairs with the `SeqCst` compare-and-swap in `claim_to_write`.
        SlotState(self.word.load(SeqCst))
    }

    /// Claims the slot for reading, if its state still is `expected`.
    ///
    /// The expected state may be a guess, without a load before: the compare-and-swap fails if it
    /// is wrong. A state that was current once and is current again is no danger, because the claim
    /// accesses the value only afterwards.
    #[inline(always)]
    pub(super) fn claim(&self, expected: SlotState) -> Option<Claim<'_, T>> {
        debug_assert!(!expected.is_busy(), "another claim has a busy slot");
        // Pairs with the `Release` store in the drop of the claim before. `Relaxed` on failure:
        // nothing is accessed.
        match self.word.compare_exchange(expected.0, expected.0 | BUSY, AcqRel, Relaxed) {
            Ok(_) => Some(Claim { slot: self, state: expected }),
            Err(_) => None,
        }
    }

    /// Claims the slot for writing, if its state still is `expected`. The writer must then ask
    /// [`WriteGate::is_open`](super::gate::WriteGate::is_open), and drop the claim unused if the
    /// gate is not open.
    #[inline(always)]
    pub(super) fn claim_to_write(&self, expected: SlotState) -> Option<Claim<'_, T>> {
        debug_assert!(!expected.is_busy(), "another claim has a busy slot");
        // `SeqCst`: with the load in `WriteGate::is_open` it pairs with the read-modify-write and
        // the load in `WriteGate::close`.
        match self.word.compare_exchange(expected.0, expected.0 | BUSY | WRITING, SeqCst, Relaxed) {
            Ok(_) => Some(Claim { slot: self, state: expected }),
            Err(_) => None,
        }
    }

    /// Claims the slot for reading, whatever it holds, if it is unclaimed. `None` also if the state
    /// changed between the load and the attempt.
    #[inline(always)]
    pub(super) fn try_claim(&self) -> Option<Claim<'_, T>> {
        let state = self.load();
        if state.is_busy() { None } else { self.claim(state) }
    }

    /// Claims the slot for writing, whatever it holds, if it is unclaimed. `None` also if the state
    /// changed between the load and the attempt.
    #[inline(always)]
    pub(super) fn try_claim_to_write(&self) -> Option<Claim<'_, T>> {
        let state = self.load();
        if state.is_busy() { None } else { self.claim_to_write(state) }
    }

    /// Claims the slot for reading, whatever it holds, as soon as it is unclaimed.
    ///
    /// Waits for a writer, which at most makes its value, and for other readers, whose `Clone` may take
    /// long.
    pub(super) fn claim_any(&self) -> Claim<'_, T> {
        let mut spin = Spin::new();
        let mut state = self.load();
        loop {
            if state.is_busy() {
                spin.wait();
                state = self.load();
                continue;
            }
            // A failed attempt returns the current state, and the cache line with it, so the next
            // attempt follows at once: against a writer that never pauses, a state from another
            // load would nearly always be outdated. Pairs with the `Release` store in the drop of
            // the claim before.
            match self.word.compare_exchange(state.0, state.0 | BUSY, AcqRel, Relaxed) {
                Ok(_) => return Claim { slot: self, state },
                Err(current) => state = SlotState(current),
            }
        }
    }

    /// Claims the slot for writing, whatever it holds, as soon as it is unclaimed. `None` if
    /// `is_refused` returns `true` before that: a writer must not wait for a `Clone` once its
    /// record closes.
    pub(super) fn claim_any_to_write(&self, is_refused: impl Fn() -> bool) -> Option<Claim<'_, T>> {
        let mut spin = Spin::new();
        loop {
            // The attempt precedes the question, so an unclaimed slot costs no load of the gate
            // here. A writer that has its claim asks the gate anyway.
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
///
/// A claim that unwinds from a panic in `Clone` has changed nothing: the drop stores the state from
/// before the claim, and the value stays in place.
pub(super) struct Claim<'s, T> {
    /// The slot whose word has `BUSY` because of this claim.
    slot: &'s Slot<T>,
    /// The state that the drop stores. It says whether the value is initialized for as long as the
    /// claim exists; other threads see it only afterwards.
    state: SlotState,
}

impl<T> Claim<'_, T> {
    /// The value, if there is one. The reference borrows the claim, so it ends before the slot is
    /// released.
    #[inline(always)]
    pub(super) fn value(&self) -> Option<&T> {
        if !self.state.is_full() {
            return None;
        }
        // SAFETY: full, so there is a value; this claim is the only access to it, and the reference
        // borrows the claim.
        Some(self.slot.value.with(|value| unsafe { (*value).assume_init_ref() }))
    }

    /// The value, if there is one, to be changed into the `written`th one with
    /// [`renewed`](Self::renewed).
    pub(super) fn value_mut(&mut self) -> Option<&mut T> {
        if !self.state.is_full() {
            return None;
        }
        // SAFETY: full, so there is a value; this claim is the only access to it, and the reference
        // borrows the claim.
        Some(self.slot.value.with_mut(|value| unsafe { (*value).assume_init_mut() }))
    }

    /// Declares the value, which the caller has changed, to be the `written`th one, unread.
    pub(super) fn renewed(&mut self, written: u64) {
        debug_assert!(self.state.is_full(), "there is a value to be changed");
        self.state = SlotState((written * ONE) | FULL);
    }

    /// A clone of the value, if there is one, and how many values were written up to it.
    pub(super) fn numbered(&self) -> Option<(u64, T)>
    where
        T: Clone,
    {
        self.value().map(|value| (self.state.written(), value.clone()))
    }

    /// Stores what `make` returns as the `written`th value, unread, and returns the one it replaces.
    /// A compiler that sees `make` builds the value here, without a copy. The caller drops the
    /// returned value once it holds no lock and no claim, because `Drop` is user code.
    #[inline(always)]
    pub(super) fn replace(&mut self, make: impl FnOnce() -> T, written: u64) -> Option<T> {
        // First: if it panics, the old value is still here.
        let value = make();
        let old = self.take();
        // SAFETY: this claim is the only access; the slot is empty, so no value is overwritten
        // without a drop.
        self.slot.value.with_mut(|slot| unsafe { (*slot).write(value) });
        self.state = SlotState((written * ONE) | FULL);
        old
    }

    /// Moves the value out. The count stays, so that takers and writers still number the commands.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<T> {
        if !self.state.is_full() {
            return None;
        }
        self.state.0 &= !FULL;
        // SAFETY: full, so there is a value; this claim is the only access; no longer full, so it
        // is not read again.
        Some(self.slot.value.with_mut(|value| unsafe { (*value).assume_init_read() }))
    }

    /// [`take`](Self::take) of a value that is only to be dropped: `None` if that does nothing.
    #[inline(always)]
    pub(super) fn empty(&mut self) -> Option<T> {
        if const { needs_drop::<T>() } {
            return self.take();
        }
        self.state.0 &= !FULL;
        None
    }

    /// The state that the drop stores.
    #[inline(always)]
    pub(super) fn state(&self) -> SlotState {
        self.state
    }

    /// Notes that a reader has received the value: a writer that replaces it does not count it as
    /// overwritten.
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
