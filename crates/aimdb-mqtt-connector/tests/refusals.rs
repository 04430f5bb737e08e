//! Refusals by the broker and by the connector: passwords, certificates.

mod support;

use std::time::Duration;

use aimdb_core::{DbError, Json};
use aimdb_mqtt_connector::{MqttConnector, QoS, mqtt};
use support::*;

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

/// The error in `health()` after the first attempt has failed.
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
async fn a_wrong_password_is_reported_and_a_required_connection_fails_at_once() {
    let Some(broker) = Mosquitto::start_with_password("me", "pässwört") else { return };
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
async fn tls_trusts_a_private_ca_and_no_other() {
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
async fn a_broker_that_requests_a_client_certificate_receives_it() {
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
