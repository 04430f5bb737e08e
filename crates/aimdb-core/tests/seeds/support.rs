//! The parts of the scenarios.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aimdb_core::health::DbState;
use aimdb_core::{
    AimDb, AimDbBuilder, BufferCfg, Consumer, Producer, Registrar, Runtime, RuntimeContext,
    ShutdownReport,
};
use aimdb_testing::{Recorder, TestRuntime};
use fastrand::Rng;

pub(crate) type Db = AimDb<TestRuntime>;
pub(crate) type Builder = AimDbBuilder<TestRuntime>;
pub(crate) type Context = RuntimeContext<TestRuntime>;
pub(crate) type Reg<'r> = Registrar<'r, u64, TestRuntime>;

/// A deadline that no scenario reaches.
pub(crate) const AMPLE: Duration = Duration::from_secs(60);

pub(crate) fn queue(rng: &mut Rng) -> BufferCfg {
    BufferCfg::SpmcQueue { capacity: rng.usize(1..5) }
}

pub(crate) fn build(runtime: &Arc<TestRuntime>, declare: impl FnOnce(&mut Builder)) -> Db {
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(runtime));
    declare(&mut builder);
    builder.build().expect("the scenario's graph is valid")
}

/// Continues at once, yields, or sleeps for up to three milliseconds.
pub(crate) async fn pause_at_random(runtime: &TestRuntime, rng: &mut Rng) {
    match rng.u8(..8) {
        0 => pause(runtime, rng.u64(1..4)).await,
        1 | 2 => yield_now().await,
        _ => {}
    }
}

pub(crate) async fn pause(runtime: &TestRuntime, millis: u64) {
    runtime.sleep_until(runtime.now() + Duration::from_millis(millis)).await;
}

/// Pending once, and woken at once.
pub(crate) async fn yield_now() {
    let mut given = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut given, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Polls `future` once and up to `more` times again, then drops it: `None`. A wake-up in its last poll stays unused.
pub(crate) async fn poll_and_cancel<F: Future>(future: F, more: u32) -> Option<F::Output> {
    let (mut future, mut polls_left) = (pin!(future), more + 1);
    poll_fn(|cx| {
        if polls_left == 0 {
            return Poll::Ready(None);
        }
        polls_left -= 1;
        cx.waker().wake_by_ref();
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// A source of `values` that records the accepted ones. It returns after the last one, or when the record is closed.
pub(crate) fn source(
    reg: &mut Reg<'_>,
    values: std::ops::Range<u64>,
    accepted: &Recorder<u64>,
    rng: &mut Rng,
) {
    let (accepted, mut rng) = (accepted.clone(), rng.fork());
    reg.source(move |ctx: Context, record: Producer<u64, _>| async move {
        for value in values {
            // In one poll: the task cannot be aborted between the acceptance and the entry in the list.
            let produced = record.produce(value);
            if recording(produced, || accepted.push(value)).await.is_err() {
                return;
            }
            pause_at_random(ctx.runtime(), &mut rng).await;
        }
    });
}

/// `future`, which calls `record` in the same poll in which it succeeds.
pub(crate) async fn recording<O, E>(
    future: impl Future<Output = Result<O, E>>,
    list: impl FnOnce(),
) -> Result<O, E> {
    let outcome = future.await;
    if outcome.is_ok() {
        list();
    }
    outcome
}

/// A tap that records every value and, at its end, the number of values that it lost.
pub(crate) fn tap(reg: &mut Reg<'_>, seen: &Recorder<u64>, lagged: &Recorder<u64>, rng: &mut Rng) {
    let (seen, lagged, mut rng) = (seen.clone(), lagged.clone(), rng.fork());
    reg.tap(move |ctx: Context, record: Consumer<u64, _>| async move {
        let mut reader = record.subscribe().expect("a tap may read");
        while let Ok(value) = reader.recv().await {
            seen.push(value);
            pause_at_random(ctx.runtime(), &mut rng).await;
        }
        lagged.push(reader.lagged());
    });
}

/// Registers a tap that records each value after a pause: an aborted tap records no value that is in progress.
pub(crate) fn slow_tap(reg: &mut Reg<'_>, done: &Recorder<u64>, rng: &mut Rng) {
    let (done, mut rng) = (done.clone(), rng.fork());
    reg.tap(move |ctx: Context, record: Consumer<u64, _>| async move {
        let mut reader = record.subscribe().expect("a tap may read");
        while let Ok(value) = reader.recv().await {
            pause_at_random(ctx.runtime(), &mut rng).await;
            done.push(value);
        }
    });
}

/// Configures a queue with a source for each recorder, under the keys `0`, `1`, ….
pub(crate) fn counting_sources(
    builder: &mut AimDbBuilder<TestRuntime>,
    accepted: &[Recorder<u64>],
    rng: &mut Rng,
) {
    for (at, accepted) in accepted.iter().enumerate() {
        let cfg = queue(rng);
        builder.configure::<u64>(at.to_string(), |reg| {
            reg.buffer(cfg);
            source(reg, 1..rng.u64(1..20), accepted, rng);
        });
    }
}

/// Asserts that every stage has ended and every record is closed.
pub(crate) fn assert_ended(db: &Db) {
    let health = db.health();
    assert_eq!(health.state, DbState::Stopped);
    assert!(health.stages.iter().all(|stage| stage.state.is_terminal()), "{health}");
    for record in &db.graph().records {
        let producer = db.producer::<u64>(record.key.as_str()).expect("the graph has the record");
        assert!(producer.is_closed(), "{} is open", record.key);
    }
}

/// Asserts that every reader of the graph has received or lost, or has yet to read, each accepted value.
pub(crate) fn assert_balanced(db: &Db) {
    for record in db.metrics().records {
        for reader in record.readers.iter().filter(|reader| reader.name != "outside") {
            let all = reader.delivered + reader.lagged + reader.pending;
            assert!(all == record.produced || record.buffer == BufferCfg::Mailbox, "{record}");
        }
    }
}

/// Lets up to `millis` milliseconds pass, or only as many polls of the other tasks. Checks the metrics meanwhile.
pub(crate) async fn wait(db: &Db, rng: &mut Rng, millis: u64) {
    let idle = rng.bool();
    for _ in 0..rng.u64(..millis) {
        assert_balanced(db);
        match idle {
            true => pause(db.runtime(), 1).await,
            false => yield_now().await,
        }
    }
    assert_balanced(db);
}

/// Waits until all stages have ended, without a shutdown.
pub(crate) async fn have_ended(db: &Db) {
    for _ in 0..1000 {
        if db.health().stages.iter().all(|stage| stage.state.is_terminal()) {
            return;
        }
        pause(db.runtime(), 1).await;
    }
    panic!("stages are running after a second of virtual time: {}", db.health());
}

/// Shuts down with ample time. The report is clean.
///
/// The graphs need some milliseconds at most. A shutdown looks at everything once a second, to say what it waits for: one that
/// takes as long has missed a wake-up.
pub(crate) async fn shut_down(db: &Db) -> ShutdownReport {
    let report = db.shutdown(AMPLE).await;
    assert!(report.is_clean(), "{report}");
    assert!(report.elapsed < Duration::from_secs(1), "a wake-up was missed: {report}");
    assert_ended(db);
    report
}

pub(crate) fn sum(notes: &Recorder<u64>) -> u64 {
    notes.values().iter().sum()
}

pub(crate) fn undelivered_of(report: &ShutdownReport, record: &str) -> u64 {
    let of_record = report.undelivered.iter().filter(|undelivered| undelivered.record == record);
    of_record.map(|undelivered| undelivered.unread + undelivered.interrupted).sum()
}
