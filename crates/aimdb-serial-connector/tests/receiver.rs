//! What the numbers on frames say.

use aimdb_serial_connector::frame::{Body, Frame, TopicId};
use aimdb_serial_connector::receiver::{Fate, Receiver, Verdict};
use proptest::prelude::*;

const DATA: Body<'_> = Body::Data { topic: TopicId(1), payload: b"" };
const NEW: Verdict = Verdict { fate: Fate::Deliver, restarted: false, lost: 0, unheard: 0 };
const DOUBLED: Verdict = Verdict { fate: Fate::Doubled, ..NEW };
const DONE: Verdict = Verdict { fate: Fate::Done, ..NEW };

fn frame(session: u16, sequence: u32, body: Body<'_>) -> Frame<'_> {
    Frame { session, sequence, body }
}

/// A receiver that has heard session 1 from its start up to `reached`.
fn up_to(reached: u32) -> Receiver {
    let mut receiver = Receiver::new();
    assert_eq!(receiver.judge(&frame(1, 0, Body::Start)), DONE);
    for sequence in 1..=reached {
        assert_eq!(receiver.judge(&frame(1, sequence, DATA)), NEW);
    }
    receiver
}

#[test]
fn a_gap_is_that_many_lost() {
    let mut receiver = up_to(2);
    assert_eq!(receiver.judge(&frame(1, 6, DATA)), Verdict { lost: 3, ..NEW });
    assert_eq!(receiver.judge(&frame(1, 7, DATA)), NEW);
}

#[test]
fn a_heartbeat_tells_what_was_lost_last() {
    let mut receiver = up_to(2);
    assert_eq!(receiver.judge(&frame(1, 2, Body::Heartbeat)), DONE);
    assert_eq!(receiver.judge(&frame(1, 5, Body::Heartbeat)), Verdict { lost: 3, ..DONE });
    assert_eq!(receiver.judge(&frame(1, 5, Body::Heartbeat)), DONE);
    assert_eq!(receiver.judge(&frame(1, 5, DATA)), DOUBLED);
    assert_eq!(receiver.judge(&frame(1, 6, DATA)), NEW);
}

#[test]
fn the_same_number_or_one_a_bit_lower_is_a_double() {
    let mut receiver = up_to(100);
    for sequence in [100, 99, 37] {
        assert_eq!(receiver.judge(&frame(1, sequence, DATA)), DOUBLED);
    }
    assert_eq!(receiver.judge(&frame(1, 40, Body::Heartbeat)), DONE);
}

#[test]
fn a_number_far_lower_is_a_restart_whose_start_was_lost() {
    let mut receiver = up_to(100);
    let restarted = Verdict { restarted: true, lost: 2, ..NEW };
    assert_eq!(receiver.judge(&frame(1, 3, DATA)), restarted);
    assert_eq!(receiver.judge(&frame(1, 4, DATA)), NEW);
}

#[test]
fn a_new_session_is_a_restart_and_what_it_had_sent_is_lost() {
    let mut receiver = up_to(3);
    assert_eq!(receiver.judge(&frame(2, 5, DATA)), Verdict { restarted: true, lost: 4, ..NEW });
    assert_eq!(receiver.judge(&frame(2, 6, DATA)), NEW);
    let by_heartbeat = Verdict { restarted: true, lost: 4, ..DONE };
    assert_eq!(receiver.judge(&frame(3, 4, Body::Heartbeat)), by_heartbeat);
    assert_eq!(receiver.judge(&frame(4, 0, Body::Heartbeat)), Verdict { restarted: true, ..DONE });
}

#[test]
fn a_start_is_a_restart_also_with_the_same_session_and_is_counted_once() {
    let mut receiver = up_to(3);
    assert_eq!(receiver.judge(&frame(1, 0, Body::Start)), Verdict { restarted: true, ..DONE });
    assert_eq!(receiver.judge(&frame(1, 0, Body::Start)), DONE);
    assert_eq!(receiver.judge(&frame(1, 1, DATA)), NEW);
}

#[test]
fn what_was_sent_before_anything_was_heard_is_not_called_lost() {
    let mut receiver = Receiver::new();
    assert_eq!(receiver.judge(&frame(1, 1000, DATA)), Verdict { unheard: 999, ..NEW });
    assert_eq!(receiver.judge(&frame(1, 1002, DATA)), Verdict { lost: 1, ..NEW });
    let mut receiver = Receiver::new();
    let unheard = Verdict { unheard: 7, ..DONE };
    assert_eq!(receiver.judge(&frame(1, 7, Body::Heartbeat)), unheard);
    assert_eq!(Receiver::new().judge(&frame(1, 1, DATA)), NEW);
}

#[test]
fn the_greatest_number_is_a_number() {
    let mut receiver = up_to(1);
    let almost_all = Verdict { lost: u32::MAX - 2, ..NEW };
    assert_eq!(receiver.judge(&frame(1, u32::MAX, DATA)), almost_all);
    assert_eq!(receiver.judge(&frame(1, u32::MAX, DATA)), DOUBLED);
    let restarted = Verdict { restarted: true, ..NEW };
    assert_eq!(receiver.judge(&frame(2, 1, DATA)), restarted);
}

/// What the line does with the next frame.
#[derive(Clone, Copy, Debug)]
enum Line {
    Brings,
    Loses,
    Doubles,
}

proptest! {
    #[test]
    fn delivered_lost_and_unheard_are_what_the_peer_has_sent(
        line in prop::collection::vec(
            prop_oneof![3 => Just(Line::Brings), 2 => Just(Line::Loses), 1 => Just(Line::Doubles)], 0..300
        ),
        beat in 1..20_u32,
    ) {
        let mut receiver = Receiver::new();
        let (mut delivered, mut missed, mut doubled, mut doubles, mut sent) = (0, 0, 0, 0, 0);
        let mut judge = |frame: &Frame<'_>| {
            let verdict = receiver.judge(frame);
            delivered += u32::from(verdict.fate == Fate::Deliver);
            doubled += u32::from(verdict.fate == Fate::Doubled);
            missed += verdict.lost + verdict.unheard;
            assert!(!verdict.restarted);
        };
        for fate in line {
            sent += 1;
            let copies = match fate { Line::Brings => 1, Line::Loses => 0, Line::Doubles => 2 };
            doubles += u32::from(copies == 2);
            (0..copies).for_each(|_| judge(&frame(5, sent, DATA)));
            if sent % beat == 0 {
                judge(&frame(5, sent, Body::Heartbeat));
            }
        }
        judge(&frame(5, sent, Body::Heartbeat));
        prop_assert_eq!((delivered + missed, doubled), (sent, doubles));
    }

    #[test]
    fn any_frames_at_all_are_judged(
        frames in prop::collection::vec((0..3_u16, any::<u32>(), 0..3), 0..50)
    ) {
        let mut receiver = Receiver::new();
        for (session, sequence, kind) in frames {
            let frame = match kind {
                0 => frame(session, 0, Body::Start),
                1 => frame(session, sequence, Body::Heartbeat),
                _ => frame(session, sequence.max(1), DATA),
            };
            receiver.judge(&frame);
        }
    }
}
