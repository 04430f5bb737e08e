//! The position of one reader, for the reader itself, for writers that must not pass it, and for
//! metrics.
//!
//! The word of a cursor holds the position that its reader reads next, and a lock bit that a reader
//! sets while it reads. Several threads may share one cursor; the lock bit makes them take turns.
//! All other fields are written by the thread that has locked the cursor, so plain stores suffice;
//! they are atomic because metrics load them from other threads.
//!
//! # The life of a position
//!
//! ```text
//!   pending (at or above `next`)
//!      ├─ advance ─────────────────▶ in progress ── finish, the next read ─▶ finished
//!      ├─ advance, then stash ─────▶ stashed ── unstash ───────────────────▶ in progress
//!      │                                └────── discard_stash ─────────────▶ skipped
//!      └─ skip_lagged, discard ────▶ skipped
//! ```
//!
//! Every position below `next` is in exactly one of the states in progress, finished, stashed and
//! skipped. The counts follow from the fields: `delivered = next - skipped - stashed`, and
//! `in_progress = next - finished`. So a delivery changes the position and, at most, one field.
//!
//! # Invariants
//!
//! - `next`, `skipped` and `lagged` never decrease.
//! - `reported <= lagged`: a lag is reported once, by the first event after it.
//! - `skipped <= next` and `finished <= next`, outside of a change.
//! - At most one value is stashed.
//! - The positions of a mailbox have no meaning in its storage: there the cursor only counts.
//!
//! # Locking
//!
//! The lock bit is held for one read, a `Clone` included, so a thread may wait for it long. A
//! writer loads the position and does not wait for the bit; a writer that is about to sleep tries
//! again until the bit is clear. [`Cursor::snapshot`] waits only for a change of several fields,
//! which runs no user code. No thread takes the lock of the subscribers while it has locked a
//! cursor, because the holder of that lock waits for such changes.
//!
//! A reader with [`Access::Exclusive`] skips the lock bit in a kind that is not
//! [gated](super::kind::Kind::GATED): no
//! other thread would lock the cursor, and each read saves a compare-and-swap.
//!
//! # Orderings
//!
//! | operation | ordering | pairs with |
//! |---|---|---|
//! | [`Cursor::lock`] | `AcqRel` | the `Release` store in the drop of the [`CursorGuard`] before |
//! | [`Cursor::next`] | `Acquire` | the same: a writer that sees a reader past a position sees its read finished |
//! | [`Cursor::revalidate`] | `AcqRel` | [`Cursor::lock`]: the next read sees what the caller wrote before |
//! | [`Cursor::snapshot`] | `Acquire` loads and fence | the `Release` fence and stores in `CursorGuard::change` and `empty_stash`, and the drop of the guard |
//!
//! The store of the mark [`CHANGING`] is `Relaxed`, so a thread that loads the marked word has not
//! synchronized with the read before. That is safe: only the writers of a queue act on a position,
//! and a queue's cursor is marked only while its reader leaves, under the lock of the head, which
//! those writers need too.

use crate::sync::Arc;
use crate::sync::Spin;
use crate::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    fence,
};

/// A reader has locked the cursor.
const LOCKED: u64 = 1;
/// Several fields are changing. The mark lasts for a few stores, never for user code, so `snapshot`
/// spins until it ends.
const CHANGING: u64 = 2;
/// One position, in the bits above the flags.
const ONE: u64 = 4;

/// The position of one reader.
///
/// The reader and its entry among the subscribers share it. A caller that measures the record, or
/// clones its newest value, may hold it for a moment after the reader has left.
///
/// It has cache lines of its own, as with `CachePadded`, which would set the state apart from the
/// other fields too: only the reader loads those for a value.
#[cfg_attr(feature = "std", repr(align(128)))]
pub(super) struct Cursor {
    /// The name of the stage, or of the handle outside of the graph. Never changed.
    pub(super) name: Arc<str>,
    /// The reader belongs to a stage of the graph: a shutdown reports its undelivered values.
    pub(super) of_stage: bool,
    /// The first position of the reader.
    pub(super) start: u64,
    /// Several threads read through this cursor, so a remaining value must wake another one of
    /// them.
    shared: AtomicBool,
    /// A connector counts the values taken through this cursor as in flight, so none of them is in
    /// progress here.
    delegates_accounting: AtomicBool,
    /// Changed for every value.
    state: CursorState,
}

/// The words that a read changes. A thread stores to them only while it has locked the cursor;
/// [`Cursor::finish`] is the one exception.
struct CursorState {
    /// The position read next, above the flags [`LOCKED`] and [`CHANGING`].
    word: AtomicU64,
    /// Positions that gave no value: those before the reader subscribed, and those it skipped. All
    /// others were delivered, so that a delivery changes the position only.
    skipped: AtomicU64,
    /// Values lost, those that the reader has counted. Values that it has lost and not reached yet
    /// are computed from the storage (`BufferState::missed`).
    lagged: AtomicU64,
    /// The part of `lagged` that events have reported, or that reads without events have ignored.
    reported: AtomicU64,
    /// A number for the value in the reader's stash, which no other value of the reader has; zero
    /// if the stash is empty.
    stashed: AtomicU64,
    /// The reader has finished with all values before this position. Values from here up to the
    /// word's position are in progress. A position, not a count: a snapshot between the two stores
    /// counts no value twice.
    finished: AtomicU64,
}

/// The numbers of a cursor at one moment, consistent in themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct CursorSnapshot {
    /// The position read next.
    pub(super) next: u64,
    /// Values lost and counted.
    pub(super) lagged: u64,
    /// Values received.
    pub(super) delivered: u64,
    /// Values received that the reader has not finished with.
    pub(super) in_progress: u64,
    /// Values read and not yet received: the one behind a reported lag.
    pub(super) stashed: u64,
}

/// Whether a thread has a cursor to itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// No other thread reads through the cursor.
    Exclusive,
    /// Several threads may read through the cursor.
    Shared,
}

impl Cursor {
    /// A cursor at position `next`, unlocked. All positions before count as skipped and finished.
    pub(super) fn new(name: Arc<str>, of_stage: bool, next: u64) -> Self {
        Self {
            name,
            of_stage,
            start: next,
            shared: AtomicBool::new(false),
            delegates_accounting: AtomicBool::new(false),
            state: CursorState {
                word: AtomicU64::new(next * ONE),
                skipped: AtomicU64::new(next),
                lagged: AtomicU64::new(0),
                reported: AtomicU64::new(0),
                stashed: AtomicU64::new(0),
                finished: AtomicU64::new(next),
            },
        }
    }

    /// Declares that several threads read through the cursor.
    pub(super) fn share(&self) {
        // `Relaxed`: called before the subscription reaches another thread.
        self.shared.store(true, Relaxed);
    }

    /// Whether several threads read through the cursor.
    pub(super) fn is_shared(&self) -> bool {
        // `Relaxed`: `share` stored it before the subscription reached this thread.
        self.shared.load(Relaxed)
    }

    /// Declares that its only reader has finished with the values it received, without a further
    /// read.
    ///
    /// It takes no lock: the caller is the only thread that reads through the cursor. The caller
    /// checks that the stash is empty, because its value has not been received.
    pub(super) fn finish(&self) {
        // `Relaxed`: a counter for snapshots.
        self.state.finished.store(self.next(), Relaxed);
    }

    /// Declares that a connector accounts for the values taken through the cursor.
    pub(super) fn delegate_accounting(&self) {
        // `Relaxed`: called before anything is read.
        self.delegates_accounting.store(true, Relaxed);
    }

    /// Whether a connector accounts for the values taken through the cursor.
    pub(super) fn delegates_accounting(&self) -> bool {
        // `Relaxed`: a flag for the backlog, set before the first read.
        self.delegates_accounting.load(Relaxed)
    }

    /// The position read next. The reader may be reading it; it has moved or cloned all values
    /// before, so a writer may use their storage. The position may be outdated, which is safe for
    /// that writer: a true one is later.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        // Pairs with the `Release` store in the drop of a `CursorGuard`.
        self.state.word.load(Acquire) / ONE
    }

    /// The current position, for a task that is about to sleep: the next read sees everything the
    /// caller wrote before. `None` while a reader has locked the cursor: the position is about to
    /// change, so the caller retries instead of sleeping.
    pub(super) fn revalidate(&self) -> Option<u64> {
        let word = self.state.word.load(Relaxed);
        // A read-modify-write reads the newest value of the word; its `Release` half pairs with the
        // `Acquire` in `try_lock`.
        let current = word & LOCKED == 0
            && self.state.word.compare_exchange(word, word, AcqRel, Relaxed).is_ok();
        current.then_some(word / ONE)
    }

    /// Whether a reader has locked the cursor at this moment. A reader without the lock bit
    /// ([`lock_unshared`](Self::lock_unshared)) is not seen.
    pub(super) fn is_locked(&self) -> bool {
        // `Relaxed`: a hint.
        self.state.word.load(Relaxed) & LOCKED != 0
    }

    /// Locks the cursor. Spins while another reader has locked it, for as long as that reader's
    /// `Clone` takes.
    #[inline(always)]
    pub(super) fn lock(&self) -> CursorGuard<'_> {
        match self.try_lock() {
            Some(guard) => guard,
            None => self.lock_contended(),
        }
    }

    /// Locks the cursor, if no other reader has locked it. It may fail because the word changed
    /// between the load and the compare-and-swap.
    #[inline(always)]
    pub(super) fn try_lock(&self) -> Option<CursorGuard<'_>> {
        let state = &self.state;
        let word = state.word.load(Relaxed);
        // Pairs with the `Release` store in the drop of the guard before, and with `revalidate`.
        let locked = word & LOCKED == 0
            && state.word.compare_exchange(word, word | LOCKED, AcqRel, Relaxed).is_ok();
        if locked { Some(CursorGuard { state, next: word / ONE }) } else { None }
    }

    /// [`lock`](Self::lock) after the first attempt failed. `#[cold]` keeps the loop out of each
    /// read.
    #[cold]
    fn lock_contended(&self) -> CursorGuard<'_> {
        let mut spin = Spin::new();
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            spin.wait();
        }
    }

    /// [`lock`](Self::lock) without the lock bit, for a reader with [`Access::Exclusive`] in a
    /// buffer whose writers do not read cursors: no other thread would lock it.
    #[inline(always)]
    pub(super) fn lock_unshared(&self) -> CursorGuard<'_> {
        // `Relaxed`: this thread wrote the word, or received the subscription through a
        // synchronizing move.
        CursorGuard { state: &self.state, next: self.state.word.load(Relaxed) / ONE }
    }

    /// Its numbers, without disturbing the reader: retries until nothing changed in between.
    ///
    /// A round is a few loads, shorter than a read, so a reader that never pauses seldom disturbs
    /// two rounds in succession.
    pub(super) fn snapshot(&self) -> CursorSnapshot {
        let state = &self.state;
        let mut spin = Spin::new();
        loop {
            // Pairs with the `Release` store of the word in `change` and in the drop of a guard.
            let word = state.word.load(Acquire);
            let next = word / ONE;
            // Pairs with the `Release` store in `empty_stash`: an emptied stash shows the account too.
            let number = state.stashed.load(Acquire);
            let stashed = u64::from(number != 0);
            // `Relaxed`, all three: the fence below orders them before the second load of the word.
            let snapshot = CursorSnapshot {
                next,
                lagged: state.lagged.load(Relaxed),
                delivered: next.saturating_sub(state.skipped.load(Relaxed) + stashed),
                in_progress: next.saturating_sub(state.finished.load(Relaxed)),
                stashed,
            };
            // Pairs with the `Release` fence in `change`: if one of the loads above saw a store of
            // a change, the load below sees its mark or a later word.
            fence(Acquire);
            // `Acquire`: if it sees the end of a change, the load of the stash sees that change.
            let after = state.word.load(Acquire);
            // The position, the mark and the stash are compared: emptying the stash is the one
            // change of two fields at one position. A value stashed after that has another number.
            // The lock bit changes no number, and the values of the read before may count as in
            // progress or as finished.
            let stable = (word | after) & CHANGING == 0 && after / ONE == next;
            if stable && state.stashed.load(Relaxed) == number {
                return snapshot;
            }
            spin.wait();
        }
    }
}

/// A locked cursor. The drop publishes the new position.
///
/// A panic of a `Clone` drops the guard too: the position is then that of the value whose `Clone`
/// panicked, because [`advance`](Self::advance) follows the `Clone`.
pub(super) struct CursorGuard<'c> {
    state: &'c CursorState,
    /// The position read next, as the drop stores it. The word keeps the old one until then, or
    /// until [`publish`](Self::publish) stores it.
    next: u64,
}

impl CursorGuard<'_> {
    /// The position read next.
    #[inline(always)]
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether the value of the last read is in progress.
    #[inline(always)]
    pub(super) fn is_in_progress(&self) -> bool {
        // `Relaxed`, here and below: the lock of the cursor orders the fields for readers;
        // `snapshot` says what it needs.
        self.state.finished.load(Relaxed) != self.next
    }

    /// The reader has finished with the values it received before: it reads again.
    #[inline(always)]
    pub(super) fn finish_previous(&mut self) {
        if self.is_in_progress() {
            self.state.finished.store(self.next, Relaxed);
        }
    }

    /// Delivers the value at the position, the `nth` of this read.
    ///
    /// The first value of a read finishes the values of the read before. The further ones leave
    /// `finished` where it is, so that all values of the read are in progress together.
    #[inline(always)]
    pub(super) fn advance(&mut self, nth: u64) {
        // A further value of one read leaves the first one in progress.
        if nth == 1 {
            self.state.finished.store(self.next, Relaxed);
        }
        self.next += 1;
    }

    /// Stores the position, while the cursor stays locked: measurements see it at once.
    #[inline(always)]
    pub(super) fn publish(&mut self) {
        // `Relaxed`: while the cursor is locked, only this thread changes the word.
        let locked = self.state.word.load(Relaxed) & LOCKED;
        // `Release`, as in the drop of the guard.
        self.state.word.store((self.next * ONE) | locked, Release);
    }

    /// Skips `unread` values that the reader leaves behind: a queue's reader that leaves. They do
    /// not count as lost.
    pub(super) fn discard(&mut self, unread: u64) {
        self.move_by(unread, 0);
    }

    /// Skips `missed` values that are lost: writers have overwritten them.
    pub(super) fn skip_lagged(&mut self, missed: u64) {
        self.move_by(missed, missed);
    }

    /// Counts `missed` values as lost at the same position: commands of a mailbox that newer ones
    /// replaced.
    pub(super) fn count_lagged(&mut self, missed: u64) {
        self.move_by(0, missed);
    }

    /// Skips `positions` that give no value and counts `missed`, as one change to a
    /// [snapshot](Cursor::snapshot). The change is complete before this returns, because the read
    /// may continue with a `Clone`.
    fn move_by(&mut self, positions: u64, missed: u64) {
        self.change(|state, next| {
            *next += positions;
            increase(&state.skipped, positions);
            increase(&state.finished, positions);
            increase(&state.lagged, missed);
        });
    }

    /// Notes that the value of this read is in the stash. `number` is the one that the buffer gave
    /// it; zero stands for the position. The read has advanced the position already. The value
    /// counts as neither delivered nor in progress.
    pub(super) fn stash(&mut self, number: u64) {
        self.change(|state, next| {
            state.finished.store(*next, Relaxed);
            state.stashed.store(if number == 0 { *next } else { number }, Relaxed);
        });
    }

    /// Notes that the reader receives the value of the stash, which is in progress from now on.
    /// The caller takes the value under the same lock of the cursor.
    pub(super) fn unstash(&mut self) {
        self.empty_stash(|state, next| state.finished.store(next - 1, Relaxed));
    }

    /// Notes that the value of the stash is not delivered: its reader leaves. Returns the value's
    /// number, with which a mailbox finds out whether a newer command was accepted.
    pub(super) fn discard_stash(&mut self) -> u64 {
        self.empty_stash(|state, _| increase(&state.skipped, 1))
    }

    /// Marks the stash as empty and adds its value to another count, by `account`, as one change.
    fn empty_stash(&mut self, account: impl FnOnce(&CursorState, u64)) -> u64 {
        // `Relaxed`: the lock of the cursor orders it.
        let number = self.state.stashed.load(Relaxed);
        self.change(|state, next| {
            account(state, *next);
            // Pairs with the `Acquire` load in `snapshot`. After the account: a snapshot that sees
            // the empty stash sees where its value went.
            state.stashed.store(0, Release);
        });
        number
    }

    /// Changes several fields as one step for a [snapshot](Cursor::snapshot), as a sequence lock
    /// does:
    ///
    /// ```text
    ///   change                                  snapshot
    ///   word |= CHANGING     (Relaxed)          word                    (Acquire)
    ///   fence                (Release)          stashed                 (Acquire)
    ///   fields               (Relaxed)          fields                  (Relaxed)
    ///   stashed = 0          (Release)          fence                   (Acquire)
    ///   word = next position (Release)          word again: unchanged?  (Acquire)
    ///                                           stashed again: the same?
    /// ```
    ///
    /// Only a change that empties the stash stores `stashed = 0`, and only for it is the last line
    /// needed: its position may be the same before and after.
    ///
    /// The position of the guard is published with the fields. The lock bit stays as it is: a
    /// cursor that was locked without it ([`Cursor::lock_unshared`]) does not acquire one.
    fn change(&mut self, change: impl FnOnce(&CursorState, &mut u64)) {
        let state = self.state;
        // `Relaxed`: while the cursor is locked, only this thread changes the word.
        state.word.store(state.word.load(Relaxed) | CHANGING, Relaxed);
        // Pairs with the `Acquire` fence in `snapshot`: a thread that sees one of the stores below
        // sees the mark.
        fence(Release);
        change(state, &mut self.next);
        // Pairs with the `Acquire` load of the word in `snapshot`.
        self.publish();
    }

    /// The lost values that no event has reported. They count as reported from now on. A read
    /// without events calls it too, and ignores the number.
    pub(super) fn take_unreported(&mut self) -> u64 {
        // `Relaxed`: the lock of the cursor orders both fields, and a snapshot does not load
        // `reported`.
        let lagged = self.state.lagged.load(Relaxed);
        let unreported = lagged - self.state.reported.load(Relaxed);
        if unreported > 0 {
            self.state.reported.store(lagged, Relaxed);
        }
        unreported
    }
}

/// Increases a counter that one thread at a time writes, which is cheaper than a read-modify-write.
/// The caller holds the lock or the claim that guards the counter.
#[inline(always)]
pub(super) fn increase(counter: &AtomicU64, by: u64) {
    // `Relaxed`: no other thread writes it at the same time, and no reader derives more than the
    // count from it.
    counter.store(counter.load(Relaxed) + by, Relaxed);
}

impl Drop for CursorGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Clears the lock bit. Pairs with the `Acquire` in `Cursor::lock`, `next` and `snapshot`: a
        // writer that sees the new position sees that the values before it were moved or cloned.
        self.state.word.store(self.next * ONE, Release);
    }
}
