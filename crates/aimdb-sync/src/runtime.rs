//! The thread that drives the database's Tokio runtime.

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use aimdb_core::AimDb;
use aimdb_tokio_adapter::TokioAdapter;
use tokio::runtime::{Handle, Runtime, RuntimeFlavor};
use tokio::sync::Notify;

use crate::queued::DrainTracker;

/// The deadline of a [`SyncHandle::detach`](crate::SyncHandle::detach), and of a shutdown that no caller waits for.
pub(crate) const DETACH_DEADLINE: Duration = Duration::from_secs(10);

/// How long the runtime thread may take to exit once it is asked to, with a margin for a loaded machine.
const JOIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the end of the runtime waits for its blocking threads.
const RUNTIME_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(100);

/// The thread that polls all stages, if there is exactly one. A wait on this thread would block what could end it.
///
/// With worker threads there is none: another thread takes over the tasks of a worker that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ExecutorThread {
    /// All stages run on this thread.
    Single(ThreadId),
    /// The runtime has workers.
    Workers,
    /// The runtime is the caller's: a thread inside of a runtime without workers is the one that polls its stages.
    Foreign,
}

impl ExecutorThread {
    /// Whether all stages run on one thread that is known.
    pub(crate) fn is_single(self) -> bool {
        matches!(self, Self::Single(_))
    }

    /// Whether the caller runs on it. Callers check this only before a wait.
    pub(crate) fn is_current(self) -> bool {
        match self {
            Self::Single(executor) => executor == thread::current().id(),
            Self::Workers => false,
            Self::Foreign => Handle::try_current()
                .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread),
        }
    }
}

/// A running runtime thread.
pub(crate) struct RuntimeThread {
    thread: JoinHandle<()>,
    exit: Arc<Notify>,
    exited: Receiver<()>,
    executor: ExecutorThread,
}

impl RuntimeThread {
    /// Starts a thread named `name` that drives `runtime` and runs `db` in it. `single`: whether the runtime has no workers.
    ///
    /// # Errors
    ///
    /// The operating system's error if it starts no thread.
    pub(crate) fn start(
        name: String,
        single: bool,
        runtime: OwnedRuntime,
        db: AimDb<TokioAdapter>,
        drain: DrainTracker,
    ) -> io::Result<Self> {
        let exit = Arc::new(Notify::new());
        let (sender, exited) = mpsc::sync_channel(1);
        let requested = Arc::clone(&exit);
        let thread = thread::Builder::new().name(name).spawn(move || {
            runtime.block_on(drive(db, &drain, &requested));
            // The user's own tasks may still be running. They are dropped; blocking ones continue on their threads.
            runtime.shut_down_within(RUNTIME_SHUTDOWN_TIMEOUT);
            let _receiver_dropped = sender.send(());
        })?;
        let executor = match single {
            true => ExecutorThread::Single(thread.thread().id()),
            false => ExecutorThread::Workers,
        };
        Ok(Self { thread, exit, exited, executor })
    }

    pub(crate) fn executor(&self) -> ExecutorThread {
        self.executor
    }

    /// A notification that makes the thread exit.
    pub(crate) fn exit_request(&self) -> Arc<Notify> {
        Arc::clone(&self.exit)
    }

    /// Makes the thread exit and joins it. Returns `false` if it has not exited in time; it is left running then.
    pub(crate) fn join(self) -> bool {
        self.exit.notify_one();
        // The send is the last step of the thread, so the join that follows does not block for long.
        let in_time = self.exited.recv_timeout(JOIN_TIMEOUT).is_ok();
        if in_time {
            let _outcome = self.thread.join();
        }
        in_time
    }
}

/// Runs the database until `exit` is notified.
async fn drive(db: AimDb<TokioAdapter>, drain: &DrainTracker, exit: &Notify) {
    let driven = async {
        // Whichever handle or stage requested the shutdown: values that queues have accepted enter their records first.
        db.shutdown_requested().await;
        drain.close();
        tokio::select! {
            () = drain.drained() => {}
            () = tokio::time::sleep(DETACH_DEADLINE) => {}
            // A caller shuts the database down, with a deadline of its own that covers the queues too.
            () = drain.deadline_set() => std::future::pending().await,
        }
        // `run` ends when a stage requests it, or when a failure ends the database. `health()` and the report give the
        // reason; the runtime stays for consumers that still read.
        let _outcome = db.run().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = exit.notified() => {}
        () = driven => {}
    }
}

/// A Tokio runtime that may be dropped on any thread: it shuts down in the background.
///
/// The drop of a plain [`Runtime`] waits for its threads, and panics inside a worker of another runtime.
pub(crate) struct OwnedRuntime(Option<Runtime>);

impl OwnedRuntime {
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self(Some(runtime))
    }

    /// Shuts the runtime down and waits for its threads, no longer than `limit`.
    fn shut_down_within(mut self, limit: Duration) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(limit);
        }
    }
}

impl Deref for OwnedRuntime {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("the runtime is present until it is shut down")
    }
}

impl Drop for OwnedRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
