//! Wake-ups: which waiters are woken and how often, wakers that panic, tickets that outlive their subscription.
#![cfg(not(aimdb_loom))]

mod common;

use std::task::Poll;

use aimdb_core::buffer::SharedSubscription;
use aimdb_core::{BufferCfg, Closed, TryProduceError};
use common::*;

/// More waiters than a record wakes in one batch.
const CROWD: usize = 40;
/// The indices of the waiter whose waker panics: in the first batch, at its edge, and in the second batch.
const BROKEN: [usize; 4] = [0, 5, 31, 35];

fn crowd() -> Vec<Waiter> {
    (0..CROWD).map(|_| Waiter::default()).collect()
}

#[test]
fn two_idle_readers_cause_no_wake() {
    for cfg in [RING, QUEUE, LATEST, MAILBOX] {
        let (db, producer, consumer) = open::<u64>(cfg);
        let subscriptions = [
            consumer.subscription().unwrap().into_shared(),
            consumer.subscription().unwrap().into_shared(),
        ];
        let mut waiters = [Waiter::default(), Waiter::default()];
        for (waiter, subscription) in waiters.iter_mut().zip(&subscriptions) {
            assert!(waiter.read(subscription).is_pending(), "{cfg}");
        }
        // Calls that bring the readers no value.
        drop(consumer.subscription().unwrap().into_shared());
        assert_eq!(
            (consumer.latest(), subscriptions[0].pending(), subscriptions[1].lagged()),
            (None, 0, 0)
        );
        drop((db.metrics(), db.health(), producer.clone()));
        for (waiter, subscription) in waiters.iter_mut().zip(&subscriptions) {
            assert!(waiter.read(subscription).is_pending(), "{cfg}");
        }
        assert_eq!(take_wakes(&waiters), [0, 0], "{cfg}");
    }
}

#[test]
fn one_produce_wakes_each_waiting_reader_once_and_one_taker_of_a_mailbox() {
    for cfg in [RING, QUEUE, LATEST, MAILBOX] {
        let (_db, producer, consumer) = open::<u64>(cfg);
        let subscriptions: Vec<_> =
            (0..CROWD).map(|_| consumer.subscription().unwrap().into_shared()).collect();
        let mut waiters = crowd();
        for round in 0..3 {
            for (waiter, subscription) in waiters.iter_mut().zip(&subscriptions) {
                assert!(waiter.read(subscription).is_pending(), "{cfg}");
            }
            producer.try_produce(round).unwrap();
            let woken = take_wakes(&waiters);
            let expected = if cfg == MAILBOX { 1 } else { CROWD };
            assert_eq!(woken.iter().sum::<usize>(), expected, "{cfg}");
            assert!(woken.iter().all(|&wakes| wakes <= 1), "{cfg}");
            if cfg != MAILBOX {
                producer.try_produce(round + 100).unwrap();
                assert_eq!(
                    take_wakes(&waiters),
                    [0; CROWD],
                    "{cfg}: every reader is woken already"
                );
            }
            subscriptions.iter().for_each(|subscription| while subscription.try_value().is_ok() {});
            for (waiter, subscription) in waiters.iter_mut().zip(&subscriptions) {
                subscription.cancel_wait(&mut waiter.ticket);
            }
        }
    }
}

#[test]
fn a_value_wakes_all_readers_though_one_of_their_wakers_panics() {
    for cfg in [RING, QUEUE, LATEST] {
        for broken in BROKEN {
            let (_db, producer, consumer) = open::<u64>(cfg);
            let subscriptions: Vec<_> =
                (0..CROWD).map(|_| consumer.subscription().unwrap().into_shared()).collect();
            let mut waiters = crowd();
            for (waiter, subscription) in waiters.iter_mut().zip(&subscriptions) {
                assert!(waiter.read(subscription).is_pending(), "{cfg}");
            }
            waiters[broken].waker.panic_on_next_wake();
            assert!(panics(|| producer.try_produce(7)), "{cfg}");
            assert_eq!(take_wakes(&waiters), [1; CROWD], "{cfg}");
            for (waiter, subscription) in waiters.iter_mut().zip(&subscriptions) {
                assert_eq!(waiter.read(subscription), Poll::Ready(Ok(7)), "{cfg}");
            }
        }
    }
}

#[test]
fn a_value_wakes_each_reader_that_waits_alone_once() {
    for cfg in [RING, QUEUE, LATEST] {
        for count in [1, 2, 4, 32, 33, CROWD] {
            let (_db, producer, consumer) = open::<u64>(cfg);
            let mut readers: Vec<_> =
                (0..count).map(|_| (Waiter::default(), consumer.subscription().unwrap())).collect();
            for round in 0..4 {
                // In odd rounds every second reader has something else to do.
                let step = 1 + round as usize % 2;
                let waits = |nth: usize| usize::from(nth.is_multiple_of(step));
                for (waiter, subscription) in readers.iter_mut().step_by(step) {
                    assert!(waiter.read_alone(subscription).is_pending(), "{cfg}");
                }
                producer.try_produce(round).unwrap();
                producer.try_produce(round + 100).unwrap();
                let woken = take_wakes(readers.iter().map(|(waiter, _)| waiter));
                let expected: Vec<_> = (0..count).map(waits).collect();
                assert_eq!(woken, expected, "{cfg}, {count} readers, round {round}");
                for (waiter, subscription) in &mut readers {
                    while subscription.pending() > 0 {
                        assert!(waiter.read_alone(subscription).is_ready(), "{cfg}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_value_wakes_all_readers_that_wait_alone_though_a_waker_panics() {
    for cfg in [RING, QUEUE, LATEST] {
        for (count, broken) in [(1, 0), (2, 0), (2, 1), (4, 1), (CROWD, 0), (CROWD, 31)] {
            let (_db, producer, consumer) = open::<u64>(cfg);
            let mut readers: Vec<_> =
                (0..count).map(|_| (Waiter::default(), consumer.subscription().unwrap())).collect();
            for (waiter, subscription) in &mut readers {
                assert!(waiter.read_alone(subscription).is_pending(), "{cfg}");
            }
            readers[broken].0.waker.panic_on_next_wake();
            assert!(panics(|| producer.try_produce(7)), "{cfg}");
            let woken = take_wakes(readers.iter().map(|(waiter, _)| waiter));
            assert_eq!(woken, vec![1; count], "{cfg}");
            for (waiter, subscription) in &mut readers {
                assert_eq!(waiter.read_alone(subscription), Poll::Ready(Ok(7)), "{cfg}");
            }
        }
    }
}

/// Two panics at once would end the process: this test's.
#[test]
fn a_waker_that_panics_while_its_thread_unwinds_is_no_second_panic() {
    let full = BufferCfg::SpmcQueue { capacity: 1 };
    let (_db, producer, consumer) = open::<u64>(full);
    let reader = consumer.subscription().unwrap();
    producer.try_produce(1).unwrap();
    let mut writer = Waiter::default();
    assert!(writer.write(&producer, 2).is_pending());
    writer.waker.panic_on_next_wake();
    assert!(panics(move || {
        let _leaves = reader;
        panic!("the stage fails")
    }));
    assert_eq!(take_wakes([&writer]), [1]);

    // A taker that leaves passes its wake-up on.
    let (_db, producer, consumer) = open::<u64>(MAILBOX);
    let waiters = [Waiter::default(), Waiter::default()];
    let mut takers = [(); 2].map(|()| consumer.subscription().unwrap());
    for (waiter, taker) in waiters.iter().zip(&mut takers) {
        assert!(waiter.read_alone(taker).is_pending());
    }
    producer.try_produce(1).unwrap();
    waiters[1].waker.panic_on_next_wake();
    let [leaver, _stayer] = takers;
    assert!(panics(move || {
        let _leaves = leaver;
        panic!("the stage fails")
    }));
    assert_eq!(take_wakes(&waiters), [1, 1]);
}

#[test]
fn a_taker_that_took_a_command_without_its_wake_up_is_woken_no_more() {
    let (_db, producer, consumer) = open::<u64>(MAILBOX);
    let waiters = [Waiter::default(), Waiter::default()];
    let mut takers = [(); 2].map(|()| consumer.subscription().unwrap());
    let mut poll = |nth: usize| waiters[nth].read_alone(&mut takers[nth]);
    assert!(poll(0).is_pending() && poll(1).is_pending());
    producer.try_produce(1).unwrap();
    assert_eq!(take_wakes(&waiters), [1, 0]);
    // Polled for another reason, it is faster than the taker that was woken.
    assert_eq!(poll(1), Poll::Ready(Ok(1)));
    assert!(poll(0).is_pending());
    producer.try_produce(2).unwrap();
    producer.try_produce(3).unwrap();
    assert_eq!(take_wakes(&waiters), [1, 0], "only one of them waits");
    assert_eq!(poll(0), Poll::Ready(Ok(3)));
}

#[test]
fn a_taker_that_took_its_command_and_leaves_passes_a_later_wake_up_on() {
    let (_db, producer, consumer) = open::<u64>(MAILBOX);
    let waiters = [Waiter::default(), Waiter::default()];
    let (mut leaver, mut stayer) =
        (consumer.subscription().unwrap(), consumer.subscription().unwrap());
    assert!(waiters[0].read_alone(&mut leaver).is_pending());
    producer.try_produce(1).unwrap();
    // Its wait is over, and its place in the list is kept for the next one.
    assert_eq!(waiters[0].read_alone(&mut leaver), Poll::Ready(Ok(1)));
    assert!(waiters[0].read_alone(&mut leaver).is_pending());
    assert!(waiters[1].read_alone(&mut stayer).is_pending());
    producer.try_produce(2).unwrap();
    assert_eq!(take_wakes(&waiters), [2, 0]);
    drop(leaver);
    assert_eq!(take_wakes(&waiters), [0, 1], "the next taker inherits the wake-up");
    assert_eq!(waiters[1].read_alone(&mut stayer), Poll::Ready(Ok(2)));
}

#[test]
fn takers_are_woken_in_the_order_in_which_they_began_to_wait() {
    let (_db, producer, consumer) = open::<u64>(MAILBOX);
    let waiters = [(); 3].map(|()| Waiter::default());
    let mut takers: Vec<_> = (0..3).map(|_| consumer.subscription().unwrap()).collect();
    for (waiter, taker) in waiters.iter().zip(&mut takers) {
        assert!(waiter.read_alone(taker).is_pending());
    }
    for command in 0..9 {
        producer.try_produce(command).unwrap();
        let turn = command as usize % 3;
        let woken: Vec<_> = (0..3).map(|nth| usize::from(nth == turn)).collect();
        assert_eq!(take_wakes(&waiters), woken, "command {command}");
        assert_eq!(waiters[turn].read_alone(&mut takers[turn]), Poll::Ready(Ok(command)));
        // It has had its turn, and waits behind the others.
        assert!(waiters[turn].read_alone(&mut takers[turn]).is_pending());
    }
}

#[test]
fn a_taker_that_used_its_wake_up_and_leaves_wakes_no_other() {
    let (_db, producer, consumer) = open::<u64>(MAILBOX);
    let waiters = [(); 3].map(|()| Waiter::default());
    let mut takers: Vec<_> = (0..3).map(|_| consumer.subscription().unwrap()).collect();
    assert!(waiters[0].read_alone(&mut takers[0]).is_pending());
    producer.try_produce(1).unwrap();
    assert_eq!(waiters[0].read_alone(&mut takers[0]), Poll::Ready(Ok(1)));
    assert!(waiters[1].read_alone(&mut takers[1]).is_pending());
    assert!(waiters[2].read_alone(&mut takers[2]).is_pending());
    producer.try_produce(2).unwrap();
    assert_eq!(take_wakes(&waiters), [1, 1, 0]);
    drop(takers.remove(0));
    assert_eq!(take_wakes(&waiters), [0, 0, 0], "the command has its taker");
}

#[test]
fn a_command_stays_pending_though_the_waker_of_its_taker_panics() {
    let (_db, producer, consumer) = open::<u64>(MAILBOX);
    let subscription = consumer.subscription().unwrap().into_shared();
    let mut waiters = [Waiter::default(), Waiter::default()];
    waiters.iter_mut().for_each(|waiter| assert!(waiter.read(&subscription).is_pending()));
    waiters[0].waker.panic_on_next_wake();
    assert!(panics(|| producer.try_produce(7)));
    assert_eq!(take_wakes(&waiters), [1, 0]);
    subscription.cancel_wait(&mut waiters[0].ticket);
    assert_eq!(take_wakes(&waiters), [0, 1], "the next taker inherits the wake-up");
    assert_eq!(waiters[1].read(&subscription), Poll::Ready(Ok(7)));
}

#[test]
fn closing_wakes_readers_and_writers_though_one_of_their_wakers_panics() {
    for broken in BROKEN.into_iter().chain(BROKEN.map(|nth| CROWD + nth)) {
        let (db, producer, consumer) = open::<u64>(BufferCfg::SpmcQueue { capacity: 1 });
        // The reader that blocks the writers.
        let slow = consumer.subscription().unwrap().into_shared();
        producer.try_produce(0).unwrap();
        let subscriptions: Vec<_> =
            (0..CROWD).map(|_| consumer.subscription().unwrap().into_shared()).collect();
        let (mut readers, mut writers) = (crowd(), crowd());
        for (waiter, subscription) in readers.iter_mut().zip(&subscriptions) {
            assert!(waiter.read(subscription).is_pending());
        }
        writers.iter_mut().for_each(|writer| assert!(writer.write(&producer, 1).is_pending()));
        readers.iter().chain(&writers).nth(broken).unwrap().waker.panic_on_next_wake();
        assert!(panics(|| close(&db)));
        assert_eq!((take_wakes(&readers), take_wakes(&writers)), (vec![1; CROWD], vec![1; CROWD]));
        close(&db);
        assert_eq!(slow.try_value(), Ok(0));
        for (waiter, subscription) in readers.iter_mut().zip(&subscriptions) {
            assert_eq!(waiter.read(subscription), Poll::Ready(Err(Closed)));
        }
        for writer in &mut writers {
            assert_eq!(writer.write(&producer, 1), Poll::Ready(Err(Closed)));
        }
    }
}

#[test]
fn a_dropped_queue_reader_wakes_all_writers_though_one_of_their_wakers_panics() {
    for broken in BROKEN {
        let (_db, producer, consumer) = open::<u64>(BufferCfg::SpmcQueue { capacity: CROWD });
        let remaining = consumer.subscription().unwrap().into_shared();
        let leaver = consumer.subscription().unwrap().into_shared();
        (0..CROWD as u64).for_each(|value| producer.try_produce(value).unwrap());
        while remaining.try_value().is_ok() {}
        let mut writers = crowd();
        writers.iter_mut().for_each(|writer| assert!(writer.write(&producer, 1).is_pending()));
        writers[broken].waker.panic_on_next_wake();
        assert!(panics(|| drop(leaver)));
        assert_eq!(take_wakes(&writers), [1; CROWD]);
        for writer in &mut writers {
            assert_eq!(writer.write(&producer, 1), Poll::Ready(Ok(())));
        }
        assert_eq!(producer.try_produce(2), Err(TryProduceError::Full(2)));
    }
}

#[test]
fn a_batch_read_wakes_all_writers_though_one_of_their_wakers_panics() {
    for broken in BROKEN {
        let (_db, producer, consumer) = open::<u64>(BufferCfg::SpmcQueue { capacity: CROWD });
        let reader = consumer.subscription().unwrap().into_shared();
        (0..CROWD as u64).for_each(|value| producer.try_produce(value).unwrap());
        let mut writers = crowd();
        writers.iter_mut().for_each(|writer| assert!(writer.write(&producer, 1).is_pending()));
        writers[broken].waker.panic_on_next_wake();
        let mut values = Vec::new();
        assert!(panics(|| reader.try_many(&mut values, usize::MAX)));
        assert!(values.iter().copied().eq(0..CROWD as u64));
        assert_eq!(take_wakes(&writers), [1; CROWD]);
    }
}

#[test]
fn dropping_a_subscription_wakes_all_its_waiters_though_one_of_their_wakers_panics() {
    for broken in BROKEN {
        let (_db, producer, consumer) = open::<u64>(RING);
        let subscription = consumer.subscription().unwrap().into_shared();
        let mut waiters = crowd();
        waiters.iter_mut().for_each(|waiter| assert!(waiter.read(&subscription).is_pending()));
        waiters[broken].waker.panic_on_next_wake();
        assert!(panics(|| drop(subscription)));
        assert_eq!(take_wakes(&waiters), [1; CROWD]);
        producer.try_produce(1).unwrap();
        assert_eq!(take_wakes(&waiters), [0; CROWD]);
    }
}

#[test]
fn waiters_that_share_a_subscription_are_woken_one_for_each_value() {
    for cfg in [RING, QUEUE] {
        let (_db, producer, consumer) = open::<u64>(cfg);
        let subscription = consumer.subscription().unwrap().into_shared();
        let mut waiters: Vec<_> = (0..3).map(|_| Waiter::default()).collect();
        waiters.iter_mut().for_each(|waiter| assert!(waiter.read(&subscription).is_pending()));
        producer.try_produce(0).unwrap();
        assert_eq!(take_wakes(&waiters), [1, 0, 0], "{cfg}: one value wakes one waiter");
        producer.try_produce(1).unwrap();
        assert_eq!(
            take_wakes(&waiters).iter().sum::<usize>(),
            1,
            "{cfg}: the second value wakes another one"
        );
        producer.try_produce(2).unwrap();
        assert_eq!(take_wakes(&waiters).iter().sum::<usize>(), 1, "{cfg}");
        // The first waiter cancels its wait. No value is lost with it.
        subscription.cancel_wait(&mut waiters[0].ticket);
        assert_eq!(waiters[1].read(&subscription), Poll::Ready(Ok(0)), "{cfg}");
        assert_eq!(waiters[2].read(&subscription), Poll::Ready(Ok(1)), "{cfg}");
        assert_eq!(subscription.try_value(), Ok(2), "{cfg}");
    }
}

#[test]
fn a_subscription_dropped_with_a_ticket_in_its_wait_queue_blocks_no_writer() {
    for cfg in [RING, QUEUE, LATEST, MAILBOX] {
        let (db, producer, consumer) = open::<u64>(cfg);
        let subscription = consumer.subscription().unwrap().into_shared();
        let mut forgotten = Waiter::default();
        assert!(forgotten.read(&subscription).is_pending(), "{cfg}");
        drop(subscription);
        for value in 0..3 {
            assert_eq!(producer.try_produce(value), Ok(()), "{cfg}");
        }
        // The next reader may reuse the number of the dropped one.
        let next: SharedSubscription<u64> = consumer.subscription().unwrap().into_shared();
        while next.try_value().is_ok() {}
        let mut waiter = Waiter::default();
        assert!(waiter.read(&next).is_pending(), "{cfg}");
        assert!(forgotten.waker.take_wakes() <= 1, "{cfg}");
        producer.try_produce(3).unwrap();
        assert_eq!(
            (take_wakes([&waiter]), waiter.read(&next)),
            (vec![1], Poll::Ready(Ok(3))),
            "{cfg}"
        );
        close(&db);
        assert_eq!(waiter.read(&next), Poll::Ready(Err(Closed)), "{cfg}");
    }
}

/// A waker whose clone runs a step of another thread: after a poll has found nothing, and before it has registered.
mod step_in_clone {
    use std::cell::Cell;
    use std::task::{RawWaker, RawWakerVTable, Waker};

    thread_local! {
        static STEP: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
    }

    static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, ignore, ignore, ignore);

    fn clone(_: *const ()) -> RawWaker {
        if let Some(step) = STEP.take() {
            step();
        }
        RawWaker::new(std::ptr::null(), &VTABLE)
    }

    fn ignore(_: *const ()) {}

    #[expect(unsafe_code, reason = "a waker whose clone has an effect needs a table of its own")]
    pub(super) fn waker(step: impl FnOnce() + 'static) -> Waker {
        STEP.set(Some(Box::new(step)));
        let raw = RawWaker::new(std::ptr::null(), &VTABLE);
        // SAFETY: the functions of the table accept any pointer and are safe to call from any thread.
        unsafe { Waker::from_raw(raw) }
    }
}

/// One thread finds nothing. Before it registers, two values arrive and another thread receives their lag, so that the next
/// value is in the stash.
#[test]
fn a_thread_that_registers_after_a_lag_was_reported_receives_the_value_behind_it() {
    for (cfg, value) in
        [(BufferCfg::ring(1), 2), (BufferCfg::latest(), 2), (BufferCfg::mailbox(), 2)]
    {
        let (_db, producer, consumer) = open::<u64>(cfg);
        let reader = std::sync::Arc::new(consumer.subscription().unwrap().into_shared());
        let waker = step_in_clone::waker({
            let reader = std::sync::Arc::clone(&reader);
            move || {
                (1..=2).for_each(|value| producer.try_produce(value).unwrap());
                assert_eq!(reader.try_event(), Ok(aimdb_core::Event::Lagged(1)));
            }
        });
        let mut ticket = aimdb_core::buffer::WaitTicket::default();
        let polled = reader.poll_value(&mut ticket, &mut std::task::Context::from_waker(&waker));
        assert_eq!(polled, Poll::Ready(Ok(value)), "{cfg}");
    }
}
