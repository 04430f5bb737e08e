//! Whether writers may write: a word that each writer checks once it has claimed its slot.
//!
//! A ring, a latest record and a mailbox have one gate each. A queue needs none: its writers and
//! its closer take the lock of the queue's head.
//!
//! # States
//!
//! ```text
//!         pause (+ PAUSE)                  close: | REFUSING             close: | CLOSED
//!   open ────────────────▶ paused     open ──────────────────▶ refusing ────────────────▶ closed
//!        ◀────────────────            paused                   until no writer
//!      drop of the last Pause                                  has a claim
//! ```
//!
//! `REFUSING` and `CLOSED` are never cleared. Readers may pause a gate that is refusing or closed;
//! their count does not disturb the two marks. Writers write only while the whole word is zero.
//!
//! # Closing
//!
//! Closing must not wait for a reader that has claimed a slot, because a `Clone` may take long or
//! never return. Once a record is closed, no value may be added. So a writer's claim differs from a
//! reader's ([`SlotState::is_being_written`]), and the closer waits for a writer only:
//!
//! ```text
//!   writer                                     closer
//!   claim_to_write   slot.word |= WRITING      close    gate.word |= REFUSING
//!   is_open          load gate.word            close    load slot.word, until it is not WRITING
//! ```
//!
//! Each side writes its own word and then loads the other's. The four operations are sequentially
//! consistent, so in their common order either the writer's claim precedes the closer's load, and
//! the closer waits for it, or the closer's mark precedes the writer's load, and the writer drops
//! its claim unused. With acquire and release both could miss each other. On x86 this costs a
//! writer nothing (its compare-and-swap and a plain load are sequentially consistent already), on
//! Arm a load with acquire.
//!
//! Two marks are necessary. `REFUSING` alone would let a reader conclude that the record is drained
//! while the last writer still writes. `CLOSED` follows once that writer has released its slot.
//!
//! # Pausing
//!
//! Only a reader of a ring pauses writers, and only after it has lost several races against them:
//! see [`ring`](super::ring). Writers spin while a pause lasts. A pause contains no user code, so
//! it is short. Without std no other operation interleaves with a read, a reader loses no race, and
//! no pause occurs.
//!
//! [`SlotState::is_being_written`]: super::slot::SlotState::is_being_written

use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};
use crate::sync::{Spin, seq_cst_for_loom};

/// Writers are refused. A writer that had its claim before may still be writing.
const REFUSING: usize = 1;
/// No value will be added any more: the last writer has released its slot. Set only after
/// `REFUSING`.
const CLOSED: usize = 2;
/// One reader that pauses the writers; the bits from here on count such readers.
const PAUSE: usize = 4;

/// The gate that a writer passes between its claim and its write. Zero is open.
pub(super) struct WriteGate {
    /// The two marks and the number of pauses. Closers and readers change it by read-modify-writes,
    /// without a lock; writers only load it, so that it stays in their caches.
    word: AtomicUsize,
}

impl WriteGate {
    /// An open gate.
    pub(super) fn new() -> Self {
        Self { word: AtomicUsize::new(0) }
    }

    /// Whether a writer that has its claim may write: the record is open and no reader has paused
    /// the writers.
    ///
    /// The caller must have its claim already. Asked before the claim, the answer could be outdated
    /// by the time of the write.
    #[inline(always)]
    pub(super) fn is_open(&self) -> bool {
        seq_cst_for_loom();
        // Pairs with the `SeqCst` read-modify-writes in `close` and `pause`.
        self.word.load(SeqCst) == 0
    }

    /// Whether writers are refused, for a writer that waits for its claim. The answer may be
    /// outdated, but a mark that is set is seen eventually, so the wait ends.
    pub(super) fn is_refusing(&self) -> bool {
        // `Relaxed`: only ends the wait; `is_open` decides.
        self.word.load(Relaxed) & REFUSING != 0
    }

    /// Whether a reader pauses the writers. A writer that waits asks this before it claims a slot,
    /// so that it does not take the slot from the reader for nothing.
    pub(super) fn is_paused(&self) -> bool {
        // `Relaxed`: only a reason to wait; `is_open` decides.
        self.word.load(Relaxed) >= PAUSE
    }

    /// Refuses writers, waits for the one that `is_being_written` still reports, and closes.
    ///
    /// `is_being_written` must read the state of the writer's slot with
    /// [`load_seq_cst`](super::slot::Slot::load_seq_cst). The wait is short: a writer's claim
    /// contains no user code, unless it makes its value in place (and copies it, if the record is
    /// observed). Several threads may close at the same time, and a second close changes nothing.
    pub(super) fn close(&self, is_being_written: impl Fn() -> bool) {
        // Pairs with the `SeqCst` load in `is_open`. The mark precedes the loads of the slot below;
        // in the other order a writer could claim, find the gate open and write after the closer
        // has looked.
        self.word.fetch_or(REFUSING, SeqCst);
        let mut spin = Spin::new();
        while is_being_written() {
            spin.wait();
        }
        // Pairs with the `Acquire` load in `is_closed`: a reader that sees the mark sees every
        // value.
        self.word.fetch_or(CLOSED, Release);
    }

    /// Whether the record is closed. Every value that was accepted is visible to a caller that
    /// receives `true`.
    ///
    /// A reader that finds no value asks this and then looks for a value once more: only then is
    /// the record drained.
    pub(super) fn is_closed(&self) -> bool {
        // Pairs with the `Release` in `close`.
        self.word.load(Acquire) & CLOSED != 0
    }

    /// Pauses the writers until the [`Pause`] is dropped. A writer that has passed the gate still
    /// writes its value, so the caller may lose one more race after this returns.
    pub(super) fn pause(&self) -> Pause<'_> {
        // Pairs with the `SeqCst` load in `is_open`.
        self.word.fetch_add(PAUSE, SeqCst);
        // Loom treats `SeqCst` as acquire and release: the fence orders the increment before the
        // reader's loads of slots.
        seq_cst_for_loom();
        Pause(self)
    }
}

/// While it exists, no writer passes the gate. The reader drops it before it runs a `Clone`, or
/// when its read ends without a value.
pub(super) struct Pause<'g>(&'g WriteGate);

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        // `Relaxed`: writers acquire the slot, not the gate.
        self.0.word.fetch_sub(PAUSE, Relaxed);
    }
}
