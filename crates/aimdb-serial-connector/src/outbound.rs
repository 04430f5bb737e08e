//! The outbound direction: from the records to the port.

use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use aimdb_core::link::driver::{Failure, OutboundLinks};
use aimdb_core::link::{Links, OutboundLink};
use aimdb_core::loss::Loss;
use aimdb_core::{Instant, Runtime, RuntimeContext};
use embedded_io_async::Write;

use crate::frame::{self, Body, DELIMITER, Frame, TopicId};
use crate::settings::SerialSettings;
use crate::status::SerialStatus;

/// Sends the values of all outbound links.
///
/// It takes one value at a time, when the port is free for it, from the links in turn.
pub(crate) struct Sender<R> {
    /// The topic ids of the links' frames.
    topics: Vec<TopicId>,
    payload: Vec<u8>,
    /// The encoded frame that is being written.
    encoded: Vec<u8>,
    /// The link whose value is in `encoded` and not yet written. If the connection fails meanwhile, the next
    /// connection sends the frame again under the same number: a peer that received it drops the duplicate.
    in_flight: Option<usize>,
    session: u16,
    /// The number of the latest data frame.
    sequence: u32,
    max_payload: usize,
    heartbeat: Duration,
    last_sent: Instant,
    status: SerialStatus,
    context: RuntimeContext<R>,
}

/// The next thing to send.
enum OutboundItem {
    /// The value of the link with this index; its encoding is in `Sender::payload`.
    Value(usize),
    Heartbeat,
    /// A shutdown has drained every record.
    Drained,
}

impl<R: Runtime> Sender<R> {
    pub(crate) fn new(
        links: &Links,
        settings: &SerialSettings,
        context: &RuntimeContext<R>,
    ) -> Self {
        let topic = |link: &OutboundLink| TopicId::of(&link.address().topic);
        Self {
            topics: links.outbound.iter().map(topic).collect(),
            payload: Vec::new(),
            encoded: Vec::with_capacity(frame::max_frame_length(settings.max_payload)),
            in_flight: None,
            session: settings.session,
            sequence: 0,
            max_payload: settings.max_payload,
            heartbeat: settings.heartbeat,
            last_sent: context.time().now(),
            status: settings.status.clone(),
            context: context.clone(),
        }
    }

    /// Sends over one connection until a shutdown has drained every record.
    ///
    /// # Errors
    ///
    /// The reason, if the connection fails.
    pub(crate) async fn run<W: Write>(
        &mut self,
        mut port: W,
        links: &mut OutboundLinks<R>,
    ) -> Result<(), Failure> {
        self.begin_connection(&mut port, links).await?;
        loop {
            if self.sequence == u32::MAX {
                self.begin_session(&mut port).await?;
            }
            match self.next_item(links).await {
                OutboundItem::Value(index) => self.send_value(index, &mut port, links).await?,
                OutboundItem::Heartbeat => self.send_control(Body::Heartbeat, &mut port).await?,
                OutboundItem::Drained => break,
            }
        }
        // The last heartbeat reports the number reached, so the peer can count a loss of the last values. A blocked port
        // must not delay the shutdown, hence the timeout.
        let (time, limit) = (self.context.time(), self.heartbeat);
        let _blocked = time.timeout(limit, self.send_control(Body::Heartbeat, &mut port)).await;
        Ok(())
    }

    /// Writes the first bytes of a connection.
    async fn begin_connection<W: Write>(
        &mut self,
        port: &mut W,
        links: &mut OutboundLinks<R>,
    ) -> Result<(), Failure> {
        // The delimiter ends any noise or unfinished frame before it.
        write_and_flush(port, &[DELIMITER]).await?;
        match self.in_flight {
            // The value precedes any heartbeat: on a heartbeat with its number the peer would count it as lost.
            Some(index) => self.write_value(index, port, links).await,
            None if self.sequence == 0 => self.send_start(port).await,
            None => self.send_control(Body::Heartbeat, port).await,
        }
    }

    /// Begins a new session when the numbers are used up.
    ///
    /// Numbers never wrap, so a lower number always means a duplicate or a restart.
    async fn begin_session<W: Write>(&mut self, port: &mut W) -> Result<(), Failure> {
        self.send_control(Body::Heartbeat, port).await?;
        (self.session, self.sequence) = (self.session.wrapping_add(1), 0);
        self.send_start(port).await
    }

    /// Sends the start frame twice: a restart with the same session number is hidden only if noise destroys both.
    async fn send_start<W: Write>(&mut self, port: &mut W) -> Result<(), Failure> {
        self.send_control(Body::Start, port).await?;
        self.send_control(Body::Start, port).await
    }

    /// Sends a frame without a value.
    async fn send_control<W: Write>(
        &mut self,
        body: Body<'_>,
        port: &mut W,
    ) -> Result<(), Failure> {
        Frame::new(self.session, self.sequence, body).encode(&mut self.encoded);
        self.last_sent = self.context.time().now();
        write_and_flush(port, &self.encoded).await
    }

    /// Waits for a value, for the heartbeat's time, or for the end of a shutdown's drain.
    async fn next_item(&mut self, links: &mut OutboundLinks<R>) -> OutboundItem {
        let context = self.context.clone();
        let mut stopping = pin!(context.stopping());
        let mut heartbeat_due = pin!(context.time().sleep_until(self.last_sent + self.heartbeat));
        poll_fn(|cx| {
            let is_stopping = context.poll_stopping(stopping.as_mut(), cx);
            if let Poll::Ready(taken) = links.poll_take(&mut self.payload, |_| true, cx) {
                return Poll::Ready(OutboundItem::Value(taken.link));
            }
            if is_stopping && links.are_drained() {
                return Poll::Ready(OutboundItem::Drained);
            }
            heartbeat_due.as_mut().poll(cx).map(|()| OutboundItem::Heartbeat)
        })
        .await
    }

    async fn send_value<W: Write>(
        &mut self,
        index: usize,
        port: &mut W,
        links: &mut OutboundLinks<R>,
    ) -> Result<(), Failure> {
        let (size, limit) = (self.payload.len(), self.max_payload);
        if size > limit {
            // Every peer with the same limit would discard its frame.
            let reason =
                format_args!("its {size} bytes are over the limit of {limit}, see `max_payload`");
            links.lost(index, None, Loss::TooLarge, reason);
            self.status.cells().oversized.add(1);
            return Ok(());
        }
        self.sequence += 1;
        let body = Body::Data { topic: self.topics[index], payload: &self.payload };
        Frame::new(self.session, self.sequence, body).encode(&mut self.encoded);
        self.in_flight = Some(index);
        self.write_value(index, port, links).await
    }

    /// Writes the value that is in `encoded`.
    async fn write_value<W: Write>(
        &mut self,
        index: usize,
        port: &mut W,
        links: &mut OutboundLinks<R>,
    ) -> Result<(), Failure> {
        write_and_flush(port, &self.encoded).await?;
        self.last_sent = self.context.time().now();
        self.in_flight = None;
        links.sent(index);
        self.status.cells().sent.add(1);
        Ok(())
    }
}

/// Writes all of `bytes` and flushes.
///
/// The flush after each frame matters for ports whose `flush` waits until the bytes are transmitted: the next value then
/// stays in its record until the port is free, where a newer value may still replace it.
async fn write_and_flush<W: Write>(port: &mut W, mut bytes: &[u8]) -> Result<(), Failure> {
    while !bytes.is_empty() {
        match port.write(bytes).await {
            Ok(0) => return Err(Failure::retry("the port accepts no more bytes")),
            Ok(count) => bytes = &bytes[count..],
            Err(error) => return Err(Failure::retry(error)),
        }
    }
    port.flush().await.map_err(Failure::retry)
}
