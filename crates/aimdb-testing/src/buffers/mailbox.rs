//! `Mailbox`: one pending command, newest wins, each taken once.

use core::task::Poll;

use aimdb_core::{BufferCfg::Mailbox, Event, SubscribeError, TryRecvError};

use super::api::{
    OpenRecord, RecordApi, RecordReader, Takers, all_events, assert_pending, open, produce_all,
    read_all,
};
use crate::counted::InstanceCounter;

/// Writers never wait; a newer command replaces the pending one.
pub fn a_mailbox_keeps_the_newest_command(api: &impl RecordApi) {
    let record = open(api, Mailbox);
    let mut taker = record.subscribe().unwrap();
    produce_all(&record, 0..5);
    assert_pending(&taker, 1);
    assert_eq!(read_all(&mut taker), [4]);
    assert_eq!(taker.lagged(), 4);
}

/// The mailbox no longer holds a command that was taken; `latest` does not return it either.
pub fn a_command_is_taken_once(api: &impl RecordApi) {
    let record = open(api, Mailbox);
    let mut taker = record.subscribe().unwrap();
    produce_all(&record, [1]);
    assert_eq!(taker.recv(), Poll::Ready(Ok(1)));
    assert_eq!((taker.recv(), record.latest()), (Poll::Pending, None));
    produce_all(&record, [1]);
    assert_eq!(taker.try_recv(), Ok(1));
    assert_eq!(taker.try_recv(), Err(TryRecvError::Empty));
}

/// A command stays pending until a taker subscribes.
pub fn a_late_taker_takes_what_is_pending(api: &impl RecordApi) {
    let record = open(api, Mailbox);
    produce_all(&record, [1, 2]);
    let mut late = record.subscribe().unwrap();
    assert_pending(&late, 1);
    assert_eq!(late.recv(), Poll::Ready(Ok(2)));
}

/// Each command is received by one of the takers.
pub fn shared_takers_divide_the_commands(api: &impl RecordApi) {
    let record = api.open(Mailbox, Takers::Many);
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

/// A second taker is refused while the first one is subscribed, and accepted after that.
pub fn a_mailbox_that_is_not_shared_has_one_taker(api: &impl RecordApi) {
    let record = open(api, Mailbox);
    let first = record.subscribe().unwrap();
    assert!(matches!(record.subscribe(), Err(SubscribeError::Taken { .. })));
    produce_all(&record, [1]);
    drop(first);
    let mut second = record.subscribe().unwrap();
    assert_eq!(read_all(&mut second), [1]);
}

/// Replaced commands are counted once, by the taker of the command that replaced them. It receives the lag before\
/// the command.
pub fn the_taker_of_a_command_counts_those_it_replaced(api: &impl RecordApi) {
    let record = api.open(Mailbox, Takers::Many);
    let mut first = record.subscribe().unwrap();
    let mut second = record.subscribe().unwrap();
    produce_all(&record, 0..3);
    assert_eq!((first.lagged(), second.lagged()), (0, 0));
    assert_eq!(all_events(&mut second), [Event::Lagged(2), Event::Value(2)]);
    produce_all(&record, 3..5);
    assert_eq!(first.try_recv(), Ok(4));
    assert_eq!((first.lagged(), second.lagged()), (1, 2));
}

/// A command has one taker, so it is moved.
pub fn a_command_is_moved_not_cloned(api: &impl RecordApi) {
    let instances = InstanceCounter::new();
    let record = api.open(Mailbox, Takers::Many);
    let mut takers = [record.subscribe().unwrap(), record.subscribe().unwrap()];
    for number in 0..3 {
        assert!(record.try_produce(instances.value(number)).is_ok());
    }
    assert_eq!(instances.alive(), 1);
    let taken = takers.iter_mut().filter_map(|taker| taker.try_recv().ok()).count();
    assert_eq!((taken, instances.cloned(), instances.alive()), (1, 0, 0));
}
