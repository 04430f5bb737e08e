//! `SingleLatest`: the current value. Writers never wait; readers skip to the newest.

use core::task::Poll;

use aimdb_core::{BufferCfg::SingleLatest, Event, TryRecvError};

use super::api::{
    OpenRecord, RecordApi, RecordReader, all_events, assert_pending, open, produce_all, read_all,
};

/// A reader that did not read for five values receives the last one.
pub fn a_latest_reader_skips_to_the_newest(api: &impl RecordApi) {
    let record = open(api, SingleLatest);
    let mut reader = record.subscribe().unwrap();
    produce_all(&record, 0..5);
    assert_pending(&reader, 1);
    assert_eq!(reader.lagged(), 4);
    assert_eq!(read_all(&mut reader), [4]);
    assert_eq!(reader.lagged(), 4);
}

/// A reader receives `Lagged(n)` before the value for which it skipped `n` others.
pub fn a_latest_reader_receives_the_lag_before_the_value(api: &impl RecordApi) {
    let record = open(api, SingleLatest);
    let mut reader = record.subscribe().unwrap();
    produce_all(&record, [0]);
    assert_eq!(all_events(&mut reader), [Event::Value(0)]);
    produce_all(&record, 1..4);
    assert_eq!(all_events(&mut reader), [Event::Lagged(2), Event::Value(3)]);
}

/// A new reader receives the current value once, and does not count the earlier ones as lag.
pub fn a_late_latest_reader_sees_the_current_value_at_once(api: &impl RecordApi) {
    let record = open(api, SingleLatest);
    produce_all(&record, 0..3);
    let mut late = record.subscribe().unwrap();
    assert_pending(&late, 1);
    assert_eq!(all_events(&mut late), [Event::Value(2)]);
    assert_eq!(late.lagged(), 0);
}

/// A reader does not receive the same value twice.
pub fn a_latest_reader_sees_each_value_once(api: &impl RecordApi) {
    let record = open(api, SingleLatest);
    let mut reader = record.subscribe().unwrap();
    for value in [5, 5, 6] {
        produce_all(&record, [value]);
        assert_eq!(reader.recv(), Poll::Ready(Ok(value)));
        assert_eq!(reader.recv(), Poll::Pending);
        assert_pending(&reader, 0);
    }
    assert_eq!(reader.lagged(), 0);
}

/// A read by one reader takes the value from no other.
pub fn each_latest_reader_has_its_own_cursor(api: &impl RecordApi) {
    let record = open(api, SingleLatest);
    let mut quick = record.subscribe().unwrap();
    let mut slow = record.subscribe().unwrap();
    for value in 0..3 {
        produce_all(&record, [value]);
        assert_eq!(read_all(&mut quick), [value]);
    }
    assert_eq!(all_events(&mut slow), [Event::Lagged(2), Event::Value(2)]);
    assert_eq!((quick.lagged(), slow.lagged()), (0, 2));
}

/// There is no value before the first one is written, for old readers and for new ones.
pub fn a_latest_record_starts_without_a_value(api: &impl RecordApi) {
    let record = open(api, SingleLatest);
    let mut reader = record.subscribe().unwrap();
    assert_eq!((record.latest(), reader.try_recv()), (None, Err(TryRecvError::Empty)));
    produce_all(&record, [1]);
    assert_eq!(all_events(&mut reader), [Event::Value(1)]);
}

/// `produce` is ready at once, with readers and without.
pub fn a_latest_record_never_blocks_its_writer(api: &impl RecordApi) {
    let record = open(api, SingleLatest);
    produce_all(&record, 0..300);
    let _idle = record.subscribe().unwrap();
    assert_eq!(record.produce_many((300..600).collect()), Poll::Ready(Ok(300)));
    assert_eq!(record.try_produce(600), Ok(()));
    assert_eq!(record.latest(), Some(600));
}
