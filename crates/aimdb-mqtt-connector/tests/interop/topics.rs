//! Retained messages, wildcards, shared subscriptions, and the edges of lengths.

use std::collections::BTreeMap;

use aimdb_core::{AimDbBuilder, CodecError, Decode, Incoming, decode_with};
use aimdb_mqtt_connector::{MqttVersion, QoS, RetainHandling, mqtt};

use crate::common::*;
use crate::suite::{Setup, Subject, bytes_in, bytes_out};
use crate::support::picky::{Delivery, Picky};
use crate::support::*;

/// A message as its topic, its payload, and whether the broker had kept it.
fn whole() -> impl Decode<String> {
    decode_with(|message: &Incoming<'_>| {
        let text = String::from_utf8_lossy(message.payload);
        let kept = if message.retained { " kept" } else { "" };
        Ok::<_, CodecError>(format!("{} {text}{kept}", message.topic))
    })
}

/// Each link retains at its level. An empty payload removes the kept message.
pub async fn a_retained_value_is_kept_until_an_empty_one<S: Subject>(subject: S) {
    for broker in Forwarding::all().await {
        let name = broker.name();
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
        // A message at QoS 0 may still be on its way.
        let mut kept = BTreeMap::new();
        let all: BTreeMap<_, _> =
            topics().map(|(qos, topic)| (topic, ("2".into(), level(qos)))).collect();
        while kept != all {
            kept.clear();
            let mut late = Probe::connect(broker.port()).await;
            late.subscribe("r/#", QoS::ExactlyOnce).await;
            while let Some(message) = late.next_within(QUIET_TIME).await {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                assert!(message.retain, "{name}: {message:?}");
                kept.insert(text(&message.topic), (text(&message.payload), message.qos));
            }
        }
        send(b"").await;
        shut_down(&db).await;
        let mut late = Probe::connect(broker.port()).await;
        late.subscribe("r/#", QoS::ExactlyOnce).await;
        late.receives_nothing().await;
        drop(late);
        broker.stop().await;
    }
}

/// Each handling of retained messages, with and without the publisher's flag: the kept message first, then a new one
/// that is to be kept.
pub async fn each_retain_option_is_kept_by_the_broker<S: Subject>(subject: S) {
    let handlings = [RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never];
    let of_v311 = [(RetainHandling::Always, false)];
    let of_v5 = handlings.into_iter().flat_map(|handling| [(handling, false), (handling, true)]);
    let cases: Vec<_> = match S::VERSION {
        MqttVersion::V5 => of_v5.collect(),
        MqttVersion::V311 => of_v311.into(),
    };
    for broker in Forwarding::all().await {
        let probe = Probe::connect(broker.port()).await;
        let mut builder = subject.builder_with(Setup::to(broker.port()));
        for (handling, as_published) in &cases {
            let topic = format!("{handling:?}/{as_published}");
            probe.publish_retained(&topic, "1", QoS::AtLeastOnce).await;
            let mut filter = mqtt::filter(&topic).qos(QoS::AtLeastOnce);
            if *handling != RetainHandling::Always {
                filter = filter.retain_handling(*handling);
            }
            if *as_published {
                filter = filter.retain_as_published();
            }
            builder.configure::<String>(topic, |reg| {
                reg.buffer(QUEUE).link_from(filter, whole());
            });
        }
        let db = builder.build().unwrap();
        let readers: Vec<_> = cases
            .iter()
            .map(|(handling, as_published)| format!("{handling:?}/{as_published}"))
            .map(|topic| db.consumer::<String>(topic).unwrap().subscribe().unwrap())
            .collect();
        db.start();
        connected(&db).await;
        for ((handling, as_published), mut reader) in cases.iter().zip(readers) {
            let topic = format!("{handling:?}/{as_published}");
            if *handling != RetainHandling::Never {
                assert_eq!(
                    value(&mut reader).await,
                    format!("{topic} 1 kept"),
                    "{}",
                    broker.name()
                );
            }
            probe.publish_retained(&topic, "2", QoS::AtLeastOnce).await;
            let flag = if *as_published { " kept" } else { "" };
            assert_eq!(value(&mut reader).await, format!("{topic} 2{flag}"), "{}", broker.name());
        }
        shut_down(&db).await;
        drop(probe);
        broker.stop().await;
    }
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
    let picky = Picky::start(S::VERSION).await;
    let forwarding = Forwarding::all().await;
    for broker in forwarding.iter().map(Some).chain([None]) {
        let (name, port) =
            broker.map_or(("raw", picky.port()), |broker| (broker.name(), broker.port()));
        let mut builder = subject.builder_with(Setup::to(port));
        for (filter, _) in FILTERS {
            builder.configure::<String>(filter, |reg| {
                let target = mqtt::filter(filter).qos(QoS::AtLeastOnce);
                reg.buffer(QUEUE).link_from(target, whole());
            });
        }
        let db = builder.build().unwrap();
        let readers =
            FILTERS.map(|(filter, _)| db.consumer::<String>(filter).unwrap().subscribe().unwrap());
        db.start();
        connected(&db).await;
        match broker {
            Some(_) => {
                let probe = Probe::connect(port).await;
                for topic in TOPICS {
                    probe.publish(topic, "1", QoS::AtLeastOnce).await;
                }
            }
            // One copy, with the identifiers of all subscriptions that match.
            None => TOPICS.iter().for_each(|topic| {
                picky.send(&Delivery::new(*topic, "1").qos(1));
            }),
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
    }
    for broker in forwarding {
        broker.stop().await;
    }
}

/// The broker's own topics are in no filter that begins with a wildcard.
pub async fn the_brokers_own_topics_are_read_by_their_name_alone<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start("") else { return };
    let probe = Probe::connect(broker.port()).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    for filter in ["$SYS/broker/version", "#", "+/broker/version"] {
        builder.configure::<String>(filter, |reg| {
            reg.buffer(QUEUE).link_from(mqtt::filter(filter).qos(QoS::AtLeastOnce), whole());
        });
    }
    let db = builder.build().unwrap();
    let reader = |filter: &str| db.consumer::<String>(filter).unwrap().subscribe().unwrap();
    let (mut own, mut all) = (reader("$SYS/broker/version"), reader("#"));
    db.start();
    let version = value(&mut own).await;
    assert!(version.starts_with("$SYS/broker/version mosquitto version"), "{version}");
    assert!(version.ends_with(" kept"), "{version}");
    connected(&db).await;
    probe.publish("t", "1", QoS::AtLeastOnce).await;
    assert_eq!(value(&mut all).await, "t 1");
    assert_eq!(link_of(&db, "+/broker/version").received, 0);
    shut_down(&db).await;
}

pub async fn a_shared_subscription_divides_the_messages<S: Subject>(subject: S) {
    const ALL: u64 = 100;
    for broker in Forwarding::all().await {
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("jobs/#", QoS::AtLeastOnce).await;
        let mut members = Vec::new();
        for _ in 0..3 {
            let mut builder = subject.builder_with(Setup::to(broker.port()));
            inbound(&mut builder, "jobs", "mqtt://$share/workers/jobs/+?qos=1");
            members.push(start(builder).await);
        }
        let mut readers: Vec<_> = members.iter().map(|db| reader(db, "jobs")).collect();
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
        drop(probe);
        broker.stop().await;
    }
}

/// MQTT 5: the broker returns no message of the connector.
pub async fn a_link_without_local_messages_receives_those_of_others<S: Subject>(subject: S) {
    for broker in Forwarding::all().await {
        let probe = Probe::connect(broker.port()).await;
        let mut builder = subject.builder_with(Setup::to(broker.port()));
        outbound(&mut builder, "out", "mqtt://t?qos=1");
        inbound(&mut builder, "others", "mqtt://t?qos=1&no_local");
        inbound(&mut builder, "all", "mqtt://+?qos=1");
        let db = builder.build().unwrap();
        let (mut others, mut all) = (reader(&db, "others"), reader(&db, "all"));
        db.start();
        connected(&db).await;
        produce(&db, "out", [1]).await;
        assert_eq!(value(&mut all).await, 1, "{}", broker.name());
        probe.publish("t", "2", QoS::AtLeastOnce).await;
        assert_eq!(value(&mut all).await, 2, "{}", broker.name());
        assert_eq!(value(&mut others).await, 2, "{}", broker.name());
        no_value(&mut others).await;
        shut_down(&db).await;
        drop(probe);
        broker.stop().await;
    }
}

/// The payloads at the edges of the encoded lengths, of the payload and of its packet.
fn payloads(version: MqttVersion) -> impl Iterator<Item = Vec<u8>> {
    const EDGES: [usize; 6] = [127, 128, 16_383, 16_384, 2_097_151, 2_097_152];
    // Topic, identifier, and with MQTT 5 the length of the properties.
    let besides = 3 + 2 + usize::from(version == MqttVersion::V5);
    let sizes = [0, 1].into_iter().chain(EDGES).chain(EDGES.map(|edge| edge - besides));
    sizes.map(|size| (0..size).map(|n| (n % 251) as u8).collect())
}

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

pub async fn payloads_at_the_edges_of_lengths_pass_unchanged<S: Subject>(subject: S) {
    const LARGEST: usize = 2_097_152;
    for broker in Forwarding::all().await {
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("o", QoS::AtLeastOnce).await;
        let builder = bytes_both_ways(&subject, broker.port(), LARGEST, ["o", "i"]);
        let db = builder.build().unwrap();
        let mut reader = db.consumer::<Vec<u8>>("in").unwrap().subscribe().unwrap();
        db.start();
        connected(&db).await;
        for payload in payloads(S::VERSION) {
            let size = payload.len();
            db.producer::<Vec<u8>>("out").unwrap().produce(payload.clone()).await.unwrap();
            assert!(probe.next().await.payload == payload, "{}: {size}", broker.name());
            probe.publish("i", payload.clone(), QoS::AtLeastOnce).await;
            assert!(value(&mut reader).await == payload, "{}: {size}", broker.name());
        }
        shut_down(&db).await;
        drop(probe);
        broker.stop().await;
    }
    let broker = Picky::start(S::VERSION).await;
    let db = bytes_both_ways(&subject, broker.port(), LARGEST, ["o", "i"]).build().unwrap();
    let mut reader = db.consumer::<Vec<u8>>("in").unwrap().subscribe().unwrap();
    db.start();
    connected(&db).await;
    for (n, payload) in payloads(S::VERSION).enumerate() {
        db.producer::<Vec<u8>>("out").unwrap().produce(payload.clone()).await.unwrap();
        eventually("it is published", || broker.attempts("o"), |count| *count == n + 1).await;
        assert!(broker.publishes()[n].payload == payload, "{}", payload.len());
        broker.send(&Delivery::new("i", payload.clone()).identifiers([]).qos(1));
        assert!(value(&mut reader).await == payload, "{}", payload.len());
    }
    shut_down(&db).await;
    assert_eq!((broker.complaints(), broker.connections()), (vec![], 1));
}

/// The shortest and the longest topic.
pub async fn topics_at_the_edges_of_lengths_are_published_and_subscribed<S: Subject>(subject: S) {
    for [to, from] in [["o", "i"].map(str::to_owned), ["o", "i"].map(|c| c.repeat(65_535))] {
        let length = to.len();
        for broker in Forwarding::all().await {
            let mut probe = Probe::connect(broker.port()).await;
            probe.subscribe(&to, QoS::AtLeastOnce).await;
            let builder = bytes_both_ways(&subject, broker.port(), 70_000, [&to, &from]);
            let db = builder.build().unwrap();
            let mut reader = db.consumer::<Vec<u8>>("in").unwrap().subscribe().unwrap();
            db.start();
            connected(&db).await;
            db.producer::<Vec<u8>>("out").unwrap().produce(b"1".to_vec()).await.unwrap();
            let message = probe.next().await;
            assert!(message.topic == to && message.payload == "1", "{}: {length}", broker.name());
            probe.publish(&from, "2", QoS::AtLeastOnce).await;
            assert_eq!(value(&mut reader).await, b"2", "{}: {length}", broker.name());
            shut_down(&db).await;
            drop(probe);
            broker.stop().await;
        }
        let broker = Picky::start(S::VERSION).await;
        let db = bytes_both_ways(&subject, broker.port(), 70_000, [&to, &from]).build().unwrap();
        let mut reader = db.consumer::<Vec<u8>>("in").unwrap().subscribe().unwrap();
        db.start();
        connected(&db).await;
        db.producer::<Vec<u8>>("out").unwrap().produce(b"1".to_vec()).await.unwrap();
        eventually("it is published", || broker.payloads(&to), |all| *all == ["1"]).await;
        broker.send(&Delivery::new(from.clone(), "2").qos(1));
        assert_eq!(value(&mut reader).await, b"2", "{length}");
        shut_down(&db).await;
        assert_eq!((broker.complaints(), broker.connections()), (vec![], 1));
    }
}
