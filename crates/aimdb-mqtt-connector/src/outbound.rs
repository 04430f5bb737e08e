//! From one record onto the connection.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use aimdb_core::Closed;
use aimdb_core::link::{OutboundLink, Outgoing};
use bytes::Bytes;
use tokio::sync::watch;

use crate::QoS;
use crate::options::LinkOptions;
use crate::permits::{Permit, Permits};
use crate::protocol::{Client, Delivery, IN_FLIGHT, NotSent, Notice};
use crate::session::{Connection, Context, packet_size};

/// What a message may not exceed.
pub(crate) struct Limits {
    pub(crate) payload: usize,
}

struct Message {
    /// `None`: the link's own topic.
    topic: Option<String>,
    payload: Bytes,
}

/// A message that is taken from the record and may not be sent yet.
struct InHand {
    message: Message,
    permit: Pin<Box<dyn Future<Output = Permit> + Send>>,
}

/// A message on its way, kept until the broker has it.
struct Sent {
    message: Message,
    notice: Notice,
    /// `None` at QoS 0, which takes no identifier.
    permit: Option<Permit>,
}

/// One link on its way out.
struct Outbound<C> {
    link: OutboundLink,
    options: LinkOptions,
    client: C,
    connection: watch::Receiver<Connection>,
    limits: Limits,
    context: Context,
    permits: Permits,
    in_hand: Option<InHand>,
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
    permits: Permits,
    context: Context,
) {
    let options = LinkOptions::of(link.address());
    let window = VecDeque::with_capacity(usize::from(IN_FLIGHT));
    let in_hand = None;
    let link =
        Outbound { link, options, client, connection, limits, context, permits, in_hand, window };
    link.run().await;
}

impl<C: Client> Outbound<C> {
    async fn run(mut self) {
        let mut payload = Vec::new();
        let mut open = true;
        while open || self.taken() > 0 {
            let up = self.connection.borrow_and_update().up;
            let room = self.window.len() < usize::from(IN_FLIGHT);
            // The window goes on while a permit is waited for: the permit may have to come from there.
            tokio::select! {
                biased;
                outcome = first(&mut self.window), if !self.window.is_empty() => self.ended(outcome).await,
                (message, permit) = allowed(&mut self.in_hand), if up && self.in_hand.is_some() => {
                    self.send(message, Some(permit)).await;
                }
                next = next(&mut self.link, &mut payload, up), if open && room && self.in_hand.is_none() => match next {
                    Ok(Outgoing { topic, .. }) => {
                        let payload = Bytes::copy_from_slice(&payload);
                        self.send_in_turn(Message { topic, payload }).await;
                    }
                    Err(Closed) => open = false,
                },
                Ok(()) = self.connection.changed() => {}
                else => return,
            }
            self.count(0);
        }
    }

    /// Messages that are taken from the record and have not reached their end.
    fn taken(&self) -> usize {
        self.window.len() + usize::from(self.in_hand.is_some())
    }

    /// Tells how many messages are under way, with so many that are neither in the window nor in hand.
    fn count(&self, between: usize) {
        self.link.status().set_in_flight((self.taken() + between) as u64);
    }

    /// Sends what has just been taken, or keeps it in hand until it may be sent.
    async fn send_in_turn(&mut self, message: Message) {
        if self.options.qos == QoS::AtMostOnce {
            return self.send(message, None).await;
        }
        match self.permits.try_get() {
            Some(permit) => self.send(message, Some(permit)).await,
            None => {
                let permit = Box::pin(self.permits.clone().get());
                self.in_hand = Some(InHand { message, permit });
            }
        }
    }

    async fn send(&mut self, message: Message, permit: Option<Permit>) {
        let Message { topic, payload } = &message;
        if let Some(fault) = self.too_large(topic.as_deref(), payload) {
            self.drop_message(topic.as_deref(), &fault);
            return;
        }
        self.count(1);
        let how = Delivery { qos: self.options.qos, retain: self.options.retain };
        let name = topic.as_deref().unwrap_or(&self.options.topic);
        match self.client.publish(name, payload.clone(), how).await {
            Some(Ok(notice)) => self.window.push_back(Sent { message, notice, permit }),
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
        status.count_dropped();
        status.set_error(&text);
        self.context.log().warn(text);
    }

    /// The first of the window has reached its end, one way or the other.
    async fn ended(&mut self, outcome: Result<(), NotSent>) {
        let Some(Sent { message, permit, .. }) = self.window.pop_front() else { return };
        let topic = message.topic.as_deref();
        match outcome {
            Ok(()) => self.link.status().count_sent(),
            Err(NotSent::Lost) if self.options.qos == QoS::AtMostOnce => {
                self.drop_message(topic, "the connection broke, and at QoS 0 it is not sent again");
            }
            // It may have arrived: at QoS 1 that makes a duplicate, which the level allows. At QoS 2 the session that
            // would have told is gone on the broker's side.
            Err(NotSent::Lost) => self.send(message, permit).await,
            Err(NotSent::Refused(reason)) => self.drop_message(topic, &reason),
        }
    }
}

async fn first(window: &mut VecDeque<Sent>) -> Result<(), NotSent> {
    match window.front_mut() {
        Some(sent) => sent.notice.as_mut().await,
        None => std::future::pending().await,
    }
}

/// The message in hand, when it may be sent. Nothing is lost if the future is dropped, not even its turn.
async fn allowed(in_hand: &mut Option<InHand>) -> (Message, Permit) {
    let Some(waiting) = in_hand else { return std::future::pending().await };
    let permit = waiting.permit.as_mut().await;
    match in_hand.take() {
        Some(InHand { message, .. }) => (message, permit),
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
    link.drained().await;
    Err(Closed)
}
