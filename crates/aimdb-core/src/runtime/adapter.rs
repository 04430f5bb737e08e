//! The runtime's clock, timer and log.

use core::fmt;
use core::future::Future;
use core::time::Duration;

use crate::clock::{Clock, Instant, UnixTime};
use crate::panic::catch;
use crate::sync::Arc;

/// The severity of a log line.
///
/// ```
/// use aimdb_core::{Log, LogLevel, Runtime};
///
/// fn report<R: Runtime>(log: &Log<R>, celsius: f32) {
///     let level = if celsius > 90.0 { LogLevel::Error } else { LogLevel::Debug };
///     log.log(level, format_args!("{celsius:.1} °C"));
/// }
///
/// assert!(LogLevel::Error > LogLevel::Debug);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the five usual levels")]
#[non_exhaustive]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// A runtime that can run the engine: its clock, timer and log.
///
/// # Implementing
///
/// - `now` MUST be monotonic and cheap, and MUST NOT panic: buffers call it.
/// - `sleep_until` MUST return a future that completes at or after the deadline, at its first poll if the deadline has
///   passed. A caller may drop the future at any time.
/// - `log` MUST NOT block for long, and MUST NOT call the engine.
///
/// ```
/// use aimdb_core::{Instant, LogLevel, Runtime};
/// use std::fmt;
/// use std::future::Ready;
///
/// /// A runtime whose time does not advance, for tests without a timer.
/// struct Frozen;
///
/// impl Runtime for Frozen {
///     type Sleep = Ready<()>;
///
///     fn now(&self) -> Instant {
///         Instant::from_nanos(0)
///     }
///
///     fn sleep_until(&self, _deadline: Instant) -> Self::Sleep {
///         std::future::ready(())
///     }
///
///     fn log(&self, level: LogLevel, origin: &str, message: fmt::Arguments<'_>) {
///         eprintln!("{level:?} {origin}: {message}");
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a runtime that AimDB can run on",
    label = "no runtime chosen",
    note = "call `.runtime(Arc::new(TokioAdapter::new()?))` on the builder before anything else"
)]
pub trait Runtime: Sized + Send + Sync + 'static {
    /// The runtime's own timer future, which needs no box.
    type Sleep: Future<Output = ()>;

    /// How long writers of a queue may wait for room before the log names the reader that holds them back. `None`, the
    /// default, turns that off: it needs a timer at all times.
    /// [`AimDbBuilder::blocked_after`](crate::AimDbBuilder::blocked_after) overrides it.
    const BLOCKED_AFTER: Option<Duration> = None;

    /// The present time of the runtime's monotonic clock.
    ///
    /// The engine calls it while it holds the lock of a record's readers, so it must return soon,
    /// and must not use a handle of the database.
    fn now(&self) -> Instant;

    /// The present time of the calendar, or `None`, the default, if the runtime has no clock for it.
    ///
    /// The engine stamps its snapshots and events with it, beside the time of the monotonic clock.
    fn unix_now(&self) -> Option<UnixTime> {
        None
    }

    /// Returns a future that completes at `deadline`.
    fn sleep_until(&self, deadline: Instant) -> Self::Sleep;

    /// Writes one line to the log.
    ///
    /// `origin` is a record's key, a connector's name, or `aimdb` for the engine itself.
    fn log(&self, level: LogLevel, origin: &str, message: fmt::Arguments<'_>);
}

/// Writes one line to the runtime's log. A log that panics costs its line and nothing more: the caller is about to end or to
/// restart a stage.
pub(crate) fn log<R: Runtime>(
    runtime: &R,
    level: LogLevel,
    origin: &str,
    message: fmt::Arguments<'_>,
) {
    let _lost = catch(|| runtime.log(level, origin, message));
}

/// The clock of a runtime, without the runtime's type.
pub(crate) struct RuntimeClock<R>(pub(crate) Arc<R>);

impl<R: Runtime> Clock for RuntimeClock<R> {
    fn now(&self) -> Instant {
        self.0.now()
    }
}
