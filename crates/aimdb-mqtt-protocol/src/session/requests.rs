//! Requests of the program: to publish, to subscribe, to unsubscribe.

use alloc::vec::Vec;

use super::event::{Event, Token};
use super::outbound::{Flight, Limits, MAX_REQUESTS, Outbound, Outcome, Request, Stage};
use super::{Phase, Session};
use crate::error::Unsent;
use crate::message::{Message, QoS};
use crate::subscription::SubscribeOptions;
use crate::wire::{MAX_LENGTH, has_nul, put_binary, put_varint, varint_length};

impl Session {
    /// Whether [`publish`](Self::publish) has room for a message at this QoS.
    #[must_use]
    pub fn has_room(&self, qos: QoS) -> bool {
        let Outbound { limits, flights, cautious, .. } = &self.outbound;
        let Some(limits) = limits else { return false };
        self.phase == Phase::Connected
            && self.output.len() < limits.output_room
            && (qos == QoS::AtMostOnce || flights.len() < limits.window)
            && (!cautious || self.outbound.is_idle() && !self.outbound.has_next())
    }

    /// Sends a message. [`Event::Published`] follows.
    ///
    /// # Errors
    ///
    /// [`Unsent::Full`] if there is no connection or no room; any other error will not go away on this connection.
    pub fn publish(&mut self, message: &Message<'_>) -> Result<Token, Unsent> {
        let Some(limits) = self.outbound.limits.filter(|_| self.has_room(message.qos)) else {
            return Err(Unsent::Full);
        };
        message.check()?;
        let (qos, v5) = (message.qos, limits.v5);
        limits.check(message.size(v5), qos, message.retain)?;
        let Self { outbound, output, life, .. } = self;
        let token = outbound.next_token();
        if qos == QoS::AtMostOnce {
            message.put(output.buffer(), 0, v5);
            if outbound.cautious {
                output.buffer().extend_from_slice(&[0xc0, 0]);
                outbound.unproven = Some((token, life.note_ping()));
            } else {
                outbound.unwritten.push((output.end(), token));
            }
            return Ok(token);
        }
        let id = outbound.next_id();
        let mut packet = outbound.spare.pop().unwrap_or_default();
        packet.clear();
        message.put(&mut packet, id, v5);
        outbound.flights.push(Flight { token, id, stage: Stage::Queued, held: false, packet });
        outbound.queued += 1;
        outbound.send_queued(output);
        Ok(token)
    }

    /// Subscribes to the messages whose topics match `filter`. [`Event::Subscribed`] follows, unless the connection
    /// ends before.
    ///
    /// With MQTT 5 the broker adds `identifier` to each message of this subscription. It is 1 to 268,435,455, and not
    /// sent to a broker that has no identifiers.
    ///
    /// # Errors
    ///
    /// As for [`publish`](Self::publish).
    pub fn subscribe(
        &mut self,
        filter: &str,
        options: SubscribeOptions,
        identifier: Option<usize>,
    ) -> Result<Token, Unsent> {
        let limits = self.check_request(filter)?;
        let can = &self.capabilities;
        if !can.shared && filter.starts_with("$share/") {
            return Err(Unsent::Shared);
        }
        if !can.wildcards && filter.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
            return Err(Unsent::Wildcard);
        }
        let identifier = identifier.filter(|id| limits.v5 && can.identifiers && *id > 0);
        let SubscribeOptions { qos, no_local, retain_as_published, retain_handling } = options;
        let mut flags = qos as u8;
        if limits.v5 {
            flags |= u8::from(no_local) << 2
                | u8::from(retain_as_published) << 3
                | (retain_handling as u8) << 4;
        }
        let mut properties = Vec::new();
        if let Some(identifier) = identifier {
            properties.push(crate::properties::SUBSCRIPTION_IDENTIFIER);
            put_varint(&mut properties, identifier.min(MAX_LENGTH));
        }
        self.request(0x82, filter, limits, &properties, Some(flags))
    }

    /// Ends a subscription. [`Event::Unsubscribed`] follows, unless the connection ends before.
    ///
    /// # Errors
    ///
    /// As for [`publish`](Self::publish).
    pub fn unsubscribe(&mut self, filter: &str) -> Result<Token, Unsent> {
        let limits = self.check_request(filter)?;
        self.request(0xa2, filter, limits, &[], None)
    }

    fn check_request(&self, filter: &str) -> Result<Limits, Unsent> {
        let room = self.has_room(QoS::AtMostOnce) && self.outbound.requests.len() < MAX_REQUESTS;
        let limits = self.outbound.limits.filter(|_| room).ok_or(Unsent::Full)?;
        if filter.is_empty() || filter.len() > u16::MAX.into() || has_nul(filter) {
            return Err(Unsent::Topic);
        }
        Ok(limits)
    }

    fn request(
        &mut self,
        first: u8,
        filter: &str,
        limits: Limits,
        properties: &[u8],
        options: Option<u8>,
    ) -> Result<Token, Unsent> {
        let properties_length = if limits.v5 { 1 + properties.len() } else { 0 };
        let body = 2 + properties_length + 2 + filter.len() + usize::from(options.is_some());
        limits.check(1 + varint_length(body) + body, QoS::AtMostOnce, false)?;
        let Self { outbound, output, .. } = self;
        let (id, token) = (outbound.next_id(), outbound.next_token());
        let out = output.buffer();
        out.push(first);
        put_varint(out, body);
        out.extend_from_slice(&id.to_be_bytes());
        if limits.v5 {
            put_varint(out, properties.len());
            out.extend_from_slice(properties);
        }
        put_binary(out, filter.as_bytes());
        out.extend(options);
        outbound.requests.push(Request { id, token });
        Ok(token)
    }

    /// Sends one thing at a time from now on, or no longer: a message or a request follows the answer to the one before
    /// it. At QoS 0 the answer is that of a PINGREQ after the message.
    ///
    /// After a connection that ended early, the program learns in this mode what the broker does not bear.
    pub fn set_cautious(&mut self, cautious: bool) {
        self.outbound.cautious = cautious;
        if !cautious {
            self.outbound.send_queued(&mut self.output);
        }
    }

    /// The message that was sent and is not answered, in [cautious](Self::set_cautious) mode.
    #[must_use]
    pub fn under_way(&self) -> Option<Token> {
        let sent = |flight: &&Flight| !flight.waits();
        let flight = self.outbound.flights.iter().find(sent).map(|flight| flight.token);
        flight.or(self.outbound.unproven.map(|(token, _)| token))
    }

    /// Holds back a message at QoS 1 or 2 that waits to be sent again, so that others go first, or no longer.
    pub fn set_held(&mut self, token: Token, held: bool) {
        let found = self.outbound.flights.iter_mut().find(|flight| flight.token == token);
        if let Some(flight) = found {
            flight.held = held;
            self.outbound.send_queued(&mut self.output);
        }
    }

    /// The outcome of a request, without a look at the input: [`next_event`](Self::next_event) for a program that cannot
    /// take a message now.
    pub fn next_outcome(&mut self) -> Option<Event<'static>> {
        self.outbound.next_outcome().map(Outcome::into_event)
    }

    /// How many messages at QoS 1 and 2 are not complete.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.outbound.flights.len()
    }

    /// Gives up a message at QoS 1 or 2. Returns whether there was one. No event follows.
    pub fn forget(&mut self, token: Token) -> bool {
        let found = self.outbound.flights.iter().position(|flight| flight.token == token);
        let Some(index) = found else { return false };
        let flight = self.outbound.flights.remove(index);
        self.outbound.queued -= usize::from(flight.waits());
        self.outbound.recycle(flight.packet);
        self.outbound.send_queued(&mut self.output);
        true
    }
}
