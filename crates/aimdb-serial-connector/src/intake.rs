//! From the line into the records.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

use aimdb_core::link::InboundLink;
use aimdb_core::{Incoming, Instant, Runtime, RuntimeContext};
use embedded_io_async::Read;

use crate::frame::{Body, Decoder, Fault, Frame, TopicId};
use crate::receiver::{Fate, Receiver};
use crate::settings::Settings;
use crate::status::{SerialCounters, SerialStatus};

/// Bytes read at once.
const CHUNK: usize = 256;

/// How often troubles of the line are logged at most.
const REPORT: Duration = Duration::from_secs(1);

pub(crate) struct Intake<R> {
    decoder: Decoder,
    desk: Desk<R>,
    silence: Option<Duration>,
}

/// Where whole frames go.
struct Desk<R> {
    inlets: Vec<Inlet>,
    /// Of the peer, not of the line: it stays when the line is opened anew.
    receiver: Receiver,
    patience: Duration,
    /// When the last frame came by this line, or since when one could.
    heard_at: Instant,
    has_heard: bool,
    reported: SerialCounters,
    reported_at: Instant,
    status: SerialStatus,
    context: RuntimeContext<R>,
}

struct Inlet {
    link: InboundLink,
    topic: String,
    id: TopicId,
    status: SerialStatus,
    /// A value that the link holds was waited for in vain, and its record has had no room since.
    stuck: bool,
}

impl<R: Runtime> Intake<R> {
    pub(crate) fn new(
        links: Vec<InboundLink>,
        settings: &Settings,
        context: RuntimeContext<R>,
    ) -> Self {
        let inlet = |link: InboundLink| {
            let topic = link.address().topic.clone();
            let (id, status) = (TopicId::of(&topic), settings.status.clone());
            Inlet { link, topic, id, status, stuck: false }
        };
        let now = context.time().now();
        let desk = Desk {
            inlets: links.into_iter().map(inlet).collect(),
            receiver: Receiver::new(),
            patience: settings.patience,
            heard_at: now,
            has_heard: false,
            reported: SerialCounters::default(),
            reported_at: now,
            status: settings.status.clone(),
            context,
        };
        Self { decoder: Decoder::new(settings.max_payload), desk, silence: settings.silence }
    }

    /// Takes in what comes until the line fails; gives the reason. After a shutdown has begun it goes on reading, and
    /// throws away what it reads: a line that is not read may keep what goes out from going.
    pub(crate) async fn run<L: Read>(&mut self, mut line: L) -> String {
        let context = self.desk.context.clone();
        let mut stopping = pin!(context.stopping());
        let mut chunk = [0; CHUNK];
        self.desk.heard_at = context.time().now();
        let limit = self.silence.unwrap_or_default();
        loop {
            let read = {
                let mut silence = pin!(context.time().sleep_until(self.desk.heard_at + limit));
                let mut reading = pin!(line.read(&mut chunk));
                poll_fn(|cx| {
                    let stopping = context.poll_stopping(stopping.as_mut(), cx);
                    self.poll_held(stopping, cx);
                    if let Poll::Ready(read) = reading.as_mut().poll(cx) {
                        return Poll::Ready(Some(read));
                    }
                    match self.silence {
                        Some(_) => silence.as_mut().poll(cx).map(|()| None),
                        None => Poll::Pending,
                    }
                })
                .await
            };
            match read {
                None => return alloc::format!("nothing was heard for {limit:?}"),
                Some(Ok(0)) => return "the other end closed it".into(),
                Some(Err(error)) => return error.to_string(),
                Some(Ok(_)) if context.is_stopping() => {}
                Some(Ok(count)) => self.take(&chunk[..count]).await,
            }
        }
    }

    async fn take(&mut self, mut bytes: &[u8]) {
        let Self { decoder, desk, .. } = self;
        while let Some(found) = decoder.feed(&mut bytes) {
            match found {
                Ok(frame) => desk.take(frame).await,
                Err(fault) => desk.count(fault),
            }
        }
        desk.report();
    }

    /// Brings values that wait into their records. When a shutdown has begun and none waits any more, the links are
    /// dropped, by which the shutdown goes on.
    pub(crate) fn poll_held(&mut self, stopping: bool, cx: &mut Context<'_>) {
        let inlets = &mut self.desk.inlets;
        let waiting =
            inlets.iter_mut().filter_map(|inlet| inlet.poll_room(cx).is_pending().then_some(()));
        if waiting.count() == 0 && stopping {
            inlets.clear();
        }
    }

    /// Waits until nothing waits.
    pub(crate) async fn finish(&mut self) {
        poll_fn(|cx| {
            self.poll_held(true, cx);
            if self.desk.inlets.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Whether a whole frame came since [`forget_the_line`](Self::forget_the_line).
    pub(crate) fn has_heard(&self) -> bool {
        self.desk.has_heard
    }

    /// What comes next comes by another line.
    pub(crate) fn forget_the_line(&mut self) {
        self.desk.has_heard = false;
        if self.decoder.reset() {
            self.desk.count(Fault::Cut);
        }
    }
}

impl<R: Runtime> Desk<R> {
    async fn take(&mut self, frame: Frame<'_>) {
        self.has_heard = true;
        self.heard_at = self.context.time().now();
        self.status.heard(self.heard_at);
        let verdict = self.receiver.judge(&frame);
        let cells = self.status.cells();
        cells.lost.add(verdict.lost);
        cells.unheard.add(verdict.unheard);
        if verdict.restarted {
            cells.peer_restarts.add(1);
            self.context.log().info("the peer was restarted");
        }
        match (frame.body, verdict.fate) {
            (Body::Data { topic, payload }, Fate::Deliver) => self.deliver(topic, payload).await,
            (_, Fate::Doubled) => cells.doubled.add(1),
            _ => {}
        }
    }

    async fn deliver(&mut self, topic: TopicId, payload: &[u8]) {
        let (cells, time) = (self.status.cells(), self.context.time());
        cells.received.add(1);
        let mut known = false;
        for inlet in self.inlets.iter_mut().filter(|inlet| inlet.id == topic) {
            known = true;
            if inlet.link.has_pending() && !inlet.stuck {
                let room = poll_fn(|cx| inlet.poll_room(cx));
                inlet.stuck = time.timeout(self.patience, room).await.is_err();
            }
            inlet.accept(payload).await;
        }
        if !known {
            cells.unknown_topics.add(1);
        }
    }

    fn count(&self, fault: Fault) {
        let cells = self.status.cells();
        let counter = match fault {
            Fault::Cut => &cells.cut,
            Fault::Corrupted => &cells.corrupted,
            Fault::TooLong => &cells.too_long,
            Fault::Foreign => &cells.foreign,
        };
        counter.add(1);
    }

    /// Logs troubles, a line for all of a second. What is not logged yet is when the next bytes come.
    fn report(&mut self) {
        let counters = self.status.counters().troubles();
        let now = self.context.time().now();
        if counters == self.reported || now - self.reported_at < REPORT {
            return;
        }
        let news = counters.since(&self.reported);
        self.context.log().warn(format_args!("on the line: {news}"));
        (self.reported, self.reported_at) = (counters, now);
    }
}

impl Inlet {
    /// Whether the record has everything that the link was given.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.link.has_pending() {
            let kept = core::task::ready!(self.link.poll_flush(cx));
            self.stuck = false;
            if kept.is_err() {
                self.refused();
            }
        }
        Poll::Ready(())
    }

    /// Hands a value over unless the last one still waits. It waits for nothing.
    async fn accept(&mut self, payload: &[u8]) {
        poll_fn(|cx| {
            if self.poll_room(cx).is_pending() {
                self.link.status().count_received();
                self.refused();
            } else {
                let message = Incoming::new(&self.topic, payload);
                if let Poll::Ready(Err(_closed)) = self.link.poll_accept(&message, cx) {
                    self.refused();
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// A value is lost at its record.
    fn refused(&self) {
        self.link.status().count_dropped();
        self.status.cells().refused.add(1);
    }
}

/// Cut off at a shutdown's deadline, a value that still waits is lost.
impl Drop for Inlet {
    fn drop(&mut self) {
        if self.link.has_pending() {
            self.refused();
        }
    }
}
