//! How a shutdown ends a connection.

use std::cell::Cell;
use std::time::Duration;

use aimdb_core::{AimDb, BufferCfg, Json, Reader, Runtime};
use aimdb_mqtt_connector::{LastWill, QoS, mqtt};

use super::broker::{Broker, DISCONNECT, PUBACK, client};
use super::{Setup, Subject};
use crate::support::*;

/// Time in which the client could make a mistake. On a slow machine a test may miss a mistake; it never fails wrongly.
const PAUSE: Duration = Duration::from_millis(300);

pub async fn a_shutdown_sends_every_accepted_value_before_the_disconnect<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start(UNLIMITED) else { return };
    for qos in LEVELS {
        let mut probe = Probe::connect(broker.port()).await;
        probe.subscribe("n", qos).await;
        let mut builder = subject.builder_with(Setup::to(broker.port()));
        builder.configure::<u64>("out", |reg| {
            reg.buffer(QUEUE).link_to(mqtt::topic("n").qos(qos), Json);
        });
        let db = start(builder).await;
        db.producer::<u64>("out").unwrap().produce_many(0..500).await.unwrap();
        shut_down(&db).await;
        assert_eq!(link(&db, 0).sent, 500);
        for n in 0..500 {
            assert_eq!(probe.number().await, n);
        }
    }
}

pub async fn a_shutdown_while_messages_arrive_is_clean_and_acknowledges_only_delivered_messages<
    S: Subject,
>(
    subject: S,
) {
    let broker = Broker::new(S::VERSION, None).await;
    let (db, mut reader) = client(&subject, broker.port(), QUEUE);
    let mut served = broker.accept().await;
    served.grant().await;
    connected(&db).await;
    let stopping = Cell::new(false);
    let serving = async {
        let (mut sent, mut acknowledged) = (0_u16, Vec::new());
        loop {
            if usize::from(sent) < acknowledged.len() + 8 {
                sent += 1;
                if served.publish(sent).await.is_err() {
                    break;
                }
                continue;
            }
            match tokio::time::timeout(PAUSE, served.try_packet()).await {
                Ok(Ok((PUBACK, body))) => {
                    acknowledged.push(u64::from(u16::from_be_bytes([body[0], body[1]])));
                }
                Ok(Ok(_)) => {}
                Ok(Err(_)) => break,
                // The client acknowledges nothing during a shutdown, and sends nothing else.
                Err(_) if stopping.get() => break,
                Err(_) => {}
            }
        }
        drop(served);
        acknowledged
    };
    let stopping_db = async {
        assert_eq!(value(&mut reader).await, 1);
        for _ in 0..100 {
            value(&mut reader).await;
        }
        stopping.set(true);
        shut_down(&db).await;
    };
    let (acknowledged, ()) = tokio::join!(serving, stopping_db);
    let mut taken: Vec<u64> = (1..=101).collect();
    while let Ok(n) = reader.try_recv() {
        taken.push(n);
    }
    assert!(acknowledged.len() > 50, "{acknowledged:?}");
    assert_eq!(acknowledged, (1..=acknowledged.len() as u64).collect::<Vec<_>>());
    assert!(taken.starts_with(&acknowledged), "{} {}", taken.len(), acknowledged.len());
}

pub async fn a_message_that_no_record_has_at_a_shutdowns_deadline_is_not_acknowledged<
    S: Subject,
>(
    subject: S,
) {
    let broker = Broker::new(S::VERSION, None).await;
    let (db, mut reader) = client(&subject, broker.port(), BufferCfg::SpmcQueue { capacity: 2 });
    let mut served = broker.accept().await;
    served.grant().await;
    for n in 1..=6 {
        served.publish(n).await.unwrap();
    }
    served.expect_puback(1).await;
    served.expect_puback(2).await;
    eventually("the record is full", || db.health().blocked, |blocked| blocked.len() == 1).await;
    let serving = async {
        // The record takes one more message while the shutdown waits.
        assert_eq!(value(&mut reader).await, 1);
        served.expect_puback(3).await;
        while let Ok((kind, _)) = served.try_packet().await {
            assert_ne!(kind, PUBACK);
        }
    };
    let report = async { db.shutdown(PAUSE * 3).await };
    let ((), report) = tokio::join!(within("the end", serving), report);
    assert!(!report.is_clean(), "{report}");
    assert_eq!((reader.try_recv(), reader.try_recv()), (Ok(2), Ok(3)));
}

pub async fn a_message_that_arrives_during_a_shutdown_is_not_acknowledged<S: Subject>(subject: S) {
    let broker = Broker::new(S::VERSION, None).await;
    let (db, mut reader) = client(&subject, broker.port(), BufferCfg::SpmcQueue { capacity: 2 });
    let mut served = broker.accept().await;
    served.grant().await;
    connected(&db).await;
    for n in 1..=6 {
        served.publish(n).await.unwrap();
    }
    eventually("the record is full", || db.health().blocked, |blocked| blocked.len() == 1).await;
    let serving = async {
        tokio::time::sleep(PAUSE).await;
        served.publish(7).await.unwrap();
        tokio::time::sleep(PAUSE).await;
        for n in 1..=6 {
            assert_eq!(value(&mut reader).await, n);
        }
        for n in 1..=6 {
            served.expect_puback(n).await;
        }
        assert_eq!(served.packet().await.0, DISCONNECT);
        drop(served);
    };
    tokio::join!(shut_down(&db), serving);
    assert!(reader.try_recv().is_err());
}

pub async fn the_last_will_is_published_after_a_crash_and_not_after_a_shutdown<S: Subject>(
    subject: S,
) {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut probe = Probe::connect(broker.port()).await;
    probe.subscribe("will", QoS::AtLeastOnce).await;
    let proxy = Proxy::to(broker.port()).await;
    let builder_with_will = || {
        let will = LastWill::new("will", "gone").qos(QoS::AtLeastOnce).retain();
        let mut builder =
            subject.builder_with(Setup { will: Some(will), ..Setup::to(proxy.port()) });
        builder.configure::<u64>("out", |reg| {
            reg.buffer(QUEUE).link_to("mqtt://out", Json);
        });
        builder
    };
    let db = start(builder_with_will()).await;
    shut_down(&db).await;
    probe.receives_nothing().await;
    let db = start(builder_with_will()).await;
    // For the broker, a crash of the client is a connection that ends without a DISCONNECT.
    proxy.close(true);
    assert_eq!(probe.text().await, ("will".into(), "gone".into()));
    let mut late = Probe::connect(broker.port()).await;
    late.subscribe("will", QoS::AtLeastOnce).await;
    assert!(late.next().await.retain);
    shut_down(&db).await;
}

pub async fn a_broker_may_send_until_it_has_read_the_acknowledgements_and_the_disconnect<
    S: Subject,
>(
    subject: S,
) {
    let broker = Broker::new(S::VERSION, None).await;
    let (db, reader) = client(&subject, broker.port(), QUEUE);
    the_broker_keeps_sending(&broker, &db, reader).await;
}

/// If the client closed the socket early, its machine would reset the connection when the broker writes to it, and the
/// broker would not read the client's last packets.
pub async fn the_broker_keeps_sending<R: Runtime>(
    broker: &Broker,
    db: &AimDb<R>,
    mut reader: Reader<u64>,
) {
    let mut served = broker.accept().await;
    served.grant().await;
    for n in 1..=20 {
        served.publish(n).await.unwrap();
        assert_eq!(value(&mut reader).await, u64::from(n));
    }
    let stopped = Cell::new(false);
    let serving = async {
        for n in 21..=25 {
            tokio::time::sleep(PAUSE).await;
            served.publish(n).await.unwrap();
        }
        for n in 1..=20 {
            served.expect_puback(n).await;
        }
        let mut kind = PUBACK;
        while kind == PUBACK {
            kind = served.packet().await.0;
        }
        assert_eq!(kind, DISCONNECT);
        tokio::time::sleep(PAUSE).await;
        assert!(!stopped.get(), "the shutdown ends before the broker has closed");
        drop(served);
    };
    let stopping_db = async {
        shut_down(db).await;
        stopped.set(true);
    };
    tokio::join!(serving, within("the shutdown", stopping_db));
}

pub async fn a_shutdown_does_not_wait_indefinitely_for_a_broker_that_keeps_the_connection_open<
    S: Subject,
>(
    subject: S,
) {
    let broker = Broker::new(S::VERSION, None).await;
    let (db, _reader) = client(&subject, broker.port(), QUEUE);
    let mut served = broker.accept().await;
    served.grant().await;
    connected(&db).await;
    let serving = async {
        assert_eq!(served.packet().await.0, DISCONNECT);
        let end = tokio::io::AsyncReadExt::read(&mut served.socket, &mut [0; 8]).await;
        assert_eq!(end.unwrap(), 0);
    };
    tokio::join!(within("the end", serving), shut_down(&db));
}

pub async fn a_connection_that_breaks_before_the_disconnect_does_not_delay_a_shutdown<
    S: Subject,
>(
    subject: S,
) {
    let broker = Broker::new(S::VERSION, None).await;
    let (db, _reader) = client(&subject, broker.port(), QUEUE);
    // The broker does not acknowledge the subscription.
    let served = broker.accept().await;
    let breaking = async {
        tokio::time::sleep(PAUSE).await;
        drop(served);
    };
    tokio::join!(breaking, within("the shutdown", shut_down(&db)));
}
