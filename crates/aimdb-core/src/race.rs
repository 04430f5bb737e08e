//! Two futures in one task, for the engine and for connectors that serve several links in one task.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

/// The output of a [`race`].
///
/// The two variants are exhaustive, so a match needs no further arm.
///
/// ```
/// use aimdb_core::Reader;
/// use aimdb_core::race::{Either, race};
///
/// /// The next value of either reader, as text; `None` once a record is drained.
/// async fn next(commands: &mut Reader<String>, levels: &mut Reader<f32>) -> Option<String> {
///     match race(commands.recv(), levels.recv()).await {
///         Either::First(command) => command.ok(),
///         Either::Second(level) => level.ok().map(|level| format!("level {level}")),
///     }
/// }
/// ```
#[derive(Debug)]
pub enum Either<A, B> {
    /// The first future completed first, or both futures completed in the same poll.
    First(A),
    /// The second future completed first.
    Second(B),
}

/// Runs two futures until one completes, and drops the other.
///
/// Each poll polls `first` before `second`, so `first` wins if both are ready.
///
/// # Cancel safety
///
/// Dropping the future drops both futures. The future that loses is dropped before it completes, so both must be cancel
/// safe where their work must not be lost.
///
/// ```
/// use aimdb_core::race::{Either, race};
/// use aimdb_core::{Reader, Runtime, RuntimeContext};
///
/// /// The next value, or `None` if the record closes or a shutdown begins first.
/// async fn next<R: Runtime>(ctx: &RuntimeContext<R>, reader: &mut Reader<f32>) -> Option<f32> {
///     match race(ctx.stopping(), reader.recv()).await {
///         Either::First(()) => None,
///         Either::Second(value) => value.ok(),
///     }
/// }
/// ```
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
