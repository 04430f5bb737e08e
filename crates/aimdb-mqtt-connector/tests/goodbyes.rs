//! How a connection ends in an orderly shutdown, against a broker of which every byte is ours.

mod support;

use std::sync::Arc;
use std::time::Duration;

use aimdb_core::Json;
use aimdb_mqtt_connector::MqttVersion;
use rumqttc_v5::tokio_rustls::TlsAcceptor;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use support::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

const CONNECT: u8 = 1;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;
const DISCONNECT: u8 = 14;

/// Time for the client to do what it must not do. A slow machine makes a test forgiving, never wrong.
const A_WHILE: Duration = Duration::from_millis(300);

const DAY: Duration = Duration::from_secs(86_400);

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

struct Broker {
    listener: TcpListener,
    tls: Option<(Arc<ServerConfig>, String)>,
    version: MqttVersion,
}

impl Broker {
    async fn new(version: MqttVersion, encrypted: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tls = encrypted.then(|| {
            let Certificates { ca, server: (chain, key), .. } = Certificates::new();
            let chain = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![chain], key)
                .unwrap();
            (Arc::new(config), ca)
        });
        Self { listener, tls, version }
    }

    /// A database with the one record `in`, linked from the topic `in` at QoS 1.
    fn client(&self) -> (Db, aimdb_core::Reader<u64>) {
        let port = self.listener.local_addr().unwrap().port();
        let connector = match &self.tls {
            None => mqtt_to(port),
            Some((_, ca)) => to_url(format!("mqtts://127.0.0.1:{port}")).ca_pem(ca.as_str()),
        };
        let mut builder = builder();
        builder
            .connector(connector.version(self.version).client_id("leaves").persistent_session(DAY));
        builder.configure::<u64>("in", |reg| {
            reg.buffer(QUEUE).link_from("mqtt://in?qos=1", Json);
        });
        let db = builder.build().unwrap();
        let reader = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
        db.start();
        (db, reader)
    }

    /// Lets a client in, and reads its subscription.
    async fn accept(&self) -> Served {
        let (socket, _) = within("a connection", self.listener.accept()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let socket: Box<dyn Duplex> = match &self.tls {
            None => Box::new(socket),
            Some((config, _)) => {
                let accepted = TlsAcceptor::from(Arc::clone(config)).accept(socket);
                Box::new(within("a handshake", accepted).await.unwrap())
            }
        };
        let properties: &[u8] = if self.version == MqttVersion::V5 { &[0] } else { &[] };
        let mut served = Served { socket, properties, subscription: [0; 2] };
        assert_eq!(served.packet().await.0, CONNECT);
        served.write(0x20, &[0, 0], &[]).await.unwrap();
        let (kind, body) = served.packet().await;
        assert_eq!(kind, SUBSCRIBE);
        served.subscription.copy_from_slice(&body[..2]);
        served
    }
}

/// One client's connection, seen from the broker.
struct Served {
    socket: Box<dyn Duplex>,
    /// None, as this version of MQTT writes it.
    properties: &'static [u8],
    subscription: [u8; 2],
}

impl Served {
    async fn grant(&mut self) {
        let id = self.subscription;
        self.write(0x90, &id, &[1]).await.unwrap();
    }

    /// `n` as a message at QoS 1 with the identifier `n`.
    async fn publish(&mut self, n: u16) -> std::io::Result<()> {
        let [high, low] = n.to_be_bytes();
        self.write(0x32, &[0, 2, b'i', b'n', high, low], n.to_string().as_bytes()).await
    }

    async fn write(&mut self, header: u8, start: &[u8], end: &[u8]) -> std::io::Result<()> {
        let body = [start, self.properties, end].concat();
        let packet = [&[header, u8::try_from(body.len()).unwrap()], &*body].concat();
        self.socket.write_all(&packet).await?;
        self.socket.flush().await
    }

    /// The next packet: its kind, and what follows the header.
    async fn packet(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let header = self.socket.read_u8().await?;
            let mut body = vec![0; usize::from(self.socket.read_u8().await?)];
            self.socket.read_exact(&mut body).await?;
            std::io::Result::Ok((header >> 4, body))
        };
        within("a packet", read).await.unwrap()
    }
}

fn shutting_down(db: &Db) -> tokio::task::JoinHandle<()> {
    let db = db.clone();
    tokio::spawn(async move { shut_down(&db).await })
}

/// A broker that writes to a client which is gone is told so, and then does not read what the client said last.
#[tokio::test]
async fn a_broker_may_go_on_sending_until_it_has_read_the_acknowledgements_and_the_goodbye() {
    for encrypted in [false, true] {
        for version in VERSIONS {
            let broker = Broker::new(version, encrypted).await;
            let (db, mut reader) = broker.client();
            let mut served = broker.accept().await;
            served.grant().await;
            for n in 1..=20 {
                served.publish(n).await.unwrap();
                assert_eq!(value(&mut reader).await, u64::from(n));
            }
            let shutdown = shutting_down(&db);
            for n in 21..=25 {
                tokio::time::sleep(A_WHILE).await;
                served.publish(n).await.unwrap();
            }
            for n in 1..=20_u16 {
                let (kind, body) = served.packet().await;
                assert_eq!((kind, &body[..2]), (PUBACK, &n.to_be_bytes()[..]), "{version:?}");
            }
            let mut kind = PUBACK;
            while kind == PUBACK {
                kind = served.packet().await.0;
            }
            assert_eq!(kind, DISCONNECT);
            tokio::time::sleep(A_WHILE).await;
            assert!(!shutdown.is_finished(), "{version:?}: the next client may come too early");
            drop(served);
            within("the shutdown", shutdown).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_broker_that_keeps_the_connection_after_the_goodbye_is_not_waited_for_for_ever() {
    let leave = |version| async move {
        let broker = Broker::new(version, false).await;
        let (db, _reader) = broker.client();
        let mut served = broker.accept().await;
        served.grant().await;
        connected(&db).await;
        let shutdown = shutting_down(&db);
        assert_eq!(served.packet().await.0, DISCONNECT);
        // The client has closed its half: a broker that leaves it to the client to close first has not long to wait.
        assert_eq!(within("the end", served.socket.read(&mut [0; 8])).await.unwrap(), 0);
        within("the shutdown", shutdown).await.unwrap();
    };
    tokio::join!(leave(MqttVersion::V5), leave(MqttVersion::V311));
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_goodbye_does_not_keep_a_shutdown() {
    for version in VERSIONS {
        let broker = Broker::new(version, false).await;
        let (db, _reader) = broker.client();
        // The client waits with its goodbye for an answer to its subscription.
        let served = broker.accept().await;
        let shutdown = shutting_down(&db);
        tokio::time::sleep(A_WHILE).await;
        drop(served);
        within("the shutdown", shutdown).await.unwrap();
    }
}
