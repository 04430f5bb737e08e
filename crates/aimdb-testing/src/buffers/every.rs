//! What holds for every kind of buffer.

use alloc::vec::Vec;
use core::task::Poll;

use aimdb_core::{
    BufferCfg, Closed, Event, ProduceError, ProduceManyError, SubscribeError, TryProduceError,
    TryRecvError,
};

use super::{
    Door, KINDS, OpenRecord, RecordReader, Takers, assert_pending, open, produce_all, read_all,
    ring,
};
use crate::payload::Census;

/// However often it looks, through the record and through readers, everything is still to be read.
pub fn latest_never_consumes(door: &impl Door) {
    for cfg in KINDS {
        let record = open(door, cfg);
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

/// A reader that waits gets the value that comes.
pub fn a_waiting_reader_is_woken_by_a_value(door: &impl Door) {
    for cfg in KINDS {
        let record = open(door, cfg);
        let mut reader = record.subscribe().unwrap();
        for value in 0..3 {
            let produce = || produce_all(&record, [value]);
            assert_eq!(reader.recv_during(produce), Poll::Ready(Ok(value)), "{cfg}");
        }
    }
}

/// The kinds that lose values to a slow reader, and how many they hold.
const LOSSY: [(BufferCfg, u64); 4] =
    [(ring(1), 1), (ring(3), 3), (BufferCfg::SingleLatest, 1), (BufferCfg::Mailbox, 1)];

/// A writer that brings one more value than the record holds between any two calls cannot keep a reader of events from
/// its values: a lag that is reported is followed by a value, and the two add up.
pub fn a_reported_lag_is_followed_by_a_value(door: &impl Door) {
    for (cfg, held) in LOSSY {
        let record = open(door, cfg);
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

/// The value that a reported lag promises is there for each way to read, before anything newer, and counts as waiting.
pub fn the_value_behind_a_reported_lag_is_received_by_every_call(door: &impl Door) {
    for (cfg, held) in LOSSY {
        let record = open(door, cfg);
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

/// A reader that waits is told that nothing will come; a writer that waits gets its value back.
pub fn a_waiting_reader_is_woken_by_the_end(door: &impl Door) {
    for cfg in KINDS {
        let record = open(door, cfg);
        let mut reader = record.subscribe().unwrap();
        assert_eq!(reader.recv_during(|| record.close()), Poll::Ready(Err(Closed)), "{cfg}");
    }
    let record = open(door, BufferCfg::SpmcQueue { capacity: 1 });
    let _reader = record.subscribe().unwrap();
    produce_all(&record, [1]);
    let outcome = record.produce_during(2, || record.close());
    assert_eq!(outcome, Poll::Ready(Err(ProduceError(2))));
}

/// A receive that is given up takes nothing with it: not the next value, not its wake-up.
pub fn a_reader_that_gives_up_loses_nothing(door: &impl Door) {
    for cfg in KINDS {
        let record = open(door, cfg);
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

/// It appends, in order, no more than it may and no more than there is.
pub fn recv_many_takes_up_to_its_limit(door: &impl Door) {
    for cfg in [BufferCfg::SpmcRing { capacity: 9 }, BufferCfg::SpmcQueue { capacity: 9 }] {
        let record = open(door, cfg);
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
        let record = open(door, cfg);
        let mut reader = record.subscribe().unwrap();
        produce_all(&record, 0..9);
        let mut values = Vec::new();
        assert_eq!(reader.recv_many(&mut values, 4), Poll::Ready(Ok(1)), "{cfg}");
        assert_eq!((values, reader.lagged()), (Vec::from([8]), 8), "{cfg}");
    }
}

/// On an empty, a filled and a closed record.
pub fn recv_many_with_limit_zero_returns_at_once(door: &impl Door) {
    for cfg in KINDS {
        let record = open(door, cfg);
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

/// An empty batch is no batch, on a full queue too.
pub fn produce_many_of_nothing_accepts_nothing(door: &impl Door) {
    for cfg in KINDS {
        let record = open(door, cfg);
        let mut reader = record.subscribe().unwrap();
        produce_all(&record, 0..cfg.capacity() as u64);
        assert_eq!(record.produce_many(Vec::new()), Poll::Ready(Ok(0)), "{cfg}");
        assert_eq!(read_all(&mut reader).len(), cfg.capacity(), "{cfg}");
    }
}

/// `produce` and `try_produce` hand the value back, on a queue that is full as well.
pub fn a_closed_record_gives_every_value_back(door: &impl Door) {
    for cfg in KINDS {
        let record = open(door, cfg);
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

/// Readers get what is left and then `Closed`, by every way of reading, again and again.
pub fn what_was_accepted_before_the_end_is_still_read(door: &impl Door) {
    for cfg in KINDS {
        let record = open(door, cfg);
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

/// Nobody can subscribe to what has ended.
pub fn a_closed_record_has_no_new_readers(door: &impl Door) {
    for cfg in KINDS {
        let record = open(door, cfg);
        record.close();
        assert!(matches!(record.subscribe(), Err(SubscribeError::Closed { .. })), "{cfg}");
    }
}

/// The second close changes nothing.
pub fn closing_twice_is_closing_once(door: &impl Door) {
    for cfg in KINDS {
        let record = open(door, cfg);
        let mut reader = record.subscribe().unwrap();
        produce_all(&record, [1]);
        record.close();
        record.close();
        assert_eq!(reader.recv(), Poll::Ready(Ok(1)), "{cfg}");
        assert_eq!(reader.recv(), Poll::Ready(Err(Closed)), "{cfg}");
    }
}

/// Overwritten, refused, read, given up or left behind: each value is dropped once.
pub fn no_value_is_leaked_or_dropped_twice(door: &impl Door) {
    for cfg in KINDS {
        let census = Census::new();
        let record = door.open(cfg, Takers::Many);
        let mut reader = record.subscribe().unwrap();
        let idle = record.subscribe().unwrap();
        for number in 0..6 {
            drop(record.try_produce(census.value(number)));
            drop(record.produce(census.value(number)));
        }
        let _ = record.produce_many((0..40).map(|number| census.value(number)).collect());
        drop(reader.try_recv());
        drop(record.latest());
        record.close();
        drop(record.produce(census.value(6)));
        drop((record, reader, idle));
        assert_eq!(census.alive(), 0, "{cfg}");
    }
}
