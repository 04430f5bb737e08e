//! What every MQTT connector promises, once for all of them: `conformance!(Subject)` makes a `#[test]` of each case.
//!
//! A case is given a [`Subject`] and knows no connector. It brings its own broker: Mosquitto, or one whose every byte is
//! the test's.

#![allow(dead_code, unreachable_pub)] // Every test binary uses its own part.

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
pub mod endings;
pub mod limits;
pub mod outages;
pub mod traffic;

/// What a case asks of a connector.
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
    /// The largest payload, in bytes; what is more than twice as large does not pass.
    pub largest: Option<usize>,
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

    /// Runs a case on a runtime of its own, to its end, and passes its panic on.
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
        let connector =
            given(mqtt_to(setup.port).version(Self::VERSION), setup.name, MqttConnector::named);
        let connector = given(connector, setup.client_id, MqttConnector::client_id);
        let connector = given(connector, setup.credentials, |it, (user, password)| {
            it.credentials(user, password)
        });
        let connector = given(connector, setup.keep_alive, MqttConnector::keep_alive);
        let connector = given(connector, setup.connect_timeout, MqttConnector::connect_timeout);
        let connector = given(connector, setup.session, MqttConnector::persistent_session);
        let connector = given(connector, setup.will, MqttConnector::last_will);
        given(connector, setup.largest, MqttConnector::max_payload)
    }
}

/// [`EmbassyMqttConnector`], on Embassy's std executor for tasks and time; sockets, and everything beside AimDB, are
/// Tokio's.
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
            // For every task of this thread, which ends with the case.
            std::mem::forget(sockets.enter());
            case(Self(adapter))
        });
    }

    fn builder(&self) -> AimDbBuilder<EmbassyAdapter> {
        let mut builder = AimDbBuilder::new().runtime(Arc::clone(&self.0));
        builder.shutdown_deadline(PATIENCE);
        builder
    }

    fn connect(&self, builder: &mut AimDbBuilder<EmbassyAdapter>, setup: Setup) {
        builder.connector(Self::connector(setup));
    }
}

impl OnEmbassy {
    fn connector(setup: Setup) -> EmbassyMqttConnector<Tcp> {
        type To = EmbassyMqttConnector<Tcp>;
        let connector = given(embassy_to(setup.port), setup.name, To::named);
        let connector = given(connector, setup.client_id, To::client_id);
        let connector = given(connector, setup.credentials, |it, (user, password)| {
            it.credentials(user, password)
        });
        let connector = given(connector, setup.keep_alive, To::keep_alive);
        let connector = given(connector, setup.connect_timeout, To::connect_timeout);
        let connector = given(connector, setup.session, To::keep_session);
        let connector = given(connector, setup.will, To::last_will);
        // A topic, what is around it, and in the send buffer what connecting takes.
        given(connector, setup.largest, |it, size| {
            it.receive_buffer(size + 64).send_buffer(size + 256)
        })
    }
}

/// `set` with the value, if there is one.
fn given<C, V>(connector: C, value: Option<V>, set: impl FnOnce(C, V) -> C) -> C {
    match value {
        Some(value) => set(connector, value),
        None => connector,
    }
}

/// Bytes as they are.
pub fn bytes_out() -> impl aimdb_core::Encode<Vec<u8>> {
    encode_with(|value: &Vec<u8>, out: &mut Vec<u8>| {
        out.extend_from_slice(value);
        Ok::<_, CodecError>(())
    })
}

pub fn bytes_in() -> impl aimdb_core::Decode<Vec<u8>> {
    decode_with(|message: &Incoming<'_>| Ok::<_, CodecError>(message.payload.to_vec()))
}

/// The topic and what the wildcards matched.
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
            values_go_out_in_order_at_every_quality_of_service
            messages_come_in_in_order_at_every_quality_of_service
            only_a_link_that_says_retain_leaves_its_newest_value_at_the_broker
            a_codec_sees_what_the_wildcards_matched
            overlapping_and_equal_filters_fill_every_record_they_belong_to
            a_shared_subscription_divides_messages_among_its_members
            more_subscriptions_than_a_client_has_places_are_all_made
            a_computed_topic_that_is_no_topic_costs_only_its_value
            a_codec_that_panics_costs_only_its_value
            two_brokers_live_side_by_side_under_two_names
        }
        $crate::conformance! { $subject;
            limits:
            payloads_of_no_byte_and_of_the_most_pass_both_ways_and_a_larger_one_is_dropped_and_counted
            a_packet_over_the_brokers_limit_is_dropped_and_counted
            a_message_that_the_broker_refuses_is_dropped_and_counted
            a_bad_payload_is_counted_and_kept_as_a_dead_letter_and_the_next_good_one_arrives
            a_full_record_holds_back_its_own_messages_and_loses_none
            a_broker_that_sends_more_at_once_than_it_may_is_held_back
            a_broker_that_never_stops_sending_to_a_full_record_is_not_read
            a_full_record_does_not_cost_the_connection
            what_a_full_record_has_no_place_for_at_qos_0_is_counted
            a_wrong_password_is_told_and_the_right_one_connects
        }
        $crate::conformance! { $subject;
            outages:
            both_directions_heal_after_the_broker_was_away_and_nothing_taken_is_lost
            what_an_outage_costs_is_the_buffers_doing
            a_broken_connection_loses_nothing_at_qos_1_and_2_and_doubles_nothing_at_qos_2
            more_messages_than_a_client_has_identifiers_outlast_a_connection_that_breaks_and_breaks_again
            a_kept_session_brings_what_came_while_the_connection_was_broken
            messages_that_wait_for_a_full_record_survive_broken_connections
            a_message_that_found_room_without_a_connection_is_not_taken_again
            an_identifier_of_qos_2_stands_for_one_message_until_its_release
            an_idle_connection_is_kept_alive
            a_broker_that_says_nothing_is_given_up_in_time
        }
        $crate::conformance! { $subject;
            endings:
            a_shutdown_sends_everything_that_was_accepted_before_it_says_goodbye
            a_shutdown_while_messages_arrive_is_clean_and_takes_what_it_acknowledges
            what_no_record_has_at_a_shutdowns_deadline_is_not_acknowledged
            what_comes_after_a_shutdown_has_begun_is_left_to_the_broker
            the_last_will_is_published_after_a_crash_and_not_after_a_shutdown
            a_broker_may_go_on_sending_until_it_has_read_the_acknowledgements_and_the_goodbye
            a_broker_that_keeps_the_connection_after_the_goodbye_is_not_waited_for_for_ever
            a_connection_that_breaks_before_the_goodbye_does_not_keep_a_shutdown
        }
    };
    ($subject:ty; $suite:ident: $($case:ident)*) => {$(
        #[test]
        fn $case() {
            <$subject as $crate::suite::Subject>::run($crate::suite::$suite::$case);
        }
    )*};
}
