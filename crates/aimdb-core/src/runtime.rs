//! What the engine asks of a runtime: tasks, time and a log.
//!
//! An adapter implements [`Runtime`] (a clock, a timer, a log line) and [`Spawn`] (a task). It holds no
//! semantics: buffers, supervision and shutdown live in this crate and behave alike everywhere.

use core::fmt;
use core::future::Future;
use core::time::Duration;

use crate::engine::Stage;

/// A point on the runtime's monotonic clock, in nanoseconds since an origin the runtime chose.
///
/// Instants of one runtime compare and subtract; the origin itself means nothing. A `u64` of nanoseconds
/// lasts 584 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Instant(u64);

impl Instant {
    /// The instant `nanos` nanoseconds after the origin. For adapters and virtual clocks.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    #[must_use]
    pub const fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self + duration`, stopping at the end of the clock instead of wrapping.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

impl core::ops::Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the five usual levels")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// A runtime that can host an engine.
///
/// # Implementing
///
/// - `now` MUST be monotonic and cheap, and MUST NOT panic: buffers call it.
/// - `sleep_until` MUST give a future that completes at or after the deadline, at once if the deadline has
///   passed, and that may be dropped at any time.
/// - `log` MUST NOT block for long, and MUST NOT call back into the engine.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a runtime that AimDB can run on",
    label = "no runtime chosen",
    note = "call `.runtime(Arc::new(TokioAdapter::new()?))` on the builder before anything else"
)]
pub trait Runtime: Sized + Send + Sync + 'static {
    /// The runtime's own timer future, not a boxed one.
    type Sleep: Future<Output = ()>;

    /// The time now.
    fn now(&self) -> Instant;

    /// A future that completes at `deadline`.
    fn sleep_until(&self, deadline: Instant) -> Self::Sleep;

    /// Writes one line to the log. `origin` is a record key, a stage or a connector.
    fn log(&self, level: LogLevel, origin: &str, message: fmt::Arguments<'_>);
}

/// A runtime that can run the future `F` as a task.
///
/// The bound sits on each method that registers a stage, so `Send` is asked of a stage only where the runtime
/// moves tasks between threads: Tokio's adapter implements this for `F: Send`, Embassy's for any `F`.
#[diagnostic::on_unimplemented(
    message = "the runtime `{Self}` cannot run this stage as a task",
    label = "this stage's future does not fit the runtime",
    note = "on Tokio a stage must be `Send + 'static`: it may hold no `Rc`, no `RefCell` borrow and no \
            non-Send guard across an `.await`, and it must own what it captures (`move`)"
)]
pub trait Spawn<F: Future<Output = ()>>: Runtime {
    /// Starts `stage` as a task of its own. The engine supervises it from inside; the adapter only runs it.
    ///
    /// # Errors
    ///
    /// When the runtime cannot take another task, with its reason.
    fn spawn(&self, stage: Stage<Self, F>) -> Result<(), SpawnError>;
}

/// Why a runtime refused a task, and what to do. The build's finding says so, with the record and the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnError {
    /// Why.
    pub reason: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.remedy)
    }
}

impl core::error::Error for SpawnError {}

/// The clock as buffers and metrics see it, without the runtime's type.
pub(crate) trait Clock: Send + Sync {
    fn now(&self) -> Instant;
}

/// A runtime seen as its clock alone.
pub(crate) struct RuntimeClock<R>(pub(crate) crate::sync::Arc<R>);

impl<R: Runtime> Clock for RuntimeClock<R> {
    fn now(&self) -> Instant {
        self.0.now()
    }
}
