//! Each reason code in each packet that may carry it, and codes that none carries.

use std::collections::BTreeSet;

use aimdb_mqtt_connector::{MqttVersion, QoS, mqtt};

use crate::common::*;
use crate::suite::{Setup, Subject};
use crate::support::picky::{Delivery, OnConnect, OnPublish, OnSubscribe, Picky, at_first};
use crate::support::*;
use crate::tables::*;

/// A CONNACK refuses the first attempt with this code.
async fn refused_once<S: Subject>(subject: &S, code: u8, text: &str) {
    let broker = Picky::start(S::VERSION).await;
    let mut verdict = at_first(1, OnConnect::Refuse(code), OnConnect::Accept);
    broker.on_connect(move |_| verdict());
    let case = format!("a CONNACK with {code:#04x}");
    let mut both = Both::start(subject, &broker);
    both.error(&format!("the broker refused the connection: {text}"), &case).await;
    both.pass(&broker, 2, &case).await;
    shut_down(&both.db).await;
}

pub async fn each_reason_of_a_connack_is_named_and_the_connection_is_tried_again<S: Subject>(
    subject: S,
) {
    // A broker that speaks only MQTT 3.1.1 refuses the version with its own code, 1.
    let of_v311 = [(1, "unsupported protocol version".to_owned())];
    let codes = codes_of(CONNACK).into_iter().filter(|(code, _)| *code != 0);
    together(codes.chain(of_v311).map(|(code, text)| {
        let subject = &subject;
        async move { refused_once(subject, code, &text).await }
    }))
    .await;
}

pub async fn each_return_code_of_a_connack_is_named_and_the_connection_is_tried_again<
    S: Subject,
>(
    subject: S,
) {
    let codes = [
        (1, "unsupported protocol version; choose another MQTT version"),
        (2, "client id not valid; check the client id"),
        (3, "server unavailable"),
        (4, "bad user name or password; check user and password"),
        (5, "not authorized; check user and password"),
        (6, "reason 0x06"),
        (0xff, "reason 0xff"),
    ];
    together(codes.map(|(code, text)| refused_once(&subject, code, text))).await;
}

/// A connector that requires its connection fails at once if the refusal is not for the moment.
#[tokio::test]
async fn a_required_connection_fails_for_the_reasons_that_do_not_pass() {
    const TEMPORARY: [u8; 6] = [0x80, 0x83, 0x88, 0x89, 0x97, 0x9f];
    const OF_V311: [(u8, bool); 6] =
        [(1, false), (2, false), (3, true), (4, false), (5, false), (6, false)];
    let of_v5 = codes_of(CONNACK)
        .into_iter()
        .filter(|(code, _)| *code != 0)
        .map(|(code, _)| (MqttVersion::V5, code, TEMPORARY.contains(&code)));
    let of_v311 = OF_V311.map(|(code, passes)| (MqttVersion::V311, code, passes));
    together(of_v5.chain(of_v311).map(|(version, code, passes)| async move {
        let broker = Picky::start(version).await;
        let mut verdict = at_first(2, OnConnect::Refuse(code), OnConnect::Accept);
        broker.on_connect(move |_| verdict());
        let mut builder = builder();
        builder.connector(mqtt_to(broker.port()).version(version).require_connection(TIMEOUT));
        let both = Both::with(builder);
        if passes {
            connected(&both.db).await;
            assert_eq!(broker.connections(), 3, "{version:?}: {code:#04x}");
        } else {
            let health = || both.db.health().to_string();
            let failed = |text: &String| text.contains("no connection to");
            eventually(&format!("{version:?}: {code:#04x} fails it"), health, failed).await;
            assert_eq!(broker.connections(), 1, "{version:?}: {code:#04x}");
        }
        both.db.shutdown(TIMEOUT).await;
    }))
    .await;
}

/// One link for each code and level, all on one connection. A link's second value is acknowledged with the code.
pub async fn each_reason_of_a_puback_or_pubrec_concerns_its_message_alone<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    broker.on_publish(|message| match message.payload.as_slice() {
        b"2" => OnPublish::Refuse(message.topic[2..].parse().unwrap()),
        _ => OnPublish::Accept,
    });
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    let levels = [QoS::AtLeastOnce, QoS::ExactlyOnce];
    let links = || levels.into_iter().flat_map(|qos| all_codes().map(move |code| (qos, code)));
    for (qos, (code, _)) in links() {
        let topic = format!("{}/{code}", qos as u8);
        outbound(&mut builder, &topic, mqtt::topic(&topic).qos(qos));
    }
    let db = start(builder).await;
    for (qos, (code, _)) in links() {
        produce(&db, &format!("{}/{code}", qos as u8), 1..=3).await;
    }
    shut_down(&db).await;
    for (qos, (code, text)) in links() {
        let link = link_of(&db, &format!("{}/{code}", qos as u8));
        let refused = code >= 0x80;
        let dropped = u64::from(refused);
        assert_eq!((link.sent, link.dropped()), (3 - dropped, dropped), "{qos:?}: {code:#04x}");
        let error = link.last_error.unwrap_or_default();
        let expected = format!("was dropped: the broker refused it: {text}");
        assert!(error.is_empty() != refused, "{error}");
        assert!(error.ends_with(&expected) || !refused, "{error} instead of {expected}");
        assert_eq!(broker.payloads(&format!("{}/{code}", qos as u8)), ["1", "3"]);
    }
    assert_eq!((broker.connections(), broker.complaints()), (1, vec![]));
}

/// PUBREL carries 0x00 or 0x92. A PUBCOMP with 0x92 says that the broker has forgotten the identifier of a message that
/// it has.
pub async fn each_reason_of_a_pubrel_or_pubcomp_leaves_the_connection<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    outbound(&mut builder, "out2", "mqtt://out2?qos=2");
    inbound(&mut builder, "in2", "mqtt://in2?qos=2");
    let mut both = Both::with(builder);
    let mut received = reader::<u64, _>(&both.db, "in2");
    both.pass(&broker, 1, "at first").await;
    let (mut sent, mut dropped) = (0, 0);
    for (n, (code, text)) in all_codes().enumerate() {
        let n = n as u64;
        broker.set_reason(PUBREL, code);
        broker.set_reason(PUBCOMP, code);
        let ids = broker.send(&Delivery::new("in2", n.to_string()).qos(2));
        assert_eq!(value(&mut received).await, n, "PUBREL with {code:#04x}");
        let completed = || broker.acknowledged(PUBCOMP);
        eventually("a PUBCOMP follows", completed, |all| all.ends_with(&ids)).await;

        produce(&both.db, "out2", [n]).await;
        let refused = code >= 0x80 && code != 0x92;
        *if refused { &mut dropped } else { &mut sent } += 1;
        let counts = || (link_of(&both.db, "out2").sent, link_of(&both.db, "out2").dropped());
        let case = format!("a PUBCOMP with {code:#04x} is counted");
        eventually(&case, counts, |counts| *counts == (sent, dropped)).await;
        let error = link_of(&both.db, "out2").last_error.unwrap_or_default();
        assert!(!refused || error.ends_with(&text), "{code:#04x}: {error}");
    }
    both.pass(&broker, 1, "in the end").await;
    no_value(&mut received).await;
    shut_down(&both.db).await;
}

/// One link for each code, all on one connection. Each subscription is answered with its code, and granted when it is
/// asked for again.
pub async fn each_reason_of_a_suback_concerns_its_link_alone<S: Subject>(subject: S) {
    suback(subject, all_codes().collect()).await;
}

/// MQTT 3.1.1 has one code for a refusal.
pub async fn a_suback_of_0x80_concerns_its_link_alone<S: Subject>(subject: S) {
    let mut codes: Vec<_> = all_codes().take(3).collect();
    codes.push((0x80, "unspecified error".into()));
    suback(subject, codes).await;
}

async fn suback<S: Subject>(subject: S, codes: Vec<(u8, String)>) {
    let broker = Picky::start(S::VERSION).await;
    let mut asked = BTreeSet::new();
    broker.on_subscribe(move |subscription| match subscription.filter.strip_prefix("code/") {
        Some(code) if asked.insert(code.to_owned()) => OnSubscribe::Refuse(code.parse().unwrap()),
        _ => OnSubscribe::Grant,
    });
    let mut builder = subject.builder_with(Setup::to(broker.port()));
    for (code, _) in &codes {
        inbound(
            &mut builder,
            &code.to_string(),
            mqtt::filter(format!("code/{code}")).qos(QoS::ExactlyOnce),
        );
    }
    let mut both = Both::with(builder);
    let case = "the others are granted";
    eventually(case, || link_of(&both.db, "in").connected, |connected| *connected).await;
    for (code, text) in &codes {
        let key = code.to_string();
        let error = || link_of(&both.db, &key).last_error;
        if *code <= 2 {
            let granted = || link_of(&both.db, &key).connected;
            eventually(&format!("{code} grants"), granted, |granted| *granted).await;
            assert_eq!(error(), None, "{code}");
            continue;
        }
        let expected = format!(
            "the broker refused the subscription to `code/{code}`: {text}; asked again in 1s"
        );
        let named = |error: &Option<String>| error.as_ref() == Some(&expected);
        eventually(&format!("{code:#04x} refuses"), error, named).await;
    }
    both.pass(&broker, 1, "each refusal is asked for again").await;
    for (code, _) in &codes {
        let count = broker.subscriptions_to(&format!("code/{code}")).len();
        assert_eq!(count, if *code <= 2 { 1 } else { 2 }, "{code:#04x}");
    }
    shut_down(&both.db).await;
}

/// The connector has not asked to unsubscribe: no answer concerns it.
pub async fn each_reason_of_an_unsuback_leaves_the_connection<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    let mut both = Both::start(&subject, &broker);
    both.pass(&broker, 1, "at first").await;
    for (code, _) in all_codes() {
        broker.send_bytes(&[0xb0, 4, 0, 9, 0, code]);
    }
    both.pass(&broker, 1, "after each UNSUBACK").await;
    assert_eq!(both.last_error(), None);
    shut_down(&both.db).await;
}

/// The broker sends `bytes` on the first connection.
async fn ended_by<S: Subject>(subject: &S, bytes: &[u8], text: &str) {
    let broker = Picky::start(S::VERSION).await;
    let mut both = Both::start(subject, &broker);
    let case = format!("{bytes:02x?}");
    both.pass(&broker, 1, &case).await;
    broker.send_bytes(bytes);
    both.error(text, &case).await;
    both.pass(&broker, 2, &case).await;
    shut_down(&both.db).await;
    assert_eq!(link_of(&both.db, "out").reconnects, 1, "{case}");
}

pub async fn each_reason_of_a_disconnect_is_named_and_the_connection_is_made_again<S: Subject>(
    subject: S,
) {
    let mut cases = vec![(vec![0xe0, 0], "success".to_owned())];
    for (code, text) in codes_of(DISCONNECT) {
        cases.push((vec![0xe0, 1, code], text.clone()));
        cases.push((vec![0xe0, 2, code, 0], text));
    }
    together(cases.into_iter().map(|(bytes, text)| {
        let subject = &subject;
        let text = format!("the broker ended the connection: {text}");
        async move { ended_by(subject, &bytes, &text).await }
    }))
    .await;
}

/// The connector asks for no authentication besides user and password, so that a broker must not send an AUTH.
pub async fn each_auth_is_a_named_error_and_the_connection_is_made_again<S: Subject>(subject: S) {
    let mut cases = vec![vec![0xf0, 0]];
    cases.extend(codes_of(AUTH).into_iter().map(|(code, _)| vec![0xf0, 2, code, 0]));
    let text = "the broker sent a malformed packet: a packet is of a kind that no broker sends";
    together(cases.iter().map(|bytes| ended_by(&subject, bytes, text))).await;
}

/// The reasons that the connector itself sends: 0x92 in a PUBREL and a PUBCOMP, 0x00 in everything else.
pub async fn an_unknown_identifier_is_answered_with_the_reason_for_it<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    let mut both = Both::start(&subject, &broker);
    both.pass(&broker, 1, "at first").await;
    broker.send_bytes(&[0x50, 2, 0xab, 0xcd]);
    broker.send_bytes(&[0x62, 2, 0xab, 0xce]);
    broker.send_bytes(&[0x40, 2, 0xab, 0xcf]);
    broker.send_bytes(&[0x70, 2, 0xab, 0xcf]);
    for (kind, expected) in [(PUBREL, (0xabcd, 0x92)), (PUBCOMP, (0xabce, 0x92))] {
        let answers = || broker.acknowledged_with(kind);
        eventually("it is answered", answers, |answers| *answers == [expected]).await;
    }
    both.pass(&broker, 1, "in the end").await;
    shut_down(&both.db).await;
    let successes = broker.acknowledged_with(PUBACK);
    assert!(successes.iter().all(|(_, reason)| *reason == 0) && successes.len() == 2);
    assert_eq!(broker.disconnects(), [0]);
}
