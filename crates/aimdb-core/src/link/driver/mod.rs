//! A kit for connectors: reconnecting, links in turn, messages that wait for room, drain and shutdown.
//!
//! ```text
//!  records ─▶ OutboundLinks::poll_take ─▶ ┌───────────┐ ─▶ peer
//!             sent, dropped ◀──────────── │ Transport │
//!  records ◀─ InboundLinks::offer ◀────── │   serve   │ ◀─ peer
//!             next_delivered ───────────▶ └───────────┘ ─▶ acknowledgement
//!                                          ▲ one connection
//!                                         run: pauses, states, logs, drain
//! ```
//!
//! A connector implements [`Transport::serve`]: one connection, from the attempt to its end. [`run`] calls it again
//! after a pause, until a shutdown has drained the links. The kit has the rest:
//!
//! - The pause grows until a connection has lasted ([`Reconnect`]).
//! - [`OutboundLinks`] takes messages from the links in turn, knows what is in flight, and counts.
//! - [`InboundLinks`] holds messages for records without room, in order, and returns the receipt of a message that all
//!   its records have.
//! - [`Suspects`] finds the message for which a peer ends its connections.
//!
//! # Example
//!
//! A connector over lines of text, to a peer that returns each line.
//!
//! ```
//! use aimdb_core::link::driver::{self, Deliver, Failure, Limits, LinkIo, Reconnect, Transport};
//! use aimdb_core::link::{InboundLink, LinkRequest, Links};
//! use aimdb_core::{Closed, Connector, Finding, Incoming, Runtime, RuntimeContext};
//! use std::future::{Future, poll_fn};
//! use std::pin::{Pin, pin};
//! use std::task::{Context, Poll};
//! use std::time::Duration;
//!
//! struct Loopback;
//!
//! struct Line(Vec<u8>);
//!
//! impl Deliver for Line {
//!     fn deliver(&self, link: &mut InboundLink, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
//!         link.poll_accept(&Incoming::new("echo", &self.0), cx)
//!     }
//! }
//!
//! impl<R: Runtime> Transport<R> for Loopback {
//!     type Message = Line;
//!     type Receipt = ();
//!
//!     async fn serve(&mut self, io: &mut LinkIo<R, Line, ()>) -> Result<(), Failure> {
//!         io.set_connected(); // There is nothing to connect to.
//!         let context = io.context().clone();
//!         let mut stopping = pin!(context.stopping());
//!         let mut payload = Vec::new();
//!         poll_fn(|cx| {
//!             let stopping = context.poll_stopping(stopping.as_mut(), cx);
//!             io.poll_inbound(stopping, cx);
//!             while let Poll::Ready(taken) = io.outbound.poll_take(&mut payload, |_| true, cx) {
//!                 let line = Line(payload.clone());
//!                 io.inbound.offer(&[0], &line, None, |line| Line(line.0.clone()), context.time().now(), cx);
//!                 io.outbound.sent(taken.link);
//!             }
//!             if stopping && io.is_drained() { Poll::Ready(Ok(())) } else { Poll::Pending }
//!         })
//!         .await
//!     }
//! }
//!
//! impl<R: Runtime> Connector<R> for Loopback {
//!     type Run = Pin<Box<dyn Future<Output = ()>>>;
//!
//!     fn name(&self) -> &str {
//!         "loopback"
//!     }
//!
//!     fn describe(&self) -> String {
//!         "a loopback without a broker".into()
//!     }
//!
//!     fn check(&self, _: &[LinkRequest<'_>]) -> Vec<Finding> {
//!         Vec::new()
//!     }
//!
//!     fn run(self, links: Links, context: RuntimeContext<R>) -> Self::Run {
//!         let reconnect = Reconnect::new(Duration::from_millis(250), Duration::from_secs(10));
//!         Box::pin(driver::run(self, "itself".into(), links, Limits::default(), reconnect, context))
//!     }
//! }
//! ```

mod inbound;
mod outbound;
mod reconnect;
mod suspect;

use alloc::string::{String, ToString};
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

pub use inbound::{Deliver, InboundLinks, Limits, Reading};
pub use outbound::{OutboundLinks, Taken};
pub use reconnect::Reconnect;
pub use suspect::Suspects;

use super::connector::Links;
use crate::clock::Instant;
use crate::context::RuntimeContext;
use crate::race::{Either, race};
use crate::runtime::adapter::Runtime;
use reconnect::Pauses;

/// The part of a connector that knows its protocol.
///
/// The [module](self) has a whole connector. A transport that fails at once:
///
/// ```
/// use aimdb_core::Runtime;
/// use aimdb_core::link::InboundLink;
/// use aimdb_core::link::driver::{Deliver, Failure, LinkIo, Transport};
/// # use aimdb_core::Closed;
/// # use std::task::{Context, Poll};
/// # struct Frame;
/// # impl Deliver for Frame {
/// #     fn deliver(&self, _: &mut InboundLink, _: &mut Context<'_>) -> Poll<Result<(), Closed>> { Poll::Ready(Ok(())) }
/// # }
///
/// struct Unplugged;
///
/// impl<R: Runtime> Transport<R> for Unplugged {
///     type Message = Frame;
///     type Receipt = u16;
///
///     async fn serve(&mut self, _: &mut LinkIo<R, Frame, u16>) -> Result<(), Failure> {
///         Err(Failure::retry("the cable is unplugged"))
///     }
/// }
/// ```
#[expect(async_fn_in_trait, reason = "the implementation decides whether its futures are `Send`")]
pub trait Transport<R: Runtime> {
    /// A received message that waits for room in a record.
    type Message: Deliver;
    /// The means to acknowledge a received message.
    type Receipt;

    /// Opens one connection and serves it to its end.
    ///
    /// An implementation awaits what it connects with in [`LinkIo::connecting`], calls [`LinkIo::set_connected`], and
    /// then moves messages. In a shutdown it takes no more messages from its peer, and returns when
    /// [`LinkIo::is_drained`].
    ///
    /// # Errors
    ///
    /// Why there is no connection, or no longer.
    ///
    /// # Cancel safety
    ///
    /// [`run`] does not drop the future before it is ready, unless it is dropped itself.
    async fn serve(
        &mut self,
        io: &mut LinkIo<R, Self::Message, Self::Receipt>,
    ) -> Result<(), Failure>;
}

/// Why a connection ended, or was not made.
///
/// ```
/// use aimdb_core::link::driver::Failure;
///
/// let failure = Failure::refused("the password is wrong");
/// assert_eq!(failure.to_string(), "the password is wrong");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    reason: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Retry,
    Explained,
    Refused,
    Fatal,
}

impl Failure {
    /// Another attempt can succeed.
    pub fn retry(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), kind: Kind::Retry }
    }

    /// Another attempt can succeed, and what ended the connection is dealt with: the pause does not grow.
    pub fn explained(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), kind: Kind::Explained }
    }

    /// The peer refuses this client. Another attempt alone changes nothing, but the peer may change: a
    /// connector that [requires](Reconnect::require_within) its connection fails, another one tries again.
    pub fn refused(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), kind: Kind::Refused }
    }

    /// The connector cannot continue.
    pub fn fatal(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), kind: Kind::Fatal }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// The links of a connector, for its [`Transport`].
///
/// ```
/// use aimdb_core::Runtime;
/// use aimdb_core::link::driver::{Deliver, Failure, LinkIo};
/// # async fn open() -> std::io::Result<u32> { Ok(1) }
///
/// /// Opens a port, while messages that wait are still delivered.
/// async fn connect<R: Runtime, M: Deliver, K>(io: &mut LinkIo<R, M, K>) -> Result<Option<u32>, Failure> {
///     let port = io.connecting(async { open().await.map_err(Failure::retry) }).await?;
///     if port.is_some() {
///         io.set_connected();
///     }
///     Ok(port)
/// }
/// ```
pub struct LinkIo<R, M, K> {
    /// The outbound links.
    pub outbound: OutboundLinks<R>,
    /// The inbound links.
    pub inbound: InboundLinks<M, K>,
    context: RuntimeContext<R>,
    target: String,
    connected_at: Option<Instant>,
    required_by: Option<Instant>,
}

impl<R: Runtime, M: Deliver, K> LinkIo<R, M, K> {
    /// The context of the connector.
    #[must_use]
    pub fn context(&self) -> &RuntimeContext<R> {
        &self.context
    }

    /// Awaits `attempt` and serves the links meanwhile: messages that wait are delivered. `None` if a shutdown has left
    /// nothing to send, so that no connection is needed.
    ///
    /// # Errors
    ///
    /// Those of `attempt`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops `attempt`.
    pub async fn connecting<T>(
        &mut self,
        attempt: impl Future<Output = Result<T, Failure>>,
    ) -> Result<Option<T>, Failure> {
        match race(attempt, self.drained_without_connection()).await {
            Either::First(outcome) => outcome.map(Some),
            Either::Second(()) => Ok(None),
        }
    }

    /// Serves the links without a connection. Ready when a shutdown has left nothing to send.
    async fn drained_without_connection(&mut self) {
        let context = self.context.clone();
        let mut stopping = pin!(context.stopping());
        poll_fn(|cx| {
            let stopping = context.poll_stopping(stopping.as_mut(), cx);
            self.poll_inbound(stopping, cx);
            let drained = self.outbound.poll_drained(cx) && stopping && self.is_drained();
            if drained { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Declares that there is a connection: the outbound links are connected.
    ///
    /// The connector declares its inbound links itself, when the peer sends their messages.
    pub fn set_connected(&mut self) {
        self.connected_at = Some(self.context.time().now());
        self.outbound.iter().for_each(|link| link.status().set_connected());
        self.context.log().info(format_args!("connected to {}", self.target));
    }

    /// When an attempt to connect that begins now has to have succeeded: after `limit`, or before if the connection is
    /// [required](Reconnect::require_within).
    #[must_use]
    pub fn deadline(&self, limit: Duration) -> Instant {
        let deadline = self.context.time().now() + limit;
        self.required_by.map_or(deadline, |by| by.min(deadline))
    }

    /// How long the present connection has lasted.
    #[must_use]
    pub fn connected_for(&self) -> Option<Duration> {
        self.connected_at.map(|at| self.context.time().now() - at)
    }

    /// Delivers messages that wait, and in a shutdown drops the inbound links when none waits.
    pub fn poll_inbound(&mut self, stopping: bool, cx: &mut Context<'_>) {
        self.inbound.poll_deliver_or_close(stopping, cx);
    }

    /// Whether a shutdown has dropped the inbound links, and all that the outbound links had is sent.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.inbound.iter().next().is_none() && self.outbound.are_drained()
    }

    /// Records the end of a connection or an attempt, and returns how long the connection lasted.
    fn set_disconnected(&mut self, failure: &Failure) -> Option<Duration> {
        let lasted = self.connected_for();
        self.connected_at = None;
        let outbound = self.outbound.iter().map(|link| link.status());
        for status in outbound.chain(self.inbound.statuses()) {
            status.set_disconnected();
            status.set_error(failure);
        }
        lasted
    }
}

impl<R, M, K> fmt::Debug for LinkIo<R, M, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkIo")
            .field("outbound", &self.outbound)
            .field("inbound", &self.inbound)
            .finish_non_exhaustive()
    }
}

/// Runs a connector: connects, and connects again, until a shutdown has drained the links.
///
/// The [module](self) has an example: [`Connector::run`](crate::Connector::run) returns this future.
///
/// ```
/// use aimdb_core::link::Links;
/// use aimdb_core::link::driver::{self, Limits, Reconnect, Transport};
/// use aimdb_core::{Runtime, RuntimeContext};
/// use std::time::Duration;
///
/// async fn run<R: Runtime>(radio: impl Transport<R>, links: Links, context: RuntimeContext<R>) {
///     let reconnect = Reconnect::new(Duration::from_millis(250), Duration::from_secs(10));
///     driver::run(radio, "channel 7".into(), links, Limits::default(), reconnect, context).await;
/// }
/// ```
///
/// `target` names the peer in the log. A connector whose required connection is not made, or that cannot continue,
/// [fails](RuntimeContext::fail).
///
/// # Cancel safety
///
/// Dropping the future ends the connection; messages in flight are counted as the shutdown's report says.
pub async fn run<R: Runtime, T: Transport<R>>(
    mut transport: T,
    target: String,
    links: Links,
    limits: Limits,
    reconnect: Reconnect,
    context: RuntimeContext<R>,
) {
    let now = context.time().now();
    let required_by = reconnect.required_within.map(|limit| now + limit);
    let mut pauses = Pauses::new(reconnect);
    let mut io = LinkIo {
        outbound: OutboundLinks::new(links.outbound, context.clone()),
        inbound: InboundLinks::new(links.inbound, limits),
        context,
        target,
        connected_at: None,
        required_by,
    };
    while let Err(failure) = transport.serve(&mut io).await {
        let lasted = io.set_disconnected(&failure);
        if lasted.is_some() {
            io.required_by = None;
        }
        let what = if lasted.is_some() { "lost the connection to" } else { "no connection to" };
        let reason = alloc::format!("{what} {}: {failure}", io.target);
        let now = io.context.time().now();
        let too_late = io.required_by.is_some_and(|by| failure.kind == Kind::Refused || now >= by);
        if too_late || failure.kind == Kind::Fatal {
            io.inbound.statuses().iter().for_each(|status| status.set_error(&reason));
            io.outbound.iter().for_each(|link| link.status().set_error(&reason));
            return io.context.fail(reason);
        }
        let explained = failure.kind == Kind::Explained;
        let remaining = io.required_by.map_or(Duration::MAX, |by| by - now);
        let pause = pauses.next(lasted, explained).min(remaining);
        io.context.log().warn(format_args!("{reason}; next attempt in {pause:.1?}"));
        // The beginning of a shutdown ends this pause. Pauses that begin after it run in full, for the messages that
        // are still to be sent.
        let context = io.context.clone();
        let waits = async {
            match context.is_stopping() {
                true => context.time().sleep(pause).await,
                false => _ = race(context.time().sleep(pause), context.stopping()).await,
            }
            Ok(())
        };
        if let Ok(None) = io.connecting(waits).await {
            return;
        }
    }
}
