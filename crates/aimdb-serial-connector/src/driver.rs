//! One connection of the connector: opens the port and serves both directions concurrently. The kit connects again.
//!
//! ```text
//!  records ─▶ OutboundLinks ─▶ Sender   ─▶ write half ─┐
//!                                                      ├─ one task, one port
//!  records ◀─ InboundLinks  ◀─ Receiver ◀─ read half ──┘
//! ```
//!
//! One task polls both halves. They share nothing but counters, so neither blocks the other: a peer that does not read
//! blocks the outbound direction alone.

use core::time::Duration;

use aimdb_core::link::Links;
use aimdb_core::link::driver::{self, Failure, Limits, LinkIo, Reconnect, Transport};
use aimdb_core::race::{Either, race};
use aimdb_core::{Runtime, RuntimeContext};

use crate::inbound::{Receiver, finish};
use crate::outbound::Sender;
use crate::port::Port;
use crate::settings::SerialSettings;
use crate::value::HeldValue;

/// The longest time a port may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the connector until a shutdown has ended every link.
pub(crate) async fn run<P: Port, R: Runtime>(
    port: P,
    settings: SerialSettings,
    links: Links,
    context: RuntimeContext<R>,
) {
    // One value waits in the link itself. A further one is waited for once, and then dropped.
    let limits =
        Limits { unacknowledged: 0, grace: settings.full_record_timeout, ..Limits::default() };
    let seed = u32::from(settings.session) ^ context.time().now().as_nanos() as u32;
    let reconnect =
        Reconnect::new(settings.initial_backoff, settings.max_backoff).at_once().seed(seed);
    let transport = SerialTransport {
        port,
        sender: Sender::new(&links, &settings, &context),
        receiver: Receiver::new(&links, &settings, &context),
        was_connected: false,
        settings,
    };
    driver::run(transport, "the peer".into(), links, limits, reconnect, context).await;
}

struct SerialTransport<P, R> {
    port: P,
    settings: SerialSettings,
    sender: Sender<R>,
    receiver: Receiver<R>,
    /// Whether an earlier connection succeeded: the next one is a reconnect.
    was_connected: bool,
}

impl<P: Port, R: Runtime> Transport<R> for SerialTransport<P, R> {
    type Message = HeldValue;
    type Receipt = ();

    async fn serve(&mut self, io: &mut LinkIo<R, HeldValue, ()>) -> Result<(), Failure> {
        let outcome = self.serve_port(io).await;
        let closing = self.port.close();
        // A close that exceeds the limit is dropped.
        let _in_time = io.context().time().timeout(CLOSE_TIMEOUT, closing).await;
        outcome
    }
}

impl<P: Port, R: Runtime> SerialTransport<P, R> {
    async fn serve_port(&mut self, io: &mut LinkIo<R, HeldValue, ()>) -> Result<(), Failure> {
        let Self { port, settings, sender, receiver, was_connected } = self;
        receiver.begin_connection();
        if !*was_connected {
            let status = settings.status.clone();
            io.inbound.on_lost(move || status.cells().refused.add(1));
        }
        let opening = async { port.open().await.map_err(Failure::retry) };
        let Some((read, write)) = io.connecting(opening).await? else { return Ok(()) };
        io.set_connected();
        io.inbound.statuses().iter().for_each(|status| status.set_connected());
        if core::mem::replace(was_connected, true) {
            settings.status.cells().reconnects.add(1);
        }
        let LinkIo { outbound, inbound, .. } = io;
        match race(receiver.run(read, inbound), sender.run(write, outbound)).await {
            Either::First(failure) => Err(failure),
            Either::Second(Err(failure)) => Err(failure),
            Either::Second(Ok(())) => {
                // The records take what waits for them, then a shutdown can close them.
                finish(inbound).await;
                Ok(())
            }
        }
    }
}
