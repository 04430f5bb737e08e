//! `SpmcQueue`: every value until every reader has received it. A full queue holds its writers
//! back.
//!
//! The value at position `p` is in cell `p % capacity`, whose word then counts `p + 1` written
//! values. A value costs each side one compare-and-swap on a word of its own: writers share `head`,
//! each reader has its cursor. Only the cells move between processors, and a queue's single reader
//! writes no cell.
//!
//! | the cell of position `p` | may be accessed by |
//! |---|---|
//! | counts less than `p + 1` | the writer that has locked the head, once every reader is past `p - capacity` |
//! | counts `p + 1` | readers whose cursor is at or before `p`, each while it has its cursor locked |
//!
//! # Writing
//!
//! The word of `head` holds the position written next and a lock bit. A writer locks the head,
//! checks for room, stores its value in the cell, stores the cell's word, and unlocks the head one
//! position further. It caches the position of the slowest reader (`slowest`) and asks for it again
//! only when the queue looks full.
//!
//! # Reading
//!
//! A cell counts the readers that have not received its value. The last one moves the value out;
//! the others clone it, several at once. A reader may be ahead of `head` for a moment, by the
//! values that a writer has written and not yet published.
//!
//! ```text
//!   cell of p, three readers    (p + 1, 3) ─────────▶ (p + 1, 2) ─────────▶ (p + 1, 1)
//!                                         clone, − 1           clone, − 1    the last one moves
//!                                                                            the value out
//! ```
//!
//! Two readers that clone the last copies at the same time may both have seen a count of two. The
//! one that decrements last takes the original out of the cell and drops it once it holds no lock.
//!
//! A single reader always finds a count of one. It moves each value out and never writes a cell.
//!
//! # Subscribing and leaving
//!
//! Readers subscribe and leave under the head's lock, so that every value knows how many readers
//! want it. A queue without readers accepts and counts values: "until every reader has received it"
//! holds at once.
//!
//! # Closing
//!
//! The closer sets its mark under the head's lock. A writer checks the mark under the same lock, so
//! no value follows the mark. The closer waits for a writer and never for a `Clone`, because no
//! thread that has locked the head runs one.
//!
//! # Lock order
//!
//! | a thread that holds | may take | may wait for |
//! |---|---|---|
//! | the lock of the head | the subscribers' lock; a cursor, by [`Cursor::try_lock`] only | no reader: it unlocks the head before it retries |
//! | a cursor | the lock of its stash | its own `Clone` |
//! | the subscribers' lock | nothing | a cursor that is `CHANGING`, for a few stores |
//!
//! So a `Clone` of any length delays no writer, no closer and no other reader, except one that
//! waits for the cursor itself.
//!
//! # Invariants
//!
//! - Every cursor is between `head - capacity` and `head`, and at or after `slowest`. A cursor may
//!   pass `head` only while a writer has it locked.
//! - A value stays in its cell until the last reader has passed it or left. The storage therefore
//!   needs no `Drop`: each reader keeps the buffer alive, and a reader that leaves frees its
//!   values.
#![allow(
    unsafe_code,
    reason = "values are guarded by cursors, which the borrow checker cannot see"
)]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::{MaybeUninit, needs_drop};

use super::cursor::{Cursor, CursorGuard, increase};
use super::kind::{
    BufferState, Kind, NoMemory, ReadOutcome, ReadResult, Receive, ReserveError, RingIndex,
    WritePermit, Written, allocate_slots,
};
use super::start::Start;
use crate::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::sync::{Arc, CachePadded, Spin, UnsafeCell};

/// The lock bit of the head's word: a writer, a closer, or a reader that subscribes or leaves is
/// active.
const LOCKED: u64 = 1;
/// One position, in the bits above the lock bit.
const ONE: u64 = 2;

/// The number of readers that one queue can have: the 24 bits below the position in the word of a
/// cell.
const MOST_READERS: usize = (1 << 24) - 1;

/// A position after which the words of unread cells may have begun to repeat: half of the 2^40
/// positions that fit above the readers.
const REPEATS_AFTER: u64 = 1 << 39;

/// A value and one word, because every byte of a cell moves from one processor to another and back.
///
/// The life of a cell: a writer stores the value and then the word; each reader but the last clones
/// the value and decrements the word; the last reader moves the value out and advances its cursor;
/// a writer that has seen that cursor stores the next value.
struct Cell<T> {
    /// One more than the position of the value, as far as it fits above [`MOST_READERS`]; below it
    /// the number of readers that have not received the value. The last of them does not decrement
    /// it. Stored by the writer that has locked the head, decremented by readers that have locked
    /// their cursors.
    word: AtomicU64,
    /// The module's table says which thread may access it.
    value: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Cell<T> {
    /// The number of readers that have not received the value at `position`; zero if the value is
    /// not present. Otherwise the word is that of `capacity` positions before, or of a recent one,
    /// so that the missing bits of a position make no difference.
    #[inline(always)]
    fn pending_readers(&self, position: u64) -> usize {
        // Pairs with the `Release` store in `HeadGuard::put`: the value is visible. Pairs with
        // `count_out`, too: a reader that finds one reader left, itself, sees the other readers'
        // clones finished.
        let pending = self.word.load(Acquire).wrapping_sub(written(position));
        if pending <= MOST_READERS as u64 { pending as usize } else { 0 }
    }

    /// Decrements the number of readers. Returns whether this reader was the last one: then it owns
    /// the value in the cell.
    ///
    /// The caller has cloned the value, or leaves without it, and must not access it afterwards
    /// unless this returned `true`.
    #[inline(always)]
    fn count_out(&self) -> bool {
        // `Release` publishes the end of this reader's `Clone`; `Acquire` makes the others' visible
        // to the last one. Pairs with itself and with the load in `pending_readers`.
        self.word.fetch_sub(1, AcqRel) as usize & MOST_READERS == 1
    }
}

/// The word of a cell with the value at `position` that every reader has received.
#[inline(always)]
const fn written(position: u64) -> u64 {
    (position + 1).wrapping_mul(MOST_READERS as u64 + 1)
}

// SAFETY: a cell owns its value.
unsafe impl<T: Send> Send for Cell<T> {}
// SAFETY: the module's table: writers have exclusive access to a cell (`Send` moves the value
// between threads); readers clone through shared references, several at once (`Sync`), and the one
// that moves the value out is the last.
unsafe impl<T: Send + Sync> Sync for Cell<T> {}

/// The storage of a queue. `head` is on a cache line of its own, because every write changes it;
/// readers load the other fields.
pub(super) struct Queue<T> {
    /// One cell for each position modulo the capacity.
    cells: Box<[Cell<T>]>,
    /// The index of a position in `cells`. Never changes.
    index: RingIndex,
    /// The number of readers, which is the count that a new value starts with. Changed and read
    /// under the head's lock.
    readers: AtomicUsize,
    /// The record is closed. Set under the head's lock; readers load it without.
    closed: AtomicBool,
    /// The position written next and its lock.
    head: CachePadded<Head>,
}

/// The words that writers change, one writer at a time.
struct Head {
    /// The position written next above the lock bit. Changed by compare-and-swap to lock, by a
    /// store to unlock.
    word: AtomicU64,
    /// No reader is before this position. A cache, accessed under the head's lock: cursors only
    /// advance and new readers start at `head`, so an old value is too low at worst, never too
    /// high.
    slowest: AtomicU64,
    /// The values accepted while the queue had no readers. Changed under the head's lock, loaded by
    /// metrics.
    overwritten: AtomicU64,
}

impl<T: Clone> Queue<T> {
    /// An open queue without readers.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] if the allocator has no room for `capacity` cells.
    pub(super) fn new(capacity: usize) -> Result<Self, NoMemory> {
        let cell =
            || Cell { word: AtomicU64::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) };
        Ok(Self {
            cells: allocate_slots(capacity, cell)?,
            index: RingIndex::new(capacity),
            readers: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            head: CachePadded::new(Head {
                word: AtomicU64::new(0),
                slowest: AtomicU64::new(0),
                overwritten: AtomicU64::new(0),
            }),
        })
    }

    /// The cell of a position, whichever value it holds by now.
    #[inline(always)]
    fn cell(&self, position: u64) -> &Cell<T> {
        &self.cells[self.index.of(position)]
    }

    /// The position written next, as far as it is published: outdated while a writer is active.
    fn head(&self) -> u64 {
        // Pairs with the `Release` store in the drop of a `HeadGuard`.
        self.head.word.load(Acquire) / ONE
    }

    /// Locks the head at the first attempt. `None` if it is locked, or was locked during the call.
    #[inline(always)]
    fn try_lock_head(&self) -> Option<HeadGuard<'_, T>> {
        let word = self.head.word.load(Relaxed);
        // Pairs with the `Release` store in the drop of the guard before, and with `may_sleep`.
        if word & LOCKED == 0
            && self.head.word.compare_exchange(word, word | LOCKED, AcqRel, Relaxed).is_ok()
        {
            return Some(HeadGuard { queue: self, word });
        }
        None
    }

    /// Locks the head, and waits for a thread that has locked it. The wait is short, unless a writer
    /// makes its value in place: under the head's lock runs no other user code, and no thread waits
    /// for a `Clone`.
    fn lock_head(&self) -> HeadGuard<'_, T> {
        let mut spin = Spin::new();
        loop {
            if let Some(guard) = self.try_lock_head() {
                return guard;
            }
            spin.wait();
        }
    }

    /// Adds a reader, which `subscribe` gives a cursor at the position that it is called with.
    ///
    /// `subscribe` runs under the head's lock and takes the subscribers' lock: no value is accepted
    /// between the moment that fixes the position and the moment from which writers see the cursor.
    /// If it fails, the queue is unchanged.
    ///
    /// # Panics
    ///
    /// If the queue has [`MOST_READERS`] readers already.
    pub(super) fn enter<O, E>(&self, subscribe: impl FnOnce(u64) -> Result<O, E>) -> Result<O, E> {
        let guard = self.lock_head();
        // `Relaxed`, here and below: the lock of the head orders it.
        let readers = self.readers.load(Relaxed) + 1;
        assert!(readers <= MOST_READERS, "a queue can have {MOST_READERS} readers");
        let subscribed = subscribe(guard.position())?;
        if readers == 1 && guard.position() > REPEATS_AFTER {
            // The cells were not used for as many values as a word can tell apart.
            self.cells.iter().for_each(|cell| cell.word.store(0, Relaxed));
        }
        // Last: a reader that was refused is not counted, and no value waits for it. `Relaxed`: the
        // lock of the head orders it.
        self.readers.store(readers, Relaxed);
        Ok(subscribed)
    }

    /// Removes a reader, returns the values that only it had not received, and calls `remove` with
    /// the number of its unread values before another thread writes, subscribes or leaves: a reader
    /// without an entry is no reader any more, whatever its cursor says.
    ///
    /// The caller drops the returned values once it holds no lock. It then wakes the writers that
    /// waited for this reader.
    pub(super) fn leave(&self, cursor: &Cursor, remove: impl FnOnce(u64)) -> Vec<T> {
        let mut spin = Spin::new();
        // A caller of `latest` may have locked the cursor for as long as its `Clone` takes. The
        // leaving reader waits for it; writers and a closer do not.
        let (head, mut guard) = loop {
            let head = self.lock_head();
            if let Some(guard) = cursor.try_lock() {
                break (head, guard);
            }
            drop(head);
            spin.wait();
        };
        // With the head locked no reader is ahead of it, so this does not overflow.
        let unread = head.position() - guard.next();
        let mut freed = Vec::new();
        for position in guard.next()..guard.next() + unread {
            let cell = self.cell(position);
            if cell.pending_readers(position) == 1 || cell.count_out() {
                // SAFETY: `position` is before `head` and this reader's cursor, locked here, is not
                // past it, so the value is present; no other reader wants it, so no other thread
                // accesses it, and it is not read again.
                freed.push(cell.value.with_mut(|value| unsafe { (*value).assume_init_read() }));
            }
        }
        // The cursor moves to the head, so that its last snapshot counts the values as not
        // delivered.
        guard.discard(unread);
        // The subscribers' lock is not taken while a cursor is locked: a thread under that lock
        // waits for cursors.
        drop(guard);
        // `Relaxed`, both: the lock of the head, held until the end of this function, orders them.
        self.readers.store(self.readers.load(Relaxed) - 1, Relaxed);
        remove(unread);
        freed
    }

    /// A clone of the newest value and its number, if any reader has not received it. `behind`
    /// returns the cursor of a reader before a position, an unlocked one if it can.
    ///
    /// The caller waits for that reader, whose `Clone` may take long, only after it has unlocked
    /// the head: writers continue meanwhile. While the caller clones, it has that cursor locked:
    /// the reader cannot receive the value, so the value stays in its cell.
    pub(super) fn latest(&self, behind: impl Fn(u64) -> Option<Arc<Cursor>>) -> Option<(u64, T)> {
        let mut spin = Spin::new();
        loop {
            let guard = self.lock_head();
            let head = guard.position();
            let cursor = behind(head)?;
            let locked = cursor.try_lock();
            drop(guard);
            let Some(_reader) = locked.filter(|reader| reader.next() < head) else {
                spin.wait();
                continue;
            };
            let newest = self.cell(head - 1);
            // SAFETY: a reader that had its entry while the head was locked, and whose cursor is
            // locked since, has not received the value before `head`: so it is present, no other
            // reader moves it out, and its cell is not written again. Others may clone it at the
            // same time.
            let value = newest.value.with(|value| unsafe { (*value).assume_init_ref().clone() });
            return Some((head, value));
        }
    }

    /// Writes the values of a batch that fit, with one lock and one look at the slowest reader.
    /// Returns the number of values that the record has accepted so far; the values that did not
    /// fit stay in `batch`.
    ///
    /// Values move into `evicted` if the queue has no readers. The caller drops them once it holds
    /// no lock.
    ///
    /// # Errors
    ///
    /// [`ReserveError`] if not one value fits or the record is closed. Then the batch is unchanged.
    pub(super) fn write_batch<const N: usize>(
        &self,
        batch: &mut arrayvec::ArrayVec<T, N>,
        slowest: impl Fn() -> u64,
        evicted: &mut arrayvec::ArrayVec<T, N>,
    ) -> Result<u64, ReserveError> {
        let mut guard = self.lock_head();
        let fitting = guard.fitting(batch.len() as u64, slowest)?;
        for value in batch.drain(..fitting as usize) {
            evicted.extend(guard.put(|| value));
        }
        Ok(guard.position())
    }
}

/// The locked head of a queue. The drop publishes what it wrote.
///
/// It is the queue's write permit. A guard that wrote nothing unlocks the head at the same
/// position.
pub(super) struct HeadGuard<'q, T> {
    /// The queue whose head is locked.
    queue: &'q Queue<T>,
    /// The word that the drop stores: without the lock bit, with the position after the values
    /// written.
    word: u64,
}

impl<T> HeadGuard<'_, T> {
    /// The position written next.
    #[inline(always)]
    const fn position(&self) -> u64 {
        self.word / ONE
    }

    /// Whether `wanted` values certainly fit: the queue is open, and has room according to the
    /// cached position of the slowest reader.
    ///
    /// `false` decides nothing: the cache may be outdated. On the path of a value this costs no
    /// look at a cursor.
    #[inline(always)]
    fn certainly_fits(&self, wanted: u64) -> bool {
        let queue = self.queue;
        // `Relaxed`, all three: the lock of the head orders them.
        let used = self.position().saturating_sub(queue.head.slowest.load(Relaxed));
        !queue.closed.load(Relaxed)
            && (used + wanted <= queue.index.capacity() || queue.readers.load(Relaxed) == 0)
    }

    /// How many of `wanted` values fit now, at least one. Asks for the position of the slowest
    /// reader if the cache leaves no room for all of them, and caches it.
    ///
    /// # Errors
    ///
    /// [`ReserveError::Closed`], and [`ReserveError::Full`] if not even one value fits.
    fn fitting(&self, wanted: u64, slowest: impl FnOnce() -> u64) -> Result<u64, ReserveError> {
        // `Relaxed`, here and below: the lock of the head orders it.
        if self.queue.closed.load(Relaxed) {
            return Err(ReserveError::Closed);
        }
        if self.certainly_fits(wanted) {
            return Ok(wanted);
        }
        // The `Acquire` loads of the cursors in there see the reads before those positions
        // finished, so `put` may reuse their cells.
        let slowest = slowest();
        self.queue.head.slowest.store(slowest, Relaxed);
        match self.queue.index.capacity().saturating_sub(self.position().saturating_sub(slowest)) {
            0 => Err(ReserveError::Full),
            room => Ok(room.min(wanted)),
        }
    }

    /// Writes a value, which [fits](Self::fitting). Returns it if the queue has no readers: it is
    /// accepted and held by no cell.
    #[inline(always)]
    fn put(&mut self, make: impl FnOnce() -> T) -> Option<T> {
        // First: if it panics, nothing has changed.
        let value = make();
        let queue = self.queue;
        let position = self.position();
        self.word += ONE;
        // `Relaxed`: the lock of the head orders it.
        let readers = queue.readers.load(Relaxed);
        if readers == 0 {
            increase(&queue.head.overwritten, 1);
            return Some(value);
        }
        let cell = &queue.cells[queue.index.of(position)];
        // SAFETY: this guard is the only writer. `fitting` has seen, with acquire, every cursor
        // past the cell's last value, which the last reader moved out: no thread accesses the cell
        // until it counts `position + 1`, and no value is overwritten without a drop.
        cell.value.with_mut(|slot| unsafe { (*slot).write(value) });
        // Pairs with the `Acquire` load in `Cell::pending_readers`.
        cell.word.store(written(position) + readers as u64, Release);
        None
    }
}

impl<T> Drop for HeadGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // Pairs with the `Acquire` in `try_lock_head`, `head` and `may_sleep`.
        self.queue.head.word.store(self.word, Release);
    }
}

impl<T> WritePermit<T> for HeadGuard<'_, T> {
    fn number(&self) -> u64 {
        self.position() + 1
    }

    /// Advances the head by the drop of the guard, after the cell.
    #[inline(always)]
    fn write(mut self, make: impl FnOnce() -> T) -> Written<T> {
        let evicted = self.put(make);
        Written { evicted, produced: self.position() }
    }
}

impl<T: Clone> BufferState for Queue<T> {
    fn produced(&self) -> u64 {
        self.head()
    }

    fn overwritten(&self) -> u64 {
        // `Relaxed`: a count.
        self.head.overwritten.load(Relaxed)
    }

    /// The values that the slowest reader has not received. None without readers.
    fn depth(&self, slowest: Option<u64>) -> usize {
        slowest.map_or(0, |slowest| self.head().saturating_sub(slowest) as usize)
    }

    /// Up to the published head. Zero for a reader that is ahead of it for a moment.
    fn readable(&self, next: u64) -> u64 {
        self.head().saturating_sub(next)
    }

    /// A queue loses no values.
    fn missed(&self, _next: u64) -> u64 {
        0
    }

    /// Unlimited without readers.
    fn room(&self, slowest: Option<u64>) -> u64 {
        match slowest {
            Some(slowest) => {
                self.index.capacity().saturating_sub(self.head().saturating_sub(slowest))
            }
            None => u64::MAX,
        }
    }

    fn is_closed(&self) -> bool {
        // Pairs with the `Release` store in `close`: a reader that sees the mark sees every value.
        self.closed.load(Acquire)
    }
}

impl<T: Clone> Kind<T> for Queue<T> {
    /// Writers wait for the slowest reader, and `latest` and writers look at cursors: each read
    /// locks its cursor.
    const GATED: bool = true;

    type Permit<'k>
        = HeadGuard<'k, T>
    where
        Self: 'k;

    /// One compare-and-swap, and no look at a cursor while the cached position of the slowest
    /// reader leaves room.
    #[inline(always)]
    fn try_reserve(&self) -> Option<HeadGuard<'_, T>> {
        let guard = self.try_lock_head()?;
        if guard.certainly_fits(1) { Some(guard) } else { None }
    }

    /// Waits for an active writer. Calls `slowest`, which takes the subscribers' lock, under the
    /// head's lock.
    fn reserve(&self, slowest: impl FnOnce() -> u64) -> Result<HeadGuard<'_, T>, ReserveError> {
        let guard = self.lock_head();
        guard.fitting(1, slowest)?;
        Ok(guard)
    }

    /// Two loads and no compare-and-swap apart from the cursor's own lock, if this is the last
    /// reader; a `Clone` and one decrement otherwise. A `Clone` that panics leaves the count and
    /// the cursor as they were.
    #[inline(always)]
    fn try_read<P: Receive<T>>(
        &self,
        guard: &mut CursorGuard<'_>,
        out: &mut ReadResult<'_, T, P>,
    ) -> bool {
        let next = guard.next();
        let cell = self.cell(next);
        let pending_readers = cell.pending_readers(next);
        // Not written yet. `read` decides whether it ever will be.
        if pending_readers == 0 {
            return false;
        }
        if pending_readers == 1 && !P::BY_REFERENCE {
            // SAFETY: the cell shows that the value is present; this reader has not received it, so
            // no writer accesses it; no other reader wants it, so it is moved out once.
            out.place.receive(cell.value.with_mut(|value| unsafe { (*value).assume_init_read() }));
        } else {
            // SAFETY: as above, but others want the value too: they may clone it now, and the
            // reader that moves it out waits until this one has counted itself out below.
            cell.value.with(|value| out.place.receive_ref(unsafe { (*value).assume_init_ref() }));
            let last = pending_readers == 1 || cell.count_out();
            if last && const { needs_drop::<T>() } {
                // SAFETY: no other reader wants the value, or the others counted themselves out
                // while this one had it: it is the last, and the only one left.
                out.evicted =
                    Some(cell.value.with_mut(|value| unsafe { (*value).assume_init_read() }));
            }
        }
        // After the last access to the cell: a writer that sees the new position may reuse it.
        guard.advance(out.nth);
        true
    }

    /// The mark is loaded after the cell, as in a ring.
    #[inline(always)]
    fn is_dry(&self, next: u64) -> bool {
        self.cell(next).pending_readers(next) == 0 && !self.is_closed()
    }

    /// Asks for the close first: once closed, a value that is absent afterwards stays absent.
    fn read<P: Receive<T>>(
        &self,
        guard: &mut CursorGuard<'_>,
        out: &mut ReadResult<'_, T, P>,
    ) -> ReadOutcome {
        let closed = self.is_closed();
        match self.try_read(guard, out) {
            true => ReadOutcome::Value,
            // No value is written after the close.
            false if closed => ReadOutcome::Closed,
            false => ReadOutcome::Empty,
        }
    }

    /// The word of the head is the one that the writer of the awaited value changes. `false` while
    /// it is locked: the writer that locked it may have missed the waker.
    fn may_sleep(&self, next: u64) -> bool {
        let word = self.head.word.load(Relaxed);
        // A read-modify-write reads the newest value of the word; its `Release` half pairs with the
        // `Acquire` in `try_lock_head`: a writer that adds a value afterwards sees the registered
        // waker.
        word & LOCKED == 0
            && word / ONE <= next
            && self.head.word.compare_exchange(word, word, AcqRel, Relaxed).is_ok()
            && !self.is_closed()
    }

    /// After the newest value. The queue's own `enter` is used instead, because it fixes the
    /// position under the head's lock.
    fn start(&self, _start: Option<Start>) -> u64 {
        self.head()
    }

    /// Sets the mark under the head's lock, which the last writer has released by then.
    fn close(&self) {
        let _no_writer = self.lock_head();
        // Pairs with the `Acquire` load in `is_closed`.
        self.closed.store(true, Release);
    }
}

#[cfg(all(test, not(aimdb_loom)))]
mod tests {
    use super::*;
    use core::convert::Infallible;

    fn queue_at(position: u64, word: u64) -> Queue<u64> {
        let queue = Queue::new(1).expect("one cell finds room");
        // `Relaxed`, both: one thread.
        queue.head.word.store(position * ONE, Relaxed);
        queue.cells[0].word.store(word, Relaxed);
        queue
    }

    /// A cell's word repeats every 2^40 positions. The word that the last reader of position 0 left
    /// behind must not count as a value once a queue without readers for that many positions has a
    /// reader again.
    #[test]
    fn a_first_reader_after_very_many_values_finds_nothing() {
        for position in [1 << 40, (1 << 40) + 1, 3 << 40] {
            let left_behind = written(position & ((1 << 40) - 1)) + 1;
            let queue = queue_at(position, left_behind);
            let cursor = queue.enter(|at| {
                assert_eq!(at, position);
                Ok::<_, Infallible>(Cursor::new("reader".into(), false, at))
            });
            let Ok(cursor) = cursor;
            let mut place = None;
            let mut out = ReadResult::nth(1, &mut place);
            assert!(queue.read(&mut cursor.lock(), &mut out) == ReadOutcome::Empty);
            assert_eq!(queue.cell(position).pending_readers(position), 0);
            queue.leave(&cursor, |_| {});
        }
    }
}
