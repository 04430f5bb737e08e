//! `SpmcQueue`: every value until every reader has it. A full queue holds its writers back.

use alloc::vec::Vec;
use core::cell::RefCell;
use core::task::Poll;

use aimdb_core::{Event, TryProduceError, TryRecvError};

use super::{
    Door, OpenRecord, RecordReader, Takers, all_events, assert_pending, open, produce_all, queue,
    read_all,
};
use crate::payload::Census;

/// Events are values only, in order, and `lagged` stays zero.
pub fn a_queue_loses_nothing_and_knows_no_lag(door: &impl Door) {
    let record = open(door, queue(5));
    let mut reader = record.subscribe().unwrap();
    for round in 0..4 {
        let values = round * 5..round * 5 + 5;
        produce_all(&record, values.clone());
        assert_pending(&reader, 5);
        assert_eq!(all_events(&mut reader), values.map(Event::Value).collect::<Vec<_>>());
    }
    assert_eq!(reader.lagged(), 0);
}

/// Each reader has a place of its own.
pub fn each_queue_reader_sees_every_value(door: &impl Door) {
    let record = open(door, queue(4));
    let mut readers = [(); 3].map(|()| record.subscribe().unwrap());
    produce_all(&record, 0..4);
    for reader in &mut readers {
        assert_eq!(read_all(reader), [0, 1, 2, 3]);
        assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
    }
    produce_all(&record, 4..8);
    assert!(readers.iter_mut().all(|reader| read_all(reader) == [4, 5, 6, 7]));
}

/// The capacity is exact; the refused value comes back and is not in the queue.
pub fn a_full_queue_gives_the_value_back(door: &impl Door) {
    for capacity in [1, 2, 3, 7] {
        let record = open(door, queue(capacity));
        let mut reader = record.subscribe().unwrap();
        produce_all(&record, 0..capacity as u64);
        assert_eq!(record.try_produce(77), Err(TryProduceError::Full(77)));
        assert_eq!(record.produce(78), Poll::Pending);
        assert_eq!(read_all(&mut reader), (0..capacity as u64).collect::<Vec<_>>());
    }
}

/// A queue of one is a hand-over.
pub fn a_queue_of_one_alternates(door: &impl Door) {
    let record = open(door, queue(1));
    let mut reader = record.subscribe().unwrap();
    for value in 0..10 {
        assert_eq!(record.try_produce(value), Ok(()));
        assert_eq!(record.try_produce(99), Err(TryProduceError::Full(99)));
        assert_eq!(reader.recv(), Poll::Ready(Ok(value)));
        assert_eq!(reader.recv(), Poll::Pending);
    }
}

/// A value makes room when the last reader has it, not before.
pub fn only_the_slowest_queue_reader_makes_room(door: &impl Door) {
    let record = open(door, queue(2));
    let mut quick = record.subscribe().unwrap();
    let mut slow = record.subscribe().unwrap();
    produce_all(&record, [0, 1]);
    assert_eq!(read_all(&mut quick), [0, 1]);
    assert_eq!(record.try_produce(2), Err(TryProduceError::Full(2)));
    assert_eq!(slow.try_recv(), Ok(0));
    assert_eq!(record.try_produce(2), Ok(()));
    assert_eq!(record.try_produce(3), Err(TryProduceError::Full(3)));
    assert_eq!((read_all(&mut slow), read_all(&mut quick)), (Vec::from([1, 2]), Vec::from([2])));
}

/// A writer that waits is woken by the read that makes room, and its value comes after what was there.
pub fn a_waiting_writer_goes_on_when_a_value_is_read(door: &impl Door) {
    let record = open(door, queue(1));
    let mut reader = record.subscribe().unwrap();
    produce_all(&record, [1]);
    let read = || assert_eq!(reader.try_recv(), Ok(1));
    assert_eq!(record.produce_during(2, read), Poll::Ready(Ok(())));
    assert_eq!(read_all(&mut reader), [2]);
}

/// Dropping the reader that holds a writer back lets the writer go on.
pub fn a_queue_reader_that_is_dropped_makes_room_at_once(door: &impl Door) {
    let record = open(door, queue(2));
    let mut stays = record.subscribe().unwrap();
    let leaves = record.subscribe().unwrap();
    produce_all(&record, [0, 1]);
    assert_eq!(read_all(&mut stays), [0, 1]);
    assert_eq!(record.produce_during(2, || drop(leaves)), Poll::Ready(Ok(())));
    produce_all(&record, [3]);
    assert_eq!(read_all(&mut stays), [2, 3]);
}

/// What was accepted before belongs to the readers there were.
pub fn a_late_queue_reader_sees_what_comes_after_it_subscribed(door: &impl Door) {
    let record = open(door, queue(3));
    let mut first = record.subscribe().unwrap();
    produce_all(&record, [0, 1]);
    let mut late = record.subscribe().unwrap();
    assert_eq!(late.recv(), Poll::Pending);
    produce_all(&record, [2]);
    assert_eq!((read_all(&mut late), read_all(&mut first)), (Vec::from([2]), Vec::from([0, 1, 2])));
}

/// "Until every reader has it" holds at once when there is none: nobody is waited for.
pub fn a_queue_without_readers_lets_values_go(door: &impl Door) {
    let record = open(door, queue(2));
    produce_all(&record, 0..5);
    assert_eq!(record.latest(), None);
    let mut reader = record.subscribe().unwrap();
    assert_eq!(reader.recv(), Poll::Pending);
    produce_all(&record, [5, 6]);
    drop(reader);
    produce_all(&record, 7..12);
    let mut next = record.subscribe().unwrap();
    assert_eq!((next.recv(), record.latest()), (Poll::Pending, None));
    produce_all(&record, [12]);
    assert_eq!(read_all(&mut next), [12]);
}

/// A batch larger than the room goes in up to the last place.
pub fn produce_many_fills_a_queue_exactly_and_waits(door: &impl Door) {
    let record = open(door, queue(40));
    let mut reader = record.subscribe().unwrap();
    assert_eq!(record.produce_many((0..40).collect()), Poll::Ready(Ok(40)));
    assert_eq!(read_all(&mut reader), (0..40).collect::<Vec<_>>());
    assert_eq!(record.produce_many((0..100).collect()), Poll::Pending);
    assert_eq!(read_all(&mut reader), (0..40).collect::<Vec<_>>());
    produce_all(&record, [7]);
    assert_eq!(read_all(&mut reader), [7]);
}

/// With `n` readers a value is cloned `n - 1` times and moved out for the last.
pub fn the_last_queue_reader_is_given_the_value_itself(door: &impl Door) {
    let census = Census::new();
    let record = door.open(queue(4), Takers::One);
    let mut readers = [(); 3].map(|()| record.subscribe().unwrap());
    for number in 0..4 {
        assert!(record.try_produce(census.value(number)).is_ok());
    }
    for (reader, cloned) in readers.iter_mut().zip([4, 8, 8]) {
        assert_eq!(read_all(reader).len(), 4);
        assert_eq!(census.cloned(), cloned);
    }
    assert_eq!(census.alive(), 0);
}

/// A writer that stops waiting keeps its value out of the queue and is not in the way of those that still wait.
pub fn a_writer_that_gives_up_leaves_nothing_behind(door: &impl Door) {
    let record = open(door, queue(1));
    let reader = RefCell::new(record.subscribe().unwrap());
    produce_all(&record, [0]);
    // One waits; another waits behind it, and gives up.
    let outcome = record.produce_during(1, || {
        assert_eq!(record.produce(2), Poll::Pending);
        assert_eq!(reader.borrow_mut().try_recv(), Ok(0));
    });
    assert_eq!(outcome, Poll::Ready(Ok(())));
    assert_eq!(read_all(&mut *reader.borrow_mut()), [1]);
}
