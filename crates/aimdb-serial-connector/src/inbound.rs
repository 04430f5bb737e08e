//! The inbound direction: from the port to the records.

use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use aimdb_core::link::driver::{Failure, InboundLinks, Reading};
use aimdb_core::link::{InboundLink, Links};
use aimdb_core::{Arc, Instant, Runtime, RuntimeContext};
use embedded_io_async::Read;

use crate::frame::{Body, Decoder, Frame, FrameError, TopicId};
use crate::sequence::{Action, SequenceTracker};
use crate::settings::SerialSettings;
use crate::status::{SerialCounters, SerialStatus};
use crate::value::{BorrowedValue, HeldValue};

/// The size of one read, in bytes.
const READ_CHUNK: usize = 256;

/// The shortest time between two log lines about receive problems.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the port, decodes frames and dispatches their values.
pub(crate) struct Receiver<R> {
    decoder: Decoder,
    dispatcher: Dispatcher<R>,
    idle_timeout: Option<Duration>,
}

/// Delivers the values of valid frames to the records of their topics.
struct Dispatcher<R> {
    /// The topics of the links.
    topics: Vec<(TopicId, Arc<str>)>,
    /// The state of the peer, not of the connection: it outlives a reconnect.
    sequence: SequenceTracker,
    /// The arrival of this connection's last valid frame, or the connection's begin.
    last_frame_at: Instant,
    /// The counters in the last log line about receive problems, and its time.
    logged: SerialCounters,
    logged_at: Instant,
    status: SerialStatus,
    context: RuntimeContext<R>,
}

type Inbound = InboundLinks<HeldValue, ()>;

impl<R: Runtime> Receiver<R> {
    pub(crate) fn new(
        links: &Links,
        settings: &SerialSettings,
        context: &RuntimeContext<R>,
    ) -> Self {
        let topic = |link: &InboundLink| {
            let topic = &link.address().topic;
            (TopicId::of(topic), Arc::from(&**topic))
        };
        let now = context.time().now();
        let dispatcher = Dispatcher {
            topics: links.inbound.iter().map(topic).collect(),
            sequence: SequenceTracker::new(),
            last_frame_at: now,
            logged: SerialCounters::default(),
            logged_at: now,
            status: settings.status.clone(),
            context: context.clone(),
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
    pub(crate) async fn run<P: Read>(&mut self, mut port: P, links: &mut Inbound) -> Failure {
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
                    links.poll_deliver_or_close(stopping, cx);
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
                None => {
                    return Failure::retry(format_args!("no frame arrived for {limit:?}"));
                }
                Some(Ok(0)) => return Failure::retry("the peer closed the connection"),
                Some(Err(error)) => return Failure::retry(error),
                Some(Ok(_)) if context.is_stopping() => {}
                Some(Ok(count)) => self.receive(&chunk[..count], links).await,
            }
        }
    }

    async fn receive(&mut self, mut bytes: &[u8], links: &mut Inbound) {
        let Self { decoder, dispatcher, .. } = self;
        while let Some(decoded) = decoder.feed(&mut bytes) {
            match decoded {
                Ok(frame) => dispatcher.dispatch(frame, links).await,
                Err(error) => dispatcher.count_error(error),
            }
        }
        dispatcher.log_problems();
    }

    /// Resets the state of the connection before the next one. An unfinished frame is counted as truncated.
    pub(crate) fn begin_connection(&mut self) {
        if self.decoder.reset() {
            self.dispatcher.count_error(FrameError::Truncated);
        }
    }
}

/// Waits until every value that waits is in its record, then drops the links.
pub(crate) async fn finish(links: &mut Inbound) {
    poll_fn(|cx| {
        links.poll_deliver_or_close(true, cx);
        if links.iter().next().is_none() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

impl<R: Runtime> Dispatcher<R> {
    async fn dispatch(&mut self, frame: Frame<'_>, links: &mut Inbound) {
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
            (Body::Data { topic, payload }, Action::Deliver) => {
                self.deliver(topic, payload, links).await;
            }
            (_, Action::DropDuplicate) => cells.duplicates.add(1),
            _ => {}
        }
    }

    /// Delivers a value to each link of its topic. Waits for a full record once.
    async fn deliver(&mut self, topic: TopicId, payload: &[u8], links: &mut Inbound) {
        self.status.cells().received.add(1);
        let time = self.context.time();
        let mut known = false;
        for (index, (_, topic)) in
            self.topics.iter().enumerate().filter(|(_, (id, _))| *id == topic)
        {
            known = true;
            let value = BorrowedValue { topic, payload };
            poll_fn(|cx| {
                links.offer(&[index], &value, None, BorrowedValue::hold, time.now(), cx);
                Poll::Ready(())
            })
            .await;
            while let Reading::Until(until) = links.reading(time.now()) {
                let mut over = pin!(time.sleep_until(until));
                poll_fn(|cx| {
                    links.poll_deliver(cx);
                    match links.reading(time.now()) {
                        Reading::Until(_) => over.as_mut().poll(cx),
                        _ => Poll::Ready(()),
                    }
                })
                .await;
            }
        }
        if !known {
            self.status.cells().unknown_topics.add(1);
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
