//! The adapter: tasks, time and the log of Tokio.

use std::fmt;
use std::future::Future;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aimdb_core::runtime::SpawnError;
use aimdb_core::stages::{Stage, StageResult};
use aimdb_core::{DbError, DbResult, Instant, LogLevel, Runtime, SendRuntime, UnixTime};
use tokio::runtime::Handle;

use crate::watchdog::MonitoredStage;

/// The Tokio runtime in which the database is built, as a runtime of the engine.
///
/// The value holds no handle to a runtime: `build()` and `run()` use the runtime in which they are called.
///
/// ```
/// use std::sync::Arc;
/// use aimdb_core::{AimDbBuilder, DbResult};
/// use aimdb_tokio_adapter::TokioAdapter;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> DbResult<()> {
/// let builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new()?));
/// # let _ = builder;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioAdapter;

impl TokioAdapter {
    /// Returns the adapter if the caller is inside a Tokio runtime.
    ///
    /// The value `TokioAdapter` itself can be written anywhere, for instance for the sync API, which starts its own runtime.
    ///
    /// # Errors
    ///
    /// [`DbError::Runtime`] outside a Tokio runtime.
    pub fn new() -> DbResult<Self> {
        match Handle::try_current() {
            Ok(_) => Ok(Self),
            Err(_) => Err(DbError::Runtime { reason: NO_RUNTIME.to_string() }),
        }
    }

    /// Turns off, for the whole process, that warnings and errors go to stderr while there is no `tracing` subscriber.
    ///
    /// With a subscriber nothing goes to stderr by this way.
    pub fn silence() {
        PRINTS_TO_STDERR.store(false, Relaxed);
    }
}

const NO_RUNTIME: SpawnError = SpawnError::new(
    "there is no Tokio runtime here",
    "call from within one (`#[tokio::main]`), or with `attach()` write `TokioAdapter` instead of `TokioAdapter::new()?`",
);

/// Returns the origin of the adapter's clock: one day before the first call.
///
/// The clock is Tokio's, so a paused or advanced test clock applies. Each Tokio runtime has its own clock, which a test may
/// have paused before the first call, or advanced; the origin must precede all of them.
fn origin() -> tokio::time::Instant {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    static ORIGIN: OnceLock<tokio::time::Instant> = OnceLock::new();
    *ORIGIN.get_or_init(|| {
        let now = std::time::Instant::now();
        now.checked_sub(DAY).unwrap_or(now).into()
    })
}

/// Whether warnings and errors go to stderr while the process has no `tracing` subscriber.
static PRINTS_TO_STDERR: AtomicBool = AtomicBool::new(true);

/// Whether the calling thread has no `tracing` subscriber, nor the process.
fn nobody_subscribes() -> bool {
    tracing::dispatcher::get_default(|dispatch| dispatch.is::<tracing::subscriber::NoSubscriber>())
}

impl Runtime for TokioAdapter {
    type Sleep = tokio::time::Sleep;

    const BLOCKED_AFTER: Option<Duration> = Some(Duration::from_secs(10));

    fn now(&self) -> Instant {
        let since = origin().elapsed();
        Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The time of the system's clock, also where a test has paused or advanced Tokio's.
    fn unix_now(&self) -> Option<UnixTime> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_nanos()).ok().map(UnixTime::from_nanos)
    }

    fn sleep_until(&self, deadline: Instant) -> Self::Sleep {
        match origin().checked_add(Duration::from_nanos(deadline.as_nanos())) {
            Some(deadline) => tokio::time::sleep_until(deadline),
            None => tokio::time::sleep(Duration::MAX),
        }
    }

    fn log(&self, level: LogLevel, origin: &str, message: fmt::Arguments<'_>) {
        let severe = !matches!(level, LogLevel::Trace | LogLevel::Debug | LogLevel::Info);
        if severe && PRINTS_TO_STDERR.load(Relaxed) && nobody_subscribes() {
            // Not `eprintln!`, which panics if the reader of stderr is gone.
            let _unread = writeln!(std::io::stderr(), "aimdb {level:?}: {origin}: {message}");
            return;
        }
        match level {
            LogLevel::Trace => tracing::trace!(target: "aimdb", "{origin}: {message}"),
            LogLevel::Debug => tracing::debug!(target: "aimdb", "{origin}: {message}"),
            LogLevel::Info => tracing::info!(target: "aimdb", "{origin}: {message}"),
            LogLevel::Warn => tracing::warn!(target: "aimdb", "{origin}: {message}"),
            // `Error`, and levels that core may add.
            _ => tracing::error!(target: "aimdb", "{origin}: {message}"),
        }
    }
}

impl SendRuntime for TokioAdapter {
    fn spawn_send<F>(&self, stage: Stage<Self, F>) -> Result<(), SpawnError>
    where
        F: Future<Output: StageResult> + Send + 'static,
    {
        let runtime = Handle::try_current().map_err(|_| NO_RUNTIME)?;
        runtime.spawn(MonitoredStage::new(stage, &runtime));
        Ok(())
    }
}
