//! `MqttConnector` passes the conformance suite with either version of MQTT. Further tests cover its own guarantees.

mod suite;
mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aimdb_core::{Incoming, Json, decode_with};
use aimdb_mqtt_connector::{MqttConnector, MqttVersion, QoS};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use suite::broker::{Broker, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Served};
use suite::shutdown::the_broker_keeps_sending;
use suite::{OnTokio, bytes_in, bytes_out};
use support::picky::{OnConnect, Picky};
use support::*;

mod v5 {
    crate::conformance!(crate::OnTokio<false>);
    crate::faults_of_v5!(crate::OnTokio<false>);
    crate::faults_new_api!(crate::OnTokio<false>);
    crate::faults_new_api_on_tokio!(crate::OnTokio<false>);
    crate::faults_new_api_of_v5!(crate::OnTokio<false>);
}

mod v311 {
    crate::conformance!(crate::OnTokio<true>);
    crate::faults_of_v311!(crate::OnTokio<true>);
    crate::faults_new_api!(crate::OnTokio<true>);
    crate::faults_new_api_on_tokio!(crate::OnTokio<true>);
}

/// A Mosquitto that is not configured forgets what a client of MQTT 3.1.1 has under way above its
/// `max_inflight_messages`, which is 20. Only the queue of the subscriber is unlimited here.
#[tokio::test]
async fn a_default_mosquitto_gets_every_message_at_qos_1_and_2() {
    const ALL: u64 = 10_000;
    let Some(broker) = Mosquitto::start("max_queued_messages 0") else { return };
    for version in VERSIONS {
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("all/#", QoS::AtLeastOnce).await;
        let mut builder = builder();
        builder.connector(mqtt_to(broker.port()).version(version));
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            builder.configure::<u64>(format!("out{}", qos as u8), |reg| {
                let topic =
                    aimdb_mqtt_connector::mqtt::topic(format!("all/{}", qos as u8)).qos(qos);
                reg.buffer(QUEUE).link_to(topic, Json);
            });
        }
        let db = start(builder).await;
        let [one, two] = ["out1", "out2"].map(|key| db.producer::<u64>(key).unwrap());
        let send = async {
            let (one, two) = tokio::join!(one.produce_many(0..ALL), two.produce_many(0..ALL));
            assert!(one.is_ok() && two.is_ok());
        };
        let receive = async {
            let mut next = [0; 2];
            while next != [ALL; 2] {
                let (topic, text) = probe.text().await;
                let at = usize::from(topic == "all/2");
                assert_eq!(text, next[at].to_string(), "{version:?}, {topic}");
                next[at] += 1;
            }
        };
        tokio::join!(send, receive);
        shut_down(&db).await;
        for at in [0, 1] {
            assert_eq!((link(&db, at).sent, link(&db, at).dropped()), (ALL, 0), "{version:?}");
        }
        probe.receives_nothing().await;
    }
}

/// A connector that requires its connection, with a link.
fn required(connector: MqttConnector, within: Duration) -> Db {
    let mut builder = builder();
    builder.connector(connector.require_connection(within));
    builder.configure::<u64>("in", |reg| {
        reg.buffer(QUEUE).link_from("mqtt://in?qos=1", Json);
    });
    let db = builder.build().unwrap();
    db.start();
    db
}

#[tokio::test]
async fn a_required_connection_may_be_one_to_the_second_broker() {
    for version in VERSIONS {
        let (bad, good) = (Picky::start(version).await, Picky::start(version).await);
        let code = if version == MqttVersion::V5 { 0x87 } else { 5 };
        bad.on_connect(move |_| OnConnect::Refuse(code));
        let connector =
            mqtt_to(bad.port()).version(version).or(format!("mqtt://127.0.0.1:{}", good.port()));
        let db = required(connector, TIMEOUT);
        connected(&db).await;
        shut_down(&db).await;
        // The next connection stays with the broker that accepts the client.
        assert_eq!((bad.connections(), good.connections()), (1, 1));
    }
}

#[tokio::test]
async fn a_required_connection_fails_in_its_time_also_during_an_attempt() {
    for version in VERSIONS {
        let silent = Picky::start(version).await;
        silent.on_connect(|_| OnConnect::Ignore);
        let connector = mqtt_to(silent.port()).version(version).connect_timeout(100 * TIMEOUT);
        let db = required(connector, Duration::from_millis(300));
        let failed = |health: &String| health.contains("failed");
        eventually("the connector fails", || db.health().to_string(), failed).await;
        db.shutdown(QUIET_TIME).await;
    }
}

#[tokio::test]
async fn a_codec_sees_the_properties_of_a_message_and_none_where_it_has_none() {
    let Some(broker) = Mosquitto::start("") else { return };
    let probe = Probe::connect(broker.port()).await;
    let mut builder = builder();
    builder.connector(mqtt_to(broker.port()));
    builder.configure::<String>("in", |reg| {
        let codec = decode_with(|message: &Incoming<'_>| {
            let properties = message.properties;
            Ok::<_, String>(format!(
                "{:?} {:?} {:?} {:?} {:?} {}",
                properties.content_type,
                properties.response_topic,
                properties.correlation_data,
                properties.user("unit"),
                properties.user("none"),
                properties.user.len(),
            ))
        });
        reg.buffer(QUEUE).link_from("mqtt://in/#?qos=1", codec);
    });
    let db = builder.build().unwrap();
    let mut reader = db.consumer::<String>("in").unwrap().subscribe().unwrap();
    db.start();
    connected(&db).await;
    let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
    let properties = raw::mqttbytes::v5::PublishProperties {
        content_type: Some("text/plain".into()),
        response_topic: Some("answers/7".into()),
        correlation_data: Some(vec![7, 0, 255].into()),
        user_properties: vec![pair("unit", "°C"), pair("unit", "K"), pair("", "")],
        ..Default::default()
    };
    probe.publish_with("in/a", "1", properties).await;
    let expected = r#"Some("text/plain") Some("answers/7") Some([7, 0, 255]) Some("°C") None 3"#;
    assert_eq!(value(&mut reader).await, expected);
    probe.publish("in/a", "2", QoS::AtLeastOnce).await;
    assert_eq!(value(&mut reader).await, "None None None None None 0");
    shut_down(&db).await;
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
        assert_eq!((sent.dropped(), sent.reconnects), (1, 0), "{sent}");
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
        assert_eq!((received.received, received.dropped()), (3, 1), "{received}");
        assert_eq!(received.reconnects, 0);
    }
}

#[tokio::test]
async fn a_persistent_session_keeps_the_messages_that_arrive_while_the_database_is_down() {
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
            eventually("it is received", || link(&db, 0).received, |received| *received == 1).await;
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
async fn over_tls_a_broker_may_send_until_it_has_read_the_disconnect() {
    for version in VERSIONS {
        let Certificates { ca, server: (chain, key), .. } = Certificates::new();
        let chain = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        let broker = Broker::new(version, Some(Arc::new(config))).await;
        let mut builder = builder();
        let url = format!("mqtts://127.0.0.1:{}", broker.port());
        builder.connector(to_url(url).version(version).ca_pem(ca));
        builder.configure::<u64>("in", |reg| {
            reg.buffer(QUEUE).link_from("mqtt://in?qos=1", Json);
        });
        let db = builder.build().unwrap();
        let reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
        db.start();
        the_broker_keeps_sending(&broker, &db, reader).await;
    }
}

#[tokio::test]
async fn all_links_share_a_brokers_receive_maximum_in_turn() {
    let mut broker = Broker::new(MqttVersion::V5, None).await;
    broker.receive_maximum(3);
    let mut builder = builder();
    builder.connector(mqtt_to(broker.port()));
    for key in ["busy", "idle"] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(QUEUE).link_to(format!("mqtt://{key}?qos=1"), Json);
        });
    }
    let db = builder.build().unwrap();
    db.start();
    let mut served = broker.accept_sender().await;
    connected(&db).await;
    let taken = || [0, 1].map(|at| db.metrics().records[at].readers[0].delivered);
    let [busy, idle] = ["busy", "idle"].map(|key| db.producer::<u64>(key).unwrap());
    busy.produce_many(0..10).await.unwrap();
    let mut unacknowledged = VecDeque::new();
    for n in 0..3 {
        let (id, topic, payload) = served.message().await;
        assert_eq!((&*topic, payload), ("busy", n.to_string().into_bytes()));
        unacknowledged.push_back(id);
    }
    // Three are in flight. The others stay in their records.
    idle.produce_many(0..3).await.unwrap();
    tokio::time::sleep(QUIET_TIME).await;
    assert_eq!(taken(), [3, 0]);
    for (key, n, then_taken) in
        [("idle", 0, [3, 1]), ("busy", 3, [4, 1]), ("idle", 1, [4, 2]), ("busy", 4, [5, 2])]
    {
        served.acknowledge(PUBACK, unacknowledged.pop_front().unwrap()).await;
        let (id, topic, payload) = served.message().await;
        assert_eq!((&*topic, payload), (key, n.to_string().into_bytes()));
        unacknowledged.push_back(id);
        assert_eq!(taken(), then_taken);
    }
    // The session is lost, and the new connection has a smaller receive maximum: the messages in flight are sent again
    // before any other.
    drop(served);
    broker.receive_maximum(1);
    let mut served = broker.accept_sender().await;
    for retry in 1..=3 {
        let (id, ..) = served.message().await;
        tokio::time::sleep(QUIET_TIME).await;
        assert_eq!(taken(), [5, 2], "{retry}");
        served.acknowledge(PUBACK, id).await;
    }
    // The messages behind them: five of the one record, one of the other.
    for _ in 0..6 {
        let (id, ..) = served.message().await;
        served.acknowledge(PUBACK, id).await;
    }
    tokio::join!(shut_down(&db), async {
        assert_eq!(served.packet().await.0, DISCONNECT);
        drop(served);
    });
    assert_eq!([0, 1].map(|at| link(&db, at).sent), [10, 3]);
    assert_eq!([0, 1].map(|at| link(&db, at).dropped()), [0, 0]);
}

/// A connected database with `count` values to send at QoS 2, and the broker's end of its connection.
async fn sending(broker: &Broker, connector: MqttConnector, count: u64) -> (Db, Served) {
    let mut builder = builder();
    builder.connector(connector);
    builder.configure::<u64>("out", |reg| {
        reg.buffer(QUEUE).link_to("mqtt://out?qos=2", Json);
    });
    let db = builder.build().unwrap();
    db.start();
    let served = broker.accept_sender().await;
    connected(&db).await;
    db.producer::<u64>("out").unwrap().produce_many(0..count).await.unwrap();
    (db, served)
}

#[tokio::test]
async fn a_shutdown_counts_only_messages_in_flight_as_interrupted() {
    let mut broker = Broker::new(MqttVersion::V5, None).await;
    broker.receive_maximum(3);
    let (db, mut served) = sending(&broker, mqtt_to(broker.port()), 10).await;
    for _ in 0..3 {
        served.message().await;
    }
    let report = db.shutdown(QUIET_TIME).await;
    let unread: u64 = report.undelivered.iter().map(|undelivered| undelivered.unread).sum();
    let interrupted: u64 =
        report.undelivered.iter().map(|undelivered| undelivered.interrupted).sum();
    assert_eq!((unread, interrupted), (7, 3), "{report}");
}

/// After a broken connection the client sends a PUBREL that was in flight again, without its message.
#[tokio::test]
async fn a_message_that_the_broker_has_at_qos_2_is_not_sent_again_after_repeated_connection_losses()
{
    for version in VERSIONS {
        let sent = match version {
            MqttVersion::V5 => 100,
            MqttVersion::V311 => 20,
        };
        let released = sent / 2;
        let broker = Broker::new(version, None).await;
        let connector = mqtt_to(broker.port())
            .version(version)
            .client_id("kept")
            .persistent_session(Duration::from_secs(3600));
        let (db, mut served) = sending(&broker, connector, 150).await;
        let mut ids = BTreeMap::new();
        for n in 0..sent {
            let (id, _, payload) = served.message().await;
            assert_eq!(payload, n.to_string().into_bytes());
            ids.insert(payload, id);
        }
        for id in ids.values().take(released) {
            served.acknowledge(PUBREC, *id).await;
        }
        for id in ids.values().take(released) {
            served.expect_ack(PUBREL, *id).await;
        }
        // Each of these connections breaks during the replay.
        for _ in 0..5 {
            drop(served);
            served = broker.resume().await;
        }
        drop(served);
        served = broker.resume().await;
        let mut seen = BTreeSet::new();
        let mut completed = 0;
        while completed < 150 {
            let (kind, body) = served.packet().await;
            match kind {
                PUBLISH => {
                    let (id, _, payload) = served.parse_message(&body);
                    let known = ids.get(&payload).is_none_or(|before| *before == id);
                    assert!(known && seen.insert(payload), "{version:?}: sent as another");
                    served.acknowledge(PUBREC, id).await;
                }
                PUBREL => {
                    served.acknowledge(PUBCOMP, u16::from_be_bytes([body[0], body[1]])).await;
                    completed += 1;
                }
                kind => panic!("a packet of kind {kind}"),
            }
        }
        assert_eq!(seen.len(), 150 - released, "{version:?}");
        tokio::join!(shut_down(&db), async {
            assert_eq!(served.packet().await.0, DISCONNECT);
            drop(served);
        });
        assert_eq!((link(&db, 0).sent, link(&db, 0).dropped()), (150, 0), "{version:?}");
    }
}

#[tokio::test]
async fn a_connection_may_be_required_within_the_longest_duration() {
    for version in VERSIONS {
        let broker = Picky::start(version).await;
        let mut builder = builder();
        builder
            .connector(mqtt_to(broker.port()).version(version).require_connection(Duration::MAX));
        builder.configure::<u64>("out", |reg| {
            reg.buffer(QUEUE).link_to("mqtt://out?qos=1", Json);
        });
        let db = start(builder).await;
        db.producer::<u64>("out").unwrap().produce(1).await.unwrap();
        shut_down(&db).await;
        assert_eq!(broker.payloads("out"), ["1"]);
    }
}
