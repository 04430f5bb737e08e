//! Everything about a buffer that is not on the path of a value and does not depend on the values' type, so that it is
//! compiled once: who comes and goes, who waits and is woken, what is measured.
//!
//! The [`Registry`] is the data; this is its lock, the flags that those who move values look at instead of it, and the
//! waking, which happens outside of the lock.

use crate::sync::Arc;
use alloc::vec::Vec;
use core::task::Waker;

use super::cursor::{Cursor, Standing};
use super::registry::{Abandoned, Registry, WakeRound};
use super::waiters::{WaitKey, wake_in_batches};
use crate::buffer::cfg::BufferCfg;
use crate::clock::Clock;
use crate::metrics::{BlockedWriter, ReaderMetrics, RecordMetrics};
use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, Release},
};
use crate::sync::{Lock, Spin, Step};

/// The values of a buffer, as far as their type does not matter.
pub(crate) trait Values {
    /// Values accepted.
    fn produced(&self) -> u64;
    /// Values that left before any reader had taken them.
    fn overwritten(&self) -> u64;
    /// How many it holds, if the last reader is at `slowest`.
    fn depth(&self, slowest: Option<u64>) -> usize;
    /// How many wait for a reader at `next`.
    fn readable(&self, next: u64) -> u64;
    /// How many a reader at `next` has lost without having been told.
    fn missed(&self, next: u64) -> u64;
    /// Room for this many more, if the last reader is at `slowest`.
    fn room(&self, slowest: Option<u64>) -> u64;
    fn is_closed(&self) -> bool;
}

pub(crate) struct Reception {
    /// What those who move values must know of the registry; see [`signals`](super::registry::signals).
    signals: AtomicUsize,
    registry: Lock<Registry>,
    cfg: BufferCfg,
    clock: Arc<dyn Clock>,
}

impl Reception {
    pub(super) fn new(cfg: BufferCfg, clock: Arc<dyn Clock>) -> Self {
        let registry = Registry::new(matches!(cfg, BufferCfg::Mailbox));
        let signals = AtomicUsize::new(registry.signals());
        Self { signals, registry: Lock::new(registry), cfg, clock }
    }

    pub(super) fn cfg(&self) -> BufferCfg {
        self.cfg
    }

    /// Whether one of these signals is up.
    #[inline(always)]
    pub(super) fn signals(&self, any_of: usize) -> bool {
        self.signals.load(Relaxed) & any_of != 0
    }

    /// Works on the registry, and tells those who move values what they must know of it.
    pub(super) fn registry<O>(&self, work: impl FnOnce(&mut Registry) -> O) -> O {
        self.registry.with(|registry| {
            let outcome = work(registry);
            let signals = registry.signals();
            if self.signals.load(Relaxed) != signals {
                self.signals.store(signals, Release);
            }
            outcome
        })
    }

    // Writing.

    /// Where the reader stands that is furthest behind; asked by a writer that knows there is one.
    #[cold]
    pub(super) fn slowest(&self) -> u64 {
        self.registry.with(|registry| registry.slowest().unwrap_or(0))
    }

    /// A reader that still wants a value before `head`, if there is one; one that is not reading at this moment if it can
    /// be had.
    pub(super) fn behind(&self, head: u64) -> Option<Arc<Cursor>> {
        self.registry.with(|registry| {
            let mut behind = registry.cursors().filter(|cursor| cursor.next() < head);
            let first = behind.next()?;
            let idle = core::iter::once(first).chain(behind).find(|cursor| !cursor.is_held());
            Some(Arc::clone(idle.unwrap_or(first)))
        })
    }

    /// Wakes the readers that wait for the `produced`th value.
    #[cold]
    pub(super) fn tell_those_who_wait(&self, produced: u64) {
        let mut round = None;
        wake_in_batches(|wake| {
            let now = self.registry(|registry| match round {
                None => {
                    registry.stamp(produced, &*self.clock);
                    registry.begin_round(wake)
                }
                Some(WakeRound { number, .. }) => registry.wake_readers(number, wake),
            });
            round = Some(now);
            now.more
        });
    }

    /// Puts a writer in line. If there is room or no hope by now, or a reader is half-way, it says no, and the writer
    /// must look again, still in line.
    pub(super) fn wait_for_room(
        &self,
        values: &dyn Values,
        key: &mut WaitKey,
        waker: Waker,
    ) -> bool {
        let _replaced = self.registry(|registry| registry.wait_to_write(key, waker, &*self.clock));
        // The second look.
        let _step = Step::begin();
        !values.is_closed()
            && self.registry.with(|registry| {
                let mut slowest = None;
                for cursor in registry.cursors() {
                    let Some(next) = cursor.settled() else { return false };
                    slowest = Some(slowest.map_or(next, |least: u64| least.min(next)));
                }
                values.room(slowest) == 0
            })
    }

    /// Ends a wait for room; a wake-up that was not used goes on.
    pub(super) fn stop_writing(&self, values: &dyn Values, key: &mut WaitKey) {
        let [dropped, heir] =
            self.registry(|registry| registry.stop_writing(key, &|slowest| values.room(slowest)));
        drop(dropped);
        heir.into_iter().for_each(Waker::wake);
    }

    // Reading.

    /// After `taken` values were read: wakes who can go on because of it.
    #[cold]
    pub(super) fn wake_those_who_follow(
        &self,
        values: &dyn Values,
        reader: usize,
        cursor: &Cursor,
        taken: u64,
    ) {
        let mut next = cursor.is_shared();
        wake_in_batches(|wake| {
            self.registry(|registry| {
                // Another waiter on the same cursor, or another taker, for which there is a value.
                if core::mem::take(&mut next) && left_for(values, cursor) > 0 {
                    wake.extend(registry.next_of_group(reader));
                }
                let more = registry.wake_end_waiters(wake);
                more | registry
                    .wake_writers_with_room(wake, &|slowest| values.room(slowest).min(taken))
            })
        });
    }

    /// Puts a reader in line. It must look a second time before it sleeps.
    pub(super) fn wait_to_read(
        &self,
        produced: u64,
        reader: usize,
        key: &mut WaitKey,
        waker: Waker,
    ) {
        let _replaced = self.registry(|registry| {
            registry.stamp(produced, &*self.clock);
            registry.wait_to_read(reader, key, waker)
        });
    }

    /// Wakes all threads that wait through one reader. It takes the lock whether or not one waits: a thread that was not
    /// in line yet sees, from its place in line, what the caller did before.
    #[cold]
    pub(super) fn wake_all_of(&self, reader: usize) {
        wake_in_batches(|wake| self.registry(|registry| registry.wake_group(reader, wake)));
    }

    /// Ends a wait of the reader of `cursor`; a wake-up that was not used goes on.
    pub(super) fn stop_reading(
        &self,
        values: &dyn Values,
        reader: usize,
        cursor: &Cursor,
        key: &mut WaitKey,
    ) {
        let [dropped, heir] = self.registry(|registry| {
            registry.stop_reading(reader, key, &|| left_for(values, cursor) > 0)
        });
        drop(dropped);
        heir.into_iter().for_each(Waker::wake);
    }

    // The end.

    /// Puts a task in line that waits for the end. It must look a second time before it sleeps.
    pub(super) fn wait_for_end(&self, key: &mut WaitKey, waker: Waker) {
        let _replaced = self.registry(|registry| registry.wait_for_end(key, waker));
    }

    pub(super) fn cancel_drain_wait(&self, key: &mut WaitKey) {
        if key.is_some() {
            let _dropped = self.registry(|registry| registry.cancel_drain_wait(key));
        }
    }

    /// Wakes all who wait for anything: the record is closed.
    pub(super) fn close(&self) {
        wake_in_batches(|wake| self.registry(|registry| registry.close(wake)));
    }

    /// Wakes whoever waited with or for a reader that is gone.
    pub(super) fn wake_those_left_behind(&self, values: &dyn Values, reader: usize) {
        wake_in_batches(|wake| {
            self.registry(|registry| {
                // Takers of a mailbox do not wait through one reader alone.
                let alone = !matches!(self.cfg, BufferCfg::Mailbox);
                let more = alone && registry.wake_group(reader, wake);
                more | registry.wake_writers_with_room(wake, &|slowest| values.room(slowest))
            })
        });
    }

    // Measuring.

    /// How many values the reader of `cursor` has lost so far, those it has not come to yet included.
    pub(super) fn lagged(values: &dyn Values, cursor: &Cursor) -> u64 {
        let (standing, missed) = look_at(values, cursor);
        standing.lagged + missed
    }

    /// One look after the other, the readers' before the writers': exact when nothing flows; while values flow, each
    /// reader's numbers fit together, and no reader is ahead of `produced`.
    pub(crate) fn metrics(&self, values: &dyn Values, key: &str) -> RecordMetrics {
        let now = self.clock.now();
        let (cursors, last_update, blocked) = self.registry(|registry| {
            let cursors: Vec<_> = registry.cursors().cloned().collect();
            (cursors, registry.updated(), registry.blocked())
        });
        let mut readers = Vec::new();
        for cursor in &cursors {
            let (standing, missed) = look_at(values, cursor);
            readers.push(ReaderMetrics {
                name: cursor.name.as_ref().into(),
                delivered: standing.delivered,
                lagged: standing.lagged + missed,
                pending: values.readable(standing.next) + standing.stashed,
            });
        }
        let _step = Step::begin();
        let slowest = cursors.iter().min_by_key(|cursor| cursor.next());
        RecordMetrics {
            key: key.into(),
            buffer: self.cfg,
            readers,
            depth: values.depth(slowest.map(|cursor| cursor.next())),
            overwritten: values.overwritten(),
            // A reader may have had a value whose writer has not moved on yet.
            produced: cursors.iter().map(|cursor| cursor.next()).fold(values.produced(), u64::max),
            last_update,
            blocked: blocked.and_then(|(since, writers)| {
                let held_back_by = slowest?.name.as_ref().into();
                Some(BlockedWriter { writers, held_back_by, waiting: now - since })
            }),
        }
    }

    /// Values that stages have not dealt with, whether their readers are gone or not.
    pub(crate) fn abandoned(&self, values: &dyn Values) -> Vec<Abandoned> {
        self.registry(|registry| registry.not_dealt_with(&|next| values.readable(next)))
    }

    /// Values that stages of the graph have taken so far.
    pub(crate) fn delivered_to_stages(&self) -> u64 {
        self.registry(|registry| registry.delivered_to_stages())
    }
}

/// How many values wait for the reader of `cursor`.
pub(super) fn left_for(values: &dyn Values, cursor: &Cursor) -> u64 {
    let _step = Step::begin();
    values.readable(cursor.next())
}

/// A cursor's numbers, and what its reader has lost without having come to it.
fn look_at(values: &dyn Values, cursor: &Cursor) -> (Standing, u64) {
    let _step = Step::begin();
    let mut spin = Spin::new();
    loop {
        let standing = cursor.standing();
        let missed = values.missed(standing.next);
        // What seems lost may have been read in between.
        if missed == 0 || cursor.next() == standing.next {
            return (standing, missed);
        }
        spin.wait();
    }
}
