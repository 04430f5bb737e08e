//! Blocking calls allocate nothing once they are under way, parked waits included.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use aimdb_core::BufferCfg;
use common::*;

struct Counting;

/// Of the whole process.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Of this thread: the harness and a runtime thread that has just begun have business of their own.
    static MINE: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.fetch_add(1, Relaxed);
    MINE.set(MINE.get() + 1);
}

// SAFETY: it hands everything on to the system's allocator, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised; it came from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promised; it came from `System`.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// This thread's allocations in `body`, after a first run to warm up.
fn in_steady_state(mut body: impl FnMut()) -> u64 {
    body();
    let before = MINE.get();
    body();
    MINE.get() - before
}

fn set_and_try_get() {
    for cfg in KINDS {
        let handle = record(cfg);
        let producer = handle.producer::<u64>("r").unwrap();
        let consumer = handle.consumer::<u64>("r").unwrap();
        let allocations = in_steady_state(|| {
            for n in 0..1_000 {
                producer.set(n).unwrap();
                assert_eq!(consumer.get(), Ok(n));
            }
        });
        assert_eq!(allocations, 0, "{cfg}");
    }
}

fn many() {
    for cfg in [BufferCfg::SpmcQueue { capacity: 128 }, BufferCfg::SpmcRing { capacity: 128 }] {
        let handle = record(cfg);
        let producer = handle.producer::<u64>("r").unwrap();
        let consumer = handle.consumer::<u64>("r").unwrap();
        let mut into = Vec::with_capacity(100);
        let allocations = in_steady_state(|| {
            for _ in 0..100 {
                producer.set_many(0..100).unwrap();
                into.clear();
                while into.len() < 100 {
                    let room = 100 - into.len();
                    consumer.get_many(&mut into, room).unwrap();
                }
            }
        });
        assert_eq!(allocations, 0, "{cfg}");
    }
}

/// Two threads that park for every value: readers on empty records, and the writer of a queue of one on a full one.
fn parked() {
    let handle = {
        let mut builder = builder();
        for key in ["ping", "pong"] {
            builder.configure::<u64>(key, |reg| {
                reg.buffer(BufferCfg::SpmcQueue { capacity: 1 });
            });
        }
        aimdb_sync::Attach::attach(builder).unwrap()
    };
    let ping = handle.producer::<u64>("ping").unwrap();
    let pinged = handle.consumer::<u64>("ping").unwrap();
    let pong = handle.producer::<u64>("pong").unwrap();
    let ponged = handle.consumer::<u64>("pong").unwrap();
    let turn = Barrier::new(2);
    thread::scope(|scope| {
        let echo = scope.spawn(|| {
            in_steady_state(|| {
                turn.wait();
                (0..1_000).for_each(|_| pong.set(pinged.get().unwrap()).unwrap());
                // Slowly, so that the writer waits for room.
                for n in 0..200 {
                    if n % 10 == 0 {
                        thread::yield_now();
                    }
                    pinged.get().unwrap();
                }
            })
        });
        let allocations = in_steady_state(|| {
            turn.wait();
            for n in 0..1_000 {
                ping.set(n).unwrap();
                assert_eq!(ponged.get_with_timeout(LONG), Ok(n));
            }
            (0..200).for_each(|n| ping.set_with_timeout(n, LONG).unwrap());
        });
        assert_eq!((allocations, echo.join().unwrap()), (0, 0), "parked");
    });
}

fn queued() {
    let handle = record(BufferCfg::SpmcQueue { capacity: 64 });
    let producer = handle.producer_with_capacity::<u64>("r", 64).unwrap();
    let consumer = handle.consumer_with_capacity::<u64>("r", 64).unwrap();
    let pass = || {
        for n in 0..2_000 {
            producer.set(n).unwrap();
            assert_eq!(consumer.get(), Ok(n));
        }
    };
    pass();
    let before = ALLOCATIONS.load(Relaxed);
    pass();
    let allocations = ALLOCATIONS.load(Relaxed) - before;
    // Tokio's channel keeps values in blocks of 32 that it makes and mostly reuses.
    assert!(allocations <= 2_000 / 32 + 1, "{allocations} for 2000 values");
}

/// One after the other: the counter is the process's.
#[test]
fn steady_set_and_get_allocate_nothing() {
    watched(|| {
        set_and_try_get();
        many();
        parked();
        queued();
    });
}
