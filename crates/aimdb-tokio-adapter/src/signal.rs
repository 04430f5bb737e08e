//! Running a database until the process receives a signal.

use std::io;
use std::time::Duration;

use aimdb_core::{AimDb, DbError, DbResult, LogLevel, Runtime, ShutdownReport};
use tokio::sync::Notify;

use crate::adapter::TokioAdapter;

/// Runs the database until the process receives Ctrl-C (or, on Unix, `SIGTERM`), or until a shutdown is requested.
///
/// The first signal begins a shutdown with the builder's deadline, which drains what was accepted; every second a line of
/// the log names what it waits for. A second signal ends it at once: stages are aborted, and the report says what was not
/// delivered.
///
/// The signal no longer ends the process, also after this function has returned: the program ends by returning from `main`.
/// A thread that a stage keeps busy ends with it.
///
/// # Errors
///
/// As for [`AimDb::run_until`], and [`DbError::Runtime`] if the operating system refuses the handler of a signal.
///
/// # Cancel safety
///
/// Dropping the future stops no stage, as for [`AimDb::run`].
///
/// ```no_run
/// use std::sync::Arc;
/// use aimdb_core::{AimDbBuilder, BufferCfg, DbResult};
/// use aimdb_tokio_adapter::{TokioAdapter, run_until_signalled};
///
/// #[tokio::main]
/// async fn main() -> DbResult<()> {
///     let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new()?));
///     builder.configure::<u64>("seconds", |reg| {
///         reg.buffer(BufferCfg::latest())
///             .source(|ctx, seconds| async move {
///                 for second in 0.. {
///                     seconds.produce(second).await.ok();
///                     ctx.time().sleep(ctx.time().secs(1)).await;
///                 }
///             })
///             .for_each(|_, second| println!("{second}"));
///     });
///     let report = run_until_signalled(&builder.build()?).await?;
///     println!("{report}");
///     Ok(())
/// }
/// ```
pub async fn run_until_signalled(db: &AimDb<TokioAdapter>) -> DbResult<ShutdownReport> {
    let refused = |error: io::Error| DbError::Runtime {
        reason: format!("the operating system refuses a handler for signals: {error}"),
    };
    let mut signals = Signals::new().map_err(refused)?;
    let first = Notify::new();
    let mut run = std::pin::pin!(db.run_until(first.notified()));
    tokio::select! {
        outcome = &mut run => return outcome,
        () = signals.next() => {}
    }
    let message = format_args!("a signal: shutting down; a second one ends at once");
    db.runtime().log(LogLevel::Info, "aimdb", message);
    first.notify_one();
    tokio::select! {
        outcome = &mut run => return outcome,
        () = signals.next() => {}
    }
    // Joins the shutdown in progress: its deadline is now.
    let (outcome, _same_report) = tokio::join!(run, db.shutdown(Duration::ZERO));
    outcome
}

/// The signals that end a process.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
