//! The cooperative budget of a task: how many operations in a row may succeed before it yields to the other tasks of its
//! thread.

use core::sync::atomic::Ordering::Relaxed;
use core::task::{Context, Poll};

use portable_atomic::AtomicU8;

/// Operations in a row that may succeed. Without a budget a source that never waits would keep a single-threaded runtime
/// to itself.
pub(super) const BUDGET: u8 = 128;

/// Calls `attempt` and counts its successes in a row, for a handle of one owner. Once they are too many, the task is woken at
/// once and polled again after the other tasks of its thread.
pub(crate) fn paced<O>(
    spent: &mut u8,
    cx: &mut Context<'_>,
    attempt: impl FnOnce(&mut Context<'_>) -> Poll<O>,
) -> Poll<O> {
    if *spent >= BUDGET {
        *spent = 0;
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    let outcome = attempt(cx);
    *spent = if outcome.is_ready() { *spent + 1 } else { 0 };
    outcome
}

/// Spends one operation of the task's budget. Once it is spent, the task is woken at once and polled again after the other
/// tasks of its thread.
pub(super) fn poll_budget(spent: &AtomicU8, cx: &Context<'_>) -> Poll<()> {
    let operations = spent.load(Relaxed);
    if operations >= BUDGET {
        spent.store(0, Relaxed);
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    spent.store(operations + 1, Relaxed);
    Poll::Ready(())
}
