//! Each property of MQTT 5 in each packet: those that a broker sends, and those that the connector sends.

use std::time::Duration;

use aimdb_core::{CodecError, Incoming, decode_with};
use aimdb_mqtt_connector::{LastWill, QoS, mqtt};

use crate::common::*;
use crate::suite::{OnTokio, Setup, Subject};
use crate::support::packets::{packet, put_properties};
use crate::support::picky::{Capabilities, Delivery, OnConnect, OnPublish, Picky, at_first};
use crate::support::raw::mqttbytes::v5::PublishProperties;
use crate::support::*;
use crate::tables::*;

/// The packets of a broker.
const OF_BROKER: [u8; 9] =
    [CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT];

/// The properties that table 2-4 allows in a broker's packet and its text forbids there: without a request for it
/// (authentication: 4.12), without a maximum for it (alias: 3.3.2.3.4), or from a broker (session expiry: 3.14.2.2.2).
const NOT_ASKED_FOR: [(u8, u8); 4] =
    [(CONNACK, 0x15), (CONNACK, 0x16), (PUBLISH, 0x23), (DISCONNECT, 0x11)];

/// The properties that may occur several times: subscription identifier and user property.
const REPEATABLE: [u8; 2] = [0x0b, 0x26];

/// The identifiers of the properties that a broker may send in a packet of this kind.
fn allowed(kind: u8) -> impl Iterator<Item = u8> {
    let ids = PROPERTIES.iter().map(|(id, ..)| *id);
    ids.filter(move |id| is_allowed(*id, kind) && !NOT_ASKED_FOR.contains(&(kind, *id)))
}

/// Lets the connector receive a packet of this kind with these properties. Returns the error if it ends the connection
/// for it. In either case values pass afterwards.
async fn receive<S: Subject>(subject: &S, kind: u8, properties: &[u8]) -> Option<String> {
    let broker = Picky::start(S::VERSION).await;
    broker.set_properties(kind, properties);
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    outbound(&mut builder, "out2", "mqtt://out2?qos=2");
    inbound(&mut builder, "in2", "mqtt://in2?qos=2");
    let mut both = Both::with(builder);
    let counts = || {
        let [out, out2, in2] = ["out", "out2", "in2"].map(|key| link_of(&both.db, key));
        match kind {
            PUBLISH => in2.received,
            PUBACK => out.sent,
            PUBREC | PUBCOMP => out2.sent,
            PUBREL | UNSUBACK => broker.acknowledged(PUBCOMP).len() as u64,
            _ => u64::from(both.db.health().links.iter().all(|link| link.connected)),
        }
    };
    if !matches!(kind, CONNACK | SUBACK) {
        both.settle(&broker).await;
    }
    match kind {
        PUBLISH => _ = broker.send(&Delivery::new("in2", "0").properties(properties)),
        PUBACK => produce(&both.db, "out", [0]).await,
        PUBREC | PUBCOMP => produce(&both.db, "out2", [0]).await,
        PUBREL => _ = broker.send(&Delivery::new("in2", "0").qos(2)),
        UNSUBACK => {
            let mut body = vec![0, 9];
            put_properties(&mut body, properties);
            body.push(0);
            broker.send_bytes(&packet(0xb0, &body));
            // The answer to this one shows that the connector has read the one before.
            broker.send_bytes(&[0x62, 2, 0xab, 0xcd]);
        }
        DISCONNECT => {
            let mut body = vec![0];
            put_properties(&mut body, properties);
            broker.send_bytes(&packet(0xe0, &body));
        }
        _ => {}
    }
    let observe = || (kind != DISCONNECT && counts() > 0, broker.connections());
    eventually("it is received", observe, |(counted, n)| *counted || *n > 1).await;
    broker.set_properties(kind, []);
    let connection = both.settle(&broker).await;
    both.pass(&broker, connection, "afterwards").await;
    let error = both.last_error();
    shut_down(&both.db).await;
    assert_eq!(error.is_some(), connection > 1, "{error:?}");
    error
}

pub async fn each_property_that_a_packet_may_carry_leaves_the_connection<S: Subject>(subject: S) {
    let mut cases = Vec::new();
    for kind in OF_BROKER {
        cases.extend(allowed(kind).map(|id| (kind, encoded(id))));
        let all: Vec<Vec<u8>> = allowed(kind).map(encoded).collect();
        let twice = allowed(kind).filter(|id| REPEATABLE.contains(id)).map(encoded);
        cases.push((kind, all.into_iter().chain(twice).collect::<Vec<_>>().concat()));
    }
    assert_eq!(cases.len(), 15 + 7 + 4 * 2 + 2 + 2 + 3 + OF_BROKER.len());
    let leaves = async |(kind, properties): &(u8, Vec<u8>)| {
        let error = receive(&subject, *kind, properties).await;
        let text = match (properties.contains(&0x1f), properties.contains(&0x1c)) {
            (true, _) => " (a why)",
            (false, true) => " (other)",
            (false, false) => "",
        };
        let expected = format!("the broker ended the connection: success{text}");
        let expected = (*kind == DISCONNECT).then_some(expected);
        assert_eq!(error, expected, "{kind}: {properties:02x?}");
    };
    together(cases.iter().map(leaves)).await;
}

/// A packet's kind, the properties in it, and the fault that the error names.
type Fault = (u8, Vec<u8>, &'static str);

/// Asserts that the connector ends the connection for each of these, with an error that names the fault.
async fn are_errors(cases: Vec<Fault>) {
    let check = async |(kind, properties, fault): &Fault| {
        let error = receive(&OnTokio::<false>, *kind, properties).await.unwrap_or_default();
        let expected = format!("the broker sent a malformed packet: {fault}");
        assert!(error.contains(&expected), "packet {kind}, properties {properties:02x?}: {error}");
    };
    together(cases.iter().map(check)).await;
}

/// Properties in a packet of this kind that cannot be decoded.
fn broken(kind: u8) -> Vec<Fault> {
    vec![
        (kind, vec![0x00, 1], "a property is unknown"),
        (kind, vec![0x7f, 1], "a property is unknown"),
        (kind, vec![0x1f, 0, 9, b'a'], "a field exceeds its packet"),
        (kind, vec![0x26, 0, 1, b'a', 0], "a field exceeds its packet"),
        (kind, vec![0x1f, 0, 1, 0xff], "a text is not UTF-8"),
        (kind, vec![0x1f, 0, 1, 0], "a text has a NUL character"),
    ]
}

fn broken_acknowledgements() -> Vec<(u8, Vec<u8>)> {
    let all = [PUBACK, PUBREC, PUBREL, PUBCOMP].into_iter().flat_map(broken);
    all.map(|(kind, properties, _)| (kind, properties)).collect()
}

/// Each property in each packet that may not carry it.
fn out_of_place() -> Vec<(u8, Vec<u8>)> {
    let all = OF_BROKER.iter().flat_map(|kind| PROPERTIES.map(|(id, ..)| (*kind, id)));
    let misplaced = all.filter(|(kind, id)| !is_allowed(*id, *kind));
    misplaced.map(|(kind, id)| (kind, encoded(id))).collect()
}

/// Each property that may occur once, twice.
fn repeated() -> Vec<(u8, Vec<u8>)> {
    let all = OF_BROKER.iter().flat_map(|kind| allowed(*kind).map(|id| (*kind, id)));
    let once = all.filter(|(_, id)| !REPEATABLE.contains(id));
    once.map(|(kind, id)| (kind, encoded(id).repeat(2))).collect()
}

fn out_of_range() -> Vec<(u8, Vec<u8>)> {
    let flags = [0x25, 0x28, 0x29, 0x2a].map(|id| (CONNACK, vec![id, 2]));
    let others = [
        (CONNACK, vec![0x21, 0, 0]),
        (CONNACK, vec![0x24, 2]),
        (PUBLISH, vec![0x01, 2]),
        (PUBLISH, vec![0x0b, 0]),
        (PUBLISH, b"\x08\0\x03a/#".to_vec()),
    ];
    flags.into_iter().chain(others).collect()
}

fn not_asked_for() -> Vec<(u8, Vec<u8>)> {
    let with_error = NOT_ASKED_FOR.into_iter().filter(|(kind, _)| *kind != PUBLISH);
    with_error.map(|(kind, id)| (kind, encoded(id))).collect()
}

#[tokio::test]
async fn a_property_that_cannot_be_decoded_is_a_named_error() {
    let kinds = [CONNACK, PUBLISH, SUBACK, UNSUBACK, DISCONNECT];
    are_errors(kinds.into_iter().flat_map(broken).collect()).await;
    are_errors(vec![(CONNACK, vec![0x24, 3], "a maximum QoS is not 0 or 1")]).await;
}

/// The connector announces no maximum, which forbids aliases.
#[tokio::test]
async fn a_topic_alias_is_a_named_error() {
    let text = "a message has a topic alias, and none is allowed";
    are_errors([0, 1, 9].map(|alias| (PUBLISH, vec![0x23, 0, alias], text)).into()).await;
}

/// MQTT lets a client end the connection for each of these. The next connection would end in the same way, so the connector
/// ignores what it understands and may not be there, and the values pass.
#[tokio::test]
async fn what_is_understood_and_not_allowed_costs_no_connection() {
    let rows =
        [broken_acknowledgements(), out_of_place(), repeated(), out_of_range(), not_asked_for()];
    for cases in rows {
        assert!(cases.len() >= 3);
        let tolerate = async |(kind, properties): &(u8, Vec<u8>)| {
            let error = receive(&OnTokio::<false>, *kind, properties).await;
            let expected =
                (*kind == DISCONNECT).then_some("the broker ended the connection: success");
            let error = error.as_deref().map(|error| error.split(" (").next().unwrap_or(error));
            assert_eq!(error, expected, "packet {kind}, properties {properties:02x?}");
        };
        together(cases.iter().map(tolerate)).await;
    }
}

#[tokio::test]
async fn a_maximum_packet_size_of_0_is_a_named_error() {
    let text = "a maximum packet size is 0";
    are_errors(vec![(CONNACK, vec![0x27, 0, 0, 0, 0], text)]).await;
}

/// All that a codec sees of a message.
fn seen() -> impl aimdb_core::Decode<String> {
    decode_with(|message: &Incoming<'_>| {
        let properties = message.properties;
        Ok::<_, CodecError>(format!(
            "{:?} {:?} {:?} {:?}",
            properties.content_type,
            properties.response_topic,
            properties.correlation_data,
            properties.user
        ))
    })
}

/// Brokers may add user properties of their own after those of the sender.
const SEEN: &str =
    r#"Some("json") Some("reply") Some([255, 0, 1]) [("unit", "K"), ("unit", ""), ("", "ü")"#;
const NOTHING_SEEN: &str = "None None None [";

pub async fn a_codec_sees_the_properties_of_another_clients_message<S: Subject>(subject: S) {
    at_each_broker(async |broker| {
        let probe = Probe::connect(broker.port()).await;
        let mut builder = subject.builder_with(Setup::to(broker.port()));
        builder.configure::<String>("in", |reg| {
            reg.buffer(QUEUE).link_from(mqtt::filter("in").qos(QoS::AtLeastOnce), seen());
        });
        let (db, mut readers) = start_reading::<String, _>(builder, ["in"]).await;
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let all = PublishProperties {
            payload_format_indicator: Some(1),
            message_expiry_interval: Some(60),
            topic_alias: None,
            response_topic: Some("reply".into()),
            correlation_data: Some(vec![0xff, 0, 1].into()),
            user_properties: vec![pair("unit", "K"), pair("unit", ""), pair("", "ü")],
            subscription_identifiers: Vec::new(),
            content_type: Some("json".into()),
        };
        probe.publish_with("in", "1", all).await;
        for expected in [SEEN, NOTHING_SEEN] {
            let seen = value(&mut readers[0]).await;
            assert!(seen.starts_with(expected), "{}: {seen}", broker.name());
            probe.publish("in", "1", QoS::AtLeastOnce).await;
        }
        shut_down(&db).await;
    })
    .await;
}

/// The length of the properties has one to three bytes, and so has that of the packet.
pub async fn properties_at_the_edges_of_lengths_pass_unchanged<S: Subject>(subject: S) {
    const EDGES: [usize; 5] = [127, 128, 16_383, 16_384, 65_538];
    at_each_broker(async |broker| {
        let name = broker.name();
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("+", QoS::AtLeastOnce).await;
        let setup = Setup { largest: Some(70_000), ..Setup::to(broker.port()) };
        let mut builder = subject.builder_with(setup);
        let texts = EDGES.map(|edge| "x".repeat(edge - 3));
        for text in &texts {
            let topic = text.len().to_string();
            let target = mqtt::topic(&topic).qos(QoS::AtLeastOnce).content_type(text);
            outbound(&mut builder, &topic, target);
        }
        builder.configure::<String>("in", |reg| {
            reg.buffer(QUEUE).link_from(mqtt::filter("in/+").qos(QoS::AtLeastOnce), seen());
        });
        let (db, mut readers) = start_reading::<String, _>(builder, ["in"]).await;
        for text in texts {
            produce(&db, &text.len().to_string(), [1]).await;
            let message = probe.next().await;
            assert_eq!(message.payload, "1", "{name}: {}", text.len());
            let content_type = message.properties.unwrap().content_type;
            assert!(content_type.as_ref() == Some(&text), "{name}: {}", text.len());
            let properties =
                PublishProperties { content_type: Some(text.clone()), ..Default::default() };
            probe.publish_with("in/1", "1", properties).await;
            let seen = value(&mut readers[0]).await;
            assert!(seen.starts_with(&format!("Some({text:?}) None")), "{name}: {}", text.len());
        }
        shut_down(&db).await;
    })
    .await;
}

/// A connector with everything that makes it send properties.
fn everything<S: Subject>(subject: &S, port: u16) -> aimdb_core::AimDbBuilder<S::Runtime> {
    let will = LastWill::new("will", "gone").qos(QoS::AtLeastOnce).delay(Duration::from_secs(1));
    let mut builder = subject.builder_with(Setup {
        client_id: Some("sender"),
        credentials: Some(("me", "secret")),
        session: Some(Duration::from_secs(60)),
        will: Some(will),
        ..Setup::to(port)
    });
    for qos in LEVELS {
        let topic = format!("out/{}", qos as u8);
        let target = mqtt::topic(&topic)
            .qos(qos)
            .expiry(Duration::from_secs(60))
            .content_type("application/json")
            .property("unit", "K")
            .property("unit", "a:b")
            .property("ü", "");
        outbound(&mut builder, &topic, target);
        outbound(
            &mut builder,
            &format!("plain/{topic}"),
            mqtt::topic(format!("plain/{topic}")).qos(qos),
        );
        inbound(&mut builder, &format!("in/{topic}"), mqtt::filter(format!("in/{topic}")).qos(qos));
    }
    builder
}

fn pairs() -> Vec<(String, String)> {
    [("unit", "K"), ("unit", "a:b"), ("ü", "")]
        .map(|(name, text)| (name.into(), text.into()))
        .into()
}

/// The connector sends these and no others. It cannot send: payload format indicator, response topic, correlation data,
/// topic alias, and a property of the last will besides its delay.
pub async fn each_property_that_the_connector_sends_is_on_the_wire<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    broker.can(Capabilities { topic_alias_maximum: Some(10), ..Capabilities::default() });
    let db = start(everything(&subject, broker.port())).await;
    let connect = broker.connects().remove(0);
    assert_eq!(connect.properties.ids(), [0x11, 0x21, 0x27]);
    assert_eq!(connect.properties.number(0x11), Some(60));
    let (window, largest) = (connect.properties.number(0x21), connect.properties.number(0x27));
    assert!(window.is_some_and(|n| n >= 8) && largest.is_some_and(|n| n >= 1024));
    let credentials = (connect.user.as_deref(), connect.password.as_deref());
    assert_eq!(credentials, (Some("me"), Some(&b"secret"[..])));
    let will = connect.will.unwrap();
    assert_eq!((will.properties.ids(), will.delay(), will.qos), (vec![0x18], Some(1), 1));
    for qos in LEVELS {
        let topic = format!("out/{}", qos as u8);
        for key in [topic.clone(), format!("plain/{topic}")] {
            produce(&db, &key, 0..2).await;
            eventually("they arrive", || broker.payloads(&key).len(), |n| *n == 2).await;
        }
        broker.send(&Delivery::new(format!("in/{topic}"), "0").qos(qos as u8));
    }
    for message in broker.publishes() {
        let properties = &message.properties;
        if message.topic.starts_with("plain") {
            assert!(properties.ids().is_empty());
            continue;
        }
        assert_eq!(properties.ids(), [0x02, 0x03, 0x26, 0x26, 0x26]);
        assert_eq!(properties.number(0x02), Some(60));
        assert_eq!(properties.text(0x03).as_deref(), Some("application/json"));
        assert_eq!(properties.pairs(), pairs());
    }
    let mut identifiers: Vec<_> =
        broker.subscribes().iter().map(|subscribe| subscribe.properties.number(0x0b)).collect();
    identifiers.sort_unstable();
    identifiers.dedup();
    assert!(identifiers.len() == 3 && identifiers.iter().all(Option::is_some), "{identifiers:?}");
    assert!(broker.subscribes().iter().all(|subscribe| subscribe.properties.ids() == [0x0b]));
    eventually("all is completed", || broker.acknowledged(PUBCOMP).len(), |n| *n == 1).await;
    shut_down(&db).await;
    // Two of the link with properties and two of the one without.
    for (kind, count) in [(PUBACK, 1), (PUBREC, 1), (PUBREL, 4), (PUBCOMP, 1)] {
        let reasons = broker.acknowledged_with(kind);
        assert_eq!(reasons.iter().filter(|(_, reason)| *reason == 0).count(), count, "{kind}");
    }
}

pub async fn each_property_that_the_connector_sends_reaches_another_client<S: Subject>(subject: S) {
    at_each_broker(async |broker| {
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("#", QoS::ExactlyOnce).await;
        let db = start(everything(&subject, broker.port())).await;
        for qos in LEVELS {
            let topic = format!("out/{}", qos as u8);
            produce(&db, &topic, [1]).await;
            let message = probe.next().await;
            assert_eq!((&message.topic[..], &message.payload[..]), (topic.as_bytes(), &b"1"[..]));
            let properties = message.properties.unwrap();
            // The broker subtracts the time that the message has waited for.
            let expiry = properties.message_expiry_interval;
            assert!(expiry.is_some_and(|seconds| (1..=60).contains(&seconds)), "{expiry:?}");
            assert_eq!(properties.content_type.as_deref(), Some("application/json"));
            assert!(properties.user_properties.starts_with(&pairs()), "{properties:?}");
            assert_eq!((properties.payload_format_indicator, properties.topic_alias), (None, None));
        }
        shut_down(&db).await;
        probe.receives_nothing().await;
    })
    .await;
}

/// The broker publishes the will when its delay is over, and not for a connection that is made again before.
pub async fn a_will_is_published_after_its_delay<S: Subject>(subject: S) {
    at_each_broker(async |broker| {
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("will", QoS::AtLeastOnce).await;
        let proxy = Proxy::to(broker.port()).await;
        let db = start(everything(&subject, proxy.port())).await;
        proxy.cut();
        eventually("it connects again", || proxy.connections(), |n| *n == 2).await;
        connected(&db).await;
        proxy.close(true);
        assert_eq!(probe.text().await, ("will".into(), "gone".into()), "{}", broker.name());
        proxy.close(false);
        connected(&db).await;
        shut_down(&db).await;
        probe.receives_nothing().await;
    })
    .await;
}

/// The broker ends a connection that exceeds what its CONNACK allows, so that it has no complaint.
pub async fn the_connector_keeps_to_each_ability_in_a_connack<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    broker.can(Capabilities {
        maximum_qos: Some(1),
        no_retain: true,
        no_identifiers: true,
        no_wildcards: true,
        no_shared: true,
        topic_alias_maximum: Some(0),
        receive_maximum: Some(2),
        maximum_packet_size: Some(200),
        server_keep_alive: Some(1),
        assigned_client_id: Some("assigned".into()),
        ..Capabilities::default()
    });
    broker.on_publish(|_| OnPublish::AcceptAfter(Duration::from_millis(5)));
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    for (key, target) in [
        ("qos", mqtt::topic("qos").qos(QoS::ExactlyOnce)),
        ("retain", mqtt::topic("retain").retain()),
        ("size", mqtt::topic("size").content_type("x".repeat(250))),
    ] {
        outbound(&mut builder, key, target);
    }
    inbound(&mut builder, "wildcard", "mqtt://wild/+");
    inbound(&mut builder, "shared", "mqtt://$share/group/t");
    let both = Both::with(builder);
    eventually("it subscribes", || broker.is_subscribed("in"), |yes| *yes).await;
    for key in ["qos", "retain", "size"] {
        produce(&both.db, key, [1]).await;
    }
    produce(&both.db, "out", 0..100).await;
    eventually("all arrive", || broker.payloads("out").len(), |n| *n == 100).await;
    for (key, part) in [
        ("qos", "the broker does not accept QoS 2"),
        ("retain", "the broker keeps no retained messages"),
        ("size", "over the broker's limit of 200"),
        ("wildcard", "the broker has no wildcard subscriptions"),
        ("shared", "the broker has no shared subscriptions"),
    ] {
        let error = || link_of(&both.db, key).last_error.unwrap_or_default();
        eventually(key, error, |text| text.contains(part)).await;
    }
    assert_eq!(broker.identifier_of("in"), None);
    eventually("the keep-alive is the broker's", || broker.pings(), |n| *n > 0).await;
    assert_eq!((broker.complaints(), broker.connections()), (vec![], 1));
    broker.cut();
    eventually("it connects again", || broker.connects().len(), |n| *n == 2).await;
    let ids = broker.connects().into_iter().map(|connect| connect.client_id).collect::<Vec<_>>();
    // The identifier that the broker has assigned is the client's from then on.
    assert_eq!(ids[1], if ids[0].is_empty() { "assigned" } else { &*ids[0] });
    both.db.shutdown(TIMEOUT).await;
}

/// The reason of a refused connection and of a DISCONNECT is named with any further property.
pub async fn the_reason_is_named_with_a_reference_to_another_server<S: Subject>(subject: S) {
    let all = [encoded(0x1c), encoded(0x1f), encoded(0x26)].concat();
    together([(0x9c, "use another server"), (0x9d, "server moved")].map(|(code, text)| {
        let (subject, all) = (&subject, &all);
        async move {
            let broker = Picky::start(S::VERSION).await;
            broker.set_properties(CONNACK, all.as_slice());
            let mut verdict = at_first(1, OnConnect::Refuse(code), OnConnect::Accept);
            broker.on_connect(move |_| verdict());
            let mut both = Both::start(subject, &broker);
            both.error(&format!("the broker refused the connection: {text} (a why)"), text).await;
            both.pass(&broker, 2, text).await;
            let mut body = vec![code];
            put_properties(&mut body, all);
            broker.send_bytes(&packet(0xe0, &body));
            both.error(&format!("the broker ended the connection: {text} (a why)"), text).await;
            both.pass(&broker, 3, text).await;
            shut_down(&both.db).await;
        }
    }))
    .await;
}
