//! How records end, and what is said of it: links that wait for the end, readers that leave, batches cut short.

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

/// Long enough for everything that ends by itself.
const AMPLE: Duration = Duration::from_secs(10);

/// A connector that is never connected: it hands its first outbound link to the test.
struct Unconnected(Arc<Mutex<Option<OutboundLink>>>);

impl Connector<TestRuntime> for Unconnected {
    type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn name(&self) -> &str {
        "fake"
    }

    fn describe(&self) -> String {
        "a connector that is not connected".into()
    }

    fn check(&self, _links: &[LinkRequest<'_>]) -> Vec<Finding> {
        Vec::new()
    }

    fn run(self, mut links: Links, _context: RuntimeContext<TestRuntime>) -> Self::Run {
        *self.0.lock().unwrap() = links.outbound.pop();
        Box::pin(async {})
    }
}

fn encode(value: &u64, payload: &mut Vec<u8>) -> Result<(), Infallible> {
    payload.extend_from_slice(value.to_string().as_bytes());
    Ok(())
}

/// A database whose record has a link, in the hands of the test.
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

fn poll<F: Future>(future: Pin<&mut F>, bell: &Arc<Bell>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))))
}

/// One poll of `ended`.
fn has_ended(link: &mut OutboundLink, bell: &Arc<Bell>) -> bool {
    poll(pin!(link.drained()), bell).is_ready()
}

/// One poll of `next`.
fn next(link: &mut OutboundLink, bell: &Arc<Bell>) -> Poll<Result<String, Closed>> {
    let mut payload = Vec::new();
    let polled = poll(pin!(link.next(&mut payload)), bell);
    polled.map_ok(|_| String::from_utf8(payload).unwrap())
}

#[test]
fn a_value_accepted_just_before_the_end_is_sent_by_a_link_that_was_waiting_for_the_end() {
    for cfg in [RING, QUEUE, LATEST, MAILBOX] {
        let (_runtime, db, mut link) = linked(cfg);
        let bell = Arc::new(Bell::default());
        assert!(!has_ended(&mut link, &bell), "{cfg}");
        let producer = db.producer::<u64>("record").unwrap();
        producer.try_produce(7).unwrap();
        assert!(!has_ended(&mut link, &bell), "{cfg}");
        close(&db);
        assert!(bell.rung() > 0, "{cfg}: it has to look");
        assert!(!has_ended(&mut link, &bell), "{cfg}: there is a value");
        assert_eq!(next(&mut link, &bell), Poll::Ready(Ok("7".into())), "{cfg}");
        assert!(has_ended(&mut link, &bell), "{cfg}");
        assert_eq!(next(&mut link, &bell), Poll::Ready(Err(Closed)), "{cfg}");
    }
}

/// `ended` looks twice, at whether the record is closed and at whether anything is left. In the wrong order a value
/// and the end that come in between are taken for the end of an empty record.
#[test]
fn a_link_never_ends_beside_a_value_that_comes_at_the_same_time_as_the_end() {
    for round in 0..2000_u64 {
        let cfg = [RING, QUEUE, LATEST, MAILBOX][round as usize % 4];
        let (_runtime, db, mut link) = linked(cfg);
        let producer = db.producer::<u64>("record").unwrap();
        let bell = Arc::new(Bell::default());
        let [begun, done] = [false, false].map(AtomicBool::new);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !begun.load(SeqCst) {
                    hint::spin_loop();
                }
                producer.try_produce(round).unwrap();
                close(&db);
                done.store(true, SeqCst);
            });
            while !done.load(SeqCst) {
                assert!(!has_ended(&mut link, &bell), "{cfg}: the value would be lost");
                begun.store(true, SeqCst);
            }
        });
        assert_eq!(next(&mut link, &bell), Poll::Ready(Ok(round.to_string())), "{cfg}");
    }
}

#[test]
fn a_link_that_only_waits_for_the_end_leaves_commands_to_a_tap_that_sleeps() {
    // Whether it asked for a value before, and whether the command came before it stopped asking.
    for (asked, came_before) in [(false, false), (true, false), (true, true)] {
        let (_runtime, db, mut link) = linked(MAILBOX);
        let producer = db.producer::<u64>("record").unwrap();
        let tap = db.consumer::<u64>("record").unwrap().subscription().unwrap();
        let (bell, mut waiter) = (Arc::new(Bell::default()), Waiter::default());
        if asked {
            assert!(next(&mut link, &bell).is_pending());
        }
        assert!(waiter.read(&tap).is_pending());
        if came_before {
            producer.try_produce(7).unwrap();
        }
        assert!(!has_ended(&mut link, &bell));
        if !came_before {
            producer.try_produce(7).unwrap();
        }
        assert_eq!(rung([&waiter]), [1]);
        assert!(!has_ended(&mut link, &bell));
        assert_eq!(waiter.read(&tap), Poll::Ready(Ok(7)));
        bell.rung();
        assert!(waiter.read(&tap).is_pending());
        close(&db);
        assert_eq!((rung([&waiter]), bell.rung()), (vec![1], 1), "the end wakes both");
        assert!(has_ended(&mut link, &bell));
    }
}

#[test]
fn a_link_that_waits_for_the_end_is_woken_when_another_takes_the_last_command() {
    let (_runtime, db, mut link) = linked(MAILBOX);
    let producer = db.producer::<u64>("record").unwrap();
    let tap = db.consumer::<u64>("record").unwrap().subscription().unwrap();
    let bell = Arc::new(Bell::default());
    producer.try_produce(7).unwrap();
    close(&db);
    assert!(!has_ended(&mut link, &bell));
    assert_eq!((bell.rung(), tap.try_value(), bell.rung()), (0, Ok(7), 1));
    assert!(has_ended(&mut link, &bell));
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
fn a_queue_reader_that_leaves_while_values_come_leaves_exactly_those_it_did_not_have() {
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
        // Each value was read, left behind, or accepted when nobody was there.
        assert_eq!(record.produced, 200);
        assert_eq!(READS as u64 + report.total_undelivered() + record.overwritten, 200, "{report}");
        assert!(report.total_undelivered() <= 8, "{report}");
    }
}

#[test]
fn what_the_last_taker_left_in_a_mailbox_is_reported_unless_a_later_one_took_it() {
    for taken in [false, true] {
        let (runtime, db) = tapped(MAILBOX, 1);
        let producer = db.producer::<u64>("record").unwrap();
        producer.try_produce(1).unwrap();
        runtime.run_until_idle();
        assert_eq!(runtime.tasks(), 0, "the tap has had its command");
        producer.try_produce(2).unwrap();
        if taken {
            let late = db.consumer::<u64>("record").unwrap().subscription().unwrap();
            assert_eq!(late.try_value(), Ok(2));
        }
        let left = shut_down(&runtime, &db).undelivered;
        let stage = db.graph().records[0].stages[0].name.clone();
        let unread = Undelivered::new("record", stage, 1, 0);
        assert_eq!(left, if taken { Vec::new() } else { vec![unread] });
    }
}

#[test]
fn a_batch_whose_last_value_was_accepted_when_the_record_closed_is_whole() {
    // Around the number of values that are moved in one go.
    for count in [1, 31, 32, 33, 64] {
        for cfg in [RING, BufferCfg::SpmcQueue { capacity: 64 }, LATEST, MAILBOX] {
            let (db, producer, consumer) = open::<u64>(cfg);
            let _reader = consumer.subscribe().unwrap();
            // The record closes when the batch is asked for a value beyond its last.
            let end = std::iter::from_fn(|| {
                close(&db);
                None
            });
            let mut sent = pin!(producer.produce_many((0..count).chain(end)));
            let polled = sent.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let closed_before = count % 32 != 0;
            let expected = match closed_before {
                // The values of an unfinished go are collected before they are accepted.
                true => Err(ProduceManyError { accepted: count as usize / 32 * 32 }),
                false => Ok(count as usize),
            };
            assert_eq!(polled, Poll::Ready(expected), "{count} into a {cfg}");
        }
    }
}

#[test]
fn a_batch_whose_last_value_got_in_as_the_record_closed_is_whole_and_one_more_is_not() {
    for more in [0, 1] {
        let (db, producer, consumer) = open::<u64>(BufferCfg::SpmcQueue { capacity: 32 });
        let reader = consumer.subscription().unwrap();
        producer.try_produce(100).unwrap();
        let mut sent = pin!(producer.produce_many(0..32 + more));
        let bell = Arc::new(Bell::default());
        assert!(poll(sent.as_mut(), &bell).is_pending());
        assert_eq!((reader.try_value(), bell.rung()), (Ok(100), 1));
        if more == 1 {
            // The first go fits now; the one after it waits.
            assert!(poll(sent.as_mut(), &bell).is_pending());
        } else {
            assert_eq!(poll(sent.as_mut(), &bell), Poll::Ready(Ok(32)));
        }
        close(&db);
        if more == 1 {
            assert_eq!(bell.rung(), 1);
            let cut = Err(ProduceManyError { accepted: 32 });
            assert_eq!(poll(sent.as_mut(), &bell), Poll::Ready(cut));
        }
        assert_eq!(std::iter::from_fn(|| reader.try_value().ok()).count(), 32);
    }
}
