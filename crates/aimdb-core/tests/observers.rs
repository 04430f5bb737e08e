//! Observers see the values of a record and change nothing.
#![cfg(not(aimdb_loom))]

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use aimdb_core::{
    BufferCfg, Closed, Json, Observer, SubscribeError, TryProduceError, TryRecvError,
};
use aimdb_testing::{Counted, InstanceCounter};
use common::*;
use proptest::prelude::*;

const KINDS: [BufferCfg; 4] = [RING, QUEUE, LATEST, MAILBOX];

/// The numbers of the values that the observer sees now. Checks that each is the value of that number, and the count of the
/// missed ones.
fn seen(observer: &mut Observer<u64>, mut last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Ok(seen) = observer.try_see() {
        assert_eq!(*seen.value, seen.seq);
        assert_eq!(seen.missed, seen.seq - last - 1);
        last = seen.seq;
        numbers.push(seen.seq);
    }
    numbers
}

#[test]
fn an_observer_sees_each_value_and_takes_none() {
    for cfg in KINDS {
        let (db, producer, consumer) = open::<u64>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        producer.try_produce(1).unwrap();
        let mut page = consumer.observe("page").unwrap();
        let mut tail = consumer.observe("tail").unwrap();
        assert_eq!(page.try_see().unwrap_err(), TryRecvError::Empty, "{cfg}: nothing of before");
        producer.try_produce(2).unwrap();
        producer.try_produce_with(|| 3).unwrap();
        let many = poll_once(producer.produce_many([4]), Waker::noop());
        assert_eq!(many, Poll::Ready(Ok(1)), "{cfg}");
        assert_eq!(seen(&mut page, 1), [2, 3, 4], "{cfg}");
        assert_eq!(seen(&mut tail, 1), [2, 3, 4], "{cfg}");
        let received: Vec<_> = std::iter::from_fn(|| reader.try_recv().ok()).collect();
        let expected: &[u64] = if matches!(cfg, LATEST | MAILBOX) { &[4] } else { &[1, 2, 3, 4] };
        assert_eq!(received, expected, "{cfg}");
        let metrics = db.metrics();
        let readers = &metrics.record("record").unwrap().readers;
        assert_eq!(readers.len(), 1, "{cfg}: an observer is no reader");
    }
}

#[test]
fn a_stalled_observer_holds_no_writer_back_and_counts_what_it_missed() {
    for cfg in KINDS {
        let (db, producer, consumer) = open::<u64>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        let mut stalled = consumer.observe("page").unwrap();
        for n in 1..=1_000 {
            producer.try_produce(n).unwrap();
            assert_eq!(reader.try_recv(), Ok(n), "{cfg}");
        }
        assert_eq!(seen(&mut stalled, 0), Vec::from_iter(937..=1_000), "{cfg}");
        assert_eq!(stalled.missed(), 936, "{cfg}");
        producer.try_produce(1_001).unwrap();
        close(&db);
        assert_eq!(seen(&mut stalled, 1_000), [1_001], "{cfg}: what came before the end");
        assert_eq!(stalled.try_see().unwrap_err(), TryRecvError::Closed, "{cfg}");
        let refused = consumer.observe("late").unwrap_err();
        assert_eq!(refused, SubscribeError::Closed { key: "record".into() }, "{cfg}");
    }
}

#[test]
fn a_waiting_observer_is_woken_and_ends_with_the_record() {
    for cfg in KINDS {
        let (db, producer, consumer) = open::<u64>(cfg);
        let mut observer = consumer.observe("page").unwrap();
        let wakes = Arc::new(CountingWaker::default());
        let waker = Waker::from(Arc::clone(&wakes));
        {
            let mut next = pin!(observer.see());
            let mut poll = || next.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(poll().is_pending(), "{cfg}");
            producer.try_produce(1).unwrap();
            assert_eq!(wakes.take_wakes(), 1, "{cfg}");
            let Poll::Ready(Ok(seen)) = poll() else { panic!("{cfg}: it must see the value") };
            assert_eq!((seen.seq, *seen.value), (1, 1), "{cfg}");
        }
        let mut next = pin!(observer.see());
        let mut poll = || next.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(poll().is_pending(), "{cfg}");
        close(&db);
        assert_eq!(wakes.take_wakes(), 1, "{cfg}");
        assert!(matches!(poll(), Poll::Ready(Err(Closed))), "{cfg}");
    }
}

#[test]
fn a_full_queue_and_a_closed_record_refuse_as_without_observers() {
    let (db, producer, consumer) = open::<u64>(QUEUE);
    let _slow = consumer.subscribe().unwrap();
    let mut observer = consumer.observe("page").unwrap();
    (1..=4).for_each(|n| producer.try_produce(n).unwrap());
    assert_eq!(producer.try_produce(5), Err(TryProduceError::Full(5)));
    assert_eq!(producer.try_produce_with(|| 5), Err(TryProduceError::Full(())));
    assert!(poll_once(producer.produce_many([5, 6]), Waker::noop()).is_pending());
    assert_eq!(seen(&mut observer, 0), [1, 2, 3, 4], "what was refused is not seen");
    close(&db);
    assert_eq!(producer.try_produce(5), Err(TryProduceError::Closed(5)));
}

#[test]
fn a_value_is_cloned_once_for_all_observers_and_not_at_all_without() {
    for cfg in KINDS {
        let instances = InstanceCounter::new();
        let (db, producer, consumer) = open::<Counted>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        let mut produce = |n| {
            assert!(producer.try_produce(instances.value(n)).is_ok());
            let before = instances.cloned();
            drop(reader.try_recv());
            instances.cloned() - before
        };
        let by_reader = produce(1);
        let observers: Vec<_> = (0..100).map(|_| consumer.observe("page").unwrap()).collect();
        let before = instances.cloned();
        produce(2);
        assert_eq!(instances.cloned() - before, 1 + by_reader, "{cfg}");
        drop(observers);
        let before = instances.cloned();
        produce(3);
        assert_eq!(instances.cloned() - before, by_reader, "{cfg}: the mirror is gone");
        let held = match cfg {
            RING => 3,
            LATEST => 1,
            _ => 0,
        };
        assert_eq!(instances.alive(), held, "{cfg}: and its values");
        drop((db, producer, consumer, reader));
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}

#[test]
fn a_copy_that_an_observer_keeps_stays_as_it_was_seen() {
    for cfg in KINDS {
        let (_db, producer, consumer) = open::<String>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        let mut observer = consumer.observe("page").unwrap();
        let mut kept = Vec::new();
        for n in 1..=200_u64 {
            producer.try_produce(n.to_string()).unwrap();
            assert_eq!(reader.try_recv(), Ok(n.to_string()), "{cfg}");
            let seen = observer.try_see().unwrap();
            // Two of three are given back at once, whose memory later copies use again; a weak reference keeps it too.
            match n % 3 {
                0 => kept.push(seen),
                1 => drop(seen),
                _ => {
                    let weak = Arc::downgrade(&seen.value);
                    drop(seen);
                    assert!(weak.upgrade().is_none_or(|value| *value == n.to_string()), "{cfg}");
                }
            }
        }
        assert_eq!(kept.len(), 66);
        for seen in kept {
            assert_eq!(*seen.value, seen.seq.to_string(), "{cfg}");
        }
    }
}

#[test]
fn each_copy_is_dropped_once_also_if_an_observer_keeps_it() {
    for cfg in KINDS {
        let instances = InstanceCounter::new();
        let (db, producer, consumer) = open::<Counted>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        let mut observer = consumer.observe("page").unwrap();
        let mut kept = Vec::new();
        for n in 1..=200 {
            assert!(producer.try_produce(instances.value(n)).is_ok(), "{cfg}");
            drop(reader.try_recv());
            if n % 5 == 0 {
                kept.extend(observer.try_see());
            }
        }
        drop((db, producer, consumer, reader, observer));
        assert_eq!(instances.alive(), kept.len(), "{cfg}");
        drop(kept);
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}

#[test]
fn a_writer_that_is_refused_makes_no_copy() {
    let instances = InstanceCounter::new();
    let (db, producer, consumer) = open::<Counted>(QUEUE);
    let _slow = consumer.subscribe().unwrap();
    let _observer = consumer.observe("page").unwrap();
    (1..=4).for_each(|n| assert!(producer.try_produce(instances.value(n)).is_ok()));
    let before = instances.cloned();
    (0..100).for_each(|n| assert!(producer.try_produce(instances.value(n)).is_err()));
    close(&db);
    assert!(producer.try_produce(instances.value(5)).is_err());
    assert_eq!(instances.cloned(), before);
}

#[test]
fn a_batch_wakes_as_without_observers() {
    for observed in [false, true] {
        let (_db, producer, consumer) = open::<u64>(MAILBOX);
        let observer = observed.then(|| consumer.observe("page").unwrap());
        let takers: Vec<_> =
            (0..3).map(|_| consumer.subscription().unwrap().into_shared()).collect();
        let mut waiters: Vec<_> = (0..3).map(|_| Waiter::default()).collect();
        for (waiter, taker) in waiters.iter_mut().zip(&takers) {
            assert!(waiter.read(taker).is_pending());
        }
        let polled = poll_once(producer.produce_many([1, 2, 3]), Waker::noop());
        assert_eq!(polled, Poll::Ready(Ok(3)));
        assert_eq!(take_wakes(&waiters), [1, 0, 0], "observed: {observed}");
        drop(observer);
    }
}

#[test]
fn an_observers_waker_that_panics_is_not_the_writers_concern() {
    for cfg in KINDS {
        let (_db, producer, consumer) = open::<u64>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        let mut observer = consumer.observe("page").unwrap();
        let waker = Waker::from(Arc::new(Panics));
        let mut see = pin!(observer.see());
        assert!(see.as_mut().poll(&mut Context::from_waker(&waker)).is_pending(), "{cfg}");
        assert_eq!(producer.try_produce(1), Ok(()), "{cfg}");
        assert_eq!(reader.try_recv(), Ok(1), "{cfg}");
    }
}

struct Panics;

impl std::task::Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("no task");
    }
}

#[test]
fn what_an_observer_could_not_see_is_counted_at_the_end_and_its_name_is_shown() {
    let instances = InstanceCounter::new();
    let (db, producer, consumer) = open::<Counted>(RING);
    let mut observer = consumer.observe("page").unwrap();
    assert_eq!(db.metrics().record("record").unwrap().observers, ["page"]);
    instances.panic_in_clone(1);
    assert!(producer.try_produce(instances.value(1)).is_ok());
    close(&db);
    assert_eq!(observer.try_see().unwrap_err(), TryRecvError::Closed);
    assert_eq!(observer.missed(), 1);
    drop(observer);
    assert!(db.metrics().record("record").unwrap().observers.is_empty());
}

#[test]
fn a_clone_that_panics_is_not_the_writers_concern() {
    for cfg in KINDS {
        let instances = InstanceCounter::new();
        let (_db, producer, consumer) = open::<Counted>(cfg);
        let _reader = consumer.subscribe().unwrap();
        let mut observer = consumer.observe("page").unwrap();
        for n in 1..=3 {
            if n == 2 {
                instances.panic_in_clone(1);
            }
            assert!(producer.try_produce(instances.value(n)).is_ok(), "{cfg}");
        }
        let numbers: Vec<_> = std::iter::from_fn(|| observer.try_see().ok())
            .map(|seen| (seen.seq, seen.missed))
            .collect();
        assert_eq!(numbers, [(1, 0), (3, 1)], "{cfg}: the gap is counted");
    }
}

#[test]
fn the_newest_value_of_a_drained_queue_is_known_while_it_is_observed() {
    for cfg in [QUEUE, MAILBOX] {
        let (_, mut builder) = builder();
        builder.configure::<u64>("record", |reg| {
            reg.buffer(cfg).shared().expose(Json).settable();
        });
        let db = builder.build().unwrap();
        let record = db.record("record").unwrap();
        let mut reader = db.consumer::<u64>("record").unwrap().subscribe().unwrap();
        let mut page = record.observe("page").unwrap();
        let mut out = Vec::new();
        record.write(b"7").unwrap();
        assert_eq!(reader.try_recv(), Ok(7), "{cfg}");
        assert_eq!(record.latest(&mut out).unwrap().map(|stamp| stamp.seq), Some(1), "{cfg}");
        assert_eq!(out, b"7", "{cfg}");
        record.write(b"8").unwrap();
        out.clear();
        assert_eq!(record.latest(&mut out).unwrap().map(|stamp| stamp.seq), Some(2), "{cfg}");
        out.clear();
        let seen = page.try_see(&mut out).unwrap().unwrap();
        assert_eq!((seen.seq, seen.missed, &out[..]), (1, 0, &b"7"[..]), "{cfg}");
        drop(page);
        assert_eq!(reader.try_recv(), Ok(8), "{cfg}");
        assert_eq!(record.latest(&mut out).unwrap(), None, "{cfg}");
    }
}

#[test]
fn several_writers_and_observers_that_come_and_go_see_one_order() {
    for cfg in KINDS {
        let (db, producer, consumer) = open::<u64>(cfg);
        let done = AtomicBool::new(false);
        let total = std::thread::scope(|scope| {
            let mut reader = consumer.subscribe().unwrap();
            let writers: Vec<_> = (0..3)
                .map(|_| {
                    let producer = producer.clone();
                    scope.spawn(move || {
                        for n in 0..4_000 {
                            while producer.try_produce(n).is_err() {
                                std::thread::yield_now();
                            }
                        }
                    })
                })
                .collect();
            let watch = |stay: usize| {
                let (consumer, done) = (consumer.clone(), &done);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let mut observer = consumer.observe("watch").unwrap();
                        let (mut last, mut counted) = (None, 0);
                        for _ in 0..stay {
                            match observer.try_see() {
                                Ok(seen) => {
                                    if let Some(last) = last {
                                        assert_eq!(seen.seq, last + 1 + seen.missed);
                                    }
                                    last = Some(seen.seq);
                                    counted += seen.missed;
                                }
                                Err(_) => std::thread::yield_now(),
                            }
                        }
                        assert_eq!(observer.missed(), counted);
                    }
                })
            };
            let watchers = [watch(3), watch(500)];
            let read = scope.spawn(move || {
                let mut received = 0;
                loop {
                    match reader.try_recv() {
                        Ok(_) => received += 1,
                        Err(TryRecvError::Empty) => std::thread::yield_now(),
                        Err(TryRecvError::Closed) => return received + reader.lagged(),
                    }
                }
            });
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            done.store(true, Ordering::Relaxed);
            watchers.into_iter().for_each(|watcher| watcher.join().unwrap());
            close(&db);
            read.join().unwrap()
        });
        assert_eq!(total, 12_000, "{cfg}");
    }
}

/// One step of a program that writes and reads; observers come, look and leave only where the flag says so.
#[derive(Clone, Copy, Debug)]
enum Step {
    Produce,
    ProduceWith,
    ProduceMany(usize),
    Receive(usize),
    Observe,
    Look(usize),
    Leave,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Produce),
        1 => Just(Step::ProduceWith),
        1 => (0..40_usize).prop_map(Step::ProduceMany),
        4 => (0..2_usize).prop_map(Step::Receive),
        1 => Just(Step::Observe),
        2 => (0..100_usize).prop_map(Step::Look),
        1 => Just(Step::Leave),
    ];
    proptest::collection::vec(step, 0..300)
}

/// What writers and readers get, with or without the observers of `steps`.
fn deliveries(cfg: BufferCfg, steps: &[Step], observed: bool) -> Vec<Result<u64, String>> {
    let (_db, producer, consumer) = open::<u64>(cfg);
    let mut readers = [consumer.subscribe().unwrap(), consumer.subscribe().unwrap()];
    let (mut observers, mut accepted, mut results) = (Vec::new(), 0, Vec::new());
    for step in steps {
        match *step {
            Step::Produce => match producer.try_produce(accepted + 1) {
                Ok(()) => accepted += 1,
                Err(refused) => results.push(Err(refused.to_string())),
            },
            Step::ProduceWith => match producer.try_produce_with(|| accepted + 1) {
                Ok(()) => accepted += 1,
                Err(refused) => results.push(Err(refused.to_string())),
            },
            Step::ProduceMany(count) => {
                let values = accepted + 1..=accepted + count as u64;
                let mut many = pin!(producer.produce_many(values));
                let polled = poll(many.as_mut(), Waker::noop());
                accepted += many.accepted() as u64;
                results.push(Err(format!("{polled:?}")));
            }
            Step::Receive(at) => {
                results.push(readers[at].try_recv().map_err(|error| error.to_string()));
            }
            Step::Observe if observed => {
                observers.push((consumer.observe("page").unwrap(), accepted));
            }
            Step::Look(at) if !observers.is_empty() => {
                let at = at % observers.len();
                let (observer, last) = &mut observers[at];
                if let Ok(seen) = observer.try_see() {
                    assert_eq!(*seen.value, seen.seq);
                    assert_eq!(seen.missed, seen.seq - *last - 1);
                    *last = seen.seq;
                }
            }
            Step::Leave => drop(observers.pop()),
            Step::Observe | Step::Look(_) => {}
        }
    }
    results.extend(readers.iter().map(|reader| Ok(reader.lagged())));
    results
}

proptest! {
    #[test]
    fn writers_and_readers_get_the_same_with_observers_as_without(
        kind in 0..4_usize,
        steps in steps(),
    ) {
        let cfg = KINDS[kind];
        prop_assert_eq!(deliveries(cfg, &steps, false), deliveries(cfg, &steps, true));
    }
}
