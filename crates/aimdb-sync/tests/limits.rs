//! Limits on waiting: times, deadlines, cancellation; and waiting for several records at once.

mod common;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use aimdb_sync::{
    CancelToken, GetError, SetError, SyncConsumer, SyncHandle, SyncProducer, WaitLimit, WaitTicket,
    Waitable, wait_any,
};
use common::*;

/// A direct consumer and a queued one.
fn consumers(handle: &SyncHandle) -> [SyncConsumer<u64>; 2] {
    [handle.consumer("r").unwrap(), handle.consumer_with_capacity("r", 2).unwrap()]
}

fn producer(handle: &SyncHandle) -> SyncProducer<u64> {
    handle.producer("r").unwrap()
}

#[test]
fn a_cancelled_call_ends_at_once_and_takes_nothing() {
    watched(|| {
        for which in 0..2 {
            let handle = record(RING);
            let consumer = &consumers(&handle)[which];
            let cancel = CancelToken::new();
            thread::scope(|scope| {
                let blocked = [(); 3].map(|()| {
                    scope.spawn(|| consumer.get_within(WaitLimit::none().or_cancelled(&cancel)))
                });
                thread::sleep(A_WHILE);
                cancel.cancel();
                for call in blocked {
                    assert_eq!(call.join().unwrap(), Err(GetError::Cancelled));
                }
            });
            let limit = WaitLimit::none().or_cancelled(&cancel);
            assert_eq!(consumer.get_within(limit), Err(GetError::Cancelled));
            assert_eq!(consumer.next_event_within(limit).unwrap_err(), GetError::Cancelled);
            let mut into = Vec::new();
            assert_eq!(consumer.get_many_within(&mut into, 2, limit), Err(GetError::Cancelled));
            assert_eq!(wait_any(&[consumer], limit), Err(GetError::Cancelled));
            // A call that need not wait succeeds despite the cancellation.
            producer(&handle).set(7).unwrap();
            eventually("the value arrives", || consumer.get_within(limit) == Ok(7));
            cancel.reset();
            producer(&handle).set(8).unwrap();
            assert_eq!(consumer.get_within(limit), Ok(8));
        }
    });
}

#[test]
fn a_writer_that_waits_for_room_can_be_cancelled_and_receives_its_value_back() {
    watched(|| {
        let handle = record(QUEUE);
        let reader = handle.consumer::<u64>("r").unwrap();
        let producers = [producer(&handle), handle.producer_with_capacity("r", 1).unwrap()];
        // Four values fit into the record; then one is in progress in the bridge's task and one is in its queue. A queue that
        // refuses a value earlier may have room again soon: its task may not have run yet.
        for (producer, room) in producers.into_iter().zip([4, 2]) {
            (0..room).for_each(|_| producer.set(0).unwrap());
            let cancel = CancelToken::new();
            let limit = WaitLimit::none().or_cancelled(&cancel);
            let refused = thread::scope(|scope| {
                let blocked = scope.spawn(|| producer.set_within(9, limit));
                thread::sleep(A_WHILE);
                cancel.cancel();
                blocked.join().unwrap()
            });
            assert_eq!(refused, Err(SetError::Cancelled(9)));
            let refused = producer.set_many_within([1, 2], limit).unwrap_err();
            assert_eq!((refused.accepted, refused.reason), (0, SetError::Cancelled(())));
        }
        assert_eq!(reader.get(), Ok(0));
    });
}

#[test]
fn a_cancelled_writer_of_many_values_fills_all_the_room_there_is() {
    let handle = record(RING);
    let cancel = CancelToken::new();
    cancel.cancel();
    let limit = WaitLimit::none().or_cancelled(&cancel);
    assert_eq!(producer(&handle).set_many_within(0..100_000, limit), Ok(100_000));
}

#[test]
fn a_batch_that_runs_out_of_time_says_how_much_was_accepted() {
    watched(|| {
        let handle = record(QUEUE);
        let reader = handle.consumer::<u64>("r").unwrap();
        let producer = producer(&handle);
        let late = producer.set_many_within(0..100, WaitLimit::after(A_WHILE)).unwrap_err();
        assert_eq!((late.accepted, late.reason), (4, SetError::Timeout(())));
        assert_eq!(
            late.to_string(),
            "only the first 4 values were accepted: there was no room in time"
        );
        let mut got = Vec::new();
        assert_eq!(reader.get_many_within(&mut got, 100, WaitLimit::none()), Ok(4));
        assert_eq!(got, [0, 1, 2, 3]);
        assert_eq!(
            reader.get_many_within(&mut got, 100, WaitLimit::after(A_WHILE)),
            Err(GetError::Timeout)
        );
    });
}

#[test]
fn an_expired_limit_tries_once() {
    let handle = record(RING);
    let producer = producer(&handle);
    let consumer = handle.consumer::<u64>("r").unwrap();
    for limit in [WaitLimit::after(Duration::ZERO), WaitLimit::until(Instant::now())] {
        assert_eq!(consumer.get_within(limit), Err(GetError::Timeout));
        assert_eq!(wait_any(&[&consumer], limit), Err(GetError::Timeout));
        producer.set(1).unwrap();
        assert_eq!(wait_any(&[&consumer], limit), Ok(0));
        assert_eq!(consumer.get_within(limit), Ok(1));
    }
}

#[test]
fn wait_any_returns_the_index_of_the_first_ready_consumer() {
    watched(|| {
        let (a, b) = (record(RING), record(QUEUE));
        let [first, queued] = consumers(&a);
        let second = b.consumer::<u64>("r").unwrap();
        let all: [&dyn Waitable; 3] = [&first, &queued, &second];
        assert_eq!(wait_any(&all, WaitLimit::after(A_WHILE)), Err(GetError::Timeout));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_any(&[&first, &queued, &second], WaitLimit::none()));
            thread::sleep(A_WHILE);
            producer(&b).set(1).unwrap();
            assert_eq!(waiting.join().unwrap(), Ok(2));
        });
        // `wait_any` has taken nothing.
        assert_eq!(second.try_get(), Ok(1));
        producer(&a).set(2).unwrap();
        assert_eq!(wait_any(&[&second, &queued], WaitLimit::none()), Ok(1));
        assert_eq!(queued.get(), Ok(2));
        assert_eq!(wait_any(&all, WaitLimit::none()), Ok(0));
        assert_eq!(wait_any(&[], WaitLimit::none()), Err(GetError::Empty));
    });
}

#[test]
fn wait_any_returns_for_a_cancellation_that_is_reset_at_once() {
    watched(|| {
        let handle = record(RING);
        let consumer = handle.consumer::<u64>("r").unwrap();
        let cancel = CancelToken::new();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_any(&[&consumer, &cancel], WaitLimit::none()));
            thread::sleep(A_WHILE);
            cancel.cancel();
            cancel.reset();
            assert_eq!(waiting.join().unwrap(), Ok(1));
        });
        assert_eq!(
            wait_any(&[&consumer, &cancel], WaitLimit::after(A_WHILE)),
            Err(GetError::Timeout)
        );
    });
}

#[test]
fn wait_any_returns_for_a_record_that_closes() {
    watched(|| {
        let handle = record(RING);
        let all = consumers(&handle);
        thread::scope(|scope| {
            let waiting =
                all.each_ref().map(|one| scope.spawn(|| wait_any(&[one], WaitLimit::none())));
            thread::sleep(A_WHILE);
            handle.detach().unwrap();
            for one in waiting {
                assert_eq!(one.join().unwrap(), Ok(0));
            }
        });
        all.iter().for_each(|one| assert_eq!(one.try_get(), Err(GetError::Closed)));
    });
}

#[test]
fn wait_any_waits_for_more_consumers_than_it_has_tickets_on_the_stack() {
    watched(|| {
        let handles: Vec<_> = (0..20).map(|_| record(RING)).collect();
        let all: Vec<_> = handles.iter().map(|one| one.consumer::<u64>("r").unwrap()).collect();
        let all: Vec<&dyn Waitable> = all.iter().map(|one| one as &dyn Waitable).collect();
        producer(&handles[19]).set(1).unwrap();
        assert_eq!(wait_any(&all, WaitLimit::none()), Ok(19));
    });
}

/// `wait_any` takes no value, so it must pass its wake-up on to a thread that does.
#[test]
fn a_value_that_wakes_wait_any_reaches_the_thread_that_takes_it() {
    watched(|| {
        for queued in [false, true] {
            let handle = record(QUEUE);
            let consumer = match queued {
                false => handle.consumer("r").unwrap(),
                true => handle.consumer_with_capacity("r", 2).unwrap(),
            };
            for n in 0..200 {
                thread::scope(|scope| {
                    scope.spawn(|| {
                        wait_any(&[&consumer], WaitLimit::after(Duration::from_millis(5)))
                    });
                    let taker = scope.spawn(|| consumer.get());
                    producer(&handle).set(n).unwrap();
                    assert_eq!(taker.join().unwrap(), Ok(n));
                });
            }
        }
    });
}

#[test]
fn an_event_loop_polls_a_consumer_with_a_waker_of_its_own() {
    struct Flag(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
    for which in 0..2 {
        let handle = record(RING);
        let consumer = &consumers(&handle)[which];
        let flag = Arc::new(Flag(false.into()));
        let waker = Waker::from(Arc::clone(&flag));
        let mut ticket = WaitTicket::default();
        assert_eq!(
            consumer.poll_ready(&mut ticket, &mut Context::from_waker(&waker)),
            Poll::Pending
        );
        producer(&handle).set(1).unwrap();
        eventually("the waker is woken", || flag.0.load(std::sync::atomic::Ordering::SeqCst));
        consumer.cancel_wait(&mut ticket);
        assert_eq!(consumer.get(), Ok(1));
    }
}
