//! Threads that use one record at the same time: writers, readers with every reading call, short-lived readers, the
//! close.
//!
//! The test compares read and lost values exactly, and counts every drop. The amount of work is a number of values, not
//! a time. `tools/sanitizers` runs this under ThreadSanitizer and AddressSanitizer, so nothing but the buffers may
//! order the threads: counters are `Relaxed`, and the test compares the outcomes after it has joined the threads.
#![cfg(not(aimdb_loom))]

mod common;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use aimdb_core::buffer::{SharedSubscription, WaitTicket};
use aimdb_core::metrics::RecordMetrics;
use aimdb_core::{
    BufferCfg, Consumer, Event, ProduceManyError, Producer, Reader, TryProduceError, TryRecvError,
};
use aimdb_testing::{Counted, InstanceCounter, TestRuntime};
use common::{Db, close, open};

/// The writing call of each writer thread.
const WRITERS: [Writing; 3] = [Writing::Try, Writing::Wait, Writing::Many];
/// The reading call of each reader thread. These readers are subscribed from the first value to the close.
const READERS: [Reading; 5] =
    [Reading::Try, Reading::Wait, Reading::Many, Reading::Events, Reading::Events];
/// The number of values of one writer.
const VALUES: u64 = 400;
/// The number of clones from one that panics to the next.
const CLONES: usize = 150;
/// The number of clones that panic.
const PANICS: usize = 8;

#[derive(Clone, Copy)]
enum Writing {
    Try,
    Wait,
    Many,
}

#[derive(Clone, Copy)]
enum Reading {
    Try,
    Wait,
    Many,
    Events,
}

/// A value on the heap, with a checksum that detects a torn value.
#[derive(Clone)]
struct Value {
    text: String,
    /// Between two allocations: a clone that panics here has made the first one.
    counted: Counted,
    sum: Box<u64>,
}

/// The number of a writer's `nth` value.
const fn id(writer: usize, nth: u64) -> u64 {
    (writer as u64) << 32 | nth
}

fn sum(text: &str) -> u64 {
    text.bytes().fold(7, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Value {
    fn new(instances: &Arc<InstanceCounter>, id: u64) -> Self {
        let text = format!("{id:x} {}", "+".repeat(id as usize % 40));
        let sum = Box::new(sum(&text));
        Self { text, counted: instances.value(id), sum }
    }

    /// Returns its number. Panics if the value is torn.
    fn check(&self) -> u64 {
        assert_eq!(sum(&self.text), *self.sum, "torn: {}", self.text);
        let id = u64::from_str_radix(self.text.split(' ').next().unwrap(), 16).unwrap();
        assert_eq!(id, self.counted.number, "torn: parts of two values");
        id
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Parks this thread until the future is ready.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Polls the future once and drops it.
fn poll_and_cancel<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// The record under test, and the state that the threads share.
struct Shared {
    db: Db,
    producer: Producer<Value, TestRuntime>,
    consumer: Consumer<Value, TestRuntime>,
    instances: Arc<InstanceCounter>,
    panics: AtomicUsize,
}

/// The values that one reader received.
#[derive(Default)]
struct Seen {
    /// Their numbers, in order.
    ids: Vec<u64>,
    /// Of a reader of events: the position of each value in the record.
    positions: Vec<u64>,
    /// Of a reader of events: the position of the next value.
    next: u64,
    /// The number of lost values in the reader's events.
    reported: u64,
    /// The number of lost values that the reader counted.
    lagged: u64,
}

/// The results of all threads.
struct Outcome {
    /// The number of accepted values, by writer.
    accepted: Vec<u64>,
    /// Of the readers in [`READERS`].
    readers: Vec<Seen>,
    /// Of the two threads that share a subscription.
    shared: [Seen; 2],
    /// Of all short-lived readers together.
    visitors: Seen,
    metrics: RecordMetrics,
}

impl Shared {
    fn new(cfg: BufferCfg) -> Self {
        let (db, producer, consumer) = open(cfg);
        let instances = InstanceCounter::new();
        instances.panic_in_clone(CLONES);
        Self { db, producer, consumer, instances, panics: AtomicUsize::new(0) }
    }

    /// Repeats `work` when a clone in it panics on purpose, and plans the next such panic.
    fn retry_panics<O>(&self, mut work: impl FnMut() -> O) -> O {
        loop {
            match catch_unwind(AssertUnwindSafe(&mut work)) {
                Ok(outcome) => return outcome,
                Err(panic) if panic.downcast_ref() == Some(&"a clone panics on purpose") => {
                    if self.panics.fetch_add(1, Relaxed) < PANICS {
                        self.instances.panic_in_clone(CLONES);
                    }
                }
                Err(panic) => resume_unwind(panic),
            }
        }
    }

    /// Writes `values` values, or until the record closes. Returns the number of accepted values.
    fn write(&self, writer: usize, values: u64) -> u64 {
        let value = |nth| Value::new(&self.instances, id(writer, nth));
        let mut accepted = 0;
        let mut rounds = 0;
        while accepted < values {
            rounds += 1;
            match WRITERS[writer] {
                Writing::Try => match self.producer.try_produce(value(accepted)) {
                    Ok(()) => accepted += 1,
                    Err(TryProduceError::Full(back)) => {
                        assert_eq!(back.check(), id(writer, accepted));
                        thread::yield_now();
                    }
                    Err(TryProduceError::Closed(_)) => break,
                },
                Writing::Wait => {
                    let sent = self.producer.produce(value(accepted));
                    let sent = if rounds % 3 == 0 {
                        poll_and_cancel(sent)
                    } else {
                        Poll::Ready(block_on(sent))
                    };
                    match sent {
                        Poll::Ready(Ok(())) => accepted += 1,
                        Poll::Ready(Err(_)) => break,
                        Poll::Pending => {}
                    }
                }
                Writing::Many => {
                    let batch = accepted..values.min(accepted + rounds % 40);
                    let sent = block_on(self.producer.produce_many(batch.map(value)));
                    match sent {
                        Ok(count) => accepted += count as u64,
                        Err(ProduceManyError { accepted: count }) => {
                            accepted += count as u64;
                            break;
                        }
                    }
                }
            }
        }
        accepted
    }

    /// Reads once. Returns `false` if the record is drained.
    fn read(&self, reader: &mut Reader<Value>, call: Reading, seen: &mut Seen) -> bool {
        let round = seen.ids.len();
        let mut values = Vec::new();
        let more = match call {
            Reading::Try => match self.retry_panics(|| reader.try_recv()) {
                Ok(value) => {
                    values.push(value);
                    true
                }
                Err(TryRecvError::Empty) => {
                    thread::yield_now();
                    true
                }
                Err(TryRecvError::Closed) => false,
            },
            Reading::Wait => {
                let read = if round.is_multiple_of(3) {
                    self.retry_panics(|| poll_and_cancel(reader.recv()))
                } else {
                    Poll::Pending
                };
                let read = match read {
                    Poll::Ready(read) => read,
                    Poll::Pending => self.retry_panics(|| block_on(reader.recv())),
                };
                read.map(|value| values.push(value)).is_ok()
            }
            Reading::Many => {
                self.retry_panics(|| block_on(reader.recv_many(&mut values, 1 + round % 5))).is_ok()
            }
            Reading::Events => match self.retry_panics(|| block_on(reader.next_event())) {
                Ok(Event::Value(value)) => {
                    values.push(value);
                    seen.positions.push(seen.next);
                    seen.next += 1;
                    true
                }
                Ok(Event::Lagged(missed)) => {
                    seen.reported += missed;
                    seen.next += missed;
                    true
                }
                Err(_) => false,
            },
        };
        seen.ids.extend(values.iter().map(Value::check));
        more
    }

    /// Reads until the record is drained.
    fn read_all(&self, mut reader: Reader<Value>, call: Reading) -> Seen {
        let mut seen = Seen::default();
        while self.read(&mut reader, call, &mut seen) {}
        seen.lagged = reader.lagged();
        assert_eq!(reader.pending(), 0);
        seen
    }

    /// Reads until the record is drained, through a subscription that another thread reads too.
    fn read_shared(&self, subscription: &SharedSubscription<Value>) -> Seen {
        let mut seen = Seen::default();
        let mut ticket = WaitTicket::default();
        loop {
            // A lag moves the value behind it aside, where the other thread finds it first.
            match self.retry_panics(|| subscription.try_event()) {
                Ok(Event::Value(value)) => seen.ids.push(value.check()),
                Ok(Event::Lagged(missed)) => seen.reported += missed,
                Err(_) => {}
            }
            let read = self.retry_panics(|| {
                if seen.ids.len().is_multiple_of(3) {
                    let read =
                        poll_and_cancel(poll_fn(|cx| subscription.poll_value(&mut ticket, cx)));
                    subscription.cancel_wait(&mut ticket);
                    if let Poll::Ready(read) = read {
                        return read;
                    }
                }
                block_on(poll_fn(|cx| subscription.poll_value(&mut ticket, cx)))
            });
            match read {
                Ok(value) => seen.ids.push(value.check()),
                Err(_) => return seen,
            }
        }
    }

    /// Subscribes, reads a few values and drops the reader, again and again until the record closes.
    fn visit(&self) -> Seen {
        let mut all = Seen::default();
        for round in 0.. {
            let before = self.metrics().produced;
            let Ok(mut reader) = self.consumer.subscribe() else { break };
            let after = self.metrics().produced;
            let call = READERS[round % READERS.len()];
            let mut seen = Seen::default();
            let mut more = true;
            for _ in 0..round % 7 {
                more = more && self.read(&mut reader, call, &mut seen);
            }
            seen.lagged = reader.lagged();
            drop(reader);
            if !more && self.follows_positions() {
                // The reader read or lost every value since its subscription. In a latest record it also received the
                // value of that moment.
                let since = self.metrics().produced - (seen.ids.len() as u64 + seen.lagged);
                let before =
                    before.saturating_sub(u64::from(self.cfg() == BufferCfg::SingleLatest));
                assert!((before..=after).contains(&since), "{before}..={after}: {since}");
            }
            assert_in_order(&seen.ids);
            all.ids.append(&mut seen.ids);
            all.lagged += seen.lagged;
        }
        all
    }

    /// Observes everything that can be observed without consuming, until the record closes.
    fn observe(&self) {
        let mut newest = [0; WRITERS.len()];
        let mut produced = 0;
        while !self.producer.is_closed() {
            if let Some(value) = self.retry_panics(|| self.consumer.latest()) {
                let id = value.check();
                let newest = &mut newest[(id >> 32) as usize];
                if self.cfg() == BufferCfg::SingleLatest {
                    assert!(*newest <= id, "{newest:x}, then {id:x}");
                }
                *newest = id;
            }
            let metrics = self.metrics();
            assert!(produced <= metrics.produced);
            produced = metrics.produced;
            // The numbers of a queue may be from before and after a step. They are exact while no call is in progress.
            let inexact = matches!(metrics.buffer, BufferCfg::SpmcQueue { .. });
            assert!(inexact || metrics.depth <= metrics.buffer.capacity());
            for reader in metrics.readers {
                // The value behind a reported lag is held by its reader, outside of the buffer.
                let most = metrics.buffer.capacity() as u64 + 1;
                assert!(inexact || reader.pending <= most, "{reader:?}");
                if self.follows_positions() {
                    assert!(reader.delivered + reader.lagged <= produced, "{reader:?}");
                }
            }
            thread::yield_now();
        }
    }

    fn metrics(&self) -> RecordMetrics {
        self.db.metrics().record("record").unwrap().clone()
    }

    fn cfg(&self) -> BufferCfg {
        self.metrics().buffer
    }

    /// Whether each reader receives or loses every value. In a mailbox it does not.
    fn follows_positions(&self) -> bool {
        self.cfg() != BufferCfg::Mailbox
    }
}

/// Asserts that no value of a writer is read twice, or before an earlier one.
fn assert_in_order(ids: &[u64]) {
    let mut next = [0; WRITERS.len()];
    for &id in ids {
        let next = &mut next[(id >> 32) as usize];
        assert!(*next <= id, "{id:x}, but {next:x} was next");
        *next = id + 1;
    }
}

/// Runs all threads on a record of this kind. It closes after the last value or, if `early`, while writers still write.
fn run(cfg: BufferCfg, early: bool) -> Outcome {
    let shared = Shared::new(cfg);
    let readers: Vec<_> = READERS.iter().map(|_| shared.consumer.subscribe().unwrap()).collect();
    let subscription = shared.consumer.subscription().unwrap().into_shared();
    let mut outcome = thread::scope(|scope| {
        let shared = &shared;
        let readers: Vec<_> = readers
            .into_iter()
            .zip(READERS)
            .map(|(reader, call)| scope.spawn(move || shared.read_all(reader, call)))
            .collect();
        let sharers = [(); 2].map(|()| scope.spawn(|| shared.read_shared(&subscription)));
        let visitors = scope.spawn(|| shared.visit());
        let observer = scope.spawn(|| shared.observe());
        let mut writers: Vec<_> = (0..WRITERS.len())
            .map(|writer| {
                let values = if early && writer == 0 { VALUES / 4 } else { VALUES };
                scope.spawn(move || shared.write(writer, values))
            })
            .collect();
        let mut accepted = Vec::new();
        if early {
            accepted.push(writers.remove(0).join().unwrap());
            close(&shared.db);
        }
        accepted.extend(writers.into_iter().map(|writer| writer.join().unwrap()));
        close(&shared.db);
        observer.join().unwrap();
        Outcome {
            accepted,
            readers: readers.into_iter().map(|reader| reader.join().unwrap()).collect(),
            shared: sharers.map(|sharer| sharer.join().unwrap()),
            visitors: visitors.join().unwrap(),
            metrics: shared.metrics(),
        }
    });
    outcome.shared[0].lagged = subscription.lagged();
    let accepted = outcome.accepted.iter().sum::<u64>();
    assert_eq!(outcome.metrics.produced, accepted, "{cfg}");
    if !early {
        assert_eq!(accepted, WRITERS.len() as u64 * VALUES, "{cfg}");
    }
    for seen in outcome.readers.iter().chain(&outcome.shared) {
        assert_in_order(&seen.ids);
    }
    let instances = Arc::clone(&shared.instances);
    let held = if cfg == BufferCfg::Mailbox || matches!(cfg, BufferCfg::SpmcQueue { .. }) {
        0
    } else {
        cfg.capacity().min(accepted as usize)
    };
    assert_eq!(instances.alive(), held, "{cfg}: values that the record still holds");
    drop((shared, subscription));
    assert_eq!(instances.alive(), 0, "{cfg}: every value is dropped");
    outcome
}

/// Runs each kind twice: with the close after the last value, and with an early close.
fn run_each(
    kinds: impl IntoIterator<Item = BufferCfg>,
) -> impl Iterator<Item = (BufferCfg, Outcome)> {
    kinds.into_iter().flat_map(|cfg| [false, true].map(|early| (cfg, run(cfg, early))))
}

impl Outcome {
    /// The numbers of all accepted values, sorted.
    fn all(&self) -> Vec<u64> {
        let writers = self.accepted.iter().enumerate();
        writers.flat_map(|(writer, &count)| (0..count).map(move |nth| id(writer, nth))).collect()
    }

    /// The numbers that the two threads with one subscription read together, sorted.
    fn shared(&self) -> Vec<u64> {
        let mut ids: Vec<_> = self.shared.iter().flat_map(|seen| &seen.ids).copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Asserts that every reader read or lost each value, once, and that all agree on the position of each value.
    fn assert_accounted_for(&self, cfg: BufferCfg) {
        let produced = self.metrics.produced;
        let mut order = BTreeMap::new();
        for seen in &self.readers {
            assert_eq!(seen.ids.len() as u64 + seen.lagged, produced, "{cfg}");
            for (position, id) in seen.positions.iter().zip(&seen.ids) {
                assert_eq!(order.entry(position).or_insert(id), &id, "{cfg}: at {position}");
            }
            if !seen.positions.is_empty() {
                assert_eq!((seen.reported, seen.next), (seen.lagged, produced), "{cfg}");
            }
        }
        let mut shared = self.shared();
        assert_eq!(shared.len() as u64 + self.shared[0].lagged, produced, "{cfg}");
        shared.dedup();
        assert_eq!(shared.len() as u64 + self.shared[0].lagged, produced, "{cfg}: read twice");
    }
}

#[test]
fn a_queue_gives_every_reader_every_value_in_one_order() {
    for (cfg, outcome) in run_each([1, 2, 3].map(|capacity| BufferCfg::SpmcQueue { capacity })) {
        outcome.assert_accounted_for(cfg);
        for seen in &outcome.readers {
            assert_eq!(seen.ids, outcome.readers[0].ids, "{cfg}");
            assert_eq!(seen.lagged, 0, "{cfg}");
        }
        let mut ids = outcome.readers[0].ids.clone();
        ids.sort_unstable();
        assert_eq!(ids, outcome.all(), "{cfg}");
        assert_eq!(outcome.shared(), outcome.all(), "{cfg}");
        assert_eq!((outcome.metrics.overwritten, outcome.metrics.depth), (0, 0), "{cfg}");
    }
}

#[test]
fn a_ring_gives_every_reader_every_value_or_counts_it_as_lost() {
    for (cfg, outcome) in run_each([1, 2, 3].map(|capacity| BufferCfg::SpmcRing { capacity })) {
        outcome.assert_accounted_for(cfg);
        assert_eq!(outcome.metrics.depth, cfg.capacity(), "{cfg}");
    }
}

#[test]
fn a_latest_record_gives_every_reader_the_last_value_and_never_an_older_one() {
    for (cfg, outcome) in run_each([BufferCfg::SingleLatest; 3]) {
        outcome.assert_accounted_for(cfg);
        let last = outcome.readers[0].ids.last();
        assert!(last.is_some());
        for seen in &outcome.readers {
            assert_eq!(seen.ids.last(), last);
        }
    }
}

#[test]
fn a_mailbox_gives_each_command_to_one_taker_or_counts_it_as_replaced() {
    for (_, outcome) in run_each([BufferCfg::Mailbox; 3]) {
        let takers = || outcome.readers.iter().chain(&outcome.shared).chain([&outcome.visitors]);
        let mut taken: Vec<_> = takers().flat_map(|seen| &seen.ids).copied().collect();
        let count = taken.len() as u64;
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len() as u64, count, "taken twice");
        let all = outcome.all();
        assert!(taken.iter().all(|id| all.binary_search(id).is_ok()));
        let RecordMetrics { produced, overwritten, depth, .. } = outcome.metrics;
        assert_eq!((count + overwritten, depth), (produced, 0));
        let lagged = takers().map(|seen| seen.lagged).sum::<u64>();
        assert_eq!(lagged, overwritten, "the taker of a command counts those it replaced");
        for seen in &outcome.readers {
            assert!(seen.reported <= seen.lagged);
        }
    }
}

#[test]
fn the_newest_value_of_a_ring_is_no_older_than_the_one_its_reader_just_read() {
    let (db, producer, consumer) = open::<u64>(BufferCfg::SpmcRing { capacity: 4 });
    let mut reader = consumer.subscribe().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..300_000).for_each(|value| producer.try_produce(value).unwrap());
            close(&db);
        });
        loop {
            match reader.try_recv() {
                Ok(value) => {
                    let newest = reader.latest().unwrap();
                    assert!(value <= newest, "received {value}, and {newest} is the newest");
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => break,
            }
        }
    });
}
