//! Each buffer's own semantics, through the direct handles of the sync API.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use aimdb_core::{BufferCfg, Event};
use aimdb_sync::{GetError, OpenError, SetError, SyncConsumer, SyncHandle, SyncProducer};
use common::*;

fn open(cfg: BufferCfg) -> (SyncHandle, SyncProducer<u64>, SyncConsumer<u64>) {
    let handle = record(cfg);
    let producer = handle.producer("r").unwrap();
    let consumer = handle.consumer("r").unwrap();
    (handle, producer, consumer)
}

#[test]
fn set_followed_by_try_get_sees_the_value_on_every_buffer() {
    for cfg in KINDS {
        let (_handle, producer, consumer) = open(cfg);
        for n in 0..100 {
            producer.set(n).unwrap();
            assert_eq!(consumer.try_get(), Ok(n), "{cfg}");
        }
        assert_eq!(consumer.try_get(), Err(GetError::Empty), "{cfg}");
    }
}

#[test]
fn a_ring_consumer_that_falls_behind_sees_the_exact_lag() {
    let (_handle, producer, consumer) = open(RING);
    for n in 1..=10 {
        producer.set(n).unwrap();
    }
    assert_eq!(consumer.lagged(), 6, "visible before the consumer reads on");
    assert_eq!(consumer.next_event(), Ok(Event::Lagged(6)));
    for n in 7..=10 {
        assert_eq!(consumer.next_event(), Ok(Event::Value(n)));
    }
    for n in 11..=15 {
        producer.set(n).unwrap();
    }
    assert_eq!(consumer.next_event(), Ok(Event::Lagged(1)));
    assert_eq!(consumer.next_event(), Ok(Event::Value(12)));
    assert_eq!(consumer.lagged(), 7);
}

#[test]
fn get_skips_the_values_that_a_ring_has_lost_and_counts_them() {
    let (_handle, producer, consumer) = open(RING);
    producer.set_many(1..=100).unwrap();
    assert_eq!(consumer.get(), Ok(97));
    assert_eq!(consumer.lagged(), 96);
}

#[test]
fn a_late_ring_consumer_sees_the_values_written_after_it_subscribed() {
    let (handle, producer, _consumer) = open(RING);
    producer.set(1).unwrap();
    let late = handle.consumer::<u64>("r").unwrap();
    assert_eq!(late.try_get(), Err(GetError::Empty));
    producer.set(2).unwrap();
    assert_eq!(late.get(), Ok(2));
    assert_eq!(late.lagged(), 0);
}

#[test]
fn a_full_queue_refuses_and_times_out_with_the_value_until_there_is_room() {
    let (_handle, producer, consumer) = open(QUEUE);
    producer.set_many(1..=4).unwrap();
    assert_eq!(producer.try_set(5), Err(SetError::Full(5)));
    assert_eq!(producer.set_with_timeout(6, A_WHILE), Err(SetError::Timeout(6)));
    assert_eq!(producer.set_with_timeout(7, Duration::ZERO), Err(SetError::Timeout(7)));
    assert_eq!(consumer.get(), Ok(1));
    assert_eq!(producer.try_set(8), Ok(()));
    assert_eq!(producer.try_set(9), Err(SetError::Full(9)));
    let read: Vec<_> = std::iter::from_fn(|| consumer.try_get().ok()).collect();
    assert_eq!(read, [2, 3, 4, 8]);
    assert_eq!(consumer.lagged(), 0);
}

#[test]
fn set_on_a_full_queue_waits_for_the_slowest_consumer() {
    watched(|| {
        let (handle, producer, fast) = open(QUEUE);
        let slow = handle.consumer::<u64>("r").unwrap();
        producer.set_many(1..=4).unwrap();
        let writer = thread::spawn(move || producer.set(5));
        eventually("the writer waits", || blocked_writers(&handle, "r") == 1);
        assert_eq!(fast.get(), Ok(1));
        thread::sleep(A_WHILE);
        assert!(!writer.is_finished(), "the slow one still wants the first value");
        assert_eq!(slow.get(), Ok(1));
        writer.join().unwrap().unwrap();
        assert_eq!(blocked_writers(&handle, "r"), 0);
    });
}

#[test]
fn dropping_a_queue_consumer_unblocks_a_blocked_set() {
    watched(|| {
        let (handle, producer, consumer) = open(QUEUE);
        producer.set_many(1..=4).unwrap();
        let writer = thread::spawn(move || producer.set_many(5..=40));
        eventually("the writer waits", || blocked_writers(&handle, "r") == 1);
        drop(consumer);
        assert_eq!(writer.join().unwrap(), Ok(36));
    });
}

#[test]
fn a_set_that_timed_out_gives_its_place_up_to_the_next() {
    watched(|| {
        let (handle, producer, consumer) = open(BufferCfg::SpmcQueue { capacity: 1 });
        producer.set(1).unwrap();
        // On a busy machine the first writer may time out before this thread sees it wait; the next attempt has a longer limit.
        let mut limit = A_WHILE;
        let impatient = loop {
            let impatient = producer.clone();
            let impatient = thread::spawn(move || impatient.set_with_timeout(2, limit));
            let mut waits = false;
            eventually("the first writer waits, or has timed out", || {
                waits = blocked_writers(&handle, "r") == 1;
                waits || impatient.is_finished()
            });
            if waits {
                break impatient;
            }
            assert_eq!(impatient.join().unwrap(), Err(SetError::Timeout(2)));
            limit *= 2;
        };
        let patient = thread::spawn(move || producer.set(3));
        assert_eq!(impatient.join().unwrap(), Err(SetError::Timeout(2)));
        assert_eq!(consumer.get(), Ok(1));
        patient.join().unwrap().unwrap();
        assert_eq!(consumer.get(), Ok(3));
        assert_eq!(consumer.try_get(), Err(GetError::Empty));
    });
}

#[test]
fn a_latest_consumer_skips_to_the_newest_and_sees_the_lag() {
    let (handle, producer, consumer) = open(BufferCfg::SingleLatest);
    producer.set_many(1..=5).unwrap();
    assert_eq!(consumer.next_event(), Ok(Event::Lagged(4)));
    assert_eq!(consumer.next_event(), Ok(Event::Value(5)));
    assert_eq!(consumer.try_get(), Err(GetError::Empty), "each value once");
    assert_eq!(handle.consumer::<u64>("r").unwrap().try_get(), Ok(5), "a late one sees it at once");
}

#[test]
fn a_mailbox_command_is_taken_once_and_the_newest_wins() {
    let (handle, producer, taker) = open(BufferCfg::Mailbox);
    let other = handle.consumer::<u64>("r").unwrap();
    producer.set(1).unwrap();
    producer.set(2).unwrap();
    assert_eq!(taker.get(), Ok(2));
    assert_eq!(taker.lagged(), 1, "the command counts the one it replaced");
    assert_eq!(other.try_get(), Err(GetError::Empty));
    assert_eq!(other.lagged(), 0);
    producer.set(3).unwrap();
    assert_eq!(other.get(), Ok(3));
    assert_eq!(taker.try_get(), Err(GetError::Empty));
}

#[test]
fn a_mailbox_that_is_not_shared_has_one_taker() {
    let mut builder = builder();
    builder.configure::<u64>("command", |reg| {
        reg.buffer(BufferCfg::Mailbox);
    });
    let handle = aimdb_sync::Attach::attach(builder).unwrap();
    let taker = handle.consumer::<u64>("command").unwrap();
    let refused = handle.consumer::<u64>("command").unwrap_err();
    assert!(matches!(refused, OpenError::Subscribe(_)), "{refused}");
    assert!(refused.to_string().contains("command"), "{refused}");
    assert!(handle.consumer_with_capacity::<u64>("command", 4).is_err());
    drop(taker);
    handle.consumer::<u64>("command").expect("its place is free again");
}

#[test]
fn takers_that_wait_in_threads_divide_the_commands() {
    watched(|| {
        let (handle, producer, _first) = open(BufferCfg::Mailbox);
        let take = |_| {
            let taker = handle.consumer::<u64>("r").unwrap();
            thread::spawn(move || taker.iter().collect::<Vec<_>>())
        };
        let takers: Vec<_> = (0..4).map(take).collect();
        let watch = handle.consumer::<u64>("r").unwrap();
        for n in 0..1_000 {
            producer.set(n).unwrap();
            // The next command is written only after a taker has taken this one.
            while watch.latest().is_some() {
                thread::yield_now();
            }
        }
        handle.detach().unwrap();
        let mut taken: Vec<_> = takers.into_iter().flat_map(|t| t.join().unwrap()).collect();
        taken.sort_unstable();
        assert_eq!(taken, (0..1_000).collect::<Vec<_>>());
    });
}

#[test]
fn latest_reads_without_consuming_on_every_buffer() {
    for cfg in KINDS {
        let (_handle, producer, consumer) = open(cfg);
        assert_eq!(consumer.latest(), None, "{cfg}");
        producer.set(7).unwrap();
        assert_eq!((consumer.latest(), consumer.latest()), (Some(7), Some(7)), "{cfg}");
        assert_eq!(consumer.try_get(), Ok(7), "{cfg}");
        assert_eq!(consumer.lagged(), 0, "{cfg}");
    }
}

#[test]
fn set_many_and_get_many_keep_the_order() {
    watched(|| {
        let (_handle, producer, consumer) = open(BufferCfg::SpmcQueue { capacity: 64 });
        let writer = thread::spawn(move || producer.set_many(0..1_000));
        let mut read = Vec::new();
        while read.len() < 1_000 {
            let before = read.len();
            let got = consumer.get_many(&mut read, 100).unwrap();
            assert!((1..=100).contains(&got), "{got}");
            assert_eq!(read.len(), before + got);
        }
        assert_eq!(writer.join().unwrap(), Ok(1_000));
        assert_eq!(read, (0..1_000).collect::<Vec<_>>());
        assert_eq!(consumer.get_many(&mut read, 0), Ok(0), "a limit of zero does not wait");
    });
}

#[test]
fn set_many_of_nothing_accepts_nothing() {
    let (_handle, producer, _consumer) = open(QUEUE);
    assert_eq!(producer.set_many([]), Ok(0));
}

#[test]
fn iteration_sees_everything_and_ends_at_detach() {
    watched(|| {
        let (handle, producer, consumer) = open(BufferCfg::SpmcRing { capacity: 256 });
        let reader = thread::spawn(move || {
            let by_ref: Vec<_> = (&consumer).into_iter().collect();
            assert_eq!(consumer.get(), Err(GetError::Closed));
            by_ref
        });
        producer.set_many(0..200).unwrap();
        handle.detach().unwrap();
        assert_eq!(reader.join().unwrap(), (0..200).collect::<Vec<_>>());
    });
}

/// Four threads write, four threads share one consumer; the readers must receive each value once.
fn divide(cfg: BufferCfg, batch: usize, read_many: bool) {
    const EACH: u64 = 2_000;
    let (handle, producer, consumer) = open(cfg);
    let consumer = Arc::new(consumer);
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let consumer = Arc::clone(&consumer);
            thread::spawn(move || {
                if !read_many {
                    return consumer.iter().collect::<Vec<_>>();
                }
                let mut read = Vec::new();
                while consumer.get_many(&mut read, 7).is_ok() {}
                read
            })
        })
        .collect();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let producer = producer.clone();
            thread::spawn(move || {
                let values: Vec<u64> = (writer * EACH..(writer + 1) * EACH).collect();
                for chunk in values.chunks(batch) {
                    match chunk {
                        [one] => producer.set(*one).unwrap(),
                        many => _ = producer.set_many(many.iter().copied()).unwrap(),
                    }
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    handle.detach().unwrap();
    let read: Vec<u64> = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
    let distinct: BTreeSet<_> = read.iter().copied().collect();
    assert_eq!(read.len(), distinct.len(), "doubled");
    assert_eq!(distinct.len() as u64, 4 * EACH, "lost");
}

#[test]
fn threads_that_share_a_queue_consumer_divide_the_values() {
    watched(|| divide(QUEUE, 1, false));
}

#[test]
fn threads_that_share_a_queue_consumer_divide_batches() {
    watched(|| divide(BufferCfg::SpmcQueue { capacity: 100 }, 50, false));
    watched(|| divide(BufferCfg::SpmcQueue { capacity: 3 }, 50, true));
}

#[test]
fn threads_that_share_a_ring_consumer_divide_the_values() {
    watched(|| divide(BufferCfg::SpmcRing { capacity: 1 << 14 }, 1, false));
    watched(|| divide(BufferCfg::SpmcRing { capacity: 1 << 14 }, 50, true));
}

#[test]
fn one_set_many_wakes_every_thread_that_waits_for_a_value() {
    watched(|| {
        for cfg in [BufferCfg::SpmcRing { capacity: 64 }, BufferCfg::SpmcQueue { capacity: 64 }] {
            let (_handle, producer, consumer) = open(cfg);
            let consumer = Arc::new(consumer);
            let wait = |_| {
                let consumer = Arc::clone(&consumer);
                thread::spawn(move || consumer.get().unwrap())
            };
            let waiting: Vec<_> = (0..40).map(wait).collect();
            thread::sleep(A_WHILE);
            producer.set_many(0..40).unwrap();
            let mut got: Vec<_> =
                waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
            got.sort_unstable();
            assert_eq!(got, (0..40).collect::<Vec<_>>(), "{cfg}");
        }
    });
}

#[test]
fn a_wait_that_timed_out_does_not_keep_a_value_from_the_others() {
    watched(|| {
        let (_handle, producer, consumer) = open(RING);
        let consumer = Arc::new(consumer);
        for n in 0..50 {
            let impatient = Arc::clone(&consumer);
            let impatient =
                thread::spawn(move || impatient.get_with_timeout(Duration::from_micros(n * 20)));
            let patient = Arc::clone(&consumer);
            let patient = thread::spawn(move || patient.get());
            thread::sleep(Duration::from_micros(500));
            producer.set(n).unwrap();
            // One of the two readers has the value. If it is the impatient one, the patient one receives the next value.
            if impatient.join().unwrap().is_ok() {
                producer.set(n).unwrap();
            }
            assert_eq!(patient.join().unwrap(), Ok(n));
        }
    });
}

#[test]
fn values_flow_through_taps_and_transforms_between_set_and_get() {
    watched(|| {
        let mut builder = builder();
        builder.configure::<u64>("in", |reg| {
            reg.buffer(QUEUE);
        });
        builder.configure::<String>("out", |reg| {
            reg.buffer(QUEUE).transform(aimdb_core::input::<u64>("in"), |n| format!("<{n}>"));
        });
        let handle = aimdb_sync::Attach::attach(builder).unwrap();
        let (to, from) =
            (handle.producer::<u64>("in").unwrap(), handle.consumer::<String>("out").unwrap());
        for n in 0..100 {
            to.set(n).unwrap();
            assert_eq!(from.get().unwrap(), format!("<{n}>"));
        }
        assert!(handle.detach().unwrap().is_clean());
    });
}
