//! Runs the AimDB engine on Tokio: every stage is a task of its own, timers are Tokio's, log lines go to `tracing`.
//!
//! On a multi-thread runtime a stage that blocks its thread does not stop the timers of the others: a watchdog thread
//! has another worker take them over within 2 ms. It sleeps while the database is idle. On a current-thread runtime
//! there is no other worker: a stage that blocks stops all.
//!
//! The runtime needs Tokio's timers (`enable_time`, which `#[tokio::main]` and `enable_all` include).
//!
//! It holds no semantics. Panics are caught, stages supervised and buffers woken in `aimdb-core`, alike on every
//! runtime. Both the current-thread and the multi-thread runtime will do.
//!
//! ```
//! use std::sync::Arc;
//! use aimdb_core::{AimDbBuilder, BufferCfg, DbResult};
//! use aimdb_tokio_adapter::TokioAdapter;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> DbResult<()> {
//!     let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new()?));
//!     builder.configure::<u32>("counter", |reg| {
//!         reg.buffer(BufferCfg::SpmcQueue { capacity: 4 })
//!             .source(|_ctx, counter| async move {
//!                 for n in 0..10 {
//!                     counter.produce(n).await.ok();
//!                 }
//!             })
//!             .tap(|_ctx, counter| async move {
//!                 let mut reader = counter.subscribe().unwrap();
//!                 while let Ok(n) = reader.recv().await {
//!                     println!("{n}");
//!                 }
//!             });
//!     });
//!     builder.run().await
//! }
//! ```
#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use aimdb_core::runtime::SpawnError;
use aimdb_core::stages::Stage;
use aimdb_core::{DbError, DbResult, Instant, LogLevel, Runtime, Spawn};
use tokio::runtime::Handle;

mod watchdog;

use watchdog::Watched;
pub use watchdog::polls_a_stage_of;

/// Tokio as the engine sees it: whichever Tokio runtime the database is built in.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioAdapter;

impl TokioAdapter {
    /// The adapter, inside a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`DbError::Runtime`] outside of one. (The value itself, `TokioAdapter`, can be had anywhere; the blocking door
    /// brings a runtime of its own.)
    pub fn new() -> DbResult<Self> {
        match Handle::try_current() {
            Ok(_) => Ok(Self),
            Err(_) => Err(DbError::Runtime { reason: NO_RUNTIME.to_string() }),
        }
    }
}

const NO_RUNTIME: SpawnError = SpawnError::new(
    "there is no Tokio runtime here",
    "call from within one (`#[tokio::main]`), or use `attach()` from aimdb-sync",
);

/// The clock's origin: a day before anybody asked for it first.
///
/// Tokio's clock is used throughout, so that a paused or advanced test clock is followed. Each Tokio runtime has its
/// own, which a test may have paused before that moment or advanced beyond it; the origin must lie before all of them.
fn origin() -> tokio::time::Instant {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    static ORIGIN: OnceLock<tokio::time::Instant> = OnceLock::new();
    *ORIGIN.get_or_init(|| {
        let now = std::time::Instant::now();
        now.checked_sub(DAY).unwrap_or(now).into()
    })
}

impl Runtime for TokioAdapter {
    type Sleep = tokio::time::Sleep;

    fn now(&self) -> Instant {
        let since = origin().elapsed();
        Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, deadline: Instant) -> Self::Sleep {
        match origin().checked_add(Duration::from_nanos(deadline.as_nanos())) {
            Some(deadline) => tokio::time::sleep_until(deadline),
            None => tokio::time::sleep(Duration::MAX),
        }
    }

    fn log(&self, level: LogLevel, origin: &str, message: fmt::Arguments<'_>) {
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

impl<F: Future<Output = ()> + Send + 'static> Spawn<F> for TokioAdapter {
    fn spawn(&self, stage: Stage<Self, F>) -> Result<(), SpawnError> {
        let runtime = Handle::try_current().map_err(|_| NO_RUNTIME)?;
        runtime.spawn(Watched::new(stage, &runtime));
        Ok(())
    }
}
