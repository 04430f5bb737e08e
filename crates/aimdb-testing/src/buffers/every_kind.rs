//! The promises of every kind of buffer.

use alloc::vec::Vec;
use core::task::Poll;

use aimdb_core::{
    BufferCfg, Closed, Event, ProduceError, ProduceManyError, SubscribeError, TryProduceError,
    TryRecvError,
};

use super::api::{
    KINDS, OpenRecord, RecordApi, RecordReader, Takers, assert_pending, open, produce_all,
    read_all, ring,
};
use crate::counted::InstanceCounter;

/// `latest` calls, of the record and of readers, leave every value to be read.
pub fn latest_never_consumes(api: &impl RecordApi) {
    for cfg in KINDS {
        let record = open(api, cfg);
        let mut reader = record.subscribe().unwrap();
        assert_eq!((record.latest(), reader.latest()), (None, None), "{cfg}");
        produce_all(&record, [1, 2]);
        for _ in 0..3 {
            assert_eq!((record.latest(), reader.latest()), (Some(2), Some(2)), "{cfg}");
        }
        let last = read_all(&mut reader).pop();
        assert_eq!(last, Some(2), "{cfg}");
    }
}

/// A waiting reader receives the next value.
pub fn a_waiting_reader_is_woken_by_a_value(api: &impl RecordApi) {
    for cfg in KINDS {
        let record = open(api, cfg);
        let mut reader = record.subscribe().unwrap();
        for value in 0..3 {
            let produce = || produce_all(&record, [value]);
            assert_eq!(reader.recv_during(produce), Poll::Ready(Ok(value)), "{cfg}");
        }
    }
}

/// The kinds of which a slow reader loses values, and the number of values that each holds.
const LOSSY: [(BufferCfg, u64); 4] =
    [(ring(1), 1), (ring(3), 3), (BufferCfg::SingleLatest, 1), (BufferCfg::Mailbox, 1)];

/// A writer that overruns the record between any two calls cannot withhold values from a reader of events: each
/// reported lag is followed by a value, and lags and values add up.
pub fn a_reported_lag_is_followed_by_a_value(api: &impl RecordApi) {
    for (cfg, held) in LOSSY {
        let record = open(api, cfg);
        let mut reader = record.subscribe().unwrap();
        let (mut next, mut position, mut values) = (0, 0, 0);
        let mut behind_a_lag = false;
        for _ in 0..100 {
            produce_all(&record, next..=next + held);
            next += held + 1;
            match reader.next_event() {
                Poll::Ready(Ok(Event::Lagged(missed))) => {
                    assert!(!behind_a_lag, "{cfg}: two lags with no value in between");
                    behind_a_lag = true;
                    position += missed;
                }
                Poll::Ready(Ok(Event::Value(value))) => {
                    assert_eq!(value, position, "{cfg}: the lags before it add up to its position");
                    behind_a_lag = false;
                    position += 1;
                    values += 1;
                }
                other => panic!("{cfg}: {other:?}"),
            }
        }
        assert_eq!(values, 50, "{cfg}");
    }
}

/// The value behind a reported lag is received by each reading call, before any newer value, and counts as pending.
pub fn the_value_behind_a_reported_lag_is_received_by_every_call(api: &impl RecordApi) {
    for (cfg, held) in LOSSY {
        let record = open(api, cfg);
        let mut reader = record.subscribe().unwrap();
        let mut next = 0;
        for call in 0..4 {
            produce_all(&record, next..=next + held);
            assert_eq!(reader.next_event(), Poll::Ready(Ok(Event::Lagged(1))), "{cfg}");
            assert_pending(&reader, held);
            let promised = next + 1;
            let mut batch = Vec::new();
            let value = match call {
                0 => reader.try_recv().unwrap(),
                1 => match reader.recv() {
                    Poll::Ready(Ok(value)) => value,
                    other => panic!("{cfg}: {other:?}"),
                },
                2 => match reader.recv_many(&mut batch, 1) {
                    Poll::Ready(Ok(1)) => batch[0],
                    other => panic!("{cfg}: {other:?}"),
                },
                _ => match reader.next_event() {
                    Poll::Ready(Ok(Event::Value(value))) => value,
                    other => panic!("{cfg}: {other:?}"),
                },
            };
            assert_eq!(value, promised, "{cfg}");
            read_all(&mut reader);
            next += held + 1;
        }
        record.close();
        assert_eq!(reader.next_event(), Poll::Ready(Err(Closed)), "{cfg}");
    }
}

/// A waiting reader receives `Closed`; a waiting writer receives its value back.
pub fn closing_wakes_a_waiting_reader_and_a_waiting_writer(api: &impl RecordApi) {
    for cfg in KINDS {
        let record = open(api, cfg);
        let mut reader = record.subscribe().unwrap();
        assert_eq!(reader.recv_during(|| record.close()), Poll::Ready(Err(Closed)), "{cfg}");
    }
    let record = open(api, BufferCfg::SpmcQueue { capacity: 1 });
    let _reader = record.subscribe().unwrap();
    produce_all(&record, [1]);
    let outcome = record.produce_during(2, || record.close());
    assert_eq!(outcome, Poll::Ready(Err(ProduceError(2))));
}

/// A cancelled receive takes neither the next value nor the wake-up for it.
pub fn a_cancelled_receive_loses_nothing(api: &impl RecordApi) {
    for cfg in KINDS {
        let record = open(api, cfg);
        let mut reader = record.subscribe().unwrap();
        for value in 0..3 {
            assert_eq!(reader.recv(), Poll::Pending, "{cfg}");
            assert_eq!(reader.next_event(), Poll::Pending, "{cfg}");
            assert_eq!(reader.recv_many(&mut Vec::new(), 4), Poll::Pending, "{cfg}");
            produce_all(&record, [value]);
            assert_eq!(reader.recv(), Poll::Ready(Ok(value)), "{cfg}");
        }
        assert_eq!(reader.lagged(), 0, "{cfg}");
    }
}

/// `recv_many` appends in order, up to its limit, and returns without waiting once it has a value.
pub fn recv_many_takes_up_to_its_limit(api: &impl RecordApi) {
    for cfg in [BufferCfg::SpmcRing { capacity: 9 }, BufferCfg::SpmcQueue { capacity: 9 }] {
        let record = open(api, cfg);
        let mut reader = record.subscribe().unwrap();
        produce_all(&record, 0..9);
        let mut values = Vec::from([100]);
        assert_eq!(reader.recv_many(&mut values, 4), Poll::Ready(Ok(4)), "{cfg}");
        assert_eq!(values, [100, 0, 1, 2, 3], "{cfg}");
        assert_pending(&reader, 5);
        assert_eq!(reader.recv_many(&mut values, usize::MAX), Poll::Ready(Ok(5)), "{cfg}");
        assert_eq!(values[5..], [4, 5, 6, 7, 8], "{cfg}");
    }
    for cfg in [BufferCfg::SingleLatest, BufferCfg::Mailbox] {
        let record = open(api, cfg);
        let mut reader = record.subscribe().unwrap();
        produce_all(&record, 0..9);
        let mut values = Vec::new();
        assert_eq!(reader.recv_many(&mut values, 4), Poll::Ready(Ok(1)), "{cfg}");
        assert_eq!((values, reader.lagged()), (Vec::from([8]), 8), "{cfg}");
    }
}

/// It returns at once on an empty, a filled and a closed record.
pub fn recv_many_with_limit_zero_returns_at_once(api: &impl RecordApi) {
    for cfg in KINDS {
        let record = open(api, cfg);
        let mut reader = record.subscribe().unwrap();
        let mut values = Vec::new();
        assert_eq!(reader.recv_many(&mut values, 0), Poll::Ready(Ok(0)), "{cfg}");
        produce_all(&record, [1]);
        assert_eq!(reader.recv_many(&mut values, 0), Poll::Ready(Ok(0)), "{cfg}");
        record.close();
        assert_eq!(reader.recv_many(&mut values, 0), Poll::Ready(Ok(0)), "{cfg}");
        assert!(values.is_empty(), "{cfg}");
        assert_eq!(read_all(&mut reader), [1], "{cfg}");
    }
}

/// An empty batch is accepted at once, by a full queue too.
pub fn produce_many_of_nothing_accepts_nothing(api: &impl RecordApi) {
    for cfg in KINDS {
        let record = open(api, cfg);
        let mut reader = record.subscribe().unwrap();
        produce_all(&record, 0..cfg.capacity() as u64);
        assert_eq!(record.produce_many(Vec::new()), Poll::Ready(Ok(0)), "{cfg}");
        assert_eq!(read_all(&mut reader).len(), cfg.capacity(), "{cfg}");
    }
}

/// `produce` and `try_produce` return the value, on a full queue as well.
pub fn a_closed_record_returns_every_value(api: &impl RecordApi) {
    for cfg in KINDS {
        let record = open(api, cfg);
        let mut reader = record.subscribe().unwrap();
        let full = 0..cfg.capacity() as u64;
        produce_all(&record, full.clone());
        record.close();
        assert_eq!(record.produce(91), Poll::Ready(Err(ProduceError(91))), "{cfg}");
        assert_eq!(record.try_produce(92), Err(TryProduceError::Closed(92)), "{cfg}");
        assert_eq!(
            record.produce_many(Vec::from([93, 94])),
            Poll::Ready(Err(ProduceManyError { accepted: 0 })),
            "{cfg}"
        );
        assert_eq!(read_all(&mut reader), full.collect::<Vec<_>>(), "{cfg}");
    }
}

/// A reader receives the remaining values and then `Closed`, from each reading call, each time.
pub fn values_accepted_before_the_close_are_still_read(api: &impl RecordApi) {
    for cfg in KINDS {
        let record = open(api, cfg);
        let mut reader = record.subscribe().unwrap();
        let values = 0..cfg.capacity() as u64;
        produce_all(&record, values.clone());
        record.close();
        for value in values {
            assert_eq!(reader.recv(), Poll::Ready(Ok(value)), "{cfg}");
        }
        for _ in 0..2 {
            assert_eq!(reader.recv(), Poll::Ready(Err(Closed)), "{cfg}");
            assert_eq!(reader.next_event(), Poll::Ready(Err(Closed)), "{cfg}");
            assert_eq!(reader.try_recv(), Err(TryRecvError::Closed), "{cfg}");
            assert_eq!(reader.recv_many(&mut Vec::new(), 4), Poll::Ready(Err(Closed)), "{cfg}");
        }
    }
}

/// A subscription to a closed record fails.
pub fn a_closed_record_refuses_new_readers(api: &impl RecordApi) {
    for cfg in KINDS {
        let record = open(api, cfg);
        record.close();
        assert!(matches!(record.subscribe(), Err(SubscribeError::Closed { .. })), "{cfg}");
    }
}

/// The second close has no effect.
pub fn closing_twice_is_closing_once(api: &impl RecordApi) {
    for cfg in KINDS {
        let record = open(api, cfg);
        let mut reader = record.subscribe().unwrap();
        produce_all(&record, [1]);
        record.close();
        record.close();
        assert_eq!(reader.recv(), Poll::Ready(Ok(1)), "{cfg}");
        assert_eq!(reader.recv(), Poll::Ready(Err(Closed)), "{cfg}");
    }
}

/// Each value is dropped once: overwritten, refused, read, cancelled or left in the record.
pub fn no_value_is_leaked_or_dropped_twice(api: &impl RecordApi) {
    for cfg in KINDS {
        let instances = InstanceCounter::new();
        let record = api.open(cfg, Takers::Many);
        let mut reader = record.subscribe().unwrap();
        let idle = record.subscribe().unwrap();
        for number in 0..6 {
            drop(record.try_produce(instances.value(number)));
            drop(record.produce(instances.value(number)));
        }
        let _ = record.produce_many((0..40).map(|number| instances.value(number)).collect());
        drop(reader.try_recv());
        drop(record.latest());
        record.close();
        drop(record.produce(instances.value(6)));
        drop((record, reader, idle));
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}
