//! Messages and requests under way, until their answers.

use alloc::vec::Vec;

use super::event::{Event, Lost, Token};
use super::fifo::Fifo;
use super::inbound::put_ack;
use super::output::Output;
use crate::config::SessionConfig;
use crate::connect::Capabilities;
use crate::error::Unsent;
use crate::message::QoS;
use crate::reason::Reason;
use crate::wire::MAX_LENGTH;

/// Buffers of finished messages that are kept for the next ones.
const SPARE_PACKETS: usize = 16;

/// A packet above this size is not kept, in bytes.
const SPARE_SIZE: usize = 16 * 1024;

/// SUBSCRIBE and UNSUBSCRIBE that may be unanswered.
pub(super) const MAX_REQUESTS: usize = 64;

/// The limits of the connection and of the settings.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(super) window: usize,
    pub(super) broker_packet: usize,
    pub(super) own_packet: usize,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) output_room: usize,
    pub(super) v5: bool,
}

impl Limits {
    pub(crate) fn new(config: &SessionConfig, can: &Capabilities) -> Self {
        Self {
            // Requests need identifiers as well.
            window: config
                .window
                .min(can.receive_maximum)
                .clamp(1, u16::MAX - MAX_REQUESTS as u16)
                .into(),
            broker_packet: can.maximum_packet,
            own_packet: config.max_outgoing,
            qos: can.maximum_qos,
            retain: can.retain,
            output_room: config.output_room,
            v5: config.version.is_v5(),
        }
    }

    pub(super) fn check(&self, size: usize, qos: QoS, retain: bool) -> Result<(), Unsent> {
        let own = self.own_packet.min(MAX_LENGTH);
        if size > own {
            return Err(Unsent::TooLarge { size, limit: own, own: true });
        }
        if size > self.broker_packet {
            return Err(Unsent::TooLarge { size, limit: self.broker_packet, own: false });
        }
        if qos > self.qos {
            return Err(Unsent::Qos);
        }
        if retain && !self.retain { Err(Unsent::Retain) } else { Ok(()) }
    }
}

/// The messages and requests under way.
pub(crate) struct Outbound {
    pub(super) limits: Option<Limits>,
    /// At QoS 1 and 2, in the order of `publish`.
    pub(super) flights: Vec<Flight>,
    /// How many flights wait to be sent, or their PUBREL.
    pub(super) queued: usize,
    /// At QoS 0: the position of the output after each, in order.
    pub(super) unwritten: Fifo<(u64, Token)>,
    /// The message at QoS 0 that a PINGRESP proves, and which one from now on.
    pub(super) unproven: Option<(Token, u32)>,
    pub(super) requests: Vec<Request>,
    pub(super) outcomes: Fifo<Outcome>,
    pub(super) spare: Vec<Vec<u8>>,
    pub(super) last_id: u16,
    pub(super) last_token: u32,
    pub(super) cautious: bool,
}

pub(super) struct Flight {
    pub(super) token: Token,
    pub(super) id: u16,
    pub(super) stage: Stage,
    /// The program holds it back.
    pub(super) held: bool,
    /// The whole PUBLISH, until the message is complete: a broker that has lost the session needs it again.
    pub(super) packet: Vec<u8>,
}

impl Flight {
    /// Whether it, or its PUBREL, is still to be sent on this connection.
    pub(super) const fn waits(&self) -> bool {
        matches!(self.stage, Stage::Queued | Stage::Received)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Queued,
    Sent,
    /// PUBREC has arrived, and PUBREL is not sent on this connection.
    Received,
    Released,
}

pub(super) struct Request {
    pub(super) id: u16,
    pub(super) token: Token,
}

/// An event about a request.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Published(Token, Result<(), Lost>),
    Subscribed(Token, Result<QoS, Reason>),
    Unsubscribed(Token),
}

impl Outcome {
    pub(crate) fn into_event<'s>(self) -> Event<'s> {
        match self {
            Self::Published(token, outcome) => Event::Published { token, outcome },
            Self::Subscribed(token, outcome) => Event::Subscribed { token, outcome },
            Self::Unsubscribed(token) => Event::Unsubscribed { token },
        }
    }
}

impl Outbound {
    pub(crate) fn new(first_id: u16) -> Self {
        Self {
            limits: None,
            flights: Vec::new(),
            queued: 0,
            unwritten: Fifo::new(),
            unproven: None,
            requests: Vec::new(),
            outcomes: Fifo::new(),
            spare: Vec::new(),
            last_id: first_id,
            last_token: 0,
            cautious: false,
        }
    }

    pub(crate) fn next_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop()
    }

    pub(super) fn next_token(&mut self) -> Token {
        self.last_token = self.last_token.wrapping_add(1);
        Token(self.last_token)
    }

    pub(super) fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            let id = self.last_id;
            let flying = self.flights.iter().any(|flight| flight.id == id);
            if id != 0 && !flying && self.requests.iter().all(|request| request.id != id) {
                return id;
            }
        }
    }

    pub(crate) fn connection_lost(&mut self) {
        self.limits = None;
        while let Some((_, token)) = self.unwritten.pop() {
            self.lose(token, Lost::Disconnected);
        }
        if let Some((token, _)) = self.unproven.take() {
            self.lose(token, Lost::Disconnected);
        }
        self.requests.clear();
    }

    fn lose(&mut self, token: Token, lost: Lost) {
        self.outcomes.push(Outcome::Published(token, Err(lost)));
    }

    /// Sends nothing more on this connection.
    pub(crate) fn close(&mut self) {
        self.limits = None;
    }

    /// Prepares the messages under way for a new connection, and sends those that may be sent.
    pub(crate) fn connected(&mut self, session_present: bool, limits: Limits, output: &mut Output) {
        self.limits = Some(limits);
        let mut index = 0;
        while let Some(flight) = self.flights.get_mut(index) {
            let first = flight.packet[0];
            let qos = QoS::of(first >> 1 & 3).unwrap_or_default();
            let received = matches!(flight.stage, Stage::Received | Stage::Released);
            let kept = session_present && received;
            flight.stage = if kept { Stage::Received } else { Stage::Queued };
            if !kept && let Err(unsent) = limits.check(flight.packet.len(), qos, first & 1 != 0) {
                self.finish(index, Err(Lost::Unsent(unsent)));
                continue;
            }
            // DUP says that the broker may have it; to a new session it is new.
            if !session_present {
                flight.packet[0] &= !0x08;
            }
            index += 1;
        }
        self.queued = self.flights.len();
        self.send_queued(output);
    }

    /// Whether a message waits to be sent again that is not held back.
    pub(super) fn has_next(&self) -> bool {
        self.queued > 0 && self.flights.iter().any(|flight| flight.waits() && !flight.held)
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.len() == self.queued
            && self.unwritten.is_empty()
            && self.unproven.is_none()
            && self.requests.is_empty()
    }

    /// Sends the messages that wait, as far as the broker and the output have room.
    pub(crate) fn send_queued(&mut self, output: &mut Output) {
        let Some(limits) = self.limits else { return };
        let mut index = 0;
        while self.queued > 0 && output.len() < limits.output_room {
            if self.cautious && !self.is_idle() || self.flights.len() - self.queued >= limits.window
            {
                return;
            }
            let next = |flight: &Flight| flight.waits() && !flight.held;
            let Some(offset) = self.flights.iter().skip(index).position(next) else { return };
            index += offset;
            let flight = &mut self.flights[index];
            if flight.stage == Stage::Queued {
                flight.stage = Stage::Sent;
                output.buffer().extend_from_slice(&flight.packet);
                flight.packet[0] |= 0x08;
            } else {
                flight.stage = Stage::Released;
                put_ack(output, 0x62, flight.id);
            }
            self.queued -= 1;
        }
    }

    pub(crate) fn note_written(&mut self, output: &Output) {
        let written = output.written();
        while let Some((end, token)) = self.unwritten.front()
            && end <= written
        {
            self.unwritten.pop();
            self.outcomes.push(Outcome::Published(token, Ok(())));
        }
    }

    /// The message with this identifier that was sent, on this connection or an earlier one of the session.
    fn find(&self, id: u16, qos: QoS) -> Option<usize> {
        let found = |flight: &Flight| {
            flight.id == id
                && flight.stage != Stage::Queued
                && flight.packet[0] >> 1 & 3 == qos as u8
        };
        self.flights.iter().position(found)
    }

    fn finish(&mut self, index: usize, outcome: Result<(), Lost>) {
        let flight = self.flights.remove(index);
        self.outcomes.push(Outcome::Published(flight.token, outcome));
        self.recycle(flight.packet);
    }

    pub(super) fn recycle(&mut self, packet: Vec<u8>) {
        if self.spare.len() < SPARE_PACKETS && packet.capacity() <= SPARE_SIZE {
            self.spare.push(packet);
        }
    }

    /// Handles a PUBACK.
    pub(crate) fn acknowledged(&mut self, id: u16, reason: Reason) {
        if let Some(index) = self.find(id, QoS::AtLeastOnce) {
            self.finish(index, outcome(reason));
        }
    }

    /// Handles a PUBREC.
    pub(crate) fn received(&mut self, id: u16, reason: Reason, v5: bool, output: &mut Output) {
        // It can arrive twice: when the connection has broken between PUBREC and PUBREL.
        let found = self.find(id, QoS::ExactlyOnce);
        if let Some(index) = found
            && self.flights[index].stage == Stage::Received
            && self.limits.is_some()
        {
            self.queued -= 1;
        }
        match found {
            Some(index) if reason.is_refusal() => self.finish(index, outcome(reason)),
            Some(index) if self.limits.is_none() => self.flights[index].stage = Stage::Received,
            Some(index) => {
                self.flights[index].stage = Stage::Released;
                put_ack(output, 0x62, id);
            }
            None if self.limits.is_none() => {}
            None if v5 => {
                let [high, low] = id.to_be_bytes();
                let code = Reason::IDENTIFIER_NOT_FOUND.0;
                output.buffer().extend_from_slice(&[0x62, 3, high, low, code]);
            }
            None => put_ack(output, 0x62, id),
        }
    }

    /// Handles a PUBCOMP.
    pub(crate) fn completed(&mut self, id: u16, reason: Reason) {
        if let Some(index) = self.find(id, QoS::ExactlyOnce)
            && self.flights[index].stage == Stage::Released
        {
            // After PUBREC the broker has the message: it has only forgotten the identifier.
            let outcome =
                if reason == Reason::IDENTIFIER_NOT_FOUND { Ok(()) } else { outcome(reason) };
            self.finish(index, outcome);
        }
    }

    /// Handles a SUBACK or an UNSUBACK.
    pub(crate) fn request_answered(&mut self, id: u16, is_subscription: bool, code: u8) {
        let Some(index) = self.requests.iter().position(|request| request.id == id) else { return };
        let Request { token, .. } = self.requests.swap_remove(index);
        self.outcomes.push(match is_subscription {
            true => Outcome::Subscribed(token, QoS::of(code).ok_or(Reason(code))),
            false => Outcome::Unsubscribed(token),
        });
    }

    /// Handles a PINGRESP.
    pub(crate) fn pong(&mut self) {
        // The answers to earlier PINGREQs precede it.
        if let Some((token, pongs)) = self.unproven.take() {
            match pongs {
                0 | 1 => self.outcomes.push(Outcome::Published(token, Ok(()))),
                _ => self.unproven = Some((token, pongs - 1)),
            }
        }
    }
}

fn outcome(reason: Reason) -> Result<(), Lost> {
    if reason.is_refusal() { Err(Lost::Refused(reason)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_window_leaves_identifiers_for_requests() {
        let mut config = SessionConfig::new("");
        config.window = u16::MAX;
        let limits = Limits::new(&config, &Capabilities::default());
        assert_eq!(limits.window + MAX_REQUESTS, u16::MAX.into());
        config.window = 0;
        assert_eq!(Limits::new(&config, &Capabilities::default()).window, 1);
    }
}
