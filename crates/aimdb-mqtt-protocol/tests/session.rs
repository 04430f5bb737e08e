//! The session against a broker that the test plays, in each version.

mod support;

use aimdb_mqtt_protocol::{
    Error, Lost, Malformed, Message, MessageProperties, QoS, Reason, RetainHandling, Session,
    SessionConfig, SubscribeOptions, Unsent, Version, Will,
};
use proptest::prelude::*;
use support::*;

use QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};

/// Runs each function as a test of each version.
macro_rules! in_each_version {
    ($($name:ident,)*) => {
        mod v5 {
            $(#[test]
            fn $name() {
                super::$name(super::Version::V5);
            })*
        }

        #[cfg(feature = "v311")]
        mod v311 {
            $(#[test]
            fn $name() {
                super::$name(super::Version::V311);
            })*
        }
    };
}

in_each_version! {
    a_connect_has_the_settings,
    a_connect_without_options_has_no_flags,
    a_refused_connection_has_the_brokers_reason,
    a_session_that_the_broker_was_to_forget_is_an_error,
    a_packet_before_the_connack_is_an_error,
    a_second_connack_is_an_error,
    nothing_is_published_without_a_connection,
    a_message_at_qos_0_is_published_when_its_last_byte_is_written,
    a_message_at_qos_0_whose_last_byte_is_not_written_is_lost,
    a_message_at_qos_1_is_published_with_its_puback,
    a_message_at_qos_2_is_published_with_its_pubcomp,
    answers_to_unknown_identifiers_change_nothing,
    a_topic_that_mqtt_forbids_is_refused,
    a_packet_above_the_own_limit_is_refused,
    unanswered_messages_are_sent_again_with_dup_to_a_kept_session,
    a_message_that_was_not_sent_has_no_dup,
    a_pubrel_is_sent_again_to_a_kept_session,
    a_lost_session_gets_the_messages_as_new,
    a_message_at_qos_2_is_sent_anew_if_the_session_is_lost_after_pubrec,
    a_pubrec_that_arrives_twice_is_answered_twice,
    a_pubrec_for_a_pubrel_that_waits_for_the_window_is_answered,
    the_window_is_never_exceeded,
    the_messages_of_an_earlier_connection_wait_for_a_smaller_window,
    queued_messages_follow_when_output_is_written,
    packet_identifiers_wrap_and_skip_those_in_use,
    requests_are_answered,
    at_most_64_requests_are_unanswered,
    a_broken_connection_forgets_the_requests,
    a_received_message_is_acknowledged_when_the_program_says_so,
    acknowledgements_have_the_order_of_the_messages_at_each_qos,
    a_message_that_is_sent_again_is_no_second_event,
    a_message_at_qos_2_is_no_second_event_after_its_pubrec,
    a_message_that_was_stored_during_an_outage_is_acknowledged_when_it_is_sent_again,
    redelivered_messages_are_acknowledged_in_the_order_of_this_connection,
    another_message_with_the_identifier_of_an_unacknowledged_one_is_new,
    the_same_message_after_its_acknowledgement_is_new,
    a_message_of_a_new_session_is_new_whatever_its_identifier,
    a_pubrel_for_an_unknown_identifier_is_answered,
    a_message_above_the_limit_is_read_past_and_acknowledged,
    a_message_above_the_limit_that_is_sent_again_is_no_second_event,
    a_message_above_the_limit_without_an_identifier_is_malformed,
    a_packet_above_the_limit_that_is_no_message_is_an_error,
    a_message_of_exactly_the_limit_is_read,
    a_connection_that_breaks_within_a_packet_leaves_no_rest,
    an_idle_connection_is_tested_and_dead_an_interval_later,
    a_connection_that_only_sends_is_tested,
    a_connection_that_only_receives_is_tested,
    a_blocked_output_ends_the_connection,
    a_blocked_test_ends_the_connection_without_another_call,
    a_slow_output_that_makes_progress_is_alive,
    a_long_message_before_the_pingresp_is_no_silence_and_the_client_is_not_silent,
    a_keep_alive_of_zero_never_tests,
    the_end_of_time_is_no_panic,
    bytes_of_a_broken_connection_are_gone,
    a_cautious_session_has_one_thing_under_way,
    a_cautious_session_proves_a_message_at_qos_0_by_a_ping,
    the_answer_to_an_earlier_ping_proves_nothing,
    a_cautious_session_sends_the_messages_of_an_outage_one_by_one,
    a_cautious_session_continues_when_its_output_is_written,
    a_forgotten_message_is_not_sent_again,
    a_forgotten_message_that_waits_makes_no_room,
    a_disconnect_is_the_last_packet,
    a_message_that_is_acknowledged_after_the_disconnect_waits_for_the_next_connection,
    a_disconnect_without_a_connection_sends_nothing,
    a_client_that_only_answers_does_not_read_without_bound,
    malformed_packets_end_the_connection,
    packets_that_no_broker_sends_end_the_connection,
}

fn a_connect_has_the_settings(version: Version) {
    let mut config = SessionConfig::new("node-7");
    config.clean_start = false;
    config.session_expiry = 3600;
    config.keep_alive = 77;
    config.credentials = Some(("user".into(), b"pass\0word".to_vec()));
    config.receive_maximum = 9;
    config.max_incoming = 4096;
    config.will = Some(Will {
        topic: "state".into(),
        payload: b"offline".to_vec(),
        qos: ExactlyOnce,
        retain: true,
        delay: 10,
    });
    let mut client = Client::with(version, config);
    client.session.connect(0);
    let v5 = is_v5(version);
    let expected = Connect {
        level: if v5 { 5 } else { 4 },
        flags: 0b1111_0100,
        keep_alive: 77,
        session_expiry: v5.then_some(3600),
        receive_maximum: v5.then_some(9),
        maximum_packet: v5.then_some(4096),
        client_id: "node-7".into(),
        will_delay: v5.then_some(10),
        will: Some(("state".into(), b"offline".to_vec())),
        user: Some("user".into()),
        password: Some(b"pass\0word".to_vec()),
    };
    assert_eq!(client.sent(), [Sent::Connect(expected)]);
}

fn a_connect_without_options_has_no_flags(version: Version) {
    let mut config = SessionConfig::new("");
    config.receive_maximum = 0; // MQTT allows no zero in either.
    config.max_incoming = 0;
    let mut client = Client::with(version, config);
    client.session.connect(0);
    let [Sent::Connect(connect)] = &client.sent()[..] else { panic!() };
    assert_eq!((connect.flags, connect.keep_alive), (0b10, 30), "a clean start, nothing else");
    let expiry = is_v5(version).then_some(0);
    assert_eq!((connect.will.as_ref(), connect.session_expiry), (None, expiry));
    if is_v5(version) {
        assert_eq!((connect.receive_maximum, connect.maximum_packet), (Some(1), Some(16)));
    }
    client.feed(&connack(version, false, 0, &[]));
    client.receive(AtLeastOnce, 7, b"x"); // One message, of at most 16 bytes.
}

fn a_refused_connection_has_the_brokers_reason(version: Version) {
    // A broker of MQTT 3.1.1 answers a CONNECT of MQTT 5 in its own words.
    let codes: &[(u8, u8)] = match is_v5(version) {
        true => &[(0x86, 0x86), (0x97, 0x97), (1, 0x84)],
        false => &[(1, 0x84), (2, 0x85), (3, 0x88), (4, 0x86), (5, 0x87), (6, 6)],
    };
    for (code, reason) in codes {
        let mut client = Client::new(version);
        client.session.connect(0);
        let error = client.feed_fatal(&connack(version, false, *code, &[]));
        assert_eq!(error, Error::Refused(Reason(*reason), String::new()));
        assert!(!client.session.is_connected());
        client.session.connection_lost();
        client.go_online(false, &[]);
        assert!(client.session.is_connected());
    }
}

fn a_session_that_the_broker_was_to_forget_is_an_error(version: Version) {
    let mut client = Client::with(version, SessionConfig::new("node-7"));
    client.session.connect(0);
    let error = client.feed_fatal(&connack(version, true, 0, &[]));
    assert!(matches!(error, Error::Malformed(_)), "{error}");
    assert!(!client.session.is_connected());
}

fn a_packet_before_the_connack_is_an_error(version: Version) {
    let long = [b'x'; 100];
    for bytes in [
        publish(version, 0x30, "t", 0, b""),
        publish(version, 0x30, "t", 0, &long),
        ack(0x40, 1),
        PONG.to_vec(),
    ] {
        let mut client = Client::new(version);
        client.session.config().max_incoming = 64;
        client.session.connect(0);
        assert!(matches!(client.feed_fatal(&bytes), Error::Malformed(_)), "{bytes:x?}");
    }
}

fn a_second_connack_is_an_error(version: Version) {
    let mut client = Client::online(version);
    let error = client.feed_fatal(&connack(version, false, 0, &[]));
    assert!(matches!(error, Error::Malformed(_)), "{error}");
}

fn nothing_is_published_without_a_connection(version: Version) {
    let mut client = Client::new(version);
    let attempt = |client: &mut Client| {
        for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
            assert!(!client.session.has_room(qos));
            let message = Message::new("t", b"").qos(qos);
            assert_eq!(client.session.publish(&message), Err(Unsent::Full));
        }
        let options = SubscribeOptions::default();
        assert_eq!(client.session.subscribe("t", options, None), Err(Unsent::Full));
        assert_eq!(client.session.unsubscribe("t"), Err(Unsent::Full));
    };
    attempt(&mut client);
    client.session.connect(0);
    client.sent();
    attempt(&mut client);
    client.go_online(false, &[]);
    client.session.connection_lost();
    attempt(&mut client);
    client.go_online(true, &[]);
    client.session.disconnect(false);
    attempt(&mut client);
}

fn a_message_at_qos_0_is_published_when_its_last_byte_is_written(version: Version) {
    let mut client = Client::online(version);
    let first = client.queue(AtMostOnce, b"1");
    let length = client.session.output().len();
    let second = client.queue(AtMostOnce, b"2");
    client.session.written(length - 1, 0);
    assert_eq!(client.events(), []);
    client.session.written(length, 0);
    assert_eq!(client.events(), [Happened::Published(first, Ok(()))]);
    client.session.written(1, 0);
    assert_eq!(client.events(), [Happened::Published(second, Ok(()))]);
}

fn a_message_at_qos_0_whose_last_byte_is_not_written_is_lost(version: Version) {
    let mut client = Client::online(version);
    let first = client.queue(AtMostOnce, b"1");
    let length = client.session.output().len();
    let second = client.queue(AtMostOnce, b"2");
    client.session.written(length, 0);
    client.session.connection_lost();
    let expected =
        [Happened::Published(first, Ok(())), Happened::Published(second, Err(Lost::Disconnected))];
    assert_eq!(client.events(), expected);
    assert_eq!(client.go_online(true, &[]), []);
}

fn a_message_at_qos_1_is_published_with_its_puback(version: Version) {
    let mut client = Client::online(version);
    let (token, sent) = client.publish(AtLeastOnce, b"1");
    assert_eq!((sent.qos, sent.dup, sent.retain, &sent.topic[..]), (1, false, false, "a/b"));
    assert_eq!(client.events(), [], "a written message is not published yet");
    assert_eq!(client.feed(&ack(0x50, sent.id)), [], "a PUBREC is not for QoS 1");
    client.sent();
    assert_eq!(client.feed(&ack(0x40, sent.id)), [Happened::Published(token, Ok(()))]);
    assert_eq!(client.feed(&ack(0x40, sent.id)), [], "it is published once");
    assert_eq!((client.session.in_flight(), client.sent()), (0, vec![]));
}

fn a_message_at_qos_2_is_published_with_its_pubcomp(version: Version) {
    let mut client = Client::online(version);
    let (token, sent) = client.publish(ExactlyOnce, b"1");
    assert_eq!((sent.qos, sent.dup), (2, false));
    assert_eq!(client.feed(&ack(0x40, sent.id)), [], "a PUBACK is not for QoS 2");
    assert_eq!(client.feed(&ack(0x70, sent.id)), [], "a PUBCOMP comes after the PUBREL");
    assert_eq!(client.feed(&ack(0x50, sent.id)), []);
    assert_eq!(client.sent(), [Sent::Pubrel(sent.id, 0)]);
    assert_eq!(client.session.in_flight(), 1);
    assert_eq!(client.feed(&ack(0x70, sent.id)), [Happened::Published(token, Ok(()))]);
    assert_eq!((client.session.in_flight(), client.sent()), (0, vec![]));
}

fn answers_to_unknown_identifiers_change_nothing(version: Version) {
    let mut client = Client::online(version);
    let reason = if is_v5(version) { 0x92 } else { 0 };
    assert_eq!(client.feed(&[ack(0x40, 5), ack(0x70, 5), suback(version, 5, 0)].concat()), []);
    assert_eq!(client.sent(), []);
    assert_eq!(client.feed(&ack(0x50, 5)), []);
    assert_eq!(client.sent(), [Sent::Pubrel(5, reason)], "the broker may forget it");
}

fn a_topic_that_mqtt_forbids_is_refused(version: Version) {
    let mut client = Client::online(version);
    let long = "x".repeat(65_536);
    for topic in ["", "a/+", "#", "a\0b", &long] {
        let refused = client.session.publish(&Message::new(topic, b""));
        assert_eq!(refused, Err(Unsent::Topic), "{:.9}", topic);
    }
    for filter in ["", "a\0b", &long] {
        let refused = client.session.subscribe(filter, SubscribeOptions::default(), None);
        assert_eq!(refused, Err(Unsent::Topic));
        assert_eq!(client.session.unsubscribe(filter), Err(Unsent::Topic));
    }
    assert_eq!(client.sent(), []);
    client.session.publish(&Message::new(&long[1..], b"")).unwrap();
    assert!(matches!(&client.sent()[..], [Sent::Publish(sent)] if sent.topic.len() == 65_535));
}

fn a_packet_above_the_own_limit_is_refused(version: Version) {
    let mut client = Client::new(version);
    client.session.config().max_outgoing = 40;
    client.go_online(false, &[]);
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        let payload = [b'x'; 64];
        let fits = |length: &usize| {
            client.session.publish(&Message::new("a", &payload[..*length]).qos(qos)).is_ok()
        };
        let largest = (0..64).rev().find(fits).unwrap();
        let refused = client.session.publish(&Message::new("a", &payload[..largest + 1]).qos(qos));
        assert_eq!(refused, Err(Unsent::TooLarge { size: 41, limit: 40, own: true }));
        // Each message is answered, so that the window does not refuse the next.
        for sent in client.sent() {
            let Sent::Publish(sent) = sent else { panic!() };
            if qos == AtMostOnce {
                continue;
            }
            client.feed(&ack(if qos == AtLeastOnce { 0x40 } else { 0x50 }, sent.id));
            client.feed(&ack(0x70, sent.id));
        }
        client.sent();
    }
    let filter = "x".repeat(40);
    let refused = client.session.subscribe(&filter, SubscribeOptions::default(), None);
    assert!(matches!(refused, Err(Unsent::TooLarge { limit: 40, own: true, .. })));
}

fn unanswered_messages_are_sent_again_with_dup_to_a_kept_session(version: Version) {
    let mut client = Client::online(version);
    let first = client.queue(AtLeastOnce, b"1");
    client.queue(ExactlyOnce, b"2");
    client.queue(AtLeastOnce, b"3");
    let before = client.sent();
    client.session.connection_lost();
    assert_eq!(client.events(), [], "they are not lost");
    let again = client.go_online(true, &[]);
    assert_eq!(messages(&again), [(&b"1"[..], true), (b"2", true), (b"3", true)]);
    assert_eq!(ids(&again), ids(&before));
    assert_eq!(client.feed(&ack(0x40, ids(&again)[0])), [Happened::Published(first, Ok(()))]);
    client.session.connection_lost();
    assert_eq!(messages(&client.go_online(true, &[])), [(&b"2"[..], true), (b"3", true)]);
}

fn a_message_that_was_not_sent_has_no_dup(version: Version) {
    let mut client = Client::new(version);
    client.session.config().window = 3;
    client.go_online(false, &[]);
    for n in 1..=3 {
        client.queue(AtLeastOnce, &[n]);
    }
    client.sent();
    client.session.config().window = 1;
    client.session.connection_lost();
    let first = client.go_online(false, &[]);
    assert_eq!(messages(&first), [(&[1][..], false)]);
    client.session.connection_lost();
    client.session.config().window = 3;
    let all = client.go_online(true, &[]);
    assert_eq!(messages(&all), [(&[1][..], true), (&[2], false), (&[3], false)]);
}

fn a_pubrel_is_sent_again_to_a_kept_session(version: Version) {
    let mut client = Client::online(version);
    let (token, sent) = client.publish(ExactlyOnce, b"1");
    client.feed(&ack(0x50, sent.id));
    client.sent();
    client.session.connection_lost();
    assert_eq!(client.go_online(true, &[]), [Sent::Pubrel(sent.id, 0)]);
    // The broker had completed it, and has forgotten the identifier.
    let answer = if is_v5(version) { ack_with(0x70, sent.id, 0x92) } else { ack(0x70, sent.id) };
    assert_eq!(client.feed(&answer), [Happened::Published(token, Ok(()))]);
}

fn a_lost_session_gets_the_messages_as_new(version: Version) {
    let mut client = Client::online(version);
    client.queue(AtLeastOnce, b"1");
    client.queue(ExactlyOnce, b"2");
    client.sent();
    client.session.connection_lost();
    let again = client.go_online(false, &[]);
    assert_eq!(messages(&again), [(&b"1"[..], false), (b"2", false)]);
}

fn a_message_at_qos_2_is_sent_anew_if_the_session_is_lost_after_pubrec(version: Version) {
    let mut client = Client::online(version);
    let (token, sent) = client.publish(ExactlyOnce, b"1");
    client.feed(&ack(0x50, sent.id));
    client.sent();
    client.session.connection_lost();
    let again = client.go_online(false, &[]);
    assert_eq!(messages(&again), [(&b"1"[..], false)]);
    let id = ids(&again)[0];
    client.feed(&ack(0x50, id));
    assert_eq!(client.sent(), [Sent::Pubrel(id, 0)]);
    assert_eq!(client.feed(&ack(0x70, id)), [Happened::Published(token, Ok(()))]);
}

fn a_pubrec_that_arrives_twice_is_answered_twice(version: Version) {
    let mut client = Client::online(version);
    let (_, sent) = client.publish(ExactlyOnce, b"1");
    client.feed(&[ack(0x50, sent.id), ack(0x50, sent.id)].concat());
    assert_eq!(client.sent(), [Sent::Pubrel(sent.id, 0), Sent::Pubrel(sent.id, 0)]);
}

fn a_pubrec_for_a_pubrel_that_waits_for_the_window_is_answered(version: Version) {
    let mut client = Client::online(version);
    for n in 1..=3 {
        client.queue(ExactlyOnce, &[n]);
    }
    let sent = ids(&client.sent());
    sent.iter().for_each(|id| assert_eq!(client.feed(&ack(0x50, *id)), []));
    client.sent();
    client.session.connection_lost();
    client.session.config().window = 1;
    assert_eq!(client.go_online(true, &[]), [Sent::Pubrel(sent[0], 0)]);
    client.feed(&ack(0x50, sent[1]));
    assert_eq!(client.sent(), [Sent::Pubrel(sent[1], 0)], "the broker has the message");
    assert_eq!(client.feed(&ack(0x70, sent[0])).len(), 1);
    assert_eq!(client.sent(), [], "the second fills the window");
    assert_eq!(client.feed(&ack(0x70, sent[1])).len(), 1);
    assert_eq!(client.sent(), [Sent::Pubrel(sent[2], 0)]);
    assert_eq!(client.feed(&ack(0x70, sent[2])).len(), 1);
    client.publish(AtLeastOnce, b"4");
}

fn the_window_is_never_exceeded(version: Version) {
    for (window, maximum) in [(3, 65_535), (20, 3)] {
        let mut client = Client::new(version);
        client.session.config().window = window;
        let expected = if is_v5(version) { 3 } else { window };
        let [high, low] = u16::to_be_bytes(maximum);
        client.go_online(false, &[0x21, high, low]);
        let mut count = 0;
        while client.session.has_room(ExactlyOnce) {
            let qos = if count % 2 == 0 { ExactlyOnce } else { AtLeastOnce };
            client.queue(qos, b"x");
            count += 1;
        }
        assert_eq!(count, expected);
        let full = client.session.publish(&Message::new("t", b"").qos(AtLeastOnce));
        assert_eq!(full, Err(Unsent::Full));
        assert!(client.session.has_room(AtMostOnce), "QoS 0 needs no answer");
        let sent = ids(&client.sent());
        assert_eq!(sent.len(), usize::from(expected));
        client.feed(&ack(0x50, sent[0]));
        assert!(!client.session.has_room(AtLeastOnce), "it is under way until its PUBCOMP");
        client.feed(&ack(0x70, sent[0]));
        assert!(client.session.has_room(AtLeastOnce));
    }
}

fn the_messages_of_an_earlier_connection_wait_for_a_smaller_window(version: Version) {
    let mut client = Client::online(version);
    for n in 1..=5 {
        client.queue(AtLeastOnce, &[n]);
    }
    client.sent();
    client.session.connection_lost();
    client.session.config().window = 2;
    let mut sent = client.go_online(true, &[]);
    assert_eq!(messages(&sent), [(&[1][..], true), (&[2], true)]);
    for next in 3..=5 {
        assert!(!client.session.has_room(AtLeastOnce));
        client.feed(&ack(0x40, ids(&sent)[0]));
        sent.remove(0);
        sent.extend(client.sent());
        assert_eq!(messages(&sent), [(&[next - 1][..], true), (&[next], true)]);
    }
}

fn queued_messages_follow_when_output_is_written(version: Version) {
    let mut client = Client::online(version);
    for _ in 1..=3 {
        client.queue(AtLeastOnce, &[b'x'; 100]);
    }
    client.sent();
    client.session.connection_lost();
    client.session.config().output_room = 150;
    client.connect(true, &[]);
    assert!(client.session.output().len() < 300, "the output has no room for three");
    assert_eq!(client.sent().len(), 2);
    assert_eq!(client.sent().len(), 1, "written bytes make room, without an answer");
}

fn packet_identifiers_wrap_and_skip_those_in_use(version: Version) {
    let mut config = SessionConfig::new("node-7");
    config.first_id = 65_533;
    config.window = 4;
    let mut client = Client::with(version, config);
    client.go_online(false, &[]);
    let (_, old) = client.publish(ExactlyOnce, b"");
    assert_eq!(old.id, 65_534);
    client.session.subscribe("t", SubscribeOptions::default(), None).unwrap();
    assert!(matches!(client.sent()[..], [Sent::Subscribe { id: 65_535, .. }]));
    for round in 0..2 {
        for expected in 1..=65_533 {
            let (_, sent) = client.publish(AtLeastOnce, b"");
            assert_eq!(sent.id, expected, "in round {round}, with 65,534 and 65,535 in use");
            client.feed(&ack(0x40, sent.id));
        }
    }
    client.feed(&suback(version, 65_535, 0));
    assert_eq!(client.publish(AtLeastOnce, b"").1.id, 65_535);
}

fn requests_are_answered(version: Version) {
    let v5 = is_v5(version);
    let mut client = Client::online(version);
    assert_eq!(client.session.capabilities().identifiers, v5);
    let mut options = SubscribeOptions::new(AtLeastOnce);
    options.no_local = true;
    options.retain_as_published = true;
    options.retain_handling = RetainHandling::Never;
    let first = client.session.subscribe("a/+", options, Some(300)).unwrap();
    let second = client.session.subscribe("b/#", options, None).unwrap();
    let third = client.session.unsubscribe("c").unwrap();
    let sent = client.sent();
    let flags = if v5 { 0b10_1101 } else { 1 };
    let [
        Sent::Subscribe { id: id_1, filter, options, identifier },
        Sent::Subscribe { id: id_2, identifier: None, .. },
        Sent::Unsubscribe { id: id_3, filter: filter_3 },
    ] = &sent[..]
    else {
        panic!("{sent:?}");
    };
    assert_eq!((&filter[..], *options, *identifier), ("a/+", flags, v5.then_some(300)));
    assert_eq!(filter_3, "c");
    assert_eq!(
        client.feed(&suback(version, *id_2, 0x80)),
        [Happened::Subscribed(second, Err(Reason(0x80)))]
    );
    assert_eq!(client.feed(&unsuback(version, *id_3)), [Happened::Unsubscribed(third)]);
    let granted = [Happened::Subscribed(first, Ok(AtMostOnce))];
    assert_eq!(client.feed(&suback(version, *id_1, 0)), granted);
    assert_eq!(client.feed(&suback(version, *id_1, 0)), [], "it is answered once");
}

fn at_most_64_requests_are_unanswered(version: Version) {
    let mut client = Client::online(version);
    for _ in 0..32 {
        client.session.subscribe("t", SubscribeOptions::default(), None).unwrap();
        client.session.unsubscribe("t").unwrap();
    }
    assert_eq!(client.session.unsubscribe("t"), Err(Unsent::Full));
    let Sent::Subscribe { id, .. } = client.sent()[0] else { panic!() };
    client.feed(&suback(version, id, 0));
    client.session.unsubscribe("t").unwrap();
}

fn a_broken_connection_forgets_the_requests(version: Version) {
    let mut client = Client::online(version);
    client.session.subscribe("t", SubscribeOptions::default(), None).unwrap();
    let Sent::Subscribe { id, .. } = client.sent()[0] else { panic!() };
    client.session.connection_lost();
    assert_eq!(client.go_online(true, &[]), []);
    assert_eq!(client.feed(&suback(version, id, 0)), []);
}

fn a_received_message_is_acknowledged_when_the_program_says_so(version: Version) {
    let mut client = Client::online(version);
    assert!(matches!(
        client.receive(AtMostOnce, 0, b"0"),
        Happened::Message(Arrived { receipt: None, qos: AtMostOnce, .. })
    ));
    let one = client.receive(AtLeastOnce, 7, b"1");
    let two = client.receive(ExactlyOnce, 8, b"2");
    assert_eq!(client.sent(), []);
    assert_eq!(client.acknowledge(&two), [Sent::Pubrec(8, 0)]);
    assert_eq!(client.acknowledge(&two), [], "a second time has no effect");
    assert_eq!(client.acknowledge(&one), [Sent::Puback(7, 0)]);
    assert_eq!(client.feed(&ack(0x62, 8)), []);
    assert_eq!(client.sent(), [Sent::Pubcomp(8, 0)]);
    assert_eq!(client.receive(ExactlyOnce, 8, b"2").payload(), b"2", "the identifier is free");
}

fn acknowledgements_have_the_order_of_the_messages_at_each_qos(version: Version) {
    let mut client = Client::online(version);
    let at = [AtLeastOnce, ExactlyOnce, AtLeastOnce, ExactlyOnce, AtLeastOnce];
    let message: Vec<_> =
        (1..).zip(at).map(|(id, qos)| client.receive(qos, id, &[id as u8])).collect();
    assert_eq!(client.acknowledge(&message[4]), []);
    assert_eq!(client.acknowledge(&message[3]), []);
    assert_eq!(client.acknowledge(&message[0]), [Sent::Puback(1, 0)]);
    assert_eq!(client.acknowledge(&message[1]), [Sent::Pubrec(2, 0), Sent::Pubrec(4, 0)]);
    assert_eq!(client.acknowledge(&message[2]), [Sent::Puback(3, 0), Sent::Puback(5, 0)]);
}

fn a_message_that_is_sent_again_is_no_second_event(version: Version) {
    for (qos, first, expected) in
        [(AtLeastOnce, 0x3a, Sent::Puback(7, 0)), (ExactlyOnce, 0x3c, Sent::Pubrec(7, 0))]
    {
        let mut client = Client::online(version);
        let message = client.receive(qos, 7, b"1");
        client.session.connection_lost();
        client.go_online(true, &[]);
        assert_eq!(client.feed(&publish(version, first, "t", 7, b"1")), []);
        assert_eq!(client.sent(), [], "the program has not stored it");
        assert_eq!(client.acknowledge(&message), [expected]);
    }
}

fn a_message_at_qos_2_is_no_second_event_after_its_pubrec(version: Version) {
    let mut client = Client::online(version);
    let message = client.receive(ExactlyOnce, 7, b"1");
    client.session.acknowledge(message.receipt());
    client.session.connection_lost(); // The PUBREC is not written.
    client.go_online(true, &[]);
    assert_eq!(client.feed(&publish(version, 0x3c, "t", 7, b"1")), []);
    assert_eq!(client.sent(), [Sent::Pubrec(7, 0)]);
    assert_eq!(client.feed(&ack(0x62, 7)), []);
    client.session.connection_lost(); // The PUBCOMP is not written.
    client.go_online(true, &[]);
    let reason = if is_v5(version) { 0x92 } else { 0 };
    client.feed(&ack(0x62, 7));
    assert_eq!(client.sent(), [Sent::Pubcomp(7, reason)]);
}

fn a_message_that_was_stored_during_an_outage_is_acknowledged_when_it_is_sent_again(
    version: Version,
) {
    let mut client = Client::online(version);
    let message = client.receive(AtLeastOnce, 7, b"1");
    client.session.connection_lost();
    assert_eq!(client.acknowledge(&message), []);
    assert_eq!(client.go_online(true, &[]), [], "the broker does not expect it yet");
    assert_eq!(client.feed(&publish(version, 0x3a, "t", 7, b"1")), []);
    assert_eq!(client.sent(), [Sent::Puback(7, 0)]);
}

fn redelivered_messages_are_acknowledged_in_the_order_of_this_connection(version: Version) {
    let mut client = Client::online(version);
    let [one, two, three] = [1, 2, 3].map(|id| client.receive(AtLeastOnce, id, &[id as u8]));
    client.session.connection_lost();
    client.go_online(true, &[]);
    client.acknowledge(&two);
    client.acknowledge(&three);
    client.feed(&publish(version, 0x3a, "t", 2, &[2]));
    assert_eq!(client.sent(), [Sent::Puback(2, 0)], "the first is not of this connection");
    client.feed(&publish(version, 0x3a, "t", 1, &[1]));
    client.feed(&publish(version, 0x3a, "t", 3, &[3]));
    assert_eq!(client.sent(), []);
    assert_eq!(client.acknowledge(&one), [Sent::Puback(1, 0), Sent::Puback(3, 0)]);
}

fn another_message_with_the_identifier_of_an_unacknowledged_one_is_new(version: Version) {
    let mut client = Client::online(version);
    let old = client.receive(AtLeastOnce, 7, b"1");
    client.session.connection_lost();
    client.go_online(true, &[]);
    // The first one has expired at the broker.
    let new = client.receive(AtLeastOnce, 7, b"2");
    assert_eq!(client.acknowledge(&old), []);
    assert_eq!(client.acknowledge(&new), [Sent::Puback(7, 0)]);
    // Also if the QoS is another.
    let old = client.receive(AtLeastOnce, 7, b"3");
    client.session.connection_lost();
    client.go_online(true, &[]);
    let new = client.receive(ExactlyOnce, 7, b"3");
    assert_eq!(client.acknowledge(&old), []);
    assert_eq!(client.acknowledge(&new), [Sent::Pubrec(7, 0)]);
}

fn the_same_message_after_its_acknowledgement_is_new(version: Version) {
    let mut client = Client::online(version);
    for _ in 0..3 {
        let message = client.receive(AtLeastOnce, 7, b"on");
        assert_eq!(client.acknowledge(&message), [Sent::Puback(7, 0)]);
    }
}

fn a_message_of_a_new_session_is_new_whatever_its_identifier(version: Version) {
    for qos in [AtLeastOnce, ExactlyOnce] {
        let mut client = Client::online(version);
        let old = client.receive(qos, 7, b"1");
        let stored = client.receive(qos, 8, b"1");
        client.acknowledge(&stored);
        client.session.connection_lost();
        client.go_online(false, &[]);
        let new = client.receive(qos, 7, b"1");
        client.receive(qos, 8, b"1");
        assert_eq!(client.acknowledge(&old), [], "its session is lost");
        assert_eq!(client.acknowledge(&new).len(), 1);
    }
}

fn a_pubrel_for_an_unknown_identifier_is_answered(version: Version) {
    let mut client = Client::online(version);
    let reason = if is_v5(version) { 0x92 } else { 0 };
    assert_eq!(client.feed(&ack(0x62, 9)), []);
    assert_eq!(client.sent(), [Sent::Pubcomp(9, reason)]);
}

fn small(version: Version) -> Client {
    let mut client = Client::new(version);
    client.session.config().max_incoming = 100;
    client.go_online(false, &[]);
    client
}

fn a_message_above_the_limit_is_read_past_and_acknowledged(version: Version) {
    let mut client = small(version);
    let long_topic = "long/".repeat(100);
    for (first, expected) in
        [(0x30, None), (0x32, Some(Sent::Puback(0x0102, 0))), (0x34, Some(Sent::Pubrec(0x0102, 0)))]
    {
        for topic in ["t", &long_topic] {
            let bytes = publish(version, first, topic, 0x0102, &[0; 20_000]);
            let happened = client.feed(&[bytes, publish(version, 0x30, "t", 0, b"next")].concat());
            let [Happened::Oversized { topic: kept, size, receipt }, next] = &happened[..] else {
                panic!("{happened:?}");
            };
            assert_eq!(kept, &topic[..topic.len().min(256)]);
            let header = 2 + topic.len() + if first == 0x30 { 0 } else { 2 };
            assert_eq!(*size, header + usize::from(is_v5(version)) + 20_000);
            assert_eq!(next.payload(), b"next");
            assert_eq!(receipt.is_some(), expected.is_some());
            if let Some(expected) = &expected {
                assert_eq!(client.acknowledge(&happened[0]), std::slice::from_ref(expected));
                client.feed(&ack(0x62, 0x0102));
                client.sent();
            }
        }
    }
    assert!(client.session.input().len() <= 100);
}

fn a_message_above_the_limit_that_is_sent_again_is_no_second_event(version: Version) {
    let mut client = small(version);
    let first = client.feed(&publish(version, 0x34, "t", 7, &[0; 200])).remove(0);
    client.session.connection_lost();
    client.go_online(true, &[]);
    assert_eq!(client.feed(&publish(version, 0x3c, "t", 7, &[0; 200])), []);
    assert_eq!(client.acknowledge(&first), [Sent::Pubrec(7, 0)]);
}

fn a_message_above_the_limit_without_an_identifier_is_malformed(version: Version) {
    let zero = publish(version, 0x32, "t", 0, &[0; 200]);
    let qos_3 = publish(version, 0x36, "t", 1, &[0; 200]);
    // The topic takes all of the packet, or all but one byte of the identifier.
    let [whole, most] = [(0x30, 0xffff), (0x32, 199)].map(|(first, length): (_, u16)| {
        packet(first, &[&length.to_be_bytes()[..], &[b'x'; 200]].concat())
    });
    for bytes in [zero, qos_3, whole, most] {
        let error = small(version).feed_fatal(&bytes);
        assert!(matches!(error, Error::Malformed(_)), "{error}");
    }
}

fn a_packet_above_the_limit_that_is_no_message_is_an_error(version: Version) {
    let mut client = small(version);
    // Its header is enough: the packet is not waited for.
    assert!(matches!(client.feed_fatal(&[0x90, 0xff, 0x7f]), Error::Malformed(_)));
}

fn a_message_of_exactly_the_limit_is_read(version: Version) {
    let overhead = publish(version, 0x30, "t", 0, b"").len();
    for (length, read) in [(100 - overhead, true), (101 - overhead, false)] {
        let mut client = small(version);
        let happened = client.feed(&publish(version, 0x30, "t", 0, &vec![b'x'; length]));
        assert_eq!(matches!(happened[..], [Happened::Message(_)]), read, "{happened:?}");
    }
}

fn a_connection_that_breaks_within_a_packet_leaves_no_rest(version: Version) {
    for bytes in
        [publish(version, 0x30, "t", 0, b"some bytes"), publish(version, 0x32, "t", 7, &[0; 500])]
    {
        for end in 1..bytes.len() {
            let mut client = small(version);
            assert_eq!(client.feed(&bytes[..end]), []);
            client.queue(AtLeastOnce, b"x");
            let output = client.session.output().len();
            client.session.written(end.min(output - 1), client.now);
            client.session.connection_lost();
            let again = client.go_online(true, &[]);
            assert_eq!(messages(&again), [(&b"x"[..], true)]);
            assert_eq!(client.receive(AtMostOnce, 0, b"next").payload(), b"next");
        }
    }
}

/// The session's own loop with the time: the clock advances to the deadline, and the session sends.
fn at_deadline(client: &mut Client) -> Result<Vec<Sent>, Error> {
    client.now = client.session.deadline().expect("a deadline");
    let early = client.now - 1;
    client.session.handle_time(early).expect("the deadline is not reached");
    client.session.handle_time(client.now)?;
    Ok(client.sent())
}

fn an_idle_connection_is_tested_and_dead_an_interval_later(version: Version) {
    let mut client = Client::online(version);
    for _ in 0..3 {
        let before = client.now;
        assert_eq!(at_deadline(&mut client), Ok(vec![Sent::Ping]));
        assert_eq!(client.now, before + 30_000);
        client.now += 5_000;
        client.feed(&PONG);
        client.now -= 5_000;
    }
    at_deadline(&mut client).unwrap();
    let tested = client.now;
    assert_eq!(at_deadline(&mut client), Err(Error::Silent));
    assert_eq!(client.now, tested + 30_000);
}

fn a_connection_that_only_sends_is_tested(version: Version) {
    let mut client = Client::online(version);
    let start = client.now;
    let mut pings = Vec::new();
    let mut error = None;
    while error.is_none() && client.now < start + 200_000 {
        client.now += 1_000;
        client.queue(AtMostOnce, b"x");
        error = client.session.handle_time(client.now).err();
        pings.extend(client.sent().contains(&Sent::Ping).then_some(client.now - start));
    }
    assert_eq!((error, pings), (Some(Error::Silent), vec![30_000]));
    assert_eq!(client.now, start + 60_000);
}

fn a_connection_that_only_receives_is_tested(version: Version) {
    let mut client = Client::online(version);
    let start = client.now;
    let mut pings = Vec::new();
    while client.now < start + 100_000 {
        client.now += 1_000;
        client.receive(AtMostOnce, 0, b"x");
        client.session.handle_time(client.now).unwrap();
        if client.sent() == [Sent::Ping] {
            pings.push(client.now - start);
            client.feed(&PONG);
        }
    }
    assert_eq!(pings, [30_000, 60_000, 90_000], "the broker expects a packet in each interval");
}

fn a_blocked_output_ends_the_connection(version: Version) {
    let mut client = Client::online(version);
    client.now += 10_000;
    client.queue(AtLeastOnce, b"x");
    client.session.handle_time(client.now).unwrap();
    let blocked = client.now;
    let error = loop {
        client.now = client.session.deadline().unwrap();
        if let Err(error) = client.session.handle_time(client.now) {
            break error;
        }
    };
    assert_eq!((error, client.now), (Error::Blocked, blocked + 30_000));
}

fn a_blocked_test_ends_the_connection_without_another_call(version: Version) {
    let mut client = Client::online(version);
    client.now = client.session.deadline().unwrap();
    client.session.handle_time(client.now).unwrap();
    // The stream takes nothing, so nothing happens before the deadline.
    assert_eq!(client.session.deadline(), Some(client.now + 30_000));
    assert_eq!(client.session.handle_time(client.now + 30_000), Err(Error::Blocked));
}

fn a_slow_output_that_makes_progress_is_alive(version: Version) {
    let mut client = Client::online(version);
    client.queue(AtLeastOnce, &[b'x'; 1_000]);
    while client.session.output().len() > 100 {
        client.now += 20_000;
        client.session.handle_time(client.now).unwrap();
        client.session.written(10, client.now);
        client.session.handle_time(client.now).unwrap();
    }
    client.now += 30_000;
    assert_eq!(client.session.handle_time(client.now), Err(Error::Blocked), "it has stopped");
}

fn a_long_message_before_the_pingresp_is_no_silence_and_the_client_is_not_silent(version: Version) {
    let mut client = Client::online(version);
    let bytes = publish(version, 0x30, "t", 0, &[b'x'; 10_000]);
    let start = client.now;
    let mut pings = Vec::new();
    for piece in bytes.chunks(100) {
        client.now += 1_000;
        client.feed(piece);
        client.session.handle_time(client.now).unwrap();
        pings.extend(client.sent().iter().map(|_| client.now - start));
    }
    // A broker ends the connection of a client that is silent for one and a half intervals.
    assert_eq!(pings, [30_000, 60_000, 90_000]);
    client.feed(&PONG);
    client.feed(&PONG);
    client.feed(&PONG);
    assert_eq!(at_deadline(&mut client), Ok(vec![Sent::Ping]));
    at_deadline(&mut client).unwrap_err();
}

fn the_end_of_time_is_no_panic(version: Version) {
    let mut client = Client::new(version);
    client.now = u64::MAX - 1;
    client.go_online(false, &[]);
    assert_eq!(client.session.deadline(), Some(u64::MAX));
    client.session.handle_time(u64::MAX).unwrap();
    assert_eq!(client.sent(), [Sent::Ping]);
    client.session.handle_time(u64::MAX).unwrap_err();
}

fn bytes_of_a_broken_connection_are_gone(version: Version) {
    let mut client = Client::online(version);
    client.feed(&publish(version, 0x30, "t", 0, b"some bytes")[..9]);
    assert!(client.session.has_input());
    client.session.connection_lost();
    assert!(!client.session.has_input());
}

fn a_keep_alive_of_zero_never_tests(version: Version) {
    let mut client = Client::new(version);
    client.session.config().keep_alive = 0;
    client.go_online(false, &[]);
    assert_eq!(client.session.deadline(), None);
    client.queue(AtLeastOnce, b"x");
    client.session.handle_time(1_000_000_000).unwrap();
    assert_eq!(client.sent().len(), 1);
    client.session.handle_time(2_000_000_000).unwrap();
    assert_eq!((client.sent(), client.session.deadline()), (vec![], None));
}

fn a_cautious_session_has_one_thing_under_way(version: Version) {
    let mut client = Client::online(version);
    client.session.set_cautious(true);
    let busy = |client: &mut Client| {
        for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
            assert!(!client.session.has_room(qos));
        }
        assert_eq!(client.session.unsubscribe("t"), Err(Unsent::Full));
    };
    let (token, sent) = client.publish(AtLeastOnce, b"1");
    assert_eq!(client.session.under_way(), Some(token));
    busy(&mut client);
    client.feed(&ack(0x40, sent.id));
    assert_eq!(client.session.under_way(), None);

    let (token, sent) = client.publish(ExactlyOnce, b"2");
    client.feed(&ack(0x50, sent.id));
    client.sent();
    busy(&mut client);
    assert_eq!(client.session.under_way(), Some(token));
    client.feed(&ack(0x70, sent.id));

    client.session.subscribe("t", SubscribeOptions::default(), None).unwrap();
    let Sent::Subscribe { id, .. } = client.sent()[0] else { panic!() };
    busy(&mut client);
    client.feed(&suback(version, id, 0));
    assert!(client.session.has_room(AtMostOnce));
    client.session.set_cautious(false);
    client.queue(AtLeastOnce, b"3");
    client.queue(AtLeastOnce, b"4");
    assert_eq!(client.sent().len(), 2);
}

fn a_cautious_session_proves_a_message_at_qos_0_by_a_ping(version: Version) {
    let mut client = Client::online(version);
    client.session.set_cautious(true);
    let token = client.queue(AtMostOnce, b"1");
    assert!(matches!(client.sent()[..], [Sent::Publish(_), Sent::Ping]));
    assert_eq!((client.events(), client.session.under_way()), (vec![], Some(token)));
    assert_eq!(client.feed(&PONG), [Happened::Published(token, Ok(()))]);
    assert_eq!(client.session.under_way(), None);
    let token = client.queue(AtMostOnce, b"2");
    client.sent();
    client.session.connection_lost();
    assert_eq!(client.events(), [Happened::Published(token, Err(Lost::Disconnected))]);
    assert_eq!(client.session.under_way(), None);
    client.go_online(true, &[]);
    assert!(client.session.has_room(AtMostOnce));
}

fn the_answer_to_an_earlier_ping_proves_nothing(version: Version) {
    let mut client = Client::online(version);
    client.session.set_cautious(true);
    assert_eq!(at_deadline(&mut client), Ok(vec![Sent::Ping]));
    let token = client.queue(AtMostOnce, b"1");
    client.sent();
    assert_eq!(client.feed(&PONG), [], "the broker has not read the message");
    assert_eq!(client.feed(&PONG), [Happened::Published(token, Ok(()))]);
    // An answered one counts no longer.
    assert_eq!(at_deadline(&mut client), Ok(vec![Sent::Ping]));
    client.feed(&PONG);
    let token = client.queue(AtMostOnce, b"2");
    client.sent();
    assert_eq!(client.feed(&PONG), [Happened::Published(token, Ok(()))]);
    // A new connection owes no answers.
    at_deadline(&mut client).unwrap();
    client.session.connection_lost();
    client.go_online(true, &[]);
    let token = client.queue(AtMostOnce, b"3");
    assert_eq!(client.feed(&PONG), [Happened::Published(token, Ok(()))]);
}

fn a_cautious_session_sends_the_messages_of_an_outage_one_by_one(version: Version) {
    let mut client = Client::online(version);
    let tokens = [1, 2, 3].map(|n| client.queue(ExactlyOnce, &[n]));
    let sent = ids(&client.sent());
    client.feed(&ack(0x50, sent[0]));
    client.sent();
    client.session.connection_lost();
    client.session.set_cautious(true);
    assert_eq!(client.go_online(true, &[]), [Sent::Pubrel(sent[0], 0)]);
    assert_eq!(client.session.under_way(), Some(tokens[0]));
    client.feed(&ack(0x70, sent[0]));
    assert_eq!(messages(&client.sent()), [(&[2][..], true)]);
    assert_eq!(client.session.under_way(), Some(tokens[1]));
    assert!(!client.session.has_room(AtMostOnce), "the messages that wait come first");
    client.feed(&ack(0x50, sent[1]));
    client.sent();
    client.feed(&ack(0x70, sent[1]));
    assert_eq!(messages(&client.sent()), [(&[3][..], true)]);
}

fn a_cautious_session_continues_when_its_output_is_written(version: Version) {
    let mut client = Client::online(version);
    client.queue(AtLeastOnce, b"1");
    client.queue(AtLeastOnce, b"2");
    let sent = ids(&client.sent());
    client.session.connection_lost();
    client.session.config().window = 1;
    client.go_online(true, &[]);
    client.queue(AtMostOnce, b"0");
    client.session.set_cautious(true);
    client.feed(&ack(0x40, sent[0]));
    assert_eq!(messages(&client.sent()), [(&b"0"[..], false)]);
    assert_eq!(messages(&client.sent()), [(&b"2"[..], true)], "nothing is under way");
}

fn a_forgotten_message_is_not_sent_again(version: Version) {
    let mut client = Client::online(version);
    let [one, two, three] = [1, 2, 3].map(|n| client.queue(AtLeastOnce, &[n]));
    client.sent();
    client.session.connection_lost();
    assert!(client.session.forget(two));
    assert!(!client.session.forget(two));
    client.session.set_cautious(true);
    assert_eq!(messages(&client.go_online(true, &[])), [(&[1][..], true)]);
    assert!(client.session.forget(one));
    let sent = client.sent();
    assert_eq!(messages(&sent), [(&[3][..], true)], "the next one follows");
    assert_eq!(client.events(), []);
    assert_eq!(client.feed(&ack(0x40, ids(&sent)[0])), [Happened::Published(three, Ok(()))]);
    assert_eq!(client.session.in_flight(), 0);
}

fn a_forgotten_message_that_waits_makes_no_room(version: Version) {
    let mut client = Client::online(version);
    let [one, two, three] = [1, 2, 3].map(|n| client.queue(AtLeastOnce, &[n]));
    client.sent();
    client.session.connection_lost();
    client.session.config().window = 1;
    assert_eq!(messages(&client.go_online(true, &[])), [(&[1][..], true)]);
    assert!(client.session.forget(two));
    assert_eq!(client.sent(), [], "the first fills the window");
    assert!(client.session.forget(one));
    let sent = client.sent();
    assert_eq!(messages(&sent), [(&[3][..], true)]);
    assert_eq!(client.feed(&ack(0x40, ids(&sent)[0])), [Happened::Published(three, Ok(()))]);
}

fn a_disconnect_is_the_last_packet(version: Version) {
    for with_will in [false, true] {
        let mut client = Client::new(version);
        client.session.config().window = 3;
        client.go_online(false, &[]);
        let one = client.queue(AtLeastOnce, b"1");
        client.queue(ExactlyOnce, b"2");
        client.queue(ExactlyOnce, b"3");
        let sent = ids(&client.sent());
        client.session.connection_lost();
        client.session.config().window = 2;
        client.go_online(true, &[]);
        let stored = client.receive(ExactlyOnce, 7, b"7");
        client.acknowledge(&stored);
        let zero = client.queue(AtMostOnce, b"0");
        client.session.disconnect(with_will);
        client.session.disconnect(with_will);
        assert!(!client.session.is_connected());
        let expected = Sent::Disconnect(if with_will && is_v5(version) { 4 } else { 0 });
        let output = client.sent();
        assert_eq!(output.len(), 2);
        assert_eq!(output[1], expected);
        // Answers still count, and have no answers.
        let answers = [
            ack(0x40, sent[0]),
            ack(0x50, sent[1]),
            ack(0x50, 999),
            ack(0x62, 7),
            publish(version, 0x3c, "t", 7, b"7"),
            publish(version, 0x3a, "t", 8, b"8"),
        ];
        let happened = client.feed(&answers.concat());
        let completed = [Happened::Published(zero, Ok(())), Happened::Published(one, Ok(()))];
        assert_eq!(happened[..2], completed);
        client.session.set_cautious(true);
        client.session.set_cautious(false);
        client.session.handle_time(client.now + 1_000_000).unwrap();
        assert_eq!(client.session.deadline(), None);
        assert_eq!(client.sent(), [], "nothing follows a DISCONNECT");
        client.session.connection_lost();
        // The missing answer is sent now.
        client.session.config().window = 3;
        let again = client.go_online(true, &[]);
        assert_eq!(again[0], Sent::Pubrel(sent[1], 0));
        assert_eq!(messages(&again[1..]), [(&b"3"[..], true)]);
        client.feed(&ack(0x62, 7));
        assert_eq!(client.sent(), [Sent::Pubcomp(7, 0)]);
    }
}

fn a_message_that_is_acknowledged_after_the_disconnect_waits_for_the_next_connection(
    version: Version,
) {
    let mut client = Client::online(version);
    let message = client.receive(AtLeastOnce, 7, b"1");
    client.session.disconnect(false);
    client.sent();
    assert_eq!(client.acknowledge(&message), []);
    assert_eq!(client.feed(&publish(version, 0x3a, "t", 7, b"1")), []);
    assert_eq!(client.sent(), []);
    client.session.connection_lost();
    client.go_online(true, &[]);
    assert_eq!(client.feed(&publish(version, 0x3a, "t", 7, b"1")), []);
    assert_eq!(client.sent(), [Sent::Puback(7, 0)]);
}

fn a_disconnect_without_a_connection_sends_nothing(version: Version) {
    let mut client = Client::new(version);
    client.session.disconnect(true);
    assert_eq!(client.sent(), []);
    client.session.connect(0);
    client.session.disconnect(true);
    assert!(matches!(client.sent()[..], [Sent::Connect(_)]), "it is not accepted yet");
    client.feed(&connack(version, false, 0, &[]));
    assert!(client.session.is_connected());
}

fn a_client_that_only_answers_does_not_read_without_bound(version: Version) {
    let mut client = Client::new(version);
    client.session.config().output_room = 2_000;
    client.session.config().max_incoming = 1_000;
    client.go_online(false, &[]);
    let mut rounds = 0;
    while client.session.wants_input() {
        // Nothing is written.
        client.feed(&ack(0x62, 9));
        rounds += 1;
        assert!(rounds < 2_000, "the output grows without end");
    }
    assert!(client.session.output().len() <= 4_000 + 1_000);
    assert!(!client.session.has_room(AtMostOnce));
    client.sent();
    assert!(client.session.wants_input() && client.session.has_room(AtMostOnce));
}

fn malformed_packets_end_the_connection(version: Version) {
    let mut cases: Vec<Vec<u8>> = vec![
        vec![0x30, 0x80, 0x80, 0x80, 0x80],    // a length of five bytes
        publish(version, 0x36, "t", 1, b""),   // QoS 3
        publish(version, 0x30, "", 0, b""),    // no topic
        publish(version, 0x30, "a/+", 0, b""), // a wildcard
        publish(version, 0x30, "a\0", 0, b""), // a NUL
        publish(version, 0x32, "t", 0, b""),   // the identifier 0
        packet(0x30, &[0, 9, b't']),           // a topic above its packet
        packet(0x30, &[0, 1, 0xff, 0]),        // a topic that is not UTF-8
        ack(0x40, 0),                          // the identifier 0
        packet(0x40, &[1]),                    // no identifier
        ack(0x41, 1),                          // flags
        ack(0x60, 1),                          // PUBREL without its flag
        packet(0x90, &[0, 1]),                 // no code
        packet(0xd1, &[]),                     // flags
    ];
    if is_v5(version) {
        let property =
            |bytes: &[u8]| packet(0x30, &[&[0, 1, b't', bytes.len() as u8][..], bytes].concat());
        cases.push(property(&[0x23, 0, 1])); // a topic alias, and none is allowed
        cases.push(property(&[0x7e])); // unknown
        cases.push(property(&[0x02, 0, 0])); // cut off
        cases.push(packet(0x30, &[0, 1, b't', 9])); // a length above the packet
    }
    for bytes in cases {
        let mut client = Client::online(version);
        let error = client.feed_fatal(&bytes);
        assert!(matches!(error, Error::Malformed(_)), "{bytes:x?}: {error}");
        client.session.connection_lost();
        client.go_online(true, &[]);
        assert!(client.session.is_connected());
    }
}

fn packets_that_no_broker_sends_end_the_connection(version: Version) {
    for first in [0x00, 0x10, 0x82, 0xa2, 0xc0, 0xf0] {
        let error = Client::online(version).feed_fatal(&packet(first, &[0, 1, 0, 0, 0]));
        assert!(matches!(error, Error::Malformed(_)), "{first:#x}: {error}");
    }
    if !is_v5(version) {
        let error = Client::online(version).feed_fatal(&[0xe0, 0]);
        assert!(matches!(error, Error::Malformed(_)), "{error}");
    }
}

fn v5_with(properties: &[u8]) -> Client {
    let mut client = Client::new(Version::V5);
    client.go_online(false, properties);
    client
}

#[test]
fn a_broker_states_what_it_can_do() {
    let client = v5_with(&[
        0x24, 1, 0x25, 0, 0x28, 0, 0x29, 0, 0x2a, 0, 0x27, 0, 0, 1, 0, 0x21, 0, 5, 0x13, 0, 9,
        0x22, 0, 3, 0x11, 0, 0, 0, 8, 0x12, 0, 3, b'a', b'-', b'1', 0x1f, 0, 1, b'r', 0x26, 0, 1,
        b'k', 0, 1, b'v',
    ]);
    let can = client.session.capabilities();
    assert_eq!((can.maximum_qos, can.retain, can.wildcards), (AtLeastOnce, false, false));
    assert_eq!((can.identifiers, can.shared), (false, false));
    assert_eq!((can.maximum_packet, can.receive_maximum), (256, 5));
    assert_eq!((can.keep_alive, can.topic_aliases), (Some(9), 3));
    assert_eq!(can.session_expiry, Some(8));
    assert_eq!(can.assigned_client_id.as_deref(), Some("a-1"));
}

/// The reason alone often does not say what to do.
#[test]
fn a_refusal_has_the_brokers_words_or_the_server_that_it_refers_to() {
    let server = &b"\x1c\0\x06b:1883"[..];
    let both = [server, b"\x1f\0\x04busy"].concat();
    for (properties, words) in [(server, "b:1883"), (&both, "busy")] {
        let mut client = Client::new(Version::V5);
        client.session.connect(0);
        let error = client.feed_fatal(&connack(Version::V5, false, 0x9c, properties));
        assert_eq!(
            error.to_string(),
            format!(
                "the broker refused the connection: use another server ({words}); use the broker's new address"
            )
        );
        let mut client = Client::online(Version::V5);
        let body = [&[0x9d, properties.len() as u8][..], properties].concat();
        let error = client.feed_fatal(&packet(0xe0, &body));
        let expected = format!("the broker ended the connection: server moved ({words})");
        assert_eq!(error.to_string(), expected);
    }
    // Without properties, or with some that cannot be decoded.
    for rest in [&[][..], &[3, 0x1f, 0, 9]] {
        let mut client = Client::new(Version::V5);
        client.session.connect(0);
        let error = client.feed_fatal(&packet(0x20, &[&[0, 0x87], rest].concat()));
        assert!(matches!(&error, Error::Refused(Reason(0x87), text) if text.is_empty()), "{error}");
    }
}

/// No subscription fits into a packet of no bytes, nor could the client say why.
#[test]
fn a_maximum_packet_size_of_0_is_an_error() {
    let mut client = Client::new(Version::V5);
    client.session.connect(0);
    let error = client.feed_fatal(&connack(Version::V5, false, 0, &[0x27, 0, 0, 0, 0]));
    assert_eq!(error, Error::Malformed(Malformed::MaximumPacket));
}

#[test]
fn what_the_broker_cannot_do_is_not_sent() {
    let mut client = v5_with(&[
        0x24, 1, 0x25, 0, 0x28, 0, 0x29, 0, 0x2a, 0, 0x27, 0, 0, 0, 40, // the largest packet
    ]);
    let session = &mut client.session;
    let message = Message::new("t", b"x");
    assert_eq!(session.publish(&message.qos(ExactlyOnce)), Err(Unsent::Qos));
    assert_eq!(session.publish(&message.retain(true)), Err(Unsent::Retain));
    let large = [0; 40];
    let too_large = Unsent::TooLarge { size: 46, limit: 40, own: false };
    assert_eq!(session.publish(&Message::new("t", &large)), Err(too_large));
    let options = SubscribeOptions::new(ExactlyOnce);
    assert_eq!(session.subscribe("a/+", options, None), Err(Unsent::Wildcard));
    assert_eq!(session.subscribe("#", options, None), Err(Unsent::Wildcard));
    assert_eq!(session.subscribe("$share/g/a", options, None), Err(Unsent::Shared));
    let long = "x".repeat(40);
    let too_large = Err(Unsent::TooLarge { size: 48, limit: 40, own: false });
    assert_eq!(session.subscribe(&long, options, None), too_large);
    assert!(matches!(session.unsubscribe(&long), Err(Unsent::TooLarge { limit: 40, .. })));
    assert_eq!(client.sent(), []);
    client.session.subscribe("a", options, Some(3)).unwrap();
    assert!(matches!(client.sent()[..], [Sent::Subscribe { identifier: None, .. }]));
    client.session.publish(&message.qos(AtLeastOnce)).unwrap();
    let mut largest = client.session.publish(&Message::new("t", &large[..34]));
    assert!(largest.is_ok());
    largest = client.session.publish(&Message::new("t", &large[..35]));
    assert!(largest.is_err());
}

#[test]
fn a_broker_without_qos_1_gets_only_qos_0() {
    let mut client = v5_with(&[0x24, 0]);
    let refused = client.session.publish(&Message::new("t", b"").qos(AtLeastOnce));
    assert_eq!(refused, Err(Unsent::Qos));
    client.publish(AtMostOnce, b"");
}

#[test]
fn the_brokers_keep_alive_replaces_the_own() {
    let mut client = v5_with(&[0x13, 0, 7]);
    assert_eq!(client.session.deadline(), Some(client.now + 7_000));
    assert_eq!(at_deadline(&mut client), Ok(vec![Sent::Ping]));
    let mut client = v5_with(&[0x13, 0, 0]);
    assert_eq!(client.session.deadline(), None);
    client.session.handle_time(client.now + 1_000_000).unwrap();
    assert_eq!(client.sent(), []);
    // The next broker has none of its own.
    client.session.connection_lost();
    client.go_online(true, &[]);
    assert_eq!(client.session.deadline(), Some(client.now + 30_000));
}

#[test]
fn a_broker_with_smaller_limits_does_not_get_what_was_kept_for_another() {
    let mut client = Client::online(Version::V5);
    let [retained, two, large, small] = [
        Message::new("t", b"1").qos(AtLeastOnce).retain(true),
        Message::new("t", b"2").qos(ExactlyOnce),
        Message::new("t", &[b'3'; 40]).qos(AtLeastOnce),
        Message::new("t", b"4").qos(AtLeastOnce),
    ]
    .map(|message| client.session.publish(&message).unwrap());
    client.sent();
    client.session.connection_lost();
    let happened = client.connect(false, &[0x24, 1, 0x25, 0, 0x27, 0, 0, 0, 40]);
    let mut lost = Vec::new();
    for event in happened.into_iter().chain(client.events()) {
        if let Happened::Published(token, Err(Lost::Unsent(unsent))) = event {
            lost.push((token, unsent));
        }
    }
    let too_large = Unsent::TooLarge { size: 48, limit: 40, own: false };
    assert_eq!(lost, [(retained, Unsent::Retain), (two, Unsent::Qos), (large, too_large)]);
    let sent = client.sent();
    assert_eq!(messages(&sent), [(&b"4"[..], false)]);
    assert_eq!(client.feed(&ack(0x40, ids(&sent)[0])), [Happened::Published(small, Ok(()))]);
}

#[test]
fn a_message_that_the_broker_has_is_completed_whatever_its_new_limits() {
    let mut client = Client::online(Version::V5);
    let (token, sent) = client.publish(ExactlyOnce, b"1");
    client.feed(&ack(0x50, sent.id));
    client.sent();
    client.session.connection_lost();
    assert_eq!(client.go_online(true, &[0x24, 0]), [Sent::Pubrel(sent.id, 0)]);
    assert_eq!(client.feed(&ack(0x70, sent.id)), [Happened::Published(token, Ok(()))]);
}

#[test]
fn a_reason_below_0x80_is_success_and_others_are_refusals() {
    for (code, refused) in [(0x00, false), (0x10, false), (0x87, true), (0x95, true), (0xf7, true)]
    {
        let outcome = if refused { Err(Lost::Refused(Reason(code))) } else { Ok(()) };
        let mut client = Client::online(Version::V5);
        let (token, sent) = client.publish(AtLeastOnce, b"1");
        let published = [Happened::Published(token, outcome)];
        assert_eq!(client.feed(&ack_with(0x40, sent.id, code)), published);

        let (token, sent) = client.publish(ExactlyOnce, b"2");
        let happened = client.feed(&ack_with(0x50, sent.id, code));
        if refused {
            // Without a PUBREL: the broker has not stored it.
            assert_eq!(happened, [Happened::Published(token, outcome)]);
            assert_eq!((client.sent(), client.session.in_flight()), (vec![], 0));
        } else {
            assert_eq!(happened, []);
            assert_eq!(client.sent(), [Sent::Pubrel(sent.id, 0)]);
            let published = [Happened::Published(token, Ok(()))];
            assert_eq!(client.feed(&ack_with(0x70, sent.id, 0)), published);
        }
    }
}

#[test]
fn a_refusal_makes_room_for_the_next_message() {
    let mut client = v5_with(&[0x21, 0, 1]);
    let (_, sent) = client.publish(ExactlyOnce, b"1");
    assert!(!client.session.has_room(AtLeastOnce));
    client.feed(&ack_with(0x50, sent.id, 0x97));
    assert!(client.session.has_room(AtLeastOnce));
}

#[test]
fn an_acknowledgement_may_have_properties() {
    let mut client = Client::online(Version::V5);
    let (token, sent) = client.publish(AtLeastOnce, b"1");
    let [high, low] = sent.id.to_be_bytes();
    let bytes = packet(0x40, &[high, low, 0x87, 4, 0x1f, 0, 1, b'n']);
    let refused = [Happened::Published(token, Err(Lost::Refused(Reason(0x87))))];
    assert_eq!(client.feed(&bytes), refused);
}

#[test]
fn a_disconnect_of_the_broker_has_its_reason_and_text() {
    for (bytes, expected) in [
        (packet(0xe0, &[]), Error::Disconnected(Reason(0), String::new())),
        (packet(0xe0, &[0x8b]), Error::Disconnected(Reason(0x8b), String::new())),
        (packet(0xe0, &[0x8e, 0]), Error::Disconnected(Reason(0x8e), String::new())),
        (
            packet(0xe0, &[0x97, 6, 0x1f, 0, 3, b'm', b'a', b'x']),
            Error::Disconnected(Reason(0x97), "max".into()),
        ),
    ] {
        assert_eq!(Client::online(Version::V5).feed_fatal(&bytes), expected);
    }
}

#[test]
fn a_broker_may_exceed_the_receive_maximum_but_not_without_end() {
    let mut client = Client::new(Version::V5);
    client.session.config().receive_maximum = 1;
    client.go_online(false, &[]);
    let bytes = |id| publish(Version::V5, 0x32 + 2 * (id % 2) as u8, "t", id, b"x");
    let messages: Vec<_> = (1..=64).map(|id| client.feed(&bytes(id)).remove(0)).collect();
    assert_eq!(client.acknowledge(&messages[1]), [Sent::Puback(2, 0)]);
    assert_eq!(client.feed(&bytes(65)).len(), 1, "an answer made room");
    let error = client.feed_fatal(&bytes(66));
    assert!(matches!(error, Error::Malformed(_)), "{error}");
    // Those of an earlier connection are not under way on this one.
    client.session.connection_lost();
    client.go_online(true, &[]);
    (100..164).for_each(|id| assert_eq!(client.feed(&bytes(id)).len(), 1));
    assert!(matches!(client.feed_fatal(&bytes(164)), Error::Malformed(_)));
}

#[test]
fn a_broker_is_not_silent_while_the_program_does_not_read() {
    for version in versions() {
        let mut client = Client::online(version);
        let session = &mut client.session;
        session.pause_input(true, 0);
        for now in (1..=200).map(|second| second * 1000) {
            session.handle_time(now).unwrap();
            let written = session.output().len();
            session.written(written, now);
        }
        session.pause_input(false, 200_000);
        assert_eq!(session.handle_time(229_000), Ok(()));
        let written = session.output().len();
        session.written(written, 229_000);
        assert_eq!(session.handle_time(258_000), Ok(()));
        assert_eq!(session.handle_time(260_000), Err(Error::Silent), "it had its time");
    }
}

#[test]
fn the_properties_of_a_message_arrive_in_both_directions() {
    let mut client = Client::online(Version::V5);
    let mut properties = MessageProperties::new();
    properties.expiry(60).content_type("text").response_topic("r").user("k", "v");
    let message = Message::new("t", b"x").properties(&properties);
    client.session.publish(&message).unwrap();
    let [Sent::Publish(sent)] = &client.sent()[..] else { panic!() };
    assert_eq!(sent.properties, b"\x02\0\0\0\x3c\x03\0\x04text\x08\0\x01r\x26\0\x01k\0\x01v");
    assert_eq!(sent.payload, b"x");
    client.events();

    let body = [b"\0\x01t\x11\x0b\x05\x09\0\x02cd\x26\0\x01k\0\x01v\x0b\x80\x01".as_slice(), b"y"];
    let bytes = packet(0x30, &body.concat());
    client.session.input()[..bytes.len()].copy_from_slice(&bytes);
    client.session.received(bytes.len(), 0);
    let Ok(Some(aimdb_mqtt_protocol::Event::Message(message))) = client.session.next_event() else {
        panic!("no message")
    };
    assert_eq!(message.payload, b"y");
    assert_eq!(message.properties.subscriptions().collect::<Vec<_>>(), [5, 128]);
    assert_eq!(message.properties.correlation_data(), Some(&b"cd"[..]));
    assert_eq!(message.properties.user().collect::<Vec<_>>(), [("k", "v")]);
    assert_eq!(message.properties.content_type(), None);
}

/// A stream with all kinds of packets: small ones, large ones, and ones above a limit of 300 bytes.
fn stream(version: Version) -> Vec<u8> {
    let mut bytes = connack(version, false, 0, &[]);
    for (id, size) in (1..).zip([0, 1, 120, 125, 290, 300, 17_000, 5, 128, 70_000, 2]) {
        for first in [0x30, 0x32, 0x34] {
            let id = id * 4 + (first - 0x30);
            bytes.extend(publish(version, first as u8, "some/topic", id, &vec![0x32; size]));
        }
        bytes.extend(PONG);
        bytes.extend(ack(0x62, id));
    }
    bytes
}

proptest! {
    #[test]
    fn the_pieces_of_a_stream_make_no_difference(
        sizes in prop::collection::vec(prop_oneof![1..4_usize, 1..400_usize, 1..30_000_usize], 1..200),
    ) {
        for version in versions() {
            let mut config = SessionConfig::new("node-7");
            config.version = version;
            config.max_incoming = 300;
            config.receive_maximum = 100;
            let bytes = stream(version);
            let read = |sizes: &mut dyn Iterator<Item = usize>| {
                let mut session = Session::new(config.clone());
                session.connect(0);
                let mut rest = &bytes[..];
                let mut events = Vec::new();
                while !rest.is_empty() {
                    let space = session.input();
                    assert!((1..=300).contains(&space.len()));
                    let count = sizes.next().unwrap_or(usize::MAX).min(space.len()).min(rest.len());
                    space[..count].copy_from_slice(&rest[..count]);
                    rest = &rest[count..];
                    session.received(count, 0);
                    while let Some(event) = session.next_event().unwrap() {
                        events.push(Happened::of(event));
                    }
                }
                assert!(!session.has_input());
                (events, session.output().to_vec())
            };
            let whole = read(&mut core::iter::empty());
            prop_assert_eq!(whole.0.len(), 1 + 33);
            prop_assert_eq!(&read(&mut sizes.iter().copied().cycle()), &whole);
        }
    }
}
