//! Values and messages on a connection that does not break.

use aimdb_core::{CodecError, Incoming, Json, decode_with, encode_with};
use aimdb_mqtt_connector::{MqttVersion, QoS, mqtt};

use super::{Setup, Subject, topic_and_parts};
use crate::support::*;

pub async fn values_are_published_in_order_at_every_quality_of_service<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    let mut probe = Probe::connect(broker.port()).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    for qos in LEVELS {
        builder.configure::<u64>(format!("out{}", qos as u8), |reg| {
            let topic = mqtt::topic(format!("out/{}", qos as u8)).qos(qos);
            reg.buffer(QUEUE).link_to(topic, Json);
        });
    }
    let db = start(builder).await;
    for qos in LEVELS {
        probe.subscribe(&format!("out/{}", qos as u8), QoS::ExactlyOnce).await;
        let producer = db.producer::<u64>(format!("out{}", qos as u8)).unwrap();
        producer.produce_many(0..300).await.unwrap();
        for n in 0..300 {
            let message = probe.next().await;
            assert_eq!(message.payload, n.to_string().as_bytes());
            assert_eq!(message.qos, level(qos));
            assert!(!message.retain);
        }
    }
    shut_down(&db).await;
    for at in 0..3 {
        let link = link(&db, at);
        assert_eq!((link.sent, link.dropped(), link.encode_errors()), (300, 0, 0), "{link}");
    }
    probe.receives_nothing().await;
}

pub async fn messages_are_received_in_order_at_every_quality_of_service<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    let probe = Probe::connect(broker.port()).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    for qos in LEVELS {
        builder.configure::<u64>(format!("in{}", qos as u8), |reg| {
            let filter = mqtt::filter(format!("in/{}", qos as u8)).qos(qos);
            reg.buffer(QUEUE).link_from(filter, Json);
        });
    }
    let db = builder.build().unwrap();
    let mut readers = LEVELS
        .map(|qos| db.consumer::<u64>(format!("in{}", qos as u8)).unwrap().subscribe().unwrap());
    db.start();
    connected(&db).await;
    for (qos, reader) in LEVELS.into_iter().zip(&mut readers) {
        for n in 0..300_u64 {
            probe.publish(&format!("in/{}", qos as u8), n.to_string(), qos).await;
        }
        for n in 0..300 {
            assert_eq!(value(reader).await, n);
        }
    }
    shut_down(&db).await;
    for at in 0..3 {
        let link = link(&db, at);
        assert_eq!((link.received, link.dropped(), link.decode_errors()), (300, 0, 0), "{link}");
    }
}

pub async fn only_a_retaining_link_leaves_its_newest_value_at_the_broker<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    builder.configure::<u64>("kept", |reg| {
        reg.buffer(QUEUE).link_to("mqtt://t/kept?qos=1&retain", Json);
    });
    builder.configure::<u64>("gone", |reg| {
        reg.buffer(QUEUE).link_to(mqtt::topic("t/gone").qos(QoS::AtLeastOnce), Json);
    });
    let db = start(builder).await;
    db.producer::<u64>("kept").unwrap().produce_many([1, 2]).await.unwrap();
    db.producer::<u64>("gone").unwrap().produce_many([1, 2]).await.unwrap();
    eventually(
        "all is acknowledged",
        || (link(&db, 0).sent, link(&db, 1).sent),
        |sent| *sent == (2, 2),
    )
    .await;
    let mut late = Probe::connect(broker.port()).await;
    late.subscribe("t/#", QoS::AtLeastOnce).await;
    let message = late.next().await;
    assert!(message.retain);
    assert_eq!((&message.topic[..], &message.payload[..]), (&b"t/kept"[..], &b"2"[..]));
    late.receives_nothing().await;
    shut_down(&db).await;
}

pub async fn a_codec_sees_the_parts_that_the_wildcards_matched<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start("") else { return };
    let probe = Probe::connect(broker.port()).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    for (key, filter) in
        [("plus", "house/+/+/temp"), ("hash", "garden/#"), ("both", "+/pump/#"), ("none", "roof")]
    {
        builder.configure::<String>(key, |reg| {
            reg.buffer(QUEUE)
                .link_from(mqtt::filter(filter).qos(QoS::AtLeastOnce), topic_and_parts());
        });
    }
    let db = builder.build().unwrap();
    let mut readers = ["plus", "hash", "both", "none"]
        .map(|key| db.consumer::<String>(key).unwrap().subscribe().unwrap());
    db.start();
    connected(&db).await;
    for (topic, index, parts) in [
        ("house/attic/north/temp", 0, "attic|north"),
        ("house//ü/temp", 0, "|ü"),
        ("garden", 1, ""),
        ("garden/a/b", 1, "a/b"),
        ("cellar/pump/1/rpm", 2, "cellar|1/rpm"),
        ("/pump", 2, "|"),
        ("roof", 3, ""),
    ] {
        probe.publish(topic, "", QoS::AtLeastOnce).await;
        assert_eq!(value(&mut readers[index]).await, format!("{topic} {parts}"));
    }
    for topic in ["house/attic/temp", "roof/x", "pump/1"] {
        probe.publish(topic, "", QoS::AtLeastOnce).await;
    }
    no_value(&mut readers[0]).await;
    assert!(readers.iter_mut().all(|reader| reader.try_recv().is_err()));
    shut_down(&db).await;
}

pub async fn a_codec_sees_whether_the_broker_had_kept_the_message<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start("") else { return };
    let probe = Probe::connect(broker.port()).await;
    probe.publish_retained("state", "old", QoS::AtLeastOnce).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    builder.configure::<String>("state", |reg| {
        let codec = decode_with(|message: &Incoming<'_>| {
            let text = String::from_utf8_lossy(message.payload);
            Ok::<_, CodecError>(format!("{text} {}", message.retained))
        });
        reg.buffer(QUEUE).link_from(mqtt::filter("state").qos(QoS::AtLeastOnce), codec);
    });
    let db = builder.build().unwrap();
    let mut reader = db.consumer::<String>("state").unwrap().subscribe().unwrap();
    db.start();
    connected(&db).await;
    assert_eq!(value(&mut reader).await, "old true");
    // It is kept as well, but the link was subscribed when it came.
    probe.publish_retained("state", "new", QoS::AtLeastOnce).await;
    assert_eq!(value(&mut reader).await, "new false");
    shut_down(&db).await;
}

pub async fn overlapping_and_equal_filters_fill_every_matching_record<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start("") else { return };
    let probe = Probe::connect(broker.port()).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    for (key, filter) in [("all", "a/#"), ("one", "a/+"), ("same", "a/+"), ("exact", "a/b")] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(QUEUE).link_from(mqtt::filter(filter).qos(QoS::AtLeastOnce), Json);
        });
    }
    let db = builder.build().unwrap();
    let mut readers = ["all", "one", "same", "exact"]
        .map(|key| db.consumer::<u64>(key).unwrap().subscribe().unwrap());
    db.start();
    connected(&db).await;
    for n in 0..50_u64 {
        probe.publish("a/b", n.to_string(), QoS::AtLeastOnce).await;
    }
    for reader in &mut readers {
        let mut seen = Vec::new();
        while seen.len() < 50 {
            let n = value(reader).await;
            // With MQTT 3.1.1 a broker may send one copy for each filter, without naming the filter.
            if S::VERSION == MqttVersion::V5 || seen.last() != Some(&n) {
                seen.push(n);
            }
        }
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
    }
    shut_down(&db).await;
    if S::VERSION == MqttVersion::V5 {
        assert_eq!([0, 1, 2, 3].map(|at| link(&db, at).received), [50; 4]);
    }
}

pub async fn a_shared_subscription_divides_messages_among_its_members<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start("") else { return };
    let probe = Probe::connect(broker.port()).await;
    let mut members = Vec::new();
    for _ in 0..2 {
        let mut builder = subject.builder_with(Setup::to(broker.port()));
        builder.configure::<String>("jobs", |reg| {
            reg.buffer(QUEUE).link_from("mqtt://$share/workers/jobs/+?qos=1", topic_and_parts());
        });
        members.push(start(builder).await);
    }
    for n in 0..100 {
        probe.publish(&format!("jobs/{n}"), "", QoS::AtLeastOnce).await;
    }
    let shares = || [0, 1].map(|at: usize| link(&members[at], 0).received);
    eventually("all jobs are taken", shares, |shares| shares.iter().sum::<u64>() == 100).await;
    assert!(shares().iter().all(|share| *share > 0), "{:?}", shares());
    for member in &members {
        let latest = member.consumer::<String>("jobs").unwrap().latest().unwrap_or_default();
        let (topic, part) = latest.split_once(' ').unwrap_or_default();
        assert_eq!(topic.strip_prefix("jobs/").unwrap_or_default(), part);
        shut_down(member).await;
    }
}

pub async fn more_subscriptions_than_the_client_has_slots_are_all_made<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start("") else { return };
    let probe = Probe::connect(broker.port()).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    for at in 0..30 {
        builder.configure::<u64>(format!("in{at}"), |reg| {
            let filter = mqtt::filter(format!("in/{at}")).qos(QoS::AtLeastOnce);
            reg.buffer(QUEUE).link_from(filter, Json);
        });
    }
    let db = start(builder).await;
    for at in 0..30 {
        probe.publish(&format!("in/{at}"), at.to_string(), QoS::AtLeastOnce).await;
    }
    eventually(
        "each link receives its message",
        || db.metrics().links.iter().map(|link| link.received).collect::<Vec<_>>(),
        |received| *received == [1; 30],
    )
    .await;
    shut_down(&db).await;
}

pub async fn an_invalid_computed_topic_loses_only_its_value<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut probe = Probe::connect(broker.port()).await;
    probe.subscribe("rooms/#", QoS::AtLeastOnce).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    builder.configure::<String>("readings", |reg| {
        let target = mqtt::topic_from(|name: &String| match name.as_str() {
            "empty" => String::new(),
            "panics" => panic!("no topic for this one"),
            name => format!("rooms/{name}"),
        });
        reg.buffer(QUEUE).link_to(target.qos(QoS::AtLeastOnce), Json);
    });
    let db = start(builder).await;
    let names = ["attic", "empty", "+", "a/#", "nul\0", "panics", "cellar"].map(String::from);
    db.producer::<String>("readings").unwrap().produce_many(names).await.unwrap();
    assert_eq!(probe.text().await, ("rooms/attic".into(), "\"attic\"".into()));
    assert_eq!(probe.text().await, ("rooms/cellar".into(), "\"cellar\"".into()));
    shut_down(&db).await;
    let link = link(&db, 0);
    assert_eq!((link.sent, link.encode_errors(), link.dropped()), (2, 5, 0), "{link}");
    assert_eq!(link.reconnects, 0);
    assert_eq!(link.last_error.unwrap(), "a value did not encode: panicked: no topic for this one");
}

pub async fn a_codec_that_panics_loses_only_its_value<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut probe = Probe::connect(broker.port()).await;
    probe.subscribe("out", QoS::AtLeastOnce).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    builder.configure::<u8>("out", |reg| {
        let codec = encode_with(|value: &u8, out: &mut Vec<u8>| {
            assert_ne!(*value, 2, "the encoder gives up");
            out.push(*value);
            Ok::<_, String>(())
        });
        reg.buffer(QUEUE).link_to("mqtt://out?qos=1", codec);
    });
    builder.configure::<u8>("in", |reg| {
        let codec = decode_with(|message: &aimdb_core::Incoming<'_>| {
            assert_ne!(message.payload, [2], "the decoder gives up");
            Ok::<_, String>(message.payload[0])
        });
        reg.buffer(QUEUE).link_from("mqtt://in?qos=2", codec);
    });
    let db = builder.build().unwrap();
    let mut reader = db.consumer::<u8>("in").unwrap().subscribe().unwrap();
    db.start();
    connected(&db).await;
    db.producer::<u8>("out").unwrap().produce_many([1, 2, 3]).await.unwrap();
    for n in [1, 2, 3] {
        probe.publish("in", [n], QoS::ExactlyOnce).await;
    }
    for n in [1, 3] {
        assert_eq!((&*probe.next().await.payload, value(&mut reader).await), (&[n][..], n));
    }
    shut_down(&db).await;
    assert_eq!((link(&db, 0).sent, link(&db, 0).encode_errors()), (2, 1));
    assert_eq!((link(&db, 1).received, link(&db, 1).decode_errors()), (3, 1));
    assert_eq!((link(&db, 0).reconnects, link(&db, 1).reconnects), (0, 0));
}

pub async fn two_connectors_with_two_names_serve_two_brokers<S: Subject>(subject: S) {
    let (Some(one), Some(two)) = (Mosquitto::start(""), Mosquitto::start("")) else { return };
    let mut builder = subject.builder_with(Setup { name: Some("local"), ..Setup::to(one.port()) });
    subject.connect(&mut builder, Setup { name: Some("cloud"), ..Setup::to(two.port()) });
    builder.configure::<u64>("bridge", |reg| {
        reg.buffer(QUEUE)
            .link_from("local://n?qos=1", Json)
            .link_to(mqtt::topic("n").on("cloud").qos(QoS::AtLeastOnce), Json);
    });
    let db = start(builder).await;
    let (near, mut far) = (Probe::connect(one.port()).await, Probe::connect(two.port()).await);
    far.subscribe("n", QoS::AtLeastOnce).await;
    for n in 0..20_u64 {
        near.publish("n", n.to_string(), QoS::AtLeastOnce).await;
        assert_eq!(far.number().await, n);
    }
    drop(one);
    eventually(
        "only one link is down",
        || db.health().links,
        |links| !links[0].connected && links[1].connected,
    )
    .await;
    shut_down(&db).await;
}
