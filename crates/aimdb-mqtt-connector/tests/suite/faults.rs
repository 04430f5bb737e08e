//! Faults of connections: what breaks one, and what a broker cannot or will not do.
//!
//! A connection proves itself: what breaks it costs itself, is counted and named, and leaves the other links alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use aimdb_core::link::{only_if, with_properties};
use aimdb_core::metrics::LinkMetrics;
use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Json, Reader, Runtime};
use aimdb_mqtt_connector::{LastWill, MqttVersion, QoS, mqtt};

use super::broker::{PUBACK, PUBCOMP, PUBREC};
use super::{Setup, Subject, bytes_in, bytes_out};
use crate::support::picky::{
    Capabilities, Delivery, OnConnect, OnPublish, OnSubscribe, Picky, at_first, hang_up_on,
};
use crate::support::*;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// Enough to find a message that ends connections, three proofs of it included, and far fewer than a client makes that
/// repeats itself.
const FEW_CONNECTIONS: usize = 12;

/// The topic of messages that the broker does not accept.
const SPOILED: &str = "spoiled/topic";

const GOOD: &str = "good/topic";

fn to(broker: &Picky) -> Setup {
    Setup { backoff: Some((FIRST_PAUSE, LONGEST_PAUSE)), ..Setup::to(broker.port()) }
}

/// A record `key` of a queue, linked to `address`.
fn outbound<R: Runtime>(builder: &mut AimDbBuilder<R>, key: &'static str, address: &str) {
    builder.configure::<u64>(key, |reg| {
        reg.buffer(QUEUE).link_to(address, Json);
    });
}

/// A record `key` of a queue, linked from `address`.
fn inbound<R: Runtime>(builder: &mut AimDbBuilder<R>, key: &'static str, address: &str) {
    builder.configure::<u64>(key, |reg| {
        reg.buffer(QUEUE).link_from(address, Json);
    });
}

fn reader<R: Runtime>(db: &AimDb<R>, key: &str) -> Reader<u64> {
    db.consumer::<u64>(key).unwrap().subscribe().unwrap()
}

async fn produce<R: Runtime>(
    db: &AimDb<R>,
    key: &str,
    values: impl IntoIterator<Item = u64> + Send,
) {
    let producer = db.producer::<u64>(key).unwrap();
    for value in values {
        producer.produce(value).await.unwrap();
    }
}

/// The metrics of the only link of a record.
fn link_of<R: Runtime>(db: &AimDb<R>, key: &str) -> LinkMetrics {
    db.metrics().links.into_iter().find(|link| link.key == key).unwrap()
}

/// Waits until a message of `key` is counted as lost and the link's last error names `name`.
async fn loss_is_named<R: Runtime>(db: &AimDb<R>, key: &str, name: &str) {
    let named = |link: &LinkMetrics| {
        link.dropped() > 0 && link.last_error.as_ref().is_some_and(|error| error.contains(name))
    };
    eventually("the loss is counted and named", || link_of(db, key), named).await;
}

fn last_error<R: Runtime>(db: &AimDb<R>, key: &str) -> String {
    link_of(db, key).last_error.unwrap_or_default()
}

async fn link_connects<R: Runtime>(db: &AimDb<R>, key: &str) {
    eventually("the link is connected", || link_of(db, key), |link| link.connected).await;
}

/// The distinct numbers that the broker accepted on a topic.
fn accepted(broker: &Picky, topic: &str) -> BTreeSet<u64> {
    broker.payloads(topic).iter().map(|text| text.parse().unwrap()).collect()
}

async fn all_arrive(broker: &Picky, topic: &str, values: impl IntoIterator<Item = u64>) {
    let expected: BTreeSet<u64> = values.into_iter().collect();
    let observe = || (accepted(broker, topic), broker.connections());
    eventually("all messages arrive", observe, |(arrived, _)| *arrived == expected).await;
}

/// Sends until the record has the value: a message for a connection that just ended is lost.
async fn receives(broker: &Picky, topic: &str, n: u64, reader: &mut Reader<u64>) {
    let began = Instant::now();
    loop {
        broker.send(&Delivery::new(topic, n.to_string()));
        let next = tokio::time::timeout(QUIET_TIME, reader.recv()).await;
        match next {
            Ok(Ok(value)) if value == n => return,
            // A copy of an earlier message.
            Ok(Ok(value)) => assert!(value < n, "{value} instead of {n}"),
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => {}
        }
        assert!(began.elapsed() < TIMEOUT, "{n} did not arrive: {:?}", broker.complaints());
    }
}

fn assert_few_connections(broker: &Picky) {
    let connections = broker.connections();
    assert!(connections <= FEW_CONNECTIONS, "{connections}: {:?}", broker.complaints());
}

fn assert_one_connection(broker: &Picky) {
    assert_eq!(broker.connections(), 1, "{:?}", broker.complaints());
}

/// The broker ends the connection on the value 13 of the topic `SPOILED`.
fn hang_up_on_thirteen(broker: &Picky) {
    broker.on_publish(|message| match (&*message.topic, &*message.payload) {
        (SPOILED, b"13") => OnPublish::HangUp,
        _ => OnPublish::Accept,
    });
}

pub async fn a_message_on_which_the_broker_hangs_up_is_dropped_and_counted_at_qos_0<S: Subject>(
    subject: S,
) {
    one_message_ends_connections(subject, QoS::AtMostOnce).await;
}

pub async fn a_message_on_which_the_broker_hangs_up_is_dropped_and_counted_at_qos_1<S: Subject>(
    subject: S,
) {
    one_message_ends_connections(subject, QoS::AtLeastOnce).await;
}

pub async fn a_message_on_which_the_broker_hangs_up_is_dropped_and_counted_at_qos_2<S: Subject>(
    subject: S,
) {
    one_message_ends_connections(subject, QoS::ExactlyOnce).await;
}

async fn one_message_ends_connections<S: Subject>(subject: S, qos: QoS) {
    let broker = Picky::start(S::VERSION).await;
    hang_up_on_thirteen(&broker);
    let mut builder = subject.builder_with(to(&broker));
    outbound(&mut builder, "bad", &format!("mqtt://{SPOILED}?qos={}", qos as u8));
    outbound(&mut builder, "good", &format!("mqtt://{GOOD}?qos=1"));
    inbound(&mut builder, "in", "mqtt://in");
    let db = start(builder).await;
    let mut received = reader(&db, "in");
    produce(&db, "good", 0..5).await;
    all_arrive(&broker, GOOD, 0..5).await;

    produce(&db, "bad", [13]).await;
    produce(&db, "good", 5..20).await;
    all_arrive(&broker, GOOD, 0..20).await;
    if qos > QoS::AtMostOnce {
        loss_is_named(&db, "bad", SPOILED).await;
    }
    produce(&db, "bad", [99]).await;
    all_arrive(&broker, SPOILED, [99]).await;
    produce(&db, "good", 20..25).await;
    all_arrive(&broker, GOOD, 0..25).await;
    receives(&broker, "in", 7, &mut received).await;
    shut_down(&db).await;
    assert_few_connections(&broker);
    let (bad, good) = (link_of(&db, "bad"), link_of(&db, "good"));
    // At QoS 0 a message is sent when it is written: nothing is known of the first one that ends a connection.
    let unknown = u64::from(qos == QoS::AtMostOnce);
    assert_eq!((bad.sent, bad.dropped()), (1 + unknown, 1 - unknown), "{bad}");
    assert_eq!((good.sent, good.dropped()), (25, 0), "{good}");
}

pub async fn a_link_whose_every_message_ends_the_connection_at_qos_0_does_not_stop_the_others<
    S: Subject,
>(
    subject: S,
) {
    every_message_ends_connections(subject, QoS::AtMostOnce).await;
}

pub async fn a_link_whose_every_message_ends_the_connection_at_qos_1_does_not_stop_the_others<
    S: Subject,
>(
    subject: S,
) {
    every_message_ends_connections(subject, QoS::AtLeastOnce).await;
}

async fn every_message_ends_connections<S: Subject>(subject: S, qos: QoS) {
    let broker = Picky::start(S::VERSION).await;
    broker.on_publish(hang_up_on(SPOILED));
    let mut builder = subject.builder_with(to(&broker));
    builder.configure::<u64>("bad", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: 8 })
            .link_to(mqtt::topic(SPOILED).qos(qos), Json);
    });
    outbound(&mut builder, "good", &format!("mqtt://{GOOD}?qos=1"));
    let db = start(builder).await;
    let began = Instant::now();
    for n in 0..30 {
        produce(&db, "bad", [n]).await;
        produce(&db, "good", [n]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    all_arrive(&broker, GOOD, 0..30).await;
    loss_is_named(&db, "bad", SPOILED).await;
    // A connection for each of the longest pauses, a fifth shorter by chance; nothing starts them over.
    let most = FEW_CONNECTIONS + began.elapsed().as_millis() as usize / 320;
    let connections = broker.connections();
    assert!(connections <= most, "{connections} > {most}: {:?}", broker.complaints());
    let (bad, good) = (link_of(&db, "bad"), link_of(&db, "good"));
    let unknown = u64::from(qos == QoS::AtMostOnce);
    assert!(bad.sent <= unknown, "none was accepted: {bad}");
    assert_eq!(good.dropped(), 0, "{good}");
}

pub async fn two_messages_that_end_connections_are_both_found_among_their_neighbours<S: Subject>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    broker.on_publish(|message| match &*message.payload {
        b"13" | b"17" => OnPublish::HangUp,
        _ => OnPublish::Accept,
    });
    // A little more patience than elsewhere: two messages, each of which ends several connections.
    let backoff = Some((Duration::from_millis(20), Duration::from_millis(200)));
    let mut builder = subject.builder_with(Setup { backoff, ..to(&broker) });
    outbound(&mut builder, "bad", &format!("mqtt://{SPOILED}?qos=1"));
    let db = start(builder).await;
    produce(&db, "bad", 10..20).await;
    all_arrive(&broker, SPOILED, (10..20).filter(|n| ![13, 17].contains(n))).await;
    eventually("both are counted", || link_of(&db, "bad"), |link| link.dropped() == 2).await;
    shut_down(&db).await;
    let link = link_of(&db, "bad");
    assert_eq!((link.sent, link.dropped()), (8, 2), "{link}");
    let connections = broker.connections();
    assert!(connections <= 2 * FEW_CONNECTIONS, "{connections}: {:?}", broker.complaints());
}

/// Twice is chance: the third time in a row, alone on its connection, is a proof.
pub async fn a_message_is_not_blamed_for_a_connection_that_broke_twice<S: Subject>(subject: S) {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let broker = Picky::start(S::VERSION).await;
        let mut verdict = at_first(2, OnPublish::HangUp, OnPublish::Accept);
        broker.on_publish(move |_| verdict());
        let mut builder = subject.builder_with(to(&broker));
        outbound(&mut builder, "innocent", &format!("mqtt://{GOOD}?qos={}", qos as u8));
        let db = start(builder).await;
        produce(&db, "innocent", 0..3).await;
        all_arrive(&broker, GOOD, 0..3).await;
        shut_down(&db).await;
        let link = link_of(&db, "innocent");
        assert_eq!((link.sent, link.dropped()), (3, 0), "{link}: {:?}", link.last_error);
        assert_few_connections(&broker);
    }
}

pub async fn a_computed_topic_that_brokers_do_not_accept_loses_only_its_value<S: Subject>(
    subject: S,
) {
    let topics: [fn() -> String; 5] = [
        || "x".repeat(65_536),
        || "line\nfeed".into(),
        || "not a character \u{ffff}".into(),
        || "a control character \u{1}".into(),
        || vec!["level"; 250].join("/"),
    ];
    for (at, topic) in topics.into_iter().enumerate() {
        let broker = Picky::start(S::VERSION).await;
        broker.can(Capabilities { strict_topics: true, ..Default::default() });
        // Room for the longest topic, where there is a buffer.
        let mut builder = subject.builder_with(Setup { largest: Some(100_000), ..to(&broker) });
        builder.configure::<u64>("bad", |reg| {
            let topic = move |n: &u64| if *n == 13 { topic() } else { "fine".into() };
            reg.buffer(QUEUE).link_to(mqtt::topic_from(topic).qos(QoS::AtLeastOnce), Json);
        });
        outbound(&mut builder, "good", &format!("mqtt://{GOOD}?qos=1"));
        let db = start(builder).await;
        produce(&db, "bad", [1, 13, 2]).await;
        produce(&db, "good", 0..10).await;
        all_arrive(&broker, "fine", [1, 2]).await;
        all_arrive(&broker, GOOD, 0..10).await;
        let lost = |link: &LinkMetrics| link.encode_errors() + link.dropped();
        eventually("it is counted", || link_of(&db, "bad"), |link| lost(link) == 1).await;
        shut_down(&db).await;
        let bad = link_of(&db, "bad");
        assert_eq!((bad.sent, lost(&bad)), (2, 1), "topic {at}: {bad}");
        assert_eq!(link_of(&db, "good").dropped(), 0);
        assert_few_connections(&broker);
    }
}

pub async fn a_filter_on_which_the_broker_hangs_up_does_not_stop_the_other_links<S: Subject>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    broker.on_subscribe(|subscription| match &*subscription.filter {
        "spoiled/#" => OnSubscribe::HangUp,
        _ => OnSubscribe::Grant,
    });
    let mut builder = subject.builder_with(to(&broker));
    // The filter is neither the first nor the last one.
    inbound(&mut builder, "before", "mqtt://before?qos=1");
    inbound(&mut builder, "bad", "mqtt://spoiled/#?qos=1");
    inbound(&mut builder, "after", "mqtt://after?qos=1");
    outbound(&mut builder, "good", &format!("mqtt://{GOOD}?qos=1"));
    let db = builder.build().unwrap();
    let [mut before, mut after] = ["before", "after"].map(|key| reader(&db, key));
    db.start();
    let named = |error: &String| error.contains("spoiled/#");
    eventually("the error names the filter", || last_error(&db, "bad"), named).await;
    for n in 0..5 {
        produce(&db, "good", [n]).await;
        all_arrive(&broker, GOOD, 0..=n).await;
        receives(&broker, "before", n, &mut before).await;
        receives(&broker, "after", n, &mut after).await;
    }
    for key in ["before", "after", "good"] {
        link_connects(&db, key).await;
    }
    assert!(!link_of(&db, "bad").connected, "{}", link_of(&db, "bad"));
    shut_down(&db).await;
    assert_few_connections(&broker);
}

pub async fn a_broker_without_retained_messages_costs_only_those<S: Subject>(subject: S) {
    for qos in LEVELS {
        let broker = Picky::start(S::VERSION).await;
        broker.can(Capabilities { no_retain: true, ..Default::default() });
        let mut builder = subject.builder_with(to(&broker));
        outbound(&mut builder, "bad", &format!("mqtt://{SPOILED}?retain&qos={}", qos as u8));
        outbound(&mut builder, "good", &format!("mqtt://{GOOD}?qos=1"));
        let db = start(builder).await;
        produce(&db, "bad", [13]).await;
        produce(&db, "good", 0..10).await;
        all_arrive(&broker, GOOD, 0..10).await;
        // MQTT 3.1.1 does not say that the broker cannot retain, and at QoS 0 nothing is known of the first message.
        let unknown = u64::from(S::VERSION != MqttVersion::V5 && qos == QoS::AtMostOnce);
        if unknown == 0 {
            loss_is_named(&db, "bad", SPOILED).await;
        }
        let error = last_error(&db, "bad");
        shut_down(&db).await;
        let bad = link_of(&db, "bad");
        assert_eq!((bad.sent, bad.dropped()), (unknown, 1 - unknown), "{bad}");
        if S::VERSION == MqttVersion::V5 {
            // The broker has said so.
            assert!(error.to_lowercase().contains("retain"), "it gives no reason: {error}");
            assert_one_connection(&broker);
        } else {
            assert_few_connections(&broker);
        }
    }
}

pub async fn a_message_above_the_brokers_maximum_qos_is_dropped_and_counted<S: Subject>(
    subject: S,
) {
    for (maximum, qos) in [(1, 2), (0, 1), (0, 2)] {
        let broker = Picky::start(S::VERSION).await;
        broker.can(Capabilities { maximum_qos: Some(maximum), ..Default::default() });
        let mut builder = subject.builder_with(to(&broker));
        outbound(&mut builder, "bad", &format!("mqtt://{SPOILED}?qos={qos}"));
        outbound(&mut builder, "good", &format!("mqtt://{GOOD}?qos={maximum}"));
        let db = start(builder).await;
        for n in 0..3 {
            produce(&db, "bad", [n]).await;
            produce(&db, "good", [n]).await;
        }
        all_arrive(&broker, GOOD, 0..3).await;
        eventually("they are counted", || link_of(&db, "bad"), |link| link.dropped() == 3).await;
        loss_is_named(&db, "bad", SPOILED).await;
        let error = last_error(&db, "bad");
        assert!(error.to_lowercase().contains("qos"), "it gives no reason: {error}");
        shut_down(&db).await;
        assert_eq!(broker.attempts(SPOILED), 0, "at another QoS it is another promise");
        assert_one_connection(&broker);
    }
}

pub async fn a_broker_without_subscription_identifiers_is_asked_for_none<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    broker.can(Capabilities { no_identifiers: true, ..Default::default() });
    let mut builder = subject.builder_with(to(&broker));
    inbound(&mut builder, "wide", "mqtt://in/+?qos=1");
    inbound(&mut builder, "exact", "mqtt://in/a?qos=1");
    outbound(&mut builder, "good", &format!("mqtt://{GOOD}?qos=1"));
    let db = builder.build().unwrap();
    let [mut wide, mut exact] = ["wide", "exact"].map(|key| reader(&db, key));
    db.start();
    connected(&db).await;
    produce(&db, "good", 0..3).await;
    all_arrive(&broker, GOOD, 0..3).await;
    broker.send(&Delivery::new("in/b", "1").qos(1));
    assert_eq!(value(&mut wide).await, 1);
    broker.send(&Delivery::new("in/a", "2").qos(1));
    assert_eq!((value(&mut wide).await, value(&mut exact).await), (2, 2));
    shut_down(&db).await;
    for filter in ["in/+", "in/a"] {
        assert_eq!(broker.identifier_of(filter), None, "{filter}");
    }
    assert_one_connection(&broker);
}

pub async fn a_broker_without_wildcards_costs_only_the_links_that_have_them<S: Subject>(
    subject: S,
) {
    let capabilities = Capabilities { no_wildcards: true, ..Default::default() };
    one_filter_is_beyond_the_broker(subject, capabilities, "spoiled/+").await;
}

pub async fn a_broker_without_shared_subscriptions_costs_only_the_links_that_share<S: Subject>(
    subject: S,
) {
    let capabilities = Capabilities { no_shared: true, ..Default::default() };
    one_filter_is_beyond_the_broker(subject, capabilities, "$share/group/spoiled").await;
}

async fn one_filter_is_beyond_the_broker<S: Subject>(
    subject: S,
    capabilities: Capabilities,
    filter: &'static str,
) {
    let broker = Picky::start(S::VERSION).await;
    broker.can(capabilities);
    let mut builder = subject.builder_with(to(&broker));
    inbound(&mut builder, "bad", &format!("mqtt://{filter}?qos=1"));
    inbound(&mut builder, "exact", "mqtt://exact?qos=1");
    outbound(&mut builder, "good", &format!("mqtt://{GOOD}?qos=1"));
    let db = builder.build().unwrap();
    let mut exact = reader(&db, "exact");
    db.start();
    link_connects(&db, "exact").await;
    let named = |error: &String| error.contains(filter);
    eventually("the error names the filter", || last_error(&db, "bad"), named).await;
    receives(&broker, "exact", 1, &mut exact).await;
    produce(&db, "good", 0..3).await;
    all_arrive(&broker, GOOD, 0..3).await;
    assert!(!link_of(&db, "bad").connected, "{}", link_of(&db, "bad"));
    shut_down(&db).await;
    assert!(broker.subscriptions_to(filter).is_empty(), "the broker has said that it cannot");
    assert_one_connection(&broker);
}

pub async fn the_brokers_keep_alive_replaces_the_clients<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    broker.can(Capabilities { server_keep_alive: Some(1), ..Default::default() });
    let keep_alive = Some(Duration::from_secs(3600));
    let mut builder = subject.builder_with(Setup { keep_alive, ..to(&broker) });
    outbound(&mut builder, "idle", &format!("mqtt://{GOOD}?qos=1"));
    let db = start(builder).await;
    eventually("the client pings", || broker.pings(), |pings| *pings >= 2).await;
    assert_eq!(broker.connects()[0].keep_alive, 3600);
    shut_down(&db).await;
    assert_one_connection(&broker);
}

pub async fn topic_aliases_stay_within_the_brokers_maximum<S: Subject>(subject: S) {
    for topic_alias_maximum in [None, Some(2)] {
        let broker = Picky::start(S::VERSION).await;
        broker.can(Capabilities { topic_alias_maximum, ..Default::default() });
        let mut builder = subject.builder_with(to(&broker));
        for key in ["a", "b", "c"] {
            outbound(&mut builder, key, &format!("mqtt://alias/{key}?qos=1"));
        }
        let db = start(builder).await;
        for n in 0..10 {
            for key in ["a", "b", "c"] {
                produce(&db, key, [n]).await;
            }
        }
        for key in ["a", "b", "c"] {
            all_arrive(&broker, &format!("alias/{key}"), 0..10).await;
        }
        shut_down(&db).await;
        assert_one_connection(&broker);
    }
}

/// The receive maximum of the second connection is smaller than that of the first.
pub async fn messages_in_flight_stay_within_the_brokers_receive_maximum<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    broker.on_publish(|_| OnPublish::AcceptAfter(Duration::from_millis(20)));
    broker.can(Capabilities { receive_maximum: Some(5), ..Default::default() });
    let mut builder = subject.builder_with(to(&broker));
    for (key, qos) in [("one", 1), ("two", 2)] {
        outbound(&mut builder, key, &format!("mqtt://{key}?qos={qos}"));
    }
    let db = start(builder).await;
    for values in [0..20, 20..40] {
        for key in ["one", "two"] {
            produce(&db, key, values.clone()).await;
        }
        for key in ["one", "two"] {
            all_arrive(&broker, key, 0..values.end).await;
        }
        broker.can(Capabilities { receive_maximum: Some(2), ..Default::default() });
        if values.start == 0 {
            broker.cut();
        }
    }
    shut_down(&db).await;
    assert_eq!(broker.connections(), 2, "{:?}", broker.complaints());
}

pub async fn a_packet_above_the_brokers_maximum_is_not_sent<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    broker.can(Capabilities { maximum_packet_size: Some(200), ..Default::default() });
    let mut builder = subject.builder_with(to(&broker));
    for (key, qos) in [("out0", 0), ("out1", 1), ("out2", 2)] {
        builder.configure::<Vec<u8>>(key, |reg| {
            reg.buffer(QUEUE).link_to(format!("mqtt://{key}?qos={qos}"), bytes_out());
        });
    }
    let db = start(builder).await;
    for key in ["out0", "out1", "out2"] {
        let producer = db.producer::<Vec<u8>>(key).unwrap();
        for payload in [vec![b'1'; 300], b"2".to_vec(), vec![b'3'; 199], b"4".to_vec()] {
            producer.produce(payload).await.unwrap();
        }
        all_arrive(&broker, key, [2, 4]).await;
        eventually("both are counted", || link_of(&db, key), |link| link.dropped() == 2).await;
        let error = last_error(&db, key);
        assert!(error.contains(key) && error.contains("limit"), "it gives no reason: {error}");
    }
    shut_down(&db).await;
    assert_one_connection(&broker);
}

pub async fn an_assigned_client_id_belongs_to_the_next_connection_too<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    let assigned_client_id = Some("assigned-7".to_owned());
    broker.can(Capabilities { assigned_client_id, ..Default::default() });
    let mut builder = subject.builder_with(to(&broker));
    outbound(&mut builder, "out", &format!("mqtt://{GOOD}?qos=1"));
    let db = start(builder).await;
    for n in 0..2 {
        broker.cut();
        produce(&db, "out", [n]).await;
        all_arrive(&broker, GOOD, 0..=n).await;
    }
    shut_down(&db).await;
    let ids: Vec<String> = broker.connects().into_iter().map(|connect| connect.client_id).collect();
    let expected = if ids[0].is_empty() { "assigned-7" } else { &ids[0] };
    assert!(ids.len() > 1 && ids[1..].iter().all(|id| id == expected), "{ids:?}");
}

pub async fn half_open_connections_are_found_while_small_values_go_out<S: Subject>(subject: S) {
    half_open_connections_are_found(subject, 10, QoS::AtMostOnce, Duration::from_millis(100)).await;
}

pub async fn half_open_connections_are_found_while_large_values_go_out<S: Subject>(subject: S) {
    let size = 200_000;
    half_open_connections_are_found(subject, size, QoS::AtMostOnce, Duration::from_millis(20))
        .await;
}

pub async fn half_open_connections_are_found_while_acknowledgements_are_missing<S: Subject>(
    subject: S,
) {
    half_open_connections_are_found(subject, 10, QoS::AtLeastOnce, Duration::from_millis(100))
        .await;
}

/// A connection ends in silence while the record produces a value of this size after each pause: two times, with a keep-alive of a
/// second.
async fn half_open_connections_are_found<S: Subject>(
    subject: S,
    size: usize,
    qos: QoS,
    pause: Duration,
) {
    let broker = Picky::start(S::VERSION).await;
    let setup = Setup {
        keep_alive: Some(Duration::from_secs(1)),
        largest: Some(size.max(1000)),
        ..to(&broker)
    };
    let mut builder = subject.builder_with(setup);
    builder.configure::<Vec<u8>>("out", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: 4 })
            .link_to(mqtt::topic(GOOD).qos(qos), bytes_out());
    });
    let db = start(builder).await;
    let producer = db.producer::<Vec<u8>>("out").unwrap();
    let producing = async {
        loop {
            producer.produce(vec![b'1'; size]).await.unwrap();
            tokio::time::sleep(pause).await;
        }
    };
    let breaking = async {
        for _ in 0..2 {
            let before = broker.attempts(GOOD);
            eventually("values arrive", || broker.attempts(GOOD), |now| *now > before).await;
            let connects = broker.connects().len();
            broker.freeze();
            let observe = || (broker.connects().len(), link_of(&db, "out"));
            eventually("it connects again", observe, |(now, _)| *now > connects).await;
            link_connects(&db, "out").await;
        }
        let before = broker.attempts(GOOD);
        eventually("values arrive", || broker.attempts(GOOD), |now| *now > before).await;
    };
    tokio::select! {
        () = producing => {}
        () = breaking => {}
    }
    shut_down(&db).await;
    assert_few_connections(&broker);
    let link = link_of(&db, "out");
    assert!(link.reconnects >= 2, "{link}");
    assert!(link.last_error.is_some(), "the loss has no reason");
}

/// TCP acknowledges everything that the client sends: a ping without an answer is the only sign.
pub async fn a_broker_that_reads_and_never_writes_again_is_left<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    let keep_alive = Some(Duration::from_secs(1));
    let mut builder = subject.builder_with(Setup { keep_alive, ..to(&broker) });
    outbound(&mut builder, "out", &format!("mqtt://{GOOD}"));
    inbound(&mut builder, "in", "mqtt://in?qos=1");
    let db = start(builder).await;
    let mut received = reader(&db, "in");
    broker.mute();
    let producer = db.producer::<u64>("out").unwrap();
    let producing = async {
        for n in 0.. {
            producer.produce(n).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let again = eventually("another connection", || broker.connects().len(), |now| *now > 1);
    tokio::select! {
        () = producing => {}
        () = again => {}
    }
    connected(&db).await;
    receives(&broker, "in", 1, &mut received).await;
    shut_down(&db).await;
    assert_few_connections(&broker);
}

pub async fn two_clients_with_one_id_connect_less_and_less_often<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    let backoff = Some((FIRST_PAUSE, Duration::from_secs(3)));
    let twin = || {
        let setup = Setup { client_id: Some("twin"), backoff, ..to(&broker) };
        let mut builder = subject.builder_with(setup);
        outbound(&mut builder, "out", &format!("mqtt://{GOOD}"));
        inbound(&mut builder, "in", "mqtt://in");
        builder.build().unwrap()
    };
    let twins = [twin(), twin()];
    twins.iter().for_each(AimDb::start);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_paused_more_and_more(&broker, 2);
    if S::VERSION == MqttVersion::V5 {
        // The broker gives the reason, with its DISCONNECT.
        let errors = || twins.iter().map(|twin| last_error(twin, "out")).collect::<Vec<_>>();
        let named = |errors: &Vec<String>| {
            errors.iter().any(|error| error.to_lowercase().contains("taken over"))
        };
        eventually("the takeover is named", errors, named).await;
    }
    for twin in twins {
        // The broker may have just ended its connection.
        let _may_be_unclean = twin.shutdown(QUIET_TIME).await;
    }
}

/// After six seconds, with [`FIRST_PAUSE`] doubling up to more than a second. On a loaded machine there are fewer
/// connections, and their pauses are longer.
fn assert_paused_more_and_more(broker: &Picky, clients: usize) {
    let at = broker.accepted_at();
    // 50, 100, 200, … 3200 ms, a fifth shorter by chance, are eight connections.
    assert!((2..=12 * clients).contains(&at.len()), "{} connections", at.len());
    let pauses: Vec<Duration> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let longest = pauses.iter().max().unwrap();
    assert!(*longest >= 8 * FIRST_PAUSE, "{pauses:?}");
}

pub async fn a_broker_that_ends_each_connection_after_its_connack_is_not_hammered<S: Subject>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    broker.on_connect(|_| OnConnect::AcceptAndHangUp);
    every_connection_ends_early(subject, broker).await;
}

pub async fn a_broker_that_ends_each_connection_with_the_first_message_is_not_hammered<
    S: Subject,
>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    // Server shutting down.
    broker.on_publish(|_| OnPublish::Disconnect(0x8b));
    every_connection_ends_early(subject, broker).await;
}

async fn every_connection_ends_early<S: Subject>(subject: S, broker: Picky) {
    let backoff = Some((FIRST_PAUSE, Duration::from_secs(3)));
    let mut builder = subject.builder_with(Setup { backoff, ..to(&broker) });
    outbound(&mut builder, "out", &format!("mqtt://{GOOD}?qos=1"));
    inbound(&mut builder, "in", "mqtt://in");
    let db = builder.build().unwrap();
    db.start();
    produce(&db, "out", 0..100).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_paused_more_and_more(&broker, 1);
    assert!(!last_error(&db, "out").is_empty() || !last_error(&db, "in").is_empty());
    // The record still has its values, and the broker is well again.
    broker.on_connect(|_| OnConnect::Accept);
    broker.on_publish(|_| OnPublish::Accept);
    let all = || accepted(&broker, GOOD).len() as u64 + link_of(&db, "out").dropped();
    eventually("all values are accounted for", all, |all| *all == 100).await;
    shut_down(&db).await;
}

pub async fn a_retained_latest_value_is_sent_again_on_each_connection_without_a_session<
    S: Subject,
>(
    subject: S,
) {
    for qos in LEVELS {
        let broker = Picky::start(S::VERSION).await;
        let mut builder = subject.builder_with(to(&broker));
        let latest = BufferCfg::SingleLatest;
        for (key, buffer, retain) in
            [("state", latest, true), ("event", latest, false), ("ring", QUEUE, true)]
        {
            builder.configure::<u64>(key, |reg| {
                let topic = mqtt::topic(key).qos(qos);
                let topic = if retain { topic.retain() } else { topic };
                reg.buffer(buffer).link_to(topic, Json);
            });
        }
        outbound(&mut builder, "last", "mqtt://last?qos=1");
        let db = start(builder).await;
        for key in ["state", "event", "ring"] {
            produce(&db, key, [7]).await;
            eventually("it is sent", || link_of(&db, key).sent, |sent| *sent == 1).await;
        }
        all_arrive(&broker, "ring", [7]).await;
        for connection in 2..=3 {
            // Nothing is under way that would be sent again for that reason.
            tokio::time::sleep(QUIET_TIME).await;
            broker.cut();
            let count = || broker.payloads("state").len();
            eventually("it is sent again", count, |count| *count == connection).await;
        }
        produce(&db, "state", [8]).await;
        eventually("so is a new value", || broker.payloads("state"), |all| all.len() == 4).await;
        shut_down(&db).await;
        assert_eq!(broker.payloads("state"), ["7", "7", "7", "8"]);
        assert!(
            broker.publishes().iter().all(|message| message.retain == (message.topic != "event"))
        );
        // Each of these values is an event of its own.
        assert_eq!(
            (broker.payloads("event"), broker.payloads("ring")),
            (vec!["7".into()], vec!["7".into()])
        );
    }
}

pub async fn a_kept_session_needs_no_second_copy_of_a_retained_value<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    broker.can(Capabilities { sessions: true, ..Default::default() });
    let hour = Some(Duration::from_secs(3600));
    let setup = Setup { client_id: Some("kept"), session: hour, ..to(&broker) };
    let mut builder = subject.builder_with(setup);
    builder.configure::<u64>("state", |reg| {
        reg.buffer(BufferCfg::SingleLatest).link_to("mqtt://state?qos=1&retain", Json);
    });
    let db = start(builder).await;
    produce(&db, "state", [7]).await;
    eventually("it is sent", || link_of(&db, "state").sent, |sent| *sent == 1).await;
    broker.cut();
    eventually("it connects again", || broker.connects().len(), |count| *count == 2).await;
    connected(&db).await;
    tokio::time::sleep(QUIET_TIME).await;
    produce(&db, "state", [8]).await;
    shut_down(&db).await;
    assert_eq!(broker.payloads("state"), ["7", "8"]);
}

/// The message that a broker keeps on the topic, for a client that subscribes now.
async fn kept_text(port: u16, topic: &str) -> Option<String> {
    let mut probe = Probe::connect(port).await;
    probe.subscribe(topic, QoS::AtLeastOnce).await;
    let message = tokio::time::timeout(QUIET_TIME, probe.next()).await.ok()?;
    // Without the flag it has just been published.
    message.retain.then_some(())?;
    Some(String::from_utf8(message.payload.to_vec()).unwrap())
}

async fn broker_keeps(port: u16, topic: &str, expected: &str) {
    let began = Instant::now();
    loop {
        let kept = kept_text(port, topic).await;
        if kept.as_deref() == Some(expected) {
            return;
        }
        assert!(began.elapsed() < TIMEOUT, "the broker keeps {kept:?} instead of {expected}");
    }
}

/// The will lies on the topic of the record, and the record's value does not change.
pub async fn a_retained_state_replaces_the_last_will_on_its_topic_after_a_reconnect<S: Subject>(
    subject: S,
) {
    let Some(broker) = Mosquitto::start("") else { return };
    let proxy = Proxy::to(broker.port()).await;
    for session in [None, Some(Duration::from_secs(3600))] {
        let will = LastWill::new("state", "0").qos(QoS::AtLeastOnce).retain();
        let mut builder = subject.builder_with(Setup {
            client_id: Some("stateful"),
            session,
            will: Some(will),
            ..Setup::to(proxy.port())
        });
        builder.configure::<u64>("state", |reg| {
            reg.buffer(BufferCfg::SingleLatest).link_to("mqtt://state?qos=1&retain", Json);
        });
        let db = start(builder).await;
        produce(&db, "state", [1]).await;
        broker_keeps(broker.port(), "state", "1").await;
        proxy.close(true);
        broker_keeps(broker.port(), "state", "0").await;
        proxy.close(false);
        connected(&db).await;
        broker_keeps(broker.port(), "state", "1").await;
        shut_down(&db).await;
    }
}

pub async fn a_broker_that_forgot_its_retained_messages_has_them_again_after_a_restart<
    S: Subject,
>(
    subject: S,
) {
    let Some(mut broker) = Mosquitto::start("") else { return };
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    for key in ["one", "two"] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(BufferCfg::SingleLatest)
                .link_to(mqtt::topic(key).qos(QoS::AtLeastOnce).retain(), Json);
        });
    }
    let db = start(builder).await;
    produce(&db, "one", [1]).await;
    produce(&db, "two", [2]).await;
    broker_keeps(broker.port(), "one", "1").await;
    broker_keeps(broker.port(), "two", "2").await;
    broker.kill();
    broker.restart();
    connected(&db).await;
    broker_keeps(broker.port(), "one", "1").await;
    broker_keeps(broker.port(), "two", "2").await;
    shut_down(&db).await;
}

/// The broker sends one copy for each matching subscription, as Mosquitto and EMQX do.
const OVERLAPPING: [(&str, &str); 3] = [("all", "s/#"), ("level", "s/+"), ("exact", "s/a")];

fn overlapping<S: Subject>(subject: &S, broker: &Picky) -> (AimDb<S::Runtime>, [Reader<u64>; 3]) {
    let mut builder = subject.builder_with(to(broker));
    for (key, filter) in OVERLAPPING {
        inbound(&mut builder, key, &format!("mqtt://{filter}?qos=1"));
    }
    let db = builder.build().unwrap();
    let readers = OVERLAPPING.map(|(key, _)| reader(&db, key));
    db.start();
    (db, readers)
}

pub async fn a_retained_message_reaches_each_overlapping_link_once_per_connection<S: Subject>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    broker.retain(Delivery::new("s/a", "7").qos(1));
    let (db, mut readers) = overlapping(&subject, &broker);
    for connection in 1..=3 {
        for reader in &mut readers {
            assert_eq!(value(reader).await, 7, "connection {connection}");
        }
        connected(&db).await;
        // A message that follows is another one, even with the same payload.
        tokio::time::sleep(QUIET_TIME).await;
        broker.send(&Delivery::new("s/a", "8").qos(1));
        for reader in &mut readers {
            assert_eq!(value(reader).await, 8, "connection {connection}");
            no_value(reader).await;
        }
        assert_eq!(broker.connects().len(), connection);
        broker.cut();
    }
    for reader in &mut readers {
        assert_eq!(value(reader).await, 7);
    }
    connected(&db).await;
    shut_down(&db).await;
}

pub async fn retained_messages_of_several_topics_reach_each_overlapping_link_once<S: Subject>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    for (topic, text) in [("s/a", "1"), ("s/b", "2"), ("s/b/c", "3")] {
        broker.retain(Delivery::new(topic, text).qos(1));
    }
    let (db, readers) = overlapping(&subject, &broker);
    connected(&db).await;
    for (mut reader, expected) in
        readers.into_iter().zip([BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2]), [1].into()])
    {
        let mut received = Vec::new();
        for _ in &expected {
            received.push(value(&mut reader).await);
        }
        no_value(&mut reader).await;
        received.sort_unstable();
        assert!(received.iter().eq(&expected), "{received:?} instead of {expected:?}");
    }
    shut_down(&db).await;
}

/// A copy that no record needs is a message that the broker sends again unless it is acknowledged.
pub async fn every_copy_of_an_overlapping_message_is_acknowledged<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    broker.retain(Delivery::new("s/a", "7").qos(1));
    let (db, mut readers) = overlapping(&subject, &broker);
    for reader in &mut readers {
        assert_eq!(value(reader).await, 7);
    }
    let acknowledged = || {
        let mut ids = broker.acknowledged(PUBACK);
        ids.sort_unstable();
        ids
    };
    eventually("all copies are acknowledged", acknowledged, |ids| *ids == [1, 2, 3]).await;
    shut_down(&db).await;
    assert_one_connection(&broker);
}

/// The codes for a moment's refusal: quota exceeded, not authorized; MQTT 3.1.1 has one for everything.
fn refusals<S: Subject>() -> &'static [u8] {
    if S::VERSION == MqttVersion::V5 { &[0x97, 0x87] } else { &[0x80] }
}

fn refuse_later(verdict: impl Fn() -> OnSubscribe + Send + 'static, broker: &Picky) {
    broker.on_subscribe(move |subscription| match &*subscription.filter {
        "later/#" => verdict(),
        _ => OnSubscribe::Grant,
    });
}

fn with_a_refused_subscription<S: Subject>(subject: &S, broker: &Picky) -> AimDb<S::Runtime> {
    let mut builder = subject.builder_with(to(broker));
    inbound(&mut builder, "now", "mqtt://now?qos=1");
    inbound(&mut builder, "later", "mqtt://later/#?qos=1");
    outbound(&mut builder, "good", &format!("mqtt://{GOOD}?qos=1"));
    builder.build().unwrap()
}

pub async fn a_subscription_that_is_refused_for_the_moment_is_asked_for_again<S: Subject>(
    subject: S,
) {
    for code in refusals::<S>() {
        let broker = Picky::start(S::VERSION).await;
        let refusing = Arc::new(AtomicBool::new(true));
        let still = Arc::clone(&refusing);
        let verdict = move || match still.load(Relaxed) {
            true => OnSubscribe::Refuse(*code),
            false => OnSubscribe::Grant,
        };
        refuse_later(verdict, &broker);
        let db = with_a_refused_subscription(&subject, &broker);
        let [mut now, mut later] = ["now", "later"].map(|key| reader(&db, key));
        db.start();
        let asked = || broker.subscriptions_to("later/#").len();
        eventually("it is asked for again", asked, |count| *count >= 3).await;
        let refused = link_of(&db, "later");
        assert!(!refused.connected && !refused.last_error_is_over, "{refused:?}");
        let error = refused.last_error.unwrap_or_default();
        assert!(error.contains("later/#"), "it does not name the filter: {error}");
        receives(&broker, "now", 1, &mut now).await;
        produce(&db, "good", 0..3).await;
        all_arrive(&broker, GOOD, 0..3).await;
        refusing.store(false, Relaxed);
        link_connects(&db, "later").await;
        receives(&broker, "later/a", 2, &mut later).await;
        shut_down(&db).await;
        assert_one_connection(&broker);
    }
}

pub async fn a_subscription_that_is_never_granted_is_asked_for_less_and_less_often<S: Subject>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    let code = refusals::<S>()[0];
    refuse_later(move || OnSubscribe::Refuse(code), &broker);
    let db = with_a_refused_subscription(&subject, &broker);
    let mut now = reader(&db, "now");
    db.start();
    for n in 0..10 {
        receives(&broker, "now", n, &mut now).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let asked = broker.subscriptions_to("later/#").len();
    assert!((2..=FEW_CONNECTIONS).contains(&asked), "it is asked for {asked} times");
    assert!(!link_of(&db, "later").connected && !last_error(&db, "later").is_empty());
    // A request that waits does not delay a shutdown.
    shut_down(&db).await;
    assert_one_connection(&broker);
}

pub async fn a_refused_subscription_is_asked_for_again_on_the_next_connection<S: Subject>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    let code = refusals::<S>()[0];
    refuse_later(move || OnSubscribe::Refuse(code), &broker);
    let db = with_a_refused_subscription(&subject, &broker);
    let mut later = reader(&db, "later");
    db.start();
    let refused = |error: &String| error.contains("later/#");
    eventually("it is refused", || last_error(&db, "later"), refused).await;
    broker.on_subscribe(|_| OnSubscribe::Grant);
    broker.cut();
    connected(&db).await;
    receives(&broker, "later/a", 1, &mut later).await;
    shut_down(&db).await;
}

pub async fn a_message_for_no_link_leaves_the_connection_as_it_is<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    let mut builder = subject.builder_with(to(&broker));
    inbound(&mut builder, "in", "mqtt://in?qos=1");
    let db = start(builder).await;
    let mut received = reader(&db, "in");
    let strays = [
        Delivery::new("other", "1"),
        Delivery::new("other", "2").qos(1),
        Delivery::new("in/below", "3").qos(2),
        // An identifier that no subscription of this session has.
        Delivery::new("other", "4").qos(1).identifiers([200_000_000]),
    ];
    strays.iter().for_each(|stray| drop(broker.send(stray)));
    broker.send(&Delivery::new("in", "5").qos(1));
    assert_eq!(value(&mut received).await, 5);
    no_value(&mut received).await;
    let acknowledged = || (broker.acknowledged(PUBACK).len(), broker.acknowledged(PUBCOMP).len());
    eventually("the broker is rid of them", acknowledged, |counts| *counts == (3, 1)).await;
    shut_down(&db).await;
    assert_one_connection(&broker);
    let link = link_of(&db, "in");
    assert_eq!((link.received, link.dropped(), link.decode_errors()), (1, 0, 0), "{link}");
}

pub async fn rubbish_costs_one_connection_and_no_message_that_waits<S: Subject>(subject: S) {
    let rubbish: [&[u8]; 5] = [
        // A packet of a kind that does not exist, and one of a length that does not exist.
        &[0x00, 0x00],
        &[0x30, 0xff, 0xff, 0xff, 0xff, 0x01],
        // A message whose topic is longer than its packet; an acknowledgement without an identifier.
        &[0x30, 0x03, 0x00, 0x20, b'a'],
        &[0x40, 0x00],
        // A second CONNACK.
        &[0x20, 0x03, 0x00, 0x00, 0x00],
    ];
    let broker = Picky::start(S::VERSION).await;
    let mut builder = subject.builder_with(to(&broker));
    outbound(&mut builder, "good", &format!("mqtt://{GOOD}?qos=1"));
    inbound(&mut builder, "in", "mqtt://in");
    let db = start(builder).await;
    let mut received = reader(&db, "in");
    for (n, bytes) in (0..).zip(rubbish) {
        let (attempts, connects) = (broker.attempts(GOOD), broker.connects().len());
        broker.on_publish(|_| OnPublish::Ignore);
        produce(&db, "good", [n]).await;
        eventually("it is under way", || broker.attempts(GOOD), |now| *now > attempts).await;
        broker.on_publish(|_| OnPublish::Accept);
        broker.send_bytes(bytes);
        eventually("it connects again", || broker.connects().len(), |now| *now > connects).await;
        all_arrive(&broker, GOOD, 0..=n).await;
        receives(&broker, "in", n, &mut received).await;
        assert_eq!(broker.connects().len(), connects + 1, "{bytes:?}");
    }
    shut_down(&db).await;
    let good = link_of(&db, "good");
    assert_eq!((good.sent, good.dropped()), (5, 0), "{good}");
}

pub async fn an_option_asks_the_broker_not_to_return_own_messages<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    let mut builder = subject.builder_with(to(&broker));
    inbound(&mut builder, "others", "mqtt://a?qos=1&no_local");
    inbound(&mut builder, "all", "mqtt://b?qos=1");
    let db = start(builder).await;
    shut_down(&db).await;
    let [others, all] = ["a", "b"].map(|filter| broker.subscriptions_to(filter)[0].clone());
    assert!(others.no_local() && !all.no_local(), "{others:?} {all:?}");
    assert_eq!((others.qos, all.qos), (1, 1));
}

/// Without the option each message of the record would come back into it, and leave it again.
pub async fn a_record_linked_both_ways_without_local_messages_does_not_send_for_ever<S: Subject>(
    subject: S,
) {
    let Some(broker) = Mosquitto::start("") else { return };
    let mut probe = Probe::connect(broker.port()).await;
    probe.subscribe("shared/value", QoS::AtLeastOnce).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    builder.configure::<u64>("value", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: 16 })
            .link_to("mqtt://shared/value?qos=1", Json)
            .link_from("mqtt://shared/value?qos=1&no_local", Json);
    });
    let db = start(builder).await;
    produce(&db, "value", [7]).await;
    assert_eq!(probe.number().await, 7);
    probe.receives_nothing().await;
    // A message of another client arrives, and the record's link sends it once.
    probe.publish("shared/value", "8", QoS::AtLeastOnce).await;
    assert_eq!((probe.number().await, probe.number().await), (8, 8));
    probe.receives_nothing().await;
    shut_down(&db).await;
    let counts = db.metrics().links.into_iter().map(|link| (link.sent, link.received));
    assert_eq!(
        counts.fold((0, 0), |sum, (sent, received)| (sum.0 + sent, sum.1 + received)),
        (2, 1)
    );
}

pub async fn options_of_an_inbound_link_reach_the_broker<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    for (topic, text) in [("r0", "0"), ("r1", "1"), ("r2", "2")] {
        broker.retain(Delivery::new(topic, text).qos(1));
    }
    let mut builder = subject.builder_with(to(&broker));
    for (key, handling) in [("r0", 0), ("r1", 1), ("r2", 2)] {
        inbound(&mut builder, key, &format!("mqtt://{key}?qos=1&retain_handling={handling}"));
    }
    inbound(&mut builder, "plain", "mqtt://plain?qos=1");
    inbound(&mut builder, "published", "mqtt://published?qos=2&retain_as_published");
    let db = builder.build().unwrap();
    let mut readers = ["r0", "r1", "r2"].map(|key| reader(&db, key));
    db.start();
    connected(&db).await;
    assert_eq!(value(&mut readers[0]).await, 0);
    assert_eq!(value(&mut readers[1]).await, 1);
    no_value(&mut readers[2]).await;
    shut_down(&db).await;
    let options = |filter: &str| {
        let subscription = broker.subscriptions_to(filter)[0].clone();
        (subscription.retain_handling(), subscription.retain_as_published(), subscription.qos)
    };
    for (filter, expected) in [
        ("r0", (0, false, 1)),
        ("r1", (1, false, 1)),
        ("r2", (2, false, 1)),
        ("plain", (0, false, 1)),
        ("published", (0, true, 2)),
    ] {
        assert_eq!(options(filter), expected, "{filter}");
    }
}

pub async fn options_of_an_outbound_link_reach_the_broker<S: Subject>(subject: S) {
    const EXPIRY: u8 = 0x02;
    const CONTENT_TYPE: u8 = 0x03;
    let broker = Picky::start(S::VERSION).await;
    let mut builder = subject.builder_with(to(&broker));
    outbound(&mut builder, "expires", "mqtt://expires?qos=1&expiry=60");
    outbound(&mut builder, "typed", "mqtt://typed?content_type=application/json");
    outbound(&mut builder, "named", "mqtt://named?qos=2&property=unit:K&property=site:a:b");
    outbound(&mut builder, "plain", "mqtt://plain?qos=1");
    let db = start(builder).await;
    for key in ["expires", "typed", "named", "plain"] {
        produce(&db, key, [1]).await;
        all_arrive(&broker, key, [1]).await;
    }
    shut_down(&db).await;
    let properties = |topic: &str| {
        let all = broker.publishes();
        all.into_iter().find(|message| message.topic == topic).unwrap().properties
    };
    assert_eq!(properties("expires").number(EXPIRY), Some(60));
    assert_eq!(properties("typed").text(CONTENT_TYPE).as_deref(), Some("application/json"));
    let pairs: Vec<(String, String)> =
        [("unit", "K"), ("site", "a:b")].map(|(name, text)| (name.into(), text.into())).into();
    assert_eq!(properties("named").pairs(), pairs);
    let plain = properties("plain");
    assert_eq!((plain.number(EXPIRY), plain.text(CONTENT_TYPE)), (None, None));
    assert!(plain.pairs().is_empty());
}

/// A reading of a sensor, some with a trace context.
fn traced(value: &u64) -> Vec<(String, String)> {
    match value {
        2 => vec![(
            "traceparent".into(),
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        )],
        3 => vec![("nul".into(), "\0".into())],
        4 => panic!("no properties for this one"),
        _ => Vec::new(),
    }
}

pub async fn computed_properties_follow_those_of_the_address_and_a_faulty_one_loses_only_its_value<
    S: Subject,
>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    let mut builder = subject.builder_with(to(&broker));
    builder.configure::<u64>("traced", |reg| {
        let target = only_if("mqtt://traced?qos=1&property=unit:K", |value: &u64| *value < 6);
        let target = with_properties(with_properties(target, traced), |value: &u64| {
            if *value == 5 { vec![("unit".into(), "F".into())] } else { Vec::new() }
        });
        reg.buffer(QUEUE).link_to(target, Json);
    });
    let db = start(builder).await;
    db.producer::<u64>("traced").unwrap().produce_many(1..=6).await.unwrap();
    all_arrive(&broker, "traced", [1, 2, 5]).await;
    shut_down(&db).await;
    let sent: Vec<_> =
        broker.publishes().into_iter().map(|message| message.properties.pairs()).collect();
    let pair = |name: &str, text: &str| (String::from(name), String::from(text));
    let trace = traced(&2).remove(0);
    let expected = [
        vec![pair("unit", "K")],
        vec![pair("unit", "K"), trace],
        vec![pair("unit", "K"), pair("unit", "F")],
    ];
    assert_eq!(sent, expected);
    let link = link(&db, 0);
    assert_eq!((link.sent, link.encode_errors(), link.filtered), (3, 2, 1), "{link}");
    assert_eq!(link.reconnects, 0);
}

pub async fn a_subscription_identifier_proves_that_an_exclusive_message_belongs_to_its_link<
    S: Subject,
>(
    subject: S,
) {
    a_message_arrives_under_its_plain_topic(subject, "$exclusive/jobs/7", "jobs/7").await;
}

pub async fn a_subscription_identifier_proves_that_a_queued_message_belongs_to_its_link<
    S: Subject,
>(
    subject: S,
) {
    a_message_arrives_under_its_plain_topic(subject, "$queue/jobs/+", "jobs/7").await;
}

async fn a_message_arrives_under_its_plain_topic<S: Subject>(
    subject: S,
    filter: &'static str,
    topic: &'static str,
) {
    for qos in [0, 1, 2] {
        let broker = Picky::start(S::VERSION).await;
        let mut builder = subject.builder_with(to(&broker));
        inbound(&mut builder, "jobs", &format!("mqtt://{filter}?qos={qos}"));
        inbound(&mut builder, "other", &format!("mqtt://other?qos={qos}"));
        let db = start(builder).await;
        let [mut jobs, mut other] = ["jobs", "other"].map(|key| reader(&db, key));
        let identifier = broker.identifier_of(filter).expect("a subscription identifier");
        for n in 0..3 {
            let message = Delivery::new(topic, n.to_string()).qos(qos);
            broker.send(&message.identifiers([identifier]));
            assert_eq!(value(&mut jobs).await, n);
        }
        no_value(&mut other).await;
        shut_down(&db).await;
        let (jobs, other) = (link_of(&db, "jobs"), link_of(&db, "other"));
        assert_eq!((jobs.received, jobs.dropped()), (3, 0), "{jobs}");
        assert_eq!((other.received, other.dropped()), (0, 0), "{other}");
        let kind = if qos == 2 { PUBREC } else { PUBACK };
        assert_eq!(broker.acknowledged(kind).len(), if qos == 0 { 0 } else { 3 });
        assert_one_connection(&broker);
    }
}

pub async fn a_message_with_several_identifiers_reaches_each_of_their_links<S: Subject>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    let mut builder = subject.builder_with(to(&broker));
    let filters = [("queue", "$queue/t"), ("plain", "t"), ("wide", "+"), ("none", "none")];
    for (key, filter) in filters {
        inbound(&mut builder, key, &format!("mqtt://{filter}?qos=1"));
    }
    let db = start(builder).await;
    let mut readers = filters.map(|(key, _)| reader(&db, key));
    let identifiers: Vec<u32> =
        filters[..3].iter().map(|(_, filter)| broker.identifier_of(filter).unwrap()).collect();
    broker.send(&Delivery::new("t", "7").qos(1).identifiers(identifiers));
    for reader in &mut readers[..3] {
        assert_eq!(value(reader).await, 7);
        no_value(reader).await;
    }
    no_value(&mut readers[3]).await;
    shut_down(&db).await;
    assert_eq!(broker.acknowledged(PUBACK).len(), 1);
}

pub async fn an_inbound_message_over_the_limit_is_read_past_at_qos_0<S: Subject>(subject: S) {
    a_large_message_is_read_past(subject, 0).await;
}

pub async fn an_inbound_message_over_the_limit_is_read_past_and_acknowledged_at_qos_1<
    S: Subject,
>(
    subject: S,
) {
    a_large_message_is_read_past(subject, 1).await;
}

pub async fn an_inbound_message_over_the_limit_is_read_past_and_acknowledged_at_qos_2<
    S: Subject,
>(
    subject: S,
) {
    a_large_message_is_read_past(subject, 2).await;
}

/// Three megabytes on a connector whose limit is one.
async fn a_large_message_is_read_past<S: Subject>(subject: S, qos: u8) {
    let broker = Picky::start(S::VERSION).await;
    broker.retain(Delivery::new("in/large", vec![b'x'; 3_000_000]).qos(qos));
    let mut builder = subject.builder_with(Setup { largest: Some(1 << 20), ..to(&broker) });
    builder.configure::<Vec<u8>>("in", |reg| {
        reg.buffer(QUEUE).link_from(format!("mqtt://in/+?qos={qos}"), bytes_in());
    });
    inbound(&mut builder, "other", "mqtt://other?qos=1");
    outbound(&mut builder, "good", &format!("mqtt://{GOOD}?qos=1"));
    let db = builder.build().unwrap();
    let mut small = db.consumer::<Vec<u8>>("in").unwrap().subscribe().unwrap();
    let mut other = reader(&db, "other");
    db.start();
    connected(&db).await;
    loss_is_named(&db, "in", "in/large").await;
    // Two at once, and a small one behind them.
    broker.send(&Delivery::new("in/large", vec![b'x'; 2_000_000]).qos(qos));
    broker.send(&Delivery::new("in/large", vec![b'x'; 9_000_000]).qos(qos));
    broker.send(&Delivery::new("in/small", "small").qos(qos));
    assert_eq!(value(&mut small).await, b"small");
    receives(&broker, "other", 1, &mut other).await;
    produce(&db, "good", 0..3).await;
    all_arrive(&broker, GOOD, 0..3).await;
    let kind = match qos {
        1 => PUBACK,
        _ => PUBCOMP,
    };
    let acknowledged = if qos == 0 { 0 } else { 4 };
    eventually("all are acknowledged", || broker.acknowledged(kind).len(), |n| *n == acknowledged)
        .await;
    shut_down(&db).await;
    let link = link_of(&db, "in");
    assert_eq!((link.dropped(), link.decode_errors(), link.reconnects), (3, 0, 0), "{link}");
    assert_one_connection(&broker);
}

pub async fn an_inbound_message_over_the_limit_is_counted_at_each_of_its_links<S: Subject>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    let mut builder = subject.builder_with(Setup { largest: Some(1 << 20), ..to(&broker) });
    for (key, filter) in [("wide", "in/#"), ("exact", "in/a"), ("other", "other")] {
        inbound(&mut builder, key, &format!("mqtt://{filter}?qos=1"));
    }
    let db = start(builder).await;
    let mut exact = reader(&db, "exact");
    broker.send(&Delivery::new("in/a", vec![b'1'; 3_000_000]).qos(1));
    broker.send(&Delivery::new("in/a", "7").qos(1));
    assert_eq!(value(&mut exact).await, 7);
    shut_down(&db).await;
    let dropped = ["wide", "exact", "other"].map(|key| link_of(&db, key).dropped());
    assert_eq!(dropped, [1, 1, 0]);
    assert_one_connection(&broker);
}

pub async fn a_refused_subscription_whose_second_answer_is_lost_is_asked_for_again<S: Subject>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    let code = refusals::<S>()[0];
    let count = std::sync::atomic::AtomicUsize::new(0);
    refuse_later(
        move || match count.fetch_add(1, Relaxed) + 1 {
            1 => OnSubscribe::Refuse(code),
            2 => OnSubscribe::HangUp,
            _ => OnSubscribe::Grant,
        },
        &broker,
    );
    let db = with_a_refused_subscription(&subject, &broker);
    db.start();
    let asked = || broker.subscriptions_to("later/#").len();
    eventually("it is asked for twice", asked, |count| *count >= 2).await;
    eventually("it is asked for again", asked, |count| *count >= 3).await;
    link_connects(&db, "later").await;
    shut_down(&db).await;
}

pub async fn a_birth_message_does_not_wait_for_a_subscription_that_is_given_up<S: Subject>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    broker.on_subscribe(|subscription| match &*subscription.filter {
        "bad" => OnSubscribe::HangUp,
        _ => OnSubscribe::Grant,
    });
    let will = LastWill::new("state", "offline").qos(QoS::AtLeastOnce).birth("online");
    let mut builder = subject.builder_with(Setup { will: Some(will), ..to(&broker) });
    inbound(&mut builder, "bad", "mqtt://bad");
    inbound(&mut builder, "in", "mqtt://in");
    let db = builder.build().unwrap();
    db.start();
    eventually("it rests", || last_error(&db, "bad"), |e| e.contains("three times")).await;
    let mut reader = reader(&db, "in");
    receives(&broker, "in", 1, &mut reader).await;
    eventually("a birth", || broker.payloads("state").len(), |births| *births == 1).await;
    shut_down(&db).await;
}

pub async fn a_link_that_was_given_up_is_connected_when_its_messages_pass_again<S: Subject>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    let bad = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&bad);
    broker.on_publish(move |message| match message.topic == SPOILED && still.load(Relaxed) {
        true => OnPublish::HangUp,
        false => OnPublish::Accept,
    });
    let mut builder = subject.builder_with(to(&broker));
    outbound(&mut builder, "out", &format!("mqtt://{SPOILED}"));
    let db = builder.build().unwrap();
    db.start();
    let producer = db.producer::<u64>("out").unwrap();
    for n in 0..40 {
        producer.produce(n).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        if last_error(&db, "out").contains("tried again") {
            break;
        }
    }
    bad.store(false, Relaxed);
    producer.produce(77).await.unwrap();
    let sent = || broker.payloads(SPOILED);
    eventually("it is sent after the rest", sent, |sent| sent.contains(&"77".to_string())).await;
    link_connects(&db, "out").await;
    shut_down(&db).await;
}

pub async fn a_full_record_that_is_not_read_does_not_end_the_connection<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    let setup = Setup { keep_alive: Some(Duration::from_secs(1)), ..to(&broker) };
    let mut builder = subject.builder_with(setup);
    builder.configure::<u64>("in", |reg| {
        reg.buffer(BufferCfg::queue(2)).link_from("mqtt://in?qos=1", Json);
    });
    let db = builder.build().unwrap();
    let _reader = reader(&db, "in");
    db.start();
    link_connects(&db, "in").await;
    for n in 0..1_200 {
        broker.send(&Delivery::new("in", n.to_string()).qos(1));
    }
    // Several times the time in which a silent broker is found.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_one_connection(&broker);
}

pub async fn a_message_is_not_blamed_for_a_broker_that_says_it_shuts_down<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    let mut verdicts = at_first(4, OnPublish::Disconnect(0x8b), OnPublish::Accept);
    broker.on_publish(move |_| verdicts());
    let mut builder = subject.builder_with(to(&broker));
    outbound(&mut builder, "out", &format!("mqtt://{GOOD}?qos=1"));
    let db = builder.build().unwrap();
    db.start();
    produce(&db, "out", [5]).await;
    all_arrive(&broker, GOOD, [5]).await;
    eventually("it is acknowledged", || link_of(&db, "out").sent, |sent| *sent == 1).await;
    let link = link_of(&db, "out");
    assert_eq!((link.sent, link.dropped()), (1, 0), "{link:?}");
    shut_down(&db).await;
}

pub async fn an_equal_message_is_another_message_where_the_retain_flag_is_the_publishers<
    S: Subject,
>(
    subject: S,
) {
    let broker = Picky::start(S::VERSION).await;
    broker.can(Capabilities { no_identifiers: true, ..Default::default() });
    let mut builder = subject.builder_with(to(&broker));
    inbound(&mut builder, "one", "mqtt://s/+?retain_as_published&qos=1");
    inbound(&mut builder, "two", "mqtt://s/+?retain_as_published&qos=1");
    let db = builder.build().unwrap();
    let mut one = reader(&db, "one");
    db.start();
    link_connects(&db, "one").await;
    for _ in 0..2 {
        broker.send(&Delivery::new("s/a", "7").qos(1).retained());
    }
    assert_eq!(value(&mut one).await, 7);
    assert_eq!(value(&mut one).await, 7);
}
