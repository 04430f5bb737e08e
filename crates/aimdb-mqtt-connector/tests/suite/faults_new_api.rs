//! Faults whose remedy is a setting or a status of the connector.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use aimdb_core::{AimDb, BufferCfg, Json};
use aimdb_mqtt_connector::{LastWill, MqttVersion, QoS, mqtt};

use super::broker::PUBACK;
use super::{OnTokio, Setup, Subject};
use crate::support::picky::{Capabilities, Delivery, OnPublish, OnSubscribe, Picky, hang_up_on};
use crate::support::*;

const HOUR: Duration = Duration::from_secs(3600);

fn setup(broker: &Picky, will: LastWill) -> Setup {
    Setup { will: Some(will), ..Setup::to(broker.port()) }
}

/// A database with a connector and one link, `out`.
async fn start_with<S: Subject>(subject: &S, setup: Setup) -> AimDb<S::Runtime> {
    let mut builder = subject.builder_with(setup);
    builder.configure::<u64>("out", |reg| {
        reg.buffer(QUEUE).link_to("mqtt://out?qos=1", Json);
    });
    start(builder).await
}

fn state_will() -> LastWill {
    LastWill::new("state", "offline").qos(QoS::AtLeastOnce).retain()
}

pub async fn a_birth_message_is_published_on_each_connection<S: Subject>(subject: S) {
    for session in [None, Some(HOUR)] {
        let broker = Picky::start(S::VERSION).await;
        broker.can(Capabilities { sessions: true, ..Default::default() });
        let will = state_will().birth("online");
        let client_id = Some("born");
        let db = start_with(&subject, Setup { session, client_id, ..setup(&broker, will) }).await;
        for connection in 1..=3 {
            let births = || broker.payloads("state");
            eventually("a birth", births, |births| births.len() == connection).await;
            if connection < 3 {
                // Nothing is under way that would be sent again for that reason.
                tokio::time::sleep(QUIET_TIME).await;
                broker.cut();
            }
        }
        connected(&db).await;
        shut_down(&db).await;
        assert_eq!(broker.payloads("state"), ["online"; 3]);
        // The birth is sent as the will is: at its QoS, and retained.
        let births = broker.publishes().into_iter().filter(|message| message.topic == "state");
        assert!(births.into_iter().all(|birth| birth.retain && birth.qos == 1));
        let wills = broker.connects().into_iter().map(|connect| connect.will.unwrap());
        let fields = wills.map(|will| (will.topic, will.payload, will.qos, will.retain));
        assert!(
            fields
                .into_iter()
                .all(|will| { will == ("state".into(), b"offline".to_vec(), 1, true) })
        );
    }
}

/// A subscriber that sees `online` may send at once: the links have to be there.
pub async fn a_birth_message_follows_the_subscriptions<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    let subscriptions = Arc::new(AtomicUsize::new(0));
    let at_birth = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&subscriptions);
    broker.on_subscribe(move |_| {
        count.fetch_add(1, Relaxed);
        OnSubscribe::Grant
    });
    let seen = Arc::clone(&at_birth);
    broker.on_publish(move |_| {
        seen.store(subscriptions.load(Relaxed), Relaxed);
        OnPublish::Accept
    });
    let mut builder = subject.builder_with(setup(&broker, state_will().birth("online")));
    for key in ["a", "b", "c"] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(QUEUE).link_from(mqtt::filter(key).qos(QoS::AtLeastOnce), Json);
        });
    }
    let db = start(builder).await;
    let births = || broker.payloads("state");
    eventually("a birth", births, |births| *births == ["online"]).await;
    assert_eq!(at_birth.load(Relaxed), 3);
    shut_down(&db).await;
}

pub async fn a_birth_message_replaces_the_will_after_a_crash<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut probe = Probe::connect(broker.port()).await;
    probe.subscribe("state", QoS::AtLeastOnce).await;
    let proxy = Proxy::to(broker.port()).await;
    let will = state_will().birth("online");
    let db = start_with(&subject, Setup { will: Some(will), ..Setup::to(proxy.port()) }).await;
    assert_eq!(probe.text().await.1, "online");
    proxy.close(true);
    assert_eq!(probe.text().await.1, "offline");
    proxy.close(false);
    assert_eq!(probe.text().await.1, "online");
    shut_down(&db).await;
    // The will does not say so of its own accord.
    probe.receives_nothing().await;
}

pub async fn a_birth_message_is_no_message_of_a_link<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    let db = start_with(&subject, setup(&broker, state_will().birth("online"))).await;
    eventually("a birth", || broker.attempts("state"), |births| *births == 1).await;
    db.producer::<u64>("out").unwrap().produce(1).await.unwrap();
    shut_down(&db).await;
    assert_eq!((link(&db, 0).sent, link(&db, 0).dropped()), (1, 0));
}

/// Otherwise each connection would end with its first message.
pub async fn a_birth_message_on_which_the_broker_hangs_up_is_given_up<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    broker.on_publish(hang_up_on("state"));
    let will = state_will().birth("online");
    let backoff = Some((Duration::from_millis(50), Duration::from_millis(400)));
    let mut builder = subject.builder_with(Setup { backoff, ..setup(&broker, will) });
    builder.configure::<u64>("out", |reg| {
        reg.buffer(QUEUE).link_to("mqtt://out?qos=1", Json);
    });
    let db = builder.build().unwrap();
    db.start();
    db.producer::<u64>("out").unwrap().produce_many(0..10).await.unwrap();
    eventually("all arrive", || broker.payloads("out").len(), |count| *count >= 10).await;
    shut_down(&db).await;
    assert!((1..=12).contains(&broker.attempts("state")), "{}", broker.attempts("state"));
    assert!(broker.connections() <= 12, "{}", broker.connections());
    assert_eq!((link(&db, 0).sent, link(&db, 0).dropped()), (10, 0));
}

pub async fn an_orderly_end_publishes_the_wills_payload_if_asked_to<S: Subject>(subject: S) {
    for (will, expected) in [
        (state_will(), vec![]),
        (state_will().also_at_shutdown(), vec!["offline"]),
        (state_will().birth("online").also_at_shutdown(), vec!["online", "offline"]),
    ] {
        let broker = Picky::start(S::VERSION).await;
        let db = start_with(&subject, setup(&broker, will)).await;
        db.producer::<u64>("out").unwrap().produce_many(0..5).await.unwrap();
        shut_down(&db).await;
        assert_eq!(broker.payloads("state"), expected);
        // It is the last message, before a DISCONNECT that discards the will.
        let messages = broker.publishes();
        if expected.last() == Some(&"offline") {
            let last = messages.last().unwrap();
            assert_eq!((&*last.topic, last.retain, last.qos), ("state", true, 1));
        }
        assert_eq!(broker.payloads("out").len(), 5);
        assert_eq!(broker.disconnects(), [0]);
    }
}

pub async fn an_orderly_end_without_a_connection_does_not_wait_for_the_will<S: Subject>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    let db = start_with(&subject, setup(&broker, state_will().also_at_shutdown())).await;
    drop(broker);
    eventually("the loss is noticed", || link(&db, 0), |link| !link.connected).await;
    within("the shutdown", shut_down(&db)).await;
}

pub async fn a_delayed_will_carries_its_delay<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    // The broker publishes the will when the session ends, at the latest: there has to be one.
    let setup = Setup {
        client_id: Some("delayed"),
        session: Some(HOUR),
        ..setup(&broker, state_will().delay(Duration::from_secs(30)))
    };
    let db = start_with(&subject, setup).await;
    shut_down(&db).await;
    let will = broker.connects()[0].will.clone().unwrap();
    assert_eq!(will.delay(), Some(30));
    // Without a delay the property is absent, or zero, which is the same.
    let broker = Picky::start(S::VERSION).await;
    let db = start_with(&subject, Setup { will: Some(state_will()), ..Setup::to(broker.port()) });
    shut_down(&db.await).await;
    let will = broker.connects()[0].will.clone().unwrap();
    assert_eq!(will.delay().unwrap_or(0), 0);
}

/// A short break of the connection is no end: the client is back before the delay is over.
pub async fn a_delayed_will_is_not_published_for_a_short_break<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut probe = Probe::connect(broker.port()).await;
    probe.subscribe("state", QoS::AtLeastOnce).await;
    let proxy = Proxy::to(broker.port()).await;
    let setup = Setup {
        client_id: Some("delayed"),
        session: Some(HOUR),
        will: Some(state_will().delay(Duration::from_secs(600))),
        ..Setup::to(proxy.port())
    };
    let db = start_with(&subject, setup).await;
    proxy.cut();
    eventually("there is another connection", || link(&db, 0), |link| link.reconnects == 1).await;
    probe.receives_nothing().await;
    shut_down(&db).await;
}

/// [`MqttStatus`](aimdb_mqtt_connector::MqttStatus) is read from outside, while the connector is a part of the graph.
pub async fn messages_that_belong_to_no_link_are_counted_at_the_connector<const V311: bool>(
    subject: OnTokio<V311>,
) {
    let version = OnTokio::<V311>::VERSION;
    let broker = Picky::start(version).await;
    let connector = OnTokio::<V311>::connector(Setup::to(broker.port()));
    let status = connector.status();
    let mut builder = subject.builder();
    builder.connector(connector);
    builder.configure::<u64>("in", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: 8 }).link_from("mqtt://in?qos=1", Json);
    });
    let db = start(builder).await;
    let mut reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
    assert_eq!(status.unrouted(), 0);
    for qos in 0..=2 {
        broker.send(&Delivery::new("other", "1").qos(qos));
        let unrouted = || status.unrouted();
        eventually("it is counted", unrouted, |count| *count == u64::from(qos) + 1).await;
    }
    broker.send(&Delivery::new("in", "2").qos(1));
    assert_eq!(value(&mut reader).await, 2);
    if version == MqttVersion::V5 {
        // An identifier of another session is no proof, and the topic matches no filter.
        broker.send(&Delivery::new("other", "3").identifiers([200_000_000]));
        eventually("it is counted", || status.unrouted(), |count| *count == 4).await;
        // An identifier of this session is: the topic of an exclusive subscription is another one.
        let own = broker.identifier_of("in").unwrap();
        broker.send(&Delivery::new("plain", "4").qos(1).identifiers([own]));
        assert_eq!(value(&mut reader).await, 4);
        assert_eq!(status.unrouted(), 4);
    }
    let expected = if version == MqttVersion::V5 { 3 } else { 2 };
    eventually("all are acknowledged", || broker.acknowledged(PUBACK).len(), |n| *n == expected)
        .await;
    shut_down(&db).await;
    assert_eq!(link(&db, 0).dropped(), 0);
}

/// A `#[test]` of each case in this file, for any [`Subject`].
#[macro_export]
macro_rules! faults_new_api {
    ($subject:ty) => {
        $crate::conformance! { $subject;
            faults_new_api:
            a_birth_message_is_published_on_each_connection
            a_birth_message_follows_the_subscriptions
            a_birth_message_replaces_the_will_after_a_crash
            a_birth_message_is_no_message_of_a_link
            a_birth_message_on_which_the_broker_hangs_up_is_given_up
            an_orderly_end_publishes_the_wills_payload_if_asked_to
            an_orderly_end_without_a_connection_does_not_wait_for_the_will
        }
    };
}

/// A `#[test]` of each case in this file that needs MQTT 5.
#[macro_export]
macro_rules! faults_new_api_of_v5 {
    ($subject:ty) => {
        $crate::conformance! { $subject;
            faults_new_api:
            a_delayed_will_carries_its_delay
            a_delayed_will_is_not_published_for_a_short_break
        }
    };
}

/// A `#[test]` of each case in this file about [`MqttConnector`](aimdb_mqtt_connector::MqttConnector).
#[macro_export]
macro_rules! faults_new_api_on_tokio {
    ($subject:ty) => {
        $crate::conformance! { $subject;
            faults_new_api:
            messages_that_belong_to_no_link_are_counted_at_the_connector
        }
    };
}
