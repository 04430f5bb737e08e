//! `MqttConnector` against a broker inside the process: these tests need no installed broker.

mod support;

use std::time::Duration;

use aimdb_core::health::StageState;
use aimdb_core::{BufferCfg, DbError, Json};
use aimdb_mqtt_connector::{LastWill, MqttVersion, QoS, mqtt};
use embedded_broker::EmbeddedBroker;
use support::*;

#[tokio::test]
async fn a_value_makes_a_round_trip_at_every_quality_of_service() {
    let broker = EmbeddedBroker::start().await.unwrap();
    for version in VERSIONS {
        let mut builder = builder();
        builder.connector(to_url(broker.url()).version(version));
        for qos in LEVELS {
            let topic = format!("{version:?}/trip/{}", qos as u8);
            builder.configure::<u64>(format!("out{}", qos as u8), |reg| {
                reg.buffer(QUEUE).link_to(mqtt::topic(&topic).qos(qos), Json);
            });
            builder.configure::<u64>(format!("in{}", qos as u8), |reg| {
                reg.buffer(QUEUE).link_from(mqtt::filter(&topic).qos(qos), Json);
            });
        }
        let db = builder.build().unwrap();
        let readers = LEVELS.map(|qos| {
            db.consumer::<u64>(format!("in{}", qos as u8)).unwrap().subscribe().unwrap()
        });
        db.start();
        connected(&db).await;
        for (qos, mut reader) in LEVELS.into_iter().zip(readers) {
            let out = db.producer::<u64>(format!("out{}", qos as u8)).unwrap();
            out.produce_many(0..100).await.unwrap();
            for n in 0..100 {
                assert_eq!(value(&mut reader).await, n, "{version:?} {qos:?}");
            }
        }
        shut_down(&db).await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_reported_in_health_and_fails_a_required_connection() {
    let broker = EmbeddedBroker::start_with_password("me", "secret").await.unwrap();
    let build = |password: &str, version: MqttVersion, required: bool| {
        let mut builder = builder();
        let connector = to_url(broker.url()).version(version).credentials("me", password);
        builder.connector(match required {
            true => connector.require_connection(Duration::from_secs(60)),
            false => connector,
        });
        builder.configure::<u64>("n", |reg| {
            reg.buffer(BufferCfg::SingleLatest).link_to("mqtt://n", Json);
        });
        builder
    };
    for version in VERSIONS {
        // With MQTT 5 the broker has words of its own.
        let text = if version == MqttVersion::V5 { " (Authentication failed)" } else { "" };
        let refusal = format!(
            "the broker refused the connection: bad user name or password{text}; check user and password"
        );
        let db = start(build("secret", version, true)).await;
        shut_down(&db).await;

        let db = build("wrong", version, false).build().unwrap();
        db.start();
        eventually(
            "the refusal is shown",
            || db.health().links[0].clone(),
            |link| !link.connected && link.last_error.as_ref() == Some(&refusal),
        )
        .await;
        assert!(!db.health().is_healthy());
        let stage = db.health().connector("mqtt").unwrap().state;
        assert_eq!(stage, StageState::Running, "the connector retries");
        shut_down(&db).await;

        let mut strict = build("wrong", version, true);
        strict.stop_on_failure();
        let db = strict.build().unwrap();
        let DbError::StagesFailed { failures } =
            within("the failure", db.run_until(std::future::pending())).await.unwrap_err()
        else {
            panic!("not a failed stage")
        };
        let expected = format!("no connection to {}: {refusal}", broker.url());
        assert_eq!(failures.len(), 1);
        assert_eq!((failures[0].owner.name(), failures[0].stage.as_str()), ("mqtt", "connector"));
        assert_eq!(failures[0].cause, expected);
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_required_connection_that_is_not_established_in_time_fails_the_stage() {
    let port = free_port();
    let mut builder = builder();
    builder.connector(mqtt_to(port).require_connection(Duration::from_millis(300)));
    builder.stop_on_failure().configure::<u64>("n", |reg| {
        reg.buffer(BufferCfg::SingleLatest).link_to("mqtt://n", Json);
    });
    let db = builder.build().unwrap();
    let error = within("the failure", db.run_until(std::future::pending())).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("no connection to mqtt://127.0.0.1:{port}: ")), "{text}");
    assert!(text.to_lowercase().contains("connection refused"), "{text}");
    assert!(!db.health().links[0].connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_will_is_published_after_a_crash_and_not_after_a_shutdown() {
    let broker = EmbeddedBroker::start().await.unwrap();
    let mut probe = Probe::connect(broker.port()).await;
    probe.subscribe("wills", QoS::AtLeastOnce).await;
    let url = broker.url();
    let build = move || {
        let mut builder = builder();
        let will = LastWill::new("wills", "gone").qos(QoS::AtLeastOnce);
        builder.connector(to_url(url).last_will(will));
        builder.configure::<u64>("n", |reg| {
            reg.buffer(QUEUE).link_to("mqtt://n", Json);
        });
        builder
    };
    let db = start(build.clone()()).await;
    shut_down(&db).await;
    probe.receives_nothing().await;

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running = runtime.spawn(async move {
        let db = build().build().unwrap();
        db.start();
        connected(&db).await;
        db
    });
    let _db = running.await.unwrap();
    runtime.shutdown_background();
    assert_eq!(probe.text().await, ("wills".into(), "gone".into()));
    drop(probe);
    broker.stop().await;
}
