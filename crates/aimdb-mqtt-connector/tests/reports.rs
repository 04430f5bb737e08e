//! Cases that a stranger's report would contain.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use aimdb_core::{BufferCfg, Json};
use aimdb_mqtt_connector::{LastWill, MqttConnector, MqttVersion, QoS, mqtt};

use support::picky::{Capabilities, Delivery, OnConnect, OnPublish, OnSubscribe, Picky};
use support::*;

const WILL: &str = "gateways/7/state";

fn will() -> LastWill {
    LastWill::new(WILL, "offline").qos(QoS::AtLeastOnce).retain().birth("online")
}

/// A quota that is over, an outage at the wrong moment: the link must not be deaf for ever.
#[tokio::test]
async fn a_refused_subscription_whose_second_answer_is_lost_with_the_connection_is_asked_for_again()
{
    let broker = Picky::start(MqttVersion::V5).await;
    let mut asked = 0;
    broker.on_subscribe(move |_| {
        asked += 1;
        match asked {
            1 => OnSubscribe::Refuse(0x97),
            2 => OnSubscribe::Ignore,
            _ => OnSubscribe::Grant,
        }
    });
    let mut builder = builder();
    builder.connector(mqtt_to(broker.port()));
    builder.configure::<u64>("in", |reg| {
        reg.buffer(QUEUE).link_from("mqtt://later", Json);
    });
    let db = builder.build().unwrap();
    db.start();
    let count = || broker.subscriptions_to("later").len();
    eventually("it is asked for a second time", count, |count| *count == 2).await;
    broker.cut();
    eventually("it is asked for a third time", count, |count| *count >= 3).await;
    connected(&db).await;
    shut_down(&db).await;
}

async fn birth_with(verdict: OnSubscribe) {
    let broker = Picky::start(MqttVersion::V5).await;
    broker.on_subscribe(move |subscription| match &*subscription.filter {
        "bad" => verdict,
        _ => OnSubscribe::Grant,
    });
    let mut builder = builder();
    builder.connector(mqtt_to(broker.port()).last_will(will()));
    for (key, address) in [("good", "mqtt://good"), ("bad", "mqtt://bad")] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(QUEUE).link_from(address, Json);
        });
    }
    let db = builder.build().unwrap();
    db.start();
    eventually("the good link", || broker.is_subscribed("good"), |yes| *yes).await;
    let births = || (broker.payloads(WILL), broker.connections());
    eventually("the birth message", births, |(births, _)| !births.is_empty()).await;
    shut_down(&db).await;
}

#[tokio::test]
async fn a_birth_message_does_not_wait_for_a_subscription_that_rests() {
    birth_with(OnSubscribe::HangUp).await;
}

#[tokio::test]
async fn a_birth_message_does_not_wait_for_a_subscription_that_is_never_answered() {
    birth_with(OnSubscribe::Ignore).await;
}

#[tokio::test]
async fn a_farewell_follows_a_birth_message_that_fills_the_window() {
    let broker = Picky::start(MqttVersion::V5).await;
    broker.can(Capabilities { receive_maximum: Some(1), ..Capabilities::default() });
    broker.on_publish(|_| OnPublish::AcceptAfter(Duration::from_millis(300)));
    let mut builder = builder();
    builder.connector(mqtt_to(broker.port()).last_will(will().also_at_shutdown()));
    builder.configure::<u64>("out", |reg| {
        reg.buffer(QUEUE).link_to("mqtt://out", Json);
    });
    let db = start(builder).await;
    eventually("the birth message is under way", || broker.attempts(WILL), |n| *n == 1).await;
    shut_down(&db).await;
    assert_eq!(broker.attempts(WILL), 2, "no farewell: {:?}", broker.payloads(WILL));
}

#[tokio::test]
async fn a_required_connection_tries_each_broker_before_a_refusal_counts() {
    let first = Picky::start(MqttVersion::V5).await;
    first.on_connect(|_| OnConnect::Refuse(0x87));
    let second = Picky::start(MqttVersion::V5).await;
    let mut builder = builder();
    builder.connector(
        mqtt_to(first.port())
            .or(format!("mqtt://127.0.0.1:{}", second.port()))
            .require_connection(Duration::from_secs(10)),
    );
    builder.configure::<u64>("out", |reg| {
        reg.buffer(QUEUE).link_to("mqtt://out", Json);
    });
    let db = start(builder).await;
    shut_down(&db).await;
}

/// Sessions that are lost while a record is full leave their messages waiting.
async fn sends_with_a_full_record(version: MqttVersion, per_connection: usize, cuts: usize) {
    let broker = Picky::start(version).await;
    let mut builder = builder();
    // A connection that is not read is found dead by a PINGREQ.
    builder.connector(mqtt_to(broker.port()).version(version).keep_alive(Duration::from_secs(1)));
    builder.configure::<u64>("full", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 1 }).link_from("mqtt://full?qos=1", Json);
    });
    builder.configure::<u64>("out", |reg| {
        reg.buffer(QUEUE).link_to("mqtt://out?qos=1", Json);
    });
    let db = builder.build().unwrap();
    let mut stalled = db.consumer::<u64>("full").unwrap().subscribe().unwrap();
    db.start();
    for cut in 1..=cuts {
        connected(&db).await;
        for n in 0..per_connection {
            broker.send(&Delivery::new("full", n.to_string()).qos(1));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        broker.cut();
        let connects = || broker.connects().len();
        eventually(&format!("it connects after cut {cut}"), connects, |n| *n > cut).await;
    }
    let producer = db.producer::<u64>("out").unwrap();
    producer.produce(1).await.unwrap();
    let observe = || (broker.payloads("out"), link(&db, 1).last_error);
    eventually("it sends", observe, |(sent, _)| sent.len() == 1).await;
    let drain = tokio::spawn(async move { while stalled.recv().await.is_ok() {} });
    let _ = db.shutdown(TIMEOUT).await;
    drain.abort();
}

#[tokio::test]
async fn a_full_record_does_not_stop_reconnects_after_many_lost_sessions() {
    sends_with_a_full_record(MqttVersion::V5, 256, 5).await;
}

#[tokio::test]
async fn a_full_record_does_not_stop_reconnects_with_mqtt_3() {
    sends_with_a_full_record(MqttVersion::V311, 1100, 1).await;
}

/// We do not read; the broker is not to blame.
#[tokio::test]
async fn a_connection_that_is_not_read_because_a_record_is_full_is_not_silent() {
    let broker = Picky::start(MqttVersion::V311).await;
    let mut builder = builder();
    builder.connector(
        mqtt_to(broker.port()).version(MqttVersion::V311).keep_alive(Duration::from_secs(1)),
    );
    builder.configure::<u64>("full", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 1 }).link_from("mqtt://full?qos=1", Json);
    });
    let db = builder.build().unwrap();
    let mut stalled = db.consumer::<u64>("full").unwrap().subscribe().unwrap();
    db.start();
    connected(&db).await;
    for n in 0..2000 {
        broker.send(&Delivery::new("full", n.to_string()).qos(1));
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let seen = (broker.connections(), link(&db, 0).last_error);
    let drain = tokio::spawn(async move { while stalled.recv().await.is_ok() {} });
    let _ = db.shutdown(TIMEOUT).await;
    drain.abort();
    assert_eq!(seen, (1, None));
}

/// The error of the first attempt against a peer that answers everything with `answer`.
async fn error_of(scheme: &str, answer: &'static [u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 1024];
            let _ = stream.read(&mut bytes).await;
            let _ = stream.write_all(answer).await;
        }
    });
    let mut builder = builder();
    builder.connector(to_url(format!("{scheme}://127.0.0.1:{port}")));
    builder.configure::<u64>("out", |reg| {
        reg.buffer(QUEUE).link_to("mqtt://out", Json);
    });
    let db = builder.build().unwrap();
    db.start();
    let error = || link(&db, 0).last_error;
    eventually("an error", error, Option::is_some).await;
    let error = error().unwrap();
    shut_down(&db).await;
    error
}

#[tokio::test]
async fn an_answer_in_another_protocol_names_the_port_as_the_cause() {
    let mut errors = Vec::new();
    for answer in [
        &b"\x15\x03\x03\x00\x02\x02\x46"[..], // TLS: an alert, "protocol version"
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail.example ESMTP\r\n",
    ] {
        errors.push(error_of("mqtt", answer).await);
    }
    for error in errors {
        assert!(error.contains("TLS"), "{error}");
    }
}

#[tokio::test]
async fn a_value_that_is_published_retained_twice_arrives_twice_at_overlapping_links() {
    let broker = Picky::start(MqttVersion::V5).await;
    broker.can(Capabilities { no_identifiers: true, ..Capabilities::default() });
    let mut builder = builder();
    builder.connector(mqtt_to(broker.port()));
    for (key, filter) in [("a", "s/+"), ("b", "s/#")] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(QUEUE).link_from(mqtt::filter(filter).retain_as_published(), Json);
        });
    }
    let db = builder.build().unwrap();
    let mut readers = ["a", "b"].map(|key| db.consumer::<u64>(key).unwrap().subscribe().unwrap());
    db.start();
    connected(&db).await;
    for _ in 0..2 {
        broker.send(&Delivery::new("s/door", "1").retained().identifiers([]));
        for reader in &mut readers {
            assert_eq!(value(reader).await, 1);
        }
    }
    shut_down(&db).await;
}

/// The session of an earlier version of the program: its only filter was `a/#`, with the identifier 1. This version has
/// one more link before it.
#[tokio::test]
async fn a_message_that_was_kept_for_an_earlier_program_reaches_each_link_whose_filter_matches() {
    let broker = Picky::start(MqttVersion::V5).await;
    broker.can(Capabilities { session_present: Some(true), ..Capabilities::default() });
    broker.on_connect(|_| OnConnect::Accept);
    let mut builder = builder();
    builder.connector(
        mqtt_to(broker.port()).client_id("gw").persistent_session(Duration::from_secs(60)),
    );
    for (key, filter) in [("new", "mqtt://a/b?qos=1"), ("old", "mqtt://a/#?qos=1")] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(QUEUE).link_from(filter, Json);
        });
    }
    let db = builder.build().unwrap();
    let mut old = db.consumer::<u64>("old").unwrap().subscribe().unwrap();
    db.start();
    eventually("connects", || broker.connects().len(), |n| *n == 1).await;
    broker.send(&Delivery::new("a/b", "5").qos(1).identifiers([1]));
    assert_eq!(value(&mut old).await, 5);
    shut_down(&db).await;
}

#[tokio::test]
async fn a_secret_in_a_websockets_query_is_not_shown() {
    let connector = MqttConnector::new("ws://127.0.0.1:80/mqtt?X-Amz-Signature=s3cret");
    let shown = format!("{connector:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn a_required_connection_fails_in_time_although_the_broker_does_not_answer() {
    let broker = Picky::start(MqttVersion::V5).await;
    broker.on_connect(|_| OnConnect::Ignore);
    let mut builder = builder();
    builder.connector(
        mqtt_to(broker.port())
            .connect_timeout(Duration::from_secs(60))
            .require_connection(Duration::from_millis(500)),
    );
    builder.configure::<u64>("out", |reg| {
        reg.buffer(QUEUE).link_to("mqtt://out", Json);
    });
    let db = builder.build().unwrap();
    db.start();
    let health = || format!("{:?}", db.health());
    eventually("it fails", health, |health| health.contains("no connection to")).await;
    let _ = db.shutdown(TIMEOUT).await;
}

#[tokio::test]
async fn an_expiry_below_a_second_does_not_make_the_broker_forget_at_once() {
    use aimdb_core::link::OutboundTarget;
    let topic = mqtt::topic("a").expiry(Duration::from_millis(500));
    let text = OutboundTarget::<u64>::node(&topic).text;
    assert!(!text.contains("expiry=0"), "{text}");
}

/// CPU time of this thread in milliseconds.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let rest = text.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}

async fn idle(what: &str) {
    let before = cpu();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = cpu() - before;
    assert!(used < 500, "{what}: {used} ms of CPU in 2 s");
}

#[tokio::test]
async fn no_state_of_a_connection_is_a_busy_loop() {
    // No links.
    let broker = Picky::start(MqttVersion::V5).await;
    let mut b = builder();
    b.connector(mqtt_to(broker.port()).keep_alive(Duration::ZERO));
    let db = b.build().unwrap();
    db.start();
    eventually("connects", || broker.connects().len(), |n| *n == 1).await;
    idle("no links, no keep-alive").await;
    shut_down(&db).await;

    // A frozen broker and output that waits.
    for keep_alive in [0, 60] {
        let broker = Picky::start(MqttVersion::V5).await;
        let mut b = builder();
        b.connector(mqtt_to(broker.port()).keep_alive(Duration::from_secs(keep_alive)));
        b.configure::<Vec<u64>>("out", |reg| {
            reg.buffer(BufferCfg::SpmcRing { capacity: 4 }).link_to("mqtt://out", Json);
        });
        let db = start(b).await;
        broker.freeze();
        let producer = db.producer::<Vec<u64>>("out").unwrap();
        for _ in 0..100 {
            producer.produce(vec![1234567; 20_000]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        idle(&format!("blocked, keep-alive {keep_alive}")).await;
        let _undelivered = db.shutdown(Duration::from_millis(100)).await;
    }

    // A full record.
    let broker = Picky::start(MqttVersion::V311).await;
    let mut b = builder();
    b.connector(mqtt_to(broker.port()).version(MqttVersion::V311));
    b.configure::<u64>("full", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 1 })
            .link_from("mqtt://full?qos=1", Json)
            .link_from("mqtt://fast", Json);
    });
    let db = b.build().unwrap();
    let _stalled = db.consumer::<u64>("full").unwrap().subscribe().unwrap();
    db.start();
    connected(&db).await;
    for n in 0..2000 {
        broker.send(&Delivery::new("full", n.to_string()).qos(1));
        broker.send(&Delivery::new("fast", n.to_string()));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    idle("full record").await;
    let _ = db.shutdown(Duration::from_millis(100)).await;

    // A link that rests, and a subscription that rests.
    for inbound in [false, true] {
        let broker = Picky::start(MqttVersion::V5).await;
        broker.on_publish(|m| if m.topic == "bad" { OnPublish::HangUp } else { OnPublish::Accept });
        broker.on_subscribe(|s| {
            if s.filter == "bad" { OnSubscribe::HangUp } else { OnSubscribe::Grant }
        });
        let mut b = builder();
        b.connector(mqtt_to(broker.port()));
        b.configure::<u64>("bad", |reg| {
            reg.buffer(QUEUE);
            if inbound {
                reg.link_from("mqtt://bad", Json);
            } else {
                reg.link_to("mqtt://bad", Json);
            }
        });
        let db = b.build().unwrap();
        db.start();
        if !inbound {
            let producer = db.producer::<u64>("bad").unwrap();
            tokio::spawn(async move {
                for n in 0..500 {
                    if producer.produce(n).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
        let rests = || link(&db, 0).last_error;
        eventually("rests", rests, |e| e.as_ref().is_some_and(|e| e.contains("tried again"))).await;
        idle(&format!("rest, inbound {inbound}")).await;
        shut_down(&db).await;
    }
}

#[cfg(feature = "ws")]
mod ws {
    use super::*;
    use futures_util::{Sink, Stream};
    use std::future::poll_fn;
    use std::pin::Pin;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

    type Socket = tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>;

    async fn accept(listener: &tokio::net::TcpListener) -> Socket {
        let (stream, _) = listener.accept().await.unwrap();
        #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
        let answer = |_: &Request, mut response: Response| {
            response.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
            Ok(response)
        };
        tokio_tungstenite::accept_hdr_async(stream, answer).await.unwrap()
    }

    /// Whether the client still reads.
    async fn send(socket: &mut Socket, bytes: impl Into<Vec<u8>>) -> bool {
        let message = Message::Binary(bytes.into().into());
        poll_fn(|cx| Pin::new(&mut *socket).poll_ready(cx)).await.is_ok()
            && Pin::new(&mut *socket).start_send(message).is_ok()
            && poll_fn(|cx| Pin::new(&mut *socket).poll_flush(cx)).await.is_ok()
    }

    async fn next(socket: &mut Socket) -> Option<Message> {
        poll_fn(|cx| Pin::new(&mut *socket).poll_next(cx)).await?.ok()
    }

    /// The first byte of the next message that is no ping.
    async fn kind(socket: &mut Socket) -> Option<u8> {
        loop {
            match next(socket).await? {
                Message::Binary(bytes) if bytes[0] != 0xc0 => return Some(bytes[0] >> 4),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    fn publish(topic: &str, size: usize, fill: u8) -> Vec<u8> {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend(topic.as_bytes());
        body.extend(vec![fill; size]);
        let mut packet = vec![0x30];
        let mut length = body.len();
        loop {
            let byte = (length % 128) as u8;
            length /= 128;
            packet.push(if length > 0 { byte | 0x80 } else { byte });
            if length == 0 {
                break;
            }
        }
        packet.extend(body);
        packet
    }

    /// As over TCP: 3.1.1 has no packet limit that a broker could know.
    #[tokio::test]
    async fn over_a_websocket_a_message_far_above_the_limit_costs_no_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let mut socket = accept(&listener).await;
                counter.fetch_add(1, Relaxed);
                // A session that the client keeps would subscribe; nothing else is needed here.
                while let Some(kind) = kind(&mut socket).await {
                    if kind == 1 && send(&mut socket, [0x20, 2, 0, 0]).await {
                        send(&mut socket, publish("in", 20 << 20, b'1')).await;
                        send(&mut socket, publish("in", 1, b'7')).await;
                    }
                }
            }
        });
        let mut builder = builder();
        builder.connector(to_url(format!("ws://127.0.0.1:{port}/mqtt")).version(MqttVersion::V311));
        builder.configure::<u64>("in", |reg| {
            reg.buffer(QUEUE).link_from("mqtt://in", Json);
        });
        let db = builder.build().unwrap();
        let mut reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
        db.start();
        let read = tokio::time::timeout(Duration::from_secs(8), reader.recv()).await;
        assert!(matches!(read, Ok(Ok(7))), "{read:?} {:?}", link(&db, 0));
        assert_eq!(connections.load(Relaxed), 1);
        let _ = db.shutdown(Duration::from_millis(200)).await;
    }

    #[tokio::test]
    async fn over_a_websocket_a_server_that_stops_reading_and_writing_is_found() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let mut socket = accept(&listener).await;
                counter.fetch_add(1, Relaxed);
                assert_eq!(kind(&mut socket).await, Some(1));
                send(&mut socket, [0x20, 3, 0, 0, 0]).await;
                kept.push(socket);
            }
        });
        let mut builder = builder();
        builder.connector(
            to_url(format!("ws://127.0.0.1:{port}/mqtt")).keep_alive(Duration::from_secs(1)),
        );
        builder.configure::<Vec<u64>>("out", |reg| {
            reg.buffer(BufferCfg::SpmcRing { capacity: 4 }).link_to("mqtt://out", Json);
        });
        let db = start(builder).await;
        let producer = db.producer::<Vec<u64>>("out").unwrap();
        tokio::spawn(async move {
            loop {
                if producer.produce(vec![123_456; 20_000]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        eventually(
            "it connects again",
            || (connections.load(Relaxed), link(&db, 0)),
            |(n, _)| *n >= 2,
        )
        .await;
        let _ = db.shutdown(Duration::from_millis(200)).await;
    }

    #[tokio::test]
    async fn errors_of_a_websocket_are_readable() {
        for (answer, expected) in [
            (&b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"[..], "404 Not Found"),
            (b"\x20\x02\x00\x00", "is it a port for WebSockets?"),
            (b"", "is it a port for WebSockets?"),
        ] {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut bytes = [0; 1024];
                    let _ = stream.read(&mut bytes).await;
                    let _ = stream.write_all(answer).await;
                }
            });
            let mut builder = builder();
            builder.connector(to_url(format!("ws://127.0.0.1:{port}/mqtt?token=s3cret")));
            builder.configure::<u64>("out", |reg| {
                reg.buffer(QUEUE).link_to("mqtt://out", Json);
            });
            let db = builder.build().unwrap();
            db.start();
            let error = || link(&db, 0).last_error;
            eventually("an error", error, Option::is_some).await;
            let error = error().unwrap();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
            shut_down(&db).await;
        }
    }
}

#[tokio::test]
async fn a_broker_that_sends_a_byte_a_second_is_served() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Relaxed);
            let (mut read, mut write) = stream.into_split();
            tokio::spawn(async move {
                let mut bytes = [0; 1024];
                while read.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
            });
            write.write_all(&[0x20, 3, 0, 0, 0, 0x90, 4, 0, 1, 0, 0]).await.ok();
            // A message of many bytes, slowly; no PINGRESP fits between them.
            for byte in [0x30, 60, 0, 2, b'i', b'n', 0].into_iter().chain([b'1'; 60]) {
                if write.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
        }
    });
    let mut builder = builder();
    builder.connector(mqtt_to(port).keep_alive(Duration::from_secs(1)));
    builder.configure::<u64>("out", |reg| {
        reg.buffer(QUEUE).link_to("mqtt://out", Json);
    });
    let db = start(builder).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(connections.load(Relaxed), 1);
    let _ = db.shutdown(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn a_broker_that_accepts_and_leaves_is_not_the_only_one() {
    let first = Picky::start(MqttVersion::V5).await;
    first.on_connect(|_| OnConnect::AcceptAndHangUp);
    let second = Picky::start(MqttVersion::V5).await;
    let mut builder = builder();
    builder.connector(mqtt_to(first.port()).or(format!("mqtt://127.0.0.1:{}", second.port())));
    builder.configure::<u64>("out", |reg| {
        reg.buffer(QUEUE).link_to("mqtt://out?qos=1", Json);
    });
    let db = builder.build().unwrap();
    db.start();
    db.producer::<u64>("out").unwrap().produce(1).await.unwrap();
    eventually(
        "the second",
        || (first.connections(), second.payloads("out")),
        |(_, sent)| sent.len() == 1,
    )
    .await;
    shut_down(&db).await;
}

#[tokio::test]
async fn credentials_that_cannot_be_read_for_a_while_or_panic_cost_attempts_only() {
    let broker = Picky::start(MqttVersion::V5).await;
    let asked = AtomicUsize::new(0);
    let mut builder = builder();
    builder.connector(mqtt_to(broker.port()).credentials_from(move || {
        match asked.fetch_add(1, Relaxed) {
            0..3 => Err("no token yet"),
            3 => panic!("a panic of the test"),
            _ => Ok(("user", "token")),
        }
    }));
    builder.configure::<u64>("out", |reg| {
        reg.buffer(QUEUE).link_to("mqtt://out?qos=1", Json);
    });
    let db = start(builder).await;
    assert_eq!(broker.connections(), 1);
    shut_down(&db).await;
}

#[tokio::test]
async fn an_answer_without_tls_names_the_port_as_the_cause() {
    for answer in
        [&b"\x20\x03\x00\x84\x00\xe0\x01\x82"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b""]
    {
        let error = error_of("mqtts", answer).await;
        assert!(error.contains("a port without TLS"), "{error}");
    }
}

#[tokio::test]
async fn links_that_share_a_filter_and_not_its_options_are_a_finding() {
    let broker = Picky::start(MqttVersion::V5).await;
    let found = |second: mqtt::Filter| {
        let mut builder = builder();
        builder.connector(mqtt_to(broker.port()));
        builder.configure::<u64>("plain", |reg| {
            reg.buffer(QUEUE).link_from("mqtt://t", Json);
        });
        builder.configure::<u64>("loop", |reg| {
            reg.buffer(QUEUE).link_from(second.clone(), Json).link_to("mqtt://t", Json);
        });
        builder.build().err().map(|error| error.to_string())
    };
    // The subscription would be without the option, and each value of `loop` return for ever.
    let finding = found(mqtt::filter("t").no_local()).expect("a finding");
    assert!(finding.contains("loop") && finding.contains("plain"), "{finding}");

    let mut builder = builder();
    builder.connector(mqtt_to(broker.port()));
    for (key, qos) in [("a", QoS::AtMostOnce), ("b", QoS::AtLeastOnce)] {
        builder.configure::<u64>(key, |reg| {
            reg.buffer(QUEUE).link_from(mqtt::filter("t").qos(qos).no_local(), Json);
        });
    }
    shut_down(&start(builder).await).await;
}

#[tokio::test]
async fn a_property_that_ends_connections_is_a_finding() {
    for text in ["b\0".to_string(), "b\n".into(), "x".repeat(70_000)] {
        for topic in
            [mqtt::topic("a").property("name", &text), mqtt::topic("a").content_type(&text)]
        {
            let mut builder = builder();
            builder.connector(mqtt_to(free_port()));
            builder.configure::<u64>("a", |reg| {
                reg.buffer(QUEUE).link_to(topic, Json);
            });
            assert!(builder.build().is_err());
        }
    }
}

/// A shutdown that has nothing to send ends at once, whatever the broker does with connections.
#[tokio::test]
async fn a_shutdown_ends_in_every_phase() {
    for (on_connect, credentials) in [
        (OnConnect::Ignore, false),
        (OnConnect::HangUp, true),
        (OnConnect::AcceptAndHangUp, true),
        (OnConnect::Refuse(0x87), true),
    ] {
        let broker = Picky::start(MqttVersion::V5).await;
        broker.on_connect(move |_| on_connect);
        let mut builder = builder();
        let connector = mqtt_to(broker.port()).last_will(will().also_at_shutdown());
        builder.connector(connector.credentials_from(move || match credentials {
            true => Ok(("user", "token")),
            false => Err("no token"),
        }));
        builder.configure::<u64>("in", |reg| {
            reg.buffer(QUEUE).link_from("mqtt://in?qos=1", Json);
        });
        let db = builder.build().unwrap();
        db.start();
        eventually("an attempt failed", || link(&db, 0).last_error, Option::is_some).await;
        shut_down(&db).await;
    }
}

#[tokio::test]
async fn a_shutdown_with_nothing_to_send_does_not_wait_for_an_answer_to_the_connect() {
    let broker = Picky::start(MqttVersion::V5).await;
    broker.on_connect(|_| OnConnect::Ignore);
    let mut builder = builder();
    builder.connector(mqtt_to(broker.port()).connect_timeout(Duration::from_secs(60)));
    builder.configure::<u64>("in", |reg| {
        reg.buffer(QUEUE).link_from("mqtt://in?qos=1", Json);
    });
    let db = builder.build().unwrap();
    db.start();
    eventually("the CONNECT", || broker.connects().len(), |n| *n == 1).await;
    let report = db.shutdown(Duration::from_secs(4)).await;
    assert!(report.is_clean(), "{report}");
}

/// With receive maximum 1 and everything else that is small.
/// MQTT demands of the client that it closes the connection after its DISCONNECT.
#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_broker_that_waits_for_the_client_to_close() {
    for version in VERSIONS {
        let broker = Picky::start(version).await;
        broker.can(Capabilities { lingers: true, ..Capabilities::default() });
        let mut builder = builder();
        builder.connector(mqtt_to(broker.port()).version(version));
        builder.configure::<u64>("out", |reg| {
            reg.buffer(QUEUE).link_to("mqtt://out", Json);
        });
        let db = builder.build().unwrap();
        db.start();
        connected(&db).await;
        db.producer::<u64>("out").unwrap().produce(1).await.unwrap();
        // The connector waits for five seconds for a broker that closes nothing.
        let report = db.shutdown(Duration::from_secs(4)).await;
        assert!(report.is_clean(), "{version:?}: {report}");
    }
}

#[tokio::test]
async fn the_smallest_broker_serves_both_directions() {
    for qos in [1, 2] {
        let broker = Picky::start(MqttVersion::V5).await;
        broker.can(Capabilities {
            receive_maximum: Some(1),
            maximum_packet_size: Some(20),
            server_keep_alive: Some(1),
            topic_alias_maximum: Some(0),
            no_identifiers: true,
            ..Capabilities::default()
        });
        let mut builder = builder();
        builder.connector(mqtt_to(broker.port()));
        builder.configure::<u64>("out", |reg| {
            reg.buffer(QUEUE).link_to(format!("mqtt://o?qos={qos}"), Json);
        });
        builder.configure::<u64>("in", |reg| {
            reg.buffer(QUEUE).link_from(format!("mqtt://i?qos={qos}"), Json);
        });
        let db = start(builder).await;
        let producer = db.producer::<u64>("out").unwrap();
        for n in 0..500 {
            producer.produce(n).await.unwrap();
        }
        producer.produce(12_345_678_901_234_567).await.unwrap();
        producer.produce(501).await.unwrap();
        eventually("all", || broker.payloads("o").len(), |n| *n == 501).await;
        assert_eq!(broker.connections(), 1);
        shut_down(&db).await;
    }
}
