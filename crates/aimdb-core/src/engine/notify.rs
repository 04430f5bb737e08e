//! Waiting for a condition that another task makes true.

use core::future::poll_fn;
use core::task::{Context, Poll};

use crate::wait::{WaitGuard, WaitQueue};

/// Wakes all waiting tasks whenever a part of the engine's state has changed. Each checks its own condition.
pub(crate) struct Notify {
    waiting: WaitQueue,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self { waiting: WaitQueue::new() }
    }

    pub(crate) fn notify(&self) {
        self.waiting.notify_all();
    }

    /// Waits until `condition` holds. It is checked before the wait and after every [`notify`](Self::notify).
    pub(crate) async fn until(&self, condition: impl Fn() -> bool) {
        let mut wait = WaitGuard::new(&self.waiting);
        poll_fn(|cx| poll_condition(&mut wait, cx, &condition)).await;
    }
}

fn poll_condition(
    wait: &mut WaitGuard<&WaitQueue>,
    cx: &Context<'_>,
    condition: &impl Fn() -> bool,
) -> Poll<()> {
    if condition() {
        return Poll::Ready(());
    }
    wait.on.register(&mut wait.ticket, cx.waker());
    // The condition may have become true before the task was registered.
    if condition() { Poll::Ready(()) } else { Poll::Pending }
}
