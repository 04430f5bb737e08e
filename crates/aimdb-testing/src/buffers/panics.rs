//! What holds when a value's `Clone` or `Drop` panics: nothing is lost, nothing is dropped twice, everybody goes on.

use alloc::vec::Vec;
use core::task::Poll;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aimdb_core::BufferCfg::{Mailbox, SingleLatest, SpmcQueue, SpmcRing};
use aimdb_core::TryRecvError;

use super::{Door, KINDS, OpenRecord, RecordReader, Takers, assert_pending, queue, read_all, ring};
use crate::payload::{Census, Counted};

/// Whether `work` panics.
fn panics<O>(work: impl FnOnce() -> O) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

fn numbers(reader: &mut impl RecordReader<Counted>) -> Vec<u64> {
    read_all(reader).iter().map(|value| value.number).collect()
}

/// Produces what must be accepted at once.
#[track_caller]
fn accept(
    record: &impl OpenRecord<Counted>,
    census: &aimdb_core::Arc<Census>,
    numbers: impl IntoIterator<Item = u64>,
) {
    for number in numbers {
        assert!(record.try_produce(census.value(number)).is_ok(), "{number} must be accepted");
    }
}

/// By every way of reading and of looking: the reader has had nothing, and writers and other readers go on.
pub fn a_clone_that_panics_leaves_the_value_where_it_was(door: &impl Door) {
    for cfg in KINDS {
        for way in 0..6 {
            if cfg == Mailbox && way < 4 {
                // A command is moved.
                continue;
            }
            let census = Census::new();
            let record = door.open(cfg, Takers::Many);
            let mut reader = record.subscribe().unwrap();
            let mut other = record.subscribe().unwrap();
            accept(&record, &census, [1]);
            census.panic_in_clone(1);
            let panicked = panics(|| match way {
                0 => drop(reader.try_recv()),
                1 => drop(reader.recv()),
                2 => drop(reader.next_event()),
                3 => _ = reader.recv_many(&mut Vec::new(), 4),
                4 => drop(reader.latest()),
                _ => drop(record.latest()),
            });
            assert!(panicked, "{cfg}, way {way}");
            assert_pending(&reader, 1);
            assert_eq!((reader.lagged(), record.latest().unwrap().number), (0, 1), "{cfg}");

            accept(&record, &census, [2]);
            let (first, second): (&[u64], &[u64]) = match cfg {
                SpmcRing { .. } | SpmcQueue { .. } => (&[1, 2], &[1, 2]),
                SingleLatest => (&[2], &[2]),
                Mailbox => (&[2], &[]),
            };
            assert_eq!(numbers(&mut reader), first, "{cfg}, way {way}");
            assert_eq!(numbers(&mut other), second, "{cfg}, way {way}");
            if let Some(metrics) = record.metrics() {
                let delivered: Vec<_> = metrics.readers.iter().map(|r| r.delivered).collect();
                assert_eq!(delivered, [first.len() as u64, second.len() as u64], "{cfg}");
            }
            record.close();
            assert!(matches!(reader.try_recv(), Err(TryRecvError::Closed)), "{cfg}, way {way}");
            drop((record, reader, other));
            assert_eq!(census.alive(), 0, "{cfg}, way {way}");
        }
    }
}

/// What was appended before was read; the next read goes on with the value whose clone panicked.
pub fn recv_many_keeps_what_it_took_before_a_clone_panicked(door: &impl Door) {
    for cfg in [ring(8), queue(8)] {
        let census = Census::new();
        let record = door.open(cfg, Takers::One);
        let mut reader = record.subscribe().unwrap();
        let mut other = record.subscribe().unwrap();
        accept(&record, &census, 0..4);
        census.panic_in_clone(3);
        let mut values = Vec::new();
        assert!(panics(|| reader.recv_many(&mut values, 8)), "{cfg}");
        assert!(values.iter().map(|value| value.number).eq(0..2), "{cfg}");
        assert_pending(&reader, 2);
        if let Some(metrics) = record.metrics() {
            assert_eq!((metrics.readers[0].delivered, metrics.readers[1].delivered), (2, 0));
        }
        assert_eq!(numbers(&mut reader), [2, 3], "{cfg}");
        assert_eq!(numbers(&mut other), [0, 1, 2, 3], "{cfg}");
        record.close();
        drop((record, reader, other, values));
        assert_eq!(census.alive(), 0, "{cfg}");
    }
}

/// A writer that waits for it is woken.
pub fn recv_many_makes_room_for_what_it_took_before_a_clone_panicked(door: &impl Door) {
    let census = Census::new();
    let record = door.open(queue(4), Takers::One);
    let mut reader = record.subscribe().unwrap();
    let mut other = record.subscribe().unwrap();
    accept(&record, &census, 0..4);
    // Of the first two values the reader is the last, and is given them; the third it has to clone.
    assert!(other.try_recv().is_ok() && other.try_recv().is_ok());
    let mut values = Vec::new();
    let outcome = record.produce_during(census.value(4), || {
        census.panic_in_clone(1);
        assert!(panics(|| reader.recv_many(&mut values, 8)));
    });
    assert!(matches!(outcome, Poll::Ready(Ok(()))));
    assert_eq!(values.len(), 2);
    accept(&record, &census, [5]);
    assert!(record.try_produce(census.value(6)).is_err(), "two values made room for two");
    assert_eq!(numbers(&mut reader), [2, 3, 4, 5]);
    assert_eq!(numbers(&mut other), [2, 3, 4, 5]);
    record.close();
    drop((record, reader, other, values));
    assert_eq!(census.alive(), 0);
}

/// The attempt that panics makes no room; the one after it does.
pub fn a_writer_waits_on_through_a_clone_that_panics(door: &impl Door) {
    let census = Census::new();
    let record = door.open(queue(1), Takers::One);
    let mut reader = record.subscribe().unwrap();
    let mut other = record.subscribe().unwrap();
    accept(&record, &census, [0]);
    let outcome = record.produce_during(census.value(1), || {
        census.panic_in_clone(1);
        assert!(panics(|| other.try_recv()));
        assert!(record.try_produce(census.value(9)).is_err());
        assert_eq!((numbers(&mut other).len(), reader.try_recv().unwrap().number), (1, 0));
    });
    assert!(matches!(outcome, Poll::Ready(Ok(()))));
    assert_eq!((numbers(&mut other), numbers(&mut reader)), (Vec::from([1]), Vec::from([1])));
    record.close();
    drop((record, reader, other));
    assert_eq!(census.alive(), 0);
}

/// The caller gets the panic of what it overwrote; its own value is in the record, and counted.
pub fn a_value_is_accepted_though_the_drop_of_another_panics(door: &impl Door) {
    for cfg in [ring(2), SingleLatest, Mailbox] {
        let census = Census::new();
        let record = door.open(cfg, Takers::One);
        let mut reader = record.subscribe().unwrap();
        let held = cfg.capacity() as u64;
        accept(&record, &census, 0..held);
        census.panic_in_drop(1);
        assert!(panics(|| record.try_produce(census.value(held))), "{cfg}");
        census.panic_in_drop(1);
        assert!(panics(|| record.produce(census.value(held + 1))), "{cfg}");
        assert_eq!((census.alive(), reader.lagged()), (held as usize, lost(cfg)), "{cfg}");
        if let Some(metrics) = record.metrics() {
            let counted = (metrics.produced, metrics.overwritten, metrics.depth as u64);
            assert_eq!(counted, (held + 2, 2, held), "{cfg}");
        }
        assert_eq!(numbers(&mut reader), (2..held + 2).collect::<Vec<_>>(), "{cfg}");
        assert_eq!(reader.lagged(), 2, "{cfg}");
        record.close();
        drop((record, reader));
        assert_eq!(census.alive(), 0, "{cfg}");
    }
}

/// What a reader that has not come to it yet knows of two lost values: whoever takes a command answers for others.
fn lost(cfg: aimdb_core::BufferCfg) -> u64 {
    if cfg == Mailbox { 0 } else { 2 }
}

/// The room it makes is used, and what it left is dropped once, to the last value.
pub fn a_queue_reader_leaves_though_the_drop_of_what_it_left_panics(door: &impl Door) {
    let census = Census::new();
    let record = door.open(queue(4), Takers::One);
    let mut stays = record.subscribe().unwrap();
    let leaves = record.subscribe().unwrap();
    accept(&record, &census, 0..4);
    assert_eq!(numbers(&mut stays), [0, 1, 2, 3]);
    let outcome = record.produce_during(census.value(4), || {
        census.panic_in_drop(2);
        assert!(panics(|| drop(leaves)));
    });
    assert!(matches!(outcome, Poll::Ready(Ok(()))));
    assert_eq!(census.alive(), 1);
    if let Some(metrics) = record.metrics() {
        assert_eq!((metrics.produced, metrics.depth, metrics.readers.len()), (5, 1, 1));
    }
    assert_eq!(numbers(&mut stays), [4]);
    accept(&record, &census, 5..9);
    assert_eq!(numbers(&mut stays), [5, 6, 7, 8]);
    record.close();
    drop((record, stays));
    assert_eq!(census.alive(), 0);
}
