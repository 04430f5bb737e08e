//! Real threads at the race that a model explores: the last command of a closed mailbox is taken by one taker while
//! another one falls asleep until the end. `AIMDB_ENDS` says how often; 20,000 unless set.

use alloc::sync::Arc;
use alloc::task::Wake;
use core::future::poll_fn;
use core::pin::pin;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::SeqCst;
use core::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::{Buffer, BufferCfg, Subscription, WaitTicket};
use crate::clock::Clock;

/// Longer than any wake-up takes on a busy machine.
const LOST: Duration = Duration::from_secs(20);

struct Still;

impl Clock for Still {
    fn now(&self) -> crate::Instant {
        crate::Instant::from_nanos(0)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait_for_the_end(subscription: &Subscription<u64>) {
    let mut ticket = WaitTicket::default();
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut end = pin!(poll_fn(|cx| subscription.poll_drained(&mut ticket, cx)));
    let began = Instant::now();
    while end.as_mut().poll(&mut cx) == Poll::Pending {
        assert!(began.elapsed() < LOST, "the wake-up is lost");
        thread::park_timeout(LOST);
        // A wake-up that comes with the limit is one that was lost: what is polled then is ready, and this is late.
        assert!(began.elapsed() < LOST, "the wake-up is lost");
    }
    subscription.cancel_drain_wait(&mut ticket);
}

/// Both sides are here.
fn meet(arrived: &AtomicUsize, round: usize) {
    let began = Instant::now();
    arrived.fetch_add(1, SeqCst);
    while arrived.load(SeqCst) < 2 * round {
        assert!(began.elapsed() < 2 * LOST, "the other side has not come");
        thread::yield_now();
    }
}

#[test]
fn no_end_of_a_shared_mailbox_is_lost() {
    let ends = std::env::var("AIMDB_ENDS").map_or(20_000, |ends| ends.parse().expect("a number"));
    let arrived = AtomicUsize::new(0);
    let (hand_over, take_over) = std::sync::mpsc::sync_channel::<Subscription<u64>>(1);
    thread::scope(|scope| {
        let arrived = &arrived;
        scope.spawn(move || {
            for round in 1..=ends {
                let subscription = take_over.recv().expect("a record for each round");
                meet(arrived, round);
                wait_for_the_end(&subscription);
            }
        });
        for round in 1..=ends {
            let record = Buffer::new(BufferCfg::Mailbox, Arc::new(Still)).expect("one value");
            let mut taker = Buffer::subscribe(&record, "taker".into(), true);
            hand_over.send(Buffer::subscribe(&record, "waiter".into(), true)).expect("it waits");
            record.try_produce(1).expect("an open mailbox");
            record.close();
            meet(arrived, round);
            // Now sooner, now later.
            (0..round % 64).for_each(|_| core::hint::spin_loop());
            assert_eq!(taker.try_value_mut(), Ok(1));
        }
    });
}
