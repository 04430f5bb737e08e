//! From the connection into the records.
//!
//! ```text
//!  Gate ─▶ take ─▶ [waiting, oldest first] ─▶ one record or several
//!   ▲                       │ every record has it
//!   └────── PUBACK, PUBREC ◀┘
//! ```
//!
//! A message waits here until every record it is for has it, and is acknowledged then. Each link gets its messages in their
//! order; one whose record is full keeps only its own.
//!
//! Acknowledgements of one kind go out in the order of their messages [MQTT-4.6.0-2, 4.6.0-3], so one that is held back
//! holds back the later ones. The broker's receive maximum, 8 with this client, bounds what waits at QoS 1 and 2: when it
//! is used up the broker sends nothing more at these, to any link, until the oldest message has found room. At QoS 0
//! nothing can be held back, so each link has a few places for it.
//!
//! When the connection breaks what waits goes on into its records. If the broker has kept the session it sends such a
//! message again, since it had no acknowledgement; it is known then, and acknowledged on the new connection.

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

use super::gate::Hatch;
use super::packet::{Answer, Message, Packet, Received};
use crate::QoS;
use crate::options::LinkOptions;
use crate::routes::Routes;
use crate::topic::matched_parts;

/// Messages that may wait at QoS 1 and 2. A broker that keeps to the receive maximum never gets there; Mosquitto 2.0.11
/// after an outage does not, and has 20 under way unless told otherwise. Beyond this, nothing more is read.
const MOST: usize = 64;

/// Messages at QoS 0 that may wait for one link.
const MOST_UNCERTAIN: usize = 8;

/// How long the connection rests for a link whose places at QoS 0 have just filled up. One read brings more messages
/// than it has; they would be lost on a reader that is quick enough, and only has not come to its turn.
const TURN: Duration = Duration::from_millis(20);

pub(crate) struct Inlets<R> {
    links: Vec<Inlet>,
    /// They stay when the links are gone.
    pub(crate) statuses: Vec<Arc<LinkStatus>>,
    pub(crate) routes: Routes,
    /// Oldest first.
    waiting: VecDeque<Waiting>,
    /// Identifiers of messages that records have, and that the broker may send again: at QoS 2 until it says that it will
    /// not, at QoS 1 if the connection broke before the acknowledgement. As many as the broker has in use.
    taken: Vec<u16>,
    hatch: Rc<Hatch>,
    context: RuntimeContext<R>,
}

struct Inlet {
    link: InboundLink,
    filter: String,
    /// It was waited for in vain, and messages have waited ever since.
    stuck: bool,
}

struct Waiting {
    message: Message,
    /// The links whose records have yet to get it.
    links: Vec<usize>,
    /// Under which the broker knows it. `None`: at QoS 0, of a session that is gone, or refused by a closed record.
    id: Option<u16>,
    /// It came by this connection.
    here: bool,
}

impl Waiting {
    /// Whether an acknowledgement of this kind is still to be sent.
    fn owes(&self, qos: QoS) -> bool {
        self.id.is_some() && self.here && self.message.qos == qos
    }
}

impl<R: Runtime> Inlets<R> {
    pub(crate) fn new(
        links: Vec<InboundLink>,
        hatch: Rc<Hatch>,
        context: RuntimeContext<R>,
    ) -> Self {
        let statuses = links.iter().map(|link| Arc::clone(link.status())).collect();
        let routes = Routes::new(&links);
        let inlet = |link: InboundLink| {
            let filter = LinkOptions::of(link.address()).topic;
            Inlet { link, filter, stuck: false }
        };
        let links = links.into_iter().map(inlet).collect();
        let (waiting, taken) = (VecDeque::new(), Vec::new());
        Self { links, statuses, routes, waiting, taken, hatch, context }
    }

    /// Takes what came, if there is room for it.
    pub(crate) fn next(&self) -> Option<Packet> {
        let certain = self.waiting.iter().filter(|waiting| waiting.message.qos > QoS::AtMostOnce);
        let room = self.context.is_stopping() || certain.count() < MOST;
        if room { self.hatch.take() } else { None }
    }

    /// # Errors
    ///
    /// The reason, when it is nothing that MQTT knows.
    pub(crate) async fn take(&mut self, packet: Packet) -> Result<(), String> {
        let first = packet.first;
        match packet.read() {
            Some(Received::Release(id)) => {
                self.taken.retain(|taken| *taken != id);
                self.hatch.answer(Answer::Complete, id);
            }
            // Without an answer it stays the broker's.
            Some(Received::Publish(_)) if self.context.is_stopping() => {}
            Some(Received::Publish(message)) => self.take_message(message).await,
            None => return Err(alloc::format!("a packet of kind {} is malformed", first >> 4)),
        }
        Ok(())
    }

    async fn take_message(&mut self, message: Message) {
        let id = Some(message.id).filter(|_| message.qos > QoS::AtMostOnce);
        if id.is_some_and(|id| self.is_waiting(id, message.again)) {
            return;
        }
        let known = id.is_some_and(|id| self.was_taken(id, &message));
        let links = if known { Vec::new() } else { self.links_for(&message) };
        self.waiting.push_back(Waiting { message, links, id, here: true });
        poll_fn(|cx| Poll::Ready(self.poll_deliver(cx))).await;
        self.make_room().await;
    }

    /// Whether the message still waits, from an earlier connection of this session.
    fn is_waiting(&mut self, id: u16, again: bool) -> bool {
        let same = self.waiting.iter_mut().find(|waiting| waiting.id == Some(id));
        match same {
            Some(waiting) if again => waiting.here = true,
            // Another message: the broker has given up the one that waits.
            Some(waiting) => waiting.id = None,
            None => return false,
        }
        again
    }

    fn was_taken(&mut self, id: u16, message: &Message) -> bool {
        let Some(at) = self.taken.iter().position(|taken| *taken == id) else { return false };
        if message.qos == QoS::AtLeastOnce {
            self.taken.swap_remove(at);
        }
        message.again || message.qos == QoS::ExactlyOnce
    }

    fn links_for(&self, message: &Message) -> Vec<usize> {
        let topic = message.topic();
        let links = self.routes.links(&message.subscriptions, topic);
        if links.is_empty() {
            let reason = "no link is for it; a kept session may have a subscription too many";
            self.context.log().warn(format_args!("a message on `{topic}` was dropped: {reason}"));
        }
        links
    }

    /// Brings messages that wait into their records, and answers the broker. Whether there is a new answer.
    fn poll_deliver(&mut self, cx: &mut Context<'_>) -> bool {
        for (at, inlet) in self.links.iter_mut().enumerate() {
            inlet.stuck &= self.waiting.iter().any(|waiting| waiting.links.contains(&at));
            while let Some(waiting) =
                self.waiting.iter_mut().find(|waiting| waiting.links.contains(&at))
            {
                let Poll::Ready(given) = inlet.poll_give(&waiting.message, cx) else { break };
                waiting.links.retain(|link| *link != at);
                if given.is_err() {
                    waiting.id = None;
                    refused(&self.statuses[at], "its record is closed");
                }
            }
        }
        self.settle()
    }

    /// Ends the messages that all their records have, unless the answer to an earlier one of the kind must come first.
    fn settle(&mut self) -> bool {
        let mut answered = false;
        let mut at = 0;
        while let Some(waiting) = self.waiting.get(at) {
            let qos = waiting.message.qos;
            let early = waiting.owes(qos) && self.waiting.range(..at).any(|other| other.owes(qos));
            if early || !waiting.links.is_empty() {
                at += 1;
                continue;
            }
            let Some(Waiting { message, id, here, .. }) = self.waiting.remove(at) else { break };
            if let Some(id) = id {
                answered |= here;
                self.end(id, qos, here);
            }
            self.hatch.reuse(message.into_body());
        }
        answered
    }

    fn end(&mut self, id: u16, qos: QoS, here: bool) {
        if (qos == QoS::ExactlyOnce || !here) && !self.taken.contains(&id) {
            self.taken.push(id);
        }
        if here {
            let answer =
                if qos == QoS::ExactlyOnce { Answer::Received } else { Answer::Acknowledged };
            self.hatch.answer(answer, id);
        }
    }

    /// Drops the newest message where it is one too many at QoS 0.
    async fn make_room(&mut self) {
        for at in 0..self.links.len() {
            if self.uncertain(at) <= MOST_UNCERTAIN {
                continue;
            }
            if !self.links[at].stuck {
                let time = self.context.time();
                let emptied = poll_fn(|cx| {
                    self.poll_deliver(cx);
                    if self.uncertain(at) == 0 { Poll::Ready(()) } else { Poll::Pending }
                });
                let in_vain = time.timeout(TURN, emptied).await.is_err();
                self.links[at].stuck = in_vain;
            }
            if self.uncertain(at) > MOST_UNCERTAIN
                && let Some(newest) = self.waiting.back_mut()
            {
                newest.links.retain(|link| *link != at);
                self.statuses[at].count_received();
                refused(&self.statuses[at], "its record is full");
                self.settle();
            }
        }
    }

    /// How many messages at QoS 0 wait for a link.
    fn uncertain(&self, link: usize) -> usize {
        let waiting = self.waiting.iter().filter(|waiting| waiting.message.qos == QoS::AtMostOnce);
        waiting.filter(|waiting| waiting.links.contains(&link)).count()
    }

    /// Goes on with what waits; whether there is a new answer for the broker. When a shutdown has begun and nothing waits
    /// any more the links are dropped, by which the shutdown goes on.
    pub(crate) fn poll_waiting(&mut self, stopping: bool, cx: &mut Context<'_>) -> bool {
        let answered = self.poll_deliver(cx);
        if stopping && self.waiting.is_empty() {
            self.links.clear();
        }
        answered
    }

    /// A new connection. With a new session the broker knows of nothing that went before.
    pub(crate) fn connected(&mut self, new_session: bool) {
        if new_session {
            self.waiting.iter_mut().for_each(|waiting| waiting.id = None);
            self.taken.clear();
        }
    }

    /// The connection is gone.
    pub(crate) fn lost(&mut self) {
        self.hatch.reset();
        self.waiting.iter_mut().for_each(|waiting| waiting.here = false);
    }

    /// No message will be taken any more.
    pub(crate) fn are_gone(&self) -> bool {
        self.links.is_empty()
    }
}

/// Cut off at a shutdown's deadline, messages that nobody else has are lost. The others are still the broker's.
impl<R> Drop for Inlets<R> {
    fn drop(&mut self) {
        for (at, inlet) in self.links.iter().enumerate() {
            let mut held = inlet.link.has_pending();
            for waiting in self.waiting.iter().filter(|waiting| waiting.links.contains(&at)) {
                let counted = core::mem::replace(&mut held, false);
                if waiting.id.is_none() {
                    if !counted {
                        self.statuses[at].count_received();
                    }
                    refused(&self.statuses[at], "the shutdown's deadline is over");
                }
            }
        }
    }
}

impl Inlet {
    /// Whether the record has the message, which is the first of those that wait for it.
    fn poll_give(&mut self, message: &Message, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        if !self.link.has_pending() {
            let (topic, payload) = (message.topic(), message.payload());
            let parts = matched_parts(&self.filter, topic).unwrap_or_default();
            let message = Incoming::new(topic, payload).with_parts(&parts);
            ready!(self.link.poll_accept(&message, cx))?;
        }
        self.link.poll_flush(cx)
    }
}

/// A message is lost at its record.
fn refused(status: &LinkStatus, reason: &str) {
    status.count_dropped();
    status.set_error(format_args!("a message was dropped: {reason}"));
}
