//! `SpmcRing`: the last `capacity` values. Writers never wait; a slow reader loses the oldest and is told how many.

use alloc::vec::Vec;
use core::task::Poll;

use aimdb_core::{Event, TryRecvError};

use super::{
    Door, OpenRecord, RecordReader, Takers, all_events, assert_pending, open, produce_all,
    read_all, ring,
};
use crate::payload::Census;

/// Ten values into a ring of four leave the last four, and six are counted as lost.
pub fn a_ring_keeps_the_last_capacity_values_exactly(door: &impl Door) {
    let record = open(door, ring(4));
    let mut reader = record.subscribe().unwrap();
    produce_all(&record, 0..10);
    assert_pending(&reader, 4);
    assert_eq!(read_all(&mut reader), [6, 7, 8, 9]);
    assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(reader.lagged(), 6);
}

/// The capacity is exact: not rounded up, no slot kept free.
pub fn a_ring_filled_to_its_capacity_loses_nothing(door: &impl Door) {
    for capacity in [1, 2, 3, 5, 8, 13] {
        let record = open(door, ring(capacity));
        let mut reader = record.subscribe().unwrap();
        produce_all(&record, 0..capacity as u64);
        assert_eq!((reader.lagged(), read_all(&mut reader).len()), (0, capacity));

        produce_all(&record, 0..=capacity as u64);
        assert_eq!((reader.lagged(), read_all(&mut reader).len()), (1, capacity));
    }
}

/// A ring of one is a ring.
pub fn a_ring_of_one_keeps_the_newest(door: &impl Door) {
    let record = open(door, ring(1));
    let mut reader = record.subscribe().unwrap();
    produce_all(&record, [1, 2, 3]);
    assert_eq!(all_events(&mut reader), [Event::Lagged(2), Event::Value(3)]);
}

/// With or without readers, `produce` is ready at once.
pub fn a_ring_never_holds_its_writer_back(door: &impl Door) {
    let record = open(door, ring(2));
    produce_all(&record, 0..300);
    let _idle = record.subscribe().unwrap();
    produce_all(&record, 300..600);
    assert_eq!(record.produce_many((600..900).collect()), Poll::Ready(Ok(300)));
    assert_eq!(record.try_produce(900), Ok(()));
}

/// What was there before is not seen and not counted as lost.
pub fn a_late_ring_reader_sees_what_comes_after_it_subscribed(door: &impl Door) {
    let record = open(door, ring(4));
    produce_all(&record, 0..3);
    let mut late = record.subscribe().unwrap();
    assert_eq!(late.try_recv(), Err(TryRecvError::Empty));
    produce_all(&record, 3..5);
    assert_eq!(read_all(&mut late), [3, 4]);
    assert_eq!(late.lagged(), 0);
}

/// Readers of a ring do not disturb each other.
pub fn each_ring_reader_sees_every_value_and_has_its_own_lag(door: &impl Door) {
    let record = open(door, ring(2));
    let mut quick = record.subscribe().unwrap();
    let mut slow = record.subscribe().unwrap();
    let mut seen = Vec::new();
    for value in 0..5 {
        produce_all(&record, [value]);
        seen.extend(read_all(&mut quick));
    }
    assert_eq!((seen, quick.lagged()), (Vec::from([0, 1, 2, 3, 4]), 0));
    assert_eq!((read_all(&mut slow), slow.lagged()), (Vec::from([3, 4]), 3));
}

/// `Lagged(n)` stands exactly where the `n` values are missing, once.
pub fn a_ring_reader_is_told_of_each_gap_in_order(door: &impl Door) {
    let record = open(door, ring(2));
    let mut reader = record.subscribe().unwrap();
    produce_all(&record, [0]);
    let mut told = all_events(&mut reader);
    produce_all(&record, 1..6);
    told.extend(all_events(&mut reader));
    produce_all(&record, 6..9);
    told.extend(all_events(&mut reader));
    let [gap_of_3, gap_of_1] = [3, 1].map(Event::Lagged);
    let [zero, four, five, seven, eight] = [0, 4, 5, 7, 8].map(Event::Value);
    assert_eq!(told, [zero, gap_of_3, four, five, gap_of_1, seven, eight]);
    assert_eq!(reader.lagged(), 4);
}

/// `lagged()` counts what is lost already, and counts it once.
pub fn ring_lag_is_visible_before_the_reader_comes_to_it(door: &impl Door) {
    let record = open(door, ring(3));
    let mut reader = record.subscribe().unwrap();
    for (produced, lost) in [(3, 0), (1, 1), (1, 2)] {
        produce_all(&record, 0..produced);
        assert_eq!(reader.lagged(), lost);
    }
    assert_eq!(reader.next_event(), Poll::Ready(Ok(Event::Lagged(2))));
    // The value behind a lag that was reported cannot be lost any more; the one behind it can.
    produce_all(&record, [7]);
    assert_eq!(reader.lagged(), 2);
    produce_all(&record, [8]);
    assert_eq!(reader.lagged(), 3);
    assert_eq!(reader.next_event(), Poll::Ready(Ok(Event::Value(2))));
    assert_eq!(reader.next_event(), Poll::Ready(Ok(Event::Lagged(1))));
    assert_eq!(reader.lagged(), 3);
}

/// `recv`, `try_recv` and `recv_many` survive lag.
pub fn a_ring_reader_that_is_not_told_goes_on_with_the_oldest_left(door: &impl Door) {
    let record = open(door, ring(3));
    let mut reader = record.subscribe().unwrap();
    produce_all(&record, 0..10);
    assert_eq!(reader.recv(), Poll::Ready(Ok(7)));
    produce_all(&record, 10..12);
    assert_eq!(reader.try_recv(), Ok(9));
    produce_all(&record, 12..15);
    let mut values = Vec::new();
    assert_eq!(reader.recv_many(&mut values, 9), Poll::Ready(Ok(3)));
    assert_eq!(values, [12, 13, 14]);
    assert_eq!(reader.lagged(), 7 + 1 + 2);
    assert!(all_events(&mut reader).is_empty(), "lag that was passed over is not told later");
}

/// A ring keeps the value and clones it for each reader; what is overwritten is dropped at once.
pub fn a_ring_clones_for_each_reader_and_drops_what_it_overwrites(door: &impl Door) {
    let census = Census::new();
    let record = door.open(ring(2), Takers::One);
    let mut readers = [record.subscribe().unwrap(), record.subscribe().unwrap()];
    for number in 0..5 {
        assert!(record.try_produce(census.value(number)).is_ok());
    }
    assert_eq!((census.cloned(), census.alive()), (0, 2));
    let seen: Vec<u64> =
        readers.iter_mut().flat_map(read_all).map(|counted| counted.number).collect();
    assert_eq!(seen, [3, 4, 3, 4]);
    assert_eq!((census.cloned(), census.alive()), (4, 2));
}
