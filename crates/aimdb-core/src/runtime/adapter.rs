//! A clock, a timer and a log.

use core::fmt;
use core::future::Future;

use crate::clock::{Clock, Instant};
use crate::sync::Arc;

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

/// A runtime seen as its clock alone.
pub(crate) struct RuntimeClock<R>(pub(crate) Arc<R>);

impl<R: Runtime> Clock for RuntimeClock<R> {
    fn now(&self) -> Instant {
        self.0.now()
    }
}
