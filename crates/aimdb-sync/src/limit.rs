//! How long a call may wait, and who may end its wait.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::wait::{Ticket, Waitable, Waiting};
use crate::wakers::{Place, Wakers};

/// How long a call may wait: for ever, until a moment, until somebody [cancels](Cancel) it.
///
/// ```
/// use std::time::Duration;
/// use aimdb_sync::{Cancel, Limit};
///
/// let cancel = Cancel::new();
/// let limit = Limit::after(Duration::from_millis(20)).or_cancelled(&cancel);
/// # let _ = limit;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Limit<'c> {
    deadline: Option<Instant>,
    cancel: Option<&'c Cancel>,
}

impl<'c> Limit<'c> {
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
    pub const fn or_cancelled(self, cancel: &'c Cancel) -> Self {
        Self { cancel: Some(cancel), ..self }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn cancel(&self) -> Option<&'c Cancel> {
        self.cancel
    }

    /// Why there is no time to wait at all, if there is none.
    pub(crate) fn over(&self) -> Option<Over> {
        if self.cancel.is_some_and(Cancel::is_cancelled) {
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

/// Ends the waits of any number of calls, from any thread: those that wait now, and those that would have to, until
/// [`reset`](Self::reset). A call that need not wait does its work all the same.
#[derive(Default)]
pub struct Cancel {
    /// Odd while cancelled. It only grows, so that a wait sees a cancellation that has been reset by now.
    turns: AtomicU64,
    waiting: Wakers,
}

impl Cancel {
    /// Not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends every wait with `Cancelled`, from now on.
    pub fn cancel(&self) {
        self.turn_to(1);
        self.waiting.wake_all();
    }

    /// Lets calls wait again.
    pub fn reset(&self) {
        self.turn_to(0);
    }

    /// Whether waits are ended now.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.turns() % 2 == 1
    }

    fn turn_to(&self, parity: u64) {
        let turn = |turns: u64| (turns % 2 != parity).then_some(turns + 1);
        let _was_so = self.turns.fetch_update(AcqRel, Acquire, turn);
    }

    fn turns(&self) -> u64 {
        self.turns.load(Acquire)
    }
}

/// A place in the line of those whose waits a [`Cancel`] ends.
#[derive(Debug, Default)]
pub(crate) struct CancelTicket {
    place: Place,
    /// The turn in which the wait began.
    began: Option<u64>,
}

impl Cancel {
    /// Whether a wait has been ended, by somebody who may have reset it since.
    fn has_ended(&self, ticket: &mut CancelTicket, waker: &Waker) -> bool {
        let began = match ticket.began {
            Some(began) => began,
            None => *ticket.began.insert(self.turns()),
        };
        if began % 2 == 0 && self.turns() == began {
            self.waiting.wait(&mut ticket.place, waker);
        }
        began % 2 == 1 || self.turns() != began
    }
}

/// A consumer beside others in [`wait_any`](crate::wait_any): it is ready when the waits are ended.
impl Waitable for Cancel {
    fn poll_ready(&self, ticket: &mut Ticket, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_ended(&mut ticket.cancel, cx.waker()) {
            self.stop_waiting(ticket);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn stop_waiting(&self, ticket: &mut Ticket) {
        self.waiting.leave(&mut ticket.cancel.place);
        ticket.cancel.began = None;
    }

    fn would_deadlock(&self) -> bool {
        false
    }
}

impl Waiting<'_, Cancel> {
    /// Whether the wait has been ended; `waker` is told if it will be. Unlike [`poll_ready`](Waitable::poll_ready) it stays so.
    pub(crate) fn is_over(&mut self, waker: &Waker) -> bool {
        self.on.has_ended(&mut self.ticket.cancel, waker)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}
