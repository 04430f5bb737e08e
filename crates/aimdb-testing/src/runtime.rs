//! The promises of a runtime's clock, timers and log.
//!
//! ```
//! mod on_my_runtime {
//!     use std::{future::Future, sync::Arc};
//!     use aimdb_testing::TestRuntime;
//!
//!     fn run<F: Future<Output = ()>>(case: impl FnOnce(Arc<TestRuntime>) -> F) {
//!         let runtime = Arc::new(TestRuntime::new());
//!         runtime.block_on(case(Arc::clone(&runtime)));
//!     }
//!
//!     aimdb_testing::runtime_conformance!(run);
//! }
//! ```
//!
//! The clock may be paused: the cases wait for the runtime's own timers alone. On a running clock they take a few dozen
//! milliseconds. They assert that timers are not early, never that timers are not late.

use aimdb_core::Arc;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::{Future, pending, poll_fn, ready};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use aimdb_core::{AimDbBuilder, BufferCfg, Elapsed, Instant, LogLevel, RuntimeContext};

use crate::host::{BoxStage, Host};

/// A deadline that no case reaches.
const LONG: Duration = Duration::from_secs(3600);

#[doc(hidden)]
#[macro_export]
macro_rules! __runtime_cases {
    ($with:ident! $head:tt) => {
        $crate::$with! { $head runtime
            the_clock_never_goes_back
            a_sleep_is_not_early
            a_sleep_to_a_past_deadline_ends_at_once
            sleeps_end_in_the_order_of_their_deadlines
            a_sleep_may_be_dropped_at_any_time
            a_sleep_to_the_last_instant_stays_pending
            an_interval_ticks_at_once_and_stays_on_its_grid
            an_interval_counts_the_ticks_it_missed
            an_interval_keeps_a_tick_whose_wait_was_cancelled
            a_timeout_returns_an_output_that_is_in_time
            a_timeout_ends_a_future_that_takes_too_long
            the_log_accepts_every_level
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __async_tests {
    (($run:path) $suite:ident $($case:ident)*) => {$(
        #[test]
        fn $case() {
            $run($crate::$suite::$case);
        }
    )*};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __await_cases {
    (($runtime:ident, $report:ident) $suite:ident $($case:ident)*) => {$(
        $report(stringify!($case));
        $crate::$suite::$case($runtime.clone()).await;
    )*};
}

/// Expands to one `#[test]` for each case of the [runtime suite](crate::runtime).
///
/// `run(case)` calls `case` with the runtime and drives the future that `case` returns.
#[macro_export]
macro_rules! runtime_conformance {
    ($run:path) => {
        $crate::__runtime_cases! { __async_tests! ($run) }
    };
}

/// Runs every case on `runtime`, for firmware and other places without a test harness.
///
/// Calls `report` with the name of each case before the case runs.
///
/// # Panics
///
/// If a case fails.
pub async fn run_all<R: Host>(runtime: Arc<R>, report: &mut dyn FnMut(&'static str)) {
    crate::__runtime_cases! { __await_cases! (runtime, report) }
}

/// Runs `body` as a stage, which has a clock and a log, and returns after it.
async fn in_a_stage<R: Host, F>(
    runtime: Arc<R>,
    body: impl FnOnce(RuntimeContext<R>) -> F + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut builder = AimDbBuilder::new().runtime(runtime);
    builder.configure::<u64>("case", |reg| {
        reg.buffer(BufferCfg::SingleLatest).source(|ctx, _| Box::pin(body(ctx)) as BoxStage);
    });
    builder.run().await.expect("the case does not fail");
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Each reading of the clock is at or after the one before.
pub async fn the_clock_never_goes_back<R: Host>(runtime: Arc<R>) {
    let mut last = runtime.now();
    for round in 0..200 {
        let now = runtime.now();
        assert!(now >= last);
        last = now;
        if round % 50 == 0 {
            runtime.sleep_until(now + millis(1)).await;
        }
    }
}

/// A sleep ends at or after its deadline by the runtime's own clock.
pub async fn a_sleep_is_not_early<R: Host>(runtime: Arc<R>) {
    let odd_lengths =
        [Duration::from_nanos(1), Duration::from_micros(1500), millis(1), millis(3), millis(7)];
    for length in odd_lengths {
        let deadline = runtime.now() + length;
        runtime.sleep_until(deadline).await;
        assert!(runtime.now() >= deadline, "a sleep of {length:?} was early");
    }
}

/// A sleep whose deadline is in the past, or now, ends without a wait.
pub async fn a_sleep_to_a_past_deadline_ends_at_once<R: Host>(runtime: Arc<R>) {
    runtime.sleep_until(runtime.now() + millis(2)).await;
    for past in [Instant::from_nanos(0), runtime.now()] {
        let long = runtime.sleep_until(runtime.now() + LONG);
        assert!(first_is_ready(runtime.sleep_until(past), long).await);
    }
}

/// The order in which the sleeps were made does not matter.
pub async fn sleeps_end_in_the_order_of_their_deadlines<R: Host>(runtime: Arc<R>) {
    let now = runtime.now();
    for lengths in [[millis(3), LONG], [LONG, millis(3)]] {
        let [a, b] = lengths.map(|length| runtime.sleep_until(now + length));
        assert_eq!(first_is_ready(a, b).await, lengths[0] < lengths[1]);
    }
}

/// A sleep may be dropped before its first poll, and while it is pending.
pub async fn a_sleep_may_be_dropped_at_any_time<R: Host>(runtime: Arc<R>) {
    drop(runtime.sleep_until(runtime.now() + LONG));
    {
        // With the task's own waker: Embassy's timers accept no other.
        let mut sleep = pin!(runtime.sleep_until(runtime.now() + LONG));
        assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx))).await.is_pending());
    }
    runtime.sleep_until(runtime.now() + millis(1)).await;
}

/// A deadline at the last instant does not overflow the timer.
pub async fn a_sleep_to_the_last_instant_stays_pending<R: Host>(runtime: Arc<R>) {
    let end = runtime.sleep_until(Instant::from_nanos(u64::MAX));
    let short = runtime.sleep_until(runtime.now() + millis(1));
    assert!(!first_is_ready(end, short).await);
}

/// Each tick is due at the first one plus a multiple of the period.
pub async fn an_interval_ticks_at_once_and_stays_on_its_grid<R: Host>(runtime: Arc<R>) {
    in_a_stage(runtime, |ctx| async move {
        let (time, period) = (ctx.time(), millis(2));
        let made = time.now();
        let mut interval = time.interval(period);
        let first = interval.tick().await;
        assert!(first - made < period, "the first tick is due at once");
        for ticks in 1..=10 {
            let before = interval.missed();
            let due = interval.tick().await;
            assert!(time.now() >= due, "a tick is not early");
            let skipped = u32::try_from(ticks + before).expect("few");
            assert_eq!(due, first + period * skipped, "tick {ticks} is off the grid");
            // Work of half a period does not shift the next tick.
            time.sleep(period / 2).await;
        }
    })
    .await;
}

/// A stage that sleeps through three ticks finds them counted, and receives the next one that is due.
pub async fn an_interval_counts_the_ticks_it_missed<R: Host>(runtime: Arc<R>) {
    in_a_stage(runtime, |ctx| async move {
        let (time, period) = (ctx.time(), millis(4));
        let mut interval = time.interval(period);
        let first = interval.tick().await;
        let missed = interval.missed();
        time.sleep_until(first + period * 4 + period / 2).await;
        // The tick that was due first is late; the three ticks after it are skipped.
        assert_eq!(interval.tick().await, first + period * u32::try_from(missed + 1).expect("few"));
        let skipped = interval.missed() - missed;
        assert!(skipped + missed >= 3, "{skipped} skipped");
        let next = u32::try_from(2 + missed + skipped).expect("few");
        assert_eq!(interval.tick().await, first + period * next);
    })
    .await;
}

/// A `tick` that is dropped while pending has not ticked.
pub async fn an_interval_keeps_a_tick_whose_wait_was_cancelled<R: Host>(runtime: Arc<R>) {
    in_a_stage(runtime, |ctx| async move {
        let mut interval = ctx.time().interval(LONG);
        let first = interval.tick().await;
        for _ in 0..3 {
            assert!(ctx.time().timeout(millis(1), interval.tick()).await.is_err());
        }
        assert_eq!(interval.missed(), 0);
        assert!(ctx.time().now() < first + LONG);
    })
    .await;
}

/// A future that is ready at once is in time, although the limit is zero.
pub async fn a_timeout_returns_an_output_that_is_in_time<R: Host>(runtime: Arc<R>) {
    in_a_stage(runtime, |ctx| async move {
        let time = ctx.time();
        assert_eq!(time.timeout(LONG, ready(1)).await, Ok(1));
        assert_eq!(time.timeout(Duration::ZERO, ready(2)).await, Ok(2));
        assert_eq!(time.timeout(LONG, time.sleep(millis(2))).await, Ok(()));
        assert_eq!(time.timeout(Duration::MAX, time.sleep(millis(1))).await, Ok(()));
    })
    .await;
}

/// The timeout ends at or after its limit.
pub async fn a_timeout_ends_a_future_that_takes_too_long<R: Host>(runtime: Arc<R>) {
    in_a_stage(runtime, |ctx| async move {
        let (time, limit) = (ctx.time(), millis(3));
        let began = time.now();
        assert_eq!(time.timeout(limit, pending::<()>()).await, Err(Elapsed));
        assert!(time.now() - began >= limit);
        assert_eq!(time.timeout(Duration::ZERO, pending::<()>()).await, Err(Elapsed));
    })
    .await;
}

/// The log accepts any text, from the runtime and from a stage.
pub async fn the_log_accepts_every_level<R: Host>(runtime: Arc<R>) {
    let levels =
        [LogLevel::Trace, LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error];
    for level in levels {
        runtime.log(level, "", format_args!(""));
        runtime.log(level, "origin/ü", format_args!("{{}} %s\n{}\0", "x".repeat(300)));
    }
    in_a_stage(runtime, |ctx| async move {
        ctx.log().info("a line");
        ctx.log().error(Vec::from(["another"]).join(""));
    })
    .await;
}

/// Waits for either future; returns whether the first one is ready. It is polled first.
async fn first_is_ready(a: impl Future<Output = ()>, b: impl Future<Output = ()>) -> bool {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| match a.as_mut().poll(cx) {
        ready @ Poll::Ready(()) => ready.map(|()| true),
        Poll::Pending => b.as_mut().poll(cx).map(|()| false),
    })
    .await
}
