//! The value behind a reported lag: every call returns it, and every counter includes it.

mod common;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use aimdb_core::{BufferCfg, Event};
use aimdb_sync::{Attach, GetError};
use common::*;

const RING_OF_ONE: BufferCfg = BufferCfg::SpmcRing { capacity: 1 };

/// One thread receives a lag while another one reads: neither may return `Closed` while a value remains.
#[test]
fn get_returns_closed_only_when_everything_has_been_read() {
    for many in [false, true] {
        watched(move || {
            for _ in 0..2000 {
                let handle = record(RING_OF_ONE);
                let producer = handle.producer::<u64>("r").unwrap();
                let consumer = Arc::new(handle.consumer::<u64>("r").unwrap());
                (0..3).for_each(|n| producer.set(n).unwrap());
                handle.shutdown(Duration::from_secs(5)).unwrap();
                let both = Arc::new(Barrier::new(2));
                let other = thread::spawn({
                    let (consumer, both) = (Arc::clone(&consumer), Arc::clone(&both));
                    move || {
                        both.wait();
                        consumer.try_next_event()
                    }
                });
                both.wait();
                let mine = match many {
                    false => consumer.try_get().map(|_| 1),
                    true => consumer.try_get_many(&mut Vec::new(), 4),
                };
                let other = other.join().unwrap();
                if mine == Err(GetError::Closed) {
                    assert_eq!(consumer.try_get(), Err(GetError::Closed), "after {other:?}");
                }
            }
        });
    }
}

#[test]
fn a_tap_that_returns_between_a_lag_and_its_value_leaves_one_value_unread() {
    for cfg in [RING_OF_ONE, BufferCfg::SingleLatest, BufferCfg::Mailbox] {
        watched(move || {
            let (start, lagged) =
                (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let (may_start, has_lagged) = (Arc::clone(&start), Arc::clone(&lagged));
            let mut builder = builder();
            builder.configure::<u64>("r", |reg| {
                reg.buffer(cfg).tap(move |ctx, r| async move {
                    let mut reader = r.subscribe().unwrap();
                    while !may_start.load(Relaxed) {
                        ctx.time().sleep(Duration::from_millis(1)).await;
                    }
                    assert_eq!(reader.next_event().await, Ok(Event::Lagged(2)));
                    has_lagged.store(true, Relaxed);
                });
            });
            let handle = builder.attach().unwrap();
            let producer = handle.producer::<u64>("r").unwrap();
            (0..3).for_each(|n| producer.set(n).unwrap());
            start.store(true, Relaxed);
            eventually("the tap has received its lag", || lagged.load(Relaxed));
            let report = handle.detach().unwrap();
            assert_eq!(report.undelivered.len(), 1, "{cfg}: {report}");
            assert_eq!(
                (report.undelivered[0].unread, report.undelivered[0].interrupted),
                (1, 0),
                "{cfg}"
            );
        });
    }
}

#[test]
fn a_command_returns_to_the_mailbox_when_its_taker_is_dropped_before_taking_it() {
    let handle = record(BufferCfg::Mailbox);
    let producer = handle.producer::<u64>("r").unwrap();
    let [one, other] = [(); 2].map(|()| handle.consumer::<u64>("r").unwrap());
    (1..=2).for_each(|n| producer.set(n).unwrap());
    assert_eq!(one.try_next_event(), Ok(Event::Lagged(1)));
    assert_eq!(other.try_get(), Err(GetError::Empty));
    drop(one);
    assert_eq!(other.try_get(), Ok(2));
    assert_eq!(handle.metrics().record("r").unwrap().overwritten, 1);

    // A newer command replaces the returned one.
    let one = handle.consumer::<u64>("r").unwrap();
    (3..=4).for_each(|n| producer.set(n).unwrap());
    assert_eq!(one.try_next_event(), Ok(Event::Lagged(1)));
    producer.set(5).unwrap();
    drop(one);
    assert_eq!(other.try_next_event(), Ok(Event::Lagged(1)));
    assert_eq!(other.try_get(), Ok(5));
    assert_eq!(handle.metrics().record("r").unwrap().overwritten, 3);

    // A newer command replaces the returned one even if it has been taken by then: takers never see commands out of order.
    let one = handle.consumer::<u64>("r").unwrap();
    (6..=7).for_each(|n| producer.set(n).unwrap());
    assert_eq!(one.try_next_event(), Ok(Event::Lagged(1)));
    producer.set(8).unwrap();
    assert_eq!(other.try_get(), Ok(8));
    drop(one);
    assert_eq!(other.try_get(), Err(GetError::Empty));
    assert_eq!(handle.metrics().record("r").unwrap().overwritten, 5);
    handle.detach().unwrap();
}

#[test]
fn metrics_count_the_value_behind_a_lag_as_pending() {
    for cfg in [RING_OF_ONE, BufferCfg::SingleLatest] {
        let handle = record(cfg);
        let producer = handle.producer::<u64>("r").unwrap();
        let consumer = handle.consumer::<u64>("r").unwrap();
        (0..3).for_each(|n| producer.set(n).unwrap());
        let counts = || {
            let reader = handle.metrics().record("r").unwrap().readers[0].clone();
            (reader.delivered, reader.lagged, reader.pending)
        };
        assert_eq!(consumer.try_next_event(), Ok(Event::Lagged(2)));
        assert_eq!(counts(), (0, 2, 1), "{cfg}");
        assert_eq!(consumer.try_get(), Ok(2));
        assert_eq!(counts(), (1, 2, 0), "{cfg}");
        handle.detach().unwrap();
    }
}
