//! The driver of one connection, and the link tasks around it.
//!
//! ```text
//!            ┌─ outbound task, one per link ─▶ client ─┐
//!  records ──┤                                          ├─ driver: polls the connection ── broker
//!            └─ inbound task, one per link ◀─ inbox ────┘     ▲
//!                        └───────── acknowledgements ─────────┘
//! ```
//!
//! The driver polls the connection and never waits for a record. Each link has its own task, so a full record holds
//! back only its own messages.
//!
//! The driver acknowledges a message when every record it is for has it, and only on the connection that delivered it
//! last: an acknowledgement that the broker does not expect would break a new connection.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aimdb_core::link::{InboundLink, LinkStatus, Links, OutboundLink};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::config::ResolvedConfig;
use super::connection::{ConnectionState, Context};
use super::inbound::{self, InboundMessage, MessageAck};
use super::outbound;
use super::permits::Permits;
use super::protocol::{
    Client, ConnectionEvent, ConnectionLost, EventLoop, MAX_IN_FLIGHT, Protocol, ReceivedPublish,
    RequestError,
};
use crate::backoff::Backoff;
use crate::routes::Routes;

/// Messages that may wait in the inbox of one link. More than a broker may have unacknowledged with MQTT 5.
const INBOX_CAPACITY: usize = 1024;

/// Slots of an inbox that only messages at QoS 1 and 2 may use. A message at QoS 0 without a slot is dropped; a message
/// that must be acknowledged may not be.
const RESERVED_SLOTS: usize = 512;

/// How long the driver waits for an inbox that has just filled up. One read can bring more messages at QoS 0 than the
/// inbox has slots; without the wait they would be lost even for a link task that is fast enough and only has not run
/// yet.
const INBOX_GRACE: Duration = Duration::from_millis(20);

/// A message whose acknowledgement is not sent yet.
///
/// After a broken connection, a broker that kept the session sends such a message again. The record must not receive it
/// twice, and the broker expects the acknowledgement only after the second transmission.
struct PendingAck {
    sequence: u64,
    topic: Bytes,
    payload: Bytes,
    /// The connection that delivered the message last.
    generation: u64,
    /// Whether every record of the message has it.
    delivered: bool,
}

/// Runs until shutdown, or until a required connection fails.
pub(crate) async fn run<P: Protocol>(config: ResolvedConfig, links: Links, context: Context) {
    let Links { outbound, inbound, .. } = links;
    let (client, events) = match P::open(&config) {
        Ok(opened) => opened,
        Err(reason) => return context.fail(reason),
    };
    let statuses =
        outbound.iter().map(OutboundLink::status).chain(inbound.iter().map(InboundLink::status));
    let statuses: Vec<Arc<LinkStatus>> = statuses.cloned().collect();
    let outbound_statuses = outbound.iter().map(|link| Arc::clone(link.status())).collect();
    let (connection, connection_watch) =
        watch::channel(ConnectionState { connected: false, max_packet: usize::MAX });
    // The number of messages that a broker may have unacknowledged bounds this channel.
    let (ack_sender, acks) = mpsc::unbounded_channel();
    let routes = Routes::new(&inbound);
    let inbound_statuses: Vec<_> = inbound.iter().map(|link| Arc::clone(link.status())).collect();

    let permits = Permits::new(MAX_IN_FLIGHT);
    let mut tasks = JoinSet::new();
    for link in outbound {
        let max_payload = config.config.max_payload;
        let (client, connection, permits) =
            (client.clone(), connection_watch.clone(), permits.clone());
        tasks.spawn(outbound::run(link, client, connection, max_payload, permits, context.clone()));
    }
    let mut inboxes = Vec::new();
    for link in inbound {
        let (sender, inbox) = mpsc::channel(INBOX_CAPACITY);
        inboxes.push(InboxSender { sender, blocked: false });
        tasks.spawn(inbound::run(link, inbox, ack_sender.clone()));
    }
    let unsubscribed = routes.iter().map(|(id, _)| id).collect();
    let driver = Driver {
        client: client.clone(),
        routes,
        inboxes,
        inbound_statuses,
        outbound_statuses,
        permits,
        max_in_flight: MAX_IN_FLIGHT,
        connection,
        acks,
        unsent_acks: VecDeque::new(),
        draining: false,
        disconnect_queued: false,
        pending_acks: HashMap::new(),
        last_sequence: 0,
        max_payload: config.config.max_payload,
        generation: 0,
        unsubscribed,
        to_subscribe: VecDeque::new(),
        subscribing: JoinSet::new(),
        backoff: Backoff::new(config.config.first_pause, config.config.max_pause),
        required_by: config
            .config
            .require_connection
            .map(|within| tokio::time::Instant::now() + within),
        target: config.config.redacted_url(),
        context: context.clone(),
    };
    let mut driver_task = JoinSet::new();
    driver_task.spawn(driver.run(events));

    // The link tasks end after a shutdown has closed their records. The driver ends before them only if it gives up.
    let stopped = async {
        context.stopping().await;
        while let Some(result) = tasks.join_next().await {
            propagate_panic(result);
        }
    };
    tokio::select! {
        () = stopped => {}
        Some(result) = driver_task.join_next() => {
            if let Err(reason) = propagate_panic(result) {
                statuses.iter().for_each(|status| status.set_error(&reason));
                context.fail(reason);
            }
            return;
        }
    }
    if connection_watch.borrow().connected {
        // When the last sender is dropped, the driver has received every acknowledgement. A DISCONNECT queued from here
        // could overtake some of them, and a broker that keeps the session would send their messages again.
        drop(ack_sender);
        driver_task.join_next().await;
    }
}

/// A panic in a task of this connector is a panic of its stage.
fn propagate_panic<O>(result: Result<O, tokio::task::JoinError>) -> O {
    match result {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The driver's end of the channel to one inbound task.
struct InboxSender<A> {
    sender: mpsc::Sender<InboundMessage<A>>,
    /// The driver waited for this inbox without success, and it has not been nearly empty since: its record is full, or
    /// its codec slow.
    blocked: bool,
}

impl<A> InboxSender<A> {
    /// Whether there is a slot for a message at QoS 0. Waits up to [`INBOX_GRACE`] for the link task to run.
    async fn has_room(&mut self) -> bool {
        let free = self.sender.capacity();
        self.blocked &= free < INBOX_CAPACITY - INBOX_CAPACITY / 8;
        if free > RESERVED_SLOTS || self.blocked {
            return free > RESERVED_SLOTS;
        }
        let nearly_empty = self.sender.reserve_many(INBOX_CAPACITY - INBOX_CAPACITY / 8);
        self.blocked = !matches!(tokio::time::timeout(INBOX_GRACE, nearly_empty).await, Ok(Ok(_)));
        self.sender.capacity() > RESERVED_SLOTS
    }
}

struct Driver<C: Client> {
    client: C,
    routes: Routes,
    inboxes: Vec<InboxSender<C::Ack>>,
    inbound_statuses: Vec<Arc<LinkStatus>>,
    outbound_statuses: Vec<Arc<LinkStatus>>,
    permits: Permits,
    /// The current number of permits.
    max_in_flight: u16,
    connection: watch::Sender<ConnectionState>,
    acks: mpsc::UnboundedReceiver<MessageAck<C::Ack>>,
    /// Acknowledgements for which the client had no room yet.
    unsent_acks: VecDeque<C::Ack>,
    /// The link tasks have ended: neither acknowledgements nor publishes will follow.
    draining: bool,
    /// The client has accepted the DISCONNECT.
    disconnect_queued: bool,
    /// By packet identifier, for the session that the broker has of this client.
    pending_acks: HashMap<u16, PendingAck>,
    /// The sequence number of the last message at QoS 1 or 2.
    last_sequence: u64,
    max_payload: usize,
    /// Incremented when a connection begins and when it ends.
    generation: u64,
    /// Identifiers of the routes that the session may lack. At the start these are all routes, even if the broker kept
    /// a session: an earlier program with other links may have created it.
    unsubscribed: BTreeSet<usize>,
    /// Identifiers of the routes whose SUBSCRIBE is not queued yet.
    to_subscribe: VecDeque<usize>,
    subscribing: JoinSet<(u64, usize, Result<(), RequestError>)>,
    backoff: Backoff,
    required_by: Option<tokio::time::Instant>,
    target: String,
    context: Context,
}

impl<C: Client> Driver<C> {
    /// Polls the connection until the client has disconnected on request.
    ///
    /// # Errors
    ///
    /// The reason why a required connection failed.
    async fn run(mut self, mut events: impl EventLoop<Ack = C::Ack>) -> Result<(), String> {
        let stopping = self.context.clone();
        let mut stopping = std::pin::pin!(stopping.stopping());
        let mut accepting = true;
        loop {
            // One poll future per event: a poll dropped before it is ready may lose its work.
            let mut poll = std::pin::pin!(events.poll());
            let event = loop {
                tokio::select! {
                    biased;
                    event = &mut poll => break event,
                    ack = self.acks.recv(), if self.unsent_acks.is_empty() && !self.draining => match ack {
                        Some(ack) => self.acknowledge(ack),
                        None => {
                            self.draining = true;
                            self.disconnect_if_drained();
                        }
                    },
                    Some(Ok(result)) = self.subscribing.join_next(), if !self.subscribing.is_empty() => self.handle_subscription(result),
                    () = &mut stopping, if accepting => {
                        // The link tasks still deliver the messages in the inboxes; the driver adds none.
                        accepting = false;
                        self.inboxes.clear();
                    }
                }
            };
            match event {
                Ok(ConnectionEvent::Connected { session_present, max_packet, max_in_flight }) => {
                    self.permits.resize(self.max_in_flight, max_in_flight);
                    self.max_in_flight = max_in_flight;
                    self.handle_connected(session_present, max_packet);
                }
                Ok(ConnectionEvent::Publish(publish)) if accepting => self.dispatch(publish).await,
                Ok(ConnectionEvent::Acknowledged(id)) => _ = self.pending_acks.remove(&id),
                Ok(ConnectionEvent::Publish(_) | ConnectionEvent::Other) => {}
                Err(ConnectionLost { on_request: true, .. }) => break,
                // The unsent acknowledgements belonged to this connection. On another one the broker would send their
                // messages again, to links that no longer exist.
                Err(_) if self.draining => break,
                Err(lost) => self.handle_connection_lost(lost).await?,
            }
            self.retry_unsent();
        }
        events.close().await;
        Ok(())
    }

    /// Queues the DISCONNECT once the client has accepted every acknowledgement.
    fn disconnect_if_drained(&mut self) {
        if self.draining && !self.disconnect_queued && self.unsent_acks.is_empty() {
            self.disconnect_queued = self.client.try_disconnect();
        }
    }

    /// Retries the requests for which the client had no room.
    fn retry_unsent(&mut self) {
        while let Some(ack) = self.unsent_acks.pop_front() {
            if let Err(unsent) = self.client.try_ack(ack) {
                self.unsent_acks.push_front(unsent);
                break;
            }
        }
        self.disconnect_if_drained();
        while let Some(&id) = self.to_subscribe.front() {
            let Some(route) =
                self.routes.iter().find(|(known, _)| *known == id).map(|(_, route)| route)
            else {
                return;
            };
            let Some(completion) = self.client.try_subscribe(&route.filter, route.qos, id) else {
                return;
            };
            self.to_subscribe.pop_front();
            let generation = self.generation;
            self.subscribing.spawn(async move { (generation, id, completion.await) });
        }
    }

    /// Acknowledges a message that every one of its records has.
    fn acknowledge(&mut self, MessageAck { id, sequence, ack }: MessageAck<C::Ack>) {
        // A message that is not pending belongs to a session that the broker has lost.
        let Some(pending) =
            self.pending_acks.get_mut(&id).filter(|pending| pending.sequence == sequence)
        else {
            return;
        };
        pending.delivered = true;
        // A message of an earlier connection is acknowledged when the broker sends it again.
        if pending.generation == self.generation {
            self.unsent_acks.extend(self.client.try_ack(ack).err());
        }
    }

    /// Whether `publish` repeats a message of an earlier connection of this session that its records have or will
    /// receive. If so, its acknowledgement belongs to the current connection from now on.
    fn adopt_redelivery(&mut self, publish: &ReceivedPublish<C::Ack>) -> bool {
        let generation = self.generation;
        let same = |pending: &&mut PendingAck| {
            publish.dup && pending.topic == publish.topic && pending.payload == publish.payload
        };
        self.pending_acks.get_mut(&publish.id).filter(same).is_some_and(|pending| {
            pending.generation = generation;
            true
        })
    }

    fn handle_connected(&mut self, session_present: bool, max_packet: usize) {
        self.generation += 1;
        self.backoff.reset();
        self.required_by = None;
        self.context.log().info(format_args!("connected to {}", self.target));
        self.outbound_statuses.iter().for_each(|status| status.set_connected());
        if !session_present {
            self.pending_acks.clear();
            self.unsubscribed = self.routes.iter().map(|(id, _)| id).collect();
        }
        for (_, route) in self.routes.iter().filter(|(id, _)| !self.unsubscribed.contains(id)) {
            route.links.iter().for_each(|&link| self.inbound_statuses[link].set_connected());
        }
        self.to_subscribe = self.unsubscribed.iter().copied().collect();
        self.connection.send_replace(ConnectionState { connected: true, max_packet });
    }

    fn handle_subscription(
        &mut self,
        (generation, id, outcome): (u64, usize, Result<(), RequestError>),
    ) {
        if generation != self.generation {
            return;
        }
        let Some((_, route)) = self.routes.iter().find(|(known, _)| *known == id) else { return };
        match outcome {
            Ok(()) => {
                self.unsubscribed.remove(&id);
                route.links.iter().for_each(|&link| self.inbound_statuses[link].set_connected());
            }
            // The driver subscribes again on the next connection.
            Err(RequestError::SessionLost) => {}
            Err(RequestError::Refused(reason)) => {
                let reason =
                    format!("the broker refused the subscription to `{}`: {reason}", route.filter);
                route.links.iter().for_each(|&link| self.inbound_statuses[link].set_error(&reason));
                self.context.log().error(reason);
            }
        }
    }

    /// Passes a received message to the inboxes of its links.
    async fn dispatch(&mut self, publish: ReceivedPublish<C::Ack>) {
        if publish.ack.is_some() && self.adopt_redelivery(&publish) {
            let delivered =
                self.pending_acks.get(&publish.id).is_some_and(|pending| pending.delivered);
            self.unsent_acks.extend(publish.ack.filter(|_| delivered));
            return;
        }
        let ReceivedPublish { topic, payload, subscriptions, ack, id, attributes, .. } = publish;
        let text = String::from_utf8_lossy(&topic);
        let links = self.routes.links(&subscriptions, &text);
        let (size, limit) = (payload.len(), self.max_payload);
        if links.is_empty() || size > limit {
            let reason = match links.is_empty() {
                true => "no link subscribes to it; a kept session may have a subscription too many"
                    .into(),
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
            // Acknowledge it anyway: an unacknowledged message would block later ones.
            self.unsent_acks.extend(ack);
            return;
        }
        let needs_ack = ack.is_some();
        let ack = ack.map(|ack| self.register_pending_ack(id, ack, &topic, &payload));
        let message = InboundMessage::new(Arc::from(text), payload, attributes, ack);
        for link in links {
            let inbox = &mut self.inboxes[link];
            if needs_ack {
                // The inbox has a slot unless a broker without a receive maximum sends more messages than that. Then
                // the only way to hold the broker back is to stop reading.
                let _closed = inbox.sender.send(message.clone()).await;
            } else if inbox.has_room().await {
                let _closed = inbox.sender.try_send(message.clone());
            } else {
                self.inbound_statuses[link].count_received();
                self.inbound_statuses[link].count_dropped();
            }
        }
    }

    fn register_pending_ack(
        &mut self,
        id: u16,
        ack: C::Ack,
        topic: &Bytes,
        payload: &Bytes,
    ) -> MessageAck<C::Ack> {
        self.last_sequence += 1;
        let Self { last_sequence: sequence, generation, .. } = *self;
        let (topic, payload) = (topic.clone(), payload.clone());
        let pending = PendingAck { sequence, topic, payload, generation, delivered: false };
        self.pending_acks.insert(id, pending);
        MessageAck { id, sequence, ack }
    }

    /// Records the loss, and waits for the backoff.
    ///
    /// # Errors
    ///
    /// The reason of the loss, if the connection is required and cannot succeed in time.
    async fn handle_connection_lost(&mut self, lost: ConnectionLost) -> Result<(), String> {
        self.generation += 1;
        self.unsent_acks.clear();
        // `max_packet` keeps its value until the next CONNACK: a message sent again before it must respect the limit.
        let was_connected = self.connection.borrow().connected;
        self.connection.send_modify(|connection| connection.connected = false);
        for status in self.outbound_statuses.iter().chain(&self.inbound_statuses) {
            status.set_disconnected();
            status.set_error(&lost.reason);
        }
        let target = &self.target;
        let what = if was_connected { "lost the connection to" } else { "no connection to" };
        let reason = format!("{what} {target}: {}", lost.reason);
        let failed = self
            .required_by
            .is_some_and(|deadline| lost.refused || tokio::time::Instant::now() >= deadline);
        if failed {
            return Err(reason);
        }
        let pause = self.backoff.next_pause(fastrand::u16(..));
        let limit = self
            .required_by
            .map_or(Duration::MAX, |deadline| deadline - tokio::time::Instant::now());
        let pause = pause.min(limit);
        self.context.log().warn(format_args!("{reason}; next attempt in {pause:.1?}"));
        // The beginning of a shutdown ends this pause. Pauses that begin after it run in full, for the messages that
        // are still to be sent.
        let already_stopping = self.context.is_stopping();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.context.stopping(), if !already_stopping => {}
        }
        Ok(())
    }
}
