//! `TcpNetwork` on a stack of embassy-net with a loopback device. One of the stack's ports forwards to Mosquitto.

mod suite;
mod support;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use aimdb_core::race::{Either, race};
use aimdb_core::{BufferCfg, Json};
use aimdb_mqtt_connector::{EmbassyMqttConnector, QoS, TcpNetwork};
use embassy_net::driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_net::tcp::TcpSocket;
use embassy_net::{Config, Ipv4Address, Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use suite::{OnEmbassy, Subject};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HERE: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);

/// A device that receives the packets it sends.
#[derive(Default)]
struct Loopback(Rc<RefCell<Cable>>);

#[derive(Default)]
struct Cable {
    packets: VecDeque<Vec<u8>>,
    receiver: Option<Waker>,
}

struct Packet(Vec<u8>);

struct End(Rc<RefCell<Cable>>);

impl RxToken for Packet {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, read: F) -> R {
        read(&mut self.0)
    }
}

impl TxToken for End {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = vec![0; length];
        let written = write(&mut packet);
        let mut cable = self.0.borrow_mut();
        cable.packets.push_back(packet);
        cable.receiver.take().into_iter().for_each(Waker::wake);
        written
    }
}

impl Driver for Loopback {
    type RxToken<'a> = Packet;
    type TxToken<'a> = End;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Packet, End)> {
        let mut cable = self.0.borrow_mut();
        cable.receiver = Some(cx.waker().clone());
        let packet = cable.packets.pop_front()?;
        Some((Packet(packet), End(Rc::clone(&self.0))))
    }

    fn transmit(&mut self, _cx: &mut Context<'_>) -> Option<End> {
        Some(End(Rc::clone(&self.0)))
    }

    fn link_state(&mut self, _cx: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = 1500;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ip
    }
}

/// Forwards connections to the stack's `port` to the same port of this machine, one after the other.
async fn forward_port(stack: Stack<'static>, port: u16) {
    let (mut receive, mut send) = ([0; 4096], [0; 4096]);
    loop {
        let mut inside = TcpSocket::new(stack, &mut receive, &mut send);
        inside.accept(port).await.unwrap();
        let Ok(mut outside) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else {
            continue;
        };
        let (mut from_inside, mut to_inside) = inside.split();
        let (mut from_outside, mut to_outside) = outside.split();
        let up = async {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from_inside.read(&mut bytes).await {
                to_outside.write_all(&bytes[..count]).await.unwrap_or_default();
            }
        };
        let down = async {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from_outside.read(&mut bytes).await {
                if embedded_io_async::Write::write_all(&mut to_inside, &bytes[..count])
                    .await
                    .is_err()
                {
                    break;
                }
            }
        };
        race(up, down).await;
        // Both ends learn that the connection has ended.
        inside.abort();
        _ = tokio::time::timeout(QUIET_TIME, inside.flush()).await;
    }
}

#[test]
fn records_reach_a_broker_over_embassy_net_before_and_after_an_outage() {
    OnEmbassy::run(|subject| async move {
        let Some(mut broker) = Mosquitto::start(UNLIMITED) else { return };
        let address = StaticConfigV4 {
            address: Ipv4Cidr::new(HERE, 24),
            gateway: None,
            dns_servers: Default::default(),
        };
        let resources = Box::leak(Box::new(StackResources::<3>::new()));
        let config = Config::ipv4_static(address);
        let (stack, mut runner) = embassy_net::new(Loopback::default(), config, resources, 1);
        let port = broker.port();

        let mut builder = subject.builder();
        let network = TcpNetwork::new(stack, (HERE, port));
        let connector = EmbassyMqttConnector::new(format!("{HERE}:{port}"), network)
            .backoff(Duration::from_millis(20), Duration::from_millis(100));
        builder.connector(connector);
        for qos in LEVELS {
            let n = qos as u8;
            builder.configure::<u64>(format!("out{n}"), |reg| {
                reg.buffer(BufferCfg::SpmcQueue { capacity: 64 })
                    .link_to(format!("mqtt://trip/{n}?qos={n}"), Json);
            });
            builder.configure::<u64>(format!("in{n}"), |reg| {
                reg.buffer(QUEUE).link_from(format!("mqtt://trip/{n}?qos={n}"), Json);
            });
        }
        let db = builder.build().unwrap();
        let case = async {
            let mut readers = [0, 1, 2]
                .map(|n| db.consumer::<u64>(format!("in{n}")).unwrap().subscribe().unwrap());
            db.start();
            for round in 0..2 {
                connected(&db).await;
                for (qos, reader) in LEVELS.into_iter().zip(&mut readers) {
                    let out = db.producer::<u64>(format!("out{}", qos as u8)).unwrap();
                    out.produce_many(0..200).await.unwrap();
                    for n in 0..200 {
                        assert_eq!(value(reader).await, n, "{qos:?} in round {round}");
                    }
                }
                if round == 0 {
                    // The broker may deliver a message before its acknowledgement arrives.
                    let sent = || [0, 2, 4].map(|at| link(&db, at).sent);
                    eventually("all is acknowledged", sent, |sent| *sent == [200; 3]).await;
                    broker.kill();
                    eventually("the loss is detected", || link(&db, 0), |link| !link.connected)
                        .await;
                    broker.restart();
                }
            }
            let mut probe = Probe::connect(port).await;
            probe.subscribe("trip/1", QoS::AtLeastOnce).await;
            db.producer::<u64>("out1").unwrap().produce(7).await.unwrap();
            assert_eq!(probe.number().await, 7);
            shut_down(&db).await;
            assert!(db.metrics().links.iter().all(|link| link.dropped() == 0));
        };
        let network = race(runner.run(), forward_port(stack, port));
        assert!(matches!(race(case, network).await, Either::First(())));
    });
}
