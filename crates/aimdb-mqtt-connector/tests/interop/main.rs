//! The interoperability run: the connectors against brokers and a client that are not ours, with every QoS, session,
//! property and reason code of MQTT.
//!
//! Mosquitto and the embedded broker forward messages to a plain client. The broker of raw bytes answers what a test
//! says, and records each byte. The tables of the specification are the code's tables: a test runs over all rows.
#![allow(unreachable_pub)] // The modules of a test binary.

#[path = "../suite/mod.rs"]
mod suite;
#[path = "../support/mod.rs"]
mod support;

mod common;
mod properties;
mod qos;
mod reasons;
mod sessions;
mod tables;
mod topics;

use suite::{OnEmbassy, OnTokio};

/// A `#[test]` of each case for one connector.
macro_rules! interop {
    ($subject:ty; $($module:ident: $($case:ident)*;)*) => {$($(
        #[test]
        fn $case() {
            <$subject as crate::suite::Subject>::run(crate::$module::$case);
        }
    )*)*};
    ($subject:ty) => {
        interop! { $subject;
            qos:
                values_reach_another_client_at_the_lower_qos
                values_of_another_client_arrive_at_the_lower_qos
                each_qos_has_its_packets_on_the_wire;
            sessions:
                a_clean_session_forgets_the_messages_of_a_cut
                a_kept_session_has_the_messages_of_a_cut
                a_kept_session_survives_a_restart_of_the_broker
                a_session_that_the_broker_has_forgotten_is_begun_again
                each_expiry_is_on_the_wire
                an_expiry_that_cannot_be_sent_is_a_finding
                a_session_that_another_client_takes_is_named_and_taken_back
                a_session_that_was_to_be_forgotten_is_a_named_error
                messages_under_way_survive_cuts_of_a_kept_session
                a_publish_under_way_is_sent_again
                a_release_under_way_is_sent_again
                a_received_message_under_way_arrives_once;
            topics:
                a_retained_value_is_kept_until_an_empty_one
                each_retain_option_is_kept_by_the_broker
                each_option_is_on_the_wire
                each_filter_receives_the_topics_that_it_matches
                the_brokers_own_topics_are_read_by_their_name_alone
                a_shared_subscription_divides_the_messages
                payloads_at_the_edges_of_lengths_pass_unchanged
                topics_at_the_edges_of_lengths_are_published_and_subscribed;
        }
    };
}

/// The cases that only MQTT 5 has.
macro_rules! interop_of_v5 {
    ($subject:ty) => {
        interop! { $subject;
            sessions: a_session_is_forgotten_after_its_expiry;
            topics: a_link_without_local_messages_receives_those_of_others;
            properties:
                each_property_that_a_packet_may_carry_leaves_the_connection
                each_property_that_the_connector_sends_is_on_the_wire
                each_property_that_the_connector_sends_reaches_another_client
                a_codec_sees_the_properties_of_another_clients_message
                properties_at_the_edges_of_lengths_pass_unchanged
                a_will_is_published_after_its_delay
                the_connector_keeps_to_each_ability_in_a_connack
                the_reason_is_named_with_a_reference_to_another_server;
            reasons:
                each_reason_of_a_connack_is_named_and_the_connection_is_tried_again
                each_reason_of_a_puback_or_pubrec_concerns_its_message_alone
                each_reason_of_a_pubrel_or_pubcomp_leaves_the_connection
                each_reason_of_a_suback_concerns_its_link_alone
                each_reason_of_an_unsuback_leaves_the_connection
                each_reason_of_a_disconnect_is_named_and_the_connection_is_made_again
                each_auth_is_a_named_error_and_the_connection_is_made_again
                an_unknown_identifier_is_answered_with_the_reason_for_it;
        }
    };
}

mod tokio_v5 {
    use super::*;
    interop!(OnTokio<false>);
    interop_of_v5!(OnTokio<false>);
}

mod tokio_v311 {
    use super::*;
    interop!(OnTokio<true>);
    interop! { OnTokio<true>;
        reasons:
            each_return_code_of_a_connack_is_named_and_the_connection_is_tried_again
            a_suback_of_0x80_concerns_its_link_alone;
    }
}

mod embassy {
    use super::*;
    interop!(OnEmbassy);
    interop_of_v5!(OnEmbassy);
}
