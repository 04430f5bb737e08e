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
//! Those who move values never take the lock of that FIFO unless a flag says that someone waits there. No wake-up is
//! lost for it: who is about to sleep first puts its waker in and raises the flag, then looks a second time, with a
//! read-modify-write on the very word that the other side must change to bring it something. If that change came
//! first, the second look sees it; if it comes later, it acquires what the second look released, the flag included. A
//! word that is just being changed counts as neither: look again.
//!
//! # User code
//!
//! `Clone` runs for readers of rings and latest records, for all but the last reader of a queue, and for whoever looks
//! at [`latest`](crate::Consumer::latest). While it does, its reader's turn is taken, and in a ring or a latest record
//! that one slot: a writer that comes to the slot, and other readers of the same value, wait for it. A record whose
//! clones are long should hold an `Arc`. A `Clone` that panics leaves the value where it was and everything as usable
//! as before; one that uses the record it is cloned in may wait for itself.
//!
//! `Drop` and wakers always run when nothing is held. Without std a value's step runs inside a critical section, its
//! `Clone` included.
//!
//! # How to read this module
//!
//! | layer | file | |
//! |---|---|---|
//! | state | `slot` | one value and the word that guards it |
//! | | `cursor` | where one reader stands |
//! | | `gate` | whether writers may write: closing, and a reader that makes them wait |
//! | | `stash` | a value that waits behind the lag that was reported before it |
//! | | `kind` | what the four kinds have in common |
//! | | `ring`, `queue`, `latest`, `mailbox` | the four kinds: how values get in and out, without a lock |
//! | lock | `waiters` | a FIFO of wakers, plain data |
//! | | `registry` | who reads, who waits, what was left behind: plain data under the one lock there is |
//! | handles | this file | both together: the steps of a record |
//! | | `subscription` | one reader's place; [`handle`](crate::handle) is what users hold |
//! | proof | `models` | the protocols under loom |

use crate::sync::Arc;
use alloc::vec::Vec;
use cfg::BufferCfg;
use core::convert::Infallible;
use core::task::{Context, Poll, Waker};
use event::Event;

pub(crate) mod cfg;
mod cursor;
#[cfg(all(test, feature = "std", not(aimdb_loom)))]
mod ends;
pub(crate) mod error;
pub(crate) mod event;
mod gate;
mod kind;
mod latest;
mod mailbox;
#[cfg(all(test, aimdb_loom))]
mod models;
mod queue;
mod reception;
mod registry;
mod ring;
mod slot;
mod stash;
mod subscription;
mod waiters;

pub use error::{Closed, ProduceError, ProduceManyError, TryProduceError, TryRecvError};
pub use subscription::{Subscription, WaitTicket};

pub(crate) use kind::NoMemory;
pub(crate) use reception::{Reception, Values};
pub(crate) use registry::Abandoned;
pub(crate) use waiters::{WaitKey, WaitList, wake_in_batches};

use crate::clock::Clock;
use crate::sync::{Spin, Step};
use cursor::{Cursor, Held};
use kind::{Kind, Outlet, Pushed, Refused, Taken, Turn};
use latest::Latest;
use mailbox::Mailbox;
use queue::Queue;
use reception::left_for;
use registry::Registry;
use registry::signals::{DRAIN_AWAITED, NOBODY_READS, READERS_WAIT, WRITERS_WAIT};
use ring::Ring;
use stash::Stash;

/// Why a buffer takes no further reader.
pub(crate) enum NoSeat {
    Closed,
    Taken(Arc<str>),
}

/// One of the four kinds.
enum Storage<T> {
    Ring(Ring<T>),
    Queue(Queue<T>),
    Latest(Latest<T>),
    Mailbox(Mailbox<T>),
}

/// The same question to whichever kind it is.
macro_rules! each {
    ($storage:expr, $kind:ident => $answer:expr) => {
        match $storage {
            Storage::Ring($kind) => $answer,
            Storage::Queue($kind) => $answer,
            Storage::Latest($kind) => $answer,
            Storage::Mailbox($kind) => $answer,
        }
    };
}

/// Every so many values their time is noted, whoever reads or waits.
const NOTED: u64 = 64;

/// A record's buffer: how values move, and beside it who reads and waits.
pub(crate) struct Buffer<T> {
    storage: Storage<T>,
    reception: Reception,
}

impl<T: Clone> Buffer<T> {
    pub(crate) fn new(cfg: BufferCfg, clock: Arc<dyn Clock>) -> Result<Arc<Self>, NoMemory> {
        let storage = match cfg {
            BufferCfg::SpmcRing { capacity } => Storage::Ring(Ring::new(capacity)?),
            BufferCfg::SpmcQueue { capacity } => Storage::Queue(Queue::new(capacity)?),
            BufferCfg::SingleLatest => Storage::Latest(Latest::new()),
            BufferCfg::Mailbox => Storage::Mailbox(Mailbox::new()),
        };
        Ok(Arc::new(Self { storage, reception: Reception::new(cfg, clock) }))
    }

    pub(crate) fn cfg(&self) -> BufferCfg {
        self.reception.cfg()
    }

    pub(crate) fn reception(&self) -> &Reception {
        &self.reception
    }

    // Writing.

    /// Accepts `value` if there is room, wakes who waits for it, then drops what it pushed out.
    #[cfg_attr(feature = "std", inline)]
    pub(crate) fn try_produce(&self, value: T) -> Result<(), TryProduceError<T>> {
        let Pushed { evicted, produced } = {
            let step = Step::begin();
            // The value goes straight from the caller to its slot: see DESIGN.md, "Values move in place".
            each!(&self.storage, kind => match kind.try_turn() {
                Some(turn) => turn.write(value),
                None => {
                    step.end();
                    return self.produce_in_turn(value);
                }
            })
        };
        self.tell(produced, 1);
        drop(evicted);
        Ok(())
    }

    /// [`try_produce`](Self::try_produce) where others write too, the queue looks full, or the record is closed.
    #[cold]
    #[inline(never)]
    fn produce_in_turn(&self, value: T) -> Result<(), TryProduceError<T>> {
        let Pushed { evicted, produced } = {
            let _step = Step::begin();
            each!(&self.storage, kind => match kind.turn(|| self.reception.slowest()) {
                Ok(turn) => turn.write(value),
                Err(Refused::Full) => return Err(TryProduceError::Full(value)),
                Err(Refused::Closed) => return Err(TryProduceError::Closed(value)),
            })
        };
        self.tell(produced, 1);
        drop(evicted);
        Ok(())
    }

    /// Accepts values from `batch` in order while there is room, and leaves the rest in it.
    pub(crate) fn try_produce_batch<const N: usize>(
        &self,
        batch: &mut arrayvec::ArrayVec<T, N>,
    ) -> Result<(), Closed> {
        let mut evicted = arrayvec::ArrayVec::<T, N>::new();
        let offered = batch.len() as u64;
        let step = Step::begin();
        let outcome = match &self.storage {
            Storage::Queue(queue) => {
                queue.write_batch(batch, || self.reception.slowest(), &mut evicted)
            }
            Storage::Ring(kind) => write_one_by_one(kind, batch, &mut evicted),
            Storage::Latest(kind) => write_one_by_one(kind, batch, &mut evicted),
            Storage::Mailbox(kind) => write_one_by_one(kind, batch, &mut evicted),
        };
        step.end();
        match outcome {
            Ok(produced) => self.tell(produced, offered - batch.len() as u64),
            Err(Refused::Full) => {}
            Err(Refused::Closed) => return Err(Closed),
        }
        Ok(())
    }

    /// After `written` values: wakes who waits for them, and notes the time if it is worth it.
    #[inline(always)]
    fn tell(&self, produced: u64, written: u64) {
        let somebody = self.reception.signals(READERS_WAIT | NOBODY_READS);
        if somebody || produced % NOTED < written {
            self.reception.tell_those_who_wait(produced);
        }
    }

    /// Accepts `value` or waits for room. The value stays with the caller until it is accepted.
    #[inline]
    pub(crate) fn poll_produce(
        &self,
        value: &mut Option<T>,
        key: &mut WaitKey,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        let mut spin = Spin::new();
        loop {
            let Some(offered) = value.take() else { return Poll::Ready(Ok(())) };
            let outcome = match self.try_produce(offered) {
                Ok(()) => Ok(()),
                Err(TryProduceError::Closed(back)) => {
                    *value = Some(back);
                    Err(Closed)
                }
                Err(TryProduceError::Full(back)) => {
                    *value = Some(back);
                    if self.wait_for_room(key, cx.waker().clone()) || gives_way(&spin, cx) {
                        return Poll::Pending;
                    }
                    spin.wait();
                    continue;
                }
            };
            self.stop_writing(key);
            return Poll::Ready(outcome);
        }
    }

    /// Puts a writer in line. If there is room or no hope by now, or a reader is half-way, it says no, and the writer
    /// must look again, still in line.
    pub(crate) fn wait_for_room(&self, key: &mut WaitKey, waker: Waker) -> bool {
        matches!(self.storage, Storage::Queue(_)) && self.reception.wait_for_room(self, key, waker)
    }

    /// Ends a wait for room; a wake-up that was not used goes on.
    #[inline]
    pub(crate) fn stop_writing(&self, key: &mut WaitKey) {
        if key.is_some() {
            self.reception.stop_writing(self, key);
        }
    }

    // Reading.

    /// What comes next for the reader of `cursor`. `ALONE` says that no other thread reads through it.
    #[cfg_attr(feature = "std", inline(always))]
    fn try_take<const ALONE: bool>(
        &self,
        reader: usize,
        cursor: &Cursor,
        into: &mut Option<T>,
    ) -> Taken {
        let mut out = Outlet::nth(1);
        let taken = {
            let _step = Step::begin();
            each!(&self.storage, kind => {
                let mut held = hold::<T, _, ALONE>(kind, cursor);
                if kind.try_read(&mut held, &mut out) {
                    Taken::Value
                } else {
                    let taken;
                    (taken, out) = read_in_turn(kind, held);
                    taken
                }
            })
        };
        if matches!(taken, Taken::Value) {
            self.follow(reader, cursor, 1);
        }
        *into = out.value;
        taken
    }

    /// What comes next for the reader of `cursor`, with what it lost before it. The value behind a lag goes to the
    /// `stash` in the same turn, so that no writer can come between the two: a lag that is reported is followed by a
    /// value.
    fn try_take_event(
        &self,
        reader: usize,
        cursor: &Cursor,
        stash: &Stash<T>,
    ) -> Result<Event<T>, TryRecvError> {
        let mut out = Outlet::nth(1);
        let (taken, missed) = {
            let _step = Step::begin();
            let mut held = cursor.hold();
            // Another thread has put a value there since this one looked. It comes first.
            if let Some(value) = stash.take() {
                held.unstash_one(false);
                return Ok(Event::Value(value));
            }
            held.empty_hand();
            let taken = each!(&self.storage, kind => kind.read(&mut held, &mut out));
            // After the read: a `Clone` that panics leaves its lag to the next event.
            let missed = if taken == Taken::Value { held.take_untold() } else { 0 };
            if missed > 0 {
                held.stash_one(out.number);
                stash.put(out.value.take());
            }
            (taken, missed)
        };
        if missed > 0 && cursor.is_shared() {
            self.reception.wake_all_of(reader);
        }
        if taken == Taken::Value {
            self.follow(reader, cursor, 1);
        }
        match (taken, out.value) {
            (Taken::Value, Some(value)) => Ok(Event::Value(value)),
            (Taken::Value, None) => Ok(Event::Lagged(missed)),
            (Taken::Closed, _) => Err(TryRecvError::Closed),
            (Taken::Empty, _) => Err(TryRecvError::Empty),
        }
    }

    fn try_take_many(
        &self,
        reader: usize,
        cursor: &Cursor,
        into: &mut Vec<T>,
        limit: usize,
    ) -> Result<usize, TryRecvError> {
        let mut spares = Vec::new();
        // Also if a `Clone` panics after some values were taken.
        let mut progress = Progress { buffer: self, reader, cursor, taken: 0 };
        let end = each!(&self.storage, kind => {
            read_many(kind, cursor, into, limit, &mut spares, &mut progress.taken)
        });
        match (progress.taken, end) {
            (0, Taken::Closed) => Err(TryRecvError::Closed),
            (0, _) => Err(TryRecvError::Empty),
            (taken, _) => Ok(taken),
        }
    }

    /// After `taken` values were read: wakes who can go on because of it.
    #[inline(always)]
    fn follow(&self, reader: usize, cursor: &Cursor, taken: u64) {
        if self.reception.signals(WRITERS_WAIT | DRAIN_AWAITED)
            || self.reception.signals(READERS_WAIT) && cursor.is_shared()
        {
            self.reception.wake_those_who_follow(self, reader, cursor, taken);
        }
    }

    /// Puts a reader in line. If there is something to read by now, or somebody is half-way, it says no, and the reader
    /// must look again, still in line.
    fn wait_for_value(
        &self,
        reader: usize,
        cursor: &Cursor,
        key: &mut WaitKey,
        waker: Waker,
    ) -> bool {
        self.reception.wait_to_read(self.produced(), reader, key, waker);
        // The second look.
        let _step = Step::begin();
        each!(&self.storage, kind => kind.may_sleep(cursor.next()))
    }

    /// Ready when the record is closed and nothing is left for the reader of `cursor`.
    fn poll_drained(&self, cursor: &Cursor, key: &mut WaitKey, cx: &mut Context<'_>) -> Poll<()> {
        let mut spin = Spin::new();
        // In this order: what was accepted before it closed is still there to be seen.
        while !self.is_closed() || self.readable(cursor) > 0 {
            self.reception.wait_for_end(key, cx.waker().clone());
            if self.may_wait_for_end(cursor) || gives_way(&spin, cx) {
                return Poll::Pending;
            }
            spin.wait();
        }
        self.cancel_drain_wait(key);
        Poll::Ready(())
    }

    /// The second look. That a record closes is seen without it: closing takes the registry's lock after the mark, and
    /// the waiter was put in line under that lock.
    fn may_wait_for_end(&self, cursor: &Cursor) -> bool {
        let _step = Step::begin();
        match each!(&self.storage, kind => kind.has_unread(cursor)) {
            Some(unread) => unread || !self.is_closed(),
            None => false,
        }
    }

    fn cancel_drain_wait(&self, key: &mut WaitKey) {
        self.reception.cancel_drain_wait(key);
    }

    /// Ends a wait of the reader of `cursor`. If it is alone on its cursor and nobody waits, it has been taken out of
    /// the line and there is nobody to pass a wake-up on to: then it keeps its place in the list for the next wait, and
    /// the lock is spared, until [`give_up_reading`](Self::give_up_reading).
    fn stop_reading(&self, reader: usize, cursor: &Cursor, key: &mut WaitKey) {
        let alone = !cursor.is_shared() && !matches!(self.storage, Storage::Mailbox(_));
        if key.is_some() && (!alone || self.reception.signals(READERS_WAIT)) {
            self.give_up_reading(reader, cursor, key);
        }
    }

    #[inline]
    fn give_up_reading(&self, reader: usize, cursor: &Cursor, key: &mut WaitKey) {
        if key.is_some() {
            self.reception.stop_reading(self, reader, cursor, key);
        }
    }

    // Readers coming and going.

    pub(crate) fn subscribe(this: &Arc<Self>, name: Arc<str>, of_stage: bool) -> Subscription<T> {
        match Self::seat(this, name, of_stage, |_| Ok::<(), Infallible>(())) {
            Ok(subscription) => subscription,
            Err(never) => match never {},
        }
    }

    /// A place for one more reader, if the record is open and, when it is `exclusive`, has none.
    pub(crate) fn try_subscribe(
        this: &Arc<Self>,
        name: Arc<str>,
        of_stage: bool,
        exclusive: bool,
    ) -> Result<Subscription<T>, NoSeat> {
        Self::seat(this, name, of_stage, |registry| match registry.cursors().next() {
            _ if this.is_closed() => Err(NoSeat::Closed),
            Some(taker) if exclusive => Err(NoSeat::Taken(Arc::clone(&taker.name))),
            _ => Ok(()),
        })
    }

    fn seat<E>(
        this: &Arc<Self>,
        name: Arc<str>,
        of_stage: bool,
        condition: impl FnOnce(&Registry) -> Result<(), E>,
    ) -> Result<Subscription<T>, E> {
        let is_queue = matches!(this.storage, Storage::Queue(_));
        let sit = |position| {
            let cursor = Arc::new(Cursor::new(name, of_stage, position));
            let id = this.reception.registry(|registry| {
                condition(registry)?;
                Ok(registry.enter(Arc::clone(&cursor), is_queue))
            })?;
            Ok(Subscription::new(Arc::clone(this), id, cursor))
        };
        let _step = Step::begin();
        match &this.storage {
            Storage::Queue(queue) => queue.enter(sit),
            Storage::Ring(kind) => sit(kind.start()),
            Storage::Latest(kind) => sit(kind.start()),
            Storage::Mailbox(kind) => sit(kind.start()),
        }
    }

    /// Takes the value behind a reported lag out of the stash of the reader of `cursor`.
    fn unstash(&self, cursor: &Cursor, stash: &Stash<T>) -> Option<T> {
        let _step = Step::begin();
        let mut held = cursor.hold();
        let value = stash.take();
        if value.is_some() {
            held.unstash_one(false);
        }
        value
    }

    /// A reader leaves that has a value in its stash. A command goes back to its mailbox, unless a newer one has come.
    fn give_up_stashed(&self, cursor: &Cursor, value: T) -> u64 {
        let step = Step::begin();
        let number = cursor.hold().unstash_one(true);
        let Storage::Mailbox(mailbox) = &self.storage else { return 1 };
        let replaced = mailbox.give_back(value, number);
        let produced = mailbox.produced();
        step.end();
        if replaced.is_none() {
            self.reception.tell_those_who_wait(produced);
        }
        drop(replaced);
        0
    }

    fn leave(&self, reader: usize, cursor: &Cursor, stashed: Option<T>) {
        let unread = stashed.map_or(0, |value| self.give_up_stashed(cursor, value));
        let unseat =
            |left| self.reception.registry(|registry| registry.leave(reader, left + unread));
        let _freed = match &self.storage {
            Storage::Queue(queue) => {
                let _step = Step::begin();
                queue.leave(cursor, unseat)
            }
            _ => {
                unseat(left_for(self, cursor));
                Vec::new()
            }
        };
        self.reception.wake_those_left_behind(self, reader);
    }

    /// Ends the record: no more values, everyone who waits is woken.
    pub(crate) fn close(&self) {
        {
            let _step = Step::begin();
            each!(&self.storage, kind => kind.close());
        }
        self.reception.close();
    }

    // Looking.

    /// The newest value held, which stays where it is.
    pub(crate) fn latest(&self) -> Option<T> {
        let _step = Step::begin();
        match &self.storage {
            Storage::Ring(ring) => ring.latest(),
            Storage::Latest(latest) => latest.latest(),
            Storage::Mailbox(mailbox) => mailbox.latest(),
            Storage::Queue(queue) => queue.latest(|head| self.reception.behind(head)),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        each!(&self.storage, kind => kind.is_closed())
    }

    fn readable(&self, cursor: &Cursor) -> u64 {
        left_for(self, cursor)
    }

    fn lagged(&self, cursor: &Cursor) -> u64 {
        Reception::lagged(self, cursor)
    }
}

impl<T: Clone> Values for Buffer<T> {
    fn produced(&self) -> u64 {
        let _step = Step::begin();
        each!(&self.storage, kind => kind.produced())
    }

    fn overwritten(&self) -> u64 {
        let _step = Step::begin();
        each!(&self.storage, kind => kind.overwritten())
    }

    fn depth(&self, slowest: Option<u64>) -> usize {
        let _step = Step::begin();
        each!(&self.storage, kind => kind.depth(slowest))
    }

    fn readable(&self, next: u64) -> u64 {
        let _step = Step::begin();
        each!(&self.storage, kind => kind.readable(next))
    }

    fn missed(&self, next: u64) -> u64 {
        let _step = Step::begin();
        each!(&self.storage, kind => kind.missed(next))
    }

    fn room(&self, slowest: Option<u64>) -> u64 {
        let _step = Step::begin();
        match &self.storage {
            Storage::Queue(queue) => queue.room(slowest),
            _ => u64::MAX,
        }
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }
}

/// The turn to read. Only where writers look at cursors must it be marked when nobody else can take it.
#[inline(always)]
fn hold<'c, T: Clone, K: Kind<T>, const ALONE: bool>(_: &K, cursor: &'c Cursor) -> Held<'c> {
    if ALONE && !K::GATED { cursor.hold_alone() } else { cursor.hold() }
}

/// A read where there is nothing, or something is lost, or others are busy with it.
#[cold]
#[inline(never)]
fn read_in_turn<T: Clone, K: Kind<T>>(kind: &K, mut held: Held<'_>) -> (Taken, Outlet<T>) {
    let mut out = Outlet::nth(1);
    held.empty_hand();
    let taken = kind.read(&mut held, &mut out);
    held.take_untold();
    (taken, out)
}

/// Whether a poll that has to look again has done so for long enough: then the task lets others on its thread run first.
/// Another reader's `Clone` may be what it waits for, and that may last.
pub(crate) fn gives_way(spin: &Spin, cx: &Context<'_>) -> bool {
    let long = spin.is_long();
    if long {
        cx.waker().wake_by_ref();
    }
    long
}

fn write_one_by_one<T: Clone, K: Kind<T>, const N: usize>(
    kind: &K,
    batch: &mut arrayvec::ArrayVec<T, N>,
    evicted: &mut arrayvec::ArrayVec<T, N>,
) -> Result<u64, Refused> {
    let mut produced = 0;
    let mut values = core::mem::take(batch).into_iter();
    while values.len() > 0 {
        // Only a queue asks who is slowest.
        let turn = match kind.turn(|| 0) {
            Ok(turn) => turn,
            Err(refused) => {
                batch.extend(values);
                return Err(refused);
            }
        };
        if let Some(value) = values.next() {
            let pushed = turn.write(value);
            evicted.extend(pushed.evicted);
            produced = pushed.produced;
        }
    }
    Ok(produced)
}

/// What a batch of reads came to, told to those who wait for it when it is over.
struct Progress<'b, T: Clone> {
    buffer: &'b Buffer<T>,
    reader: usize,
    cursor: &'b Cursor,
    taken: usize,
}

impl<T: Clone> Drop for Progress<'_, T> {
    fn drop(&mut self) {
        if self.taken > 0 {
            self.buffer.follow(self.reader, self.cursor, self.taken as u64);
        }
    }
}

/// Reads up to `limit` values in one turn of the reader, counting them in `taken`; says what the last attempt came to.
fn read_many<T: Clone, K: Kind<T>>(
    kind: &K,
    cursor: &Cursor,
    into: &mut Vec<T>,
    limit: usize,
    spares: &mut Vec<T>,
    taken: &mut usize,
) -> Taken {
    let _step = Step::begin();
    let mut held = cursor.hold();
    held.empty_hand();
    loop {
        let mut out = Outlet::nth(*taken as u64 + 1);
        let outcome = kind.read(&mut held, &mut out);
        held.take_untold();
        into.extend(out.value);
        spares.extend(out.spare);
        *taken += usize::from(matches!(outcome, Taken::Value));
        if !matches!(outcome, Taken::Value) || *taken == limit {
            return outcome;
        }
    }
}
