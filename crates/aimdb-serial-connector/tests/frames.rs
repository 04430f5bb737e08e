//! Frames under every damage a line can do to them.

use aimdb_serial_connector::frame::{Body, Decoder, Frame, FrameError, MAX_PAYLOAD_LIMIT, TopicId};
use proptest::collection::vec;
use proptest::prelude::*;

const LIMIT: usize = 600;

/// A frame that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OwnedFrame {
    session: u16,
    sequence: u32,
    body: OwnedBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum OwnedBody {
    Start,
    Data(TopicId, Vec<u8>),
    Heartbeat,
}

impl OwnedFrame {
    fn of(frame: &Frame<'_>) -> Self {
        let body = match frame.body {
            Body::Start => OwnedBody::Start,
            Body::Data { topic, payload } => OwnedBody::Data(topic, payload.into()),
            Body::Heartbeat => OwnedBody::Heartbeat,
            other => panic!("an unknown kind of frame: {other:?}"),
        };
        Self { session: frame.session, sequence: frame.sequence, body }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let body = match &self.body {
            OwnedBody::Start => Body::Start,
            OwnedBody::Data(topic, payload) => Body::Data { topic: *topic, payload },
            OwnedBody::Heartbeat => Body::Heartbeat,
        };
        Frame::new(self.session, self.sequence, body).encode(&mut bytes);
        bytes
    }
}

fn decode_all(decoder: &mut Decoder, mut bytes: &[u8]) -> Vec<Result<OwnedFrame, FrameError>> {
    let mut found = Vec::new();
    while let Some(frame) = decoder.feed(&mut bytes) {
        found.push(frame.map(|frame| OwnedFrame::of(&frame)));
    }
    found
}

fn data(sequence: u32, payload: &[u8]) -> OwnedFrame {
    OwnedFrame { session: 1, sequence, body: OwnedBody::Data(TopicId::of("t"), payload.into()) }
}

fn frames() -> impl Strategy<Value = OwnedFrame> {
    // Payloads with many zeros and with none, with lengths around COBS' block length and around the limit.
    let payload = prop_oneof![
        vec(any::<u8>(), 0..40),
        vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..40),
        vec(1..=255_u8, 230..=LIMIT),
        vec(any::<u8>(), LIMIT - 3..=LIMIT),
    ];
    let body = (any::<u32>(), payload)
        .prop_map(|(topic, payload)| OwnedBody::Data(TopicId(topic), payload));
    let heartbeat = (any::<u16>(), any::<u32>(), Just(OwnedBody::Heartbeat));
    prop_oneof![
        8 => (any::<u16>(), 1..=u32::MAX, body),
        1 => heartbeat,
        1 => (any::<u16>(), Just(0), Just(OwnedBody::Start)),
    ]
    .prop_map(|(session, sequence, body)| OwnedFrame { session, sequence, body })
}

/// A damage to consecutive bytes on the line.
#[derive(Clone, Debug)]
enum Damage {
    Changed(Vec<u8>),
    Removed(usize),
    Repeated(usize),
    Inserted(Vec<u8>),
}

fn damages() -> impl Strategy<Value = Damage> {
    prop_oneof![
        vec(any::<u8>(), 1..30).prop_map(Damage::Changed),
        (1..60_usize).prop_map(Damage::Removed),
        (1..60_usize).prop_map(Damage::Repeated),
        vec(any::<u8>(), 1..60).prop_map(Damage::Inserted),
    ]
}

fn apply(damage: &Damage, bytes: &[u8], at: usize) -> Vec<u8> {
    let (before, after) = bytes.split_at(at.min(bytes.len()));
    let skip = |count: usize| &after[count.min(after.len())..];
    match damage {
        Damage::Changed(new) => {
            let new = &new[..new.len().min(after.len())];
            [before, new, skip(new.len())].concat()
        }
        Damage::Removed(count) => [before, skip(*count)].concat(),
        Damage::Repeated(count) => [before, &after[..(*count).min(after.len())], after].concat(),
        Damage::Inserted(new) => [before, new, after].concat(),
    }
}

proptest! {
    #[test]
    fn any_frame_round_trips_in_pieces_of_any_size(frames in vec(frames(), 1..8), piece in 1..70_usize) {
        let mut decoder = Decoder::new(LIMIT);
        let bytes: Vec<u8> = frames.iter().flat_map(OwnedFrame::encode).collect();
        let found: Vec<_> =
            bytes.chunks(piece).flat_map(|piece| decode_all(&mut decoder, piece)).collect();
        prop_assert_eq!(found, frames.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn the_decoder_survives_any_noise_and_finds_the_next_frame(noise in vec(any::<u8>(), 0..3000), frame in frames()) {
        let mut decoder = Decoder::new(LIMIT);
        let found = decode_all(&mut decoder, &noise);
        prop_assert!(found.iter().all(Result::is_err));
        // A zero ends the noise; the result for the noise before it is not checked.
        decode_all(&mut decoder, &[0]);
        prop_assert_eq!(decode_all(&mut decoder, &frame.encode()), [Ok(frame)]);
    }

    #[test]
    fn no_damage_produces_a_wrong_frame(
        frames in vec(frames(), 1..6), damage in damages(), position in any::<prop::sample::Index>()
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(OwnedFrame::encode).collect();
        let damaged = apply(&damage, &bytes, position.index(bytes.len()));
        let mut decoder = Decoder::new(LIMIT);
        let mut found = decode_all(&mut decoder, &damaged);
        for frame in found.iter().flatten() {
            prop_assert!(frames.contains(frame), "{frame:?} was never sent");
        }
        // The decoder continues with the next frame.
        found = decode_all(&mut decoder, &[0]);
        prop_assert!(found.len() <= 1);
        prop_assert_eq!(decode_all(&mut decoder, &data(9, b"after").encode()), [Ok(data(9, b"after"))]);
    }

    #[test]
    fn a_frame_over_the_limit_is_discarded_and_the_next_is_found(
        payload in vec(any::<u8>(), LIMIT + 1..3 * LIMIT), piece in 1..900_usize
    ) {
        let mut decoder = Decoder::new(LIMIT);
        let bytes = [data(1, &payload).encode(), data(2, b"short").encode()].concat();
        let found: Vec<_> =
            bytes.chunks(piece).flat_map(|piece| decode_all(&mut decoder, piece)).collect();
        prop_assert_eq!(found, [Err(FrameError::TooLong), Ok(data(2, b"short"))]);
    }
}

#[test]
fn the_format_is_the_one_in_the_documentation() {
    let frame = OwnedFrame {
        session: 0x0201,
        sequence: 3,
        body: OwnedBody::Data(TopicId::of("a"), vec![9]),
    };
    let encoded = frame.encode();
    // COBS encodes one block for each zero: kind, session and the sequence's first byte; two more zeros; then topic,
    // payload and checksum.
    assert_eq!(encoded[..7], [5, 0x11, 0x01, 0x02, 3, 1, 1]);
    assert_eq!(encoded[7..13], [10, 0x2c, 0x29, 0x0c, 0xe4, 9]);
    let checksum = crc32(&[0x11, 0x01, 0x02, 3, 0, 0, 0, 0x2c, 0x29, 0x0c, 0xe4, 9]);
    assert_eq!(encoded[13..], [&checksum.to_le_bytes()[..], &[0]].concat());
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

/// CRC-32 bit by bit, independent of the `crc` crate.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn a_frame_at_the_largest_limit_round_trips() {
    let frame = data(1, &vec![7; MAX_PAYLOAD_LIMIT]);
    let mut decoder = Decoder::new(MAX_PAYLOAD_LIMIT);
    assert_eq!(decode_all(&mut decoder, &frame.encode()), [Ok(frame)]);
}

#[test]
fn an_intact_frame_of_another_protocol_is_unsupported() {
    let decode_content = |content: &[u8]| {
        let whole = [content, &crc32(content).to_le_bytes()].concat();
        let mut bytes = vec![0; whole.len() + 8];
        let length = cobs::encode(&whole, &mut bytes);
        bytes.truncate(length);
        bytes.push(0);
        decode_all(&mut Decoder::new(LIMIT), &bytes)
    };
    let contents: [&[u8]; 5] = [
        &[0x21, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1],
        &[0x13, 1, 0, 1, 0, 0, 0],
        // A heartbeat with trailing bytes, a data frame without a topic, a data frame without a number.
        &[0x12, 1, 0, 1, 0, 0, 0, 5],
        &[0x11, 1, 0, 1, 0, 0, 0, 5],
        &[0x11, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1],
    ];
    for content in contents {
        assert_eq!(decode_content(content), [Err(FrameError::Unsupported)], "{content:?}");
    }
    assert_eq!(decode_content(&[0x12, 1]), [Err(FrameError::Truncated)]);
}

#[test]
fn two_topics_with_a_hash_collision_have_the_same_id() {
    assert_eq!(TopicId::of("costarring"), TopicId::of("liquid"));
    assert_eq!(TopicId::of(""), TopicId(0x811c_9dc5));
    assert_eq!(TopicId::of("a").to_string(), "e40c292c");
}
