//! Links AimDB records over a serial line: a microcontroller's records appear in a gateway, and commands go back.
//!
//! The same protocol runs on both ends, over anything that carries bytes: a UART, a USB device, a TCP connection. It
//! needs no operating system, no negotiation, and no acknowledgement.
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
//! let status = serial.status(); // what was lost, doubled, corrupted, at any time
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
//!         .tap(|_ctx, heater| async move { /* switch it */ });
//! });
//! builder.run().await
//! # }
//! ```
//!
//! # On the line
//!
//! A frame is its content, COBS-encoded, and a zero byte. Numbers are little endian.
//!
//! | content | bytes | |
//! |---|---|---|
//! | version and kind | 1 | `0x10` start, `0x11` data, `0x12` heartbeat |
//! | session | 2 | the sender's life: another number after a restart, where it can have one |
//! | sequence | 4 | counts the session's data frames from 1; in a heartbeat the number reached, in a start 0 |
//! | topic | 4 | in data only: FNV-1a of the topic's text, so nothing is negotiated and a reset peer is understood at once |
//! | payload | 0 to the limit | in data only: what the record's codec made |
//! | checksum | 4 | CRC-32 (ISO-HDLC) of all before it |
//!
//! That is 17 bytes on the line around a payload of up to 239 bytes, and one more for each further 254.
//!
//! ```text
//! record ─▶ codec ─▶ number ─▶ frame ═══ line ═══▶ decoder ─▶ receiver ─▶ codec ─▶ record
//!           one value at a time,         finds zeros,  judges numbers:
//!           when the line is free        checks sums   new · lost · doubled · restarted
//! ```
//!
//! Both directions run side by side in one task. A line begins with a zero, which ends whatever noise there was, and a
//! start, or after a break a heartbeat. When nothing was sent for a second a heartbeat is, so that what was lost last is
//! noticed too.
//!
//! # What is promised
//!
//! - **At most once, in order.** A value arrives as it was sent, or not at all. A damaged frame is thrown away with its
//!   checksum, a doubled one by its number.
//! - **Every loss is counted.** For each session of the peer, `received + lost + unheard` of [`SerialCounters`] is the
//!   number of values it has sent, as far as a frame or a heartbeat has told. Doubled values are counted apart. The other
//!   losses are among those received: of an unknown topic, not decoded, refused by a record.
//! - **Outbound follows the buffer.** Without a line, or while the peer does not read, nothing is taken from a record but
//!   the one value in hand: a ring drops its oldest and counts, a queue holds its writers back, latest sends the newest
//!   when the line is free. The value in hand when a line breaks goes over the next one.
//! - **A record that is full holds up the line for 20 ms at most** ([`patience`](EmbeddedSerialConnector::patience)), once.
//!   There is no flow control: whoever waits longer loses bytes in the hardware, and those of other records. One value
//!   waits in the link; newer ones are dropped and counted, at the link too, until the record has room again. Only queues
//!   can be full.
//! - **The line heals.** After noise the next whole frame counts. A port that fails is opened again, at once if it worked,
//!   else with a pause that doubles from 250 ms to 10 s ([`backoff`](EmbeddedSerialConnector::backoff)). A peer that is
//!   restarted goes on with its first frame.
//! - **Memory is bounded.** A frame longer than the limit (512 bytes of payload,
//!   [`max_payload`](EmbeddedSerialConnector::max_payload)) is not sent; one that comes in is thrown away as it comes. What
//!   is needed for a frame is allocated at the start, or with the first value of its size.
//!
//! # What is not
//!
//! - Nothing is acknowledged or sent again: what the line loses is lost. Send state (latest), not events, where that hurts.
//! - Nothing is secret, and nobody proves who they are. A [listener](SerialConnector::listener) is bound to loopback.
//! - What a damaged frame said gets through with a chance of one in four thousand million, by its checksum's width.
//! - A peer whose session number is the same after a restart is recognised by its start, which it sends twice. If noise hits
//!   both and it had sent [`WINDOW`](receiver::WINDOW) values or fewer, its new ones are taken for doubles until their
//!   numbers are past the old ones.
//! - A line that repeats whole stretches of itself, starts included, repeats values. None that we know of does.
//! - Which record a lost frame was for cannot be known: losses are counted for the line, not for a link.
//! - After 4,294,967,295 values a sender begins a new session, which its peer counts as a restart.
//!
//! # Links
//!
//! `serial://` and a topic, the same text on both ends. The scheme is the connector's name: `serial` unless
//! [`named`](EmbeddedSerialConnector::named), so several lines live side by side. There are no options, wildcards or computed
//! topics; they are findings of `build()`, as are two topics with one id. Several links may name one topic.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `tokio` (default) | [`SerialConnector`] over TCP and any stream of Tokio's; std |
//! | `tty` | `SerialConnector::tty`: a serial device or a pty |
#![cfg_attr(not(feature = "tokio"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod driver;
mod embedded;
pub mod frame;
#[cfg(feature = "tokio")]
mod host;
mod intake;
mod port;
pub mod receiver;
mod sender;
mod settings;
mod status;
#[cfg(feature = "tokio")]
mod stream;

pub use embedded::EmbeddedSerialConnector;
#[cfg(feature = "tokio")]
pub use host::SerialConnector;
pub use port::{LINE_ERRORS, Port, Uart, UartRead};
pub use status::{SerialCounters, SerialStatus};
