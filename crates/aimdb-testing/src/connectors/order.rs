//! Values in both directions, and what the links say about their connection.

use aimdb_core::{Arc, BufferCfg};

use super::bench::{Bench, QUIET, ROOMY, join};
use super::peer::Peer;
use super::subject::Subject;

/// Three links send at once: the order of each record's values is kept.
pub async fn values_arrive_in_order_on_each_link<S: Subject>(runtime: Arc<S::Runtime>) {
    let keys = ["a", "b", "c"];
    let bench = Bench::<S>::start(runtime, |records| {
        keys.iter().for_each(|key| {
            records.send(key, BufferCfg::queue(8));
        });
    })
    .await;
    for number in 0..200 {
        for key in keys {
            bench.produce(key, [number]).await;
        }
    }
    for key in keys {
        bench.peer_receives(key, 0..200).await;
        assert_eq!((bench.link(key).sent, bench.link(key).dropped()), (200, 0), "`{key}`");
    }
    bench.shut_down().await;
}

/// The record has the peer's messages in the order in which the peer has sent them, each topic's in its own record.
pub async fn messages_fill_their_records_in_order<S: Subject>(runtime: Arc<S::Runtime>) {
    let keys = ["a", "b", "c"];
    let bench = Bench::<S>::start(runtime, |records| {
        keys.iter().for_each(|key| {
            records.receive(key, ROOMY);
        });
    })
    .await;
    let mut readers = keys.map(|key| bench.reader(key));
    for number in 0..200 {
        for (topic, offset) in keys.iter().zip([0, 1000, 2000]) {
            bench.peer.send(topic, (number + offset).to_string().as_bytes());
        }
    }
    for (reader, offset) in readers.iter_mut().zip([0, 1000, 2000]) {
        for number in 0..200 {
            assert_eq!(bench.value(reader).await, number + offset);
        }
    }
    for key in keys {
        assert_eq!((bench.link(key).received, bench.link(key).dropped()), (200, 0), "`{key}`");
    }
    bench.shut_down().await;
}

/// Each direction goes on while the other is busy.
pub async fn both_directions_work_at_once<S: Subject>(runtime: Arc<S::Runtime>) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", BufferCfg::queue(8)).receive("in", ROOMY);
    })
    .await;
    let mut reader = bench.reader("in");
    let sending = bench.produce("out", 0..300);
    let receiving = async {
        for number in 0..300 {
            bench.exchange(&mut reader, "in", number).await;
        }
    };
    join(sending, receiving).await;
    bench.peer_receives("out", 0..300).await;
    bench.shut_down().await;
}

/// Equal payloads are no reason to take two messages for one.
pub async fn equal_messages_are_separate_messages<S: Subject>(runtime: Arc<S::Runtime>) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", ROOMY).receive("in", ROOMY);
    })
    .await;
    let mut reader = bench.reader("in");
    let numbers = [7, 7, 7, 8, 8];
    for number in numbers {
        bench.peer.send("in", number.to_string().as_bytes());
    }
    for number in numbers {
        assert_eq!(bench.value(&mut reader).await, number);
    }
    bench.produce("out", numbers).await;
    bench.peer_receives("out", numbers).await;
    bench.shut_down().await;
}

/// All links say so when the peer is gone, with the reason, and when it is back; each counts one reconnect.
pub async fn each_link_reports_whether_it_is_connected<S: Subject>(runtime: Arc<S::Runtime>) {
    let bench = Bench::<S>::start(runtime, |records| {
        records.send("out", ROOMY).send("more", ROOMY).receive("in", ROOMY);
    })
    .await;
    assert_eq!(bench.reconnects(), 0);
    for round in 1..=3 {
        bench.peer.stop();
        bench.disconnected().await;
        let reason = |link: &aimdb_core::metrics::LinkMetrics| link.last_error.is_some();
        bench
            .eventually(
                "every link has a reason",
                || bench.db.metrics(),
                |metrics| metrics.links.iter().all(reason),
            )
            .await;
        bench.sleep(QUIET).await;
        assert!(bench.db.health().links.iter().all(|link| !link.connected));
        bench.peer.start();
        bench.connected().await;
        for key in ["out", "more", "in"] {
            assert_eq!(bench.link(key).reconnects, round, "`{key}`");
        }
    }
    bench.shut_down().await;
}
