//! Whether writers may write: the word that every writer asks once it has claimed its slot.
//!
//! Closing must not wait for a reader that has a slot, because a `Clone` may last or never return; and once a record is
//! closed no value may come any more. So the two sides of a claim are told apart ([`Word::is_being_written`]), and the
//! closer waits for a writer alone:
//!
//! ```text
//!   writer                                     closer
//!   claim_to_write   slot.word |= WRITING      close    gate.word |= REFUSING
//!   is_open          load gate.word            close    load slot.word, until it is not WRITING
//! ```
//!
//! Each side writes its own word and then loads the other's. The four operations are sequentially consistent, so in
//! their common order either the writer's claim comes before the closer's load, and the closer waits for it, or the
//! closer's mark comes before the writer's load, and the writer gives its claim back unused. Acquire and release would
//! allow both to miss each other. On x86 this costs a writer nothing (its compare-and-swap and a plain load are
//! sequentially consistent already), on Arm a load with acquire.
//!
//! [`Word::is_being_written`]: super::slot::Word::is_being_written

use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};
use crate::sync::{Spin, seq_cst_for_loom};

/// Writers are refused. One that had its claim before may still be writing.
const REFUSING: usize = 1;
/// No value will come any more.
const CLOSED: usize = 2;
/// One reader that makes writers wait.
const PAUSE: usize = 4;

pub(super) struct WriteGate {
    word: AtomicUsize,
}

impl WriteGate {
    pub(super) fn new() -> Self {
        Self { word: AtomicUsize::new(0) }
    }

    /// Whether a writer that holds its claim may write: the record is open and no reader has paused it.
    #[inline(always)]
    pub(super) fn is_open(&self) -> bool {
        // Pairs with the read-modify-writes in `close` and `pause`.
        seq_cst_for_loom();
        self.word.load(SeqCst) == 0
    }

    /// Whether writers are refused, for a writer that waits for its claim.
    pub(super) fn refuses(&self) -> bool {
        self.word.load(Relaxed) & REFUSING != 0
    }

    /// Whether a reader makes writers wait.
    pub(super) fn is_paused(&self) -> bool {
        self.word.load(Relaxed) >= PAUSE
    }

    /// Refuses writers, waits for the one that `is_being_written` still sees at work, and closes.
    ///
    /// `is_being_written` must look at the writer's slot with [`look_in_order`](super::slot::Slot::look_in_order).
    pub(super) fn close(&self, is_being_written: impl Fn() -> bool) {
        self.word.fetch_or(REFUSING, SeqCst);
        let mut spin = Spin::new();
        while is_being_written() {
            spin.wait();
        }
        // Pairs with the `Acquire` load in `is_closed`: a reader that sees the mark sees every value.
        self.word.fetch_or(CLOSED, Release);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.word.load(Acquire) & CLOSED != 0
    }

    /// Makes writers wait until the pause is dropped. A writer that has asked the gate before still writes its value.
    pub(super) fn pause(&self) -> Pause<'_> {
        self.word.fetch_add(PAUSE, SeqCst);
        seq_cst_for_loom();
        Pause(self)
    }
}

/// While it lives, no writer asks the gate and is let in.
pub(super) struct Pause<'g>(&'g WriteGate);

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.word.fetch_sub(PAUSE, Relaxed);
    }
}
