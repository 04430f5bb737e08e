//! Numbers that JSON does not have.
#![cfg(feature = "json")]

use std::collections::BTreeMap;

use aimdb_core::{Decode, Encode, Incoming, Json};
use serde::Serialize;

#[derive(Serialize)]
struct Reading {
    celsius: f32,
    history: Vec<f64>,
    state: State,
}

#[derive(Clone, Serialize)]
enum State {
    Off,
    At(f64),
    Between { low: f64, high: f64 },
    Both(f64, f64),
}

fn reading(celsius: f32, last: f64, state: State) -> Reading {
    Reading { celsius, history: vec![1.0, last], state }
}

#[test]
fn a_number_that_json_has_not_is_an_encode_error_wherever_it_is() {
    let (nan, infinite) = (f64::NAN, f64::INFINITY);
    let refused = [
        reading(f32::NAN, 1.0, State::Off),
        reading(f32::NEG_INFINITY, 1.0, State::Off),
        reading(1.0, infinite, State::Off),
        reading(1.0, 1.0, State::At(nan)),
        reading(1.0, 1.0, State::Between { low: 0.0, high: infinite }),
        reading(1.0, 1.0, State::Both(0.0, nan)),
    ];
    for value in &refused {
        let mut payload = Vec::new();
        let error = Json.strict().encode(value, &mut payload).unwrap_err().to_string();
        assert!(error.starts_with("JSON has no number "), "{error}");
        assert!(payload.is_empty());
        assert!(Json.encode(value, &mut payload).is_ok(), "the plain form writes `null`");
    }
    let map = BTreeMap::from([("a", Some(1.0)), ("b", Some(nan))]);
    assert!(Json.strict().encode(&map, &mut Vec::new()).is_err());
    assert!(Json.strict().encode(&(1, [nan]), &mut Vec::new()).is_err());
}

#[test]
fn what_json_has_encodes_as_in_the_plain_form_and_returns() {
    let states = [
        State::Off,
        State::At(-0.0),
        State::Between { low: f64::MIN, high: f64::MAX },
        State::Both(f64::MIN_POSITIVE, 0.1),
    ];
    for state in states {
        let value = reading(21.5, 1e300, state);
        let (mut strict, mut plain) = (Vec::new(), Vec::new());
        Json.strict().encode(&value, &mut strict).unwrap();
        Json.encode(&value, &mut plain).unwrap();
        assert_eq!(strict, plain);
    }
    let mut payload = Vec::new();
    Json.strict().encode(&Some("text"), &mut payload).unwrap();
    let text: String = Json.strict().decode(&Incoming::new("t", &payload)).unwrap();
    assert_eq!(text, "text");
}

#[test]
fn the_plain_form_writes_a_value_that_does_not_return() {
    let mut payload = Vec::new();
    Json.encode(&f64::NAN, &mut payload).unwrap();
    assert_eq!(payload, b"null");
    let back: Result<f64, _> = Json.decode(&Incoming::new("t", &payload));
    assert!(back.is_err());
}
