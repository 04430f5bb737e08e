//! Frames, against anything a line may do to them.

use aimdb_serial_connector::frame::{Body, Decoder, Fault, Frame, MOST_PAYLOAD, TopicId};
use proptest::collection::vec;
use proptest::prelude::*;

const LIMIT: usize = 600;

/// A frame that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
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

impl Owned {
    fn of(frame: &Frame<'_>) -> Self {
        let body = match frame.body {
            Body::Start => OwnedBody::Start,
            Body::Data { topic, payload } => OwnedBody::Data(topic, payload.into()),
            Body::Heartbeat => OwnedBody::Heartbeat,
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
        Frame { session: self.session, sequence: self.sequence, body }.encode(&mut bytes);
        bytes
    }
}

fn decode_all(decoder: &mut Decoder, mut bytes: &[u8]) -> Vec<Result<Owned, Fault>> {
    let mut found = Vec::new();
    while let Some(frame) = decoder.feed(&mut bytes) {
        found.push(frame.map(|frame| Owned::of(&frame)));
    }
    found
}

fn data(sequence: u32, payload: &[u8]) -> Owned {
    Owned { session: 1, sequence, body: OwnedBody::Data(TopicId::of("t"), payload.into()) }
}

fn frames() -> impl Strategy<Value = Owned> {
    // Payloads with many zeros and with none, around COBS' block length and the limit.
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
    .prop_map(|(session, sequence, body)| Owned { session, sequence, body })
}

/// One thing that a line does to a stretch of its bytes.
#[derive(Clone, Debug)]
enum Harm {
    Changed(Vec<u8>),
    Cut(usize),
    Doubled(usize),
    Inserted(Vec<u8>),
}

fn harms() -> impl Strategy<Value = Harm> {
    prop_oneof![
        vec(any::<u8>(), 1..30).prop_map(Harm::Changed),
        (1..60_usize).prop_map(Harm::Cut),
        (1..60_usize).prop_map(Harm::Doubled),
        vec(any::<u8>(), 1..60).prop_map(Harm::Inserted),
    ]
}

fn apply(harm: &Harm, bytes: &[u8], at: usize) -> Vec<u8> {
    let (before, after) = bytes.split_at(at.min(bytes.len()));
    let skip = |count: usize| &after[count.min(after.len())..];
    match harm {
        Harm::Changed(new) => {
            let new = &new[..new.len().min(after.len())];
            [before, new, skip(new.len())].concat()
        }
        Harm::Cut(count) => [before, skip(*count)].concat(),
        Harm::Doubled(count) => [before, &after[..(*count).min(after.len())], after].concat(),
        Harm::Inserted(new) => [before, new, after].concat(),
    }
}

proptest! {
    #[test]
    fn any_frame_goes_round_in_any_pieces(frames in vec(frames(), 1..8), piece in 1..70_usize) {
        let mut decoder = Decoder::new(LIMIT);
        let bytes: Vec<u8> = frames.iter().flat_map(Owned::encode).collect();
        let found: Vec<_> =
            bytes.chunks(piece).flat_map(|piece| decode_all(&mut decoder, piece)).collect();
        prop_assert_eq!(found, frames.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_are_taken_and_the_next_frame_is_found(noise in vec(any::<u8>(), 0..3000), frame in frames()) {
        let mut decoder = Decoder::new(LIMIT);
        let found = decode_all(&mut decoder, &noise);
        prop_assert!(found.iter().all(Result::is_err));
        // A zero ends the noise; what it made of that is its own matter.
        decode_all(&mut decoder, &[0]);
        prop_assert_eq!(decode_all(&mut decoder, &frame.encode()), [Ok(frame)]);
    }

    #[test]
    fn no_harm_makes_a_wrong_frame(
        frames in vec(frames(), 1..6), harm in harms(), place in any::<prop::sample::Index>()
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(Owned::encode).collect();
        let harmed = apply(&harm, &bytes, place.index(bytes.len()));
        let mut decoder = Decoder::new(LIMIT);
        let mut found = decode_all(&mut decoder, &harmed);
        for frame in found.iter().flatten() {
            prop_assert!(frames.contains(frame), "{frame:?} was never sent");
        }
        // And it goes on.
        found = decode_all(&mut decoder, &[0]);
        prop_assert!(found.len() <= 1);
        prop_assert_eq!(decode_all(&mut decoder, &data(9, b"after").encode()), [Ok(data(9, b"after"))]);
    }

    #[test]
    fn a_longer_frame_is_thrown_away_and_the_next_is_found(
        payload in vec(any::<u8>(), LIMIT + 1..3 * LIMIT), piece in 1..900_usize
    ) {
        let mut decoder = Decoder::new(LIMIT);
        let bytes = [data(1, &payload).encode(), data(2, b"short").encode()].concat();
        let found: Vec<_> =
            bytes.chunks(piece).flat_map(|piece| decode_all(&mut decoder, piece)).collect();
        prop_assert_eq!(found, [Err(Fault::TooLong), Ok(data(2, b"short"))]);
    }
}

#[test]
fn the_format_is_the_one_in_the_documentation() {
    let frame =
        Owned { session: 0x0201, sequence: 3, body: OwnedBody::Data(TopicId::of("a"), vec![9]) };
    let encoded = frame.encode();
    // One block up to each zero: kind, session, the sequence's first byte; two zeros more; then topic, payload, checksum.
    assert_eq!(encoded[..7], [5, 0x11, 0x01, 0x02, 3, 1, 1]);
    assert_eq!(encoded[7..13], [10, 0x2c, 0x29, 0x0c, 0xe4, 9]);
    let checksum = crc32(&[0x11, 0x01, 0x02, 3, 0, 0, 0, 0x2c, 0x29, 0x0c, 0xe4, 9]);
    assert_eq!(encoded[13..], [&checksum.to_le_bytes()[..], &[0]].concat());
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

/// Bit by bit, as in any textbook.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn the_greatest_limit_is_possible() {
    let frame = data(1, &vec![7; MOST_PAYLOAD]);
    let mut decoder = Decoder::new(MOST_PAYLOAD);
    assert_eq!(decode_all(&mut decoder, &frame.encode()), [Ok(frame)]);
}

#[test]
fn a_whole_frame_of_another_protocol_is_foreign() {
    let content = |content: &[u8]| {
        let whole = [content, &crc32(content).to_le_bytes()].concat();
        let mut bytes = vec![0; whole.len() + 8];
        let length = cobs::encode(&whole, &mut bytes);
        bytes.truncate(length);
        bytes.push(0);
        decode_all(&mut Decoder::new(LIMIT), &bytes)
    };
    let strangers: [&[u8]; 5] = [
        &[0x21, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1],
        &[0x13, 1, 0, 1, 0, 0, 0],
        // A heartbeat with something behind it, data without a topic, a value without a number.
        &[0x12, 1, 0, 1, 0, 0, 0, 5],
        &[0x11, 1, 0, 1, 0, 0, 0, 5],
        &[0x11, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1],
    ];
    for stranger in strangers {
        assert_eq!(content(stranger), [Err(Fault::Foreign)], "{stranger:?}");
    }
    assert_eq!(content(&[0x12, 1]), [Err(Fault::Cut)]);
}

#[test]
fn the_known_topics_with_one_id_have_one_id() {
    assert_eq!(TopicId::of("costarring"), TopicId::of("liquid"));
    assert_eq!(TopicId::of(""), TopicId(0x811c_9dc5));
    assert_eq!(TopicId::of("a").to_string(), "e40c292c");
}
