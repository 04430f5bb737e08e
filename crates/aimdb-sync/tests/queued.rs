//! The queued bridges: a channel and a task between a thread and a record.

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use aimdb_core::{BufferCfg, Event};
use aimdb_sync::{Attach, GetError, OpenError, SetError, SyncHandle, SyncProducer};
use common::*;

/// A queue record of four whose only consumer does not read, and a queued producer of two. Everything is full: four values
/// in the record, one in progress in the task, two in the queue.
fn full() -> (SyncHandle, SyncProducer<u64>, aimdb_sync::SyncConsumer<u64>) {
    let handle = record(QUEUE);
    let stalled = handle.consumer("r").unwrap();
    let producer = handle.producer_with_capacity("r", 2).unwrap();
    for n in 1..=7 {
        producer.set(n).unwrap();
    }
    eventually("the task waits for room", || blocked_writers(&handle, "r") == 1);
    (handle, producer, stalled)
}

#[test]
fn a_full_queue_refuses_times_out_or_blocks_its_caller() {
    watched(|| {
        let (_handle, producer, stalled) = full();
        assert_eq!(producer.try_set(8), Err(SetError::Full(8)));
        assert_eq!(producer.set_with_timeout(9, A_WHILE), Err(SetError::Timeout(9)));
        assert_eq!(producer.set_with_timeout(9, Duration::ZERO), Err(SetError::Timeout(9)));
        let writer = thread::spawn(move || producer.set(10));
        thread::sleep(A_WHILE);
        assert!(!writer.is_finished());
        for n in 1..=7 {
            assert_eq!(stalled.get(), Ok(n));
        }
        assert_eq!(stalled.get(), Ok(10));
        writer.join().unwrap().unwrap();
    });
}

#[test]
fn a_full_queue_holds_back_its_own_callers_only() {
    watched(|| {
        let mut builder = builder();
        for key in ["stalled", "free"] {
            builder.configure::<u64>(key, |reg| {
                reg.buffer(QUEUE);
            });
        }
        let handle = builder.attach().unwrap();
        let _stalled = handle.consumer::<u64>("stalled").unwrap();
        let full = handle.producer_with_capacity::<u64>("stalled", 1).unwrap();
        for n in 0..6 {
            full.set(n).unwrap();
        }
        assert_eq!(full.set_with_timeout(6, A_WHILE), Err(SetError::Timeout(6)));
        let to = handle.producer_with_capacity::<u64>("free", 1).unwrap();
        let from = handle.consumer_with_capacity::<u64>("free", 1).unwrap();
        for n in 0..100 {
            to.set(n).unwrap();
            assert_eq!(from.get(), Ok(n));
        }
        // Another handle to the same record has a queue of its own.
        let other = handle.producer_with_capacity::<u64>("stalled", 1).unwrap();
        assert_eq!(other.try_set(1), Ok(()));
    });
}

#[test]
fn clones_of_a_queued_producer_share_its_queue() {
    let (_handle, producer, _stalled) = full();
    assert_eq!(producer.clone().try_set(8), Err(SetError::Full(8)));
}

#[test]
fn detach_drains_the_values_that_a_queue_has_accepted() {
    watched(|| {
        let seen = Arc::new(AtomicU64::new(0));
        let tapped = Arc::clone(&seen);
        let mut builder = builder();
        builder.configure::<u64>("r", |reg| {
            reg.buffer(QUEUE).tap(move |ctx, consumer| async move {
                let mut reader = consumer.subscribe().unwrap();
                while reader.recv().await.is_ok() {
                    tapped.fetch_add(1, Relaxed);
                    ctx.time().sleep(Duration::from_micros(100)).await;
                }
            });
        });
        let handle = builder.attach().unwrap();
        let producer = handle.producer_with_capacity::<u64>("r", 500).unwrap();
        assert_eq!(producer.set_many(0..400), Ok(400));
        // The queue has no producer any more when the detach drains it.
        drop(producer);
        let report = handle.detach().unwrap();
        assert!(report.is_clean(), "{report}");
        assert_eq!(seen.load(Relaxed), 400);
    });
}

#[test]
fn the_report_counts_every_value_that_a_queue_could_not_forward_in_time() {
    watched(|| {
        for keep_the_handle in [true, false] {
            let handle = stalled_tap();
            let producer = handle.producer_with_capacity::<u64>("r", 10).unwrap();
            // Four values in the record, one in progress in the task, ten in the queue.
            assert_eq!(producer.set_many(0..15), Ok(15));
            let kept = keep_the_handle.then_some(producer);
            let report = handle.detach_with_timeout(Duration::from_millis(300)).unwrap();
            assert!(!report.is_clean());
            assert_eq!(report.total_undelivered(), 15, "handle kept: {keep_the_handle}; {report}");
            drop(kept);
        }
    });
}

fn stalled_tap() -> SyncHandle {
    let mut builder = builder();
    builder.configure::<u64>("r", |reg| {
        reg.buffer(QUEUE).tap(|_ctx, consumer| async move {
            let _reader = consumer.subscribe().unwrap();
            std::future::pending::<()>().await;
        });
    });
    builder.attach().unwrap()
}

#[test]
fn a_stage_that_shuts_the_database_down_loses_nothing_a_queue_has_accepted() {
    watched(|| {
        let seen = Arc::new(AtomicU64::new(0));
        let tapped = Arc::clone(&seen);
        let mut builder = builder();
        builder.configure::<u64>("r", |reg| {
            reg.buffer(QUEUE).tap(move |ctx, consumer| async move {
                let mut reader = consumer.subscribe().unwrap();
                while reader.recv().await.is_ok() {
                    if tapped.fetch_add(1, Relaxed) == 10 {
                        ctx.shutdown();
                    }
                    ctx.time().sleep(Duration::from_millis(1)).await;
                }
            });
        });
        let handle = builder.attach().unwrap();
        let producer = handle.producer_with_capacity::<u64>("r", 100).unwrap();
        let accepted = (0..100).take_while(|n| producer.set(*n).is_ok()).count() as u64;
        let report = handle.detach().unwrap();
        assert_eq!(seen.load(Relaxed) + report.total_undelivered(), accepted, "{report}");
        assert!(report.is_clean(), "{report}");
    });
}

#[test]
fn a_queued_ring_consumer_keeps_the_order_and_reports_lags_in_place() {
    watched(|| {
        let handle = record(RING);
        let producer = handle.producer::<u64>("r").unwrap();
        let consumer = handle.consumer_with_capacity::<u64>("r", 2).unwrap();
        producer.set_many(1..=2).unwrap();
        let observer = || handle.metrics().record("r").unwrap().readers[0].pending;
        eventually("two are in the queue", || observer() == 0);
        producer.set_many(3..=10).unwrap();
        let events: Vec<_> = (0..7).map(|_| consumer.next_event().unwrap()).collect();
        let expected = [1, 2].map(Event::Value).into_iter();
        let expected = expected.chain([Event::Lagged(4)]).chain((7..=10).map(Event::Value));
        assert_eq!(events, expected.collect::<Vec<_>>());
        assert_eq!(consumer.lagged(), 4);
        assert_eq!(consumer.try_get(), Err(GetError::Empty));
    });
}

#[test]
fn a_queued_queue_consumer_holds_producers_back_only_when_it_and_the_record_are_full() {
    watched(|| {
        let handle = record(QUEUE);
        let producer = handle.producer::<u64>("r").unwrap();
        let consumer = handle.consumer_with_capacity::<u64>("r", 3).unwrap();
        (0..4 + 3).for_each(|n| producer.set(n).unwrap());
        assert_eq!(producer.set_with_timeout(7, A_WHILE), Err(SetError::Timeout(7)));
        assert_eq!(consumer.get(), Ok(0));
        producer.set_with_timeout(7, LONG).unwrap();
        for n in 1..=7 {
            assert_eq!(consumer.get(), Ok(n));
        }
        assert_eq!(consumer.lagged(), 0);
    });
}

#[test]
fn a_queued_consumer_never_returns_a_value_that_a_newer_one_has_replaced() {
    watched(|| {
        for cfg in [BufferCfg::SingleLatest, BufferCfg::Mailbox] {
            let handle = record(cfg);
            let producer = handle.producer::<u64>("r").unwrap();
            let consumer = handle.consumer_with_capacity::<u64>("r", 16).unwrap();
            for n in 0..200 {
                producer.set(2 * n).unwrap();
                if n % 3 == 0 {
                    thread::sleep(Duration::from_micros(200));
                }
                producer.set(2 * n + 1).unwrap();
                assert_eq!(consumer.get(), Ok(2 * n + 1), "{cfg}");
            }
            assert_eq!(consumer.lagged(), 200, "{cfg}");
        }
    });
}

#[test]
fn after_detach_a_queued_consumer_returns_the_remaining_values_and_then_closed() {
    watched(|| {
        let handle = record(BufferCfg::SpmcQueue { capacity: 64 });
        let producer = handle.producer_with_capacity::<u64>("r", 8).unwrap();
        let consumer = handle.consumer_with_capacity::<u64>("r", 4).unwrap();
        producer.set_many(0..50).unwrap();
        handle.detach().unwrap();
        assert_eq!(producer.set(99), Err(SetError::Closed(99)));
        assert_eq!(producer.try_set(99), Err(SetError::Closed(99)));
        let mut read = Vec::new();
        assert_eq!(consumer.get_many(&mut read, 20), Ok(20));
        read.extend(consumer.iter());
        assert_eq!(read, (0..50).collect::<Vec<_>>());
        assert_eq!(consumer.get(), Err(GetError::Closed));
        assert_eq!(consumer.try_get(), Err(GetError::Closed));
        assert_eq!(consumer.next_event(), Err(GetError::Closed));
        assert_eq!(consumer.get_with_timeout(Duration::MAX), Err(GetError::Closed));
    });
}

#[test]
fn threads_that_share_queued_handles_divide_the_values() {
    const EACH: u64 = 1_000;
    watched(|| {
        let handle = record(QUEUE);
        let producer = handle.producer_with_capacity::<u64>("r", 3).unwrap();
        let consumer = Arc::new(handle.consumer_with_capacity::<u64>("r", 3).unwrap());
        let read = |_| {
            let consumer = Arc::clone(&consumer);
            thread::spawn(move || consumer.iter().collect::<Vec<_>>())
        };
        let readers: Vec<_> = (0..4).map(read).collect();
        let write = |writer| {
            let producer = producer.clone();
            thread::spawn(move || producer.set_many(writer * EACH..(writer + 1) * EACH).unwrap())
        };
        let writers: Vec<_> = (0..4).map(write).collect();
        writers.into_iter().for_each(|writer| assert_eq!(writer.join().unwrap() as u64, EACH));
        assert!(handle.detach().unwrap().is_clean());
        let mut read: Vec<_> = readers.into_iter().flat_map(|r| r.join().unwrap()).collect();
        read.sort_unstable();
        assert_eq!(read, (0..4 * EACH).collect::<Vec<_>>());
    });
}

#[test]
fn a_queued_get_times_out_and_does_not_wait_with_a_limit_of_zero() {
    let handle = record(QUEUE);
    let consumer = handle.consumer_with_capacity::<u64>("r", 4).unwrap();
    assert_eq!(consumer.try_get(), Err(GetError::Empty));
    assert_eq!(consumer.get_with_timeout(Duration::ZERO), Err(GetError::Timeout));
    assert_eq!(consumer.get_with_timeout(A_WHILE), Err(GetError::Timeout));
}

#[test]
fn a_capacity_of_zero_is_refused_with_the_key() {
    let handle = record(QUEUE);
    let refused = [
        handle.producer_with_capacity::<u64>("r", 0).unwrap_err(),
        handle.consumer_with_capacity::<u64>("r", 0).unwrap_err(),
    ];
    for refused in refused {
        assert_eq!(refused, OpenError::ZeroCapacity { key: "r".into() });
        assert!(refused.to_string().contains("`r`"), "{refused}");
    }
}

#[test]
fn a_queued_producer_accepts_any_capacity() {
    let handle = record(QUEUE);
    let producer = handle.producer_with_capacity::<u64>("r", usize::MAX).unwrap();
    producer.set(1).unwrap();
}

#[test]
fn a_queued_consumer_that_there_is_no_memory_for_is_refused_with_the_key() {
    let handle = record(QUEUE);
    for capacity in [usize::MAX, usize::MAX / 64] {
        let refused = handle.consumer_with_capacity::<u64>("r", capacity).unwrap_err();
        assert_eq!(refused, OpenError::NoMemory { key: "r".into(), capacity });
        assert!(refused.to_string().contains("`r`"), "{refused}");
    }
}

/// The strong count of the payload shows whether a queue or a record still holds a value.
#[test]
fn a_dropped_queued_handle_ends_its_task() {
    watched(|| {
        let mut builder = builder();
        builder.configure::<Arc<()>>("r", |reg| {
            reg.buffer(QUEUE);
        });
        let handle = builder.attach().unwrap();
        let readers = || handle.metrics().record("r").unwrap().readers.len();
        let payload = Arc::new(());
        let producer = handle.producer_with_capacity::<Arc<()>>("r", 2).unwrap();
        for _ in 0..50 {
            // With an empty queue, with values in the queue, and with a full queue.
            for values in [0, 1, 7] {
                let consumer = handle.consumer_with_capacity::<Arc<()>>("r", 2).unwrap();
                for _ in 0..values.min(5) {
                    producer.set(Arc::clone(&payload)).unwrap();
                }
                drop(consumer);
            }
        }
        // The task owns the subscription: once the record has no reader, the task has ended.
        eventually("every reader is gone", || readers() == 0);
        drop(producer);
        eventually("every value is dropped", || Arc::strong_count(&payload) == 1);
        assert!(handle.detach().unwrap().is_clean());
    });
}

#[test]
fn a_dropped_queued_producer_still_delivers_what_it_accepted() {
    watched(|| {
        let handle = record(QUEUE);
        let consumer = handle.consumer::<u64>("r").unwrap();
        let producer = handle.producer_with_capacity::<u64>("r", 20).unwrap();
        assert_eq!(producer.set_many(0..20), Ok(20));
        drop(producer);
        for n in 0..20 {
            assert_eq!(consumer.get(), Ok(n));
        }
    });
}

#[test]
fn a_queued_consumer_whose_clone_panics_does_not_leave_its_caller_waiting() {
    #[derive(Debug)]
    struct Moody(u64);
    impl Clone for Moody {
        fn clone(&self) -> Self {
            assert_ne!(self.0, 13, "not thirteen");
            Self(self.0)
        }
    }
    watched(|| {
        let mut builder = builder();
        builder.configure::<Moody>("r", |reg| {
            reg.buffer(RING);
        });
        let handle = builder.attach().unwrap();
        let producer = handle.producer::<Moody>("r").unwrap();
        let consumer = handle.consumer_with_capacity::<Moody>("r", 4).unwrap();
        let reader = thread::spawn(move || {
            let first = consumer.get().unwrap().0;
            // The record still has the value, and a call that reads it panics too.
            let second = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| consumer.get()));
            (first, second.is_err())
        });
        producer.set(Moody(1)).unwrap();
        thread::sleep(A_WHILE);
        producer.set(Moody(13)).unwrap();
        assert_eq!(reader.join().unwrap(), (1, true));
    });
}

#[test]
fn a_queued_consumer_whose_clone_once_panicked_still_waits_for_values() {
    /// Panics in its first clone anywhere.
    #[derive(Debug)]
    struct Once(u64, Arc<AtomicU64>);
    impl Clone for Once {
        fn clone(&self) -> Self {
            assert_ne!(self.1.fetch_add(1, Relaxed), 0, "the first one");
            Self(self.0, Arc::clone(&self.1))
        }
    }
    watched(|| {
        let mut builder = builder();
        builder.configure::<Once>("r", |reg| {
            reg.buffer(RING);
        });
        let handle = builder.attach().unwrap();
        let producer = handle.producer::<Once>("r").unwrap();
        let consumer = handle.consumer_with_capacity::<Once>("r", 4).unwrap();
        let clones = Arc::new(AtomicU64::new(0));
        producer.set(Once(1, Arc::clone(&clones))).unwrap();
        assert_eq!(consumer.get().unwrap().0, 1);
        let reader = thread::spawn(move || consumer.get().unwrap().0);
        thread::sleep(A_WHILE);
        producer.set(Once(2, clones)).unwrap();
        assert_eq!(reader.join().unwrap(), 2);
    });
}

#[test]
fn a_bridge_opened_during_a_detach_does_not_hold_it_up() {
    watched(|| {
        for _ in 0..50 {
            let handle = Arc::new(record(QUEUE));
            let opener = Arc::clone(&handle);
            let opener = thread::spawn(move || {
                let mut accepted = Vec::new();
                while !opener.is_closed() {
                    let Ok(producer) = opener.producer_with_capacity::<u64>("r", 4) else { break };
                    let _closed = producer.try_set(1);
                    accepted.push(producer);
                }
                accepted.len()
            });
            thread::sleep(Duration::from_millis(2));
            let report = handle.detach().unwrap();
            assert!(report.elapsed < Duration::from_secs(5), "{report}");
            opener.join().unwrap();
        }
    });
}

#[test]
fn a_queued_producer_opened_after_detach_is_closed_and_shutdown_does_not_wait_for_it() {
    watched(|| {
        let handle = record(QUEUE);
        handle.detach().unwrap();
        let producer = handle.producer_with_capacity::<u64>("r", 4).unwrap();
        eventually("the producer is closed", || producer.try_set(1) == Err(SetError::Closed(1)));
        let began = std::time::Instant::now();
        handle.shutdown(LONG * 10).unwrap();
        assert!(began.elapsed() < LONG);
        assert!(handle.consumer_with_capacity::<u64>("r", 4).is_err());
    });
}
