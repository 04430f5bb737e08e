//! The connector's task: opens the port, serves both directions concurrently, and reconnects.
//!
//! ```text
//!  records ─▶ Outbound ─▶ write half ─┐
//!                                     ├─ one task, one port
//!  records ◀─ Inbound  ◀─ read half ──┘
//! ```
//!
//! One task polls both halves. They share nothing but counters, so neither blocks the other: a peer that does not read
//! blocks the outbound direction alone.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use aimdb_core::link::{InboundLink, LinkStatus, Links, OutboundLink};
use aimdb_core::race::{Either, race};
use aimdb_core::{Arc, Runtime, RuntimeContext};

use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::port::Port;
use crate::settings::SerialSettings;

/// The longest time a port may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the connector until a shutdown has ended every link.
pub(crate) async fn run<P: Port, R: Runtime>(
    mut port: P,
    settings: SerialSettings,
    links: Links,
    context: RuntimeContext<R>,
) {
    let mut connection = ConnectionState::new(&links, &settings, &context);
    let mut outbound = Outbound::new(links.outbound, &settings, context.clone());
    let mut inbound = Inbound::new(links.inbound, &settings, context.clone());
    while let Err(reason) =
        serve_connection(&mut port, &mut connection, &mut outbound, &mut inbound).await
    {
        connection.set_disconnected(&reason);
        if inbound.has_received_frame() {
            connection.backoff.reset();
        }
        close(&mut port, &context).await;
    }
    inbound.finish().await;
    close(&mut port, &context).await;
}

/// Opens the port and serves it until the connection fails or a shutdown has ended every link.
///
/// # Errors
///
/// The reason, if the port cannot be opened or the connection fails.
async fn serve_connection<P: Port, R: Runtime>(
    port: &mut P,
    connection: &mut ConnectionState<R>,
    outbound: &mut Outbound<R>,
    inbound: &mut Inbound<R>,
) -> Result<(), String> {
    inbound.begin_connection();
    let opening = async {
        connection.context.time().sleep(connection.backoff.next_delay()).await;
        port.open().await
    };
    let drained = drain_while_disconnected(outbound, inbound, &connection.context);
    let (read, write) = match race(opening, drained).await {
        Either::First(Ok(halves)) => halves,
        Either::First(Err(error)) => return Err(error.to_string()),
        Either::Second(()) => return Ok(()),
    };
    connection.set_connected();
    match race(inbound.run(read), outbound.run(write)).await {
        Either::First(reason) => Err(reason),
        Either::Second(outcome) => outcome,
    }
}

/// Serves pending inbound values and a shutdown while the port is closed.
///
/// Completes when a shutdown has begun and nothing is left to send.
async fn drain_while_disconnected<R: Runtime>(
    outbound: &mut Outbound<R>,
    inbound: &mut Inbound<R>,
    context: &RuntimeContext<R>,
) {
    let mut stopping = pin!(context.stopping());
    poll_fn(|cx| {
        let stopping = context.poll_stopping(stopping.as_mut(), cx);
        inbound.poll_pending_values(stopping, cx);
        if outbound.poll_drained(cx) && stopping { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Closes the port; a close that exceeds the timeout is dropped.
async fn close<P: Port, R: Runtime>(port: &mut P, context: &RuntimeContext<R>) {
    let _closed_in_time = context.time().timeout(CLOSE_TIMEOUT, port.close()).await;
}

/// The state of the connection that both directions share, and its reports.
struct ConnectionState<R> {
    /// The statuses of all links.
    statuses: Vec<Arc<LinkStatus>>,
    /// Whether an earlier connection succeeded: the next one is a reconnect.
    was_connected: bool,
    backoff: Backoff,
    settings: SerialSettings,
    context: RuntimeContext<R>,
}

impl<R: Runtime> ConnectionState<R> {
    fn new(links: &Links, settings: &SerialSettings, context: &RuntimeContext<R>) -> Self {
        let outbound = links.outbound.iter().map(OutboundLink::status);
        let inbound = links.inbound.iter().map(InboundLink::status);
        Self {
            statuses: outbound.chain(inbound).cloned().collect(),
            was_connected: false,
            backoff: Backoff::new(settings.initial_backoff, settings.max_backoff),
            settings: settings.clone(),
            context: context.clone(),
        }
    }

    fn set_connected(&mut self) {
        self.statuses.iter().for_each(|status| status.set_connected());
        if core::mem::replace(&mut self.was_connected, true) {
            self.settings.status.cells().reconnects.add(1);
        }
        self.context.log().info("connected");
    }

    fn set_disconnected(&self, reason: &str) {
        for status in &self.statuses {
            status.set_disconnected();
            status.set_error(reason);
        }
        self.context.log().warn(format_args!("not connected: {reason}"));
    }
}

/// The delays before the port is opened: zero, then the initial delay, then doubling up to the maximum.
struct Backoff {
    initial: Duration,
    max: Duration,
    last: Option<Duration>,
}

impl Backoff {
    fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max: max.max(initial), last: None }
    }

    fn next_delay(&mut self) -> Duration {
        let delay = match self.last {
            None => Duration::ZERO,
            Some(Duration::ZERO) => self.initial,
            Some(last) => last.saturating_mul(2).min(self.max),
        };
        self.last = Some(delay);
        delay
    }

    fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum_and_a_reset_returns_to_no_delay() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let delays: Vec<_> = (0..7).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next_delay(), Duration::ZERO);
    }
}
