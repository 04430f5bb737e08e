//! The tables of the specification.

pub use crate::suite::broker::{
    CONNECT, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBSCRIBE,
};

/// The further kinds of packets that may carry a reason or a property. The last will is a part of CONNECT.
pub const WILL: u8 = 0;
pub const CONNACK: u8 = 2;
pub const SUBACK: u8 = 9;
pub const UNSUBSCRIBE: u8 = 10;
pub const UNSUBACK: u8 = 11;
pub const AUTH: u8 = 15;

/// The two packets that acknowledge a publish.
const ACKS: &[u8] = &[PUBACK, PUBREC];

/// Table 2-6: each reason code, the connector's words for it, and the packets that may carry it. The three meanings of
/// 0x00 are one row.
const REASONS: [(u8, &str, &[u8]); 43] = [
    (
        0x00,
        "success",
        &[CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH],
    ),
    (0x01, "reason 0x01", &[SUBACK]),
    (0x02, "reason 0x02", &[SUBACK]),
    (0x04, "disconnected with the last will", &[DISCONNECT]),
    (0x10, "no matching subscribers", ACKS),
    (0x11, "reason 0x11", &[UNSUBACK]),
    (0x18, "reason 0x18", &[AUTH]),
    (0x19, "reason 0x19", &[AUTH]),
    (0x80, "unspecified error", &[CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT]),
    (0x81, "malformed packet", &[CONNACK, DISCONNECT]),
    (0x82, "protocol error", &[CONNACK, DISCONNECT]),
    (
        0x83,
        "implementation specific error",
        &[CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT],
    ),
    (0x84, "unsupported protocol version", &[CONNACK]),
    (0x85, "client id not valid", &[CONNACK]),
    (0x86, "bad user name or password", &[CONNACK]),
    (0x87, "not authorized", &[CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT]),
    (0x88, "server unavailable", &[CONNACK]),
    (0x89, "server busy", &[CONNACK, DISCONNECT]),
    (0x8a, "banned", &[CONNACK]),
    (0x8b, "server shutting down", &[DISCONNECT]),
    (0x8c, "bad authentication method", &[CONNACK, DISCONNECT]),
    (0x8d, "keep alive timeout", &[DISCONNECT]),
    (0x8e, "session taken over: another client uses the same client id", &[DISCONNECT]),
    (0x8f, "topic filter invalid", &[SUBACK, UNSUBACK, DISCONNECT]),
    (0x90, "topic name invalid", &[CONNACK, PUBACK, PUBREC, DISCONNECT]),
    (0x91, "packet identifier in use", &[PUBACK, PUBREC, SUBACK, UNSUBACK]),
    (0x92, "packet identifier not found", &[PUBREL, PUBCOMP]),
    (0x93, "receive maximum exceeded", &[DISCONNECT]),
    (0x94, "topic alias invalid", &[DISCONNECT]),
    (0x95, "packet too large", &[CONNACK, DISCONNECT]),
    (0x96, "message rate too high", &[DISCONNECT]),
    (0x97, "quota exceeded", &[CONNACK, PUBACK, PUBREC, SUBACK, DISCONNECT]),
    (0x98, "administrative action", &[DISCONNECT]),
    (0x99, "payload format invalid", &[CONNACK, PUBACK, PUBREC, DISCONNECT]),
    (0x9a, "retain not supported", &[CONNACK, DISCONNECT]),
    (0x9b, "QoS not supported", &[CONNACK, DISCONNECT]),
    (0x9c, "use another server", &[CONNACK, DISCONNECT]),
    (0x9d, "server moved", &[CONNACK, DISCONNECT]),
    (0x9e, "shared subscriptions not supported", &[SUBACK, DISCONNECT]),
    (0x9f, "connection rate exceeded", &[CONNACK, DISCONNECT]),
    (0xa0, "maximum connect time", &[DISCONNECT]),
    (0xa1, "subscription identifiers not supported", &[SUBACK, DISCONNECT]),
    (0xa2, "wildcard subscriptions not supported", &[SUBACK, DISCONNECT]),
];

/// Every byte, with the connector's words: those of the table, else the number.
pub fn all_codes() -> impl Iterator<Item = (u8, String)> {
    (0..=u8::MAX).map(|code| {
        let row = REASONS.iter().find(|(known, ..)| *known == code);
        (code, row.map_or(format!("reason {code:#04x}"), |(_, text, _)| (*text).into()))
    })
}

/// The codes that a packet of this kind may carry, and three that no packet has.
pub fn codes_of(kind: u8) -> Vec<(u8, String)> {
    let listed = |code| REASONS.iter().any(|(of, _, kinds)| *of == code && kinds.contains(&kind));
    all_codes().filter(|(code, _)| listed(*code) || matches!(code, 0x7f | 0xa3 | 0xff)).collect()
}

/// Where a property may occur that describes a message.
const MESSAGE: &[u8] = &[PUBLISH, WILL];

const ALL: &[u8] = &[
    WILL,
    CONNECT,
    CONNACK,
    PUBLISH,
    PUBACK,
    PUBREC,
    PUBREL,
    PUBCOMP,
    SUBSCRIBE,
    SUBACK,
    UNSUBSCRIBE,
    UNSUBACK,
    DISCONNECT,
    AUTH,
];

/// Table 2-4: each property, its encoded value in a test, and the packets that may carry it.
pub const PROPERTIES: [(u8, &str, &[u8], &[u8]); 27] = [
    (0x01, "payload format indicator", &[1], MESSAGE),
    (0x02, "message expiry interval", &[0, 0, 0, 60], MESSAGE),
    (0x03, "content type", b"\0\x04json", MESSAGE),
    (0x08, "response topic", b"\0\x05reply", MESSAGE),
    (0x09, "correlation data", b"\0\x03\xff\0\x01", MESSAGE),
    (0x0b, "subscription identifier", &[0xc8, 1], &[PUBLISH, SUBSCRIBE]),
    (0x11, "session expiry interval", &[0, 0, 0, 60], &[CONNECT, CONNACK, DISCONNECT]),
    (0x12, "assigned client identifier", b"\0\x03you", &[CONNACK]),
    (0x13, "server keep alive", &[0, 60], &[CONNACK]),
    (0x15, "authentication method", b"\0\x05SCRAM", &[CONNECT, CONNACK, AUTH]),
    (0x16, "authentication data", b"\0\x02\xff\0", &[CONNECT, CONNACK, AUTH]),
    (0x17, "request problem information", &[1], &[CONNECT]),
    (0x18, "will delay interval", &[0, 0, 0, 60], &[WILL]),
    (0x19, "request response information", &[1], &[CONNECT]),
    (0x1a, "response information", b"\0\x05reply", &[CONNACK]),
    (0x1c, "server reference", b"\0\x05other", &[CONNACK, DISCONNECT]),
    (
        0x1f,
        "reason string",
        b"\0\x05a why",
        &[CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH],
    ),
    (0x21, "receive maximum", &[0, 5], &[CONNECT, CONNACK]),
    (0x22, "topic alias maximum", &[0, 5], &[CONNECT, CONNACK]),
    (0x23, "topic alias", &[0, 1], &[PUBLISH]),
    (0x24, "maximum QoS", &[1], &[CONNACK]),
    (0x25, "retain available", &[0], &[CONNACK]),
    (0x26, "user property", b"\0\x04unit\0\x01K", ALL),
    (0x27, "maximum packet size", &[0, 0, 1, 0], &[CONNECT, CONNACK]),
    (0x28, "wildcard subscription available", &[0], &[CONNACK]),
    (0x29, "subscription identifiers available", &[0], &[CONNACK]),
    (0x2a, "shared subscription available", &[0], &[CONNACK]),
];

/// The property with its identifier.
pub fn encoded(id: u8) -> Vec<u8> {
    let value = PROPERTIES.iter().find_map(|(of, _, value, _)| (*of == id).then_some(*value));
    [&[id], value.unwrap()].concat()
}

/// Whether a packet of this kind may carry the property.
pub fn is_allowed(id: u8, kind: u8) -> bool {
    PROPERTIES.iter().any(|(of, _, _, kinds)| *of == id && kinds.contains(&kind))
}
