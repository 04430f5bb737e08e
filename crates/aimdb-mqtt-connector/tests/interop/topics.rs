//! Retained messages, wildcards, shared subscriptions, and the edges of lengths.

use std::collections::BTreeMap;

use aimdb_core::{AimDbBuilder, CodecError, Decode, Incoming, Reader, Runtime, decode_with};
use aimdb_mqtt_connector::{MqttVersion, QoS, RetainHandling, mqtt};

use crate::common::*;
use crate::suite::{Setup, Subject, bytes_in, bytes_out};
use crate::support::picky::Picky;
use crate::support::*;

/// A message as its topic, its payload, and whether the broker had kept it.
fn whole() -> impl Decode<String> {
    decode_with(|message: &Incoming<'_>| {
        let text = String::from_utf8_lossy(message.payload);
        let kept = if message.retained { " kept" } else { "" };
        Ok::<_, CodecError>(format!("{} {text}{kept}", message.topic))
    })
}

/// Adds a record of such messages.
fn whole_from<R: Runtime>(builder: &mut AimDbBuilder<R>, key: &str, filter: mqtt::Filter) {
    builder.configure::<String>(key.to_owned(), |reg| {
        reg.buffer(QUEUE).link_from(filter.qos(QoS::AtLeastOnce), whole());
    });
}

/// The topics, payloads and levels of the messages that the broker keeps below `r`.
async fn kept(port: u16) -> BTreeMap<String, (String, raw::QoS)> {
    let mut late = Probe::connect(port).await;
    late.subscribe("r/#", QoS::ExactlyOnce).await;
    let mut kept = BTreeMap::new();
    while let Some(message) = late.next_within(QUIET_TIME).await {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        // A message at QoS 0 may still be on its way: it is no kept one.
        if message.retain {
            kept.insert(text(&message.topic), (text(&message.payload), message.qos));
        }
    }
    kept
}

/// Each link retains at its level. An empty payload removes the kept message.
pub async fn a_retained_value_is_kept_until_an_empty_one<S: Subject>(subject: S) {
    at_each_broker(async |broker| {
        let mut builder = subject.builder_with(Setup::to(broker.port()));
        let topics = || LEVELS.into_iter().map(|qos| (qos, format!("r/{}", qos as u8)));
        for (qos, topic) in topics() {
            builder.configure::<Vec<u8>>(topic.clone(), |reg| {
                reg.buffer(QUEUE).link_to(mqtt::topic(topic).qos(qos).retain(), bytes_out());
            });
        }
        outbound(&mut builder, "gone", "mqtt://r/gone?qos=1");
        let db = start(builder).await;
        produce(&db, "gone", [9]).await;
        let send = async |payload: &[u8]| {
            let before: u64 = db.metrics().links.iter().map(|link| link.sent).sum();
            for (_, topic) in topics() {
                let producer = db.producer::<Vec<u8>>(topic).unwrap();
                producer.produce(payload.to_vec()).await.unwrap();
            }
            let sent = || db.metrics().links.iter().map(|link| link.sent).sum::<u64>();
            eventually("all are sent", sent, |sent| *sent >= before + 3).await;
        };
        for payload in ["1", "2"] {
            send(payload.as_bytes()).await;
        }
        let all: BTreeMap<_, _> =
            topics().map(|(qos, topic)| (topic, ("2".into(), level(qos)))).collect();
        within("all are kept", async { while kept(broker.port()).await != all {} }).await;
        send(b"").await;
        shut_down(&db).await;
        assert!(kept(broker.port()).await.is_empty(), "{}", broker.name());
    })
    .await;
}

/// Each handling of retained messages, with and without the publisher's flag: the kept message first, then a new one
/// that is to be kept.
pub async fn each_retain_option_is_kept_by_the_broker<S: Subject>(subject: S) {
    let handlings = [RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never];
    let all = handlings.into_iter().flat_map(|handling| [(handling, false), (handling, true)]);
    let count = if S::VERSION == MqttVersion::V5 { 6 } else { 1 };
    let cases: Vec<_> = all
        .take(count)
        .map(|(handling, flag)| (handling, flag, format!("{handling:?}/{flag}")))
        .collect();
    at_each_broker(async |broker| {
        let name = broker.name();
        let probe = Probe::connect(broker.port()).await;
        let mut builder = subject.builder_with(Setup::to(broker.port()));
        for (handling, as_published, topic) in &cases {
            probe.publish_retained(topic, "1", QoS::AtLeastOnce).await;
            let mut filter = mqtt::filter(topic);
            if *handling != RetainHandling::Always {
                filter = filter.retain_handling(*handling);
            }
            if *as_published {
                filter = filter.retain_as_published();
            }
            whole_from(&mut builder, topic, filter);
        }
        let topics = cases.iter().map(|(.., topic)| topic);
        let (db, readers) = start_reading::<String, _>(builder, topics).await;
        for ((handling, as_published, topic), mut reader) in cases.iter().zip(readers) {
            if *handling != RetainHandling::Never {
                assert_eq!(value(&mut reader).await, format!("{topic} 1 kept"), "{name}");
            }
            probe.publish_retained(topic, "2", QoS::AtLeastOnce).await;
            let flag = if *as_published { " kept" } else { "" };
            assert_eq!(value(&mut reader).await, format!("{topic} 2{flag}"), "{name}");
        }
        shut_down(&db).await;
    })
    .await;
}

/// Every combination of a subscription's options in the byte that has them, and the retain flag of a publish.
pub async fn each_option_is_on_the_wire<S: Subject>(subject: S) {
    let v5 = S::VERSION == MqttVersion::V5;
    let broker = Picky::start(S::VERSION).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    let options = || (0..=0x2e_u8).filter(|bits| bits & 3 < 3 && (v5 || *bits < 3));
    for bits in options() {
        let mut filter = format!("mqtt://in/{bits}?qos={}", bits & 3);
        for (name, is_set) in [("no_local", bits & 4 > 0), ("retain_as_published", bits & 8 > 0)] {
            filter += &if is_set { format!("&{name}") } else { String::new() };
        }
        filter += &if v5 { format!("&retain_handling={}", bits >> 4) } else { String::new() };
        inbound(&mut builder, &format!("in/{bits}"), &*filter);
    }
    let flags = || (0..=5_u8).map(|bits| (bits, bits >> 1, bits & 1 > 0));
    for (bits, qos, retain) in flags() {
        let retain = if retain { "&retain" } else { "" };
        outbound(&mut builder, &bits.to_string(), &*format!("mqtt://{bits}?qos={qos}{retain}"));
    }
    let db = start(builder).await;
    assert_eq!(options().count(), if v5 { 36 } else { 3 });
    for bits in options() {
        let asked = broker.subscriptions_to(&format!("in/{bits}"));
        assert_eq!(asked.iter().map(|asked| asked.options).collect::<Vec<_>>(), [bits]);
    }
    for (bits, ..) in flags() {
        produce(&db, &bits.to_string(), [1]).await;
    }
    eventually("all are published", || broker.publishes().len(), |n| *n == 6).await;
    for message in broker.publishes() {
        assert_eq!(message.topic, (message.qos << 1 | u8::from(message.retain)).to_string());
    }
    shut_down(&db).await;
}

/// Each filter with the indices of those of [`TOPICS`] that it matches.
const FILTERS: [(&str, &[usize]); 14] = [
    ("#", &[0, 1, 2, 3, 4, 5, 6, 7, 9]),
    ("+", &[0, 5]),
    ("a", &[0]),
    ("a/#", &[0, 1, 2, 4, 6, 9]),
    ("a/+", &[1, 4, 9]),
    ("+/+", &[1, 3, 4, 7, 9]),
    ("+/b", &[1, 7]),
    ("/+", &[3]),
    ("a/+/c", &[2, 6]),
    ("a/+/#", &[1, 2, 4, 6, 9]),
    ("+/b/#", &[1, 2, 7]),
    ("$own/#", &[8]),
    ("$own/+", &[8]),
    ("ü/b", &[7]),
];
const TOPICS: [&str; 10] =
    ["a", "a/b", "a/b/c", "/a", "a/", "b", "a//c", "ü/b", "$own/a", "a/$own"];

/// All filters are those of one connector: most messages match several.
pub async fn each_filter_receives_the_topics_that_it_matches<S: Subject>(subject: S) {
    at_each_peer(S::VERSION, async |name, port, peer| {
        let mut builder = subject.builder_with(Setup::to(port));
        let filters = FILTERS.map(|(filter, _)| filter);
        filters.iter().for_each(|filter| whole_from(&mut builder, filter, mqtt::filter(*filter)));
        let (db, readers) = start_reading::<String, _>(builder, filters).await;
        for topic in TOPICS {
            peer.send(topic, "1").await;
        }
        for ((filter, matched), mut reader) in FILTERS.into_iter().zip(readers) {
            let mut seen: Vec<String> = Vec::new();
            while seen.len() < matched.len() {
                let message = value(&mut reader).await;
                // With MQTT 3.1.1 a broker may send one copy for each filter, without naming the filter.
                if S::VERSION == MqttVersion::V5 || seen.last() != Some(&message) {
                    seen.push(message);
                }
            }
            let expected = matched.iter().map(|at| format!("{} 1", TOPICS[*at]));
            assert_eq!(seen, expected.collect::<Vec<_>>(), "{name}: {filter}");
        }
        shut_down(&db).await;
        for (filter, matched) in FILTERS {
            let received = link_of(&db, filter).received;
            let exact = S::VERSION == MqttVersion::V5;
            assert!(!exact || received == matched.len() as u64, "{name}: {filter}: {received}");
        }
    })
    .await;
}

/// The broker's own topics are in no filter that begins with a wildcard.
pub async fn the_brokers_own_topics_are_read_by_their_name_alone<S: Subject>(subject: S) {
    const FILTERS: [&str; 3] = ["$SYS/broker/version", "#", "+/broker/version"];
    let Some(broker) = Mosquitto::start("") else { return };
    let probe = Probe::connect(broker.port()).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    FILTERS.iter().for_each(|filter| whole_from(&mut builder, filter, mqtt::filter(*filter)));
    let (db, mut readers) = start_reading::<String, _>(builder, FILTERS).await;
    let version = value(&mut readers[0]).await;
    assert!(version.starts_with("$SYS/broker/version mosquitto version"), "{version}");
    assert!(version.ends_with(" kept"), "{version}");
    probe.publish("t", "1", QoS::AtLeastOnce).await;
    assert_eq!(value(&mut readers[1]).await, "t 1");
    assert_eq!(link_of(&db, FILTERS[2]).received, 0);
    shut_down(&db).await;
}

pub async fn a_shared_subscription_divides_the_messages<S: Subject>(subject: S) {
    const ALL: u64 = 100;
    at_each_broker(async |broker| {
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("jobs/#", QoS::AtLeastOnce).await;
        let mut members = Vec::new();
        for _ in 0..3 {
            let mut builder = subject.builder_with(Setup::to(broker.port()));
            inbound(&mut builder, "jobs", "mqtt://$share/workers/jobs/+?qos=1");
            members.push(start(builder).await);
        }
        let mut readers: Vec<Reader<u64>> = members.iter().map(|db| reader(db, "jobs")).collect();
        for n in 0..ALL {
            probe.publish(&format!("jobs/{n}"), n.to_string(), QoS::AtLeastOnce).await;
            assert_eq!(probe.number().await, n);
        }
        let shares = || members.iter().map(|db| link_of(db, "jobs").received).collect::<Vec<_>>();
        let taken = |shares: &Vec<u64>| shares.iter().sum::<u64>() == ALL;
        eventually("all are taken", shares, taken).await;
        assert!(shares().iter().all(|share| *share > 0), "{}: {:?}", broker.name(), shares());
        let mut seen = Vec::new();
        for (reader, share) in readers.iter_mut().zip(shares()) {
            for _ in 0..share {
                seen.push(value(reader).await);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..ALL).collect::<Vec<_>>(), "{}", broker.name());
        for member in &members {
            shut_down(member).await;
        }
    })
    .await;
}

/// MQTT 5: the broker returns no message of the connector.
pub async fn a_link_without_local_messages_receives_those_of_others<S: Subject>(subject: S) {
    at_each_broker(async |broker| {
        let probe = Probe::connect(broker.port()).await;
        let mut builder = subject.builder_with(Setup::to(broker.port()));
        outbound(&mut builder, "out", "mqtt://t?qos=1");
        inbound(&mut builder, "others", "mqtt://t?qos=1&no_local");
        inbound(&mut builder, "all", "mqtt://+?qos=1");
        let (db, mut readers) = start_reading::<u64, _>(builder, ["all", "others"]).await;
        produce(&db, "out", [1]).await;
        assert_eq!(value(&mut readers[0]).await, 1, "{}", broker.name());
        probe.publish("t", "2", QoS::AtLeastOnce).await;
        assert_eq!(value(&mut readers[0]).await, 2, "{}", broker.name());
        assert_eq!(value(&mut readers[1]).await, 2, "{}", broker.name());
        no_value(&mut readers[1]).await;
        shut_down(&db).await;
    })
    .await;
}

/// A record of bytes that is sent, and one that is received.
fn bytes_both_ways<S: Subject>(
    subject: &S,
    port: u16,
    largest: usize,
    [to, from]: [&str; 2],
) -> AimDbBuilder<S::Runtime> {
    let mut builder = subject.builder_with(Setup { largest: Some(largest), ..Setup::to(port) });
    builder.configure::<Vec<u8>>("out", |reg| {
        reg.buffer(QUEUE).link_to(mqtt::topic(to).qos(QoS::AtLeastOnce), bytes_out());
    });
    builder.configure::<Vec<u8>>("in", |reg| {
        reg.buffer(QUEUE).link_from(mqtt::filter(from).qos(QoS::AtLeastOnce), bytes_in());
    });
    builder
}

/// Asserts that each payload passes in both directions, on one connection.
async fn pass<S: Subject>(
    subject: &S,
    topics: [&str; 2],
    largest: usize,
    payloads: impl Fn() -> Vec<Vec<u8>>,
) {
    at_each_peer(S::VERSION, async |name, port, mut peer| {
        peer.subscribe(topics[0]).await;
        let builder = bytes_both_ways(subject, port, largest, topics);
        let (db, mut readers) = start_reading::<Vec<u8>, _>(builder, ["in"]).await;
        for (number, payload) in payloads().into_iter().enumerate() {
            let case = format!("{name}: {} bytes", payload.len());
            let out = db.producer::<Vec<u8>>("out").unwrap();
            out.produce(payload.clone()).await.unwrap();
            assert!(peer.receive(topics[0], number).await == payload, "{case}");
            peer.send(topics[1], payload.clone()).await;
            assert!(value(&mut readers[0]).await == payload, "{case}");
        }
        shut_down(&db).await;
        for link in db.metrics().links {
            assert_eq!((link.dropped(), link.reconnects), (0, 0), "{name}: {:?}", link.last_error);
        }
    })
    .await;
}

/// The edges of the encoded lengths: those of the payload, and those of its packet.
pub async fn payloads_at_the_edges_of_lengths_pass_unchanged<S: Subject>(subject: S) {
    const EDGES: [usize; 6] = [127, 128, 16_383, 16_384, 2_097_151, 2_097_152];
    // Topic, identifier, and with MQTT 5 the length of the properties.
    let besides = 3 + 2 + usize::from(S::VERSION == MqttVersion::V5);
    let sizes = [0, 1].into_iter().chain(EDGES).chain(EDGES.map(|edge| edge - besides));
    let payloads = || sizes.clone().map(|size| (0..size).map(|n| (n % 251) as u8).collect());
    pass(&subject, ["o", "i"], EDGES[5], || payloads().collect()).await;
}

pub async fn topics_at_the_edges_of_lengths_are_published_and_subscribed<S: Subject>(subject: S) {
    for length in [1, 65_535] {
        let [to, from] = ["o", "i"].map(|letter| letter.repeat(length));
        pass(&subject, [&to, &from], 70_000, || vec![b"1".to_vec()]).await;
    }
}
