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

use crate::limit::{Over, WaitLimit};
use crate::wait::Waiting;

/// Wakes one thread. The flag tells its wake-ups from anybody else's `unpark`.
struct Parker {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Release) {
            self.thread.unpark();
        }
    }
}

impl Parker {
    /// Takes a wake-up that has come.
    fn was_woken(&self) -> Option<()> {
        self.woken.swap(false, Acquire).then_some(())
    }
}

/// A parker and its waker. Making a seat allocates: the `Arc` of the parker, and the thread's handle if the thread was not
/// started by `std` and has not asked for its handle before. A thread makes one seat in its first wait and keeps it, so later
/// waits allocate nothing. Parking itself, with or without a timeout, does not allocate. (On Linux the C library notes the
/// thread local's destructor at the same time, in memory of its own `calloc`, which Rust's allocator does not see.)
struct Seat {
    parker: Arc<Parker>,
    waker: Waker,
}

impl Seat {
    fn new() -> Self {
        let parker = Arc::new(Parker { thread: thread::current(), woken: AtomicBool::new(false) });
        Self { waker: Waker::from(Arc::clone(&parker)), parker }
    }
}

thread_local! {
    static SEAT: Cell<Option<Seat>> = const { Cell::new(None) };
}

thread_local! {
    static WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as a worker of a database's runtime.
pub(crate) fn i_am_a_worker() {
    WORKER.set(true);
}

/// Runs what blocks. A worker of a database first hands its tasks over to another thread: some of them, the one it woke
/// last above all, nobody else could take from it, and they may be what the call waits for.
pub(crate) fn blocking<O>(wait: impl FnOnce() -> O) -> O {
    if WORKER.try_with(Cell::get).unwrap_or(false) {
        return tokio::task::block_in_place(wait);
    }
    wait()
}

/// This thread's seat, taken for one wait. A wait inside a wait (a `Clone` that blocks), or one while the thread's
/// locals are going away, gets a seat of its own, which is made then. Further waits inside the same wait use it again.
fn with_seat<O>(wait: impl FnOnce(&Seat) -> O) -> O {
    let seat = SEAT.try_with(Cell::take).ok().flatten().unwrap_or_else(Seat::new);
    seat.parker.woken.store(false, Release);
    let outcome = wait(&seat);
    // Without locals the seat is dropped here.
    let _gone = SEAT.try_with(|kept| kept.set(Some(seat)));
    outcome
}

/// Pauses before a thread that found nothing looks once more: about half a microsecond. Shorter would take the cache line
/// away from whoever is about to write it; longer, or giving the processor away, spreads the two threads over cores that
/// then have to be woken from their sleep (measured: 12 µs instead of 6 between threads that do park).
const PAUSES: u32 = 32;

/// Tries once more before waiting in line: what is missing often comes within the time that falling asleep and being
/// woken would take, and somebody in line costs the other side a look at the line for every value.
pub(crate) fn soon<O>(limit: WaitLimit<'_>, attempt: impl FnOnce() -> Option<O>) -> Option<O> {
    if limit.over().is_some() {
        return None;
    }
    (0..PAUSES).for_each(|_| hint::spin_loop());
    attempt()
}

/// Polls until it is ready, parking in between; says why if the limit comes first. It is polled at least once.
pub(crate) fn wait<O>(
    limit: WaitLimit<'_>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<O>,
) -> Result<O, Over> {
    blocking(|| {
        with_seat(|seat| {
            let mut cx = Context::from_waker(&seat.waker);
            let mut on_call = limit.cancel().map(Waiting::new);
            loop {
                // Asked before it is polled: what is there is taken all the same.
                let cancelled = on_call.as_mut().is_some_and(|call| call.is_over(&seat.waker));
                if let Poll::Ready(output) = poll(&mut cx) {
                    return Ok(output);
                }
                if cancelled {
                    // What only gave way to others, and need not wait, is polled again.
                    if seat.parker.was_woken().is_some() {
                        continue;
                    }
                    return Err(Over::Cancelled);
                }
                if soon(limit, || seat.parker.was_woken()).is_some() {
                    continue;
                }
                while seat.parker.was_woken().is_none() {
                    let left = limit
                        .deadline()
                        .map(|deadline| deadline.saturating_duration_since(Instant::now()));
                    match left {
                        None => thread::park(),
                        Some(left) if left.is_zero() => return Err(Over::Timeout),
                        Some(left) => thread::park_timeout(left),
                    }
                }
            }
        })
    })
}

/// [`wait`] for a future.
pub(crate) fn block_on<F: Future>(limit: WaitLimit<'_>, future: F) -> Result<F::Output, Over> {
    let mut future = pin!(future);
    wait(limit, |cx| future.as_mut().poll(cx))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CancelToken;
    use std::time::Duration;

    #[test]
    fn a_ready_future_needs_no_wake() {
        assert_eq!(block_on(WaitLimit::none(), async { 7 }), Ok(7));
    }

    #[test]
    fn a_deadline_ends_a_wait_that_nobody_wakes() {
        let soon = Instant::now() + Duration::from_millis(5);
        assert_eq!(
            block_on(WaitLimit::until(soon), std::future::pending::<()>()),
            Err(Over::Timeout)
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
                    waits.send(()).expect("somebody listens");
                    Poll::<()>::Pending
                })
            });
            has_begun.recv().expect("it waits");
            cancel.cancel();
            cancel.reset();
            waiting.join().expect("it ends")
        });
        assert_eq!(outcome, Err(Over::Cancelled));
    }

    #[test]
    fn a_wait_inside_a_wait_has_a_seat_of_its_own() {
        assert_eq!(
            block_on(WaitLimit::none(), async { block_on(WaitLimit::none(), async { 1 }) }),
            Ok(Ok(1))
        );
    }
}
