//! Records that close: links that wait for the drain, readers that are dropped before it, batches that it interrupts.
#![cfg(not(aimdb_loom))]

mod common;

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{hint, thread};

use aimdb_core::link::{LinkRequest, Links, OutboundLink};
use aimdb_core::{
    AimDb, AimDbBuilder, BufferCfg, Closed, Connector, Consumer, Finding, ProduceManyError,
    Registrar, RuntimeContext, ShutdownReport, Undelivered, encode_with,
};
use aimdb_testing::TestRuntime;
use common::*;

/// A deadline that every stage keeps.
const AMPLE: Duration = Duration::from_secs(10);

/// A connector that never connects. It hands its first outbound link to the test.
struct Unconnected(Arc<Mutex<Option<OutboundLink>>>);

impl Connector<TestRuntime> for Unconnected {
    type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn name(&self) -> &str {
        "fake"
    }

    fn describe(&self) -> String {
        "a connector that never connects".into()
    }

    fn check(&self, _links: &[LinkRequest<'_>]) -> Vec<Finding> {
        Vec::new()
    }

    fn run(self, mut links: Links, _context: RuntimeContext<TestRuntime>) -> Self::Run {
        *self.0.lock().unwrap() = links.outbound.pop();
        // A connector that has ended has no link either: the report of a shutdown would come at once.
        Box::pin(std::future::pending())
    }
}

fn encode(value: &u64, payload: &mut Vec<u8>) -> Result<(), Infallible> {
    payload.extend_from_slice(value.to_string().as_bytes());
    Ok(())
}

/// A database whose record has a link, and that link.
fn linked(cfg: BufferCfg) -> (Arc<TestRuntime>, AimDb<TestRuntime>, OutboundLink) {
    let runtime = Arc::new(TestRuntime::new());
    let link = Arc::default();
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.connector(Unconnected(Arc::clone(&link)));
    builder.configure::<u64>("record", |reg| {
        reg.buffer(cfg).shared().link_to("fake://topic", encode_with(encode));
    });
    let db = builder.build().unwrap();
    db.start();
    runtime.run_until_idle();
    let link = link.lock().unwrap().take().expect("there is one link");
    (runtime, db, link)
}

/// Closes the record: a shutdown begins, and waits for the connector.
fn begin_close(db: &AimDb<TestRuntime>) {
    assert!(poll_once(db.shutdown(AMPLE), Waker::noop()).is_pending());
}

/// Polls `drained` once.
fn is_drained(link: &mut OutboundLink, wakes: &Arc<CountingWaker>) -> bool {
    poll_once(link.drained(), &Waker::from(Arc::clone(wakes))).is_ready()
}

/// Polls `next` once.
fn next(link: &mut OutboundLink, wakes: &Arc<CountingWaker>) -> Poll<Result<String, Closed>> {
    let mut payload = Vec::new();
    let polled = poll_once(link.next(&mut payload), &Waker::from(Arc::clone(wakes)));
    polled.map_ok(|_| String::from_utf8(payload).unwrap())
}

#[test]
fn a_link_that_waits_for_the_drain_sends_a_value_accepted_just_before_the_close() {
    for cfg in [RING, QUEUE, LATEST, MAILBOX] {
        let (_runtime, db, mut link) = linked(cfg);
        let wakes = Arc::new(CountingWaker::default());
        assert!(!is_drained(&mut link, &wakes), "{cfg}");
        let producer = db.producer::<u64>("record").unwrap();
        producer.try_produce(7).unwrap();
        assert!(!is_drained(&mut link, &wakes), "{cfg}");
        begin_close(&db);
        assert!(wakes.take_wakes() > 0, "{cfg}: the close wakes the link");
        assert!(!is_drained(&mut link, &wakes), "{cfg}: there is a value");
        assert_eq!(next(&mut link, &wakes), Poll::Ready(Ok("7".into())), "{cfg}");
        assert!(is_drained(&mut link, &wakes), "{cfg}");
        assert_eq!(next(&mut link, &wakes), Poll::Ready(Err(Closed)), "{cfg}");
    }
}

/// `drained` loads twice: whether the record is closed, and whether a value is left. In the wrong order, a value and a
/// close between the two loads look like the close of an empty record.
#[test]
fn a_link_is_not_drained_while_a_value_is_written_at_the_same_time_as_the_close() {
    for round in 0..2000_u64 {
        let cfg = [RING, QUEUE, LATEST, MAILBOX][round as usize % 4];
        let (_runtime, db, mut link) = linked(cfg);
        let producer = db.producer::<u64>("record").unwrap();
        let wakes = Arc::new(CountingWaker::default());
        let [begun, done] = [false, false].map(AtomicBool::new);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !begun.load(SeqCst) {
                    hint::spin_loop();
                }
                producer.try_produce(round).unwrap();
                begin_close(&db);
                done.store(true, SeqCst);
            });
            while !done.load(SeqCst) {
                assert!(!is_drained(&mut link, &wakes), "{cfg}: the value would be lost");
                begun.store(true, SeqCst);
            }
        });
        assert_eq!(next(&mut link, &wakes), Poll::Ready(Ok(round.to_string())), "{cfg}");
    }
}

#[test]
fn a_link_that_only_waits_for_the_drain_leaves_commands_to_a_waiting_tap() {
    // Whether the link waited for a value before, and whether the command was written before it stopped waiting.
    for (waited, written_before) in [(false, false), (true, false), (true, true)] {
        let (_runtime, db, mut link) = linked(MAILBOX);
        let producer = db.producer::<u64>("record").unwrap();
        let tap = db.consumer::<u64>("record").unwrap().subscription().unwrap().into_shared();
        let (wakes, mut waiter) = (Arc::new(CountingWaker::default()), Waiter::default());
        if waited {
            assert!(next(&mut link, &wakes).is_pending());
        }
        assert!(waiter.read(&tap).is_pending());
        if written_before {
            producer.try_produce(7).unwrap();
        }
        assert!(!is_drained(&mut link, &wakes));
        if !written_before {
            producer.try_produce(7).unwrap();
        }
        assert_eq!(take_wakes([&waiter]), [1]);
        assert!(!is_drained(&mut link, &wakes));
        assert_eq!(waiter.read(&tap), Poll::Ready(Ok(7)));
        wakes.take_wakes();
        assert!(waiter.read(&tap).is_pending());
        begin_close(&db);
        assert_eq!(
            (take_wakes([&waiter]), wakes.take_wakes()),
            (vec![1], 1),
            "the close wakes both"
        );
        assert!(is_drained(&mut link, &wakes));
    }
}

#[test]
fn a_link_that_waits_for_the_drain_is_woken_when_a_tap_takes_the_last_command() {
    let (_runtime, db, mut link) = linked(MAILBOX);
    let producer = db.producer::<u64>("record").unwrap();
    let tap = db.consumer::<u64>("record").unwrap().subscription().unwrap().into_shared();
    let wakes = Arc::new(CountingWaker::default());
    producer.try_produce(7).unwrap();
    begin_close(&db);
    assert!(!is_drained(&mut link, &wakes));
    assert_eq!((wakes.take_wakes(), tap.try_value(), wakes.take_wakes()), (0, Ok(7), 1));
    assert!(is_drained(&mut link, &wakes));
}

fn shut_down(runtime: &TestRuntime, db: &AimDb<TestRuntime>) -> ShutdownReport {
    runtime.block_on(db.shutdown(AMPLE))
}

/// A database with a tap `tap` that reads `reads` values and returns.
fn tapped(cfg: BufferCfg, reads: usize) -> (Arc<TestRuntime>, AimDb<TestRuntime>) {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure("record", |reg: &mut Registrar<'_, u64, TestRuntime>| {
        reg.buffer(cfg).shared();
        reg.tap(move |_, values: Consumer<u64, TestRuntime>| async move {
            let mut reader = values.subscribe().unwrap();
            for _ in 0..reads {
                reader.recv().await.unwrap();
            }
        });
    });
    let db = builder.build().unwrap();
    db.start();
    (runtime, db)
}

#[test]
fn a_queue_reader_dropped_under_a_writer_leaves_exactly_its_unread_values_undelivered() {
    const READS: usize = 5;
    for _ in 0..500 {
        let (runtime, db) = tapped(BufferCfg::SpmcQueue { capacity: 8 }, READS);
        let producer = db.producer::<u64>("record").unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut accepted = 0;
                while accepted < 200 {
                    match producer.try_produce(accepted) {
                        Ok(()) => accepted += 1,
                        Err(_) => thread::yield_now(),
                    }
                }
            });
            while runtime.tasks() > 0 {
                runtime.run_until_idle();
            }
        });
        let record = db.metrics().record("record").unwrap().clone();
        let report = shut_down(&runtime, &db);
        assert!(report.undelivered.len() <= 1, "{report}");
        // Each value was read, is undelivered, or was accepted without a reader.
        assert_eq!(record.produced, 200);
        assert_eq!(READS as u64 + report.total_undelivered() + record.overwritten, 200, "{report}");
        assert!(report.total_undelivered() <= 8, "{report}");
    }
}

#[test]
fn a_command_that_the_last_taker_left_is_undelivered_unless_a_later_taker_took_it() {
    for taken in [false, true] {
        let (runtime, db) = tapped(MAILBOX, 1);
        let producer = db.producer::<u64>("record").unwrap();
        producer.try_produce(1).unwrap();
        runtime.run_until_idle();
        assert_eq!(runtime.tasks(), 0, "the tap has taken its command and returned");
        producer.try_produce(2).unwrap();
        if taken {
            let late = db.consumer::<u64>("record").unwrap().subscription().unwrap().into_shared();
            assert_eq!(late.try_value(), Ok(2));
        }
        let undelivered = shut_down(&runtime, &db).undelivered;
        let stage = db.graph().records[0].stages[0].name.clone();
        let unread = Undelivered::new("record", stage, 1, 0);
        assert_eq!(undelivered, if taken { Vec::new() } else { vec![unread] });
    }
}

#[test]
fn a_batch_whose_last_value_was_accepted_before_the_close_is_complete() {
    // Around the number of values that a producer collects and accepts in one chunk.
    for count in [1, 31, 32, 33, 64] {
        for cfg in [RING, BufferCfg::SpmcQueue { capacity: 64 }, LATEST, MAILBOX] {
            let (db, producer, consumer) = open::<u64>(cfg);
            let _reader = consumer.subscribe().unwrap();
            // The record closes when the producer asks the batch for a value after its last one.
            let end = std::iter::from_fn(|| {
                close(&db);
                None
            });
            let mut sent = pin!(producer.produce_many((0..count).chain(end)));
            let polled = sent.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let closed_before = count % 32 != 0;
            let expected = match closed_before {
                // The values of the unfinished chunk were collected and not yet accepted.
                true => Err(ProduceManyError { accepted: count as usize / 32 * 32 }),
                false => Ok(count as usize),
            };
            assert_eq!(polled, Poll::Ready(expected), "{count} into a {cfg}");
        }
    }
}

#[test]
fn a_batch_that_fits_before_the_close_is_complete_and_a_batch_of_one_value_more_is_not() {
    for more in [0, 1] {
        let (db, producer, consumer) = open::<u64>(BufferCfg::SpmcQueue { capacity: 32 });
        let reader = consumer.subscription().unwrap().into_shared();
        producer.try_produce(100).unwrap();
        let mut sent = pin!(producer.produce_many(0..32 + more));
        let wakes = Arc::new(CountingWaker::default());
        assert!(poll(sent.as_mut(), &Waker::from(Arc::clone(&wakes))).is_pending());
        assert_eq!((reader.try_value(), wakes.take_wakes()), (Ok(100), 1));
        if more == 1 {
            // The first chunk fits now; the next one waits.
            assert!(poll(sent.as_mut(), &Waker::from(Arc::clone(&wakes))).is_pending());
        } else {
            assert_eq!(poll(sent.as_mut(), &Waker::from(Arc::clone(&wakes))), Poll::Ready(Ok(32)));
        }
        close(&db);
        if more == 1 {
            assert_eq!(wakes.take_wakes(), 1);
            let interrupted = Err(ProduceManyError { accepted: 32 });
            assert_eq!(
                poll(sent.as_mut(), &Waker::from(Arc::clone(&wakes))),
                Poll::Ready(interrupted)
            );
        }
        assert_eq!(std::iter::from_fn(|| reader.try_value().ok()).count(), 32);
    }
}
