//! One connection's life, and the tasks around it.
//!
//! ```text
//!            ┌─ outbound task, one a link ─▶ client ─┐
//!  records ──┤                                        ├─ driver: polls the connection ── broker
//!            └─ inbound task, one a link ◀─ channel ──┘     ▲
//!                        └──────── acknowledgements ────────┘
//! ```
//!
//! The driver polls and never waits for a record. Each link has a task of its own, so a record that is full holds back
//! only itself. A message is acknowledged when every record it is for has it, and only on a connection by which it came:
//! an acknowledgement the broker does not expect would break the new one.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aimdb_core::RuntimeContext;
use aimdb_core::link::{InboundLink, LinkStatus, Links, OutboundLink};
use aimdb_tokio_adapter::TokioAdapter;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::backoff::Backoff;
use crate::config::Settings;
use crate::inbound::{self, Arrived};
use crate::outbound;
use crate::permits::Permits;
use crate::protocol::{Client, Event, EventLoop, IN_FLIGHT, Lost, Message, NotSent, Protocol};
use crate::routes::Routes;

pub(crate) type Context = RuntimeContext<TokioAdapter>;

/// Messages one link may have waiting. More than a broker may have unacknowledged with MQTT 5.
const INBOX: usize = 1024;

/// Places of an inbox kept free for messages that will be acknowledged. The others may not take them: what comes at
/// QoS 0 and finds no place is dropped, what must be acknowledged may not be.
const RESERVED: usize = 512;

/// How long the driver waits for an inbox to empty that has just filled up. One read brings more messages than it has
/// places; they would be lost on a link that is quick enough for all of them, and only has not come to its turn.
const TURN: Duration = Duration::from_millis(20);

/// What link tasks see of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) up: bool,
    /// The largest packet that the broker takes.
    pub(crate) max_packet: usize,
}

/// An acknowledgement, and which message it is for.
pub(crate) struct Ack<A> {
    id: u16,
    serial: u64,
    ack: A,
}

/// A message whose acknowledgement is not on its way yet.
///
/// After a break a broker that kept the session sends such a message again, and must: it cannot know how far it got.
/// The record shall not get it twice for that, and its acknowledgement is expected only then.
struct Owed {
    serial: u64,
    topic: Bytes,
    payload: Bytes,
    /// The connection by which it came last.
    generation: u64,
    /// Its records have it.
    taken: bool,
}

/// Runs until shutdown, or until the connection is required and cannot be had.
pub(crate) async fn run<P: Protocol>(settings: Settings, links: Links, context: Context) {
    let Links { outbound, inbound, .. } = links;
    let (client, events) = match P::open(&settings) {
        Ok(opened) => opened,
        Err(reason) => return context.fail(reason),
    };
    let statuses =
        outbound.iter().map(OutboundLink::status).chain(inbound.iter().map(InboundLink::status));
    let statuses: Vec<Arc<LinkStatus>> = statuses.cloned().collect();
    let outbound_statuses = outbound.iter().map(|link| Arc::clone(link.status())).collect();
    let (connection, watched) = watch::channel(Connection { up: false, max_packet: usize::MAX });
    // As long as what a broker may have unacknowledged: bounded by it, not by the channel.
    let (acks_in, acks) = mpsc::unbounded_channel();
    let routes = Routes::new(&inbound);
    let inbound_statuses: Vec<_> = inbound.iter().map(|link| Arc::clone(link.status())).collect();

    let permits = Permits::new(IN_FLIGHT);
    let mut tasks = JoinSet::new();
    for link in outbound {
        let limits = outbound::Limits { payload: settings.config.max_payload };
        let (client, watched, permits) = (client.clone(), watched.clone(), permits.clone());
        tasks.spawn(outbound::run(link, client, watched, limits, permits, context.clone()));
    }
    let mut inboxes = Vec::new();
    for link in inbound {
        let (messages, arrived) = mpsc::channel(INBOX);
        inboxes.push(Inbox { messages, stuck: false });
        tasks.spawn(inbound::run(link, arrived, acks_in.clone()));
    }
    let unsubscribed = routes.iter().map(|(id, _)| id).collect();
    let driver = Driver {
        client: client.clone(),
        routes,
        inboxes,
        inbound_statuses,
        outbound_statuses,
        permits,
        identifiers: IN_FLIGHT,
        connection,
        acks,
        unsent_acks: VecDeque::new(),
        leaving: false,
        said_goodbye: false,
        owed: HashMap::new(),
        serial: 0,
        max_payload: settings.config.max_payload,
        generation: 0,
        unsubscribed,
        to_subscribe: VecDeque::new(),
        subscribing: JoinSet::new(),
        backoff: Backoff::new(settings.config.first_pause, settings.config.longest_pause),
        required_by: settings
            .config
            .require_connection
            .map(|within| tokio::time::Instant::now() + within),
        target: settings.config.shown_url(),
        context: context.clone(),
    };
    let mut driving = JoinSet::new();
    driving.spawn(driver.run(events));

    // The links end after a shutdown has closed their records; the driver ends before them only if it gave up.
    let stopped = async {
        context.stopping().await;
        while let Some(ended) = tasks.join_next().await {
            propagate(ended);
        }
    };
    tokio::select! {
        () = stopped => {}
        Some(gave_up) = driving.join_next() => {
            if let Err(reason) = propagate(gave_up) {
                statuses.iter().for_each(|status| status.set_error(&reason));
                context.fail(reason);
            }
            return;
        }
    }
    if watched.borrow().up {
        // With the last sender gone the driver knows that it has seen every acknowledgement. A goodbye from here could
        // overtake some, and what a kept session has not acknowledged comes again.
        drop(acks_in);
        driving.join_next().await;
    }
}

/// A panic in a task of ours is this stage's panic.
fn propagate<O>(ended: Result<O, tokio::task::JoinError>) -> O {
    match ended {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The way to an inbound task.
struct Inbox<A> {
    messages: mpsc::Sender<Arrived<A>>,
    /// It was waited for in vain, and has not been emptied since: its record is full, or its codec slow.
    stuck: bool,
}

impl<A> Inbox<A> {
    /// Whether there is a place for a message that will not be acknowledged, maybe after the task has had its turn.
    async fn has_room(&mut self) -> bool {
        let free = self.messages.capacity();
        self.stuck &= free < INBOX - INBOX / 8;
        if free > RESERVED || self.stuck {
            return free > RESERVED;
        }
        let emptied = self.messages.reserve_many(INBOX - INBOX / 8);
        self.stuck = !matches!(tokio::time::timeout(TURN, emptied).await, Ok(Ok(_)));
        self.messages.capacity() > RESERVED
    }
}

struct Driver<C: Client> {
    client: C,
    routes: Routes,
    inboxes: Vec<Inbox<C::Ack>>,
    inbound_statuses: Vec<Arc<LinkStatus>>,
    outbound_statuses: Vec<Arc<LinkStatus>>,
    permits: Permits,
    /// How many permits there are.
    identifiers: u16,
    connection: watch::Sender<Connection>,
    acks: mpsc::UnboundedReceiver<Ack<C::Ack>>,
    /// Those for which the client had no room yet.
    unsent_acks: VecDeque<C::Ack>,
    /// No acknowledgement will come any more, nor anything else of the links.
    leaving: bool,
    said_goodbye: bool,
    /// By packet identifier, in the session that the broker has of us.
    owed: HashMap<u16, Owed>,
    /// Numbers messages.
    serial: u64,
    max_payload: usize,
    /// Counts connections.
    generation: u64,
    /// Identifiers of routes that the session is not known to have. At the start that is all of them, also where the
    /// broker kept a session: it may be an earlier program's, with other links.
    unsubscribed: BTreeSet<usize>,
    /// Identifiers of routes that have yet to be asked for.
    to_subscribe: VecDeque<usize>,
    subscribing: JoinSet<(u64, usize, Result<(), NotSent>)>,
    backoff: Backoff,
    required_by: Option<tokio::time::Instant>,
    target: String,
    context: Context,
}

impl<C: Client> Driver<C> {
    /// Polls until the client has said goodbye, or gives up with the reason.
    async fn run(mut self, mut events: impl EventLoop<Ack = C::Ack>) -> Result<(), String> {
        let stopping = self.context.clone();
        let mut stopping = std::pin::pin!(stopping.stopping());
        let mut taking_in = true;
        loop {
            // One poll future for one event: a poll that is dropped half way may lose what it was doing.
            let mut poll = std::pin::pin!(events.poll());
            let event = loop {
                tokio::select! {
                    biased;
                    event = &mut poll => break event,
                    ack = self.acks.recv(), if self.unsent_acks.is_empty() && !self.leaving => match ack {
                        Some(ack) => self.acknowledge(ack),
                        None => {
                            self.leaving = true;
                            self.say_goodbye();
                        }
                    },
                    Some(Ok(answer)) = self.subscribing.join_next(), if !self.subscribing.is_empty() => self.subscribed(answer),
                    () = &mut stopping, if taking_in => {
                        // What is in the inboxes will still be delivered; nothing is added to them.
                        taking_in = false;
                        self.inboxes.clear();
                    }
                }
            };
            match event {
                Ok(Event::Connected { session_present, max_packet, identifiers }) => {
                    self.permits.resize(self.identifiers, identifiers);
                    self.identifiers = identifiers;
                    self.connected(session_present, max_packet);
                }
                Ok(Event::Message(message)) if taking_in => self.route(message).await,
                Ok(Event::Acknowledged(id)) => _ = self.owed.remove(&id),
                Ok(Event::Message(_) | Event::Other) => {}
                Err(Lost { over: true, .. }) => break,
                // The acknowledgements were for this connection. On another one their messages would come again, to links
                // that are no more.
                Err(_) if self.leaving => break,
                Err(lost) => self.lost(lost).await?,
            }
            self.catch_up();
        }
        events.close().await;
        Ok(())
    }

    /// Once every acknowledgement is with the client.
    fn say_goodbye(&mut self) {
        if self.leaving && !self.said_goodbye && self.unsent_acks.is_empty() {
            self.said_goodbye = self.client.try_disconnect();
        }
    }

    /// What found no room in the client before.
    fn catch_up(&mut self) {
        while let Some(ack) = self.unsent_acks.pop_front() {
            if let Err(unsent) = self.client.try_ack(ack) {
                self.unsent_acks.push_front(unsent);
                break;
            }
        }
        self.say_goodbye();
        while let Some(&id) = self.to_subscribe.front() {
            let Some(route) =
                self.routes.iter().find(|(known, _)| *known == id).map(|(_, route)| route)
            else {
                return;
            };
            let Some(notice) = self.client.try_subscribe(&route.filter, route.qos, id) else {
                return;
            };
            self.to_subscribe.pop_front();
            let generation = self.generation;
            self.subscribing.spawn(async move { (generation, id, notice.await) });
        }
    }

    /// The records have a message.
    fn acknowledge(&mut self, Ack { id, serial, ack }: Ack<C::Ack>) {
        // One that is not owed belongs to a session that is gone.
        let Some(owed) = self.owed.get_mut(&id).filter(|owed| owed.serial == serial) else {
            return;
        };
        owed.taken = true;
        // One that came by an earlier connection is acknowledged when the broker sends it again.
        if owed.generation == self.generation {
            self.unsent_acks.extend(self.client.try_ack(ack).err());
        }
    }

    /// Whether the message came before, by an earlier connection of this session, and is with its records or on its way
    /// there.
    fn is_known(&mut self, message: &Message<C::Ack>) -> bool {
        let generation = self.generation;
        let same = |owed: &&mut Owed| {
            message.again && owed.topic == message.topic && owed.payload == message.payload
        };
        self.owed.get_mut(&message.id).filter(same).is_some_and(|owed| {
            owed.generation = generation;
            true
        })
    }

    fn connected(&mut self, session_present: bool, max_packet: usize) {
        self.generation += 1;
        self.backoff.reset();
        self.required_by = None;
        self.context.log().info(format_args!("connected to {}", self.target));
        self.outbound_statuses.iter().for_each(|status| status.set_connected());
        if !session_present {
            self.owed.clear();
            self.unsubscribed = self.routes.iter().map(|(id, _)| id).collect();
        }
        for (_, route) in self.routes.iter().filter(|(id, _)| !self.unsubscribed.contains(id)) {
            route.links.iter().for_each(|&link| self.inbound_statuses[link].set_connected());
        }
        self.to_subscribe = self.unsubscribed.iter().copied().collect();
        self.connection.send_replace(Connection { up: true, max_packet });
    }

    fn subscribed(&mut self, (generation, id, outcome): (u64, usize, Result<(), NotSent>)) {
        if generation != self.generation {
            return;
        }
        let Some((_, route)) = self.routes.iter().find(|(known, _)| *known == id) else { return };
        match outcome {
            Ok(()) => {
                self.unsubscribed.remove(&id);
                route.links.iter().for_each(|&link| self.inbound_statuses[link].set_connected());
            }
            // The next connection subscribes anew.
            Err(NotSent::Lost) => {}
            Err(NotSent::Refused(reason)) => {
                let reason =
                    format!("the broker refused the subscription to `{}`: {reason}", route.filter);
                route.links.iter().for_each(|&link| self.inbound_statuses[link].set_error(&reason));
                self.context.log().error(reason);
            }
        }
    }

    async fn route(&mut self, message: Message<C::Ack>) {
        if message.ack.is_some() && self.is_known(&message) {
            let taken = self.owed.get(&message.id).is_some_and(|owed| owed.taken);
            self.unsent_acks.extend(message.ack.filter(|_| taken));
            return;
        }
        let Message { topic, payload, subscriptions, ack, id, .. } = message;
        let text = String::from_utf8_lossy(&topic);
        let links = self.routes.links(&subscriptions, &text);
        let (size, limit) = (payload.len(), self.max_payload);
        if links.is_empty() || size > limit {
            let reason = match links.is_empty() {
                true => "no link is for it; a kept session may have a subscription too many".into(),
                false => {
                    format!("its {size} bytes are over the limit of {limit}, see `max_payload`")
                }
            };
            let reason = format!("a message on `{text}` was dropped: {reason}");
            for link in links {
                let status = &self.inbound_statuses[link];
                status.count_received();
                status.count_dropped();
                status.set_error(&reason);
            }
            self.context.log().warn(reason);
            // It is dealt with: kept back, it would only keep others back.
            self.unsent_acks.extend(ack);
            return;
        }
        let certain = ack.is_some();
        let ack = ack.map(|ack| self.owe(id, ack, &topic, &payload));
        let arrived = Arrived::new(Arc::from(text), payload, ack);
        for link in links {
            let inbox = &mut self.inboxes[link];
            if certain {
                // Room is there unless a broker without a receive maximum sends more than that. Then not reading on is
                // the only way to hold it back.
                let _closed = inbox.messages.send(arrived.clone()).await;
            } else if inbox.has_room().await {
                let _closed = inbox.messages.try_send(arrived.clone());
            } else {
                self.inbound_statuses[link].count_received();
                self.inbound_statuses[link].count_dropped();
            }
        }
    }

    fn owe(&mut self, id: u16, ack: C::Ack, topic: &Bytes, payload: &Bytes) -> Ack<C::Ack> {
        self.serial += 1;
        let Self { serial, generation, .. } = *self;
        let (topic, payload) = (topic.clone(), payload.clone());
        self.owed.insert(id, Owed { serial, topic, payload, generation, taken: false });
        Ack { id, serial, ack }
    }

    async fn lost(&mut self, lost: Lost) -> Result<(), String> {
        self.generation += 1;
        self.unsent_acks.clear();
        // The limit stays until the broker says another: what is sent again meanwhile must not break it.
        let was_up = self.connection.borrow().up;
        self.connection.send_modify(|connection| connection.up = false);
        for status in self.outbound_statuses.iter().chain(&self.inbound_statuses) {
            status.set_disconnected();
            status.set_error(&lost.reason);
        }
        let target = &self.target;
        let what = if was_up { "lost the connection to" } else { "no connection to" };
        let reason = format!("{what} {target}: {}", lost.reason);
        let late = self
            .required_by
            .is_some_and(|deadline| lost.refused || tokio::time::Instant::now() >= deadline);
        if late {
            return Err(reason);
        }
        let pause = self.backoff.next_pause(fastrand::u16(..));
        let limit = self
            .required_by
            .map_or(Duration::MAX, |deadline| deadline - tokio::time::Instant::now());
        let pause = pause.min(limit);
        self.context.log().warn(format_args!("{reason}; next attempt in {pause:.1?}"));
        // A shutdown does not wait for a pause to end; the pauses after it do, for whatever is still to be sent.
        let already_stopping = self.context.is_stopping();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.context.stopping(), if !already_stopping => {}
        }
        Ok(())
    }
}

/// The bytes an outgoing packet needs at most.
pub(crate) fn packet_size(topic: &str, payload: &Bytes) -> usize {
    // Fixed header, packet identifier, topic length, properties.
    payload.len() + topic.len() + 16
}
