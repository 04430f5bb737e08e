//! MQTT 5.

use std::future::Future;
use std::pin::Pin;

use rumqttc_v5::mqttbytes::v5::{LastWill, SubscribeProperties};
use rumqttc_v5::{
    AckMode, ConnectionError, MqttOptions, Outgoing, PersistedAckMode, PersistedSession,
    PubAckReason, PubCompReason, PublishResult, SessionStore, SessionStoreError, SessionStoreKey,
    SubscribeNotice,
};

use super::wire::{LetGo, Replay, Unlisted};
use super::{
    BATCH, CHANNEL, Event, IN_FLIGHT, Lost, NotSent, OVER, Protocol, broken, client, in_words,
    refusal, seconds, wire,
};
use crate::QoS;
use crate::config::{PACKET_OVERHEAD, Session, Settings};

client!(rumqttc_v5);

/// Unacknowledged messages the broker may have on their way to us.
pub(crate) const RECEIVE_MAXIMUM: u16 = 256;

/// Reasons that the library would not have understood.
type Refusals = Unlisted;

async fn completed(notice: PublishNotice, unlisted: Refusals) -> Result<(), NotSent> {
    let refused = match notice.wait_async().await.map_err(not_sent)? {
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
    let reason = match unlisted.take(id) {
        None => in_words(&listed),
        Some(0x95) => "packet too large".into(),
        Some(0x96) => "message rate too high".into(),
        Some(other) => format!("reason {other:#04x}"),
    };
    Err(NotSent::Refused(format!("the broker refused it: {reason}")))
}

pub(crate) struct V5;

impl Protocol for V5 {
    type Client = Sender;
    type EventLoop = Receiver;

    fn open(settings: &Settings) -> Result<(Sender, Receiver), String> {
        let (refusals, replay, let_go) = (Unlisted::default(), Replay::default(), LetGo::default());
        let options = options(settings, &refusals, &replay, &let_go);
        let opened = AsyncClient::builder(options).capacity(CHANNEL).try_build();
        let (client, events) = opened.map_err(|error| error.to_string())?;
        Ok((Sender { client, refusals }, Receiver { events, replay, let_go }))
    }
}

fn options(
    settings: &Settings,
    unlisted: &Unlisted,
    replay: &Replay,
    let_go: &LetGo,
) -> MqttOptions {
    let config = &settings.config;
    let packet = u32::try_from(config.max_payload + PACKET_OVERHEAD).unwrap_or(u32::MAX);
    let mut options = MqttOptions::new(&settings.client_id, (settings.host.clone(), settings.port));
    options
        .set_keep_alive(seconds(config.keep_alive))
        .set_connect_timeout(config.connect_timeout)
        .set_receive_maximum(Some(RECEIVE_MAXIMUM))
        .set_max_packet_size(Some(packet))
        .set_outgoing_inflight_upper_limit(IN_FLIGHT)
        .set_max_request_batch(BATCH)
        .set_ack_mode(AckMode::Manual);
    options.set_network_options(network());
    let tls = settings.tls.clone().map(|config| (config, settings.host.clone()));
    let (unlisted, replay, let_go) = (unlisted.clone(), replay.clone(), let_go.clone());
    options.set_socket_connector(move |address, network| {
        let (tls, unlisted) = (tls.clone(), unlisted.clone());
        wire::connect(address, network, tls, unlisted, replay.clone(), let_go.clone())
    });
    if let Some((user, password)) = &settings.credentials {
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
        Session::Clean => options.set_clean_start(true),
        Session::Persistent { expiry } => {
            let expiry = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
            options.set_session_store(ResumeAnything { expiry });
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

/// Lets a new process take over the session that the broker kept for its client id.
///
/// The library refuses such a session unless a store vouches for the client's half. This one says that there was
/// nothing under way, which is true of us: what a process had not finished sending when it died is gone with it.
#[derive(Debug)]
struct ResumeAnything {
    expiry: u32,
}

type StoreFuture<'s, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 's>>;

impl SessionStore for ResumeAnything {
    fn load<'s>(&'s self, key: &'s SessionStoreKey) -> StoreFuture<'s, Option<PersistedSession>> {
        let session = PersistedSession {
            format_version: 1,
            client_id: key.client_id().to_owned(),
            clean_start: false,
            session_expiry_interval: Some(self.expiry),
            outgoing_inflight_upper_limit: Some(IN_FLIGHT),
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

impl super::EventLoop for Receiver {
    type Ack = Publish;

    async fn poll(&mut self) -> Result<Event<Publish>, Lost> {
        let polled = self.events.poll().await;
        if polled.is_err() {
            self.let_go.close();
        }
        match polled {
            Ok(rumqttc_v5::Event::Incoming(Packet::ConnAck(ack))) => {
                self.replay.begin(self.events.pending_len());
                Ok(Event::Connected {
                    session_present: ack.session_present,
                    max_packet: ack
                        .properties
                        .and_then(|p| p.max_packet_size)
                        .map_or(usize::MAX, |size| size as usize),
                    // Without a receive maximum the library may go on with an earlier one: it knows.
                    identifiers: self.events.diagnostics().outbound.max_inflight,
                })
            }
            Ok(rumqttc_v5::Event::Incoming(Packet::Publish(mut publish))) => {
                let properties = publish.properties.take();
                let subscriptions =
                    properties.map(|p| p.subscription_identifiers).unwrap_or_default();
                Ok(Event::Message(message(publish, subscriptions)))
            }
            Ok(rumqttc_v5::Event::Outgoing(Outgoing::PubAck(id) | Outgoing::PubRec(id))) => {
                Ok(Event::Acknowledged(id))
            }
            Ok(_) => Ok(Event::Other),
            Err(ConnectionError::RequestsDone) => {
                Err(Lost { reason: OVER.into(), refused: false, over: true })
            }
            Err(ConnectionError::ConnectionRefused(code)) => Err(refusal(&format!("{code:?}"))),
            Err(error) => Err(broken(&error)),
        }
    }

    async fn close(self) {
        drop(self.events);
        self.let_go.read_to_the_end().await;
    }
}
