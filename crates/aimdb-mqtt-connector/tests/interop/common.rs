//! The parts that the cases share: brokers that forward, a connector with a link each way, and packets in bytes.

use std::future::{Future, poll_fn};
use std::task::Poll;

use aimdb_core::link::{InboundTarget, OutboundTarget};
use aimdb_core::metrics::LinkMetrics;
use aimdb_core::{AimDb, AimDbBuilder, Json, Reader, Runtime};
use aimdb_mqtt_connector::{MqttVersion, QoS};
use embedded_broker::EmbeddedBroker;

use crate::suite::{Setup, Subject};
use crate::support::picky::{Delivery, Picky};
use crate::support::*;

/// A broker that forwards messages.
pub enum Forwarding {
    Mosquitto(Mosquitto),
    Embedded(EmbeddedBroker),
}

impl Forwarding {
    /// One of each kind. Without Mosquitto there is only the embedded one.
    async fn all() -> Vec<Self> {
        let lines = format!("{UNLIMITED}\nlog_type all");
        let mosquitto = Mosquitto::start(&lines).map(Self::Mosquitto);
        let embedded = Self::Embedded(EmbeddedBroker::start().await.unwrap());
        mosquitto.into_iter().chain([embedded]).collect()
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Mosquitto(broker) => broker.port(),
            Self::Embedded(broker) => broker.port(),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Mosquitto(_) => "Mosquitto",
            Self::Embedded(_) => "the embedded broker",
        }
    }
}

/// Runs a case at one broker of each kind that forwards messages.
pub async fn at_each_broker(case: impl AsyncFn(&Forwarding)) {
    for broker in Forwarding::all().await {
        case(&broker).await;
        if let Forwarding::Embedded(broker) = broker {
            broker.stop().await;
        }
    }
}

/// The other end: a client at a broker that forwards messages, or a broker of raw bytes.
pub enum Peer {
    Client(Probe),
    Raw(Picky),
}

impl Peer {
    pub async fn subscribe(&self, topic: &str) {
        if let Self::Client(probe) = self {
            probe.subscribe(topic, QoS::AtLeastOnce).await;
        }
    }

    /// The payload of the message with this number, on this topic.
    pub async fn receive(&mut self, topic: &str, number: usize) -> Vec<u8> {
        match self {
            Self::Client(probe) => {
                let message = probe.next().await;
                assert!(message.topic == topic);
                message.payload.into()
            }
            Self::Raw(broker) => {
                let count = || broker.attempts(topic);
                eventually("it is published", count, |count| *count > number).await;
                broker.publishes().swap_remove(number).payload
            }
        }
    }

    /// Sends at QoS 1.
    pub async fn send(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        match self {
            Self::Client(probe) => probe.publish(topic, payload, QoS::AtLeastOnce).await,
            Self::Raw(broker) => _ = broker.send(&Delivery::new(topic, payload).qos(1)),
        }
    }
}

/// Runs a case at one broker of each kind, with its name, its port and the other end.
pub async fn at_each_peer(version: MqttVersion, case: impl AsyncFn(&str, u16, Peer)) {
    at_each_broker(async |broker| {
        let probe = Probe::connect(broker.port()).await;
        case(broker.name(), broker.port(), Peer::Client(probe)).await;
    })
    .await;
    let broker = Picky::start(version).await;
    case("raw bytes", broker.port(), Peer::Raw(broker)).await;
}

/// Adds a record that is sent.
pub fn outbound<R: Runtime>(
    builder: &mut AimDbBuilder<R>,
    key: &str,
    target: impl OutboundTarget<u64>,
) {
    builder.configure::<u64>(key.to_owned(), |reg| {
        reg.buffer(QUEUE).link_to(target, Json);
    });
}

/// Adds a record that is received.
pub fn inbound<R: Runtime>(builder: &mut AimDbBuilder<R>, key: &str, target: impl InboundTarget) {
    builder.configure::<u64>(key.to_owned(), |reg| {
        reg.buffer(QUEUE).link_from(target, Json);
    });
}

/// Starts the database with a reader of each of these records, and waits until every link is connected.
pub async fn start_reading<T: Clone + Send + Sync + 'static, R: Runtime>(
    builder: AimDbBuilder<R>,
    keys: impl IntoIterator<Item = impl AsRef<str>>,
) -> (AimDb<R>, Vec<Reader<T>>) {
    let db = builder.build().unwrap();
    let readers = keys.into_iter().map(|key| reader(&db, key.as_ref())).collect();
    db.start();
    connected(&db).await;
    (db, readers)
}

pub fn reader<T: Clone + Send + Sync + 'static, R: Runtime>(db: &AimDb<R>, key: &str) -> Reader<T> {
    db.consumer::<T>(key).unwrap().subscribe().unwrap()
}

pub async fn produce<R: Runtime>(db: &AimDb<R>, key: &str, values: impl IntoIterator<Item = u64>) {
    db.producer::<u64>(key).unwrap().produce_many(values).await.unwrap();
}

pub fn link_of<R: Runtime>(db: &AimDb<R>, key: &str) -> LinkMetrics {
    db.metrics().links.into_iter().find(|link| link.key == key).unwrap()
}

/// A connector at a broker of raw bytes with a link each way, at QoS 1.
pub struct Both<R: Runtime> {
    pub db: AimDb<R>,
    reader: Reader<u64>,
    next: u64,
}

impl<R: Runtime> Both<R> {
    /// Starts the database. It may not be connected yet.
    pub fn start<S: Subject<Runtime = R>>(subject: &S, broker: &Picky) -> Self {
        Self::with(subject.builder_with(Setup::to(broker.port())))
    }

    /// The same with a builder that has a connector.
    pub fn with(mut builder: AimDbBuilder<R>) -> Self {
        outbound(&mut builder, "out", "mqtt://out?qos=1");
        inbound(&mut builder, "in", "mqtt://in?qos=1");
        let db = builder.build().unwrap();
        let reader = reader(&db, "in");
        db.start();
        Self { db, reader, next: 0 }
    }

    /// Asserts that a value passes in each direction, on the connection with this number.
    pub async fn pass(&mut self, broker: &Picky, connection: usize, case: &str) {
        self.next += 1;
        let n = self.next;
        let state = || {
            let served = (broker.connections(), broker.open_connections());
            (served, broker.is_subscribed("in"), self.last_error())
        };
        let ready = |state: &(_, bool, _)| state.0 == (connection, 1) && state.1;
        eventually(&format!("{case}: it is connected"), state, ready).await;
        connected(&self.db).await;
        produce(&self.db, "out", [n]).await;
        let arrived = || (broker.payloads("out"), self.last_error());
        let text = n.to_string();
        eventually(&format!("{case}: a value arrives"), arrived, |(all, _)| all.contains(&text))
            .await;
        broker.send(&Delivery::new("in", text.as_str()).qos(1));
        assert_eq!(value(&mut self.reader).await, n, "{case}");
        assert_eq!(broker.connections(), connection, "{case}: {:?}", self.last_error());
    }

    /// Waits until the connection is served. Returns its number.
    pub async fn settle(&self, broker: &Picky) -> usize {
        let state = || {
            let serves = broker.open_connections() == 1 && broker.is_subscribed("in");
            (serves, broker.connections(), self.last_error())
        };
        eventually("a connection is served", state, |(serves, ..)| *serves).await;
        connected(&self.db).await;
        broker.connections()
    }

    /// Waits for a part of the error that both links show.
    pub async fn error(&self, part: &str, case: &str) {
        let errors = || ["out", "in"].map(|key| link_of(&self.db, key).last_error);
        let shown = |errors: &[Option<String>; 2]| {
            errors.iter().all(|error| error.as_ref().is_some_and(|text| text.contains(part)))
        };
        eventually(&format!("{case}: `{part}` is shown"), errors, shown).await;
    }

    pub fn last_error(&self) -> Option<String> {
        link_of(&self.db, "out").last_error
    }
}

/// Runs all of these at the same time.
pub async fn together<F: Future<Output = ()>>(all: impl IntoIterator<Item = F>) {
    let mut running: Vec<_> = all.into_iter().map(Box::pin).collect();
    assert!(!running.is_empty());
    poll_fn(|cx| {
        running.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
