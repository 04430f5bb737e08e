//! How long a call may wait, and who may end its wait.

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use aimdb_core::wait::CancelToken;

use crate::wait::{WaitTicket, Waitable, Waiting};

/// How long a call may wait: for ever, until a moment, until somebody [cancels](CancelToken) it.
///
/// ```
/// use std::time::Duration;
/// use aimdb_sync::{CancelToken, WaitLimit};
///
/// let cancel = CancelToken::new();
/// let limit = WaitLimit::after(Duration::from_millis(20)).or_cancelled(&cancel);
/// # let _ = limit;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct WaitLimit<'c> {
    deadline: Option<Instant>,
    cancel: Option<&'c CancelToken>,
}

impl<'c> WaitLimit<'c> {
    /// For ever.
    #[must_use]
    pub const fn none() -> Self {
        Self { deadline: None, cancel: None }
    }

    /// No longer than `limit` from now. Zero tries once; a limit beyond the end of the clock is none.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self { deadline: Instant::now().checked_add(limit), cancel: None }
    }

    /// Until `deadline`; one that has passed tries once.
    #[must_use]
    pub const fn until(deadline: Instant) -> Self {
        Self { deadline: Some(deadline), cancel: None }
    }

    /// And until `cancel` says so.
    #[must_use]
    pub const fn or_cancelled(self, cancel: &'c CancelToken) -> Self {
        Self { cancel: Some(cancel), ..self }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn cancel(&self) -> Option<&'c CancelToken> {
        self.cancel
    }

    /// Why there is no time to wait at all, if there is none.
    pub(crate) fn over(&self) -> Option<Over> {
        if self.cancel.is_some_and(CancelToken::is_cancelled) {
            return Some(Over::Cancelled);
        }
        self.deadline.is_some_and(|deadline| deadline <= Instant::now()).then_some(Over::Timeout)
    }
}

/// Why a wait ended without what it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Timeout,
    Cancelled,
}

/// A consumer beside others in [`wait_any`](crate::wait_any): it is ready when the waits are ended.
impl Waitable for CancelToken {
    fn poll_ready(&self, ticket: &mut WaitTicket, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_cancelled_since(&mut ticket.cancel, cx.waker()) {
            Waitable::cancel_wait(self, ticket);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn cancel_wait(&self, ticket: &mut WaitTicket) {
        CancelToken::cancel_wait(self, &mut ticket.cancel);
    }

    fn would_deadlock(&self) -> bool {
        false
    }
}

impl Waiting<'_, CancelToken> {
    /// Whether the wait has been ended; `waker` is told if it will be. Unlike [`poll_ready`](Waitable::poll_ready) it stays so.
    pub(crate) fn is_over(&mut self, waker: &Waker) -> bool {
        self.on.is_cancelled_since(&mut self.ticket.cancel, waker)
    }
}
