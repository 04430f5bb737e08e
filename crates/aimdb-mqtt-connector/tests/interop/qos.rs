//! QoS of the publisher × QoS of the subscriber, in both directions.

use aimdb_mqtt_connector::{MqttVersion, QoS, mqtt};

use crate::common::*;
use crate::suite::{Setup, Subject};
use crate::support::picky::{Delivery, Picky};
use crate::support::*;
use crate::tables::{PUBACK, PUBCOMP, PUBREC};

const VALUES: u64 = 30;

/// The levels of a publisher and a subscriber, each pair with its topic.
fn pairs() -> impl Iterator<Item = (QoS, QoS, String)> {
    let topic = |p, s| (p, s, format!("t/{}{}", p as u8, s as u8));
    LEVELS.into_iter().flat_map(move |p| LEVELS.map(|s| topic(p, s)))
}

/// How often Mosquitto has sent a message at this level to the topic's subscriber.
fn sent_at(broker: &Mosquitto, topic: &str, qos: QoS) -> usize {
    let (level, topic) = (format!(", q{}, ", qos as u8), format!("'{topic}'"));
    let sent = |line: &&str| {
        line.contains("Sending PUBLISH") && line.contains(&level) && line.contains(&topic)
    };
    broker.log().lines().filter(sent).count()
}

pub async fn values_reach_another_client_at_the_lower_qos<S: Subject>(subject: S) {
    at_each_broker(async |broker| {
        let name = broker.name();
        let mut probe = Probe::connect(broker.port()).await;
        let mut builder = subject.builder_with(Setup::to(broker.port()));
        for (publish, subscribe, topic) in pairs() {
            probe.subscribe(&topic, subscribe).await;
            outbound(&mut builder, &topic, mqtt::topic(&topic).qos(publish));
        }
        let db = start(builder).await;
        for (publish, subscribe, topic) in pairs() {
            produce(&db, &topic, 0..VALUES).await;
            for n in 0..VALUES {
                let message = probe.next().await;
                let expected = (topic.as_bytes(), n.to_string(), level(publish.min(subscribe)));
                let payload = String::from_utf8(message.payload.to_vec()).unwrap();
                assert_eq!((&message.topic[..], payload, message.qos), expected, "{name}");
            }
        }
        shut_down(&db).await;
        for link in db.metrics().links {
            assert_eq!(
                (link.sent, link.dropped(), link.reconnects),
                (VALUES, 0, 0),
                "{name}: {link}"
            );
        }
        probe.receives_nothing().await;
    })
    .await;
}

pub async fn values_of_another_client_arrive_at_the_lower_qos<S: Subject>(subject: S) {
    at_each_broker(async |broker| {
        let name = broker.name();
        let probe = Probe::connect(broker.port()).await;
        let mut builder = subject.builder_with(Setup::to(broker.port()));
        for (_, subscribe, topic) in pairs() {
            inbound(&mut builder, &topic, mqtt::filter(&topic).qos(subscribe));
        }
        let (db, readers) =
            start_reading::<u64, _>(builder, pairs().map(|(.., topic)| topic)).await;
        for ((publish, subscribe, topic), mut reader) in pairs().zip(readers) {
            for n in 0..VALUES {
                probe.publish(&topic, n.to_string(), publish).await;
            }
            for n in 0..VALUES {
                assert_eq!(value(&mut reader).await, n, "{name}: {topic}");
            }
            if let Forwarding::Mosquitto(broker) = broker {
                let sent = || sent_at(broker, &topic, publish.min(subscribe));
                eventually("the broker has logged it", sent, |n| *n == VALUES as usize).await;
            }
        }
        shut_down(&db).await;
        for link in db.metrics().links {
            let counts = (link.received, link.dropped(), link.reconnects);
            assert_eq!(counts, (VALUES, 0, 0), "{name}: {link}");
        }
    })
    .await;
}

/// The broker grants each subscription its level, and delivers at the lower one of the two.
pub async fn each_qos_has_its_packets_on_the_wire<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    for (publish, subscribe, topic) in pairs() {
        outbound(&mut builder, &topic, mqtt::topic(&topic).qos(publish));
        let filter = format!("in/{topic}");
        inbound(&mut builder, &filter, mqtt::filter(&filter).qos(subscribe));
    }
    let inbound = pairs().map(|(.., topic)| format!("in/{topic}"));
    let (db, readers) = start_reading::<u64, _>(builder, inbound).await;
    let mut acknowledged = [Vec::new(), Vec::new()];
    for ((publish, subscribe, topic), mut reader) in pairs().zip(readers) {
        produce(&db, &topic, 0..VALUES).await;
        eventually("it is published", || broker.payloads(&topic).len(), |n| *n == VALUES as usize)
            .await;
        let all: Vec<String> = (0..VALUES).map(|n| n.to_string()).collect();
        assert_eq!(broker.payloads(&topic), all);
        let of_topic = broker.publishes().into_iter().filter(|message| message.topic == topic);
        for message in of_topic {
            assert_eq!((message.qos, message.dup), (publish as u8, false), "{topic}");
        }
        let asked = broker.subscriptions_to(&format!("in/{topic}"));
        let options: Vec<u8> = asked.iter().map(|subscription| subscription.options).collect();
        assert_eq!(options, [subscribe as u8], "{topic}");
        let lower = publish.min(subscribe) as u8;
        for n in 0..VALUES {
            let message = Delivery::new(format!("in/{topic}"), n.to_string()).qos(lower);
            let ids = broker.send(&message);
            assert_eq!(value(&mut reader).await, n, "{topic}");
            if lower > 0 {
                acknowledged[usize::from(lower - 1)].extend(ids);
            }
        }
    }
    let [at_least_once, exactly_once] = acknowledged;
    for (kind, ids) in [(PUBACK, at_least_once), (PUBREC, exactly_once.clone())] {
        eventually(
            "each is acknowledged, in order",
            || broker.acknowledged(kind),
            |all| *all == ids,
        )
        .await;
    }
    eventually("each is completed", || broker.acknowledged(PUBCOMP), |all| *all == exactly_once)
        .await;
    shut_down(&db).await;
    assert_eq!((broker.connections(), broker.disconnects()), (1, vec![0]));
    let options_of_v5 = S::VERSION == MqttVersion::V5;
    assert_eq!(broker.identifier_of("in/t/00").is_some(), options_of_v5);
}
