//! Random operations of several waiters on one shared subscription, against a model.
//!
//! No waiter sleeps while there is a value, unless another waiter has been woken for it. No value is read twice or out
//! of order. No waiter is woken twice for one wait.
//!
//! `PROPTEST_CASES` sets the number of sequences of 400 operations for each kind of buffer; 256 unless set.
#![cfg(not(aimdb_loom))]

mod common;

use std::collections::VecDeque;
use std::task::Poll;

use aimdb_core::{BufferCfg, TryRecvError};
use common::*;
use proptest::prelude::*;

const WAITERS: usize = 5;

/// A waiter, whether it is in the wait queue, and whether it has been woken.
#[derive(Default)]
struct State {
    waiter: Waiter,
    waits: bool,
    woken: bool,
}

fn follows_its_model(cfg: BufferCfg, ops: &[(u8, u8)]) {
    let (db, producer, consumer) = open::<u64>(cfg);
    let subscription = consumer.subscription().unwrap().into_shared();
    let mut waiters: [State; WAITERS] = Default::default();
    // The values to be read, in order.
    let mut held = VecDeque::new();
    let mut open = true;
    for (nth, &(kind, subject)) in ops.iter().enumerate() {
        let at = usize::from(subject) % WAITERS;
        match kind % 32 {
            0..10 => {
                let value = nth as u64;
                let full =
                    matches!(cfg, BufferCfg::SpmcQueue { capacity } if held.len() == capacity);
                let accepted = producer.try_produce(value).is_ok();
                assert_eq!(accepted, open && !full);
                if accepted {
                    held.push_back(value);
                }
                if held.len() > cfg.capacity() {
                    held.pop_front();
                }
            }
            10..22 => {
                let State { waiter, waits, woken } = &mut waiters[at];
                let polled = waiter.read(&subscription);
                match held.pop_front() {
                    Some(value) => assert_eq!(polled, Poll::Ready(Ok(value))),
                    None => assert_eq!(polled.is_pending(), open),
                }
                // A waiter that is still in the wait queue may itself be woken for the values that its read left.
                assert!(waiter.waker.take_wakes() <= usize::from(polled.is_ready() && *waits));
                (*waits, *woken) = (polled.is_pending(), false);
            }
            22..26 => {
                let State { waiter, waits, woken } = &mut waiters[at];
                subscription.cancel_wait(&mut waiter.ticket);
                (*waits, *woken) = (false, false);
            }
            26..29 => match held.pop_front() {
                Some(value) => assert_eq!(subscription.try_value(), Ok(value)),
                None if open => assert_eq!(subscription.try_value(), Err(TryRecvError::Empty)),
                None => assert_eq!(subscription.try_value(), Err(TryRecvError::Closed)),
            },
            29..31 => {
                let mut values = Vec::new();
                let limit = usize::from(subject % 4);
                let taken = subscription.try_many(&mut values, limit).unwrap_or(0);
                assert!(values.iter().copied().eq(held.drain(..limit.min(held.len()))));
                assert_eq!(taken, values.len());
            }
            _ if subject < 8 => {
                open = false;
                close(&db);
            }
            _ => assert_eq!(subscription.pending(), held.len() as u64),
        }
        for State { waiter, waits, woken } in &mut waiters {
            match waiter.waker.take_wakes() {
                0 => {}
                1 => {
                    assert!(*waits && !*woken, "a waiter is woken that does not wait");
                    *woken = true;
                }
                more => panic!("woken {more} times"),
            }
        }
        let sleeps = waiters.iter().any(|state| state.waits && !state.woken);
        let one_is_woken = waiters.iter().any(|state| state.woken);
        assert!(!sleeps || held.is_empty() || one_is_woken, "no waiter is woken for a value");
        assert!(open || !sleeps, "a waiter sleeps although the record is closed");
    }
    for state in &mut waiters {
        subscription.cancel_wait(&mut state.waiter.ticket);
    }
}

fn ops() -> impl Strategy<Value = Vec<(u8, u8)>> {
    proptest::collection::vec(any::<(u8, u8)>(), 400)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_shared_subscription_of_a_ring_follows_its_model(capacity in 1..6_usize, ops in ops()) {
        follows_its_model(BufferCfg::SpmcRing { capacity }, &ops);
    }

    #[test]
    fn a_shared_subscription_of_a_queue_follows_its_model(capacity in 1..6_usize, ops in ops()) {
        follows_its_model(BufferCfg::SpmcQueue { capacity }, &ops);
    }

    #[test]
    fn a_shared_subscription_of_a_latest_record_follows_its_model(ops in ops()) {
        follows_its_model(BufferCfg::SingleLatest, &ops);
    }

    #[test]
    fn a_shared_subscription_of_a_mailbox_follows_its_model(ops in ops()) {
        follows_its_model(BufferCfg::Mailbox, &ops);
    }
}
