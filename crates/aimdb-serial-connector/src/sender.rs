//! From the records onto the line.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

use aimdb_core::link::OutboundLink;
use aimdb_core::{Instant, Runtime, RuntimeContext};
use embedded_io_async::Write;

use crate::frame::{self, Body, DELIMITER, Frame, TopicId};
use crate::settings::Settings;
use crate::status::SerialStatus;

/// Takes a value when the line is free for it, one at a time, from the links in turn.
pub(crate) struct Sender<R> {
    outlets: Vec<Outlet>,
    /// Who is asked first.
    turn: usize,
    payload: Vec<u8>,
    wire: Vec<u8>,
    /// The link whose value is in `wire` and not yet out. If the line breaks meanwhile, the next one gets it under the same
    /// number: a peer that has it already takes it for a double.
    in_hand: Option<usize>,
    session: u16,
    /// The number of the newest data frame.
    sequence: u32,
    max_payload: usize,
    heartbeat: Duration,
    last_sent: Instant,
    status: SerialStatus,
    context: RuntimeContext<R>,
}

struct Outlet {
    link: OutboundLink,
    topic: TopicId,
    /// The record may have more.
    open: bool,
}

/// What there is to send.
enum Next {
    Value(usize),
    Heartbeat,
    Over,
}

impl<R: Runtime> Sender<R> {
    pub(crate) fn new(
        links: Vec<OutboundLink>,
        settings: &Settings,
        context: RuntimeContext<R>,
    ) -> Self {
        let outlet = |link: OutboundLink| {
            let topic = TopicId::of(&link.address().topic);
            Outlet { link, topic, open: true }
        };
        Self {
            outlets: links.into_iter().map(outlet).collect(),
            turn: 0,
            payload: Vec::new(),
            wire: Vec::with_capacity(frame::longest(settings.max_payload)),
            in_hand: None,
            session: settings.session,
            sequence: 0,
            max_payload: settings.max_payload,
            heartbeat: settings.heartbeat,
            last_sent: context.time().now(),
            status: settings.status.clone(),
            context,
        }
    }

    /// Sends until a shutdown has ended every link.
    ///
    /// # Errors
    ///
    /// The reason, when the line has failed.
    pub(crate) async fn run<L: Write>(&mut self, mut line: L) -> Result<(), String> {
        self.greet(&mut line).await?;
        loop {
            if self.sequence == u32::MAX {
                self.begin_anew(&mut line).await?;
            }
            match self.next().await {
                Next::Value(at) => self.send_value(at, &mut line).await?,
                Next::Heartbeat => self.say(Body::Heartbeat, &mut line).await?,
                Next::Over => break,
            }
        }
        // The last word tells the peer what it should have had. A line that is stuck does not hold up the end.
        let time = self.context.time();
        let _stuck = time.timeout(self.heartbeat, self.say(Body::Heartbeat, &mut line)).await;
        Ok(())
    }

    /// Whether every record has ended and nothing is in hand. Takes nothing from a record.
    pub(crate) fn poll_drained(&mut self, cx: &mut Context<'_>) -> bool {
        for outlet in self.outlets.iter_mut().filter(|outlet| outlet.open) {
            outlet.open = outlet.link.poll_drained(cx).is_pending();
        }
        self.has_ended()
    }

    fn has_ended(&self) -> bool {
        self.in_hand.is_none() && self.outlets.iter().all(|outlet| !outlet.open)
    }

    /// The first bytes on a line.
    async fn greet<L: Write>(&mut self, line: &mut L) -> Result<(), String> {
        // Ends whatever came before it: noise, or half a frame.
        write(line, &[DELIMITER]).await?;
        match self.in_hand {
            // Before a heartbeat, which would tell the peer that it is lost.
            Some(at) => self.write_value(at, line).await,
            None if self.sequence == 0 => self.start(line).await,
            None => self.say(Body::Heartbeat, line).await,
        }
    }

    /// Numbers never wrap, so that a lower one always means a double or a restart.
    async fn begin_anew<L: Write>(&mut self, line: &mut L) -> Result<(), String> {
        self.say(Body::Heartbeat, line).await?;
        (self.session, self.sequence) = (self.session.wrapping_add(1), 0);
        self.start(line).await
    }

    /// Twice: noise must hit both to hide a restart with the same session number.
    async fn start<L: Write>(&mut self, line: &mut L) -> Result<(), String> {
        self.say(Body::Start, line).await?;
        self.say(Body::Start, line).await
    }

    /// A frame without a value.
    async fn say<L: Write>(&mut self, body: Body<'_>, line: &mut L) -> Result<(), String> {
        Frame { session: self.session, sequence: self.sequence, body }.encode(&mut self.wire);
        self.last_sent = self.context.time().now();
        write(line, &self.wire).await
    }

    /// Waits for something to send. Its value, if it is one, is in `payload`.
    async fn next(&mut self) -> Next {
        let context = self.context.clone();
        let mut stopping = pin!(context.stopping());
        let mut quiet = pin!(context.time().sleep_until(self.last_sent + self.heartbeat));
        poll_fn(|cx| {
            if let Some(at) = self.poll_value(cx) {
                return Poll::Ready(Next::Value(at));
            }
            if context.poll_stopping(stopping.as_mut(), cx) && self.has_ended() {
                return Poll::Ready(Next::Over);
            }
            quiet.as_mut().poll(cx).map(|()| Next::Heartbeat)
        })
        .await
    }

    /// The link that has a value for the line now.
    fn poll_value(&mut self, cx: &mut Context<'_>) -> Option<usize> {
        let count = self.outlets.len();
        for at in (0..count).map(|offset| (self.turn + offset) % count) {
            let outlet = &mut self.outlets[at];
            if !outlet.open {
                continue;
            }
            match outlet.link.poll_next(&mut self.payload, cx) {
                Poll::Ready(Ok(_)) => {
                    self.turn = at + 1;
                    return Some(at);
                }
                Poll::Ready(Err(_)) => outlet.open = false,
                Poll::Pending => {}
            }
        }
        None
    }

    async fn send_value<L: Write>(&mut self, at: usize, line: &mut L) -> Result<(), String> {
        if self.payload.len() > self.max_payload {
            self.refuse(at);
            return Ok(());
        }
        self.sequence += 1;
        let body = Body::Data { topic: self.outlets[at].topic, payload: &self.payload };
        Frame { session: self.session, sequence: self.sequence, body }.encode(&mut self.wire);
        self.in_hand = Some(at);
        self.outlets[at].link.status().set_in_flight(1);
        self.write_value(at, line).await
    }

    /// Brings out what is in `wire`.
    async fn write_value<L: Write>(&mut self, at: usize, line: &mut L) -> Result<(), String> {
        write(line, &self.wire).await?;
        self.last_sent = self.context.time().now();
        self.in_hand = None;
        let status = self.outlets[at].link.status();
        status.set_in_flight(0);
        status.count_sent();
        self.status.cells().sent.add(1);
        Ok(())
    }

    /// A frame that every peer would throw away is not sent.
    fn refuse(&self, at: usize) {
        let (size, limit) = (self.payload.len(), self.max_payload);
        let link = &self.outlets[at].link;
        let (record, address) = (link.record(), link.address());
        let text = alloc::format!(
            "a value of `{record}` to `{address}` was dropped: its {size} bytes are over the limit of {limit}, \
             see `max_payload`"
        );
        link.status().count_dropped();
        link.status().set_error(&text);
        self.status.cells().oversized.add(1);
        self.context.log().warn(text);
    }
}

/// Each frame is flushed: a port that waits there until its bytes are out keeps the next value in its record until the
/// line is free, where it may still be replaced by a newer one.
async fn write<L: Write>(line: &mut L, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        match line.write(bytes).await {
            Ok(0) => return Err("it takes no more bytes".into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) => return Err(error.to_string()),
        }
    }
    line.flush().await.map_err(|error| error.to_string())
}
