//! Observers of the sync API: they wait as consumers do, and take nothing.

mod common;

use std::thread;
use std::time::Duration;

use aimdb_core::BufferCfg;
use aimdb_sync::{Attach, CancelToken, GetError, OpenError, SyncHandle, WaitLimit};
use common::*;

fn with_record(cfg: BufferCfg) -> SyncHandle {
    let mut builder = builder();
    builder.configure::<u64>("r", |reg| {
        reg.buffer(cfg);
    });
    builder.attach().unwrap()
}

#[test]
fn a_waiting_observer_sees_the_value_of_another_thread_and_its_taker_still_gets_it() {
    watched(|| {
        for cfg in [RING, QUEUE, BufferCfg::SingleLatest, BufferCfg::Mailbox] {
            let handle = with_record(cfg);
            let mut observer = handle.observe::<u64>("r", "bench").unwrap();
            let consumer = handle.consumer::<u64>("r").unwrap();
            let producer = handle.producer::<u64>("r").unwrap();
            thread::scope(|scope| {
                let seen = scope.spawn(|| observer.see().unwrap());
                producer.set(7).unwrap();
                let seen = seen.join().unwrap();
                assert_eq!((seen.seq, seen.missed, *seen.value), (1, 0, 7), "{cfg}");
            });
            assert_eq!(consumer.get(), Ok(7), "{cfg}");
        }
    });
}

#[test]
fn an_observer_ends_its_wait_by_time_by_token_and_by_the_end_of_the_database() {
    watched(|| {
        let handle = with_record(QUEUE);
        let mut observer = handle.observe::<u64>("r", "bench").unwrap();
        assert_eq!(observer.try_see().unwrap_err(), GetError::Empty);
        assert_eq!(observer.see_with_timeout(Duration::ZERO).unwrap_err(), GetError::Timeout);
        let short = Duration::from_millis(5);
        assert_eq!(observer.see_with_timeout(short).unwrap_err(), GetError::Timeout);
        let token = CancelToken::new();
        thread::scope(|scope| {
            let seen = scope
                .spawn(|| observer.see_within(WaitLimit::none().or_cancelled(&token)).unwrap_err());
            token.cancel();
            assert_eq!(seen.join().unwrap(), GetError::Cancelled);
        });
        handle.producer::<u64>("r").unwrap().set(1).unwrap();
        handle.detach().unwrap();
        assert_eq!(*observer.see().unwrap().value, 1, "what came before the end");
        assert_eq!(observer.see().unwrap_err(), GetError::Closed);
        assert_eq!(observer.missed(), 0);
        let refused = handle.observe::<u64>("r", "late").unwrap_err();
        assert!(matches!(refused, OpenError::Subscribe(_)), "{refused}");
        let unknown = handle.observe::<u64>("s", "bench").unwrap_err();
        assert!(unknown.to_string().contains("`s`"), "{unknown}");
    });
}
