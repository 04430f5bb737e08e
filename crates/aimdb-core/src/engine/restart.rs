//! Stages that the engine restarts.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use crate::clock::Instant;
use crate::context::RuntimeContext;
use crate::engine::events::{After, DbEventKind};
use crate::engine::result::StageResult;
use crate::panic::catch;
use crate::runtime::adapter::{LogLevel, Runtime, log};

/// The recovery time of a policy without [`Restart::recovered_after`], where the longest pause is shorter. It keeps a
/// policy with short pauses from taking a short run for a recovery.
const RECOVERED_AFTER: Duration = Duration::from_secs(10);

/// A restart policy: the cases, the pauses and the number of restarts.
///
/// A stage runs in attempts. The pause before the next attempt (backoff) doubles with every restart, up to a maximum. A
/// stage whose attempt ran long enough has [recovered](Self::recovered_after): its next failure has the first pause and
/// the full number of restarts again.
///
/// The methods of [`Registrar`](crate::Registrar) that end in `_with` take a policy. [`health`](crate::AimDb::health) shows the restarts and the last cause.
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

    /// As [`on_failure`](Self::on_failure), without pauses: a failure costs its value and nothing more.
    ///
    /// It is meant for transforms and joins ([`transform_with`](crate::Registrar::transform_with)), whose attempts need no
    /// time to begin. A source that fails at once would keep its thread busy.
    #[must_use]
    pub const fn skip_failures() -> Self {
        Self::on_failure().backoff(Duration::ZERO, Duration::ZERO)
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
    pub struct Restarting<R: Runtime, A: Attempts<R>> {
        policy: Restart,
        attempts: A,
        context: RuntimeContext<R>,
        // Restarts since the start or the last recovery.
        restarts: u32,
        started: Instant,
        shutdown: ShutdownSeen,
        #[pin]
        attempt: Attempt<A::Attempt, R::Sleep>,
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

/// The attempts of one stage: its function and the handles that each attempt receives.
pub trait Attempts<R> {
    /// The future of one attempt.
    type Attempt: Future<Output: StageResult>;

    /// Begins an attempt.
    fn begin(&self, context: RuntimeContext<R>) -> Self::Attempt;
}

/// The function of a source or a tap, and its handle.
#[derive(Debug)]
pub struct OneHandle<F, H>(pub(crate) F, pub(crate) H);

/// The function of a processor, and the handles of its inputs and its outputs.
#[derive(Debug)]
pub struct TwoHandles<F, I, O>(pub(crate) F, pub(crate) I, pub(crate) O);

impl<R, F, H, Fut> Attempts<R> for OneHandle<F, H>
where
    H: Clone,
    F: Fn(RuntimeContext<R>, H) -> Fut,
    Fut: Future<Output: StageResult>,
{
    type Attempt = Fut;

    fn begin(&self, context: RuntimeContext<R>) -> Fut {
        (self.0)(context, self.1.clone())
    }
}

impl<R, F, I, O, Fut> Attempts<R> for TwoHandles<F, I, O>
where
    I: Clone,
    O: Clone,
    F: Fn(RuntimeContext<R>, I, O) -> Fut,
    Fut: Future<Output: StageResult>,
{
    type Attempt = Fut;

    fn begin(&self, context: RuntimeContext<R>) -> Fut {
        (self.0)(context, self.1.clone(), self.2.clone())
    }
}

impl<R: Runtime, A: Attempts<R>> Restarting<R, A> {
    pub(crate) fn new(policy: Restart, attempts: A, context: RuntimeContext<R>) -> Self {
        let started = context.time().now();
        let shutdown = ShutdownSeen(false);
        Self { policy, attempts, context, restarts: 0, started, shutdown, attempt: Attempt::Make }
    }
}

impl<R: Runtime, A: Attempts<R>> Future for Restarting<R, A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            let outcome = match this.attempt.as_mut().project() {
                AttemptProjection::Pause { sleep } => {
                    if !this.shutdown.cuts_pause(this.context) {
                        core::task::ready!(sleep.poll(cx));
                    }
                    this.context.cell().begin_next_attempt();
                    this.attempt.set(Attempt::Make);
                    continue;
                }
                AttemptProjection::Make => {
                    *this.started = this.context.time().now();
                    match catch(|| this.attempts.begin(this.context.clone())) {
                        Ok(future) => {
                            this.attempt.set(Attempt::Run { future });
                            continue;
                        }
                        Err(panic) => Err(panic),
                    }
                }
                AttemptProjection::Run { future } => {
                    match catch(|| future.poll(cx).map(StageResult::into_outcome)) {
                        Ok(Poll::Pending) => return Poll::Pending,
                        Ok(Poll::Ready(result)) => {
                            let report = this.context.cell().take_report();
                            result.and(report.map_or(Ok(()), Err))
                        }
                        Err(panic) => Err(panic),
                    }
                }
            };
            // The attempt's future is dropped here, before the pause, so that its reader returns its position to the
            // stage's consumer.
            let outcome = outcome.and(catch(|| this.attempt.set(Attempt::Make)));
            let Some(pause) =
                next_pause(this.policy, this.context, this.restarts, *this.started, outcome)
            else {
                return Poll::Ready(());
            };
            if pause.is_zero() {
                this.context.cell().begin_next_attempt();
                // Other tasks run first: every attempt may fail.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let sleep = this.context.time().sleep(pause);
            this.attempt.set(Attempt::Pause { sleep });
        }
    }
}

/// Whether a pause has been cut by the begin of a shutdown. It happens once, so that a stage which fails while it drains
/// pauses as its policy says.
struct ShutdownSeen(bool);

impl ShutdownSeen {
    /// Whether the present pause ends now: a shutdown, which waits for the stage to drain, has begun in it.
    fn cuts_pause<R: Runtime>(&mut self, context: &RuntimeContext<R>) -> bool {
        context.is_stopping() && !core::mem::replace(&mut self.0, true)
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
    log(
        &**context.runtime(),
        LogLevel::Warn,
        cell.owner.name(),
        format_args!("stage `{}`: {cause}; restart {restarts} {}", cell.name, After(pause)),
    );
    cell.engine().events.emit(|| DbEventKind::StageRestarts {
        stage: cell.id(),
        cause: cause.clone(),
        restart: *restarts,
        pause,
    });
    cell.set_restarting(cause);
    Some(pause)
}

/// A stage that goes on after a failure: a transform, a join, a [`for_each`](crate::Registrar::for_each).
pub trait Resumable: Future<Output: StageResult> + Unpin {
    /// Gives up the waits for values, and skips a value whose `Clone` panicked. Called after a failure, before the pause.
    fn suspend(&mut self);
}

/// The future of a transform, a join or a [`for_each`](crate::Registrar::for_each) that has a [`Restart`] policy.
///
/// A failure of the closure costs the value, or the combination of values, that it was called with. The stage then
/// pauses as the policy says and goes on with the next value, with the same closure and the same reader. The restarts in
/// the health count the values lost.
pub struct Resuming<R: Runtime, S> {
    policy: Restart,
    stage: S,
    context: RuntimeContext<R>,
    restarts: u32,
    /// The time of the start, or of the last resumption.
    resumed: Instant,
    pause: Option<Pin<Box<R::Sleep>>>,
    shutdown: ShutdownSeen,
}

impl<R: Runtime, S> Resuming<R, S> {
    pub(crate) fn new(policy: Restart, stage: S, context: RuntimeContext<R>) -> Self {
        let resumed = context.time().now();
        Self {
            policy,
            stage,
            context,
            restarts: 0,
            resumed,
            pause: None,
            shutdown: ShutdownSeen(false),
        }
    }
}

// The stage is `Unpin`, and the timer has a pinned box of its own.
impl<R: Runtime, S> Unpin for Resuming<R, S> {}

impl<R: Runtime, S: Resumable> Future for Resuming<R, S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            if let Some(pause) = &mut this.pause {
                if !this.shutdown.cuts_pause(&this.context) {
                    core::task::ready!(pause.as_mut().poll(cx));
                }
                this.pause = None;
                this.context.cell().begin_next_attempt();
                this.resumed = this.context.time().now();
            }
            // After a failure the stage is polled again: the value is lost, and the reader is past it.
            let poll = || Pin::new(&mut this.stage).poll(cx).map(StageResult::into_outcome);
            let cause = match catch(poll) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(Ok(()))) => return Poll::Ready(()),
                Ok(Poll::Ready(Err(cause))) | Err(cause) => cause,
            };
            this.stage.suspend();
            let Self { policy, context, restarts, resumed, .. } = this;
            let Some(pause) = next_pause(policy, context, restarts, *resumed, Err(cause)) else {
                return Poll::Ready(());
            };
            if pause.is_zero() {
                this.context.cell().begin_next_attempt();
                this.resumed = this.context.time().now();
                // Other tasks run first: every value may fail.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            this.pause = Some(Box::pin(this.context.time().sleep(pause)));
        }
    }
}

impl<R: Runtime, S> fmt::Debug for Resuming<R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resuming").field("policy", &self.policy).finish_non_exhaustive()
    }
}
