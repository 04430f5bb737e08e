//! The classification of frames by session and sequence number.

use aimdb_serial_connector::frame::{Body, Frame, TopicId};
use aimdb_serial_connector::sequence::{Action, FrameInfo, SequenceTracker};
use proptest::prelude::*;

const DATA: Body<'_> = Body::Data { topic: TopicId(1), payload: b"" };

/// The info of a frame that needs `action` and reports nothing else.
fn info(action: Action) -> FrameInfo {
    let mut info = FrameInfo::default();
    info.action = action;
    info
}

/// The info of a frame that carries a new value and reports nothing else.
fn new() -> FrameInfo {
    info(Action::Deliver)
}

fn duplicate() -> FrameInfo {
    info(Action::DropDuplicate)
}

fn ignored() -> FrameInfo {
    info(Action::Ignore)
}

fn lost(lost: u32, mut info: FrameInfo) -> FrameInfo {
    info.lost = lost;
    info
}

fn before_first_frame(count: u32, mut info: FrameInfo) -> FrameInfo {
    info.before_first_frame = count;
    info
}

fn restarted(mut info: FrameInfo) -> FrameInfo {
    info.restarted = true;
    info
}

fn frame(session: u16, sequence: u32, body: Body<'_>) -> Frame<'_> {
    Frame::new(session, sequence, body)
}

/// A tracker that has seen session 1 from its start up to `reached`.
fn up_to(reached: u32) -> SequenceTracker {
    let mut tracker = SequenceTracker::new();
    assert_eq!(tracker.classify(&frame(1, 0, Body::Start)), ignored());
    for sequence in 1..=reached {
        assert_eq!(tracker.classify(&frame(1, sequence, DATA)), new());
    }
    tracker
}

#[test]
fn a_gap_in_the_numbers_is_that_many_lost_values() {
    let mut tracker = up_to(2);
    assert_eq!(tracker.classify(&frame(1, 6, DATA)), lost(3, new()));
    assert_eq!(tracker.classify(&frame(1, 7, DATA)), new());
}

#[test]
fn a_heartbeat_reports_the_latest_losses() {
    let mut tracker = up_to(2);
    assert_eq!(tracker.classify(&frame(1, 2, Body::Heartbeat)), ignored());
    assert_eq!(tracker.classify(&frame(1, 5, Body::Heartbeat)), lost(3, ignored()));
    assert_eq!(tracker.classify(&frame(1, 5, Body::Heartbeat)), ignored());
    assert_eq!(tracker.classify(&frame(1, 5, DATA)), duplicate());
    assert_eq!(tracker.classify(&frame(1, 6, DATA)), new());
}

#[test]
fn the_same_number_or_a_slightly_lower_one_is_a_duplicate() {
    let mut tracker = up_to(100);
    for sequence in [100, 99, 37] {
        assert_eq!(tracker.classify(&frame(1, sequence, DATA)), duplicate());
    }
    assert_eq!(tracker.classify(&frame(1, 40, Body::Heartbeat)), ignored());
}

#[test]
fn a_much_lower_number_is_a_restart_whose_start_was_lost() {
    let mut tracker = up_to(100);
    assert_eq!(tracker.classify(&frame(1, 3, DATA)), restarted(lost(2, new())));
    assert_eq!(tracker.classify(&frame(1, 4, DATA)), new());
}

#[test]
fn a_new_session_is_a_restart_and_its_earlier_values_are_lost() {
    let mut tracker = up_to(3);
    assert_eq!(tracker.classify(&frame(2, 5, DATA)), restarted(lost(4, new())));
    assert_eq!(tracker.classify(&frame(2, 6, DATA)), new());
    let by_heartbeat = restarted(lost(4, ignored()));
    assert_eq!(tracker.classify(&frame(3, 4, Body::Heartbeat)), by_heartbeat);
    assert_eq!(tracker.classify(&frame(4, 0, Body::Heartbeat)), restarted(ignored()));
}

#[test]
fn a_start_with_the_same_session_is_a_restart_and_is_counted_once() {
    let mut tracker = up_to(3);
    assert_eq!(tracker.classify(&frame(1, 0, Body::Start)), restarted(ignored()));
    assert_eq!(tracker.classify(&frame(1, 0, Body::Start)), ignored());
    assert_eq!(tracker.classify(&frame(1, 1, DATA)), new());
}

#[test]
fn values_sent_before_the_first_frame_are_not_lost() {
    let mut tracker = SequenceTracker::new();
    assert_eq!(tracker.classify(&frame(1, 1000, DATA)), before_first_frame(999, new()));
    assert_eq!(tracker.classify(&frame(1, 1002, DATA)), lost(1, new()));
    let mut tracker = SequenceTracker::new();
    let by_heartbeat = before_first_frame(7, ignored());
    assert_eq!(tracker.classify(&frame(1, 7, Body::Heartbeat)), by_heartbeat);
    assert_eq!(SequenceTracker::new().classify(&frame(1, 1, DATA)), new());
}

#[test]
fn the_largest_number_is_valid() {
    let mut tracker = up_to(1);
    let almost_all = lost(u32::MAX - 2, new());
    assert_eq!(tracker.classify(&frame(1, u32::MAX, DATA)), almost_all);
    assert_eq!(tracker.classify(&frame(1, u32::MAX, DATA)), duplicate());
    assert_eq!(tracker.classify(&frame(2, 1, DATA)), restarted(new()));
}

/// The effect of the line on one frame.
#[derive(Clone, Copy, Debug)]
enum LineEffect {
    Delivers,
    Loses,
    Duplicates,
}

fn line_effect() -> impl Strategy<Value = LineEffect> {
    prop_oneof![
        3 => Just(LineEffect::Delivers),
        2 => Just(LineEffect::Loses),
        1 => Just(LineEffect::Duplicates),
    ]
}

proptest! {
    #[test]
    fn delivered_lost_and_earlier_values_add_up_to_the_values_sent(
        effects in prop::collection::vec(line_effect(), 0..300),
        heartbeat_every in 1..20_u32,
    ) {
        let mut tracker = SequenceTracker::new();
        let (mut delivered, mut missed, mut dropped, mut duplicates, mut sent) = (0, 0, 0, 0, 0);
        let mut receive = |frame: &Frame<'_>| {
            let info = tracker.classify(frame);
            delivered += u32::from(info.action == Action::Deliver);
            dropped += u32::from(info.action == Action::DropDuplicate);
            missed += info.lost + info.before_first_frame;
            assert!(!info.restarted);
        };
        for effect in effects {
            sent += 1;
            let copies = match effect {
                LineEffect::Delivers => 1,
                LineEffect::Loses => 0,
                LineEffect::Duplicates => 2,
            };
            duplicates += u32::from(copies == 2);
            (0..copies).for_each(|_| receive(&frame(5, sent, DATA)));
            if sent % heartbeat_every == 0 {
                receive(&frame(5, sent, Body::Heartbeat));
            }
        }
        receive(&frame(5, sent, Body::Heartbeat));
        prop_assert_eq!((delivered + missed, dropped), (sent, duplicates));
    }

    #[test]
    fn any_sequence_of_frames_is_classified(
        frames in prop::collection::vec((0..3_u16, any::<u32>(), 0..3), 0..50)
    ) {
        let mut tracker = SequenceTracker::new();
        for (session, sequence, kind) in frames {
            let frame = match kind {
                0 => frame(session, 0, Body::Start),
                1 => frame(session, sequence, Body::Heartbeat),
                _ => frame(session, sequence.max(1), DATA),
            };
            tracker.classify(&frame);
        }
    }
}
