//! The task of one inbound link: from the connection into the record.

use std::sync::Arc;

use aimdb_core::Incoming;
use aimdb_core::link::InboundLink;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::protocol::MessageAttributes;
use crate::options::LinkOptions;
use crate::topic::matched_parts;

/// The acknowledgement of one message, for the driver to send.
pub(crate) struct MessageAck<A> {
    /// The packet identifier.
    pub(crate) id: u16,
    /// Distinguishes the message from others that had the same packet identifier.
    pub(crate) sequence: u64,
    pub(crate) ack: A,
}

/// A message for one or several links.
pub(crate) struct InboundMessage<A> {
    topic: Arc<str>,
    payload: Bytes,
    attributes: MessageAttributes,
    /// Shared by the clones for all links of the message; the link task that delivers the last clone sends the
    /// acknowledgement. `None` at QoS 0.
    ack: Option<Arc<MessageAck<A>>>,
}

impl<A> InboundMessage<A> {
    pub(crate) fn new(
        topic: Arc<str>,
        payload: Bytes,
        attributes: MessageAttributes,
        ack: Option<MessageAck<A>>,
    ) -> Self {
        Self { topic, payload, attributes, ack: ack.map(Arc::new) }
    }
}

impl<A> Clone for InboundMessage<A> {
    fn clone(&self) -> Self {
        Self {
            topic: Arc::clone(&self.topic),
            payload: self.payload.clone(),
            attributes: self.attributes.clone(),
            ack: self.ack.clone(),
        }
    }
}

/// Delivers the messages of `inbox` in order, until the driver drops the sender and the inbox is empty.
pub(crate) async fn run<A>(
    mut link: InboundLink,
    mut inbox: mpsc::Receiver<InboundMessage<A>>,
    acks: mpsc::UnboundedSender<MessageAck<A>>,
) {
    let filter = LinkOptions::from_address(link.address()).topic;
    while let Some(message) = inbox.recv().await {
        let InboundMessage { topic, payload, attributes, ack } = message;
        let parts = matched_parts(&filter, &topic).unwrap_or_default();
        let incoming = Incoming::new(&topic, &payload)
            .with_parts(&parts)
            .with_retained(attributes.retained)
            .with_properties(attributes.properties());
        if link.deliver(incoming).await.is_err() {
            // The record is closed and did not take the message. Without an acknowledgement the broker keeps it.
            return;
        }
        if let Some(ack) = ack.and_then(Arc::into_inner) {
            // Sending fails only after the driver has ended. Then no connection is left to acknowledge on.
            let _driver_ended = acks.send(ack);
        }
    }
}
