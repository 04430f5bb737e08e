//! Peers that are down, and connections that break.

use core::cell::Cell;
use core::time::Duration;
use std::collections::BTreeSet;

use aimdb_core::loss::Loss;
use aimdb_core::{Arc, BufferCfg, Runtime};

use super::bench::{Bench, LIMIT, LOOK, QUIET, ROOMY, join};
use super::peer::Peer;
use super::subject::{Delivery, LONGEST_BACKOFF, Subject};

/// Much more than twice the longest backoff, for a busy machine.
const RECOVERY: Duration = Duration::from_secs(5);

/// Connections that break in one case.
const BREAKS: usize = 20;

/// The database starts although its peer cannot be reached, and connects as soon as the peer can.
pub async fn a_peer_that_starts_late_is_found<S: Subject>(runtime: Arc<S::Runtime>) {
    let bench = Bench::<S>::build(runtime, |records| {
        records.send("out", BufferCfg::queue(8)).receive("in", ROOMY);
    });
    bench.peer.stop();
    let mut reader = bench.reader("in");
    bench.db.start();
    bench.produce("out", 0..8).await;
    bench.sleep(QUIET).await;
    assert!(bench.db.health().links.iter().all(|link| !link.connected));
    bench.peer.start();
    bench.connected().await;
    bench.peer_receives("out", 0..8).await;
    bench.exchange_acknowledged(&mut reader, "in", 1).await;
    bench.shut_down().await;
}

/// Without a connection nothing is taken from a queue: it becomes full, and its writers wait until the peer is back.
pub async fn a_queue_holds_its_writers_while_the_peer_is_down<S: Subject>(
    runtime: Arc<S::Runtime>,
) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", BufferCfg::queue(8));
    })
    .await;
    bench.produce("out", 0..3).await;
    bench.peer_receives("out", 0..3).await;
    bench.peer.stop();
    bench.disconnected().await;
    let held = bench.fill("out", 3, 1000);
    assert_eq!(held, 11, "the queue has room for 8 values, and nobody takes one");
    let writing = bench.produce("out", [held]);
    assert!(bench.in_time(QUIET, writing).await.is_none(), "a writer of a full queue waits");
    assert_eq!(bench.record("out").depth, 8);
    let (waiting, ()) = join(bench.produce("out", held..20), async {
        bench.sleep(LOOK).await;
        bench.peer.start();
    })
    .await;
    let () = waiting;
    bench.peer_receives("out", 0..20).await;
    assert_eq!(bench.link("out").dropped(), 0);
    bench.shut_down().await;
}

/// Without a connection a ring overwrites its oldest values. They are counted, and the others are sent.
pub async fn a_ring_overwrites_and_counts_while_the_peer_is_down<S: Subject>(
    runtime: Arc<S::Runtime>,
) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", BufferCfg::ring(8));
    })
    .await;
    bench.peer.stop();
    bench.disconnected().await;
    bench.produce("out", 0..100).await;
    bench.peer.start();
    bench.peer_receives("out", 92..100).await;
    bench.sleep(QUIET).await;
    bench.peer_receives("out", 92..100).await;
    assert_eq!((bench.record("out").readers[0].lagged, bench.link("out").dropped()), (92, 0));
    bench.shut_down().await;
}

/// Without a connection a latest record keeps its newest value, which is sent after the reconnect, once.
pub async fn a_latest_record_sends_its_newest_value_after_a_reconnect<S: Subject>(
    runtime: Arc<S::Runtime>,
) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", BufferCfg::latest());
    })
    .await;
    bench.peer.stop();
    bench.disconnected().await;
    bench.produce("out", 0..100).await;
    bench.peer.start();
    bench.peer_receives("out", [99]).await;
    bench.sleep(QUIET).await;
    bench.peer_receives("out", [99]).await;
    bench.shut_down().await;
}

/// After a restart of the peer both directions work again, within a bound far above twice the backoff.
pub async fn both_directions_resume_after_a_restart_of_the_peer<S: Subject>(
    runtime: Arc<S::Runtime>,
) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", ROOMY).receive("in", ROOMY);
    })
    .await;
    let mut reader = bench.reader("in");
    for round in 0..5 {
        bench.peer.stop();
        bench.disconnected().await;
        // Long enough for the backoff to reach its longest pause.
        bench.sleep(LONGEST_BACKOFF * 3).await;
        bench.peer.start();
        let started = bench.runtime.now();
        bench.connected().await;
        bench.produce("out", [round]).await;
        bench.peer_receives("out", 0..=round).await;
        bench.exchange_acknowledged(&mut reader, "in", round).await;
        let took = bench.runtime.now() - started;
        assert!(took < RECOVERY, "round {round} took {took:?}");
    }
    bench.shut_down().await;
}

/// The connection breaks twenty times without notice while values go out: each value arrives, and nothing is counted as
/// lost. With a delivery of exactly once none arrives twice.
pub async fn every_value_arrives_over_twenty_breaks<S: Subject>(runtime: Arc<S::Runtime>) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", BufferCfg::queue(32));
    })
    .await;
    let produced = send_over_breaks(&bench, |peer| peer.cut()).await;
    bench
        .eventually("all is acknowledged", || bench.link("out"), |link| link.sent == produced)
        .await;
    let received = bench.received("out");
    let distinct: BTreeSet<u64> = received.iter().copied().collect();
    assert!(
        distinct.iter().copied().eq(0..produced),
        "{} of {produced} arrived; missing: {:?}",
        distinct.len(),
        (0..produced).filter(|number| !distinct.contains(number)).take(10).collect::<Vec<_>>()
    );
    assert_eq!(bench.link("out").dropped(), 0);
    if S::PROMISES.delivery == Delivery::ExactlyOnce {
        assert_eq!(received.len(), distinct.len(), "values arrived twice");
    }
    bench.shut_down().await;
}

/// The peer hangs up twenty times while values go out: the values that arrived and those that were counted add up to
/// those produced. None arrives twice, and their order is kept.
pub async fn each_value_arrives_or_is_counted_over_twenty_breaks<S: Subject>(
    runtime: Arc<S::Runtime>,
) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", BufferCfg::queue(32));
    })
    .await;
    let produced = send_over_breaks(&bench, |peer| peer.hang_up()).await;
    let counted = || {
        let link = bench.link("out");
        (link.sent + link.dropped(), bench.received("out").len() as u64 + link.dropped())
    };
    bench
        .eventually("produced = sent + dropped = arrived + dropped", counted, |counted| {
            *counted == (produced, produced)
        })
        .await;
    let lost = bench.link("out").lost;
    assert_eq!(lost.of(Loss::Disconnected), lost.total(), "{lost}");
    let received = bench.received("out");
    assert!(received.is_sorted_by(|a, b| a < b), "out of order or doubled");
    bench.shut_down().await;
}

/// The peer sends while its connection breaks without notice, and sends again what was not acknowledged: the record has
/// every message.
pub async fn an_unacknowledged_message_is_received_after_a_break<S: Subject>(
    runtime: Arc<S::Runtime>,
) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.receive("in", BufferCfg::queue(2));
    })
    .await;
    let mut reader = bench.reader("in");
    let mut received = Vec::new();
    for round in 0..5_u64 {
        for number in round * 6..(round + 1) * 6 {
            bench.peer.send("in", number.to_string().as_bytes());
        }
        // The record is full, so some messages are not acknowledged when the connection breaks.
        bench
            .eventually("the record is full", || bench.record("in").depth, |depth| *depth == 2)
            .await;
        let reconnects = bench.reconnects();
        bench.peer.cut();
        bench.eventually("a reconnect", || bench.reconnects(), |now| *now > reconnects).await;
        let due = (round + 1) * 6;
        while (received.iter().copied().collect::<BTreeSet<u64>>().len() as u64) < due {
            received.push(bench.value(&mut reader).await);
        }
    }
    while let Some(doubled) = bench.in_time(QUIET, reader.recv()).await {
        received.push(doubled.expect("the record is open"));
    }
    let distinct: BTreeSet<u64> = received.iter().copied().collect();
    assert!(distinct.iter().copied().eq(0..30), "{received:?}");
    if S::PROMISES.delivery == Delivery::ExactlyOnce {
        assert_eq!(received.len(), 30, "messages arrived twice: {received:?}");
    }
    assert_eq!(bench.link("in").dropped(), 0);
    bench.shut_down().await;
}

/// The connector does not ask a peer again and again that refuses it, and connects once the peer accepts it.
pub async fn a_refused_connector_pauses_between_its_attempts<S: Subject>(runtime: Arc<S::Runtime>) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", ROOMY);
    })
    .await;
    bench.peer.refuse();
    bench.disconnected().await;
    let before = bench.peer.attempts();
    bench.sleep(Duration::from_secs(1)).await;
    let attempts = bench.peer.attempts() - before;
    // With a longest pause of 100 ms about a dozen; without pauses thousands.
    assert!((2..=100).contains(&attempts), "{attempts} attempts in a second");
    bench.peer.start();
    bench.connected().await;
    bench.produce("out", [1]).await;
    bench.peer_receives("out", [1]).await;
    bench.shut_down().await;
}

/// The connection breaks twenty times without notice while the peer sends and values go out: the record has every message,
/// and the peer every value.
pub async fn every_message_reaches_its_record_over_twenty_breaks<S: Subject>(
    runtime: Arc<S::Runtime>,
) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", BufferCfg::queue(32)).receive("in", BufferCfg::queue(32));
    })
    .await;
    let mut reader = bench.reader("in");
    let (sent, ended) = (Cell::new(0), Cell::new(false));
    let sending = async {
        while !ended.get() {
            for number in sent.get()..sent.get() + 3 {
                bench.peer.send("in", number.to_string().as_bytes());
            }
            sent.set(sent.get() + 3);
            bench.sleep(Duration::from_millis(2)).await;
        }
    };
    let mut received = Vec::new();
    let receiving = async {
        let (mut distinct, mut silent_since) = (BTreeSet::new(), bench.runtime.now());
        while !ended.get() || (distinct.len() as u64) < sent.get() {
            if let Some(number) = bench.in_time(QUIET, reader.recv()).await {
                let number = number.expect("the record is open");
                distinct.insert(number);
                received.push(number);
                silent_since = bench.runtime.now();
            }
            let silence = bench.runtime.now() - silent_since;
            assert!(silence < LIMIT, "{} of {} messages", distinct.len(), sent.get());
        }
    };
    let breaking = async {
        let produced = send_over_breaks(&bench, |peer| peer.cut()).await;
        ended.set(true);
        produced
    };
    let ((), ((), produced)) = join(sending, join(receiving, breaking)).await;
    let sent = sent.get();
    let distinct: BTreeSet<u64> = received.iter().copied().collect();
    assert!(distinct.iter().copied().eq(0..sent), "{} of {sent}", distinct.len());
    if S::PROMISES.delivery == Delivery::ExactlyOnce {
        assert_eq!(received.len() as u64, sent, "messages arrived twice");
    }
    bench
        .eventually("all is acknowledged", || bench.link("out"), |link| link.sent == produced)
        .await;
    let arrived: BTreeSet<u64> = bench.received("out").into_iter().collect();
    assert!(arrived.into_iter().eq(0..produced));
    assert_eq!((bench.link("in").dropped(), bench.link("out").dropped()), (0, 0));
    bench.shut_down().await;
}

/// The connection breaks in the middle of a message: nothing but this message is lost, and not even this one if the peer
/// sends it again.
pub async fn half_a_message_costs_no_other<S: Subject>(runtime: Arc<S::Runtime>) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", ROOMY).receive("in", ROOMY);
    })
    .await;
    let mut reader = bench.reader("in");
    for round in 0..5 {
        let (half, whole) = (2 * round, 2 * round + 1);
        let reconnects = bench.reconnects();
        bench.peer.send_half("in", half.to_string().as_bytes());
        // Both links: the second one may learn of the break a little later.
        bench.eventually("a reconnect", || bench.reconnects(), |now| *now >= reconnects + 2).await;
        bench.connected().await;
        if S::PROMISES.has_sessions {
            assert_eq!(bench.value(&mut reader).await, half);
            let acknowledged = || bench.peer.acknowledged("in") as u64;
            bench.eventually("an acknowledgement", acknowledged, |count| *count > half).await;
        }
        bench.exchange_acknowledged(&mut reader, "in", whole).await;
        bench.produce("out", [round]).await;
        bench.peer_receives("out", 0..=round).await;
    }
    bench.shut_down().await;
}

/// A connection that ends as soon as the peer has greeted is no reason to ask for the next one without a growing pause.
pub async fn a_connection_that_ends_early_is_not_made_again_without_pause<S: Subject>(
    runtime: Arc<S::Runtime>,
) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", ROOMY);
    })
    .await;
    bench.peer.end_early();
    bench.eventually("the first early end", || bench.reconnects(), |now| *now > 0).await;
    let before = bench.peer.attempts();
    bench.sleep(Duration::from_secs(3)).await;
    let attempts = bench.peer.attempts() - before;
    // With a longest pause of 100 ms about 30, with jitter twice as many. With the first pause of 20 ms each time 150.
    assert!((2..=80).contains(&attempts), "{attempts} attempts in three seconds");
    bench.peer.start();
    bench.connected().await;
    bench.produce("out", [1]).await;
    bench.eventually("it arrives", || bench.received("out"), |out| out.contains(&1)).await;
    bench.shut_down().await;
}

/// Writes numbers while the connection breaks [`BREAKS`] times, each time after values have arrived over it. Returns how
/// many.
async fn send_over_breaks<S: Subject>(bench: &Bench<S>, break_now: impl Fn(&S::Peer)) -> u64 {
    let ended = Cell::new(false);
    let writing = async {
        let mut number = 0;
        while !ended.get() {
            bench.produce("out", number..number + 5).await;
            number += 5;
            bench.sleep(Duration::from_millis(1)).await;
        }
        number
    };
    let breaking = async {
        for round in 0..BREAKS {
            let (arrived, reconnects) = (bench.peer.received("out").len(), bench.reconnects());
            bench
                .eventually(
                    "values arrive",
                    || bench.peer.received("out").len(),
                    |now| *now > arrived + 10 + round % 5,
                )
                .await;
            break_now(&bench.peer);
            bench.eventually("a reconnect", || bench.reconnects(), |now| *now > reconnects).await;
        }
        ended.set(true);
    };
    let (produced, ()) = join(writing, bench.within("twenty breaks", breaking)).await;
    produced
}
