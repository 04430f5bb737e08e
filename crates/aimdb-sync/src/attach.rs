//! From a builder to a running database with a blocking handle.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use aimdb_core::{AimDb, AimDbBuilder, DbError, DbResult};
use aimdb_tokio_adapter::TokioAdapter;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use crate::handle::{DETACH_DEADLINE, Home, RuntimeThread, SyncHandle};
use crate::owned::OwnedRuntime;
use crate::park;
use crate::queued::Gates;

/// The name of the runtime thread, unless set.
const THREAD_NAME: &str = "aimdb-runtime";

/// The builder's blocking door.
pub trait Attach {
    /// Checks and builds the graph, starts it on a thread of its own, and gives a blocking handle.
    ///
    /// It works in any thread, inside a Tokio worker too.
    ///
    /// # Errors
    ///
    /// [`DbError::Build`] with all findings; [`DbError::Runtime`] if the thread cannot be had. Nothing is left running
    /// then.
    fn attach(self) -> DbResult<SyncHandle>;

    /// [`attach`](Self::attach), with more workers or another name.
    ///
    /// # Errors
    ///
    /// As for [`attach`](Self::attach).
    fn attach_with(self, options: AttachOptions) -> DbResult<SyncHandle>;
}

/// How the runtime is made.
#[derive(Clone, Debug)]
pub struct AttachOptions {
    workers: Option<NonZeroUsize>,
    thread_name: String,
    drop_deadline: Duration,
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self {
            workers: None,
            thread_name: THREAD_NAME.into(),
            drop_deadline: Duration::from_secs(2),
        }
    }
}

impl AttachOptions {
    /// One thread named `aimdb-runtime`; dropping the handle takes 2 s at most.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs stages on this many worker threads instead of on the runtime thread itself.
    #[must_use]
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// The runtime thread's name, and its workers'.
    #[must_use]
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// How long dropping the handle may take to drain.
    #[must_use]
    pub fn drop_deadline(mut self, deadline: Duration) -> Self {
        self.drop_deadline = deadline;
        self
    }

    fn runtime(&self) -> std::io::Result<Runtime> {
        // Tokio panics where the system gives it no thread for a worker.
        std::panic::catch_unwind(|| self.build_runtime()).unwrap_or_else(|_| {
            Err(std::io::Error::other("the system gives no thread for a worker"))
        })
    }

    fn build_runtime(&self) -> std::io::Result<Runtime> {
        let mut builder = match self.workers {
            None => Builder::new_current_thread(),
            Some(_) => Builder::new_multi_thread(),
        };
        if let Some(workers) = self.workers {
            builder.worker_threads(workers.get()).on_thread_start(park::i_am_a_worker);
        }
        builder.enable_all().thread_name(&self.thread_name).build()
    }
}

impl Attach for AimDbBuilder<TokioAdapter> {
    fn attach(self) -> DbResult<SyncHandle> {
        self.attach_with(AttachOptions::default())
    }

    fn attach_with(self, options: AttachOptions) -> DbResult<SyncHandle> {
        let refused = |error: std::io::Error| DbError::Runtime {
            reason: format!(
                "the thread `{}` for the database cannot be had: {error}",
                options.thread_name
            ),
        };
        if options.thread_name.contains('\0') {
            let why = std::io::Error::new(std::io::ErrorKind::InvalidInput, "its name holds a NUL");
            return Err(refused(why));
        }
        let runtime = OwnedRuntime::new(options.runtime().map_err(refused)?);
        let db = {
            let _inside = runtime.enter();
            self.build()?
        };
        let tokio = runtime.handle().clone();
        db.start();
        let gates = Gates::default();
        let thread = start_thread(runtime, db.clone(), gates.clone(), &options).map_err(refused)?;
        Ok(SyncHandle::new(db, tokio, gates, thread, options.drop_deadline))
    }
}

/// The thread that drives the runtime until it is told to end.
fn start_thread(
    runtime: OwnedRuntime,
    db: AimDb<TokioAdapter>,
    gates: Gates,
    options: &AttachOptions,
) -> std::io::Result<RuntimeThread> {
    let end = Arc::new(Notify::new());
    let (ended, has_ended) = mpsc::sync_channel(1);
    let told = Arc::clone(&end);
    let thread = thread::Builder::new().name(options.thread_name.clone()).spawn(move || {
        runtime.block_on(drive(db, &gates, &told));
        // What is left are tasks of users' own; they are dropped, and blocking ones are left to themselves.
        runtime.end_within(Duration::from_millis(100));
        let _nobody_waits = ended.send(());
    })?;
    let home = match options.workers {
        None => Home::new(thread.thread().id()),
        Some(_) => Home::none(),
    };
    Ok(RuntimeThread { thread, end, has_ended, home })
}

/// Runs the database until it is detached.
async fn drive(db: AimDb<TokioAdapter>, gates: &Gates, end: &Notify) {
    let driven = async {
        // What queues have accepted goes first, whoever asks for the end.
        db.shutdown_requested().await;
        gates.close();
        tokio::select! {
            () = gates.drained() => {}
            () = tokio::time::sleep(DETACH_DEADLINE) => {}
            // A caller shuts down, with a deadline of its own for the queues too.
            () = gates.taken_over() => std::future::pending().await,
        }
        // It ends when a stage asks for it, or fails where that ends the database. `health()` and the report say why;
        // the runtime stays for whoever still reads.
        let _outcome = db.run().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = end.notified() => {}
        () = driven => {}
    }
}
