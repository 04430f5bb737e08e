//! A value's `Clone` is user code and may block its thread. Closing, metrics and other writers do not wait for it.

use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, TryProduceError};
use aimdb_tokio_adapter::TokioAdapter;

/// A deadline that a busy machine keeps. A test that waits this long has failed.
const AMPLE: Duration = Duration::from_secs(20);

const RING: fn(usize) -> BufferCfg = |capacity| BufferCfg::SpmcRing { capacity };
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 4 };

/// Blocks every clone of a [`Gated`] value until it is opened.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    entered: usize,
    open: bool,
}

impl Gate {
    fn wait_until_open(&self) {
        let mut state = self.state.lock().unwrap();
        state.entered += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| !state.open).unwrap());
    }

    /// Waits until a clone is blocked.
    fn wait_for_a_clone(&self) {
        let state = self.state.lock().unwrap();
        let (_state, late) =
            self.changed.wait_timeout_while(state, AMPLE, |state| state.entered == 0).unwrap();
        assert!(!late.timed_out(), "no clone began");
    }

    fn open(&self) {
        self.state.lock().unwrap().open = true;
        self.changed.notify_all();
    }
}

struct Gated(Arc<Gate>, u32);

impl Clone for Gated {
    fn clone(&self) -> Self {
        self.0.wait_until_open();
        Self(Arc::clone(&self.0), self.1)
    }
}

/// Opens the gate when the test returns or panics, so that blocked threads end too.
struct OpenOnDrop(Arc<Gate>);

impl Drop for OpenOnDrop {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Returns the result of `work`. Panics if it takes longer than `AMPLE`.
fn in_time<O: Send + 'static>(what: &str, work: impl FnOnce() -> O + Send + 'static) -> O {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    is_done.recv_timeout(AMPLE).unwrap_or_else(|_| panic!("{what} waits for a `Clone`"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap()
}

fn shut_down(db: &AimDb<TokioAdapter>, deadline: Duration) -> aimdb_core::ShutdownReport {
    let (db, tokio) = (db.clone(), runtime());
    in_time("shutdown", move || {
        let report = tokio.block_on(db.shutdown(deadline));
        tokio.shutdown_background();
        report
    })
}

/// A record of gated values with this many taps, not started.
fn gated(
    cfg: BufferCfg,
    taps: usize,
) -> (Arc<Gate>, OpenOnDrop, AimDb<TokioAdapter>, tokio::runtime::Runtime) {
    let gate = Arc::new(Gate::default());
    let tokio = runtime();
    let inside = tokio.enter();
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    builder.configure::<Gated>("gated", |reg| {
        reg.buffer(cfg);
        for _ in 0..taps {
            reg.tap(|_, gated| async move {
                let mut reader = gated.subscribe().unwrap();
                while reader.recv().await.is_ok() {}
            });
        }
    });
    let db = builder.build().unwrap();
    drop(inside);
    (Arc::clone(&gate), OpenOnDrop(gate), db, tokio)
}

/// A record without stages, and a thread that is blocked in the clone of one of its values. The thread receives the
/// value or, of a mailbox, calls `latest`.
fn a_blocked_clone(
    cfg: BufferCfg,
    produced: u32,
) -> (AimDb<TokioAdapter>, OpenOnDrop, tokio::runtime::Runtime) {
    let (gate, opened, db, tokio) = gated(cfg, 0);
    db.start();
    let consumer = db.consumer::<Gated>("gated").unwrap();
    let mut reader = consumer.subscribe().unwrap();
    let producer = db.producer::<Gated>("gated").unwrap();
    for n in 0..produced {
        producer.try_produce(Gated(Arc::clone(&gate), n)).ok().unwrap();
    }
    let latest = cfg == BufferCfg::Mailbox;
    thread::spawn(move || if latest { consumer.latest() } else { reader.try_recv().ok() });
    gate.wait_for_a_clone();
    (db, opened, tokio)
}

/// Records in which the next write needs the slot that is being cloned: a latest record, a ring of one, and a ring
/// whose reader lags.
fn cases() -> [(BufferCfg, u32); 5] {
    let latest = BufferCfg::SingleLatest;
    [(latest, 1), (RING(1), 1), (RING(1), 3), (RING(2), 5), (BufferCfg::Mailbox, 2)]
}

#[test]
fn a_shutdown_does_not_wait_for_a_clone() {
    for (cfg, produced) in cases() {
        let (db, _opened, _tokio) = a_blocked_clone(cfg, produced);
        let report = shut_down(&db, Duration::from_millis(200));
        assert!(report.unresponsive.is_empty(), "{cfg}: {report}");
        assert!(db.is_closed());
    }
}

#[test]
fn metrics_and_health_do_not_wait_for_a_clone() {
    for (cfg, produced) in cases() {
        let (db, _opened, _tokio) = a_blocked_clone(cfg, produced);
        let seen = in_time("metrics()", {
            let db = db.clone();
            move || db.metrics().record("gated").cloned().unwrap()
        });
        assert_eq!(seen.produced, u64::from(produced), "{cfg}");
        if cfg != BufferCfg::Mailbox {
            let reader = &seen.readers[0];
            let accounted = reader.delivered + reader.lagged + reader.pending;
            assert_eq!(accounted, seen.produced, "{cfg}: {reader:?}");
        }
        in_time("health()", move || db.health());
    }
}

#[test]
fn a_writer_that_waits_for_a_clone_receives_its_value_back_when_the_record_closes() {
    for (cfg, produced) in cases() {
        let (db, opened, _tokio) = a_blocked_clone(cfg, produced);
        let producer = db.producer::<Gated>("gated").unwrap();
        let value = Gated(Arc::clone(&opened.0), 99);
        let (begins, has_begun) = mpsc::channel();
        let writer = thread::spawn(move || {
            begins.send(()).unwrap();
            producer.try_produce(value)
        });
        has_begun.recv().unwrap();
        shut_down(&db, Duration::from_millis(200));
        let refused = in_time("a writer", move || writer.join().unwrap());
        assert!(matches!(refused, Err(TryProduceError::Closed(Gated(_, 99)))), "{cfg}");
    }
}

#[test]
fn a_stage_whose_clone_never_returns_is_reported_as_unresponsive() {
    for (cfg, produced) in [(BufferCfg::SingleLatest, 1), (RING(1), 3), (RING(4), 2), (QUEUE, 2)] {
        // Two taps: of a queue, the first one clones.
        let (gate, opened, db, tokio) = gated(cfg, 2);
        let producer = db.producer::<Gated>("gated").unwrap();
        for n in 0..produced {
            producer.try_produce(Gated(Arc::clone(&gate), n)).ok().unwrap();
        }
        db.start();
        gate.wait_for_a_clone();
        let report = shut_down(&db, Duration::from_millis(100));
        assert!(!report.unresponsive.is_empty(), "{cfg}: {report}");
        assert!(
            report.unresponsive.iter().all(|stage| stage.owner.name() == "gated"),
            "{cfg}: {report}"
        );
        drop(opened);
        tokio.shutdown_background();
    }
}

#[test]
fn writers_of_a_queue_do_not_wait_for_a_latest_call_that_waits_for_a_clone() {
    let (gate, opened, db, _tokio) = gated(QUEUE, 0);
    db.start();
    let consumer = db.consumer::<Gated>("gated").unwrap();
    let mut readers = [(); 2].map(|()| consumer.subscribe().unwrap());
    let producer = db.producer::<Gated>("gated").unwrap();
    producer.try_produce(Gated(Arc::clone(&gate), 0)).ok().unwrap();
    let observer = consumer.clone();
    thread::spawn(move || readers.each_mut().map(|reader| reader.try_recv().ok()));
    gate.wait_for_a_clone();
    let (begins, has_begun) = mpsc::channel();
    let observing = thread::spawn(move || {
        begins.send(()).unwrap();
        observer.latest().map(|seen| seen.1)
    });
    has_begun.recv().unwrap();
    // Time for the observer to reach its wait. Too little only makes this test weaker.
    thread::sleep(Duration::from_millis(50));
    let value = Gated(Arc::clone(&gate), 1);
    in_time("a writer", move || producer.try_produce(value).ok().unwrap());
    drop(opened);
    let seen = in_time("the observer", move || observing.join().unwrap());
    assert!(seen.is_some_and(|seen| seen <= 1));
}

/// A call of `latest` holds the cursor of a reader that is dropped. The drop waits for the call, and delays no other
/// caller.
#[test]
fn closing_and_writing_a_queue_do_not_wait_for_the_drop_of_a_reader_that_waits_for_a_latest_call() {
    let (gate, opened, db, _tokio) = gated(QUEUE, 0);
    db.start();
    let consumer = db.consumer::<Gated>("gated").unwrap();
    let reader = consumer.subscribe().unwrap();
    let producer = db.producer::<Gated>("gated").unwrap();
    producer.try_produce(Gated(Arc::clone(&gate), 0)).ok().unwrap();
    let observing = thread::spawn(move || consumer.latest().map(|seen| seen.1));
    gate.wait_for_a_clone();
    let dropping = thread::spawn(move || drop(reader));
    // Time for the drop to reach its wait. Too little only makes this test weaker.
    thread::sleep(Duration::from_millis(50));
    let value = Gated(Arc::clone(&gate), 1);
    in_time("a writer", move || producer.try_produce(value).ok().unwrap());
    shut_down(&db, Duration::from_millis(100));
    drop(opened);
    in_time("the drop of the reader", move || dropping.join().unwrap());
    assert_eq!(in_time("the observer", move || observing.join().unwrap()), Some(0));
}
