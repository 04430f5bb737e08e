//! A scripted broker: the test determines each of its packets.

use std::sync::Arc;
use std::time::Duration;

use aimdb_core::{AimDb, BufferCfg, Json, Reader};
use aimdb_mqtt_connector::MqttVersion;
use rumqttc_v5::tokio_rustls::TlsAcceptor;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Setup, Subject};
use crate::support::*;

const HOUR: Duration = Duration::from_secs(3600);

pub const CONNECT: u8 = 1;
pub const PUBLISH: u8 = 3;
pub const PUBACK: u8 = 4;
pub const PUBREC: u8 = 5;
pub const PUBREL: u8 = 6;
pub const PUBCOMP: u8 = 7;
pub const SUBSCRIBE: u8 = 8;
pub const DISCONNECT: u8 = 14;

pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

pub struct Broker {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    version: MqttVersion,
    receive_maximum: Option<u16>,
}

impl Broker {
    pub async fn new(version: MqttVersion, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, tls, version, receive_maximum: None }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// Sets the receive maximum of the following connections.
    pub fn receive_maximum(&mut self, messages: u16) {
        self.receive_maximum = Some(messages);
    }

    /// Accepts a client without subscriptions.
    pub async fn accept_sender(&self) -> Served {
        self.connect(0).await
    }

    /// Accepts a client, and reads its subscription.
    pub async fn accept(&self) -> Served {
        let mut served = self.connect(0).await;
        let (kind, body) = served.packet().await;
        assert_eq!(kind, SUBSCRIBE);
        served.subscription.copy_from_slice(&body[..2]);
        served
    }

    /// Accepts a client that was connected before, and resumes its session.
    pub async fn resume(&self) -> Served {
        self.connect(1).await
    }

    async fn connect(&self, session_present: u8) -> Served {
        let (socket, _) = within("a connection", self.listener.accept()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let socket: Box<dyn Duplex> = match &self.tls {
            None => Box::new(socket),
            Some(config) => {
                let accepted = TlsAcceptor::from(Arc::clone(config)).accept(socket);
                Box::new(within("a handshake", accepted).await.unwrap())
            }
        };
        let properties: &[u8] = if self.version == MqttVersion::V5 { &[0] } else { &[] };
        let mut served = Served { socket, properties, subscription: [0; 2] };
        assert_eq!(served.packet().await.0, CONNECT);
        match self.receive_maximum.map(u16::to_be_bytes) {
            None => served.write(0x20, &[session_present, 0], &[]).await.unwrap(),
            Some([high, low]) => {
                let connack = [0x20, 6, session_present, 0, 3, 0x21, high, low];
                served.socket.write_all(&connack).await.unwrap();
            }
        }
        served
    }
}

/// The broker's end of one client's connection.
pub struct Served {
    pub socket: Box<dyn Duplex>,
    /// The encoding of "no properties" in this version of MQTT.
    properties: &'static [u8],
    subscription: [u8; 2],
}

impl Served {
    pub async fn grant(&mut self) {
        let id = self.subscription;
        self.write(0x90, &id, &[2]).await.unwrap();
    }

    /// Publishes `n` at QoS 1 with the packet identifier `n`, on the topic `in`.
    pub async fn publish(&mut self, n: u16) -> std::io::Result<()> {
        self.publish_to("in", n).await
    }

    pub async fn publish_to(&mut self, topic: &str, n: u16) -> std::io::Result<()> {
        self.publish_as(0x32, topic, n, n.to_string().as_bytes()).await
    }

    /// Publishes a message. `header` is the first byte of its packet, which contains QoS and DUP.
    pub async fn publish_as(
        &mut self,
        header: u8,
        topic: &str,
        id: u16,
        payload: &[u8],
    ) -> std::io::Result<()> {
        let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
        let start = [&length[..], topic.as_bytes(), &id.to_be_bytes()].concat();
        self.write(header, &start, payload).await
    }

    /// Reads a message at QoS 1 or 2: its packet identifier, topic and payload.
    pub async fn message(&mut self) -> (u16, String, Vec<u8>) {
        let (kind, body) = self.packet().await;
        assert_eq!(kind, PUBLISH);
        self.parse_message(&body)
    }

    /// Parses the body of a message at QoS 1 or 2.
    pub fn parse_message(&self, body: &[u8]) -> (u16, String, Vec<u8>) {
        let (topic, rest) = body[2..].split_at(usize::from(body[1]));
        let id = u16::from_be_bytes([rest[0], rest[1]]);
        let payload = rest[2 + self.properties.len()..].to_vec();
        (id, String::from_utf8(topic.to_vec()).unwrap(), payload)
    }

    /// Writes a PUBACK, PUBREC or PUBCOMP.
    pub async fn acknowledge(&mut self, kind: u8, id: u16) {
        let [high, low] = id.to_be_bytes();
        self.socket.write_all(&[kind << 4, 2, high, low]).await.unwrap();
    }

    /// Writes a PUBREL.
    pub async fn release(&mut self, id: u16) {
        let [high, low] = id.to_be_bytes();
        self.socket.write_all(&[0x62, 2, high, low]).await.unwrap();
    }

    async fn write(&mut self, header: u8, start: &[u8], end: &[u8]) -> std::io::Result<()> {
        let body = [start, self.properties, end].concat();
        let length = match body.len() {
            short @ 0..128 => vec![short as u8],
            long => vec![(long % 128) as u8 | 0x80, u8::try_from(long / 128).unwrap()],
        };
        let packet = [&[header], &*length, &*body].concat();
        self.socket.write_all(&packet).await?;
        self.socket.flush().await
    }

    /// Reads a packet: its kind and its body.
    pub async fn packet(&mut self) -> (u8, Vec<u8>) {
        within("a packet", self.try_packet()).await.unwrap()
    }

    pub async fn try_packet(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let header = self.socket.read_u8().await?;
        let mut body = vec![0; usize::from(self.socket.read_u8().await?)];
        self.socket.read_exact(&mut body).await?;
        Ok((header >> 4, body))
    }

    /// Reads the PUBACK of the message `n`.
    pub async fn expect_puback(&mut self, n: u16) {
        self.expect_ack(PUBACK, n).await;
    }

    /// Reads the acknowledgement of the message `n`, of this kind.
    pub async fn expect_ack(&mut self, expected: u8, n: u16) {
        let (kind, body) = self.packet().await;
        assert_eq!((kind, &body[..2]), (expected, &n.to_be_bytes()[..]));
    }
}

/// A database with one record, `in`, linked from the topic `in` at QoS 2, in a session that the broker keeps.
pub fn client<S: Subject>(
    subject: &S,
    port: u16,
    buffer: BufferCfg,
) -> (AimDb<S::Runtime>, Reader<u64>) {
    let setup = Setup { client_id: Some("kept"), session: Some(HOUR), ..Setup::to(port) };
    let mut builder = subject.builder_with(setup);
    builder.configure::<u64>("in", |reg| {
        reg.buffer(buffer).link_from("mqtt://in?qos=2", Json);
    });
    let db = builder.build().unwrap();
    let reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
    db.start();
    (db, reader)
}
