//! From the connection into one record.

use std::sync::Arc;

use aimdb_core::Incoming;
use aimdb_core::link::InboundLink;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::options::LinkOptions;
use crate::session::Ack;
use crate::topic::matched_parts;

/// A message for one or several links.
pub(crate) struct Arrived<A> {
    topic: Arc<str>,
    payload: Bytes,
    /// Owed to the broker once every link has the message: whoever gives back the last reference pays.
    ack: Option<Arc<Ack<A>>>,
}

impl<A> Arrived<A> {
    pub(crate) fn new(topic: Arc<str>, payload: Bytes, ack: Option<Ack<A>>) -> Self {
        Self { topic, payload, ack: ack.map(Arc::new) }
    }
}

impl<A> Clone for Arrived<A> {
    fn clone(&self) -> Self {
        Self {
            topic: Arc::clone(&self.topic),
            payload: self.payload.clone(),
            ack: self.ack.clone(),
        }
    }
}

/// Delivers what arrives, in order, until the driver lets go of the other end and all of it is delivered.
pub(crate) async fn run<A>(
    mut link: InboundLink,
    mut arrived: mpsc::Receiver<Arrived<A>>,
    acks: mpsc::UnboundedSender<Ack<A>>,
) {
    let filter = LinkOptions::of(link.address()).topic;
    while let Some(message) = arrived.recv().await {
        let Arrived { topic, payload, ack } = message;
        let parts = matched_parts(&filter, &topic).unwrap_or_default();
        let incoming = Incoming::new(&topic, &payload).with_parts(&parts);
        if link.deliver(incoming).await.is_err() {
            // The record is closed: the message was not taken, and the broker keeps it.
            return;
        }
        if let Some(ack) = ack.and_then(Arc::into_inner) {
            // Without a driver there is nobody to acknowledge to.
            let _over = acks.send(ack);
        }
    }
}
