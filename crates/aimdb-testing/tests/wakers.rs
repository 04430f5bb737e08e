//! Who is woken, how often, and what happens when a waker panics or a ticket outlives its place.

mod common;

use std::task::Poll;

use aimdb_core::buffer::Subscription;
use aimdb_core::{BufferCfg, Closed, TryProduceError};
use common::*;

/// More than are woken in one go.
const CROWD: usize = 40;
/// The one whose waker panics; in the first batch, at its edge, and in the second.
const BROKEN: [usize; 4] = [0, 5, 31, 35];

fn crowd() -> Vec<Waiter> {
    (0..CROWD).map(|_| Waiter::default()).collect()
}

#[test]
fn two_idle_readers_cause_no_wake() {
    for cfg in [RING, QUEUE, LATEST, MAILBOX] {
        let (db, producer, consumer) = open::<u64>(cfg);
        let places = [consumer.subscription().unwrap(), consumer.subscription().unwrap()];
        let mut waiters = [Waiter::default(), Waiter::default()];
        for (waiter, place) in waiters.iter_mut().zip(&places) {
            assert!(waiter.read(place).is_pending(), "{cfg}");
        }
        // Everything that brings them nothing.
        drop(consumer.subscription().unwrap());
        assert_eq!((consumer.latest(), places[0].pending(), places[1].lagged()), (None, 0, 0));
        drop((db.metrics(), db.health(), producer.clone()));
        for (waiter, place) in waiters.iter_mut().zip(&places) {
            assert!(waiter.read(place).is_pending(), "{cfg}");
        }
        assert_eq!(rung(&waiters), [0, 0], "{cfg}");
    }
}

#[test]
fn one_produce_wakes_each_waiting_reader_once_and_a_mailbox_one_taker() {
    for cfg in [RING, QUEUE, LATEST, MAILBOX] {
        let (_db, producer, consumer) = open::<u64>(cfg);
        let places: Vec<_> = (0..CROWD).map(|_| consumer.subscription().unwrap()).collect();
        let mut waiters = crowd();
        for round in 0..3 {
            for (waiter, place) in waiters.iter_mut().zip(&places) {
                assert!(waiter.read(place).is_pending(), "{cfg}");
            }
            producer.try_produce(round).unwrap();
            let rung = rung(&waiters);
            let expected = if cfg == MAILBOX { 1 } else { CROWD };
            assert_eq!(rung.iter().sum::<usize>(), expected, "{cfg}");
            assert!(rung.iter().all(|&rung| rung <= 1), "{cfg}");
            if cfg != MAILBOX {
                producer.try_produce(round + 100).unwrap();
                assert_eq!(common::rung(&waiters), [0; CROWD], "{cfg}: woken already");
            }
            places.iter().for_each(|place| while place.try_value().is_ok() {});
            for (waiter, place) in waiters.iter_mut().zip(&places) {
                place.cancel_wait(&mut waiter.ticket);
            }
        }
    }
}

#[test]
fn a_value_wakes_all_readers_though_one_of_their_wakers_panics() {
    for cfg in [RING, QUEUE, LATEST] {
        for broken in BROKEN {
            let (_db, producer, consumer) = open::<u64>(cfg);
            let places: Vec<_> = (0..CROWD).map(|_| consumer.subscription().unwrap()).collect();
            let mut waiters = crowd();
            for (waiter, place) in waiters.iter_mut().zip(&places) {
                assert!(waiter.read(place).is_pending(), "{cfg}");
            }
            waiters[broken].bell.break_next();
            assert!(panics(|| producer.try_produce(7)), "{cfg}");
            assert_eq!(rung(&waiters), [1; CROWD], "{cfg}");
            for (waiter, place) in waiters.iter_mut().zip(&places) {
                assert_eq!(waiter.read(place), Poll::Ready(Ok(7)), "{cfg}");
            }
        }
    }
}

#[test]
fn a_command_stays_pending_though_the_waker_of_its_taker_panics() {
    let (_db, producer, consumer) = open::<u64>(MAILBOX);
    let place = consumer.subscription().unwrap();
    let mut waiters = [Waiter::default(), Waiter::default()];
    waiters.iter_mut().for_each(|waiter| assert!(waiter.read(&place).is_pending()));
    waiters[0].bell.break_next();
    assert!(panics(|| producer.try_produce(7)));
    assert_eq!(rung(&waiters), [1, 0]);
    place.cancel_wait(&mut waiters[0].ticket);
    assert_eq!(rung(&waiters), [0, 1], "the wake-up goes on");
    assert_eq!(waiters[1].read(&place), Poll::Ready(Ok(7)));
}

#[test]
fn the_end_wakes_readers_and_writers_though_one_of_their_wakers_panics() {
    for broken in BROKEN.into_iter().chain(BROKEN.map(|nth| CROWD + nth)) {
        let (db, producer, consumer) = open::<u64>(BufferCfg::SpmcQueue { capacity: 1 });
        // Holds the writers back.
        let slow = consumer.subscription().unwrap();
        producer.try_produce(0).unwrap();
        let places: Vec<_> = (0..CROWD).map(|_| consumer.subscription().unwrap()).collect();
        let (mut readers, mut writers) = (crowd(), crowd());
        for (waiter, place) in readers.iter_mut().zip(&places) {
            assert!(waiter.read(place).is_pending());
        }
        writers.iter_mut().for_each(|writer| assert!(writer.write(&producer, 1).is_pending()));
        readers.iter().chain(&writers).nth(broken).unwrap().bell.break_next();
        assert!(panics(|| close(&db)));
        assert_eq!((rung(&readers), rung(&writers)), (vec![1; CROWD], vec![1; CROWD]));
        close(&db);
        assert_eq!(slow.try_value(), Ok(0));
        for (waiter, place) in readers.iter_mut().zip(&places) {
            assert_eq!(waiter.read(place), Poll::Ready(Err(Closed)));
        }
        for writer in &mut writers {
            assert_eq!(writer.write(&producer, 1), Poll::Ready(Err(Closed)));
        }
    }
}

#[test]
fn a_queue_reader_that_leaves_wakes_all_writers_though_one_of_their_wakers_panics() {
    for broken in BROKEN {
        let (_db, producer, consumer) = open::<u64>(BufferCfg::SpmcQueue { capacity: CROWD });
        let stays = consumer.subscription().unwrap();
        let leaves = consumer.subscription().unwrap();
        (0..CROWD as u64).for_each(|value| producer.try_produce(value).unwrap());
        while stays.try_value().is_ok() {}
        let mut writers = crowd();
        writers.iter_mut().for_each(|writer| assert!(writer.write(&producer, 1).is_pending()));
        writers[broken].bell.break_next();
        assert!(panics(|| drop(leaves)));
        assert_eq!(rung(&writers), [1; CROWD]);
        for writer in &mut writers {
            assert_eq!(writer.write(&producer, 1), Poll::Ready(Ok(())));
        }
        assert_eq!(producer.try_produce(2), Err(TryProduceError::Full(2)));
    }
}

#[test]
fn what_recv_many_took_lets_writers_go_on_though_one_of_their_wakers_panics() {
    for broken in BROKEN {
        let (_db, producer, consumer) = open::<u64>(BufferCfg::SpmcQueue { capacity: CROWD });
        let reader = consumer.subscription().unwrap();
        (0..CROWD as u64).for_each(|value| producer.try_produce(value).unwrap());
        let mut writers = crowd();
        writers.iter_mut().for_each(|writer| assert!(writer.write(&producer, 1).is_pending()));
        writers[broken].bell.break_next();
        let mut values = Vec::new();
        assert!(panics(|| reader.try_many(&mut values, usize::MAX)));
        assert!(values.iter().copied().eq(0..CROWD as u64));
        assert_eq!(rung(&writers), [1; CROWD]);
    }
}

#[test]
fn those_who_wait_through_a_place_that_goes_away_are_woken_though_one_of_their_wakers_panics() {
    for broken in BROKEN {
        let (_db, producer, consumer) = open::<u64>(RING);
        let place = consumer.subscription().unwrap();
        place.share();
        let mut waiters = crowd();
        waiters.iter_mut().for_each(|waiter| assert!(waiter.read(&place).is_pending()));
        waiters[broken].bell.break_next();
        assert!(panics(|| drop(place)));
        assert_eq!(rung(&waiters), [1; CROWD]);
        producer.try_produce(1).unwrap();
        assert_eq!(rung(&waiters), [0; CROWD]);
    }
}

#[test]
fn threads_that_share_a_place_are_woken_one_after_the_other() {
    for cfg in [RING, QUEUE] {
        let (_db, producer, consumer) = open::<u64>(cfg);
        let place = consumer.subscription().unwrap();
        place.share();
        let mut waiters: Vec<_> = (0..3).map(|_| Waiter::default()).collect();
        waiters.iter_mut().for_each(|waiter| assert!(waiter.read(&place).is_pending()));
        producer.try_produce(0).unwrap();
        assert_eq!(rung(&waiters), [1, 0, 0], "{cfg}: one value, one of them");
        producer.try_produce(1).unwrap();
        assert_eq!(rung(&waiters).iter().sum::<usize>(), 1, "{cfg}: another value, another one");
        producer.try_produce(2).unwrap();
        assert_eq!(rung(&waiters).iter().sum::<usize>(), 1, "{cfg}");
        // The first is given up. Nothing is lost for it.
        place.cancel_wait(&mut waiters[0].ticket);
        assert_eq!(waiters[1].read(&place), Poll::Ready(Ok(0)), "{cfg}");
        assert_eq!(waiters[2].read(&place), Poll::Ready(Ok(1)), "{cfg}");
        assert_eq!(place.try_value(), Ok(2), "{cfg}");
    }
}

#[test]
fn a_place_dropped_with_a_ticket_in_line_stops_no_writer() {
    for cfg in [RING, QUEUE, LATEST, MAILBOX] {
        let (db, producer, consumer) = open::<u64>(cfg);
        let place = consumer.subscription().unwrap();
        let mut forgotten = Waiter::default();
        assert!(forgotten.read(&place).is_pending(), "{cfg}");
        drop(place);
        for value in 0..3 {
            assert_eq!(producer.try_produce(value), Ok(()), "{cfg}");
        }
        // The next reader may get the number of the one that is gone.
        let next: Subscription<u64> = consumer.subscription().unwrap();
        while next.try_value().is_ok() {}
        let mut waiter = Waiter::default();
        assert!(waiter.read(&next).is_pending(), "{cfg}");
        assert!(forgotten.bell.rung() <= 1, "{cfg}");
        producer.try_produce(3).unwrap();
        assert_eq!((rung([&waiter]), waiter.read(&next)), (vec![1], Poll::Ready(Ok(3))), "{cfg}");
        close(&db);
        assert_eq!(waiter.read(&next), Poll::Ready(Err(Closed)), "{cfg}");
    }
}
