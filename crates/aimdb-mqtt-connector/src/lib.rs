//! Links AimDB records to MQTT brokers: MQTT 5, and 3.1.1 on request, over TCP, TLS or WebSockets.
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
//! A link is a text, `name://topic?option=value`, or typed: [`mqtt::topic`], [`mqtt::topic_from`], [`mqtt::filter`].
//! The name is the connector's name: `mqtt` unless set with [`named`](MqttConnector::named). Several connectors, each
//! with its own name, serve several brokers.
//!
//! | option | outbound | inbound |
//! |---|---|---|
//! | `qos=0`, `1`, `2` | the level of each publish; 0 unless set | the level of the subscription; 0 unless set |
//! | `retain` | the broker keeps the newest message | refused |
//! | `expiry=60` | the broker forgets an undelivered message after that many seconds | refused |
//! | `content_type=text/plain` | the kind of the payloads | refused |
//! | `property=unit:kelvin` | a user property; it may be repeated | refused |
//! | `no_local` | refused | the broker does not return messages of this connector |
//! | `retain_as_published` | refused | `Incoming::retained` is what the publisher set, also for a new message |
//! | `retain_handling=0`, `1`, `2` | refused | retained messages: with each subscription, with a new one, never; 0 unless set |
//!
//! All but `qos` and `retain` need MQTT 5.
//!
//! An inbound topic may be a filter with `+` and `#`, or a shared subscription `$share/group/filter`; the codec sees
//! the parts that the wildcards matched. An unknown or impossible option is a finding of `build()`, and so are a topic
//! that common brokers do not accept (control characters, more than 128 levels) and a record that receives what it
//! sends. Links with the same filter share one subscription at the highest of their levels. Its other options are those
//! of the link that was registered first: give links with one filter the same options.
//!
//! # The broker
//!
//! `MqttConnector` has these settings for it: [`or`](MqttConnector::or) a further address that is tried when the one
//! before it does not accept the client, [`credentials_from`](MqttConnector::credentials_from) a closure for tokens
//! that expire, [`ca_file`](MqttConnector::ca_file) and [`client_certificate`](MqttConnector::client_certificate),
//! whose files are read for each connection, [`alpn`](MqttConnector::alpn), and `ws://` and `wss://` with the feature
//! `ws`. [`status`](MqttConnector::status) counts messages that belong to no link.
//!
//! # Guarantees
//!
//! - **Outbound follows the buffer.** Without a connection, and without room on it, the connector takes nothing from
//!   the record: a ring overwrites its oldest value and counts it, a queue holds its writers back, latest sends the
//!   newest value after the reconnect. Messages wait in their records, and none in a link. At QoS 1 and 2 the connector
//!   keeps a taken message until the broker has acknowledged it, and sends it again, on a new session too. All links of
//!   one connector together have at most 100 messages in flight at these levels, 20 with MQTT 3.1.1, or as many as the
//!   broker's receive maximum.
//! - **Inbound acknowledges last.** At QoS 1 and 2 the connector acknowledges a message after the records have the
//!   value. With a [persistent session](MqttConnector::persistent_session) the broker sends an unacknowledged message
//!   again. A message that it sends again reaches its records once, at QoS 1 unless its acknowledgement was in flight.
//! - **An orderly shutdown leaves nothing open.** It ends when the broker has read every acknowledgement and closed the
//!   connection, or after 5 s if the broker has not: the broker does not send the next process a message that a record
//!   of this process already has.
//! - **Both directions recover** after an outage of the broker: the connector connects, subscribes and sends again by
//!   itself, with a backoff that doubles from 250 ms to 10 s ([`backoff`](MqttConnector::backoff)). The backoff starts
//!   over after a connection that has lasted as long as its longest pause.
//! - **A broker that is gone is noticed** within twice the keep-alive interval, also while the connector sends: only
//!   input proves that the broker is alive.
//! - **A retained value is at the broker.** A latest record with a retaining link sends its current value again when
//!   the broker has lost the session, and on each connection if the last will has the link's topic.
//! - **The connector sends nothing that the broker has excluded** in its CONNACK: a QoS, a retained message, a larger
//!   packet, a wildcard, a shared subscription. Such a message is counted in `dropped`, such a subscription is the
//!   link's error, and the other links continue. A refused subscription is asked for again, after 1 s and up to 60 s.
//! - **One message or subscription does not stop the others.** After a connection that ended early the connector sends
//!   one at a time; see the limits.
//! - **A payload that does not decode** is counted, logged and given to the dead-letter hook, and the link continues.
//!   One that is larger than [`max_payload`](MqttConnector::max_payload) is read past, counted and acknowledged.
//!
//! # Limits
//!
//! - **At QoS 0 a message counts as sent when it is written.** A message that is not written when the connection breaks
//!   is lost and counted in `dropped`; of a written one nothing is known. An incoming message for which a full queue
//!   has no room is counted in `dropped` too, after 512 waiting messages for one link, and after one pause of at most
//!   20 ms.
//! - **Acknowledgements are in order**, as MQTT demands for each QoS. A record that stays full therefore stops the
//!   other links at its QoS when the broker's window is used up: 256 unacknowledged messages, or fewer if the broker
//!   has a limit of its own (Mosquitto: 20). QoS 0 and outbound links continue.
//! - **A message is given up** when three connections in a row end early while it alone is in flight: brokers end
//!   connections for a message that they do not accept, and the same message would end the next one. It is counted in
//!   `dropped`, and the link's error has the reason. When that happens to a link again, its messages rest in the record
//!   for 5 s, twice as long each time, an hour at most, and its status is disconnected meanwhile. The same holds for a
//!   subscription. A network that breaks three times at the same message looks like such a broker. A connection is
//!   early until it has lasted for the longest pause of the backoff.
//! - QoS 2 is exactly once for as long as both sides keep the session. If the broker loses the session, a message may
//!   arrive twice. Messages that are sent again may arrive after later ones.
//! - Without an orderly shutdown (a crash, a broken connection at the last moment, an expired deadline) the broker may
//!   lack the last acknowledgements. With a persistent session it then sends their messages again to the next process,
//!   at QoS 1 and 2: the connector stores no state that outlives a process and could detect them. Within one process a
//!   broken connection can duplicate a message at QoS 1 whose acknowledgement was in flight; at QoS 2 it cannot.
//! - Without a persistent session the broker forgets an unacknowledged message with the connection. No counter has it.
//! - With a persistent session, a QoS 2 publish that the end of the *process* aborted may hide one message of a later
//!   process from its receivers. The identifiers of a process begin at a random number, which makes that unlikely.
//!   Publish at QoS 1 where it matters.
//! - A session that the broker says it has kept has its subscriptions, as MQTT demands. A broker that restarts with an
//!   older state has lost those that are newer, and their links receive nothing until the session ends.
//! - A message that the broker refuses is counted in `dropped` with MQTT 5. MQTT 3.1.1 has no means to refuse a
//!   message: the broker acknowledges the message and discards it.
//! - MQTT 3.1.1 has no receive maximum: when a broker sends more than 1,024 unacknowledged messages to full records,
//!   the connector does not read from the connection until a record has room. After twice the keep-alive interval the
//!   connection counts as silent then, and is made again.
//!
//! # On a microcontroller
//!
//! The feature `embassy`, without the default features, has `EmbassyMqttConnector`: the same client with MQTT 5, over
//! any embedded-io-async stream that a `Network` opens, for any runtime that does not require `Send`. The feature
//! `embassy-net` adds such a network, `TcpNetwork`. A whole program:
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
//! // A microcontroller also needs `#![no_std]`, `#![no_main]`, a heap (`embedded-alloc`) and a panic handler.
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
//! The links and their options are the same, with these differences:
//!
//! - **Not available**: MQTT 3.1.1; TLS, unless the network's streams implement it; several brokers, a closure for
//!   credentials, a required connection; a session that outlives the program. The codec sees the properties of a
//!   message.
//! - **Memory**: an input buffer (1024 bytes: the largest incoming packet; the connector announces it to the broker),
//!   an output buffer, which grows to at most one and a half times the send buffer (2048 bytes), and a copy of each of
//!   at most 8 messages at QoS 1 and 2 that are not acknowledged yet. The memory of the copies is kept for later ones.
//!   The largest outgoing packet is the send buffer less the size of a CONNECT; a larger message is dropped and
//!   counted. The client id, also one that the broker assigns, has MQTT's own limit. An incoming packet over the input
//!   buffer is read past, counted and acknowledged.
//! - **A message for a full record waits** in encoded form, none larger than the input buffer: at QoS 1 and 2, 8
//!   messages, which is the receive maximum that the connector announces (64 if the broker sends more, or if sessions
//!   are lost while the record is full); at QoS 0, 8 messages per link, and those of one read more for 20 ms.
//! - **The window is 8 messages** in each direction at QoS 1 and 2. A record that stays full stops the other links at
//!   its QoS a few messages later. At QoS 0 nothing stops: a message without room is dropped and counted.
//! - **A broker that exceeds the receive maximum**, as Mosquitto 2.0.11 does after an outage, is tolerated up to 64
//!   waiting messages at QoS 1 and 2. Beyond that the connector stops reading.
//! - **A stream keeps wakers.** The connector polls a stream with a future for each poll and drops it: the stream must
//!   wake the waker of a dropped future, and lose no bytes. The sockets of embassy-net do.
#![cfg_attr(not(feature = "tokio"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

extern crate alloc;

// Shared by both connectors.
#[cfg(any(feature = "tokio", feature = "embassy"))]
mod checks;
#[cfg(any(feature = "tokio", feature = "embassy"))]
mod config;
#[cfg(any(feature = "tokio", feature = "embassy"))]
mod driver;
#[cfg(any(feature = "tokio", feature = "embassy"))]
mod options;
mod target;
#[cfg(any(feature = "tokio", feature = "embassy"))]
mod topic;
mod will;

// Any runtime, without std.
#[cfg(feature = "embassy")]
mod embassy;

// Requires std: sockets, TLS.
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(any(feature = "tokio", feature = "embassy"))]
pub use crate::driver::MqttStatus;
#[cfg(feature = "embassy")]
pub use crate::embassy::{DEFAULT_BUFFER, EmbassyMqttConnector, Network};
#[cfg(feature = "embassy-net")]
pub use crate::embassy::{NoConnection, TcpNetwork, TcpStream};
#[cfg(feature = "tokio")]
pub use crate::tokio::{DEFAULT_MAX_PAYLOAD, MqttConnector};
pub use crate::will::LastWill;
/// The version of the MQTT protocol.
#[doc(inline)]
pub use aimdb_mqtt_protocol::Version as MqttVersion;
#[doc(inline)]
pub use aimdb_mqtt_protocol::{QoS, RetainHandling};

/// Typed links: the arguments of `link_to` and `link_from`.
///
/// ```
/// use aimdb_core::{AimDbBuilder, BufferCfg, Json};
/// use aimdb_mqtt_connector::{QoS, mqtt};
/// # use aimdb_tokio_adapter::TokioAdapter;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let mut builder = AimDbBuilder::new().runtime(std::sync::Arc::new(TokioAdapter::new().unwrap()));
/// builder.configure::<f32>("sensor.temp", |reg| {
///     reg.buffer(BufferCfg::SingleLatest)
///         .link_from(mqtt::filter("sensors/+/temp").qos(QoS::AtLeastOnce), Json)
///         .link_to(mqtt::topic("archive/temp").qos(QoS::AtLeastOnce).retain(), Json);
/// });
/// # }
/// ```
pub mod mqtt {
    pub use crate::target::{ComputedTopic, Filter, Topic, filter, topic, topic_from};
}

/// The README's example, compiled as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
