//! From one record onto the connection.

use std::collections::VecDeque;

use aimdb_core::Closed;
use aimdb_core::link::{OutboundLink, Outgoing};
use bytes::Bytes;
use tokio::sync::watch;

use crate::QoS;
use crate::options::LinkOptions;
use crate::protocol::{Client, Delivery, IN_FLIGHT, NotSent, Notice};
use crate::session::{Connection, Context, packet_size};

/// What a message may not exceed.
pub(crate) struct Limits {
    pub(crate) payload: usize,
}

/// A message on its way, kept until the broker has it.
struct Sent {
    /// `None`: the link's own topic.
    topic: Option<String>,
    payload: Bytes,
    notice: Notice,
}

/// One link on its way out.
struct Outbound<C> {
    link: OutboundLink,
    options: LinkOptions,
    client: C,
    connection: watch::Receiver<Connection>,
    limits: Limits,
    context: Context,
    /// In the order they were sent.
    window: VecDeque<Sent>,
}

/// Sends the record's values until it is closed and everything taken has reached its end.
///
/// While there is no connection nothing is taken from the record: a ring drops its oldest, a queue holds its writers
/// back, and latest sends the newest once the broker is back.
pub(crate) async fn run<C: Client>(
    link: OutboundLink,
    client: C,
    connection: watch::Receiver<Connection>,
    limits: Limits,
    context: Context,
) {
    let options = LinkOptions::of(link.address());
    let window = VecDeque::with_capacity(usize::from(IN_FLIGHT));
    Outbound { link, options, client, connection, limits, context, window }.run().await;
}

impl<C: Client> Outbound<C> {
    async fn run(mut self) {
        let mut payload = Vec::new();
        let mut open = true;
        while open || !self.window.is_empty() {
            let up = self.connection.borrow_and_update().up;
            let room = self.window.len() < usize::from(IN_FLIGHT);
            tokio::select! {
                biased;
                outcome = first(&mut self.window), if !self.window.is_empty() => self.ended(outcome).await,
                next = next(&mut self.link, &mut payload, up), if open && room => match next {
                    Ok(Outgoing { topic }) => self.send(topic, Bytes::copy_from_slice(&payload)).await,
                    Err(Closed) => open = false,
                },
                Ok(()) = self.connection.changed() => {}
                else => return,
            }
            self.link.status().set_in_flight(self.window.len() as u64);
        }
    }

    async fn send(&mut self, topic: Option<String>, payload: Bytes) {
        if let Some(fault) = self.too_large(topic.as_deref(), &payload) {
            self.drop_message(topic.as_deref(), &fault);
            return;
        }
        self.link.status().set_in_flight(self.window.len() as u64 + 1);
        let how = Delivery { qos: self.options.qos, retain: self.options.retain };
        let name = topic.as_deref().unwrap_or(&self.options.topic);
        match self.client.publish(name, payload.clone(), how).await {
            Some(Ok(notice)) => self.window.push_back(Sent { topic, payload, notice }),
            Some(Err(reason)) => self.drop_message(topic.as_deref(), &reason),
            None => {}
        }
    }

    /// A packet that the broker does not take would break the connection, again and again.
    fn too_large(&self, topic: Option<&str>, payload: &Bytes) -> Option<String> {
        let (size, limit) = (payload.len(), self.limits.payload);
        if size > limit {
            return Some(format!(
                "its payload of {size} bytes is over the limit of {limit}, see `max_payload`"
            ));
        }
        let packet = packet_size(topic.unwrap_or(&self.options.topic), payload);
        let most = self.connection.borrow().max_packet;
        (packet > most)
            .then(|| format!("its packet of {packet} bytes is over the broker's limit of {most}"))
    }

    fn drop_message(&self, topic: Option<&str>, reason: &str) {
        let status = self.link.status();
        let topic = topic.unwrap_or(&self.options.topic);
        let record = self.link.record();
        let text = format!("a message of `{record}` to `{topic}` was dropped: {reason}");
        status.dropped();
        status.error(&text);
        self.context.log().warn(text);
    }

    /// The first of the window has reached its end, one way or the other.
    async fn ended(&mut self, outcome: Result<(), NotSent>) {
        let Some(Sent { topic, payload, .. }) = self.window.pop_front() else { return };
        match outcome {
            Ok(()) => self.link.status().sent(),
            Err(NotSent::Lost) if self.options.qos == QoS::AtMostOnce => {
                self.drop_message(
                    topic.as_deref(),
                    "the connection broke, and at QoS 0 it is not sent again",
                );
            }
            // It may have arrived: at QoS 1 that makes a duplicate, which the level allows. At QoS 2 the session that
            // would have told is gone on the broker's side.
            Err(NotSent::Lost) => self.send(topic, payload).await,
            Err(NotSent::Refused(reason)) => self.drop_message(topic.as_deref(), &reason),
        }
    }
}

async fn first(window: &mut VecDeque<Sent>) -> Result<(), NotSent> {
    match window.front_mut() {
        Some(sent) => sent.notice.as_mut().await,
        None => std::future::pending().await,
    }
}

/// The next message if there is a connection; without one, only the news that there will be none.
async fn next(
    link: &mut OutboundLink,
    payload: &mut Vec<u8>,
    up: bool,
) -> Result<Outgoing, Closed> {
    if up {
        return link.next(payload).await;
    }
    link.ended().await;
    Err(Closed)
}
