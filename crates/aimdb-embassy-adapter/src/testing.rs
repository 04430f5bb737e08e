//! Embassy's std executor for tests: each test has its own executor on its own thread.
//!
//! The test binary must provide a critical section, for instance `critical-section` with its feature `std`.
//!
//! ```
//! use aimdb_core::{AimDbBuilder, BufferCfg};
//! use aimdb_embassy_adapter::testing::on_embassy;
//!
//! on_embassy(|runtime| async move {
//!     let mut builder = AimDbBuilder::new().runtime(runtime);
//!     builder.configure::<u32>("counter", |reg| {
//!         reg.buffer(BufferCfg::SingleLatest).source(|_, counter| async move {
//!             counter.produce(7).await.unwrap();
//!         });
//!     });
//!     builder.run().await.unwrap();
//! });
//! # // The linker needs the implementation of the critical section.
//! # use critical_section as _;
//! ```

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::{panic, thread};

use embassy_executor::raw::TaskStorage;
use embassy_executor::{Executor, Spawner};

use crate::adapter::EmbassyAdapter;
use crate::sink;

thread_local! {
    /// The spawner of the executor that runs on this thread.
    static SPAWNER: Cell<Option<Spawner>> = const { Cell::new(None) };
}

/// Runs `body` to completion as a task of a new executor on a new thread. `body` receives the executor's adapter.
///
/// # Panics
///
/// If `body` panics, with its panic.
pub fn on_embassy<F: Future<Output = ()> + 'static>(
    body: impl FnOnce(Arc<EmbassyAdapter>) -> F + Send,
) {
    let run = || {
        let executor: &'static mut Executor = Box::leak(Box::new(Executor::new()));
        let done = Arc::new(AtomicBool::new(false));
        let executor_done = Arc::clone(&done);
        let init = |spawner: Spawner| {
            SPAWNER.set(Some(spawner));
            let body = body(adapter());
            // All threads share the pool of a task function, so each call allocates its own task instead.
            let storage = Box::leak(Box::new(TaskStorage::new()));
            spawner.spawn(storage.spawn(move || run_body(Box::pin(body), done)).unwrap());
        };
        executor.run_until(init, || executor_done.load(SeqCst));
    };
    let result = thread::scope(|scope| scope.spawn(run).join());
    result.unwrap_or_else(|payload| panic::resume_unwind(payload));
}

async fn run_body(body: Pin<Box<dyn Future<Output = ()>>>, done: Arc<AtomicBool>) {
    body.await;
    done.store(true, SeqCst);
}

/// Returns the adapter of the executor that runs on this thread.
///
/// # Panics
///
/// If no executor of [`on_embassy`] runs on this thread.
pub fn adapter() -> Arc<EmbassyAdapter> {
    let spawner = SPAWNER.get().expect("an executor runs on this thread");
    Arc::new(EmbassyAdapter::new(spawner, sink::log))
}

/// Runs the synchronous function `case` inside a task of a new executor.
///
/// # Panics
///
/// If `case` panics, with its panic.
pub fn in_embassy(case: impl FnOnce() + Send + 'static) {
    on_embassy(|_| async { case() });
}
