//! Links AimDB records to MQTT brokers: MQTT 5, and 3.1.1 on request, over TCP or TLS.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use aimdb_core::{AimDbBuilder, BufferCfg, DbResult, Json};
//! # use aimdb_tokio_adapter::TokioAdapter;
//! use aimdb_mqtt_connector::{MqttConnector, QoS, mqtt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> DbResult<()> {
//! let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new()?));
//! builder.connector(MqttConnector::new("mqtt://127.0.0.1:1883").client_id("gateway-7"));
//! builder.configure::<f32>("sensor.temp", |reg| {
//!     reg.buffer(BufferCfg::SpmcRing { capacity: 100 })
//!         .link_from("mqtt://sensors/+/temp?qos=1", Json)
//!         .link_to(mqtt::topic("archive/temp").qos(QoS::AtLeastOnce).retain(), Json);
//! });
//! builder.run().await
//! # }
//! ```
//!
//! # Links
//!
//! A link is a text, `name://topic?option=value`, or typed, [`mqtt::topic`], [`mqtt::topic_from`], [`mqtt::filter`].
//! The name is the connector's: `mqtt` unless [`named`](MqttConnector::named), so several brokers live side by side.
//!
//! | option | outbound | inbound |
//! |---|---|---|
//! | `qos=0`, `1`, `2` | how it is published; 0 unless set | how it is subscribed; 0 unless set |
//! | `retain` | the broker keeps the newest | refused |
//!
//! An inbound topic may be a filter with `+` and `#`, or a shared subscription `$share/group/filter`; the codec sees
//! what the wildcards matched. Everything unknown or impossible is a finding of `build()`.
//!
//! # What is promised
//!
//! - **Outbound follows the buffer.** Without a connection nothing is taken from the record: a ring drops its oldest
//!   and counts, a queue holds its writers back, latest sends the newest once back. At QoS 1 and 2 what was taken is
//!   kept until the broker has acknowledged it, and sent again on a new session if need be.
//!   All links of one connector together have at most 100 messages under way at these levels, or as many as the broker's
//!   receive maximum; what is over that waits in the records, and one message a link in the link.
//! - **Inbound acknowledges last.** At QoS 1 and 2 the broker gets its acknowledgement when the record has the value.
//!   With a [persistent session](MqttConnector::persistent_session) what was not acknowledged comes again.
//! - **An orderly shutdown leaves nothing open.** It ends when the broker has read every acknowledgement and closed the
//!   connection, or has not within 5 s: the next process gets no message again that a record of this one has.
//! - **Both directions heal** after the broker was away: connecting, subscribing and sending start anew by themselves,
//!   with a pause that doubles from 250 ms to 10 s ([`backoff`](MqttConnector::backoff)).
//! - **A payload that does not decode** is counted, logged and given to the dead-letter hook, and the link goes on.
//!
//! # What is not
//!
//! - At QoS 0 a message that was taken from the record when the connection broke is lost; it is counted in
//!   `dropped`, as is an incoming one for which a full queue had no room.
//! - QoS 2 is exactly once for as long as both sides keep the session. If the broker loses it, a message may come
//!   twice; messages that are sent again may come after later ones.
//! - Without an orderly shutdown (a crash, a broken connection at the last moment, a deadline that is over) the broker
//!   may not know what was acknowledged last. A persistent session sends it again to the next process, at QoS 1 and 2,
//!   since nothing outlives a process that would tell. Within one process a broken connection can double a message at
//!   QoS 1 whose acknowledgement was under way; at QoS 2 it cannot.
//! - With a persistent session, a QoS 2 publish that was cut off by the end of the *process* may hide one message of
//!   the next process from its receivers, because packet identifiers start over. Publish at QoS 1 where that matters.
//! - A message that the broker refuses is counted in `dropped` with MQTT 5. MQTT 3.1.1 has no words for it: the broker
//!   acknowledges the message and throws it away.
//! - MQTT 3.1.1 has no receive maximum: a broker that sends more than 1,024 unacknowledged messages to one full record
//!   is held back by not reading from the connection.
//!
//! # On a microcontroller
//!
//! The feature `embassy`, without the default features, has `EmbassyMqttConnector`: MQTT 5 by minimq over any stream of
//! embedded-io-async that a `Network` gives, for any runtime that does not ask for `Send`. With the feature
//! `embassy-net` there is one, `TcpNetwork`. A whole program:
//!
//! ```no_run
//! # #![allow(clippy::empty_loop)]
//! # mod chip {
//! #     use core::task::Context;
//! #     use embassy_net::driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
//! #     pub struct Ethernet;
//! #     pub struct Token;
//! #     impl RxToken for Token {
//! #         fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, f: F) -> R { f(&mut []) }
//! #     }
//! #     impl TxToken for Token {
//! #         fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R { f(&mut vec![0; len]) }
//! #     }
//! #     impl Driver for Ethernet {
//! #         type RxToken<'a> = Token;
//! #         type TxToken<'a> = Token;
//! #         fn receive(&mut self, _: &mut Context<'_>) -> Option<(Token, Token)> { None }
//! #         fn transmit(&mut self, _: &mut Context<'_>) -> Option<Token> { None }
//! #         fn link_state(&mut self, _: &mut Context<'_>) -> LinkState { LinkState::Down }
//! #         fn capabilities(&self) -> Capabilities { Capabilities::default() }
//! #         fn hardware_address(&self) -> HardwareAddress { HardwareAddress::Ip }
//! #     }
//! #     pub fn ethernet() -> Ethernet { Ethernet }
//! #     pub fn random() -> u64 { 4 }
//! #     pub fn celsius() -> f32 { 20.0 }
//! # }
//! // On a microcontroller: `#![no_std]`, `#![no_main]`, a heap (`embedded-alloc`), a panic handler.
//! extern crate alloc;
//!
//! use aimdb_core::{AimDbBuilder, Arc, BufferCfg, Json};
//! use aimdb_embassy_adapter::{EmbassyAdapter, sink};
//! use aimdb_mqtt_connector::{EmbassyMqttConnector, TcpNetwork};
//! use alloc::boxed::Box;
//! use embassy_executor::Spawner;
//! use embassy_net::{Config, Ipv4Address, Ipv4Cidr, Runner, StackResources, StaticConfigV4};
//!
//! #[embassy_executor::task]
//! async fn network(mut runner: Runner<'static, chip::Ethernet>) {
//!     runner.run().await
//! }
//!
//! #[embassy_executor::main]
//! async fn main(spawner: Spawner) {
//!     let address = StaticConfigV4 {
//!         address: Ipv4Cidr::new(Ipv4Address::new(10, 0, 0, 7), 24),
//!         gateway: None,
//!         dns_servers: Default::default(),
//!     };
//!     // One socket for each connector.
//!     let sockets = Box::leak(Box::new(StackResources::<1>::new()));
//!     let config = Config::ipv4_static(address);
//!     let (stack, runner) = embassy_net::new(chip::ethernet(), config, sockets, chip::random());
//!     spawner.spawn(network(runner).unwrap());
//!
//!     let runtime = Arc::new(EmbassyAdapter::new(spawner, sink::none));
//!     let mut builder = AimDbBuilder::new().runtime(runtime);
//!     let broker = TcpNetwork::new(stack, (Ipv4Address::new(10, 0, 0, 2), 1883));
//!     builder.connector(EmbassyMqttConnector::new("10.0.0.2:1883", broker).client_id("node-7"));
//!     builder.configure::<f32>("room.temperature", |reg| {
//!         reg.buffer(BufferCfg::SpmcRing { capacity: 16 })
//!             .source(|ctx, temperature| async move {
//!                 loop {
//!                     temperature.produce(chip::celsius()).await.ok();
//!                     ctx.time().sleep(ctx.time().secs(10)).await;
//!                 }
//!             })
//!             .link_to("mqtt://rooms/7/temperature?qos=1&retain", Json);
//!     });
//!     builder.configure::<bool>("room.heater", |reg| {
//!         reg.buffer(BufferCfg::Mailbox).link_from("mqtt://rooms/7/heater?qos=1", Json).tap(
//!             |ctx, heater| async move {
//!                 let mut commands = heater.subscribe().unwrap();
//!                 while let Ok(on) = commands.recv().await {
//!                     ctx.log().info(format_args!("heater: {on}"));
//!                 }
//!             },
//!         );
//!     });
//!     builder.run().await.expect("the graph is valid");
//! }
//! ```
//!
//! The same links, and:
//!
//! - **Not there**: MQTT 3.1.1; TLS, unless the network's streams do it; a session that outlives the program.
//! - **Memory**: a receive buffer (1024 bytes: the largest packet that comes in; the broker is told), a send buffer (2048
//!   bytes: all packets under way, less what connecting takes), and a copy of each of at most 8 messages at QoS 1 and 2
//!   that are not acknowledged yet. What is larger is dropped and counted. A message for a full record is kept as it came:
//!   8 of them at QoS 1 and 2, which is the receive maximum the broker is told (64 if it sends more, or if sessions are lost
//!   while the record is full), and 8 at QoS 0 a link, none of them larger than the receive buffer.
//! - **A full record holds back its own messages**, and is acknowledged later for it; the connection, the other links and
//!   what goes out go on. Acknowledgements are sent in the order of the messages of one QoS, as MQTT wants it, and the
//!   broker has at most 8 messages at QoS 1 and 2 without one. So a record that stays full stops the other links at its
//!   QoS a few messages later, and those at QoS 1 and 2 when 8 messages wait for it. At QoS 0 nothing stops: what finds no
//!   place is dropped and counted.
//! - **A broker that sends more at once than it may**, as Mosquitto 2.0.11 does after an outage, is given 64 places at QoS
//!   1 and 2. With all of them taken nothing more is read; the broker may close the connection for that, and sends again.
//! - Messages that are sent again after a break may come after later ones.
#![cfg_attr(not(feature = "tokio"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

// Tokio: sockets, TLS and the client are std's.
#[cfg(feature = "tokio")]
mod config;
#[cfg(feature = "tokio")]
mod connector;
#[cfg(feature = "tokio")]
mod inbound;
#[cfg(feature = "tokio")]
mod outbound;
#[cfg(feature = "tokio")]
mod permits;
#[cfg(feature = "tokio")]
mod protocol;
#[cfg(feature = "tokio")]
mod session;
#[cfg(feature = "tokio")]
mod tls;

// Any runtime, no std.
#[cfg(feature = "embassy")]
mod embassy;

// What both stand on.
#[cfg(any(feature = "tokio", feature = "embassy"))]
mod backoff;
#[cfg(any(feature = "tokio", feature = "embassy"))]
mod options;
#[cfg(any(feature = "tokio", feature = "embassy"))]
mod routes;
mod target;
#[cfg(any(feature = "tokio", feature = "embassy"))]
mod topic;
mod will;

#[cfg(feature = "tokio")]
pub use config::{DEFAULT_MAX_PAYLOAD, MqttVersion};
#[cfg(feature = "tokio")]
pub use connector::MqttConnector;
#[cfg(feature = "embassy")]
pub use embassy::{DEFAULT_BUFFER, EmbassyMqttConnector, Network};
#[cfg(feature = "embassy-net")]
pub use embassy::{NoConnection, TcpNetwork, TcpStream};
pub use will::LastWill;

/// Typed links.
pub mod mqtt {
    pub use crate::target::{ComputedTopic, Filter, Topic, filter, topic, topic_from};
}

/// A connector's name, and so its links' scheme, unless it is given another one.
const DEFAULT_NAME: &str = "mqtt";

/// How surely a message arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum QoS {
    /// 0: sent once, not acknowledged.
    #[default]
    AtMostOnce = 0,
    /// 1: sent until acknowledged; duplicates are possible.
    AtLeastOnce = 1,
    /// 2: handed over exactly once within a session.
    ExactlyOnce = 2,
}
