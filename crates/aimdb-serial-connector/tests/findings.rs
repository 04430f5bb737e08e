//! The exact findings of `build()` for connectors and links that cannot work.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use aimdb_core::Address;
use aimdb_core::graph::LinkNode;
use aimdb_core::link::{OutboundTarget, TopicFn, with_properties};
use aimdb_core::{AimDbBuilder, BufferCfg, Connector, DbError, Finding, Postcard, Registrar};
use aimdb_serial_connector::SerialConnector;
use aimdb_testing::TestRuntime;

/// The findings of a graph with one connector and one record, without the heading.
fn findings(
    connector: SerialConnector,
    declare: impl FnOnce(&mut Registrar<'_, u64, TestRuntime>),
) -> Vec<String> {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TestRuntime::new()));
    builder.connector(connector);
    builder.configure::<u64>("n", |reg| {
        reg.buffer(BufferCfg::SingleLatest);
        declare(reg);
    });
    match builder.build() {
        Ok(_) => Vec::new(),
        Err(DbError::Build(findings)) => findings.iter().map(problem_and_help).collect(),
        Err(other) => panic!("{other}"),
    }
}

/// The first line of a finding and its remedy, without the locations between them.
fn problem_and_help(finding: &Finding) -> String {
    let text = finding.to_string();
    format!("{}; {}", text.lines().next().unwrap(), finding.help)
}

fn connector() -> SerialConnector {
    SerialConnector::tcp("127.0.0.1:5555")
}

fn findings_of_connector(connector: SerialConnector) -> Vec<String> {
    findings(connector, |reg| {
        reg.link_to("serial://n", Postcard);
    })
}

#[test]
fn a_valid_connector_with_valid_links_has_no_findings() {
    assert!(findings_of_connector(connector()).is_empty());
    let tuned = connector()
        .max_payload(65_535)
        .heartbeat(Duration::from_millis(1))
        .backoff(Duration::from_millis(1), Duration::ZERO)
        .idle_timeout(Duration::from_secs(1))
        .full_record_timeout(Duration::ZERO);
    assert!(findings_of_connector(tuned).is_empty());
    let both = findings(connector().named("tractor"), |reg| {
        reg.link_to("tractor://a/b", Postcard).link_from("tractor://a/c", Postcard);
    });
    assert!(both.is_empty(), "{both:?}");
}

#[test]
fn every_option_is_unknown() {
    let found = findings(connector(), |reg| {
        reg.link_to("serial://n?qos=1&retain", Postcard).link_from("serial://m?x=1", Postcard);
    });
    assert_eq!(
        found,
        [
            "E15 record `n`: in its link from `serial://m?x=1` the option `x` is unknown; remove it: a serial link has no options",
            "E15 record `n`: in its link to `serial://n?qos=1&retain` the option `qos` is unknown; remove it: a serial \
             link has no options",
            "E15 record `n`: in its link to `serial://n?qos=1&retain` the option `retain` is unknown; remove it: a \
             serial link has no options",
        ]
    );
}

#[test]
fn a_topic_must_be_one_topic() {
    let found = findings(connector(), |reg| {
        reg.link_to("serial://", Postcard).link_from("serial://commands/+", Postcard);
    });
    assert_eq!(
        found,
        [
            "E14 record `n`: in its link from `serial://commands/+` the topic has a wildcard, but a frame carries only \
             the id of a topic that both ends know; name one topic, for instance `sensors/temp/indoor`",
            "E14 record `n`: in its link to `serial://` the topic is empty; name one topic, for instance \
             `sensors/temp/indoor`",
        ]
    );
}

/// A typed target with a computed topic.
struct ComputedTopic;

impl OutboundTarget<u64> for ComputedTopic {
    fn node(&self) -> LinkNode {
        LinkNode::from(&Address::new("serial", "")).with_computed_topic()
    }

    fn topic(&self) -> Option<TopicFn<u64>> {
        Some(Arc::new(|n| format!("n/{n}")))
    }
}

#[test]
fn a_topic_must_not_be_computed() {
    let found = findings(connector(), |reg| {
        reg.link_to(ComputedTopic, Postcard);
    });
    assert_eq!(
        found,
        [
            "E14 record `n`: in its link to `serial://` the topic is computed, but a frame carries only the id of a topic \
          that both ends know; link one record for each topic"
        ]
    );
}

#[test]
fn a_frame_carries_no_properties() {
    let found = findings(connector(), |reg| {
        reg.link_to(with_properties("serial://n", |_: &u64| Vec::new()), Postcard);
    });
    assert_eq!(
        found,
        [
            "E15 record `n`: in its link to `serial://n` each message has properties, and this connector sends none; leave \
          `with_properties(…)` away, or link to a connector whose protocol has them: MQTT 5"
        ]
    );
}

#[test]
fn two_topics_of_one_direction_must_have_different_ids() {
    let found = findings(connector(), |reg| {
        reg.link_to("serial://costarring", Postcard).link_to("serial://liquid", Postcard);
    });
    assert_eq!(
        found,
        [
            "E14 record `n`: in its link to `serial://liquid` the topic has the same id as `costarring`, 5e4daa9d; rename \
          one of the two: the peer cannot distinguish them"
        ]
    );
    let across = findings(connector(), |reg| {
        reg.link_to("serial://costarring", Postcard).link_from("serial://liquid", Postcard);
    });
    assert!(across.is_empty(), "each direction has its own ids: {across:?}");
}

#[test]
fn invalid_settings_are_findings() {
    let invalid = connector()
        .max_payload(0)
        .heartbeat(Duration::ZERO)
        .backoff(Duration::ZERO, Duration::from_secs(1))
        .idle_timeout(Duration::ZERO);
    assert_eq!(
        findings_of_connector(invalid),
        [
            "E17 connector `serial`: a payload limit of 0 bytes is not possible; use 1 to 65535 bytes",
            "E17 connector `serial`: its heartbeat interval is zero; pass `.heartbeat(…)` a longer interval, for instance 1 s",
            "E17 connector `serial`: its idle timeout of 0ns does not exceed the heartbeat interval of 0ns; set \
             `.idle_timeout(…)` to several heartbeat intervals",
            "E17 connector `serial`: its initial backoff is zero; pass `.backoff(…)` a longer initial delay, for instance \
             250 ms",
        ]
    );
    assert_eq!(
        findings_of_connector(connector().max_payload(65_536)),
        [
            "E17 connector `serial`: a payload limit of 65536 bytes is not possible; use 1 to 65535 bytes"
        ]
    );
    let nameless = findings(connector().named(""), |reg| {
        reg.source(|_, _| async {}).tap(|_, _| async {});
    });
    assert_eq!(
        nameless,
        ["E17 connector ``: its name cannot be a link's scheme; use letters and digits"]
    );
}

#[test]
fn an_address_must_be_host_and_port() {
    for address in ["", "127.0.0.1", "host:", ":5555", "host:0", "host:70000"] {
        assert_eq!(
            findings_of_connector(SerialConnector::tcp(address)),
            [format!(
                "E17 connector `serial`: the address `{address}` is invalid; write `host:port`, for instance \
                 `127.0.0.1:5555`"
            )]
        );
    }
}

#[test]
fn a_listener_must_be_bound_to_loopback() {
    let public = TcpListener::bind("0.0.0.0:0").unwrap();
    let address = public.local_addr().unwrap();
    assert_eq!(
        findings_of_connector(SerialConnector::listener(public)),
        [format!(
            "E17 connector `serial`: its listener is bound to {address}, where any client could write the records; bind it \
             to 127.0.0.1; for clients on other machines use a proxy that authenticates them"
        )]
    );
    let local = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(findings_of_connector(SerialConnector::listener(local)).is_empty());
}

#[cfg(feature = "tty")]
#[test]
fn a_device_must_have_a_path_and_a_baud_rate() {
    assert_eq!(
        findings_of_connector(SerialConnector::tty("/dev/ttyUSB0", 0)),
        [
            "E17 connector `serial`: the device `/dev/ttyUSB0` at 0 baud cannot be opened; pass a path and a baud rate, for \
          instance `/dev/ttyUSB0` at 115200"
        ]
    );
}

#[test]
fn a_connector_describes_its_target() {
    let describe = |connector: &SerialConnector| Connector::<TestRuntime>::describe(connector);
    assert_eq!(describe(&connector()), "a serial line over tcp 127.0.0.1:5555");
    let name = |connector: &SerialConnector| Connector::<TestRuntime>::name(connector).to_string();
    assert_eq!((name(&connector()), name(&connector().named("x"))), ("serial".into(), "x".into()));
}
