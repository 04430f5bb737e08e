//! Futures side by side in one task, for the engine and for connectors that serve several links in one.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

/// What came of a [`race`].
#[derive(Debug)]
pub enum Either<A, B> {
    /// The first future ended first, or both did at once.
    First(A),
    /// The second one did.
    Second(B),
}

/// Whichever ends first; the other one is dropped. The first is asked first.
pub async fn race<A, B>(
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> Either<A, B> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|cx| {
        if let Poll::Ready(output) = first.as_mut().poll(cx) {
            return Poll::Ready(Either::First(output));
        }
        second.as_mut().poll(cx).map(Either::Second)
    })
    .await
}
