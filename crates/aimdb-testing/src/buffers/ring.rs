//! `SpmcRing`: the last `capacity` values. Writers never wait; a slow reader loses the oldest values and counts them.

use alloc::vec::Vec;
use core::task::Poll;

use aimdb_core::{Event, TryRecvError};

use super::api::{
    OpenRecord, RecordApi, RecordReader, Takers, all_events, assert_pending, open, produce_all,
    read_all, ring,
};
use crate::counted::InstanceCounter;

/// Ten values are written to a ring of four: the last four are held, six are counted as lost.
pub fn a_ring_keeps_the_last_capacity_values_exactly(api: &impl RecordApi) {
    let record = open(api, ring(4));
    let mut reader = record.subscribe().unwrap();
    produce_all(&record, 0..10);
    assert_pending(&reader, 4);
    assert_eq!(read_all(&mut reader), [6, 7, 8, 9]);
    assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(reader.lagged(), 6);
}

/// The capacity is exact: it is not rounded up, and the ring keeps no slot free.
pub fn a_ring_filled_to_its_capacity_loses_nothing(api: &impl RecordApi) {
    for capacity in [1, 2, 3, 5, 8, 13] {
        let record = open(api, ring(capacity));
        let mut reader = record.subscribe().unwrap();
        produce_all(&record, 0..capacity as u64);
        assert_eq!((reader.lagged(), read_all(&mut reader).len()), (0, capacity));

        produce_all(&record, 0..=capacity as u64);
        assert_eq!((reader.lagged(), read_all(&mut reader).len()), (1, capacity));
    }
}

/// A capacity of one is valid.
pub fn a_ring_of_one_keeps_the_newest(api: &impl RecordApi) {
    let record = open(api, ring(1));
    let mut reader = record.subscribe().unwrap();
    produce_all(&record, [1, 2, 3]);
    assert_eq!(all_events(&mut reader), [Event::Lagged(2), Event::Value(3)]);
}

/// `produce` is ready at once, with readers and without.
pub fn a_ring_never_blocks_its_writer(api: &impl RecordApi) {
    let record = open(api, ring(2));
    produce_all(&record, 0..300);
    let _idle = record.subscribe().unwrap();
    produce_all(&record, 300..600);
    assert_eq!(record.produce_many((600..900).collect()), Poll::Ready(Ok(300)));
    assert_eq!(record.try_produce(900), Ok(()));
}

/// A reader does not receive the values written before it subscribed, and does not count them as lost.
pub fn a_late_ring_reader_sees_values_from_its_subscription_on(api: &impl RecordApi) {
    let record = open(api, ring(4));
    produce_all(&record, 0..3);
    let mut late = record.subscribe().unwrap();
    assert_eq!(late.try_recv(), Err(TryRecvError::Empty));
    produce_all(&record, 3..5);
    assert_eq!(read_all(&mut late), [3, 4]);
    assert_eq!(late.lagged(), 0);
}

/// A slow reader costs a quick one nothing.
pub fn each_ring_reader_sees_every_value_and_has_its_own_lag(api: &impl RecordApi) {
    let record = open(api, ring(2));
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

/// A reader receives `Lagged(n)` once, at the position of the `n` lost values.
pub fn a_ring_reader_receives_each_lag_in_order(api: &impl RecordApi) {
    let record = open(api, ring(2));
    let mut reader = record.subscribe().unwrap();
    produce_all(&record, [0]);
    let mut events = all_events(&mut reader);
    produce_all(&record, 1..6);
    events.extend(all_events(&mut reader));
    produce_all(&record, 6..9);
    events.extend(all_events(&mut reader));
    let [gap_of_3, gap_of_1] = [3, 1].map(Event::Lagged);
    let [zero, four, five, seven, eight] = [0, 4, 5, 7, 8].map(Event::Value);
    assert_eq!(events, [zero, gap_of_3, four, five, gap_of_1, seven, eight]);
    assert_eq!(reader.lagged(), 4);
}

/// `lagged()` counts a value as soon as it is lost, once.
pub fn ring_lag_is_counted_before_the_reader_reads_on(api: &impl RecordApi) {
    let record = open(api, ring(3));
    let mut reader = record.subscribe().unwrap();
    for (produced, lost) in [(3, 0), (1, 1), (1, 2)] {
        produce_all(&record, 0..produced);
        assert_eq!(reader.lagged(), lost);
    }
    assert_eq!(reader.next_event(), Poll::Ready(Ok(Event::Lagged(2))));
    // The value that follows a reported lag can no longer be lost; the value after that one can.
    produce_all(&record, [7]);
    assert_eq!(reader.lagged(), 2);
    produce_all(&record, [8]);
    assert_eq!(reader.lagged(), 3);
    assert_eq!(reader.next_event(), Poll::Ready(Ok(Event::Value(2))));
    assert_eq!(reader.next_event(), Poll::Ready(Ok(Event::Lagged(1))));
    assert_eq!(reader.lagged(), 3);
}

/// `recv`, `try_recv` and `recv_many` report no lag: they continue with the oldest value held.
pub fn recv_on_a_ring_skips_lost_values_to_the_oldest_held(api: &impl RecordApi) {
    let record = open(api, ring(3));
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
    assert!(all_events(&mut reader).is_empty(), "lag that `recv` skipped is not reported later");
}

/// A ring keeps a value that it has cloned for a reader. It drops a value when it overwrites it.
pub fn a_ring_clones_for_each_reader_and_drops_what_it_overwrites(api: &impl RecordApi) {
    let instances = InstanceCounter::new();
    let record = api.open(ring(2), Takers::One);
    let mut readers = [record.subscribe().unwrap(), record.subscribe().unwrap()];
    for number in 0..5 {
        assert!(record.try_produce(instances.value(number)).is_ok());
    }
    assert_eq!((instances.cloned(), instances.alive()), (0, 2));
    let seen: Vec<u64> =
        readers.iter_mut().flat_map(read_all).map(|counted| counted.number).collect();
    assert_eq!(seen, [3, 4, 3, 4]);
    assert_eq!((instances.cloned(), instances.alive()), (4, 2));
}
