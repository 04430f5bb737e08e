//! What the connector is told no to, and what it says no to: payloads, passwords, certificates.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimdb_core::link::DeadLetter;
use aimdb_core::{DbError, Incoming, Json, Postcard, decode_with};
use aimdb_mqtt_connector::{MqttConnector, MqttVersion, QoS, mqtt};
use support::*;

#[derive(serde::Deserialize, Clone, Debug, PartialEq)]
struct Reading {
    celsius: f64,
}

#[tokio::test]
async fn a_bad_payload_is_counted_and_kept_as_a_dead_letter_and_the_next_good_one_arrives() {
    let Some(broker) = Mosquitto::start("") else { return };
    for version in VERSIONS {
        let probe = Probe::connect(broker.port()).await;
        let letters = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&letters);
        let mut builder = builder();
        builder.connector(mqtt_to(broker.port()).version(version));
        builder.on_dead_letter(move |letter: &DeadLetter<'_>| {
            let DeadLetter { record, link, message, reason } = letter;
            let text = format!("{record} | {link} | {} | {reason}", message.topic);
            kept.lock().unwrap().push((text, message.payload.to_vec()));
            assert_ne!(message.payload, b"the hook panics");
        });
        builder.configure::<Reading>("json", |reg| {
            reg.buffer(QUEUE).link_from("mqtt://json/+?qos=1", Json);
        });
        builder.configure::<(u32, String)>("postcard", |reg| {
            reg.buffer(QUEUE).link_from("mqtt://postcard?qos=1", Postcard);
        });
        builder.configure::<u64>("panics", |reg| {
            let codec = decode_with(|message: &Incoming<'_>| match message.payload {
                b"panic" => panic!("the codec gives up"),
                payload => Ok::<_, String>(payload.len() as u64),
            });
            reg.buffer(QUEUE).link_from("mqtt://panics?qos=2", codec);
        });
        let db = builder.build().unwrap();
        let mut json = db.consumer::<Reading>("json").unwrap().subscribe().unwrap();
        let mut postcard = db.consumer::<(u32, String)>("postcard").unwrap().subscribe().unwrap();
        let mut panics = db.consumer::<u64>("panics").unwrap().subscribe().unwrap();
        db.start();
        connected(&db).await;

        let noise: Vec<u8> =
            (0_u32..1000).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let bad: [Vec<u8>; 7] = [
            noise,
            Vec::new(),
            vec![b'['; 1 << 20],
            vec![0xff, 0xfe, 0x80],
            br#"{"fahrenheit":70}"#.into(),
            br#"{"celsius":"warm"}"#.into(),
            b"the hook panics".into(),
        ];
        for (at, payload) in bad.iter().enumerate() {
            probe.publish(&format!("json/{at}"), payload.clone(), QoS::AtLeastOnce).await;
            probe.publish("json/good", r#"{"celsius":20.5}"#, QoS::AtLeastOnce).await;
            assert_eq!(value(&mut json).await, Reading { celsius: 20.5 });
            let letter = letters.lock().unwrap()[at].clone();
            let start = format!("json | mqtt://json/+?qos=1 | json/{at} | ");
            assert!(letter.0.starts_with(&start) && letter.0.len() > start.len(), "{}", letter.0);
            assert!(letter.1 == *payload);
        }
        assert!(
            letters.lock().unwrap()[4].0.ends_with("missing field `celsius` at line 1 column 17")
        );
        letters.lock().unwrap().clear();

        for payload in [&b""[..], &[0x80; 20], &[1, 200, b'x'], &[1, 1, 0xff], &[1, 1, b'x', 0]] {
            probe.publish("postcard", payload, QoS::AtLeastOnce).await;
        }
        probe.publish("postcard", [7, 2, b'o', b'k'], QoS::AtLeastOnce).await;
        assert_eq!(value(&mut postcard).await, (7, "ok".into()));

        probe.publish("panics", "panic", QoS::ExactlyOnce).await;
        probe.publish("panics", "fine", QoS::ExactlyOnce).await;
        assert_eq!(value(&mut panics).await, 4);
        let last = letters.lock().unwrap().pop().unwrap();
        assert_eq!(last.0, "panics | mqtt://panics?qos=2 | panics | panicked: the codec gives up");

        probe.publish("nobody/expects/this", "x", QoS::AtLeastOnce).await;
        probe.publish("json/a/b", "x", QoS::AtLeastOnce).await;

        shut_down(&db).await;
        let counted: Vec<_> = (0..3)
            .map(|at| link(&db, at))
            .map(|link| (link.received, link.decode_errors, link.dropped, link.reconnects))
            .collect();
        assert_eq!(counted, [(14, 7, 0, 0), (6, 5, 0, 0), (2, 1, 0, 0)]);
        let error = link(&db, 2).last_error.unwrap();
        assert_eq!(error, "a payload on `panics` did not decode: panicked: the codec gives up");
    }
}

fn one_link(
    connector: MqttConnector,
) -> aimdb_core::AimDbBuilder<aimdb_tokio_adapter::TokioAdapter> {
    let mut builder = builder();
    builder.connector(connector);
    builder.configure::<u64>("n", |reg| {
        reg.buffer(QUEUE).link_to(mqtt::topic("n").qos(QoS::AtLeastOnce), Json);
    });
    builder
}

/// What `health()` says once the first attempt has failed.
async fn first_error(connector: MqttConnector) -> String {
    let db = one_link(connector).build().unwrap();
    db.start();
    eventually("an error is shown", || db.health().links[0].last_error.clone(), Option::is_some)
        .await;
    assert!(!db.health().links[0].connected && !db.health().is_healthy());
    shut_down(&db).await;
    db.health().links[0].last_error.clone().unwrap()
}

#[tokio::test]
async fn a_wrong_password_is_named_and_a_required_connection_fails_at_once() {
    let dir = tempfile::TempDir::new().unwrap();
    let passwords = dir.path().join("passwords");
    // `me:pässwört` as `mosquitto_passwd` writes it.
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["me", "pässwört"])
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return;
    }
    let lines = format!("allow_anonymous false\npassword_file {}", passwords.display());
    let Some(broker) = Mosquitto::start_in(dir, &lines) else { return };
    for version in VERSIONS {
        let connector = || mqtt_to(broker.port()).version(version);
        let refusal = "the broker refused the connection: not authorized; check user and password";
        assert_eq!(first_error(connector().credentials("me", "wrong")).await, refusal);
        assert_eq!(first_error(connector()).await, refusal);
        let good = format!("mqtt://me:p%C3%A4ssw%C3%B6rt@127.0.0.1:{}", broker.port());
        let db = start(one_link(to_url(good).version(version))).await;
        shut_down(&db).await;

        let mut strict = one_link(
            connector().credentials("me", "wrong").require_connection(Duration::from_secs(60)),
        );
        strict.stop_on_failure();
        let db = strict.build().unwrap();
        let error = within("the failure", db.run_until(std::future::pending())).await.unwrap_err();
        assert!(matches!(error, DbError::StagesFailed { .. }));
        let expected = format!("no connection to mqtt://127.0.0.1:{}: {refusal}", broker.port());
        assert!(error.to_string().contains(&expected), "{error}");
        assert_eq!(db.health().links[0].last_error.as_deref(), Some(&*expected));
    }
}

#[tokio::test]
async fn tls_trusts_a_private_ca_and_nobody_else() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let dir = tempfile::TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (cert, key) =
        (write("server.crt", &certificates.server.0), write("server.key", &certificates.server.1));
    let ca = write("ca.crt", &certificates.ca);
    let lines = format!("certfile {}\nkeyfile {}", cert.display(), key.display());
    let Some(broker) = Mosquitto::start_in(dir, &lines) else { return };
    for version in VERSIONS {
        for host in ["127.0.0.1", "localhost"] {
            let url = format!("mqtts://{host}:{}", broker.port());
            let db = start(one_link(to_url(&url).version(version).ca_file(&ca))).await;
            db.producer::<u64>("n").unwrap().produce(1).await.unwrap();
            eventually("it is sent", || link(&db, 0).sent, |sent| *sent == 1).await;
            shut_down(&db).await;
            let error = first_error(to_url(&url).version(version).ca_pem(others.ca.as_str())).await;
            assert!(error.contains("invalid peer certificate"), "{error}");
        }
        let url = format!("mqtts://127.0.0.2:{}", broker.port());
        let error = first_error(to_url(&url).version(version).ca_file(&ca)).await;
        assert!(!error.is_empty(), "{error}");
        let plain = first_error(mqtt_to(broker.port()).version(version)).await;
        assert!(!plain.is_empty(), "{plain}");
    }
}

#[tokio::test]
async fn a_broker_that_asks_for_a_client_certificate_gets_it() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let dir = tempfile::TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (cert, key) =
        (write("server.crt", &certificates.server.0), write("server.key", &certificates.server.1));
    let ca = write("ca.crt", &certificates.ca);
    let chain = write("client.crt", &certificates.client.0);
    let client_key = write("client.key", &certificates.client.1);
    let lines = format!(
        "certfile {}\nkeyfile {}\ncafile {}\nrequire_certificate true",
        cert.display(),
        key.display(),
        ca.display()
    );
    let Some(broker) = Mosquitto::start_in(dir, &lines) else { return };
    for version in VERSIONS {
        let connector =
            || to_url(format!("mqtts://localhost:{}", broker.port())).version(version).ca_file(&ca);
        let db = start(one_link(connector().client_certificate(&chain, &client_key))).await;
        shut_down(&db).await;
        for wrong in
            [connector(), connector().client_certificate_pem(&*others.client.0, &*others.client.1)]
        {
            let error = first_error(wrong).await;
            assert!(!error.is_empty(), "{error}");
        }
    }
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_given_up_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for version in VERSIONS {
        let connector = mqtt_to(port).version(version).connect_timeout(Duration::from_secs(1));
        let began = std::time::Instant::now();
        let error = first_error(connector).await;
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        assert!(!error.is_empty(), "{error}");
    }
    _ = MqttVersion::V5;
}
