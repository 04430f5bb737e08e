//! A connector with a restart policy: its links keep their places between its attempts.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimdb_core::health::StageState;
use aimdb_core::link::{InboundLink, LinkRequest, Links};
use aimdb_core::loss::Loss;
use aimdb_core::race::{Either, race};
use aimdb_core::{
    AimDb, AimDbBuilder, BufferCfg, Connector, Finding, Incoming, Restart, RuntimeContext,
    SendRuntime, decode_with, encode_with,
};
use aimdb_testing::TestRuntime;

/// The other end of the connection, and what the test wants of the attempts.
#[derive(Default)]
struct Peer {
    sent: Mutex<Vec<u8>>,
    to_deliver: Mutex<VecDeque<u8>>,
    attempts: Mutex<u32>,
    /// The first attempt leaves its inbound link here, as a task that outlives it would.
    kept: Mutex<Option<InboundLink>>,
    keeps: bool,
    /// The attempts drop both links at the first message, and go on without them.
    gives_up: bool,
}

/// Sends and receives one byte a message. It panics at the byte 13, in both directions.
struct Unlucky(Arc<Peer>);

const UNLUCKY: u8 = 13;

impl<R: SendRuntime> Connector<R> for Unlucky {
    type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn name(&self) -> &str {
        "unlucky"
    }

    fn describe(&self) -> String {
        "a peer in memory".into()
    }

    fn check(&self, _: &[LinkRequest<'_>]) -> Vec<Finding> {
        Vec::new()
    }

    fn run(self, mut links: Links, ctx: RuntimeContext<R>) -> Self::Run {
        Box::pin(async move {
            let peer = self.0;
            *peer.attempts.lock().unwrap() += 1;
            let mut inbound = links.inbound.pop();
            let mut outbound = links.outbound.pop();
            if peer.keeps && *peer.attempts.lock().unwrap() == 1 {
                *peer.kept.lock().unwrap() = inbound.take();
                panic!("it leaves a link behind");
            }
            if peer.gives_up {
                drop(inbound);
                let mut payload = Vec::new();
                if let Some(mut link) = outbound {
                    _ = link.next(&mut payload).await;
                }
                ctx.stopping().await;
                return;
            }
            let receive = async {
                while let Some(link) = &mut inbound
                    && !ctx.is_stopping()
                {
                    let next = peer.to_deliver.lock().unwrap().pop_front();
                    match next {
                        Some(UNLUCKY) => panic!("received 13"),
                        Some(byte) => _ = link.deliver(Incoming::new("in", &[byte])).await,
                        None => _ = race(ctx.stopping(), ctx.time().sleep(MOMENT)).await,
                    }
                }
                inbound = None;
                std::future::pending::<()>().await;
            };
            let send = async {
                let Some(link) = &mut outbound else { return };
                let mut payload = Vec::new();
                link.status().set_connected();
                while link.next(&mut payload).await.is_ok() {
                    link.status().set_in_flight(1);
                    assert_ne!(payload, [UNLUCKY], "sent 13");
                    peer.sent.lock().unwrap().extend_from_slice(&payload);
                    link.status().set_in_flight(0);
                    link.status().count_sent();
                }
            };
            let Either::First(()) = race(send, receive).await else { return };
        })
    }
}

const MOMENT: Duration = Duration::from_millis(10);

fn build(policy: Restart, peer: &Arc<Peer>) -> (Arc<TestRuntime>, AimDb<TestRuntime>) {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    let shared = Arc::clone(peer);
    builder.connector_with(policy, move || Unlucky(Arc::clone(&shared)));
    builder.configure::<u8>("out", |reg| {
        reg.buffer(BufferCfg::queue(8)).written_from_outside();
        let encode = |value: &u8, payload: &mut Vec<u8>| {
            payload.push(*value);
            Ok::<_, String>(())
        };
        reg.link_to("unlucky://out", encode_with(encode));
    });
    builder.configure::<u8>("in", |reg| {
        let decode = |message: &Incoming<'_>| Ok::<_, String>(message.payload[0]);
        reg.buffer(BufferCfg::queue(1)).read_from_outside();
        reg.link_from("unlucky://in", decode_with(decode));
    });
    let db = builder.build().unwrap();
    db.start();
    (runtime, db)
}

fn produce(db: &AimDb<TestRuntime>, values: &[u8]) {
    let out = db.producer::<u8>("out").unwrap();
    values.iter().for_each(|value| out.try_produce(*value).unwrap());
}

#[test]
fn an_attempt_that_panics_costs_an_outbound_link_the_value_in_flight_and_no_other() {
    let peer = Arc::new(Peer::default());
    let (runtime, db) = build(Restart::on_failure(), &peer);
    produce(&db, &[1, 2, UNLUCKY, 4, 5]);
    runtime.advance(Duration::from_secs(10));
    assert_eq!(*peer.sent.lock().unwrap(), [1, 2, 4, 5]);
    let metrics = db.metrics();
    let link = metrics.link("out", "unlucky://out").unwrap();
    assert_eq!((link.sent, link.dropped(), link.reconnects), (4, 1, 1), "{link}");
    assert_eq!(link.lost.of(Loss::Abandoned), 1, "{}", link.lost);
    assert!(link.connected, "{link}");
    let health = db.health();
    let connector = health.connector("unlucky").unwrap();
    assert_eq!((connector.state, connector.restarts), (StageState::Running, 1));
    assert!(connector.cause.as_ref().unwrap().contains("sent 13"), "{connector:?}");
    let report = runtime.block_on(db.shutdown(Duration::from_secs(5)));
    assert!(report.is_clean(), "{report}");
    assert_eq!(runtime.block_on(db.shutdown(Duration::ZERO)).undelivered, []);
}

#[test]
fn an_inbound_link_delivers_after_a_restart_what_waited_for_room() {
    let peer = Arc::new(Peer::default());
    let (runtime, db) = build(Restart::on_failure(), &peer);
    let mut reader = db.consumer::<u8>("in").unwrap().subscribe().unwrap();
    // The queue holds one; the second waits in the link when a value for the other direction ends the attempt.
    peer.to_deliver.lock().unwrap().extend([1, 2, 3]);
    runtime.advance(MOMENT * 2);
    produce(&db, &[UNLUCKY]);
    runtime.advance(Duration::from_secs(10));
    assert_eq!(*peer.attempts.lock().unwrap(), 2);
    for expected in 1..=3 {
        assert_eq!(reader.try_recv(), Ok(expected));
        runtime.advance(MOMENT * 2);
    }
    peer.to_deliver.lock().unwrap().extend([UNLUCKY, 5]);
    runtime.advance(Duration::from_secs(10));
    assert_eq!(reader.try_recv(), Ok(5));
    let link = db.metrics().link("in", "unlucky://in").unwrap().clone();
    assert_eq!((link.received, link.delivered, link.dropped()), (4, 4, 0), "{link}");
    assert!(runtime.block_on(db.shutdown(Duration::from_secs(5))).is_clean());
}

#[test]
fn a_connector_that_is_given_up_ends_its_links_so_that_a_shutdown_does_not_wait_for_them() {
    let peer = Arc::new(Peer::default());
    let (runtime, db) = build(Restart::on_failure().limit(1), &peer);
    produce(&db, &[UNLUCKY, UNLUCKY, 3]);
    runtime.advance(Duration::from_secs(10));
    let health = db.health();
    let connector = health.connector("unlucky").unwrap();
    assert_eq!(connector.state, StageState::Failed);
    assert!(connector.cause.as_ref().unwrap().contains("given up after 1 restarts"), "{health}");
    let before = runtime.block_on(async { aimdb_core::Runtime::now(&*runtime) });
    let report = runtime.block_on(db.shutdown(Duration::from_secs(5)));
    assert_eq!(report.undelivered.len(), 1, "{report}");
    assert_eq!((report.undelivered[0].unread, report.failures.len()), (1, 1), "{report}");
    assert!(aimdb_core::Runtime::now(&*runtime) - before < Duration::from_secs(1));
}

#[test]
fn the_next_attempt_waits_for_a_link_that_a_task_of_the_last_one_still_has() {
    let peer = Arc::new(Peer { keeps: true, ..Peer::default() });
    let (runtime, db) = build(Restart::on_failure(), &peer);
    let mut reader = db.consumer::<u8>("in").unwrap().subscribe().unwrap();
    runtime.advance(Duration::from_secs(10));
    assert_eq!(*peer.attempts.lock().unwrap(), 1, "the second attempt has its links and no others");
    let kept = peer.kept.lock().unwrap().take();
    drop(kept);
    peer.to_deliver.lock().unwrap().push_back(7);
    runtime.advance(Duration::from_secs(1));
    assert_eq!(*peer.attempts.lock().unwrap(), 2);
    assert_eq!(reader.try_recv(), Ok(7));
}

#[test]
fn a_shutdown_between_two_attempts_drains_the_outbound_link_in_the_next_one() {
    let peer = Arc::new(Peer::default());
    let (runtime, db) = build(Restart::on_failure(), &peer);
    produce(&db, &[UNLUCKY, 2, 3]);
    runtime.advance(Duration::ZERO);
    assert_eq!(db.health().connector("unlucky").unwrap().state, StageState::Restarting);
    let report = runtime.block_on(db.shutdown(Duration::from_secs(20)));
    assert!(report.is_clean(), "{report}");
    assert_eq!(*peer.sent.lock().unwrap(), [2, 3]);
}

#[test]
fn links_that_a_running_connector_gives_up_end_as_they_do_without_a_policy() {
    let peer = Arc::new(Peer { gives_up: true, ..Peer::default() });
    let (runtime, db) = build(Restart::on_failure(), &peer);
    produce(&db, &[1]);
    runtime.advance(Duration::from_secs(1));
    // No reader holds the writers of the queue back any more.
    (0..20).for_each(|_| produce(&db, &[2]));
    let before = aimdb_core::Runtime::now(&*runtime);
    let report = runtime.block_on(db.shutdown(Duration::from_secs(60)));
    assert!(aimdb_core::Runtime::now(&*runtime) - before < Duration::from_secs(1), "{report}");
    assert_eq!(*peer.attempts.lock().unwrap(), 1);
}

/// A connector that counts what it has sent and knows of nothing else, and panics at the third message.
struct Plain(Arc<Mutex<u32>>);

impl<R: SendRuntime> Connector<R> for Plain {
    type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn name(&self) -> &str {
        "unlucky"
    }

    fn describe(&self) -> String {
        "a plain loop".into()
    }

    fn check(&self, _: &[LinkRequest<'_>]) -> Vec<Finding> {
        Vec::new()
    }

    fn run(self, mut links: Links, ctx: RuntimeContext<R>) -> Self::Run {
        Box::pin(async move {
            let Some(mut link) = links.outbound.pop() else { return };
            let mut payload = Vec::new();
            while link.next(&mut payload).await.is_ok() {
                if payload == [UNLUCKY] {
                    // Longer than any deadline of the tests.
                    let wait = ctx.time().sleep(Duration::from_secs(600));
                    let panics = *self.0.lock().unwrap() == 0;
                    *self.0.lock().unwrap() += 1;
                    assert!(!panics, "sent 13");
                    wait.await;
                }
                link.status().count_sent();
            }
        })
    }
}

#[test]
fn a_message_that_a_connector_had_and_lost_is_counted_though_it_counts_only_what_it_sends() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    let unlucky = Arc::new(Mutex::new(0));
    builder.connector_with(Restart::on_failure(), move || Plain(Arc::clone(&unlucky)));
    builder.configure::<u8>("out", |reg| {
        let encode = |value: &u8, payload: &mut Vec<u8>| {
            payload.push(*value);
            Ok::<_, String>(())
        };
        reg.buffer(BufferCfg::queue(8)).written_from_outside();
        reg.link_to("unlucky://out", encode_with(encode));
    });
    let db = builder.build().unwrap();
    db.start();
    produce(&db, &[1, UNLUCKY, 3, UNLUCKY]);
    runtime.advance(Duration::from_secs(20));
    let link = db.metrics().links[0].clone();
    assert_eq!((link.sent, link.dropped()), (2, 1), "the panic lost one");
    let report = runtime.block_on(db.shutdown(Duration::from_secs(5)));
    assert_eq!(report.undelivered.len(), 1, "{report}");
    assert_eq!((report.undelivered[0].unread, report.undelivered[0].interrupted), (0, 1));
}
