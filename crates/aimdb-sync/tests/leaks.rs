//! Leaks of threads, files and values. One test at a time, because the tests count those of the whole process.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread;
use std::time::Duration;

use aimdb_sync::{Attach, SetError, SyncHandle};
use common::*;

/// Threads of tests that have begun: those that wait for the lock, and the one that holds it. The harness starts them at any
/// time.
static TESTS: AtomicUsize = AtomicUsize::new(0);

struct TestThread;

impl TestThread {
    fn begin() -> Self {
        TESTS.fetch_add(1, SeqCst);
        Self
    }
}

impl Drop for TestThread {
    fn drop(&mut self) {
        TESTS.fetch_sub(1, SeqCst);
    }
}

/// Threads that no test of the harness runs on. A test thread that has just started or is about to exit may be counted
/// briefly.
fn threads_without_tests() -> usize {
    threads().saturating_sub(TESTS.load(SeqCst))
}

/// Runs `body` and asserts that the process has no more threads and files afterwards.
#[track_caller]
fn leaving_nothing_behind(body: impl FnOnce() + Send + 'static) {
    let _counted = TestThread::begin();
    let _alone = alone();
    // Threads and files that the process makes once are made here.
    watched(|| drop(record(QUEUE).detach().unwrap()));
    thread::sleep(A_WHILE);
    let before = (threads_without_tests(), files());
    watched(body);
    eventually("there are no more threads than before", || threads_without_tests() <= before.0);
    assert!(files() <= before.1, "{} files, there were {}", files(), before.1);
}

/// A record whose tap counts the values it reads.
fn counted(seen: &Arc<AtomicU64>) -> SyncHandle {
    let seen = Arc::clone(seen);
    let mut builder = builder();
    builder.configure::<u64>("r", |reg| {
        reg.buffer(QUEUE).tap(move |_ctx, consumer| async move {
            let mut reader = consumer.subscribe().unwrap();
            while reader.recv().await.is_ok() {
                seen.fetch_add(1, Relaxed);
            }
        });
    });
    builder.attach().unwrap()
}

/// `AIMDB_LEAK_DATABASES` is their number: `.ci/run` takes a thousand.
#[test]
fn hundreds_of_databases_leave_neither_threads_nor_files() {
    let databases = std::env::var("AIMDB_LEAK_DATABASES").map_or(200, |text| text.parse().unwrap());
    leaving_nothing_behind(move || {
        let seen = Arc::default();
        for n in 0..databases {
            let handle = counted(&seen);
            let queued = handle.consumer_with_capacity::<u64>("r", 2).unwrap();
            handle.producer_with_capacity::<u64>("r", 2).unwrap().set(n).unwrap();
            if n % 2 == 0 {
                assert!(handle.detach().unwrap().is_clean());
            }
            drop(handle);
            assert_eq!(queued.iter().collect::<Vec<_>>(), [n]);
        }
        assert_eq!(seen.load(Relaxed), databases);
    });
}

#[test]
fn a_graph_that_does_not_build_leaves_neither_threads_nor_files() {
    leaving_nothing_behind(|| {
        for _ in 0..100 {
            let mut builder = builder();
            builder.configure::<u64>("bare", |reg| {
                reg.source(|_ctx, _producer| async {});
            });
            assert!(builder.attach().is_err());
        }
    });
}

#[test]
fn a_detach_under_load_loses_nothing_that_was_accepted() {
    leaving_nothing_behind(|| {
        for round in 0..100 {
            let seen = Arc::default();
            let handle = counted(&seen);
            let accepted = Arc::new(AtomicU64::new(0));
            let writers: Vec<_> = (0..8)
                .map(|n| {
                    let producer = if n % 2 == 0 {
                        handle.producer::<u64>("r").unwrap()
                    } else {
                        handle.producer_with_capacity::<u64>("r", 16).unwrap()
                    };
                    let accepted = Arc::clone(&accepted);
                    thread::spawn(move || {
                        loop {
                            let (taken, ended) = match n {
                                0..4 => match producer.set(n) {
                                    Ok(()) => (1, false),
                                    Err(_closed) => (0, true),
                                },
                                4..6 => match producer.try_set(n) {
                                    Ok(()) => (1, false),
                                    Err(refused) => (0, matches!(refused, SetError::Closed(_))),
                                },
                                _ => match producer.set_many(0..10) {
                                    Ok(ten) => (ten, false),
                                    Err(error) => (error.accepted, true),
                                },
                            };
                            accepted.fetch_add(taken as u64, Relaxed);
                            if ended {
                                return;
                            }
                        }
                    })
                })
                .collect();
            thread::sleep(Duration::from_millis(round % 7));
            let report = handle.detach().unwrap();
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            assert!(report.is_clean(), "{report}");
            assert_eq!(seen.load(Relaxed), accepted.load(Relaxed), "round {round}");
        }
    });
}

#[test]
fn unread_values_are_dropped_with_the_last_handle() {
    leaving_nothing_behind(|| {
        let payload = Arc::new(());
        for cfg in KINDS {
            let mut builder = builder();
            builder.configure::<Arc<()>>("r", |reg| {
                reg.buffer(cfg);
            });
            let handle = builder.attach().unwrap();
            let direct = handle.consumer::<Arc<()>>("r").unwrap();
            let producer = handle.producer::<Arc<()>>("r").unwrap();
            (0..4).for_each(|_| producer.set(Arc::clone(&payload)).unwrap());
            handle.detach().unwrap();
            drop((handle, producer, direct));
            eventually("all values are dropped", || Arc::strong_count(&payload) == 1);
        }
    });
}
