//! The context of a stage: time, log, failure and shutdown.

use crate::sync::Arc;
use alloc::string::ToString;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use crate::clock::{Instant, UnixTime};
use crate::engine::events::DbEvents;
use crate::engine::stage::StageCell;
use crate::graph::node::StageRole;
use crate::runtime::adapter::{LogLevel, Runtime};

/// The context that a stage's function receives next to its handle.
///
/// It has the runtime's [clock and timers](Self::time) and its [log](Self::log), reports the stage's
/// [failure](Self::fail), and requests or observes a shutdown. A clone is cheap.
///
/// ```
/// use aimdb_core::{Producer, Runtime, RuntimeContext};
/// # async fn read_sensor() -> Result<f32, std::io::Error> { Ok(21.5) }
///
/// async fn sensor<R: Runtime>(ctx: RuntimeContext<R>, celsius: Producer<f32, R>) {
///     loop {
///         match read_sensor().await {
///             Ok(value) => {
///                 if celsius.produce(value).await.is_err() {
///                     return;
///                 }
///             }
///             // The stage fails with this cause; with a restart policy, its next attempt follows.
///             Err(error) => return ctx.fail(error),
///         }
///         ctx.time().sleep(ctx.time().secs(1)).await;
///     }
/// }
/// ```
pub struct RuntimeContext<R> {
    runtime: Arc<R>,
    cell: Arc<StageCell>,
}

impl<R: Runtime> RuntimeContext<R> {
    pub(crate) fn new(runtime: Arc<R>, cell: Arc<StageCell>) -> Self {
        Self { runtime, cell }
    }

    pub(crate) fn cell(&self) -> &Arc<StageCell> {
        &self.cell
    }

    /// The runtime adapter.
    #[must_use]
    pub fn runtime(&self) -> &Arc<R> {
        &self.runtime
    }

    /// The runtime's clock and timers.
    #[must_use]
    pub fn time(&self) -> Time<R> {
        Time::new(Arc::clone(&self.runtime))
    }

    /// The runtime's log, with the stage's record, connector or service as the origin of each line.
    #[must_use]
    pub fn log(&self) -> Log<R> {
        Log { runtime: Arc::clone(&self.runtime), cell: Arc::clone(&self.cell) }
    }

    /// The key of the record that the stage belongs to, or the name of the connector or service.
    #[must_use]
    pub fn record(&self) -> &str {
        self.cell.owner.name()
    }

    /// The stage's name in the graph and in the health.
    #[must_use]
    pub fn stage(&self) -> &str {
        &self.cell.name
    }

    /// Reports a failure of the stage, which then returns.
    ///
    /// A stage that returns after this call has [failed](crate::health::StageState::Failed) with `cause`; a stage that
    /// returns without it has finished. The call itself does not end the stage. A later call replaces the cause.
    pub fn fail(&self, cause: impl fmt::Display) {
        self.cell.report(cause.to_string());
    }

    /// A stream of what happens in the database from now on, as [`AimDb::events`](crate::AimDb::events).
    ///
    /// A [service](crate::service) that calls it in [`run`](crate::service::Service::run), before it returns its future, misses
    /// nothing: stages begin after the build.
    #[must_use]
    pub fn events(&self) -> DbEvents {
        self.cell.engine().events.subscribe()
    }

    /// Requests a shutdown of the whole database, which the caller of `run()` performs.
    ///
    /// Returns at once.
    pub fn shutdown(&self) {
        self.cell.engine().request_shutdown();
    }

    /// Whether a shutdown has begun; for a [service](crate::service), whether it has come to the services.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        let engine = self.cell.engine();
        if self.cell.role == StageRole::Service {
            engine.is_finishing()
        } else {
            engine.is_stopping()
        }
    }

    /// Waits until a shutdown has begun; in a [service](crate::service), until it has come to the services.
    ///
    /// A source does not need it: the engine stops it at its next await. A tap that awaits anything but its reader
    /// should also await this, and return.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn stopping(&self) {
        self.cell.engine().changed.until(|| self.is_stopping()).await;
    }

    /// Returns whether a shutdown has begun, and registers the waker of `cx` if not.
    ///
    /// `stopping` is the future of [`stopping`](Self::stopping), which registers the waker. Hand-written futures use
    /// it.
    pub fn poll_stopping(
        &self,
        stopping: Pin<&mut impl Future<Output = ()>>,
        cx: &mut Context<'_>,
    ) -> bool {
        self.is_stopping() || stopping.poll(cx).is_ready()
    }
}

impl<R> Clone for RuntimeContext<R> {
    fn clone(&self) -> Self {
        Self { runtime: Arc::clone(&self.runtime), cell: Arc::clone(&self.cell) }
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
///
/// [`RuntimeContext::time`] returns it. A clone is cheap.
///
/// ```
/// use aimdb_core::{Elapsed, Runtime, Time};
///
/// /// The reply, or `Elapsed` after 250 ms.
/// async fn reply<R: Runtime>(
///     time: Time<R>,
///     request: impl Future<Output = u32>,
/// ) -> Result<u32, Elapsed> {
///     time.sleep(time.millis(10)).await;
///     time.timeout(time.millis(250), request).await
/// }
/// ```
pub struct Time<R> {
    runtime: Arc<R>,
}

impl<R> Time<R> {
    pub(crate) fn new(runtime: Arc<R>) -> Self {
        Self { runtime }
    }
}

impl<R: Runtime> Time<R> {
    /// The present time of the runtime's monotonic clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// The present time of the calendar, or `None` if the runtime has no clock for it.
    ///
    /// A value that leaves the process is stamped with it: the instants of [`now`](Self::now) mean nothing elsewhere.
    #[must_use]
    pub fn unix_now(&self) -> Option<UnixTime> {
        self.runtime.unix_now()
    }

    /// Returns a duration of `secs` seconds.
    #[must_use]
    pub const fn secs(&self, secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Returns a duration of `millis` milliseconds.
    #[must_use]
    pub const fn millis(&self, millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Returns a duration of `micros` microseconds.
    #[must_use]
    pub const fn micros(&self, micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// Returns a future that completes after `duration`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the timer.
    pub fn sleep(&self, duration: Duration) -> R::Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Returns a future that completes at `deadline`, or at its first poll if `deadline` has passed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the timer.
    pub fn sleep_until(&self, deadline: Instant) -> R::Sleep {
        self.runtime.sleep_until(deadline)
    }

    /// Returns an interval whose first tick is due now, and whose further ticks are due every `period`.
    ///
    /// The ticks are multiples of `period` after the first one; they do not drift.
    ///
    /// # Panics
    ///
    /// Panics if `period` is zero.
    #[must_use]
    #[track_caller]
    pub fn interval(&self, period: Duration) -> Interval<R> {
        assert!(!period.is_zero(), "an interval needs a period above zero");
        Interval { runtime: Arc::clone(&self.runtime), next: self.now(), period, missed: 0 }
    }

    /// Limits `future` to the time `limit`.
    ///
    /// The result is the output of `future`, or [`Elapsed`] if it has not completed after `limit`. Each poll polls
    /// `future` before the timer, so a future that is ready at once succeeds even with a `limit` of zero.
    ///
    /// # Cancel safety
    ///
    /// Dropping the result, or its end with `Elapsed`, drops `future` before it completes.
    pub fn timeout<F: Future>(&self, limit: Duration, future: F) -> Timeout<F, R::Sleep> {
        Timeout { future, sleep: self.sleep(limit) }
    }
}

impl<R> Clone for Time<R> {
    fn clone(&self) -> Self {
        Self { runtime: Arc::clone(&self.runtime) }
    }
}

impl<R> fmt::Debug for Time<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

/// A periodic timer without drift.
///
/// [`Time::interval`] returns it.
///
/// ```
/// use aimdb_core::{Producer, Runtime, RuntimeContext};
///
/// async fn counter<R: Runtime>(ctx: RuntimeContext<R>, count: Producer<u64, R>) {
///     let mut interval = ctx.time().interval(ctx.time().millis(100));
///     for number in 0.. {
///         interval.tick().await;
///         if count.produce(number).await.is_err() {
///             return;
///         }
///     }
/// }
/// ```
pub struct Interval<R> {
    runtime: Arc<R>,
    next: Instant,
    period: Duration,
    missed: u64,
}

impl<R: Runtime> Interval<R> {
    /// Waits for the next tick and returns the time at which it was due.
    ///
    /// If a call is late by one or more periods, the interval skips the ticks that were due in the meantime and counts
    /// them in [`missed`](Self::missed). The next tick is again a multiple of the period after the first one.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, the next call waits for the same tick.
    pub async fn tick(&mut self) -> Instant {
        self.runtime.sleep_until(self.next).await;
        let due = self.next;
        let late = self.runtime.now().duration_since(due).as_nanos() / self.period.as_nanos();
        let late = u32::try_from(late).unwrap_or(u32::MAX);
        self.missed += u64::from(late);
        self.next = due + self.period.saturating_mul(late.saturating_add(1));
        due
    }

    /// The number of ticks skipped because calls of [`tick`](Self::tick) were late.
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

/// The error of [`Time::timeout`]: the future did not complete in time.
///
/// ```
/// use aimdb_core::{Elapsed, Producer, Runtime, RuntimeContext};
/// # async fn read_sensor() -> f32 { 21.5 }
///
/// /// Fails if the sensor does not answer within 2 s.
/// async fn sensor<R: Runtime>(
///     ctx: RuntimeContext<R>,
///     celsius: Producer<f32, R>,
/// ) -> Result<(), Elapsed> {
///     loop {
///         let value = ctx.time().timeout(ctx.time().secs(2), read_sensor()).await?;
///         if celsius.produce(value).await.is_err() {
///             return Ok(());
///         }
///     }
/// }
/// ```
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
    ///
    /// ```
    /// use aimdb_core::{Runtime, RuntimeContext, Timeout};
    ///
    /// /// Limits a request to a broker, without a box or an async function around it.
    /// fn limited<R: Runtime, F: Future>(ctx: &RuntimeContext<R>, request: F) -> Timeout<F, R::Sleep> {
    ///     ctx.time().timeout(ctx.time().millis(250), request)
    /// }
    /// ```
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

/// The runtime's log, for the lines of one stage.
///
/// [`RuntimeContext::log`] returns it. Each line has the stage's record or connector as its origin; the runtime adapter
/// decides where lines appear and which levels it shows.
///
/// ```
/// use aimdb_core::{Log, Runtime};
///
/// fn report<R: Runtime>(log: &Log<R>, celsius: f32) {
///     log.info(format_args!("{celsius:.1} °C"));
/// }
/// ```
pub struct Log<R> {
    runtime: Arc<R>,
    cell: Arc<StageCell>,
}

impl<R: Runtime> Log<R> {
    /// Writes one line at `level`.
    pub fn log(&self, level: LogLevel, message: impl fmt::Display) {
        self.runtime.log(level, self.cell.owner.name(), format_args!("{message}"));
    }

    /// Writes one line at [`LogLevel::Trace`].
    pub fn trace(&self, message: impl fmt::Display) {
        self.log(LogLevel::Trace, message);
    }

    /// Writes one line at [`LogLevel::Debug`].
    pub fn debug(&self, message: impl fmt::Display) {
        self.log(LogLevel::Debug, message);
    }

    /// Writes one line at [`LogLevel::Info`].
    pub fn info(&self, message: impl fmt::Display) {
        self.log(LogLevel::Info, message);
    }

    /// Writes one line at [`LogLevel::Warn`].
    pub fn warn(&self, message: impl fmt::Display) {
        self.log(LogLevel::Warn, message);
    }

    /// Writes one line at [`LogLevel::Error`].
    pub fn error(&self, message: impl fmt::Display) {
        self.log(LogLevel::Error, message);
    }
}

impl<R> fmt::Debug for Log<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("origin", &self.cell.owner).finish_non_exhaustive()
    }
}
