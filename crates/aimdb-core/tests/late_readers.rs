//! Readers that begin in the past: what they receive, and that their counts are exact.
#![cfg(not(aimdb_loom))]

mod common;

use aimdb_core::{BufferCfg, Consumer, Reader, Start};
use common::*;

fn begin<R>(consumer: &Consumer<u64, R>, start: Start) -> Reader<u64> {
    consumer.subscribe_from(start).unwrap()
}

fn values(reader: &mut Reader<u64>) -> Vec<u64> {
    std::iter::from_fn(|| reader.try_recv().ok()).collect()
}

/// The starts under test, and what a reader of a ring of four receives after ten values.
const STARTS: [(Start, &[u64]); 6] = [
    (Start::Oldest, &[6, 7, 8, 9]),
    (Start::last(100), &[6, 7, 8, 9]),
    (Start::last(2), &[8, 9]),
    (Start::last(1), &[9]),
    (Start::Newest, &[9]),
    (Start::Next, &[]),
];

#[test]
fn a_late_reader_of_a_ring_receives_what_the_ring_still_holds() {
    let (_db, producer, consumer) = open::<u64>(BufferCfg::ring(4));
    (0..10).for_each(|value| producer.try_produce(value).unwrap());
    for (start, expected) in STARTS {
        let mut reader = begin(&consumer, start);
        assert_eq!(reader.pending(), expected.len() as u64, "{start:?}");
        assert_eq!((values(&mut reader), reader.lagged()), (expected.to_vec(), 0), "{start:?}");
    }
}

#[test]
fn a_late_reader_of_a_ring_that_is_not_full_receives_every_value() {
    for start in [Start::Oldest, Start::last(4)] {
        let (_db, producer, consumer) = open::<u64>(BufferCfg::ring(4));
        assert!(values(&mut begin(&consumer, start)).is_empty());
        (0..3).for_each(|value| producer.try_produce(value).unwrap());
        assert_eq!(values(&mut begin(&consumer, start)), [0, 1, 2]);
    }
}

#[test]
fn values_overwritten_before_a_late_reader_comes_to_them_are_counted_as_lost() {
    let (_db, producer, consumer) = open::<u64>(BufferCfg::ring(4));
    (0..10).for_each(|value| producer.try_produce(value).unwrap());
    let mut reader = begin(&consumer, Start::Oldest);
    (10..13).for_each(|value| producer.try_produce(value).unwrap());
    assert_eq!((reader.lagged(), reader.pending()), (3, 4));
    assert_eq!((values(&mut reader), reader.lagged()), (vec![9, 10, 11, 12], 3));
}

#[test]
fn a_latest_record_gives_its_current_value_unless_the_next_is_asked_for() {
    let (_db, producer, consumer) = open::<u64>(BufferCfg::latest());
    (0..3).for_each(|value| producer.try_produce(value).unwrap());
    for (start, expected) in STARTS {
        let mut reader = begin(&consumer, start);
        let current = if start == Start::Next { vec![] } else { vec![2] };
        assert_eq!((values(&mut reader), reader.lagged()), (current, 0), "{start:?} {expected:?}");
    }
}

#[test]
fn a_late_reader_of_a_queue_receives_what_comes_next_and_holds_the_writer_back_from_there() {
    for (start, _) in STARTS {
        let (_db, producer, consumer) = open::<u64>(BufferCfg::queue(2));
        let mut first = consumer.subscribe().unwrap();
        producer.try_produce(1).unwrap();
        let mut late = begin(&consumer, start);
        producer.try_produce(2).unwrap();
        assert_eq!((values(&mut first), values(&mut late)), (vec![1, 2], vec![2]), "{start:?}");
    }
}

#[test]
fn a_taker_of_a_mailbox_receives_the_pending_command_wherever_it_begins() {
    for (start, _) in STARTS {
        let (_db, producer, consumer) = open::<u64>(BufferCfg::mailbox());
        producer.try_produce(1).unwrap();
        assert_eq!(values(&mut begin(&consumer, start)), [1], "{start:?}");
    }
}
