//! The messages on their way to the broker, by the links they came from.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use aimdb_core::Instant;
use aimdb_core::Runtime;
use aimdb_core::link::OutboundLink;
use aimdb_core::link::driver::{OutboundLinks, Suspects, Taken};
use aimdb_core::loss::Loss;
use aimdb_mqtt_protocol::{Lost, Message, QoS, Session, Token, Unsent};

use super::moment::{Moment, Suspect};
use super::settings::Settings;
use crate::options::LinkOptions;
use crate::topic::{text_fault, topic_fault};

/// Why a message of a resting link is not sent in a shutdown.
const RESTS: &str = "the broker ends its connections for messages of this link";

/// The options of the outbound links, and what is under way.
pub(crate) struct Publishers {
    options: Vec<LinkOptions>,
    /// The addresses of the links, for errors.
    addresses: Vec<String>,
    /// In the order of sending.
    sent: VecDeque<Sent>,
    /// The payload of the message that was taken last.
    payload: Vec<u8>,
}

struct Sent {
    token: Token,
    link: usize,
    /// A computed topic; `None` for the link's own topic.
    topic: Option<String>,
}

impl Publishers {
    pub(crate) fn new<'l>(links: impl Iterator<Item = &'l OutboundLink>) -> Self {
        let (options, addresses) = links
            .map(|link| {
                let address = link.address();
                (LinkOptions::from_address(address), alloc::format!("{address}"))
            })
            .unzip();
        Self { options, addresses, sent: VecDeque::new(), payload: Vec::new() }
    }

    /// Begins a connection. Latest records send their current value again where the broker may not have it: a retained
    /// message of a session that the broker has lost, or one that the last will has replaced.
    pub(crate) fn connected<R: Runtime>(
        &self,
        session_present: bool,
        settings: &Settings,
        outbound: &mut OutboundLinks<R>,
        suspects: &mut Suspects<Suspect>,
    ) {
        let will = settings.session.will.as_ref().map(|will| &*will.topic);
        for (link, options) in self.options.iter().enumerate() {
            if options.retain && (!session_present || will == Some(&*options.topic)) {
                outbound.renew(link);
            }
        }
        self.sent.iter().for_each(|sent| suspects.sent(Suspect::Link(sent.link)));
    }

    /// Holds back the messages that are sent again, of links that rest and of those that are accused and not to be tried
    /// yet; lets the others go.
    pub(crate) fn hold_suspects(
        &self,
        session: &mut Session,
        suspects: &Suspects<Suspect>,
        moment: Moment,
    ) {
        let Moment { now, may_try_accused, .. } = moment;
        for sent in &self.sent {
            let suspect = Suspect::Link(sent.link);
            let accused = suspects.is_accused(suspect) && !may_try_accused;
            session.set_held(sent.token, accused || suspects.rests(suspect, now));
        }
    }

    /// Gives up, in a shutdown, the messages of links that rest.
    pub(crate) fn give_up_resting<R: Runtime>(
        &mut self,
        session: &mut Session,
        suspects: &Suspects<Suspect>,
        outbound: &mut OutboundLinks<R>,
        now: Instant,
    ) {
        let rests = |sent: &Sent| suspects.rests(Suspect::Link(sent.link), now);
        while let Some(index) = self.sent.iter().position(rests)
            && let Some(Sent { token, link, topic }) = self.sent.remove(index)
        {
            session.forget(token);
            outbound.lost(link, topic.as_deref(), Loss::Shutdown, RESTS);
        }
    }

    /// Takes messages from the records and publishes them, as far as there is room.
    pub(crate) fn send<R: Runtime>(
        &mut self,
        session: &mut Session,
        settings: &Settings,
        suspects: &mut Suspects<Suspect>,
        outbound: &mut OutboundLinks<R>,
        moment: Moment,
        cx: &mut core::task::Context<'_>,
    ) {
        let Moment { now, stopping, may_try_accused } = moment;
        loop {
            let Self { options, payload, .. } = self;
            let ready = |link: usize| {
                let suspect = Suspect::Link(link);
                if suspects.rests(suspect, now) {
                    return stopping;
                }
                (may_try_accused || !suspects.is_accused(suspect))
                    && session.has_room(options[link].qos)
            };
            let core::task::Poll::Ready(taken) = outbound.poll_take(payload, ready, cx) else {
                return;
            };
            let Taken { link, topic, user, .. } = taken;
            if suspects.rests(Suspect::Link(link), now) {
                outbound.lost(link, topic.as_deref(), Loss::Shutdown, RESTS);
                continue;
            }
            match self.publish(session, settings, link, topic.as_deref(), &user) {
                Ok(token) => {
                    suspects.sent(Suspect::Link(link));
                    self.sent.push_back(Sent { token, link, topic });
                }
                Err((cause, reason)) => outbound.lost(link, topic.as_deref(), cause, reason),
            }
        }
    }

    fn publish(
        &self,
        session: &mut Session,
        settings: &Settings,
        link: usize,
        topic: Option<&str>,
        user: &[(String, String)],
    ) -> Result<Token, (Loss, String)> {
        let options = &self.options[link];
        let (size, limit) = (self.payload.len(), settings.max_payload);
        if size > limit {
            return Err((
                Loss::TooLarge,
                alloc::format!(
                    "its payload of {size} bytes is over the limit of {limit}, see `max_payload`"
                ),
            ));
        }
        if let Some(fault) = topic.and_then(topic_fault) {
            return Err((Loss::EncodeError, alloc::format!("its topic {fault}")));
        }
        let faulty = user.iter().find_map(|(name, value)| {
            let fault = text_fault(name).or_else(|| text_fault(value))?;
            Some(alloc::format!("its property `{name}` {fault}"))
        });
        if let Some(fault) = faulty {
            return Err((Loss::EncodeError, fault));
        }
        // Without computed properties those of the address are used as they are.
        let with_computed = (!user.is_empty()).then(|| {
            let mut all = options.properties.clone();
            user.iter().for_each(|(name, value)| _ = all.user(name, value));
            all
        });
        let message = Message::new(topic.unwrap_or(&options.topic), &self.payload)
            .qos(options.qos)
            .retain(options.retain)
            .properties(with_computed.as_ref().unwrap_or(&options.properties));
        session.publish(&message).map_err(|unsent| (cause(unsent), reason(unsent, options.qos)))
    }

    fn remove(&mut self, token: Token) -> Option<Sent> {
        let index = self.sent.iter().position(|sent| sent.token == token)?;
        self.sent.remove(index)
    }

    /// Handles the outcome of a message.
    pub(crate) fn finished<R: Runtime>(
        &mut self,
        token: Token,
        outcome: Result<(), Lost>,
        outbound: &mut OutboundLinks<R>,
        suspects: &mut Suspects<Suspect>,
        cautious: bool,
    ) {
        let Some(Sent { link, topic, .. }) = self.remove(token) else { return };
        let qos = self.options[link].qos;
        let may_have_rested = suspects.are_any();
        // At QoS 0 that it is written proves nothing; in a cautious connection a PINGRESP does.
        if outcome != Err(Lost::Disconnected) && (cautious || qos > QoS::AtMostOnce) {
            suspects.proven(Suspect::Link(link));
        }
        match outcome {
            Ok(()) => {
                if may_have_rested {
                    outbound.status(link).set_connected();
                }
                outbound.sent(link);
            }
            Err(Lost::Unsent(unsent)) => {
                outbound.lost(link, topic.as_deref(), cause(unsent), reason(unsent, qos));
            }
            Err(lost) => {
                let cause = match lost {
                    Lost::Disconnected => Loss::Disconnected,
                    _ => Loss::Refused,
                };
                outbound.lost(link, topic.as_deref(), cause, lost);
            }
        }
    }

    /// The link whose message this is.
    pub(crate) fn link_of(&self, token: Token) -> Option<usize> {
        self.sent.iter().find(|sent| sent.token == token).map(|sent| sent.link)
    }

    pub(crate) fn address(&self, link: usize) -> &str {
        &self.addresses[link]
    }

    pub(crate) fn qos(&self, link: usize) -> QoS {
        self.options[link].qos
    }

    /// Gives up the messages of a link that are under way.
    pub(crate) fn give_up<R: Runtime>(
        &mut self,
        token: Option<Token>,
        session: &mut Session,
        outbound: &mut OutboundLinks<R>,
        reason: &str,
    ) {
        let Some(token) = token else { return };
        if session.forget(token)
            && let Some(Sent { link, topic, .. }) = self.remove(token)
        {
            outbound.lost(link, topic.as_deref(), Loss::Refused, reason);
        }
    }
}

/// The cause of the loss of a message that cannot be sent on this connection.
fn cause(unsent: Unsent) -> Loss {
    match unsent {
        Unsent::TooLarge { .. } => Loss::TooLarge,
        Unsent::Topic => Loss::EncodeError,
        _ => Loss::Refused,
    }
}

/// Why a message cannot be sent on this connection.
fn reason(unsent: Unsent, qos: QoS) -> String {
    match unsent {
        Unsent::Qos => alloc::format!("the broker does not accept QoS {}", qos as u8),
        Unsent::TooLarge { size, limit, own: true } => alloc::format!(
            "its packet of {size} bytes is over the room of {limit}, see `send_buffer`"
        ),
        unsent => alloc::format!("{unsent}"),
    }
}
