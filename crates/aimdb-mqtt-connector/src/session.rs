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
//! only itself. A message is acknowledged when every record it is for has it, and only on the connection it came by: an
//! acknowledgement the broker does not expect would break the new one.

use std::collections::VecDeque;
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
use crate::protocol::{Client, Event, EventLoop, Lost, Message, NotSent, Protocol};
use crate::routes::Routes;

pub(crate) type Context = RuntimeContext<TokioAdapter>;

/// Messages one link may have waiting. More than a broker may have unacknowledged with MQTT 5.
const INBOX: usize = 1024;

/// Places of an inbox kept free for messages that will be acknowledged. The others may not take them: what comes at
/// QoS 0 and finds no place is dropped, what must be acknowledged may not be.
const RESERVED: usize = 512;

/// What link tasks see of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) up: bool,
    /// The largest packet that the broker takes.
    pub(crate) max_packet: usize,
}

/// An acknowledgement and the connection it belongs to.
pub(crate) struct Ack<A> {
    pub(crate) generation: u64,
    pub(crate) ack: A,
}

/// Runs until shutdown, or until the connection is required and cannot be had.
pub(crate) async fn run<P: Protocol>(settings: Settings, links: Links, context: Context) {
    let Links { outbound, inbound } = links;
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

    let mut tasks = JoinSet::new();
    for link in outbound {
        let limits = outbound::Limits { payload: settings.config.max_payload };
        tasks.spawn(outbound::run(link, client.clone(), watched.clone(), limits, context.clone()));
    }
    let mut inboxes = Vec::new();
    for link in inbound {
        let (inbox, arrived) = mpsc::channel(INBOX);
        inboxes.push(inbox);
        tasks.spawn(inbound::run(link, arrived, acks_in.clone()));
    }
    let driver = Driver {
        client: client.clone(),
        routes,
        inboxes,
        inbound_statuses,
        outbound_statuses,
        connection,
        acks,
        unsent_ack: None,
        generation: 0,
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
                statuses.iter().for_each(|status| status.error(&reason));
                context.fail(reason);
            }
            return;
        }
    }
    if watched.borrow().up {
        client.try_disconnect();
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

struct Driver<C: Client> {
    client: C,
    routes: Routes,
    inboxes: Vec<mpsc::Sender<Arrived<C::Ack>>>,
    inbound_statuses: Vec<Arc<LinkStatus>>,
    outbound_statuses: Vec<Arc<LinkStatus>>,
    connection: watch::Sender<Connection>,
    acks: mpsc::UnboundedReceiver<Ack<C::Ack>>,
    /// One for which the client had no room.
    unsent_ack: Option<C::Ack>,
    /// Counts connections.
    generation: u64,
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
                    Some(ack) = self.acks.recv(), if self.unsent_ack.is_none() => self.acknowledge(ack),
                    Some(Ok(answer)) = self.subscribing.join_next(), if !self.subscribing.is_empty() => self.subscribed(answer),
                    () = &mut stopping, if taking_in => {
                        // What is in the inboxes will still be delivered; nothing is added to them.
                        taking_in = false;
                        self.inboxes.clear();
                    }
                }
            };
            match event {
                Ok(Event::Connected { session_present, max_packet }) => {
                    self.connected(session_present, max_packet)
                }
                Ok(Event::Message(message)) if taking_in => self.route(message).await,
                Ok(Event::Message(_) | Event::Other) => {}
                Err(Lost { over: true, .. }) => return Ok(()),
                Err(lost) => self.lost(lost).await?,
            }
            self.catch_up();
        }
    }

    /// What found no room in the client before.
    fn catch_up(&mut self) {
        if let Some(ack) = self.unsent_ack.take() {
            self.unsent_ack = self.client.try_ack(ack).err();
        }
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

    fn acknowledge(&mut self, ack: Ack<C::Ack>) {
        // One from an earlier connection is answered by the broker's sending the message again.
        if ack.generation == self.generation {
            self.unsent_ack = self.client.try_ack(ack.ack).err();
        }
    }

    fn connected(&mut self, session_present: bool, max_packet: usize) {
        self.generation += 1;
        self.backoff.reset();
        self.required_by = None;
        self.context.log().info(format_args!("connected to {}", self.target));
        self.outbound_statuses.iter().for_each(|status| status.connected());
        if session_present {
            self.inbound_statuses.iter().for_each(|status| status.connected());
        } else {
            self.to_subscribe = self.routes.iter().map(|(id, _)| id).collect();
        }
        self.connection.send_replace(Connection { up: true, max_packet });
    }

    fn subscribed(&mut self, (generation, id, outcome): (u64, usize, Result<(), NotSent>)) {
        if generation != self.generation {
            return;
        }
        let Some((_, route)) = self.routes.iter().find(|(known, _)| *known == id) else { return };
        match outcome {
            Ok(()) => route.links.iter().for_each(|&link| self.inbound_statuses[link].connected()),
            // The next connection subscribes anew.
            Err(NotSent::Lost) => {}
            Err(NotSent::Refused(reason)) => {
                let reason =
                    format!("the broker refused the subscription to `{}`: {reason}", route.filter);
                route.links.iter().for_each(|&link| self.inbound_statuses[link].error(&reason));
                self.context.log().error(reason);
            }
        }
    }

    async fn route(&mut self, message: Message<C::Ack>) {
        let Message { topic, payload, subscriptions, ack } = message;
        let topic = String::from_utf8_lossy(&topic);
        let links = self.routes.links(&subscriptions, &topic);
        let certain = ack.is_some();
        let arrived = Arrived::new(Arc::from(topic), payload, self.generation, ack);
        for link in links {
            let inbox = &self.inboxes[link];
            if certain {
                // Room is there unless a broker without a receive maximum sends more than that. Then not reading on is
                // the only way to hold it back.
                let _closed = inbox.send(arrived.clone()).await;
            } else if inbox.capacity() > RESERVED {
                let _closed = inbox.try_send(arrived.clone());
            } else {
                self.inbound_statuses[link].received();
                self.inbound_statuses[link].dropped();
            }
        }
    }

    async fn lost(&mut self, lost: Lost) -> Result<(), String> {
        self.generation += 1;
        self.unsent_ack = None;
        let was_up =
            self.connection.send_replace(Connection { up: false, max_packet: usize::MAX }).up;
        for status in self.outbound_statuses.iter().chain(&self.inbound_statuses) {
            status.disconnected();
            status.error(&lost.reason);
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
        let pause = self.backoff.next_pause();
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
