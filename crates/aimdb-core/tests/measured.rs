//! Numbers that are measured while a reader is inside a `Clone`.
#![cfg(not(aimdb_loom))]

mod common;

use std::cell::RefCell;

use aimdb_core::BufferCfg;
use common::*;

thread_local! {
    /// What the `Clone` of the value 3 does.
    static IN_CLONE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

#[derive(Debug)]
struct Numbered(u64);

impl Clone for Numbered {
    fn clone(&self) -> Self {
        if self.0 == 3
            && let Some(work) = IN_CLONE.take()
        {
            work();
        }
        Self(self.0)
    }
}

#[test]
fn values_of_a_batch_that_is_being_read_never_count_as_lost() {
    let (db, producer, consumer) = open::<Numbered>(BufferCfg::SpmcRing { capacity: 4 });
    let mut subscription = consumer.subscription().unwrap();
    (0..4).for_each(|number| producer.try_produce(Numbered(number)).unwrap());
    IN_CLONE.set(Some(Box::new({
        let db = db.clone();
        move || {
            // They overwrite the values that the batch has copied already.
            (4..7).for_each(|number| producer.try_produce(Numbered(number)).unwrap());
            let metrics = db.metrics();
            let reader = &metrics.record("record").unwrap().readers[0];
            assert_eq!((reader.delivered, reader.lagged, reader.pending), (3, 0, 4));
        }
    })));
    let mut values = Vec::new();
    assert_eq!(subscription.try_many(&mut values, 4).unwrap(), 4);
    assert!(IN_CLONE.take().is_none(), "the fourth value was cloned");
    assert!(values.iter().map(|value| value.0).eq(0..4));
    assert_eq!(subscription.lagged(), 0);
}

#[test]
fn the_numbers_of_readers_that_have_left_stay_in_the_metrics() {
    // Of six values, or the four that a queue accepts: delivered, lost before the reader came to them, unread. A second
    // reader has the current value of a latest record.
    for (cfg, expected) in
        [(RING, (1, 2, 3)), (QUEUE, (1, 0, 3)), (LATEST, (1, 5, 1)), (MAILBOX, (1, 5, 0))]
    {
        let (db, producer, consumer) = open::<u64>(cfg);
        let mut reader = consumer.subscribe().unwrap();
        for number in 0..6 {
            let _full = producer.try_produce(number);
        }
        assert!(reader.try_recv().is_ok());
        let departed = || db.metrics().record("record").unwrap().departed;
        assert_eq!(departed().readers, 0, "{cfg}");
        drop(reader);
        drop(consumer.subscribe().unwrap());
        let departed = departed();
        let sums = (departed.delivered, departed.lagged, departed.unread);
        assert_eq!((departed.readers, sums), (2, expected), "{cfg}");
    }
}

#[test]
fn values_that_a_leaving_reader_had_lost_and_not_come_to_count_as_lost() {
    let (db, producer, consumer) = open::<u64>(RING);
    let reader = consumer.subscribe().unwrap();
    (0..6).for_each(|number| producer.try_produce(number).unwrap());
    drop(reader);
    let departed = db.metrics().record("record").unwrap().departed;
    assert_eq!((departed.delivered, departed.lagged, departed.unread), (0, 2, 4));
}
