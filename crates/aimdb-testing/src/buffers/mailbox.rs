//! `Mailbox`: one pending command, newest wins, each taken once.

use core::task::Poll;

use aimdb_core::{BufferCfg::Mailbox, Event, SubscribeError, TryRecvError};

use super::{
    Door, OpenRecord, RecordReader, Takers, all_events, assert_pending, open, produce_all, read_all,
};
use crate::payload::Census;

/// Writers never wait; an older command gives way.
pub fn a_mailbox_keeps_the_newest_command(door: &impl Door) {
    let record = open(door, Mailbox);
    let mut taker = record.subscribe().unwrap();
    produce_all(&record, 0..5);
    assert_pending(&taker, 1);
    assert_eq!(read_all(&mut taker), [4]);
    assert_eq!(taker.lagged(), 4);
}

/// A command that was taken is gone, for `latest` too.
pub fn a_command_is_taken_once(door: &impl Door) {
    let record = open(door, Mailbox);
    let mut taker = record.subscribe().unwrap();
    produce_all(&record, [1]);
    assert_eq!(taker.recv(), Poll::Ready(Ok(1)));
    assert_eq!((taker.recv(), record.latest()), (Poll::Pending, None));
    produce_all(&record, [1]);
    assert_eq!(taker.try_recv(), Ok(1));
    assert_eq!(taker.try_recv(), Err(TryRecvError::Empty));
}

/// A command waits for its taker.
pub fn a_late_taker_takes_what_is_pending(door: &impl Door) {
    let record = open(door, Mailbox);
    produce_all(&record, [1, 2]);
    let mut late = record.subscribe().unwrap();
    assert_pending(&late, 1);
    assert_eq!(late.recv(), Poll::Ready(Ok(2)));
}

/// Each command goes to one of the takers.
pub fn shared_takers_divide_the_commands(door: &impl Door) {
    let record = door.open(Mailbox, Takers::Many);
    let mut takers = [record.subscribe().unwrap(), record.subscribe().unwrap()];
    for command in 0..6 {
        produce_all(&record, [command]);
        let [taker, other] = &mut takers;
        assert_eq!(taker.recv(), Poll::Ready(Ok(command)));
        assert_eq!(other.recv(), Poll::Pending);
        takers.reverse();
    }
    assert_eq!(takers.map(|taker| taker.lagged()), [0, 0]);
}

/// A second taker is refused while the first is there, and welcome when it has gone.
pub fn a_mailbox_that_is_not_shared_has_one_taker(door: &impl Door) {
    let record = open(door, Mailbox);
    let first = record.subscribe().unwrap();
    assert!(matches!(record.subscribe(), Err(SubscribeError::Taken { .. })));
    produce_all(&record, [1]);
    drop(first);
    let mut second = record.subscribe().unwrap();
    assert_eq!(read_all(&mut second), [1]);
}

/// Replaced commands are counted once, by the taker of the one that replaced them, and told before it.
pub fn whoever_takes_a_command_answers_for_those_it_replaced(door: &impl Door) {
    let record = door.open(Mailbox, Takers::Many);
    let mut first = record.subscribe().unwrap();
    let mut second = record.subscribe().unwrap();
    produce_all(&record, 0..3);
    assert_eq!((first.lagged(), second.lagged()), (0, 0));
    assert_eq!(all_events(&mut second), [Event::Lagged(2), Event::Value(2)]);
    produce_all(&record, 3..5);
    assert_eq!(first.try_recv(), Ok(4));
    assert_eq!((first.lagged(), second.lagged()), (1, 2));
}

/// A command need not be copied: it has one taker.
pub fn a_command_is_moved_not_cloned(door: &impl Door) {
    let census = Census::new();
    let record = door.open(Mailbox, Takers::Many);
    let mut takers = [record.subscribe().unwrap(), record.subscribe().unwrap()];
    for number in 0..3 {
        assert!(record.try_produce(census.value(number)).is_ok());
    }
    assert_eq!(census.alive(), 1);
    let taken = takers.iter_mut().filter_map(|taker| taker.try_recv().ok()).count();
    assert_eq!((taken, census.cloned(), census.alive()), (1, 0, 0));
}
