//! MQTT 3.1.1.

use rumqttc_v4::mqttbytes::v4::LastWill;
use rumqttc_v4::{AckMode, ConnectionError, MqttOptions, Outgoing, SubscribeNotice};

use super::wire::{LetGo, Replay, Unlisted};
use super::{
    BATCH, CHANNEL, Event, IN_FLIGHT, Lost, NotSent, OVER, Protocol, broken, client, refusal,
    seconds, wire,
};
use crate::QoS;
use crate::config::{PACKET_OVERHEAD, Session, Settings};

client!(rumqttc_v4);

/// A broker of this version has no way to refuse a message: it acknowledges it all the same, or hangs up.
type Refusals = ();

async fn completed(notice: PublishNotice, (): Refusals) -> Result<(), NotSent> {
    notice.wait_completion_async().await.map_err(not_sent)
}

pub(crate) struct V311;

impl Protocol for V311 {
    type Client = Sender;
    type EventLoop = Receiver;

    fn open(settings: &Settings) -> Result<(Sender, Receiver), String> {
        let (replay, let_go) = (Replay::default(), LetGo::default());
        let opened =
            AsyncClient::builder(options(settings, &replay, &let_go)).capacity(CHANNEL).try_build();
        let (client, mut events) = opened.map_err(|error| error.to_string())?;
        let mut network = network();
        network.set_connection_timeout(settings.config.connect_timeout.as_secs().max(1));
        events.set_network_options(network);
        Ok((Sender { client, refusals: () }, Receiver { events, replay, let_go }))
    }
}

fn options(settings: &Settings, replay: &Replay, let_go: &LetGo) -> MqttOptions {
    let config = &settings.config;
    let packet = config.max_payload + PACKET_OVERHEAD;
    let mut options = MqttOptions::new(&settings.client_id, (settings.host.clone(), settings.port));
    options
        .set_keep_alive(seconds(config.keep_alive))
        .set_max_packet_size(packet, packet)
        .set_inflight(IN_FLIGHT)
        .set_max_request_batch(BATCH)
        .set_ack_mode(AckMode::Manual)
        .set_clean_session(config.session == Session::Clean);
    let tls = settings.tls.clone().map(|config| (config, settings.host.clone()));
    let (replay, let_go) = (replay.clone(), let_go.clone());
    options.set_socket_connector(move |address, network| {
        let (tls, unlisted) = (tls.clone(), Unlisted::default());
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
        ));
    }
    options
}

/// This version has no identifiers for subscriptions: messages are matched by their topics.
fn subscribe(
    client: &AsyncClient,
    filter: &str,
    level: QoS,
    _id: usize,
) -> Result<SubscribeNotice, ClientError> {
    client.try_subscribe_tracked(filter, qos(level))
}

impl super::EventLoop for Receiver {
    type Ack = Publish;

    async fn poll(&mut self) -> Result<Event<Publish>, Lost> {
        let polled = self.events.poll().await;
        if polled.is_err() {
            self.let_go.close();
        }
        match polled {
            Ok(rumqttc_v4::Event::Incoming(Packet::ConnAck(ack))) => {
                self.replay.begin(self.events.pending_len());
                Ok(Event::Connected {
                    session_present: ack.session_present,
                    max_packet: usize::MAX,
                    identifiers: IN_FLIGHT,
                })
            }
            Ok(rumqttc_v4::Event::Incoming(Packet::Publish(publish))) => {
                Ok(Event::Message(message(publish, Vec::new())))
            }
            Ok(rumqttc_v4::Event::Outgoing(Outgoing::PubAck(id) | Outgoing::PubRec(id))) => {
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
