//! Two databases over TCP sockets and over a pty.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Postcard, Reader, Record};
use aimdb_serial_connector::SerialConnector;
use aimdb_tokio_adapter::TokioAdapter;
use serde::{Deserialize, Serialize};

const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 64 };

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    celsius: f32,
    location: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Command {
    Heat { percent: u8 },
    Off,
}

/// A device sends readings and receives commands; a gateway receives readings and sends commands.
fn database(connector: SerialConnector, is_device: bool) -> AimDb<TokioAdapter> {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new().unwrap()));
    let delay = Duration::from_millis(20);
    builder.connector(connector.backoff(delay, delay));
    builder.configure::<Reading>("reading", |reg| {
        let reg = reg.buffer(QUEUE);
        match is_device {
            true => reg.link_to("serial://sensors/temp/indoor", Postcard),
            false => reg.link_from("serial://sensors/temp/indoor", Postcard),
        };
    });
    builder.configure::<Command>("command", |reg| {
        let reg = reg.buffer(QUEUE);
        match is_device {
            true => reg.link_from("serial://commands/heater", Postcard),
            false => reg.link_to("serial://commands/heater", Postcard),
        };
    });
    let db = builder.build().unwrap();
    db.start();
    db
}

fn reading(number: u16) -> Reading {
    Reading { celsius: f32::from(number) / 4.0, location: format!("room {number}") }
}

async fn value<T: Record>(reader: &mut Reader<T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), reader.recv())
        .await
        .expect("a value arrives")
        .unwrap()
}

fn reader<T: Record>(db: &AimDb<TokioAdapter>, key: &'static str) -> Reader<T> {
    db.consumer::<T>(key).unwrap().subscribe().unwrap()
}

async fn exchange(device: &AimDb<TokioAdapter>, gateway: &AimDb<TokioAdapter>) {
    let mut readings = reader::<Reading>(gateway, "reading");
    let mut commands = reader::<Command>(device, "command");
    let (out, back) = (device.producer("reading").unwrap(), gateway.producer("command").unwrap());
    for number in 0..200 {
        out.produce(reading(number)).await.unwrap();
        back.produce(Command::Heat { percent: number as u8 }).await.unwrap();
        assert_eq!(value(&mut readings).await, reading(number));
        assert_eq!(value(&mut commands).await, Command::Heat { percent: number as u8 });
    }
    back.produce(Command::Off).await.unwrap();
    assert_eq!(value(&mut commands).await, Command::Off);
}

async fn shut_down(db: &AimDb<TokioAdapter>) {
    let report = db.shutdown(Duration::from_secs(30)).await;
    assert!(report.is_clean(), "{report}");
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn typed_records_travel_in_both_directions_over_tcp() {
    let (listener, address) = listener();
    let (listening, connecting) =
        (SerialConnector::listener(listener), SerialConnector::tcp(address));
    let (of_gateway, of_device) = (listening.status(), connecting.status());
    let (gateway, device) = (database(listening, false), database(connecting, true));
    exchange(&device, &gateway).await;
    let counters = of_gateway.counters();
    assert_eq!((counters.sent, counters.received, counters.lost), (201, 200, 0));
    let counters = of_device.counters();
    assert_eq!((counters.sent, counters.received, counters.lost), (200, 201, 0));
    shut_down(&device).await;
    shut_down(&gateway).await;
}

#[tokio::test]
async fn values_that_a_device_accepted_before_its_shutdown_arrive() {
    let (listener, address) = listener();
    let listening = SerialConnector::listener(listener);
    let status = listening.status();
    let (gateway, device) =
        (database(listening, false), database(SerialConnector::tcp(address), true));
    exchange(&device, &gateway).await;
    let mut readings = reader::<Reading>(&gateway, "reading");
    let out = device.producer("reading").unwrap();
    for number in 0..60 {
        out.produce(reading(number)).await.unwrap();
    }
    shut_down(&device).await;
    for number in 0..60 {
        assert_eq!(value(&mut readings).await, reading(number));
    }
    assert_eq!(status.counters().lost, 0);
    shut_down(&gateway).await;
}

#[tokio::test]
async fn a_device_reconnects_to_a_restarted_gateway() {
    let (listener, address) = listener();
    let second_listener = listener.try_clone().unwrap();
    let device = database(SerialConnector::tcp(address), true);
    let gateway = database(SerialConnector::listener(listener), false);
    exchange(&device, &gateway).await;
    shut_down(&gateway).await;
    let gateway = database(SerialConnector::listener(second_listener), false);
    exchange(&device, &gateway).await;
    shut_down(&device).await;
    shut_down(&gateway).await;
}

#[tokio::test]
async fn a_new_connection_replaces_a_silent_one() {
    let (listener, address) = listener();
    let listening = SerialConnector::listener(listener);
    let status = listening.status();
    let gateway = database(listening, false);
    let dead = tokio::net::TcpStream::connect(&address).await.unwrap();
    let device = database(SerialConnector::tcp(address), true);
    // The gateway loses values that it sends to the dead connection, so the test waits for a frame of the device.
    let frame_arrives = async {
        while status.last_frame_at().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), frame_arrives)
        .await
        .expect("the gateway receives a frame");
    assert_eq!(status.counters().reconnects, 1);
    exchange(&device, &gateway).await;
    drop(dead);
    shut_down(&device).await;
    shut_down(&gateway).await;
}

#[cfg(feature = "tty")]
#[tokio::test]
async fn typed_records_travel_in_both_directions_over_a_pty() {
    use tokio_serial::{SerialPort, SerialStream};

    let (host, device) = SerialStream::pair().unwrap();
    let path = device.name().unwrap();
    let mut host = Some(host);
    let connector = SerialConnector::stream("the pty's other end", move || {
        std::future::ready(host.take().ok_or_else(|| std::io::Error::other("the pty was taken")))
    });
    let device_side = SerialConnector::tty(path, 115_200);
    let (gateway, device_db) = (database(device_side, false), database(connector, true));
    exchange(&device_db, &gateway).await;
    shut_down(&device_db).await;
    shut_down(&gateway).await;
    drop(device);
}
