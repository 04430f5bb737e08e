//! `EmbassyMqttConnector` passes the conformance suite, and reports unsupported settings as findings.

mod suite;
mod support;

use std::time::Duration;

use aimdb_core::{BufferCfg, Json};
use aimdb_mqtt_connector::{EmbassyMqttConnector, LastWill, QoS, mqtt};
use suite::broker::{Broker, SUBSCRIBE};
use suite::{OnEmbassy, Setup, Subject};
use support::*;

conformance!(OnEmbassy);
faults_of_v5!(OnEmbassy);
faults_new_api!(OnEmbassy);
faults_new_api_of_v5!(OnEmbassy);

#[test]
fn acknowledgements_of_one_kind_are_sent_in_the_order_of_their_messages() {
    OnEmbassy::run(|subject| async move {
        let broker = Broker::new(OnEmbassy::VERSION, None).await;
        let mut builder = subject.builder_with(Setup::to(broker.port()));
        for (key, filter, capacity) in [("full", "in", 2), ("free", "+", 100)] {
            builder.configure::<u64>(key, |reg| {
                let filter = mqtt::filter(filter).qos(QoS::AtLeastOnce);
                reg.buffer(BufferCfg::SpmcQueue { capacity }).link_from(filter, Json);
            });
        }
        let db = builder.build().unwrap();
        let mut full = db.consumer::<u64>("full").unwrap().subscribe().unwrap();
        let mut free = db.consumer::<u64>("free").unwrap().subscribe().unwrap();
        db.start();
        let mut served = broker.accept().await;
        assert_eq!(served.packet().await.0, SUBSCRIBE);
        for n in 1..=3 {
            served.publish(n).await.unwrap();
        }
        for n in 4..=5 {
            served.publish_to("no", n).await.unwrap();
        }
        for n in 1..=5 {
            assert_eq!(value(&mut free).await, n);
        }
        // The third acknowledgement waits for the full record, and the later ones for the third.
        for n in 1..=2 {
            served.expect_puback(n).await;
        }
        assert!(tokio::time::timeout(QUIET_TIME, served.try_packet()).await.is_err());
        assert_eq!(value(&mut full).await, 1);
        for n in 3..=5 {
            served.expect_puback(n).await;
        }
        tokio::join!(shut_down(&db), async { drop(served) });
    });
}

#[test]
fn every_unsupported_setting_is_a_finding() {
    OnEmbassy::run(|subject| async move {
        let mut builder = subject.builder();
        let will = LastWill::new("w".repeat(129), "");
        let connector = EmbassyMqttConnector::new("10.0.0.2:1883", Tcp(1))
            .client_id("c".repeat(65))
            .keep_alive(Duration::from_millis(1500))
            .keep_session(Duration::from_millis(1))
            .connect_timeout(Duration::ZERO)
            .backoff(Duration::ZERO, Duration::ZERO)
            .last_will(will)
            .receive_buffer(16)
            .send_buffer(128);
        builder.connector(connector);
        builder.configure::<u64>("r", |reg| {
            reg.buffer(QUEUE)
                .source(|_ctx, _producer| async {})
                .link_to("mqtt://a/+?qos=3&colour=red", Json);
        });
        let error = builder.build().unwrap_err();
        let whole = "the graph has 9 findings; nothing was started

E17 connector `mqtt` to `10.0.0.2:1883`: a keep-alive of 1.5s cannot be sent
  help: use whole seconds, 1 to 65535, or zero for none

E17 connector `mqtt` to `10.0.0.2:1883`: a receive buffer of 16 bytes is too small
  help: use 128 bytes at least

E17 connector `mqtt` to `10.0.0.2:1883`: a send buffer of 128 bytes is too small: connecting takes 230 of them
  help: use 294 bytes at least

E17 connector `mqtt` to `10.0.0.2:1883`: a session cannot be kept for 1ms
  help: use whole seconds, 1 to 4294967295

E17 connector `mqtt` to `10.0.0.2:1883`: it would give up before it has tried to connect
  help: give `.connect_timeout(…)` some seconds

E17 connector `mqtt` to `10.0.0.2:1883`: it would try to connect without a pause
  help: give `.backoff(…)` a first pause, for instance 250 ms

E14 record `r`: in its link to `mqtt://a/+?qos=3&colour=red` the topic contains the wildcard `+`, but a message needs one exact topic
  help: name the topic to publish to, for instance `sensors/temp/indoor`

E15 record `r`: in its link to `mqtt://a/+?qos=3&colour=red` the option `colour` is unknown
  help: there are `qos`, `retain`, `expiry`, `content_type` and `property`

E15 record `r`: in its link to `mqtt://a/+?qos=3&colour=red` the option `qos` is `3`
  help: it can be 0, 1 or 2";
        assert_eq!(without_locations(&error), whole);
    });
    OnEmbassy::run(|subject| async move {
        let mut builder = subject.builder();
        builder.connector(embassy_to(1).client_id("me").send_buffer(200).receive_buffer(128));
        builder.configure::<u64>("r", |reg| {
            reg.buffer(QUEUE).link_from(mqtt::filter("t".repeat(150)), Json).tap(|_, _| async {});
        });
        let error = builder.build().unwrap_err();
        let topic = "t".repeat(150);
        assert_eq!(
            without_locations(&error),
            format!(
                "the graph has 1 finding; nothing was started\n\nE14 record `r`: in its link from `mqtt://{topic}` the \
                 topic is 150 bytes long, and the send buffer has room for 147\n  help: use a larger `.send_buffer(…)`, or a \
                 shorter topic"
            )
        );
    });
}

/// The error's text without the places in the source code that it refers to.
fn without_locations(error: &aimdb_core::DbError) -> String {
    let text = error.to_string();
    let lines = text.lines().filter(|line| !line.starts_with("  --> "));
    lines.collect::<Vec<_>>().join("\n")
}
