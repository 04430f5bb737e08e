//! The code that both versions of the client library share.

use super::client::ConnectionLost;

/// Requests that the client queues before [`Client::publish`](super::client::Client::publish) waits.
pub(super) const REQUEST_CAPACITY: usize = 128;

/// Requests that the client sends with one flush.
pub(super) const REQUEST_BATCH: usize = 64;

/// How long the DISCONNECT may wait for publishes that the client believes to be in flight. By then all of them have
/// their acknowledgements; but after several broken connections in a row the client may wait for an acknowledgement
/// that it has already received.
pub(super) const DISCONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// The code that is the same for both libraries except for the path of their types.
///
/// The module that invokes it defines `Refusals`, `completed` and `subscribe`.
macro_rules! client {
    ($library:ident) => {
        use $library::{
            AsyncClient, ClientError, Packet, Publish, PublishNotice, PublishNoticeError,
            PublishOptions, SubscribeNoticeError,
        };

        use super::client::{
            Client, Completion, DeliveryOptions, MessageAttributes, OwnedProperties,
            ReceivedPublish, RequestError,
        };

        pub(super) fn qos(qos: QoS) -> $library::QoS {
            match qos {
                QoS::AtMostOnce => $library::QoS::AtMostOnce,
                QoS::AtLeastOnce => $library::QoS::AtLeastOnce,
                QoS::ExactlyOnce => $library::QoS::ExactlyOnce,
            }
        }

        /// The library's client, and the refusal reasons that the library does not report.
        #[derive(Clone)]
        pub(crate) struct LibraryClient {
            client: AsyncClient,
            refusals: Refusals,
        }

        impl Client for LibraryClient {
            /// The message without payload and properties, which an acknowledgement does not need.
            type Ack = Publish;

            async fn publish(
                &self,
                topic: &str,
                payload: bytes::Bytes,
                delivery: DeliveryOptions,
            ) -> Option<Result<Completion, String>> {
                let options = PublishOptions::new(qos(delivery.qos)).retain(delivery.retain);
                match self.client.publish_tracked(topic, payload, options).await {
                    Ok(notice) => Some(Ok(Box::pin(completed(notice, self.refusals.clone())))),
                    Err(ClientError::RequestChannelDisconnected(_)) => None,
                    Err(error) => Some(Err(error.to_string())),
                }
            }

            fn try_subscribe(&self, filter: &str, qos: QoS, id: usize) -> Option<Completion> {
                let notice = subscribe(&self.client, filter, qos, id).ok()?;
                Some(Box::pin(async {
                    notice.wait_completion_async().await.map(|_| ()).map_err(|error| match error {
                        SubscribeNoticeError::Recv | SubscribeNoticeError::SessionReset => {
                            RequestError::SessionLost
                        }
                        other => RequestError::Refused(other.to_string()),
                    })
                }))
            }

            fn try_ack(&self, ack: Publish) -> Result<(), Publish> {
                match self.client.try_ack(&ack) {
                    Err(ClientError::RequestChannelFull(_)) => Err(ack),
                    // After any other error the broker sends the message again.
                    Ok(()) | Err(_) => Ok(()),
                }
            }

            fn try_disconnect(&self) -> bool {
                self.client.try_disconnect_with_timeout(library::DISCONNECT_TIMEOUT).is_ok()
            }
        }

        /// The library's event loop, and the socket that it releases.
        pub(crate) struct LibraryEventLoop {
            events: $library::EventLoop,
            replay: ReplayGate,
            released: ReleasedSocket,
        }

        fn request_error(error: PublishNoticeError) -> RequestError {
            match error {
                PublishNoticeError::Recv
                | PublishNoticeError::SessionReset
                | PublishNoticeError::Qos0NotFlushed => RequestError::SessionLost,
                other => RequestError::Refused(other.to_string()),
            }
        }

        fn received(
            mut publish: Publish,
            subscriptions: Vec<usize>,
            properties: Option<Arc<OwnedProperties>>,
        ) -> ReceivedPublish<Publish> {
            let payload = std::mem::take(&mut publish.payload);
            let topic = publish.topic.clone();
            let (id, dup) = (publish.pkid, publish.dup);
            let attributes = MessageAttributes { retained: publish.retain, properties };
            let ack = (publish.qos != $library::QoS::AtMostOnce).then_some(publish);
            ReceivedPublish { topic, payload, subscriptions, ack, id, dup, attributes }
        }

        fn network_options() -> $library::NetworkOptions {
            let mut network = $library::NetworkOptions::new();
            // Measured: a round trip at QoS 1 takes 44 ms without, 0.15 ms with.
            network.set_tcp_nodelay(true);
            network
        }
    };
}

pub(super) use client;

/// `NotAuthorized` → `not authorized`.
pub(super) fn in_words(code: &str) -> String {
    let mut words = String::new();
    for letter in code.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// A connection that the broker refused with `code`. The reason includes a remedy where there is one.
pub(super) fn refusal(code: &str) -> ConnectionLost {
    let hint = match code {
        "NotAuthorized" | "BadUserNamePassword" | "Banned" => "; check user and password",
        "BadClientId" | "ClientIdentifierNotValid" => "; check the client id",
        "RefusedProtocolVersion" | "UnsupportedProtocolVersion" => "; choose another MQTT version",
        _ => "",
    };
    // A broker that is starting or overloaded accepts the client later.
    let temporary = matches!(
        code,
        "ServiceUnavailable" | "ServerUnavailable" | "ServerBusy" | "ConnectionRateExceeded"
    );
    let reason = format!("the broker refused the connection: {}{hint}", in_words(code));
    ConnectionLost { reason, refused: !temporary, on_request: false }
}

/// A connection that failed with an error of the network or of TLS. The reason includes the sources of the error.
pub(super) fn broken(error: &dyn std::error::Error) -> ConnectionLost {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        source = inner.source();
    }
    ConnectionLost { reason, refused: false, on_request: false }
}

/// A connection that the client ended with its own DISCONNECT.
pub(super) fn disconnected() -> ConnectionLost {
    ConnectionLost { reason: "disconnected".into(), refused: false, on_request: true }
}

/// Whole seconds, as the protocol carries them.
pub(super) fn seconds(duration: std::time::Duration) -> u16 {
    u16::try_from(duration.as_secs()).unwrap_or(u16::MAX)
}
