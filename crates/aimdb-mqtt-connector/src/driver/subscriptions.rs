//! The subscriptions of the session.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use aimdb_core::link::driver::{InboundLinks, Suspects};
use aimdb_core::{Instant, Log, Runtime, RuntimeContext};
use aimdb_mqtt_protocol::{QoS, Reason, Session, Token, Unsent};

use super::moment::{Moment, Suspect};
use super::received::HeldMessage;
use super::routes::Routes;

/// The pauses before a refused subscription is asked for again: quotas and rights change.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The state of each route's subscription.
pub(crate) struct Subscriptions {
    states: Vec<State>,
    pending: Vec<(Token, usize)>,
    /// Some subscription is to be sent, now or later.
    incomplete: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Wanted,
    Pending,
    Granted,
    /// Asked for again at this time, after this pause.
    Refused(Instant, Duration),
    /// Not possible with this broker.
    Impossible,
}

pub(crate) type Inbound = InboundLinks<HeldMessage, aimdb_mqtt_protocol::Receipt>;

impl Subscriptions {
    pub(crate) fn new(routes: &Routes) -> Self {
        Self {
            states: alloc::vec![State::Wanted; routes.len()],
            pending: Vec::new(),
            incomplete: true,
        }
    }

    /// Begins a connection. A session that the broker has kept has the subscriptions that it granted.
    pub(crate) fn connected(
        &mut self,
        session_present: bool,
        routes: &Routes,
        inbound: &Inbound,
        now: Instant,
    ) {
        self.pending.clear();
        self.incomplete = true;
        for (route, state) in self.states.iter_mut().enumerate() {
            match state {
                State::Granted if session_present => {
                    routes.links(route).for_each(|link| inbound.status(link).set_connected());
                }
                // The connection may have ended before the answer.
                State::Refused(at, pause) => *at = (*at).min(now + *pause),
                _ => *state = State::Wanted,
            }
        }
    }

    /// Sends the subscriptions that are due, as far as there is room.
    pub(crate) fn send<R: Runtime>(
        &mut self,
        session: &mut Session,
        routes: &Routes,
        suspects: &mut Suspects<Suspect>,
        inbound: &Inbound,
        moment: Moment,
        context: &RuntimeContext<R>,
    ) {
        let Moment { now, may_try_accused, .. } = moment;
        if !self.incomplete {
            return;
        }
        self.incomplete = false;
        for (route, state) in self.states.iter_mut().enumerate() {
            let due = match state {
                State::Wanted => true,
                State::Refused(at, _) => now >= *at,
                _ => continue,
            };
            self.incomplete = true;
            let suspect = Suspect::Route(route);
            let accused = suspects.is_accused(suspect);
            if !due || suspects.rests(suspect, now) || accused && !may_try_accused {
                continue;
            }
            let wanted = routes.get(route);
            match session.subscribe(&wanted.filter, wanted.options, Some(wanted.identifier)) {
                Ok(token) => {
                    suspects.sent(suspect);
                    self.pending.push((token, route));
                    if *state == State::Wanted {
                        *state = State::Pending;
                    }
                    if let State::Refused(at, pause) = state {
                        // Until the answer.
                        *at = now + Duration::from_secs(u32::MAX.into());
                        *pause = (*pause * 2).min(LONGEST_PAUSE);
                    }
                }
                Err(Unsent::Full) => return,
                Err(unsent) => {
                    *state = State::Impossible;
                    let reason = format!(
                        "the subscription to `{}` is not possible: {unsent}",
                        wanted.filter
                    );
                    routes.links(route).for_each(|link| inbound.status(link).set_error(&reason));
                    context.log().error(reason);
                }
            }
        }
    }

    /// Handles the answer to a subscription. Returns the route whose it is.
    pub(crate) fn answered<R: Runtime>(
        &mut self,
        token: Token,
        outcome: Result<QoS, Reason>,
        routes: &Routes,
        inbound: &Inbound,
        now: Instant,
        log: &Log<R>,
    ) -> Option<usize> {
        let index = self.pending.iter().position(|(pending, _)| *pending == token)?;
        let (_, route) = self.pending.swap_remove(index);
        let wanted = routes.get(route);
        let refuse = |reason: &dyn core::fmt::Display, pause: Duration| {
            let filter = &wanted.filter;
            let reason = format!(
                "the broker refused the subscription to `{filter}`: {reason}; asked again in {pause:?}"
            );
            for link in routes.links(route) {
                inbound.status(link).set_disconnected();
                inbound.status(link).set_error(&reason);
            }
            log.error(reason);
        };
        match outcome {
            Ok(granted) => {
                self.states[route] = State::Granted;
                for link in routes.links(route) {
                    inbound.status(link).set_connected();
                }
                if granted < wanted.options.qos {
                    let (filter, asked) = (&wanted.filter, wanted.options.qos as u8);
                    log.warn(format_args!(
                        "the broker grants QoS {} to `{filter}`, not {asked}",
                        granted as u8
                    ));
                }
            }
            Err(reason) => {
                let pause = match self.states[route] {
                    State::Refused(_, pause) => pause,
                    _ => FIRST_PAUSE,
                };
                refuse(&reason, pause);
                self.states[route] = State::Refused(now + pause, pause);
                self.incomplete = true;
            }
        }
        Some(route)
    }

    /// Whether none is to be sent now or waits for its answer.
    pub(crate) fn are_answered(&self, suspects: &Suspects<Suspect>, now: Instant) -> bool {
        let open = |(route, state): (usize, &State)| {
            matches!(state, State::Wanted | State::Pending)
                && !suspects.rests(Suspect::Route(route), now)
        };
        !self.states.iter().enumerate().any(open)
    }

    /// The only subscription without an answer.
    pub(crate) fn alone(&self) -> Option<usize> {
        match *self.pending {
            [(_, route)] => Some(route),
            _ => None,
        }
    }

    /// When the next refused subscription is asked for again.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        if !self.incomplete {
            return None;
        }
        let due = |state: &State| match state {
            State::Refused(at, _) if *at > now => Some(*at),
            _ => None,
        };
        self.states.iter().filter_map(due).min()
    }
}
