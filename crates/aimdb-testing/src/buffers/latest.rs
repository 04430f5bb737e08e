//! `SingleLatest`: the current value. Writers never wait; readers skip to the newest.

use core::task::Poll;

use aimdb_core::{BufferCfg::SingleLatest, Event, TryRecvError};

use super::{
    Door, OpenRecord, RecordReader, all_events, assert_pending, open, produce_all, read_all,
};

/// Of five values a reader that was busy gets the last.
pub fn a_latest_reader_skips_to_the_newest(door: &impl Door) {
    let record = open(door, SingleLatest);
    let mut reader = record.subscribe().unwrap();
    produce_all(&record, 0..5);
    assert_pending(&reader, 1);
    assert_eq!(reader.lagged(), 4);
    assert_eq!(read_all(&mut reader), [4]);
    assert_eq!(reader.lagged(), 4);
}

/// `Lagged(n)` comes before the value for which `n` others were skipped.
pub fn a_latest_reader_is_told_what_it_skipped(door: &impl Door) {
    let record = open(door, SingleLatest);
    let mut reader = record.subscribe().unwrap();
    produce_all(&record, [0]);
    assert_eq!(all_events(&mut reader), [Event::Value(0)]);
    produce_all(&record, 1..4);
    assert_eq!(all_events(&mut reader), [Event::Lagged(2), Event::Value(3)]);
}

/// The current value, once; what came before it is not lag.
pub fn a_late_latest_reader_sees_the_current_value_at_once(door: &impl Door) {
    let record = open(door, SingleLatest);
    produce_all(&record, 0..3);
    let mut late = record.subscribe().unwrap();
    assert_pending(&late, 1);
    assert_eq!(all_events(&mut late), [Event::Value(2)]);
    assert_eq!(late.lagged(), 0);
}

/// A value that was read is not handed out again to the same reader.
pub fn a_latest_reader_sees_each_value_once(door: &impl Door) {
    let record = open(door, SingleLatest);
    let mut reader = record.subscribe().unwrap();
    for value in [5, 5, 6] {
        produce_all(&record, [value]);
        assert_eq!(reader.recv(), Poll::Ready(Ok(value)));
        assert_eq!(reader.recv(), Poll::Pending);
        assert_pending(&reader, 0);
    }
    assert_eq!(reader.lagged(), 0);
}

/// Reading takes the value from nobody else.
pub fn each_latest_reader_has_its_own_place(door: &impl Door) {
    let record = open(door, SingleLatest);
    let mut quick = record.subscribe().unwrap();
    let mut slow = record.subscribe().unwrap();
    for value in 0..3 {
        produce_all(&record, [value]);
        assert_eq!(read_all(&mut quick), [value]);
    }
    assert_eq!(all_events(&mut slow), [Event::Lagged(2), Event::Value(2)]);
    assert_eq!((quick.lagged(), slow.lagged()), (0, 2));
}

/// Before the first value there is none, for old readers and new.
pub fn a_latest_record_starts_without_a_value(door: &impl Door) {
    let record = open(door, SingleLatest);
    let mut reader = record.subscribe().unwrap();
    assert_eq!((record.latest(), reader.try_recv()), (None, Err(TryRecvError::Empty)));
    produce_all(&record, [1]);
    assert_eq!(all_events(&mut reader), [Event::Value(1)]);
}

/// With or without readers, `produce` is ready at once.
pub fn a_latest_record_never_holds_its_writer_back(door: &impl Door) {
    let record = open(door, SingleLatest);
    produce_all(&record, 0..300);
    let _idle = record.subscribe().unwrap();
    assert_eq!(record.produce_many((300..600).collect()), Poll::Ready(Ok(300)));
    assert_eq!(record.try_produce(600), Ok(()));
    assert_eq!(record.latest(), Some(600));
}
