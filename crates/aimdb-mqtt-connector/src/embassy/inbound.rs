//! The inbound links: from the connection into the records.
//!
//! ```text
//!  PacketDemux ─▶ handle_packet ─▶ [waiting, oldest first] ─▶ one or several records
//!       ▲                                   │ every record has it
//!       └────────── PUBACK, PUBREC ◀────────┘
//! ```
//!
//! A message waits here until every record it is for has it; then it is acknowledged. Each link receives its messages
//! in order. A link whose record is full holds back only its own messages.
//!
//! Acknowledgements of one kind are sent in the order of their messages [MQTT-4.6.0-2, 4.6.0-3], so a delayed
//! acknowledgement delays the later ones. The receive maximum, 8 with this client, bounds the messages that wait at QoS
//! 1 and 2: when the broker has used it up, it sends no further message at these levels to any link until the oldest
//! one has found room. At QoS 0 MQTT cannot hold a message back, so each link has a small queue for them.
//!
//! After a broken connection the waiting messages are still delivered to their records. A broker that kept the session
//! sends such a message again, because it received no acknowledgement. The message is then recognised, and acknowledged
//! on the new connection.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use aimdb_core::Arc;
use aimdb_core::Closed;
use aimdb_core::link::{InboundLink, LinkStatus};
use aimdb_core::{Incoming, Runtime, RuntimeContext};

use super::demux::Exchange;
use super::packet::{AckPacket, InboundPacket, PublishPacket, RawPacket};
use crate::options::LinkOptions;
use crate::qos::QoS;
use crate::routes::Routes;
use crate::topic::matched_parts;

/// The most messages that may wait at QoS 1 and 2. A broker that respects the receive maximum never reaches it.
/// Mosquitto 2.0.11 does not respect it after an outage, and has 20 messages in flight unless configured otherwise. At
/// this number the connector stops reading.
const MAX_WAITING: usize = 64;

/// The most messages at QoS 0 that may wait for one link.
const MAX_WAITING_QOS_0: usize = 8;

/// How long the connection pauses for a link whose queue at QoS 0 has just filled up. One read can bring more messages
/// than the queue holds; without the pause they would be lost even for a reader that is fast enough and only has not
/// run yet.
const READER_GRACE: Duration = Duration::from_millis(20);

pub(crate) struct InboundLinks<R> {
    /// Empty after a shutdown has dropped the links.
    links: Vec<InboundLinkState>,
    /// By the index of the link. They outlive the links.
    pub(crate) statuses: Vec<Arc<LinkStatus>>,
    pub(crate) routes: Routes,
    /// Oldest first.
    waiting: VecDeque<WaitingMessage>,
    /// Packet identifiers of messages that the records have and that the broker may send again: at QoS 2 until its
    /// PUBREL, at QoS 1 if the connection broke before the acknowledgement. At most as many as the broker has in use.
    delivered: Vec<u16>,
    exchange: Rc<Exchange>,
    context: RuntimeContext<R>,
}

struct InboundLinkState {
    link: InboundLink,
    filter: String,
    /// A pause of [`READER_GRACE`] for this link did not help, and messages have waited for it since.
    blocked: bool,
}

struct WaitingMessage {
    publish: PublishPacket,
    /// The links whose records do not have the message yet.
    links: Vec<usize>,
    /// The packet identifier by which the broker knows the message. `None` if it is at QoS 0, of a lost session, or
    /// refused by a closed record.
    id: Option<u16>,
    /// The current connection delivered the message.
    current: bool,
}

impl WaitingMessage {
    /// Whether an acknowledgement at this level is still to be sent.
    fn needs_ack(&self, qos: QoS) -> bool {
        self.id.is_some() && self.current && self.publish.qos == qos
    }
}

impl<R: Runtime> InboundLinks<R> {
    pub(crate) fn new(
        links: Vec<InboundLink>,
        exchange: Rc<Exchange>,
        context: RuntimeContext<R>,
    ) -> Self {
        let statuses = links.iter().map(|link| Arc::clone(link.status())).collect();
        let routes = Routes::new(&links);
        let state = |link: InboundLink| {
            let filter = LinkOptions::from_address(link.address()).topic;
            InboundLinkState { link, filter, blocked: false }
        };
        let links = links.into_iter().map(state).collect();
        let (waiting, delivered) = (VecDeque::new(), Vec::new());
        Self { links, statuses, routes, waiting, delivered, exchange, context }
    }

    /// Takes the received packet, if there is one and room for it.
    pub(crate) fn next_packet(&self) -> Option<RawPacket> {
        let needing_ack =
            self.waiting.iter().filter(|message| message.publish.qos > QoS::AtMostOnce);
        let room = self.context.is_stopping() || needing_ack.count() < MAX_WAITING;
        if room { self.exchange.take_received() } else { None }
    }

    /// # Errors
    ///
    /// The reason, if the packet is malformed.
    pub(crate) async fn handle_packet(&mut self, packet: RawPacket) -> Result<(), String> {
        let first = packet.first;
        match packet.parse() {
            Some(InboundPacket::Release(id)) => {
                self.delivered.retain(|delivered| *delivered != id);
                self.exchange.queue_ack(AckPacket::Complete, id);
            }
            // During a shutdown the broker keeps the message, because it receives no acknowledgement.
            Some(InboundPacket::Publish(_)) if self.context.is_stopping() => {}
            Some(InboundPacket::Publish(publish)) => self.handle_publish(publish).await,
            None => return Err(alloc::format!("a packet of kind {} is malformed", first >> 4)),
        }
        Ok(())
    }

    async fn handle_publish(&mut self, publish: PublishPacket) {
        let id = Some(publish.id).filter(|_| publish.qos > QoS::AtMostOnce);
        if id.is_some_and(|id| self.adopt_redelivery(id, publish.dup)) {
            return;
        }
        let delivered = id.is_some_and(|id| self.was_delivered(id, &publish));
        let links = if delivered { Vec::new() } else { self.links_for(&publish) };
        self.waiting.push_back(WaitingMessage { publish, links, id, current: true });
        poll_fn(|cx| Poll::Ready(self.poll_deliver(cx))).await;
        self.drop_excess_qos_0().await;
    }

    /// Whether the message still waits, from an earlier connection of this session. If so, its acknowledgement belongs
    /// to the current connection from now on.
    fn adopt_redelivery(&mut self, id: u16, dup: bool) -> bool {
        let same_id = self.waiting.iter_mut().find(|message| message.id == Some(id));
        match same_id {
            Some(message) if dup => message.current = true,
            // It is another message: the broker has given up the one that waits.
            Some(message) => message.id = None,
            None => return false,
        }
        dup
    }

    /// Whether the records already have the message. At QoS 1 this forgets its identifier.
    fn was_delivered(&mut self, id: u16, publish: &PublishPacket) -> bool {
        let Some(index) = self.delivered.iter().position(|delivered| *delivered == id) else {
            return false;
        };
        if publish.qos == QoS::AtLeastOnce {
            self.delivered.swap_remove(index);
        }
        publish.dup || publish.qos == QoS::ExactlyOnce
    }

    fn links_for(&self, publish: &PublishPacket) -> Vec<usize> {
        let topic = publish.topic();
        let links = self.routes.links(&publish.subscriptions, topic);
        if links.is_empty() {
            let reason =
                "no link subscribes to it; a kept session may have a subscription too many";
            self.context.log().warn(format_args!("a message on `{topic}` was dropped: {reason}"));
        }
        links
    }

    /// Delivers waiting messages to their records, and queues acknowledgements. Returns whether it queued one.
    fn poll_deliver(&mut self, cx: &mut Context<'_>) -> bool {
        for (index, state) in self.links.iter_mut().enumerate() {
            state.blocked &= self.waiting.iter().any(|message| message.links.contains(&index));
            while let Some(message) =
                self.waiting.iter_mut().find(|message| message.links.contains(&index))
            {
                let Poll::Ready(outcome) = state.poll_deliver(&message.publish, cx) else { break };
                message.links.retain(|link| *link != index);
                if outcome.is_err() {
                    message.id = None;
                    count_dropped(&self.statuses[index], "its record is closed");
                }
            }
        }
        self.acknowledge_delivered()
    }

    /// Removes and acknowledges the messages that all their records have, unless an earlier message at the same level
    /// must be acknowledged first. Returns whether it queued an acknowledgement.
    fn acknowledge_delivered(&mut self) -> bool {
        let mut queued = false;
        let mut index = 0;
        while let Some(message) = self.waiting.get(index) {
            let qos = message.publish.qos;
            let too_early = message.needs_ack(qos)
                && self.waiting.range(..index).any(|earlier| earlier.needs_ack(qos));
            if too_early || !message.links.is_empty() {
                index += 1;
                continue;
            }
            let Some(WaitingMessage { publish, id, current, .. }) = self.waiting.remove(index)
            else {
                break;
            };
            if let Some(id) = id {
                queued |= current;
                self.acknowledge(id, qos, current);
            }
            self.exchange.recycle(publish.into_body());
        }
        queued
    }

    /// Queues the acknowledgement of a delivered message if the current connection delivered it, and remembers its
    /// identifier if the broker may send it again.
    fn acknowledge(&mut self, id: u16, qos: QoS, current: bool) {
        if (qos == QoS::ExactlyOnce || !current) && !self.delivered.contains(&id) {
            self.delivered.push(id);
        }
        if current {
            let ack =
                if qos == QoS::ExactlyOnce { AckPacket::Received } else { AckPacket::Acknowledged };
            self.exchange.queue_ack(ack, id);
        }
    }

    /// Drops the newest message for each link that has more than [`MAX_WAITING_QOS_0`] waiting at QoS 0.
    async fn drop_excess_qos_0(&mut self) {
        for index in 0..self.links.len() {
            if self.waiting_qos_0(index) <= MAX_WAITING_QOS_0 {
                continue;
            }
            if !self.links[index].blocked {
                let time = self.context.time();
                let emptied = poll_fn(|cx| {
                    self.poll_deliver(cx);
                    if self.waiting_qos_0(index) == 0 { Poll::Ready(()) } else { Poll::Pending }
                });
                let blocked = time.timeout(READER_GRACE, emptied).await.is_err();
                self.links[index].blocked = blocked;
            }
            if self.waiting_qos_0(index) > MAX_WAITING_QOS_0
                && let Some(newest) = self.waiting.back_mut()
            {
                newest.links.retain(|link| *link != index);
                self.statuses[index].count_received();
                count_dropped(&self.statuses[index], "its record is full");
                self.acknowledge_delivered();
            }
        }
    }

    /// How many messages at QoS 0 wait for a link.
    fn waiting_qos_0(&self, link: usize) -> usize {
        let waiting = self.waiting.iter().filter(|message| message.publish.qos == QoS::AtMostOnce);
        waiting.filter(|message| message.links.contains(&link)).count()
    }

    /// Delivers waiting messages. Returns whether it queued an acknowledgement.
    ///
    /// When a shutdown has begun and no message waits, it drops the links, which lets the shutdown close their records.
    pub(crate) fn poll_waiting(&mut self, stopping: bool, cx: &mut Context<'_>) -> bool {
        let queued = self.poll_deliver(cx);
        if stopping && self.waiting.is_empty() {
            self.links.clear();
        }
        queued
    }

    /// Begins a connection. With a new session the broker has no knowledge of earlier messages.
    pub(crate) fn handle_connected(&mut self, new_session: bool) {
        if new_session {
            self.waiting.iter_mut().for_each(|message| message.id = None);
            self.delivered.clear();
        }
    }

    pub(crate) fn handle_connection_lost(&mut self) {
        self.exchange.reset();
        self.waiting.iter_mut().for_each(|message| message.current = false);
    }

    /// Whether a shutdown has dropped the links: they accept no further message.
    pub(crate) fn are_drained(&self) -> bool {
        self.links.is_empty()
    }
}

/// Counts the messages that are lost when a shutdown's deadline aborts the connector: those that the broker does not
/// keep.
impl<R> Drop for InboundLinks<R> {
    fn drop(&mut self) {
        for (index, state) in self.links.iter().enumerate() {
            // The link has counted the message whose value it holds as received.
            let mut held = state.link.has_pending();
            for message in self.waiting.iter().filter(|message| message.links.contains(&index)) {
                let counted = core::mem::replace(&mut held, false);
                if message.id.is_none() {
                    if !counted {
                        self.statuses[index].count_received();
                    }
                    count_dropped(&self.statuses[index], "the shutdown's deadline is over");
                }
            }
        }
    }
}

impl InboundLinkState {
    /// Ready when the record has the message. The caller passes the first message that waits for this link.
    fn poll_deliver(
        &mut self,
        publish: &PublishPacket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        if !self.link.has_pending() {
            let (topic, payload) = (publish.topic(), publish.payload());
            let parts = matched_parts(&self.filter, topic).unwrap_or_default();
            let message =
                Incoming::new(topic, payload).with_parts(&parts).with_retained(publish.retained);
            ready!(self.link.poll_accept(&message, cx))?;
        }
        self.link.poll_flush(cx)
    }
}

fn count_dropped(status: &LinkStatus, reason: &str) {
    status.count_dropped();
    status.set_error(format_args!("a message was dropped: {reason}"));
}
