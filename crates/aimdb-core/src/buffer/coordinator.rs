//! The part of a buffer that is not on the path of a value and does not depend on the type of its
//! values, so that it is compiled once: subscribing, waiting, waking, metrics.
//!
//! [`Subscribers`] is the data. The [`Coordinator`] is its lock, the
//! [flags](super::subscribers::flags) that writers and readers load instead of taking that lock,
//! and the wake-ups, which run outside of it.

use alloc::vec::Vec;
use core::task::Waker;

use super::cfg::BufferCfg;
use super::cursor::{Cursor, CursorSnapshot};
use super::kind::BufferState;
use super::subscribers::{Backlog, Subscribers};
use super::waiters::{WaitTicket, WakeBatch, wake};
use crate::clock::Clock;
use crate::metrics::{BlockedWriter, ReaderMetrics, RecordMetrics};
use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, Release},
};
use crate::sync::{Arc, CriticalSection, Lock, Spin};

pub(crate) struct Coordinator {
    /// A copy of [`Subscribers::flags`], updated under the lock.
    flags: AtomicUsize,
    subscribers: Lock<Subscribers>,
    cfg: BufferCfg,
    clock: Arc<dyn Clock>,
}

impl Coordinator {
    pub(super) fn new(cfg: BufferCfg, clock: Arc<dyn Clock>) -> Self {
        let subscribers = Subscribers::new(matches!(cfg, BufferCfg::Mailbox));
        let flags = AtomicUsize::new(subscribers.flags());
        Self { flags, subscribers: Lock::new(subscribers), cfg, clock }
    }

    pub(super) fn cfg(&self) -> BufferCfg {
        self.cfg
    }

    /// Whether one of these [flags](super::subscribers::flags) is set.
    #[inline(always)]
    pub(super) fn has_flag(&self, any_of: usize) -> bool {
        // `Relaxed`: the caller's read-modify-write before this acquires what `revalidate`
        // released, the flags included.
        self.flags.load(Relaxed) & any_of != 0
    }

    /// Calls `work` under the lock and updates the flags.
    pub(super) fn subscribers<O>(&self, work: impl FnOnce(&mut Subscribers) -> O) -> O {
        self.subscribers.with(|subscribers| {
            let outcome = work(subscribers);
            let flags = subscribers.flags();
            // `Relaxed`: stored under this lock only.
            if self.flags.load(Relaxed) != flags {
                // Its partner is no load of the flags but the waiter's later `revalidate`, whose
                // `Release` half publishes it.
                self.flags.store(flags, Release);
            }
            outcome
        })
    }

    // Writing.

    /// The position of the slowest reader, for a writer that knows there is one.
    #[cold]
    pub(super) fn slowest(&self) -> u64 {
        self.subscribers.with(|subscribers| subscribers.slowest().unwrap_or(0))
    }

    /// The cursor of a reader that has not received a value before `head`; an unlocked one, if
    /// there is one.
    pub(super) fn behind(&self, head: u64) -> Option<Arc<Cursor>> {
        self.subscribers.with(|subscribers| {
            let mut behind = subscribers.cursors().filter(|cursor| cursor.next() < head);
            let first = behind.next()?;
            let unlocked = core::iter::once(first).chain(behind).find(|cursor| !cursor.is_locked());
            Some(Arc::clone(unlocked.unwrap_or(first)))
        })
    }

    /// Wakes the readers that wait for the `produced`th value.
    #[cold]
    pub(super) fn wake_readers(&self, produced: u64) {
        let mut batch = WakeBatch::new();
        let mut round = None;
        loop {
            let more = self.subscribers(|subscribers| {
                let round = *round.get_or_insert_with(|| {
                    subscribers.stamp(produced, &*self.clock);
                    subscribers.begin_round()
                });
                subscribers.notify_readers(round, &mut batch)
            });
            batch.wake_all();
            if !more {
                break;
            }
        }
    }

    /// Registers a writer's waker. Returns `false` if the writer must retry: there is room, the
    /// record is closed, or a reader is active.
    pub(super) fn register_writer(
        &self,
        state: &dyn BufferState,
        ticket: &mut WaitTicket,
        waker: &Waker,
    ) -> bool {
        if !(ticket.is_registered()
            && self.subscribers.with(|subscribers| subscribers.holds_writer(ticket, waker)))
        {
            let waker = waker.clone();
            let _replaced = self.subscribers(|subscribers| {
                subscribers.register_writer(ticket, waker, &*self.clock)
            });
        }
        let _section = CriticalSection::enter();
        !state.is_closed()
            && self.subscribers.with(|subscribers| {
                let mut slowest = None;
                for cursor in subscribers.cursors() {
                    let Some(next) = cursor.revalidate() else { return false };
                    slowest = Some(slowest.map_or(next, |least: u64| least.min(next)));
                }
                state.room(slowest) == 0
            })
    }

    /// Ends a wait for room and passes an unused wake-up on.
    pub(super) fn cancel_write_wait(&self, state: &dyn BufferState, ticket: &mut WaitTicket) {
        let [dropped, next] = self.subscribers(|subscribers| {
            subscribers.cancel_write_wait(ticket, &|slowest| room(state, slowest))
        });
        drop(dropped);
        wake(next);
    }

    // Reading.

    /// After a reader received `received` values: wakes the writers that have room for a value now,
    /// another waiter on the same cursor, and tasks that wait until the record is drained.
    #[cold]
    pub(super) fn wake_after_read(
        &self,
        state: &dyn BufferState,
        reader: usize,
        cursor: &Cursor,
        received: u64,
    ) {
        let mut batch = WakeBatch::new();
        // Another waiter on the same cursor, or another taker, that there is a value for.
        let mut next = cursor.is_shared();
        loop {
            let more = self.subscribers(|subscribers| {
                if core::mem::take(&mut next) && readable(state, cursor) > 0 {
                    batch.extend(subscribers.notify_next(reader));
                }
                let more = subscribers.notify_drain_waiters(&mut batch);
                more | subscribers
                    .notify_writers(&mut batch, &|slowest| room(state, slowest).min(received))
            });
            batch.wake_all();
            if !more {
                break;
            }
        }
    }

    /// Registers a reader's waker. The reader must [revalidate](super::kind::Kind::may_sleep)
    /// before it sleeps.
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
        let _replaced = self.subscribers(|subscribers| {
            subscribers.stamp(produced, &*self.clock);
            subscribers.register_reader(reader, ticket, waker)
        });
    }

    /// Wakes all threads that wait through one reader. It takes the lock whether or not one waits:
    /// a thread that registers afterwards sees, once it has registered, what the caller did before.
    #[cold]
    pub(super) fn wake_all_of(&self, reader: usize) {
        let mut batch = WakeBatch::new();
        loop {
            let more =
                self.subscribers(|subscribers| subscribers.notify_all_of(reader, &mut batch));
            batch.wake_all();
            if !more {
                break;
            }
        }
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
    /// waited for it.
    pub(super) fn wake_after_leave(&self, state: &dyn BufferState, reader: usize) {
        // Takers of a mailbox do not wait through one reader only.
        let alone = !matches!(self.cfg, BufferCfg::Mailbox);
        let mut batch = WakeBatch::new();
        loop {
            let more = self.subscribers(|subscribers| {
                let more = alone && subscribers.notify_all_of(reader, &mut batch);
                more | subscribers.notify_writers(&mut batch, &|slowest| room(state, slowest))
            });
            batch.wake_all();
            if !more {
                break;
            }
        }
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

    pub(super) fn cancel_drain_wait(&self, ticket: &mut WaitTicket) {
        if ticket.has_place() {
            let _dropped = self.subscribers(|subscribers| subscribers.cancel_drain_wait(ticket));
        }
    }

    /// Wakes all waiters: the record is closed.
    pub(super) fn close(&self) {
        let mut batch = WakeBatch::new();
        loop {
            let more = self.subscribers(|subscribers| subscribers.close(&mut batch));
            batch.wake_all();
            if !more {
                break;
            }
        }
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
    /// is ahead of `produced`.
    pub(crate) fn metrics(&self, state: &dyn BufferState, key: &str) -> RecordMetrics {
        let now = self.clock.now();
        let (cursors, last_update, blocked) = self.subscribers.with(|subscribers| {
            let cursors: Vec<_> = subscribers.cursors().cloned().collect();
            (cursors, subscribers.updated(), subscribers.blocked())
        });
        let mut readers = Vec::new();
        for cursor in &cursors {
            let (snapshot, missed) = snapshot_with_missed(state, cursor);
            readers.push(ReaderMetrics {
                name: cursor.name.as_ref().into(),
                delivered: snapshot.delivered,
                lagged: snapshot.lagged + missed,
                pending: readable_at(state, snapshot.next) + snapshot.stashed,
            });
        }
        let _section = CriticalSection::enter();
        let slowest = cursors.iter().min_by_key(|cursor| cursor.next());
        RecordMetrics {
            key: key.into(),
            buffer: self.cfg,
            readers,
            depth: state.depth(slowest.map(|cursor| cursor.next())),
            overwritten: state.overwritten(),
            // A reader may have received a value whose writer has not incremented the head yet.
            produced: cursors.iter().map(|cursor| cursor.next()).fold(state.produced(), u64::max),
            last_update,
            blocked: blocked.and_then(|(since, writers)| {
                let held_back_by = slowest?.name.as_ref().into();
                Some(BlockedWriter { writers, held_back_by, waiting: now - since })
            }),
        }
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

/// The number of values that the reader of `cursor` can receive.
pub(super) fn readable(state: &dyn BufferState, cursor: &Cursor) -> u64 {
    let _section = CriticalSection::enter();
    state.readable(cursor.next())
}

fn readable_at(state: &dyn BufferState, next: u64) -> u64 {
    let _section = CriticalSection::enter();
    state.readable(next)
}

fn room(state: &dyn BufferState, slowest: Option<u64>) -> u64 {
    let _section = CriticalSection::enter();
    state.room(slowest)
}

/// The numbers of a cursor, and how many values its reader has lost and not counted yet.
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
