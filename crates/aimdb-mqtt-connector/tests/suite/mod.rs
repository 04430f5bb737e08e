//! The conformance suite of the MQTT connectors: `conformance!(Subject)` makes a `#[test]` of each case.
//!
//! A case takes a [`Subject`] and uses no connector by name. It starts its own broker: Mosquitto, or a scripted one.

#![allow(dead_code, unreachable_pub)] // Every test binary uses only a part.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aimdb_core::{AimDbBuilder, CodecError, Incoming, Runtime, decode_with, encode_with};
use aimdb_embassy_adapter::EmbassyAdapter;
use aimdb_embassy_adapter::testing::on_embassy;
use aimdb_mqtt_connector::{EmbassyMqttConnector, LastWill, MqttConnector, MqttVersion};
use aimdb_tokio_adapter::TokioAdapter;

use crate::support::*;

pub mod broker;
pub mod faults;
pub mod faults_new_api;
pub mod limits;
pub mod outages;
pub mod shutdown;
pub mod traffic;

/// The settings that a case needs of a connector.
#[derive(Clone, Default)]
pub struct Setup {
    pub port: u16,
    pub name: Option<&'static str>,
    pub client_id: Option<&'static str>,
    pub credentials: Option<(&'static str, &'static str)>,
    pub keep_alive: Option<Duration>,
    pub connect_timeout: Option<Duration>,
    /// How long the broker keeps the session.
    pub session: Option<Duration>,
    pub will: Option<LastWill>,
    /// The largest payload, in bytes. A payload more than twice as large does not pass.
    pub largest: Option<usize>,
    /// The first and the longest pause before a reconnect.
    pub backoff: Option<(Duration, Duration)>,
}

impl Setup {
    pub fn to(port: u16) -> Self {
        Self { port, ..Self::default() }
    }
}

/// A connector under test, and the runtime it runs on.
pub trait Subject: Clone + 'static {
    type Runtime: Runtime;

    const VERSION: MqttVersion;

    /// Runs a case to its end on a runtime of its own, and propagates its panic.
    fn run<F: Future<Output = ()> + 'static>(case: fn(Self) -> F);

    fn builder(&self) -> AimDbBuilder<Self::Runtime>;

    fn connect(&self, builder: &mut AimDbBuilder<Self::Runtime>, setup: Setup);

    /// A builder with one connector.
    fn builder_with(&self, setup: Setup) -> AimDbBuilder<Self::Runtime> {
        let mut builder = self.builder();
        self.connect(&mut builder, setup);
        builder
    }
}

/// [`MqttConnector`].
#[derive(Clone)]
pub struct OnTokio<const V311: bool>;

impl<const V311: bool> Subject for OnTokio<V311> {
    type Runtime = TokioAdapter;

    const VERSION: MqttVersion = if V311 { MqttVersion::V311 } else { MqttVersion::V5 };

    fn run<F: Future<Output = ()> + 'static>(case: fn(Self) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(case(Self));
    }

    fn builder(&self) -> AimDbBuilder<TokioAdapter> {
        builder()
    }

    fn connect(&self, builder: &mut AimDbBuilder<TokioAdapter>, setup: Setup) {
        builder.connector(Self::connector(setup));
    }
}

impl<const V311: bool> OnTokio<V311> {
    fn connector(setup: Setup) -> MqttConnector {
        let connector = set_if_some(
            mqtt_to(setup.port).version(Self::VERSION),
            setup.name,
            MqttConnector::named,
        );
        let connector = set_if_some(connector, setup.client_id, MqttConnector::client_id);
        let connector = set_if_some(connector, setup.credentials, |connector, (user, password)| {
            connector.credentials(user, password)
        });
        let connector = set_if_some(connector, setup.keep_alive, MqttConnector::keep_alive);
        let connector =
            set_if_some(connector, setup.connect_timeout, MqttConnector::connect_timeout);
        let connector = set_if_some(connector, setup.session, MqttConnector::persistent_session);
        let connector = set_if_some(connector, setup.will, MqttConnector::last_will);
        let connector = set_if_some(connector, setup.backoff, |connector, (first, longest)| {
            connector.backoff(first, longest)
        });
        set_if_some(connector, setup.largest, MqttConnector::max_payload)
    }
}

/// [`EmbassyMqttConnector`], on Embassy's std executor for tasks and time. Sockets, and everything besides AimDB, run
/// on Tokio.
#[derive(Clone)]
pub struct OnEmbassy(Arc<EmbassyAdapter>);

impl Subject for OnEmbassy {
    type Runtime = EmbassyAdapter;

    const VERSION: MqttVersion = MqttVersion::V5;

    fn run<F: Future<Output = ()> + 'static>(case: fn(Self) -> F) {
        let sockets = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        on_embassy(|adapter| {
            // The runtime stays entered for every task of this thread. The thread ends with the case.
            std::mem::forget(sockets.enter());
            case(Self(adapter))
        });
    }

    fn builder(&self) -> AimDbBuilder<EmbassyAdapter> {
        let mut builder = AimDbBuilder::new().runtime(Arc::clone(&self.0));
        builder.shutdown_deadline(TIMEOUT);
        builder
    }

    fn connect(&self, builder: &mut AimDbBuilder<EmbassyAdapter>, setup: Setup) {
        builder.connector(Self::connector(setup));
    }
}

impl OnEmbassy {
    fn connector(setup: Setup) -> EmbassyMqttConnector<Tcp> {
        type To = EmbassyMqttConnector<Tcp>;
        let connector = set_if_some(embassy_to(setup.port), setup.name, To::named);
        let connector = set_if_some(connector, setup.client_id, To::client_id);
        let connector = set_if_some(connector, setup.credentials, |connector, (user, password)| {
            connector.credentials(user, password)
        });
        let connector = set_if_some(connector, setup.keep_alive, To::keep_alive);
        let connector = set_if_some(connector, setup.connect_timeout, To::connect_timeout);
        let connector = set_if_some(connector, setup.session, To::keep_session);
        let connector = set_if_some(connector, setup.will, To::last_will);
        let connector = set_if_some(connector, setup.backoff, |connector, (first, longest)| {
            connector.backoff(first, longest)
        });
        // Room for the topic and the rest of the packet, and in the send buffer for connecting.
        set_if_some(connector, setup.largest, |connector, size| {
            connector.receive_buffer(size + 64).send_buffer(size + 256)
        })
    }
}

/// Applies `set` with the value, if there is one.
fn set_if_some<C, V>(connector: C, value: Option<V>, set: impl FnOnce(C, V) -> C) -> C {
    match value {
        Some(value) => set(connector, value),
        None => connector,
    }
}

/// Bytes without an encoding.
pub fn bytes_out() -> impl aimdb_core::Encode<Vec<u8>> {
    encode_with(|value: &Vec<u8>, out: &mut Vec<u8>| {
        out.extend_from_slice(value);
        Ok::<_, CodecError>(())
    })
}

pub fn bytes_in() -> impl aimdb_core::Decode<Vec<u8>> {
    decode_with(|message: &Incoming<'_>| Ok::<_, CodecError>(message.payload.to_vec()))
}

/// The topic and the parts that the wildcards matched.
pub fn topic_and_parts() -> impl aimdb_core::Decode<String> {
    decode_with(|message: &Incoming<'_>| {
        Ok::<_, CodecError>(format!("{} {}", message.topic, message.parts.join("|")))
    })
}

/// A `#[test]` of each case, for a [`Subject`].
#[macro_export]
macro_rules! conformance {
    ($subject:ty) => {
        $crate::conformance! { $subject;
            traffic:
            values_are_published_in_order_at_every_quality_of_service
            messages_are_received_in_order_at_every_quality_of_service
            only_a_retaining_link_leaves_its_newest_value_at_the_broker
            a_codec_sees_the_parts_that_the_wildcards_matched
            a_codec_sees_whether_the_broker_had_kept_the_message
            overlapping_and_equal_filters_fill_every_matching_record
            a_shared_subscription_divides_messages_among_its_members
            more_subscriptions_than_the_client_has_slots_are_all_made
            an_invalid_computed_topic_loses_only_its_value
            a_codec_that_panics_loses_only_its_value
            two_connectors_with_two_names_serve_two_brokers
        }
        $crate::conformance! { $subject;
            limits:
            empty_and_largest_payloads_pass_both_ways_and_a_larger_one_is_dropped_and_counted
            a_packet_over_the_brokers_limit_is_dropped_and_counted
            a_message_that_the_broker_refuses_is_dropped_and_counted
            a_bad_payload_is_counted_and_kept_as_a_dead_letter_and_the_next_good_one_arrives
            a_full_record_holds_back_its_own_messages_and_loses_none
            a_broker_that_exceeds_the_receive_maximum_is_held_back
            a_broker_that_never_stops_sending_to_a_full_record_is_not_read
            a_full_record_does_not_break_the_connection
            messages_without_room_at_qos_0_are_dropped_and_counted
            a_wrong_password_is_reported_and_the_right_one_connects
        }
        $crate::conformance! { $subject;
            outages:
            both_directions_recover_after_an_outage_and_no_taken_message_is_lost
            an_outage_loses_only_the_values_that_a_buffer_overwrites
            a_broken_connection_loses_nothing_at_qos_1_and_2_and_duplicates_nothing_at_qos_2
            more_messages_than_packet_identifiers_survive_repeated_connection_losses
            a_kept_session_delivers_the_messages_of_an_outage
            messages_that_wait_for_a_full_record_survive_broken_connections
            a_message_delivered_without_a_connection_is_not_delivered_again
            a_packet_identifier_of_qos_2_means_one_message_until_its_release
            an_idle_connection_is_kept_alive
            an_attempt_ends_in_time_if_the_broker_sends_nothing
        }
        $crate::conformance! { $subject;
            shutdown:
            a_shutdown_sends_every_accepted_value_before_the_disconnect
            a_shutdown_while_messages_arrive_is_clean_and_acknowledges_only_delivered_messages
            a_message_that_no_record_has_at_a_shutdowns_deadline_is_not_acknowledged
            a_message_that_arrives_during_a_shutdown_is_not_acknowledged
            the_last_will_is_published_after_a_crash_and_not_after_a_shutdown
            a_broker_may_send_until_it_has_read_the_acknowledgements_and_the_disconnect
            a_shutdown_does_not_wait_indefinitely_for_a_broker_that_keeps_the_connection_open
            a_connection_that_breaks_before_the_disconnect_does_not_delay_a_shutdown
        }
        $crate::conformance! { $subject;
            faults:
            a_refused_subscription_whose_second_answer_is_lost_is_asked_for_again
            a_birth_message_does_not_wait_for_a_subscription_that_is_given_up
            a_link_that_was_given_up_is_connected_when_its_messages_pass_again
            a_full_record_that_is_not_read_does_not_end_the_connection
            a_message_on_which_the_broker_hangs_up_is_dropped_and_counted_at_qos_0
            a_message_on_which_the_broker_hangs_up_is_dropped_and_counted_at_qos_1
            a_message_on_which_the_broker_hangs_up_is_dropped_and_counted_at_qos_2
            a_link_whose_every_message_ends_the_connection_at_qos_0_does_not_stop_the_others
            a_link_whose_every_message_ends_the_connection_at_qos_1_does_not_stop_the_others
            two_messages_that_end_connections_are_both_found_among_their_neighbours
            a_message_is_not_blamed_for_a_connection_that_broke_twice
            a_computed_topic_that_brokers_do_not_accept_loses_only_its_value
            a_filter_on_which_the_broker_hangs_up_does_not_stop_the_other_links
            a_broker_without_retained_messages_costs_only_those
            half_open_connections_are_found_while_small_values_go_out
            half_open_connections_are_found_while_large_values_go_out
            half_open_connections_are_found_while_acknowledgements_are_missing
            a_broker_that_reads_and_never_writes_again_is_left
            two_clients_with_one_id_connect_less_and_less_often
            a_broker_that_ends_each_connection_after_its_connack_is_not_hammered
            a_broker_that_ends_each_connection_with_the_first_message_is_not_hammered
            a_retained_latest_value_is_sent_again_on_each_connection_without_a_session
            a_kept_session_needs_no_second_copy_of_a_retained_value
            a_retained_state_replaces_the_last_will_on_its_topic_after_a_reconnect
            a_broker_that_forgot_its_retained_messages_has_them_again_after_a_restart
            a_retained_message_reaches_each_overlapping_link_once_per_connection
            retained_messages_of_several_topics_reach_each_overlapping_link_once
            every_copy_of_an_overlapping_message_is_acknowledged
            a_subscription_that_is_refused_for_the_moment_is_asked_for_again
            a_subscription_that_is_never_granted_is_asked_for_less_and_less_often
            a_refused_subscription_is_asked_for_again_on_the_next_connection
            a_message_for_no_link_leaves_the_connection_as_it_is
            rubbish_costs_one_connection_and_no_message_that_waits
        }
    };
    ($subject:ty; $suite:ident: $($case:ident)*) => {$(
        #[test]
        fn $case() {
            <$subject as $crate::suite::Subject>::run($crate::suite::$suite::$case);
        }
    )*};
}

/// A `#[test]` of each case about faults that only MQTT 5 can have.
#[macro_export]
macro_rules! faults_of_v5 {
    ($subject:ty) => {
        $crate::conformance! { $subject;
            faults:
            a_message_is_not_blamed_for_a_broker_that_says_it_shuts_down
            an_equal_message_is_another_message_where_the_retain_flag_is_the_publishers
            a_message_above_the_brokers_maximum_qos_is_dropped_and_counted
            a_broker_without_subscription_identifiers_is_asked_for_none
            a_broker_without_wildcards_costs_only_the_links_that_have_them
            a_broker_without_shared_subscriptions_costs_only_the_links_that_share
            the_brokers_keep_alive_replaces_the_clients
            topic_aliases_stay_within_the_brokers_maximum
            messages_in_flight_stay_within_the_brokers_receive_maximum
            a_packet_above_the_brokers_maximum_is_not_sent
            an_assigned_client_id_belongs_to_the_next_connection_too
            an_option_asks_the_broker_not_to_return_own_messages
            a_record_linked_both_ways_without_local_messages_does_not_send_for_ever
            options_of_an_inbound_link_reach_the_broker
            options_of_an_outbound_link_reach_the_broker
            computed_properties_follow_those_of_the_address_and_a_faulty_one_loses_only_its_value
            a_subscription_identifier_proves_that_an_exclusive_message_belongs_to_its_link
            a_subscription_identifier_proves_that_a_queued_message_belongs_to_its_link
            a_message_with_several_identifiers_reaches_each_of_their_links
        }
    };
}

/// A `#[test]` of each case about faults that only MQTT 3.1.1 can have.
#[macro_export]
macro_rules! faults_of_v311 {
    ($subject:ty) => {
        $crate::conformance! { $subject;
            faults:
            an_inbound_message_over_the_limit_is_read_past_at_qos_0
            an_inbound_message_over_the_limit_is_read_past_and_acknowledged_at_qos_1
            an_inbound_message_over_the_limit_is_read_past_and_acknowledged_at_qos_2
            an_inbound_message_over_the_limit_is_counted_at_each_of_its_links
        }
    };
}
