//! MQTT through the engine next to rumqttc, a client without an engine, with the same settings, on the same broker. The time
//! is from the first message until the other end has the last one, over the messages.
//!
//! Outbound: a task writes, and the time ends when a subscriber has received the last message. Inbound: a publisher sends
//! prepared packets, and the time ends when the last message is decoded, handled and (at QoS 1) acknowledged.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, CodecError, Incoming, decode_with, encode_with};
use aimdb_core::{Decode, Encode};
use aimdb_mqtt_connector::{MqttConnector, QoS, mqtt};
use aimdb_tokio_adapter::TokioAdapter;
use rumqttc::{AckMode, AsyncClient, Event, EventLoop, MqttOptions, Packet, PublishOptions};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::broker::{Broker, Publisher, Subscriber, payload};
use crate::kit::{BusyCores, Case, Delivery, Run, Scale};
use crate::table::Table;

const TOPIC: &str = "bench";
const BUFFER: BufferCfg = BufferCfg::SpmcQueue { capacity: 1024 };
const BARE: &str = "bare client";

pub(super) fn out_qos_0<B: Broker>(scale: Scale) -> Table {
    outward::<B>(scale, QoS::AtMostOnce)
}

pub(super) fn out_qos_1<B: Broker>(scale: Scale) -> Table {
    outward::<B>(scale, QoS::AtLeastOnce)
}

pub(super) fn in_qos_0<B: Broker>(scale: Scale) -> Table {
    inward::<B>(scale, QoS::AtMostOnce)
}

pub(super) fn in_qos_1<B: Broker>(scale: Scale) -> Table {
    inward::<B>(scale, QoS::AtLeastOnce)
}

fn outward<B: Broker>(scale: Scale, qos: QoS) -> Table {
    let (runtime, broker, _busy) = (&runtime(), &B::start(), BusyCores::start());
    Case::against(BARE, format!("{} out at QoS {}, per message", B::NAME, qos as u8))
        .contestant(BARE, || bare_out(runtime, broker, messages(scale), qos))
        .contestant("aimdb", || aimdb_out(runtime, broker, messages(scale), qos))
        .run(scale)
}

fn inward<B: Broker>(scale: Scale, qos: QoS) -> Table {
    let (runtime, broker, _busy) = (&runtime(), &B::start(), BusyCores::start());
    Case::against(BARE, format!("{} in at QoS {}, per message", B::NAME, qos as u8))
        .contestant(BARE, || bare_in(runtime, broker, messages(scale), qos))
        .contestant("aimdb", || aimdb_in(runtime, broker, messages(scale), qos))
        .run(scale)
}

fn messages(scale: Scale) -> u64 {
    scale.operations(15_000)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be had")
}

/// Creates the client with the settings that the connector gives it.
fn bare_client(broker: &impl Broker) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new("bare", ("127.0.0.1", broker.port()));
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options
        .set_network_options(network)
        .set_receive_maximum(Some(256))
        .set_outgoing_inflight_upper_limit(100)
        .set_max_request_batch(64)
        .set_ack_mode(AckMode::Manual)
        .set_clean_start(true);
    AsyncClient::builder(options).capacity(128).try_build().expect("good options")
}

const fn level(qos: QoS) -> rumqttc::QoS {
    match qos {
        QoS::AtMostOnce => rumqttc::QoS::AtMostOnce,
        QoS::AtLeastOnce => rumqttc::QoS::AtLeastOnce,
        QoS::ExactlyOnce => rumqttc::QoS::ExactlyOnce,
    }
}

async fn connected(events: &mut EventLoop) {
    let first = events.poll().await.expect("the broker listens");
    assert!(matches!(first, Event::Incoming(Packet::ConnAck(_))), "{first:?}");
}

fn bare_out(runtime: &Runtime, broker: &impl Broker, operations: u64, qos: QoS) -> Run {
    let subscriber = broker.subscriber(TOPIC, operations);
    let (client, mut events) = bare_client(broker);
    runtime.block_on(connected(&mut events));
    let polling = runtime.spawn(async move { while events.poll().await.is_ok() {} });
    let start = Instant::now();
    let writing = runtime.spawn(async move {
        for n in 0..operations {
            let options = PublishOptions::new(level(qos));
            client.publish(TOPIC, payload(n).to_vec(), options).await.expect("it polls");
        }
        client
    });
    subscriber.receive();
    let elapsed = start.elapsed();
    // `disconnect_now` would overtake queued messages, so the writer has to finish first.
    let client = runtime.block_on(writing).expect("writes all");
    runtime.block_on(client.disconnect_now()).expect("it polls");
    runtime.block_on(polling).expect("ends");
    Run::new(operations, elapsed)
}

fn bare_in(runtime: &Runtime, broker: &impl Broker, operations: u64, qos: QoS) -> Run {
    let publisher = broker.publisher(TOPIC, qos as u8, operations);
    let (client, mut events) = bare_client(broker);
    runtime.block_on(async {
        connected(&mut events).await;
        client.subscribe(TOPIC, level(qos)).await.expect("it polls");
        while !matches!(events.poll().await, Ok(Event::Incoming(Packet::SubAck(_)))) {}
    });
    let start = Instant::now();
    let handling = runtime.spawn(async move {
        let mut handled = 0;
        let mut unsent = VecDeque::new();
        while handled < operations {
            if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.expect("up") {
                black_box(publish.payload.to_vec());
                handled += 1;
                if qos != QoS::AtMostOnce {
                    unsent.push_back(publish);
                }
            }
            while unsent.front().is_some_and(|publish| client.try_ack(publish).is_ok()) {
                unsent.pop_front();
            }
        }
        (Instant::now(), events)
    });
    let handled = || runtime.block_on(handling).expect("handles all");
    let (end, _connection) = publisher.publish_until(handled);
    let delivery = Delivery { delivered: operations, ..Delivery::default() };
    Run::new(operations, end - start).with_delivery(delivery)
}

fn database(
    broker: &impl Broker,
    record: impl FnOnce(&mut aimdb_core::Registrar<'_, Vec<u8>, TokioAdapter>) + 'static,
) -> AimDbBuilder<TokioAdapter> {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    builder.connector(MqttConnector::new(format!("mqtt://127.0.0.1:{}", broker.port())));
    builder.configure::<Vec<u8>>("bench", record);
    builder
}

async fn started(builder: AimDbBuilder<TokioAdapter>) -> AimDb<TokioAdapter> {
    let db = builder.build().expect("a good graph");
    db.start();
    while !db.health().links[0].connected {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    db
}

fn to_bytes() -> impl Encode<Vec<u8>> {
    encode_with(|value: &Vec<u8>, out: &mut Vec<u8>| {
        out.extend_from_slice(value);
        Ok::<_, CodecError>(())
    })
}

fn from_bytes() -> impl Decode<Vec<u8>> {
    decode_with(|message: &Incoming<'_>| Ok::<_, CodecError>(message.payload.to_vec()))
}

fn aimdb_out(runtime: &Runtime, broker: &impl Broker, operations: u64, qos: QoS) -> Run {
    let subscriber = broker.subscriber(TOPIC, operations);
    let db = runtime.block_on(started(database(broker, move |reg| {
        reg.buffer(BUFFER).written_from_outside().link_to(mqtt::topic(TOPIC).qos(qos), to_bytes());
    })));
    let producer = db.producer::<Vec<u8>>("bench").expect("configured");
    let start = Instant::now();
    runtime.spawn(async move {
        for n in 0..operations {
            producer.produce(payload(n).to_vec()).await.expect("open");
        }
    });
    subscriber.receive();
    let elapsed = start.elapsed();
    let report = runtime.block_on(db.shutdown(Duration::from_secs(10)));
    assert!(report.is_clean(), "{report}");
    Run::new(operations, elapsed)
}

fn aimdb_in(runtime: &Runtime, broker: &impl Broker, operations: u64, qos: QoS) -> Run {
    let publisher = broker.publisher(TOPIC, qos as u8, operations);
    let handled = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&handled);
    let (done, mut finished) = oneshot::channel();
    let db = runtime.block_on(started(database(broker, move |reg| {
        reg.buffer(BUFFER).link_from(mqtt::filter(TOPIC).qos(qos), from_bytes()).tap(
            move |_ctx, bench| async move {
                let mut reader = bench.subscribe().expect("open");
                while counter.load(Relaxed) < operations {
                    let Ok(value) = reader.recv().await else { return };
                    black_box(value);
                    counter.fetch_add(1, Relaxed);
                }
                done.send(Instant::now()).expect("the receiver waits for it");
                while reader.recv().await.is_ok() {}
            },
        );
    })));
    let dropped = || db.metrics().links[0].dropped();
    let start = Instant::now();
    // At QoS 0 the last message may be dropped, and then the tap never finishes: count handled and dropped messages.
    let arrived = async {
        loop {
            match tokio::time::timeout(Duration::from_millis(2), &mut finished).await {
                Ok(end) => return end.expect("the tap goes on"),
                Err(_) if handled.load(Relaxed) + dropped() >= operations => return Instant::now(),
                Err(_) => {}
            }
        }
    };
    let end = publisher.publish_until(|| runtime.block_on(arrived));
    let delivery =
        Delivery { delivered: handled.load(Relaxed), lagged: dropped(), ..Delivery::default() };
    runtime.block_on(db.shutdown(Duration::from_secs(10)));
    Run::new(operations, end - start).with_delivery(delivery)
}
