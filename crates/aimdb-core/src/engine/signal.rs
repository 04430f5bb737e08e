//! Waiting for a condition that another task makes true.

use core::future::poll_fn;
use core::task::{Context, Poll};

use crate::buffer::WaitTicket;
use crate::wait::WaitQueue;

/// Wakes all that wait whenever something changed; each looks for itself whether it was what it waits for.
pub(crate) struct Signal {
    waiting: WaitQueue,
}

impl Signal {
    pub(crate) fn new() -> Self {
        Self { waiting: WaitQueue::new() }
    }

    pub(crate) fn notify(&self) {
        self.waiting.notify_all();
    }

    /// Waits until `condition` holds. It is looked at before waiting and after every [`notify`](Self::notify).
    pub(crate) async fn until(&self, condition: impl Fn() -> bool) {
        let mut wait = SignalWait { signal: self, ticket: WaitTicket::default() };
        poll_fn(|cx| wait.poll(cx, &condition)).await;
    }
}

/// A wait for a [`Signal`], given up when it is dropped.
struct SignalWait<'s> {
    signal: &'s Signal,
    ticket: WaitTicket,
}

impl SignalWait<'_> {
    fn poll(&mut self, cx: &Context<'_>, condition: &impl Fn() -> bool) -> Poll<()> {
        if condition() {
            return Poll::Ready(());
        }
        self.signal.waiting.register(&mut self.ticket, cx.waker());
        // It may have come true between the look and the place in line.
        if condition() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for SignalWait<'_> {
    fn drop(&mut self) {
        self.signal.waiting.cancel_wait(&mut self.ticket);
    }
}
