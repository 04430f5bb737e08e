//! How a shutdown ends links and connections.

use core::time::Duration;

use aimdb_core::{Arc, BufferCfg, Runtime};

use super::bench::{Bench, LIMIT, QUIET, ROOMY, join};
use super::peer::Peer;
use super::subject::Subject;

/// Values that were produced before the shutdown are delivered before it ends.
pub async fn a_shutdown_delivers_what_was_produced_before_it<S: Subject>(runtime: Arc<S::Runtime>) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("a", ROOMY).send("b", ROOMY);
    })
    .await;
    for key in ["a", "b"] {
        assert_eq!(bench.fill(key, 0, 500), 500);
    }
    bench.shut_down().await;
    for key in ["a", "b"] {
        bench.peer_receives(key, 0..500).await;
        assert_eq!((bench.link(key).sent, bench.link(key).dropped()), (500, 0), "`{key}`");
    }
}

/// A shutdown while the peer is down ends at its deadline. The report names each value that was not delivered.
pub async fn a_shutdown_while_the_peer_is_down_reports_the_undelivered<S: Subject>(
    runtime: Arc<S::Runtime>,
) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", ROOMY).receive("in", ROOMY);
    })
    .await;
    bench.peer.stop();
    bench.disconnected().await;
    bench.produce("out", 0..5).await;
    let began = bench.runtime.now();
    let report = bench.db.shutdown(Duration::from_millis(500)).await;
    let took = bench.runtime.now() - began;
    assert!(took < LIMIT / 2, "it took {took:?}");
    assert_eq!(report.total_undelivered(), 5, "{report}");
    assert!(report.undelivered.iter().all(|undelivered| undelivered.record == "out"), "{report}");
    assert!(report.unresponsive.is_empty(), "{report}");
}

/// A shutdown while the peer is down, with nothing left to send, does not wait for the peer.
pub async fn a_shutdown_without_values_does_not_wait_for_the_peer<S: Subject>(
    runtime: Arc<S::Runtime>,
) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", ROOMY).receive("in", ROOMY);
    })
    .await;
    bench.peer.stop();
    bench.disconnected().await;
    let report = bench.shut_down().await;
    assert!(report.elapsed < LIMIT / 2, "{report}");
}

/// A shutdown during which the peer is back delivers what had waited.
pub async fn a_shutdown_delivers_to_a_peer_that_comes_back<S: Subject>(runtime: Arc<S::Runtime>) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", ROOMY);
    })
    .await;
    bench.peer.stop();
    bench.disconnected().await;
    bench.produce("out", 0..5).await;
    join(bench.shut_down(), async {
        bench.sleep(Duration::from_millis(100)).await;
        bench.peer.start();
    })
    .await;
    bench.peer_receives("out", 0..5).await;
}

/// The connector drops its inbound links when a shutdown begins, although the peer goes on sending: readers receive what
/// the record has, and then its end.
pub async fn a_shutdown_closes_the_records_of_inbound_links<S: Subject>(runtime: Arc<S::Runtime>) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.receive("in", ROOMY);
    })
    .await;
    let mut reader = bench.reader("in");
    for number in 0..50 {
        bench.peer.send("in", number.to_string().as_bytes());
    }
    bench.eventually("all has arrived", || bench.link("in").received, |n| *n == 50).await;
    let reading = async {
        let mut values = Vec::new();
        while let Ok(value) = reader.recv().await {
            values.push(value);
        }
        values
    };
    let shutdown = async {
        // The peer does not know of the shutdown.
        bench.peer.send("in", b"50");
        bench.shut_down().await
    };
    let (values, report) = join(bench.within("the end of the record", reading), shutdown).await;
    assert!(values.starts_with(&(0..50).collect::<Vec<_>>()), "{values:?}");
    assert!(values.len() <= 51 && values.is_sorted(), "{values:?}");
    assert!(report.elapsed < LIMIT / 2, "{report}");
}

/// A message that waits for a full record when the shutdown ends is not acknowledged: the peer keeps it.
pub async fn a_message_without_room_at_a_shutdown_is_not_acknowledged<S: Subject>(
    runtime: Arc<S::Runtime>,
) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.receive("in", BufferCfg::queue(2));
    })
    .await;
    let mut reader = bench.reader("in");
    for number in 0..5 {
        bench.peer.send("in", number.to_string().as_bytes());
    }
    let acknowledged = || bench.peer.acknowledged("in");
    bench.eventually("the record is full", acknowledged, |count| *count == 2).await;
    let _report = bench.db.shutdown(Duration::from_millis(500)).await;
    let mut kept = 0;
    while let Ok(number) = reader.recv().await {
        assert_eq!(number, kept);
        kept += 1;
    }
    bench.sleep(QUIET).await;
    assert!(acknowledged() as u64 <= kept, "{} acknowledged, {kept} kept", acknowledged());
    assert!(kept < 5, "the record had no room for {kept} values");
}

/// After a shutdown the connection is closed, and no task of the connector holds on to the runtime.
pub async fn a_shutdown_leaves_no_task_and_no_connection<S: Subject>(runtime: Arc<S::Runtime>) {
    let others = Arc::strong_count(&runtime);
    let bench = Bench::<S>::start(Arc::clone(&runtime), |records| {
        records.send("out", BufferCfg::queue(4)).receive("in", BufferCfg::queue(4));
    })
    .await;
    let mut reader = bench.reader("in");
    bench.produce("out", 0..10).await;
    bench.exchange(&mut reader, "in", 1).await;
    bench.shut_down().await;
    bench
        .eventually("no connection is left", || bench.peer.is_connected(), |connected| !connected)
        .await;
    bench.peer_receives("out", 0..10).await;
    drop((reader, bench));
    let deadline = runtime.now() + LIMIT;
    while Arc::strong_count(&runtime) > others {
        let left = Arc::strong_count(&runtime) - others;
        assert!(runtime.now() < deadline, "{left} handles of the runtime are left");
        runtime.sleep_until(runtime.now() + Duration::from_millis(5)).await;
    }
}
