//! `SpmcQueue`: every value until every reader has read it. Writers of a full queue wait.

use alloc::vec::Vec;
use core::cell::RefCell;
use core::task::Poll;

use aimdb_core::{Event, TryProduceError, TryRecvError};

use super::api::{
    OpenRecord, RecordApi, RecordReader, Takers, all_events, assert_pending, open, produce_all,
    queue, read_all,
};
use crate::counted::InstanceCounter;

/// A reader of events receives only values, in order, and `lagged` stays zero.
pub fn a_queue_loses_no_value_and_reports_no_lag(api: &impl RecordApi) {
    let record = open(api, queue(5));
    let mut reader = record.subscribe().unwrap();
    for round in 0..4 {
        let values = round * 5..round * 5 + 5;
        produce_all(&record, values.clone());
        assert_pending(&reader, 5);
        assert_eq!(all_events(&mut reader), values.map(Event::Value).collect::<Vec<_>>());
    }
    assert_eq!(reader.lagged(), 0);
}

/// Each reader has its own cursor.
pub fn each_queue_reader_sees_every_value(api: &impl RecordApi) {
    let record = open(api, queue(4));
    let mut readers = [(); 3].map(|()| record.subscribe().unwrap());
    produce_all(&record, 0..4);
    for reader in &mut readers {
        assert_eq!(read_all(reader), [0, 1, 2, 3]);
        assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
    }
    produce_all(&record, 4..8);
    assert!(readers.iter_mut().all(|reader| read_all(reader) == [4, 5, 6, 7]));
}

/// The capacity is exact. A refused value is returned to the writer and is not in the queue.
pub fn a_full_queue_returns_the_value(api: &impl RecordApi) {
    for capacity in [1, 2, 3, 7] {
        let record = open(api, queue(capacity));
        let mut reader = record.subscribe().unwrap();
        produce_all(&record, 0..capacity as u64);
        assert_eq!(record.try_produce(77), Err(TryProduceError::Full(77)));
        assert_eq!(record.produce(78), Poll::Pending);
        assert_eq!(read_all(&mut reader), (0..capacity as u64).collect::<Vec<_>>());
    }
}

/// A queue of one hands each value over before it accepts the next.
pub fn a_queue_of_one_alternates(api: &impl RecordApi) {
    let record = open(api, queue(1));
    let mut reader = record.subscribe().unwrap();
    for value in 0..10 {
        assert_eq!(record.try_produce(value), Ok(()));
        assert_eq!(record.try_produce(99), Err(TryProduceError::Full(99)));
        assert_eq!(reader.recv(), Poll::Ready(Ok(value)));
        assert_eq!(reader.recv(), Poll::Pending);
    }
}

/// A value makes room when the last reader has read it, not before.
pub fn only_the_slowest_queue_reader_makes_room(api: &impl RecordApi) {
    let record = open(api, queue(2));
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

/// The read that makes room wakes the writer. Its value follows the values that were in the queue.
pub fn a_read_wakes_a_waiting_writer(api: &impl RecordApi) {
    let record = open(api, queue(1));
    let mut reader = record.subscribe().unwrap();
    produce_all(&record, [1]);
    let read = || assert_eq!(reader.try_recv(), Ok(1));
    assert_eq!(record.produce_during(2, read), Poll::Ready(Ok(())));
    assert_eq!(read_all(&mut reader), [2]);
}

/// Dropping the reader that blocks a writer wakes the writer.
pub fn a_queue_reader_that_is_dropped_makes_room_at_once(api: &impl RecordApi) {
    let record = open(api, queue(2));
    let mut stays = record.subscribe().unwrap();
    let leaves = record.subscribe().unwrap();
    produce_all(&record, [0, 1]);
    assert_eq!(read_all(&mut stays), [0, 1]);
    assert_eq!(record.produce_during(2, || drop(leaves)), Poll::Ready(Ok(())));
    produce_all(&record, [3]);
    assert_eq!(read_all(&mut stays), [2, 3]);
}

/// The values accepted before a subscription are for the earlier readers only.
pub fn a_late_queue_reader_sees_values_from_its_subscription_on(api: &impl RecordApi) {
    let record = open(api, queue(3));
    let mut first = record.subscribe().unwrap();
    produce_all(&record, [0, 1]);
    let mut late = record.subscribe().unwrap();
    assert_eq!(late.recv(), Poll::Pending);
    produce_all(&record, [2]);
    assert_eq!((read_all(&mut late), read_all(&mut first)), (Vec::from([2]), Vec::from([0, 1, 2])));
}

/// Without a reader, every value has been read by every reader at once: no writer waits.
pub fn a_queue_without_readers_discards_values(api: &impl RecordApi) {
    let record = open(api, queue(2));
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

/// A batch larger than the room fills the queue to its last slot, then waits.
pub fn produce_many_fills_a_queue_exactly_and_waits(api: &impl RecordApi) {
    let record = open(api, queue(40));
    let mut reader = record.subscribe().unwrap();
    assert_eq!(record.produce_many((0..40).collect()), Poll::Ready(Ok(40)));
    assert_eq!(read_all(&mut reader), (0..40).collect::<Vec<_>>());
    assert_eq!(record.produce_many((0..100).collect()), Poll::Pending);
    assert_eq!(read_all(&mut reader), (0..40).collect::<Vec<_>>());
    produce_all(&record, [7]);
    assert_eq!(read_all(&mut reader), [7]);
}

/// With `n` readers a value is cloned `n - 1` times and moved to the last reader.
pub fn the_last_queue_reader_receives_the_value_without_a_clone(api: &impl RecordApi) {
    let instances = InstanceCounter::new();
    let record = api.open(queue(4), Takers::One);
    let mut readers = [(); 3].map(|()| record.subscribe().unwrap());
    for number in 0..4 {
        assert!(record.try_produce(instances.value(number)).is_ok());
    }
    for (reader, cloned) in readers.iter_mut().zip([4, 8, 8]) {
        assert_eq!(read_all(reader).len(), 4);
        assert_eq!(instances.cloned(), cloned);
    }
    assert_eq!(instances.alive(), 0);
}

/// A cancelled `produce` adds no value, and does not delay the writers that still wait.
pub fn a_cancelled_produce_leaves_no_value_and_no_waiter(api: &impl RecordApi) {
    let record = open(api, queue(1));
    let reader = RefCell::new(record.subscribe().unwrap());
    produce_all(&record, [0]);
    // One writer waits; another one waits behind it, and is cancelled.
    let outcome = record.produce_during(1, || {
        assert_eq!(record.produce(2), Poll::Pending);
        assert_eq!(reader.borrow_mut().try_recv(), Ok(0));
    });
    assert_eq!(outcome, Poll::Ready(Ok(())));
    assert_eq!(read_all(&mut *reader.borrow_mut()), [1]);
}
