//! Random operations of several waiters on one shared subscription, against a model.
//!
//! No waiter sleeps while there is a value, unless another waiter has been woken for it. No value is read twice or out
//! of order, whichever calls read values and events. No waiter is woken twice for one wait.
//!
//! `PROPTEST_CASES` sets the number of sequences of 400 operations for each kind of buffer; 256 unless set.
#![cfg(not(aimdb_loom))]

mod common;

use std::collections::VecDeque;
use std::task::Poll;

use aimdb_core::{BufferCfg, Event, TryRecvError};
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

/// The values that the subscription has not returned.
#[derive(Default)]
struct Unread {
    /// Those of the buffer, in order.
    held: VecDeque<u64>,
    /// The one behind a reported lag, older than all others.
    stashed: Option<u64>,
    /// How many were lost since the last read.
    missed: u64,
}

impl Unread {
    fn len(&self) -> usize {
        self.held.len() + usize::from(self.stashed.is_some())
    }

    /// A read of one value, which counts a lag as reported.
    fn value(&mut self) -> Option<u64> {
        self.stashed.take().or_else(|| {
            let value = self.held.pop_front()?;
            self.missed = 0;
            Some(value)
        })
    }

    /// A read of several values.
    fn values(&mut self, limit: usize) -> Vec<u64> {
        match self.stashed.is_some() {
            true => (0..limit.min(1)).filter_map(|_| self.value()).collect(),
            false => (0..limit).map_while(|_| self.value()).collect(),
        }
    }

    fn event(&mut self) -> Option<Event<u64>> {
        if self.stashed.is_none() && self.missed > 0 && !self.held.is_empty() {
            let missed = self.missed;
            self.stashed = self.value();
            return Some(Event::Lagged(missed));
        }
        self.value().map(Event::Value)
    }
}

fn follows_its_model(cfg: BufferCfg, ops: &[(u8, u8)]) {
    let (db, producer, consumer) = open::<u64>(cfg);
    let subscription = consumer.subscription().unwrap().into_shared();
    let mut waiters: [State; WAITERS] = Default::default();
    let mut unread = Unread::default();
    let mut open = true;
    for (nth, &(kind, subject)) in ops.iter().enumerate() {
        let at = usize::from(subject) % WAITERS;
        match kind % 32 {
            0..10 => {
                let value = nth as u64;
                let full =
                    matches!(cfg, BufferCfg::SpmcQueue { capacity } if unread.len() == capacity);
                let accepted = producer.try_produce(value).is_ok();
                assert_eq!(accepted, open && !full);
                if accepted {
                    unread.held.push_back(value);
                }
                if unread.held.len() > cfg.capacity() {
                    unread.held.pop_front();
                    unread.missed += 1;
                }
            }
            10..22 => {
                let State { waiter, waits, woken } = &mut waiters[at];
                let polled = waiter.read(&subscription);
                match unread.value() {
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
            26..28 => match unread.value() {
                Some(value) => assert_eq!(subscription.try_value(), Ok(value)),
                None if open => assert_eq!(subscription.try_value(), Err(TryRecvError::Empty)),
                None => assert_eq!(subscription.try_value(), Err(TryRecvError::Closed)),
            },
            28..30 => {
                let expected = match unread.event() {
                    Some(event) => Ok(event),
                    None if open => Err(TryRecvError::Empty),
                    None => Err(TryRecvError::Closed),
                };
                assert_eq!(subscription.try_event(), expected);
            }
            30 => {
                let mut values = Vec::new();
                let limit = usize::from(subject % 4);
                let taken = subscription.try_many(&mut values, limit).unwrap_or(0);
                assert_eq!(values, unread.values(limit));
                assert_eq!(taken, values.len());
            }
            _ if subject < 8 => {
                open = false;
                close(&db);
            }
            _ => assert_eq!(subscription.pending(), unread.len() as u64),
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
        assert!(!sleeps || unread.len() == 0 || one_is_woken, "no waiter is woken for a value");
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
