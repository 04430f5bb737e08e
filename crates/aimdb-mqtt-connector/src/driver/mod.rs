//! The driver of both connectors: one task between the links and the session.
//!
//! ```text
//!                    ┌── Publishers ──▶ ┌─────────┐         ┌────────────┐
//!  OutboundLinks ────┘   Subscriptions ▶│ Session │ ──────▶ │ ByteStream │ ── broker
//!  InboundLinks  ◀────── Routes ◀────── │         │ ◀────── │            │
//!            └── receipts ────────────▶ └─────────┘         └────────────┘
//!                          Suspects: for what the broker hangs up
//! ```
//!
//! [`aimdb_mqtt_protocol::Session`] knows MQTT, [`aimdb_core::link::driver`] knows links and pauses. The two connectors
//! differ in [`Dial`] alone: how a stream is opened.

mod moment;
mod publishers;
mod received;
mod routes;
mod settings;
mod status;
mod stream;
mod subscriptions;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

use aimdb_core::link::Links;
use aimdb_core::link::driver::{self, Failure, LinkIo, Reading, Suspects, Transport};
use aimdb_core::loss::Loss;
use aimdb_core::{Instant, Runtime, RuntimeContext};
use aimdb_mqtt_protocol::{Error, Event, Reason, Receipt, Session, Token, Unsent};

pub(crate) use settings::Settings;
pub use status::MqttStatus;
pub(crate) use stream::{ByteStream, Dial};

use moment::{Moment, Suspect};
use publishers::Publishers;
use received::{BorrowedMessage, HeldMessage};
use routes::Routes;
use subscriptions::Subscriptions;

/// The limit for the end of a connection: the last acknowledgements, the DISCONNECT, and the broker's own end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The same where the broker has not accepted the client yet. The wait for its CONNACK is for the DISCONNECT after it,
/// without which the broker would publish the last will.
const UNANSWERED_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the other links have a connection before an accused one is tried, at most.
const ACCUSED_DELAY: Duration = Duration::from_secs(1);

/// Packets of one step, and steps of one poll, before other tasks have their turn.
const BUDGET: u32 = 32;
const STEPS: u32 = 4;

/// The birth message on the present connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Birth {
    /// It follows the subscriptions: who sees it may send at once.
    Due,
    Sent(Token),
    Done,
}

type Io<R> = LinkIo<R, HeldMessage, Receipt>;

/// Runs until a shutdown has drained every link.
pub(crate) async fn run<D: Dial, R: Runtime>(
    dial: D,
    settings: Settings,
    status: MqttStatus,
    links: Links,
    context: RuntimeContext<R>,
) {
    let (target, limits, reconnect) =
        (settings.target.clone(), settings.limits, settings.reconnect.clone());
    let client = Client::new(settings, status, &links);
    let transport = MqttTransport { dial, client, accepted: None };
    driver::run(transport, target, links, limits, reconnect, context).await;
}

struct MqttTransport<D> {
    dial: D,
    client: Client,
    /// Whether the last attempt led to a connection that lasted.
    accepted: Option<bool>,
}

impl<D: Dial, R: Runtime> Transport<R> for MqttTransport<D> {
    type Message = HeldMessage;
    type Receipt = Receipt;

    async fn serve(&mut self, io: &mut Io<R>) -> Result<(), Failure> {
        let Self { dial, client, accepted } = self;
        if let Some(accepted) = accepted.take() {
            dial.note_outcome(accepted);
        }
        client.carry_out_verdict(io);
        dial.prepare(client.session.config())?;
        let time = io.context().time();
        let limit = client.settings.connect_timeout;
        let deadline = io.deadline(limit);
        let attempt = async {
            let outcome = time.timeout(deadline - time.now(), dial.dial()).await;
            outcome.unwrap_or_else(|_| Err(no_answer(limit)))
        };
        *accepted = Some(false);
        let Some(mut stream) = io.connecting(attempt).await? else { return Ok(()) };
        let outcome = client.serve(&mut stream, io, deadline).await;
        // A connection that ends early proves nothing: another broker may do better.
        let lasted = io.connected_for().is_some_and(|lasted| lasted >= client.settings.proof);
        *accepted = Some(lasted);
        outcome
    }
}

fn no_answer(limit: Duration) -> Failure {
    Failure::retry(format_args!("no answer within {limit:?}"))
}

fn millis(now: Instant) -> u64 {
    now.as_nanos() / 1_000_000
}

fn instant(millis: u64) -> Instant {
    Instant::from_nanos(millis.saturating_mul(1_000_000))
}

/// The state of one client across its connections.
struct Client {
    settings: Settings,
    session: Session,
    routes: Routes,
    publishers: Publishers,
    subscriptions: Subscriptions,
    suspects: Suspects<Suspect>,
    /// The suspect that is given up before the next connection.
    verdict: Option<(Suspect, Option<Token>)>,
    /// The broker has accepted the present connection.
    accepted: bool,
    flush_due: bool,
    /// The broker has said why it ended the connection, and it was nothing that was sent.
    end_is_the_brokers: bool,
    birth: Birth,
    /// The links of the message at hand.
    links: Vec<usize>,
    status: MqttStatus,
}

/// The outcome of a step.
enum Step {
    /// There is more to do.
    Progress,
    /// There is more to do, and something was written.
    Written,
    /// Nothing to do before this time.
    Idle(Option<Instant>),
    /// A shutdown has drained all links.
    Drained,
}

impl Client {
    fn new(settings: Settings, status: MqttStatus, links: &Links) -> Self {
        let lasting = settings.session.session_expiry > 0 && !settings.session_of_program;
        let routes = Routes::new(links.inbound.iter(), lasting);
        Self {
            session: Session::new(settings.session.clone()),
            subscriptions: Subscriptions::new(&routes),
            publishers: Publishers::new(links.outbound.iter()),
            suspects: Suspects::new(settings.proof),
            routes,
            settings,
            verdict: None,
            accepted: false,
            flush_due: false,
            end_is_the_brokers: false,
            birth: Birth::Done,
            links: Vec::new(),
            status,
        }
    }

    /// Serves one connection over `stream`, whose broker must answer before `deadline`.
    async fn serve<S: ByteStream, R: Runtime>(
        &mut self,
        stream: &mut S,
        io: &mut Io<R>,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let context = io.context().clone();
        let time = context.time();
        self.accepted = false;
        self.flush_due = false;
        self.end_is_the_brokers = false;
        let cautious = self.suspects.is_cautious();
        self.session.set_cautious(cautious);
        let now = time.now();
        let moment = Moment { now, stopping: context.is_stopping(), may_try_accused: false };
        self.publishers.hold_suspects(&mut self.session, &self.suspects, moment);
        self.session.connect(millis(now));
        let mut stopping = pin!(context.stopping());
        let mut timer = pin!(time.sleep_until(deadline));
        let (mut timer_at, mut fired) = (deadline, false);
        let outcome = poll_fn(|cx| {
            let stopping = context.poll_stopping(stopping.as_mut(), cx);
            for _ in 0..STEPS {
                let next = match self.step(stream, io, stopping, deadline, cx) {
                    Ok(Step::Progress) => continue,
                    // Other tasks have their turn: the messages that they produce meanwhile are written together.
                    Ok(Step::Written) => break,
                    Ok(Step::Idle(None)) => return Poll::Pending,
                    Ok(Step::Idle(Some(next))) => next,
                    Ok(Step::Drained) => return Poll::Ready(Ok(())),
                    Err(failure) => return Poll::Ready(Err(failure)),
                };
                loop {
                    if fired || next < timer_at {
                        timer.set(time.sleep_until(next));
                        (timer_at, fired) = (next, false);
                    }
                    if timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    fired = true;
                    if time.now() >= next {
                        break;
                    }
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        match outcome {
            Ok(()) => {
                let limit = if self.accepted { CLOSE_TIMEOUT } else { UNANSWERED_TIMEOUT };
                let _in_time = time.timeout(limit, self.say_goodbye(stream, &time)).await;
                Ok(())
            }
            Err(failure) => Err(self.connection_lost(failure, io)),
        }
    }

    /// Moves what can be moved: in, out, and between the session and the links.
    fn step<S: ByteStream, R: Runtime>(
        &mut self,
        stream: &mut S,
        io: &mut Io<R>,
        stopping: bool,
        deadline: Instant,
        cx: &mut Context<'_>,
    ) -> Result<Step, Failure> {
        let now = io.context().time().now();
        if !self.accepted && now >= deadline {
            return Err(no_answer(self.settings.connect_timeout));
        }
        io.poll_inbound(stopping, cx);
        let mut progress = self.take_events(io, stopping, now, cx)?;
        // In a shutdown the messages are not taken, so no record can hold the connection back.
        // The CONNACK is read in any case: messages of a lost session may wait for longer than an attempt lasts.
        let reading = match stopping || !self.accepted {
            true => Reading::Now,
            false => io.inbound.reading(now),
        };
        self.session.pause_input(reading != Reading::Now, millis(now));
        if reading == Reading::Now {
            progress |= self.read(stream, now, cx)?;
        }
        while let Some(receipt) = io.inbound.next_delivered() {
            self.session.acknowledge(receipt);
            progress = true;
        }
        self.send(io, stopping, now, cx);
        self.session.handle_time(millis(now)).map_err(|error| self.failure(&error))?;
        if self.write(stream, now, cx)? {
            return Ok(Step::Written);
        }
        if progress {
            return Ok(Step::Progress);
        }
        let written = self.session.output().is_empty() && !self.flush_due;
        if stopping && written && io.is_drained() {
            return Ok(Step::Drained);
        }
        Ok(Step::Idle(self.next_time(io, reading, deadline, now)))
    }

    /// When the next step is due at the latest.
    fn next_time<R: Runtime>(
        &self,
        io: &Io<R>,
        reading: Reading,
        deadline: Instant,
        now: Instant,
    ) -> Option<Instant> {
        if !self.accepted {
            return Some(deadline);
        }
        let grace = match reading {
            Reading::Until(until) => Some(until),
            _ => None,
        };
        // With suspects, the time at which the accused are tried, and the one at which the caution ends.
        let age = io.connected_for().unwrap_or_default();
        let cautious = [self.accused_delay(), self.settings.proof]
            .into_iter()
            .filter(|at| self.suspects.is_cautious() && age < *at)
            .map(|at| now + (at - age));
        let limit = self.settings.connect_timeout;
        let birth = (self.birth == Birth::Due && age < limit).then(|| now + (limit - age));
        let times = [
            birth,
            self.session.deadline().map(instant),
            self.subscriptions.next_due(now),
            self.suspects.next_return(now),
            grace,
        ];
        times.into_iter().flatten().chain(cautious).min()
    }

    fn read<S: ByteStream>(
        &mut self,
        stream: &mut S,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        if !self.session.wants_input() {
            return Ok(false);
        }
        let space = self.session.input();
        if space.is_empty() {
            return Ok(false);
        }
        match stream.poll_read(space, cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err(self.closed()),
            Poll::Ready(Ok(count)) => {
                self.session.received(count, millis(now));
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(Failure::retry(error)),
        }
    }

    fn write<S: ByteStream>(
        &mut self,
        stream: &mut S,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        let mut progress = false;
        while !self.session.output().is_empty() {
            match stream.poll_write(self.session.output(), cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(Failure::retry("the stream takes no more bytes")),
                Poll::Ready(Ok(count)) => {
                    self.session.written(count, millis(now));
                    self.flush_due = true;
                    progress = true;
                }
                Poll::Ready(Err(error)) => return Err(Failure::retry(error)),
            }
        }
        if self.flush_due {
            match stream.poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.flush_due = false,
                Poll::Ready(Err(error)) => return Err(Failure::retry(error)),
            }
        }
        Ok(progress)
    }

    /// The broker has closed the connection without a word.
    fn closed(&self) -> Failure {
        Failure::retry(match self.accepted {
            false => {
                "the broker closed the connection without an answer; is it a port for TLS, or for another protocol?"
            }
            true => "the broker closed the connection",
        })
    }

    fn failure(&mut self, error: &Error) -> Failure {
        match error {
            // Another broker may accept the client.
            Error::Refused(reason, _)
                if !reason.is_temporary() && !self.settings.has_alternatives =>
            {
                Failure::refused(error)
            }
            Error::Malformed(_) if !self.accepted => Failure::retry(format_args!(
                "the answer is not MQTT ({error}); is it a port for TLS, or for another protocol?"
            )),
            Error::Disconnected(reason, _) => {
                self.end_is_the_brokers = is_about_the_broker(*reason);
                Failure::retry(error)
            }
            error => Failure::retry(error),
        }
    }

    /// Takes the session's events, as long as the records have room for messages. Returns whether there was one.
    fn take_events<R: Runtime>(
        &mut self,
        io: &mut Io<R>,
        stopping: bool,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        let mut any = false;
        let mut left = BUDGET;
        while left > 0 {
            let receipt;
            let takes = stopping || !self.accepted || io.inbound.reading(now) == Reading::Now;
            let event = match takes {
                true => self.session.next_event(),
                false => Ok(self.session.next_outcome()),
            };
            match event {
                Ok(None) => return Ok(any),
                Err(error) => return Err(self.failure(&error)),
                Ok(Some(Event::Message(message))) => {
                    // The outcomes do not count: they are short, and as many as there is room for output.
                    left -= 1;
                    let limit = self.settings.max_payload;
                    let size = message.payload.len();
                    if !self.routes.find(&message, &mut self.links) {
                        let topic = message.topic;
                        if self.status.count_unrouted() {
                            io.context().log().warn(format_args!(
                                "a message on `{topic}` was dropped: no link subscribes to it; a kept session may \
                                 have a subscription too many"
                            ));
                        }
                        receipt = message.receipt;
                    } else if size > limit {
                        drop_oversized(io, &self.links, message.topic, size, limit);
                        receipt = message.receipt;
                    } else if stopping {
                        // The broker keeps it, because it receives no acknowledgement; at QoS 0 it is lost.
                        if message.receipt.is_none() {
                            for &link in &self.links {
                                let status = io.inbound.status(link);
                                status.count_received();
                                status.count_lost(Loss::Shutdown);
                            }
                        }
                        receipt = None;
                    } else {
                        let borrowed = BorrowedMessage::from(&message);
                        let hold = BorrowedMessage::hold;
                        io.inbound.offer(&self.links, &borrowed, message.receipt, hold, now, cx);
                        receipt = None;
                    }
                }
                Ok(Some(Event::Oversized(message))) => {
                    left -= 1;
                    self.links.clear();
                    self.routes.matching(&message.topic, &mut self.links);
                    let limit = self.settings.max_payload;
                    drop_oversized(io, &self.links, &message.topic, message.size, limit);
                    receipt = message.receipt;
                }
                Ok(Some(Event::Connected { session_present })) => {
                    receipt = None;
                    self.connected(session_present, io, now);
                }
                Ok(Some(Event::Published { token, outcome }))
                    if self.birth == Birth::Sent(token) =>
                {
                    receipt = None;
                    self.birth = Birth::Done;
                    self.suspects.proven(Suspect::Birth);
                    if let Err(lost) = outcome {
                        io.context().log().warn(format_args!("the birth message is lost: {lost}"));
                    }
                    self.end_caution();
                }
                Ok(Some(Event::Published { token, outcome })) => {
                    receipt = None;
                    let Self { publishers, suspects, .. } = self;
                    let cautious = suspects.is_cautious();
                    publishers.finished(token, outcome, &mut io.outbound, suspects, cautious);
                    self.end_caution();
                }
                Ok(Some(Event::Subscribed { token, outcome })) => {
                    receipt = None;
                    let Self { subscriptions, routes, .. } = self;
                    let log = io.context().log();
                    let answered =
                        subscriptions.answered(token, outcome, routes, &io.inbound, now, &log);
                    if let Some(route) = answered {
                        self.suspects.proven(Suspect::Route(route));
                        self.end_caution();
                    }
                }
                Ok(Some(_)) => receipt = None,
            }
            if let Some(receipt) = receipt {
                self.session.acknowledge(receipt);
            }
            any = true;
        }
        Ok(any)
    }

    fn accused_delay(&self) -> Duration {
        ACCUSED_DELAY.min(self.settings.proof / 4)
    }

    /// Returns to full speed when no suspect is left.
    fn end_caution(&mut self) {
        if !self.suspects.is_cautious() {
            self.session.set_cautious(false);
        }
    }

    fn connected<R: Runtime>(&mut self, session_present: bool, io: &mut Io<R>, now: Instant) {
        self.accepted = true;
        io.set_connected();
        let assigned = self.session.capabilities().assigned_client_id.clone();
        let config = self.session.config();
        if let Some(id) = assigned {
            config.client_id = id;
        }
        if self.settings.session_of_program && self.settings.session.session_expiry > 0 {
            config.clean_start = false;
        }
        if !session_present {
            self.routes.own_session = true;
            io.inbound.forget_receipts();
        }
        self.routes.connected();
        self.subscriptions.connected(session_present, &self.routes, &io.inbound, now);
        self.publishers.connected(
            session_present,
            &self.settings,
            &mut io.outbound,
            &mut self.suspects,
        );
        for link in 0..io.outbound.len() {
            if self.suspects.rests(Suspect::Link(link), now) {
                let status = io.outbound.status(link);
                status.set_disconnected();
                status.set_error(self.sentence(Suspect::Link(link), now));
            }
        }
        self.birth = Birth::Due;
    }

    /// Subscribes and publishes.
    fn send<R: Runtime>(
        &mut self,
        io: &mut Io<R>,
        stopping: bool,
        now: Instant,
        cx: &mut Context<'_>,
    ) {
        if !self.session.is_connected() {
            io.outbound.poll_drained(cx);
            return;
        }
        let age = io.connected_for().unwrap_or_default();
        let moment = Moment { now, stopping, may_try_accused: age >= self.accused_delay() };
        if self.suspects.are_any() {
            let Self { session, publishers, suspects, .. } = self;
            suspects.lasts(age);
            publishers.hold_suspects(session, suspects, moment);
            if stopping {
                publishers.give_up_resting(session, suspects, &mut io.outbound, now);
            }
            self.end_caution();
        }
        let Self { session, routes, subscriptions, suspects, .. } = self;
        subscriptions.send(session, routes, suspects, &io.inbound, moment, io.context());
        // A broker that does not answer a subscription delays it by no more than a CONNACK may take.
        let is_late = age >= self.settings.connect_timeout;
        if self.birth == Birth::Due && (is_late || subscriptions.are_answered(suspects, now)) {
            self.send_birth(moment, io.context());
        }
        let Self { session, publishers, suspects, settings, .. } = self;
        publishers.send(session, settings, suspects, &mut io.outbound, moment, cx);
    }

    fn send_birth<R: Runtime>(&mut self, moment: Moment, context: &RuntimeContext<R>) {
        let Moment { now, may_try_accused, .. } = moment;
        let suspects = &mut self.suspects;
        let waits = suspects.is_accused(Suspect::Birth) && !may_try_accused;
        if waits || suspects.rests(Suspect::Birth, now) {
            return;
        }
        let highest = self.session.capabilities().maximum_qos;
        let will = self.settings.last_will.as_ref();
        let Some((will, birth)) = will.and_then(|will| Some((will, will.birth.as_ref()?))) else {
            self.birth = Birth::Done;
            return;
        };
        self.birth = match self.session.publish(&will.message(birth, highest)) {
            Ok(token) => {
                suspects.sent(Suspect::Birth);
                Birth::Sent(token)
            }
            Err(Unsent::Full) => return,
            Err(unsent) => {
                context.log().warn(format_args!("the birth message was not sent: {unsent}"));
                Birth::Done
            }
        };
    }

    /// Records the end of a connection, and finds out whether something of ours was the reason.
    fn connection_lost<R: Runtime>(&mut self, failure: Failure, io: &mut Io<R>) -> Failure {
        let now = io.context().time().now();
        let token = self.session.under_way();
        let under_way = token.and_then(|token| match self.birth == Birth::Sent(token) {
            true => Some(Suspect::Birth),
            false => self.publishers.link_of(token).map(Suspect::Link),
        });
        let alone = match self.suspects.is_cautious() {
            true => under_way.or(self.subscriptions.alone().map(Suspect::Route)),
            false => None,
        };
        self.session.connection_lost();
        if let Birth::Sent(token) = self.birth {
            // Each connection has one of its own.
            self.session.forget(token);
        }
        while let Some(Event::Published { token, outcome }) = self.session.next_outcome() {
            let Self { publishers, suspects, .. } = self;
            publishers.finished(token, outcome, &mut io.outbound, suspects, false);
        }
        let Some(lasted) = io.connected_for() else { return failure };
        if self.end_is_the_brokers {
            self.suspects.excuse();
            return failure;
        }
        if let Some(guilty) = self.suspects.ended(lasted, alone) {
            let again = match guilty {
                // At QoS 0 each attempt has cost a message.
                Suspect::Link(link) => {
                    self.publishers.qos(link) == aimdb_mqtt_protocol::QoS::AtMostOnce
                }
                Suspect::Route(_) | Suspect::Birth => true,
            };
            self.suspects.give_up(guilty, again, now);
            self.verdict = Some((guilty, token));
        }
        if alone.is_some() { Failure::explained(failure) } else { failure }
    }

    /// Gives up what is guilty. After the end of its last connection, so that no later error hides this one.
    fn carry_out_verdict<R: Runtime>(&mut self, io: &mut Io<R>) {
        let Some((suspect, token)) = self.verdict.take() else { return };
        let now = io.context().time().now();
        let sentence = self.sentence(suspect, now);
        match suspect {
            Suspect::Link(link) => {
                io.outbound.status(link).set_error(&sentence);
                self.publishers.give_up(token, &mut self.session, &mut io.outbound, &sentence);
            }
            Suspect::Route(route) => {
                for link in self.routes.links(route) {
                    io.inbound.status(link).set_error(&sentence);
                }
            }
            Suspect::Birth => {}
        }
        io.context().log().error(sentence);
    }

    /// Why something is given up.
    fn sentence(&self, suspect: Suspect, now: Instant) -> String {
        let rest = self.suspects.rests_until(suspect).map_or(Duration::ZERO, |until| until - now);
        let again = match rest.is_zero() {
            true => String::new(),
            false => format!("; it is tried again in {rest:.0?}"),
        };
        match suspect {
            Suspect::Link(link) => format!(
                "the connection ended three times while a message of the link to `{}` alone was under way: the broker \
                 does not bear it{again}",
                self.publishers.address(link)
            ),
            Suspect::Route(route) => format!(
                "the connection ended three times after the subscription to `{}`: the broker does not bear it{again}",
                self.routes.get(route).filter
            ),
            Suspect::Birth => format!(
                "the connection ended three times while the birth message alone was under way: the broker does not \
                 bear it{again}"
            ),
        }
    }

    /// Sends the message of an orderly end and the DISCONNECT, closes its half of the stream, and reads until the broker
    /// has closed the other: a stream dropped with unread bytes may discard the bytes that it has not sent yet.
    async fn say_goodbye<S: ByteStream, R: Runtime>(
        &mut self,
        stream: &mut S,
        time: &aimdb_core::Time<R>,
    ) {
        let highest = self.session.capabilities().maximum_qos;
        let will = self.settings.last_will.clone();
        let mut farewell = will.as_ref().and_then(|will| {
            self.session.set_cautious(false);
            Some(will.message(will.farewell.as_ref()?, highest))
        });
        let mut saying = None;
        let mut closed = false;
        poll_fn(|cx| {
            loop {
                if let Some(message) = &farewell {
                    match self.session.publish(message) {
                        // The birth message may still fill the window.
                        Err(Unsent::Full) if self.session.is_connected() => {}
                        outcome => (farewell, saying) = (None, outcome.ok()),
                    }
                }
                let says = farewell.is_some() || saying.is_some();
                if !says {
                    self.session.disconnect(false);
                }
                let now = time.now();
                let wrote = match self.write(stream, now, cx) {
                    Ok(wrote) => wrote,
                    Err(_) => return Poll::Ready(()),
                };
                // Some brokers wait for the client to close, as MQTT demands of it.
                if !says && !closed && self.session.output().is_empty() {
                    match stream.poll_close(cx) {
                        Poll::Pending => {}
                        Poll::Ready(Ok(())) => closed = true,
                        Poll::Ready(Err(_)) => return Poll::Ready(()),
                    }
                }
                let read = self.read(stream, now, cx);
                let mut heard = false;
                loop {
                    match self.session.next_event() {
                        Ok(Some(Event::Published { token, .. })) if saying == Some(token) => {
                            saying = None;
                        }
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Poll::Ready(()),
                    }
                    heard = true;
                }
                match read {
                    Err(_) => return Poll::Ready(()),
                    Ok(false) if !wrote && !heard && (says || !self.session.is_connected()) => {
                        return Poll::Pending;
                    }
                    Ok(_) => {}
                }
            }
        })
        .await;
    }
}

/// Whether the broker ended the connection for a reason that has nothing to do with what was sent: it shuts down, is
/// busy or moves, or another client took the id.
const fn is_about_the_broker(reason: Reason) -> bool {
    matches!(reason.0, 0x89 | 0x8b | 0x8d | 0x8e | 0x98 | 0x9c | 0x9d | 0x9f | 0xa0)
}

/// Counts a message that is too large for its links.
fn drop_oversized<R: Runtime>(io: &Io<R>, links: &[usize], topic: &str, size: usize, limit: usize) {
    let reason = format!(
        "a message on `{topic}` was dropped: its {size} bytes are over the limit of {limit}, see `max_payload`"
    );
    for &link in links {
        let status = io.inbound.status(link);
        status.count_received();
        status.count_lost(Loss::TooLarge);
        status.set_error(&reason);
    }
    io.context().log().warn(reason);
}
