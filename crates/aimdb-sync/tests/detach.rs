//! Detaching and shutting down: blocked threads, dropped handles, panics, unresponsive stages.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use aimdb_core::health::{DbState, StageState};
use aimdb_core::{BufferCfg, RuntimeContext};
use aimdb_sync::{Attach, AttachOptions, DetachError, GetError, OpenError, SetError, SyncHandle};
use aimdb_tokio_adapter::TokioAdapter;
use common::*;

type Consumer = aimdb_core::Consumer<u64, TokioAdapter>;

/// Two queue records, `full` and `empty`.
fn full_and_empty() -> SyncHandle {
    let mut builder = builder();
    for key in ["full", "empty"] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(QUEUE);
        });
    }
    builder.attach().unwrap()
}

#[test]
fn detach_wakes_eight_threads_that_are_blocked_in_get_and_set() {
    watched(|| {
        for queued in [false, true] {
            let handle = full_and_empty();
            let stalled = handle.consumer::<u64>("full").unwrap();
            let (producer, consumer) = if queued {
                (
                    handle.producer_with_capacity::<u64>("full", 1).unwrap(),
                    handle.consumer_with_capacity::<u64>("empty", 1).unwrap(),
                )
            } else {
                (handle.producer::<u64>("full").unwrap(), handle.consumer::<u64>("empty").unwrap())
            };
            let accepted = if queued { 6 } else { 4 };
            producer.set_many(0..accepted).unwrap();
            eventually("nothing more fits", || match producer.try_set(0) {
                Err(SetError::Full(0)) => true,
                other => panic!("{other:?}"),
            });
            let consumer = Arc::new(consumer);
            let getters: Vec<_> = (0..4)
                .map(|_| {
                    let consumer = Arc::clone(&consumer);
                    thread::spawn(move || consumer.get())
                })
                .collect();
            let setters: Vec<_> = (100..104)
                .map(|n| {
                    let producer = producer.clone();
                    thread::spawn(move || producer.set(n))
                })
                .collect();
            if queued {
                thread::sleep(A_WHILE);
            } else {
                eventually("four wait", || blocked_writers(&handle, "full") == 4);
            }
            handle.detach_with_timeout(Duration::from_millis(200)).unwrap();
            for getter in getters {
                assert_eq!(getter.join().unwrap(), Err(GetError::Closed));
            }
            for (setter, n) in setters.into_iter().zip(100..) {
                assert_eq!(setter.join().unwrap(), Err(SetError::Closed(n)));
            }
            assert_eq!(stalled.iter().count(), 4, "the values in the record stay readable");
        }
    });
}

#[test]
fn a_set_that_is_blocked_while_there_is_room_in_time_is_accepted_or_refused_but_never_both() {
    watched(|| {
        for _ in 0..30 {
            let handle = record(QUEUE);
            let consumer = handle.consumer::<u64>("r").unwrap();
            let producer = handle.producer::<u64>("r").unwrap();
            let writer = thread::spawn(move || {
                (0_u64..).take_while(|n| producer.set(*n).is_ok()).count() as u64
            });
            let reader = thread::spawn(move || consumer.iter().count() as u64);
            thread::sleep(Duration::from_millis(2));
            handle.detach().unwrap();
            assert_eq!(writer.join().unwrap(), reader.join().unwrap());
        }
    });
}

#[test]
fn detach_from_two_threads_is_one_detach() {
    watched(|| {
        let handle = Arc::new(record(QUEUE));
        let other = Arc::clone(&handle);
        let other = thread::spawn(move || other.detach());
        let report = handle.detach().unwrap();
        assert_eq!(other.join().unwrap().unwrap(), report);
        assert_eq!(handle.detach().unwrap(), report);
        assert_eq!(handle.detach_with_timeout(Duration::ZERO).unwrap(), report);
        assert_eq!(handle.shutdown(LONG).unwrap(), report);
    });
}

#[test]
fn shutdown_and_then_detach_give_the_same_report() {
    watched(|| {
        let handle = record(QUEUE);
        let consumer = handle.consumer::<u64>("r").unwrap();
        let report = handle.shutdown(LONG).unwrap();
        assert!(handle.is_closed());
        assert_eq!(consumer.get(), Err(GetError::Closed));
        assert_eq!(handle.health().state, DbState::Stopped);
        assert_eq!(handle.detach().unwrap(), report);
    });
}

#[test]
fn after_detach_producers_return_the_value_and_consumers_the_remaining_values() {
    watched(|| {
        for cfg in KINDS {
            let handle = record(cfg);
            let producer = handle.producer::<u64>("r").unwrap();
            let consumer = handle.consumer::<u64>("r").unwrap();
            producer.set(1).unwrap();
            handle.detach().unwrap();
            assert_eq!(producer.set(2), Err(SetError::Closed(2)), "{cfg}");
            assert_eq!(producer.try_set(2), Err(SetError::Closed(2)), "{cfg}");
            assert_eq!(producer.set_with_timeout(2, LONG), Err(SetError::Closed(2)), "{cfg}");
            assert_eq!(producer.set_many([2, 3]).unwrap_err().accepted, 0, "{cfg}");
            assert_eq!(consumer.get(), Ok(1), "{cfg}");
            assert_eq!(consumer.get(), Err(GetError::Closed), "{cfg}");
            assert_eq!(consumer.try_get(), Err(GetError::Closed), "{cfg}");
            assert_eq!(consumer.get_many(&mut Vec::new(), 3), Err(GetError::Closed), "{cfg}");
            let late = handle.consumer::<u64>("r").unwrap_err();
            assert!(matches!(late, OpenError::Subscribe(_)), "{late}");
        }
    });
}

#[test]
fn handles_outlive_the_sync_handle() {
    watched(|| {
        let handle = record(QUEUE);
        let producer = handle.producer::<u64>("r").unwrap();
        let bridge = handle.producer_with_capacity::<u64>("r", 4).unwrap();
        let consumer = handle.consumer::<u64>("r").unwrap();
        producer.set(1).unwrap();
        bridge.set(2).unwrap();
        drop(handle);
        assert_eq!(producer.set(3), Err(SetError::Closed(3)));
        assert_eq!(bridge.set(3), Err(SetError::Closed(3)));
        assert_eq!(consumer.iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(consumer.latest(), None);
        assert_eq!(consumer.lagged(), 0);
    });
}

#[test]
fn dropping_a_sync_handle_under_load_unblocks_every_thread() {
    watched(|| {
        for _ in 0..20 {
            let handle = full_and_empty();
            let mut threads = Vec::new();
            for n in 0..4 {
                let direct = handle.producer::<u64>("full").unwrap();
                let bridge = handle.producer_with_capacity::<u64>("full", 4).unwrap();
                let producer = if n % 2 == 0 { direct } else { bridge };
                threads.push(thread::spawn(move || while producer.set(n).is_ok() {}));
                let direct = handle.consumer::<u64>("full").unwrap();
                let bridge = handle.consumer_with_capacity::<u64>("full", 4).unwrap();
                let consumer = if n % 2 == 0 { bridge } else { direct };
                threads.push(thread::spawn(move || consumer.iter().for_each(drop)));
            }
            thread::sleep(Duration::from_millis(5));
            drop(handle);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    });
}

#[test]
fn a_thread_that_panics_with_a_handle_does_not_affect_the_others() {
    watched(|| {
        let handle = record(BufferCfg::SpmcQueue { capacity: 1 });
        let producer = handle.producer::<u64>("r").unwrap();
        let consumer = Arc::new(handle.consumer::<u64>("r").unwrap());
        let (to, from) = (producer.clone(), Arc::clone(&consumer));
        let panics = thread::spawn(move || {
            to.set(1).unwrap();
            assert_eq!(from.get(), Ok(2), "made to fail");
        });
        assert!(panics.join().is_err());
        producer.set(3).unwrap();
        assert_eq!(consumer.get(), Ok(3));

        // An iterator that panics in the middle of `set_many`.
        let bad = (0..).inspect(|n| assert!(*n < 1, "made to fail"));
        assert!(catch_unwind(AssertUnwindSafe(|| producer.set_many(bad))).is_err());
        let read: Vec<_> = std::iter::from_fn(|| consumer.try_get().ok()).collect();
        assert!(read.len() <= 1, "{read:?}");
        producer.set(4).unwrap();
        assert_eq!(consumer.get(), Ok(4));
        assert!(handle.detach().unwrap().is_clean());
    });
}

#[test]
fn a_tap_that_panics_is_named_and_the_other_readers_continue() {
    watched(|| {
        async fn fails(_ctx: RuntimeContext<TokioAdapter>, consumer: Consumer) {
            let mut reader = consumer.subscribe().unwrap();
            let n = reader.recv().await.unwrap();
            panic!("failed at {n}");
        }
        let mut builder = builder();
        builder.configure::<u64>("r", |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 1 }).tap(fails);
        });
        let handle = builder.attach().unwrap();
        let consumer = handle.consumer::<u64>("r").unwrap();
        let producer = handle.producer::<u64>("r").unwrap();
        // The writer is blocked when the tap fails, because the test's own consumer is slow.
        let writer = thread::spawn(move || producer.set_many(7..107));
        eventually("the tap has failed", || {
            let health = handle.health();
            health.stage("r", "fails").unwrap().state == StageState::Failed
        });
        assert_eq!(handle.health().failures()[0].cause, "panicked: failed at 7");
        for n in 7..107 {
            assert_eq!(consumer.get(), Ok(n));
        }
        assert_eq!(writer.join().unwrap(), Ok(100));
        let report = handle.detach().unwrap();
        assert_eq!(report.failures[0].cause, "panicked: failed at 7");
    });
}

#[test]
fn a_failure_that_stops_the_database_closes_blocked_calls() {
    watched(|| {
        let mut builder = builder();
        builder.stop_on_failure();
        builder.configure::<u64>("r", |reg| {
            reg.buffer(QUEUE).tap(|_ctx, consumer| async move {
                consumer.subscribe().unwrap().recv().await.ok();
                panic!("the tap fails");
            });
        });
        builder.configure::<u64>("other", |reg| {
            reg.buffer(QUEUE);
        });
        let handle = builder.attach().unwrap();
        let waits = handle.consumer::<u64>("other").unwrap();
        let waits = thread::spawn(move || waits.get());
        let queued = handle.consumer_with_capacity::<u64>("other", 2).unwrap();
        let queued = thread::spawn(move || queued.get());
        let bridge = handle.producer_with_capacity::<u64>("r", 2).unwrap();
        handle.producer::<u64>("r").unwrap().set(1).unwrap();
        assert_eq!(waits.join().unwrap(), Err(GetError::Closed));
        assert_eq!(queued.join().unwrap(), Err(GetError::Closed));
        eventually("producers too", || bridge.set(1) == Err(SetError::Closed(1)));
        let report = handle.detach().unwrap();
        assert_eq!(report.failures[0].cause, "panicked: the tap fails");
    });
}

#[test]
fn a_stage_may_shut_the_database_down() {
    watched(|| {
        let mut builder = builder();
        builder.configure::<u64>("r", |reg| {
            reg.buffer(QUEUE).tap(|ctx, consumer| async move {
                let mut reader = consumer.subscribe().unwrap();
                while let Ok(n) = reader.recv().await {
                    if n == 99 {
                        ctx.shutdown();
                    }
                }
            });
        });
        let handle = builder.attach().unwrap();
        let consumer = handle.consumer::<u64>("r").unwrap();
        let reader = thread::spawn(move || consumer.iter().count() as u64);
        let producer = handle.producer::<u64>("r").unwrap();
        let accepted = (0_u64..).take_while(|n| producer.set(*n).is_ok()).count() as u64;
        assert!(accepted >= 100);
        assert_eq!(reader.join().unwrap(), accepted);
        eventually("it has stopped", || handle.health().state == DbState::Stopped);
        assert!(handle.detach().unwrap().is_clean());
    });
}

/// A record `slow` with a stage that blocks its thread (a source or a tap), and another record `other`.
fn with_a_stage_that_blocks(
    latch: &Latch,
    source: bool,
    options: AttachOptions,
) -> (SyncHandle, Arc<AtomicU64>) {
    let entered = Arc::new(AtomicU64::new(0));
    let mut builder = builder();
    let (latch, inside) = (latch.clone(), Arc::clone(&entered));
    builder.configure::<u64>("slow", |reg| {
        reg.buffer(QUEUE);
        if source {
            reg.source(move |_ctx, _producer| async move {
                inside.fetch_add(1, Relaxed);
                latch.block();
            });
        } else {
            reg.tap(move |_ctx, consumer| async move {
                let mut reader = consumer.subscribe().unwrap();
                while reader.recv().await.is_ok() {
                    inside.fetch_add(1, Relaxed);
                    latch.block();
                }
            });
        }
    });
    builder.configure::<u64>("other", |reg| {
        reg.buffer(QUEUE);
    });
    let handle = builder.attach_with(options).unwrap();
    if !source {
        handle.producer::<u64>("slow").unwrap().set(1).unwrap();
    }
    eventually("the stage blocks", || entered.load(Relaxed) == 1);
    (handle, entered)
}

#[test]
fn detach_reports_an_unresponsive_stage_by_name_and_in_time() {
    watched(|| {
        for (source, name) in [(false, "slow/tap"), (true, "slow/source")] {
            let latch = Latch::default();
            let (handle, _) = with_a_stage_that_blocks(&latch, source, AttachOptions::new());
            let consumer = handle.consumer::<u64>("other").unwrap();
            let bridge = handle.consumer_with_capacity::<u64>("other", 1).unwrap();
            let stalled = handle.producer_with_capacity::<u64>("other", 1).unwrap();
            stalled.set(1).unwrap();
            let blocked = [
                thread::spawn(move || consumer.iter().count()),
                thread::spawn(move || bridge.iter().count()),
                thread::spawn(move || (0..).take_while(|n| stalled.set(*n).is_ok()).count()),
            ];
            let began = Instant::now();
            let outcome = handle.detach_with_timeout(Duration::from_millis(300));
            let took = began.elapsed();
            let Err(DetachError::Unresponsive { report, stages }) = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(stages, [name]);
            assert_eq!(report.unresponsive, [name]);
            // The deadline, two seconds, and a margin for a loaded machine.
            assert!(took < Duration::from_secs(8), "{took:?}");
            let [direct, bridge, setter] = blocked;
            assert_eq!(
                direct.join().unwrap(),
                0,
                "woken though the runtime thread is unresponsive"
            );
            let again = handle.detach().unwrap_err();
            assert!(again.to_string().contains(name), "{again}");
            latch.open();
            // These two depend on tasks of the runtime thread, which continues now.
            bridge.join().unwrap();
            setter.join().unwrap();
            let _after = handle.shutdown(LONG);
        }
    });
}

#[test]
fn shutdown_names_an_unresponsive_stage_and_detach_succeeds_once_the_stage_continues() {
    watched(|| {
        let latch = Latch::default();
        let (handle, _) = with_a_stage_that_blocks(&latch, false, AttachOptions::new());
        let unresponsive = handle.shutdown(Duration::from_millis(100)).unwrap_err();
        assert!(unresponsive.to_string().contains("slow/tap"), "{unresponsive}");
        latch.open();
        assert_eq!(
            handle.detach().unwrap().unresponsive,
            ["slow/tap"],
            "the report of the shutdown"
        );
    });
}

#[test]
fn dropping_a_handle_whose_thread_is_unresponsive_returns() {
    watched(|| {
        let latch = Latch::default();
        let options = AttachOptions::new().drop_deadline(Duration::from_millis(100));
        let (handle, _) = with_a_stage_that_blocks(&latch, true, options);
        let consumer = handle.consumer::<u64>("other").unwrap();
        drop(handle);
        assert_eq!(consumer.get(), Err(GetError::Closed));
        latch.open();
    });
}

#[test]
fn a_tap_that_stops_reading_is_aborted_and_its_undelivered_values_are_counted() {
    watched(|| {
        let mut builder = builder();
        builder.configure::<u64>("r", |reg| {
            reg.buffer(QUEUE).tap(|_ctx, consumer| async move {
                let mut reader = consumer.subscribe().unwrap();
                reader.recv().await.ok();
                std::future::pending::<()>().await;
            });
        });
        let handle = builder.attach().unwrap();
        let producer = handle.producer::<u64>("r").unwrap();
        producer.set_many(0..5).unwrap();
        eventually("one value is in progress in the tap", || producer.try_set(5).is_err());
        let report = handle.detach_with_timeout(Duration::from_millis(100)).unwrap();
        assert_eq!(report.aborted, ["r/tap"]);
        assert_eq!(
            (report.undelivered[0].unread, report.undelivered[0].interrupted),
            (4, 1),
            "{report}"
        );
    });
}

#[test]
fn a_handle_dropped_by_a_stage_on_the_runtime_thread_ends_the_database() {
    watched(|| {
        let slot: Arc<Mutex<Option<SyncHandle>>> = Arc::default();
        let mut builder = builder();
        let inside = Arc::clone(&slot);
        builder.configure::<u64>("r", |reg| {
            reg.buffer(QUEUE).tap(move |_ctx, consumer| async move {
                let mut reader = consumer.subscribe().unwrap();
                reader.recv().await.unwrap();
                drop(inside.lock().unwrap().take());
                while reader.recv().await.is_ok() {}
            });
        });
        let options = AttachOptions::new().thread_name("from-inside");
        let handle = builder.attach_with(options).unwrap();
        let producer = handle.producer::<u64>("r").unwrap();
        let consumer = handle.consumer::<u64>("r").unwrap();
        *slot.lock().unwrap() = Some(handle);
        producer.set(1).unwrap();
        assert_eq!((consumer.get(), consumer.get()), (Ok(1), Err(GetError::Closed)));
        eventually("producers too", || producer.set(2) == Err(SetError::Closed(2)));
        eventually("its thread has exited", || {
            let named = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
            let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
            tasks.filter_map(|task| named(task).ok()).all(|name| name.trim() != "from-inside")
        });
    });
}
