//! A detach joins a shutdown that a handle, a stage or a failure has begun: records close, blocked calls return, and there is
//! a report.

mod common;

use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use aimdb_core::{BufferCfg, DbError, input};
use aimdb_sync::{Attach, AttachOptions, DetachError, GetError, SetError, SyncHandle};
use common::*;

/// The origin of the shutdown that precedes the detach.
#[derive(Clone, Copy, Debug)]
enum Request {
    Handle,
    Stage,
    Failure,
}

const REQUESTS: [Request; 3] = [Request::Handle, Request::Stage, Request::Failure];

/// `a → transform → b (queue of 1, slow tap) → transform → c`, and a record whose stage requests the shutdown once `trigger`
/// is set. Five values are in `a`.
fn slow_graph(request: Request, pause: Duration, trigger: &Arc<AtomicBool>) -> SyncHandle {
    let mut builder = builder();
    builder.stop_on_failure();
    builder.configure::<u64>("a", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 8 });
    });
    builder.configure::<u64>("b", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 1 }).transform(input::<u64>("a"), |n| n).tap(
            move |ctx, b| async move {
                let mut reader = b.subscribe().unwrap();
                while reader.recv().await.is_ok() {
                    ctx.time().sleep(pause).await;
                }
            },
        );
    });
    builder.configure::<u64>("c", |reg| {
        reg.buffer(QUEUE).transform(input::<u64>("b"), |n| n);
    });
    let trigger = Arc::clone(trigger);
    builder.configure::<u64>("requests", |reg| {
        reg.buffer(RING).source(move |ctx, _| async move {
            while !trigger.load(Relaxed) {
                ctx.time().sleep(Duration::from_millis(5)).await;
            }
            match request {
                Request::Handle => {}
                Request::Stage => ctx.shutdown(),
                Request::Failure => ctx.fail("no sensor"),
            }
        });
    });
    let handle = builder.attach().unwrap();
    handle.producer::<u64>("a").unwrap().set_many(0..5).unwrap();
    handle
}

#[test]
fn a_detach_after_a_requested_shutdown_is_in_time_with_a_report_and_closed_records() {
    for request in REQUESTS {
        watched(move || {
            let trigger = Arc::default();
            let handle = slow_graph(request, Duration::from_secs(60), &trigger);
            let (reader, writer) =
                (handle.consumer::<u64>("c").unwrap(), handle.producer::<u64>("c").unwrap());
            let blocked = thread::spawn(move || reader.iter().count());
            trigger.store(true, Relaxed);
            if matches!(request, Request::Handle) {
                handle.request_shutdown();
            }
            eventually("the shutdown has begun", || handle.is_closed());
            let report = handle
                .detach_with_timeout(Duration::from_millis(300))
                .unwrap_or_else(|error| panic!("{request:?}: {error}"));
            assert!(
                report.unresponsive.is_empty()
                    && report.aborted.iter().any(|stage| *stage == "b/tap"),
                "{report}"
            );
            assert!(report.total_undelivered() >= 3, "{request:?}: {report}");
            assert!(report.elapsed < Duration::from_secs(20), "{request:?}: {report}");
            blocked.join().unwrap();
            assert_eq!(writer.set(1), Err(SetError::Closed(1)));
        });
    }
}

#[test]
fn a_detach_with_a_longer_deadline_than_the_requested_shutdown_drains_everything() {
    watched(|| {
        let trigger = Arc::default();
        let handle = slow_graph(Request::Stage, Duration::from_millis(300), &trigger);
        trigger.store(true, Relaxed);
        eventually("the shutdown has begun", || handle.is_closed());
        // Another caller, with a deadline of its own, is first.
        let report = thread::scope(|scope| {
            scope.spawn(|| handle.shutdown(Duration::from_millis(1_000_000)));
            handle.detach_with_timeout(Duration::MAX)
        });
        let report = report.unwrap();
        assert!(report.is_clean(), "{report}");
    });
}

#[test]
fn queues_drain_until_the_callers_deadline_after_a_requested_shutdown() {
    watched(|| {
        let mut builder = builder();
        let seen = Arc::new(Mutex::new(0));
        let count = Arc::clone(&seen);
        builder.configure::<u64>("slow", |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 1 }).tap(move |ctx, slow| async move {
                let mut reader = slow.subscribe().unwrap();
                while reader.recv().await.is_ok() {
                    ctx.time().sleep(Duration::from_millis(20)).await;
                    *count.lock().unwrap() += 1;
                }
            });
        });
        let handle = builder.attach().unwrap();
        handle.producer_with_capacity::<u64>("slow", 64).unwrap().set_many(0..40).unwrap();
        handle.request_shutdown();
        let report = handle.detach_with_timeout(Duration::MAX).unwrap();
        assert!(report.is_clean(), "{report}");
        assert_eq!(*seen.lock().unwrap(), 40);
    });
}

/// Runs `call` with the handle in a stage on a worker.
fn from_a_stage_on_a_worker<O: Send + 'static>(
    call: impl FnOnce(SyncHandle) -> O + Send + 'static,
) -> O {
    let (handles, handed) = mpsc::channel::<SyncHandle>();
    let (answers, answer) = mpsc::channel();
    let mut builder = builder();
    builder.configure::<u64>("r", |reg| {
        reg.buffer(RING).source(move |ctx, _| async move {
            let handle = loop {
                match handed.try_recv() {
                    Ok(handle) => break handle,
                    Err(_) => ctx.time().sleep(Duration::from_millis(5)).await,
                }
            };
            answers.send(call(handle)).unwrap();
        });
    });
    let workers = AttachOptions::new().workers(NonZeroUsize::new(2).unwrap());
    let workers = workers.drop_deadline(Duration::from_secs(50));
    handles.send(builder.attach_with(workers).unwrap()).unwrap();
    answer.recv_timeout(LONG).expect("the stage does not wait for itself")
}

#[test]
fn a_stage_on_a_worker_cannot_wait_for_its_own_end() {
    watched(|| {
        let answers = from_a_stage_on_a_worker(|handle| {
            let answers = (handle.detach(), handle.shutdown(LONG));
            handle.request_shutdown();
            std::mem::forget(handle);
            answers
        });
        assert_eq!(answers, (Err(DetachError::WouldDeadlock), Err(DetachError::WouldDeadlock)));
    });
}

#[test]
fn a_stage_on_a_worker_that_drops_the_handle_does_not_wait() {
    watched(|| from_a_stage_on_a_worker(drop));
}

#[test]
fn a_blocking_thread_of_the_runtime_may_detach() {
    watched(|| {
        let (handles, handed) = mpsc::channel::<SyncHandle>();
        let (answers, answer) = mpsc::channel();
        let mut builder = builder();
        builder.configure::<u64>("r", |reg| {
            reg.buffer(RING).source(move |_, _| async move {
                // The stage does not await the blocking thread: the stage ends and the thread continues.
                tokio::task::spawn_blocking(move || {
                    answers.send(handed.recv().unwrap().detach()).unwrap();
                });
            });
        });
        let workers = AttachOptions::new().workers(NonZeroUsize::new(2).unwrap());
        handles.send(builder.attach_with(workers).unwrap()).unwrap();
        let outcome = answer.recv_timeout(LONG).unwrap();
        assert!(!matches!(outcome, Err(DetachError::WouldDeadlock)), "{outcome:?}");
    });
}

#[test]
fn the_report_counts_a_queue_whose_last_handle_is_dropped_while_the_runtime_is_unresponsive() {
    for more in [0, 3] {
        watched(move || {
            let (entered, has_entered) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            let released = Mutex::new(released);
            let mut builder = builder();
            builder.configure::<u64>("r", |reg| {
                reg.buffer(BufferCfg::SpmcQueue { capacity: 1 }).tap(move |_, r| async move {
                    let mut reader = r.subscribe().unwrap();
                    let _first = reader.recv().await;
                    entered.send(()).unwrap();
                    // The tap blocks the runtime's only thread.
                    _ = released.lock().unwrap().recv();
                });
            });
            let handle = builder.attach().unwrap();
            handle.producer::<u64>("r").unwrap().set(0).unwrap();
            has_entered.recv().unwrap();
            handle.producer_with_capacity::<u64>("r", 8).unwrap().set_many(0..more).unwrap();
            let outcome = handle.detach_with_timeout(Duration::from_millis(200));
            let Err(DetachError::Unresponsive { report, .. }) = outcome else {
                panic!("{outcome:?}")
            };
            let queued: u64 = report
                .undelivered
                .iter()
                .filter(|left| left.stage == "queued producer")
                .map(|left| left.unread)
                .sum();
            assert_eq!(queued, more, "{report}");
            drop(release);
        });
    }
}

const NO_THREADS: &str = "AIMDB_TEST_NO_THREADS";

/// Runs this test again in a process that cannot start a thread, because each would need a stack larger than all memory.
#[test]
fn attach_returns_an_error_where_no_thread_can_be_started() {
    if std::env::var_os(NO_THREADS).is_some() {
        let inside = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for options in
            [AttachOptions::new(), AttachOptions::new().workers(NonZeroUsize::new(2).unwrap())]
        {
            let outside = builder().attach_with(options.clone());
            let inside = inside.block_on(async { builder().attach_with(options) });
            for outcome in [outside, inside] {
                assert!(matches!(outcome, Err(DbError::Runtime { .. })), "{outcome:?}");
            }
        }
        return;
    }
    let name = "attach_returns_an_error_where_no_thread_can_be_started";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads=1", "--nocapture"])
        .env(NO_THREADS, "1")
        .env("RUST_MIN_STACK", (1_u64 << 60).to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
fn a_consumer_returns_closed_after_a_detach() {
    watched(|| {
        let handle = record(RING);
        let consumer = handle.consumer::<u64>("r").unwrap();
        handle.request_shutdown();
        handle.detach_with_timeout(Duration::ZERO).unwrap();
        assert_eq!(consumer.get(), Err(GetError::Closed));
    });
}

/// A queue of one whose tap takes 50 ms for each value and hangs after `reads` values.
fn a_slow_tap_behind_a_queue(reads: usize) -> SyncHandle {
    let mut builder = builder();
    builder.configure::<u64>("r", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 1 }).tap(move |ctx, r| async move {
            let mut reader = r.subscribe().unwrap();
            for _ in 0..reads {
                if reader.recv().await.is_err() {
                    return;
                }
                ctx.time().sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<()>().await;
        });
    });
    builder.attach().unwrap()
}

#[test]
fn the_deadline_of_the_last_caller_holds_while_queues_drain() {
    watched(|| {
        let handle = a_slow_tap_behind_a_queue(usize::MAX);
        // Draining takes three seconds; the first caller's deadline is half of that.
        handle.producer_with_capacity::<u64>("r", 64).unwrap().set_many(0..60).unwrap();
        thread::scope(|scope| {
            let first = scope.spawn(|| handle.shutdown(Duration::from_millis(1500)));
            eventually("the first shutdown has begun", || {
                handle.producer_with_capacity::<u64>("r", 1).unwrap().try_set(0).is_err()
            });
            let report = handle.shutdown(LONG).unwrap();
            assert!(report.is_clean(), "{report}");
            assert_eq!(first.join().unwrap().unwrap().aborted, report.aborted);
        });
    });
}

#[test]
fn a_later_caller_with_less_time_is_not_held_up_by_an_earlier_one() {
    watched(|| {
        let handle = a_slow_tap_behind_a_queue(3);
        handle.producer_with_capacity::<u64>("r", 8).unwrap().set_many(0..4).unwrap();
        thread::scope(|scope| {
            // If this deadline held, the watchdog would fail the test.
            scope.spawn(|| handle.shutdown(Duration::from_secs(3600)));
            eventually("the first shutdown has begun", || {
                handle.producer_with_capacity::<u64>("r", 1).unwrap().try_set(0).is_err()
            });
            let report = handle.shutdown(Duration::from_millis(300)).unwrap();
            assert_eq!(report.aborted, ["r/tap"]);
        });
    });
}
