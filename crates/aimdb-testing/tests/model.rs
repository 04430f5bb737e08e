//! Random operations on each kind of buffer, against a model that keeps everything.
//!
//! `PROPTEST_CASES` sets how many sequences of 400 operations each kind is tried with; 256 unless set.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use aimdb_core::{BufferCfg, Closed, Event, ProduceError, TryProduceError, TryRecvError};
use aimdb_testing::TestRuntime;
use aimdb_testing::buffers::{Door, HandleDoor, OpenHandle, OpenRecord, RecordReader, Takers};
use proptest::prelude::*;

type Reader = aimdb_core::Reader<u64>;

/// One step. Readers are picked by a number that is taken modulo how many there are.
#[derive(Clone, Debug)]
enum Op {
    TryProduce,
    /// Given up if it would wait, as a dropped future is.
    Produce,
    ProduceMany(usize),
    /// A writer that waits while a reader reads.
    ProduceWhileReading(usize),
    /// A writer that waits while a reader goes away.
    ProduceWhileLeaving(usize),
    Subscribe,
    Leave(usize),
    TryRecv(usize),
    /// Given up if it would wait.
    Recv(usize),
    /// A reader that waits while a value is produced.
    RecvWhileProducing(usize),
    RecvMany(usize, usize),
    NextEvent(usize),
    Latest,
    Close,
}

impl Op {
    /// The operation that a random number stands for, and what it works on. Small numbers are simple operations, so
    /// that shrinking leads there.
    fn of((kind, subject): (u8, u8)) -> Self {
        let reader = usize::from(subject % 12);
        match kind % 64 {
            0..8 => Self::TryProduce,
            8..16 => Self::TryRecv(reader),
            16..24 => Self::Recv(reader),
            24..32 => Self::Produce,
            32..38 => Self::NextEvent(reader),
            38..42 => Self::RecvMany(reader, usize::from(subject / 12 % 6)),
            42..44 => Self::RecvMany(reader, usize::MAX),
            44..48 => Self::RecvWhileProducing(reader),
            48..51 => Self::ProduceWhileReading(reader),
            51..54 => Self::ProduceMany(usize::from(subject % 80)),
            54..56 => Self::Latest,
            56..60 => Self::Subscribe,
            60..62 => Self::Leave(reader),
            _ => Self::ProduceWhileLeaving(reader),
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

/// What a record should be: everything ever accepted, and where each reader stands in it.
///
/// Positions count accepted values. Which of them can still be read follows from the kind alone.
struct Model {
    cfg: BufferCfg,
    produced: u64,
    overwritten: u64,
    closed: bool,
    /// Whether any reader had the value at a position.
    read: Vec<bool>,
    readers: Vec<Cursor>,
    /// Mailbox: the position that is pending, and how many it replaced.
    pending: Option<u64>,
    replaced: u64,
}

#[derive(Clone, Copy)]
struct Cursor {
    next: u64,
    lagged: u64,
    delivered: u64,
}

/// What a reader should get. A value is its own position.
#[derive(Debug, PartialEq)]
enum Next {
    Lagged(u64),
    Value(u64),
    Empty,
    Closed,
}

impl Model {
    fn new(cfg: BufferCfg) -> Self {
        Self {
            cfg,
            produced: 0,
            overwritten: 0,
            closed: false,
            read: Vec::new(),
            readers: Vec::new(),
            pending: None,
            replaced: 0,
        }
    }

    /// The oldest position that is held.
    fn base(&self) -> u64 {
        let slowest = || self.readers.iter().map(|reader| reader.next).min();
        match self.cfg {
            BufferCfg::SpmcRing { capacity } => self.produced.saturating_sub(capacity as u64),
            BufferCfg::SpmcQueue { .. } => slowest().unwrap_or(self.produced),
            BufferCfg::SingleLatest => self.produced.saturating_sub(1),
            BufferCfg::Mailbox => self.pending.unwrap_or(self.produced),
        }
    }

    fn depth(&self) -> u64 {
        self.produced - self.base()
    }

    fn is_full(&self) -> bool {
        matches!(self.cfg, BufferCfg::SpmcQueue { capacity } if self.depth() == capacity as u64)
    }

    fn accept(&mut self) {
        let base_before = self.base();
        if self.cfg == BufferCfg::Mailbox {
            self.replaced += u64::from(self.pending.is_some());
            self.pending = Some(self.produced);
        }
        self.produced += 1;
        self.read.push(false);
        let lost = base_before..self.base();
        self.overwritten += lost.filter(|&at| !self.read[at as usize]).count() as u64;
    }

    fn subscribe(&mut self) {
        let next = match self.cfg {
            BufferCfg::SingleLatest => self.base(),
            _ => self.produced,
        };
        self.readers.push(Cursor { next, lagged: 0, delivered: 0 });
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
            _ => self.produced - self.readers[reader].next.max(self.base()),
        }
    }

    fn take(&mut self, reader: usize, tell_lag: bool) -> Next {
        let missed = match self.cfg {
            BufferCfg::Mailbox => std::mem::take(&mut self.replaced),
            _ => self.missed(reader),
        };
        let cursor = &mut self.readers[reader];
        cursor.lagged += missed;
        if self.cfg != BufferCfg::Mailbox {
            cursor.next += missed;
        }
        if tell_lag && missed > 0 {
            return Next::Lagged(missed);
        }
        if self.pending(reader) == 0 {
            return if self.closed { Next::Closed } else { Next::Empty };
        }
        let cursor = &mut self.readers[reader];
        let at = self.pending.take().unwrap_or(cursor.next);
        cursor.next = at + 1;
        cursor.delivered += 1;
        self.read[at as usize] = true;
        Next::Value(at)
    }

    fn latest(&self) -> Option<u64> {
        (self.depth() > 0).then(|| self.produced - 1)
    }
}

/// The record under test beside its model.
struct Pair {
    model: Model,
    record: Rc<OpenHandle<u64, TestRuntime>>,
    readers: Vec<Reader>,
}

impl Pair {
    fn open(cfg: BufferCfg) -> Self {
        let record = HandleDoor(Arc::new(TestRuntime::new())).open(cfg, Takers::Many);
        Self { model: Model::new(cfg), record: Rc::new(record), readers: Vec::new() }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::TryProduce => self.try_produce(),
            Op::Produce => self.produce_while(|_| ()),
            Op::ProduceMany(count) => self.produce_many(count),
            Op::ProduceWhileReading(reader) => self.produce_while(|pair| pair.try_recv(reader)),
            Op::ProduceWhileLeaving(reader) => self.produce_while(|pair| pair.leave(reader)),
            Op::Subscribe => self.subscribe(),
            Op::Leave(reader) => self.leave(reader),
            Op::TryRecv(reader) => self.try_recv(reader),
            Op::Recv(reader) => self.recv(reader),
            Op::RecvWhileProducing(reader) => self.recv_while_producing(reader),
            Op::RecvMany(reader, limit) => self.recv_many(reader, limit),
            Op::NextEvent(reader) => self.next_event(reader),
            Op::Latest => assert_eq!(self.record.latest(), self.model.latest()),
            Op::Close => {
                self.model.closed = true;
                self.record.close();
            }
        }
        self.compare();
    }

    /// Which reader a number picks.
    fn pick(&self, reader: usize) -> Option<usize> {
        reader.checked_rem(self.readers.len())
    }

    fn try_produce(&mut self) {
        let value = self.model.produced;
        let expected = match (self.model.closed, self.model.is_full()) {
            (true, _) => Err(TryProduceError::Closed(value)),
            (false, true) => Err(TryProduceError::Full(value)),
            (false, false) => {
                self.model.accept();
                Ok(())
            }
        };
        assert_eq!(self.record.try_produce(value), expected);
    }

    /// A produce during which something else happens that may let it through.
    fn produce_while(&mut self, during: impl FnOnce(&mut Self)) {
        let value = self.model.produced;
        let at_once = !self.model.closed && !self.model.is_full();
        if at_once {
            self.model.accept();
        }
        let record = Rc::clone(&self.record);
        let outcome = record.produce_during(value, || during(self));
        let expected = match (self.model.closed, at_once || !self.model.is_full()) {
            (true, _) => Poll::Ready(Err(ProduceError(value))),
            (false, false) => Poll::Pending,
            (false, true) => Poll::Ready(Ok(())),
        };
        if !at_once && expected == Poll::Ready(Ok(())) {
            self.model.accept();
        }
        assert_eq!(outcome, expected);
    }

    fn produce_many(&mut self, count: usize) {
        let first = self.model.produced;
        let outcome = self.record.produce_many((first..first + count as u64).collect());
        if self.model.closed {
            let expected = if count == 0 { Ok(0) } else { Err(Closed) };
            return assert_eq!(outcome, Poll::Ready(expected));
        }
        let accepted = (0..count)
            .take_while(|_| {
                let fits = !self.model.is_full();
                if fits {
                    self.model.accept();
                }
                fits
            })
            .count();
        let expected = if accepted == count { Poll::Ready(Ok(count)) } else { Poll::Pending };
        assert_eq!(outcome, expected);
    }

    fn subscribe(&mut self) {
        if self.readers.len() == 4 {
            return;
        }
        match self.record.subscribe() {
            Ok(reader) => {
                assert!(!self.model.closed);
                self.readers.push(reader);
                self.model.subscribe();
            }
            Err(_) => assert!(self.model.closed),
        }
    }

    fn leave(&mut self, reader: usize) {
        let Some(at) = self.pick(reader) else { return };
        drop(self.readers.swap_remove(at));
        self.model.readers.swap_remove(at);
    }

    fn try_recv(&mut self, reader: usize) {
        let Some(at) = self.pick(reader) else { return };
        let got = match self.readers[at].try_recv() {
            Ok(value) => Next::Value(value),
            Err(TryRecvError::Empty) => Next::Empty,
            Err(TryRecvError::Closed) => Next::Closed,
        };
        assert_eq!(got, self.model.take(at, false));
    }

    fn recv(&mut self, reader: usize) {
        let Some(at) = self.pick(reader) else { return };
        let got = received(RecordReader::recv(&mut self.readers[at]));
        assert_eq!(got, self.model.take(at, false));
    }

    fn recv_while_producing(&mut self, reader: usize) {
        let Some(at) = self.pick(reader) else { return };
        let Self { model, record, readers } = self;
        let mut expected = model.take(at, false);
        let got = received(readers[at].recv_during(|| {
            let value = model.produced;
            if record.try_produce(value).is_ok() {
                model.accept();
            }
        }));
        if expected == Next::Empty {
            // Still nothing if a slower reader keeps the queue full.
            expected = model.take(at, false);
        }
        assert_eq!(got, expected);
    }

    fn recv_many(&mut self, reader: usize, limit: usize) {
        let Some(at) = self.pick(reader) else { return };
        let mut values = Vec::new();
        let outcome = RecordReader::recv_many(&mut self.readers[at], &mut values, limit);
        if limit == 0 {
            return assert_eq!((outcome, values), (Poll::Ready(Ok(0)), Vec::new()));
        }
        match self.model.take(at, false) {
            Next::Value(first) => {
                let mut expected = Vec::from([first]);
                // It may return fewer than are there, but not because of a small limit.
                while expected.len() < values.len() {
                    let Next::Value(next) = self.model.take(at, false) else { break };
                    expected.push(next);
                }
                assert_eq!((outcome, &values), (Poll::Ready(Ok(expected.len())), &expected));
                let left = self.model.pending(at);
                assert!(values.len() == limit || values.len() >= 16 || left == 0, "{left} left");
            }
            Next::Closed => assert_eq!(outcome, Poll::Ready(Err(Closed))),
            _ => assert_eq!(outcome, Poll::Pending),
        }
    }

    fn next_event(&mut self, reader: usize) {
        let Some(at) = self.pick(reader) else { return };
        let got = match RecordReader::next_event(&mut self.readers[at]) {
            Poll::Ready(Ok(Event::Value(value))) => Next::Value(value),
            Poll::Ready(Ok(Event::Lagged(missed))) => Next::Lagged(missed),
            Poll::Ready(Err(Closed)) => Next::Closed,
            Poll::Pending => Next::Empty,
        };
        assert_eq!(got, self.model.take(at, true));
    }

    /// Everything that can be seen without consuming.
    fn compare(&self) {
        let metrics = self.record.metrics().expect("handles show metrics");
        let model = &self.model;
        assert_eq!(
            (metrics.produced, metrics.overwritten, metrics.depth as u64, metrics.blocked),
            (model.produced, model.overwritten, model.depth(), None)
        );
        for (at, reader) in self.readers.iter().enumerate() {
            assert_eq!(reader.lagged(), model.lagged(at));
            assert_eq!(Reader::pending(reader), model.pending(at));
        }
        let mut delivered: Vec<_> = metrics.readers.iter().map(|r| r.delivered).collect();
        let mut expected: Vec<_> = model.readers.iter().map(|r| r.delivered).collect();
        delivered.sort_unstable();
        expected.sort_unstable();
        assert_eq!(delivered, expected);
    }
}

fn received(outcome: Poll<Result<u64, Closed>>) -> Next {
    match outcome {
        Poll::Ready(Ok(value)) => Next::Value(value),
        Poll::Ready(Err(Closed)) => Next::Closed,
        Poll::Pending => Next::Empty,
    }
}

fn follows_its_model(cfg: BufferCfg, ops: &[Op]) {
    let mut pair = Pair::open(cfg);
    ops.iter().for_each(|op| pair.apply(op));
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
