//! The connections of a [`MemoryPeer`] as its links count them.
#![allow(missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use aimdb_core::{AimDbBuilder, BufferCfg, Incoming, decode_with, encode_with};
use aimdb_testing::{Fault, MemoryPeer, TestRuntime};

/// Sends five messages through an inbound and an outbound link. Returns the reconnects that each link counts, and the
/// connections of the peer.
fn reconnects_of_five_messages(faults: &[Fault]) -> (Vec<u64>, u64) {
    let peer = MemoryPeer::new();
    faults.iter().for_each(|fault| peer.fail(*fault));
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::on(Arc::clone(&runtime));
    builder.connector(peer.connector());
    builder.configure::<u8>("number", |reg| {
        reg.buffer(BufferCfg::queue(8))
            .link_from(
                "memory://in",
                decode_with(|message: &Incoming<'_>| Ok::<_, String>(message.payload[0])),
            )
            .link_to(
                "memory://out",
                encode_with(|number: &u8, out: &mut Vec<u8>| {
                    out.push(*number);
                    Ok::<_, String>(())
                }),
            );
    });
    let db = builder.build().unwrap();
    db.start();
    for number in 0..5 {
        peer.publish("in", [number]);
        runtime.advance(Duration::from_secs(10));
    }
    assert_eq!(peer.received("out"), [[0], [1], [2], [3], [4]]);
    let reconnects = db.metrics().links.iter().map(|link| link.reconnects).collect();
    (reconnects, peer.counts().connections)
}

#[test]
fn messages_over_one_connection_count_no_reconnect() {
    assert_eq!(reconnects_of_five_messages(&[]), (vec![0, 0], 1));
}

#[test]
fn a_broken_connection_counts_one_reconnect_for_each_link() {
    assert_eq!(reconnects_of_five_messages(&[Fault::Send(3)]), (vec![1, 1], 2));
}
