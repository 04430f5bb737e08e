//! Brokers that stop, connections that break.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use aimdb_core::{AimDb, BufferCfg, Json};
use aimdb_mqtt_connector::{QoS, mqtt};

use super::broker::{Broker, PUBCOMP, PUBREC, client};
use super::{Setup, Subject};
use crate::support::*;

const HOUR: Duration = Duration::from_secs(3600);

pub async fn both_directions_recover_after_an_outage_and_no_taken_message_is_lost<S: Subject>(
    subject: S,
) {
    let Some(mut broker) = Mosquitto::start(UNLIMITED) else { return };
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        builder.configure::<u64>(format!("out{}", qos as u8), |reg| {
            let topic = mqtt::topic(format!("out/{}", qos as u8)).qos(qos).retain();
            reg.buffer(QUEUE).link_to(topic, Json);
        });
    }
    builder.configure::<u64>("in", |reg| {
        reg.buffer(QUEUE).link_from("mqtt://in/+?qos=1", Json);
    });
    let db = builder.build().unwrap();
    let mut reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
    db.start();
    connected(&db).await;
    for round in 1..=3_u64 {
        broker.kill();
        disconnected(&db).await;
        for key in ["out1", "out2"] {
            db.producer::<u64>(key).unwrap().produce_many([10 * round, round]).await.unwrap();
        }
        tokio::time::sleep(QUIET_TIME).await;
        assert_eq!(link(&db, 0).sent, 2 * (round - 1), "{}", link(&db, 0));
        broker.restart();
        connected(&db).await;
        let mut probe = Probe::connect(broker.port()).await;
        eventually(
            "the kept messages are sent",
            || (link(&db, 0).sent, link(&db, 1).sent),
            |sent| *sent == (2 * round, 2 * round),
        )
        .await;
        probe.subscribe("out/2", QoS::ExactlyOnce).await;
        assert_eq!(probe.number().await, round);
        probe.publish("in/a", round.to_string(), QoS::AtLeastOnce).await;
        assert_eq!(value(&mut reader).await, round);
        assert_eq!(link(&db, 2).reconnects, round);
    }
    shut_down(&db).await;
    assert!((0..3).all(|at| link(&db, at).dropped() == 0));
}

pub async fn an_outage_loses_only_the_values_that_a_buffer_overwrites<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    let proxy = Proxy::to(broker.port()).await;
    let mut builder = subject.builder_with(Setup::to(proxy.port()));
    for (key, buffer) in [
        ("queue", BufferCfg::SpmcQueue { capacity: 20 }),
        ("ring", BufferCfg::SpmcRing { capacity: 20 }),
        ("latest", BufferCfg::SingleLatest),
    ] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(buffer).link_to(mqtt::topic(key).qos(QoS::AtLeastOnce), Json);
        });
    }
    let db = start(builder).await;
    let mut probes = Vec::new();
    for key in ["queue", "ring", "latest"] {
        let probe = Probe::connect(broker.port()).await;
        probe.subscribe(key, QoS::AtLeastOnce).await;
        probes.push(probe);
    }
    proxy.close(true);
    disconnected(&db).await;
    for key in ["ring", "latest"] {
        db.producer::<u64>(key).unwrap().produce_many(0..100).await.unwrap();
    }
    let queue = db.producer::<u64>("queue").unwrap();
    queue.produce_many(0..20).await.unwrap();
    let full = tokio::time::timeout(QUIET_TIME, queue.produce(20)).await;
    assert!(full.is_err(), "a queue holds its writers back");
    proxy.close(false);
    for (probe, expected) in probes.iter_mut().zip([0..20, 80..100, 99..100]) {
        for n in expected {
            assert_eq!(probe.number().await, n);
        }
    }
    assert_eq!([0, 1, 2].map(|at| db.metrics().records[at].readers[0].lagged), [0, 80, 99]);
    shut_down(&db).await;
    for probe in &mut probes {
        probe.receives_nothing().await;
    }
    assert_eq!([0, 1, 2].map(|at| link(&db, at).sent), [20, 20, 1]);
}

pub async fn a_broken_connection_loses_nothing_at_qos_1_and_2_and_duplicates_nothing_at_qos_2<
    S: Subject,
>(
    subject: S,
) {
    let rounds = (0..10).map(|round| round * 20..(round + 1) * 20);
    over_a_connection_that_breaks(subject, rounds).await;
}

/// When the connection breaks, the sent messages have packet identifiers, and the others need them. No message may wait
/// indefinitely for an identifier.
pub async fn more_messages_than_packet_identifiers_survive_repeated_connection_losses<
    S: Subject,
>(
    subject: S,
) {
    let rounds = (0..10).map(|round| if round == 0 { 0..200 } else { 0..0 });
    over_a_connection_that_breaks(subject, rounds).await;
}

/// Sends 0 to 199 at QoS 1 and at QoS 2, some in each round, and breaks the connection at the end of each.
async fn over_a_connection_that_breaks<S: Subject>(
    subject: S,
    rounds: impl Iterator<Item = Range<u64>>,
) {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    let proxy = Proxy::to(broker.port()).await;
    let mut probe = Probe::connect(broker.port()).await;
    probe.subscribe("out/#", QoS::ExactlyOnce).await;
    let mut builder = subject.builder_with(kept_session(&proxy));
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        builder.configure::<u64>(format!("out{}", qos as u8), |reg| {
            let topic = mqtt::topic(format!("out/{}", qos as u8)).qos(qos);
            reg.buffer(QUEUE).link_to(topic, Json);
        });
    }
    let db = start(builder).await;
    for (round, values) in (0..).zip(rounds) {
        for key in ["out1", "out2"] {
            db.producer::<u64>(key).unwrap().produce_many(values.clone()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(round)).await;
        cut(&proxy, &db).await;
    }
    eventually(
        "all is acknowledged",
        || (link(&db, 0).sent, link(&db, 1).sent),
        |sent| *sent == (200, 200),
    )
    .await;
    shut_down(&db).await;
    // Messages that are sent again may arrive after later ones.
    let mut arrived = [Vec::new(), Vec::new()];
    let distinct = |arrived: &Vec<_>| arrived.iter().collect::<BTreeSet<_>>().len();
    loop {
        let (topic, text) = match tokio::time::timeout(QUIET_TIME, probe.text()).await {
            Ok(message) => message,
            Err(_) if arrived.iter().all(|arrived| distinct(arrived) == 200) => break,
            Err(_) => probe.text().await,
        };
        arrived[usize::from(topic == "out/2")].push(text.parse::<u64>().unwrap());
    }
    arrived.iter_mut().for_each(|arrived| arrived.sort_unstable());
    let all: Vec<u64> = (0..200).collect();
    assert_eq!(arrived[1], all);
    arrived[0].dedup();
    assert_eq!(arrived[0], all);
}

pub async fn a_kept_session_delivers_the_messages_of_an_outage<S: Subject>(subject: S) {
    // More messages than the client allows in flight. Mosquitto 2.0.11 exceeds that limit with messages that waited.
    let Some(broker) = Mosquitto::start("") else { return };
    let proxy = Proxy::to(broker.port()).await;
    let probe = Probe::connect(broker.port()).await;
    let mut builder = subject.builder_with(kept_session(&proxy));
    for qos in [1, 2] {
        builder.configure::<u64>(format!("in{qos}"), |reg| {
            reg.buffer(QUEUE).link_from(format!("mqtt://in/{qos}?qos={qos}"), Json);
        });
    }
    let db = builder.build().unwrap();
    let mut readers =
        [1, 2].map(|qos| db.consumer::<u64>(format!("in{qos}")).unwrap().subscribe().unwrap());
    db.start();
    connected(&db).await;
    proxy.close(true);
    disconnected(&db).await;
    for n in 0..40_u64 {
        probe.publish("in/1", n.to_string(), QoS::AtLeastOnce).await;
        probe.publish("in/2", n.to_string(), QoS::ExactlyOnce).await;
    }
    proxy.close(false);
    for reader in &mut readers {
        let mut arrived = Vec::new();
        while arrived.len() < 40 {
            arrived.push(value(reader).await);
        }
        // The broker does not keep the order of messages that waited beyond its in-flight limit.
        arrived.sort_unstable();
        assert_eq!(arrived, (0..40).collect::<Vec<_>>());
        no_value(reader).await;
    }
    shut_down(&db).await;
}

pub async fn messages_that_wait_for_a_full_record_survive_broken_connections<S: Subject>(
    subject: S,
) {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let proxy = Proxy::to(broker.port()).await;
        let probe = Probe::connect(broker.port()).await;
        let mut builder = subject.builder_with(kept_session(&proxy));
        builder.configure::<u64>("in", |reg| {
            reg.buffer(BufferCfg::SpmcQueue { capacity: 2 })
                .link_from(mqtt::filter("in").qos(qos), Json);
        });
        let db = builder.build().unwrap();
        let mut reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
        db.start();
        connected(&db).await;
        let mut arrived = Vec::new();
        for round in 0..5_u64 {
            for n in round * 10..(round + 1) * 10 {
                probe.publish("in", n.to_string(), qos).await;
            }
            eventually("the record is full", || db.health().blocked, |blocked| blocked.len() == 1)
                .await;
            cut(&proxy, &db).await;
            // The record takes some of the messages while there is no connection.
            proxy.close(true);
            disconnected(&db).await;
            for _ in 0..3 {
                arrived.push(value(&mut reader).await);
            }
            proxy.close(false);
            connected(&db).await;
        }
        while arrived.iter().collect::<BTreeSet<_>>().len() < 50 {
            arrived.push(value(&mut reader).await);
        }
        while let Ok(Ok(n)) = tokio::time::timeout(QUIET_TIME, reader.recv()).await {
            arrived.push(n);
        }
        arrived.sort_unstable();
        // At QoS 1 an acknowledgement in flight may be lost; then its message arrives twice.
        if qos == QoS::AtLeastOnce {
            arrived.dedup();
        }
        assert_eq!(arrived, (0..50).collect::<Vec<_>>(), "{qos:?}");
        shut_down(&db).await;
        assert_eq!(link(&db, 0).dropped(), 0);
    }
}

pub async fn a_message_delivered_without_a_connection_is_not_delivered_again<S: Subject>(
    subject: S,
) {
    const DUP: u8 = 8;
    let broker = Broker::new(S::VERSION, None).await;
    let (db, mut reader) = client(&subject, broker.port(), BufferCfg::SpmcQueue { capacity: 2 });
    let mut served = broker.accept().await;
    served.grant().await;
    connected(&db).await;
    for n in 1..=4 {
        served.publish(n).await.unwrap();
    }
    for n in 1..=2 {
        served.expect_puback(n).await;
    }
    eventually("the record is full", || db.health().blocked, |blocked| blocked.len() == 1).await;
    drop(served);
    disconnected(&db).await;
    for n in 1..=2 {
        assert_eq!(value(&mut reader).await, n);
    }
    eventually(
        "both are in the record",
        || db.metrics().records[0].readers[0].pending,
        |pending| *pending == 2,
    )
    .await;
    let mut served = broker.resume().await;
    for n in 3..=4_u16 {
        served.publish_as(0x32 | DUP, "in", n, n.to_string().as_bytes()).await.unwrap();
        served.expect_puback(n).await;
    }
    for n in 3..=4 {
        assert_eq!(value(&mut reader).await, n);
    }
    // The same packet identifier is another message now.
    served.publish(3).await.unwrap();
    served.expect_puback(3).await;
    assert_eq!(value(&mut reader).await, 3);
    tokio::join!(shut_down(&db), async { drop(served) });
    assert!(reader.try_recv().is_err());
}

pub async fn a_packet_identifier_of_qos_2_means_one_message_until_its_release<S: Subject>(
    subject: S,
) {
    const DUP: u8 = 8;
    let broker = Broker::new(S::VERSION, None).await;
    let (db, mut reader) = client(&subject, broker.port(), QUEUE);
    let mut served = broker.accept().await;
    served.grant().await;
    connected(&db).await;
    for round in 0..3_u64 {
        let number = round.to_string();
        served.publish_as(0x34, "in", 9, number.as_bytes()).await.unwrap();
        served.expect_ack(PUBREC, 9).await;
        assert_eq!(value(&mut reader).await, round);
        // The acknowledgement is lost, and the session continues with the message.
        drop(served);
        served = broker.resume().await;
        served.publish_as(0x34 | DUP, "in", 9, number.as_bytes()).await.unwrap();
        served.expect_ack(PUBREC, 9).await;
        served.release(9).await;
        served.expect_ack(PUBCOMP, 9).await;
    }
    tokio::join!(shut_down(&db), async { drop(served) });
    assert!(reader.try_recv().is_err());
    assert_eq!(link(&db, 0).received, 3);
}

pub async fn an_idle_connection_is_kept_alive<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start("") else { return };
    let keep_alive = Duration::from_secs(4);
    let mut builder =
        subject.builder_with(Setup { keep_alive: Some(keep_alive), ..Setup::to(broker.port()) });
    builder.configure::<u64>("out", |reg| {
        reg.buffer(QUEUE).link_to("mqtt://out?qos=1", Json);
    });
    let db = start(builder).await;
    // A broker closes an idle connection after one and a half intervals.
    tokio::time::sleep(keep_alive * 2).await;
    db.producer::<u64>("out").unwrap().produce(1).await.unwrap();
    shut_down(&db).await;
    assert_eq!((link(&db, 0).reconnects, link(&db, 0).sent), (0, 1));
}

pub async fn an_attempt_ends_in_time_if_the_broker_sends_nothing<S: Subject>(subject: S) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let limit = Duration::from_secs(1);
    let mut builder =
        subject.builder_with(Setup { connect_timeout: Some(limit), ..Setup::to(port) });
    builder.configure::<u64>("out", |reg| {
        reg.buffer(QUEUE).link_to("mqtt://out", Json);
    });
    let db = builder.build().unwrap();
    db.start();
    for _ in 0..2 {
        let (mut socket, _) = within("an attempt", listener.accept()).await.unwrap();
        let mut bytes = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut bytes);
        // The client resets or closes the connection.
        let _ended = within("the end of the attempt", read).await;
        assert!(!bytes.is_empty(), "the client has sent its CONNECT");
    }
    assert!(db.health().links[0].last_error.is_some() && !db.health().links[0].connected);
    shut_down(&db).await;
}

fn kept_session(proxy: &Proxy) -> Setup {
    Setup { client_id: Some("kept"), session: Some(HOUR), ..Setup::to(proxy.port()) }
}

async fn disconnected<R: aimdb_core::Runtime>(db: &AimDb<R>) {
    eventually(
        "the loss is noticed",
        || db.health().links,
        |links| links.iter().all(|link| !link.connected),
    )
    .await;
}

/// Cuts the connection and waits for the next one.
async fn cut<R: aimdb_core::Runtime>(proxy: &Proxy, db: &AimDb<R>) {
    let before = link(db, 0).reconnects;
    proxy.cut();
    eventually("there is another connection", || link(db, 0), |link| link.reconnects > before)
        .await;
    connected(db).await;
}
