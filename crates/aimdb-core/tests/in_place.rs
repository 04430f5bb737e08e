//! Values that a writer makes in their place: `produce_with` and `try_produce_with`.
#![cfg(not(aimdb_loom))]

mod common;

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use aimdb_core::{BufferCfg, Closed, TryProduceError};
use aimdb_testing::InstanceCounter;
use common::*;

const KINDS: [BufferCfg; 4] = [RING, QUEUE, LATEST, MAILBOX];

#[test]
fn a_value_is_made_once_and_only_if_it_is_accepted() {
    for cfg in KINDS {
        let made = Cell::new(0_u64);
        let make = || {
            made.set(made.get() + 1);
            made.get()
        };
        let (db, producer, consumer) = open::<u64>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        for n in 1..=9 {
            assert_eq!(producer.try_produce_with(make), Ok(()), "{cfg}");
            assert_eq!(reader.try_recv(), Ok(n), "{cfg}");
        }
        if cfg == QUEUE {
            (0..4).for_each(|_| assert_eq!(producer.try_produce_with(make), Ok(())));
            assert_eq!(producer.try_produce_with(make), Err(TryProduceError::Full(())));
            assert_eq!(made.replace(9), 13, "the fifth was not made");
        }
        close(&db);
        assert_eq!(producer.try_produce_with(make), Err(TryProduceError::Closed(())), "{cfg}");
        let refused = poll_once(producer.produce_with(make), Waker::noop());
        assert_eq!((refused, made.get()), (Poll::Ready(Err(Closed)), 9), "{cfg}");
    }
}

#[test]
fn a_writer_waits_for_room_before_it_makes_its_value() {
    let (_db, producer, consumer) = open::<u64>(QUEUE);
    let mut reader = consumer.subscribe().unwrap();
    (0..4).for_each(|n| producer.try_produce(n).unwrap());
    let made = Cell::new(false);
    let wakes = Arc::new(CountingWaker::default());
    let waker = Waker::from(Arc::clone(&wakes));
    {
        let mut write = pin!(producer.produce_with(|| {
            made.set(true);
            4
        }));
        let mut poll = || write.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(poll().is_pending());
        assert!(!made.get());
        assert_eq!((reader.try_recv(), wakes.take_wakes()), (Ok(0), 1));
        assert_eq!(poll(), Poll::Ready(Ok(())));
        assert!(made.get());
        assert_eq!(poll(), Poll::Ready(Ok(())), "it is accepted already");
    }
    // Dropped while it waits: it makes nothing, and the wake-up is the next writer's.
    assert!(poll_once(producer.produce_with(|| unreachable!()), &waker).is_pending());
    assert_eq!(reader.try_recv(), Ok(1));
    producer.try_produce(5).unwrap();
    let rest: Vec<u64> = std::iter::from_fn(|| reader.try_recv().ok()).collect();
    assert_eq!(rest, [2, 3, 4, 5]);
}

#[test]
fn a_value_whose_making_panics_changes_nothing() {
    for cfg in KINDS {
        let instances = InstanceCounter::new();
        let (db, producer, consumer) = open(cfg);
        let mut reader = consumer.subscribe().unwrap();
        for n in 0..3 {
            assert!(panics(|| producer.try_produce_with(|| panic!("no frame"))), "{cfg}");
            assert_eq!(producer.try_produce_with(|| instances.value(n)), Ok(()), "{cfg}");
            assert!(panics(|| producer.try_produce_with(|| panic!("no frame"))), "{cfg}");
            let metrics = db.metrics();
            let record = metrics.record("record").unwrap();
            assert_eq!((record.produced, record.overwritten), (n + 1, 0), "{cfg}");
            assert_eq!((reader.pending(), reader.lagged()), (1, 0), "{cfg}");
            assert_eq!(reader.try_recv().unwrap().number, n, "{cfg}");
        }
        // The record still closes.
        close(&db);
        assert!(reader.try_recv().is_err(), "{cfg}");
        drop((db, producer, consumer, reader));
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}

#[test]
fn a_future_whose_making_panicked_does_not_say_that_it_produced() {
    let (db, producer, _consumer) = open::<u64>(QUEUE);
    let mut write = Box::pin(producer.produce_with(|| panic!("no frame")));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(panics(|| write.as_mut().poll(&mut cx)));
    assert!(panics(|| write.as_mut().poll(&mut cx)), "polled again");
    assert_eq!(db.metrics().record("record").unwrap().produced, 0);
}

#[test]
fn the_overwritten_value_of_a_value_made_in_place_is_dropped_once() {
    for cfg in [BufferCfg::SpmcRing { capacity: 1 }, LATEST, MAILBOX] {
        let instances = InstanceCounter::new();
        let (db, producer, consumer) = open(cfg);
        let reader = consumer.subscribe().unwrap();
        for n in 0..5 {
            assert_eq!(producer.try_produce_with(|| instances.value(n)), Ok(()), "{cfg}");
            assert_eq!(instances.alive(), 1, "{cfg}");
        }
        assert_eq!(reader.latest().map(|value| value.number), Some(4), "{cfg}");
        drop((db, producer, consumer, reader));
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}

#[test]
fn writers_in_place_and_by_value_lose_nothing_to_each_other() {
    let (db, producer, consumer) = open::<u64>(QUEUE);
    let mut reader = consumer.subscribe().unwrap();
    let (mut sum, mut count) = (0, 0);
    std::thread::scope(|scope| {
        for writer in 0..2_u64 {
            let producer = producer.clone();
            scope.spawn(move || {
                for n in 0..2_000_u64 {
                    let accepted = || match writer {
                        0 => producer.try_produce(n).is_ok(),
                        _ => producer.try_produce_with(|| n).is_ok(),
                    };
                    while !accepted() {
                        std::thread::yield_now();
                    }
                }
            });
        }
        while count < 4_000 {
            match reader.try_recv() {
                Ok(value) => (sum, count) = (sum + value, count + 1),
                Err(_) => std::thread::yield_now(),
            }
        }
    });
    assert_eq!(sum, 2 * (0..2_000).sum::<u64>());
    drop(db);
}
