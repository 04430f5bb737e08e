//! Run in this folder: `cargo bench --ignore-rust-version`.
//!
//! AimDB next to the crates published under its name, on the cases that both support. `AIMDB_BENCH_QUICK=1` for a quick
//! look, `-- --report` to write the tables to the file that the report includes.
#![forbid(unsafe_code)]

use std::sync::{Arc, LazyLock};

use aimdb_core::BufferCfg;
use benches::cases::NamedCase;
use benches::cases::work::{
    flood, polled_in_turn, runtime, single_reader, task_latency, thread_latency, transfer,
    wake_parked_tasks, write_then_read,
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
    if report::is_requested() {
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
        write_then_read::<P, _, _>(scale, peers::record(ours, 1)),
        write_then_read::<P, _, _>(scale, record(theirs, 1)),
    )
    .run(scale)
}

fn blocking(scale: Scale) -> Table {
    versus(
        format!("{}, one thread: ring, set and try_get", Value::NAME),
        write_then_read::<Value, _, _>(scale, peers::sync_record(ring(64))),
        write_then_read::<Value, _, _>(scale, sync_record(their_ring(64))),
    )
    .run(scale)
}

fn threads(scale: Scale) -> Table {
    versus(
        "32 B, tasks on two threads: ring(65536), per value delivered".into(),
        || transfer::<Value, _, _>(scale, peers::record(ring(LARGE), 1)),
        || transfer::<Value, _, _>(scale, record(their_ring(LARGE), 1)),
    )
    .run(scale)
}

fn awake(scale: Scale, readers: usize) -> Table {
    let values = scale.operations(800_000 / readers as u64);
    versus(
        format!("32 B, 1 → {readers}, awake: ring, a send and all its receives"),
        || polled_in_turn(values, peers::record(ring(RING), readers)),
        || polled_in_turn(values, record(their_ring(RING), readers)),
    )
    .run(scale)
}

fn asleep(scale: Scale, readers: usize) -> Table {
    let values = scale.operations(160_000 / readers as u64);
    versus(
        format!("32 B, 1 → {readers}, asleep: ring, the writer's time for a send"),
        || wake_parked_tasks(values, peers::record(ring(RING), readers)),
        || wake_parked_tasks(values, record(their_ring(RING), readers)),
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
        || thread_latency(scale, || single_reader(peers::sync_record(ring(16)))),
        || thread_latency(scale, || single_reader(sync_record(their_ring(16)))),
    )
    .run(scale)
}

fn latency_of_tasks(scale: Scale) -> Table {
    let on = &runtime(2);
    versus(
        "one way between Tokio tasks: ring".into(),
        || task_latency(on, scale, || peers::record(ring(16), 1)),
        || task_latency(on, scale, || record(their_ring(16), 1)),
    )
    .run(scale)
}

/// The runtime on which their databases are built.
static BUILDING: LazyLock<Runtime> = LazyLock::new(|| runtime(1));

fn builder_with_record<P: Payload>(buffer: TheirCfg) -> AimDbBuilder {
    let adapter = TokioAdapter::new().expect("an adapter");
    let mut builder = AimDbBuilder::new().runtime(Arc::new(adapter));
    builder.configure::<P>(KEY, |reg| {
        reg.buffer(buffer);
    });
    builder
}

/// Their producer; the database keeps its record open.
#[derive(Clone)]
struct Record<P: Payload> {
    producer: Producer<P>,
    _db: Arc<AimDb>,
}

/// Their reader, which counts lost values.
struct Counting<P: Payload> {
    reader: Reader<P>,
    lagged: u64,
}

fn record<P: Payload>(buffer: TheirCfg, readers: usize) -> (Record<P>, Vec<Counting<P>>) {
    let built = BUILDING.block_on(builder_with_record::<P>(buffer).build());
    // The runner of a record without stages has no work, so it is never started.
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
    /// Returns the value, or counts the lost values and returns `None`.
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

/// The producer of their sync API.
#[derive(Clone)]
struct SyncRecord<P: Payload> {
    producer: SyncProducer<P>,
    _handle: Arc<AimDbHandle>,
}

/// The consumer of their sync API.
struct Consumer<P: Payload>(SyncConsumer<P>);

fn sync_record<P: Payload>(buffer: TheirCfg) -> (SyncRecord<P>, Vec<Consumer<P>>) {
    let handle = builder_with_record::<P>(buffer).attach().expect("one record with a buffer");
    let consumer = Consumer(handle.consumer(KEY).expect("configured"));
    let producer = handle.producer(KEY).expect("configured");
    (SyncRecord { producer, _handle: Arc::new(handle) }, vec![consumer])
}

impl<P: Payload> TryWrite<P> for SyncRecord<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.producer.set(value).expect("attached");
    }
}

impl<P: Payload> Set<P> for SyncRecord<P> {
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
