//! Values whose `Clone` or `Drop` panics, where the buffer suite does not reach: in futures, and when a record is
//! freed.
#![cfg(not(aimdb_loom))]

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use aimdb_core::{BufferCfg, Event};
use aimdb_testing::{Counted, InstanceCounter};
use common::*;

const RING_OF_ONE: BufferCfg = BufferCfg::SpmcRing { capacity: 1 };

#[test]
fn waiting_readers_are_woken_though_the_clone_for_one_of_them_panics() {
    for cfg in [RING, QUEUE, LATEST] {
        let instances = InstanceCounter::new();
        let (_db, producer, consumer) = open::<Counted>(cfg);
        let subscriptions: Vec<_> =
            (0..3).map(|_| consumer.subscription().unwrap().into_shared()).collect();
        let mut waiters: Vec<_> = (0..3).map(|_| Waiter::default()).collect();
        for (waiter, subscription) in waiters.iter_mut().zip(&subscriptions) {
            assert!(waiter.read(subscription).is_pending(), "{cfg}");
        }
        assert!(producer.try_produce(instances.value(1)).is_ok());
        instances.panic_in_clone(1);
        assert!(panics(|| waiters[0].read(&subscriptions[0])), "{cfg}");
        assert_eq!(take_wakes(&waiters), [1, 1, 1], "{cfg}");
        for at in [1, 2, 0] {
            let Poll::Ready(Ok(value)) = waiters[at].read(&subscriptions[at]) else {
                panic!("{cfg}: reader {at} must receive the value")
            };
            assert_eq!(value.number, 1, "{cfg}");
        }
        drop((producer, consumer, subscriptions, _db));
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}

#[test]
fn a_receive_whose_clone_panicked_has_taken_nothing() {
    for cfg in [RING, LATEST] {
        let instances = InstanceCounter::new();
        let (_db, producer, consumer) = open::<Counted>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        let wakes = Arc::new(CountingWaker::default());
        let waker = Waker::from(Arc::clone(&wakes));
        for round in 0..3 {
            {
                let mut recv = pin!(reader.recv());
                let mut poll = || recv.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(poll().is_pending(), "{cfg}");
                assert!(producer.try_produce(instances.value(round)).is_ok());
                instances.panic_in_clone(1);
                assert!(panics(&mut poll), "{cfg}");
            }
            assert_eq!((wakes.take_wakes(), reader.pending()), (1, 1), "{cfg}");
            assert_eq!(reader.try_recv().unwrap().number, round, "{cfg}");
        }
    }
}

#[test]
fn a_batch_is_accepted_though_the_drop_of_an_overwritten_value_panics() {
    for cfg in [RING, LATEST, MAILBOX] {
        let instances = InstanceCounter::new();
        let (db, producer, consumer) = open::<Counted>(cfg);
        let held = cfg.capacity() as u64;
        let idle = consumer.subscription().unwrap().into_shared();
        (0..held).for_each(|number| assert!(producer.try_produce(instances.value(number)).is_ok()));
        {
            let mut sent =
                pin!(producer.produce_many((held..held + 8).map(|number| instances.value(number))));
            instances.panic_in_drop(1);
            assert!(panics(|| sent.as_mut().poll(&mut Context::from_waker(Waker::noop()))));
        }
        let metrics = db.metrics();
        let metrics = metrics.record("record").unwrap();
        let counted = (metrics.produced, metrics.overwritten, metrics.depth as u64);
        assert_eq!(counted, (held + 8, 8, held), "{cfg}");
        assert_eq!(
            instances.alive() as u64,
            held,
            "{cfg}: the other overwritten values were dropped"
        );
        assert_eq!(idle.latest().unwrap().number, held + 7, "{cfg}");
        drop((db, producer, consumer, idle));
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}

#[test]
fn a_reader_is_woken_for_a_value_though_the_drop_of_the_one_before_panics() {
    for cfg in [RING_OF_ONE, LATEST] {
        let instances = InstanceCounter::new();
        let (_db, producer, consumer) = open::<Counted>(cfg);
        let subscription = consumer.subscription().unwrap().into_shared();
        assert!(producer.try_produce(instances.value(0)).is_ok());
        assert_eq!(subscription.try_value().unwrap().number, 0);
        let mut waiter = Waiter::default();
        assert!(waiter.read(&subscription).is_pending());
        instances.panic_in_drop(1);
        assert!(panics(|| producer.try_produce(instances.value(1))), "{cfg}");
        assert_eq!(take_wakes([&waiter]), [1], "{cfg}");
        assert!(matches!(waiter.read(&subscription), Poll::Ready(Ok(value)) if value.number == 1));
    }
}

#[test]
fn a_reader_leaves_though_the_drop_of_the_value_behind_its_lag_panics() {
    for cfg in [RING_OF_ONE, LATEST, MAILBOX] {
        let instances = InstanceCounter::new();
        let (db, producer, consumer) = open::<Counted>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        (0..2).for_each(|number| assert!(producer.try_produce(instances.value(number)).is_ok()));
        let lag = pin!(reader.next_event()).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(lag, Poll::Ready(Ok(Event::Lagged(1)))), "{cfg}");
        // Also the command in a mailbox: a newer one replaces it.
        assert!(producer.try_produce(instances.value(2)).is_ok());
        instances.panic_in_drop(1);
        assert!(panics(|| drop(reader)), "{cfg}");
        assert_eq!(db.metrics().record("record").unwrap().readers, [], "{cfg}");
        drop((db, producer, consumer));
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}

#[test]
fn a_lag_before_a_clone_that_panicked_is_not_reported_by_a_later_event() {
    for (cfg, many) in [RING_OF_ONE, LATEST].into_iter().flat_map(|cfg| [(cfg, false), (cfg, true)])
    {
        let instances = InstanceCounter::new();
        let (_db, producer, consumer) = open::<Counted>(cfg);
        let mut subscription = consumer.subscription().unwrap();
        let mut values = Vec::new();
        (0..2).for_each(|number| assert!(producer.try_produce(instances.value(number)).is_ok()));
        instances.panic_in_clone(1);
        assert!(panics(|| match many {
            true => subscription.try_many(&mut values, 2).map(|_| ()),
            false => subscription.try_value().map(|_| ()),
        }));
        assert_eq!(subscription.try_value().unwrap().number, 1, "{cfg}");
        assert!(producer.try_produce(instances.value(2)).is_ok());
        let event = subscription.try_event();
        assert!(matches!(event, Ok(Event::Value(value)) if value.number == 2), "{cfg}");
        assert_eq!(subscription.lagged(), 1, "{cfg}");
    }
}

#[test]
fn a_record_is_freed_though_the_drop_of_a_value_in_it_panics() {
    for cfg in [RING, LATEST, MAILBOX, QUEUE] {
        let instances = InstanceCounter::new();
        let (db, producer, consumer) = open::<Counted>(cfg);
        let reader = consumer.subscribe().unwrap();
        for number in 0..cfg.capacity() as u64 {
            assert!(producer.try_produce(instances.value(number)).is_ok());
        }
        close(&db);
        instances.panic_in_drop(1);
        // The last handle drops the values; in a queue, the reader does.
        assert!(panics(|| drop((db, producer, consumer, reader))), "{cfg}");
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}

#[test]
fn the_value_of_a_cancelled_produce_is_dropped_once_though_its_drop_panics() {
    let instances = InstanceCounter::new();
    let (db, producer, consumer) = open::<Counted>(BufferCfg::SpmcQueue { capacity: 1 });
    let subscription = consumer.subscription().unwrap().into_shared();
    assert!(producer.try_produce(instances.value(0)).is_ok());
    let wakes = Arc::new(CountingWaker::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut cx = Context::from_waker(&waker);
    let mut first = Box::pin(producer.produce(instances.value(1)));
    let mut second = Box::pin(producer.produce(instances.value(2)));
    assert!(
        first.as_mut().poll(&mut cx).is_pending() && second.as_mut().poll(&mut cx).is_pending()
    );
    assert_eq!(subscription.try_value().unwrap().number, 0);
    assert_eq!(wakes.take_wakes(), 1, "the read wakes the first writer");
    instances.panic_in_drop(1);
    assert!(panics(|| drop(first)));
    assert_eq!(
        (wakes.take_wakes(), instances.alive()),
        (1, 1),
        "the second writer inherits the wake-up"
    );
    assert!(second.as_mut().poll(&mut cx).is_ready());
    assert_eq!(subscription.try_value().unwrap().number, 2);
    drop((second, db, subscription));
    assert_eq!(instances.alive(), 0);
}
