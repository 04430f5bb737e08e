//! The task of one outbound link: from the record onto the connection.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use aimdb_core::Closed;
use aimdb_core::link::{OutboundLink, Outgoing};
use bytes::Bytes;
use tokio::sync::watch;

use super::connection::{ConnectionState, Context};
use super::permits::{Permit, Permits};
use super::protocol::{Client, Completion, DeliveryOptions, MAX_IN_FLIGHT, RequestError};
use crate::options::LinkOptions;
use crate::qos::QoS;

/// A message taken from the record.
struct OutboundMessage {
    /// A computed topic; `None` for the link's own topic.
    topic: Option<String>,
    payload: Bytes,
}

/// A message that waits for a permit.
struct AwaitingPermit {
    message: OutboundMessage,
    permit: Pin<Box<dyn Future<Output = Permit> + Send>>,
}

/// A message handed to the client, kept until its completion.
struct InFlightMessage {
    message: OutboundMessage,
    completion: Completion,
    /// `None` at QoS 0, which needs no packet identifier.
    permit: Option<Permit>,
}

struct OutboundTask<C> {
    link: OutboundLink,
    options: LinkOptions,
    client: C,
    connection: watch::Receiver<ConnectionState>,
    /// The largest payload, in bytes.
    max_payload: usize,
    context: Context,
    permits: Permits,
    awaiting_permit: Option<AwaitingPermit>,
    /// In the order of sending.
    in_flight: VecDeque<InFlightMessage>,
}

/// Sends the record's values until the record is drained and every taken message is completed.
///
/// While there is no connection the task takes nothing from the record: a ring overwrites its oldest value, a queue
/// holds its writers back, and latest sends the newest value after the reconnect.
pub(crate) async fn run<C: Client>(
    link: OutboundLink,
    client: C,
    connection: watch::Receiver<ConnectionState>,
    max_payload: usize,
    permits: Permits,
    context: Context,
) {
    let options = LinkOptions::from_address(link.address());
    let task = OutboundTask {
        link,
        options,
        client,
        connection,
        max_payload,
        context,
        permits,
        awaiting_permit: None,
        in_flight: VecDeque::with_capacity(usize::from(MAX_IN_FLIGHT)),
    };
    task.run().await;
}

impl<C: Client> OutboundTask<C> {
    async fn run(mut self) {
        let mut payload = Vec::new();
        let mut open = true;
        while open || self.unfinished() > 0 {
            let connected = self.connection.borrow_and_update().connected;
            let room = self.in_flight.len() < usize::from(MAX_IN_FLIGHT);
            // Completions are handled while a message waits for a permit: the permit may have to come from one of them.
            tokio::select! {
                biased;
                outcome = first_completion(&mut self.in_flight), if !self.in_flight.is_empty() => {
                    self.complete_first(outcome).await;
                }
                (message, permit) = permitted(&mut self.awaiting_permit), if connected && self.awaiting_permit.is_some() => {
                    self.send(message, Some(permit)).await;
                }
                next = next_outgoing(&mut self.link, &mut payload, connected), if open && room && self.awaiting_permit.is_none() => match next {
                    Ok(Outgoing { topic, .. }) => {
                        let payload = Bytes::copy_from_slice(&payload);
                        self.send_or_await_permit(OutboundMessage { topic, payload }).await;
                    }
                    Err(Closed) => open = false,
                },
                Ok(()) = self.connection.changed() => {}
                else => return,
            }
            self.update_in_flight(0);
        }
    }

    /// How many messages are taken from the record and not completed.
    fn unfinished(&self) -> usize {
        self.in_flight.len() + usize::from(self.awaiting_permit.is_some())
    }

    /// Sets the link's in-flight metric. `extra` messages are in neither field of this task.
    fn update_in_flight(&self, extra: usize) {
        self.link.status().set_in_flight((self.unfinished() + extra) as u64);
    }

    async fn send_or_await_permit(&mut self, message: OutboundMessage) {
        if self.options.qos == QoS::AtMostOnce {
            return self.send(message, None).await;
        }
        match self.permits.try_acquire() {
            Some(permit) => self.send(message, Some(permit)).await,
            None => {
                let permit = Box::pin(self.permits.clone().acquire());
                self.awaiting_permit = Some(AwaitingPermit { message, permit });
            }
        }
    }

    async fn send(&mut self, message: OutboundMessage, permit: Option<Permit>) {
        let OutboundMessage { topic, payload } = &message;
        if let Some(fault) = self.size_fault(topic.as_deref(), payload) {
            self.drop_message(topic.as_deref(), &fault);
            return;
        }
        self.update_in_flight(1);
        let delivery = DeliveryOptions { qos: self.options.qos, retain: self.options.retain };
        let name = topic.as_deref().unwrap_or(&self.options.topic);
        match self.client.publish(name, payload.clone(), delivery).await {
            Some(Ok(completion)) => {
                self.in_flight.push_back(InFlightMessage { message, completion, permit });
            }
            Some(Err(reason)) => self.drop_message(topic.as_deref(), &reason),
            None => {}
        }
    }

    /// Why the message is too large; `None` if it is not.
    ///
    /// The client must not send a packet over the broker's limit: the broker would close the connection, and again
    /// after each retry.
    fn size_fault(&self, topic: Option<&str>, payload: &Bytes) -> Option<String> {
        let (size, limit) = (payload.len(), self.max_payload);
        if size > limit {
            return Some(format!(
                "its payload of {size} bytes is over the limit of {limit}, see `max_payload`"
            ));
        }
        let packet = packet_size(topic.unwrap_or(&self.options.topic), payload);
        let max = self.connection.borrow().max_packet;
        (packet > max)
            .then(|| format!("its packet of {packet} bytes is over the broker's limit of {max}"))
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

    /// Removes the first message in flight, and counts it, sends it again or drops it, by its outcome.
    async fn complete_first(&mut self, outcome: Result<(), RequestError>) {
        let Some(InFlightMessage { message, permit, .. }) = self.in_flight.pop_front() else {
            return;
        };
        let topic = message.topic.as_deref();
        match outcome {
            Ok(()) => self.link.status().count_sent(),
            Err(RequestError::SessionLost) if self.options.qos == QoS::AtMostOnce => {
                self.drop_message(topic, "the connection broke, and at QoS 0 it is not sent again");
            }
            // The broker may have the message. At QoS 1 the retry then makes a duplicate, which the level allows. At
            // QoS 2 only the broker's session could prevent the duplicate, and the broker has lost it.
            Err(RequestError::SessionLost) => self.send(message, permit).await,
            Err(RequestError::Refused(reason)) => self.drop_message(topic, &reason),
        }
    }
}

async fn first_completion(in_flight: &mut VecDeque<InFlightMessage>) -> Result<(), RequestError> {
    match in_flight.front_mut() {
        Some(first) => first.completion.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Takes the waiting message once its permit is granted.
///
/// # Cancel safety
///
/// Dropping the future loses neither the message nor its queue position: both stay in `awaiting`.
async fn permitted(awaiting: &mut Option<AwaitingPermit>) -> (OutboundMessage, Permit) {
    let Some(first) = awaiting else { return std::future::pending().await };
    let permit = first.permit.as_mut().await;
    match awaiting.take() {
        Some(AwaitingPermit { message, .. }) => (message, permit),
        None => std::future::pending().await,
    }
}

/// The next message of the record. Without a connection it takes no message and only waits until the record is drained.
async fn next_outgoing(
    link: &mut OutboundLink,
    payload: &mut Vec<u8>,
    connected: bool,
) -> Result<Outgoing, Closed> {
    if connected {
        return link.next(payload).await;
    }
    link.drained().await;
    Err(Closed)
}

/// An upper bound of the size of a publish packet, in bytes.
fn packet_size(topic: &str, payload: &Bytes) -> usize {
    // Fixed header, packet identifier, topic length, properties.
    payload.len() + topic.len() + 16
}
