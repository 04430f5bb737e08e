//! `SpmcQueue`: every value until every reader has it. A full queue holds its writers back.
//!
//! The value at position `p` lives in cell `p % capacity`, which then says `p + 1` written. A value costs each side one
//! compare-and-swap on a word of its own: writers share `head`, a reader has its cursor, and in between only the cells go
//! from one processor to the other, and a reader that is alone writes none.
//!
//! | the cell of position `p` | who may touch it |
//! |---|---|
//! | says less than `p + 1` | the writer that holds the head's lock, once every reader is past `p - capacity` |
//! | says `p + 1` | readers whose cursor is at or before `p`, each while it holds its cursor |
//!
//! # Writing
//!
//! The word of `head` is the position to be written next, with a bit that the writer holds. A writer remembers how far
//! the slowest reader was (`gate`) and asks again only when the queue looks full.
//!
//! # Reading
//!
//! A cell counts the readers that still want its value. The last one moves it out; those before it clone, several at
//! once. A reader may be ahead of `head` for a moment, by what a writer has written and not yet let go of.
//!
//! # Coming and going
//!
//! Readers come and go under the head's lock, so that every value knows how many want it. A queue without readers
//! accepts and counts: "until every reader has it" is true at once.
#![allow(
    unsafe_code,
    reason = "values are guarded by cursors, which the borrow checker cannot see"
)]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::MaybeUninit;

use super::cursor::{Cursor, Held, add};
use super::kind::{Kind, Lap, NoMemory, Outlet, Pushed, Refused, Taken, Turn, places};
use crate::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::sync::{Padded, Spin, UnsafeCell};

/// The bit of the head's word below the position.
const LOCKED: u64 = 1;
const ONE: u64 = 2;

/// Readers that one queue can have.
const MOST_READERS: usize = (1 << 24) - 1;

/// A position so far from the first that words may have begun to repeat.
const LONG_AGO: u64 = 1 << 39;

/// A value and one word, because every byte of a cell goes from one processor to another and back.
struct Cell<T> {
    /// One more than the position of the value here, as far as it fits above [`MOST_READERS`], and below it how many
    /// readers have not had the value yet; the last of them does not count itself out.
    word: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Cell<T> {
    /// How many readers still want the value at `position`; none if it is not there. Otherwise the word is that of the
    /// lap before, or of one not long ago, so that the bits a position is short of make no difference.
    #[inline(always)]
    fn wanted(&self, position: u64) -> usize {
        let wanted = self.word.load(Acquire).wrapping_sub(written(position));
        if wanted <= MOST_READERS as u64 { wanted as usize } else { 0 }
    }

    /// Counts a reader out. Says whether it was the last.
    #[inline(always)]
    fn count_out(&self) -> bool {
        self.word.fetch_sub(1, AcqRel) as usize & MOST_READERS == 1
    }
}

/// The word of a cell with the value at `position`, wanted by nobody.
#[inline(always)]
const fn written(position: u64) -> u64 {
    (position + 1).wrapping_mul(MOST_READERS as u64 + 1)
}

// SAFETY: a cell owns its value.
unsafe impl<T: Send> Send for Cell<T> {}
// SAFETY: the module's table: writers are alone with a cell (`Send` moves the value between threads); readers clone
// through shared references, several at once (`Sync`), and the one that moves the value out is the last.
unsafe impl<T: Send + Sync> Sync for Cell<T> {}

pub(super) struct Queue<T> {
    cells: Box<[Cell<T>]>,
    lap: Lap,
    /// Changed under the head's lock, like the one below.
    readers: AtomicUsize,
    closed: AtomicBool,
    head: Padded<Head>,
}

/// What writers change, one after the other.
struct Head {
    word: AtomicU64,
    /// No reader is before this position.
    gate: AtomicU64,
    overwritten: AtomicU64,
}

impl<T: Clone> Queue<T> {
    pub(super) fn new(capacity: usize) -> Result<Self, NoMemory> {
        let cell =
            || Cell { word: AtomicU64::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) };
        Ok(Self {
            cells: places(capacity, cell)?,
            lap: Lap::of(capacity),
            readers: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            head: Padded::new(Head {
                word: AtomicU64::new(0),
                gate: AtomicU64::new(0),
                overwritten: AtomicU64::new(0),
            }),
        })
    }

    #[inline(always)]
    fn cell(&self, position: u64) -> &Cell<T> {
        &self.cells[self.lap.index(position)]
    }

    fn head(&self) -> u64 {
        self.head.word.load(Acquire) / ONE
    }

    /// Becomes the only writer, at the first attempt.
    #[inline(always)]
    fn try_lock(&self) -> Option<QueueTurn<'_, T>> {
        let word = self.head.word.load(Relaxed);
        if word & LOCKED == 0
            && self.head.word.compare_exchange(word, word | LOCKED, AcqRel, Relaxed).is_ok()
        {
            return Some(QueueTurn { queue: self, word });
        }
        None
    }

    fn lock(&self) -> QueueTurn<'_, T> {
        let mut spin = Spin::new();
        loop {
            if let Some(turn) = self.try_lock() {
                return turn;
            }
            spin.wait();
        }
    }

    /// Counts a reader in that `seat` gives a cursor for the position it is called with.
    pub(super) fn enter<O, E>(&self, seat: impl FnOnce(u64) -> Result<O, E>) -> Result<O, E> {
        let turn = self.lock();
        let readers = self.readers.load(Relaxed) + 1;
        assert!(readers <= MOST_READERS, "a queue can have {MOST_READERS} readers");
        let seated = seat(turn.word / ONE)?;
        if readers == 1 && turn.word / ONE > LONG_AGO {
            // Nobody used the cells for what may be as many values as a word can tell apart.
            self.cells.iter().for_each(|cell| cell.word.store(0, Relaxed));
        }
        self.readers.store(readers, Relaxed);
        Ok(seated)
    }

    /// Counts a reader out, lets go of what only it still wanted, and has it `unseat`ed, with how much it left, before
    /// anybody else writes, comes or goes: who has no seat is no reader any more, whatever its cursor says.
    pub(super) fn leave(&self, cursor: &Cursor, unseat: impl FnOnce(u64)) -> Vec<T> {
        let mut spin = Spin::new();
        // An onlooker at `latest` may have the cursor, for as long as its `Clone` lasts. The leaving reader waits for it,
        // but writers and a closer do not.
        let (turn, mut held) = loop {
            let turn = self.lock();
            if let Some(held) = cursor.try_hold() {
                break (turn, held);
            }
            drop(turn);
            spin.wait();
        };
        let left = turn.word / ONE - held.next();
        let mut freed = Vec::new();
        for position in held.next()..held.next() + left {
            let cell = self.cell(position);
            if cell.wanted(position) == 1 || cell.count_out() {
                // SAFETY: `position` is before `head` and this reader's cursor, held here, is not past it, so the value
                // is there; nobody else wants it, so nobody else touches it, and it is not read again.
                freed.push(cell.value.with_mut(|value| unsafe { (*value).assume_init_read() }));
            }
        }
        held.pass(left);
        // The registry looks at cursors, so it must not be waited for while one is held.
        drop(held);
        self.readers.store(self.readers.load(Relaxed) - 1, Relaxed);
        unseat(left);
        freed
    }

    /// The newest value, not consumed, if any reader still wants it. `behind` finds the seat of such a reader, one that
    /// is not reading at this moment if it can.
    ///
    /// It waits for a reader, whose `Clone` may last, only after it has let go of the head: writers go on meanwhile.
    pub(super) fn latest(
        &self,
        behind: impl Fn(u64) -> Option<crate::sync::Arc<Cursor>>,
    ) -> Option<T> {
        let mut spin = Spin::new();
        loop {
            let turn = self.lock();
            let head = turn.word / ONE;
            let cursor = behind(head)?;
            let held = cursor.try_hold();
            drop(turn);
            let Some(_held) = held.filter(|held| held.next() < head) else {
                spin.wait();
                continue;
            };
            let newest = self.cell(head - 1);
            // SAFETY: a reader that had its seat while the head was locked, and is held since, wants the value before
            // `head`: so it is there, no other reader moves it out, and its cell is not written again. Others may clone
            // it at the same time.
            return Some(newest.value.with(|value| unsafe { (*value).assume_init_ref().clone() }));
        }
    }

    /// Room for this many more values; without end while nobody reads.
    pub(super) fn room(&self, slowest: Option<u64>) -> u64 {
        match slowest {
            Some(slowest) => {
                self.lap.capacity().saturating_sub(self.head().saturating_sub(slowest))
            }
            None => u64::MAX,
        }
    }

    /// Writes a batch while there is room; one lock, one look at the slowest reader.
    pub(super) fn write_batch<const N: usize>(
        &self,
        batch: &mut arrayvec::ArrayVec<T, N>,
        slowest: impl Fn() -> u64,
        evicted: &mut arrayvec::ArrayVec<T, N>,
    ) -> Result<u64, Refused> {
        let mut turn = self.lock();
        let fits = turn.fits(batch.len() as u64, slowest)?;
        for value in batch.drain(..fits as usize) {
            evicted.extend(turn.put(value));
        }
        Ok(turn.word / ONE)
    }
}

/// The lock of the head. What it wrote becomes visible when it is dropped.
pub(super) struct QueueTurn<'q, T> {
    queue: &'q Queue<T>,
    /// What the head's word will be.
    word: u64,
}

impl<T> QueueTurn<'_, T> {
    /// Whether `wanted` values are known to fit: the queue is open, and has room as far as was last seen.
    #[inline(always)]
    fn surely_fits(&self, wanted: u64) -> bool {
        let queue = self.queue;
        let used = (self.word / ONE).saturating_sub(queue.head.gate.load(Relaxed));
        !queue.closed.load(Relaxed)
            && (used + wanted <= queue.lap.capacity() || queue.readers.load(Relaxed) == 0)
    }

    /// How many of `wanted` values can be written now, at least one.
    fn fits(&self, wanted: u64, slowest: impl FnOnce() -> u64) -> Result<u64, Refused> {
        if self.queue.closed.load(Relaxed) {
            return Err(Refused::Closed);
        }
        if self.surely_fits(wanted) {
            return Ok(wanted);
        }
        let gate = slowest();
        self.queue.head.gate.store(gate, Relaxed);
        match self.queue.lap.capacity().saturating_sub((self.word / ONE).saturating_sub(gate)) {
            0 => Err(Refused::Full),
            room => Ok(room.min(wanted)),
        }
    }

    /// Writes a value that [fits](Self::fits); gives it back if nobody reads.
    #[inline(always)]
    fn put(&mut self, value: T) -> Option<T> {
        let queue = self.queue;
        let position = self.word / ONE;
        self.word += ONE;
        let readers = queue.readers.load(Relaxed);
        if readers == 0 {
            add(&queue.head.overwritten, 1);
            return Some(value);
        }
        let cell = &queue.cells[queue.lap.index(position)];
        // SAFETY: this turn is the only writer. `fits` has seen, with acquire, every cursor past the cell's last value,
        // which the last reader moved out: nobody touches the cell until it says `position + 1`, and nothing is
        // overwritten without being dropped.
        cell.value.with_mut(|slot| unsafe { (*slot).write(value) });
        cell.word.store(written(position) + readers as u64, Release);
        None
    }
}

impl<T> Drop for QueueTurn<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.queue.head.word.store(self.word, Release);
    }
}

impl<T> Turn<T> for QueueTurn<'_, T> {
    #[inline(always)]
    fn write(mut self, value: T) -> Pushed<T> {
        let evicted = self.put(value);
        Pushed { evicted, produced: self.word / ONE }
    }
}

impl<T: Clone> Kind<T> for Queue<T> {
    const GATED: bool = true;

    type Turn<'k>
        = QueueTurn<'k, T>
    where
        Self: 'k;

    #[inline(always)]
    fn try_turn(&self) -> Option<QueueTurn<'_, T>> {
        let turn = self.try_lock()?;
        if turn.surely_fits(1) { Some(turn) } else { None }
    }

    fn turn(&self, slowest: impl FnOnce() -> u64) -> Result<QueueTurn<'_, T>, Refused> {
        let turn = self.lock();
        turn.fits(1, slowest)?;
        Ok(turn)
    }

    #[inline(always)]
    fn try_read(&self, held: &mut Held<'_>, out: &mut Outlet<T>) -> bool {
        let next = held.next();
        let cell = self.cell(next);
        let wanted = cell.wanted(next);
        if wanted == 0 {
            return false;
        }
        out.value = Some(if wanted == 1 {
            // SAFETY: the cell says that the value is there; this reader has not had it, so no writer comes near it; nobody
            // else wants it, so it is moved out once.
            cell.value.with_mut(|value| unsafe { (*value).assume_init_read() })
        } else {
            // SAFETY: as above, but others want it too: they clone it, perhaps now, and whoever moves it out waits for
            // this reader to be counted out below.
            let copy = cell.value.with(|value| unsafe { (*value).assume_init_ref().clone() });
            if cell.count_out() {
                // SAFETY: the others were counted out while this one cloned; it is the last, and the only one left.
                out.spare =
                    Some(cell.value.with_mut(|value| unsafe { (*value).assume_init_read() }));
            }
            copy
        });
        held.deliver(out.nth);
        true
    }

    fn read(&self, held: &mut Held<'_>, out: &mut Outlet<T>) -> Taken {
        let closed = self.is_closed();
        match self.try_read(held, out) {
            true => Taken::Value,
            // Nothing is written once it is closed.
            false if closed => Taken::Closed,
            false => Taken::Empty,
        }
    }

    fn may_sleep(&self, next: u64) -> bool {
        let word = self.head.word.load(Relaxed);
        word & LOCKED == 0
            && word / ONE <= next
            && self.head.word.compare_exchange(word, word, AcqRel, Relaxed).is_ok()
            && !self.is_closed()
    }

    /// A new reader sees what comes after it subscribed.
    fn start(&self) -> u64 {
        self.head()
    }

    fn missed(&self, _next: u64) -> u64 {
        0
    }

    fn readable(&self, next: u64) -> u64 {
        self.head().saturating_sub(next)
    }

    fn depth(&self, slowest: Option<u64>) -> usize {
        slowest.map_or(0, |slowest| self.head().saturating_sub(slowest) as usize)
    }

    fn produced(&self) -> u64 {
        self.head()
    }

    fn overwritten(&self) -> u64 {
        self.head.overwritten.load(Relaxed)
    }

    fn close(&self) {
        let _nobody_writes = self.lock();
        self.closed.store(true, Release);
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }
}

#[cfg(all(test, not(aimdb_loom)))]
mod tests {
    use super::*;
    use core::convert::Infallible;

    fn queue_at(position: u64, word: u64) -> Queue<u64> {
        let queue = Queue::new(1).expect("one cell finds room");
        queue.head.word.store(position * ONE, Relaxed);
        queue.cells[0].word.store(word, Relaxed);
        queue
    }

    /// A cell's word repeats every 2^40 positions. What the last reader of position 0 left behind must not pass for a
    /// value once a queue that nobody read for so long has a reader again.
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
            let mut out = Outlet::nth(1);
            assert!(queue.read(&mut cursor.hold(), &mut out) == Taken::Empty);
            assert_eq!(queue.cell(position).wanted(position), 0);
            queue.leave(&cursor, |_| {});
        }
    }
}
