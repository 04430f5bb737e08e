//! Wakers that count how often they are woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use aimdb_core::buffer::{SharedSubscription, Subscription, WaitTicket};
use aimdb_core::{Closed, Producer, Record};
use aimdb_testing::TestRuntime;

/// Counts its wake-ups. A test may make the next one panic.
#[derive(Default)]
pub(crate) struct CountingWaker {
    wakes: AtomicUsize,
    panics_next: AtomicBool,
}

impl CountingWaker {
    /// The number of wake-ups since the previous call.
    pub(crate) fn take_wakes(&self) -> usize {
        self.wakes.swap(0, SeqCst)
    }

    pub(crate) fn panic_on_next_wake(&self) {
        self.panics_next.store(true, SeqCst);
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wakes.fetch_add(1, SeqCst);
        assert!(!self.panics_next.swap(false, SeqCst), "a waker panics on purpose");
    }
}

/// A wait ticket with a waker of its own: one waiter in a record's wait queue.
#[derive(Default)]
pub(crate) struct Waiter {
    pub(crate) ticket: WaitTicket,
    pub(crate) waker: Arc<CountingWaker>,
}

impl Waiter {
    pub(crate) fn read<T: Record>(
        &mut self,
        subscription: &SharedSubscription<T>,
    ) -> Poll<Result<T, Closed>> {
        let waker = Waker::from(Arc::clone(&self.waker));
        subscription.poll_value(&mut self.ticket, &mut Context::from_waker(&waker))
    }

    /// Reads through a subscription that no other thread shares.
    pub(crate) fn read_alone<T: Record>(
        &self,
        subscription: &mut Subscription<T>,
    ) -> Poll<Result<T, Closed>> {
        let waker = Waker::from(Arc::clone(&self.waker));
        subscription.poll_value(&mut Context::from_waker(&waker))
    }

    pub(crate) fn write(
        &mut self,
        producer: &Producer<u64, TestRuntime>,
        value: u64,
    ) -> Poll<Result<(), Closed>> {
        let waker = Waker::from(Arc::clone(&self.waker));
        producer.poll_produce(&mut Some(value), &mut self.ticket, &mut Context::from_waker(&waker))
    }
}

/// The number of wake-ups of each waiter since the previous call.
pub(crate) fn take_wakes<'w>(waiters: impl IntoIterator<Item = &'w Waiter>) -> Vec<usize> {
    waiters.into_iter().map(|waiter| waiter.waker.take_wakes()).collect()
}
