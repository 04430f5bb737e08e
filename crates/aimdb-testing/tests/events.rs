//! The events of a database: the stream of events, the hook, and writers that wait too long.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimdb_core::events::{DbEventKind, DbEvents};
use aimdb_core::race::race;
use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, LogLevel, Restart, decode_with};
use aimdb_testing::{Fault, MemoryPeer, TestRuntime};

fn builder() -> (Arc<TestRuntime>, AimDbBuilder<TestRuntime>) {
    let runtime = Arc::new(TestRuntime::new());
    (Arc::clone(&runtime), AimDbBuilder::new().runtime(runtime))
}

/// The events that the stream holds, as text.
fn lines(events: &mut DbEvents) -> Vec<String> {
    std::iter::from_fn(|| events.try_next()).map(|event| event.to_string()).collect()
}

fn shut_down(runtime: &TestRuntime, db: &AimDb<TestRuntime>) {
    let _report = runtime.block_on(db.shutdown(Duration::from_secs(5)));
}

#[test]
fn restarts_failures_and_ends_of_stages_are_events_in_order() {
    let (runtime, mut builder) = builder();
    let policy =
        Restart::on_failure().backoff(Duration::from_secs(1), Duration::from_secs(1)).limit(1);
    builder.configure::<u64>("speed", |reg| {
        let attempts = Arc::new(AtomicU32::new(0));
        reg.buffer(BufferCfg::queue(4)).written_from_outside().shared();
        reg.source_with(policy, move |_ctx, _speed| {
            let attempts = Arc::clone(&attempts);
            async move { Err::<(), _>(format!("no answer ({})", attempts.fetch_add(1, Relaxed))) }
        });
        reg.tap(|_ctx, _speed| async {}).named("once");
    });
    let db = builder.build().unwrap();
    let mut events = db.events();
    db.start();
    runtime.advance(Duration::from_secs(3));
    assert_eq!(
        lines(&mut events),
        [
            "stage `speed/once` finished",
            "stage `speed/source`: no answer (0); restart 1 in 1s",
            "stage `speed/source` failed: no answer (1) (given up after 1 restarts)",
        ]
    );
    shut_down(&runtime, &db);
    assert_eq!(lines(&mut events), ["a shutdown has begun", "the shutdown has ended"]);
    assert_eq!(runtime.block_on(events.next()), None, "no event follows");
    assert_eq!(runtime.block_on(db.events().next()), None, "a stream that is opened later");
}

#[test]
fn a_link_reports_that_it_is_refused_connected_lost_and_connected_again() {
    let (runtime, mut builder) = builder();
    let peer = MemoryPeer::new();
    peer.fail(Fault::Connect(1));
    builder.connector(peer.connector());
    builder.configure::<u8>("door", |reg| {
        let codec = decode_with(|message: &aimdb_core::Incoming<'_>| {
            message.payload.first().copied().ok_or("an empty payload")
        });
        reg.buffer(BufferCfg::SingleLatest).link_from("memory://door", codec).tap(
            |_ctx, door| async move {
                let Ok(mut door) = door.subscribe() else { return };
                while door.recv().await.is_ok() {}
            },
        );
    });
    let db = builder.build().unwrap();
    let mut events = db.events();
    db.start();
    runtime.advance(Duration::from_secs(60));
    let link = &db.health().links[0];
    assert!(link.last_error_is_over, "{link:?}");
    peer.publish("door", []);
    runtime.advance(Duration::from_secs(1));
    let link = db.metrics().links.remove(0);
    assert!(!link.last_error_is_over, "{link:?}");
    assert!(link.last_error_at.unwrap().as_nanos() >= 60_000_000_000, "{link:?}");
    peer.disconnect();
    peer.accept();
    runtime.advance(Duration::from_secs(60));
    let kinds: Vec<_> = std::iter::from_fn(|| events.try_next()).map(|event| event.kind).collect();
    let [
        DbEventKind::LinkError { connected: false, .. },
        DbEventKind::LinkUp { link, again: false },
        DbEventKind::DeadLetter { topic, reason, .. },
        DbEventKind::LinkDown { .. },
        ..,
        DbEventKind::LinkUp { again: true, .. },
    ] = &kinds[..]
    else {
        panic!("{kinds:?}")
    };
    assert_eq!(link.to_string(), "link from `memory://door` to record `door`");
    assert_eq!((&topic[..], &reason[..]), ("door", "an empty payload"));
}

#[test]
fn a_stream_that_is_not_read_loses_the_oldest_events_and_counts_them() {
    let (runtime, mut builder) = builder();
    builder.configure::<u64>("divisor", |reg| {
        reg.buffer(BufferCfg::queue(512)).written_from_outside();
        reg.for_each_with(Restart::skip_failures(), |_ctx, _divisor| panic!("division by zero"));
    });
    let db = builder.build().unwrap();
    let mut events = db.events();
    db.start();
    let divisor = db.producer::<u64>("divisor").unwrap();
    (0..300).for_each(|value| divisor.try_produce(value).unwrap());
    runtime.advance(Duration::from_secs(1));
    assert_eq!(events.lost(), 44);
    let restarts: Vec<_> = std::iter::from_fn(|| events.try_next())
        .map(|event| match event.kind {
            DbEventKind::StageRestarts { restart, .. } => restart,
            other => panic!("{other}"),
        })
        .collect();
    assert!(restarts.into_iter().eq(45..=300));
}

#[test]
fn the_hook_sees_each_event_and_its_panic_is_logged() {
    let (runtime, mut builder) = builder();
    let seen = Arc::new(Mutex::new(Vec::new()));
    builder.on_event({
        let seen = Arc::clone(&seen);
        move |event| {
            seen.lock().unwrap().push(event.to_string());
            assert!(seen.lock().unwrap().len() != 1, "the first one");
        }
    });
    builder.configure::<u64>("speed", |reg| {
        reg.buffer(BufferCfg::SingleLatest).written_from_outside();
        reg.tap(|_ctx, _speed| async {});
    });
    let db = builder.build().unwrap();
    let mut events = db.events();
    db.start();
    runtime.run_until_idle();
    shut_down(&runtime, &db);
    let expected = ["stage `speed/tap` finished", "a shutdown has begun", "the shutdown has ended"];
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(lines(&mut events), expected);
    let logged = runtime.log_lines();
    let line = logged.iter().find(|line| line.level == LogLevel::Error).unwrap();
    assert!(line.message.starts_with("the hook for events panicked: "), "{}", line.message);
}

/// A queue of one whose reader takes a value every 25 s, and a source that is always ahead.
fn slow_reader(builder: &mut AimDbBuilder<TestRuntime>) {
    builder.configure::<u64>("frames", |reg| {
        reg.buffer(BufferCfg::queue(1)).source(|_ctx, frames| async move {
            for frame in 0..3 {
                frames.produce(frame).await.ok();
            }
        });
        reg.tap(|ctx, frames| async move {
            let Ok(mut frames) = frames.subscribe() else { return };
            while frames.recv().await.is_ok() {
                ctx.time().sleep(ctx.time().secs(25)).await;
            }
        })
        .named("encoder");
    });
}

#[test]
fn a_writer_that_waits_long_is_an_event_and_a_line_in_the_log_and_so_is_its_end() {
    let (runtime, mut builder) = builder();
    builder.blocked_after(Duration::from_secs(10));
    slow_reader(&mut builder);
    let db = builder.build().unwrap();
    let mut events = db.events();
    runtime.block_on(async {
        let minutes = Box::pin(aimdb_core::Runtime::sleep_until(
            &*runtime,
            aimdb_core::Instant::from_nanos(120_000_000_000),
        ));
        race(db.run_until(minutes), std::future::pending::<()>()).await
    });
    let lines: Vec<_> =
        lines(&mut events).into_iter().filter(|line| line.starts_with("record")).collect();
    let blocked = "record `frames`: writers have waited 10s for room; `encoder` holds them back";
    let free = "record `frames`: no writer waits any more";
    assert_eq!(lines, [blocked, free]);
    let logged = runtime.log_lines();
    let levels = logged.iter().filter(|line| lines.contains(&line.message)).map(|line| line.level);
    assert!(levels.eq([LogLevel::Warn, LogLevel::Info]));
}

#[test]
fn a_writer_that_waits_less_than_the_limit_is_no_event() {
    for limit in [Some(Duration::from_secs(30)), None] {
        let (runtime, mut builder) = builder();
        builder.blocked_after(limit);
        slow_reader(&mut builder);
        let db = builder.build().unwrap();
        let mut events = db.events();
        let until = aimdb_core::Instant::from_nanos(200_000_000_000);
        runtime.block_on(db.run_until(aimdb_core::Runtime::sleep_until(&*runtime, until))).unwrap();
        assert!(!lines(&mut events).iter().any(|line| line.starts_with("record")), "{limit:?}");
    }
}
