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

/// With a seed, one poll in this many is a poll that no wake-up asked for.
const UNASKED: u32 = 16;

/// With a seed that has favourites, one choice in this many is made without regard to them.
const IMPARTIAL: u32 = 8;

/// Polls in a row after which a program that never comes to rest is taken for a bug.
const RESTLESS: u32 = 1_000_000;

/// A runtime for tests: every task on the thread that drives it, in the order it was woken, and time that is a number.
///
/// The same program gives the same run, every time. Two ways to drive it:
///
/// - [`block_on`](Self::block_on) runs a future and all tasks; when nothing can go on, the clock jumps to the next timer.
/// - [`run_until_idle`](Self::run_until_idle) and [`advance`](Self::advance) leave time to the test.
///
/// [`seeded`](Self::seeded) gives up the order in which tasks were woken for one that a number chooses.
///
/// Tasks that have not ended live as long as the process, because they hold the runtime and the runtime holds them.
/// [`drop_tasks`](Self::drop_tasks) ends that.
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
    /// `None`: tasks run in the order in which they were woken.
    dice: Option<Mutex<Dice>>,
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
            dice: None,
        }
    }

    /// [`new`](Self::new), with a schedule that `seed` chooses. The same program with the same seed gives the same run;
    /// with another seed it gives another one that a runtime is allowed to give:
    ///
    /// - The task that runs next is any of those that were woken. The future of [`block_on`](Self::block_on) is one of
    ///   them. With one half of the seeds all are equally likely; with the other half some tasks are favourites, which
    ///   run before the others most of the time.
    /// - Of the timers that are due at the same instant any is the first to fire, and several of them may fire before a
    ///   task runs.
    /// - With one half of the seeds a task is now and then polled without a wake-up, or twice in a row. The other half
    ///   has no such polls, because they would make up for a wake-up that was lost.
    /// - With one half of the seeds a task gets a new waker at each poll, and the wakers of its earlier polls wake
    ///   nothing: a future must wake the waker that it was given last.
    ///
    /// Time moves only when no task is ready, as with [`new`](Self::new). A choice is never the same for ever, so a task
    /// that wakes itself again and again does not keep the others from running.
    ///
    /// ```
    /// use std::{sync::Arc, time::Duration};
    /// use aimdb_core::{AimDbBuilder, BufferCfg};
    /// use aimdb_testing::{Notes, TestRuntime};
    ///
    /// for seed in 0..100 {
    ///     let runtime = Arc::new(TestRuntime::seeded(seed));
    ///     let seen = Notes::new();
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
    ///                 seen.add(value);
    ///             }
    ///         });
    ///     });
    ///     runtime.block_on(builder.run()).unwrap();
    ///     assert_eq!(seen.all(), Vec::from_iter(0..10), "with the seed {seed}");
    ///     runtime.drop_tasks();
    /// }
    /// ```
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { dice: Some(Mutex::new(Dice::new(seed))), ..Self::new() }
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
        while self.jump_to_next(end) {
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
        let mut woken = Arc::new(Flag(AtomicBool::new(true)));
        for _ in 0..RESTLESS {
            if self.is_turn_of(&woken) {
                if self.roll(Dice::renews_wakers) {
                    woken = Arc::default();
                }
                woken.0.store(false, SeqCst);
                let waker = Waker::from(Arc::clone(&woken));
                let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
                if let Poll::Ready(output) = polled {
                    return output;
                }
            }
            let goes_on = self.run_one() || woken.0.load(SeqCst);
            if !goes_on && !self.jump_to_next(Instant::from_nanos(u64::MAX)) {
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

    /// Drops all tasks that have not ended, as a runtime does that goes away. Without it they live as long as the
    /// process, which a test with thousands of runtimes cannot afford.
    pub fn drop_tasks(&self) {
        loop {
            // Outside of the lock: a task that is dropped may wake and spawn others.
            let tasks = std::mem::take(&mut lock(&self.tasks).waiting);
            lock(&self.ready.0).clear();
            if tasks.is_empty() {
                return;
            }
        }
    }

    /// Polls a task that was woken: the one that was woken first, or the one that the dice choose.
    fn run_one(&self) -> bool {
        let next = lock(&self.ready.0).take(|ready| self.choose(ready));
        let Some(id) = next else { return false };
        if self.roll(Dice::polls_unasked) {
            self.poll_any();
        }
        self.poll_task(id, true);
        if self.roll(Dice::polls_unasked) {
            self.poll_task(id, false);
        }
        true
    }

    /// Polls a task that may have no reason to run.
    fn poll_any(&self) {
        let ids: Vec<u64> = lock(&self.tasks).waiting.keys().copied().collect();
        if !ids.is_empty() {
            self.poll_task(ids[self.choose(&ids)], false);
        }
    }

    /// Polls a task, if it has not ended. It is out of the table meanwhile, so that it may spawn others.
    fn poll_task(&self, id: u64, woken: bool) {
        let Some(mut task) = lock(&self.tasks).waiting.remove(&id) else { return };
        if self.roll(Dice::renews_wakers) {
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

    /// Whether the future of `block_on` is polled now: always if it was woken, or when the dice say so.
    fn is_turn_of(&self, woken: &Flag) -> bool {
        let woken = woken.0.load(SeqCst);
        match &self.dice {
            None => woken,
            Some(dice) => {
                let others = lock(&self.ready.0).len();
                let mut dice = lock(dice);
                if woken { dice.below(others + 1) == 0 } else { others > 0 && dice.polls_unasked() }
            }
        }
    }

    /// The place of the next one among `ids`.
    fn choose(&self, ids: &[u64]) -> usize {
        self.dice.as_ref().map_or(0, |dice| lock(dice).choose(ids))
    }

    /// The answer of the dice; no without dice.
    fn roll(&self, question: impl FnOnce(&mut Dice) -> bool) -> bool {
        self.dice.as_ref().is_some_and(|dice| question(&mut lock(dice)))
    }

    /// Moves on to the next instant at which a timer is due, up to `end`, and fires one, or several if the dice say so.
    fn jump_to_next(&self, end: Instant) -> bool {
        let mut pick = |due| self.dice.as_ref().map_or(0, |dice| lock(dice).below(due));
        let fired = self.clock.fire_next(end, &mut pick);
        if fired {
            let now = self.now();
            while self.roll(Dice::is_heads) && self.clock.fire_next(now, &mut pick) {}
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
    /// Moves on to the first timers that are due by `end` and fires that one of them which `pick` chooses.
    fn fire_next(&self, end: Instant, pick: &mut dyn FnMut(usize) -> usize) -> bool {
        let mut timers = lock(&self.timers);
        let Some((&(deadline, _), _)) = timers.waiting.first_key_value() else { return false };
        if deadline > end {
            return false;
        }
        let due = timers.waiting.range(..=(deadline, u64::MAX));
        let picked = *due.clone().nth(pick(due.count())).expect("one of those that are due").0;
        let waker = timers.waiting.remove(&picked).expect("it was there just now");
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

/// The tasks that were woken, in the order in which they were.
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

    /// Takes out that one which `choose` gives the place of.
    fn take(&mut self, choose: impl FnOnce(&[u64]) -> usize) -> Option<u64> {
        match self.0.is_empty() {
            true => None,
            false => {
                let place = choose(self.0.make_contiguous());
                self.0.remove(place)
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
struct Dice {
    rng: fastrand::Rng,
    /// Whether tasks are polled without a wake-up.
    unasked: bool,
    /// Whether a poll comes with a new waker.
    new_wakers: bool,
    /// Orders tasks by how much they are preferred, if they are.
    favourites: Option<u64>,
}

impl Dice {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let [unasked, new_wakers, favourites] = std::array::from_fn(|_| rng.bool());
        Self { unasked, new_wakers, favourites: favourites.then(|| rng.u64(..)), rng }
    }

    fn below(&mut self, end: usize) -> usize {
        self.rng.usize(..end)
    }

    fn is_heads(&mut self) -> bool {
        self.rng.bool()
    }

    fn polls_unasked(&mut self) -> bool {
        self.unasked && self.rng.u32(..UNASKED) == 0
    }

    fn renews_wakers(&mut self) -> bool {
        self.new_wakers
    }

    /// The place of one of `ids`.
    fn choose(&mut self, ids: &[u64]) -> usize {
        match self.favourites {
            Some(order) if self.rng.u32(..IMPARTIAL) > 0 => {
                let rank = |id: u64| fastrand::Rng::with_seed(order ^ id).u64(..);
                (0..ids.len()).min_by_key(|&place| rank(ids[place])).unwrap_or(0)
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
    /// A new one in the place of this one, which wakes nothing any more: for ever it counts as having done so.
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

    /// The order in which four tasks with three steps each run, as numbers of tasks.
    fn order(runtime: &Arc<TestRuntime>) -> Vec<usize> {
        let steps = crate::Notes::new();
        let mut builder = aimdb_core::AimDbBuilder::new().runtime(Arc::clone(runtime));
        for task in 0..4 {
            let steps = steps.clone();
            builder.configure::<u64>(std::format!("{task}"), |reg| {
                reg.buffer(aimdb_core::BufferCfg::SingleLatest).source(move |_, _| async move {
                    for _ in 0..3 {
                        steps.add(task);
                        give_way().await;
                    }
                });
            });
        }
        runtime.block_on(builder.run()).unwrap();
        steps.all()
    }

    /// Pending once, and woken at once.
    async fn give_way() {
        let mut given = false;
        core::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if core::mem::replace(&mut given, true) { Poll::Ready(()) } else { Poll::Pending }
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
    fn every_task_runs_though_others_never_rest() {
        for seed in 0..64 {
            let runtime = Arc::new(TestRuntime::seeded(seed));
            let ran = crate::Notes::new();
            let mut builder = aimdb_core::AimDbBuilder::new().runtime(Arc::clone(&runtime));
            for task in 0..8 {
                let ran = ran.clone();
                builder.configure::<u64>(std::format!("{task}"), |reg| {
                    let buffer = aimdb_core::BufferCfg::SingleLatest;
                    reg.buffer(buffer).source(move |_, _| async move {
                        ran.add(task);
                        loop {
                            give_way().await;
                        }
                    });
                });
            }
            let db = builder.build().unwrap();
            db.start();
            runtime.block_on(async {
                while ran.count() < 8 {
                    give_way().await;
                }
            });
            runtime.drop_tasks();
        }
    }

    #[test]
    fn timers_that_are_due_at_the_same_instant_fire_in_any_order() {
        let first = |seed| {
            let runtime = Arc::new(TestRuntime::seeded(seed));
            let fired = crate::Notes::new();
            let mut builder = aimdb_core::AimDbBuilder::new().runtime(Arc::clone(&runtime));
            for task in 0..3 {
                let fired = fired.clone();
                builder.configure::<u64>(std::format!("{task}"), |reg| {
                    let buffer = aimdb_core::BufferCfg::SingleLatest;
                    reg.buffer(buffer).source(move |ctx, _| async move {
                        ctx.time().sleep(Duration::from_millis(1)).await;
                        fired.add(task);
                    });
                });
            }
            runtime.block_on(builder.run()).unwrap();
            assert_eq!(runtime.now(), Instant::from_nanos(1_000_000));
            fired.all()[0]
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
    fn dropped_tasks_let_go_of_the_runtime() {
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
