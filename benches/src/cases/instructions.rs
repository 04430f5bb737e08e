//! The hot paths whose instructions are counted: [`PATHS`]. A count depends on the compiler and on no other load of the
//! machine, so `tools/instructions` compares it with the one in the repository.
//!
//! Each path is a function that repeats one operation. The counts of two runs of different length differ by the operations
//! alone: what a path builds first cancels out.

use std::future::Future;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use aimdb_core::runtime::SpawnError;
use aimdb_core::stages::{Stage, StageResult};
use aimdb_core::{AimDbBuilder, BufferCfg, Instant, LogLevel, Reader, Runtime, SendRuntime};

use crate::payload::{Block, Payload, Value};
use crate::peers::{self, Get, Read, Record, Set, TryRead, TryWrite, Write};

/// A path whose instructions are counted.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// The name, an argument of the program.
    pub name: &'static str,
    /// Repeats the operation this many times.
    pub run: fn(u64),
}

const RING: BufferCfg = BufferCfg::SpmcRing { capacity: 16 };
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 16 };

/// The paths, AimDB's and those of the channels that are its usual alternatives.
pub const PATHS: &[Path] = &[
    Path { name: "ring: produce, receive", run: |n| awake::<Value, _, _>(n, record(RING, 1)) },
    Path { name: "queue: produce, receive", run: |n| awake::<Value, _, _>(n, record(QUEUE, 1)) },
    Path {
        name: "latest: produce, receive",
        run: |n| awake::<Value, _, _>(n, record(BufferCfg::SingleLatest, 1)),
    },
    Path {
        name: "mailbox: produce, receive",
        run: |n| awake::<Value, _, _>(n, record(BufferCfg::Mailbox, 1)),
    },
    Path {
        name: "ring of 1 KiB: produce, receive",
        run: |n| awake::<Block, _, _>(n, record(RING, 1)),
    },
    Path { name: "ring: wake 1", run: |n| asleep(n, record(RING, 1)) },
    Path { name: "ring: wake 4", run: |n| asleep(n, record(RING, 4)) },
    Path { name: "queue: wake 1", run: |n| asleep(n, record(QUEUE, 1)) },
    Path { name: "mailbox: wake 1", run: |n| asleep(n, record(BufferCfg::Mailbox, 1)) },
    Path { name: "queue: batch of 16", run: batches },
    Path { name: "sync queue: set, get", run: threads },
    Path { name: "build of a record with a source and a tap", run: build },
    Path { name: "broadcast: send, receive", run: |n| awake(n, peers::broadcast::<Value>(16, 1)) },
    Path { name: "mpsc: send, receive", run: |n| awake(n, peers::mpsc::<Value>(16)) },
    Path { name: "broadcast: wake 1", run: |n| asleep(n, peers::broadcast(16, 1)) },
    Path { name: "broadcast: wake 4", run: |n| asleep(n, peers::broadcast(16, 4)) },
    Path { name: "mpsc: wake 1", run: |n| asleep(n, peers::mpsc(16)) },
];

/// A runtime whose clock stands: under valgrind time passes fifty times as fast, and the engine notes the time of each
/// value that comes after a pause.
#[derive(Clone, Copy, Debug)]
pub struct Standing;

impl Runtime for Standing {
    type Sleep = std::future::Pending<()>;

    fn now(&self) -> Instant {
        Instant::from_nanos(0)
    }

    fn sleep_until(&self, _deadline: Instant) -> Self::Sleep {
        std::future::pending()
    }

    fn log(&self, _level: LogLevel, _origin: &str, _message: std::fmt::Arguments<'_>) {}
}

impl SendRuntime for Standing {
    /// Drops the stage: the paths are those of values and of the graph.
    fn spawn_send<F>(&self, _stage: Stage<Self, F>) -> Result<(), SpawnError>
    where
        F: Future<Output: StageResult> + Send + 'static,
    {
        Ok(())
    }
}

fn record<P: Payload>(buffer: BufferCfg, readers: usize) -> (Record<P, Standing>, Vec<Reader<P>>) {
    peers::record_on(Standing, buffer, readers)
}

/// A value written and read, by one thread, without a wait.
fn awake<P: Payload, W: TryWrite<P>, R: TryRead<P>>(
    operations: u64,
    (mut writer, mut readers): (W, Vec<R>),
) {
    for n in 0..operations {
        writer.try_write(black_box(P::new(n)));
        for reader in &mut readers {
            black_box(reader.try_read().expect("a value").digest());
        }
    }
}

/// A waker that counts.
struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A value written while all readers wait; each is woken, polled, reads the value, and waits again.
fn asleep<W: TryWrite, R: Read>(operations: u64, (mut writer, readers): (W, Vec<R>)) {
    let count = readers.len() as u64;
    let wakes = Arc::new(Wakes(AtomicU64::new(0)));
    let waker = Waker::from(Arc::clone(&wakes));
    let mut cx = Context::from_waker(&waker);
    let mut tasks: Vec<_> = readers.into_iter().map(|reader| Box::pin(read(reader))).collect();
    for task in &mut tasks {
        assert!(task.as_mut().poll(&mut cx).is_pending(), "there is no value yet");
    }
    for n in 0..operations {
        writer.try_write(black_box(Value::new(n)));
        for task in &mut tasks {
            assert!(task.as_mut().poll(&mut cx).is_pending(), "it waits for the next value");
        }
    }
    assert_eq!(wakes.0.load(Ordering::Relaxed), count * operations, "each value wakes each once");
}

async fn read(mut reader: impl Read) {
    loop {
        black_box(reader.read().await.digest());
    }
}

/// Sixteen values through a queue, in one call to each end; an operation is one value.
fn batches(operations: u64) {
    let (mut writer, mut readers) = record::<Value>(QUEUE, 1);
    let mut into = Vec::with_capacity(16);
    for n in 0..operations.div_ceil(16) {
        ready(writer.write_many((0..16).map(|nth| black_box(Value::new(n + nth)))));
        ready(readers[0].read_many(&mut into, 16));
        assert_eq!(into.drain(..).len(), 16, "all values at once");
    }
}

/// The outcome of a future that waits for nobody. It may yield to other tasks.
fn ready<O>(future: impl Future<Output = O>) -> O {
    let mut future = std::pin::pin!(future);
    loop {
        let outcome = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(outcome) = outcome {
            return outcome;
        }
    }
}

/// A graph of this many records: an operation is one record. A check of the graph that takes time in proportion to the square
/// of the number of records shows here.
fn build(records: u64) {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(Standing));
    for n in 0..records {
        builder.configure::<Value>(format!("plant.sensor{n:06}"), |reg| {
            reg.buffer(RING)
                .source(|_ctx, _value| std::future::pending::<()>())
                .tap(|_ctx, _value| std::future::pending::<()>());
        });
    }
    drop(black_box(builder.build().expect("the graph has no fault")));
}

/// A value through the sync API, by one thread, without a wait.
fn threads(operations: u64) {
    let (mut producer, mut consumers) = peers::sync_record::<Value>(QUEUE);
    for n in 0..operations {
        Set::set(&mut producer, black_box(Value::new(n)));
        black_box(Get::get(&mut consumers[0]).digest());
    }
}
