//! The session: the state of a client across its connections.
//!
//! ```text
//!           input() received()                                       publish() subscribe()
//!  broker ──▶ Input ──▶ next_event() ──▶ program      program ──▶ Outbound ──▶ Output ──▶ broker
//!                          │  Receipts ◀── acknowledge()              ▲ PUBACK, PUBREC, PUBCOMP, SUBACK
//!                          └──────────────────────────────────────────┘           output() written()
//! ```

mod event;
mod fifo;
mod inbound;
mod life;
mod outbound;
mod output;
mod requests;

use alloc::borrow::Cow;

use crate::config::SessionConfig;
use crate::connect::{self, Capabilities};
use crate::error::{Error, Malformed};
use crate::input::{Input, Packet};
use crate::message::{QoS, Receipt, Received};
use crate::properties::Properties;
use crate::reason::Reason;
use crate::wire::Reader;

pub use event::{Event, Lost, Oversized, Token};

use inbound::Inbound;
use life::Life;
use outbound::Outbound;
use output::Output;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no connection.
    Closed,
    /// CONNECT is on its way.
    Connecting,
    Connected,
    /// DISCONNECT is on its way.
    Closing,
}

/// The session of one client with one broker.
///
/// The program moves bytes between the session and a stream, reports the time, and takes its events. The order of
/// events is the order of the stream. A message at QoS 1 or 2 is kept from [`publish`](Self::publish) to the broker's
/// answer, also while there is no connection, and sent again as often as necessary.
///
/// # Example
///
/// ```
/// use aimdb_mqtt_protocol::{Error, Event, Message, QoS, Session, SessionConfig, SubscribeOptions};
///
/// /// A stream that does not block.
/// trait Stream {
///     fn read(&mut self, bytes: &mut [u8]) -> usize;
///     fn write(&mut self, bytes: &[u8]) -> usize;
/// }
///
/// fn serve(session: &mut Session, stream: &mut impl Stream, millis: u64) -> Result<(), Error> {
///     let read = stream.read(session.input());
///     session.received(read, millis);
///     let mut receipt = None;
///     let mut connected = false;
///     while let Some(event) = session.next_event()? {
///         match event {
///             Event::Connected { .. } => connected = true,
///             Event::Message(message) => {
///                 println!("{}: {} bytes", message.topic, message.payload.len());
///                 receipt = message.receipt;
///             }
///             _ => {}
///         }
///         if let Some(receipt) = receipt.take() {
///             session.acknowledge(receipt); // The message is stored: the broker may forget it.
///         }
///     }
///     if connected {
///         let options = SubscribeOptions::new(QoS::AtLeastOnce);
///         session.subscribe("rooms/+/temp", options, None).ok();
///         session.publish(&Message::new("nodes/7/state", b"online")).ok();
///     }
///     session.handle_time(millis)?;
///     let written = stream.write(session.output());
///     session.written(written, millis);
///     Ok(())
/// }
/// ```
///
/// # Cancel safety, panics
///
/// No method waits, and none panics.
pub struct Session {
    config: SessionConfig,
    phase: Phase,
    capabilities: Capabilities,
    input: Input,
    output: Output,
    outbound: Outbound,
    inbound: Inbound,
    life: Life,
}

impl Session {
    /// A session without a connection.
    #[must_use]
    pub fn new(config: SessionConfig) -> Self {
        Self {
            phase: Phase::Closed,
            capabilities: Capabilities::default(),
            input: Input::new(),
            output: Output::default(),
            outbound: Outbound::new(config.first_id),
            inbound: Inbound::default(),
            life: Life::default(),
            config,
        }
    }

    /// The settings, which [`connect`](Self::connect) reads.
    pub fn config(&mut self) -> &mut SessionConfig {
        &mut self.config
    }

    /// Begins a connection over a new stream: the output is a CONNECT.
    pub fn connect(&mut self, now: u64) {
        self.connection_lost();
        self.phase = Phase::Connecting;
        self.input.begin(self.config.max_incoming);
        // MQTT 3.1.1 has no receive maximum.
        let v5 = self.config.version.is_v5();
        self.inbound.begin(if v5 { self.config.receive_maximum } else { u16::MAX });
        connect::put_connect(self.output.buffer(), &self.config);
        self.life.begin(now);
    }

    /// Ends the connection: the stream is gone.
    ///
    /// Messages at QoS 1 and 2 stay, and so do the receipts of received ones. The [events](Event::Published) about
    /// messages at QoS 0 that are lost follow. The outcome of a subscription is not known: it is asked for again.
    pub fn connection_lost(&mut self) {
        self.phase = Phase::Closed;
        self.input.clear();
        self.output.clear();
        self.outbound.connection_lost();
        self.inbound.connection_lost();
    }

    /// Whether the broker has accepted the connection, and neither side has ended it.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// The capabilities of the broker of the latest connection.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The free part of the input buffer, for the next read. It is empty if packets fill the buffer: they must be taken
    /// as events first.
    pub fn input(&mut self) -> &mut [u8] {
        self.input.space()
    }

    /// Whether the program should read: not while so much output waits that the answers to the input would make it grow
    /// without end.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.output.len() < self.config.output_room.saturating_mul(2).max(1024)
    }

    /// Says that the program does not read for a while, or reads again. While it does not read, a broker does not count as silent.
    pub fn pause_input(&mut self, paused: bool, now: u64) {
        self.life.pause(paused, now);
    }

    /// `count` bytes have been read into [`input`](Self::input).
    pub fn received(&mut self, count: usize, now: u64) {
        if count > 0 {
            self.input.fill(count);
            self.life.note_read(now);
        }
    }

    /// Whether bytes have arrived that no event has taken.
    #[must_use]
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// The bytes to write.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.bytes()
    }

    /// The first `count` bytes of [`output`](Self::output) have been written.
    pub fn written(&mut self, count: usize, now: u64) {
        if count == 0 {
            return;
        }
        self.output.advance(count);
        self.life.note_written(now, &self.output);
        self.outbound.note_written(&self.output);
        self.outbound.send_queued(&mut self.output);
    }

    /// The time at which [`handle_time`](Self::handle_time) must be called, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        match self.phase {
            Phase::Connected => self.life.deadline(),
            _ => None,
        }
    }

    /// Tests a silent connection.
    ///
    /// # Errors
    ///
    /// The connection is dead: in the time of a keep-alive interval the broker has not answered, or nothing could be
    /// written.
    pub fn handle_time(&mut self, now: u64) -> Result<(), Error> {
        match self.phase {
            Phase::Connected => self.life.handle_time(now, &mut self.output),
            _ => Ok(()),
        }
    }

    /// The next event, if there is one.
    ///
    /// # Errors
    ///
    /// Why the connection must end. The program drops the stream and calls [`connection_lost`](Self::connection_lost).
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, Error> {
        loop {
            if let Some(outcome) = self.outbound.next_outcome() {
                return Ok(Some(outcome.into_event()));
            }
            if self.phase == Phase::Closed {
                return Ok(None);
            }
            let Some(packet) = self.input.next()? else { return Ok(None) };
            match packet {
                Packet::Skipped(skip) => {
                    self.require_connected()?;
                    let qos = QoS::of(skip.first >> 1 & 3).ok_or(Malformed::Qos)?;
                    let hash = inbound::hash(&skip.topic, &skip.size.to_be_bytes());
                    let receipt = match self.receive(qos, skip.id, hash)? {
                        inbound::Novelty::Known => continue,
                        inbound::Novelty::New(receipt) => receipt,
                    };
                    // A character of which the rest was not kept is left out.
                    let whole = match core::str::from_utf8(&skip.topic) {
                        Ok(_) => skip.topic.len(),
                        Err(error) => error.valid_up_to(),
                    };
                    let topic = core::str::from_utf8(&skip.topic[..whole]).unwrap_or_default();
                    let topic = Cow::Owned(topic.into());
                    return Ok(Some(Event::Oversized(Oversized {
                        topic,
                        size: skip.size,
                        receipt,
                    })));
                }
                Packet::Whole(first, body) if first >> 4 == 3 => {
                    self.require_connected()?;
                    let v5 = self.config.version.is_v5();
                    let (message, id) =
                        crate::message::read_publish(first, &self.input.bytes()[body.clone()], v5)?;
                    let hash = match message.qos {
                        QoS::AtMostOnce => 0,
                        _ => inbound::hash(message.topic.as_bytes(), message.payload),
                    };
                    let qos = message.qos;
                    let receipt = match self.receive(qos, id, hash)? {
                        inbound::Novelty::Known => continue,
                        inbound::Novelty::New(receipt) => receipt,
                    };
                    // Read a second time, because the first one borrowed the buffer before the state changed.
                    let (message, _) =
                        crate::message::read_publish(first, &self.input.bytes()[body], v5)?;
                    return Ok(Some(Event::Message(Received { receipt, ..message })));
                }
                Packet::Whole(first, body) => {
                    if let Some(session_present) = self.handle_packet(first, body)? {
                        return Ok(Some(Event::Connected { session_present }));
                    }
                }
            }
        }
    }

    fn receive(&mut self, qos: QoS, id: u16, hash: u32) -> Result<inbound::Novelty, Malformed> {
        let connected = self.is_connected();
        self.inbound.receive(qos, id, hash, connected, &mut self.output)
    }

    fn require_connected(&self) -> Result<(), Malformed> {
        match self.phase {
            Phase::Connecting => Err(Malformed::Early),
            _ => Ok(()),
        }
    }

    /// Handles a packet that is no message. For a CONNACK returns whether the broker has kept the session.
    fn handle_packet(
        &mut self,
        first: u8,
        body: core::ops::Range<usize>,
    ) -> Result<Option<bool>, Error> {
        let v5 = self.config.version.is_v5();
        let body = &self.input.bytes()[body];
        let mut reader = Reader::new(body);
        let kind = first >> 4;
        if (kind == 2) != (self.phase == Phase::Connecting) {
            return Err(Malformed::Connack.into());
        }
        if first & 0x0f != if kind == 6 { 2 } else { 0 } {
            return Err(Malformed::Flags.into());
        }
        let reason = |reader: &mut Reader<'_>| match v5 && !reader.is_empty() {
            true => reader.u8().map(Reason),
            false => Ok(Reason(0)),
        };
        match kind {
            2 => {
                let (present, capabilities) = connect::read_connack(body, v5)?;
                if present && self.config.clean_start {
                    return Err(Malformed::Session.into());
                }
                let keep_alive = capabilities.keep_alive.unwrap_or(self.config.keep_alive);
                self.capabilities = capabilities;
                self.life.accept(keep_alive);
                self.phase = Phase::Connected;
                if !present {
                    self.inbound.session_lost();
                }
                let limits = outbound::Limits::new(&self.config, &self.capabilities);
                self.outbound.connected(present, limits, &mut self.output);
                return Ok(Some(present));
            }
            4 => {
                let id = reader.id()?;
                self.outbound.acknowledged(id, reason(&mut reader)?);
            }
            5 => {
                let id = reader.id()?;
                self.outbound.received(id, reason(&mut reader)?, v5, &mut self.output);
            }
            6 => {
                let id = reader.id()?;
                // Without an answer the broker sends it again on the next connection.
                if self.phase == Phase::Connected {
                    self.inbound.released(id, v5, &mut self.output);
                }
            }
            7 => {
                let id = reader.id()?;
                self.outbound.completed(id, reason(&mut reader)?);
            }
            9 | 11 => {
                let id = reader.id()?;
                if v5 {
                    Properties::read(&mut reader)?;
                }
                // One filter a request: one code.
                let code = if kind == 11 && !v5 { 0 } else { reader.u8()? };
                self.outbound.request_answered(id, kind == 9, code);
            }
            13 => {
                self.life.note_pong();
                self.outbound.pong();
            }
            14 if v5 => {
                let code = reason(&mut reader)?;
                let properties = match reader.is_empty() {
                    true => Properties::default(),
                    false => Properties::read(&mut reader)?,
                };
                return Err(Error::Disconnected(code, properties.explanation()));
            }
            _ => return Err(Malformed::Kind.into()),
        }
        self.outbound.send_queued(&mut self.output);
        Ok(None)
    }

    /// Says goodbye: the output ends with a DISCONNECT, and nothing follows it, not even the answer to what arrives. `with_will` lets the broker publish the last will, with MQTT 5.
    ///
    /// The program writes the output and then reads until the broker has closed the stream: a stream that is dropped
    /// with unread bytes may lose what is not read by the broker.
    pub fn disconnect(&mut self, with_will: bool) {
        if self.phase != Phase::Connected {
            return;
        }
        self.phase = Phase::Closing;
        self.outbound.close();
        let out = self.output.buffer();
        match with_will && self.config.version.is_v5() {
            true => out.extend_from_slice(&[0xe0, 1, 4]),
            false => out.extend_from_slice(&[0xe0, 0]),
        }
    }

    /// Acknowledges that the record of a message has it. A receipt of a session that is lost has no effect.
    ///
    /// MQTT demands the order of the messages: the acknowledgement is sent when all earlier ones at its QoS are.
    pub fn acknowledge(&mut self, receipt: Receipt) {
        let connected = self.is_connected();
        self.inbound.acknowledge(receipt, connected, &mut self.output);
    }
}

impl core::fmt::Debug for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session").field("phase", &self.phase).finish_non_exhaustive()
    }
}
