//! Real threads in the race that a model explores: one taker takes the last command of a closed
//! mailbox while another one falls asleep until the drain. `AIMDB_ENDS` is the number of rounds,
//! 20,000 unless set.
//!
//! The model `the_last_command_is_taken_while_another_taker_waits_for_the_drain` explores every
//! order of a memory as loom knows it. This test adds the processor's own: the waiter registers its
//! waker and [revalidates](super::kind::Kind::has_unread) the slot, and the taker releases the slot
//! and loads the flag of the waiter. If both miss each other, no thread wakes the waiter, and the
//! test fails after [`LOST`].
//!
//! Each round is one record with one command. The two threads begin a round together, and the taker
//! adds a delay of its own, so that the rounds cover different overlaps.

use alloc::sync::Arc;
use alloc::task::Wake;
use core::future::poll_fn;
use core::pin::pin;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::SeqCst;
use core::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::Subscription;
use super::buffer::Buffer;
use super::cfg::BufferCfg;
use crate::clock::Clock;

/// Longer than any wake-up takes on a busy machine. Only a lost wake-up makes the test wait that
/// long.
const LOST: Duration = Duration::from_secs(20);

/// A clock that does not advance: no assertion here depends on time in the record.
struct Still;

impl Clock for Still {
    fn now(&self) -> crate::Instant {
        crate::Instant::from_nanos(0)
    }
}

/// A waker that unparks a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Parks the thread until the record is closed and drained.
///
/// # Panics
///
/// If the wake-up is lost.
fn wait_drained(subscription: &mut Subscription<u64>) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut end = pin!(poll_fn(|cx| subscription.poll_drained(cx)));
    let began = Instant::now();
    // A wake-up between the poll and the park is not lost: `park_timeout` then returns at once.
    while end.as_mut().poll(&mut cx) == Poll::Pending {
        assert!(began.elapsed() < LOST, "the wake-up is lost");
        thread::park_timeout(LOST);
        // A poll that is ready only now, after the limit, means that the wake-up was lost.
        assert!(began.elapsed() < LOST, "the wake-up is lost");
    }
}

/// Waits until both threads have arrived in this round. It spins, so that both leave within a few
/// instructions of each other.
fn meet(arrived: &AtomicUsize, round: usize) {
    let began = Instant::now();
    arrived.fetch_add(1, SeqCst);
    while arrived.load(SeqCst) < 2 * round {
        assert!(began.elapsed() < 2 * LOST, "the other side has not come");
        thread::yield_now();
    }
}

/// Two takers share a mailbox. One waits for the drain while the other takes the last command: the
/// waiter is woken in each round.
#[test]
fn no_drain_of_a_shared_mailbox_is_missed() {
    let ends = std::env::var("AIMDB_ENDS").map_or(20_000, |ends| ends.parse().expect("a number"));
    let arrived = AtomicUsize::new(0);
    let (hand_over, take_over) = std::sync::mpsc::sync_channel::<Subscription<u64>>(1);
    thread::scope(|scope| {
        let arrived = &arrived;
        scope.spawn(move || {
            for round in 1..=ends {
                let mut subscription = take_over.recv().expect("a record for each round");
                meet(arrived, round);
                wait_drained(&mut subscription);
            }
        });
        for round in 1..=ends {
            let record = Buffer::new(BufferCfg::Mailbox, Arc::new(Still)).expect("one value");
            let mut taker = Subscription::of_stage(&record, "taker".into());
            hand_over
                .send(Subscription::of_stage(&record, "waiter".into()))
                .expect("the thread waits");
            // The last command, and the close: from here on only the taker can end the other
            // thread's wait.
            record.try_produce(1).expect("an open mailbox");
            record.close();
            meet(arrived, round);
            // A different delay in each round.
            (0..round % 64).for_each(|_| core::hint::spin_loop());
            assert_eq!(taker.try_value(), Ok(1));
        }
    });
}
