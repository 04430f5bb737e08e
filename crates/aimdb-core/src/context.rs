//! What a stage is given besides its handle: time, log, and a way to end.

use crate::sync::Arc;
use alloc::string::ToString;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use crate::clock::Instant;
use crate::engine::stage::StageCell;
use crate::runtime::adapter::{LogLevel, Runtime};

/// A stage's view of its runtime. Cheap to clone.
pub struct RuntimeContext<R> {
    runtime: Arc<R>,
    cell: Arc<StageCell>,
}

impl<R> Clone for RuntimeContext<R> {
    fn clone(&self) -> Self {
        Self { runtime: Arc::clone(&self.runtime), cell: Arc::clone(&self.cell) }
    }
}

impl<R: Runtime> RuntimeContext<R> {
    pub(crate) fn new(runtime: Arc<R>, cell: Arc<StageCell>) -> Self {
        Self { runtime, cell }
    }

    pub(crate) fn cell(&self) -> &StageCell {
        &self.cell
    }

    /// The runtime itself.
    #[must_use]
    pub fn runtime(&self) -> &Arc<R> {
        &self.runtime
    }

    /// The clock and the timers.
    #[must_use]
    pub fn time(&self) -> Time<R> {
        Time { runtime: Arc::clone(&self.runtime) }
    }

    /// The log, with this stage's record as its origin.
    #[must_use]
    pub fn log(&self) -> Log<R> {
        Log { runtime: Arc::clone(&self.runtime), cell: Arc::clone(&self.cell) }
    }

    /// The key of the record this stage belongs to, or the name of the connector.
    #[must_use]
    pub fn record(&self) -> &str {
        self.cell.owner.name()
    }

    /// The stage's name, as it stands in the graph and in `health()`.
    #[must_use]
    pub fn stage(&self) -> &str {
        &self.cell.name
    }

    /// Says why this stage is about to return. A stage that reported a cause and returns has failed; one that just
    /// returns has finished.
    pub fn fail(&self, cause: impl fmt::Display) {
        self.cell.report(cause.to_string());
    }

    /// Asks for an orderly shutdown of the whole database; `run()` carries it out.
    pub fn shutdown(&self) {
        self.cell.engine().request_shutdown();
    }

    /// Whether a shutdown has begun.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.cell.engine().is_stopping()
    }

    /// Waits until a shutdown has begun. Sources are ended then by themselves; a tap that waits for something other
    /// than its reader should end on this.
    pub async fn stopping(&self) {
        let engine = self.cell.engine();
        engine.changed.until(|| engine.is_stopping()).await;
    }

    /// Whether a shutdown has begun. Otherwise `stopping`, the future of [`stopping`](Self::stopping), registers the
    /// waker of `cx`.
    pub fn poll_stopping(
        &self,
        stopping: Pin<&mut impl Future<Output = ()>>,
        cx: &mut Context<'_>,
    ) -> bool {
        self.is_stopping() || stopping.poll(cx).is_ready()
    }
}

impl<R> fmt::Debug for RuntimeContext<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeContext")
            .field("owner", &self.cell.owner)
            .field("stage", &self.cell.name)
            .finish_non_exhaustive()
    }
}

/// The runtime's clock and timers.
pub struct Time<R> {
    runtime: Arc<R>,
}

impl<R> Clone for Time<R> {
    fn clone(&self) -> Self {
        Self { runtime: Arc::clone(&self.runtime) }
    }
}

impl<R: Runtime> Time<R> {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// So many seconds.
    #[must_use]
    pub const fn secs(&self, secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// So many milliseconds.
    #[must_use]
    pub const fn millis(&self, millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// So many microseconds.
    #[must_use]
    pub const fn micros(&self, micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// Completes after `duration`. May be dropped at any time.
    pub fn sleep(&self, duration: Duration) -> R::Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Completes at `deadline`, at once if that has passed.
    pub fn sleep_until(&self, deadline: Instant) -> R::Sleep {
        self.runtime.sleep_until(deadline)
    }

    /// Ticks at once and then every `period`, on a grid that does not drift.
    ///
    /// # Panics
    ///
    /// If `period` is zero.
    #[must_use]
    #[track_caller]
    pub fn interval(&self, period: Duration) -> Interval<R> {
        assert!(!period.is_zero(), "an interval needs a period above zero");
        Interval { runtime: Arc::clone(&self.runtime), next: self.now(), period, missed: 0 }
    }

    /// `future`, or [`Elapsed`] if it takes longer than `limit`. It is polled at least once.
    pub fn timeout<F: Future>(&self, limit: Duration, future: F) -> Timeout<F, R::Sleep> {
        Timeout { future, sleep: self.sleep(limit) }
    }
}

impl<R> fmt::Debug for Time<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

/// Ticks on a fixed grid; made by [`Time::interval`].
pub struct Interval<R> {
    runtime: Arc<R>,
    next: Instant,
    period: Duration,
    missed: u64,
}

impl<R: Runtime> Interval<R> {
    /// Waits for the next tick and gives the time it was due. Ticks that were due while nobody waited are skipped, not
    /// made up for, and counted in [`missed`](Self::missed); the grid stays.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, the tick is still to come.
    pub async fn tick(&mut self) -> Instant {
        self.runtime.sleep_until(self.next).await;
        let due = self.next;
        let late = self.runtime.now().duration_since(due).as_nanos() / self.period.as_nanos();
        let late = u32::try_from(late).unwrap_or(u32::MAX);
        self.missed += u64::from(late);
        self.next = due + self.period.saturating_mul(late.saturating_add(1));
        due
    }

    /// How many ticks were skipped because the stage came too late for them.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }
}

impl<R> fmt::Debug for Interval<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interval")
            .field("next", &self.next)
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}

/// The time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time ran out")
    }
}

impl core::error::Error for Elapsed {}

pin_project_lite::pin_project! {
    /// The future of [`Time::timeout`].
    #[derive(Debug)]
    #[must_use = "nothing runs until the future is awaited"]
    pub struct Timeout<F, S> {
        #[pin]
        future: F,
        #[pin]
        sleep: S,
    }
}

impl<F: Future, S: Future<Output = ()>> Future for Timeout<F, S> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        this.sleep.poll(cx).map(|()| Err(Elapsed))
    }
}

/// The runtime's log, seen from one stage.
pub struct Log<R> {
    runtime: Arc<R>,
    cell: Arc<StageCell>,
}

impl<R: Runtime> Log<R> {
    /// Writes one line.
    pub fn log(&self, level: LogLevel, message: impl fmt::Display) {
        self.runtime.log(level, self.cell.owner.name(), format_args!("{message}"));
    }

    /// At [`LogLevel::Trace`].
    pub fn trace(&self, message: impl fmt::Display) {
        self.log(LogLevel::Trace, message);
    }

    /// At [`LogLevel::Debug`].
    pub fn debug(&self, message: impl fmt::Display) {
        self.log(LogLevel::Debug, message);
    }

    /// At [`LogLevel::Info`].
    pub fn info(&self, message: impl fmt::Display) {
        self.log(LogLevel::Info, message);
    }

    /// At [`LogLevel::Warn`].
    pub fn warn(&self, message: impl fmt::Display) {
        self.log(LogLevel::Warn, message);
    }

    /// At [`LogLevel::Error`].
    pub fn error(&self, message: impl fmt::Display) {
        self.log(LogLevel::Error, message);
    }
}

impl<R> fmt::Debug for Log<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("origin", &self.cell.owner).finish_non_exhaustive()
    }
}
