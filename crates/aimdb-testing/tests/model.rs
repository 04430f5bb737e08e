//! Random operations on each kind of buffer, against a model that keeps everything.
//!
//! Readers and writers wait in futures that are polled now and then, woken or not, and dropped at random points while
//! others go on. The model knows who must be woken by each operation; every waker is counted, so a wake-up too few and
//! one too many both show.
//!
//! `PROPTEST_CASES` sets how many sequences of 400 operations each kind is tried with; 256 unless set. With 2500 it is a
//! million operations for each kind.

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
use aimdb_testing::{Census, Counted, TestRuntime};
use proptest::prelude::*;

type Reader = aimdb_core::Reader<Counted>;
type Producer = aimdb_core::Producer<Counted, TestRuntime>;

/// Values that a producer moves in one go.
const BATCH: usize = 32;
const MOST_READERS: usize = 5;
const MOST_WRITERS: usize = 6;

/// One step. Readers and writers are picked by a number that is taken modulo how many there are.
#[derive(Clone, Debug)]
enum Op {
    TryProduce,
    TryRecv(usize),
    /// Begins to read, or polls a read that has begun, whether it was woken or not.
    Read(usize, Way),
    /// Drops a read that has begun.
    GiveUpReading(usize),
    /// Begins to write this many values, and polls once.
    Write(usize),
    PollWriter(usize),
    /// Drops a write that has begun.
    GiveUpWriting(usize),
    Subscribe,
    Leave(usize),
    Latest,
    Close,
}

/// A way to wait for a value.
#[derive(Clone, Copy, Debug)]
enum Way {
    Recv,
    NextEvent,
    RecvMany(usize),
}

impl Op {
    /// The operation that a random number stands for, and what it works on. Small numbers are simple operations, so
    /// that shrinking leads there.
    fn of((kind, subject): (u8, u8)) -> Self {
        let subject = usize::from(subject);
        let (who, how) = (subject % 60, subject / 60);
        match kind % 64 {
            0..6 => Self::TryProduce,
            6..12 => Self::TryRecv(who),
            12..20 => Self::Read(who, Way::Recv),
            20..26 => Self::Read(who, Way::NextEvent),
            26..31 => Self::Read(who, Way::RecvMany([0, 2, 5, usize::MAX][how.min(3)])),
            31..40 => Self::Write(1),
            40..43 => Self::Write(subject % 80),
            43..50 => Self::PollWriter(who),
            50..53 => Self::GiveUpReading(who),
            53..56 => Self::GiveUpWriting(who),
            56..60 => Self::Subscribe,
            60..62 => Self::Leave(who),
            _ => Self::Latest,
        }
    }
}

/// 400 operations; in one of two sequences the record closes somewhere on the way.
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

/// Names one wait, of a reader or a writer.
type Id = u64;

/// Who waits in one direction, first come first served.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Id>,
    /// Woken, and not polled since.
    woken: BTreeSet<Id>,
    /// Woken by the operation under way.
    just_woken: Vec<Id>,
}

impl Line {
    /// A waiter that found nothing. One that was woken in vain is first again.
    fn wait(&mut self, id: Id) {
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

    /// Ends a wait; says whether it had been woken.
    fn leave(&mut self, id: Id) -> bool {
        self.waiting.retain(|&waiting| waiting != id);
        self.woken.remove(&id)
    }
}

/// What a record should be: everything ever accepted, where each reader stands in it, and who waits.
///
/// Positions count accepted values. Which of them can still be read follows from the kind alone.
struct Model {
    cfg: BufferCfg,
    /// The value at each position.
    values: Vec<u64>,
    overwritten: u64,
    closed: bool,
    /// Whether any reader had the value at a position.
    read: Vec<bool>,
    readers: Vec<Cursor>,
    /// Mailbox: the position that is pending, and how many it replaced.
    pending: Option<u64>,
    replaced: u64,
    reading: Line,
    writing: Line,
}

#[derive(Clone, Copy)]
struct Cursor {
    next: u64,
    lagged: u64,
    delivered: u64,
    /// The position of the value behind a lag that was reported: taken, and not yet delivered.
    promised: Option<u64>,
}

/// What a reader should get.
#[derive(Debug, PartialEq)]
enum Next {
    Lagged(u64),
    Value(u64),
    Empty,
    Closed,
}

/// What a wait for values should come to; `None` while it waits.
#[derive(Debug, PartialEq)]
enum Got {
    One(Next),
    Many(Vec<u64>),
}

/// A write that has begun.
struct Batches {
    /// `None` of `produce`, which hands its value back.
    left: VecDeque<u64>,
    in_batch: usize,
    accepted: usize,
    single: bool,
}

/// What a write should come to.
#[derive(Debug, PartialEq)]
enum Written {
    All(usize),
    /// Closed after this many of a batch.
    Only(usize),
    /// Closed; the value came back.
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
            reading: Line::default(),
            writing: Line::default(),
        }
    }

    fn produced(&self) -> u64 {
        self.values.len() as u64
    }

    fn is_mailbox(&self) -> bool {
        self.cfg == BufferCfg::Mailbox
    }

    /// The oldest position that is held.
    fn base(&self) -> u64 {
        let slowest = || self.readers.iter().map(|reader| reader.next).min();
        match self.cfg {
            BufferCfg::SpmcRing { capacity } => self.produced().saturating_sub(capacity as u64),
            BufferCfg::SpmcQueue { .. } => slowest().unwrap_or(self.produced()),
            BufferCfg::SingleLatest => self.produced().saturating_sub(1),
            BufferCfg::Mailbox => self.pending.unwrap_or(self.produced()),
        }
    }

    fn depth(&self) -> u64 {
        self.produced() - self.base()
    }

    /// How many values can be accepted now.
    fn room(&self) -> u64 {
        match self.cfg {
            BufferCfg::SpmcQueue { capacity } if !self.readers.is_empty() => {
                capacity as u64 - self.depth()
            }
            _ => u64::MAX,
        }
    }

    /// Accepts values in one go, which wakes whoever waits for one: of a mailbox's takers the first, else all.
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

    /// One poll of a write.
    fn write(&mut self, id: Id, write: &mut Batches) -> Option<Written> {
        loop {
            if write.in_batch == 0 {
                write.in_batch = write.left.len().min(BATCH);
            }
            if write.in_batch == 0 {
                return Some(Written::All(write.accepted));
            }
            if self.closed {
                self.end_write(id);
                return Some(match write.single {
                    true => Written::Refused(write.left[0]),
                    false => Written::Only(write.accepted),
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

    /// A writer waits no more. A wake-up that it leaves is the next one's.
    fn end_write(&mut self, id: Id) {
        if self.writing.leave(id) && self.room() > 0 {
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
        self.readers.push(Cursor { next, lagged: 0, delivered: 0, promised: None });
    }

    fn leave(&mut self, reader: usize) {
        let gone = self.readers.remove(reader);
        // A command that was not delivered goes back, unless a newer one has come.
        if let Some(at) = gone.promised.filter(|_| self.is_mailbox()) {
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

    /// What waits for the reader as the reader sees it.
    fn left(&self, reader: usize) -> u64 {
        self.pending(reader) + u64::from(self.readers[reader].promised.is_some())
    }

    fn take_promised(&mut self, reader: usize) -> Option<u64> {
        let cursor = &mut self.readers[reader];
        let at = cursor.promised.take()?;
        cursor.delivered += 1;
        Some(self.values[at as usize])
    }

    /// Reads without waking anybody.
    fn take(&mut self, reader: usize, tell_lag: bool) -> Next {
        if let Some(promised) = self.take_promised(reader) {
            return Next::Value(promised);
        }
        let missed = match self.cfg {
            // Whoever takes a command answers for those that it replaced.
            BufferCfg::Mailbox if self.pending.is_some() => std::mem::take(&mut self.replaced),
            _ => self.missed(reader),
        };
        let cursor = &mut self.readers[reader];
        cursor.lagged += missed;
        if self.cfg != BufferCfg::Mailbox {
            cursor.next += missed;
        }
        if self.pending(reader) == 0 {
            return if self.closed { Next::Closed } else { Next::Empty };
        }
        let cursor = &mut self.readers[reader];
        let at = self.pending.take().unwrap_or(cursor.next);
        cursor.next = at + 1;
        self.read[at as usize] = true;
        if tell_lag && missed > 0 {
            cursor.promised = Some(at);
            return Next::Lagged(missed);
        }
        cursor.delivered += 1;
        Next::Value(self.values[at as usize])
    }

    /// After `taken` values were read: as many writers go on, as far as there is room.
    fn follow(&mut self, taken: u64) {
        self.writing.wake(self.room().min(taken));
    }

    fn try_recv(&mut self, reader: usize) -> Next {
        let next = self.take(reader, false);
        self.follow(u64::from(matches!(next, Next::Value(_))));
        next
    }

    /// One poll of a read.
    fn poll_read(&mut self, id: Id, reader: usize, way: Way) -> Option<Got> {
        let got = match way {
            Way::RecvMany(0) => Got::Many(Vec::new()),
            Way::RecvMany(_) if self.readers[reader].promised.is_some() => {
                Got::Many(self.take_promised(reader).into_iter().collect())
            }
            Way::RecvMany(limit) => match self.take(reader, false) {
                Next::Value(first) => {
                    let mut values = Vec::from([first]);
                    while values.len() < limit {
                        let Next::Value(next) = self.take(reader, false) else { break };
                        values.push(next);
                    }
                    self.follow(values.len() as u64);
                    Got::Many(values)
                }
                nothing => Got::One(nothing),
            },
            Way::Recv | Way::NextEvent => {
                let next = self.take(reader, matches!(way, Way::NextEvent));
                self.follow(u64::from(matches!(next, Next::Value(_))));
                Got::One(next)
            }
        };
        if got == Got::One(Next::Empty) {
            self.reading.wait(id);
            return None;
        }
        self.end_read(id);
        Some(got)
    }

    /// A reader waits no more. If it was woken for a command that it leaves, the next taker is woken for it.
    fn end_read(&mut self, id: Id) {
        if self.reading.leave(id) && self.pending.is_some() {
            self.reading.wake(1);
        }
    }

    fn latest(&self) -> Option<u64> {
        (self.depth() > 0).then(|| *self.values.last().expect("something is held"))
    }

    /// Whoever waits and has not been woken has nothing to go on with.
    fn nobody_is_forgotten(&self, readers: impl Iterator<Item = (usize, Id)>) {
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

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicU64);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A future under way, with a waker of its own.
struct Wait<O: 'static> {
    id: Id,
    future: Pin<Box<dyn Future<Output = O>>>,
    bell: Arc<Bell>,
    /// Makes the future drop what it waits for.
    give_up: Rc<Cell<bool>>,
}

impl<O: 'static> Wait<O> {
    fn new<F: Future<Output = O> + 'static>(
        id: Id,
        future: impl FnOnce(Rc<Cell<bool>>) -> F,
    ) -> Self {
        let give_up = Rc::default();
        let future = Box::pin(future(Rc::clone(&give_up)));
        Self { id, future, bell: Arc::default(), give_up }
    }

    /// Polls once, and again for as long as the future only gave way to others.
    fn poll(&mut self) -> Poll<O> {
        let waker = Waker::from(Arc::clone(&self.bell));
        loop {
            let before = self.bell.0.load(Relaxed);
            let polled = self.future.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_ready() || self.bell.0.load(Relaxed) == before {
                return polled;
            }
            self.bell.0.store(before, Relaxed);
        }
    }

    /// The waits of one direction were woken as the model says.
    fn check<'w>(waits: impl Iterator<Item = &'w Self>, line: &mut Line) {
        let woken = std::mem::take(&mut line.just_woken);
        let mut heard = 0;
        for wait in waits {
            let expected = woken.iter().filter(|&&id| id == wait.id).count();
            assert_eq!(wait.bell.0.swap(0, Relaxed), expected as u64, "wakes of {}", wait.id);
            heard += expected;
        }
        assert_eq!(heard, woken.len(), "woken waits are under way");
    }
}

impl<O: 'static> Drop for Wait<O> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.future = Box::pin(std::future::pending());
            assert_eq!(Arc::strong_count(&self.bell), 1, "a wait that is over keeps no waker");
        }
    }
}

/// `future`, or nothing once it is to be given up. Either way it is dropped.
async fn unless<F: Future>(give_up: &Cell<bool>, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match give_up.get() {
        true => Poll::Ready(None),
        false => future.as_mut().poll(cx).map(Some),
    })
    .await
}

/// The real thing; the reader comes back with what it got, or `None` if it was given up.
async fn read(mut reader: Reader, way: Way, give_up: Rc<Cell<bool>>) -> (Reader, Option<Got>) {
    let got = match way {
        Way::Recv => unless(&give_up, reader.recv()).await.map(|outcome| Got::One(next(outcome))),
        Way::NextEvent => unless(&give_up, reader.next_event()).await.map(|outcome| {
            Got::One(match outcome {
                Ok(Event::Lagged(missed)) => Next::Lagged(missed),
                Ok(Event::Value(value)) => Next::Value(value.number),
                Err(Closed) => Next::Closed,
            })
        }),
        Way::RecvMany(limit) => {
            let mut values = Vec::new();
            let outcome = unless(&give_up, reader.recv_many(&mut values, limit)).await;
            assert_eq!(values.len(), outcome.and_then(Result::ok).unwrap_or(0));
            outcome.map(|outcome| match outcome {
                Ok(_) => Got::Many(numbers(&values)),
                Err(Closed) => Got::One(Next::Closed),
            })
        }
    };
    (reader, got)
}

async fn write(producer: Producer, mut values: Vec<Counted>, single: bool) -> Written {
    match (single, values.pop()) {
        (true, Some(value)) => match producer.produce(value).await {
            Ok(()) => Written::All(1),
            Err(refused) => Written::Refused(refused.0.number),
        },
        (_, last) => match producer.produce_many(values.into_iter().chain(last)).await {
            Ok(accepted) => Written::All(accepted),
            Err(ProduceManyError { accepted, .. }) => Written::Only(accepted),
        },
    }
}

fn next(outcome: Result<Counted, Closed>) -> Next {
    outcome.map_or(Next::Closed, |value| Next::Value(value.number))
}

fn numbers(values: &[Counted]) -> Vec<u64> {
    values.iter().map(|value| value.number).collect()
}

type Reading = Wait<(Reader, Option<Got>)>;

/// A reader, which a read that is under way has to itself.
enum Seat {
    Free(Reader),
    Busy(Reading, Way),
    /// Between the two.
    Nobody,
}

impl Seat {
    fn reading(&self) -> Option<&Reading> {
        match self {
            Self::Busy(reading, _) => Some(reading),
            _ => None,
        }
    }
}

/// The record under test beside its model.
struct Pair {
    model: Model,
    db: AimDb<TestRuntime>,
    producer: Producer,
    census: Arc<Census>,
    seats: Vec<Seat>,
    writers: Vec<(Wait<Written>, Batches)>,
    /// Values and waits made so far.
    made: u64,
    waits: Id,
}

impl Pair {
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
            census: Census::new(),
            seats: Vec::new(),
            writers: Vec::new(),
            made: 0,
            waits: 0,
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::TryProduce => self.try_produce(),
            Op::TryRecv(who) => self.try_recv(who),
            Op::Read(who, way) => self.read(who, way),
            Op::GiveUpReading(who) => self.give_up_reading(who),
            Op::Write(count) => self.write(count),
            Op::PollWriter(who) => self.poll_writer(who),
            Op::GiveUpWriting(who) => self.give_up_writing(who),
            Op::Subscribe => self.subscribe(),
            Op::Leave(who) => self.leave(who),
            Op::Latest => {
                let latest = self.db.consumer::<Counted>("record").unwrap().latest();
                assert_eq!(latest.map(|value| value.number), self.model.latest());
            }
            Op::Close => {
                self.model.close();
                let mut shutdown = pin!(self.db.shutdown(Duration::ZERO));
                let polled = shutdown.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(polled.is_ready(), "no stage has to be waited for");
            }
        }
        self.compare();
    }

    fn value(&mut self) -> Counted {
        self.made += 1;
        self.census.value(self.made)
    }

    fn next_id(&mut self) -> Id {
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
        let wait = Wait::new(self.next_id(), |_| write(producer, values, single));
        self.writers.push((wait, Batches { left, in_batch: 0, accepted: 0, single }));
        self.poll_writer(self.writers.len() - 1);
    }

    fn poll_writer(&mut self, who: usize) {
        let Some(at) = who.checked_rem(self.writers.len()) else { return self.try_produce() };
        let (wait, batches) = &mut self.writers[at];
        let outcome = wait.poll();
        let expected = self.model.write(wait.id, batches);
        assert_eq!(outcome, expected.map_or(Poll::Pending, Poll::Ready));
        if outcome.is_ready() {
            self.writers.remove(at);
        }
    }

    fn give_up_writing(&mut self, who: usize) {
        let Some(at) = who.checked_rem(self.writers.len()) else { return };
        let (wait, _) = self.writers.remove(at);
        self.model.end_write(wait.id);
    }

    fn subscribe(&mut self) {
        if self.seats.len() == MOST_READERS {
            return;
        }
        match self.db.consumer::<Counted>("record").unwrap().subscribe() {
            Ok(reader) => {
                assert!(!self.model.closed);
                self.seats.push(Seat::Free(reader));
                self.model.subscribe();
            }
            Err(_) => assert!(self.model.closed),
        }
    }

    fn leave(&mut self, who: usize) {
        let Some(at) = who.checked_rem(self.seats.len()) else { return };
        let seat = self.seats.remove(at);
        if let Some(reading) = seat.reading() {
            self.model.end_read(reading.id);
        }
        drop(seat);
        self.model.leave(at);
    }

    fn try_recv(&mut self, who: usize) {
        let Some(at) = who.checked_rem(self.seats.len()) else { return self.subscribe() };
        let Seat::Free(reader) = &mut self.seats[at] else { return self.read(at, Way::Recv) };
        let got = match reader.try_recv() {
            Ok(value) => Next::Value(value.number),
            Err(TryRecvError::Empty) => Next::Empty,
            Err(TryRecvError::Closed) => Next::Closed,
        };
        assert_eq!(got, self.model.try_recv(at));
    }

    fn read(&mut self, who: usize, way: Way) {
        let Some(at) = who.checked_rem(self.seats.len()) else { return self.subscribe() };
        let id = self.next_id();
        let (mut reading, way) = match std::mem::replace(&mut self.seats[at], Seat::Nobody) {
            Seat::Busy(reading, way) => (reading, way),
            Seat::Free(reader) => (Wait::new(id, |give_up| read(reader, way, give_up)), way),
            Seat::Nobody => unreachable!("every seat is taken between operations"),
        };
        let outcome = reading.poll();
        let expected = self.model.poll_read(reading.id, at, way);
        self.seats[at] = match outcome {
            Poll::Ready((reader, got)) => {
                assert_eq!(got, expected);
                Seat::Free(reader)
            }
            Poll::Pending => {
                assert_eq!(expected, None);
                Seat::Busy(reading, way)
            }
        };
    }

    fn give_up_reading(&mut self, who: usize) {
        let Some(at) = who.checked_rem(self.seats.len()) else { return };
        let seat = std::mem::replace(&mut self.seats[at], Seat::Nobody);
        self.seats[at] = match seat {
            Seat::Busy(mut reading, _) => {
                reading.give_up.set(true);
                let Poll::Ready((reader, None)) = reading.poll() else { panic!("it was given up") };
                self.model.end_read(reading.id);
                Seat::Free(reader)
            }
            free => free,
        };
    }

    /// Everything that can be seen without consuming.
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
            .map(|at| (model.readers[at].delivered, model.lagged(at), model.left(at)))
            .collect();
        readers.sort_unstable();
        expected.sort_unstable();
        assert_eq!(readers, expected);
        for (at, seat) in self.seats.iter().enumerate() {
            if let Seat::Free(reader) = seat {
                assert_eq!((reader.lagged(), reader.pending()), (model.lagged(at), model.left(at)));
            }
        }
        let waits = || self.seats.iter().enumerate().filter_map(|(at, s)| Some((at, s.reading()?)));
        Wait::check(waits().map(|(_, wait)| wait), &mut model.reading);
        Wait::check(self.writers.iter().map(|(wait, _)| wait), &mut model.writing);
        model.nobody_is_forgotten(waits().map(|(at, wait)| (at, wait.id)));
    }

    /// Everybody gives up; what is left can be read to the last value, and then nothing is left.
    fn finish(mut self) {
        while !self.writers.is_empty() {
            self.give_up_writing(0);
            self.compare();
        }
        for at in 0..self.seats.len() {
            self.give_up_reading(at);
            self.compare();
            while self.model.left(at) > 0 {
                self.try_recv(at);
            }
        }
        self.compare();
        let census = Arc::clone(&self.census);
        drop(self);
        assert_eq!(census.alive(), 0);
    }
}

fn follows_its_model(cfg: BufferCfg, ops: &[Op]) {
    let mut pair = Pair::open(cfg);
    ops.iter().for_each(|op| pair.apply(op));
    pair.finish();
}

proptest! {
    // A sequence that fails belongs into the suite, under a name, rather than into a file of seeds.
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
