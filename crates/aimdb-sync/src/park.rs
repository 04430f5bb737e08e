//! A thread as a waiter: it parks on a record's wait list like any task.

use std::cell::Cell;
use std::future::Future;
use std::hint;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use aimdb_core::wait::{CancelTicket, CancelToken};

use crate::limit::{WaitError, WaitLimit};

/// Wakes one thread. The flag distinguishes a wake-up by this parker from an `unpark` by other code.
struct Parker {
    thread: Thread,
    notified: AtomicBool,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Pairs with the `Acquire` swap in `take_notification`: the woken thread sees what the waking thread wrote.
        if !self.notified.swap(true, Release) {
            self.thread.unpark();
        }
    }
}

impl Parker {
    /// Takes the pending wake-up, if there is one.
    fn take_notification(&self) -> Option<()> {
        // Pairs with the `Release` swap in `wake_by_ref`.
        self.notified.swap(false, Acquire).then_some(())
    }
}

/// A thread's parker and the waker made from it.
///
/// Making one allocates: the `Arc` of the parker, and the thread's handle if the thread was not started by `std` and has
/// not asked for its handle before. A thread makes one in its first wait and keeps it, so later waits allocate nothing.
/// Parking itself, with or without a timeout, does not allocate. (On Linux the C library registers the destructor of the
/// thread local at the same time, in memory of its own `calloc`, which Rust's allocator does not see.)
struct ThreadWaker {
    parker: Arc<Parker>,
    waker: Waker,
}

impl ThreadWaker {
    fn new() -> Self {
        let parker =
            Arc::new(Parker { thread: thread::current(), notified: AtomicBool::new(false) });
        Self { waker: Waker::from(Arc::clone(&parker)), parker }
    }
}

thread_local! {
    static THREAD_WAKER: Cell<Option<ThreadWaker>> = const { Cell::new(None) };
}

thread_local! {
    /// Whether this thread is a worker of a database's runtime.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as a worker of a database's runtime.
pub(crate) fn mark_worker_thread() {
    IS_WORKER.set(true);
}

/// Runs a closure that blocks the thread.
///
/// A worker of a database's runtime first hands its tasks to another thread. Other workers cannot steal all of them, in
/// particular not the task that the worker woke last, and the call may be waiting for exactly those tasks.
pub(crate) fn run_blocking<O>(wait: impl FnOnce() -> O) -> O {
    if IS_WORKER.try_with(Cell::get).unwrap_or(false) {
        return tokio::task::block_in_place(wait);
    }
    wait()
}

/// Takes this thread's waker for one wait and puts it back afterwards.
///
/// A wait inside a wait (a `Clone` that blocks), or a wait during the destruction of the thread's locals, finds no waker
/// and makes a second one. Further waits inside the same outer wait reuse that second waker.
fn with_thread_waker<O>(wait: impl FnOnce(&ThreadWaker) -> O) -> O {
    let current = THREAD_WAKER.try_with(Cell::take).ok().flatten().unwrap_or_else(ThreadWaker::new);
    // A late wake-up of the previous wait must not count for this one.
    current.parker.notified.store(false, Release);
    let outcome = wait(&current);
    // Where the thread local is already destroyed, the waker is dropped here.
    let _destroyed = THREAD_WAKER.try_with(|kept| kept.set(Some(current)));
    outcome
}

/// Spin hints before a thread that found nothing tries again: about half a microsecond.
///
/// A shorter pause would take the cache line away from the thread that is about to write it. A longer pause, or yielding
/// the processor, spreads the two threads over cores that then have to be woken from their sleep (measured: 12 µs instead
/// of 6 between threads that do park).
const SPIN_HINTS: u32 = 32;

/// The number of failed pauses in a row after which a thread expects none to help, and waits at once.
const FAILED_PAUSES: u8 = 4;

/// At this count such a thread pauses all the same, every thirteenth wait: the other side may have become faster.
const ANOTHER_TRY: u8 = 16;

thread_local! {
    /// The number of pauses of this thread since one helped, those that it left out included.
    static FAILED: Cell<u8> = const { Cell::new(0) };
}

/// Spins briefly and tries once more, before the caller registers as a waiter.
///
/// The missing value often arrives within the time that parking and waking would take, and a registered waiter makes the
/// other side check the wait list for every value. Where values come seldom, the pause only delays the sleep: the thread
/// learns that, and goes without. Returns `None` at once if `limit` leaves no time to wait.
pub(crate) fn spin_then_try<O>(
    limit: WaitLimit<'_>,
    attempt: impl FnOnce() -> Option<O>,
) -> Option<O> {
    // Without the thread local, which a thread at its end has lost, each wait has its pause.
    let failed = FAILED.try_with(Cell::get).unwrap_or(0);
    let note = |failed| _ = FAILED.try_with(|counted| counted.set(failed));
    if (FAILED_PAUSES..ANOTHER_TRY).contains(&failed) {
        note(failed + 1);
        return None;
    }
    if limit.is_expired() {
        return None;
    }
    (0..SPIN_HINTS).for_each(|_| hint::spin_loop());
    let outcome = attempt();
    note(if outcome.is_some() { 0 } else { FAILED_PAUSES.min(failed + 1) });
    outcome
}

/// A wait that a [`CancelToken`] can end. Dropping it removes the waiter from the token's wait list.
struct CancelWait<'c> {
    token: &'c CancelToken,
    ticket: CancelTicket,
}

impl<'c> CancelWait<'c> {
    fn new(token: &'c CancelToken) -> Self {
        Self { token, ticket: CancelTicket::default() }
    }

    /// Whether the wait has been cancelled since it began. If not, a cancellation wakes `waker`.
    ///
    /// Once `true` it stays `true`, also after a reset of the token.
    fn is_cancelled(&mut self, waker: &Waker) -> bool {
        self.token.is_cancelled_since(&mut self.ticket, waker)
    }
}

impl Drop for CancelWait<'_> {
    fn drop(&mut self) {
        self.token.cancel_wait(&mut self.ticket);
    }
}

/// Polls until `poll` is ready and parks the thread between polls. Polls at least once, whatever the limit.
///
/// # Errors
///
/// [`WaitError`] if the limit expires first.
pub(crate) fn wait<O>(
    limit: WaitLimit<'_>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<O>,
) -> Result<O, WaitError> {
    run_blocking(|| {
        with_thread_waker(|current| {
            let mut cx = Context::from_waker(&current.waker);
            let mut cancel_wait = limit.cancel().map(CancelWait::new);
            loop {
                // The token is read before the poll: a value that is there at the cancellation is still taken.
                let cancelled =
                    cancel_wait.as_mut().is_some_and(|wait| wait.is_cancelled(&current.waker));
                if let Poll::Ready(output) = poll(&mut cx) {
                    return Ok(output);
                }
                if cancelled {
                    // A poll that only used up its cooperative budget has woken this thread already. It need not wait,
                    // so it is polled again despite the cancellation.
                    if current.parker.take_notification().is_some() {
                        continue;
                    }
                    return Err(WaitError::Cancelled);
                }
                if spin_then_try(limit, || current.parker.take_notification()).is_some() {
                    continue;
                }
                while current.parker.take_notification().is_none() {
                    let remaining = limit
                        .deadline()
                        .map(|deadline| deadline.saturating_duration_since(Instant::now()));
                    match remaining {
                        None => thread::park(),
                        Some(remaining) if remaining.is_zero() => return Err(WaitError::Timeout),
                        Some(remaining) => thread::park_timeout(remaining),
                    }
                }
            }
        })
    })
}

/// [`wait`] for a future.
pub(crate) fn block_on<F: Future>(limit: WaitLimit<'_>, future: F) -> Result<F::Output, WaitError> {
    let mut future = pin!(future);
    wait(limit, |cx| future.as_mut().poll(cx))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_ready_future_needs_no_wake() {
        assert_eq!(block_on(WaitLimit::none(), async { 7 }), Ok(7));
    }

    #[test]
    fn a_thread_pauses_before_a_wait_as_long_as_that_helps() {
        let mut tried = 0;
        let mut pause = |helps: bool| {
            let before = tried;
            spin_then_try(WaitLimit::none(), || {
                tried += 1;
                helps.then_some(())
            });
            tried - before
        };
        assert!((0..100).all(|_| pause(true) == 1));
        let failed: Vec<_> = (0..30).map(|_| pause(false)).collect();
        // Four fail; of the others one in thirteen.
        let expected = |at: usize| u32::from(at < 4 || (at - 4) % 13 == 12);
        assert_eq!(failed, (0..30).map(expected).collect::<Vec<_>>());
        while pause(true) == 0 {}
        assert!((0..100).all(|_| pause(true) == 1), "it helps again");
    }

    #[test]
    fn a_deadline_ends_a_wait_without_a_wake() {
        let soon = Instant::now() + Duration::from_millis(5);
        assert_eq!(
            block_on(WaitLimit::until(soon), std::future::pending::<()>()),
            Err(WaitError::Timeout)
        );
    }

    #[test]
    fn a_wake_from_another_thread_ends_the_wait() {
        let mut sent = false;
        let outcome = wait(WaitLimit::none(), |cx| {
            if sent {
                return Poll::Ready(());
            }
            sent = true;
            let waker = cx.waker().clone();
            thread::spawn(move || waker.wake());
            Poll::Pending
        });
        assert_eq!(outcome, Ok(()));
    }

    #[test]
    fn a_cancellation_ends_a_wait_though_it_is_reset_at_once() {
        let cancel = CancelToken::new();
        let (waits, has_begun) = std::sync::mpsc::channel();
        let outcome = thread::scope(|scope| {
            let cancel = &cancel;
            let waiting = scope.spawn(move || {
                wait(WaitLimit::none().or_cancelled(cancel), |_| {
                    waits.send(()).expect("the receiver is alive");
                    Poll::<()>::Pending
                })
            });
            has_begun.recv().expect("the wait has begun");
            cancel.cancel();
            cancel.reset();
            waiting.join().expect("the wait ends")
        });
        assert_eq!(outcome, Err(WaitError::Cancelled));
    }

    #[test]
    fn a_wait_inside_a_wait_has_a_waker_of_its_own() {
        assert_eq!(
            block_on(WaitLimit::none(), async { block_on(WaitLimit::none(), async { 1 }) }),
            Ok(Ok(1))
        );
    }
}
