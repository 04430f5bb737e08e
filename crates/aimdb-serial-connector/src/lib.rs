//! A connector that links AimDB records over a serial line, in both directions.
//!
//! A gateway subscribes to a microcontroller's records and sends commands to it. Both ends run the same protocol over any
//! byte stream: a UART, a USB device, a TCP connection. The protocol needs no operating system, no negotiation, and no
//! acknowledgements.
//!
//! The gateway:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use aimdb_core::{AimDbBuilder, BufferCfg, DbResult, Postcard};
//! # use aimdb_tokio_adapter::TokioAdapter;
//! use aimdb_serial_connector::SerialConnector;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> DbResult<()> {
//! let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new()?));
//! let serial = SerialConnector::tcp("127.0.0.1:5555"); // or `tty("/dev/ttyUSB0", 115_200)`
//! let status = serial.status(); // lost, duplicate and corrupted values, at any time
//! builder.connector(serial);
//! builder.configure::<f32>("indoor.celsius", |reg| {
//!     reg.buffer(BufferCfg::SpmcRing { capacity: 100 }).link_from("serial://sensors/temp/indoor", Postcard);
//! });
//! builder.configure::<bool>("heater.on", |reg| {
//!     reg.buffer(BufferCfg::SingleLatest).link_to("serial://commands/heater", Postcard);
//! });
//! builder.run().await?;
//! println!("{}", status.counters());
//! # Ok(())
//! # }
//! ```
//!
//! The firmware, with `default-features = false`; `rx` and `tx` are the halves of a buffered UART:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use aimdb_core::{AimDbBuilder, BufferCfg, DbResult, Postcard};
//! # use aimdb_embassy_adapter::{EmbassyAdapter, sink};
//! use aimdb_serial_connector::{EmbeddedSerialConnector, Uart};
//! # use embedded_io_adapters::tokio_1::FromTokio;
//!
//! # async fn firmware(spawner: embassy_executor::Spawner, boots: u16) -> DbResult<()> {
//! # let (rx, tx) = tokio::io::split(tokio::io::duplex(64).0);
//! # let (rx, tx) = (FromTokio::new(rx), FromTokio::new(tx));
//! let mut builder = AimDbBuilder::new().runtime(Arc::new(EmbassyAdapter::new(spawner, sink::none)));
//! builder.connector(EmbeddedSerialConnector::new(Uart::new(rx, tx)).session(boots));
//! builder.configure::<f32>("temp", |reg| {
//!     reg.buffer(BufferCfg::SingleLatest)
//!         .source(|ctx, temp| async move { /* measure, `temp.produce(celsius).await`, sleep */ })
//!         .link_to("serial://sensors/temp/indoor", Postcard);
//! });
//! builder.configure::<bool>("heater", |reg| {
//!     reg.buffer(BufferCfg::Mailbox)
//!         .link_from("serial://commands/heater", Postcard)
//!         .tap(|_ctx, heater| async move { /* switch the heater */ });
//! });
//! builder.run().await
//! # }
//! ```
//!
//! # Frame format
//!
//! A frame is the COBS encoding of its content, followed by a zero byte. Numbers are little endian.
//!
//! | content | bytes | |
//! |---|---|---|
//! | version and kind | 1 | `0x10` start, `0x11` data, `0x12` heartbeat |
//! | session | 2 | the sender's session number; a restarted sender uses another one if it can draw one |
//! | sequence | 4 | counts the session's data frames from 1; in a heartbeat the number reached, in a start 0 |
//! | topic | 4 | data frames only: FNV-1a of the topic's text; nothing is negotiated, so a reset peer is understood at once |
//! | payload | 0 to the limit | data frames only: the output of the record's codec |
//! | checksum | 4 | CRC-32 (ISO-HDLC) of everything before it |
//!
//! A payload of up to 239 bytes has an overhead of 17 bytes, plus one for each further 254 bytes.
//!
//! ```text
//! record ─▶ codec ─▶ number ─▶ frame ═══ line ═══▶ decoder ─▶ sequence check ─▶ codec ─▶ record
//!           one value at a time,      splits at zeros,  compares numbers:
//!           when the port is free     checks the CRC    new · lost · duplicate · restarted
//! ```
//!
//! One task serves both directions. A connection begins with a zero byte, which ends any noise before it, followed by two
//! starts, or after an interruption by a heartbeat (or by the value in flight). After a second without a frame the sender
//! sends a heartbeat, so that the peer can count a loss of the latest values too.
//!
//! # Guarantees
//!
//! - **At most once, in order.** A value arrives unchanged or not at all. The checksum rejects damaged frames, the
//!   sequence number rejects duplicates.
//! - **Every loss is counted.** For each session of the peer, `received + lost + before_first_frame` of
//!   [`SerialCounters`] is the number of values the peer has sent, as far as its frames and heartbeats have reported it.
//!   Duplicates are counted separately. `received` includes the values lost later: of an unknown topic, not decoded, or
//!   refused by a record.
//! - **Outbound follows the buffer.** While the port is closed or the peer does not read, the connector takes no value from
//!   a record except the one in flight: a ring overwrites and counts its oldest value, a queue applies backpressure to its
//!   writers, a latest record keeps the newest value. When a connection fails, the next one sends the value in flight
//!   again.
//! - **A full record blocks the line for at most 20 ms** ([`full_record_timeout`](EmbeddedSerialConnector::full_record_timeout)),
//!   once. The protocol has no flow control: during a longer wait the hardware would lose bytes, those of other records
//!   too. One value stays pending in the link; newer values are dropped and counted, at the link too, until the record has
//!   room again. Only queues can be full.
//! - **The connection recovers.** After noise the connector resumes with the next valid frame. It opens a failed port
//!   again: at once if the last connection lasted for 10 s, else with a backoff that doubles from 250 ms to 10 s
//!   ([`backoff`](EmbeddedSerialConnector::backoff)). A restarted peer resumes with its first frame.
//! - **Memory is bounded.** The connector does not send a frame over the limit (512 bytes of payload,
//!   [`max_payload`](EmbeddedSerialConnector::max_payload)) and discards a longer one while it arrives. It allocates the
//!   memory for frames at start, or with the first value of a larger size, and a copy of the one value that waits while
//!   a full record blocks the line.
//!
//! # Limits
//!
//! - The protocol neither acknowledges nor retries: a value lost on the line stays lost. Where that matters, send state
//!   (a latest record) instead of events.
//! - The protocol neither encrypts nor authenticates. A [listener](SerialConnector::listener) must be bound to loopback.
//! - A 32-bit checksum fails to detect a damaged frame with a probability of about one in four thousand million.
//! - A peer that restarts with the same session number is recognised by its start frame, which it sends twice. If noise
//!   destroys both, and the peer had sent at most [`DUPLICATE_WINDOW`](sequence::DUPLICATE_WINDOW) values before, its new
//!   values count as duplicates until their numbers exceed the old ones.
//! - A line that repeats long stretches of its bytes, starts included, repeats values. We know of no such line.
//! - The receiver cannot know the record of a lost frame: losses are counted per connector, not per link.
//! - After 4,294,967,295 values a sender begins a new session, which the peer counts as a restart.
//!
//! # Links
//!
//! The address is `serial://` and a topic, with the same text on both ends. The scheme is the connector's name: `serial`
//! unless [`named`](EmbeddedSerialConnector::named), so one database can have several serial connectors. Options,
//! wildcards and computed topics are findings of `build()`, as are two topics with the same id. Several links may name
//! the same topic.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `tokio` (default) | [`SerialConnector`] over TCP and any Tokio stream; std |
//! | `tty` | `SerialConnector::tty`: a serial device or a pty |
#![cfg_attr(not(feature = "tokio"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

extern crate alloc;

mod driver;
mod embedded;
pub mod frame;
#[cfg(feature = "tokio")]
mod host;
mod inbound;
mod outbound;
mod port;
pub mod sequence;
mod settings;
mod status;
mod value;

pub use embedded::EmbeddedSerialConnector;
#[cfg(feature = "tokio")]
pub use host::SerialConnector;
pub use port::{MAX_READ_ERRORS, Port, Uart, UartRead};
pub use status::{SerialCounters, SerialStatus};

/// Compiles and runs the README's example.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctest;
