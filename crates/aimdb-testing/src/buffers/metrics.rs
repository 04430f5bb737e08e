//! The counters of a record. An API without metrics passes these cases.

use core::task::Poll;

use aimdb_core::BufferCfg::{Mailbox, SingleLatest};
use aimdb_core::metrics::RecordMetrics;

use super::api::{
    KINDS, OpenRecord, RecordApi, RecordReader, open, produce_all, queue, read_all, ring,
};

/// `(produced, overwritten, depth)`.
fn totals(metrics: &RecordMetrics) -> (u64, u64, usize) {
    (metrics.produced, metrics.overwritten, metrics.depth)
}

/// `(delivered, lagged, pending)` of the reader that subscribed as number `at`.
fn reader(metrics: &RecordMetrics, at: usize) -> (u64, u64, u64) {
    let reader = &metrics.readers[at];
    (reader.delivered, reader.lagged, reader.pending)
}

/// A value that any reader has read does not count as overwritten, although other readers missed it.
pub fn metrics_count_what_a_ring_loses_unread(api: &impl RecordApi) {
    let record = open(api, ring(4));
    let mut quick = record.subscribe().unwrap();
    let _slow = record.subscribe().unwrap();
    produce_all(&record, 0..3);
    assert_eq!(read_all(&mut quick), [0, 1, 2]);
    produce_all(&record, 3..10);
    let Some(metrics) = record.metrics() else { return };
    assert_eq!(metrics.buffer, ring(4));
    assert_eq!(totals(&metrics), (10, 3, 4));
    assert_eq!(reader(&metrics, 0), (3, 3, 4));
    assert_eq!(reader(&metrics, 1), (0, 6, 4));
    assert_eq!(metrics.blocked, None);
}

/// A queue overwrites nothing. A value that it accepts without a reader counts as overwritten unread.
pub fn metrics_count_what_a_queue_holds(api: &impl RecordApi) {
    let record = open(api, queue(4));
    produce_all(&record, 0..2);
    let mut quick = record.subscribe().unwrap();
    let slow = record.subscribe().unwrap();
    produce_all(&record, 2..6);
    assert!(record.try_produce(6).is_err());
    assert_eq!(quick.try_recv(), Ok(2));
    let Some(metrics) = record.metrics() else { return };
    assert_eq!(totals(&metrics), (6, 2, 4));
    assert_eq!(reader(&metrics, 0), (1, 0, 3));
    assert_eq!(reader(&metrics, 1), (0, 0, 4));
    drop(slow);
    let metrics = record.metrics().unwrap();
    assert_eq!((totals(&metrics), metrics.readers.len()), ((6, 2, 3), 1));
}

/// A value that one reader has read does not count as overwritten, and neither does the current value.
pub fn metrics_count_what_a_latest_record_replaces_unread(api: &impl RecordApi) {
    let record = open(api, SingleLatest);
    let mut quick = record.subscribe().unwrap();
    let _slow = record.subscribe().unwrap();
    produce_all(&record, 0..3);
    assert_eq!(read_all(&mut quick), [2]);
    produce_all(&record, 3..5);
    let Some(metrics) = record.metrics() else { return };
    assert_eq!(totals(&metrics), (5, 3, 1));
    assert_eq!(reader(&metrics, 0), (1, 3, 1));
    assert_eq!(reader(&metrics, 1), (0, 4, 1));
}

/// A replaced command counts as overwritten. A taken command is not held.
pub fn metrics_count_what_a_mailbox_replaces(api: &impl RecordApi) {
    let record = open(api, Mailbox);
    let mut taker = record.subscribe().unwrap();
    produce_all(&record, 0..3);
    assert_eq!(read_all(&mut taker), [2]);
    produce_all(&record, [3]);
    assert_eq!(read_all(&mut taker), [3]);
    let Some(metrics) = record.metrics() else { return };
    assert_eq!(totals(&metrics), (4, 2, 0));
    assert_eq!(reader(&metrics, 0), (2, 2, 0));
}

/// The metrics name the reader while a writer waits, and only then.
pub fn metrics_name_the_reader_that_blocks_a_writer(api: &impl RecordApi) {
    let record = open(api, queue(1));
    let mut reader = record.subscribe().unwrap();
    produce_all(&record, [1]);
    let outcome = record.produce_during(2, || {
        let Some(metrics) = record.metrics() else { return };
        let blocked = metrics.blocked.expect("a writer waits");
        assert_eq!((blocked.writers, blocked.held_back_by), (1, metrics.readers[0].name.clone()));
    });
    assert_eq!(outcome, Poll::Pending);
    let blocked = || record.metrics().and_then(|metrics| metrics.blocked);
    assert_eq!(blocked(), None);
    assert_eq!(read_all(&mut reader), [1]);
    assert_eq!(blocked(), None);
}

/// A writer is not blocked from the moment that there is room: after a read, after the reader was dropped, after the\
/// close.
pub fn metrics_omit_a_writer_that_is_no_longer_blocked(api: &impl RecordApi) {
    let blocked = |record: &dyn Fn() -> Option<RecordMetrics>| record().and_then(|m| m.blocked);
    for way in 0..3 {
        let record = open(api, queue(1));
        let mut slow = Some(record.subscribe().unwrap());
        let mut quick = record.subscribe().unwrap();
        produce_all(&record, [1]);
        assert_eq!(read_all(&mut quick), [1]);
        let outcome = record.produce_during(2, || {
            match way {
                0 => assert_eq!(slow.as_mut().map(RecordReader::try_recv), Some(Ok(1))),
                1 => drop(slow.take()),
                _ => record.close(),
            }
            assert_eq!(blocked(&|| record.metrics()), None, "way {way}");
        });
        assert!(outcome.is_ready(), "way {way}");
    }
}

/// Metrics move no cursor.
pub fn taking_metrics_consumes_nothing(api: &impl RecordApi) {
    for cfg in KINDS {
        let record = open(api, cfg);
        let mut reader = record.subscribe().unwrap();
        produce_all(&record, [1]);
        assert_eq!(record.metrics(), record.metrics(), "{cfg}");
        assert_eq!(read_all(&mut reader), [1], "{cfg}");
    }
}
