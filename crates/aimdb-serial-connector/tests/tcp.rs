//! Over real sockets, and a pty.

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
    place: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Command {
    Heat { percent: u8 },
    Off,
}

/// A device sends readings and takes commands; a gateway the other way.
fn database(connector: SerialConnector, is_device: bool) -> AimDb<TokioAdapter> {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new().unwrap()));
    let pause = Duration::from_millis(20);
    builder.connector(connector.backoff(pause, pause));
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
    Reading { celsius: f32::from(number) / 4.0, place: format!("room {number}") }
}

async fn value<T: Record>(reader: &mut Reader<T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), reader.recv())
        .await
        .expect("a value comes")
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
async fn typed_records_go_both_ways_over_tcp() {
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
async fn what_a_device_accepted_before_its_end_arrives() {
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
async fn a_gateway_that_was_restarted_is_found_again() {
    let (listener, address) = listener();
    let again = listener.try_clone().unwrap();
    let device = database(SerialConnector::tcp(address), true);
    let gateway = database(SerialConnector::listener(listener), false);
    exchange(&device, &gateway).await;
    shut_down(&gateway).await;
    let gateway = database(SerialConnector::listener(again), false);
    exchange(&device, &gateway).await;
    shut_down(&device).await;
    shut_down(&gateway).await;
}

#[tokio::test]
async fn a_newer_connection_takes_the_place_of_one_that_says_nothing() {
    let (listener, address) = listener();
    let listening = SerialConnector::listener(listener);
    let status = listening.status();
    let gateway = database(listening, false);
    let dead = tokio::net::TcpStream::connect(&address).await.unwrap();
    let device = database(SerialConnector::tcp(address), true);
    // What is sent to the dead one is lost: only then is there somebody to send to.
    let heard = async {
        while status.last_heard().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), heard).await.expect("the device is heard");
    assert_eq!(status.counters().reconnects, 1);
    exchange(&device, &gateway).await;
    drop(dead);
    shut_down(&device).await;
    shut_down(&gateway).await;
}

#[cfg(feature = "tty")]
#[tokio::test]
async fn typed_records_go_both_ways_over_a_pty() {
    use tokio_serial::{SerialPort, SerialStream};

    let (host, device) = SerialStream::pair().unwrap();
    let path = device.name().unwrap();
    let mut host = Some(host);
    let connector = SerialConnector::stream("the pty's other end", move || {
        std::future::ready(host.take().ok_or_else(|| std::io::Error::other("it was used")))
    });
    let device_side = SerialConnector::tty(path, 115_200);
    let (gateway, device_db) = (database(device_side, false), database(connector, true));
    exchange(&device_db, &gateway).await;
    shut_down(&device_db).await;
    shut_down(&gateway).await;
    drop(device);
}
