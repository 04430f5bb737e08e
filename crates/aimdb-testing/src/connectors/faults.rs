//! Peers that send rubbish, doubles, and payloads that nobody can decode.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use aimdb_core::Arc;

use super::bench::{Bench, QUIET, ROOMY};
use super::peer::Peer;
use super::subject::Subject;

/// Rubbish costs the connection at most. It is counted or named, and traffic goes on in both directions.
pub async fn rubbish_costs_at_most_the_connection<S: Subject>(runtime: Arc<S::Runtime>) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", ROOMY).receive("in", ROOMY);
    })
    .await;
    let mut reader = bench.reader("in");
    bench.exchange_acknowledged(&mut reader, "in", 100).await;
    let kinds = bench.peer.kinds_of_rubbish() as u64;
    // Each kind twice: the second time it follows a connection that rubbish has broken.
    for round in 0..2 * kinds {
        let kind = (round % kinds) as usize;
        let traces = || {
            let metrics = bench.db.metrics();
            let counted: u64 =
                metrics.links.iter().map(|link| link.dropped() + link.decode_errors()).sum();
            let named = metrics.links.iter().filter_map(|link| link.last_error_at).max();
            (counted + (bench.faults)(), named)
        };
        let before = traces();
        bench.peer.send_rubbish(kind);
        bench
            .eventually(&format!("rubbish of kind {kind} is counted or named"), &traces, |now| {
                now.0 > before.0 || now.1 > before.1
            })
            .await;
        // The connector may still be about to end the connection.
        bench.sleep(QUIET).await;
        bench.connected().await;
        bench.exchange_acknowledged(&mut reader, "in", round).await;
        bench.produce("out", [round]).await;
        bench.peer_receives("out", 0..=round).await;
    }
    assert!(bench.db.health().failures().is_empty(), "{}", bench.db.health());
    bench.shut_down().await;
}

/// A message that arrives a second time under its number reaches the record once.
pub async fn a_repeated_message_arrives_once<S: Subject>(runtime: Arc<S::Runtime>) {
    repeat_messages::<S>(runtime, 1).await;
}

/// Without numbers a message that is sent twice may arrive twice. It never arrives more often, and costs no other.
pub async fn a_repeated_message_arrives_at_most_twice<S: Subject>(runtime: Arc<S::Runtime>) {
    repeat_messages::<S>(runtime, 2).await;
}

async fn repeat_messages<S: Subject>(runtime: Arc<S::Runtime>, most: usize) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.receive("in", ROOMY);
    })
    .await;
    let mut reader = bench.reader("in");
    for number in 0..20 {
        bench.peer.send_twice("in", number.to_string().as_bytes());
    }
    bench.peer.send("in", b"20");
    let mut counts = [0; 21];
    let mut last = 0;
    while last < 20 {
        let number = bench.value(&mut reader).await;
        assert!(number >= last, "{number} after {last}");
        counts[number as usize] += 1;
        last = number;
    }
    assert!(bench.in_time(QUIET, reader.recv()).await.is_none(), "something follows the last one");
    assert!(counts.iter().all(|count| (1..=most).contains(count)), "{counts:?}");
    assert_eq!(bench.link("in").dropped(), 0);
    bench.shut_down().await;
}

/// A payload that does not decode is counted and given to the dead-letter hook; the messages around it arrive, and each
/// is acknowledged where messages are.
pub async fn an_undecodable_payload_is_a_dead_letter_and_the_link_goes_on<S: Subject>(
    runtime: Arc<S::Runtime>,
) {
    let letters = Arc::new(AtomicUsize::new(0));
    let bench = Bench::<S>::start(runtime, |records| {
        let letters = Arc::clone(&letters);
        records.receive("in", ROOMY).0.on_dead_letter(move |letter| {
            assert_eq!((letter.record, letter.message.payload), ("in", &b"not a number"[..]));
            letters.fetch_add(1, SeqCst);
        });
    })
    .await;
    let mut reader = bench.reader("in");
    for number in 1..=10 {
        bench.peer.send("in", b"not a number");
        bench.exchange(&mut reader, "in", number).await;
    }
    let link = bench.link("in");
    assert_eq!((link.received, link.decode_errors(), link.dropped()), (20, 10, 0), "{link}");
    assert_eq!(letters.load(SeqCst), 10);
    assert!(link.last_error.is_some_and(|error| error.contains("not a number")));
    assert_eq!(link.reconnects, 0, "a payload does not cost the connection");
    if S::PROMISES.acknowledges() {
        bench
            .eventually("all is acknowledged", || bench.peer.acknowledged("in"), |n| *n == 20)
            .await;
    }
    bench.shut_down().await;
}
