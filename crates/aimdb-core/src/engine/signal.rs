//! Waiting for a condition that somebody else makes true.

use core::future::poll_fn;
use core::task::{Context, Poll, Waker};

use crate::buffer::{WaitKey, WaitList, WakeBatch, wake_all};
use crate::sync::Lock;

/// Wakes all who wait whenever something changed; each looks for itself whether it was what it waits for.
pub(crate) struct Signal {
    waiters: Lock<WaitList>,
}

impl Signal {
    pub(crate) fn new() -> Self {
        Self { waiters: Lock::new(WaitList::new()) }
    }

    pub(crate) fn notify(&self) {
        let mut wake = WakeBatch::new();
        loop {
            let more = self.waiters.with(|list| list.notify_where(&mut wake, |_| true));
            wake_all(&mut wake);
            if !more {
                return;
            }
        }
    }

    /// Waits until `condition` holds. It is looked at before waiting and after every [`notify`](Self::notify).
    pub(crate) async fn until(&self, condition: impl Fn() -> bool) {
        let mut place = Place { signal: self, key: None };
        poll_fn(|cx| place.poll(cx, &condition)).await;
    }
}

struct Place<'s> {
    signal: &'s Signal,
    key: WaitKey,
}

impl Place<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, condition: &impl Fn() -> bool) -> Poll<()> {
        if condition() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let _replaced: Option<Waker> =
            self.signal.waiters.with(|list| list.register(&mut self.key, 0, waker));
        // It may have come true between the look and the registration.
        if condition() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let _removed = self.signal.waiters.with(|list| list.remove(&mut self.key));
    }
}
