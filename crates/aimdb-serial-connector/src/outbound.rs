//! The outbound direction: from the records to the port.

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
use crate::settings::SerialSettings;
use crate::status::SerialStatus;

/// Sends the values of all outbound links.
///
/// It takes one value at a time, when the port is free for it, from the links in turn.
pub(crate) struct Outbound<R> {
    routes: Vec<OutboundRoute>,
    /// The index of the route that is polled first.
    next_route: usize,
    payload: Vec<u8>,
    /// The encoded frame that is being written.
    encoded: Vec<u8>,
    /// The route whose value is in `encoded` and not yet written. If the connection fails meanwhile, the next
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

/// One outbound link and the topic id of its frames.
struct OutboundRoute {
    link: OutboundLink,
    topic: TopicId,
    /// The record is closed and read to its end.
    drained: bool,
}

/// The next thing to send.
enum OutboundItem {
    /// The value of the route with this index; its encoding is in `Outbound::payload`.
    Value(usize),
    Heartbeat,
    /// A shutdown has drained every record.
    Drained,
}

impl<R: Runtime> Outbound<R> {
    pub(crate) fn new(
        links: Vec<OutboundLink>,
        settings: &SerialSettings,
        context: RuntimeContext<R>,
    ) -> Self {
        let route = |link: OutboundLink| {
            let topic = TopicId::of(&link.address().topic);
            OutboundRoute { link, topic, drained: false }
        };
        Self {
            routes: links.into_iter().map(route).collect(),
            next_route: 0,
            payload: Vec::new(),
            encoded: Vec::with_capacity(frame::max_frame_length(settings.max_payload)),
            in_flight: None,
            session: settings.session,
            sequence: 0,
            max_payload: settings.max_payload,
            heartbeat: settings.heartbeat,
            last_sent: context.time().now(),
            status: settings.status.clone(),
            context,
        }
    }

    /// Sends over one connection until a shutdown has drained every record.
    ///
    /// # Errors
    ///
    /// The reason, if the connection fails.
    pub(crate) async fn run<W: Write>(&mut self, mut port: W) -> Result<(), String> {
        self.begin_connection(&mut port).await?;
        loop {
            if self.sequence == u32::MAX {
                self.begin_session(&mut port).await?;
            }
            match self.next_item().await {
                OutboundItem::Value(index) => self.send_value(index, &mut port).await?,
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

    /// Whether every record is drained and no value is in flight. Takes no value from a record.
    pub(crate) fn poll_drained(&mut self, cx: &mut Context<'_>) -> bool {
        for route in self.routes.iter_mut().filter(|route| !route.drained) {
            route.drained = route.link.poll_drained(cx).is_ready();
        }
        self.is_drained()
    }

    fn is_drained(&self) -> bool {
        self.in_flight.is_none() && self.routes.iter().all(|route| route.drained)
    }

    /// Writes the first bytes of a connection.
    async fn begin_connection<W: Write>(&mut self, port: &mut W) -> Result<(), String> {
        // The delimiter ends any noise or unfinished frame before it.
        write_and_flush(port, &[DELIMITER]).await?;
        match self.in_flight {
            // The value precedes any heartbeat: on a heartbeat with its number the peer would count it as lost.
            Some(index) => self.write_value(index, port).await,
            None if self.sequence == 0 => self.send_start(port).await,
            None => self.send_control(Body::Heartbeat, port).await,
        }
    }

    /// Begins a new session when the numbers are used up.
    ///
    /// Numbers never wrap, so a lower number always means a duplicate or a restart.
    async fn begin_session<W: Write>(&mut self, port: &mut W) -> Result<(), String> {
        self.send_control(Body::Heartbeat, port).await?;
        (self.session, self.sequence) = (self.session.wrapping_add(1), 0);
        self.send_start(port).await
    }

    /// Sends the start frame twice: a restart with the same session number is hidden only if noise destroys both.
    async fn send_start<W: Write>(&mut self, port: &mut W) -> Result<(), String> {
        self.send_control(Body::Start, port).await?;
        self.send_control(Body::Start, port).await
    }

    /// Sends a frame without a value.
    async fn send_control<W: Write>(&mut self, body: Body<'_>, port: &mut W) -> Result<(), String> {
        Frame::new(self.session, self.sequence, body).encode(&mut self.encoded);
        self.last_sent = self.context.time().now();
        write_and_flush(port, &self.encoded).await
    }

    /// Waits for a value, for the heartbeat's time, or for the end of a shutdown's drain.
    async fn next_item(&mut self) -> OutboundItem {
        let context = self.context.clone();
        let mut stopping = pin!(context.stopping());
        let mut heartbeat_due = pin!(context.time().sleep_until(self.last_sent + self.heartbeat));
        poll_fn(|cx| {
            if let Some(index) = self.poll_value(cx) {
                return Poll::Ready(OutboundItem::Value(index));
            }
            if context.poll_stopping(stopping.as_mut(), cx) && self.is_drained() {
                return Poll::Ready(OutboundItem::Drained);
            }
            heartbeat_due.as_mut().poll(cx).map(|()| OutboundItem::Heartbeat)
        })
        .await
    }

    /// Takes the next value into `payload` and returns the index of its route.
    fn poll_value(&mut self, cx: &mut Context<'_>) -> Option<usize> {
        let count = self.routes.len();
        for index in (0..count).map(|offset| (self.next_route + offset) % count) {
            let route = &mut self.routes[index];
            if route.drained {
                continue;
            }
            match route.link.poll_next(&mut self.payload, cx) {
                Poll::Ready(Ok(_)) => {
                    self.next_route = index + 1;
                    return Some(index);
                }
                Poll::Ready(Err(_)) => route.drained = true,
                Poll::Pending => {}
            }
        }
        None
    }

    async fn send_value<W: Write>(&mut self, index: usize, port: &mut W) -> Result<(), String> {
        if self.payload.len() > self.max_payload {
            self.drop_oversized(index);
            return Ok(());
        }
        self.sequence += 1;
        let body = Body::Data { topic: self.routes[index].topic, payload: &self.payload };
        Frame::new(self.session, self.sequence, body).encode(&mut self.encoded);
        self.in_flight = Some(index);
        self.routes[index].link.status().set_in_flight(1);
        self.write_value(index, port).await
    }

    /// Writes the value that is in `encoded`.
    async fn write_value<W: Write>(&mut self, index: usize, port: &mut W) -> Result<(), String> {
        write_and_flush(port, &self.encoded).await?;
        self.last_sent = self.context.time().now();
        self.in_flight = None;
        let status = self.routes[index].link.status();
        status.set_in_flight(0);
        status.count_sent();
        self.status.cells().sent.add(1);
        Ok(())
    }

    /// Drops the value in `payload`: every peer with the same limit would discard its frame.
    fn drop_oversized(&self, index: usize) {
        let (size, limit) = (self.payload.len(), self.max_payload);
        let link = &self.routes[index].link;
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

/// Writes all of `bytes` and flushes.
///
/// The flush after each frame matters for ports whose `flush` waits until the bytes are transmitted: the next value then
/// stays in its record until the port is free, where a newer value may still replace it.
async fn write_and_flush<W: Write>(port: &mut W, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        match port.write(bytes).await {
            Ok(0) => return Err("the port accepts no more bytes".into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) => return Err(error.to_string()),
        }
    }
    port.flush().await.map_err(|error| error.to_string())
}
