//! A value's `Clone` is user code and may block. Closing, measuring and other writers do not wait for it.

use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, TryProduceError};
use aimdb_tokio_adapter::TokioAdapter;

/// More than anything here takes on a busy machine. A test that waits this long has failed.
const AMPLE: Duration = Duration::from_secs(20);

const RING: fn(usize) -> BufferCfg = |capacity| BufferCfg::SpmcRing { capacity };
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 4 };

/// Clones of a gated value wait until the gate is opened.
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
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.entered += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| !state.open).unwrap());
    }

    /// Waits until a clone is under way.
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
        self.0.pass();
        Self(Arc::clone(&self.0), self.1)
    }
}

/// Opens the gate when the test ends, in whatever way, so that blocked threads end too.
struct Opened(Arc<Gate>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// What `work` gives, unless it takes until the test has failed.
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

/// A record of gated values with so many taps, not started.
fn gated(
    cfg: BufferCfg,
    taps: usize,
) -> (Arc<Gate>, Opened, AimDb<TokioAdapter>, tokio::runtime::Runtime) {
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
    (Arc::clone(&gate), Opened(gate), db, tokio)
}

/// A record without stages, and a thread that is in the middle of a clone of one of its values. The thread reads, or
/// looks at the newest value of a mailbox.
fn a_clone_under_way(
    cfg: BufferCfg,
    produced: u32,
) -> (AimDb<TokioAdapter>, Opened, tokio::runtime::Runtime) {
    let (gate, opened, db, tokio) = gated(cfg, 0);
    db.start();
    let consumer = db.consumer::<Gated>("gated").unwrap();
    let mut reader = consumer.subscribe().unwrap();
    let producer = db.producer::<Gated>("gated").unwrap();
    for n in 0..produced {
        producer.try_produce(Gated(Arc::clone(&gate), n)).ok().unwrap();
    }
    let looks = cfg == BufferCfg::Mailbox;
    thread::spawn(move || if looks { consumer.latest() } else { reader.try_recv().ok() });
    gate.wait_for_a_clone();
    (db, opened, tokio)
}

/// The slot that a writer wants next is the one being cloned: always on a latest record and a ring of one, and on a
/// ring whose reader has fallen behind.
fn cases() -> [(BufferCfg, u32); 5] {
    let latest = BufferCfg::SingleLatest;
    [(latest, 1), (RING(1), 1), (RING(1), 3), (RING(2), 5), (BufferCfg::Mailbox, 2)]
}

#[test]
fn a_shutdown_does_not_wait_for_a_clone() {
    for (cfg, produced) in cases() {
        let (db, _opened, _tokio) = a_clone_under_way(cfg, produced);
        let report = shut_down(&db, Duration::from_millis(200));
        assert!(report.unresponsive.is_empty(), "{cfg}: {report}");
        assert!(db.is_closed());
    }
}

#[test]
fn measuring_does_not_wait_for_a_clone() {
    for (cfg, produced) in cases() {
        let (db, _opened, _tokio) = a_clone_under_way(cfg, produced);
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
fn a_writer_that_waits_for_a_clone_gets_its_value_back_when_the_record_closes() {
    for (cfg, produced) in cases() {
        let (db, opened, _tokio) = a_clone_under_way(cfg, produced);
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
fn a_stage_whose_clone_never_returns_is_reported_as_stuck() {
    for (cfg, produced) in [(BufferCfg::SingleLatest, 1), (RING(1), 3), (RING(4), 2), (QUEUE, 2)] {
        // Two taps: on a queue the first of them clones.
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
fn writers_of_a_queue_do_not_wait_for_an_onlooker_that_waits_for_a_clone() {
    let (gate, opened, db, _tokio) = gated(QUEUE, 0);
    db.start();
    let consumer = db.consumer::<Gated>("gated").unwrap();
    let mut readers = [(); 2].map(|()| consumer.subscribe().unwrap());
    let producer = db.producer::<Gated>("gated").unwrap();
    producer.try_produce(Gated(Arc::clone(&gate), 0)).ok().unwrap();
    let onlooker = consumer.clone();
    thread::spawn(move || readers.each_mut().map(|reader| reader.try_recv().ok()));
    gate.wait_for_a_clone();
    let (begins, has_begun) = mpsc::channel();
    let looking = thread::spawn(move || {
        begins.send(()).unwrap();
        onlooker.latest().map(|seen| seen.1)
    });
    has_begun.recv().unwrap();
    // Time for the onlooker to get to its wait. Too little only makes this test weaker.
    thread::sleep(Duration::from_millis(50));
    let value = Gated(Arc::clone(&gate), 1);
    in_time("a writer", move || producer.try_produce(value).ok().unwrap());
    drop(opened);
    assert!(in_time("the onlooker", move || looking.join().unwrap()).is_some_and(|seen| seen <= 1));
}

/// The onlooker has the cursor of a reader that leaves. The reader waits for it, and holds up no one else.
#[test]
fn closing_and_writing_a_queue_do_not_wait_for_a_reader_that_leaves_behind_an_onlooker() {
    let (gate, opened, db, _tokio) = gated(QUEUE, 0);
    db.start();
    let consumer = db.consumer::<Gated>("gated").unwrap();
    let reader = consumer.subscribe().unwrap();
    let producer = db.producer::<Gated>("gated").unwrap();
    producer.try_produce(Gated(Arc::clone(&gate), 0)).ok().unwrap();
    let looking = thread::spawn(move || consumer.latest().map(|seen| seen.1));
    gate.wait_for_a_clone();
    let leaving = thread::spawn(move || drop(reader));
    // Time for the reader to get to its wait. Too little only makes this test weaker.
    thread::sleep(Duration::from_millis(50));
    let value = Gated(Arc::clone(&gate), 1);
    in_time("a writer", move || producer.try_produce(value).ok().unwrap());
    shut_down(&db, Duration::from_millis(100));
    drop(opened);
    in_time("the reader that leaves", move || leaving.join().unwrap());
    assert_eq!(in_time("the onlooker", move || looking.join().unwrap()), Some(0));
}
