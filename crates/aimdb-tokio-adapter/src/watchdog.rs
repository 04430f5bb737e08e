//! Keeps other stages' timers going while one stage blocks its worker.
//!
//! A Tokio worker that comes from the driver with a single task wakes no other worker to watch timers and sockets in its
//! place. If that task then blocks its thread, nobody's timers fire until it is done, on however many workers
//! (measured: a 5 ms source beside a stage that blocks for 200 ms at a time kept 55 to 61 % of its ticks). Scheduling
//! any task from outside wakes an idle worker, which takes the driver over.
//!
//! So for each multi-thread runtime with stages there is one thread that looks every 2 ms whether a stage is being
//! polled, and if so schedules a task that does nothing. Once no stage has been polled for 200 ms it sleeps, until the next poll
//! wakes it: an idle database costs nothing.
//!
//! ```text
//!             200 ms without a poll
//!   looking ─────────────────────────▶ asleep
//!      ▲                                  │
//!      └───────── a stage is polled ──────┘        over: the last stage of the runtime is gone
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

/// How often it looks. A stage may block for this long before anybody notices.
const PERIOD: Duration = Duration::from_millis(2);

/// Looks without a poll in between before it sleeps.
const PATIENCE: u32 = 100;

/// One runtime's watchdog, alive for as long as a stage holds it.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    /// Stages that are being polled now.
    polling: AtomicUsize,
    /// Whether one has been polled since the last look.
    polled: AtomicBool,
    asleep: AtomicBool,
    over: AtomicBool,
    /// Wakes the task that is scheduled to rouse a worker. One task for all time: scheduling it allocates nothing.
    nudged: Mutex<Option<Waker>>,
}

/// The task: does nothing but be scheduled.
struct Nudged(Arc<Shared>);

impl Future for Nudged {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut nudged = self.0.nudged.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.over.load(SeqCst) {
            *nudged = None;
            return Poll::Ready(());
        }
        if !nudged.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *nudged = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Watchdog {
    /// The watchdog of this runtime, started if need be. A current-thread runtime has no other worker to wake.
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

    /// Without a thread to be had, stages run unwatched, as Tokio's own tasks do.
    fn start(runtime: &Handle) -> Option<Self> {
        let shared = Arc::new(Shared {
            polling: AtomicUsize::new(0),
            polled: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            over: AtomicBool::new(false),
            nudged: Mutex::new(None),
        });
        runtime.spawn(Nudged(Arc::clone(&shared)));
        let watched = Arc::clone(&shared);
        let name = "aimdb-watchdog".into();
        let thread = thread::Builder::new().name(name).spawn(move || watched.watch()).ok()?;
        Some(Self { shared, thread: thread.thread().clone() })
    }

    fn begin_poll(&self) {
        self.shared.polling.fetch_add(1, SeqCst);
        if !self.shared.polled.load(Relaxed) {
            self.shared.polled.store(true, Relaxed);
        }
        // Against the pair in `fall_asleep`: either it sees this poll, or this sees that it sleeps.
        if self.shared.asleep.load(SeqCst) && self.shared.asleep.swap(false, SeqCst) {
            self.thread.unpark();
        }
    }

    fn end_poll(&self) {
        self.shared.polling.fetch_sub(1, SeqCst);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.over.store(true, SeqCst);
        self.shared.nudge();
        self.shared.asleep.store(false, SeqCst);
        self.thread.unpark();
    }
}

impl Shared {
    fn watch(&self) {
        let mut quiet = 0;
        while !self.over.load(SeqCst) {
            thread::sleep(PERIOD);
            if self.polling.load(SeqCst) > 0 {
                // A worker that was idle comes to run it, and then watches timers and sockets.
                self.nudge();
            }
            quiet = if self.polled.swap(false, Relaxed) { 0 } else { quiet + 1 };
            if quiet >= PATIENCE {
                quiet = 0;
                self.fall_asleep();
            }
        }
    }

    fn nudge(&self) {
        let waker = self.nudged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        waker.inspect(Waker::wake_by_ref);
    }

    fn fall_asleep(&self) {
        self.asleep.store(true, SeqCst);
        if self.polling.load(SeqCst) > 0 || self.over.load(SeqCst) {
            self.asleep.store(false, SeqCst);
        }
        while self.asleep.load(SeqCst) {
            thread::park();
        }
    }
}

pin_project_lite::pin_project! {
    /// A stage whose polls the watchdog knows of.
    pub(crate) struct Watched<F> {
        #[pin]
        stage: F,
        watchdog: Option<Arc<Watchdog>>,
        runtime: Id,
    }
}

impl<F> Watched<F> {
    pub(crate) fn new(stage: F, runtime: &Handle) -> Self {
        Self { stage, watchdog: Watchdog::of(runtime), runtime: runtime.id() }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _polling = Polling::begin(*this.runtime);
        // The engine catches panics inside the stage, so an end follows every beginning.
        this.watchdog.as_ref().inspect(|watchdog| watchdog.begin_poll());
        let outcome = this.stage.poll(cx);
        this.watchdog.as_ref().inspect(|watchdog| watchdog.end_poll());
        outcome
    }
}

thread_local! {
    /// The runtime whose stage this thread polls.
    static POLLS: Cell<Option<Id>> = const { Cell::new(None) };
}

/// Whether the caller is a stage of this runtime: code that the stage itself runs while it is polled, not another task
/// or a blocking thread of the runtime. Such a caller cannot wait for the stage to end.
#[must_use]
pub fn polls_a_stage_of(runtime: &Handle) -> bool {
    POLLS.try_with(Cell::get).ok().flatten() == Some(runtime.id())
}

/// One poll of a stage, which may lie inside another runtime's.
struct Polling {
    before: Option<Id>,
}

impl Polling {
    fn begin(runtime: Id) -> Self {
        Self { before: POLLS.try_with(|polls| polls.replace(Some(runtime))).ok().flatten() }
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        let _gone = POLLS.try_with(|polls| polls.set(self.before));
    }
}
