//! `Clone` and `Drop` that panic, where the buffer suite cannot see it: through futures, and at the end of a record.

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use aimdb_core::BufferCfg;
use aimdb_testing::{Census, Counted};
use common::*;

#[test]
fn readers_that_wait_are_woken_beside_one_whose_clone_panics() {
    for cfg in [RING, QUEUE, LATEST] {
        let census = Census::new();
        let (_db, producer, consumer) = open::<Counted>(cfg);
        let places: Vec<_> = (0..3).map(|_| consumer.subscription().unwrap()).collect();
        let mut waiters: Vec<_> = (0..3).map(|_| Waiter::default()).collect();
        for (waiter, place) in waiters.iter_mut().zip(&places) {
            assert!(waiter.read(place).is_pending(), "{cfg}");
        }
        assert!(producer.try_produce(census.value(1)).is_ok());
        census.panic_in_clone(1);
        assert!(panics(|| waiters[0].read(&places[0])), "{cfg}");
        assert_eq!(rung(&waiters), [1, 1, 1], "{cfg}");
        for at in [1, 2, 0] {
            let Poll::Ready(Ok(value)) = waiters[at].read(&places[at]) else {
                panic!("{cfg}: reader {at} must get the value")
            };
            assert_eq!(value.number, 1, "{cfg}");
        }
        drop((producer, consumer, places, _db));
        assert_eq!(census.alive(), 0, "{cfg}");
    }
}

#[test]
fn a_future_whose_clone_panicked_has_taken_nothing() {
    for cfg in [RING, LATEST] {
        let census = Census::new();
        let (_db, producer, consumer) = open::<Counted>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        for round in 0..3 {
            {
                let mut recv = pin!(reader.recv());
                let mut poll = || recv.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(poll().is_pending(), "{cfg}");
                assert!(producer.try_produce(census.value(round)).is_ok());
                census.panic_in_clone(1);
                assert!(panics(&mut poll), "{cfg}");
            }
            assert_eq!((bell.rung(), reader.pending()), (1, 1), "{cfg}");
            assert_eq!(reader.try_recv().unwrap().number, round, "{cfg}");
        }
    }
}

#[test]
fn a_batch_is_accepted_though_the_drop_of_what_it_overwrote_panics() {
    for cfg in [RING, LATEST, MAILBOX] {
        let census = Census::new();
        let (db, producer, consumer) = open::<Counted>(cfg);
        let held = cfg.capacity() as u64;
        let idle = consumer.subscription().unwrap();
        (0..held).for_each(|number| assert!(producer.try_produce(census.value(number)).is_ok()));
        {
            let mut sent =
                pin!(producer.produce_many((held..held + 8).map(|number| census.value(number))));
            census.panic_in_drop(1);
            assert!(panics(|| sent.as_mut().poll(&mut Context::from_waker(Waker::noop()))));
        }
        let metrics = db.metrics();
        let metrics = metrics.record("record").unwrap();
        let counted = (metrics.produced, metrics.overwritten, metrics.depth as u64);
        assert_eq!(counted, (held + 8, 8, held), "{cfg}");
        assert_eq!(census.alive() as u64, held, "{cfg}: the others were dropped all the same");
        assert_eq!(idle.latest().unwrap().number, held + 7, "{cfg}");
        drop((db, producer, consumer, idle));
        assert_eq!(census.alive(), 0, "{cfg}");
    }
}

#[test]
fn a_reader_is_woken_for_a_value_though_the_drop_of_the_one_before_panics() {
    for cfg in [BufferCfg::SpmcRing { capacity: 1 }, LATEST] {
        let census = Census::new();
        let (_db, producer, consumer) = open::<Counted>(cfg);
        let place = consumer.subscription().unwrap();
        assert!(producer.try_produce(census.value(0)).is_ok());
        assert_eq!(place.try_value().unwrap().number, 0);
        let mut waiter = Waiter::default();
        assert!(waiter.read(&place).is_pending());
        census.panic_in_drop(1);
        assert!(panics(|| producer.try_produce(census.value(1))), "{cfg}");
        assert_eq!(rung([&waiter]), [1], "{cfg}");
        assert!(matches!(waiter.read(&place), Poll::Ready(Ok(value)) if value.number == 1));
    }
}

#[test]
fn a_record_ends_though_the_drop_of_a_value_in_it_panics() {
    for cfg in [RING, LATEST, MAILBOX, QUEUE] {
        let census = Census::new();
        let (db, producer, consumer) = open::<Counted>(cfg);
        let reader = consumer.subscribe().unwrap();
        for number in 0..cfg.capacity() as u64 {
            assert!(producer.try_produce(census.value(number)).is_ok());
        }
        close(&db);
        census.panic_in_drop(1);
        // The handle that goes last takes the values with it; of a queue, the reader.
        assert!(panics(|| drop((db, producer, consumer, reader))), "{cfg}");
        assert_eq!(census.alive(), 0, "{cfg}");
    }
}

#[test]
fn a_value_that_was_given_up_is_dropped_once_though_its_drop_panics() {
    let census = Census::new();
    let (db, producer, consumer) = open::<Counted>(BufferCfg::SpmcQueue { capacity: 1 });
    let place = consumer.subscription().unwrap();
    assert!(producer.try_produce(census.value(0)).is_ok());
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut cx = Context::from_waker(&waker);
    let mut first = Box::pin(producer.produce(census.value(1)));
    let mut second = Box::pin(producer.produce(census.value(2)));
    assert!(
        first.as_mut().poll(&mut cx).is_pending() && second.as_mut().poll(&mut cx).is_pending()
    );
    assert_eq!(place.try_value().unwrap().number, 0);
    assert_eq!(bell.rung(), 1, "the first");
    census.panic_in_drop(1);
    assert!(panics(|| drop(first)));
    assert_eq!((bell.rung(), census.alive()), (1, 1), "its wake-up went to the second");
    assert!(second.as_mut().poll(&mut cx).is_ready());
    assert_eq!(place.try_value().unwrap().number, 2);
    drop((second, db, place));
    assert_eq!(census.alive(), 0);
}
