//! Links over a connection that fails.

use std::sync::Arc;
use std::time::Duration;

use aimdb_core::{BufferCfg, Incoming, decode_with, encode_with, input};
use aimdb_testing::{Fault, MemoryPeer, Recorder, TestRuntime};
use fastrand::Rng;

use crate::support::*;

/// An inbound link whose payload is a number.
pub(crate) fn link_in(reg: &mut Reg<'_>, address: &str) {
    let codec = decode_with(|message: &Incoming<'_>| {
        let bytes = message.payload.try_into().map_err(|_| "not eight bytes")?;
        Ok::<u64, &str>(u64::from_le_bytes(bytes))
    });
    reg.link_from(address, codec);
}

pub(crate) fn link_out(reg: &mut Reg<'_>, address: &str) {
    let codec = encode_with(|value: &u64, out: &mut Vec<u8>| {
        out.extend_from_slice(&value.to_le_bytes());
        Ok::<(), String>(())
    });
    reg.link_to(address, codec);
}

/// The numbers that the peer received under a topic.
pub(crate) fn arrived(peer: &MemoryPeer, topic: &str) -> Vec<u64> {
    let number = |payload: Vec<u8>| u64::from_le_bytes(payload.try_into().expect("eight bytes"));
    peer.received(topic).into_iter().map(number).collect()
}

pub(crate) fn publish(peer: &MemoryPeer, topic: &str, values: std::ops::Range<u64>) {
    values.for_each(|value| peer.publish(topic, value.to_le_bytes()));
}

/// The values without those that were received twice in a row.
pub(crate) fn once_each(mut values: Vec<u64>) -> Vec<u64> {
    values.dedup();
    values
}

/// Plans some of all faults, at messages that the scenario sends.
pub(crate) fn draw_faults(rng: &mut Rng, peer: &MemoryPeer, messages: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    for _ in 0..rng.usize(..6) {
        let nth = rng.u64(1..messages.max(2));
        let fault = match rng.u8(..6) {
            0 => Fault::Connect(nth.min(3)),
            1 => Fault::Send(nth),
            2 => Fault::SendAcknowledgement(nth),
            3 => Fault::Receive(nth),
            4 => Fault::ReceiveAcknowledgement(nth),
            _ => Fault::Repeat(nth),
        };
        if !faults.contains(&fault) {
            peer.fail(fault);
            faults.push(fault);
        }
    }
    faults
}

/// An inbound link, a transform and an outbound link, and a source with an outbound link: each value is delivered at
/// least once, in order, and counted, at whichever point the connection fails.
pub(crate) async fn links_deliver_every_value_over_a_failing_connection(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let peer = MemoryPeer::new();
    let messages = rng.u64(0..15);
    draw_faults(&mut rng, &peer, messages);
    let (accepted, seen) = (Recorder::new(), Recorder::new());
    let db = build(&runtime, |builder| {
        builder.connector(peer.connector());
        let cfgs = [queue(&mut rng), queue(&mut rng), queue(&mut rng)];
        builder.configure::<u64>("in", |reg| {
            reg.buffer(cfgs[0]);
            link_in(reg, "memory://in");
            tap(reg, &seen, &Recorder::new(), &mut rng);
        });
        builder.configure::<u64>("through", |reg| {
            reg.buffer(cfgs[1]).transform(input::<u64>("in"), |value| value);
            link_out(reg, "memory://through");
        });
        builder.configure::<u64>("out", |reg| {
            reg.buffer(cfgs[2]);
            source(reg, 0..messages, &accepted, &mut rng);
            link_out(reg, "memory://out");
        });
    });
    db.start();
    publish(&peer, "in", 0..messages);
    if rng.bool() {
        pause(&runtime, rng.u64(0..5)).await;
        peer.disconnect();
        pause(&runtime, rng.u64(0..50)).await;
        peer.accept();
    }
    while peer.unacknowledged("in") > 0 {
        pause(&runtime, 1).await;
    }
    shut_down(&db).await;
    assert_eq!(once_each(seen.values()), Vec::from_iter(0..messages));
    assert_eq!(once_each(arrived(&peer, "through")), Vec::from_iter(0..messages));
    assert_eq!(once_each(arrived(&peer, "out")), accepted.values());

    let (metrics, counts) = (db.metrics(), peer.counts());
    let link = |key, address| metrics.link(key, address).expect("the graph has the link");
    let sent = [link("through", "memory://through").sent, link("out", "memory://out").sent];
    assert_eq!(sent, [seen.len() as u64, accepted.len() as u64]);
    assert_eq!(link("in", "memory://in").received, seen.len() as u64);
    assert_eq!(counts.acknowledged, messages);
    assert!(counts.received >= sent[0] + sent[1]);
    assert!(counts.sent >= seen.len() as u64);
}

/// The shutdown begins at any time, with any deadline, perhaps while the peer refuses connections. Sent and undelivered
/// values add up to the accepted ones.
pub(crate) async fn a_shutdown_reports_the_values_that_links_did_not_deliver(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let peer = MemoryPeer::new();
    draw_faults(&mut rng, &peer, 10);
    let (accepted, seen) = (Recorder::new(), Recorder::new());
    let db = build(&runtime, |builder| {
        builder.connector(peer.connector());
        let cfgs = [queue(&mut rng), queue(&mut rng)];
        builder.configure::<u64>("in", |reg| {
            reg.buffer(cfgs[0]);
            link_in(reg, "memory://in");
            tap(reg, &seen, &Recorder::new(), &mut rng);
        });
        builder.configure::<u64>("out", |reg| {
            reg.buffer(cfgs[1]);
            source(reg, 0..20, &accepted, &mut rng);
            link_out(reg, "memory://out");
        });
    });
    db.start();
    publish(&peer, "in", 0..20);
    pause(&runtime, rng.u64(0..5)).await;
    let mut deadline = Duration::from_millis(rng.u64(0..8));
    if rng.bool() {
        peer.disconnect();
        wait(&db, &mut rng, 5).await;
    } else if rng.bool() {
        deadline = AMPLE;
    }
    let report = db.shutdown(deadline).await;
    assert!(deadline < AMPLE || report.is_clean(), "{report}");
    assert_ended(&db);
    let metrics = db.metrics();
    let sent = metrics.link("out", "memory://out").expect("the graph has the link").sent;
    assert_eq!(sent + undelivered_of(&report, "out"), accepted.len() as u64, "{report}");
    assert_eq!(
        once_each(arrived(&peer, "out")).len() as u64 - sent,
        u64::from(peer_has_more(&peer, sent))
    );
    // The tap records a value when it takes it. A value still in progress is in `seen` and in the report's
    // `interrupted`, so this counts `unread` only.
    let produced = metrics.record("in").expect("the graph has the record").produced;
    let unread: u64 = report
        .undelivered
        .iter()
        .filter(|undelivered| undelivered.record == "in")
        .map(|undelivered| undelivered.unread)
        .sum();
    assert_eq!(seen.len() as u64 + unread, produced, "{report}");
    if report.is_clean() {
        // The record has every message that the link accepted.
        let received = metrics.link("in", "memory://in").expect("the graph has the link").received;
        assert_eq!(received, produced);
    }
    let acknowledged = 20 - peer.unacknowledged("in") as u64;
    assert!(produced >= acknowledged, "{produced} values for {acknowledged} acknowledged messages");
}

/// Whether the peer has received one message that the connector does not count as sent.
pub(crate) fn peer_has_more(peer: &MemoryPeer, sent: u64) -> bool {
    once_each(arrived(peer, "out")).len() as u64 > sent
}

/// Records and stages without a link of the failed connector keep running, and the shutdown is orderly.
pub(crate) async fn a_connector_that_fails_at_its_start_leaves_the_rest_running(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let peer = MemoryPeer::new();
    peer.fail(Fault::Start);
    let (accepted, seen) = (Recorder::new(), Recorder::new());
    let values = rng.u64(1..20);
    let db = build(&runtime, |builder| {
        builder.connector(peer.connector());
        let cfg = queue(&mut rng);
        builder.configure::<u64>("in", |reg| {
            reg.buffer(cfg);
            link_in(reg, "memory://in");
            tap(reg, &Recorder::new(), &Recorder::new(), &mut rng);
        });
        builder.configure::<u64>("out", |reg| {
            reg.buffer(cfg);
            source(reg, 0..values, &accepted, &mut rng);
            tap(reg, &seen, &Recorder::new(), &mut rng);
            link_out(reg, "memory://out");
        });
    });
    db.start();
    pause(&runtime, 100).await;
    assert_eq!(seen.values(), Vec::from_iter(0..values));
    let report = db.shutdown(AMPLE).await;
    assert_ended(&db);
    assert_eq!(report.failures.len(), 1, "{report}");
    assert!(report.aborted.is_empty() && report.unresponsive.is_empty(), "{report}");
    assert_eq!(peer.counts().connections, 0);
}

/// From a ring, a latest record and a mailbox: each value was sent or overwritten, and the last one was sent.
pub(crate) async fn outbound_links_of_overwriting_records_count_lost_values(
    runtime: Arc<TestRuntime>,
    mut rng: Rng,
) {
    let peer = MemoryPeer::new();
    draw_faults(&mut rng, &peer, 20);
    let cfg = match rng.u8(..3) {
        0 => BufferCfg::SpmcRing { capacity: rng.usize(1..5) },
        1 => BufferCfg::SingleLatest,
        _ => BufferCfg::Mailbox,
    };
    let accepted = Recorder::new();
    let db = build(&runtime, |builder| {
        builder.connector(peer.connector());
        builder.configure::<u64>("out", |reg| {
            reg.buffer(cfg);
            source(reg, 0..rng.u64(1..60), &accepted, &mut rng);
            link_out(reg, "memory://out");
        });
    });
    db.start();
    wait(&db, &mut rng, 10).await;
    if rng.bool() {
        peer.disconnect();
        wait(&db, &mut rng, 20).await;
        peer.accept();
    }
    shut_down(&db).await;
    let metrics = db.metrics();
    let sent = metrics.link("out", "memory://out").expect("the graph has the link").sent;
    let arrived = once_each(arrived(&peer, "out"));
    assert_eq!(arrived.len() as u64, sent);
    assert_eq!(sent + metrics.records[0].overwritten, accepted.len() as u64, "{cfg}");
    assert!(arrived.is_sorted_by(|a, b| a < b));
    assert_eq!(arrived.last(), accepted.values().last());
}
