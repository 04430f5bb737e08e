//! Embassy's std executor for tests: one for each, on a thread of its own.
//!
//! The binary brings a critical section, for instance `critical-section` with its feature `std`.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::{panic, thread};

use embassy_executor::{Executor, Spawner};

use crate::{EmbassyAdapter, sink};

thread_local! {
    static SPAWNER: Cell<Option<Spawner>> = const { Cell::new(None) };
}

/// Runs `body` as a task of an executor of its own, to its end, and passes its panic on. It is given the executor's
/// adapter.
///
/// # Panics
///
/// When `body` does.
pub fn on_embassy<F: Future<Output = ()> + 'static>(
    body: impl FnOnce(Arc<EmbassyAdapter>) -> F + Send,
) {
    let run = || {
        let executor: &'static mut Executor = Box::leak(Box::new(Executor::new()));
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let begin = |spawner: Spawner| {
            SPAWNER.set(Some(spawner));
            let body = body(adapter());
            // The pool of a task function is one for all threads; a task of one's own is not.
            let storage = Box::leak(Box::new(embassy_executor::raw::TaskStorage::new()));
            spawner.spawn(storage.spawn(move || the_body(Box::pin(body), done)).unwrap());
        };
        executor.run_until(begin, || seen.load(SeqCst));
    };
    let ended = thread::scope(|scope| scope.spawn(run).join());
    ended.unwrap_or_else(|cause| panic::resume_unwind(cause));
}

async fn the_body(body: Pin<Box<dyn Future<Output = ()>>>, done: Arc<AtomicBool>) {
    body.await;
    done.store(true, SeqCst);
}

/// The adapter of the executor that runs on this thread.
///
/// # Panics
///
/// Without one.
pub fn adapter() -> Arc<EmbassyAdapter> {
    let spawner = SPAWNER.get().expect("an executor runs on this thread");
    Arc::new(EmbassyAdapter::new(spawner, sink::log))
}

/// Runs `case` inside a task.
pub fn in_embassy(case: impl FnOnce() + Send + 'static) {
    on_embassy(|_| async { case() });
}
