//! Sources that read from a device by blocking.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;

use aimdb_core::{Producer, Record, RuntimeContext, stages::StageResult};
use aimdb_tokio_adapter::TokioAdapter;
use tokio::sync::oneshot;

use crate::producer::SyncProducer;
use crate::runtime::ExecutorThread;

/// The future of a [`blocking_source`].
pub type BlockingSourceRun<O> = Pin<Box<dyn Future<Output = O> + Send>>;

/// Makes a source from a function that blocks: it reads lines of stdin, a serial port, a sensor bus, a file.
///
/// The function runs on a thread of its own and writes through a [`SyncProducer`], so a full queue holds it back and no
/// value waits elsewhere. The source ends when the function returns, with its result: an `Err` or a panic is a failure
/// of the stage, which a [restart policy](aimdb_core::Registrar::source_with) starts again on a new thread.
///
/// A shutdown ends the source at once, and closes the record once its other writers have ended too. From then on each `set` of
/// the thread returns `Closed` with the value, and the function should return. A thread that waits for its device meanwhile is not interrupted: it ends when the device answers, or
/// with the process. A function that can wait with a timeout checks
/// [`is_closed`](SyncProducer::is_closed) between two waits.
///
/// # Errors
///
/// The stage fails if the operating system starts no thread.
///
/// ```no_run
/// use aimdb_core::{AimDbBuilder, BufferCfg};
/// use aimdb_sync::{Attach, blocking_source};
/// use aimdb_tokio_adapter::TokioAdapter;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut builder = AimDbBuilder::on(TokioAdapter);
/// builder.configure::<String>("console.line", |reg| {
///     reg.buffer(BufferCfg::queue(16)).source(blocking_source(|lines| {
///         for line in std::io::stdin().lines() {
///             if lines.set(line?).is_err() {
///                 break; // the database shuts down
///             }
///         }
///         std::io::Result::Ok(())
///     }));
/// });
/// let handle = builder.attach()?;
/// # drop(handle);
/// # Ok(())
/// # }
/// ```
pub fn blocking_source<T, F, O>(
    read: F,
) -> impl Fn(RuntimeContext<TokioAdapter>, Producer<T, TokioAdapter>) -> BlockingSourceRun<O>
where
    T: Record,
    F: Fn(SyncProducer<T>) -> O + Send + Sync + 'static,
    O: StageResult + Send + 'static,
{
    let read = Arc::new(read);
    move |_context, producer| {
        let read = Arc::clone(&read);
        Box::pin(async move {
            let producer = SyncProducer::direct(producer, ExecutorThread::Workers);
            let (ended, end) = oneshot::channel();
            let spawned = thread::Builder::new().name("aimdb-source".into()).spawn(move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| read(producer)));
                // Nobody waits for it after a shutdown.
                let _unheard = ended.send(outcome);
            });
            // A stage has no other way to fail for a reason of its own: `O` is the user's type.
            let _thread = spawned.unwrap_or_else(|error| panic!("no thread: {error}"));
            match end.await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(panic)) => resume_unwind(panic),
                Err(_) => panic!("the thread of the source ended without an outcome"),
            }
        })
    }
}
