//! What `build()` says of lines and links that cannot work, word for word.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use aimdb_core::Address;
use aimdb_core::graph::LinkNode;
use aimdb_core::link::{OutboundTarget, TopicFn};
use aimdb_core::{AimDbBuilder, BufferCfg, Connector, DbError, Postcard, Registrar};
use aimdb_serial_connector::SerialConnector;
use aimdb_testing::TestRuntime;

/// The findings of a graph with one connector and one record, without the headline.
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
        Err(DbError::Build(findings)) => findings.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

fn line() -> SerialConnector {
    SerialConnector::tcp("127.0.0.1:5555")
}

fn of_the_line(connector: SerialConnector) -> Vec<String> {
    findings(connector, |reg| {
        reg.link_to("serial://n", Postcard);
    })
}

#[test]
fn a_line_and_links_that_can_work_have_none() {
    assert!(of_the_line(line()).is_empty());
    let tuned = line()
        .max_payload(65_535)
        .heartbeat(Duration::from_millis(1))
        .backoff(Duration::from_millis(1), Duration::ZERO)
        .silence(Duration::from_secs(1))
        .patience(Duration::ZERO);
    assert!(of_the_line(tuned).is_empty());
    let both = findings(line().named("tractor"), |reg| {
        reg.link_to("tractor://a/b", Postcard).link_from("tractor://a/c", Postcard);
    });
    assert!(both.is_empty(), "{both:?}");
}

#[test]
fn an_option_is_unknown_whatever_it_is() {
    let found = findings(line(), |reg| {
        reg.link_to("serial://n?qos=1&retain", Postcard).link_from("serial://m?x=1", Postcard);
    });
    assert_eq!(
        found,
        [
            "E15 record `n`: in its link from `serial://m?x=1` the option `x` is unknown; a serial link has no options",
            "E15 record `n`: in its link to `serial://n?qos=1&retain` the option `qos` is unknown; a serial link has no \
             options",
            "E15 record `n`: in its link to `serial://n?qos=1&retain` the option `retain` is unknown; a serial link has \
             no options",
        ]
    );
}

#[test]
fn a_topic_is_one_topic() {
    let found = findings(line(), |reg| {
        reg.link_to("serial://", Postcard).link_from("serial://commands/+", Postcard);
    });
    assert_eq!(
        found,
        [
            "E14 record `n`: in its link from `serial://commands/+` the topic has a wildcard, but the line carries no \
             topics, only the ids of those that both ends know; name one topic, for instance `sensors/temp/indoor`",
            "E14 record `n`: in its link to `serial://` the topic is empty; name one topic, for instance \
             `sensors/temp/indoor`",
        ]
    );
}

/// As a connector's typed target may be.
struct Computed;

impl OutboundTarget<u64> for Computed {
    fn node(&self) -> LinkNode {
        LinkNode { computed_topic: true, ..(&Address::new("serial", "")).into() }
    }

    fn topic(&self) -> Option<TopicFn<u64>> {
        Some(Arc::new(|n| format!("n/{n}")))
    }
}

#[test]
fn a_topic_is_not_computed() {
    let found = findings(line(), |reg| {
        reg.link_to(Computed, Postcard);
    });
    assert_eq!(
        found,
        [
            "E14 record `n`: in its link to `serial://` the topic is computed, but the line carries no topics, only the ids \
          of those that both ends know; link one record for each topic"
        ]
    );
}

#[test]
fn two_topics_of_one_direction_have_two_ids() {
    let found = findings(line(), |reg| {
        reg.link_to("serial://costarring", Postcard).link_to("serial://liquid", Postcard);
    });
    assert_eq!(
        found,
        [
            "E14 record `n`: in its link to `serial://liquid` the topic has the same id as `costarring`, 5e4daa9d; name one \
          of the two differently: a peer could not tell them apart"
        ]
    );
    let across = findings(line(), |reg| {
        reg.link_to("serial://costarring", Postcard).link_from("serial://liquid", Postcard);
    });
    assert!(across.is_empty(), "each direction has its own: {across:?}");
}

#[test]
fn settings_that_cannot_work() {
    let odd = line()
        .max_payload(0)
        .heartbeat(Duration::ZERO)
        .backoff(Duration::ZERO, Duration::from_secs(1))
        .silence(Duration::ZERO);
    assert_eq!(
        of_the_line(odd),
        [
            "E17 connector `serial`: a payload limit of 0 bytes is not possible; use 1 to 65535 bytes",
            "E17 connector `serial`: it would send heartbeats without a pause; give `.heartbeat(…)` a time",
            "E17 connector `serial`: it would take a silence of 0ns for a dead line, but heartbeats come every 0ns; let \
             `.silence(…)` be several heartbeats",
            "E17 connector `serial`: it would try to open the line without a pause; give `.backoff(…)` a first pause, \
             for instance 250 ms",
        ]
    );
    assert_eq!(
        of_the_line(line().max_payload(65_536)),
        [
            "E17 connector `serial`: a payload limit of 65536 bytes is not possible; use 1 to 65535 bytes"
        ]
    );
    let nameless = findings(line().named(""), |reg| {
        reg.source(|_, _| async {}).tap(|_, _| async {});
    });
    assert_eq!(
        nameless,
        ["E17 connector ``: its name cannot be a link's scheme; use letters and digits"]
    );
}

#[test]
fn addresses_that_cannot_be_connected_to() {
    for address in ["", "127.0.0.1", "host:", ":5555", "host:0", "host:70000"] {
        assert_eq!(
            of_the_line(SerialConnector::tcp(address)),
            [format!(
                "E17 connector `serial`: the address `{address}` cannot be read; write `host:port`, for instance \
                 `127.0.0.1:5555`"
            )]
        );
    }
}

#[test]
fn a_listener_is_bound_to_loopback() {
    let open_to_all = TcpListener::bind("0.0.0.0:0").unwrap();
    let address = open_to_all.local_addr().unwrap();
    assert_eq!(
        of_the_line(SerialConnector::listener(open_to_all)),
        [format!(
            "E17 connector `serial`: it would listen on {address}, and whoever connects there could write the records; \
             listen on 127.0.0.1; for other machines put something in front that asks who they are"
        )]
    );
    let local = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(of_the_line(SerialConnector::listener(local)).is_empty());
}

#[cfg(feature = "tty")]
#[test]
fn a_device_has_a_name_and_a_speed() {
    assert_eq!(
        of_the_line(SerialConnector::tty("/dev/ttyUSB0", 0)),
        [
            "E17 connector `serial`: there is no device `/dev/ttyUSB0` at 0 baud; name one, for instance `/dev/ttyUSB0` at \
          115200"
        ]
    );
}

#[test]
fn it_says_what_it_is() {
    let describe = |connector: &SerialConnector| Connector::<TestRuntime>::describe(connector);
    assert_eq!(describe(&line()), "a serial line over tcp 127.0.0.1:5555");
    let name = |connector: &SerialConnector| Connector::<TestRuntime>::name(connector).to_string();
    assert_eq!((name(&line()), name(&line().named("x"))), ("serial".into(), "x".into()));
}
