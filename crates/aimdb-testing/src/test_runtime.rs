//! A runtime on one thread with a virtual clock.

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
use aimdb_core::stages::{Stage, StageResult};
use aimdb_core::{Instant, LogLevel, Runtime, SendRuntime, UnixTime};

/// With a seed, one poll in this many is spurious.
const SPURIOUS_POLL_ODDS: u32 = 16;

/// With a seed that prefers some tasks, one choice in this many ignores the preference.
const UNBIASED_CHOICE_ODDS: u32 = 8;

/// The number of polls in a row after which the runtime reports a live-lock.
const MAX_POLLS: u32 = 1_000_000;

/// A runtime for tests: all tasks run on one thread, and time is virtual.
///
/// Tasks run in the order of their wake-ups, so the same program makes the same run, every time. A test drives it in
/// one of two ways:
///
/// - [`block_on`](Self::block_on) runs a future and all tasks. When none of them is ready, the clock jumps to the next
///   timer.
/// - [`run_until_idle`](Self::run_until_idle) and [`advance`](Self::advance) let the test move the clock.
///
/// With [`seeded`](Self::seeded), a number chooses the order in which tasks run.
///
/// Tasks and the runtime hold each other: a task that has not ended lives as long as the process, or until
/// [`drop_tasks`](Self::drop_tasks).
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
    /// `None`: tasks run in the order of their wake-ups.
    schedule: Option<Mutex<Schedule>>,
}

/// A line of a [`TestRuntime`]'s log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogLine {
    /// The virtual time of the call.
    pub at: Instant,
    /// The severity.
    pub level: LogLevel,
    /// The record key, the stage or the connector that logged.
    pub origin: String,
    /// The text.
    pub message: String,
}

impl TestRuntime {
    /// Creates a runtime without tasks, at time zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clock: Arc::default(),
            tasks: Mutex::default(),
            ready: Arc::default(),
            log: Mutex::default(),
            schedule: None,
        }
    }

    /// Creates a runtime whose schedule `seed` chooses.
    ///
    /// The same program with the same seed makes the same run. Each schedule is one that a real runtime may choose:
    ///
    /// - The task that runs next is any woken task; the future of [`block_on`](Self::block_on) counts as one. With half
    ///   of the seeds all woken tasks are equally likely; with the other half some tasks are preferred mostly.
    /// - Of several timers that are due at the same instant, any fires first. Several may fire before a task runs.
    /// - With half of the seeds some polls are spurious: the task was not woken, or is polled twice in a row. The other
    ///   half has no spurious polls, because they hide lost wake-ups.
    /// - With half of the seeds each poll of a task has a new waker, and wakers of its earlier polls have no effect: a
    ///   future must wake the waker of its last poll.
    ///
    /// As with [`new`](Self::new), time moves only when no task is ready. The choices vary, so a task that wakes itself
    /// in every poll does not starve the others.
    ///
    /// ```
    /// use std::{sync::Arc, time::Duration};
    /// use aimdb_core::{AimDbBuilder, BufferCfg};
    /// use aimdb_testing::{Recorder, TestRuntime};
    ///
    /// for seed in 0..100 {
    ///     let runtime = Arc::new(TestRuntime::seeded(seed));
    ///     let seen = Recorder::new();
    ///     let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    ///     builder.configure::<u64>("record", |reg| {
    ///         reg.buffer(BufferCfg::SpmcQueue { capacity: 2 }).source(|_ctx, record| async move {
    ///             for value in 0..10 {
    ///                 record.produce(value).await.ok();
    ///             }
    ///         });
    ///         let seen = seen.clone();
    ///         reg.tap(|_ctx, record| async move {
    ///             let mut reader = record.subscribe().unwrap();
    ///             while let Ok(value) = reader.recv().await {
    ///                 seen.push(value);
    ///             }
    ///         });
    ///     });
    ///     runtime.block_on(builder.run()).unwrap();
    ///     assert_eq!(seen.values(), Vec::from_iter(0..10), "with the seed {seed}");
    ///     runtime.drop_tasks();
    /// }
    /// ```
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { schedule: Some(Mutex::new(Schedule::new(seed))), ..Self::new() }
    }

    /// Runs tasks until none is ready. The clock does not move.
    ///
    /// # Panics
    ///
    /// If a task is still ready after a million polls.
    #[track_caller]
    pub fn run_until_idle(&self) {
        for _ in 0..MAX_POLLS {
            if !self.run_one() {
                return;
            }
        }
        panic!("a task is ready after each of {MAX_POLLS} polls: the tasks never become idle");
    }

    /// Moves the clock by `duration`.
    ///
    /// Each timer on the way fires at its own time, in order, and the tasks it wakes run before the next one fires.
    ///
    /// # Panics
    ///
    /// As [`run_until_idle`](Self::run_until_idle).
    #[track_caller]
    pub fn advance(&self, duration: Duration) {
        let end = self.now() + duration;
        self.run_until_idle();
        while self.jump_to_next_timer(end) {
            self.run_until_idle();
        }
        self.clock.jump_to(end);
    }

    /// Runs `future` to its end, together with all tasks.
    ///
    /// The clock jumps to the next timer whenever neither the future nor a task is ready.
    ///
    /// # Panics
    ///
    /// If the future is pending, no task is ready and there is no timer: a deadlock. If the future is pending after a
    /// million steps.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut woken = Arc::new(WakeFlag(AtomicBool::new(true)));
        for _ in 0..MAX_POLLS {
            if self.polls_main_future(&woken) {
                if self.chance(Schedule::renews_wakers) {
                    woken = Arc::default();
                }
                woken.0.store(false, SeqCst);
                let waker = Waker::from(Arc::clone(&woken));
                let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
                if let Poll::Ready(output) = polled {
                    return output;
                }
            }
            let ready = self.run_one() || woken.0.load(SeqCst);
            if !ready && !self.jump_to_next_timer(Instant::from_nanos(u64::MAX)) {
                panic!("deadlock: the future and all tasks are pending, and there is no timer");
            }
        }
        panic!("the future is pending after {MAX_POLLS} steps");
    }

    /// Returns the lines logged so far.
    #[must_use]
    pub fn log_lines(&self) -> Vec<LogLine> {
        lock(&self.log).clone()
    }

    /// Returns the number of tasks that have not ended.
    #[must_use]
    pub fn tasks(&self) -> usize {
        lock(&self.tasks).waiting.len()
    }

    /// Drops all tasks that have not ended, as a runtime does when it is dropped.
    ///
    /// Without this call such tasks live as long as the process: too much memory for a test with thousands of runtimes.
    pub fn drop_tasks(&self) {
        loop {
            // Tasks are dropped outside of the lock: their destructors may wake and spawn other tasks.
            let tasks = std::mem::take(&mut lock(&self.tasks).waiting);
            lock(&self.ready.0).clear();
            if tasks.is_empty() {
                return;
            }
        }
    }

    /// Polls one woken task: the first one, or the choice of the schedule. Returns whether there was one.
    fn run_one(&self) -> bool {
        let next = lock(&self.ready.0).take(|ready| self.choose(ready));
        let Some(id) = next else { return false };
        if self.chance(Schedule::polls_spuriously) {
            self.poll_any();
        }
        self.poll_task(id, true);
        if self.chance(Schedule::polls_spuriously) {
            self.poll_task(id, false);
        }
        true
    }

    /// Polls any task, woken or not.
    fn poll_any(&self) {
        let ids: Vec<u64> = lock(&self.tasks).waiting.keys().copied().collect();
        if !ids.is_empty() {
            self.poll_task(ids[self.choose(&ids)], false);
        }
    }

    /// Polls a task, if it has not ended. The table is not locked meanwhile: the task may spawn others.
    fn poll_task(&self, id: u64, woken: bool) {
        let Some(mut task) = lock(&self.tasks).waiting.remove(&id) else { return };
        if self.chance(Schedule::renews_wakers) {
            task.wake = task.wake.replaced();
        }
        if woken {
            task.wake.queued.store(false, SeqCst);
        }
        let waker = Waker::from(Arc::clone(&task.wake));
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            lock(&self.tasks).waiting.insert(id, task);
        }
    }

    /// Whether the future of `block_on` is polled now. Without a schedule: if it was woken.
    fn polls_main_future(&self, woken: &WakeFlag) -> bool {
        let woken = woken.0.load(SeqCst);
        match &self.schedule {
            None => woken,
            Some(schedule) => {
                let others = lock(&self.ready.0).len();
                let mut schedule = lock(schedule);
                match woken {
                    true => schedule.below(others + 1) == 0,
                    false => others > 0 && schedule.polls_spuriously(),
                }
            }
        }
    }

    /// The index in `ids` of the task that is polled next.
    fn choose(&self, ids: &[u64]) -> usize {
        self.schedule.as_ref().map_or(0, |schedule| lock(schedule).choose(ids))
    }

    /// The schedule's decision; `false` without a schedule.
    fn chance(&self, decide: impl FnOnce(&mut Schedule) -> bool) -> bool {
        self.schedule.as_ref().is_some_and(|schedule| decide(&mut lock(schedule)))
    }

    /// Moves the clock to the next deadline of a timer, if it is not after `end`, and fires one timer or, with a
    /// schedule, several. Returns whether a timer fired.
    fn jump_to_next_timer(&self, end: Instant) -> bool {
        let mut pick = |due| self.schedule.as_ref().map_or(0, |schedule| lock(schedule).below(due));
        let fired = self.clock.fire_next(end, &mut pick);
        if fired {
            let now = self.now();
            while self.chance(Schedule::flips_heads) && self.clock.fire_next(now, &mut pick) {}
        }
        fired
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

    /// The virtual clock's time since the beginning of the year 2000.
    fn unix_now(&self) -> Option<UnixTime> {
        const BEGIN_OF_2000: UnixTime = UnixTime::from_nanos(946_684_800_000_000_000);
        Some(BEGIN_OF_2000.of(self.now(), Instant::from_nanos(0)))
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

impl SendRuntime for TestRuntime {
    fn spawn_send<F>(&self, stage: Stage<Self, F>) -> Result<(), SpawnError>
    where
        F: Future<Output: StageResult> + Send + 'static,
    {
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
    /// The number of its timer, which the first poll registers.
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
    /// By deadline and, for the same deadline, in the order of registration.
    waiting: BTreeMap<(Instant, u64), Waker>,
}

impl VirtualClock {
    /// Moves the clock to the earliest deadline, if it is not after `end`, and fires the timer of that deadline that
    /// `pick` chooses. Returns whether a timer fired.
    fn fire_next(&self, end: Instant, pick: &mut dyn FnMut(usize) -> usize) -> bool {
        let mut timers = lock(&self.timers);
        let Some((&(deadline, _), _)) = timers.waiting.first_key_value() else { return false };
        if deadline > end {
            return false;
        }
        let due = timers.waiting.range(..=(deadline, u64::MAX));
        let picked = *due.clone().nth(pick(due.count())).expect("pick returns a valid index").0;
        let waker = timers.waiting.remove(&picked).expect("the map has the picked timer");
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

/// The woken tasks, in the order of their wake-ups.
#[derive(Default)]
struct ReadyQueue(Mutex<Ready>);

#[derive(Default)]
struct Ready(VecDeque<u64>);

impl Ready {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    /// Removes the task whose index `choose` returns.
    fn take(&mut self, choose: impl FnOnce(&[u64]) -> usize) -> Option<u64> {
        match self.0.is_empty() {
            true => None,
            false => {
                let index = choose(self.0.make_contiguous());
                self.0.remove(index)
            }
        }
    }
}

impl ReadyQueue {
    fn push(&self, task: u64) {
        lock(&self.0).0.push_back(task);
    }
}

/// The choices of a seed.
struct Schedule {
    rng: fastrand::Rng,
    /// Whether some polls are spurious.
    spurious_polls: bool,
    /// Whether each poll has a new waker.
    new_wakers: bool,
    /// The seed of the tasks' priorities; `None` if all woken tasks are equally likely.
    priorities: Option<u64>,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let [spurious_polls, new_wakers, priorities] = std::array::from_fn(|_| rng.bool());
        Self { spurious_polls, new_wakers, priorities: priorities.then(|| rng.u64(..)), rng }
    }

    fn below(&mut self, end: usize) -> usize {
        self.rng.usize(..end)
    }

    fn flips_heads(&mut self) -> bool {
        self.rng.bool()
    }

    fn polls_spuriously(&mut self) -> bool {
        self.spurious_polls && self.rng.u32(..SPURIOUS_POLL_ODDS) == 0
    }

    fn renews_wakers(&mut self) -> bool {
        self.new_wakers
    }

    /// The index in `ids` of the task that is polled next.
    fn choose(&mut self, ids: &[u64]) -> usize {
        match self.priorities {
            Some(seed) if self.rng.u32(..UNBIASED_CHOICE_ODDS) > 0 => {
                let rank = |id: u64| fastrand::Rng::with_seed(seed ^ id).u64(..);
                (0..ids.len()).min_by_key(|&index| rank(ids[index])).unwrap_or(0)
            }
            _ => self.below(ids.len()),
        }
    }
}

struct TaskWake {
    id: u64,
    queued: AtomicBool,
    ready: Arc<ReadyQueue>,
}

impl TaskWake {
    /// A new waker of the same task. This one has no effect from now on: it stays marked as queued.
    fn replaced(&self) -> Arc<Self> {
        let queued = AtomicBool::new(self.queued.swap(true, SeqCst));
        Arc::new(Self { id: self.id, queued, ready: Arc::clone(&self.ready) })
    }
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, SeqCst) {
            self.ready.push(self.id);
        }
    }
}

#[derive(Default)]
struct WakeFlag(AtomicBool);

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// Ignores poisoning: a panic leaves the data behind these locks valid.
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
    fn advance_moves_the_clock_by_exactly_its_duration() {
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
    #[should_panic(expected = "deadlock")]
    fn a_deadlock_is_a_panic() {
        TestRuntime::new().block_on(core::future::pending::<()>());
    }

    /// The order in which four tasks of three steps each run, as task numbers.
    fn order(runtime: &Arc<TestRuntime>) -> Vec<usize> {
        let steps = crate::Recorder::new();
        let mut builder = aimdb_core::AimDbBuilder::new().runtime(Arc::clone(runtime));
        for task in 0..4 {
            let steps = steps.clone();
            builder.configure::<u64>(std::format!("{task}"), |reg| {
                reg.buffer(aimdb_core::BufferCfg::SingleLatest).source(move |_, _| async move {
                    for _ in 0..3 {
                        steps.push(task);
                        yield_now().await;
                    }
                });
            });
        }
        runtime.block_on(builder.run()).unwrap();
        steps.values()
    }

    /// Pending once, and woken at once.
    async fn yield_now() {
        let mut yielded = false;
        core::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if core::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    #[test]
    fn one_seed_gives_one_order_and_another_seed_another() {
        let orders: Vec<_> =
            (0..64).map(|seed| order(&Arc::new(TestRuntime::seeded(seed)))).collect();
        let again: Vec<_> =
            (0..64).map(|seed| order(&Arc::new(TestRuntime::seeded(seed)))).collect();
        assert_eq!(orders, again);
        let different: alloc::collections::BTreeSet<_> = orders.iter().collect();
        assert!(different.len() > 48, "64 seeds give only {} orders", different.len());
    }

    #[test]
    fn without_a_seed_tasks_run_in_the_order_they_were_woken() {
        let order = order(&Arc::new(TestRuntime::new()));
        assert_eq!(order, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
    }

    #[test]
    fn every_task_runs_though_the_others_wake_themselves_in_every_poll() {
        for seed in 0..64 {
            let runtime = Arc::new(TestRuntime::seeded(seed));
            let ran = crate::Recorder::new();
            let mut builder = aimdb_core::AimDbBuilder::new().runtime(Arc::clone(&runtime));
            for task in 0..8 {
                let ran = ran.clone();
                builder.configure::<u64>(std::format!("{task}"), |reg| {
                    let buffer = aimdb_core::BufferCfg::SingleLatest;
                    reg.buffer(buffer).source(move |_, _| async move {
                        ran.push(task);
                        loop {
                            yield_now().await;
                        }
                    });
                });
            }
            let db = builder.build().unwrap();
            db.start();
            runtime.block_on(async {
                while ran.len() < 8 {
                    yield_now().await;
                }
            });
            runtime.drop_tasks();
        }
    }

    #[test]
    fn timers_that_are_due_at_the_same_instant_fire_in_any_order() {
        let first = |seed| {
            let runtime = Arc::new(TestRuntime::seeded(seed));
            let fired = crate::Recorder::new();
            let mut builder = aimdb_core::AimDbBuilder::new().runtime(Arc::clone(&runtime));
            for task in 0..3 {
                let fired = fired.clone();
                builder.configure::<u64>(std::format!("{task}"), |reg| {
                    let buffer = aimdb_core::BufferCfg::SingleLatest;
                    reg.buffer(buffer).source(move |ctx, _| async move {
                        ctx.time().sleep(Duration::from_millis(1)).await;
                        fired.push(task);
                    });
                });
            }
            runtime.block_on(builder.run()).unwrap();
            assert_eq!(runtime.now(), Instant::from_nanos(1_000_000));
            fired.values()[0]
        };
        let firsts: alloc::collections::BTreeSet<_> = (0..64).map(first).collect();
        assert_eq!(firsts.len(), 3);
    }

    #[test]
    fn a_lost_wake_up_is_a_deadlock_with_every_seed() {
        for seed in 0..64 {
            let runtime = TestRuntime::seeded(seed);
            let waits = core::panic::AssertUnwindSafe(core::future::pending::<()>());
            assert!(std::panic::catch_unwind(move || runtime.block_on(waits.0)).is_err());
        }
    }

    #[test]
    fn a_waker_that_was_replaced_wakes_nothing() {
        let ready = Arc::<ReadyQueue>::default();
        let old =
            Arc::new(TaskWake { id: 7, queued: AtomicBool::new(false), ready: Arc::clone(&ready) });
        let new = old.replaced();
        Waker::from(old).wake();
        assert_eq!(lock(&ready.0).len(), 0);
        Waker::from(new).wake();
        assert_eq!(lock(&ready.0).take(|_| 0), Some(7));
    }

    #[test]
    fn dropped_tasks_no_longer_hold_the_runtime() {
        let runtime = Arc::new(TestRuntime::new());
        let mut builder = aimdb_core::AimDbBuilder::new().runtime(Arc::clone(&runtime));
        builder.configure::<u64>("record", |reg| {
            reg.buffer(aimdb_core::BufferCfg::SingleLatest)
                .source(|_, _| core::future::pending::<()>());
        });
        let db = builder.build().unwrap();
        db.start();
        runtime.run_until_idle();
        runtime.drop_tasks();
        assert_eq!(runtime.tasks(), 0);
        assert_eq!(
            db.health().stages[0].state,
            aimdb_core::health::StageState::Stopped,
            "its task is gone"
        );
        drop(db);
        assert_eq!(Arc::strong_count(&runtime), 1);
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
