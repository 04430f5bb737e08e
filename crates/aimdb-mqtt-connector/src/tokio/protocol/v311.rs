//! MQTT 3.1.1.

use std::sync::Arc;

use rumqttc_v4::mqttbytes::v4::LastWill;
use rumqttc_v4::{AckMode, ConnectionError, MqttOptions, Outgoing, SubscribeNotice};

use super::client::{ConnectionEvent, ConnectionLost, EventLoop, MAX_IN_FLIGHT, Protocol};
use super::library::{self, client};
use super::socket::{self, RefusalReasons, ReleasedSocket, ReplayGate};
use crate::qos::QoS;
use crate::tokio::config::{PACKET_OVERHEAD, ResolvedConfig, SessionPolicy};

client!(rumqttc_v4);

/// A broker of this version cannot refuse a message: it acknowledges the message, or closes the connection.
type Refusals = ();

async fn completed(notice: PublishNotice, (): Refusals) -> Result<(), RequestError> {
    notice.wait_completion_async().await.map_err(request_error)
}

pub(crate) struct V311;

impl Protocol for V311 {
    type Client = LibraryClient;
    type EventLoop = LibraryEventLoop;

    fn open(config: &ResolvedConfig) -> Result<(LibraryClient, LibraryEventLoop), String> {
        let (replay, released) = (ReplayGate::default(), ReleasedSocket::default());
        let opened = AsyncClient::builder(options(config, &replay, &released))
            .capacity(library::REQUEST_CAPACITY)
            .try_build();
        let (client, mut events) = opened.map_err(|error| error.to_string())?;
        let mut network = network_options();
        network.set_connection_timeout(config.config.connect_timeout.as_secs().max(1));
        events.set_network_options(network);
        Ok((LibraryClient { client, refusals: () }, LibraryEventLoop { events, replay, released }))
    }
}

fn options(
    resolved: &ResolvedConfig,
    replay: &ReplayGate,
    released: &ReleasedSocket,
) -> MqttOptions {
    let config = &resolved.config;
    let packet = config.max_payload + PACKET_OVERHEAD;
    let mut options = MqttOptions::new(&resolved.client_id, (resolved.host.clone(), resolved.port));
    options
        .set_keep_alive(library::seconds(config.keep_alive))
        .set_max_packet_size(packet, packet)
        .set_inflight(MAX_IN_FLIGHT)
        .set_max_request_batch(library::REQUEST_BATCH)
        .set_ack_mode(AckMode::Manual)
        .set_clean_session(config.session == SessionPolicy::Clean);
    let tls = resolved.tls.clone().map(|config| (config, resolved.host.clone()));
    let (replay, released) = (replay.clone(), released.clone());
    options.set_socket_connector(move |address, network| {
        let (tls, refusals) = (tls.clone(), RefusalReasons::default());
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
        ));
    }
    options
}

/// This version has no subscription identifiers: the driver matches messages by their topics.
fn subscribe(
    client: &AsyncClient,
    filter: &str,
    level: QoS,
    _id: usize,
) -> Result<SubscribeNotice, ClientError> {
    client.try_subscribe_tracked(filter, qos(level))
}

impl EventLoop for LibraryEventLoop {
    type Ack = Publish;

    async fn poll(&mut self) -> Result<ConnectionEvent<Publish>, ConnectionLost> {
        let polled = self.events.poll().await;
        if polled.is_err() {
            self.released.close();
        }
        match polled {
            Ok(rumqttc_v4::Event::Incoming(Packet::ConnAck(ack))) => {
                self.replay.begin(self.events.pending_len());
                Ok(ConnectionEvent::Connected {
                    session_present: ack.session_present,
                    max_packet: usize::MAX,
                    max_in_flight: MAX_IN_FLIGHT,
                })
            }
            Ok(rumqttc_v4::Event::Incoming(Packet::Publish(publish))) => {
                Ok(ConnectionEvent::Publish(received(publish, Vec::new(), None)))
            }
            Ok(rumqttc_v4::Event::Outgoing(Outgoing::PubAck(id) | Outgoing::PubRec(id))) => {
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
