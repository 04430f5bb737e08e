//! Targets of links: the address of the record's key, and a filter.

use std::sync::Arc;
use std::time::Duration;

use aimdb_core::graph::LinkNode;
use aimdb_core::link::{OutboundTarget, PropertiesFn, only_if, own_address, with_properties};
use aimdb_core::{
    AimDbBuilder, BufferCfg, DbError, Incoming, RecordKey, Registrar, decode_with, encode_with,
};
use aimdb_testing::{MemoryPeer, TestRuntime};

/// A key with an address, or without.
struct Key(Option<&'static str>);

impl RecordKey for Key {
    fn as_str(&self) -> &str {
        "hall"
    }

    fn link_address(&self) -> Option<&str> {
        self.0
    }
}

fn encode(value: &u8, payload: &mut Vec<u8>) -> Result<(), String> {
    payload.push(*value);
    Ok(())
}

fn builder() -> (Arc<TestRuntime>, MemoryPeer, AimDbBuilder<TestRuntime>) {
    let (runtime, peer) = (Arc::new(TestRuntime::new()), MemoryPeer::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.connector(peer.connector());
    (runtime, peer, builder)
}

#[test]
fn links_in_both_directions_use_the_address_of_the_key() {
    let (runtime, peer, mut builder) = builder();
    builder.configure::<u8>(Key(Some("memory://from")), |reg| {
        let codec = decode_with(|message: &Incoming<'_>| {
            message.payload.first().copied().ok_or("an empty payload")
        });
        reg.buffer(BufferCfg::queue(4)).link_from(own_address(), codec);
        reg.link_to("memory://to", encode_with(encode));
    });
    let db = builder.build().unwrap();
    db.start();
    peer.publish("from", [7]);
    runtime.advance(Duration::from_secs(1));
    assert_eq!(peer.received("to"), [[7]]);
    assert!(db.graph().to_string().contains("memory://from"), "{}", db.graph());
}

/// A target whose node does not say that it has properties.
struct Forgetful;

impl OutboundTarget<u8> for Forgetful {
    fn node(&self) -> LinkNode {
        LinkNode::from("memory://to")
    }

    fn properties(&self) -> Option<PropertiesFn<u8>> {
        Some(Arc::new(|_: &u8| Vec::new()))
    }
}

#[test]
fn properties_that_the_connector_does_not_send_are_a_finding_however_they_were_added() {
    type Link = fn(&mut Registrar<'_, u8, TestRuntime>);
    let links: [Link; 3] = [
        |reg| _ = reg.link_to(Forgetful, encode_with(encode)),
        |reg| {
            let target = with_properties(own_address(), |_: &u8| Vec::new());
            reg.link_to(only_if(target, |_: &u8| true), encode_with(encode));
        },
        |reg| {
            let target = only_if("memory://to", |_: &u8| true);
            reg.link_to(with_properties(target, |_: &u8| Vec::new()), encode_with(encode));
        },
    ];
    for link in links {
        let (_runtime, _peer, mut builder) = builder();
        builder.configure::<u8>(Key(Some("memory://to")), |reg| {
            link(reg.buffer(BufferCfg::queue(4)).written_from_outside());
        });
        let Err(DbError::Build(findings)) = builder.build() else { panic!("a finding") };
        let text = findings.to_string();
        assert!(
            text.contains("in its link to `memory://to` each message has properties"),
            "{text}"
        );
    }
}

#[test]
fn a_key_without_an_address_is_a_finding_that_says_where_to_add_one() {
    let (_runtime, _peer, mut builder) = builder();
    builder.configure::<u8>(Key(None), |reg| {
        reg.buffer(BufferCfg::queue(4)).link_to(own_address(), encode_with(encode));
    });
    let Err(DbError::Build(findings)) = builder.build() else { panic!("a finding") };
    let text = findings.to_string();
    for part in [
        "E13 record `hall`: a link uses `own_address()`, and the record's key has no address",
        "add `#[link_address = \"scheme://topic\"]` to the key, or write the address at the link",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_filtered_link_sends_the_wanted_values_in_order_and_counts_the_others() {
    let (runtime, peer, mut builder) = builder();
    builder.configure::<u8>("number", |reg| {
        reg.buffer(BufferCfg::queue(16)).written_from_outside();
        let even = only_if("memory://even", |number: &u8| number.is_multiple_of(2));
        let both = only_if(even, |number: &u8| {
            assert_ne!(*number, 6, "six");
            *number > 2
        });
        reg.link_to(both, encode_with(encode));
    });
    let db = builder.build().unwrap();
    db.start();
    let numbers = db.producer::<u8>("number").unwrap();
    (0..10).for_each(|number| numbers.try_produce(number).unwrap());
    runtime.advance(Duration::from_secs(1));
    let report = runtime.block_on(db.shutdown(Duration::from_secs(5)));
    assert!(report.is_clean(), "{report}");
    assert_eq!(peer.received("even"), [[4], [8]]);
    let link = &db.metrics().links[0];
    assert_eq!((link.sent, link.filtered, link.encode_errors()), (2, 7, 1), "{link:?}");
}
