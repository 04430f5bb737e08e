//! A peer that reads slowly, and records that are full.

use aimdb_core::{Arc, BufferCfg, Reader};

use super::bench::{Bench, QUIET, ROOMY};
use super::peer::Peer;
use super::subject::Subject;

/// More values than any socket has room for.
const ENDLESS: u64 = 1_000_000;

/// A peer that does not read holds the writers of a queue back, however much the way to the peer has room for. Once the
/// peer reads again, it receives every value in order.
pub async fn a_slow_peer_holds_queue_writers_back_and_loses_nothing<S: Subject>(
    runtime: Arc<S::Runtime>,
) {
    let bytes = S::PROMISES.largest_payload;
    let bench = Bench::<S>::start(runtime, |records| {
        records.send_padded("out", BufferCfg::queue(8), bytes);
    })
    .await;
    bench.peer.pause_reading();
    let mut written = 0;
    loop {
        let filled = bench.fill("out", written, ENDLESS);
        assert!(filled < ENDLESS, "nothing holds the writers back");
        written = filled;
        let waited = bench.in_time(QUIET * 2, bench.produce("out", [written])).await;
        if waited.is_none() {
            break;
        }
        written += 1;
    }
    let (arrived, sent) = (bench.peer.received("out").len() as u64, bench.link("out").sent);
    assert!(arrived < written && sent < written, "{arrived} arrived, {sent} sent of {written}");
    for round in 0..3 {
        // It stops again before it has caught up.
        bench.peer.resume_reading();
        bench.produce("out", written..written + 5).await;
        written += 5;
        if round < 2 {
            bench.peer.pause_reading();
        }
    }
    bench.peer_receives("out", 0..written).await;
    assert_eq!(bench.link("out").dropped(), 0);
    bench.shut_down().await;
}

/// A record that stays full holds up neither another record's messages, as many as promised, nor the other direction.
pub async fn a_full_record_holds_back_only_itself<S: Subject>(runtime: Arc<S::Runtime>) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.receive("full", BufferCfg::queue(2)).receive("free", ROOMY).send("out", ROOMY);
    })
    .await;
    let (mut full, mut free) = (bench.reader("full"), bench.reader("free"));
    for number in 0..4 {
        bench.peer.send("full", number.to_string().as_bytes());
    }
    bench
        .eventually("the record is full", || bench.record("full").depth, |depth| *depth == 2)
        .await;
    for number in 0..S::PROMISES.others_while_full.min(20) {
        bench.exchange(&mut free, "free", number).await;
        bench.produce("out", [number]).await;
        bench.peer_receives("out", 0..=number).await;
    }
    assert_eq!(bench.record("full").depth, 2, "nobody has read it meanwhile");
    let kept = drain(&bench, &mut full).await;
    assert!(kept.is_sorted_by(|a, b| a < b), "{kept:?}");
    assert_eq!(kept.len() as u64 + bench.link("full").dropped(), 4, "{kept:?}");
    bench.exchange(&mut full, "full", 4).await;
    bench.shut_down().await;
}

/// Messages for a full record wait, and reach it in order as it gets room.
pub async fn a_full_record_loses_no_message<S: Subject>(runtime: Arc<S::Runtime>) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.receive("in", BufferCfg::queue(2));
    })
    .await;
    let mut reader = bench.reader("in");
    for number in 0..100 {
        bench.peer.send("in", number.to_string().as_bytes());
    }
    bench.sleep(QUIET).await;
    assert_eq!(bench.record("in").depth, 2);
    for number in 0..100 {
        assert_eq!(bench.value(&mut reader).await, number);
    }
    assert_eq!((bench.link("in").received, bench.link("in").dropped()), (100, 0));
    assert_eq!(bench.reconnects(), 0, "a full record breaks no connection");
    bench.shut_down().await;
}

/// Messages for a full record are dropped: those that the record has and those that are counted add up to all.
pub async fn a_full_record_counts_what_it_drops<S: Subject>(runtime: Arc<S::Runtime>) {
    const ALL: u64 = 4_000;
    let bench = Bench::<S>::start(runtime, |records| {
        records.receive("in", BufferCfg::queue(2));
    })
    .await;
    let mut reader = bench.reader("in");
    for number in 0..ALL {
        bench.peer.send("in", number.to_string().as_bytes());
    }
    bench.eventually("drops are counted", || bench.link("in"), |link| link.dropped() > 0).await;
    let kept = drain(&bench, &mut reader).await;
    let link = bench.link("in");
    assert_eq!((link.received, kept.len() as u64 + link.dropped()), (ALL, ALL), "{link}");
    assert!(kept.is_sorted_by(|a, b| a < b), "{kept:?}");
    assert_eq!(bench.reconnects(), 0, "a full record breaks no connection");
    bench.shut_down().await;
}

/// The peer sees no acknowledgement of a message for which the record has no room, and sees it once the record has the
/// value.
pub async fn nothing_is_acknowledged_before_the_record_has_it<S: Subject>(
    runtime: Arc<S::Runtime>,
) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.receive("in", BufferCfg::queue(2));
    })
    .await;
    let mut reader = bench.reader("in");
    for number in 0..6 {
        bench.peer.send("in", number.to_string().as_bytes());
    }
    // The record has two values, and after each that is read one more.
    for read in 0..=4 {
        let acknowledged = || bench.peer.acknowledged("in");
        bench.eventually("an acknowledgement", acknowledged, |count| *count >= read + 2).await;
        bench.sleep(QUIET / 2).await;
        assert_eq!(acknowledged(), read + 2, "{read} values are read");
        assert_eq!(bench.value(&mut reader).await, read as u64);
    }
    assert_eq!(bench.value(&mut reader).await, 5);
    bench.shut_down().await;
}

/// Reads until nothing follows.
async fn drain<S: Subject>(bench: &Bench<S>, reader: &mut Reader<u64>) -> Vec<u64> {
    let mut values = Vec::new();
    while let Some(value) = bench.in_time(QUIET, reader.recv()).await {
        values.push(value.expect("the record is open"));
    }
    values
}
