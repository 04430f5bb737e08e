//! Sessions: clean, kept, forgotten, expired and taken over, with messages under way.

use std::collections::BTreeSet;
use std::time::Duration;

use aimdb_core::metrics::LinkMetrics;
use aimdb_core::{AimDb, BufferCfg, Reader, Runtime};
use aimdb_mqtt_connector::{MqttVersion, QoS, mqtt};
use embedded_broker::EmbeddedBroker;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::common::*;
use crate::suite::broker::{Broker, client};
use crate::suite::{Setup, Subject};
use crate::support::picky::{Capabilities, Delivery, OnPublish, Picky};
use crate::support::*;
use crate::tables::*;

const MINUTE: Duration = Duration::from_secs(60);

/// A client whose session is kept for this long, or not at all.
fn with_session(port: u16, session: Option<Duration>) -> Setup {
    Setup { client_id: Some("kept"), session, ..Setup::to(port) }
}

/// A connector behind a proxy, with a link each way at each level.
struct Behind<R: Runtime> {
    db: AimDb<R>,
    readers: Vec<Reader<u64>>,
    proxy: Proxy,
    probe: Probe,
}

impl<R: Runtime> Behind<R> {
    async fn start<S: Subject<Runtime = R>>(
        subject: &S,
        port: u16,
        expiry: Option<Duration>,
    ) -> Self {
        let probe = Probe::connect(port).await;
        let proxy = Proxy::to(port).await;
        let setup = with_session(proxy.port(), expiry);
        let mut builder = subject.builder_with(setup);
        for qos in LEVELS {
            let [out, from] = ["out", "in"].map(|direction| format!("{direction}/{}", qos as u8));
            outbound(&mut builder, &out, mqtt::topic(&out).qos(qos));
            inbound(&mut builder, &from, mqtt::filter(&from).qos(qos));
        }
        probe.subscribe("out/#", QoS::ExactlyOnce).await;
        let (db, readers) = start_reading(builder, ["in/0", "in/1", "in/2"]).await;
        let mut behind = Self { db, readers, proxy, probe };
        behind.pass(1, None, "at first").await;
        behind
    }

    async fn disconnect(&self) {
        self.proxy.close(true);
        let connected = || self.db.health().links.iter().any(|link| link.connected);
        eventually("the connection is broken", connected, |connected| !connected).await;
    }

    /// Breaks the connection. Another client sends 2 meanwhile, at each level.
    async fn cut(&mut self) {
        self.disconnect().await;
        for qos in LEVELS {
            self.probe.publish(&format!("in/{}", qos as u8), "2", qos).await;
        }
    }

    async fn reconnect(&self) {
        self.proxy.close(false);
        connected(&self.db).await;
    }

    /// Connects another client after a restart of the broker, and the connector.
    async fn restarted(&mut self, port: u16) {
        self.probe = Probe::connect(port).await;
        self.probe.subscribe("out/#", QoS::ExactlyOnce).await;
        self.reconnect().await;
    }

    /// Asserts that `n` passes in each direction at each level. `missed` may be before it, and is at QoS 1 and 2.
    async fn pass(&mut self, n: u64, missed: Option<u64>, case: &str) {
        for (reader, qos) in self.readers.iter_mut().zip(LEVELS) {
            let [out, from] = ["out", "in"].map(|direction| format!("{direction}/{}", qos as u8));
            produce(&self.db, &out, [n]).await;
            assert_eq!(self.probe.text().await, (out, n.to_string()), "{case}");
            self.probe.publish(&from, n.to_string(), qos).await;
            let mut first = value(reader).await;
            if let Some(missed) = missed
                && (first == missed || qos > QoS::AtMostOnce)
            {
                assert_eq!(first, missed, "{case}, {qos:?}");
                first = value(reader).await;
            }
            assert_eq!(first, n, "{case}, {qos:?}");
        }
    }

    /// Asserts that 3 passes, perhaps after the 2 of the cut, and shuts down.
    async fn end(mut self, missed: Option<u64>, case: &str) {
        self.pass(3, missed, case).await;
        shut_down(&self.db).await;
        for link in self.db.metrics().links {
            assert_eq!((link.dropped(), link.decode_errors()), (0, 0), "{case}: {link}");
        }
    }
}

/// Another client sends while the connection is broken.
async fn after_a_cut<S: Subject>(subject: S, expiry: Option<Duration>, missed: Option<u64>) {
    at_each_broker(async |broker| {
        let mut behind = Behind::start(&subject, broker.port(), expiry).await;
        behind.cut().await;
        behind.reconnect().await;
        behind.end(missed, broker.name()).await;
    })
    .await;
}

pub async fn a_clean_session_forgets_the_messages_of_a_cut<S: Subject>(subject: S) {
    after_a_cut(subject, None, None).await;
}

pub async fn a_kept_session_has_the_messages_of_a_cut<S: Subject>(subject: S) {
    after_a_cut(subject, Some(MINUTE), Some(2)).await;
}

/// The broker writes its state to a file and ends while the connection is broken, and begins again.
pub async fn a_kept_session_survives_a_restart_of_the_broker<S: Subject>(subject: S) {
    let dir = TempDir::new().unwrap();
    let place = dir.path().display();
    let lines =
        format!("{UNLIMITED}\nlog_type all\npersistence true\npersistence_location {place}/");
    let Some(mut broker) = Mosquitto::start_in(dir, &lines) else { return };
    let mut behind = Behind::start(&subject, broker.port(), Some(MINUTE)).await;
    // After a restart, Mosquitto 2.0.11 sends a message again for which it has sent the PUBREL, against 4.3.3.
    let completed = |log: &String| log.contains("Received PUBCOMP from kept");
    eventually("no message is under way", || broker.log(), completed).await;
    // It writes no session to the file whose newest connection began it, as the first one of an Embassy program does.
    behind.disconnect().await;
    behind.reconnect().await;
    behind.cut().await;
    broker.stop();
    broker.restart();
    behind.restarted(broker.port()).await;
    behind.end(Some(2), "after a restart").await;
}

/// The broker loses its state with its process.
pub async fn a_session_that_the_broker_has_forgotten_is_begun_again<S: Subject>(subject: S) {
    if let Some(mut broker) = Mosquitto::start(UNLIMITED) {
        let mut behind = Behind::start(&subject, broker.port(), Some(MINUTE)).await;
        behind.cut().await;
        broker.restart();
        behind.restarted(broker.port()).await;
        behind.end(None, "Mosquitto").await;
    }
    let port = free_port();
    let broker = EmbeddedBroker::start_on(port).await.unwrap();
    let mut behind = Behind::start(&subject, port, Some(MINUTE)).await;
    behind.cut().await;
    broker.stop().await;
    let broker = EmbeddedBroker::start_on(port).await.unwrap();
    behind.restarted(port).await;
    behind.end(None, "the embedded broker").await;
    broker.stop().await;
}

/// The session ends a second after its connection. The broker's log has its end.
pub async fn a_session_is_forgotten_after_its_expiry<S: Subject>(subject: S) {
    let Some(broker) = Mosquitto::start(&format!("{UNLIMITED}\nlog_type all")) else { return };
    let expiry = Some(Duration::from_secs(1));
    let mut behind = Behind::start(&subject, broker.port(), expiry).await;
    behind.cut().await;
    let ended = |log: &String| log.contains("Expiring client kept due to timeout");
    eventually("the session expires", || broker.log(), ended).await;
    behind.reconnect().await;
    behind.end(None, "after the expiry").await;
}

/// What a CONNECT says of the session, for each setting.
pub async fn each_expiry_is_on_the_wire<S: Subject>(subject: S) {
    for (expiry, seconds) in [
        (None, 0),
        (Some(Duration::from_secs(1)), 1),
        (Some(MINUTE), 60),
        (Some(Duration::from_secs(u32::MAX.into())), u32::MAX),
    ] {
        let broker = Picky::start(S::VERSION).await;
        broker.can(Capabilities { sessions: true, ..Capabilities::default() });
        let setup = with_session(broker.port(), expiry);
        let mut both = Both::with(subject.builder_with(setup));
        both.pass(&broker, 1, "the first connection").await;
        broker.cut();
        both.pass(&broker, 2, "the second connection").await;
        shut_down(&both.db).await;
        let connects = broker.connects();
        let kept = expiry.is_some();
        for connect in &connects {
            let expected = (S::VERSION == MqttVersion::V5).then_some(seconds);
            assert_eq!(connect.properties.number(0x11), expected, "{expiry:?}");
            assert_eq!(connect.wants_session, kept, "{expiry:?}");
        }
        assert_eq!(connects[1].clean, !kept, "{expiry:?}");
        // The broker has kept the subscription.
        let asked = broker.subscriptions_to("in").len();
        assert_eq!(asked, if kept { 1 } else { 2 }, "{expiry:?}");
    }
}

pub async fn an_expiry_that_cannot_be_sent_is_a_finding<S: Subject>(subject: S) {
    for expiry in [Duration::ZERO, Duration::from_millis(1500), Duration::MAX] {
        let setup = with_session(1, Some(expiry));
        let mut builder = subject.builder_with(setup);
        outbound(&mut builder, "out", "mqtt://out");
        let error = builder.build().unwrap_err().to_string();
        let expected = format!("a session cannot be kept for {expiry:?}");
        assert!(error.contains(&expected), "{error}");
    }
}

/// Another client connects once with the same id. Mosquitto 2.0.11 gives no reason, and MQTT 3.1.1 has none: there the
/// embedded broker sends a DISCONNECT, which is no packet of a broker.
pub async fn a_session_that_another_client_takes_is_named_and_taken_back<S: Subject>(subject: S) {
    at_each_peer(S::VERSION, async |name, port, _peer| {
        let proxy = Proxy::to(port).await;
        let setup = Setup { client_id: Some("mine"), ..Setup::to(proxy.port()) };
        let mut builder = subject.builder_with(setup);
        outbound(&mut builder, "out", "mqtt://out?qos=1");
        let db = start(builder).await;
        let mut thief = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let connect: &[u8] = match S::VERSION {
            MqttVersion::V5 => b"\x10\x11\0\x04MQTT\x05\x02\0\x3c\0\0\x04mine",
            MqttVersion::V311 => b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04mine",
        };
        thief.write_all(connect).await.unwrap();
        let state = || (link_of(&db, "out").last_error, link_of(&db, "out").reconnects);
        let error = match (name, S::VERSION) {
            ("the embedded broker", MqttVersion::V311) => {
                "a packet is of a kind that no broker sends"
            }
            ("Mosquitto", _) | (_, MqttVersion::V311) => "the broker closed the connection",
            _ => "session taken over: another client uses the same client id",
        };
        let named = |(text, reconnects): &(Option<String>, u64)| {
            *reconnects >= 1 && text.as_ref().is_some_and(|text| text.contains(error))
        };
        eventually(&format!("{name}: it is named and taken back"), state, named).await;
        produce(&db, "out", [1]).await;
        eventually(&format!("{name}: a value is sent"), || link_of(&db, "out").sent, |n| *n == 1)
            .await;
        shut_down(&db).await;
    })
    .await;
}

/// Values at each level in both directions, while the connection breaks again and again.
pub async fn messages_under_way_survive_cuts_of_a_kept_session<S: Subject>(subject: S) {
    const VALUES: u64 = 200;
    at_each_broker(async |broker| {
        let mut behind = Behind::start(&subject, broker.port(), Some(MINUTE)).await;
        let Behind { db, readers, proxy, probe } = &mut behind;
        for round in 0..5 {
            let values = 10 + round * VALUES / 5..10 + (round + 1) * VALUES / 5;
            for level in 0..3 {
                produce(db, &format!("out/{level}"), values.clone()).await;
            }
            for n in values {
                for qos in LEVELS {
                    probe.publish(&format!("in/{}", qos as u8), n.to_string(), qos).await;
                }
            }
            let connections = proxy.connections();
            proxy.cut();
            eventually("it connects again", || proxy.connections(), |n| *n > connections).await;
            connected(db).await;
        }
        let all = || 10..10 + VALUES;
        let distinct = |arrived: &Vec<u64>| arrived.iter().collect::<BTreeSet<_>>().len() as u64;
        let counts = || ["out/0", "out/1", "out/2"].map(|key| link_of(db, key));
        let done = |links: &[LinkMetrics; 3]| {
            links.iter().all(|link| link.sent + link.dropped() == VALUES + 1)
        };
        eventually("each value is sent or counted", counts, done).await;
        let mut sent: [Vec<u64>; 3] = Default::default();
        while sent[1..].iter().any(|arrived| distinct(arrived) < VALUES) {
            let (topic, text) = probe.text().await;
            sent[topic[4..].parse::<usize>().unwrap()].push(text.parse().unwrap());
        }
        // At QoS 0 some may be missing, and none is sent again.
        assert!(sent[0].is_sorted_by(|a, b| a < b), "{}: {:?}", broker.name(), sent[0]);
        for (level, reader) in readers.iter_mut().enumerate().skip(1) {
            let mut received = Vec::new();
            while distinct(&received) < VALUES {
                received.push(value(reader).await);
            }
            if level == 2 {
                no_value(reader).await;
            }
            for mut arrived in [received, std::mem::take(&mut sent[level])] {
                // A message that is sent again may arrive after later ones, and at QoS 1 twice.
                arrived.sort_unstable();
                if level == 1 {
                    arrived.dedup();
                }
                assert!(arrived.iter().copied().eq(all()), "{}: {arrived:?}", broker.name());
            }
        }
        behind.db.shutdown(TIMEOUT).await;
    })
    .await;
}

/// A publish whose acknowledgement is missing when the connection ends: sent again under its identifier, as a duplicate
/// if the broker has kept the session, and as a new message if it has not.
pub async fn a_publish_under_way_is_sent_again<S: Subject>(subject: S) {
    for (qos, kept) in [(1, true), (1, false), (2, true), (2, false)] {
        let case = format!("QoS {qos}, kept: {kept}");
        let broker = Picky::start(S::VERSION).await;
        broker.can(Capabilities { sessions: kept, ..Capabilities::default() });
        broker.on_publish(|message| match message.connection {
            1 => OnPublish::Ignore,
            _ => OnPublish::Accept,
        });
        let setup = with_session(broker.port(), Some(MINUTE));
        let mut builder = subject.builder_with(setup);
        outbound(&mut builder, "out", &*format!("mqtt://out?qos={qos}"));
        let db = start(builder).await;
        produce(&db, "out", 0..3).await;
        eventually(&case, || broker.attempts("out"), |n| *n == 3).await;
        broker.cut();
        eventually(&case, || link_of(&db, "out").sent, |n| *n == 3).await;
        shut_down(&db).await;
        let sent = |connection| {
            let all = broker.publishes().into_iter();
            let of = all.filter(move |message| message.connection == connection);
            of.map(|message| (message.id, message.payload, message.dup)).collect::<Vec<_>>()
        };
        let (first, second) = (sent(1), sent(2));
        assert!(first.iter().all(|(.., dup)| !dup), "{case}");
        let again: Vec<_> = first.into_iter().map(|(id, payload, _)| (id, payload, kept)).collect();
        assert_eq!(second, again, "{case}");
    }
}

/// After the PUBREC the broker has the message: a kept session continues with the PUBREL, a new one with the message.
pub async fn a_release_under_way_is_sent_again<S: Subject>(subject: S) {
    for kept in [true, false] {
        let broker = Broker::new(S::VERSION, None).await;
        let setup = with_session(broker.port(), Some(MINUTE));
        let mut builder = subject.builder_with(setup);
        outbound(&mut builder, "out", "mqtt://out?qos=2");
        let db = builder.build().unwrap();
        db.start();
        let mut served = broker.accept_sender().await;
        produce(&db, "out", [7]).await;
        let (id, topic, payload) = served.message().await;
        assert_eq!((&*topic, &*payload), ("out", &b"7"[..]));
        served.acknowledge(PUBREC, id).await;
        served.expect_ack(PUBREL, id).await;
        drop(served);
        let mut served = if kept { broker.resume().await } else { broker.accept_sender().await };
        if !kept {
            assert_eq!(served.message().await, (id, topic, payload));
            served.acknowledge(PUBREC, id).await;
        }
        served.expect_ack(PUBREL, id).await;
        served.acknowledge(PUBCOMP, id).await;
        eventually("it is sent", || link_of(&db, "out").sent, |n| *n == 1).await;
        tokio::join!(shut_down(&db), async { drop(served) });
    }
}

/// A message that the broker sends again, because the connection ended before its acknowledgement or its release.
pub async fn a_received_message_under_way_arrives_once<S: Subject>(subject: S) {
    for qos in [1_u8, 2] {
        let broker = Broker::new(S::VERSION, None).await;
        let (db, mut values) =
            client(&subject, broker.port(), BufferCfg::SpmcQueue { capacity: 1 });
        let mut served = broker.accept().await;
        served.grant().await;
        let header = 0x30 | qos << 1;
        // The record has room for the first: the second waits for it.
        for n in [1, 2] {
            served.publish_as(header, "in", n, n.to_string().as_bytes()).await.unwrap();
        }
        served.expect_ack(3 + qos, 1).await;
        drop(served);
        let mut served = broker.resume().await;
        if qos == 2 {
            served.release(1).await;
            served.expect_ack(PUBCOMP, 1).await;
        }
        served.publish_as(header | 8, "in", 2, b"2").await.unwrap();
        assert_eq!((value(&mut values).await, value(&mut values).await), (1, 2), "QoS {qos}");
        served.expect_ack(3 + qos, 2).await;
        if qos == 2 {
            served.release(2).await;
            served.expect_ack(PUBCOMP, 2).await;
        }
        no_value(&mut values).await;
        tokio::join!(shut_down(&db), async { drop(served) });
    }
}

/// A broker that has a session although the client begins a new one breaks the protocol.
pub async fn a_session_that_was_to_be_forgotten_is_a_named_error<S: Subject>(subject: S) {
    let broker = Picky::start(S::VERSION).await;
    broker.can(Capabilities { session_present: Some(true), ..Capabilities::default() });
    let mut both = Both::start(&subject, &broker);
    both.error("the broker has a session that it was to forget", "a clean start").await;
    broker.can(Capabilities::default());
    let connection = both.settle(&broker).await;
    both.pass(&broker, connection, "afterwards").await;
    broker.send(&Delivery::new("in", "9"));
    shut_down(&both.db).await;
}
