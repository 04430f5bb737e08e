//! On one thread, stages that never wait leave room for those that do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use aimdb_core::{AimDbBuilder, BufferCfg, Consumer, Producer, RuntimeContext, input};
use aimdb_tokio_adapter::TokioAdapter;

const TURNS: u32 = 100;

fn builder() -> AimDbBuilder<TokioAdapter> {
    AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new().unwrap()))
}

async fn read_on(_: RuntimeContext<TokioAdapter>, numbers: Consumer<u32, TokioAdapter>) {
    let mut reader = numbers.subscribe().unwrap();
    while reader.recv().await.is_ok() {}
}

/// Lasts until a test has seen enough, or has waited longer than the busiest machine needs: a greedy stage that starved
/// everybody must still end.
struct Patience {
    over: AtomicBool,
    since: Instant,
}

impl Patience {
    fn new() -> Arc<Self> {
        Arc::new(Self { over: AtomicBool::new(false), since: Instant::now() })
    }

    fn lasts(&self) -> bool {
        !self.over.load(Relaxed) && self.since.elapsed() < Duration::from_secs(60)
    }
}

/// Adds a stage that needs many turns, runs everything, and says how many turns it got.
async fn turns_beside(mut builder: AimDbBuilder<TokioAdapter>, patience: &Arc<Patience>) -> u32 {
    let turns = Arc::new(AtomicU32::new(0));
    let (count, clock) = (Arc::clone(&turns), Arc::clone(patience));
    builder.configure::<u32>("unrelated", |reg| {
        reg.buffer(BufferCfg::SingleLatest).source(|ctx, unrelated| async move {
            while clock.lasts() && count.fetch_add(1, Relaxed) + 1 < TURNS {
                ctx.time().sleep(Duration::from_millis(1)).await;
                unrelated.produce(1).await.unwrap();
            }
            clock.over.store(true, Relaxed);
        });
    });
    builder.run().await.unwrap();
    turns.load(Relaxed)
}

async fn beside_source<Fut>(
    buffer: BufferCfg,
    greedy: impl FnOnce(RuntimeContext<TokioAdapter>, Producer<u32, TokioAdapter>, Arc<Patience>) -> Fut
    + 'static,
) -> u32
where
    Fut: Future<Output = ()> + Send + 'static,
{
    let patience = Patience::new();
    let mut builder = builder();
    let own = Arc::clone(&patience);
    builder.configure::<u32>("greedy", |reg| {
        reg.buffer(buffer).tap(read_on).source(|ctx, numbers| greedy(ctx, numbers, own));
    });
    builder.configure::<u32>("derived", |reg| {
        reg.buffer(buffer).transform(input::<u32>("greedy"), |n| n + 1).tap(read_on);
    });
    turns_beside(builder, &patience).await
}

const BUFFERS: [BufferCfg; 3] = [
    BufferCfg::SpmcRing { capacity: 1 << 12 },
    BufferCfg::SpmcQueue { capacity: 1 << 12 },
    BufferCfg::SingleLatest,
];

#[tokio::test(flavor = "current_thread")]
async fn a_source_that_never_waits_starves_nobody() {
    for buffer in BUFFERS {
        let turns = beside_source(buffer, async |_, numbers: Producer<u32, _>, patience| {
            while patience.lasts() {
                numbers.produce(1).await.unwrap();
            }
        });
        assert_eq!(turns.await, TURNS, "beside a greedy source of a {buffer}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_source_that_never_waits_between_batches_starves_nobody() {
    for buffer in BUFFERS {
        let turns = beside_source(buffer, async |_, numbers: Producer<u32, _>, patience| {
            while patience.lasts() {
                numbers.produce_many(0..100).await.unwrap();
            }
        });
        assert_eq!(turns.await, TURNS, "beside a greedy source of a {buffer}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn one_endless_batch_starves_nobody() {
    for buffer in BUFFERS {
        let turns = beside_source(buffer, async |_, numbers: Producer<u32, _>, patience| {
            let endless = std::iter::from_fn(|| patience.lasts().then_some(1));
            numbers.produce_many(endless).await.unwrap();
        });
        assert_eq!(turns.await, TURNS, "beside a greedy source of a {buffer}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_reader_that_never_runs_dry_starves_nobody() {
    let patience = Patience::new();
    let mut builder = builder();
    let own = Arc::clone(&patience);
    builder.configure::<u32>("full", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: 4 }).source(|_, numbers| async move {
            // The tap refills its own record.
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
            while own.lasts() && numbers.try_produce(1).is_ok() {
                reader.recv().await.unwrap();
            }
        });
    });
    assert_eq!(turns_beside(builder, &patience).await, TURNS);
}

static REFILL: std::sync::OnceLock<Producer<u32, TokioAdapter>> = std::sync::OnceLock::new();
