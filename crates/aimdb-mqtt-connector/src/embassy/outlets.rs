//! From the records onto the connection.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use aimdb_core::link::OutboundLink;
use aimdb_core::{Runtime, RuntimeContext};
use minimq::{Connection, Error, Io, Op, PubError, Publication, ReasonCode, ResourceError};

use super::gate::Hatch;
use super::settings::OVERHEAD;
use crate::QoS;
use crate::options::LinkOptions;

/// How many messages the client can have under way.
const WINDOW: usize = 8;

pub(crate) struct Outlets<R> {
    pub(crate) links: Vec<Outlet>,
    /// Who is asked first.
    turn: usize,
    /// In the order they were taken. At most one of them is new: the next is taken when it is under way.
    window: VecDeque<Sent>,
    /// Where the next payload goes.
    spare: Vec<u8>,
    /// The largest packet at QoS 1 or 2.
    room: usize,
    hatch: Rc<Hatch>,
    context: RuntimeContext<R>,
}

pub(crate) struct Outlet {
    pub(crate) link: OutboundLink,
    options: LinkOptions,
    /// The record may have more.
    open: bool,
}

/// A message that was taken from its record and has not reached its end.
struct Sent {
    outlet: usize,
    /// `None`: the link's own topic.
    topic: Option<String>,
    /// Kept for a broker that has forgotten the session.
    payload: Vec<u8>,
    /// What the client calls it. `None`: it is still to be sent.
    op: Option<Op>,
}

/// What became of an attempt to send.
enum Attempt {
    UnderWay(Op),
    Done,
    /// When there is room again.
    Later,
    Dropped(String),
    Lost(String),
}

impl<R: Runtime> Outlets<R> {
    pub(crate) fn new(
        links: Vec<OutboundLink>,
        room: usize,
        hatch: Rc<Hatch>,
        context: RuntimeContext<R>,
    ) -> Self {
        let outlet = |link: OutboundLink| {
            let options = LinkOptions::of(link.address());
            Outlet { link, options, open: true }
        };
        let links = links.into_iter().map(outlet).collect();
        let window = VecDeque::with_capacity(WINDOW);
        Self { links, turn: 0, window, spare: Vec::new(), room, hatch, context }
    }

    /// A new connection: what the session has lost is sent again.
    pub(crate) fn connected<IO: Io>(&mut self, connection: &Connection<'_, '_, IO>) {
        for sent in &mut self.window {
            sent.op = sent.op.filter(|op| !connection.is_invalidated(op));
        }
    }

    /// Which levels a message may have to be sent at once.
    pub(crate) fn room<IO: Io>(&self, connection: &Connection<'_, '_, IO>) -> [bool; 3] {
        [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| {
            self.window.iter().all(|sent| sent.op.is_some())
                && (qos == QoS::AtMostOnce || self.window.len() < WINDOW)
                && connection.can_publish(level(qos))
        })
    }

    /// Takes a message from a record whose link's level has room. Of the others it only learns whether they have ended.
    pub(crate) fn poll_take(&mut self, room: [bool; 3], cx: &mut Context<'_>) -> Poll<()> {
        let count = self.links.len();
        for at in (0..count).map(|offset| (self.turn + offset) % count) {
            let outlet = &mut self.links[at];
            if !outlet.open {
                continue;
            }
            if !room[outlet.options.qos as usize] {
                outlet.open = outlet.link.poll_drained(cx).is_pending();
                continue;
            }
            match outlet.link.poll_next(&mut self.spare, cx) {
                Poll::Ready(Ok(outgoing)) => {
                    self.turn = at + 1;
                    let payload = core::mem::take(&mut self.spare);
                    let topic = outgoing.topic;
                    self.window.push_back(Sent { outlet: at, topic, payload, op: None });
                    self.count(at);
                    return Poll::Ready(());
                }
                Poll::Ready(Err(_)) => outlet.open = false,
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Whether every record has ended and everything taken has reached its end.
    pub(crate) fn have_ended(&self) -> bool {
        self.window.is_empty() && self.links.iter().all(|outlet| !outlet.open)
    }

    /// Sends what is still to be sent, as far as there is room.
    ///
    /// # Errors
    ///
    /// The reason, when the connection is lost.
    pub(crate) async fn send<IO: Io>(
        &mut self,
        connection: &mut Connection<'_, '_, IO>,
    ) -> Result<(), String> {
        let mut at = 0;
        while at < self.window.len() {
            if self.window[at].op.is_some() {
                at += 1;
                continue;
            }
            match self.attempt(at, connection).await {
                Attempt::UnderWay(op) => self.window[at].op = Some(op),
                Attempt::Later => return Ok(()),
                Attempt::Lost(reason) => return Err(reason),
                Attempt::Done => self.end(at, Ok(())),
                Attempt::Dropped(reason) => self.end(at, Err(&reason)),
            }
        }
        Ok(())
    }

    async fn attempt<IO: Io>(&self, at: usize, connection: &mut Connection<'_, '_, IO>) -> Attempt {
        let Sent { outlet, topic, payload, .. } = &self.window[at];
        let options = &self.links[*outlet].options;
        let topic = topic.as_deref().unwrap_or(&options.topic);
        let mut publication = Publication::bytes(topic, payload).qos(level(options.qos));
        if options.retain {
            publication = publication.retain();
        }
        let size = payload.len() + topic.len() + OVERHEAD;
        let alone = connection.session().is_publish_quiescent();
        let error = match connection.publish(publication).await {
            Ok(Some(op)) => return Attempt::UnderWay(op),
            Ok(None) if self.hatch.is_broken() => {
                return Attempt::Dropped(
                    "the connection broke, and at QoS 0 it is not sent again".into(),
                );
            }
            Ok(None) => return Attempt::Done,
            Err(PubError::Payload(())) => Error::Resource(ResourceError::BufferTooSmall),
            Err(PubError::Session(error)) => error,
        };
        match error {
            Error::NotReady | Error::Resource(ResourceError::InflightExhausted) => Attempt::Later,
            Error::Resource(ResourceError::BufferTooSmall) if !alone => Attempt::Later,
            Error::Resource(ResourceError::BufferTooSmall) => Attempt::Dropped(alloc::format!(
                "its packet of {size} bytes is over the room of {}, see `send_buffer`",
                self.room
            )),
            Error::Resource(ResourceError::PacketTooLarge) => Attempt::Dropped(alloc::format!(
                "its packet of {size} bytes is over the broker's limit"
            )),
            Error::InvalidRequest => Attempt::Dropped(alloc::format!(
                "the broker does not take QoS {}",
                options.qos as u8
            )),
            error => Attempt::Lost(alloc::format!("{error}")),
        }
    }

    /// Ends what the broker has acknowledged since the last look, or refused: then it is one message at most.
    pub(crate) fn settle<IO: Io>(
        &mut self,
        connection: &Connection<'_, '_, IO>,
        refusal: Option<ReasonCode>,
    ) {
        let mut at = 0;
        while at < self.window.len() {
            if !self.window[at].op.is_some_and(|op| connection.is_complete(&op)) {
                at += 1;
                continue;
            }
            match refusal {
                // The broker has handed it over already, and forgotten it.
                None | Some(ReasonCode::PacketIdNotFound) => self.end(at, Ok(())),
                Some(code) => {
                    self.end(at, Err(&alloc::format!("the broker refused it: {code:?}")));
                }
            }
        }
    }

    fn end(&mut self, at: usize, outcome: Result<(), &str>) {
        let Some(sent) = self.window.remove(at) else { return };
        let Outlet { link, options, .. } = &self.links[sent.outlet];
        match outcome {
            Ok(()) => link.status().count_sent(),
            Err(reason) => {
                let topic = sent.topic.as_deref().unwrap_or(&options.topic);
                let record = link.record();
                let text =
                    alloc::format!("a message of `{record}` to `{topic}` was dropped: {reason}");
                link.status().count_dropped();
                link.status().set_error(&text);
                self.context.log().warn(text);
            }
        }
        self.spare = sent.payload;
        self.count(sent.outlet);
    }

    fn count(&self, outlet: usize) {
        let taken = self.window.iter().filter(|sent| sent.outlet == outlet).count();
        self.links[outlet].link.status().set_in_flight(taken as u64);
    }
}

pub(crate) const fn level(qos: QoS) -> minimq::QoS {
    match qos {
        QoS::AtMostOnce => minimq::QoS::AtMostOnce,
        QoS::AtLeastOnce => minimq::QoS::AtLeastOnce,
        QoS::ExactlyOnce => minimq::QoS::ExactlyOnce,
    }
}
