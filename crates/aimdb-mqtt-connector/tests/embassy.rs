//! The connector for microcontrollers against Mosquitto, on the host: every quality of service in both directions, what
//! links can ask for, outages, limits, and what it says no to.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimdb_core::link::DeadLetter;
use aimdb_core::{BufferCfg, CodecError, Incoming, Json, decode_with, encode_with};
use aimdb_mqtt_connector::{EmbassyMqttConnector, LastWill, QoS, mqtt};
use support::*;

/// Bytes as they are.
fn bytes_out() -> impl aimdb_core::link::Encode<Vec<u8>> {
    encode_with(|value: &Vec<u8>, out: &mut Vec<u8>| {
        out.extend_from_slice(value);
        Ok::<_, CodecError>(())
    })
}

/// The topic and what the wildcards matched.
fn topic_and_parts() -> impl aimdb_core::link::Decode<String> {
    decode_with(|message: &Incoming<'_>| {
        Ok::<_, CodecError>(format!("{} {}", message.topic, message.parts.join("|")))
    })
}

#[test]
fn values_go_out_in_order_at_every_quality_of_service() {
    let Some(broker) = Mosquitto::start("max_queued_messages 0") else { return };
    on_embassy(async move |builder| {
        let mut probe = Probe::connect(broker.port()).await;
        let mut builder = builder();
        builder.connector(embassy_to(broker.port()));
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
            assert_eq!((link.sent, link.dropped, link.encode_errors), (300, 0, 0), "{link}");
        }
        probe.hears_nothing().await;
    });
}

#[test]
fn messages_come_in_in_order_at_every_quality_of_service() {
    let Some(broker) = Mosquitto::start("max_queued_messages 0") else { return };
    on_embassy(async move |builder| {
        let probe = Probe::connect(broker.port()).await;
        let mut builder = builder();
        builder.connector(embassy_to(broker.port()));
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
    });
}

#[test]
fn only_a_link_that_says_retain_leaves_its_newest_value_at_the_broker() {
    let Some(broker) = Mosquitto::start("") else { return };
    on_embassy(async move |builder| {
        let mut builder = builder();
        builder.connector(embassy_to(broker.port()));
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
        late.hears_nothing().await;
        shut_down(&db).await;
    });
}

#[test]
fn a_codec_sees_what_the_wildcards_matched_and_overlapping_filters_reach_each_record_once() {
    let Some(broker) = Mosquitto::start("") else { return };
    on_embassy(async move |builder| {
        let probe = Probe::connect(broker.port()).await;
        let mut builder = builder();
        builder.connector(embassy_to(broker.port()));
        let filters = ["house/+/+/temp", "house/#", "+/pump/#", "$share/group/roof"];
        for (at, filter) in filters.into_iter().enumerate() {
            builder.configure::<String>(format!("in{at}"), |reg| {
                let filter = mqtt::filter(filter).qos(QoS::AtLeastOnce);
                reg.buffer(QUEUE).link_from(filter, topic_and_parts());
            });
        }
        let db = builder.build().unwrap();
        let mut readers = [0, 1, 2, 3]
            .map(|at| db.consumer::<String>(format!("in{at}")).unwrap().subscribe().unwrap());
        db.start();
        connected(&db).await;
        for (topic, got) in [
            ("house/attic/north/temp", &[(0, "attic|north"), (1, "attic/north/temp")][..]),
            ("house", &[(1, "")]),
            ("house/pump/1", &[(1, "pump/1"), (2, "house|1")]),
            ("roof", &[(3, "")]),
        ] {
            probe.publish(topic, "", QoS::AtLeastOnce).await;
            for (at, parts) in got {
                assert_eq!(value(&mut readers[*at]).await, format!("{topic} {parts}"));
            }
        }
        no_value(&mut readers[0]).await;
        assert!(readers.iter_mut().all(|reader| reader.try_recv().is_err()));
        shut_down(&db).await;
    });
}

#[test]
fn more_subscriptions_than_the_client_has_places_are_all_made() {
    let Some(broker) = Mosquitto::start("") else { return };
    on_embassy(async move |builder| {
        let probe = Probe::connect(broker.port()).await;
        let mut builder = builder();
        builder.connector(embassy_to(broker.port()));
        for at in 0..30 {
            builder.configure::<u64>(format!("in{at}"), |reg| {
                let filter = mqtt::filter(format!("in/{at}")).qos(QoS::AtLeastOnce);
                reg.buffer(QUEUE).link_from(filter, Json);
            });
        }
        let db = builder.build().unwrap();
        let mut reader = db.consumer::<u64>("in29").unwrap().subscribe().unwrap();
        db.start();
        connected(&db).await;
        probe.publish("in/29", "7", QoS::AtLeastOnce).await;
        assert_eq!(value(&mut reader).await, 7);
        shut_down(&db).await;
    });
}

#[test]
fn a_topic_is_computed_from_each_value_and_one_that_is_no_topic_costs_only_its_value() {
    let Some(broker) = Mosquitto::start("") else { return };
    on_embassy(async move |builder| {
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("rooms/#", QoS::AtLeastOnce).await;
        let mut builder = builder();
        builder.connector(embassy_to(broker.port()));
        builder.configure::<String>("readings", |reg| {
            let target = mqtt::topic_from(|name: &String| format!("rooms/{name}"));
            reg.buffer(QUEUE).link_to(target.qos(QoS::AtLeastOnce), Json);
        });
        let db = start(builder).await;
        let names = ["attic", "+", "cellar"].map(String::from);
        db.producer::<String>("readings").unwrap().produce_many(names).await.unwrap();
        for name in ["attic", "cellar"] {
            assert_eq!(probe.text().await, (format!("rooms/{name}"), format!("\"{name}\"")));
        }
        shut_down(&db).await;
        assert_eq!((link(&db, 0).sent, link(&db, 0).encode_errors), (2, 1));
    });
}

#[test]
fn both_directions_heal_after_the_broker_was_away_and_nothing_taken_is_lost() {
    let Some(mut broker) = Mosquitto::start("") else { return };
    on_embassy(async move |builder| {
        let mut builder = builder();
        builder.connector(embassy_to(broker.port()));
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            builder.configure::<u64>(format!("out{}", qos as u8), |reg| {
                let topic = mqtt::topic(format!("out/{}", qos as u8)).qos(qos).retain();
                reg.buffer(QUEUE).link_to(topic, Json);
            });
        }
        builder.configure::<u64>("newest", |reg| {
            reg.buffer(BufferCfg::SingleLatest).link_to("mqtt://newest?qos=1", Json);
        });
        builder.configure::<u64>("in", |reg| {
            reg.buffer(QUEUE).link_from("mqtt://in/+?qos=1", Json);
        });
        let db = builder.build().unwrap();
        let mut reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
        db.start();
        connected(&db).await;
        for round in 1..=3_u64 {
            broker.kill();
            eventually(
                "the loss is noticed",
                || db.health(),
                |health| health.links.iter().all(|link| !link.connected),
            )
            .await;
            for key in ["out1", "out2", "newest"] {
                db.producer::<u64>(key).unwrap().produce_many([10 * round, round]).await.unwrap();
            }
            tokio::time::sleep(SILENCE).await;
            assert_eq!(link(&db, 0).sent, 2 * (round - 1), "{}", link(&db, 0));
            broker.restart();
            connected(&db).await;
            let mut probe = Probe::connect(broker.port()).await;
            eventually(
                "what was kept is sent",
                || (link(&db, 0).sent, link(&db, 1).sent, link(&db, 2).sent),
                |sent| *sent == (2 * round, 2 * round, round),
            )
            .await;
            probe.subscribe("out/2", QoS::ExactlyOnce).await;
            assert_eq!(probe.number().await, round);
            probe.publish("in/a", round.to_string(), QoS::AtLeastOnce).await;
            assert_eq!(value(&mut reader).await, round);
            assert_eq!(link(&db, 3).reconnects, round);
        }
        shut_down(&db).await;
        assert!((0..4).all(|at| link(&db, at).dropped == 0));
    });
}

#[test]
fn a_broken_connection_loses_nothing_at_qos_1_and_2_and_doubles_nothing_at_qos_2() {
    let Some(broker) = Mosquitto::start("max_queued_messages 0") else { return };
    on_embassy(async move |builder| {
        let proxy = Proxy::to(broker.port()).await;
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("out/#", QoS::ExactlyOnce).await;
        let mut builder = builder();
        let connector = embassy_to(proxy.port()).keep_session(Duration::from_secs(60));
        builder.connector(connector);
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            builder.configure::<u64>(format!("out{}", qos as u8), |reg| {
                let topic = mqtt::topic(format!("out/{}", qos as u8)).qos(qos);
                reg.buffer(QUEUE).link_to(topic, Json);
            });
        }
        let db = start(builder).await;
        let mut came = [Vec::new(), Vec::new()];
        for round in 0..10_u64 {
            for key in ["out1", "out2"] {
                let values = round * 20..(round + 1) * 20;
                db.producer::<u64>(key).unwrap().produce_many(values).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(round)).await;
            proxy.cut();
            connected(&db).await;
        }
        eventually(
            "all is acknowledged",
            || (link(&db, 0).sent, link(&db, 1).sent),
            |sent| *sent == (200, 200),
        )
        .await;
        shut_down(&db).await;
        while came.iter().any(|came| came.last() != Some(&199)) {
            let (topic, text) = probe.text().await;
            came[usize::from(topic == "out/2")].push(text.parse::<u64>().unwrap());
        }
        let all: Vec<u64> = (0..200).collect();
        // What is sent again may come after later ones.
        came.iter_mut().for_each(|came| came.sort_unstable());
        assert_eq!(came[1], all);
        came[0].dedup();
        assert_eq!(came[0], all);
    });
}

#[test]
fn a_packet_over_the_send_buffer_or_the_brokers_limit_is_dropped_and_counted() {
    let Some(broker) = Mosquitto::start("max_packet_size 900") else { return };
    on_embassy(async move |builder| {
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("out/#", QoS::AtLeastOnce).await;
        let mut builder = builder();
        builder.connector(embassy_to(broker.port()).client_id("limits").send_buffer(1024));
        for qos in LEVELS {
            builder.configure::<Vec<u8>>(format!("out{}", qos as u8), |reg| {
                let topic = mqtt::topic(format!("out/{}", qos as u8)).qos(qos);
                reg.buffer(QUEUE).link_to(topic, bytes_out());
            });
        }
        let db = start(builder).await;
        for qos in LEVELS {
            let producer = db.producer::<Vec<u8>>(format!("out{}", qos as u8)).unwrap();
            for size in [5000, 880 + 15, 700, 1] {
                producer.produce(vec![b'x'; size]).await.unwrap();
            }
            for size in [700, 1] {
                assert_eq!(probe.next().await.payload.len(), size);
            }
            let at = qos as usize;
            eventually("all has ended", || link(&db, at), |link| link.sent == 2).await;
            assert_eq!((link(&db, at).dropped, link(&db, at).reconnects), (2, 0));
            assert_eq!(
                link(&db, at).last_error.as_deref(),
                Some(&*format!(
                    "a message of `out{at}` to `out/{at}` was dropped: its packet of 920 bytes is over the broker's \
                     limit"
                ))
            );
        }
        shut_down(&db).await;
    });
}

#[test]
fn a_message_that_the_broker_refuses_is_dropped_and_counted() {
    let Some(broker) = Mosquitto::start("message_size_limit 100") else { return };
    on_embassy(async move |builder| {
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("out", QoS::AtLeastOnce).await;
        let mut builder = builder();
        builder.connector(embassy_to(broker.port()));
        builder.configure::<Vec<u8>>("out", |reg| {
            reg.buffer(QUEUE).link_to("mqtt://out?qos=1", bytes_out());
        });
        let db = start(builder).await;
        for size in [1, 200, 2] {
            db.producer::<Vec<u8>>("out").unwrap().produce(vec![b'x'; size]).await.unwrap();
        }
        for size in [1, 2] {
            assert_eq!(probe.next().await.payload.len(), size);
        }
        shut_down(&db).await;
        let link = link(&db, 0);
        assert_eq!((link.sent, link.dropped, link.reconnects), (2, 1, 0), "{link}");
        assert_eq!(
            link.last_error.as_deref(),
            Some("a message of `out` to `out` was dropped: the broker refused it: PacketTooLarge")
        );
    });
}

#[test]
fn a_bad_payload_is_counted_and_kept_as_a_dead_letter_and_the_next_good_one_arrives() {
    let Some(broker) = Mosquitto::start("") else { return };
    on_embassy(async move |builder| {
        let probe = Probe::connect(broker.port()).await;
        let letters = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&letters);
        let mut builder = builder();
        builder.connector(embassy_to(broker.port()));
        builder.on_dead_letter(move |letter: &DeadLetter<'_>| {
            let DeadLetter { record, link, message, .. } = letter;
            kept.lock().unwrap().push(format!("{record} | {link} | {}", message.topic));
        });
        builder.configure::<u64>("in", |reg| {
            reg.buffer(QUEUE).link_from("mqtt://in/+?qos=2", Json);
        });
        let db = builder.build().unwrap();
        let mut reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
        db.start();
        connected(&db).await;
        probe.publish("in/bad", "warm", QoS::ExactlyOnce).await;
        probe.publish("in/good", "20", QoS::ExactlyOnce).await;
        assert_eq!(value(&mut reader).await, 20);
        assert_eq!(*letters.lock().unwrap(), ["in | mqtt://in/+?qos=2 | in/bad"]);
        shut_down(&db).await;
        assert_eq!((link(&db, 0).received, link(&db, 0).decode_errors), (2, 1));
    });
}

#[test]
fn the_last_will_is_published_after_a_crash_and_not_after_a_shutdown() {
    let Some(broker) = Mosquitto::start("") else { return };
    on_embassy(async move |builder| {
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("will", QoS::AtLeastOnce).await;
        let proxy = Proxy::to(broker.port()).await;
        let with_a_will = || {
            let mut builder = builder();
            let will = LastWill::new("will", "gone").qos(QoS::AtLeastOnce);
            builder.connector(embassy_to(proxy.port()).last_will(will));
            builder.configure::<u64>("out", |reg| {
                reg.buffer(QUEUE).link_to("mqtt://out", Json);
            });
            builder
        };
        let db = start(with_a_will()).await;
        shut_down(&db).await;
        probe.hears_nothing().await;
        let db = start(with_a_will()).await;
        proxy.cut();
        assert_eq!(probe.text().await, ("will".into(), "gone".into()));
        shut_down(&db).await;
    });
}

#[test]
fn a_kept_session_brings_what_came_while_the_connection_was_broken() {
    let Some(broker) = Mosquitto::start("") else { return };
    on_embassy(async move |builder| {
        let proxy = Proxy::to(broker.port()).await;
        let probe = Probe::connect(broker.port()).await;
        let mut builder = builder();
        let connector = embassy_to(proxy.port())
            .keep_session(Duration::from_secs(60))
            .backoff(SILENCE * 2, SILENCE * 2);
        builder.connector(connector);
        builder.configure::<u64>("in", |reg| {
            reg.buffer(QUEUE).link_from("mqtt://in?qos=2", Json);
        });
        let db = builder.build().unwrap();
        let mut reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
        db.start();
        connected(&db).await;
        proxy.cut();
        eventually("the loss is noticed", || link(&db, 0), |link| !link.connected).await;
        for n in 0..20_u64 {
            probe.publish("in", n.to_string(), QoS::ExactlyOnce).await;
        }
        for n in 0..20 {
            assert_eq!(value(&mut reader).await, n);
        }
        no_value(&mut reader).await;
        shut_down(&db).await;
    });
}

#[test]
fn user_and_password_are_sent_and_a_refusal_is_told() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("passwords");
    std::fs::write(&file, "").unwrap();
    let lines = format!("allow_anonymous false\npassword_file {}", file.display());
    let Some(broker) = Mosquitto::start(&lines) else { return };
    on_embassy(async move |builder| {
        let mut builder = builder();
        builder.connector(embassy_to(broker.port()).credentials("me", "wrong"));
        builder.configure::<u64>("out", |reg| {
            reg.buffer(QUEUE).link_to("mqtt://out", Json);
        });
        let db = builder.build().unwrap();
        db.start();
        let refused = "broker returned failure reason NotAuthorized";
        eventually(
            "the refusal is told",
            || link(&db, 0).last_error,
            |error| error.as_deref() == Some(refused),
        )
        .await;
        shut_down(&db).await;
    });
}

#[test]
fn whatever_it_cannot_do_is_a_finding() {
    on_embassy(async move |builder| {
        let mut builder = builder();
        let will = LastWill::new("w".repeat(129), "");
        let connector = EmbassyMqttConnector::new("10.0.0.2:1883", Tcp(1))
            .client_id("c".repeat(65))
            .keep_alive(Duration::from_millis(1500))
            .keep_session(Duration::from_millis(1))
            .backoff(Duration::ZERO, Duration::ZERO)
            .last_will(will)
            .receive_buffer(16)
            .send_buffer(128);
        builder.connector(connector);
        builder.configure::<u64>("r", |reg| {
            reg.buffer(QUEUE)
                .source(|_ctx, _producer| async {})
                .link_to("mqtt://a/+?qos=3&colour=red", Json);
        });
        let error = builder.build().unwrap_err();
        let whole = "the graph has 10 findings; nothing was started
  E17 connector `mqtt` to `10.0.0.2:1883`: a keep-alive of 1.5s cannot be sent; use whole seconds, 1 to 65535, or zero for none
  E17 connector `mqtt` to `10.0.0.2:1883`: a receive buffer of 16 bytes is too small; use 128 bytes at least
  E17 connector `mqtt` to `10.0.0.2:1883`: a send buffer of 128 bytes is too small: connecting takes 230 of them; use 294 bytes at least
  E17 connector `mqtt` to `10.0.0.2:1883`: a session cannot be kept for 1ms after a break; use whole seconds, 1 to 4294967295
  E17 connector `mqtt` to `10.0.0.2:1883`: it would try to connect without a pause; give `.backoff(…)` a first pause, for instance 250 ms
  E17 connector `mqtt` to `10.0.0.2:1883`: the client id is 65 bytes long; use 64 bytes at most, which is what the client has room for
  E17 connector `mqtt` to `10.0.0.2:1883`: the last will's topic is 129 bytes long; use 128 bytes at most, which is what the client has room for
  E14 record `r`: in its link to `mqtt://a/+?qos=3&colour=red` the topic contains the wildcard `+`, but a message needs one exact topic; name the topic to publish to, for instance `sensors/temp/indoor`
  E15 record `r`: in its link to `mqtt://a/+?qos=3&colour=red` the option `colour` is unknown; there are `qos` and `retain`
  E15 record `r`: in its link to `mqtt://a/+?qos=3&colour=red` the option `qos` is `3`; it can be 0, 1 or 2";
        assert_eq!(error.to_string(), whole);
    });
    on_embassy(async move |builder| {
        let mut builder = builder();
        builder.connector(embassy_to(1).client_id("me").send_buffer(200).receive_buffer(128));
        builder.configure::<u64>("r", |reg| {
            reg.buffer(QUEUE).link_from(mqtt::filter("t".repeat(150)), Json).tap(|_, _| async {});
        });
        let error = builder.build().unwrap_err();
        let topic = "t".repeat(150);
        assert_eq!(
            error.to_string(),
            format!(
                "the graph has 1 finding; nothing was started\n  E14 record `r`: in its link from `mqtt://{topic}` the \
                 topic is 150 bytes long, and the send buffer has room for 147; use a larger `.send_buffer(…)`, or a \
                 shorter topic"
            )
        );
    });
}
