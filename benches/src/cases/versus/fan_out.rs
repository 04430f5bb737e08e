//! One writer and many readers; every reader receives every value.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aimdb_core::BufferCfg;
use tokio::runtime::Builder;

use crate::kit::{Case, Delivery, Run, Scale, on_threads, spin_until, time};
use crate::payload::{Value, stream, sum};
use crate::peers::{self, Read, TryRead, TryWrite};
use crate::table::Table;

const CAPACITY: usize = 1024;
const RING: BufferCfg = BufferCfg::SpmcRing { capacity: CAPACITY };
/// The number of values that the writer sends before it checks the readers' progress.
const BURST: u64 = 256;

pub(super) fn awake<const READERS: usize>(scale: Scale) -> Table {
    let values = scale.operations(800_000 / READERS as u64);
    Case::against("aimdb ring", format!("1 → {READERS}, awake"))
        .contestant("aimdb ring", || polled_in_turn(values, peers::record(RING, READERS)))
        .contestant("tokio broadcast", || {
            polled_in_turn(values, peers::broadcast(CAPACITY, READERS))
        })
        .contestant("async-broadcast", || {
            polled_in_turn(values, peers::async_broadcast_overflowing(CAPACITY, READERS))
        })
        .contestant("embassy pubsub", || {
            polled_in_turn(values, peers::pubsub::<Value, CAPACITY, READERS>())
        })
        .contestant("disruptor, spinning", || {
            polled_in_turn(values, peers::disruptor(CAPACITY, READERS))
        })
        .contestant("limit: one cache line a value", || {
            polled_in_turn(values, peers::lines(CAPACITY, READERS))
        })
        .run(scale)
}

/// One thread polls all readers in turn; the writer stays less than one ring ahead of the slowest.
pub fn polled_in_turn<W: TryWrite, R: TryRead>(
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
    let flow = on_threads(vec![write], vec![|| poll_in_turn(values, readers, all_have)]);
    let delivery: Delivery = flow.outcomes.into_iter().sum();
    let expected = sum::<Value>(values).wrapping_mul(count);
    assert_eq!((delivery.delivered, delivery.sum), (values * count, expected), "all got all");
    Run::new(values, flow.read)
}

fn poll_in_turn<R: TryRead>(values: u64, mut readers: Vec<R>, all_have: &AtomicU64) -> Delivery {
    let mut deliveries = vec![Delivery::default(); readers.len()];
    spin_until(|| {
        for (reader, delivery) in readers.iter_mut().zip(&mut deliveries) {
            while let Some(value) = reader.try_read() {
                delivery.take(&black_box(value));
            }
        }
        let slowest = deliveries.iter().map(|delivery| delivery.delivered).min().unwrap_or(values);
        all_have.store(slowest, Ordering::Release);
        (slowest == values).then(|| deliveries.iter().copied().sum())
    })
}

pub(super) fn asleep<const READERS: usize>(scale: Scale) -> Table {
    let values = scale.operations(160_000 / READERS as u64);
    Case::against("aimdb ring", format!("1 → {READERS}, asleep: the writer's time for a send"))
        .contestant("aimdb ring", || wake_parked_tasks(values, peers::record(RING, READERS)))
        .contestant("tokio broadcast", || {
            wake_parked_tasks(values, peers::broadcast(CAPACITY, READERS))
        })
        .contestant("async-broadcast", || {
            wake_parked_tasks(values, peers::async_broadcast_overflowing(CAPACITY, READERS))
        })
        .contestant("embassy pubsub", || {
            wake_parked_tasks(values, peers::pubsub::<Value, CAPACITY, READERS>())
        })
        .run(scale)
}

/// Measures the writer's time to send while all readers are parked. All tasks share one thread: the writer yields until
/// every reader has taken the value and is parked again.
pub fn wake_parked_tasks<W: TryWrite, R: Read>(
    values: u64,
    (mut writer, readers): (W, Vec<R>),
) -> Run {
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
        // Each reader counts itself before its first wait.
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
    let mut delivery = Delivery::default();
    received.fetch_add(1, Ordering::Relaxed);
    while delivery.take(&black_box(reader.read().await)) {
        received.fetch_add(1, Ordering::Relaxed);
    }
    received.fetch_add(1, Ordering::Relaxed);
    delivery.delivered
}

pub(super) fn idle<const READERS: usize>(scale: Scale) -> Table {
    Case::against("aimdb ring", format!("1 → {READERS} that never read"))
        .contestant("aimdb ring", unread(scale, peers::record(RING, READERS)))
        .contestant("tokio broadcast", unread(scale, peers::broadcast(CAPACITY, READERS)))
        .contestant(
            "async-broadcast",
            unread(scale, peers::async_broadcast_overflowing(CAPACITY, READERS)),
        )
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
