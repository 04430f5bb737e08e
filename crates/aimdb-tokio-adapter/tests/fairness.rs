//! The cooperative budget: on one thread, stages that never wait do not starve stages that do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use aimdb_core::{AimDbBuilder, BufferCfg, Consumer, Producer, RuntimeContext, input};
use aimdb_tokio_adapter::TokioAdapter;

const ROUNDS: u32 = 100;

fn builder() -> AimDbBuilder<TokioAdapter> {
    AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new().unwrap()))
}

async fn read_all(_: RuntimeContext<TokioAdapter>, numbers: Consumer<u32, TokioAdapter>) {
    let mut reader = numbers.subscribe().unwrap();
    while reader.recv().await.is_ok() {}
}

/// The end of a test: it was reached, or a minute has passed, so that a test whose greedy stage starves the others
/// still ends.
struct TestEnd {
    reached: AtomicBool,
    started: Instant,
}

impl TestEnd {
    fn new() -> Arc<Self> {
        Arc::new(Self { reached: AtomicBool::new(false), started: Instant::now() })
    }

    fn is_ahead(&self) -> bool {
        !self.reached.load(Relaxed) && self.started.elapsed() < Duration::from_secs(60)
    }
}

/// Adds a stage that sleeps and produces `ROUNDS` times, runs the database, and returns the number of rounds it made.
async fn rounds_next_to(mut builder: AimDbBuilder<TokioAdapter>, end: &Arc<TestEnd>) -> u32 {
    let rounds = Arc::new(AtomicU32::new(0));
    let (count, end) = (Arc::clone(&rounds), Arc::clone(end));
    builder.configure::<u32>("unrelated", |reg| {
        reg.buffer(BufferCfg::SingleLatest).source(|ctx, unrelated| async move {
            while end.is_ahead() && count.fetch_add(1, Relaxed) + 1 < ROUNDS {
                ctx.time().sleep(Duration::from_millis(1)).await;
                unrelated.produce(1).await.unwrap();
            }
            end.reached.store(true, Relaxed);
        });
    });
    builder.run().await.unwrap();
    rounds.load(Relaxed)
}

async fn rounds_next_to_source<Fut>(
    buffer: BufferCfg,
    greedy: impl FnOnce(RuntimeContext<TokioAdapter>, Producer<u32, TokioAdapter>, Arc<TestEnd>) -> Fut
    + 'static,
) -> u32
where
    Fut: Future<Output = ()> + Send + 'static,
{
    let end = TestEnd::new();
    let mut builder = builder();
    let own = Arc::clone(&end);
    builder.configure::<u32>("greedy", |reg| {
        reg.buffer(buffer).tap(read_all).source(|ctx, numbers| greedy(ctx, numbers, own));
    });
    builder.configure::<u32>("derived", |reg| {
        reg.buffer(buffer).transform(input::<u32>("greedy"), |n| n + 1).tap(read_all);
    });
    rounds_next_to(builder, &end).await
}

const BUFFERS: [BufferCfg; 3] = [
    BufferCfg::SpmcRing { capacity: 1 << 12 },
    BufferCfg::SpmcQueue { capacity: 1 << 12 },
    BufferCfg::SingleLatest,
];

#[tokio::test(flavor = "current_thread")]
async fn a_source_that_never_waits_starves_no_other_stage() {
    for buffer in BUFFERS {
        let rounds = rounds_next_to_source(
            buffer,
            async |_, numbers: Producer<u32, _>, end: Arc<TestEnd>| {
                while end.is_ahead() {
                    numbers.produce(1).await.unwrap();
                }
            },
        );
        assert_eq!(rounds.await, ROUNDS, "next to a greedy source of a {buffer}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_source_that_never_waits_between_batches_starves_no_other_stage() {
    for buffer in BUFFERS {
        let rounds = rounds_next_to_source(
            buffer,
            async |_, numbers: Producer<u32, _>, end: Arc<TestEnd>| {
                while end.is_ahead() {
                    numbers.produce_many(0..100).await.unwrap();
                }
            },
        );
        assert_eq!(rounds.await, ROUNDS, "next to a greedy source of a {buffer}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_endless_batch_starves_no_other_stage() {
    for buffer in BUFFERS {
        let rounds = rounds_next_to_source(
            buffer,
            async |_, numbers: Producer<u32, _>, end: Arc<TestEnd>| {
                let endless = std::iter::from_fn(|| end.is_ahead().then_some(1));
                numbers.produce_many(endless).await.unwrap();
            },
        );
        assert_eq!(rounds.await, ROUNDS, "next to a greedy source of a {buffer}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_reader_that_never_waits_starves_no_other_stage() {
    let end = TestEnd::new();
    let mut builder = builder();
    let own = Arc::clone(&end);
    builder.configure::<u32>("full", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: 4 }).source(|_, numbers| async move {
            // The tap writes to its own record.
            REFILL.set(numbers).unwrap();
        });
        reg.tap(move |_, numbers| async move {
            let mut reader = numbers.subscribe().unwrap();
            let numbers = loop {
                match REFILL.get() {
                    Some(numbers) => break numbers,
                    None => tokio::task::yield_now().await,
                }
            };
            while own.is_ahead() && numbers.try_produce(1).is_ok() {
                reader.recv().await.unwrap();
            }
        });
    });
    assert_eq!(rounds_next_to(builder, &end).await, ROUNDS);
}

static REFILL: std::sync::OnceLock<Producer<u32, TokioAdapter>> = std::sync::OnceLock::new();
