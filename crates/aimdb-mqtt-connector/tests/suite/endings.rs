//! How a connection ends.

use std::cell::Cell;
use std::time::Duration;

use aimdb_core::{AimDb, BufferCfg, Json, Reader, Runtime};
use aimdb_mqtt_connector::{LastWill, QoS, mqtt};

use super::broker::{Broker, DISCONNECT, PUBACK, client};
use super::{Setup, Subject};
use crate::support::*;

/// Time for the client to do what it must not do. A slow machine makes a test forgiving, never wrong.
const A_WHILE: Duration = Duration::from_millis(300);

pub async fn a_shutdown_sends_everything_that_was_accepted_before_it_says_goodbye<S: Subject>(
    subject: S,
) {
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

pub async fn a_shutdown_while_messages_arrive_is_clean_and_takes_what_it_acknowledges<
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
            match tokio::time::timeout(A_WHILE, served.try_packet()).await {
                Ok(Ok((PUBACK, body))) => {
                    acknowledged.push(u64::from(u16::from_be_bytes([body[0], body[1]])));
                }
                Ok(Ok(_)) => {}
                Ok(Err(_)) => break,
                // It takes nothing any more, and has nothing to say.
                Err(_) if stopping.get() => break,
                Err(_) => {}
            }
        }
        drop(served);
        acknowledged
    };
    let ending = async {
        assert_eq!(value(&mut reader).await, 1);
        for _ in 0..100 {
            value(&mut reader).await;
        }
        stopping.set(true);
        shut_down(&db).await;
    };
    let (acknowledged, ()) = tokio::join!(serving, ending);
    let mut taken: Vec<u64> = (1..=101).collect();
    while let Ok(n) = reader.try_recv() {
        taken.push(n);
    }
    assert!(acknowledged.len() > 50, "{acknowledged:?}");
    assert_eq!(acknowledged, (1..=acknowledged.len() as u64).collect::<Vec<_>>());
    assert!(taken.starts_with(&acknowledged), "{} {}", taken.len(), acknowledged.len());
}

pub async fn what_no_record_has_at_a_shutdowns_deadline_is_not_acknowledged<S: Subject>(
    subject: S,
) {
    let broker = Broker::new(S::VERSION, None).await;
    let (db, mut reader) = client(&subject, broker.port(), BufferCfg::SpmcQueue { capacity: 2 });
    let mut served = broker.accept().await;
    served.grant().await;
    for n in 1..=6 {
        served.publish(n).await.unwrap();
    }
    served.is_acknowledged(1).await;
    served.is_acknowledged(2).await;
    eventually("the record is full", || db.health().blocked, |blocked| blocked.len() == 1).await;
    let serving = async {
        // One more finds room while the shutdown waits.
        assert_eq!(value(&mut reader).await, 1);
        served.is_acknowledged(3).await;
        while let Ok((kind, _)) = served.try_packet().await {
            assert_ne!(kind, PUBACK);
        }
    };
    let report = async { db.shutdown(A_WHILE * 3).await };
    let ((), report) = tokio::join!(within("the end", serving), report);
    assert!(!report.is_clean(), "{report}");
    assert_eq!((reader.try_recv(), reader.try_recv()), (Ok(2), Ok(3)));
}

pub async fn what_comes_after_a_shutdown_has_begun_is_left_to_the_broker<S: Subject>(subject: S) {
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
        tokio::time::sleep(A_WHILE).await;
        served.publish(7).await.unwrap();
        tokio::time::sleep(A_WHILE).await;
        for n in 1..=6 {
            assert_eq!(value(&mut reader).await, n);
        }
        for n in 1..=6 {
            served.is_acknowledged(n).await;
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
    let with_a_will = || {
        let will = LastWill::new("will", "gone").qos(QoS::AtLeastOnce).retain();
        let mut builder =
            subject.builder_with(Setup { will: Some(will), ..Setup::to(proxy.port()) });
        builder.configure::<u64>("out", |reg| {
            reg.buffer(QUEUE).link_to("mqtt://out", Json);
        });
        builder
    };
    let db = start(with_a_will()).await;
    shut_down(&db).await;
    probe.hears_nothing().await;
    let db = start(with_a_will()).await;
    // To the broker a client that crashed is a connection that is gone without a word.
    proxy.close(true);
    assert_eq!(probe.text().await, ("will".into(), "gone".into()));
    let mut late = Probe::connect(broker.port()).await;
    late.subscribe("will", QoS::AtLeastOnce).await;
    assert!(late.next().await.retain);
    shut_down(&db).await;
}

pub async fn a_broker_may_go_on_sending_until_it_has_read_the_acknowledgements_and_the_goodbye<
    S: Subject,
>(
    subject: S,
) {
    let broker = Broker::new(S::VERSION, None).await;
    let (db, reader) = client(&subject, broker.port(), QUEUE);
    the_broker_goes_on_sending(&broker, &db, reader).await;
}

/// A broker that writes to a client which is gone is told so, and then does not read what the client said last.
pub async fn the_broker_goes_on_sending<R: Runtime>(
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
    let over = Cell::new(false);
    let serving = async {
        for n in 21..=25 {
            tokio::time::sleep(A_WHILE).await;
            served.publish(n).await.unwrap();
        }
        for n in 1..=20 {
            served.is_acknowledged(n).await;
        }
        let mut kind = PUBACK;
        while kind == PUBACK {
            kind = served.packet().await.0;
        }
        assert_eq!(kind, DISCONNECT);
        tokio::time::sleep(A_WHILE).await;
        assert!(!over.get(), "the next client may come too early");
        drop(served);
    };
    let ending = async {
        shut_down(db).await;
        over.set(true);
    };
    tokio::join!(serving, within("the shutdown", ending));
}

pub async fn a_broker_that_keeps_the_connection_after_the_goodbye_is_not_waited_for_for_ever<
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

pub async fn a_connection_that_breaks_before_the_goodbye_does_not_keep_a_shutdown<S: Subject>(
    subject: S,
) {
    let broker = Broker::new(S::VERSION, None).await;
    let (db, _reader) = client(&subject, broker.port(), QUEUE);
    // It has no answer to its subscription.
    let served = broker.accept().await;
    let breaking = async {
        tokio::time::sleep(A_WHILE).await;
        drop(served);
    };
    tokio::join!(breaking, within("the shutdown", shut_down(&db)));
}
