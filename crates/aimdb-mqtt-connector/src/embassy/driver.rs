//! One session's life: connect, serve both directions, connect again.
//!
//! ```text
//!  records ─▶ Outlets ─▶ ┌────────┐
//!                        │ client │ ─ Gate ─ stream ── broker
//!                        └────────┘    │
//!  records ◀─ Inlets ◀────── Hatch ─────┘
//! ```
//!
//! All of it is one task, which waits for whatever comes first and never for a record. Messages go past the client: it
//! would acknowledge them before a record has them.

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
use aimdb_core::{Runtime, RuntimeContext};
use embedded_io_async::{Read, Write};
use minimq::{
    Buffers, ConfigBuilder, ConnectEvent, Connection, Error, Io, Op, PeerError, Property,
    ReasonCode, ResourceError, Session, SubscriptionOptions, TopicFilter, Will,
};

use super::gate::{Gate, Hatch};
use super::inlets::Inlets;
use super::network::Network;
use super::outlets::{Outlets, level};
use super::packet::Packet;
use super::settings::Settings;
use crate::backoff::Backoff;
use aimdb_core::race::{Either, race};

/// How long the broker may take to close the connection after the goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Runs until a shutdown has ended every link.
pub(crate) async fn run<N: Network, R: Runtime>(
    mut network: N,
    settings: Settings,
    links: Links,
    context: RuntimeContext<R>,
) {
    let (mut receive, mut send) = (vec![0; settings.receive_buffer], vec![0; settings.send_buffer]);
    let mut session = match session(&settings, Buffers::new(&mut receive, &mut send)) {
        Ok(session) => session,
        Err(fault) => return context.fail(fault),
    };
    let mut driver = Driver::new(&settings, links, context);
    while let Err(reason) = driver.once(&mut network, &mut session).await {
        driver.lost(&reason);
    }
}

fn session<'s>(
    settings: &'s Settings,
    buffers: Buffers<'s>,
) -> Result<Session<'s>, minimq::ConfigError> {
    // Checked when the graph was built.
    let seconds = |duration: Duration| duration.as_secs();
    let mut config = ConfigBuilder::new(buffers)
        .keepalive_interval(u16::try_from(seconds(settings.keep_alive)).unwrap_or(u16::MAX))
        .session_expiry_interval(
            u32::try_from(seconds(settings.session_expiry)).unwrap_or(u32::MAX),
        );
    if let Some(id) = &settings.client_id {
        config = config.client_id(id)?;
    }
    if let Some((user, password)) = &settings.credentials {
        config = config.auth(user, password.as_bytes())?;
    }
    if let Some(last) = &settings.last_will {
        let mut will = Will::new(&last.topic, &last.payload, &[])?.qos(level(last.qos));
        if last.retain {
            will = will.retained();
        }
        config = config.will(will)?;
    }
    Ok(Session::new(config))
}

struct Driver<R> {
    outlets: Outlets<R>,
    inlets: Inlets<R>,
    outbound_statuses: Vec<Arc<LinkStatus>>,
    subscriptions: Subscriptions,
    hatch: Rc<Hatch>,
    /// The largest packet that comes in.
    receive_buffer: usize,
    backoff: Backoff,
    /// Before the next attempt; none before the first.
    pause: Duration,
    connect_timeout: Duration,
    target: String,
    was_up: bool,
    context: RuntimeContext<R>,
}

/// By the routes' identifiers.
#[derive(Default)]
struct Subscriptions {
    wanted: VecDeque<usize>,
    asked: Vec<(usize, Op)>,
    granted: Vec<usize>,
}

/// What the driver has waited for.
enum Event<E> {
    /// A message was taken from a record.
    Taken,
    /// The client has got on.
    Client(Result<(), Error<E>>),
    /// A packet that is not the client's.
    Came(Packet),
    /// There is an answer to one.
    Answered,
    /// A shutdown has ended the links.
    Over,
}

impl<R: Runtime> Driver<R> {
    fn new(settings: &Settings, links: Links, context: RuntimeContext<R>) -> Self {
        let hatch = Rc::new(Hatch::default());
        let outbound_statuses = links.outbound.iter().map(OutboundLink::status).cloned().collect();
        let room = settings.message_room();
        let outlets = Outlets::new(links.outbound, room, Rc::clone(&hatch), context.clone());
        Self {
            outlets,
            inlets: Inlets::new(links.inbound, Rc::clone(&hatch), context.clone()),
            outbound_statuses,
            subscriptions: Subscriptions::default(),
            hatch,
            receive_buffer: settings.receive_buffer,
            backoff: Backoff::new(settings.first_pause, settings.longest_pause),
            pause: Duration::ZERO,
            connect_timeout: settings.connect_timeout,
            target: settings.target.clone(),
            was_up: false,
            context,
        }
    }

    /// One connection from the first attempt to its end; the reason is the error. `Ok` when a shutdown has ended the
    /// links.
    async fn once<N: Network>(
        &mut self,
        network: &mut N,
        session: &mut Session<'_>,
    ) -> Result<(), String> {
        let (time, limit) = (self.context.time(), self.connect_timeout);
        let (pause, most, hatch) = (self.pause, self.receive_buffer, Rc::clone(&self.hatch));
        let opening = async {
            time.sleep(pause).await;
            let connecting = async {
                let stream = network.connect().await.map_err(|error| error.to_string())?;
                let gate = Gate::new(stream, most, hatch);
                session.connect(gate).await.map_err(|error| error.to_string())
            };
            let answer = time.timeout(limit, connecting).await;
            answer.unwrap_or_else(|_| Err(alloc::format!("no answer within {limit:?}")))
        };
        let mut connection = match race(opening, self.without_a_connection()).await {
            Either::First(Ok(connection)) => connection,
            Either::First(Err(reason)) => return Err(reason),
            Either::Second(()) => return Ok(()),
        };
        self.opened(&connection);
        self.serve(&mut connection).await?;
        let _in_time = time.timeout(GOODBYE, goodbye(connection)).await;
        Ok(())
    }

    /// What goes on meanwhile: values that wait for room, and a shutdown. Ends when that leaves nothing to do.
    async fn without_a_connection(&mut self) {
        let Self { outlets, inlets, context, .. } = self;
        let mut stopping = pin!(context.stopping());
        poll_fn(|cx| {
            let stopping = context.poll_stopping(stopping.as_mut(), cx);
            inlets.poll_waiting(stopping, cx);
            // Without room nothing is taken.
            let _nothing = outlets.poll_take([false; 3], cx);
            let over = stopping && inlets.are_gone() && outlets.have_ended();
            if over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn opened<IO: Io>(&mut self, connection: &Connection<'_, '_, IO>) {
        self.backoff.reset();
        self.was_up = true;
        self.context.log().info(format_args!("connected to {}", self.target));
        self.outbound_statuses.iter().for_each(|status| status.set_connected());
        self.outlets.connected(connection);
        let Self { subscriptions, inlets, .. } = self;
        let new_session = connection.connect_event() == ConnectEvent::Connected;
        inlets.connected(new_session);
        if new_session {
            subscriptions.asked.clear();
            subscriptions.granted.clear();
        }
        let Subscriptions { wanted, asked, granted } = subscriptions;
        let known = |id: &usize| granted.contains(id) || asked.iter().any(|(other, _)| other == id);
        *wanted = inlets.routes.iter().map(|(id, _)| id).filter(|id| !known(id)).collect();
        for (_, route) in inlets.routes.iter().filter(|(id, _)| granted.contains(id)) {
            route.links.iter().for_each(|link| inlets.statuses[*link].set_connected());
        }
    }

    /// `Ok` when a shutdown has ended the links; the reason when the connection is lost.
    async fn serve<IO: Io>(
        &mut self,
        connection: &mut Connection<'_, '_, IO>,
    ) -> Result<(), String> {
        let context = self.context.clone();
        let mut stopping = pin!(context.stopping());
        // Whose turn it is: neither direction may keep the other waiting.
        let mut records_first = false;
        loop {
            self.subscribe(connection).await?;
            self.outlets.send(connection).await?;
            let room = self.outlets.room(connection);
            let event = {
                let Self { outlets, inlets, hatch, .. } = self;
                let mut polling = pin!(connection.poll());
                poll_fn(|cx| {
                    if records_first && outlets.poll_take(room, cx).is_ready() {
                        return Poll::Ready(Event::Taken);
                    }
                    if let Poll::Ready(got_on) = polling.as_mut().poll(cx) {
                        return Poll::Ready(Event::Client(got_on.map(drop)));
                    }
                    if let Some(packet) = inlets.next() {
                        return Poll::Ready(Event::Came(packet));
                    }
                    let stopping = context.poll_stopping(stopping.as_mut(), cx);
                    if inlets.poll_waiting(stopping, cx) {
                        return Poll::Ready(Event::Answered);
                    }
                    if outlets.poll_take(room, cx).is_ready() {
                        return Poll::Ready(Event::Taken);
                    }
                    let ended = inlets.are_gone() && outlets.have_ended();
                    if stopping && ended && hatch.has_answered() {
                        return Poll::Ready(Event::Over);
                    }
                    Poll::Pending
                })
                .await
            };
            records_first = matches!(event, Event::Client(_) | Event::Came(_));
            let refusal = match event {
                Event::Taken | Event::Answered => continue,
                Event::Over => return Ok(()),
                Event::Came(packet) => {
                    self.inlets.take(packet).await?;
                    continue;
                }
                Event::Client(Ok(())) => None,
                Event::Client(Err(Error::Peer(PeerError::Rejected(code)))) => Some(code),
                Event::Client(Err(error)) => return Err(error.to_string()),
            };
            // The client handles one packet at a time, so a refusal belongs to what has ended since.
            self.outlets.settle(connection, refusal);
            self.settle_subscriptions(connection, refusal);
        }
    }

    async fn subscribe<IO: Io>(
        &mut self,
        connection: &mut Connection<'_, '_, IO>,
    ) -> Result<(), String> {
        let Self { subscriptions: Subscriptions { wanted, asked, .. }, inlets, .. } = self;
        while let Some(&id) = wanted.front() {
            let Some((_, route)) = inlets.routes.iter().find(|(other, _)| *other == id) else {
                wanted.pop_front();
                continue;
            };
            let options = SubscriptionOptions::default().maximum_qos(level(route.qos));
            let filter = TopicFilter::new(&route.filter).options(options);
            let identifier = Property::SubscriptionIdentifier(u32::try_from(id).unwrap_or(1));
            let alone = connection.session().is_publish_quiescent();
            match connection.subscribe(&[filter], &[identifier]).await {
                Ok(op) => {
                    wanted.pop_front();
                    asked.push((id, op));
                }
                Err(Error::Resource(ResourceError::InflightExhausted)) => return Ok(()),
                Err(Error::Resource(ResourceError::BufferTooSmall)) if !alone => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    fn settle_subscriptions<IO: Io>(
        &mut self,
        connection: &Connection<'_, '_, IO>,
        refusal: Option<ReasonCode>,
    ) {
        let Self { subscriptions: Subscriptions { asked, granted, .. }, inlets, context, .. } =
            self;
        asked.retain(|(id, op)| {
            if !connection.is_complete(op) {
                return true;
            }
            let route = inlets.routes.iter().find(|(other, _)| other == id);
            let Some((_, route)) = route else { return false };
            let statuses = route.links.iter().map(|link| &inlets.statuses[*link]);
            match refusal {
                None => {
                    granted.push(*id);
                    statuses.for_each(|status| status.set_connected());
                }
                // The next connection subscribes anew.
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

    fn lost(&mut self, reason: &str) {
        self.inlets.lost();
        for status in self.outbound_statuses.iter().chain(&self.inlets.statuses) {
            status.set_disconnected();
            status.set_error(reason);
        }
        let what = if self.was_up { "lost the connection to" } else { "no connection to" };
        self.was_up = false;
        // Without a source of randomness: clocks of many clients do not stand alike to the microsecond.
        let random = (self.context.time().now().as_nanos() >> 10) as u16;
        self.pause = self.backoff.next_pause(random);
        let (target, pause) = (&self.target, self.pause);
        self.context
            .log()
            .warn(format_args!("{what} {target}: {reason}; next attempt in {pause:.1?}"));
    }
}

/// Says goodbye after the last acknowledgement, and reads until the broker has closed the connection: a stream that is
/// dropped with bytes unread may take back what it sent last.
async fn goodbye<S: Read + Write>(mut connection: Connection<'_, '_, Gate<S>>) {
    if connection.disconnect().await.is_ok() {
        let mut stream = connection.into_inner().into_inner();
        let mut rest = [0; 64];
        while matches!(stream.read(&mut rest).await, Ok(1..)) {}
    }
}
