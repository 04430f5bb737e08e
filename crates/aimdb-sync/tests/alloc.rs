//! Blocking calls allocate nothing in their steady state, parked waits included; a thread's first wait allocates once.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use aimdb_core::BufferCfg;
use aimdb_sync::{GetError, SetError, WaitLimit, wait_any};
use common::*;

/// The limit of a wait that times out.
const BRIEF: Duration = Duration::from_millis(2);

struct Counting;

/// Allocations of the whole process.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Allocations of this thread: the harness and a starting runtime thread allocate too.
    static MINE: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.fetch_add(1, Relaxed);
    MINE.set(MINE.get() + 1);
}

// SAFETY: every call is forwarded to the system's allocator, which keeps the contract; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`; `System` allocated `ptr`.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`; `System` allocated `ptr`.
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

/// Two threads that park for every value: readers of empty records, and the writer of a full queue of one.
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
                // The reader yields now and then, so that the writer waits for room.
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

/// This thread's allocations in `body`, the first time.
fn at_first(body: impl FnOnce()) -> u64 {
    let before = MINE.get();
    body();
    MINE.get() - before
}

/// The first call of a thread that finds no value or no room allocates the thread's waker, even if the limit is zero. The thread
/// keeps the waker.
fn first_wait_of_a_thread() {
    let handle = record(BufferCfg::SpmcQueue { capacity: 1 });
    let producer = handle.producer::<u64>("r").unwrap();
    let consumer = handle.consumer::<u64>("r").unwrap();
    let get = |limit| assert_eq!(consumer.get_with_timeout(limit), Err(GetError::Timeout));
    let set = |limit| {
        producer.set(1).unwrap();
        assert_eq!(producer.set_with_timeout(2, limit), Err(SetError::Timeout(2)));
        assert_eq!(consumer.get(), Ok(1));
    };
    let any =
        |limit| assert_eq!(wait_any(&[&consumer], WaitLimit::after(limit)), Err(GetError::Timeout));
    let need_not_wait = || {
        assert_eq!(consumer.try_get(), Err(GetError::Empty));
        producer.set(0).unwrap();
        assert_eq!(producer.try_set(1), Err(SetError::Full(1)));
        assert_eq!(consumer.get(), Ok(0));
    };
    let calls: [&(dyn Fn(Duration) + Sync); 3] = [&get, &set, &any];
    for first in calls {
        for limit in [Duration::ZERO, BRIEF] {
            let counted = || {
                [
                    at_first(need_not_wait),
                    at_first(|| first(limit)),
                    at_first(|| calls.iter().for_each(|call| call(BRIEF))),
                ]
            };
            let counted = thread::scope(|scope| scope.spawn(counted).join().unwrap());
            assert_eq!(counted, [0, 1, 0]);
        }
    }
}

/// Waits inside a wait share a second waker, which the thread does not keep.
fn waits_inside_a_wait() {
    let handle = record(BufferCfg::SpmcQueue { capacity: 8 });
    let producer = handle.producer::<u64>("r").unwrap();
    let reader = handle.consumer::<u64>("r").unwrap();
    let other = record(BufferCfg::SpmcQueue { capacity: 1 });
    let empty = other.consumer::<u64>("r").unwrap();
    let allocations = in_steady_state(|| {
        let values = (0..3).inspect(|_| {
            assert_eq!(empty.get_with_timeout(BRIEF), Err(GetError::Timeout));
        });
        assert_eq!(producer.set_many(values), Ok(3));
        (0..3).for_each(|n| assert_eq!(reader.get(), Ok(n)));
    });
    assert_eq!(allocations, 1);
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
    // Tokio's channel keeps values in blocks of 32, which it allocates and mostly reuses.
    assert!(allocations <= 2_000 / 32 + 1, "{allocations} for 2000 values");
}

/// One test for all cases, one after the other: the counter belongs to the whole process.
#[test]
fn steady_set_and_get_allocate_nothing() {
    watched(|| {
        set_and_try_get();
        many();
        parked();
        first_wait_of_a_thread();
        waits_inside_a_wait();
        queued();
    });
}
