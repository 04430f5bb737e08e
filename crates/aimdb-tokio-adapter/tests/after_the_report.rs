//! A stage that a shutdown could not end takes nothing more, whatever it reads with.

use std::pin::pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use aimdb_core::{AimDbBuilder, BufferCfg, Closed, Reader};
use aimdb_tokio_adapter::TokioAdapter;

/// How the stage reads after the report.
#[derive(Clone, Copy, Debug)]
enum Way {
    Value,
    Event,
    Many,
}

const WAYS: [Way; 3] = [Way::Value, Way::Event, Way::Many];
const KINDS: [BufferCfg; 4] =
    [BufferCfg::ring(8), BufferCfg::queue(8), BufferCfg::latest(), BufferCfg::mailbox()];

/// Reads once, without waiting.
fn read(reader: &mut Reader<u64>, way: Way) -> Poll<Result<(), Closed>> {
    match way {
        Way::Value => poll_once(reader.recv()).map_ok(|_| ()),
        Way::Event => poll_once(reader.next_event()).map_ok(|_| ()),
        Way::Many => poll_once(reader.recv_many(&mut Vec::new(), 8)).map_ok(|_| ()),
    }
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A tap that blocks its thread in the middle of a value until it is released, and then reads.
fn block_in_a_tap(cfg: BufferCfg, way: Way, values: u64, first: Way) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (entered, is_inside) = mpsc::channel();
    let (release, released): (Sender<()>, Receiver<()>) = mpsc::channel();
    let (answer, answered) = mpsc::channel();
    let released = Mutex::new(released);
    let report = runtime.block_on(async {
        let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
        builder.configure::<u64>("r", |reg| {
            reg.buffer(cfg).written_from_outside().tap(move |_, r| async move {
                let mut reader = r.subscribe().unwrap();
                match first {
                    Way::Value => drop(reader.recv().await),
                    _ => drop(reader.next_event().await),
                }
                entered.send(()).unwrap();
                released.lock().unwrap().recv().unwrap();
                answer.send((read(&mut reader, way), read(&mut reader, way))).unwrap();
            });
        });
        let db = builder.build().unwrap();
        let producer = db.producer::<u64>("r").unwrap();
        if matches!(first, Way::Event) {
            // The reader lags, so that the first event is a lag and the value behind it waits.
            (0..values).for_each(|value| producer.try_produce(value).unwrap());
            db.start();
            is_inside.recv().unwrap();
        } else {
            db.start();
            producer.try_produce(0).unwrap();
            is_inside.recv().unwrap();
            (0..values).for_each(|value| producer.try_produce(value).unwrap());
        }
        db.shutdown(Duration::from_millis(10)).await
    });
    assert_eq!(report.unresponsive.len(), 1, "{cfg} {way:?}: {report}");
    let undelivered = report.undelivered[0].unread;
    assert!(undelivered > 0, "{cfg} {way:?}: {report}");
    release.send(()).unwrap();
    let closed = Poll::Ready(Err(Closed));
    assert_eq!(answered.recv().unwrap(), (closed, closed), "{cfg} {way:?}");
}

/// All at once: each waits half a second for its shutdown.
fn in_each_way<const N: usize>(kinds: [BufferCfg; N], first: Way) {
    thread::scope(|scope| {
        for (cfg, way) in kinds.iter().flat_map(|cfg| WAYS.map(|way| (*cfg, way))) {
            scope.spawn(move || block_in_a_tap(cfg, way, 5, first));
        }
    });
}

#[test]
fn a_stage_that_was_unresponsive_receives_nothing_after_the_report() {
    in_each_way(KINDS, Way::Value);
}

#[test]
fn nor_does_it_receive_the_value_behind_a_lag_that_was_reported_to_it() {
    in_each_way([BufferCfg::ring(2), BufferCfg::latest(), BufferCfg::mailbox()], Way::Event);
}

#[tokio::test]
async fn a_reader_from_outside_receives_what_remains_after_the_report() {
    for cfg in KINDS {
        let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
        builder.configure::<u64>("r", |reg| {
            reg.buffer(cfg).written_from_outside();
        });
        let db = builder.build().unwrap();
        let mut reader = db.consumer::<u64>("r").unwrap().subscribe().unwrap();
        db.start();
        db.producer::<u64>("r").unwrap().try_produce(7).unwrap();
        db.shutdown(Duration::from_secs(5)).await;
        assert_eq!((reader.recv().await, reader.recv().await), (Ok(7), Err(Closed)), "{cfg}");
    }
}
