//! Threads at one record, all at once: writers, readers in every way there is, readers that come and go, and the end.
//!
//! What was read and lost is compared exactly, and every value is counted out. How much is done is a number of values,
//! not a time. `tools/sanitizers` runs this under ThreadSanitizer and AddressSanitizer, so nothing here may order the
//! threads but the buffers themselves: counters are relaxed, and results are looked at when the threads are gone.

mod common;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use aimdb_core::buffer::{Subscription, WaitTicket};
use aimdb_core::metrics::RecordMetrics;
use aimdb_core::{
    BufferCfg, Consumer, Event, ProduceManyError, Producer, Reader, TryProduceError, TryRecvError,
};
use aimdb_testing::{Census, Counted, TestRuntime};
use common::{Db, close, open};

/// How values are written; a thread for each.
const WRITERS: [Writing; 3] = [Writing::Try, Writing::Wait, Writing::Many];
/// How the readers read that are there from the first value to the end; a thread for each.
const READERS: [Reading; 5] =
    [Reading::Try, Reading::Wait, Reading::Many, Reading::Events, Reading::Events];
/// Values of one writer.
const VALUES: u64 = 400;
/// Clones between one that panics and the next, and how many do.
const CLONES: usize = 150;
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

/// A value on the heap, with what tells that it is whole.
#[derive(Clone)]
struct Value {
    text: String,
    /// Between two allocations, so that a clone that panics leaves one of them.
    counted: Counted,
    sum: Box<u64>,
}

/// The name of a writer's `nth` value.
const fn id(writer: usize, nth: u64) -> u64 {
    (writer as u64) << 32 | nth
}

fn sum(text: &str) -> u64 {
    text.bytes().fold(7, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Value {
    fn new(census: &Arc<Census>, id: u64) -> Self {
        let text = format!("{id:x} {}", "+".repeat(id as usize % 40));
        let sum = Box::new(sum(&text));
        Self { text, counted: census.value(id), sum }
    }

    /// Its name, if it is whole.
    fn whole(&self) -> u64 {
        assert_eq!(sum(&self.text), *self.sum, "torn: {}", self.text);
        let id = u64::from_str_radix(self.text.split(' ').next().unwrap(), 16).unwrap();
        assert_eq!(id, self.counted.number, "mixed up");
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

/// Polls the future once and drops it half-way.
fn give_up<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A record that everybody is at.
struct Scene {
    db: Db,
    producer: Producer<Value, TestRuntime>,
    consumer: Consumer<Value, TestRuntime>,
    census: Arc<Census>,
    panics: AtomicUsize,
}

/// What one reader got.
#[derive(Default)]
struct Seen {
    /// Names, in order.
    ids: Vec<u64>,
    /// Of a reader of events: where in the record each value was, and where the next one is.
    places: Vec<u64>,
    next: u64,
    /// How many values it was told to have lost, and has lost.
    told: u64,
    lagged: u64,
}

/// What happened.
struct Outcome {
    /// Accepted values, by writer.
    accepted: Vec<u64>,
    /// By those in [`READERS`].
    readers: Vec<Seen>,
    /// By the two threads that shared a place.
    shared: [Seen; 2],
    /// By all who came and went.
    visitors: Seen,
    metrics: RecordMetrics,
}

impl Scene {
    fn new(cfg: BufferCfg) -> Self {
        let (db, producer, consumer) = open(cfg);
        let census = Census::new();
        census.panic_in_clone(CLONES);
        Self { db, producer, consumer, census, panics: AtomicUsize::new(0) }
    }

    /// Does it again whenever a clone was told to panic in it, and has another one panic later.
    fn despite_panics<O>(&self, mut work: impl FnMut() -> O) -> O {
        loop {
            match catch_unwind(AssertUnwindSafe(&mut work)) {
                Ok(outcome) => return outcome,
                Err(panic) if panic.downcast_ref() == Some(&"a clone was told to panic") => {
                    if self.panics.fetch_add(1, Relaxed) < PANICS {
                        self.census.panic_in_clone(CLONES);
                    }
                }
                Err(panic) => resume_unwind(panic),
            }
        }
    }

    /// Writes `values` values, or until the record closes. How many were accepted.
    fn write(&self, writer: usize, values: u64) -> u64 {
        let value = |nth| Value::new(&self.census, id(writer, nth));
        let mut accepted = 0;
        let mut turns = 0;
        while accepted < values {
            turns += 1;
            match WRITERS[writer] {
                Writing::Try => match self.producer.try_produce(value(accepted)) {
                    Ok(()) => accepted += 1,
                    Err(TryProduceError::Full(back)) => {
                        assert_eq!(back.whole(), id(writer, accepted));
                        thread::yield_now();
                    }
                    Err(TryProduceError::Closed(_)) => break,
                },
                Writing::Wait => {
                    let sent = self.producer.produce(value(accepted));
                    let sent =
                        if turns % 3 == 0 { give_up(sent) } else { Poll::Ready(block_on(sent)) };
                    match sent {
                        Poll::Ready(Ok(())) => accepted += 1,
                        Poll::Ready(Err(_)) => break,
                        Poll::Pending => {}
                    }
                }
                Writing::Many => {
                    let batch = accepted..values.min(accepted + turns % 40);
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

    /// Reads once. Says whether there may be more.
    fn read(&self, reader: &mut Reader<Value>, way: Reading, seen: &mut Seen) -> bool {
        let turn = seen.ids.len();
        let mut values = Vec::new();
        let more = match way {
            Reading::Try => match self.despite_panics(|| reader.try_recv()) {
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
                let read = if turn.is_multiple_of(3) {
                    self.despite_panics(|| give_up(reader.recv()))
                } else {
                    Poll::Pending
                };
                let read = match read {
                    Poll::Ready(read) => read,
                    Poll::Pending => self.despite_panics(|| block_on(reader.recv())),
                };
                read.map(|value| values.push(value)).is_ok()
            }
            Reading::Many => self
                .despite_panics(|| block_on(reader.recv_many(&mut values, 1 + turn % 5)))
                .is_ok(),
            Reading::Events => match self.despite_panics(|| block_on(reader.next_event())) {
                Ok(Event::Value(value)) => {
                    values.push(value);
                    seen.places.push(seen.next);
                    seen.next += 1;
                    true
                }
                Ok(Event::Lagged(missed)) => {
                    seen.told += missed;
                    seen.next += missed;
                    true
                }
                Err(_) => false,
            },
        };
        seen.ids.extend(values.iter().map(Value::whole));
        more
    }

    /// Reads to the end.
    fn read_all(&self, mut reader: Reader<Value>, way: Reading) -> Seen {
        let mut seen = Seen::default();
        while self.read(&mut reader, way, &mut seen) {}
        seen.lagged = reader.lagged();
        assert_eq!(reader.pending(), 0);
        seen
    }

    /// Reads to the end beside another thread at the same place.
    fn share(&self, place: &Subscription<Value>) -> Seen {
        let mut seen = Seen::default();
        let mut ticket = WaitTicket::default();
        loop {
            let read = self.despite_panics(|| {
                if seen.ids.len().is_multiple_of(3) {
                    let read = give_up(poll_fn(|cx| place.poll_value(&mut ticket, cx)));
                    place.cancel_wait(&mut ticket);
                    if let Poll::Ready(read) = read {
                        return read;
                    }
                }
                block_on(poll_fn(|cx| place.poll_value(&mut ticket, cx)))
            });
            match read {
                Ok(value) => seen.ids.push(value.whole()),
                Err(_) => return seen,
            }
        }
    }

    /// Comes, reads a little and goes, until the record closes.
    fn visit(&self) -> Seen {
        let mut all = Seen::default();
        for round in 0.. {
            let before = self.metrics().produced;
            let Ok(mut reader) = self.consumer.subscribe() else { break };
            let after = self.metrics().produced;
            let way = READERS[round % READERS.len()];
            let mut seen = Seen::default();
            let mut more = true;
            for _ in 0..round % 7 {
                more = more && self.read(&mut reader, way, &mut seen);
            }
            seen.lagged = reader.lagged();
            drop(reader);
            if !more && self.follows_positions() {
                // Read to the end: it had everything since it came. A latest record also gives what was there before.
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

    /// Looks at everything that can be looked at, until the record closes.
    fn look(&self) {
        let mut newest = [0; WRITERS.len()];
        let mut produced = 0;
        while !self.producer.is_closed() {
            if let Some(value) = self.despite_panics(|| self.consumer.latest()) {
                let id = value.whole();
                let newest = &mut newest[(id >> 32) as usize];
                if self.cfg() == BufferCfg::SingleLatest {
                    assert!(*newest <= id, "{newest:x}, then {id:x}");
                }
                *newest = id;
            }
            let metrics = self.metrics();
            assert!(produced <= metrics.produced);
            produced = metrics.produced;
            // A queue's numbers may come from before and after a step: they are exact when nothing flows.
            let flows = matches!(metrics.buffer, BufferCfg::SpmcQueue { .. });
            assert!(flows || metrics.depth <= metrics.buffer.capacity());
            for reader in metrics.readers {
                // The value behind a lag that was reported waits with its reader, outside of the buffer.
                let most = metrics.buffer.capacity() as u64 + 1;
                assert!(flows || reader.pending <= most, "{reader:?}");
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

    /// Whether each reader has to do with every value; a mailbox's have not.
    fn follows_positions(&self) -> bool {
        self.cfg() != BufferCfg::Mailbox
    }
}

/// No value of a writer twice, or before an earlier one.
fn assert_in_order(ids: &[u64]) {
    let mut next = [0; WRITERS.len()];
    for &id in ids {
        let next = &mut next[(id >> 32) as usize];
        assert!(*next <= id, "{id:x}, but {next:x} was next");
        *next = id + 1;
    }
}

/// Everybody at a record of this kind, until all is written or, if it closes `early`, while writers still wait.
fn run(cfg: BufferCfg, early: bool) -> Outcome {
    let scene = Scene::new(cfg);
    let readers: Vec<_> = READERS.iter().map(|_| scene.consumer.subscribe().unwrap()).collect();
    let place = scene.consumer.subscription().unwrap();
    place.share();
    let mut outcome = thread::scope(|scope| {
        let scene = &scene;
        let readers: Vec<_> = readers
            .into_iter()
            .zip(READERS)
            .map(|(reader, way)| scope.spawn(move || scene.read_all(reader, way)))
            .collect();
        let shared = [(); 2].map(|()| scope.spawn(|| scene.share(&place)));
        let visitors = scope.spawn(|| scene.visit());
        let looker = scope.spawn(|| scene.look());
        let mut writers: Vec<_> = (0..WRITERS.len())
            .map(|writer| {
                let values = if early && writer == 0 { VALUES / 4 } else { VALUES };
                scope.spawn(move || scene.write(writer, values))
            })
            .collect();
        let mut accepted = Vec::new();
        if early {
            accepted.push(writers.remove(0).join().unwrap());
            close(&scene.db);
        }
        accepted.extend(writers.into_iter().map(|writer| writer.join().unwrap()));
        close(&scene.db);
        looker.join().unwrap();
        Outcome {
            accepted,
            readers: readers.into_iter().map(|reader| reader.join().unwrap()).collect(),
            shared: shared.map(|sharer| sharer.join().unwrap()),
            visitors: visitors.join().unwrap(),
            metrics: scene.metrics(),
        }
    });
    outcome.shared[0].lagged = place.lagged();
    let accepted = outcome.accepted.iter().sum::<u64>();
    assert_eq!(outcome.metrics.produced, accepted, "{cfg}");
    if !early {
        assert_eq!(accepted, WRITERS.len() as u64 * VALUES, "{cfg}");
    }
    for seen in outcome.readers.iter().chain(&outcome.shared) {
        assert_in_order(&seen.ids);
    }
    let census = Arc::clone(&scene.census);
    let left = if cfg == BufferCfg::Mailbox || matches!(cfg, BufferCfg::SpmcQueue { .. }) {
        0
    } else {
        cfg.capacity().min(accepted as usize)
    };
    assert_eq!(census.alive(), left, "{cfg}: what the record still holds");
    drop((scene, place));
    assert_eq!(census.alive(), 0, "{cfg}: made is dropped");
    outcome
}

/// Each of the ways it can go.
fn every_way(
    kinds: impl IntoIterator<Item = BufferCfg>,
) -> impl Iterator<Item = (BufferCfg, Outcome)> {
    kinds.into_iter().flat_map(|cfg| [false, true].map(|early| (cfg, run(cfg, early))))
}

impl Outcome {
    /// The names of all accepted values, sorted.
    fn all(&self) -> Vec<u64> {
        let writers = self.accepted.iter().enumerate();
        writers.flat_map(|(writer, &count)| (0..count).map(move |nth| id(writer, nth))).collect()
    }

    /// What two threads at one place read together, sorted.
    fn shared(&self) -> Vec<u64> {
        let mut ids: Vec<_> = self.shared.iter().flat_map(|seen| &seen.ids).copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Every reader read or lost each value, once, and all agree where each value was.
    fn assert_accounted_for(&self, cfg: BufferCfg) {
        let produced = self.metrics.produced;
        let mut order = BTreeMap::new();
        for seen in &self.readers {
            assert_eq!(seen.ids.len() as u64 + seen.lagged, produced, "{cfg}");
            for (place, id) in seen.places.iter().zip(&seen.ids) {
                assert_eq!(order.entry(place).or_insert(id), &id, "{cfg}: at {place}");
            }
            if !seen.places.is_empty() {
                assert_eq!((seen.told, seen.next), (seen.lagged, produced), "{cfg}");
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
    for (cfg, outcome) in every_way([1, 2, 3].map(|capacity| BufferCfg::SpmcQueue { capacity })) {
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
    for (cfg, outcome) in every_way([1, 2, 3].map(|capacity| BufferCfg::SpmcRing { capacity })) {
        outcome.assert_accounted_for(cfg);
        assert_eq!(outcome.metrics.depth, cfg.capacity(), "{cfg}");
    }
}

#[test]
fn a_latest_record_gives_every_reader_the_last_value_and_never_an_older_one() {
    for (cfg, outcome) in every_way([BufferCfg::SingleLatest; 3]) {
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
    for (_, outcome) in every_way([BufferCfg::Mailbox; 3]) {
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
        let answered = takers().map(|seen| seen.lagged).sum::<u64>();
        assert_eq!(answered, overwritten, "whoever takes a command answers for those before it");
        for seen in &outcome.readers {
            assert!(seen.told <= seen.lagged);
        }
    }
}

#[test]
fn the_newest_value_of_a_ring_is_no_older_than_what_its_reader_just_had() {
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
