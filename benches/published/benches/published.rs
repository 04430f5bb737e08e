//! Run in this folder with: cargo bench --ignore-rust-version
//!
//! AimDB next to the crates published under its name, on the cases that both have. `AIMDB_BENCH_QUICK=1` for a quick look,
//! `-- --report` to leave the tables where the report takes them in.
#![forbid(unsafe_code)]

use std::sync::{Arc, LazyLock};

use aimdb_core::BufferCfg;
use benches::cases::NamedCase;
use benches::cases::work::{
    across, alone, flood, going_round, parked, runtime, spawned, there_and_back, waking,
};
use benches::kit::{Case, Run, Scale};
use benches::payload::{Block, Payload, Shared, Value};
use benches::peers::{self, Get, Read, Set, TryRead, TryWrite, Write};
use benches::report;
use benches::table::Table;
use their_core::buffer::BufferCfg as TheirCfg;
use their_core::{AimDb, AimDbBuilder, DbError, Producer, Reader};
use their_sync::{AimDbBuilderSyncExt, AimDbHandle, SyncConsumer, SyncProducer};
use their_tokio_adapter::{TokioAdapter, TokioRecordRegistrarExt};
use tokio::runtime::Runtime;

const OURS: &str = "aimdb";
const THEIRS: &str = "published";
const KEY: &str = "bench";
const RING: usize = 1024;
const LARGE: usize = 1 << 16;

const ABOUT: &str = "\
## Next to the crates published under the same name

aimdb-core 2.0.0, aimdb-sync 0.6.0 and aimdb-tokio-adapter 0.7.0 from the registry, in one program with these. They have no
queue that holds a writer back. Written by `cargo bench --ignore-rust-version -- --report` in `benches/published`.";

const CASES: &[NamedCase] = &[
    ("same_thread::ring", |scale| same_thread::<Value>(scale, "ring", ring(64), their_ring(64))),
    ("same_thread::ring_1k", |scale| same_thread::<Block>(scale, "ring", ring(64), their_ring(64))),
    ("same_thread::ring_arc", |scale| {
        same_thread::<Shared>(scale, "ring", ring(64), their_ring(64))
    }),
    ("same_thread::latest", |scale| {
        same_thread::<Value>(scale, "latest", BufferCfg::SingleLatest, TheirCfg::SingleLatest)
    }),
    ("same_thread::mailbox", |scale| {
        same_thread::<Value>(scale, "mailbox", BufferCfg::Mailbox, TheirCfg::Mailbox)
    }),
    ("same_thread::blocking", blocking),
    ("threads::ring", threads),
    ("fan_out::awake_4", |scale| awake(scale, 4)),
    ("fan_out::awake_256", |scale| awake(scale, 256)),
    ("fan_out::asleep_4", |scale| asleep(scale, 4)),
    ("fan_out::asleep_256", |scale| asleep(scale, 256)),
    ("overload::ring", overload),
    ("latency::threads", latency_of_threads),
    ("latency::tasks", latency_of_tasks),
];

fn main() {
    let tables = benches::run(CASES);
    if report::asked_for() {
        report::write_published(ABOUT, &tables).expect("docs/benchmarks can be written");
    }
}

fn ring(capacity: usize) -> BufferCfg {
    BufferCfg::SpmcRing { capacity }
}

fn their_ring(capacity: usize) -> TheirCfg {
    TheirCfg::SpmcRing { capacity }
}

fn versus<'c>(
    title: String,
    ours: impl FnMut() -> Run + 'c,
    theirs: impl FnMut() -> Run + 'c,
) -> Case<'c> {
    Case::against(OURS, title).contestant(OURS, ours).contestant(THEIRS, theirs)
}

fn same_thread<P: Payload>(scale: Scale, kind: &str, ours: BufferCfg, theirs: TheirCfg) -> Table {
    versus(
        format!("{}, one thread: {kind}, write and read back", P::NAME),
        there_and_back::<P, _, _>(scale, peers::record(ours, 1)),
        there_and_back::<P, _, _>(scale, record(theirs, 1)),
    )
    .run(scale)
}

fn blocking(scale: Scale) -> Table {
    versus(
        format!("{}, one thread: ring, set and try_get", Value::NAME),
        there_and_back::<Value, _, _>(scale, peers::door(ring(64))),
        there_and_back::<Value, _, _>(scale, door(their_ring(64))),
    )
    .run(scale)
}

fn threads(scale: Scale) -> Table {
    versus(
        "32 B, tasks on two threads: ring(65536), per value delivered".into(),
        || across::<Value, _, _>(scale, peers::record(ring(LARGE), 1)),
        || across::<Value, _, _>(scale, record(their_ring(LARGE), 1)),
    )
    .run(scale)
}

fn awake(scale: Scale, readers: usize) -> Table {
    let values = scale.operations(800_000 / readers as u64);
    versus(
        format!("32 B, 1 → {readers}, awake: ring, a send and all its receives"),
        || going_round(values, peers::record(ring(RING), readers)),
        || going_round(values, record(their_ring(RING), readers)),
    )
    .run(scale)
}

fn asleep(scale: Scale, readers: usize) -> Table {
    let values = scale.operations(160_000 / readers as u64);
    versus(
        format!("32 B, 1 → {readers}, asleep: ring, the writer's time for a send"),
        || waking(values, peers::record(ring(RING), readers)),
        || waking(values, record(their_ring(RING), readers)),
    )
    .run(scale)
}

fn overload(scale: Scale) -> Table {
    versus(
        "32 B, 1 → 4, a writer that never waits: ring".into(),
        || flood(scale, peers::record(ring(RING), 4)),
        || flood(scale, record(their_ring(RING), 4)),
    )
    .run(scale)
}

fn latency_of_threads(scale: Scale) -> Table {
    versus(
        "one way between parked threads: ring".into(),
        || parked(scale, || alone(peers::door(ring(16)))),
        || parked(scale, || alone(door(their_ring(16)))),
    )
    .run(scale)
}

fn latency_of_tasks(scale: Scale) -> Table {
    let on = &runtime(2);
    versus(
        "one way between Tokio tasks: ring".into(),
        || spawned(on, scale, || peers::record(ring(16), 1)),
        || spawned(on, scale, || record(their_ring(16), 1)),
    )
    .run(scale)
}

/// For what has to be built on a runtime.
static BUILDING: LazyLock<Runtime> = LazyLock::new(|| runtime(1));

fn declared<P: Payload>(buffer: TheirCfg) -> AimDbBuilder {
    let adapter = TokioAdapter::new().expect("an adapter");
    let mut builder = AimDbBuilder::new().runtime(Arc::new(adapter));
    builder.configure::<P>(KEY, |reg| {
        reg.buffer(buffer);
    });
    builder
}

/// Their producer, and what keeps it open.
#[derive(Clone)]
struct Record<P: Payload> {
    producer: Producer<P>,
    _db: Arc<AimDb>,
}

/// Their reader, which counts what it lost.
struct Counting<P: Payload> {
    reader: Reader<P>,
    lagged: u64,
}

fn record<P: Payload>(buffer: TheirCfg, readers: usize) -> (Record<P>, Vec<Counting<P>>) {
    let built = BUILDING.block_on(declared::<P>(buffer).build());
    // A record without stages gives its runner nothing to do.
    let (db, _runner) = built.expect("one record with a buffer");
    let subscribe = |_| Counting { reader: db.subscribe(KEY).expect("configured"), lagged: 0 };
    let readers = (0..readers).map(subscribe).collect();
    (Record { producer: db.producer(KEY).expect("configured"), _db: Arc::new(db) }, readers)
}

impl<P: Payload> TryWrite<P> for Record<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.producer.produce(value);
    }
}

impl<P: Payload> Write<P> for Record<P> {
    #[inline]
    async fn write(&mut self, value: P) {
        self.producer.produce(value);
    }
}

impl<P: Payload> Counting<P> {
    /// The value, or nothing if some were lost in its place.
    fn note(&mut self, result: Result<P, DbError>) -> Option<P> {
        match result {
            Ok(value) => Some(value),
            Err(DbError::BufferLagged { lag_count, .. }) => {
                self.lagged += lag_count;
                None
            }
            Err(other) => panic!("{other}"),
        }
    }
}

impl<P: Payload> TryRead<P> for Counting<P> {
    #[inline]
    fn try_read(&mut self) -> Option<P> {
        loop {
            let result = self.reader.try_recv();
            if matches!(result, Err(DbError::BufferEmpty)) {
                return None;
            }
            if let Some(value) = self.note(result) {
                return Some(value);
            }
        }
    }

    fn lagged(&self) -> u64 {
        self.lagged
    }
}

impl<P: Payload> Read<P> for Counting<P> {
    #[inline]
    async fn read(&mut self) -> P {
        loop {
            let result = self.reader.recv().await;
            if let Some(value) = self.note(result) {
                return value;
            }
        }
    }
}

/// Their blocking door.
#[derive(Clone)]
struct Door<P: Payload> {
    producer: SyncProducer<P>,
    _handle: Arc<AimDbHandle>,
}

/// Their blocking reader.
struct Consumer<P: Payload>(SyncConsumer<P>);

fn door<P: Payload>(buffer: TheirCfg) -> (Door<P>, Vec<Consumer<P>>) {
    let handle = declared::<P>(buffer).attach().expect("one record with a buffer");
    let consumer = Consumer(handle.consumer(KEY).expect("configured"));
    let producer = handle.producer(KEY).expect("configured");
    (Door { producer, _handle: Arc::new(handle) }, vec![consumer])
}

impl<P: Payload> TryWrite<P> for Door<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.producer.set(value).expect("attached");
    }
}

impl<P: Payload> Set<P> for Door<P> {
    #[inline]
    fn set(&mut self, value: P) {
        self.producer.set(value).expect("attached");
    }
}

impl<P: Payload> TryRead<P> for Consumer<P> {
    #[inline]
    fn try_read(&mut self) -> Option<P> {
        self.0.try_get().ok()
    }
}

impl<P: Payload> Get<P> for Consumer<P> {
    #[inline]
    fn get(&mut self) -> P {
        self.0.get().expect("attached, and nothing is lost")
    }
}
