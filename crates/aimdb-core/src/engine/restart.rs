//! Stages that come back.

use alloc::string::String;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use crate::context::RuntimeContext;
use crate::panic::catch;
use crate::runtime::adapter::{LogLevel, Runtime};

/// When a stage is started again, after which pause, and how often.
///
/// The pause doubles with every attempt up to its maximum. A stage that ran for long enough has
/// [recovered](Self::recovered_after): it starts over with the first pause and a full count.
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

/// A shorter run is no recovery, however short the pauses are, unless [`Restart::recovered_after`] says so.
const RECOVERED_AFTER: Duration = Duration::from_secs(10);

impl Restart {
    /// After a panic or a reported failure: a pause of 100 ms that grows to 10 s, without a limit.
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

    /// Also when the stage returns.
    #[must_use]
    pub const fn always() -> Self {
        Self { when_finished: true, ..Self::on_failure() }
    }

    /// The first pause, and the longest.
    #[must_use]
    pub const fn backoff(self, first: Duration, max: Duration) -> Self {
        Self { first, max, ..self }
    }

    /// A run longer than this has recovered: the next failure is the first of a new row. Unless set, it is 10 s, or the
    /// longest pause where that is longer.
    #[must_use]
    pub const fn recovered_after(self, run: Duration) -> Self {
        Self { recovered_after: Some(run), ..self }
    }

    /// How often in a row, without a recovery in between; after that the stage has failed for good.
    #[must_use]
    pub const fn limit(self, restarts: u32) -> Self {
        Self { limit: Some(restarts), ..self }
    }

    fn has_recovered(&self, run: Duration) -> bool {
        run > self.recovered_after.unwrap_or(RECOVERED_AFTER.max(self.max))
    }

    fn pause(&self, attempt: u32) -> Duration {
        self.first.saturating_mul(1 << attempt.min(20)).min(self.max.max(self.first))
    }
}

pin_project_lite::pin_project! {
    /// The future of a stage registered with a [`Restart`] policy.
    pub struct Restarting<R: Runtime, H, F, Fut> {
        policy: Restart,
        make: F,
        handle: H,
        context: RuntimeContext<R>,
        attempts: u32,
        started: crate::clock::Instant,
        #[pin]
        step: Step<Fut, R::Sleep>,
    }
}

pin_project_lite::pin_project! {
    #[project = StepProjection]
    enum Step<Fut, S> {
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
        Self { policy, make, handle, context, attempts: 0, started, step: Step::Make }
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
            let outcome = match this.step.as_mut().project() {
                StepProjection::Pause { sleep } => {
                    core::task::ready!(sleep.poll(cx));
                    this.context.cell().restarted();
                    this.step.set(Step::Make);
                    continue;
                }
                StepProjection::Make => {
                    *this.started = this.context.time().now();
                    match catch(|| (this.make)(this.context.clone(), this.handle.clone())) {
                        Ok(future) => {
                            this.step.set(Step::Run { future });
                            continue;
                        }
                        Err(panic) => Err(panic),
                    }
                }
                StepProjection::Run { future } => match catch(|| future.poll(cx)) {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(())) => this.context.cell().take_report().map_or(Ok(()), Err),
                    Err(panic) => Err(panic),
                },
            };
            // Its reader goes back to its seat here, before the pause.
            let outcome = outcome.and(catch(|| this.step.set(Step::Make)));
            let Some(pause) =
                next_pause(this.policy, this.context, this.attempts, *this.started, outcome)
            else {
                return Poll::Ready(());
            };
            let sleep = this.context.time().sleep(pause);
            this.step.set(Step::Pause { sleep });
        }
    }
}

/// The pause before the next attempt, or `None` if this was the last one, with the failure reported.
fn next_pause<R: Runtime>(
    policy: &Restart,
    context: &RuntimeContext<R>,
    attempts: &mut u32,
    started: crate::clock::Instant,
    outcome: Result<(), String>,
) -> Option<Duration> {
    let cell = context.cell();
    let cause = match outcome {
        Ok(()) if !policy.when_finished || cell.engine().is_stopping() => return None,
        Ok(()) => String::from("returned"),
        Err(cause) => cause,
    };
    if policy.has_recovered(context.time().now() - started) {
        *attempts = 0;
    }
    if policy.limit.is_some_and(|limit| *attempts >= limit) {
        cell.report(alloc::format!("{cause} (given up after {attempts} restarts)"));
        return None;
    }
    let pause = policy.pause(*attempts);
    *attempts += 1;
    context.runtime().log(
        LogLevel::Warn,
        cell.owner.name(),
        format_args!("stage `{}`: {cause}; attempt {attempts} in {pause:?}", cell.name),
    );
    cell.restarting(cause);
    Some(pause)
}
