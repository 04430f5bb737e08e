//! The MQTT client, seen through the little that a session needs of it. The library behind it exists twice, for MQTT 5
//! and for 3.1.1, with types of the same names; each gets a module here.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::QoS;
use crate::config::Settings;

#[cfg(feature = "v311")]
pub(crate) mod v311;
pub(crate) mod v5;
mod wire;

/// Publishes that may be unacknowledged at once. Measured: every flush of the client scans all slots, so more than this
/// makes it slower, not faster.
pub(crate) const IN_FLIGHT: u16 = 100;

/// Requests the client takes in before [`Client::publish`] waits.
const CHANNEL: usize = 128;

/// Requests sent with one flush.
const BATCH: usize = 64;

/// How a message is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

/// Resolves when a publish has reached its end: flushed at QoS 0, acknowledged at 1, completed at 2.
pub(crate) type Notice = Pin<Box<dyn Future<Output = Result<(), NotSent>> + Send>>;

/// Why a publish or a subscribe did not reach its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotSent {
    /// The connection broke and the session with it: the outcome is unknown, it may never have been sent.
    Lost,
    /// The broker said no.
    Refused(String),
}

/// The sending half.
pub(crate) trait Client: Clone + Send + Sync + 'static {
    type Ack: Send + Sync + 'static;

    /// Queues a publish, waiting for room. `None` if the client is over.
    fn publish(
        &self,
        topic: &str,
        payload: Bytes,
        how: Delivery,
    ) -> impl Future<Output = Option<Result<Notice, String>>> + Send;

    /// Queues a subscription; `None` if there is no room now. With MQTT 5 the broker marks what it sends with `id`.
    fn try_subscribe(&self, filter: &str, qos: QoS, id: usize) -> Option<Notice>;

    /// Queues an acknowledgement; hands it back if there is no room now.
    fn try_ack(&self, ack: Self::Ack) -> Result<(), Self::Ack>;

    /// Queues a goodbye; says whether there was room.
    fn try_disconnect(&self) -> bool;
}

/// The receiving half, which also does all the work: it must be polled, and a poll must not be given up half way.
pub(crate) trait EventLoop: Send + 'static {
    type Ack: Send + Sync + 'static;

    fn poll(&mut self) -> impl Future<Output = Result<Event<Self::Ack>, Lost>> + Send;

    /// After the goodbye: returns when the broker has read everything up to it, or takes too long.
    fn close(self) -> impl Future<Output = ()> + Send;
}

pub(crate) enum Event<A> {
    Connected {
        session_present: bool,
        /// The largest packet the broker takes.
        max_packet: usize,
        /// Publishes at QoS 1 and 2 that the client lets be unacknowledged at once.
        identifiers: u16,
    },
    Message(Message<A>),
    /// The acknowledgement of the message with this packet identifier is on its way. What comes under the identifier
    /// from now on is another message, or one that the client itself knows to have been taken.
    Acknowledged(u16),
    Other,
}

/// A message as it came in.
pub(crate) struct Message<A> {
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
    /// The subscriptions it belongs to, where the broker says so.
    pub(crate) subscriptions: Vec<usize>,
    /// To be handed back when the records have it; `None` at QoS 0.
    pub(crate) ack: Option<A>,
    /// The packet identifier; 0 at QoS 0.
    pub(crate) id: u16,
    /// The broker has sent it before.
    pub(crate) again: bool,
}

/// A connection that is gone, or was never made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) reason: String,
    /// The broker does not want this client; trying again will not help by itself.
    pub(crate) refused: bool,
    /// The client said goodbye itself.
    pub(crate) over: bool,
}

/// A version of the protocol: makes both halves.
pub(crate) trait Protocol {
    type Client: Client;
    type EventLoop: EventLoop<Ack = <Self::Client as Client>::Ack>;

    fn open(settings: &Settings) -> Result<(Self::Client, Self::EventLoop), String>;
}

/// What is the same for both libraries but for the path of their types.
macro_rules! client {
    ($library:ident) => {
        use $library::{
            AsyncClient, ClientError, Packet, Publish, PublishNotice, PublishNoticeError,
            PublishOptions, SubscribeNoticeError,
        };

        pub(super) fn qos(qos: crate::QoS) -> $library::QoS {
            match qos {
                crate::QoS::AtMostOnce => $library::QoS::AtMostOnce,
                crate::QoS::AtLeastOnce => $library::QoS::AtLeastOnce,
                crate::QoS::ExactlyOnce => $library::QoS::ExactlyOnce,
            }
        }

        /// The library's client, and what it does not tell of refusals.
        #[derive(Clone)]
        pub(crate) struct Sender {
            client: AsyncClient,
            refusals: Refusals,
        }

        impl super::Client for Sender {
            /// The message, stripped to what an acknowledgement needs.
            type Ack = Publish;

            async fn publish(
                &self,
                topic: &str,
                payload: bytes::Bytes,
                how: super::Delivery,
            ) -> Option<Result<super::Notice, String>> {
                let options = PublishOptions::new(qos(how.qos)).retain(how.retain);
                match self.client.publish_tracked(topic, payload, options).await {
                    Ok(notice) => Some(Ok(Box::pin(completed(notice, self.refusals.clone())))),
                    Err(ClientError::RequestChannelDisconnected(_)) => None,
                    Err(error) => Some(Err(error.to_string())),
                }
            }

            fn try_subscribe(
                &self,
                filter: &str,
                qos: crate::QoS,
                id: usize,
            ) -> Option<super::Notice> {
                let notice = subscribe(&self.client, filter, qos, id).ok()?;
                Some(Box::pin(async {
                    notice.wait_completion_async().await.map(|_| ()).map_err(|error| match error {
                        SubscribeNoticeError::Recv | SubscribeNoticeError::SessionReset => {
                            super::NotSent::Lost
                        }
                        other => super::NotSent::Refused(other.to_string()),
                    })
                }))
            }

            fn try_ack(&self, ack: Publish) -> Result<(), Publish> {
                match self.client.try_ack(&ack) {
                    Err(ClientError::RequestChannelFull(_)) => Err(ack),
                    // Whatever else is wrong, the broker will send the message again.
                    Ok(()) | Err(_) => Ok(()),
                }
            }

            fn try_disconnect(&self) -> bool {
                self.client.try_disconnect_with_timeout($crate::protocol::DRAIN).is_ok()
            }
        }

        /// The library's event loop, and the socket it leaves behind.
        pub(crate) struct Receiver {
            events: $library::EventLoop,
            replay: super::wire::Replay,
            let_go: super::wire::LetGo,
        }

        fn not_sent(error: PublishNoticeError) -> super::NotSent {
            match error {
                PublishNoticeError::Recv
                | PublishNoticeError::SessionReset
                | PublishNoticeError::Qos0NotFlushed => super::NotSent::Lost,
                other => super::NotSent::Refused(other.to_string()),
            }
        }

        fn message(mut publish: Publish, subscriptions: Vec<usize>) -> super::Message<Publish> {
            let payload = std::mem::take(&mut publish.payload);
            let topic = publish.topic.clone();
            let (id, again) = (publish.pkid, publish.dup);
            let ack = (publish.qos != $library::QoS::AtMostOnce).then_some(publish);
            super::Message { topic, payload, subscriptions, ack, id, again }
        }

        fn network() -> $library::NetworkOptions {
            let mut network = $library::NetworkOptions::new();
            // Measured: a round trip at QoS 1 takes 44 ms without, 0.15 ms with.
            network.set_tcp_nodelay(true);
            network
        }
    };
}

use client;

/// `NotAuthorized` → `not authorized`.
fn in_words(code: &str) -> String {
    let mut words = String::new();
    for letter in code.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// The reason a broker gave for refusing a connection, with what to do about it.
fn refusal(code: &str) -> Lost {
    let hint = match code {
        "NotAuthorized" | "BadUserNamePassword" | "Banned" => "; check user and password",
        "BadClientId" | "ClientIdentifierNotValid" => "; check the client id",
        "RefusedProtocolVersion" | "UnsupportedProtocolVersion" => "; choose another MQTT version",
        _ => "",
    };
    // A broker that is starting or overloaded will take the client later.
    let later = matches!(
        code,
        "ServiceUnavailable" | "ServerUnavailable" | "ServerBusy" | "ConnectionRateExceeded"
    );
    let reason = format!("the broker refused the connection: {}{hint}", in_words(code));
    Lost { reason, refused: !later, over: false }
}

/// An error of the network or of TLS, down to its root.
fn broken(error: &dyn std::error::Error) -> Lost {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        source = inner.source();
    }
    Lost { reason, refused: false, over: false }
}

/// How long the goodbye may wait for what the client believes to be under way. By then everything of ours has its
/// answer; but after connections that broke one upon the other the client may wait for an answer it has had.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(5);

const OVER: &str = "disconnected";

/// Seconds as the protocol carries them.
fn seconds(duration: std::time::Duration) -> u16 {
    u16::try_from(duration.as_secs()).unwrap_or(u16::MAX)
}
