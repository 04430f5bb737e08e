//! One line's life: open it, serve both directions side by side, open it again.
//!
//! ```text
//!  records ─▶ Sender ─▶ write half ─┐
//!                                   ├─ one task, one line
//!  records ◀─ Intake ◀─ read half ──┘
//! ```
//!
//! The halves are polled side by side and share nothing but counters, so neither waits for the other: a peer that does
//! not read stops what goes out, and only that.

use aimdb_core::Arc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use aimdb_core::link::{InboundLink, LinkStatus, Links, OutboundLink};
use aimdb_core::{Runtime, RuntimeContext};

use crate::intake::Intake;
use crate::port::Port;
use crate::sender::Sender;
use crate::settings::Settings;
use aimdb_core::race::{Either, race};

/// How long a port may take to close.
const GOODBYE: Duration = Duration::from_secs(1);

/// Runs until a shutdown has ended every link.
pub(crate) async fn run<P: Port, R: Runtime>(
    mut port: P,
    settings: Settings,
    links: Links,
    context: RuntimeContext<R>,
) {
    let mut line = Line::new(&links, &settings, &context);
    let mut sender = Sender::new(links.outbound, &settings, context.clone());
    let mut intake = Intake::new(links.inbound, &settings, context.clone());
    while let Err(reason) = once(&mut port, &mut line, &mut sender, &mut intake).await {
        line.lost(&reason);
        if intake.has_heard() {
            line.pauses.reset();
        }
        close(&mut port, &context).await;
    }
    intake.finish().await;
    close(&mut port, &context).await;
}

/// One line from its opening to its failure; the reason is the error. `Ok` when a shutdown has ended the links.
async fn once<P: Port, R: Runtime>(
    port: &mut P,
    line: &mut Line<R>,
    sender: &mut Sender<R>,
    intake: &mut Intake<R>,
) -> Result<(), String> {
    intake.forget_the_line();
    let opening = async {
        line.context.time().sleep(line.pauses.next()).await;
        port.open().await
    };
    let (read, write) = match race(opening, without_a_line(sender, intake, &line.context)).await {
        Either::First(Ok(halves)) => halves,
        Either::First(Err(error)) => return Err(error.to_string()),
        Either::Second(()) => return Ok(()),
    };
    line.opened();
    match race(intake.run(read), sender.run(write)).await {
        Either::First(reason) => Err(reason),
        Either::Second(outcome) => outcome,
    }
}

/// What goes on meanwhile: values that wait for room, and a shutdown. Ends when that leaves nothing to send.
async fn without_a_line<R: Runtime>(
    sender: &mut Sender<R>,
    intake: &mut Intake<R>,
    context: &RuntimeContext<R>,
) {
    let mut stopping = pin!(context.stopping());
    poll_fn(|cx| {
        let stopping = context.poll_stopping(stopping.as_mut(), cx);
        intake.poll_held(stopping, cx);
        if sender.poll_drained(cx) && stopping { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn close<P: Port, R: Runtime>(port: &mut P, context: &RuntimeContext<R>) {
    // One that takes longer is dropped.
    let _in_time = context.time().timeout(GOODBYE, port.close()).await;
}

/// What is known of the line as a whole.
struct Line<R> {
    statuses: Vec<Arc<LinkStatus>>,
    was_open: bool,
    pauses: Pauses,
    settings: Settings,
    context: RuntimeContext<R>,
}

impl<R: Runtime> Line<R> {
    fn new(links: &Links, settings: &Settings, context: &RuntimeContext<R>) -> Self {
        let outbound = links.outbound.iter().map(OutboundLink::status);
        let inbound = links.inbound.iter().map(InboundLink::status);
        Self {
            statuses: outbound.chain(inbound).cloned().collect(),
            was_open: false,
            pauses: Pauses::new(settings.first_pause, settings.longest_pause),
            settings: settings.clone(),
            context: context.clone(),
        }
    }

    fn opened(&mut self) {
        self.statuses.iter().for_each(|status| status.set_connected());
        if core::mem::replace(&mut self.was_open, true) {
            self.settings.status.cells().reconnects.add(1);
        }
        self.context.log().info("the line is open");
    }

    fn lost(&self, reason: &str) {
        for status in &self.statuses {
            status.set_disconnected();
            status.set_error(reason);
        }
        self.context.log().warn(format_args!("there is no line: {reason}"));
    }
}

/// Pauses before opening: none, then doubling.
struct Pauses {
    first: Duration,
    longest: Duration,
    last: Option<Duration>,
}

impl Pauses {
    fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest: longest.max(first), last: None }
    }

    fn next(&mut self) -> Duration {
        let pause = match self.last {
            None => Duration::ZERO,
            Some(Duration::ZERO) => self.first,
            Some(last) => last.saturating_mul(2).min(self.longest),
        };
        self.last = Some(pause);
        pause
    }

    fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_there_is_none_after_a_line_that_worked() {
        let mut pauses = Pauses::new(Duration::from_millis(100), Duration::from_secs(1));
        let all: Vec<_> = (0..7).map(|_| pauses.next().as_millis()).collect();
        assert_eq!(all, [0, 100, 200, 400, 800, 1000, 1000]);
        pauses.reset();
        assert_eq!(pauses.next(), Duration::ZERO);
    }
}
