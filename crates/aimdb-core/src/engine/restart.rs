//! Stages that the engine restarts.

use alloc::string::String;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use crate::clock::Instant;
use crate::context::RuntimeContext;
use crate::panic::catch;
use crate::runtime::adapter::{LogLevel, Runtime};

/// The recovery time of a policy without [`Restart::recovered_after`], where the longest pause is shorter. It keeps a
/// policy with short pauses from taking a short run for a recovery.
const RECOVERED_AFTER: Duration = Duration::from_secs(10);

/// A restart policy: the cases, the pauses and the number of restarts.
///
/// A stage runs in attempts. The pause before the next attempt (backoff) doubles with every restart, up to a maximum. A
/// stage whose attempt ran long enough has [recovered](Self::recovered_after): its next failure has the first pause and
/// the full number of restarts again.
///
/// [`Registrar::source_with`](crate::Registrar::source_with) and [`Registrar::tap_with`](crate::Registrar::tap_with)
/// take a policy. [`health`](crate::AimDb::health) shows the restarts and the last cause.
///
/// ```
/// use aimdb_core::Restart;
/// use std::time::Duration;
///
/// let policy = Restart::on_failure().backoff(Duration::from_millis(100), Duration::from_secs(10)).limit(5);
/// # let _ = policy;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    when_finished: bool,
    first: Duration,
    max: Duration,
    recovered_after: Option<Duration>,
    limit: Option<u32>,
}

impl Restart {
    /// Restarts after a panic or a reported failure.
    ///
    /// The first pause is 100 ms, the longest 10 s, and the number of restarts has no limit, unless set otherwise.
    #[must_use]
    pub const fn on_failure() -> Self {
        Self {
            when_finished: false,
            first: Duration::from_millis(100),
            max: Duration::from_secs(10),
            recovered_after: None,
            limit: None,
        }
    }

    /// As [`on_failure`](Self::on_failure), and also when the stage returns.
    ///
    /// A stage that returns after a shutdown has begun is not restarted.
    #[must_use]
    pub const fn always() -> Self {
        Self { when_finished: true, ..Self::on_failure() }
    }

    /// Sets the first and the longest pause.
    ///
    /// If `max` is shorter than `first`, every pause is `first`.
    #[must_use]
    pub const fn backoff(self, first: Duration, max: Duration) -> Self {
        Self { first, max, ..self }
    }

    /// Sets the run time after which an attempt has recovered.
    ///
    /// An attempt that ran longer resets the pause and the count of restarts. Unless set, it is 10 s or the longest
    /// pause, whichever is longer.
    #[must_use]
    pub const fn recovered_after(self, run: Duration) -> Self {
        Self { recovered_after: Some(run), ..self }
    }

    /// Limits the number of restarts without a recovery between them.
    ///
    /// The stage fails for good at the first failure beyond the limit.
    #[must_use]
    pub const fn limit(self, restarts: u32) -> Self {
        Self { limit: Some(restarts), ..self }
    }

    fn has_recovered(&self, run: Duration) -> bool {
        run > self.recovered_after.unwrap_or(RECOVERED_AFTER.max(self.max))
    }

    fn pause(&self, restarts: u32) -> Duration {
        self.first.saturating_mul(1 << restarts.min(20)).min(self.max.max(self.first))
    }
}

pin_project_lite::pin_project! {
    /// The future of a stage that has a [`Restart`] policy.
    ///
    /// It makes the stage's future from its function for every attempt, and catches the panics of both.
    pub struct Restarting<R: Runtime, H, F, Fut> {
        policy: Restart,
        make: F,
        handle: H,
        context: RuntimeContext<R>,
        // Restarts since the start or the last recovery.
        restarts: u32,
        started: Instant,
        #[pin]
        attempt: Attempt<Fut, R::Sleep>,
    }
}

pin_project_lite::pin_project! {
    #[project = AttemptProjection]
    enum Attempt<Fut, S> {
        Make,
        Run { #[pin] future: Fut },
        Pause { #[pin] sleep: S },
    }
}

impl<R, H, F, Fut> Restarting<R, H, F, Fut>
where
    R: Runtime,
    H: Clone,
    F: Fn(RuntimeContext<R>, H) -> Fut,
    Fut: Future<Output = ()>,
{
    pub(crate) fn new(policy: Restart, make: F, handle: H, context: RuntimeContext<R>) -> Self {
        let started = context.time().now();
        Self { policy, make, handle, context, restarts: 0, started, attempt: Attempt::Make }
    }
}

impl<R, H, F, Fut> Future for Restarting<R, H, F, Fut>
where
    R: Runtime,
    H: Clone,
    F: Fn(RuntimeContext<R>, H) -> Fut,
    Fut: Future<Output = ()>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            let outcome = match this.attempt.as_mut().project() {
                AttemptProjection::Pause { sleep } => {
                    core::task::ready!(sleep.poll(cx));
                    this.context.cell().begin_next_attempt();
                    this.attempt.set(Attempt::Make);
                    continue;
                }
                AttemptProjection::Make => {
                    *this.started = this.context.time().now();
                    match catch(|| (this.make)(this.context.clone(), this.handle.clone())) {
                        Ok(future) => {
                            this.attempt.set(Attempt::Run { future });
                            continue;
                        }
                        Err(panic) => Err(panic),
                    }
                }
                AttemptProjection::Run { future } => match catch(|| future.poll(cx)) {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(())) => this.context.cell().take_report().map_or(Ok(()), Err),
                    Err(panic) => Err(panic),
                },
            };
            // The attempt's future is dropped here, before the pause, so that its reader returns its position to the
            // stage's consumer.
            let outcome = outcome.and(catch(|| this.attempt.set(Attempt::Make)));
            let Some(pause) =
                next_pause(this.policy, this.context, this.restarts, *this.started, outcome)
            else {
                return Poll::Ready(());
            };
            let sleep = this.context.time().sleep(pause);
            this.attempt.set(Attempt::Pause { sleep });
        }
    }
}

/// Returns the pause before the next attempt, or reports the failure and returns `None` if this attempt was the last.
fn next_pause<R: Runtime>(
    policy: &Restart,
    context: &RuntimeContext<R>,
    restarts: &mut u32,
    started: Instant,
    outcome: Result<(), String>,
) -> Option<Duration> {
    let cell = context.cell();
    let cause = match outcome {
        Ok(()) if !policy.when_finished || cell.engine().is_stopping() => return None,
        Ok(()) => String::from("returned"),
        Err(cause) => cause,
    };
    if policy.has_recovered(context.time().now() - started) {
        *restarts = 0;
    }
    if policy.limit.is_some_and(|limit| *restarts >= limit) {
        cell.report(alloc::format!("{cause} (given up after {restarts} restarts)"));
        return None;
    }
    let pause = policy.pause(*restarts);
    *restarts += 1;
    context.runtime().log(
        LogLevel::Warn,
        cell.owner.name(),
        format_args!("stage `{}`: {cause}; attempt {restarts} in {pause:?}", cell.name),
    );
    cell.set_restarting(cause);
    Some(pause)
}
