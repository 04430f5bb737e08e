//! The MQTT connectors pass the connector suite, over a broker of raw bytes: MQTT 5 at QoS 0, 1 and 2, MQTT 3.1.1, and
//! Embassy.

#[path = "../support/mod.rs"]
mod support;

mod broker;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aimdb_core::AimDbBuilder;
use aimdb_embassy_adapter::EmbassyAdapter;
use aimdb_embassy_adapter::testing::on_embassy;
use aimdb_mqtt_connector::MqttVersion;
use aimdb_testing::connector_conformance;
use aimdb_testing::connectors::{Delivery, FaultCount, Promises, SocketPeer, Subject};
use aimdb_tokio_adapter::TokioAdapter;

use broker::RawBroker;
use support::{embassy_to, mqtt_to};

const HOUR: Duration = Duration::from_secs(3600);

/// `MqttConnector`. At QoS 1 and 2 the broker keeps its session.
struct OnTokio<const V311: bool, const QOS: u8>;

impl<const V311: bool, const QOS: u8> Subject for OnTokio<V311, QOS> {
    type Runtime = TokioAdapter;
    type Peer = SocketPeer<RawBroker>;

    // Acknowledgements are in order, so that those of other records wait for a full one's; the broker's window is 20.
    const PROMISES: Promises = promises(QOS, 4_000).others_while_full(12);

    fn run<F: Future<Output = ()> + 'static>(case: fn(Arc<TokioAdapter>) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { case(Arc::new(TokioAdapter::new().unwrap())).await });
    }

    fn peer() -> SocketPeer<RawBroker> {
        SocketPeer::listen(RawBroker::new(QOS))
    }

    fn connect(
        builder: &mut AimDbBuilder<TokioAdapter>,
        peer: &SocketPeer<RawBroker>,
    ) -> FaultCount {
        let version = if V311 { MqttVersion::V311 } else { MqttVersion::V5 };
        let connector = mqtt_to(peer.port()).version(version).client_id("subject");
        builder.connector(match QOS {
            0 => connector,
            _ => connector.persistent_session(HOUR),
        });
        Box::new(|| 0)
    }

    fn outbound(topic: &str) -> String {
        format!("mqtt://{topic}?qos={QOS}")
    }

    fn inbound(topic: &str) -> String {
        format!("mqtt://{topic}?qos={QOS}")
    }
}

/// `EmbassyMqttConnector`, on Embassy's std executor. The broker keeps its session.
struct OnEmbassy<const QOS: u8>;

impl<const QOS: u8> Subject for OnEmbassy<QOS> {
    type Runtime = EmbassyAdapter;
    type Peer = SocketPeer<RawBroker>;

    // A message must fit into the send buffer, and into the receive buffer.
    // Acknowledgements are in order, so that those of other records wait for a full one's; the window is 8.
    const PROMISES: Promises = promises(QOS, 500).others_while_full(4);

    fn run<F: Future<Output = ()> + 'static>(case: fn(Arc<EmbassyAdapter>) -> F) {
        let sockets = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        on_embassy(|adapter| {
            // The runtime stays entered for every task of this thread. The thread ends with the case.
            std::mem::forget(sockets.enter());
            case(adapter)
        });
    }

    fn peer() -> SocketPeer<RawBroker> {
        SocketPeer::listen(RawBroker::new(QOS))
    }

    fn connect(
        builder: &mut AimDbBuilder<EmbassyAdapter>,
        peer: &SocketPeer<RawBroker>,
    ) -> FaultCount {
        let connector = embassy_to(peer.port()).client_id("subject");
        builder.connector(match QOS {
            0 => connector,
            _ => connector.keep_session(HOUR),
        });
        Box::new(|| 0)
    }

    fn outbound(topic: &str) -> String {
        format!("mqtt://{topic}?qos={QOS}")
    }

    fn inbound(topic: &str) -> String {
        format!("mqtt://{topic}?qos={QOS}")
    }
}

const fn promises(qos: u8, largest_payload: usize) -> Promises {
    match qos {
        0 => Promises::new(Delivery::AtMostOnce, largest_payload),
        1 => Promises::new(Delivery::AtLeastOnce, largest_payload).has_sessions().holds_back(),
        _ => Promises::new(Delivery::ExactlyOnce, largest_payload)
            .detects_doubles()
            .has_sessions()
            .holds_back(),
    }
}

connector_conformance!(v5_at_qos_0, OnTokio<false, 0>; not applicable:
    every_value_arrives_over_twenty_breaks
    an_unacknowledged_message_is_received_after_a_break
    every_message_reaches_its_record_over_twenty_breaks
    a_message_without_room_at_a_shutdown_is_not_acknowledged
    a_full_record_loses_no_message
    nothing_is_acknowledged_before_the_record_has_it
    a_repeated_message_arrives_once
);

connector_conformance!(v5_at_qos_1, OnTokio<false, 1>; not applicable:
    each_value_arrives_or_is_counted_over_twenty_breaks
    a_full_record_counts_what_it_drops
    a_repeated_message_arrives_once
);

connector_conformance!(v5_at_qos_2, OnTokio<false, 2>; not applicable:
    each_value_arrives_or_is_counted_over_twenty_breaks
    a_full_record_counts_what_it_drops
    a_repeated_message_arrives_at_most_twice
);

connector_conformance!(v311_at_qos_1, OnTokio<true, 1>; not applicable:
    each_value_arrives_or_is_counted_over_twenty_breaks
    a_full_record_counts_what_it_drops
    a_repeated_message_arrives_once
);

connector_conformance!(embassy_at_qos_1, OnEmbassy<1>; not applicable:
    each_value_arrives_or_is_counted_over_twenty_breaks
    a_full_record_counts_what_it_drops
    a_repeated_message_arrives_once
);

connector_conformance!(v311_at_qos_0, OnTokio<true, 0>; not applicable:
    every_value_arrives_over_twenty_breaks
    an_unacknowledged_message_is_received_after_a_break
    every_message_reaches_its_record_over_twenty_breaks
    a_message_without_room_at_a_shutdown_is_not_acknowledged
    a_full_record_loses_no_message
    nothing_is_acknowledged_before_the_record_has_it
    a_repeated_message_arrives_once
);

connector_conformance!(v311_at_qos_2, OnTokio<true, 2>; not applicable:
    each_value_arrives_or_is_counted_over_twenty_breaks
    a_full_record_counts_what_it_drops
    a_repeated_message_arrives_at_most_twice
);

connector_conformance!(embassy_at_qos_0, OnEmbassy<0>; not applicable:
    every_value_arrives_over_twenty_breaks
    an_unacknowledged_message_is_received_after_a_break
    every_message_reaches_its_record_over_twenty_breaks
    a_message_without_room_at_a_shutdown_is_not_acknowledged
    a_full_record_loses_no_message
    nothing_is_acknowledged_before_the_record_has_it
    a_repeated_message_arrives_once
);

connector_conformance!(embassy_at_qos_2, OnEmbassy<2>; not applicable:
    each_value_arrives_or_is_counted_over_twenty_breaks
    a_full_record_counts_what_it_drops
    a_repeated_message_arrives_at_most_twice
);
