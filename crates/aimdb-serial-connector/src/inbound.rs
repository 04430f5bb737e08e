//! The inbound direction: from the port to the records.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

use aimdb_core::link::InboundLink;
use aimdb_core::{Incoming, Instant, Runtime, RuntimeContext};
use embedded_io_async::Read;

use crate::frame::{Body, Decoder, Frame, FrameError, TopicId};
use crate::sequence::{Action, SequenceTracker};
use crate::settings::SerialSettings;
use crate::status::{SerialCounters, SerialStatus};

/// The size of one read, in bytes.
const READ_CHUNK: usize = 256;

/// The shortest time between two log lines about receive problems.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the port, decodes frames and dispatches their values.
pub(crate) struct Inbound<R> {
    decoder: Decoder,
    dispatcher: Dispatcher<R>,
    idle_timeout: Option<Duration>,
}

/// Delivers the values of valid frames to the records of their topics.
struct Dispatcher<R> {
    routes: Vec<InboundRoute>,
    /// The state of the peer, not of the connection: it outlives a reconnect.
    sequence: SequenceTracker,
    full_record_timeout: Duration,
    /// The arrival of this connection's last valid frame, or the connection's begin.
    last_frame_at: Instant,
    /// Whether this connection has received a valid frame.
    frame_received: bool,
    /// The counters in the last log line about receive problems, and its time.
    logged: SerialCounters,
    logged_at: Instant,
    status: SerialStatus,
    context: RuntimeContext<R>,
}

/// One inbound link and the topic it subscribes to.
struct InboundRoute {
    link: InboundLink,
    topic: String,
    id: TopicId,
    status: SerialStatus,
    /// The wait for room has timed out and the record has had no room since: further values are not waited for.
    blocked: bool,
}

impl<R: Runtime> Inbound<R> {
    pub(crate) fn new(
        links: Vec<InboundLink>,
        settings: &SerialSettings,
        context: RuntimeContext<R>,
    ) -> Self {
        let route = |link: InboundLink| {
            let topic = link.address().topic.clone();
            let (id, status) = (TopicId::of(&topic), settings.status.clone());
            InboundRoute { link, topic, id, status, blocked: false }
        };
        let now = context.time().now();
        let dispatcher = Dispatcher {
            routes: links.into_iter().map(route).collect(),
            sequence: SequenceTracker::new(),
            full_record_timeout: settings.full_record_timeout,
            last_frame_at: now,
            frame_received: false,
            logged: SerialCounters::default(),
            logged_at: now,
            status: settings.status.clone(),
            context,
        };
        Self {
            decoder: Decoder::new(settings.max_payload),
            dispatcher,
            idle_timeout: settings.idle_timeout,
        }
    }

    /// Receives over one connection until it fails; returns the reason.
    ///
    /// After a shutdown has begun, the connector continues to read and discards the bytes: on some ports an unread
    /// receive direction blocks the outbound one.
    pub(crate) async fn run<P: Read>(&mut self, mut port: P) -> String {
        let context = self.dispatcher.context.clone();
        let mut stopping = pin!(context.stopping());
        let mut chunk = [0; READ_CHUNK];
        self.dispatcher.last_frame_at = context.time().now();
        let limit = self.idle_timeout.unwrap_or_default();
        loop {
            let read = {
                let idle_deadline = self.dispatcher.last_frame_at + limit;
                let mut idle = pin!(context.time().sleep_until(idle_deadline));
                let mut reading = pin!(port.read(&mut chunk));
                poll_fn(|cx| {
                    let stopping = context.poll_stopping(stopping.as_mut(), cx);
                    self.poll_pending_values(stopping, cx);
                    if let Poll::Ready(read) = reading.as_mut().poll(cx) {
                        return Poll::Ready(Some(read));
                    }
                    match self.idle_timeout {
                        Some(_) => idle.as_mut().poll(cx).map(|()| None),
                        None => Poll::Pending,
                    }
                })
                .await
            };
            match read {
                None => return alloc::format!("no frame arrived for {limit:?}"),
                Some(Ok(0)) => return "the peer closed the connection".into(),
                Some(Err(error)) => return error.to_string(),
                Some(Ok(_)) if context.is_stopping() => {}
                Some(Ok(count)) => self.receive(&chunk[..count]).await,
            }
        }
    }

    async fn receive(&mut self, mut bytes: &[u8]) {
        let Self { decoder, dispatcher, .. } = self;
        while let Some(decoded) = decoder.feed(&mut bytes) {
            match decoded {
                Ok(frame) => dispatcher.dispatch(frame).await,
                Err(error) => dispatcher.count_error(error),
            }
        }
        dispatcher.log_problems();
    }

    /// Moves pending values into their records.
    ///
    /// Once a shutdown has begun and no value is pending, drops the links: the engine waits for that to continue the
    /// shutdown.
    pub(crate) fn poll_pending_values(&mut self, stopping: bool, cx: &mut Context<'_>) {
        let routes = &mut self.dispatcher.routes;
        // No short circuit: each route's waker must be registered.
        let pending =
            routes.iter_mut().filter_map(|route| route.poll_room(cx).is_pending().then_some(()));
        if pending.count() == 0 && stopping {
            routes.clear();
        }
    }

    /// Waits until every pending value is in its record, then drops the links.
    pub(crate) async fn finish(&mut self) {
        poll_fn(|cx| {
            self.poll_pending_values(true, cx);
            if self.dispatcher.routes.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Whether the connection begun with [`begin_connection`](Self::begin_connection) has received a valid frame.
    pub(crate) fn has_received_frame(&self) -> bool {
        self.dispatcher.frame_received
    }

    /// Resets the state of the connection before the next one. An unfinished frame is counted as truncated.
    pub(crate) fn begin_connection(&mut self) {
        self.dispatcher.frame_received = false;
        if self.decoder.reset() {
            self.dispatcher.count_error(FrameError::Truncated);
        }
    }
}

impl<R: Runtime> Dispatcher<R> {
    async fn dispatch(&mut self, frame: Frame<'_>) {
        self.frame_received = true;
        self.last_frame_at = self.context.time().now();
        self.status.set_last_frame_at(self.last_frame_at);
        let info = self.sequence.classify(&frame);
        let cells = self.status.cells();
        cells.lost.add(info.lost);
        cells.before_first_frame.add(info.before_first_frame);
        if info.restarted {
            cells.peer_restarts.add(1);
            self.context.log().info("the peer restarted");
        }
        match (frame.body, info.action) {
            (Body::Data { topic, payload }, Action::Deliver) => self.deliver(topic, payload).await,
            (_, Action::DropDuplicate) => cells.duplicates.add(1),
            _ => {}
        }
    }

    /// Delivers a value to each route of its topic.
    async fn deliver(&mut self, topic: TopicId, payload: &[u8]) {
        let (cells, time) = (self.status.cells(), self.context.time());
        cells.received.add(1);
        let mut known = false;
        for route in self.routes.iter_mut().filter(|route| route.id == topic) {
            known = true;
            if route.link.has_pending() && !route.blocked {
                let room = poll_fn(|cx| route.poll_room(cx));
                route.blocked = time.timeout(self.full_record_timeout, room).await.is_err();
            }
            route.accept(payload).await;
        }
        if !known {
            cells.unknown_topics.add(1);
        }
    }

    fn count_error(&self, error: FrameError) {
        let cells = self.status.cells();
        let counter = match error {
            FrameError::Truncated => &cells.truncated,
            FrameError::Corrupted => &cells.corrupted,
            FrameError::TooLong => &cells.too_long,
            FrameError::Unsupported => &cells.unsupported,
        };
        counter.add(1);
    }

    /// Logs the receive problems since the last log line, at most once per [`LOG_INTERVAL`]. Problems within the interval
    /// are logged after a later read.
    fn log_problems(&mut self) {
        let counters = self.status.counters().receive_problems();
        let now = self.context.time().now();
        if counters == self.logged || now - self.logged_at < LOG_INTERVAL {
            return;
        }
        let since_logged = counters.since(&self.logged);
        self.context.log().warn(format_args!("on the line: {since_logged}"));
        (self.logged, self.logged_at) = (counters, now);
    }
}

impl InboundRoute {
    /// Whether the link can take a value: the record has accepted every value given to the link before.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.link.has_pending() {
            let delivered = core::task::ready!(self.link.poll_flush(cx));
            self.blocked = false;
            if delivered.is_err() {
                self.count_refused();
            }
        }
        Poll::Ready(())
    }

    /// Gives a value to the link, or drops it if the previous value is still pending. Never waits.
    async fn accept(&mut self, payload: &[u8]) {
        poll_fn(|cx| {
            if self.poll_room(cx).is_pending() {
                self.link.status().count_received();
                self.count_refused();
            } else {
                let message = Incoming::new(&self.topic, payload);
                if let Poll::Ready(Err(_closed)) = self.link.poll_accept(&message, cx) {
                    self.count_refused();
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Counts a value that its record did not accept.
    fn count_refused(&self) {
        self.link.status().count_dropped();
        self.status.cells().refused.add(1);
    }
}

/// Counts the value that is still pending when a shutdown's deadline aborts the connector.
impl Drop for InboundRoute {
    fn drop(&mut self) {
        if self.link.has_pending() {
            self.count_refused();
        }
    }
}
