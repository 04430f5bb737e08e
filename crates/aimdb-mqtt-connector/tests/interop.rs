//! The connector against Mosquitto: every quality of service in both directions, what MQTT lets subscriptions do,
//! limits, wills, sessions and several brokers.

mod support;

use std::time::Duration;

use aimdb_core::{BufferCfg, CodecError, Incoming, Json, decode_with, encode_with};
use aimdb_mqtt_connector::{LastWill, MqttVersion, QoS, mqtt};
use support::*;

/// Mosquitto's own limits would get in the way: it has 20 messages under way to a client unless told otherwise, and
/// gives up the order of those at QoS 2 when more of them wait.
const UNLIMITED: &str = "max_inflight_messages 0\nmax_queued_messages 0";

/// Bytes as they are.
fn bytes_out() -> impl aimdb_core::link::Encode<Vec<u8>> {
    encode_with(|value: &Vec<u8>, out: &mut Vec<u8>| {
        out.extend_from_slice(value);
        Ok::<_, CodecError>(())
    })
}

fn bytes_in() -> impl aimdb_core::link::Decode<Vec<u8>> {
    decode_with(|message: &Incoming<'_>| Ok::<_, CodecError>(message.payload.to_vec()))
}

/// The topic and what the wildcards matched.
fn topic_and_parts() -> impl aimdb_core::link::Decode<String> {
    decode_with(|message: &Incoming<'_>| {
        Ok::<_, CodecError>(format!("{} {}", message.topic, message.parts.join("|")))
    })
}

#[tokio::test]
async fn values_go_out_in_order_at_every_quality_of_service() {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    for version in VERSIONS {
        let mut probe = Probe::connect(broker.port()).await;
        let mut builder = builder();
        builder.connector(mqtt_to(broker.port()).version(version));
        for qos in LEVELS {
            builder.configure::<u64>(format!("out{}", qos as u8), |reg| {
                let topic = mqtt::topic(format!("out/{version:?}/{}", qos as u8)).qos(qos);
                reg.buffer(QUEUE).link_to(topic, Json);
            });
        }
        let db = start(builder).await;
        for qos in LEVELS {
            probe.subscribe(&format!("out/{version:?}/{}", qos as u8), QoS::ExactlyOnce).await;
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
            assert_eq!((link.sent, link.dropped, link.encode_errors), (300, 0, 0), "{link}");
        }
        probe.hears_nothing().await;
    }
}

#[tokio::test]
async fn messages_come_in_in_order_at_every_quality_of_service() {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    for version in VERSIONS {
        let probe = Probe::connect(broker.port()).await;
        let mut builder = builder();
        builder.connector(mqtt_to(broker.port()).version(version));
        for qos in LEVELS {
            builder.configure::<u64>(format!("in{}", qos as u8), |reg| {
                let filter = mqtt::filter(format!("in/{}", qos as u8)).qos(qos);
                reg.buffer(QUEUE).link_from(filter, Json);
            });
        }
        let db = builder.build().unwrap();
        let mut readers = LEVELS.map(|qos| {
            db.consumer::<u64>(format!("in{}", qos as u8)).unwrap().subscribe().unwrap()
        });
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
            assert_eq!((link.received, link.dropped, link.decode_errors), (300, 0, 0), "{link}");
        }
    }
}

#[tokio::test]
async fn only_a_link_that_says_retain_leaves_its_newest_value_at_the_broker() {
    let Some(broker) = Mosquitto::start("") else { return };
    for version in VERSIONS {
        let mut builder = builder();
        builder.connector(mqtt_to(broker.port()).version(version));
        let topic = |what: &str| format!("{version:?}/{what}");
        builder.configure::<u64>("kept", |reg| {
            reg.buffer(QUEUE).link_to(format!("mqtt://{}?qos=1&retain", topic("kept")), Json);
        });
        builder.configure::<u64>("gone", |reg| {
            reg.buffer(QUEUE).link_to(mqtt::topic(topic("gone")).qos(QoS::AtLeastOnce), Json);
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
        late.subscribe(&topic("#"), QoS::AtLeastOnce).await;
        let message = late.next().await;
        assert!(message.retain);
        assert_eq!(
            (&message.topic[..], &message.payload[..]),
            (topic("kept").as_bytes(), &b"2"[..])
        );
        late.hears_nothing().await;
        shut_down(&db).await;
    }
}

#[tokio::test]
async fn a_codec_sees_what_the_wildcards_matched() {
    let Some(broker) = Mosquitto::start("") else { return };
    for version in VERSIONS {
        let probe = Probe::connect(broker.port()).await;
        let mut builder = builder();
        builder.connector(mqtt_to(broker.port()).version(version));
        for (key, filter) in [
            ("plus", "house/+/+/temp"),
            ("hash", "garden/#"),
            ("both", "+/pump/#"),
            ("none", "roof"),
        ] {
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
        for (topic, at, parts) in [
            ("house/attic/north/temp", 0, "attic|north"),
            ("house//ü/temp", 0, "|ü"),
            ("garden", 1, ""),
            ("garden/a/b", 1, "a/b"),
            ("cellar/pump/1/rpm", 2, "cellar|1/rpm"),
            ("/pump", 2, "|"),
            ("roof", 3, ""),
        ] {
            probe.publish(topic, "", QoS::AtLeastOnce).await;
            assert_eq!(value(&mut readers[at]).await, format!("{topic} {parts}"));
        }
        for topic in ["house/attic/temp", "roof/x", "pump/1"] {
            probe.publish(topic, "", QoS::AtLeastOnce).await;
        }
        no_value(&mut readers[0]).await;
        assert!(readers.iter_mut().all(|reader| reader.try_recv().is_err()));
        shut_down(&db).await;
    }
}

#[tokio::test]
async fn a_computed_topic_that_is_no_topic_costs_only_its_value() {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut probe = Probe::connect(broker.port()).await;
    probe.subscribe("rooms/#", QoS::AtLeastOnce).await;
    let mut builder = builder();
    builder.connector(mqtt_to(broker.port()));
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
    assert_eq!(
        (link.sent, link.encode_errors, link.dropped, link.reconnects),
        (2, 5, 0, 0),
        "{link}"
    );
    assert_eq!(link.last_error.unwrap(), "a value did not encode: panicked: no topic for this one");
}

#[tokio::test]
async fn overlapping_and_equal_filters_fill_every_record_they_belong_to() {
    let Some(broker) = Mosquitto::start("") else { return };
    for version in VERSIONS {
        let probe = Probe::connect(broker.port()).await;
        let mut builder = builder();
        builder.connector(mqtt_to(broker.port()).version(version));
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
                // MQTT 3.1.1 lets a broker send one copy for each filter, without saying for which.
                if version == MqttVersion::V5 || seen.last() != Some(&n) {
                    seen.push(n);
                }
            }
            assert_eq!(seen, (0..50).collect::<Vec<_>>(), "{version:?}");
        }
        shut_down(&db).await;
        let received: Vec<u64> = (0..4).map(|at| link(&db, at).received).collect();
        if version == MqttVersion::V5 {
            assert_eq!(received, [50; 4]);
        }
    }
}

#[tokio::test]
async fn a_shared_subscription_divides_messages_among_its_members() {
    let Some(broker) = Mosquitto::start("") else { return };
    for version in VERSIONS {
        let probe = Probe::connect(broker.port()).await;
        let mut members = Vec::new();
        for _ in 0..2 {
            let mut builder = builder();
            builder.connector(mqtt_to(broker.port()).version(version));
            builder.configure::<String>("jobs", |reg| {
                reg.buffer(QUEUE)
                    .link_from("mqtt://$share/workers/jobs/+?qos=1", topic_and_parts());
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
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_will_is_published_after_a_crash_and_not_after_a_shutdown() {
    let Some(broker) = Mosquitto::start("") else { return };
    for version in VERSIONS {
        let mut probe = Probe::connect(broker.port()).await;
        let topic = format!("wills/{version:?}");
        probe.subscribe(&topic, QoS::AtLeastOnce).await;
        let port = broker.port();
        let will = LastWill::new(&topic, "gone").qos(QoS::AtLeastOnce).retain();
        let build = move || {
            let mut builder = builder();
            builder.connector(mqtt_to(port).version(version).last_will(will.clone()));
            builder.configure::<u64>("n", |reg| {
                reg.buffer(QUEUE).link_to("mqtt://n", Json);
            });
            builder
        };
        let db = start(build()).await;
        shut_down(&db).await;
        probe.hears_nothing().await;

        let runtime = tokio::runtime::Runtime::new().unwrap();
        let running = runtime.spawn(async move {
            let db = build().build().unwrap();
            db.start();
            connected(&db).await;
            db
        });
        let _still_there = running.await.unwrap();
        // The runtime goes with everything that runs on it: nobody says goodbye.
        runtime.shutdown_background();
        assert_eq!(probe.text().await, (topic.clone(), "gone".into()));
        let mut late = Probe::connect(broker.port()).await;
        late.subscribe(&topic, QoS::AtLeastOnce).await;
        assert!(late.next().await.retain);
    }
}

#[tokio::test]
async fn a_mebibyte_passes_both_ways_and_one_byte_more_is_dropped_and_counted() {
    let Some(broker) = Mosquitto::start("") else { return };
    for version in VERSIONS {
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("big/out", QoS::AtLeastOnce).await;
        let mut builder = builder();
        builder.connector(mqtt_to(broker.port()).version(version));
        builder.configure::<Vec<u8>>("out", |reg| {
            reg.buffer(QUEUE).link_to("mqtt://big/out?qos=1", bytes_out());
        });
        builder.configure::<Vec<u8>>("in", |reg| {
            reg.buffer(QUEUE).link_from("mqtt://big/in?qos=1", bytes_in());
        });
        let db = builder.build().unwrap();
        let mut reader = db.consumer::<Vec<u8>>("in").unwrap().subscribe().unwrap();
        db.start();
        connected(&db).await;
        let big: Vec<u8> = (0..1 << 20).map(|n: u32| n as u8).collect();
        let bigger = [&big[..], &[0]].concat();

        let out = db.producer::<Vec<u8>>("out").unwrap();
        for payload in [&big, &bigger, &b"small".to_vec()] {
            out.produce(payload.clone()).await.unwrap();
        }
        assert!(probe.next().await.payload == big);
        assert_eq!(probe.next().await.payload, &b"small"[..]);
        let sent = link(&db, 0);
        assert_eq!((sent.dropped, sent.reconnects), (1, 0), "{sent}");
        let error = sent.last_error.unwrap();
        assert_eq!(
            error,
            "a message of `out` to `big/out` was dropped: its payload of 1048577 bytes is over the limit of 1048576, \
             see `max_payload`"
        );

        probe.publish("big/in", big.clone(), QoS::AtLeastOnce).await;
        assert!(value(&mut reader).await == big);
        probe.publish("big/in", bigger, QoS::AtLeastOnce).await;
        probe.publish("big/in", "small", QoS::AtLeastOnce).await;
        assert!(value(&mut reader).await == b"small");
        shut_down(&db).await;
        let received = link(&db, 1);
        assert_eq!((received.received, received.dropped), (3, 1), "{received}");
        assert_eq!(received.reconnects, 0);
    }
}

#[tokio::test]
async fn a_message_over_the_brokers_packet_limit_is_dropped_without_a_reconnect() {
    let Some(broker) = Mosquitto::start("max_packet_size 5000") else { return };
    let mut probe = Probe::connect(broker.port()).await;
    probe.subscribe("t", QoS::AtLeastOnce).await;
    for qos in LEVELS {
        let mut builder = builder();
        builder.connector(
            mqtt_to(broker.port()).client_id("small").persistent_session(Duration::from_secs(60)),
        );
        builder.configure::<Vec<u8>>("out", |reg| {
            reg.buffer(QUEUE).link_to(mqtt::topic("t").qos(qos), bytes_out());
        });
        let db = start(builder).await;
        let out = db.producer::<Vec<u8>>("out").unwrap();
        for size in [4900, 5001, 100_000, 10] {
            out.produce(vec![b'x'; size]).await.unwrap();
        }
        assert_eq!(probe.next().await.payload.len(), 4900);
        assert_eq!(probe.next().await.payload.len(), 10);
        shut_down(&db).await;
        let link = link(&db, 0);
        assert_eq!((link.sent, link.dropped, link.reconnects), (2, 2, 0), "{link}");
        let error = link.last_error.unwrap();
        assert!(error.ends_with("bytes is over the broker's limit of 5000"), "{error}");
    }
}

/// Mosquitto does not announce its `message_size_limit`, and refuses with a reason that MQTT 5 does not list there.
#[tokio::test]
async fn a_message_that_the_broker_refuses_is_dropped_and_counted() {
    let Some(broker) = Mosquitto::start("message_size_limit 1000") else { return };
    let mut probe = Probe::connect(broker.port()).await;
    probe.subscribe("t", QoS::AtLeastOnce).await;
    for (version, qos) in VERSIONS.into_iter().flat_map(|version| LEVELS.map(|qos| (version, qos)))
    {
        let mut builder = builder();
        builder.connector(mqtt_to(broker.port()).version(version));
        builder.configure::<Vec<u8>>("out", |reg| {
            reg.buffer(QUEUE).link_to(mqtt::topic("t").qos(qos), bytes_out());
        });
        let db = start(builder).await;
        let out = db.producer::<Vec<u8>>("out").unwrap();
        for size in [10, 1001, 20, 1002, 1003, 30] {
            out.produce(vec![b'x'; size]).await.unwrap();
        }
        for size in [10, 20, 30] {
            assert_eq!(probe.next().await.payload.len(), size);
        }
        shut_down(&db).await;
        let link = link(&db, 0);
        // At QoS 0 nobody answers, and MQTT 3.1.1 has no answer but yes.
        let told = version == MqttVersion::V5 && qos > QoS::AtMostOnce;
        let (sent, dropped) = if told { (3, 3) } else { (6, 0) };
        assert_eq!((link.sent, link.dropped, link.reconnects), (sent, dropped, 0), "{link}");
        let error = told.then_some(
            "a message of `out` to `t` was dropped: the broker refused it: packet too large",
        );
        assert_eq!(link.last_error.as_deref(), error);
        probe.hears_nothing().await;
    }
}

#[tokio::test]
async fn two_brokers_live_side_by_side_under_two_names() {
    let (Some(one), Some(two)) = (Mosquitto::start(""), Mosquitto::start("")) else { return };
    let mut builder = builder();
    builder.connector(mqtt_to(one.port()).named("local"));
    builder.connector(mqtt_to(two.port()).named("cloud").version(MqttVersion::V311));
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

#[tokio::test]
async fn a_persistent_session_keeps_what_comes_while_the_database_is_down() {
    let Some(broker) = Mosquitto::start("") else { return };
    for version in VERSIONS {
        for persistent in [true, false] {
            let probe = Probe::connect(broker.port()).await;
            let build = || {
                let mut builder = builder();
                let connector =
                    mqtt_to(broker.port()).version(version).client_id(format!("{version:?}"));
                builder.connector(match persistent {
                    true => connector.persistent_session(Duration::from_secs(60)),
                    false => connector.clean_session(),
                });
                builder.configure::<u64>("in", |reg| {
                    reg.buffer(QUEUE).link_from("mqtt://in?qos=1", Json);
                });
                builder
            };
            let db = start(build()).await;
            probe.publish("in", "0", QoS::AtLeastOnce).await;
            eventually("it is there", || link(&db, 0).received, |received| *received == 1).await;
            shut_down(&db).await;
            for n in 1..=20_u64 {
                probe.publish("in", n.to_string(), QoS::AtLeastOnce).await;
            }
            let db = build().build().unwrap();
            let mut reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
            db.start();
            connected(&db).await;
            if persistent {
                let mut n = value(&mut reader).await;
                assert_ne!(n, 0, "{version:?}: it had been acknowledged");
                while n < 20 {
                    let next = value(&mut reader).await;
                    assert_eq!(next, n + 1);
                    n = next;
                }
            }
            no_value(&mut reader).await;
            probe.publish("in", "99", QoS::AtLeastOnce).await;
            assert_eq!(value(&mut reader).await, 99);
            shut_down(&db).await;
        }
    }
}

#[tokio::test]
async fn a_full_record_does_not_hold_back_its_neighbour_on_the_same_connection() {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    for version in VERSIONS {
        let probe = Probe::connect(broker.port()).await;
        let mut builder = builder();
        builder.connector(mqtt_to(broker.port()).version(version));
        builder.configure::<u64>("stuck", |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 1 }).link_from("mqtt://stuck?qos=1", Json);
        });
        builder.configure::<u64>("free", |reg| {
            reg.buffer(QUEUE).link_from("mqtt://free?qos=1", Json);
        });
        let db = builder.build().unwrap();
        let mut stuck = db.consumer::<u64>("stuck").unwrap().subscribe().unwrap();
        let mut free = db.consumer::<u64>("free").unwrap().subscribe().unwrap();
        db.start();
        connected(&db).await;
        for n in 0..200_u64 {
            probe.publish("stuck", n.to_string(), QoS::AtLeastOnce).await;
        }
        eventually("the record is full", || db.health().blocked, |blocked| blocked.len() == 1)
            .await;
        for n in 0..1000_u64 {
            probe.publish("free", n.to_string(), QoS::AtLeastOnce).await;
            assert_eq!(value(&mut free).await, n);
        }
        for n in 0..200 {
            assert_eq!(value(&mut stuck).await, n);
        }
        shut_down(&db).await;
    }
}
