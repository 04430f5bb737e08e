//! After the start, a message costs no allocation, in any call of the async API.
//!
//! This file has one test, because the counter counts every allocation of the process: tests on other threads would add
//! theirs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Event, Producer, Reader, input};
use aimdb_tokio_adapter::TokioAdapter;
use futures_core::Stream;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps the contract of this method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of this method.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps the contract of this method.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_UP: u64 = 2_000;
const MEASURED: u64 = 20_000;

const BUFFERS: [BufferCfg; 4] = [
    BufferCfg::SpmcRing { capacity: 16 },
    BufferCfg::SpmcQueue { capacity: 16 },
    BufferCfg::SingleLatest,
    BufferCfg::Mailbox,
];

/// Runs `message` until all buffers have grown to their final size, then counts its allocations.
async fn assert_no_allocation(what: &str, mut message: impl AsyncFnMut(u64)) {
    for n in 0..WARM_UP {
        message(n).await;
    }
    // The allocations of other threads, which may start late, are counted too; those of a message are in every attempt.
    let mut fewest = u64::MAX;
    for _ in 0..4 {
        let before = ALLOCATIONS.load(Relaxed);
        for n in 0..MEASURED {
            message(n).await;
        }
        fewest = fewest.min(ALLOCATIONS.load(Relaxed) - before);
        if fewest == 0 {
            return;
        }
    }
    assert_eq!(fewest, 0, "allocations in {MEASURED} messages: {what}");
}

fn builder() -> AimDbBuilder<TokioAdapter> {
    AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new().unwrap()))
}

/// A started database with a tap that counts its values, so that a test can wait for them.
fn database(buffer: BufferCfg) -> (AimDb<TokioAdapter>, Arc<AtomicU64>) {
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    let mut builder = builder();
    builder.configure::<u64>("in", |reg| {
        reg.buffer(buffer).shared();
    });
    builder.configure::<u64>("out", |reg| {
        reg.buffer(buffer).shared().transform(input::<u64>("in"), |n| n + 1).tap(
            |_, numbers| async move {
                let mut reader = numbers.subscribe().unwrap();
                while reader.recv().await.is_ok() {
                    count.fetch_add(1, Relaxed);
                }
            },
        );
    });
    let db = builder.build().unwrap();
    db.start();
    (db, seen)
}

/// A record without stages, and a handle to each end.
fn bare(buffer: BufferCfg) -> (AimDb<TokioAdapter>, Producer<u64, TokioAdapter>, Reader<u64>) {
    let mut builder = builder();
    builder.configure::<u64>("bare", |reg| {
        reg.buffer(buffer);
    });
    let db = builder.build().unwrap();
    db.start();
    let reader = db.consumer::<u64>("bare").unwrap().subscribe().unwrap();
    let producer = db.producer::<u64>("bare").unwrap();
    (db, producer, reader)
}

async fn a_transform_and_a_tap(buffer: BufferCfg) {
    let (db, seen) = database(buffer);
    let producer = db.producer::<u64>("in").unwrap();
    let mut expected = 0;
    assert_no_allocation(&format!("produce, a transform and a tap on a {buffer}"), async |n| {
        producer.produce(n).await.unwrap();
        expected += 1;
        while seen.load(Relaxed) < expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
    shut_down(db).await;
}

/// Ends the stages, which may allocate, before the next database is measured.
async fn shut_down(db: AimDb<TokioAdapter>) {
    db.shutdown(std::time::Duration::from_secs(10)).await;
}

async fn produce_without_a_pause(buffer: BufferCfg) {
    let (db, _seen) = database(buffer);
    let producer = db.producer::<u64>("in").unwrap();
    assert_no_allocation(&format!("produce without a pause on a {buffer}"), async |n| {
        producer.produce(n).await.unwrap();
    })
    .await;
    shut_down(db).await;
}

async fn all_calls_of_handles(buffer: BufferCfg) {
    let (_db, producer, mut reader) = bare(buffer);
    assert_no_allocation(&format!("recv on a {buffer}"), async |n| {
        producer.produce(n).await.unwrap();
        assert_eq!(reader.recv().await, Ok(n));
    })
    .await;
    assert_no_allocation(&format!("try_produce and try_recv on a {buffer}"), async |n| {
        producer.try_produce(n).unwrap();
        assert_eq!(reader.try_recv(), Ok(n));
        assert!(reader.try_recv().is_err());
    })
    .await;
    assert_no_allocation(&format!("next_event on a {buffer}"), async |n| {
        producer.produce(n).await.unwrap();
        assert_eq!(reader.next_event().await, Ok(Event::Value(n)));
    })
    .await;
    assert_no_allocation(&format!("Stream on a {buffer}"), async |n| {
        producer.produce(n).await.unwrap();
        assert_eq!(poll_fn(|cx| Pin::new(&mut reader).poll_next(cx)).await, Some(n));
    })
    .await;
    let mut values = Vec::with_capacity(16);
    assert_no_allocation(&format!("produce_many and recv_many on a {buffer}"), async |n| {
        producer.produce_many(n..n + 8).await.unwrap();
        while values.last() != Some(&(n + 7)) {
            reader.recv_many(&mut values, 8).await.unwrap();
        }
        values.clear();
    })
    .await;
    let (_db, producer, reader) = bare(buffer);
    assert_no_allocation(&format!("latest, lagged and pending on a {buffer}"), async |n| {
        if reader.pending() < 16 || buffer != (BufferCfg::SpmcQueue { capacity: 16 }) {
            producer.produce(n).await.unwrap();
        }
        std::hint::black_box((reader.latest(), reader.lagged()));
    })
    .await;
}

/// A reader and a writer, each on a task of its own, wait for each other in turn.
async fn a_wait_for_each_message(buffer: BufferCfg) {
    let (there, ping, mut pings) = bare(buffer);
    let (back, pong, mut pongs) = bare(buffer);
    let echo = tokio::spawn(async move {
        while let Ok(n) = pings.recv().await {
            pong.produce(n).await.unwrap();
        }
    });
    assert_no_allocation(&format!("a round trip between tasks on a {buffer}"), async |n| {
        ping.produce(n).await.unwrap();
        assert_eq!(pongs.recv().await, Ok(n));
    })
    .await;
    shut_down(there).await;
    shut_down(back).await;
    echo.await.unwrap();
}

async fn everything() {
    for buffer in BUFFERS {
        a_transform_and_a_tap(buffer).await;
        produce_without_a_pause(buffer).await;
        all_calls_of_handles(buffer).await;
        a_wait_for_each_message(buffer).await;
    }
}

#[test]
fn a_message_costs_no_allocation() {
    let one = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    one.block_on(everything());
    drop(one);
    let two = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    two.unwrap().block_on(everything());
}
