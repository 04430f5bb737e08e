//! The interface between the driver and the client library.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use aimdb_core::MessageProperties;
use bytes::Bytes;

use crate::qos::QoS;
use crate::tokio::config::ResolvedConfig;

/// Publishes at QoS 1 and 2 that may be unacknowledged at once, at most. Measured: each flush of the client scans all
/// slots, so a larger number makes it slower, not faster.
pub(crate) const MAX_IN_FLIGHT: u16 = 100;

/// How a message is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeliveryOptions {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

/// Resolves when a request is complete. A publish is complete when it is flushed (QoS 0), acknowledged (QoS 1) or
/// completed by PUBCOMP (QoS 2).
pub(crate) type Completion = Pin<Box<dyn Future<Output = Result<(), RequestError>> + Send>>;

/// Why a publish or a subscribe did not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestError {
    /// The connection broke, and the session with it. The outcome is unknown; the packet may never have been sent.
    SessionLost,
    /// The broker refused the request.
    Refused(String),
}

/// The sending half of the client.
pub(crate) trait Client: Clone + Send + Sync + 'static {
    type Ack: Send + Sync + 'static;

    /// Queues a publish, waiting for room. `None` if the client has ended.
    fn publish(
        &self,
        topic: &str,
        payload: Bytes,
        delivery: DeliveryOptions,
    ) -> impl Future<Output = Option<Result<Completion, String>>> + Send;

    /// Queues a subscription; `None` if there is no room now. With MQTT 5 the broker adds the subscription identifier
    /// `id` to each message of this subscription.
    fn try_subscribe(&self, filter: &str, qos: QoS, id: usize) -> Option<Completion>;

    /// Queues an acknowledgement; returns it as the error if there is no room now.
    fn try_ack(&self, ack: Self::Ack) -> Result<(), Self::Ack>;

    /// Queues a DISCONNECT; returns whether there was room.
    fn try_disconnect(&self) -> bool;
}

/// The receiving half of the client, which also performs all its I/O.
pub(crate) trait EventLoop: Send + 'static {
    type Ack: Send + Sync + 'static;

    /// The next event. The connection makes progress only while this future is polled.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a future dropped before it is ready may lose its work.
    fn poll(
        &mut self,
    ) -> impl Future<Output = Result<ConnectionEvent<Self::Ack>, ConnectionLost>> + Send;

    /// Closes the connection after the DISCONNECT. Returns when the broker has read everything up to it, or after a
    /// time limit.
    fn close(self) -> impl Future<Output = ()> + Send;
}

pub(crate) enum ConnectionEvent<A> {
    Connected {
        session_present: bool,
        /// The largest packet that the broker accepts, in bytes.
        max_packet: usize,
        /// Publishes at QoS 1 and 2 that the client allows to be unacknowledged at once.
        max_in_flight: u16,
    },
    Publish(ReceivedPublish<A>),
    /// The client sends the acknowledgement of the message with this packet identifier. A later publish with the
    /// identifier is another message, or one that the client itself recognises as received.
    Acknowledged(u16),
    Other,
}

/// A message from the broker.
pub(crate) struct ReceivedPublish<A> {
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
    /// The subscription identifiers, if the broker sends them.
    pub(crate) subscriptions: Vec<usize>,
    /// The argument of [`Client::try_ack`] once the records have the message; `None` at QoS 0.
    pub(crate) ack: Option<A>,
    /// The packet identifier; 0 at QoS 0.
    pub(crate) id: u16,
    /// The DUP flag: the broker has sent the message before.
    pub(crate) dup: bool,
    pub(crate) attributes: MessageAttributes,
}

/// Attributes of a message, for the codecs of its links.
#[derive(Clone, Default)]
pub(crate) struct MessageAttributes {
    /// The RETAIN flag: the broker had kept the message.
    pub(crate) retained: bool,
    /// `None` for a message without properties, as most are.
    pub(crate) properties: Option<Arc<OwnedProperties>>,
}

/// The properties of a message that a codec can see.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct OwnedProperties {
    pub(crate) content_type: Option<String>,
    pub(crate) response_topic: Option<String>,
    pub(crate) correlation_data: Option<Bytes>,
    pub(crate) user: Vec<(String, String)>,
}

impl MessageAttributes {
    pub(crate) fn properties(&self) -> MessageProperties<'_> {
        let mut properties = MessageProperties::default();
        if let Some(owned) = &self.properties {
            properties.content_type = owned.content_type.as_deref();
            properties.response_topic = owned.response_topic.as_deref();
            properties.correlation_data = owned.correlation_data.as_deref();
            properties.user = &owned.user;
        }
        properties
    }
}

/// Why there is no connection: it broke, ended, or was never established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLost {
    pub(crate) reason: String,
    /// The broker refused the client, and a retry alone will not change that.
    pub(crate) refused: bool,
    /// The client ended the connection itself, with a DISCONNECT.
    pub(crate) on_request: bool,
}

/// A version of the protocol.
pub(crate) trait Protocol {
    type Client: Client;
    type EventLoop: EventLoop<Ack = <Self::Client as Client>::Ack>;

    /// Creates both halves of a client. The event loop connects when it is polled.
    ///
    /// # Errors
    ///
    /// The reason why the library rejects the configuration.
    fn open(config: &ResolvedConfig) -> Result<(Self::Client, Self::EventLoop), String>;
}
