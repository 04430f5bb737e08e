//! The connector in memory passes the suite for connectors on Tokio's threads.

use std::future::Future;
use std::sync::Arc;

use aimdb_core::AimDbBuilder;
use aimdb_testing::connectors::{Delivery, FaultCount, Promises, Subject};
use aimdb_testing::{MemoryPeer, connector_conformance};
use aimdb_tokio_adapter::TokioAdapter;

struct InMemory;

impl Subject for InMemory {
    type Runtime = TokioAdapter;
    type Peer = MemoryPeer;

    const PROMISES: Promises =
        Promises::new(Delivery::AtLeastOnce, 1_000).has_sessions().holds_back();

    fn run<F: Future<Output = ()> + 'static>(case: fn(Arc<TokioAdapter>) -> F) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { case(Arc::new(TokioAdapter::new().unwrap())).await });
    }

    fn peer() -> MemoryPeer {
        MemoryPeer::new()
    }

    fn connect(builder: &mut AimDbBuilder<TokioAdapter>, peer: &MemoryPeer) -> FaultCount {
        builder.connector(peer.connector());
        Box::new(|| 0)
    }

    fn outbound(topic: &str) -> String {
        format!("memory://{topic}")
    }

    fn inbound(topic: &str) -> String {
        format!("memory://{topic}")
    }
}

connector_conformance!(in_memory, InMemory; not applicable:
    each_value_arrives_or_is_counted_over_twenty_breaks
    a_full_record_counts_what_it_drops
    a_repeated_message_arrives_once
);
