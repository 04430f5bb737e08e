//! One writer, many readers, each of which gets every value.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aimdb_core::BufferCfg;
use tokio::runtime::Builder;

use crate::kit::{Case, Fate, Run, Scale, on_threads, spin_until, time};
use crate::payload::{Value, stream, sum};
use crate::peers::{self, Read, TryRead, TryWrite};
use crate::table::Table;

const CAPACITY: usize = 1024;
const RING: BufferCfg = BufferCfg::SpmcRing { capacity: CAPACITY };
/// How far the writer goes before it looks how far the readers are.
const BURST: u64 = 256;

pub(super) fn awake<const READERS: usize>(scale: Scale) -> Table {
    let values = scale.operations(800_000 / READERS as u64);
    Case::against("aimdb ring", format!("1 → {READERS}, awake"))
        .contestant("aimdb ring", || going_round(values, peers::record(RING, READERS)))
        .contestant("tokio broadcast", || going_round(values, peers::broadcast(CAPACITY, READERS)))
        .contestant("async-broadcast", || {
            going_round(values, peers::overwriting(CAPACITY, READERS))
        })
        .contestant("embassy pubsub", || {
            going_round(values, peers::pubsub::<Value, CAPACITY, READERS>())
        })
        .contestant("disruptor, spinning", || {
            going_round(values, peers::disruptor(CAPACITY, READERS))
        })
        .run(scale)
}

/// One thread takes what is there for each reader in turn; the writer stays less than a ring ahead.
pub fn going_round<W: TryWrite, R: TryRead>(
    values: u64,
    (mut writer, readers): (W, Vec<R>),
) -> Run {
    let (count, all_have) = (readers.len() as u64, &AtomicU64::new(0));
    let write = || {
        for (sent, value) in (0..).zip(stream(values)) {
            if sent % BURST == 0 {
                let room = || all_have.load(Ordering::Acquire) + CAPACITY as u64 >= sent + BURST;
                spin_until(|| room().then_some(()));
            }
            writer.try_write(black_box(value));
        }
    };
    let flow = on_threads(vec![write], vec![|| go_round(values, readers, all_have)]);
    let fate: Fate = flow.outcomes.into_iter().sum();
    let expected = sum::<Value>(values).wrapping_mul(count);
    assert_eq!((fate.delivered, fate.sum), (values * count, expected), "all got all");
    Run::new(values, flow.read)
}

fn go_round<R: TryRead>(values: u64, mut readers: Vec<R>, all_have: &AtomicU64) -> Fate {
    let mut fates = vec![Fate::default(); readers.len()];
    spin_until(|| {
        for (reader, fate) in readers.iter_mut().zip(&mut fates) {
            while let Some(value) = reader.try_read() {
                fate.take(&black_box(value));
            }
        }
        let slowest = fates.iter().map(|fate| fate.delivered).min().unwrap_or(values);
        all_have.store(slowest, Ordering::Release);
        (slowest == values).then(|| fates.iter().copied().sum())
    })
}

pub(super) fn asleep<const READERS: usize>(scale: Scale) -> Table {
    let values = scale.operations(160_000 / READERS as u64);
    Case::against("aimdb ring", format!("1 → {READERS}, asleep: the writer's time for a send"))
        .contestant("aimdb ring", || waking(values, peers::record(RING, READERS)))
        .contestant("tokio broadcast", || waking(values, peers::broadcast(CAPACITY, READERS)))
        .contestant("async-broadcast", || waking(values, peers::overwriting(CAPACITY, READERS)))
        .contestant("embassy pubsub", || {
            waking(values, peers::pubsub::<Value, CAPACITY, READERS>())
        })
        .run(scale)
}

/// All on one thread, so that everybody is asleep when a value comes: the writer waits until the readers have had it, and
/// each goes back to sleep before it gives way.
pub fn waking<W: TryWrite, R: Read>(values: u64, (mut writer, readers): (W, Vec<R>)) -> Run {
    let count = readers.len() as u64;
    let received = Arc::new(AtomicU64::new(0));
    let reached = async |goal| {
        while received.load(Ordering::Relaxed) < goal {
            tokio::task::yield_now().await;
        }
    };
    let runtime = Builder::new_current_thread().build().expect("a runtime can be had");
    let elapsed = runtime.block_on(async {
        let read = |reader| tokio::spawn(counting(reader, Arc::clone(&received)));
        let tasks: Vec<_> = readers.into_iter().map(read).collect();
        // Everybody says that it is about to wait.
        reached(count).await;
        let mut elapsed = Duration::ZERO;
        for (sent, value) in (1..).zip(stream::<Value>(values)) {
            let start = Instant::now();
            writer.try_write(black_box(value));
            elapsed += start.elapsed();
            reached((sent + 1) * count).await;
        }
        for task in tasks {
            assert_eq!(task.await.expect("reads on"), values, "all got all");
        }
        elapsed
    });
    Run::new(values, elapsed)
}

async fn counting(mut reader: impl Read, received: Arc<AtomicU64>) -> u64 {
    let mut fate = Fate::default();
    received.fetch_add(1, Ordering::Relaxed);
    while fate.take(&black_box(reader.read().await)) {
        received.fetch_add(1, Ordering::Relaxed);
    }
    received.fetch_add(1, Ordering::Relaxed);
    fate.delivered
}

pub(super) fn idle<const READERS: usize>(scale: Scale) -> Table {
    Case::against("aimdb ring", format!("1 → {READERS} that never read"))
        .contestant("aimdb ring", unread(scale, peers::record(RING, READERS)))
        .contestant("tokio broadcast", unread(scale, peers::broadcast(CAPACITY, READERS)))
        .contestant("async-broadcast", unread(scale, peers::overwriting(CAPACITY, READERS)))
        .contestant("embassy pubsub", unread(scale, peers::pubsub::<Value, CAPACITY, READERS>()))
        .run(scale)
}

fn unread<W: TryWrite, R>(scale: Scale, (mut writer, readers): (W, Vec<R>)) -> impl FnMut() -> Run {
    let values = scale.operations(200_000);
    move || {
        let _subscribed = &readers;
        let elapsed = time(|| stream(values).for_each(|value| writer.try_write(black_box(value))));
        Run::new(values, elapsed)
    }
}
