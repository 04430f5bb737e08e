//! The part of a buffer that is not on the path of a value and does not depend on the type of its
//! values, so that it is compiled once: subscribing, waiting, waking, metrics.
//!
//! The path of a value loads one word of the coordinator, the flags. It calls a function here only
//! if a flag is set, if the queue looks full, to note the time of every 64th value, or to report a lag
//! to threads that share a reader. Those
//! functions are `#[cold]`, so that the compiler keeps them out of the path.
//!
//! # The lock
//!
//! [`Subscribers`] is the data. The [`Coordinator`] is its lock, the
//! [flags](super::subscribers::flags) that writers and readers load instead of taking that lock,
//! and the wake-ups, which run outside of it.
//!
//! The lock is taken under the lock of a queue's head, and never while a cursor is locked. Its
//! holder takes no further lock: it loads cursors and the words of the storage. The one user code
//! it runs is [`Runtime::now`](crate::Runtime::now), which must not use the database. It waits for
//! no `Clone`. Wakers are cloned before it, and woken and dropped after it.
//!
//! # Waking
//!
//! Each function that may wake many waiters has the same loop, because a batch is limited and the
//! lock must not be held while wakers run:
//!
//! ```text
//!   lock     notify waiters, until the batch is full; update the flags
//!   unlock   wake the batch; begin again if waiters were left
//! ```
//!
//! # Registering
//!
//! Each `register_*` has two steps. If the list already holds an equivalent waker, there is nothing
//! to do: a task that is polled for another reason clones no waker. Otherwise it clones the waker
//! outside of the lock and registers it. The flag is set in the same lock section, before the
//! waiter checks its condition again.
//!
//! | waiter | second check |
//! |---|---|
//! | reader | [`Kind::may_sleep`](super::kind::Kind::may_sleep), by the caller |
//! | writer | the cursors and the room, in [`Coordinator::register_writer`] |
//! | task that waits for the drain | [`Kind::has_unread`](super::kind::Kind::has_unread), by the caller |
//!
//! # Closing
//!
//! The caller closes the storage first and then calls [`Coordinator::close`]. A waiter that
//! registers before that call is notified by it. A waiter that registers later has taken the lock
//! after it, so its second check sees the closed storage. No waiter sleeps on a closed record,
//! except tasks that wait for the drain: each read notifies them.

use alloc::vec::Vec;
use core::task::Waker;

use super::cfg::BufferCfg;
use super::cursor::{Cursor, CursorSnapshot};
use super::kind::BufferState;
use super::subscribers::flags::{ALL_FLAGS, EMPTIED, READER_FLAGS, READERS_WAIT, SEVERAL_WAIT};
use super::subscribers::{Backlog, Subscribers};
use super::waiters::{WaitTicket, WakeBatch, wake, wake_batches};
use crate::clock::{Clock, Instant};
use crate::metrics::{BlockedWriter, ReaderMetrics, RecordMetrics};
use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, Release},
};
use crate::sync::{Arc, CriticalSection, Lock, Spin};

/// The readers, the waiters and the metrics of one record.
pub(crate) struct Coordinator {
    /// A copy of [`Subscribers::flags`], updated under the lock; above them the number of times that
    /// no reader waited any more, as far as it fits.
    flags: AtomicUsize,
    /// The only lock of the coordinator.
    subscribers: Lock<Subscribers>,
    /// Never changed.
    cfg: BufferCfg,
    /// The clock of the runtime, for the time of the newest value and of blocked writers.
    clock: Arc<dyn Clock>,
}

/// The number of times that no reader waited any more, from the word of the flags.
#[inline(always)]
const fn emptied(word: usize) -> u32 {
    (word / EMPTIED) as u32
}

impl Coordinator {
    /// A coordinator without readers: the flag
    /// [`NO_READERS`](super::subscribers::flags::NO_READERS) is set.
    pub(super) fn new(cfg: BufferCfg, clock: Arc<dyn Clock>) -> Self {
        let subscribers = Subscribers::new(matches!(cfg, BufferCfg::Mailbox));
        let flags = AtomicUsize::new(subscribers.flags());
        Self { flags, subscribers: Lock::new(subscribers), cfg, clock }
    }

    /// The kind of the buffer, and its capacity.
    pub(crate) fn cfg(&self) -> BufferCfg {
        self.cfg
    }

    /// Whether one of these [flags](super::subscribers::flags) is set.
    #[inline(always)]
    pub(super) fn has_flag(&self, any_of: usize) -> bool {
        // `Relaxed`: the caller's read-modify-write before this acquires what `revalidate`
        // released, the flags included.
        self.flags.load(Relaxed) & any_of != 0
    }

    /// Whether the owner of `ticket`, which waits to read or was notified, may be in the FIFO. `false`
    /// is certain: no reader waits, or the list was emptied since the owner registered.
    ///
    /// The word cannot be outdated: the owner loaded or stored it when it registered, and a later
    /// load of the same word returns no earlier value.
    #[inline]
    pub(super) fn may_wait(&self, ticket: &WaitTicket) -> bool {
        // `Relaxed`: the word alone decides.
        let word = self.flags.load(Relaxed);
        word & READERS_WAIT != 0 && emptied(word) == ticket.emptied()
    }

    /// Whether the owner of `ticket`, which waits to read, is in the FIFO.
    #[cfg(all(test, aimdb_loom))]
    pub(super) fn is_in_list(&self, ticket: &WaitTicket) -> bool {
        self.subscribers.with(|subscribers| subscribers.links_reader(ticket))
    }

    /// Updates the word of the flags. The caller has the lock.
    #[inline(always)]
    fn update_flags(&self, changed: usize, flags: usize) {
        // `Relaxed`: stored under this lock only.
        let before = self.flags.load(Relaxed);
        let mut word = (before & !changed) | flags;
        if before & READERS_WAIT != 0 && word & READERS_WAIT == 0 {
            word = word.wrapping_add(EMPTIED);
        }
        // Compared first, because most lock sections change no flag, and a store would take the
        // cache line away from every writer and reader of the record.
        if before != word {
            // Its partner is no load of the flags but the waiter's later `revalidate`, whose
            // `Release` half publishes it.
            self.flags.store(word, Release);
        }
    }

    /// Calls `work` under the lock and updates the flags. `work` must call no user code but the
    /// runtime's clock, and take no lock.
    ///
    /// Functions that change no waiter and no entry use the lock directly and save the comparison.
    pub(super) fn subscribers<O>(&self, work: impl FnOnce(&mut Subscribers) -> O) -> O {
        self.subscribers.with(|subscribers| {
            let outcome = work(subscribers);
            self.update_flags(ALL_FLAGS, subscribers.flags());
            outcome
        })
    }

    /// [`subscribers`](Self::subscribers) for `work` that changes no more than the wait of readers and
    /// the time of the newest value: it updates the flags of these.
    #[inline]
    fn readers<O>(&self, work: impl FnOnce(&mut Subscribers) -> O) -> O {
        self.subscribers.with(|subscribers| {
            let outcome = work(subscribers);
            self.update_flags(READER_FLAGS, subscribers.reader_flags());
            outcome
        })
    }

    /// The clock of the runtime.
    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// The time now, by the clock of the runtime.
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The position of the slowest reader, if there is one.
    pub(super) fn slowest_reader(&self) -> Option<u64> {
        self.subscribers.with(|subscribers| subscribers.slowest())
    }

    /// The names of the readers.
    pub(super) fn reader_names(&self) -> Vec<Arc<str>> {
        self.subscribers.with(|subscribers| {
            subscribers.cursors().map(|cursor| Arc::clone(&cursor.name)).collect()
        })
    }

    /// Sets whether the record has observers.
    pub(super) fn set_observed(&self, observed: bool) {
        self.subscribers(|subscribers| subscribers.set_observed(observed));
    }

    /// Declares that several threads may wait through one reader.
    pub(super) fn share(&self) {
        self.subscribers.with(Subscribers::share);
    }

    /// Wakes the waiters that `fill` notifies under the lock, batch after batch, until `fill` returns
    /// that there are no more. The caller holds no lock.
    #[inline]
    fn wake_batches(&self, mut fill: impl FnMut(&mut Subscribers, &mut WakeBatch) -> bool) {
        wake_batches(|batch| self.subscribers(|subscribers| fill(subscribers, batch)));
    }

    // Writing.

    /// The position of the slowest reader, for a writer that knows there is one: it has locked the
    /// head of the queue, which has readers, and readers enter and leave under that lock.
    #[cold]
    pub(super) fn slowest(&self) -> u64 {
        self.slowest_reader().unwrap_or(0)
    }

    /// The cursor of a reader that has not received a value before `head`; an unlocked one, if
    /// there is one. `None` if every reader has received all values. For
    /// [`latest`](super::buffer::Buffer::latest) of a queue, which has locked the head.
    pub(super) fn behind(&self, head: u64) -> Option<Arc<Cursor>> {
        self.subscribers.with(|subscribers| {
            let mut behind = subscribers.cursors().filter(|cursor| cursor.next() < head);
            let first = behind.next()?;
            let unlocked = core::iter::once(first).chain(behind).find(|cursor| !cursor.is_locked());
            Some(Arc::clone(unlocked.unwrap_or(first)))
        })
    }

    /// Wakes the readers that wait for the `produced`th value, each once, and notes its time. A
    /// mailbox wakes one taker. The caller holds no lock.
    #[inline(never)]
    pub(super) fn wake_readers(&self, produced: u64) {
        if !self.has_flag(SEVERAL_WAIT) {
            let only = self.readers(|subscribers| {
                subscribers.stamp_written(produced, &*self.clock);
                subscribers.notify_only_reader()
            });
            // The only waker: where it panics, no other waiter is asleep because of it.
            if let Ok(only) = only {
                return wake(only);
            }
        }
        self.wake_several_readers(produced);
    }

    /// [`wake_readers`](Self::wake_readers) where several wait.
    #[inline]
    fn wake_several_readers(&self, produced: u64) {
        // One round for all batches: readers that register again meanwhile are not woken twice.
        let mut round = None;
        wake_batches(|batch| {
            self.readers(|subscribers| {
                // Here and not on the path of the value, which reads no clock.
                subscribers.stamp_written(produced, &*self.clock);
                subscribers.notify_readers(&mut round, batch)
            })
        });
    }

    /// Registers a writer's waker. Returns `false` if the writer must retry: there is room, the
    /// record is closed, or a reader is active.
    ///
    /// The check locks no cursor. It calls [`Cursor::revalidate`] for each, whose read-modify-write
    /// makes the registered waker visible to the next read through that cursor: that read then sees
    /// the flag [`WRITERS_WAIT`](super::subscribers::flags::WRITERS_WAIT). The check runs under the
    /// lock, so that no reader enters or leaves during it.
    pub(super) fn register_writer(
        &self,
        state: &dyn BufferState,
        ticket: &mut WaitTicket,
        waker: &Waker,
    ) -> bool {
        if !(ticket.is_registered()
            && self.subscribers.with(|subscribers| subscribers.holds_writer(ticket, waker)))
        {
            // The clone and the drop of a waker are user code: before the lock, and after it.
            let waker = waker.clone();
            let _replaced = self.subscribers(|subscribers| {
                subscribers.register_writer(ticket, waker, &*self.clock)
            });
        }
        let _section = CriticalSection::enter();
        !state.is_closed()
            && self.subscribers.with(|subscribers| {
                // Not `Subscribers::slowest`, whose loads may return old positions: the room would
                // look too small, and the writer would sleep.
                let mut slowest = None;
                for cursor in subscribers.cursors() {
                    // A locked cursor is about to advance: its reader may make room.
                    let Some(next) = cursor.revalidate() else { return false };
                    slowest = Some(slowest.map_or(next, |least: u64| least.min(next)));
                }
                state.room(slowest) == 0
            })
    }

    /// Ends a wait for room and passes an unused wake-up on, if there still is room for another
    /// writer.
    pub(super) fn cancel_write_wait(&self, state: &dyn BufferState, ticket: &mut WaitTicket) {
        let [dropped, next] = self.subscribers(|subscribers| {
            subscribers.cancel_write_wait(ticket, &|slowest| room(state, slowest))
        });
        // Both after the lock: user code.
        drop(dropped);
        wake(next);
    }

    // Reading.

    /// After a reader received `received` values: wakes the writers that have room for a value now,
    /// another waiter on the same cursor, and tasks that wait until the record is drained.
    ///
    /// At most `received` writers are woken: the values received before woke their own.
    #[cold]
    pub(super) fn wake_after_read(
        &self,
        state: &dyn BufferState,
        reader: usize,
        cursor: &Cursor,
        received: u64,
    ) {
        // Another waiter on the same cursor, or another taker, that there is a value for.
        let mut next = cursor.is_shared();
        self.wake_batches(|subscribers, batch| {
            // Once, although there may be several batches: one thread for the value that remains.
            if core::mem::take(&mut next) && readable(state, cursor) > 0 {
                batch.extend(subscribers.notify_next(reader));
            }
            let more = subscribers.notify_drain_waiters(batch);
            more | subscribers.notify_writers(batch, &|slowest| room(state, slowest).min(received))
        });
    }

    /// Registers a reader's waker. The reader must [revalidate](super::kind::Kind::may_sleep)
    /// before it sleeps.
    ///
    /// It also notes the time of the `produced`th value: a reader that runs dry has just seen it.
    pub(super) fn register_reader(
        &self,
        produced: u64,
        reader: usize,
        ticket: &mut WaitTicket,
        waker: &Waker,
    ) {
        if ticket.is_registered()
            && self.subscribers.with(|subscribers| {
                subscribers.stamp(produced, &*self.clock);
                subscribers.holds_reader(ticket, waker)
            })
        {
            return;
        }
        let waker = waker.clone();
        let _replaced = self.readers(|subscribers| {
            subscribers.stamp(produced, &*self.clock);
            // `Relaxed`: stored under this lock only.
            ticket.note_emptied(emptied(self.flags.load(Relaxed)));
            subscribers.register_reader(reader, ticket, waker)
        });
    }

    /// Wakes all threads that wait through one reader. It takes the lock whether or not one waits:
    /// a thread that registers afterwards sees, once it has registered, what the caller did before.
    #[cold]
    pub(super) fn wake_all_of(&self, reader: usize) {
        self.wake_batches(|subscribers, batch| subscribers.notify_all_of(reader, batch));
    }

    /// Ends a wait to read and passes an unused wake-up on.
    pub(super) fn cancel_read_wait(
        &self,
        state: &dyn BufferState,
        reader: usize,
        cursor: &Cursor,
        ticket: &mut WaitTicket,
    ) {
        let [dropped, next] = self.subscribers(|subscribers| {
            subscribers.cancel_read_wait(reader, ticket, &|| readable(state, cursor) > 0)
        });
        drop(dropped);
        wake(next);
    }

    /// After a reader has left: wakes the waiters that waited through it, and the writers that
    /// waited for it. Here no number of received values limits the writers: a slowest reader that
    /// leaves may make room in the whole queue.
    pub(super) fn wake_after_leave(&self, state: &dyn BufferState, reader: usize) {
        // Takers of a mailbox do not wait through one reader only.
        let alone = !matches!(self.cfg, BufferCfg::Mailbox);
        self.wake_batches(|subscribers, batch| {
            let more = alone && subscribers.notify_all_of(reader, batch);
            more | subscribers.notify_writers(batch, &|slowest| room(state, slowest))
        });
    }

    // Closing.

    /// Registers the waker of a task that waits until the record is drained. The task must
    /// [revalidate](super::kind::Kind::has_unread) before it sleeps.
    pub(super) fn register_drain_waiter(&self, ticket: &mut WaitTicket, waker: &Waker) {
        if ticket.is_registered()
            && self.subscribers.with(|subscribers| subscribers.holds_drain_waiter(ticket, waker))
        {
            return;
        }
        let waker = waker.clone();
        let _replaced =
            self.subscribers(|subscribers| subscribers.register_drain_waiter(ticket, waker));
    }

    /// Ends a wait for the drain. There is no wake-up to pass on.
    pub(super) fn cancel_drain_wait(&self, ticket: &mut WaitTicket) {
        if ticket.has_place() {
            let _dropped = self.subscribers(|subscribers| subscribers.cancel_drain_wait(ticket));
        }
    }

    /// Ends the reading of stages: see [`Subscribers::end_stages`].
    pub(crate) fn end_stages(&self) {
        self.subscribers(Subscribers::end_stages);
    }

    /// Whether the reader of `cursor` must drop the `received` values that it has just read.
    #[cold]
    pub(super) fn refuses_values(&self, cursor: &Cursor, received: u64) -> bool {
        self.subscribers.with(|subscribers| subscribers.refuse_values(cursor, received))
    }

    /// Wakes all waiters: the record is closed. The caller has closed the storage before.
    pub(super) fn close(&self) {
        self.wake_batches(Subscribers::close);
    }

    // Metrics.

    /// The number of values that the reader of `cursor` has lost, those it has not come to yet
    /// included.
    pub(super) fn lagged(state: &dyn BufferState, cursor: &Cursor) -> u64 {
        let (snapshot, missed) = snapshot_with_missed(state, cursor);
        snapshot.lagged + missed
    }

    /// The metrics of the record. The readers' numbers are taken before the writers': exact while
    /// no value moves; while values move, the numbers of each reader are consistent, and no reader
    /// is ahead of `produced`. The time of the newest value is exact from the first
    /// value after this call on.
    pub(crate) fn metrics(&self, state: &dyn BufferState, key: &str) -> RecordMetrics {
        // Before the lock: `Instant`'s difference is zero for a writer that begins to wait
        // afterwards.
        let now = self.clock.now();
        let produced = produced(state);
        let (cursors, last_update, blocked, departed) = self.subscribers(|subscribers| {
            subscribers.note_each(produced, now);
            // Clones of the `Arc`s, so that the lock is not held while the numbers are taken.
            let cursors: Vec<_> = subscribers.cursors().cloned().collect();
            (cursors, subscribers.updated(), subscribers.blocked(), subscribers.departed())
        });
        let is_mailbox = matches!(self.cfg, BufferCfg::Mailbox);
        let mut readers = Vec::new();
        for cursor in &cursors {
            let (snapshot, missed) = snapshot_with_missed(state, cursor);
            readers.push(ReaderMetrics {
                name: cursor.name.as_ref().into(),
                // For the other kinds the number of produced values follows.
                entered: if is_mailbox { snapshot.delivered } else { 0 },
                delivered: snapshot.delivered,
                lagged: snapshot.lagged + missed,
                pending: readable_at(state, snapshot.next) + snapshot.stashed,
            });
        }
        let _section = CriticalSection::enter();
        // After the readers' numbers: a value that is accepted meanwhile makes `produced` larger,
        // not smaller.
        let slowest = cursors.iter().min_by_key(|cursor| cursor.next());
        // A reader may have received a value whose writer has not incremented the head yet.
        let produced = cursors.iter().map(|cursor| cursor.next()).fold(state.produced(), u64::max);
        if !is_mailbox {
            for (reader, cursor) in readers.iter_mut().zip(&cursors) {
                reader.entered = produced - cursor.start;
            }
        }
        RecordMetrics {
            key: key.into(),
            buffer: self.cfg,
            readers,
            depth: state.depth(slowest.map(|cursor| cursor.next())),
            overwritten: state.overwritten(),
            produced,
            // The record counts them.
            filtered: 0,
            observers: Vec::new(),
            last_update,
            departed,
            blocked: blocked.and_then(|(since, writers)| {
                let held_back_by = slowest?.name.as_ref().into();
                Some(BlockedWriter { writers, held_back_by, waiting: now - since })
            }),
        }
    }

    /// The time of the newest value. It is exact from the first value after this call on.
    pub(crate) fn last_update(&self, state: &dyn BufferState) -> Option<Instant> {
        let now = self.clock.now();
        let produced = produced(state);
        self.subscribers(|subscribers| {
            subscribers.note_each(produced, now);
            subscribers.updated()
        })
    }

    /// The values that stages have not finished with, whether their readers have left or not.
    pub(crate) fn backlog(&self, state: &dyn BufferState) -> Vec<Backlog> {
        self.subscribers.with(|subscribers| subscribers.backlog(&|next| readable_at(state, next)))
    }

    /// The number of values delivered to stages of the graph so far.
    pub(crate) fn delivered_to_stages(&self) -> u64 {
        self.subscribers.with(|subscribers| subscribers.delivered_to_stages())
    }
}

/// The number of values accepted.
pub(super) fn produced(state: &dyn BufferState) -> u64 {
    let _section = CriticalSection::enter();
    state.produced()
}

/// The number of values that the reader of `cursor` can receive, the value in its stash not
/// included.
pub(super) fn readable(state: &dyn BufferState, cursor: &Cursor) -> u64 {
    let _section = CriticalSection::enter();
    state.readable(cursor.next())
}

/// The number of values that a reader at position `next` can receive.
fn readable_at(state: &dyn BufferState, next: u64) -> u64 {
    let _section = CriticalSection::enter();
    state.readable(next)
}

/// The number of values that can be accepted, if the slowest reader is at `slowest`. The caller may
/// hold the lock of the subscribers: critical sections nest.
fn room(state: &dyn BufferState, slowest: Option<u64>) -> u64 {
    let _section = CriticalSection::enter();
    state.room(slowest)
}

/// The numbers of a cursor, and how many values its reader has lost and not counted yet.
///
/// Their sum is exact only if the position did not change between the two: otherwise values that
/// the reader received in between would count as lost.
fn snapshot_with_missed(state: &dyn BufferState, cursor: &Cursor) -> (CursorSnapshot, u64) {
    let _section = CriticalSection::enter();
    let mut spin = Spin::new();
    loop {
        let snapshot = cursor.snapshot();
        let missed = state.missed(snapshot.next);
        // A value that seems lost may have been read in between.
        if missed == 0 || cursor.next() == snapshot.next {
            return (snapshot, missed);
        }
        spin.wait();
    }
}
