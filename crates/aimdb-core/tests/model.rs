//! Random operations on each kind of buffer, against a model that keeps everything.
//!
//! Readers and writers wait in futures that are polled at random, woken or not, and dropped at random points. The model
//! computes the waiters that each operation must wake. Every waker counts: a missing and a superfluous wake-up both
//! fail.
//!
//! `PROPTEST_CASES` sets the number of sequences of 400 operations for each kind; 256 unless set. 2500 of them are a
//! million operations for each kind.
#![cfg(not(aimdb_loom))]

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use aimdb_core::{
    AimDb, AimDbBuilder, BufferCfg, Closed, Event, ProduceManyError, TryProduceError, TryRecvError,
};
use aimdb_testing::{Counted, InstanceCounter, TestRuntime};
use proptest::prelude::*;

type Reader = aimdb_core::Reader<Counted>;
type Producer = aimdb_core::Producer<Counted, TestRuntime>;

/// The number of values that a producer collects and accepts in one chunk.
const BATCH: usize = 32;
const MOST_READERS: usize = 5;
const MOST_WRITERS: usize = 6;

/// One operation. A number, modulo how many there are, picks the reader or the writer.
#[derive(Clone, Debug)]
enum Op {
    TryProduce,
    TryRecv(usize),
    /// Begins to read, or polls a pending read, woken or not.
    Read(usize, ReadCall),
    /// Drops a pending read.
    CancelRead(usize),
    /// Begins to write this many values, and polls the write once.
    Write(usize),
    PollWriter(usize),
    /// Drops a pending write.
    CancelWrite(usize),
    Subscribe,
    Unsubscribe(usize),
    Latest,
    Close,
}

/// A call that waits for a value.
#[derive(Clone, Copy, Debug)]
enum ReadCall {
    Recv,
    /// [`Recv`](Self::Recv) by reference.
    RecvWith,
    NextEvent,
    RecvMany(usize),
}

impl Op {
    /// The operation for a pair of random numbers: its kind and its subject. Small numbers are simple operations, so
    /// proptest shrinks to them.
    fn of((kind, subject): (u8, u8)) -> Self {
        let subject = usize::from(subject);
        let (index, how) = (subject % 60, subject / 60);
        match kind % 64 {
            0..6 => Self::TryProduce,
            6..12 => Self::TryRecv(index),
            12..17 => Self::Read(index, ReadCall::Recv),
            17..20 => Self::Read(index, ReadCall::RecvWith),
            20..26 => Self::Read(index, ReadCall::NextEvent),
            26..31 => Self::Read(index, ReadCall::RecvMany([0, 2, 5, usize::MAX][how.min(3)])),
            31..40 => Self::Write(1),
            40..43 => Self::Write(subject % 80),
            43..50 => Self::PollWriter(index),
            50..53 => Self::CancelRead(index),
            53..56 => Self::CancelWrite(index),
            56..60 => Self::Subscribe,
            60..62 => Self::Unsubscribe(index),
            _ => Self::Latest,
        }
    }
}

/// 400 operations. In half of the sequences the record closes at a random point.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    let numbers = proptest::collection::vec(any::<(u8, u8)>(), 400);
    (numbers, 0..800_usize).prop_map(|(numbers, close_at)| {
        let mut ops: Vec<Op> = numbers.into_iter().map(Op::of).collect();
        if let Some(op) = ops.get_mut(close_at) {
            *op = Op::Close;
        }
        ops
    })
}

/// The number of one pending call, of a reader or a writer.
type WaitId = u64;

/// The waiters of one direction, first in, first out.
#[derive(Default)]
struct WaitQueue {
    waiting: VecDeque<WaitId>,
    /// Woken, and not polled since.
    woken: BTreeSet<WaitId>,
    /// Woken by the current operation.
    just_woken: Vec<WaitId>,
}

impl WaitQueue {
    /// Adds a waiter that found nothing. A woken waiter that finds nothing is first again.
    fn wait(&mut self, id: WaitId) {
        if self.woken.remove(&id) {
            self.waiting.push_front(id);
        } else if !self.waiting.contains(&id) {
            self.waiting.push_back(id);
        }
    }

    fn wake(&mut self, at_most: u64) {
        for _ in 0..at_most {
            let Some(id) = self.waiting.pop_front() else { return };
            self.woken.insert(id);
            self.just_woken.push(id);
        }
    }

    /// Ends a wait. Returns whether the waiter had been woken.
    fn remove(&mut self, id: WaitId) -> bool {
        self.waiting.retain(|&waiting| waiting != id);
        self.woken.remove(&id)
    }
}

/// A plain model of a record: every accepted value, the cursor of each reader, and the waiters.
///
/// Positions count accepted values. The kind alone determines which of them can still be read.
struct Model {
    cfg: BufferCfg,
    /// The value at each position.
    values: Vec<u64>,
    overwritten: u64,
    closed: bool,
    /// Whether any reader has read the value at a position.
    read: Vec<bool>,
    readers: Vec<Cursor>,
    /// Mailbox: the position of the pending command, and the number of commands that it replaced.
    pending: Option<u64>,
    replaced: u64,
    reading: WaitQueue,
    writing: WaitQueue,
}

#[derive(Clone, Copy)]
struct Cursor {
    next: u64,
    lagged: u64,
    delivered: u64,
    /// The position of the value behind a reported lag: taken, and not yet delivered.
    stashed: Option<u64>,
}

/// The outcome of one read.
#[derive(Debug, PartialEq)]
enum Received {
    Lagged(u64),
    Value(u64),
    Empty,
    Closed,
}

/// The outcome of a call that waits for values.
#[derive(Debug, PartialEq)]
enum ReadOutcome {
    One(Received),
    Many(Vec<u64>),
}

/// The progress of a write.
struct WriteState {
    /// The values not yet accepted.
    left: VecDeque<u64>,
    /// How many of them belong to the current chunk.
    in_batch: usize,
    accepted: usize,
    /// Whether this is a `produce`, which returns its value.
    single: bool,
}

/// The outcome of a write.
#[derive(Debug, PartialEq)]
enum WriteOutcome {
    All(usize),
    /// The record closed after this many values of a batch.
    Only(usize),
    /// The record is closed; the value was returned.
    Refused(u64),
}

impl Model {
    fn new(cfg: BufferCfg) -> Self {
        Self {
            cfg,
            values: Vec::new(),
            overwritten: 0,
            closed: false,
            read: Vec::new(),
            readers: Vec::new(),
            pending: None,
            replaced: 0,
            reading: WaitQueue::default(),
            writing: WaitQueue::default(),
        }
    }

    fn produced(&self) -> u64 {
        self.values.len() as u64
    }

    fn is_mailbox(&self) -> bool {
        self.cfg == BufferCfg::Mailbox
    }

    /// The oldest position held.
    fn base(&self) -> u64 {
        let slowest = || self.readers.iter().map(|reader| reader.next).min();
        match self.cfg {
            BufferCfg::SpmcRing { capacity } => self.produced().saturating_sub(capacity as u64),
            BufferCfg::SpmcQueue { .. } => slowest().unwrap_or(self.produced()),
            BufferCfg::SingleLatest => self.produced().saturating_sub(1),
            BufferCfg::Mailbox => self.pending.unwrap_or(self.produced()),
            other => unreachable!("the model has no {other}"),
        }
    }

    fn depth(&self) -> u64 {
        self.produced() - self.base()
    }

    /// The number of values that can be accepted now.
    fn room(&self) -> u64 {
        match self.cfg {
            BufferCfg::SpmcQueue { capacity } if !self.readers.is_empty() => {
                capacity as u64 - self.depth()
            }
            _ => u64::MAX,
        }
    }

    /// Accepts a chunk of values. Wakes the first waiting taker of a mailbox, or all waiting readers of another kind.
    fn accept(&mut self, values: impl IntoIterator<Item = u64>) {
        for value in values {
            let base_before = self.base();
            if self.is_mailbox() {
                self.replaced += u64::from(self.pending.is_some());
                self.pending = Some(self.produced());
            }
            self.values.push(value);
            self.read.push(false);
            let lost = base_before..self.base();
            self.overwritten += lost.filter(|&at| !self.read[at as usize]).count() as u64;
        }
        self.reading.wake(if self.is_mailbox() { 1 } else { u64::MAX });
    }

    /// Polls a write once.
    fn write(&mut self, id: WaitId, write: &mut WriteState) -> Option<WriteOutcome> {
        loop {
            if write.in_batch == 0 {
                write.in_batch = write.left.len().min(BATCH);
            }
            if write.in_batch == 0 {
                return Some(WriteOutcome::All(write.accepted));
            }
            if self.closed {
                self.end_write(id);
                return Some(match write.single {
                    true => WriteOutcome::Refused(write.left[0]),
                    false => WriteOutcome::Only(write.accepted),
                });
            }
            let fit = self.room().min(write.in_batch as u64) as usize;
            if fit > 0 {
                self.accept(write.left.drain(..fit));
            }
            write.accepted += fit;
            write.in_batch -= fit;
            if write.in_batch > 0 {
                self.writing.wait(id);
                return None;
            }
            self.end_write(id);
        }
    }

    /// A writer no longer waits. The next writer inherits an unused wake-up.
    fn end_write(&mut self, id: WaitId) {
        if self.writing.remove(id) && self.room() > 0 {
            self.writing.wake(1);
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.reading.wake(u64::MAX);
        self.writing.wake(u64::MAX);
    }

    fn subscribe(&mut self) {
        let next = match self.cfg {
            BufferCfg::SingleLatest => self.base(),
            _ => self.produced(),
        };
        self.readers.push(Cursor { next, lagged: 0, delivered: 0, stashed: None });
    }

    fn unsubscribe(&mut self, reader: usize) {
        let gone = self.readers.remove(reader);
        // A command that was not delivered is pending again, unless a newer one has been written.
        if let Some(at) = gone.stashed.filter(|_| self.is_mailbox()) {
            if at + 1 == self.produced() {
                self.pending = Some(at);
                self.read[at as usize] = false;
                self.reading.wake(1);
            } else {
                self.overwritten += 1;
                self.replaced += 1;
            }
        }
        self.writing.wake(self.room());
    }

    fn missed(&self, reader: usize) -> u64 {
        match self.cfg {
            BufferCfg::Mailbox => 0,
            _ => self.base().saturating_sub(self.readers[reader].next),
        }
    }

    fn lagged(&self, reader: usize) -> u64 {
        self.readers[reader].lagged + self.missed(reader)
    }

    fn pending(&self, reader: usize) -> u64 {
        match self.cfg {
            BufferCfg::Mailbox => u64::from(self.pending.is_some()),
            _ => self.produced() - self.readers[reader].next.max(self.base()),
        }
    }

    /// The number of values to be read, as the reader reports it.
    fn unread(&self, reader: usize) -> u64 {
        self.pending(reader) + u64::from(self.readers[reader].stashed.is_some())
    }

    fn take_stashed(&mut self, reader: usize) -> Option<u64> {
        let cursor = &mut self.readers[reader];
        let at = cursor.stashed.take()?;
        cursor.delivered += 1;
        Some(self.values[at as usize])
    }

    /// Reads, without waking a writer.
    fn take(&mut self, reader: usize, report_lag: bool) -> Received {
        if let Some(stashed) = self.take_stashed(reader) {
            return Received::Value(stashed);
        }
        let missed = match self.cfg {
            // The taker of a command counts the commands that it replaced.
            BufferCfg::Mailbox if self.pending.is_some() => std::mem::take(&mut self.replaced),
            _ => self.missed(reader),
        };
        let cursor = &mut self.readers[reader];
        cursor.lagged += missed;
        if self.cfg != BufferCfg::Mailbox {
            cursor.next += missed;
        }
        if self.pending(reader) == 0 {
            return if self.closed { Received::Closed } else { Received::Empty };
        }
        let cursor = &mut self.readers[reader];
        let at = self.pending.take().unwrap_or(cursor.next);
        cursor.next = at + 1;
        self.read[at as usize] = true;
        if report_lag && missed > 0 {
            cursor.stashed = Some(at);
            return Received::Lagged(missed);
        }
        cursor.delivered += 1;
        Received::Value(self.values[at as usize])
    }

    /// Wakes as many writers as values were read, as far as there is room.
    fn wake_writers_after_read(&mut self, taken: u64) {
        self.writing.wake(self.room().min(taken));
    }

    fn try_recv(&mut self, reader: usize) -> Received {
        let next = self.take(reader, false);
        self.wake_writers_after_read(u64::from(matches!(next, Received::Value(_))));
        next
    }

    /// Polls a read once.
    fn poll_read(&mut self, id: WaitId, reader: usize, call: ReadCall) -> Option<ReadOutcome> {
        let got = match call {
            ReadCall::RecvMany(0) => ReadOutcome::Many(Vec::new()),
            ReadCall::RecvMany(_) if self.readers[reader].stashed.is_some() => {
                ReadOutcome::Many(self.take_stashed(reader).into_iter().collect())
            }
            ReadCall::RecvMany(limit) => match self.take(reader, false) {
                Received::Value(first) => {
                    let mut values = Vec::from([first]);
                    while values.len() < limit {
                        let Received::Value(next) = self.take(reader, false) else { break };
                        values.push(next);
                    }
                    self.wake_writers_after_read(values.len() as u64);
                    ReadOutcome::Many(values)
                }
                nothing => ReadOutcome::One(nothing),
            },
            ReadCall::Recv | ReadCall::RecvWith | ReadCall::NextEvent => {
                let next = self.take(reader, matches!(call, ReadCall::NextEvent));
                self.wake_writers_after_read(u64::from(matches!(next, Received::Value(_))));
                ReadOutcome::One(next)
            }
        };
        if got == ReadOutcome::One(Received::Empty) {
            self.reading.wait(id);
            return None;
        }
        self.end_read(id);
        Some(got)
    }

    /// A reader no longer waits. If it was woken for a command that is still pending, the next taker is woken for it.
    fn end_read(&mut self, id: WaitId) {
        if self.reading.remove(id) && self.pending.is_some() {
            self.reading.wake(1);
        }
    }

    fn latest(&self) -> Option<u64> {
        (self.depth() > 0).then(|| *self.values.last().expect("something is held"))
    }

    /// A waiter that has not been woken has no reason to run.
    fn assert_no_waiter_is_forgotten(&self, readers: impl Iterator<Item = (usize, WaitId)>) {
        let Self { reading, writing, .. } = self;
        assert!(!self.closed || reading.waiting.is_empty() && writing.waiting.is_empty());
        assert!(writing.waiting.is_empty() || writing.woken.len() as u64 >= self.room());
        if self.is_mailbox() {
            let sleeping = self.pending.is_some() && reading.woken.is_empty();
            assert!(!sleeping || reading.waiting.is_empty());
            return;
        }
        for (reader, id) in readers {
            assert!(!reading.waiting.contains(&id) || self.pending(reader) == 0);
        }
    }
}

/// Counts its wake-ups.
#[derive(Default)]
struct CountingWaker(AtomicU64);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A pending future with a waker of its own.
struct PendingCall<O: 'static> {
    id: WaitId,
    future: Pin<Box<dyn Future<Output = O>>>,
    wakes: Arc<CountingWaker>,
    /// Makes the future drop the call that it waits for.
    cancel: Rc<Cell<bool>>,
}

impl<O: 'static> PendingCall<O> {
    fn new<F: Future<Output = O> + 'static>(
        id: WaitId,
        future: impl FnOnce(Rc<Cell<bool>>) -> F,
    ) -> Self {
        let cancel = Rc::default();
        let future = Box::pin(future(Rc::clone(&cancel)));
        Self { id, future, wakes: Arc::default(), cancel }
    }

    /// Polls once, and again as long as the future yields because its cooperative budget is used up.
    fn poll(&mut self) -> Poll<O> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        loop {
            let before = self.wakes.0.load(Relaxed);
            let polled = self.future.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_ready() || self.wakes.0.load(Relaxed) == before {
                return polled;
            }
            self.wakes.0.store(before, Relaxed);
        }
    }

    /// Asserts that the pending calls of one direction were woken as the model says.
    fn check<'w>(waits: impl Iterator<Item = &'w Self>, queue: &mut WaitQueue) {
        let woken = std::mem::take(&mut queue.just_woken);
        let mut checked = 0;
        for wait in waits {
            let expected = woken.iter().filter(|&&id| id == wait.id).count();
            assert_eq!(wait.wakes.0.swap(0, Relaxed), expected as u64, "wakes of {}", wait.id);
            checked += expected;
        }
        assert_eq!(checked, woken.len(), "every woken waiter has a pending call");
    }
}

impl<O: 'static> Drop for PendingCall<O> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.future = Box::pin(std::future::pending());
            assert_eq!(Arc::strong_count(&self.wakes), 1, "an ended wait keeps no waker");
        }
    }
}

/// The output of `future`, or `None` once it is to be cancelled.
async fn until_cancelled<F: Future>(cancel: &Cell<bool>, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match cancel.get() {
        true => Poll::Ready(None),
        false => future.as_mut().poll(cx).map(Some),
    })
    .await
}

/// The read of the record under test. Returns the reader and the outcome; `None` if the read was cancelled.
async fn read(
    mut reader: Reader,
    call: ReadCall,
    cancel: Rc<Cell<bool>>,
) -> (Reader, Option<ReadOutcome>) {
    let got = match call {
        ReadCall::Recv => until_cancelled(&cancel, reader.recv())
            .await
            .map(|outcome| ReadOutcome::One(next(outcome))),
        ReadCall::RecvWith => {
            until_cancelled(&cancel, reader.recv_with(|value: &Counted| value.number))
                .await
                .map(|outcome| ReadOutcome::One(outcome.map_or(Received::Closed, Received::Value)))
        }
        ReadCall::NextEvent => until_cancelled(&cancel, reader.next_event()).await.map(|outcome| {
            ReadOutcome::One(match outcome {
                Ok(Event::Lagged(missed)) => Received::Lagged(missed),
                Ok(Event::Value(value)) => Received::Value(value.number),
                Err(Closed) => Received::Closed,
            })
        }),
        ReadCall::RecvMany(limit) => {
            let mut values = Vec::new();
            let outcome = until_cancelled(&cancel, reader.recv_many(&mut values, limit)).await;
            assert_eq!(values.len(), outcome.and_then(Result::ok).unwrap_or(0));
            outcome.map(|outcome| match outcome {
                Ok(_) => ReadOutcome::Many(numbers(&values)),
                Err(Closed) => ReadOutcome::One(Received::Closed),
            })
        }
    };
    (reader, got)
}

async fn write(producer: Producer, mut values: Vec<Counted>, single: bool) -> WriteOutcome {
    match (single, values.pop()) {
        // Every other one in place.
        (true, Some(value)) if value.number % 2 == 1 => {
            let number = value.number;
            match producer.produce_with(|| value).await {
                Ok(()) => WriteOutcome::All(1),
                Err(Closed) => WriteOutcome::Refused(number),
            }
        }
        (true, Some(value)) => match producer.produce(value).await {
            Ok(()) => WriteOutcome::All(1),
            Err(refused) => WriteOutcome::Refused(refused.0.number),
        },
        (_, last) => match producer.produce_many(values.into_iter().chain(last)).await {
            Ok(accepted) => WriteOutcome::All(accepted),
            Err(ProduceManyError { accepted, .. }) => WriteOutcome::Only(accepted),
        },
    }
}

fn next(outcome: Result<Counted, Closed>) -> Received {
    outcome.map_or(Received::Closed, |value| Received::Value(value.number))
}

fn numbers(values: &[Counted]) -> Vec<u64> {
    values.iter().map(|value| value.number).collect()
}

type Reading = PendingCall<(Reader, Option<ReadOutcome>)>;

/// A reader of the record under test. A pending read owns it.
enum ReaderState {
    Idle(Reader),
    Busy(Reading, ReadCall),
    /// Between the two, inside of one operation.
    Moved,
}

impl ReaderState {
    fn reading(&self) -> Option<&Reading> {
        match self {
            Self::Busy(reading, _) => Some(reading),
            _ => None,
        }
    }
}

/// The record under test, and its model.
struct Harness {
    model: Model,
    db: AimDb<TestRuntime>,
    producer: Producer,
    instances: Arc<InstanceCounter>,
    readers: Vec<ReaderState>,
    writers: Vec<(PendingCall<WriteOutcome>, WriteState)>,
    /// Values and waits made so far.
    made: u64,
    waits: WaitId,
}

impl Harness {
    fn open(cfg: BufferCfg) -> Self {
        let mut builder = AimDbBuilder::new().runtime(Arc::new(TestRuntime::new()));
        builder.configure::<Counted>("record", |reg| {
            reg.buffer(cfg);
            reg.shared();
        });
        let db = builder.build().unwrap();
        let producer = db.producer("record").unwrap();
        Self {
            model: Model::new(cfg),
            db,
            producer,
            instances: InstanceCounter::new(),
            readers: Vec::new(),
            writers: Vec::new(),
            made: 0,
            waits: 0,
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::TryProduce => self.try_produce(),
            Op::TryRecv(index) => self.try_recv(index),
            Op::Read(index, call) => self.read(index, call),
            Op::CancelRead(index) => self.cancel_read(index),
            Op::Write(count) => self.write(count),
            Op::PollWriter(index) => self.poll_writer(index),
            Op::CancelWrite(index) => self.cancel_write(index),
            Op::Subscribe => self.subscribe(),
            Op::Unsubscribe(index) => self.unsubscribe(index),
            Op::Latest => {
                let latest = self.db.consumer::<Counted>("record").unwrap().latest();
                assert_eq!(latest.map(|value| value.number), self.model.latest());
            }
            Op::Close => {
                self.model.close();
                let mut shutdown = pin!(self.db.shutdown(Duration::ZERO));
                let polled = shutdown.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(polled.is_ready(), "the shutdown waits for a stage");
            }
        }
        self.compare();
    }

    fn value(&mut self) -> Counted {
        self.made += 1;
        self.instances.value(self.made)
    }

    fn next_id(&mut self) -> WaitId {
        self.waits += 1;
        self.waits
    }

    fn try_produce(&mut self) {
        let value = self.value();
        let number = value.number;
        let expected = match (self.model.closed, self.model.room()) {
            (true, _) => Err(TryProduceError::Closed(number)),
            (false, 0) => Err(TryProduceError::Full(number)),
            (false, _) => {
                self.model.accept([number]);
                Ok(())
            }
        };
        let outcome = self.producer.try_produce(value).map_err(|refused| match refused {
            TryProduceError::Full(value) => TryProduceError::Full(value.number),
            TryProduceError::Closed(value) => TryProduceError::Closed(value.number),
        });
        assert_eq!(outcome, expected);
    }

    fn write(&mut self, count: usize) {
        if self.writers.len() == MOST_WRITERS {
            return self.poll_writer(count);
        }
        let values: Vec<_> = (0..count).map(|_| self.value()).collect();
        let left = numbers(&values).into();
        let (single, producer) = (count == 1, self.producer.clone());
        let wait = PendingCall::new(self.next_id(), |_| write(producer, values, single));
        self.writers.push((wait, WriteState { left, in_batch: 0, accepted: 0, single }));
        self.poll_writer(self.writers.len() - 1);
    }

    fn poll_writer(&mut self, index: usize) {
        let Some(at) = index.checked_rem(self.writers.len()) else { return self.try_produce() };
        let (wait, batches) = &mut self.writers[at];
        let outcome = wait.poll();
        let expected = self.model.write(wait.id, batches);
        assert_eq!(outcome, expected.map_or(Poll::Pending, Poll::Ready));
        if outcome.is_ready() {
            self.writers.remove(at);
        }
    }

    fn cancel_write(&mut self, index: usize) {
        let Some(at) = index.checked_rem(self.writers.len()) else { return };
        let (wait, _) = self.writers.remove(at);
        self.model.end_write(wait.id);
    }

    fn subscribe(&mut self) {
        if self.readers.len() == MOST_READERS {
            return;
        }
        match self.db.consumer::<Counted>("record").unwrap().subscribe() {
            Ok(reader) => {
                assert!(!self.model.closed);
                self.readers.push(ReaderState::Idle(reader));
                self.model.subscribe();
            }
            Err(_) => assert!(self.model.closed),
        }
    }

    fn unsubscribe(&mut self, index: usize) {
        let Some(at) = index.checked_rem(self.readers.len()) else { return };
        let reader = self.readers.remove(at);
        if let Some(reading) = reader.reading() {
            self.model.end_read(reading.id);
        }
        drop(reader);
        self.model.unsubscribe(at);
    }

    fn try_recv(&mut self, index: usize) {
        let Some(at) = index.checked_rem(self.readers.len()) else { return self.subscribe() };
        let ReaderState::Idle(reader) = &mut self.readers[at] else {
            return self.read(at, ReadCall::Recv);
        };
        let got = match reader.try_recv() {
            Ok(value) => Received::Value(value.number),
            Err(TryRecvError::Empty) => Received::Empty,
            Err(TryRecvError::Closed) => Received::Closed,
        };
        assert_eq!(got, self.model.try_recv(at));
    }

    fn read(&mut self, index: usize, call: ReadCall) {
        let Some(at) = index.checked_rem(self.readers.len()) else { return self.subscribe() };
        let id = self.next_id();
        let (mut reading, call) = match std::mem::replace(&mut self.readers[at], ReaderState::Moved)
        {
            ReaderState::Busy(reading, call) => (reading, call),
            ReaderState::Idle(reader) => {
                (PendingCall::new(id, |cancel| read(reader, call, cancel)), call)
            }
            ReaderState::Moved => unreachable!("no reader is moved between operations"),
        };
        let outcome = reading.poll();
        let expected = self.model.poll_read(reading.id, at, call);
        self.readers[at] = match outcome {
            Poll::Ready((reader, got)) => {
                assert_eq!(got, expected);
                ReaderState::Idle(reader)
            }
            Poll::Pending => {
                assert_eq!(expected, None);
                ReaderState::Busy(reading, call)
            }
        };
    }

    fn cancel_read(&mut self, index: usize) {
        let Some(at) = index.checked_rem(self.readers.len()) else { return };
        let reader = std::mem::replace(&mut self.readers[at], ReaderState::Moved);
        self.readers[at] = match reader {
            ReaderState::Busy(mut reading, _) => {
                reading.cancel.set(true);
                let Poll::Ready((reader, None)) = reading.poll() else {
                    panic!("a cancelled read is ready")
                };
                self.model.end_read(reading.id);
                ReaderState::Idle(reader)
            }
            free => free,
        };
    }

    /// Compares everything that can be observed without consuming.
    fn compare(&mut self) {
        let metrics = self.db.metrics();
        let metrics = metrics.record("record").unwrap();
        let model = &mut self.model;
        assert_eq!(
            (metrics.produced, metrics.overwritten, metrics.depth as u64),
            (model.produced(), model.overwritten, model.depth())
        );
        let blocked = model.writing.waiting.len();
        assert_eq!(metrics.blocked.as_ref().map_or(0, |blocked| blocked.writers), blocked);
        let mut readers: Vec<_> =
            metrics.readers.iter().map(|r| (r.delivered, r.lagged, r.pending)).collect();
        let mut expected: Vec<_> = (0..model.readers.len())
            .map(|at| (model.readers[at].delivered, model.lagged(at), model.unread(at)))
            .collect();
        readers.sort_unstable();
        expected.sort_unstable();
        assert_eq!(readers, expected);
        // What each reader was to have is delivered, held or lost.
        for account in self.db.metrics().accounts() {
            assert!(account.is_balanced(), "{account}");
        }
        for (at, reader) in self.readers.iter().enumerate() {
            if let ReaderState::Idle(reader) = reader {
                assert_eq!(
                    (reader.lagged(), reader.pending()),
                    (model.lagged(at), model.unread(at))
                );
            }
        }
        let waits =
            || self.readers.iter().enumerate().filter_map(|(at, s)| Some((at, s.reading()?)));
        PendingCall::check(waits().map(|(_, wait)| wait), &mut model.reading);
        PendingCall::check(self.writers.iter().map(|(wait, _)| wait), &mut model.writing);
        model.assert_no_waiter_is_forgotten(waits().map(|(at, wait)| (at, wait.id)));
    }

    /// Cancels all pending calls, reads every reader to its end, and asserts that no value is alive at the end.
    fn finish(mut self) {
        while !self.writers.is_empty() {
            self.cancel_write(0);
            self.compare();
        }
        for at in 0..self.readers.len() {
            self.cancel_read(at);
            self.compare();
            while self.model.unread(at) > 0 {
                self.try_recv(at);
            }
        }
        self.compare();
        let instances = Arc::clone(&self.instances);
        drop(self);
        assert_eq!(instances.alive(), 0);
    }
}

fn follows_its_model(cfg: BufferCfg, ops: &[Op]) {
    let mut harness = Harness::open(cfg);
    ops.iter().for_each(|op| harness.apply(op));
    harness.finish();
}

proptest! {
    // A sequence that fails becomes a named case of the suite, not a line in a file of seeds.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_ring_follows_its_model(capacity in 1..12_usize, ops in ops()) {
        follows_its_model(BufferCfg::SpmcRing { capacity }, &ops);
    }

    #[test]
    fn a_queue_follows_its_model(capacity in 1..12_usize, ops in ops()) {
        follows_its_model(BufferCfg::SpmcQueue { capacity }, &ops);
    }

    #[test]
    fn a_latest_record_follows_its_model(ops in ops()) {
        follows_its_model(BufferCfg::SingleLatest, &ops);
    }

    #[test]
    fn a_mailbox_follows_its_model(ops in ops()) {
        follows_its_model(BufferCfg::Mailbox, &ops);
    }
}
