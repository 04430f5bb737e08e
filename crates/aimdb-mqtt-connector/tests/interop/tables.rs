//! The tables of the specification.

/// The kinds of packets that a broker sends.
pub const CONNACK: u8 = 2;
pub const PUBACK: u8 = 4;
pub const PUBREC: u8 = 5;
pub const PUBREL: u8 = 6;
pub const PUBCOMP: u8 = 7;
pub const SUBACK: u8 = 9;
pub const UNSUBACK: u8 = 11;
pub const DISCONNECT: u8 = 14;
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
