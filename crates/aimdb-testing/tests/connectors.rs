//! The connector in memory passes the suite, in virtual time and in several orders of wake-ups.
#![allow(missing_docs)]

use std::future::Future;
use std::sync::Arc;

use aimdb_core::AimDbBuilder;
use aimdb_testing::connectors::{Delivery, FaultCount, Promises, Subject};
use aimdb_testing::{MemoryPeer, TestRuntime, connector_conformance};

/// [`MemoryPeer`]'s connector. Tasks run in the order of their wake-ups, or with `SEED` above 0 in an order that it
/// chooses.
struct InMemory<const SEED: u64>;

impl<const SEED: u64> Subject for InMemory<SEED> {
    type Runtime = TestRuntime;
    type Peer = MemoryPeer;

    const PROMISES: Promises =
        Promises::new(Delivery::AtLeastOnce, 1_000).has_sessions().holds_back();

    fn run<F: Future<Output = ()> + 'static>(case: fn(Arc<TestRuntime>) -> F) {
        let runtime = Arc::new(match SEED {
            0 => TestRuntime::new(),
            seed => TestRuntime::seeded(seed),
        });
        runtime.block_on(case(Arc::clone(&runtime)));
    }

    fn peer() -> MemoryPeer {
        MemoryPeer::new()
    }

    fn connect(builder: &mut AimDbBuilder<TestRuntime>, peer: &MemoryPeer) -> FaultCount {
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

connector_conformance!(in_order, InMemory<0>; not applicable:
    each_value_arrives_or_is_counted_over_twenty_breaks
    a_full_record_counts_what_it_drops
    a_repeated_message_arrives_once
);

connector_conformance!(seeded, InMemory<7>; not applicable:
    each_value_arrives_or_is_counted_over_twenty_breaks
    a_full_record_counts_what_it_drops
    a_repeated_message_arrives_once
);
