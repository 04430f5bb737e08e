//! Limits: sizes, room, refusals of the broker, payloads that do not decode.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimdb_core::DeadLetter;
use aimdb_core::loss::Loss;
use aimdb_core::{BufferCfg, Json};
use aimdb_mqtt_connector::{MqttVersion, QoS, mqtt};

use super::broker::{Broker, client};
use super::{Setup, Subject, bytes_in, bytes_out};
use crate::support::*;

pub async fn empty_and_largest_payloads_pass_both_ways_and_a_larger_one_is_dropped_and_counted<
    S: Subject,
>(
    subject: S,
) {
    const LARGEST: usize = 3000;
    let Some(broker) = Mosquitto::start("") else { return };
    let mut probe = Probe::connect(broker.port()).await;
    probe.subscribe("out/#", QoS::AtLeastOnce).await;
    let mut builder =
        subject.builder_with(Setup { largest: Some(LARGEST), ..Setup::to(broker.port()) });
    for qos in LEVELS {
        let n = qos as u8;
        builder.configure::<Vec<u8>>(format!("out{n}"), |reg| {
            reg.buffer(QUEUE).link_to(mqtt::topic(format!("out/{n}")).qos(qos), bytes_out());
        });
        builder.configure::<Vec<u8>>(format!("in{n}"), |reg| {
            reg.buffer(QUEUE).link_from(mqtt::filter(format!("in/{n}")).qos(qos), bytes_in());
        });
    }
    let db = builder.build().unwrap();
    let mut readers =
        [0, 1, 2].map(|n| db.consumer::<Vec<u8>>(format!("in{n}")).unwrap().subscribe().unwrap());
    db.start();
    connected(&db).await;
    let bytes = |size: usize| (0..size).map(|n| n as u8).collect::<Vec<_>>();
    for (at, qos) in LEVELS.into_iter().enumerate() {
        let out = db.producer::<Vec<u8>>(format!("out{at}")).unwrap();
        for size in [0, LARGEST, 2 * LARGEST + 1, 1] {
            out.produce(bytes(size)).await.unwrap();
            probe.publish(&format!("in/{at}"), bytes(size), qos).await;
        }
        for size in [0, LARGEST, 1] {
            assert_eq!(probe.next().await.payload, bytes(size));
            assert_eq!(value(&mut readers[at]).await, bytes(size));
        }
    }
    shut_down(&db).await;
    let metrics = db.metrics().links;
    for out in metrics.iter().filter(|link| link.direction.is_outbound()) {
        assert_eq!((out.sent, out.dropped(), out.reconnects), (3, 1, 0), "{out}");
        assert_eq!(out.lost.of(Loss::TooLarge), 1, "{out:?}");
        assert!(out.last_error.as_deref().unwrap().contains(" is over the "), "{out:?}");
    }
    // A broker that knows the limit does not send a larger payload.
    let inbound = metrics.iter().filter(|link| !link.direction.is_outbound());
    assert!(
        inbound.clone().all(|link| link.received - link.dropped() == 3 && link.reconnects == 0)
    );
}

pub async fn a_packet_over_the_brokers_limit_is_dropped_and_counted<S: Subject>(subject: S) {
    // MQTT 3.1.1 has no such limit.
    if S::VERSION != MqttVersion::V5 {
        return;
    }
    let Some(broker) = Mosquitto::start("max_packet_size 900") else { return };
    let mut probe = Probe::connect(broker.port()).await;
    probe.subscribe("out/#", QoS::AtLeastOnce).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    for qos in LEVELS {
        builder.configure::<Vec<u8>>(format!("out{}", qos as u8), |reg| {
            let topic = mqtt::topic(format!("out/{}", qos as u8)).qos(qos);
            reg.buffer(QUEUE).link_to(topic, bytes_out());
        });
    }
    let db = start(builder).await;
    for (at, qos) in LEVELS.into_iter().enumerate() {
        let producer = db.producer::<Vec<u8>>(format!("out{}", qos as u8)).unwrap();
        for size in [5000, 895, 700, 1] {
            producer.produce(vec![b'x'; size]).await.unwrap();
        }
        for size in [700, 1] {
            assert_eq!(probe.next().await.payload.len(), size);
        }
        eventually("both are sent", || link(&db, at), |link| link.sent == 2).await;
        let link = link(&db, at);
        assert_eq!((link.dropped(), link.reconnects), (2, 0), "{link}");
        let error = link.last_error.unwrap();
        assert!(error.contains("bytes is over the broker's limit"), "{error}");
    }
    shut_down(&db).await;
}

/// Mosquitto does not announce its `message_size_limit`, and refuses with a reason that MQTT 5 does not list for PUBACK
/// and PUBREC.
pub async fn a_message_that_the_broker_refuses_is_dropped_and_counted<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start("message_size_limit 1000") else { return };
    let mut probe = Probe::connect(broker.port()).await;
    probe.subscribe("t", QoS::AtLeastOnce).await;
    for qos in LEVELS {
        let mut builder = subject.builder_with(Setup::to(broker.port()));
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
        // At QoS 0 there is no acknowledgement, and an acknowledgement of MQTT 3.1.1 cannot refuse.
        let reported = S::VERSION == MqttVersion::V5 && qos > QoS::AtMostOnce;
        let (sent, dropped) = if reported { (3, 3) } else { (6, 0) };
        assert_eq!((link.sent, link.dropped(), link.reconnects), (sent, dropped, 0), "{link}");
        assert_eq!(link.lost.of(Loss::Refused), dropped, "{link:?}");
        let start = "a message of `out` to `t` was dropped: the broker refused it: ";
        assert_eq!(link.last_error.is_some_and(|error| error.starts_with(start)), reported);
        probe.receives_nothing().await;
    }
}

pub async fn a_bad_payload_is_counted_and_kept_as_a_dead_letter_and_the_next_good_one_arrives<
    S: Subject,
>(
    subject: S,
) {
    let Some(broker) = Mosquitto::start("") else { return };
    let probe = Probe::connect(broker.port()).await;
    let letters = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&letters);
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    builder.on_dead_letter(move |letter: &DeadLetter<'_>| {
        let DeadLetter { record, link, message, reason, .. } = letter;
        let text = format!("{record} | {link} | {} | {reason}", message.topic);
        kept.lock().unwrap().push((text, message.payload.to_vec()));
        assert_ne!(message.payload, b"the hook panics");
    });
    builder.configure::<u64>("in", |reg| {
        reg.buffer(QUEUE).link_from("mqtt://in/+?qos=2", Json);
    });
    let db = builder.build().unwrap();
    let mut reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
    db.start();
    connected(&db).await;
    let noise: Vec<u8> =
        (0_u32..900).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let bad: [&[u8]; 5] = [&noise, b"", &[0xff, 0xfe, 0x80], b"\"warm\"", b"the hook panics"];
    for (at, payload) in bad.into_iter().enumerate() {
        probe.publish(&format!("in/{at}"), payload, QoS::ExactlyOnce).await;
        probe.publish("in/good", at.to_string(), QoS::ExactlyOnce).await;
        assert_eq!(value(&mut reader).await, at as u64);
        let letter = letters.lock().unwrap()[at].clone();
        let start = format!("in | mqtt://in/+?qos=2 | in/{at} | ");
        assert!(letter.0.starts_with(&start) && letter.0.len() > start.len(), "{}", letter.0);
        assert_eq!(letter.1, payload);
    }
    probe.publish("no/link/subscribes", "x", QoS::AtLeastOnce).await;
    shut_down(&db).await;
    let link = link(&db, 0);
    assert_eq!((link.received, link.decode_errors(), link.dropped()), (10, 5, 0), "{link}");
    assert_eq!(link.reconnects, 0);
}

/// Sends many more messages than any client accepts without acknowledging.
pub async fn a_full_record_holds_back_its_own_messages_and_loses_none<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    for (qos, other) in [(QoS::AtLeastOnce, QoS::ExactlyOnce), (QoS::ExactlyOnce, QoS::AtLeastOnce)]
    {
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("out", QoS::AtLeastOnce).await;
        let mut builder = subject.builder_with(Setup::to(broker.port()));
        builder.configure::<u64>("full", |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 2 })
                .link_from(mqtt::filter("full").qos(qos), Json);
        });
        for (key, qos) in [("free", other), ("quick", QoS::AtMostOnce)] {
            builder.configure::<u64>(key, |reg| {
                reg.buffer(QUEUE).link_from(mqtt::filter(key).qos(qos), Json);
            });
        }
        builder.configure::<u64>("out", |reg| {
            reg.buffer(QUEUE).link_to("mqtt://out?qos=1", Json);
        });
        let db = builder.build().unwrap();
        let mut readers = ["full", "free", "quick"]
            .map(|key| db.consumer::<u64>(key).unwrap().subscribe().unwrap());
        db.start();
        connected(&db).await;
        let [full, free, quick] = &mut readers;
        // While the receive maximum is not used up, every link at the other level continues.
        for n in 0..5_u64 {
            probe.publish("full", n.to_string(), qos).await;
        }
        eventually("the record is full", || db.health().blocked, |blocked| blocked.len() == 1)
            .await;
        for n in 0..100_u64 {
            probe.publish("free", n.to_string(), other).await;
            assert_eq!(value(free).await, n);
        }
        // Then the receive maximum is used up, and only outbound messages and QoS 0 continue.
        for n in 5..200_u64 {
            probe.publish("full", n.to_string(), qos).await;
        }
        for n in 0..100_u64 {
            db.producer::<u64>("out").unwrap().produce(n).await.unwrap();
            assert_eq!(probe.number().await, n);
            probe.publish("quick", n.to_string(), QoS::AtMostOnce).await;
            assert_eq!(value(quick).await, n);
        }
        for n in 0..200 {
            assert_eq!(value(full).await, n);
        }
        probe.publish("free", "100", other).await;
        assert_eq!(value(free).await, 100);
        no_value(full).await;
        shut_down(&db).await;
        let counted = db.metrics().links;
        assert!(
            counted.iter().all(|link| link.dropped() == 0 && link.reconnects == 0),
            "{counted:?}"
        );
        assert_eq!(counted[0].received, 200);
    }
}

/// Mosquitto 2.0.11 exceeds it after an outage.
pub async fn a_broker_that_exceeds_the_receive_maximum_is_held_back<S: Subject>(subject: S) {
    let broker = Broker::new(S::VERSION, None).await;
    let (db, mut reader) = client(&subject, broker.port(), BufferCfg::SpmcQueue { capacity: 2 });
    let mut served = broker.accept().await;
    served.grant().await;
    for n in 1..=200 {
        served.publish(n).await.unwrap();
    }
    eventually("the record is full", || db.health().blocked, |blocked| blocked.len() == 1).await;
    for n in 1..=200 {
        assert_eq!(value(&mut reader).await, u64::from(n));
        served.expect_puback(n).await;
    }
    tokio::join!(shut_down(&db), async { drop(served) });
    assert_eq!((link(&db, 0).received, link(&db, 0).dropped()), (200, 0));
}

/// Memory is bounded: the connector stops reading from a broker that ignores the receive maximum.
pub async fn a_broker_that_never_stops_sending_to_a_full_record_is_not_read<S: Subject>(
    subject: S,
) {
    let broker = Broker::new(S::VERSION, None).await;
    let (db, _reader) = client(&subject, broker.port(), BufferCfg::SpmcQueue { capacity: 2 });
    let mut served = broker.accept().await;
    served.grant().await;
    // The decoder ignores white space around the number. Sockets buffer some megabytes at most.
    let payload = [b"7", &[b' '; 900][..]].concat();
    for id in 1.. {
        let sent = served.publish_as(0x32, "in", id, &payload);
        if tokio::time::timeout(QUIET_TIME * 3, sent).await.is_err() {
            break;
        }
        assert!(id < 12_000, "ten megabytes were read");
    }
    drop(served);
    let _report = db.shutdown(QUIET_TIME).await;
}

pub async fn a_full_record_does_not_break_the_connection<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    let probe = Probe::connect(broker.port()).await;
    let keep_alive = Duration::from_secs(4);
    let mut builder =
        subject.builder_with(Setup { keep_alive: Some(keep_alive), ..Setup::to(broker.port()) });
    builder.configure::<u64>("in", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 1 }).link_from("mqtt://in?qos=1", Json);
    });
    let db = builder.build().unwrap();
    let mut reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
    db.start();
    connected(&db).await;
    for n in 0..40_u64 {
        probe.publish("in", n.to_string(), QoS::AtLeastOnce).await;
    }
    // A broker closes an idle connection after one and a half intervals.
    tokio::time::sleep(keep_alive * 2).await;
    for n in 0..40 {
        assert_eq!(value(&mut reader).await, n);
    }
    shut_down(&db).await;
    assert_eq!((link(&db, 0).reconnects, link(&db, 0).dropped()), (0, 0));
}

pub async fn messages_without_room_at_qos_0_are_dropped_and_counted<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    let probe = Probe::connect(broker.port()).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    builder.configure::<u64>("in", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 2 }).link_from("mqtt://in", Json);
    });
    let db = builder.build().unwrap();
    let mut reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
    db.start();
    connected(&db).await;
    for n in 0..2000_u64 {
        probe.publish("in", n.to_string(), QoS::AtMostOnce).await;
    }
    // Messages that wait are not counted yet; no connector lets more than a thousand wait.
    eventually("some are dropped", || link(&db, 0), |link| link.dropped() > 900).await;
    probe.publish("in", "2000", QoS::AtMostOnce).await;
    let (mut arrived, mut last) = (0, None);
    let reading = async {
        while arrived + link(&db, 0).dropped() < 2001 {
            if let Ok(Ok(n)) = tokio::time::timeout(QUIET_TIME, reader.recv()).await {
                assert!(last < Some(n), "{n} after {last:?}");
                (arrived, last) = (arrived + 1, Some(n));
            }
        }
    };
    within("every message to arrive or be dropped", reading).await;
    assert!(arrived >= 3, "{arrived}");
    shut_down(&db).await;
    let link = link(&db, 0);
    assert_eq!(
        (link.received, link.dropped(), link.reconnects),
        (2001, 2001 - arrived, 0),
        "{link}"
    );
    assert_eq!(link.lost.of(Loss::FullRecord), 2001 - arrived, "{link:?}");
}

pub async fn a_wrong_password_is_reported_and_the_right_one_connects<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start_with_password("me", "pässwört") else { return };
    let build = |password| {
        let setup = Setup { credentials: Some(("me", password)), ..Setup::to(broker.port()) };
        let mut builder = subject.builder_with(setup);
        builder.configure::<u64>("out", |reg| {
            reg.buffer(QUEUE).link_to("mqtt://out?qos=1", Json);
        });
        builder
    };
    let db = build("wrong").build().unwrap();
    db.start();
    eventually(
        "the refusal is reported",
        || db.health().links[0].last_error.clone().unwrap_or_default().to_lowercase(),
        |error| error.replace(' ', "").contains("notauthorized"),
    )
    .await;
    assert!(!db.health().links[0].connected && !db.health().is_healthy());
    shut_down(&db).await;
    let db = start(build("pässwört")).await;
    db.producer::<u64>("out").unwrap().produce(1).await.unwrap();
    shut_down(&db).await;
    assert_eq!(link(&db, 0).sent, 1);
}
