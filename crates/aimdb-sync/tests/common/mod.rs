//! Helpers that the tests of the sync API share.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::panic::resume_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_sync::{Attach, SyncHandle};
use aimdb_tokio_adapter::TokioAdapter;

/// How long a watched body may take, on a busy machine.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Long enough for an unwanted event to happen.
pub(crate) const A_WHILE: Duration = Duration::from_millis(50);

/// Long enough for an expected event to happen, on any machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) const RING: BufferCfg = BufferCfg::SpmcRing { capacity: 4 };
pub(crate) const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 4 };
pub(crate) const KINDS: [BufferCfg; 4] = [RING, QUEUE, BufferCfg::SingleLatest, BufferCfg::Mailbox];

/// Runs `body` on a thread of its own, and fails if `body` hangs.
#[track_caller]
pub(crate) fn watched<O: Send + 'static>(body: impl FnOnce() -> O + Send + 'static) -> O {
    let (done, outcome) = mpsc::channel();
    let thread = thread::spawn(move || done.send(body()));
    match outcome.recv_timeout(WATCHDOG) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => panic!("hangs for {WATCHDOG:?}"),
        Err(RecvTimeoutError::Disconnected) => {
            resume_unwind(thread.join().expect_err("it sends unless it panics"))
        }
    }
}

/// Excludes the other tests of this program that take the same lock, while the guard lives.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn builder() -> AimDbBuilder<TokioAdapter> {
    AimDbBuilder::new().runtime(Arc::new(TokioAdapter))
}

/// A database with one record `r` of `u64`, without stages.
pub(crate) fn record(cfg: BufferCfg) -> SyncHandle {
    let mut builder = builder();
    builder.configure::<u64>("r", |reg| {
        reg.buffer(cfg).shared();
    });
    builder.attach().expect("one record with a buffer")
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < LONG, "did not happen: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The number of writers that wait for room in the record `key`.
pub(crate) fn blocked_writers(handle: &SyncHandle, key: &str) -> usize {
    let metrics = handle.metrics();
    let record = metrics.record(key).expect("configured");
    record.blocked.as_ref().map_or(0, |blocked| blocked.writers)
}

/// Blocks taps until a test opens it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Blocks the thread, also a runtime's own. Times out, so that a failed test ends.
    pub(crate) fn block(&self) {
        let open = self.0.0.lock().unwrap();
        let _open = self.0.1.wait_timeout_while(open, LONG, |open| !*open).unwrap();
    }
}

/// The number of threads of this process.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// The number of files that this process has open.
pub(crate) fn files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
