//! One thread, a clock that only moves when it is told to, and a log that is kept.

use aimdb_core::Arc;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::task::Wake;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aimdb_core::runtime::SpawnError;
use aimdb_core::stages::Stage;
use aimdb_core::{Instant, LogLevel, Runtime, Spawn};

/// Polls in a row after which a program that never comes to rest is taken for a bug.
const RESTLESS: u32 = 1_000_000;

/// A runtime for tests: every task on the thread that drives it, in the order it was woken, and time that is a number.
///
/// The same program gives the same run, every time. Two ways to drive it:
///
/// - [`block_on`](Self::block_on) runs a future and all tasks; when nothing can go on, the clock jumps to the next timer.
/// - [`run_until_idle`](Self::run_until_idle) and [`advance`](Self::advance) leave time to the test.
///
/// Tasks that have not ended live as long as the process: they hold the runtime, and it holds them.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use aimdb_core::{AimDbBuilder, BufferCfg};
/// use aimdb_testing::TestRuntime;
///
/// let runtime = Arc::new(TestRuntime::new());
/// let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
/// builder.configure::<u64>("seconds", |reg| {
///     reg.buffer(BufferCfg::SingleLatest).source(|ctx, seconds| async move {
///         for second in 0.. {
///             seconds.produce(second).await.ok();
///             ctx.time().sleep(Duration::from_secs(1)).await;
///         }
///     });
/// });
/// let db = builder.build().unwrap();
/// db.start();
/// runtime.advance(Duration::from_secs(3600));
/// assert_eq!(db.consumer::<u64>("seconds").unwrap().latest(), Some(3600));
/// ```
pub struct TestRuntime {
    clock: Arc<VirtualClock>,
    tasks: Mutex<Tasks>,
    ready: Arc<ReadyQueue>,
    log: Mutex<Vec<LogLine>>,
}

/// One line that went to [`Runtime::log`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Instant,
    /// How much it matters.
    pub level: LogLevel,
    /// A record key, a stage or a connector.
    pub origin: String,
    /// The text.
    pub message: String,
}

impl TestRuntime {
    /// A runtime without tasks, at time zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clock: Arc::default(),
            tasks: Mutex::default(),
            ready: Arc::default(),
            log: Mutex::default(),
        }
    }

    /// Runs tasks until none can go on without time or the test doing something.
    ///
    /// # Panics
    ///
    /// After a million polls without rest.
    #[track_caller]
    pub fn run_until_idle(&self) {
        for _ in 0..RESTLESS {
            if !self.run_one() {
                return;
            }
        }
        panic!("the tasks do not come to rest: {RESTLESS} polls without an idle moment");
    }

    /// Lets `duration` go by: every timer on the way fires at its own time, in order, and what it sets free runs
    /// before the next.
    #[track_caller]
    pub fn advance(&self, duration: Duration) {
        let end = self.now() + duration;
        self.run_until_idle();
        while self.clock.jump_to_next(end) {
            self.run_until_idle();
        }
        self.clock.jump_to(end);
    }

    /// Runs `future` to its end, with all tasks. The clock jumps to the next timer whenever nothing else can go on.
    ///
    /// # Panics
    ///
    /// If nothing can go on and there is no timer either.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        for _ in 0..RESTLESS {
            let polled = match woken.0.swap(false, SeqCst) {
                true => future.as_mut().poll(&mut Context::from_waker(&waker)),
                false => Poll::Pending,
            };
            if let Poll::Ready(output) = polled {
                return output;
            }
            let goes_on = self.run_one() || woken.0.load(SeqCst);
            if !goes_on && !self.clock.jump_to_next(Instant::from_nanos(u64::MAX)) {
                panic!(
                    "nothing can go on: the future waits, every task waits, and there is no timer"
                );
            }
        }
        panic!("the future does not end: {RESTLESS} steps");
    }

    /// The log so far.
    #[must_use]
    pub fn log_lines(&self) -> Vec<LogLine> {
        lock(&self.log).clone()
    }

    /// How many tasks have not ended.
    #[must_use]
    pub fn tasks(&self) -> usize {
        lock(&self.tasks).waiting.len()
    }

    /// Polls the task that was woken first. It is out of the table meanwhile, so that it may spawn others.
    fn run_one(&self) -> bool {
        let Some(id) = self.ready.pop() else { return false };
        let Some(mut task) = lock(&self.tasks).waiting.remove(&id) else { return true };
        task.wake.queued.store(false, SeqCst);
        let waker = Waker::from(Arc::clone(&task.wake));
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            lock(&self.tasks).waiting.insert(id, task);
        }
        true
    }
}

impl Default for TestRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TestRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRuntime")
            .field("now", &self.now())
            .field("tasks", &self.tasks())
            .finish_non_exhaustive()
    }
}

impl Runtime for TestRuntime {
    type Sleep = VirtualSleep;

    fn now(&self) -> Instant {
        lock(&self.clock.timers).now
    }

    fn sleep_until(&self, deadline: Instant) -> VirtualSleep {
        VirtualSleep { clock: Arc::clone(&self.clock), deadline, timer: None }
    }

    fn log(&self, level: LogLevel, origin: &str, message: fmt::Arguments<'_>) {
        let line =
            LogLine { at: self.now(), level, origin: origin.into(), message: message.to_string() };
        lock(&self.log).push(line);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Spawn<F> for TestRuntime {
    fn spawn(&self, stage: Stage<Self, F>) -> Result<(), SpawnError> {
        let mut tasks = lock(&self.tasks);
        let id = tasks.spawned;
        tasks.spawned += 1;
        let wake = Arc::new(TaskWake {
            id,
            queued: AtomicBool::new(true),
            ready: Arc::clone(&self.ready),
        });
        tasks.waiting.insert(id, Task { future: Box::pin(stage), wake });
        self.ready.push(id);
        Ok(())
    }
}

/// A sleep on the virtual clock.
#[must_use = "nothing waits until the future is awaited"]
pub struct VirtualSleep {
    clock: Arc<VirtualClock>,
    deadline: Instant,
    /// Its number among the timers once it has been polled.
    timer: Option<u64>,
}

impl Future for VirtualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut timers = lock(&this.clock.timers);
        if timers.now >= this.deadline {
            return Poll::Ready(());
        }
        let timer = *this.timer.get_or_insert_with(|| {
            timers.made += 1;
            timers.made
        });
        let _replaced = timers.waiting.insert((this.deadline, timer), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for VirtualSleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            let waker = lock(&self.clock.timers).waiting.remove(&(self.deadline, timer));
            drop(waker);
        }
    }
}

impl fmt::Debug for VirtualSleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualSleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct VirtualClock {
    timers: Mutex<Timers>,
}

#[derive(Default)]
struct Timers {
    now: Instant,
    made: u64,
    /// By deadline, and among equals by the order in which they began to wait.
    waiting: BTreeMap<(Instant, u64), Waker>,
}

impl VirtualClock {
    /// Moves on to the first timer that is due by `end` and fires it.
    fn jump_to_next(&self, end: Instant) -> bool {
        let mut timers = lock(&self.timers);
        let Some(first) = timers.waiting.first_entry().filter(|first| first.key().0 <= end) else {
            return false;
        };
        let ((deadline, _), waker) = first.remove_entry();
        timers.now = timers.now.max(deadline);
        drop(timers);
        waker.wake();
        true
    }

    fn jump_to(&self, end: Instant) {
        lock(&self.timers).now = end;
    }
}

#[derive(Default)]
struct Tasks {
    spawned: u64,
    waiting: BTreeMap<u64, Task>,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    wake: Arc<TaskWake>,
}

#[derive(Default)]
struct ReadyQueue(Mutex<VecDeque<u64>>);

impl ReadyQueue {
    fn push(&self, task: u64) {
        lock(&self.0).push_back(task);
    }

    fn pop(&self) -> Option<u64> {
        lock(&self.0).pop_front()
    }
}

struct TaskWake {
    id: u64,
    queued: AtomicBool,
    ready: Arc<ReadyQueue>,
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, SeqCst) {
            self.ready.push(self.id);
        }
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// A test that panicked elsewhere leaves plain data behind.
fn lock<S>(mutex: &Mutex<S>) -> MutexGuard<'_, S> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_each_at_its_own_time() {
        let runtime = TestRuntime::new();
        let (late, early) = (Instant::from_nanos(30), Instant::from_nanos(10));
        runtime.block_on(async {
            runtime.sleep_until(early).await;
            assert_eq!(runtime.now(), early);
            runtime.sleep_until(late).await;
            assert_eq!(runtime.now(), late);
        });
    }

    #[test]
    fn advancing_ends_exactly_where_it_was_told_to() {
        let runtime = TestRuntime::new();
        runtime.advance(Duration::from_nanos(7));
        assert_eq!(runtime.now(), Instant::from_nanos(7));
    }

    #[test]
    fn a_dropped_sleep_leaves_no_timer() {
        let runtime = TestRuntime::new();
        let mut sleep = runtime.sleep_until(Instant::from_nanos(5));
        assert!(Pin::new(&mut sleep).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(sleep);
        assert!(lock(&runtime.clock.timers).waiting.is_empty());
    }

    #[test]
    #[should_panic(expected = "nothing can go on")]
    fn a_deadlock_is_a_panic() {
        TestRuntime::new().block_on(core::future::pending::<()>());
    }

    #[test]
    fn the_log_is_kept() {
        let runtime = TestRuntime::new();
        runtime.log(LogLevel::Warn, "a", format_args!("{}", 1));
        let line = LogLine {
            at: Instant::from_nanos(0),
            level: LogLevel::Warn,
            origin: "a".into(),
            message: "1".into(),
        };
        assert_eq!(runtime.log_lines(), [line]);
    }
}
