//! A watchdog that keeps timers running while a stage blocks its worker.
//!
//! A Tokio worker that returns from the I/O driver with a single task does not wake another worker to watch timers and sockets.
//! If that task then blocks its thread, no timer fires until the task yields, with any number of workers (measured: with a
//! stage that blocks for 200 ms at a time, a 5 ms source kept 55 to 61 % of its ticks). Waking any task from outside the
//! runtime wakes an idle worker, which takes over the driver.
//!
//! Each multi-thread runtime with stages therefore has one watchdog thread. Every 2 ms the thread checks whether a stage is
//! being polled; if so, it wakes a task that does nothing. After 200 ms without a poll the thread parks until the next poll,
//! so an idle database costs nothing.
//!
//! ```text
//!               200 ms without a poll
//!   checking ───────────────────────────▶ parked
//!      ▲                                     │
//!      └────────── a stage is polled ────────┘        stopped: the runtime's last stage was dropped
//! ```

use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::runtime::{Handle, Id, RuntimeFlavor};

/// The time between two checks, and so the longest time that a blocking stage delays timers.
const CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// The number of consecutive checks without a poll after which the thread parks.
const IDLE_CHECKS: u32 = 100;

/// The watchdog of one runtime. The runtime's stages own it together.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    thread: Thread,
}

/// The state that stages share with the watchdog thread.
///
/// `polling`, `parked` and `stopped` are `SeqCst`: see [`Watchdog::begin_poll`].
struct Shared {
    /// The number of stages that are being polled now.
    polling: AtomicUsize,
    /// Whether a stage has been polled since the last check. A lost update only shifts the moment at which the thread
    /// parks, so `Relaxed` suffices.
    polled: AtomicBool,
    /// Whether the thread is parked, or about to park.
    parked: AtomicBool,
    /// Whether the last stage was dropped: the thread and the task end.
    stopped: AtomicBool,
    /// The waker of the [`IdleTask`]. There is one task for the watchdog's lifetime, so waking it allocates nothing.
    idle_task: Mutex<Option<Waker>>,
}

/// A task that does nothing. Waking it makes Tokio wake an idle worker.
struct IdleTask(Arc<Shared>);

impl Future for IdleTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut idle_task = self.0.idle_task.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.stopped.load(SeqCst) {
            *idle_task = None;
            return Poll::Ready(());
        }
        if !idle_task.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *idle_task = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Watchdog {
    /// Returns the watchdog of `runtime`, and starts it for the runtime's first stage.
    ///
    /// Returns `None` for a current-thread runtime, which has no other worker to wake, and if no thread can be started.
    pub(crate) fn of(runtime: &Handle) -> Option<Arc<Self>> {
        static WATCHDOGS: Mutex<Option<HashMap<Id, Weak<Watchdog>>>> = Mutex::new(None);
        if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return None;
        }
        let mut watchdogs = WATCHDOGS.lock().unwrap_or_else(PoisonError::into_inner);
        let watchdogs = watchdogs.get_or_insert_default();
        if let Some(watchdog) = watchdogs.get(&runtime.id()).and_then(Weak::upgrade) {
            return Some(watchdog);
        }
        watchdogs.retain(|_, watchdog| watchdog.strong_count() > 0);
        let watchdog = Arc::new(Self::start(runtime)?);
        watchdogs.insert(runtime.id(), Arc::downgrade(&watchdog));
        Some(watchdog)
    }

    /// Starts the thread and the task. If no thread can be started, stages run without a watchdog, like any Tokio task.
    fn start(runtime: &Handle) -> Option<Self> {
        let shared = Arc::new(Shared {
            polling: AtomicUsize::new(0),
            polled: AtomicBool::new(false),
            parked: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            idle_task: Mutex::new(None),
        });
        runtime.spawn(IdleTask(Arc::clone(&shared)));
        let watched = Arc::clone(&shared);
        let name = "aimdb-watchdog".into();
        let thread = thread::Builder::new().name(name).spawn(move || watched.run()).ok()?;
        Some(Self { shared, thread: thread.thread().clone() })
    }

    fn begin_poll(&self) {
        self.shared.polling.fetch_add(1, SeqCst);
        if !self.shared.polled.load(Relaxed) {
            self.shared.polled.store(true, Relaxed);
        }
        // Here: store `polling`, then load `parked`. In `park_until_polled`: store `parked`, then load `polling`. Under
        // `SeqCst` at least one side sees the other's store, so the thread never stays parked during a poll.
        if self.shared.parked.load(SeqCst) && self.shared.parked.swap(false, SeqCst) {
            self.thread.unpark();
        }
    }

    fn end_poll(&self) {
        self.shared.polling.fetch_sub(1, SeqCst);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // `stopped` before the wake and the unpark, so that the task and the thread see it.
        self.shared.stopped.store(true, SeqCst);
        self.shared.wake_idle_task();
        self.shared.parked.store(false, SeqCst);
        self.thread.unpark();
    }
}

impl Shared {
    /// The watchdog thread.
    fn run(&self) {
        let mut idle_checks = 0;
        while !self.stopped.load(SeqCst) {
            thread::sleep(CHECK_INTERVAL);
            if self.polling.load(SeqCst) > 0 {
                // An idle worker runs the task, and then watches timers and sockets.
                self.wake_idle_task();
            }
            idle_checks = if self.polled.swap(false, Relaxed) { 0 } else { idle_checks + 1 };
            if idle_checks >= IDLE_CHECKS {
                idle_checks = 0;
                self.park_until_polled();
            }
        }
    }

    fn wake_idle_task(&self) {
        // The waker is cloned, so that the lock is released before the wake.
        let waker = self.idle_task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        waker.inspect(Waker::wake_by_ref);
    }

    fn park_until_polled(&self) {
        self.parked.store(true, SeqCst);
        if self.polling.load(SeqCst) > 0 || self.stopped.load(SeqCst) {
            self.parked.store(false, SeqCst);
        }
        while self.parked.load(SeqCst) {
            thread::park();
        }
    }
}

pin_project_lite::pin_project! {
    /// A stage that reports its polls to the watchdog.
    pub(crate) struct MonitoredStage<F> {
        #[pin]
        stage: F,
        watchdog: Option<Arc<Watchdog>>,
        runtime: Id,
    }
}

impl<F> MonitoredStage<F> {
    pub(crate) fn new(stage: F, runtime: &Handle) -> Self {
        Self { stage, watchdog: Watchdog::of(runtime), runtime: runtime.id() }
    }
}

impl<F: Future> Future for MonitoredStage<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _guard = PollGuard::new(*this.runtime);
        // The engine catches panics inside the stage, so `end_poll` follows every `begin_poll`.
        this.watchdog.as_ref().inspect(|watchdog| watchdog.begin_poll());
        let outcome = this.stage.poll(cx);
        this.watchdog.as_ref().inspect(|watchdog| watchdog.end_poll());
        outcome
    }
}

thread_local! {
    /// The runtime whose stage this thread is polling.
    static POLLED_RUNTIME: Cell<Option<Id>> = const { Cell::new(None) };
}

/// Whether the current thread is polling a stage of `runtime`.
///
/// A caller for which this is true runs inside the stage's `poll`, so it cannot block until the stage ends. It is false in other
/// tasks and in blocking threads of the runtime.
#[must_use]
pub fn polls_a_stage_of(runtime: &Handle) -> bool {
    POLLED_RUNTIME.try_with(Cell::get).ok().flatten() == Some(runtime.id())
}

/// Marks the duration of one poll. A poll may run inside a poll of another runtime's stage.
struct PollGuard {
    /// The mark of the enclosing poll.
    previous: Option<Id>,
}

impl PollGuard {
    fn new(runtime: Id) -> Self {
        let previous = POLLED_RUNTIME.try_with(|polled| polled.replace(Some(runtime)));
        Self { previous: previous.ok().flatten() }
    }
}

impl Drop for PollGuard {
    fn drop(&mut self) {
        // An error means that the thread is ending and has already dropped its marks.
        let _ended = POLLED_RUNTIME.try_with(|polled| polled.set(self.previous));
    }
}
