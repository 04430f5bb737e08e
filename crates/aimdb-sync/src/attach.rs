//! From a builder to a running database with a blocking handle.

use std::io;
use std::num::NonZeroUsize;
use std::time::Duration;

use aimdb_core::{AimDbBuilder, DbError, DbResult};
use aimdb_tokio_adapter::TokioAdapter;
use tokio::runtime::{Builder, Runtime};

use crate::handle::SyncHandle;
use crate::park;
use crate::queued::DrainTracker;
use crate::runtime::{OwnedRuntime, RuntimeThread};

/// The name of the runtime thread, unless set.
const THREAD_NAME: &str = "aimdb-runtime";

/// Starts a builder's database behind the sync API.
///
/// ```
/// use std::{num::NonZeroUsize, sync::Arc};
/// use aimdb_core::AimDbBuilder;
/// use aimdb_sync::{Attach, AttachOptions};
/// use aimdb_tokio_adapter::TokioAdapter;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
/// let options = AttachOptions::new().workers(NonZeroUsize::MIN).thread_name("plant");
/// let handle = builder.attach_with(options)?;
/// handle.detach()?;
/// # Ok(())
/// # }
/// ```
pub trait Attach {
    /// Checks and builds the graph, starts it on a thread of its own, and returns a blocking handle.
    ///
    /// It works on any thread, also inside a Tokio worker.
    ///
    /// # Errors
    ///
    /// [`DbError::Build`] with all findings; [`DbError::Runtime`] if the operating system starts no thread. After an error
    /// nothing is left running.
    fn attach(self) -> DbResult<SyncHandle>;

    /// [`attach`](Self::attach) with [`AttachOptions`].
    ///
    /// # Errors
    ///
    /// As for [`attach`](Self::attach).
    fn attach_with(self, options: AttachOptions) -> DbResult<SyncHandle>;
}

/// How [`attach_with`](Attach::attach_with) builds the runtime.
#[derive(Clone, Debug)]
pub struct AttachOptions {
    workers: Option<NonZeroUsize>,
    thread_name: String,
    drop_deadline: Duration,
    paused: bool,
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self {
            workers: None,
            thread_name: THREAD_NAME.into(),
            drop_deadline: Duration::from_secs(2),
            paused: false,
        }
    }
}

impl AttachOptions {
    /// One thread named `aimdb-runtime`, and a drop deadline of 2 s.
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

    /// Names the runtime thread and its workers.
    #[must_use]
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// Leaves the stages waiting until [`SyncHandle::start`], so that the program can open consumers and set values first.
    ///
    /// Such a consumer misses nothing that a stage produces. A handle that is detached before its start runs no stage.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use aimdb_core::{AimDbBuilder, BufferCfg};
    /// # use aimdb_sync::{Attach, AttachOptions};
    /// # use aimdb_tokio_adapter::TokioAdapter;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    /// builder.configure::<u32>("count", |reg| {
    ///     reg.buffer(BufferCfg::ring(8)).source(|_, count| async move {
    ///         count.produce(1).await.ok();
    ///     });
    /// });
    /// let handle = builder.attach_with(AttachOptions::new().paused())?;
    /// let consumer = handle.consumer::<u32>("count")?;
    /// handle.start();
    /// assert_eq!(consumer.get()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// Limits how long dropping the handle may drain the database.
    #[must_use]
    pub fn drop_deadline(mut self, deadline: Duration) -> Self {
        self.drop_deadline = deadline;
        self
    }

    fn runtime(&self) -> io::Result<Runtime> {
        // Tokio panics where the operating system starts no thread for a worker.
        std::panic::catch_unwind(|| self.build_runtime()).unwrap_or_else(|_| {
            Err(io::Error::other("the operating system starts no thread for a worker"))
        })
    }

    fn build_runtime(&self) -> io::Result<Runtime> {
        let mut builder = match self.workers {
            None => Builder::new_current_thread(),
            Some(_) => Builder::new_multi_thread(),
        };
        if let Some(workers) = self.workers {
            builder.worker_threads(workers.get()).on_thread_start(park::mark_worker_thread);
        }
        builder.enable_all().thread_name(&self.thread_name).build()
    }
}

impl Attach for AimDbBuilder<TokioAdapter> {
    fn attach(self) -> DbResult<SyncHandle> {
        self.attach_with(AttachOptions::default())
    }

    fn attach_with(self, options: AttachOptions) -> DbResult<SyncHandle> {
        let refused = |error: io::Error| DbError::Runtime {
            reason: format!(
                "the thread `{}` for the database cannot be started: {error}",
                options.thread_name
            ),
        };
        if options.thread_name.contains('\0') {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "its name contains a NUL");
            return Err(refused(error));
        }
        let runtime = OwnedRuntime::new(options.runtime().map_err(refused)?);
        let db = {
            let _inside = runtime.enter();
            self.build()?
        };
        let tokio = runtime.handle().clone();
        if !options.paused {
            db.start();
        }
        let drain = DrainTracker::default();
        let thread = RuntimeThread::start(
            options.thread_name.clone(),
            options.workers.is_none(),
            runtime,
            db.clone(),
            drain.clone(),
        )
        .map_err(refused)?;
        Ok(SyncHandle::new(db, tokio, drain, thread, options.drop_deadline))
    }
}
