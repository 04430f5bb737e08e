//! The outbound links: from the records onto the connection.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use aimdb_core::link::OutboundLink;
use aimdb_core::{Runtime, RuntimeContext};
use minimq::{Connection, Error, Io, Op, PubError, Publication, ReasonCode, ResourceError};

use super::config::PACKET_OVERHEAD;
use super::demux::Exchange;
use crate::options::LinkOptions;
use crate::qos::QoS;

/// The most messages at QoS 1 and 2 that the client can have in flight.
const MAX_IN_FLIGHT: usize = 8;

pub(crate) struct OutboundLinks<R> {
    links: Vec<OutboundLinkState>,
    /// The link that is polled first.
    next_link: usize,
    /// In the order of taking. At most one message is not sent: the next one is taken after it is in flight.
    in_flight: VecDeque<InFlightMessage>,
    /// Memory for the next payload.
    spare: Vec<u8>,
    /// The largest packet at QoS 1 or 2, in bytes.
    max_packet: usize,
    exchange: Rc<Exchange>,
    context: RuntimeContext<R>,
}

struct OutboundLinkState {
    link: OutboundLink,
    options: LinkOptions,
    /// The record is not drained.
    open: bool,
}

/// A message that is taken from its record and not completed.
struct InFlightMessage {
    /// The index of its link.
    link: usize,
    /// A computed topic; `None` for the link's own topic.
    topic: Option<String>,
    /// Kept in case the broker loses the session.
    payload: Vec<u8>,
    /// The client's handle of the publish. `None`: the message is not sent yet, or must be sent again.
    op: Option<Op>,
}

/// The result of an attempt to send a message.
enum SendAttempt {
    InFlight(Op),
    /// Sent at QoS 0.
    Complete,
    /// The client has no room now.
    Retry,
    Dropped(String),
    ConnectionLost(String),
}

impl<R: Runtime> OutboundLinks<R> {
    pub(crate) fn new(
        links: Vec<OutboundLink>,
        max_packet: usize,
        exchange: Rc<Exchange>,
        context: RuntimeContext<R>,
    ) -> Self {
        let state = |link: OutboundLink| {
            let options = LinkOptions::from_address(link.address());
            OutboundLinkState { link, options, open: true }
        };
        let links = links.into_iter().map(state).collect();
        let in_flight = VecDeque::with_capacity(MAX_IN_FLIGHT);
        Self { links, next_link: 0, in_flight, spare: Vec::new(), max_packet, exchange, context }
    }

    /// Marks the messages that the session has lost: they are sent again on this connection.
    pub(crate) fn handle_connected<IO: Io>(&mut self, connection: &Connection<'_, '_, IO>) {
        for message in &mut self.in_flight {
            message.op = message.op.filter(|op| !connection.is_invalidated(op));
        }
    }

    /// For each QoS, whether a message at that level can be sent now.
    pub(crate) fn sendable<IO: Io>(&self, connection: &Connection<'_, '_, IO>) -> [bool; 3] {
        [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| {
            self.in_flight.iter().all(|message| message.op.is_some())
                && (qos == QoS::AtMostOnce || self.in_flight.len() < MAX_IN_FLIGHT)
                && connection.can_publish(client_qos(qos))
        })
    }

    /// Takes a message from the record of one link whose level is sendable. Checks the records of the other links only
    /// for whether they are drained.
    pub(crate) fn poll_take(&mut self, sendable: [bool; 3], cx: &mut Context<'_>) -> Poll<()> {
        let count = self.links.len();
        for index in (0..count).map(|offset| (self.next_link + offset) % count) {
            let state = &mut self.links[index];
            if !state.open {
                continue;
            }
            if !sendable[state.options.qos as usize] {
                state.open = state.link.poll_drained(cx).is_pending();
                continue;
            }
            match state.link.poll_next(&mut self.spare, cx) {
                Poll::Ready(Ok(outgoing)) => {
                    self.next_link = index + 1;
                    let payload = core::mem::take(&mut self.spare);
                    let topic = outgoing.topic;
                    self.in_flight.push_back(InFlightMessage {
                        link: index,
                        topic,
                        payload,
                        op: None,
                    });
                    self.update_in_flight(index);
                    return Poll::Ready(());
                }
                Poll::Ready(Err(_)) => state.open = false,
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Whether every record is drained and every taken message is completed.
    pub(crate) fn are_drained(&self) -> bool {
        self.in_flight.is_empty() && self.links.iter().all(|state| !state.open)
    }

    /// Sends the messages that are not sent, as far as the client has room.
    ///
    /// # Errors
    ///
    /// The reason why the connection is lost.
    pub(crate) async fn send<IO: Io>(
        &mut self,
        connection: &mut Connection<'_, '_, IO>,
    ) -> Result<(), String> {
        let mut index = 0;
        while index < self.in_flight.len() {
            if self.in_flight[index].op.is_some() {
                index += 1;
                continue;
            }
            match self.try_send(index, connection).await {
                SendAttempt::InFlight(op) => self.in_flight[index].op = Some(op),
                SendAttempt::Retry => return Ok(()),
                SendAttempt::ConnectionLost(reason) => return Err(reason),
                SendAttempt::Complete => self.finish(index, Ok(())),
                SendAttempt::Dropped(reason) => self.finish(index, Err(&reason)),
            }
        }
        Ok(())
    }

    async fn try_send<IO: Io>(
        &self,
        index: usize,
        connection: &mut Connection<'_, '_, IO>,
    ) -> SendAttempt {
        let InFlightMessage { link, topic, payload, .. } = &self.in_flight[index];
        let options = &self.links[*link].options;
        let topic = topic.as_deref().unwrap_or(&options.topic);
        let mut publication = Publication::bytes(topic, payload).qos(client_qos(options.qos));
        if options.retain {
            publication = publication.retain();
        }
        let size = payload.len() + topic.len() + PACKET_OVERHEAD;
        // Nothing else is in the send buffer: a message that does not fit now never fits.
        let alone = connection.session().is_publish_quiescent();
        let error = match connection.publish(publication).await {
            Ok(Some(op)) => return SendAttempt::InFlight(op),
            Ok(None) if self.exchange.is_broken() => {
                return SendAttempt::Dropped(
                    "the connection broke, and at QoS 0 it is not sent again".into(),
                );
            }
            Ok(None) => return SendAttempt::Complete,
            Err(PubError::Payload(())) => Error::Resource(ResourceError::BufferTooSmall),
            Err(PubError::Session(error)) => error,
        };
        match error {
            Error::NotReady | Error::Resource(ResourceError::InflightExhausted) => {
                SendAttempt::Retry
            }
            Error::Resource(ResourceError::BufferTooSmall) if !alone => SendAttempt::Retry,
            Error::Resource(ResourceError::BufferTooSmall) => SendAttempt::Dropped(alloc::format!(
                "its packet of {size} bytes is over the room of {}, see `send_buffer`",
                self.max_packet
            )),
            Error::Resource(ResourceError::PacketTooLarge) => SendAttempt::Dropped(alloc::format!(
                "its packet of {size} bytes is over the broker's limit"
            )),
            Error::InvalidRequest => SendAttempt::Dropped(alloc::format!(
                "the broker does not accept QoS {}",
                options.qos as u8
            )),
            error => SendAttempt::ConnectionLost(alloc::format!("{error}")),
        }
    }

    /// Finishes the messages that the broker has acknowledged or refused since the last call. With a `refusal` it is
    /// one message at most.
    pub(crate) fn finish_acknowledged<IO: Io>(
        &mut self,
        connection: &Connection<'_, '_, IO>,
        refusal: Option<ReasonCode>,
    ) {
        let mut index = 0;
        while index < self.in_flight.len() {
            if !self.in_flight[index].op.is_some_and(|op| connection.is_complete(&op)) {
                index += 1;
                continue;
            }
            match refusal {
                // "Packet identifier not found": the broker has already delivered the message and forgotten its
                // identifier.
                None | Some(ReasonCode::PacketIdNotFound) => self.finish(index, Ok(())),
                Some(code) => {
                    let reason = alloc::format!("the broker refused it: {code:?}");
                    self.finish(index, Err(&reason));
                }
            }
        }
    }

    /// Removes a message and counts it as sent, or as dropped for a reason.
    fn finish(&mut self, index: usize, outcome: Result<(), &str>) {
        let Some(message) = self.in_flight.remove(index) else { return };
        let OutboundLinkState { link, options, .. } = &self.links[message.link];
        match outcome {
            Ok(()) => link.status().count_sent(),
            Err(reason) => {
                let topic = message.topic.as_deref().unwrap_or(&options.topic);
                let record = link.record();
                let text =
                    alloc::format!("a message of `{record}` to `{topic}` was dropped: {reason}");
                link.status().count_dropped();
                link.status().set_error(&text);
                self.context.log().warn(text);
            }
        }
        self.spare = message.payload;
        self.update_in_flight(message.link);
    }

    /// Sets the link's in-flight metric.
    fn update_in_flight(&self, link: usize) {
        let count = self.in_flight.iter().filter(|message| message.link == link).count();
        self.links[link].link.status().set_in_flight(count as u64);
    }
}

pub(crate) const fn client_qos(qos: QoS) -> minimq::QoS {
    match qos {
        QoS::AtMostOnce => minimq::QoS::AtMostOnce,
        QoS::AtLeastOnce => minimq::QoS::AtLeastOnce,
        QoS::ExactlyOnce => minimq::QoS::ExactlyOnce,
    }
}
