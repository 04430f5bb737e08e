//! Values that a reader looks at in their place: `recv_with` and its relatives.
#![cfg(not(aimdb_loom))]

mod common;

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aimdb_core::{BufferCfg, Event, Restart, TryRecvError};
use aimdb_testing::{Counted, InstanceCounter};
use common::*;

const KINDS: [BufferCfg; 4] = [RING, QUEUE, LATEST, MAILBOX];

fn number(value: &Counted) -> u64 {
    value.number
}

#[test]
fn a_look_clones_nothing_and_each_value_is_dropped_once() {
    for cfg in KINDS {
        let instances = InstanceCounter::new();
        let (db, producer, consumer) = open::<Counted>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        for n in 0..20 {
            assert_eq!(reader.try_recv_with(number), Err(TryRecvError::Empty), "{cfg}");
            assert!(producer.try_produce(instances.value(n)).is_ok(), "{cfg}");
            assert_eq!(reader.try_recv_with(number), Ok(n), "{cfg}");
        }
        assert_eq!((instances.cloned(), reader.lagged(), reader.pending()), (0, 0, 0), "{cfg}");
        close(&db);
        assert_eq!(reader.try_recv_with(number), Err(TryRecvError::Closed), "{cfg}");
        drop((db, producer, consumer, reader));
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}

#[test]
fn a_look_waits_and_reports_the_close() {
    for cfg in KINDS {
        let (db, producer, consumer) = open::<u64>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        for n in 0..3 {
            let wakes = Arc::new(CountingWaker::default());
            let waker = Waker::from(Arc::clone(&wakes));
            let mut recv = pin!(reader.recv_with(|value| value * 2));
            let mut poll = || recv.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(poll().is_pending(), "{cfg}");
            assert!(producer.try_produce(n).is_ok());
            assert_eq!((wakes.take_wakes(), poll()), (1, Poll::Ready(Ok(n * 2))), "{cfg}");
        }
        // Dropped while it waits: the value is the next reader's.
        assert!(poll_once(reader.recv_with(|value| *value), Waker::noop()).is_pending());
        assert!(producer.try_produce(7).is_ok());
        assert_eq!(reader.try_recv(), Ok(7), "{cfg}");
        close(&db);
        let end = poll_once(reader.recv_with(|value| *value), Waker::noop());
        assert!(matches!(end, Poll::Ready(Err(_))), "{cfg}");
    }
}

#[test]
fn a_value_at_which_the_look_panics_stays() {
    for cfg in KINDS {
        let instances = InstanceCounter::new();
        let (db, producer, consumer) = open::<Counted>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        assert!(producer.try_produce(instances.value(1)).is_ok());
        assert!(panics(|| reader.try_recv_with(|_| panic!("the look"))), "{cfg}");
        assert_eq!(reader.pending(), 1, "{cfg}");
        // The record goes on for others, too.
        if !matches!(cfg, QUEUE) {
            assert_eq!(consumer.latest().map(|value| value.number), Some(1), "{cfg}");
        }
        assert_eq!(reader.try_recv_with(number), Ok(1), "{cfg}");
        assert!(producer.try_produce(instances.value(2)).is_ok());
        assert_eq!(reader.try_recv_with(number), Ok(2), "{cfg}");
        drop((db, producer, consumer, reader));
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}

#[test]
fn a_look_sees_the_value_behind_a_reported_lag_also_after_a_panic() {
    for cfg in [RING, LATEST, MAILBOX] {
        let instances = InstanceCounter::new();
        let (db, producer, consumer) = open::<Counted>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        (0..10).for_each(|n| assert!(producer.try_produce(instances.value(n)).is_ok()));
        let lag = poll_once(reader.next_event(), Waker::noop());
        assert!(matches!(lag, Poll::Ready(Ok(Event::Lagged(6 | 9)))), "{cfg}");
        // Newer ones must not overtake it.
        (10..20).for_each(|n| assert!(producer.try_produce(instances.value(n)).is_ok()));
        let before = instances.cloned();
        assert!(panics(|| reader.try_recv_with(|_| panic!("the look"))), "{cfg}");
        let behind = if cfg == RING { 6 } else { 9 };
        assert_eq!(reader.try_recv_with(number), Ok(behind), "{cfg}");
        assert_eq!(instances.cloned(), before, "{cfg}");
        let next = if cfg == RING { 16 } else { 19 };
        assert_eq!(reader.try_recv_with(number), Ok(next), "{cfg}");
        drop((db, producer, consumer, reader));
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}

/// The value behind a lag stays the reader's next one while a thread looks at it: a thread that comes meanwhile does not
/// fall asleep for it, as nobody would wake it if the look panics.
#[test]
fn a_thread_that_comes_during_a_look_at_the_value_behind_a_lag_sees_it() {
    for cfg in [LATEST, MAILBOX] {
        let (_db, producer, consumer) = open::<u64>(cfg);
        let reader = consumer.subscription().unwrap().into_shared();
        (0..3).for_each(|n| producer.try_produce(n).unwrap());
        assert_eq!(reader.try_event(), Ok(Event::Lagged(2)), "{cfg}");
        let look = || {
            reader.try_value_with(|_| {
                let mut ticket = aimdb_core::buffer::WaitTicket::default();
                let mut cx = Context::from_waker(Waker::noop());
                assert!(reader.poll_ready(&mut ticket, &mut cx).is_ready(), "{cfg}");
                assert_eq!(reader.pending(), 1, "{cfg}");
                panic!("the look")
            })
        };
        assert!(panics(look), "{cfg}");
        assert_eq!((reader.pending(), reader.try_value()), (1, Ok(2)), "{cfg}");
    }
}

/// A value whose drop panics if it is 3.
#[derive(Clone, Debug)]
struct Fragile(u64);

impl Drop for Fragile {
    fn drop(&mut self) {
        if self.0 == 3 && !std::thread::panicking() {
            panic!("three breaks");
        }
    }
}

#[test]
fn a_restarted_stage_loses_nothing_if_a_panic_followed_the_receipt() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&seen);
    let (runtime, mut builder) = builder();
    builder.configure::<Fragile>("record", |reg| {
        let policy = Restart::on_failure().backoff(Duration::ZERO, Duration::ZERO);
        reg.buffer(BufferCfg::SpmcQueue { capacity: 8 }).tap_with(policy, move |_, record| {
            let list = Arc::clone(&list);
            async move {
                let mut reader = record.subscribe().unwrap();
                while reader.recv_with(|value| list.lock().unwrap().push(value.0)).await.is_ok() {}
            }
        });
    });
    let db = builder.build().unwrap();
    let producer = db.producer::<Fragile>("record").unwrap();
    (0..6).for_each(|n| producer.try_produce(Fragile(n)).unwrap());
    db.start();
    runtime.advance(Duration::from_secs(1));
    assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_restarted_stage_skips_the_value_at_which_a_look_without_a_wait_panicked() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&seen);
    let (runtime, mut builder) = builder();
    builder.configure::<u64>("record", |reg| {
        let policy = Restart::on_failure().backoff(Duration::ZERO, Duration::ZERO);
        reg.buffer(BufferCfg::SpmcRing { capacity: 8 }).tap_with(policy, move |ctx, record| {
            let list = Arc::clone(&list);
            async move {
                let mut reader = record.subscribe().unwrap();
                let look = |value: &u64| {
                    assert_ne!(*value, 3, "three is refused");
                    list.lock().unwrap().push(*value);
                };
                loop {
                    while reader.try_recv_with(look).is_ok() {}
                    ctx.time().sleep(Duration::from_millis(1)).await;
                }
            }
        });
    });
    let db = builder.build().unwrap();
    let producer = db.producer::<u64>("record").unwrap();
    (0..6).for_each(|n| producer.try_produce(n).unwrap());
    db.start();
    runtime.advance(Duration::from_secs(1));
    assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 4, 5]);
    assert_eq!(db.health().stage("record", "tap").unwrap().restarts, 1);
}

#[test]
fn readers_by_reference_and_by_value_receive_the_same_values() {
    for cfg in [RING, QUEUE, LATEST] {
        let instances = InstanceCounter::new();
        let (db, producer, consumer) = open::<Counted>(cfg);
        let mut readers: Vec<_> = (0..3).map(|_| consumer.subscribe().unwrap()).collect();
        for n in 0..30 {
            assert!(producer.try_produce(instances.value(n)).is_ok());
            let first = n as usize % 3;
            for at in [first, (first + 1) % 3, (first + 2) % 3] {
                let received = match at {
                    0 => readers[at].try_recv().map(|value| value.number),
                    _ => readers[at].try_recv_with(number),
                };
                assert_eq!(received, Ok(n), "{cfg}");
            }
        }
        drop((db, producer, consumer, readers));
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}

#[test]
fn threads_look_at_each_value_once() {
    for cfg in KINDS {
        let (db, producer, consumer) = open::<u64>(cfg);
        let reader = consumer.subscription().unwrap().into_shared();
        let seen: Vec<u64> = std::thread::scope(|scope| {
            let look = || {
                let mut seen = Vec::new();
                loop {
                    match reader.try_value_with(|value| *value) {
                        Ok(value) => seen.push(value),
                        Err(TryRecvError::Empty) => std::thread::yield_now(),
                        Err(TryRecvError::Closed) => return seen,
                    }
                }
            };
            let threads = [scope.spawn(look), scope.spawn(look)];
            for n in 0..2_000_u64 {
                while producer.try_produce(n).is_err() {
                    std::thread::yield_now();
                }
            }
            close(&db);
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let distinct: std::collections::BTreeSet<u64> = seen.iter().copied().collect();
        assert_eq!(distinct.len(), seen.len(), "{cfg}: a value was seen twice");
        assert_eq!(seen.len() as u64 + reader.lagged(), 2_000, "{cfg}");
    }
}

#[test]
fn a_restarted_stage_skips_the_value_at_which_its_look_panicked() {
    for cfg in [BufferCfg::SpmcRing { capacity: 8 }, BufferCfg::SpmcQueue { capacity: 8 }] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&seen);
        let (runtime, mut builder) = builder();
        builder.configure::<u64>("record", |reg| {
            let policy = Restart::on_failure().backoff(Duration::ZERO, Duration::ZERO);
            reg.buffer(cfg).tap_with(policy, move |_, record| {
                let list = Arc::clone(&list);
                async move {
                    let mut reader = record.subscribe().unwrap();
                    let look = |value: &u64| {
                        assert_ne!(*value, 3, "three is refused");
                        list.lock().unwrap().push(*value);
                    };
                    while reader.recv_with(look).await.is_ok() {}
                }
            });
        });
        let db = builder.build().unwrap();
        let producer = db.producer::<u64>("record").unwrap();
        (0..6).for_each(|n| producer.try_produce(n).unwrap());
        db.start();
        runtime.advance(Duration::from_secs(1));
        assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 4, 5], "{cfg}");
        assert_eq!(db.health().stage("record", "tap").unwrap().restarts, 1, "{cfg}");
    }
}
