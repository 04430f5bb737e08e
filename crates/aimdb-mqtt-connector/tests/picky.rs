//! The tests' broker of raw bytes sends what the other tests assume, byte by byte.

mod support;

use aimdb_mqtt_connector::MqttVersion;
use support::picky::{Capabilities, Delivery, OnPublish, Picky};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client of MQTT 5 with the id `a`, clean, connected.
async fn client(broker: &Picky, connack: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", broker.port())).await.unwrap();
    let connect = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a";
    stream.write_all(connect).await.unwrap();
    expect(&mut stream, connack).await;
    stream
}

async fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    within("a packet", stream.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(bytes, expected);
}

async fn expect_end(stream: &mut TcpStream) {
    let read = within("the end", stream.read(&mut [0; 8])).await;
    assert!(!read.is_ok_and(|count| count > 0));
}

const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];

#[tokio::test]
async fn a_client_whose_id_another_one_takes_reads_the_reason() {
    let broker = Picky::start(MqttVersion::V5).await;
    let mut first = client(&broker, CONNACK).await;
    let _second = client(&broker, CONNACK).await;
    expect(&mut first, &[0xe0, 1, 0x8e]).await;
    expect_end(&mut first).await;
    assert_eq!((broker.connections(), broker.open_connections()), (2, 1));
}

#[tokio::test]
async fn a_message_beyond_the_brokers_abilities_ends_the_connection_with_the_reason() {
    let broker = Picky::start(MqttVersion::V5).await;
    broker.can(Capabilities { maximum_qos: Some(1), no_retain: true, ..Default::default() });
    let connack = [0x20, 7, 0, 0, 4, 0x24, 1, 0x25, 0];
    for (publish, reason) in
        [(b"\x34\x06\x00\x01t\x00\x01\x00", 0x9b), (b"\x33\x06\x00\x01t\x00\x01\x00", 0x9a)]
    {
        let mut stream = client(&broker, &connack).await;
        stream.write_all(publish).await.unwrap();
        expect(&mut stream, &[0xe0, 1, reason]).await;
        expect_end(&mut stream).await;
    }
    assert_eq!((broker.attempts("t"), broker.payloads("t").len()), (2, 0));
}

#[tokio::test]
async fn a_frozen_connection_neither_reads_nor_writes_nor_ends_and_a_later_one_is_served() {
    let broker = Picky::start(MqttVersion::V5).await;
    let mut frozen = client(&broker, CONNACK).await;
    broker.freeze();
    frozen.write_all(b"\x30\x05\x00\x01t\x00x").await.unwrap();
    broker.send(&Delivery::new("t", "y"));
    let read = tokio::time::timeout(QUIET_TIME, frozen.read(&mut [0; 8])).await;
    assert!(read.is_err(), "{read:?}");
    assert_eq!(broker.attempts("t"), 0);
    broker.cut();
    expect_end(&mut frozen).await;
    let mut later = client(&broker, CONNACK).await;
    later.write_all(b"\x30\x05\x00\x01t\x00x").await.unwrap();
    eventually("it is read", || broker.payloads("t"), |payloads| *payloads == ["x"]).await;
}

#[tokio::test]
async fn a_mute_connection_reads_and_does_not_write() {
    let broker = Picky::start(MqttVersion::V5).await;
    let mut mute = client(&broker, CONNACK).await;
    broker.mute();
    mute.write_all(b"\x32\x07\x00\x01t\x00\x01\x00x").await.unwrap();
    eventually("it is read", || broker.payloads("t"), |payloads| *payloads == ["x"]).await;
    let read = tokio::time::timeout(QUIET_TIME, mute.read(&mut [0; 8])).await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn a_retained_message_follows_each_suback_with_the_identifier_of_its_subscription() {
    let broker = Picky::start(MqttVersion::V5).await;
    broker.retain(Delivery::new("s/a", "7").qos(1));
    let mut stream = client(&broker, CONNACK).await;
    stream.write_all(b"\x82\x0b\x00\x05\x02\x0b\x01\x00\x03s/+\x01").await.unwrap();
    expect(&mut stream, b"\x90\x04\x00\x05\x00\x01").await;
    expect(&mut stream, b"\x33\x0b\x00\x03s/a\x00\x01\x02\x0b\x017").await;
    stream.write_all(b"\x82\x0c\x00\x06\x03\x0b\xc8\x01\x00\x03s/#\x00").await.unwrap();
    expect(&mut stream, b"\x90\x04\x00\x06\x00\x00").await;
    expect(&mut stream, b"\x31\x0a\x00\x03s/a\x03\x0b\xc8\x017").await;
    // A live message has the identifiers of both.
    broker.send(&Delivery::new("s/a", "8"));
    expect(&mut stream, b"\x30\x0c\x00\x03s/a\x05\x0b\x01\x0b\xc8\x018").await;
    assert_eq!(broker.identifier_of("s/#"), Some(200));
}

#[tokio::test]
async fn a_refusal_is_an_acknowledgement_with_its_reason_and_ignoring_is_none() {
    let broker = Picky::start(MqttVersion::V5).await;
    let mut stream = client(&broker, CONNACK).await;
    for (verdict, answer) in [
        (OnPublish::Accept, &b"\x40\x02\x00\x01"[..]),
        (OnPublish::Refuse(0x97), b"\x40\x03\x00\x01\x97"),
        (OnPublish::Ignore, b""),
        (OnPublish::HangUp, b""),
    ] {
        broker.on_publish(move |_| verdict);
        stream.write_all(b"\x32\x06\x00\x01t\x00\x01\x00").await.unwrap();
        expect(&mut stream, answer).await;
        if verdict == OnPublish::HangUp {
            expect_end(&mut stream).await;
        } else {
            stream.write_all(b"\xc0\x00").await.unwrap();
            expect(&mut stream, b"\xd0\x00").await;
        }
    }
}
