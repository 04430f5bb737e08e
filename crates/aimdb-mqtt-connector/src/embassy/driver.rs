//! The driver of one session: it connects, serves both directions, and reconnects.
//!
//! ```text
//!  records ─▶ OutboundLinks ─▶ ┌────────┐
//!                              │ client │ ─ PacketDemux ─ stream ── broker
//!                              └────────┘        │
//!  records ◀─ InboundLinks ◀───── Exchange ──────┘
//! ```
//!
//! The driver is one task. It waits for the next event of any kind and never for a single record. Incoming messages
//! bypass the client, because the client would acknowledge them before a record has them.

use aimdb_core::Arc;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use aimdb_core::link::{LinkStatus, Links, OutboundLink};
use aimdb_core::race::{Either, race};
use aimdb_core::{Runtime, RuntimeContext};
use embedded_io_async::{Read, Write};
use minimq::{
    Buffers, ConfigBuilder, ConnectEvent, Connection, Error, Io, Op, PeerError, Property,
    ReasonCode, ResourceError, Session, SubscriptionOptions, TopicFilter, Will,
};

use super::config::EmbassyConfig;
use super::demux::{Exchange, PacketDemux};
use super::inbound::InboundLinks;
use super::network::Network;
use super::outbound::{OutboundLinks, client_qos};
use super::packet::RawPacket;
use crate::backoff::Backoff;

/// How long the broker may take to close the connection after the DISCONNECT.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs until a shutdown has drained every link.
pub(crate) async fn run<N: Network, R: Runtime>(
    mut network: N,
    config: EmbassyConfig,
    links: Links,
    context: RuntimeContext<R>,
) {
    let (mut receive, mut send) = (vec![0; config.receive_buffer], vec![0; config.send_buffer]);
    let mut session = match open_session(&config, Buffers::new(&mut receive, &mut send)) {
        Ok(session) => session,
        Err(fault) => return context.fail(fault),
    };
    let mut driver = Driver::new(&config, links, context);
    while let Err(reason) = driver.run_connection(&mut network, &mut session).await {
        driver.handle_connection_lost(&reason);
    }
}

fn open_session<'s>(
    config: &'s EmbassyConfig,
    buffers: Buffers<'s>,
) -> Result<Session<'s>, minimq::ConfigError> {
    // `EmbassyConfig::check` has checked that these are whole seconds in range.
    let seconds = |duration: Duration| duration.as_secs();
    let mut builder = ConfigBuilder::new(buffers)
        .keepalive_interval(u16::try_from(seconds(config.keep_alive)).unwrap_or(u16::MAX))
        .session_expiry_interval(u32::try_from(seconds(config.session_expiry)).unwrap_or(u32::MAX));
    if let Some(id) = &config.client_id {
        builder = builder.client_id(id)?;
    }
    if let Some((user, password)) = &config.credentials {
        builder = builder.auth(user, password.as_bytes())?;
    }
    if let Some(last_will) = &config.last_will {
        let mut will =
            Will::new(&last_will.topic, &last_will.payload, &[])?.qos(client_qos(last_will.qos));
        if last_will.retain {
            will = will.retained();
        }
        builder = builder.will(will)?;
    }
    Ok(Session::new(builder))
}

struct Driver<R> {
    outbound: OutboundLinks<R>,
    inbound: InboundLinks<R>,
    outbound_statuses: Vec<Arc<LinkStatus>>,
    subscriptions: Subscriptions,
    exchange: Rc<Exchange>,
    /// The largest incoming packet, in bytes.
    receive_buffer: usize,
    backoff: Backoff,
    /// The pause before the next attempt; zero before the first.
    pause: Duration,
    connect_timeout: Duration,
    target: String,
    was_connected: bool,
    context: RuntimeContext<R>,
}

/// The subscriptions of the session, by the identifiers of their routes.
#[derive(Default)]
struct Subscriptions {
    /// Not sent yet.
    to_send: VecDeque<usize>,
    /// Sent, without a SUBACK.
    pending: Vec<(usize, Op)>,
    granted: Vec<usize>,
}

enum DriverEvent<E> {
    /// A message was taken from a record.
    MessageTaken,
    /// The client has processed a packet.
    ClientProgress(Result<(), Error<E>>),
    /// A packet for the inbound links was received.
    PacketReceived(RawPacket),
    /// An acknowledgement was queued.
    AckQueued,
    /// A shutdown has drained the links.
    Drained,
}

impl<R: Runtime> Driver<R> {
    fn new(config: &EmbassyConfig, links: Links, context: RuntimeContext<R>) -> Self {
        let exchange = Rc::new(Exchange::default());
        let outbound_statuses = links.outbound.iter().map(OutboundLink::status).cloned().collect();
        let max_packet = config.max_message_packet();
        let outbound =
            OutboundLinks::new(links.outbound, max_packet, Rc::clone(&exchange), context.clone());
        Self {
            outbound,
            inbound: InboundLinks::new(links.inbound, Rc::clone(&exchange), context.clone()),
            outbound_statuses,
            subscriptions: Subscriptions::default(),
            exchange,
            receive_buffer: config.receive_buffer,
            backoff: Backoff::new(config.first_pause, config.max_pause),
            pause: Duration::ZERO,
            connect_timeout: config.connect_timeout,
            target: config.target.clone(),
            was_connected: false,
            context,
        }
    }

    /// Runs one connection, from the backoff before it to its end. Returns `Ok` when a shutdown has drained the links.
    ///
    /// # Errors
    ///
    /// The reason why there is no connection, or why it is lost.
    async fn run_connection<N: Network>(
        &mut self,
        network: &mut N,
        session: &mut Session<'_>,
    ) -> Result<(), String> {
        let (time, limit) = (self.context.time(), self.connect_timeout);
        let (pause, max_packet, exchange) =
            (self.pause, self.receive_buffer, Rc::clone(&self.exchange));
        let connecting = async {
            time.sleep(pause).await;
            let attempt = async {
                let stream = network.connect().await.map_err(|error| error.to_string())?;
                let demux = PacketDemux::new(stream, max_packet, exchange);
                session.connect(demux).await.map_err(|error| error.to_string())
            };
            let outcome = time.timeout(limit, attempt).await;
            outcome.unwrap_or_else(|_| Err(alloc::format!("no answer within {limit:?}")))
        };
        let mut connection = match race(connecting, self.serve_disconnected()).await {
            Either::First(Ok(connection)) => connection,
            Either::First(Err(reason)) => return Err(reason),
            Either::Second(()) => return Ok(()),
        };
        self.handle_connected(&connection);
        self.serve(&mut connection).await?;
        let _in_time = time.timeout(CLOSE_TIMEOUT, disconnect(connection)).await;
        Ok(())
    }

    /// Delivers waiting messages while there is no connection. Ready when a shutdown has drained the links.
    async fn serve_disconnected(&mut self) {
        let Self { outbound, inbound, context, .. } = self;
        let mut stopping = pin!(context.stopping());
        poll_fn(|cx| {
            let stopping = context.poll_stopping(stopping.as_mut(), cx);
            inbound.poll_waiting(stopping, cx);
            // With no level sendable this takes no message and only checks whether the records are drained.
            let _pending = outbound.poll_take([false; 3], cx);
            let drained = stopping && inbound.are_drained() && outbound.are_drained();
            if drained { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn handle_connected<IO: Io>(&mut self, connection: &Connection<'_, '_, IO>) {
        self.backoff.reset();
        self.was_connected = true;
        self.context.log().info(format_args!("connected to {}", self.target));
        self.outbound_statuses.iter().for_each(|status| status.set_connected());
        self.outbound.handle_connected(connection);
        let Self { subscriptions, inbound, .. } = self;
        let new_session = connection.connect_event() == ConnectEvent::Connected;
        inbound.handle_connected(new_session);
        if new_session {
            subscriptions.pending.clear();
            subscriptions.granted.clear();
        }
        let Subscriptions { to_send, pending, granted } = subscriptions;
        let known =
            |id: &usize| granted.contains(id) || pending.iter().any(|(other, _)| other == id);
        *to_send = inbound.routes.iter().map(|(id, _)| id).filter(|id| !known(id)).collect();
        for (_, route) in inbound.routes.iter().filter(|(id, _)| granted.contains(id)) {
            route.links.iter().for_each(|link| inbound.statuses[*link].set_connected());
        }
    }

    /// Serves both directions. Returns `Ok` when a shutdown has drained the links.
    ///
    /// # Errors
    ///
    /// The reason why the connection is lost.
    async fn serve<IO: Io>(
        &mut self,
        connection: &mut Connection<'_, '_, IO>,
    ) -> Result<(), String> {
        let context = self.context.clone();
        let mut stopping = pin!(context.stopping());
        // Alternates the direction that is polled first: neither may starve the other.
        let mut outbound_first = false;
        loop {
            self.send_subscriptions(connection).await?;
            self.outbound.send(connection).await?;
            let sendable = self.outbound.sendable(connection);
            let event = {
                let Self { outbound, inbound, exchange, .. } = self;
                let mut client = pin!(connection.poll());
                poll_fn(|cx| {
                    if outbound_first && outbound.poll_take(sendable, cx).is_ready() {
                        return Poll::Ready(DriverEvent::MessageTaken);
                    }
                    if let Poll::Ready(outcome) = client.as_mut().poll(cx) {
                        return Poll::Ready(DriverEvent::ClientProgress(outcome.map(drop)));
                    }
                    if let Some(packet) = inbound.next_packet() {
                        return Poll::Ready(DriverEvent::PacketReceived(packet));
                    }
                    let stopping = context.poll_stopping(stopping.as_mut(), cx);
                    if inbound.poll_waiting(stopping, cx) {
                        return Poll::Ready(DriverEvent::AckQueued);
                    }
                    if outbound.poll_take(sendable, cx).is_ready() {
                        return Poll::Ready(DriverEvent::MessageTaken);
                    }
                    let drained = inbound.are_drained() && outbound.are_drained();
                    if stopping && drained && exchange.acks_are_written() {
                        return Poll::Ready(DriverEvent::Drained);
                    }
                    Poll::Pending
                })
                .await
            };
            outbound_first =
                matches!(event, DriverEvent::ClientProgress(_) | DriverEvent::PacketReceived(_));
            let refusal = match event {
                DriverEvent::MessageTaken | DriverEvent::AckQueued => continue,
                DriverEvent::Drained => return Ok(()),
                DriverEvent::PacketReceived(packet) => {
                    self.inbound.handle_packet(packet).await?;
                    continue;
                }
                DriverEvent::ClientProgress(Ok(())) => None,
                DriverEvent::ClientProgress(Err(Error::Peer(PeerError::Rejected(code)))) => {
                    Some(code)
                }
                DriverEvent::ClientProgress(Err(error)) => return Err(error.to_string()),
            };
            // The client processes one packet at a time, so a refusal belongs to the request that is complete since
            // then.
            self.outbound.finish_acknowledged(connection, refusal);
            self.finish_subscriptions(connection, refusal);
        }
    }

    /// Sends the subscriptions that are not sent, as far as the client has room.
    ///
    /// # Errors
    ///
    /// The reason why the connection is lost.
    async fn send_subscriptions<IO: Io>(
        &mut self,
        connection: &mut Connection<'_, '_, IO>,
    ) -> Result<(), String> {
        let Self { subscriptions: Subscriptions { to_send, pending, .. }, inbound, .. } = self;
        while let Some(&id) = to_send.front() {
            let Some((_, route)) = inbound.routes.iter().find(|(other, _)| *other == id) else {
                to_send.pop_front();
                continue;
            };
            let options = SubscriptionOptions::default().maximum_qos(client_qos(route.qos));
            let filter = TopicFilter::new(&route.filter).options(options);
            let identifier = Property::SubscriptionIdentifier(u32::try_from(id).unwrap_or(1));
            // Nothing else is in the send buffer: a packet that does not fit now never fits.
            let alone = connection.session().is_publish_quiescent();
            match connection.subscribe(&[filter], &[identifier]).await {
                Ok(op) => {
                    to_send.pop_front();
                    pending.push((id, op));
                }
                Err(Error::Resource(ResourceError::InflightExhausted)) => return Ok(()),
                Err(Error::Resource(ResourceError::BufferTooSmall)) if !alone => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Finishes the subscriptions that the broker has acknowledged or refused since the last call.
    fn finish_subscriptions<IO: Io>(
        &mut self,
        connection: &Connection<'_, '_, IO>,
        refusal: Option<ReasonCode>,
    ) {
        let Self {
            subscriptions: Subscriptions { pending, granted, .. }, inbound, context, ..
        } = self;
        pending.retain(|(id, op)| {
            if !connection.is_complete(op) {
                return true;
            }
            let route = inbound.routes.iter().find(|(other, _)| other == id);
            let Some((_, route)) = route else { return false };
            let statuses = route.links.iter().map(|link| &inbound.statuses[*link]);
            match refusal {
                None => {
                    granted.push(*id);
                    statuses.for_each(|status| status.set_connected());
                }
                // The driver subscribes again on the next connection.
                Some(code) => {
                    let filter = &route.filter;
                    let reason = alloc::format!(
                        "the broker refused the subscription to `{filter}`: {code:?}"
                    );
                    statuses.for_each(|status| status.set_error(&reason));
                    context.log().error(reason);
                }
            }
            false
        });
    }

    /// Records the loss, and sets the pause before the next attempt.
    fn handle_connection_lost(&mut self, reason: &str) {
        self.inbound.handle_connection_lost();
        for status in self.outbound_statuses.iter().chain(&self.inbound.statuses) {
            status.set_disconnected();
            status.set_error(reason);
        }
        let what = if self.was_connected { "lost the connection to" } else { "no connection to" };
        self.was_connected = false;
        // There is no source of randomness. The clocks of many clients differ by microseconds, which is enough for
        // jitter.
        let random = (self.context.time().now().as_nanos() >> 10) as u16;
        self.pause = self.backoff.next_pause(random);
        let (target, pause) = (&self.target, self.pause);
        self.context
            .log()
            .warn(format_args!("{what} {target}: {reason}; next attempt in {pause:.1?}"));
    }
}

/// Sends the DISCONNECT after the last acknowledgement, and reads until the broker has closed the connection: a stream
/// dropped with unread bytes may discard the bytes it has not sent yet.
async fn disconnect<S: Read + Write>(mut connection: Connection<'_, '_, PacketDemux<S>>) {
    if connection.disconnect().await.is_ok() {
        let mut stream = connection.into_inner().into_inner();
        let mut discard = [0; 64];
        while matches!(stream.read(&mut discard).await, Ok(1..)) {}
    }
}
