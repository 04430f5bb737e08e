//! The four buffers: one implementation for every runtime, for tasks and for threads.
//!
//! | kind | keeps | a slow reader | a late reader | several readers | `produce().await` |
//! |---|---|---|---|---|---|
//! | [`SpmcRing`](BufferCfg::SpmcRing) | the last `capacity` values, exactly | loses the oldest, is told how many | sees what comes after it subscribed | each sees all | never waits |
//! | [`SpmcQueue`](BufferCfg::SpmcQueue) | every value until every reader has it | holds the producer back | sees what comes after it subscribed | each sees all | waits for room |
//! | [`SingleLatest`](BufferCfg::SingleLatest) | the current value | skips to the newest | sees the current value at once | each sees the newest | never waits |
//! | [`Mailbox`](BufferCfg::Mailbox) | one pending command, newest wins | – | takes what is pending | each value is taken once | never waits |
//!
//! # Lagging
//!
//! A reader of a ring or a latest record that falls behind goes on with the oldest value that is still there.
//! [`Reader::recv`](crate::Reader::recv) does so silently and never ends because of it; [`Reader::next_event`](crate::Reader::next_event) says how many were lost,
//! in order; [`Reader::lagged`](crate::Reader::lagged) is the exact total at any time.
//!
//! # Closing
//!
//! A record closes at shutdown, after its writers have stopped. From then on producing gives the value back with
//! [`Closed`]; readers get what is left and then [`Closed`]. What a reader has not read stays readable for as long as
//! the reader lives.
//!
//! # Waiting
//!
//! Readers and writers wait in one FIFO for each direction, tasks and parked threads alike: both are just
//! [`Waker`]s. One produce wakes each waiting reader once; a mailbox wakes one taker. A wake-up
//! that its receiver can no longer use (a dropped future) is passed to the next in line.
//!
//! # What runs under the lock
//!
//! Moving values, and `T::clone` for readers of rings and latest records and for all but the last reader of a queue.
//! A `Clone` that panics leaves the value where it was. A record whose clones are long should hold an `Arc`. `Drop`
//! and wakers always run outside.
//!
//! # How to read this module
//!
//! `ring`, `queue`, `latest`, `mailbox` are the four kinds as plain data; `state` adds cursors, counters and waiters,
//! still plain data; `waiters` is the FIFO; this file puts a lock around it; [`handle`](crate::handle) is what users
//! hold.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll, Waker};

mod error;
mod latest;
mod mailbox;
mod queue;
mod ring;
mod state;
mod subscription;
mod waiters;

pub use error::{Closed, ProduceError, ProduceManyError, TryProduceError, TryRecvError};
pub use subscription::{Subscription, WaitTicket};

pub(crate) use state::Abandoned;
pub(crate) use waiters::{WaitKey, WaitList, WakeBatch, wake_all};

use crate::metrics::{BlockedWriter, ReaderMetrics, RecordMetrics};
use crate::runtime::Clock;
use crate::sync::Lock;
use state::{Follow, Refused, State, Taken, WakeRound};

/// The kind of a record's buffer. The [module](self) compares the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum BufferCfg {
    /// Keeps the last `capacity` values; a slow reader loses the oldest and is told how many.
    SpmcRing {
        /// Values kept. Reserved at start; zero is a finding.
        capacity: usize,
    },
    /// Keeps every value until every reader has it; a full queue holds its writers back.
    SpmcQueue {
        /// Values kept. Reserved at start; zero is a finding.
        capacity: usize,
    },
    /// Keeps the current value; readers skip to the newest.
    SingleLatest,
    /// Keeps one pending command; the newest wins and is taken once.
    Mailbox,
}

impl BufferCfg {
    /// How many values it holds at most.
    #[must_use]
    pub const fn capacity(self) -> usize {
        match self {
            Self::SpmcRing { capacity } | Self::SpmcQueue { capacity } => capacity,
            Self::SingleLatest | Self::Mailbox => 1,
        }
    }
}

impl fmt::Display for BufferCfg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpmcRing { capacity } => write!(f, "ring of {capacity}"),
            Self::SpmcQueue { capacity } => write!(f, "queue of {capacity}"),
            Self::SingleLatest => f.write_str("latest"),
            Self::Mailbox => f.write_str("mailbox"),
        }
    }
}

/// What [`Reader::next_event`] and [`Subscription`] yield.
///
/// [`Reader::next_event`]: crate::handle::Reader::next_event
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// The next value.
    Value(T),
    /// This many values were overwritten before this reader came to them; the next event is the oldest that is left.
    Lagged(u64),
}

/// Why a buffer takes no further reader.
pub(crate) enum NoSeat {
    Closed,
    Taken(Arc<str>),
}

/// A value that left a buffer to make room, and whether nobody had read it.
struct Evicted<T> {
    value: T,
    unread: bool,
}

/// A record's buffer: the [`State`] and the lock around it.
pub(crate) struct Buffer<T> {
    state: Lock<State<T>>,
    cfg: BufferCfg,
    clock: Arc<dyn Clock>,
}

impl<T: Clone> Buffer<T> {
    pub(crate) fn new(cfg: BufferCfg, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { state: Lock::new(State::new(cfg)), cfg, clock })
    }

    pub(crate) fn cfg(&self) -> BufferCfg {
        self.cfg
    }

    /// Accepts `value` if there is room, wakes who waits for it, then drops what it pushed out.
    #[inline]
    pub(crate) fn try_produce(&self, value: T) -> Result<(), TryProduceError<T>> {
        let mut value = Some(value);
        let refused = self.offer(&mut value);
        match (refused, value) {
            (Err(Refused::Full), Some(value)) => Err(TryProduceError::Full(value)),
            (Err(Refused::Closed), Some(value)) => Err(TryProduceError::Closed(value)),
            _ => Ok(()),
        }
    }

    /// Takes the value out of `value` if there is room.
    #[inline]
    fn offer(&self, value: &mut Option<T>) -> Result<(), Refused> {
        let mut wake = WakeBatch::new();
        let mut evicted = None;
        let pushed = self.state.with(|state| {
            evicted = state.push(value)?;
            Ok(state.after_push(&*self.clock, &mut wake))
        });
        let round = pushed?;
        if !wake.is_empty() {
            self.finish_round(round, &mut wake);
        }
        Ok(())
    }

    /// Accepts values from `batch` in order while there is room, under one lock, and leaves the rest in it.
    pub(crate) fn try_produce_batch<const N: usize>(
        &self,
        batch: &mut arrayvec::ArrayVec<T, N>,
    ) -> Result<(), Closed> {
        let mut wake = WakeBatch::new();
        let mut evicted = arrayvec::ArrayVec::<T, N>::new();
        let (outcome, round) = self.state.with(|state| {
            let outcome = push_batch(state, batch, &mut evicted);
            (outcome, state.after_push(&*self.clock, &mut wake))
        });
        self.finish_round(round, &mut wake);
        outcome
    }

    #[cold]
    fn finish_round(&self, mut round: WakeRound, wake: &mut WakeBatch) {
        wake_all(wake);
        while round.more {
            round = self.state.with(|state| state.wake_readers(round.number, wake));
            wake_all(wake);
        }
    }

    /// Accepts `value` or waits for room. The value stays with the caller until it is accepted.
    pub(crate) fn poll_produce(
        &self,
        value: &mut Option<T>,
        key: &mut WaitKey,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        if value.is_none() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let outcome = match self.offer(value) {
                Ok(()) => Ok(()),
                Err(Refused::Closed) => Err(Closed),
                Err(Refused::Full) if self.wait_for_room(key, cx.waker().clone()) => {
                    return Poll::Pending;
                }
                Err(Refused::Full) => continue,
            };
            self.stop_writing(key);
            return Poll::Ready(outcome);
        }
    }

    /// Registers a writer, unless there is room or no hope by now.
    pub(crate) fn wait_for_room(&self, key: &mut WaitKey, waker: Waker) -> bool {
        let (waits, _replaced) = self.state.with(|state| {
            if state.closed || state.storage.room() != Some(0) {
                return (false, Some(waker));
            }
            (true, state.wait_to_write(key, waker, &*self.clock))
        });
        waits
    }

    /// Ends a wait for room; a wake-up that was not used goes on.
    pub(crate) fn stop_writing(&self, key: &mut WaitKey) {
        if key.is_some() {
            let [dropped, heir] = self.state.with(|state| state.stop_writing(key));
            drop(dropped);
            heir.into_iter().for_each(Waker::wake);
        }
    }

    /// The newest value held, which stays where it is.
    pub(crate) fn latest(&self) -> Option<T> {
        self.state.with(|state| state.storage.latest().cloned())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.with(|state| state.closed)
    }

    /// Ends the record: no more values, everyone who waits is woken.
    pub(crate) fn close(&self) {
        let mut wake = WakeBatch::new();
        loop {
            let more = self.state.with(|state| {
                state.closed = true;
                state.read_waiters.notify_where(&mut wake, |_| true)
                    || state.wake_writers(&mut wake)
            });
            wake_all(&mut wake);
            if !more {
                return;
            }
        }
    }

    pub(crate) fn subscribe(self: &Arc<Self>, name: Arc<str>, of_stage: bool) -> Subscription<T> {
        let id = self.state.with(|state| state.enter(name, of_stage));
        Subscription::new(Arc::clone(self), id)
    }

    /// A place for one more reader, if the record is open and, when it is `exclusive`, has none.
    pub(crate) fn try_subscribe(
        self: &Arc<Self>,
        name: Arc<str>,
        of_stage: bool,
        exclusive: bool,
    ) -> Result<Subscription<T>, NoSeat> {
        let id = self.state.with(|state| {
            let taker = state.readers.iter().next().filter(|_| exclusive);
            match taker {
                _ if state.closed => Err(NoSeat::Closed),
                Some((_, taker)) => Err(NoSeat::Taken(Arc::clone(&taker.name))),
                None => Ok(state.enter(name, of_stage)),
            }
        })?;
        Ok(Subscription::new(Arc::clone(self), id))
    }

    fn leave(&self, reader: usize) {
        let mut wake = WakeBatch::new();
        let _freed = self.state.with(|state| state.leave(reader));
        loop {
            let more = self.state.with(|state| state.wake_writers_with_room(&mut wake));
            wake_all(&mut wake);
            if !more {
                return;
            }
        }
    }

    #[inline]
    fn try_take(&self, reader: usize, tell_lag: bool, into: &mut Option<T>) -> Taken {
        let mut follow = Follow::default();
        let taken = self.state.with(|state| state.take(reader, tell_lag, into, &mut follow));
        follow.wake();
        taken
    }

    fn try_take_many(
        &self,
        reader: usize,
        into: &mut Vec<T>,
        limit: usize,
    ) -> Result<usize, TryRecvError> {
        let mut wake = WakeBatch::new();
        let taken = self.state.with(|state| state.take_many(reader, into, limit, &mut wake));
        wake_all(&mut wake);
        taken
    }

    /// Registers a reader, unless there is something to read by now.
    fn wait_for_value(&self, reader: usize, key: &mut WaitKey, waker: Waker) -> bool {
        let (waits, _replaced) = self.state.with(|state| {
            if state.closed || state.pending(reader) > 0 {
                return (false, Some(waker));
            }
            state.stamp(&*self.clock);
            (true, state.wait_to_read(reader, key, waker))
        });
        waits
    }

    fn stop_reading(&self, reader: usize, key: &mut WaitKey) {
        if key.is_some() {
            let [dropped, heir] = self.state.with(|state| state.stop_reading(reader, key));
            drop(dropped);
            heir.into_iter().for_each(Waker::wake);
        }
    }

    pub(crate) fn metrics(&self, key: &str) -> RecordMetrics {
        let now = self.clock.now();
        self.state.with(|state| RecordMetrics {
            key: key.into(),
            buffer: self.cfg,
            produced: state.produced,
            overwritten: state.overwritten,
            depth: state.storage.len(),
            last_update: state.updated(),
            readers: reader_metrics(state),
            blocked: state.full_since.and_then(|since| {
                let slowest = state.slowest()?;
                Some(BlockedWriter {
                    writers: state.write_waiters.waiting(),
                    held_back_by: slowest.name.as_ref().into(),
                    waiting: now - since,
                })
            }),
        })
    }

    /// Values that stages have not dealt with, whether their readers are gone or not.
    pub(crate) fn abandoned(&self) -> Vec<Abandoned> {
        self.state.with(|state| state.not_dealt_with())
    }

    /// Values that stages of the graph have taken so far.
    pub(crate) fn delivered_to_stages(&self) -> u64 {
        self.state.with(|state| {
            let live = state.readers.iter().filter(|(_, cursor)| cursor.of_stage);
            state.delivered_before + live.map(|(_, cursor)| cursor.delivered).sum::<u64>()
        })
    }
}

fn push_batch<T: Clone, const N: usize>(
    state: &mut State<T>,
    batch: &mut arrayvec::ArrayVec<T, N>,
    evicted: &mut arrayvec::ArrayVec<T, N>,
) -> Result<(), Closed> {
    if state.closed {
        return Err(Closed);
    }
    let fits = state.storage.room().unwrap_or(usize::MAX).min(batch.len());
    for value in batch.drain(..fits) {
        evicted.extend(state.accept(value));
    }
    Ok(())
}

fn reader_metrics<T: Clone>(state: &State<T>) -> Vec<ReaderMetrics> {
    let metrics = |(id, cursor): (usize, &state::Cursor)| ReaderMetrics {
        name: cursor.name.as_ref().into(),
        delivered: cursor.delivered,
        lagged: state.lagged(id),
        pending: state.pending(id),
    };
    state.readers.iter().map(metrics).collect()
}
