//! Futures next to each other, and on virtual time.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aimdb_core::Runtime;
use aimdb_core::race::{Either, race};
use aimdb_testing::TestRuntime;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Polls `future` once and drops it.
pub(crate) fn poll_once<F: Future>(future: F, waker: &Waker) -> Poll<F::Output> {
    poll(pin!(future), waker)
}

/// Polls `future` once.
pub(crate) fn poll<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

pub(crate) async fn sleep(runtime: &TestRuntime, duration: Duration) {
    runtime.sleep_until(runtime.now() + duration).await;
}

/// `None` if `future` is pending after `limit`.
pub(crate) async fn timeout<F: Future>(
    runtime: &TestRuntime,
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    match race(future, sleep(runtime, limit)).await {
        Either::First(output) => Some(output),
        Either::Second(()) => None,
    }
}

/// Runs both futures to their ends, in one task. The first is polled first.
pub(crate) async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        poll_unless_done(a.as_mut(), &mut first, cx);
        poll_unless_done(b.as_mut(), &mut second, cx);
        if first.is_some() && second.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (first.expect("it is done"), second.expect("it is done"))
}

/// Runs all futures to their ends, in one task.
pub(crate) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        futures
            .iter_mut()
            .for_each(|(future, output)| poll_unless_done(future.as_mut(), output, cx));
        let all_done = futures.iter().all(|(_, output)| output.is_some());
        if all_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    futures.into_iter().map(|(_, output)| output.expect("it is done")).collect()
}

fn poll_unless_done<F: Future>(
    future: Pin<&mut F>,
    output: &mut Option<F::Output>,
    cx: &mut Context<'_>,
) {
    if output.is_none()
        && let Poll::Ready(done) = future.poll(cx)
    {
        *output = Some(done);
    }
}

/// Pending once, and woken at once.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
