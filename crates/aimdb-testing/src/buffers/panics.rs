//! Values whose `Clone` or `Drop` panics: no value is lost or dropped twice; other readers and writers continue.

use alloc::vec::Vec;
use core::task::Poll;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aimdb_core::BufferCfg::{Mailbox, SingleLatest, SpmcQueue, SpmcRing};
use aimdb_core::TryRecvError;

use super::api::{
    KINDS, OpenRecord, RecordApi, RecordReader, Takers, assert_pending, queue, read_all, ring,
};
use crate::counted::{Counted, InstanceCounter};

/// Whether `work` panics.
fn panics<O>(work: impl FnOnce() -> O) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

fn numbers(reader: &mut impl RecordReader<Counted>) -> Vec<u64> {
    read_all(reader).iter().map(|value| value.number).collect()
}

/// Produces values that the record must accept at once.
#[track_caller]
fn accept(
    record: &impl OpenRecord<Counted>,
    instances: &aimdb_core::Arc<InstanceCounter>,
    numbers: impl IntoIterator<Item = u64>,
) {
    for number in numbers {
        assert!(record.try_produce(instances.value(number)).is_ok(), "{number} must be accepted");
    }
}

/// In each reading call and in `latest`: the reader has received nothing, and writers and other readers continue.
pub fn a_clone_that_panics_leaves_the_value_where_it_was(api: &impl RecordApi) {
    for cfg in KINDS {
        for way in 0..6 {
            if cfg == Mailbox && way < 4 {
                // A command is moved.
                continue;
            }
            let instances = InstanceCounter::new();
            let record = api.open(cfg, Takers::Many);
            let mut reader = record.subscribe().unwrap();
            let mut other = record.subscribe().unwrap();
            accept(&record, &instances, [1]);
            instances.panic_in_clone(1);
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

            accept(&record, &instances, [2]);
            let (first, second): (&[u64], &[u64]) = match cfg {
                SpmcRing { .. } | SpmcQueue { .. } => (&[1, 2], &[1, 2]),
                SingleLatest => (&[2], &[2]),
                Mailbox => (&[2], &[]),
                other => unreachable!("the suite has no case for a {other}"),
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
            assert_eq!(instances.alive(), 0, "{cfg}, way {way}");
        }
    }
}

/// The values appended before the panic were read; the next read continues with the value whose clone panicked.
pub fn recv_many_keeps_the_values_taken_before_a_clone_panicked(api: &impl RecordApi) {
    for cfg in [ring(8), queue(8)] {
        let instances = InstanceCounter::new();
        let record = api.open(cfg, Takers::One);
        let mut reader = record.subscribe().unwrap();
        let mut other = record.subscribe().unwrap();
        accept(&record, &instances, 0..4);
        instances.panic_in_clone(3);
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
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}

/// A writer that waits for the room is woken.
pub fn recv_many_makes_room_for_the_values_taken_before_a_clone_panicked(api: &impl RecordApi) {
    let instances = InstanceCounter::new();
    let record = api.open(queue(4), Takers::One);
    let mut reader = record.subscribe().unwrap();
    let mut other = record.subscribe().unwrap();
    accept(&record, &instances, 0..4);
    // The reader is the last one of the first two values, which are moved to it; it has to clone the third.
    assert!(other.try_recv().is_ok() && other.try_recv().is_ok());
    let mut values = Vec::new();
    let outcome = record.produce_during(instances.value(4), || {
        instances.panic_in_clone(1);
        assert!(panics(|| reader.recv_many(&mut values, 8)));
    });
    assert!(matches!(outcome, Poll::Ready(Ok(()))));
    assert_eq!(values.len(), 2);
    accept(&record, &instances, [5]);
    assert!(record.try_produce(instances.value(6)).is_err(), "two values made room for two");
    assert_eq!(numbers(&mut reader), [2, 3, 4, 5]);
    assert_eq!(numbers(&mut other), [2, 3, 4, 5]);
    record.close();
    drop((record, reader, other, values));
    assert_eq!(instances.alive(), 0);
}

/// The read that panics makes no room; the next one does.
pub fn a_writer_keeps_waiting_through_a_clone_that_panics(api: &impl RecordApi) {
    let instances = InstanceCounter::new();
    let record = api.open(queue(1), Takers::One);
    let mut reader = record.subscribe().unwrap();
    let mut other = record.subscribe().unwrap();
    accept(&record, &instances, [0]);
    let outcome = record.produce_during(instances.value(1), || {
        instances.panic_in_clone(1);
        assert!(panics(|| other.try_recv()));
        assert!(record.try_produce(instances.value(9)).is_err());
        assert_eq!((numbers(&mut other).len(), reader.try_recv().unwrap().number), (1, 0));
    });
    assert!(matches!(outcome, Poll::Ready(Ok(()))));
    assert_eq!((numbers(&mut other), numbers(&mut reader)), (Vec::from([1]), Vec::from([1])));
    record.close();
    drop((record, reader, other));
    assert_eq!(instances.alive(), 0);
}

/// The panic of the overwritten value's drop reaches the writer. The new value is in the record, and counted.
pub fn a_value_is_accepted_though_the_drop_of_another_panics(api: &impl RecordApi) {
    for cfg in [ring(2), SingleLatest, Mailbox] {
        let instances = InstanceCounter::new();
        let record = api.open(cfg, Takers::One);
        let mut reader = record.subscribe().unwrap();
        let held = cfg.capacity() as u64;
        accept(&record, &instances, 0..held);
        instances.panic_in_drop(1);
        assert!(panics(|| record.try_produce(instances.value(held))), "{cfg}");
        instances.panic_in_drop(1);
        assert!(panics(|| record.produce(instances.value(held + 1))), "{cfg}");
        assert_eq!((instances.alive(), reader.lagged()), (held as usize, lost(cfg)), "{cfg}");
        if let Some(metrics) = record.metrics() {
            let counted = (metrics.produced, metrics.overwritten, metrics.depth as u64);
            assert_eq!(counted, (held + 2, 2, held), "{cfg}");
        }
        assert_eq!(numbers(&mut reader), (2..held + 2).collect::<Vec<_>>(), "{cfg}");
        assert_eq!(reader.lagged(), 2, "{cfg}");
        record.close();
        drop((record, reader));
        assert_eq!(instances.alive(), 0, "{cfg}");
    }
}

/// The lag of a reader after two overwritten values, before it reads on. In a mailbox the taker of the next command
/// counts them.
fn lost(cfg: aimdb_core::BufferCfg) -> u64 {
    if cfg == Mailbox { 0 } else { 2 }
}

/// The room of the unread values is used, and each of them is dropped once.
pub fn a_queue_reader_unsubscribes_though_the_drop_of_an_unread_value_panics(api: &impl RecordApi) {
    let instances = InstanceCounter::new();
    let record = api.open(queue(4), Takers::One);
    let mut stays = record.subscribe().unwrap();
    let leaves = record.subscribe().unwrap();
    accept(&record, &instances, 0..4);
    assert_eq!(numbers(&mut stays), [0, 1, 2, 3]);
    let outcome = record.produce_during(instances.value(4), || {
        instances.panic_in_drop(2);
        assert!(panics(|| drop(leaves)));
    });
    assert!(matches!(outcome, Poll::Ready(Ok(()))));
    assert_eq!(instances.alive(), 1);
    if let Some(metrics) = record.metrics() {
        assert_eq!((metrics.produced, metrics.depth, metrics.readers.len()), (5, 1, 1));
    }
    assert_eq!(numbers(&mut stays), [4]);
    accept(&record, &instances, 5..9);
    assert_eq!(numbers(&mut stays), [5, 6, 7, 8]);
    record.close();
    drop((record, stays));
    assert_eq!(instances.alive(), 0);
}
