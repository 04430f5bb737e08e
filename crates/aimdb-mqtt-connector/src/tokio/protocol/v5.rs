//! MQTT 5.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rumqttc_v5::mqttbytes::v5::{LastWill, PublishProperties, SubscribeProperties};
use rumqttc_v5::{
    AckMode, ConnectionError, MqttOptions, Outgoing, PersistedAckMode, PersistedSession,
    PubAckReason, PubCompReason, PublishResult, SessionStore, SessionStoreError, SessionStoreKey,
    SubscribeNotice,
};

use super::client::{ConnectionEvent, ConnectionLost, EventLoop, MAX_IN_FLIGHT, Protocol};
use super::library::{self, client};
use super::socket::{self, RefusalReasons, ReleasedSocket, ReplayGate};
use crate::qos::QoS;
use crate::tokio::config::{PACKET_OVERHEAD, ResolvedConfig, SessionPolicy};

client!(rumqttc_v5);

/// The receive maximum: unacknowledged messages at QoS 1 and 2 that the broker may send to this client.
const RECEIVE_MAXIMUM: u16 = 256;

/// The reasons that the library would not have parsed.
type Refusals = RefusalReasons;

async fn completed(notice: PublishNotice, refusals: Refusals) -> Result<(), RequestError> {
    let refused = match notice.wait_async().await.map_err(request_error)? {
        PublishResult::Qos0Flushed => None,
        PublishResult::Qos1(ack) => match ack.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => None,
            reason => Some((ack.pkid, format!("{reason:?}"))),
        },
        PublishResult::Qos2PubRecRejected(rec) => Some((rec.pkid, format!("{:?}", rec.reason))),
        PublishResult::Qos2Completed(comp) => match comp.reason {
            PubCompReason::Success => None,
            reason => Some((comp.pkid, format!("{reason:?}"))),
        },
    };
    let Some((id, listed)) = refused else { return Ok(()) };
    let reason = match refusals.take(id) {
        None => library::in_words(&listed),
        Some(0x95) => "packet too large".into(),
        Some(0x96) => "message rate too high".into(),
        Some(other) => format!("reason {other:#04x}"),
    };
    Err(RequestError::Refused(format!("the broker refused it: {reason}")))
}

pub(crate) struct V5;

impl Protocol for V5 {
    type Client = LibraryClient;
    type EventLoop = LibraryEventLoop;

    fn open(config: &ResolvedConfig) -> Result<(LibraryClient, LibraryEventLoop), String> {
        let refusals = RefusalReasons::default();
        let (replay, released) = (ReplayGate::default(), ReleasedSocket::default());
        let options = options(config, &refusals, &replay, &released);
        let opened = AsyncClient::builder(options).capacity(library::REQUEST_CAPACITY).try_build();
        let (client, events) = opened.map_err(|error| error.to_string())?;
        Ok((LibraryClient { client, refusals }, LibraryEventLoop { events, replay, released }))
    }
}

fn options(
    resolved: &ResolvedConfig,
    refusals: &RefusalReasons,
    replay: &ReplayGate,
    released: &ReleasedSocket,
) -> MqttOptions {
    let config = &resolved.config;
    let packet = u32::try_from(config.max_payload + PACKET_OVERHEAD).unwrap_or(u32::MAX);
    let mut options = MqttOptions::new(&resolved.client_id, (resolved.host.clone(), resolved.port));
    options
        .set_keep_alive(library::seconds(config.keep_alive))
        .set_connect_timeout(config.connect_timeout)
        .set_receive_maximum(Some(RECEIVE_MAXIMUM))
        .set_max_packet_size(Some(packet))
        .set_outgoing_inflight_upper_limit(MAX_IN_FLIGHT)
        .set_max_request_batch(library::REQUEST_BATCH)
        .set_ack_mode(AckMode::Manual);
    options.set_network_options(network_options());
    let tls = resolved.tls.clone().map(|config| (config, resolved.host.clone()));
    let (refusals, replay, released) = (refusals.clone(), replay.clone(), released.clone());
    options.set_socket_connector(move |address, network| {
        let (tls, refusals) = (tls.clone(), refusals.clone());
        socket::connect(address, network, tls, refusals, replay.clone(), released.clone())
    });
    if let Some((user, password)) = &resolved.credentials {
        options.set_credentials(user, password.clone());
    }
    if let Some(will) = &config.last_will {
        options.set_last_will(LastWill::new(
            &*will.topic,
            will.payload.clone(),
            qos(will.qos),
            will.retain,
            None,
        ));
    }
    match config.session {
        SessionPolicy::Clean => options.set_clean_start(true),
        SessionPolicy::Persistent { expiry } => {
            let expiry = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
            options.set_session_store(EmptySessionStore { expiry });
            options.set_clean_start(false).set_session_expiry_interval(Some(expiry))
        }
    };
    options
}

fn subscribe(
    client: &AsyncClient,
    filter: &str,
    level: QoS,
    id: usize,
) -> Result<SubscribeNotice, ClientError> {
    let properties = SubscribeProperties { id: Some(id), user_properties: Vec::new() };
    client.try_subscribe_with_properties_tracked(filter, qos(level), properties)
}

/// The properties that a codec can see, if there is one.
fn visible(properties: PublishProperties) -> Option<Arc<OwnedProperties>> {
    let PublishProperties {
        content_type,
        response_topic,
        correlation_data,
        user_properties: user,
        ..
    } = properties;
    let visible = OwnedProperties { content_type, response_topic, correlation_data, user };
    (visible != OwnedProperties::default()).then(|| Arc::new(visible))
}

/// Lets a new process resume the session that the broker kept for its client id.
///
/// The library refuses such a session unless a store provides the client's half. This store reports that nothing was in
/// flight, which is correct for this connector: a message that a process had not finished sending is lost with the
/// process.
#[derive(Debug)]
struct EmptySessionStore {
    /// In seconds.
    expiry: u32,
}

type StoreFuture<'s, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 's>>;

impl SessionStore for EmptySessionStore {
    fn load<'s>(&'s self, key: &'s SessionStoreKey) -> StoreFuture<'s, Option<PersistedSession>> {
        let session = PersistedSession {
            format_version: 1,
            client_id: key.client_id().to_owned(),
            clean_start: false,
            session_expiry_interval: Some(self.expiry),
            outgoing_inflight_upper_limit: Some(MAX_IN_FLIGHT),
            ack_mode: PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        };
        Box::pin(async move { Ok(Some(session)) })
    }

    fn save<'s>(&'s self, _: &'s SessionStoreKey, _: &'s PersistedSession) -> StoreFuture<'s, ()> {
        Box::pin(async { Ok(()) })
    }

    fn clear<'s>(&'s self, _: &'s SessionStoreKey) -> StoreFuture<'s, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl EventLoop for LibraryEventLoop {
    type Ack = Publish;

    async fn poll(&mut self) -> Result<ConnectionEvent<Publish>, ConnectionLost> {
        let polled = self.events.poll().await;
        if polled.is_err() {
            self.released.close();
        }
        match polled {
            Ok(rumqttc_v5::Event::Incoming(Packet::ConnAck(ack))) => {
                self.replay.begin(self.events.pending_len());
                Ok(ConnectionEvent::Connected {
                    session_present: ack.session_present,
                    max_packet: ack
                        .properties
                        .and_then(|p| p.max_packet_size)
                        .map_or(usize::MAX, |size| size as usize),
                    // Not read from the CONNACK: without a receive maximum in it the library may keep an earlier one.
                    max_in_flight: self.events.diagnostics().outbound.max_inflight,
                })
            }
            Ok(rumqttc_v5::Event::Incoming(Packet::Publish(mut publish))) => {
                let mut properties = publish.properties.take().unwrap_or_default();
                let subscriptions = std::mem::take(&mut properties.subscription_identifiers);
                Ok(ConnectionEvent::Publish(received(publish, subscriptions, visible(properties))))
            }
            Ok(rumqttc_v5::Event::Outgoing(Outgoing::PubAck(id) | Outgoing::PubRec(id))) => {
                Ok(ConnectionEvent::Acknowledged(id))
            }
            Ok(_) => Ok(ConnectionEvent::Other),
            Err(ConnectionError::RequestsDone) => Err(library::disconnected()),
            Err(ConnectionError::ConnectionRefused(code)) => {
                Err(library::refusal(&format!("{code:?}")))
            }
            Err(error) => Err(library::broken(&error)),
        }
    }

    async fn close(self) {
        drop(self.events);
        self.released.drain_and_close().await;
    }
}
