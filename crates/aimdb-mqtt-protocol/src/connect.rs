//! CONNECT and CONNACK.

use alloc::string::String;
use alloc::vec::Vec;

use crate::config::SessionConfig;
use crate::error::{Error, Malformed};
use crate::input::LEAST_INCOMING;
use crate::message::QoS;
use crate::properties::{self, Properties, put_properties};
use crate::reason::Reason;
use crate::wire::{Reader, put_binary, put_varint};

/// The capabilities that the broker stated in its CONNACK. A broker of MQTT 3.1.1 states none: all are assumed.
///
/// ```
/// use aimdb_mqtt_protocol::{Capabilities, QoS};
///
/// let assumed = Capabilities::default();
/// assert_eq!(assumed.maximum_qos, QoS::ExactlyOnce);
/// assert!(assumed.retain && assumed.wildcards && assumed.shared);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The highest QoS of a message that the broker takes.
    pub maximum_qos: QoS,
    /// Whether it keeps retained messages.
    pub retain: bool,
    /// Whether a subscription may have wildcards.
    pub wildcards: bool,
    /// Whether a subscription may have an identifier. Never with MQTT 3.1.1.
    pub identifiers: bool,
    /// Whether there are shared subscriptions.
    pub shared: bool,
    /// The largest packet that the broker takes, in bytes.
    pub maximum_packet: usize,
    /// How many messages at QoS 1 and 2 may be under way.
    pub receive_maximum: u16,
    /// The keep-alive interval of the broker, in seconds.
    pub keep_alive: Option<u16>,
    /// How many topic aliases the broker accepts. The session uses none.
    pub topic_aliases: u16,
    /// For how many seconds the broker keeps the session, if not as asked for.
    pub session_expiry: Option<u32>,
    /// The client id that the broker assigned.
    pub assigned_client_id: Option<String>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            maximum_qos: QoS::ExactlyOnce,
            retain: true,
            wildcards: true,
            identifiers: true,
            shared: true,
            maximum_packet: usize::MAX,
            receive_maximum: u16::MAX,
            keep_alive: None,
            topic_aliases: 0,
            session_expiry: None,
            assigned_client_id: None,
        }
    }
}

/// The properties of a CONNECT: three numbers.
const PROPERTIES: u8 = 13;

/// Appends the CONNECT of this configuration.
pub(crate) fn put_connect(out: &mut Vec<u8>, config: &SessionConfig) {
    let v5 = config.version.is_v5();
    let will = config.will.as_ref().map(|will| (will, will.properties()));
    let mut length =
        10 + if v5 { 1 + usize::from(PROPERTIES) } else { 0 } + 2 + config.client_id.len();
    let mut flags = u8::from(config.clean_start) << 1;
    if let Some((will, properties)) = &will {
        let properties = if v5 { 1 + properties.bytes().len() } else { 0 };
        length += properties + 4 + will.topic.len() + will.payload.len();
        flags |= 0x04 | (will.qos as u8) << 3 | u8::from(will.retain) << 5;
    }
    if let Some((user, password)) = &config.credentials {
        length += 4 + user.len() + password.len();
        flags |= 0xc0;
    }
    out.push(0x10);
    put_varint(out, length);
    out.extend_from_slice(b"\0\x04MQTT");
    let [high, low] = config.keep_alive.to_be_bytes();
    out.extend_from_slice(&[if v5 { 5 } else { 4 }, flags, high, low]);
    if v5 {
        let largest = u32::try_from(config.max_incoming.max(LEAST_INCOMING)).unwrap_or(u32::MAX);
        out.extend_from_slice(&[PROPERTIES, properties::SESSION_EXPIRY]);
        out.extend_from_slice(&config.session_expiry.to_be_bytes());
        out.push(properties::RECEIVE_MAXIMUM);
        out.extend_from_slice(&config.receive_maximum.max(1).to_be_bytes());
        out.push(properties::MAXIMUM_PACKET);
        out.extend_from_slice(&largest.to_be_bytes());
    }
    put_binary(out, config.client_id.as_bytes());
    if let Some((will, properties)) = &will {
        if v5 {
            put_properties(out, properties.bytes());
        }
        put_binary(out, will.topic.as_bytes());
        put_binary(out, &will.payload);
    }
    if let Some((user, password)) = &config.credentials {
        put_binary(out, user.as_bytes());
        put_binary(out, password);
    }
}

/// Reads a CONNACK: whether the broker has kept the session, and what it can do.
///
/// # Errors
///
/// The refusal, or a malformed packet.
pub(crate) fn read_connack(body: &[u8], v5: bool) -> Result<(bool, Capabilities), Error> {
    let mut reader = Reader::new(body);
    let flags = reader.u8()?;
    let code = reader.u8()?;
    if flags > 1 {
        return Err(Malformed::ConnackFlags.into());
    }
    #[cfg(feature = "v311")]
    if !v5 {
        let assumed = Capabilities { identifiers: false, ..Capabilities::default() };
        return match code {
            0 => Ok((flags == 1, assumed)),
            code => Err(Error::Refused(Reason::of_return_code(code), String::new())),
        };
    }
    let _ = v5;
    match code {
        0 => {}
        // A broker of MQTT 3.1.1 refuses the version in its own words.
        1 => return Err(Error::Refused(Reason(0x84), String::new())),
        // A refusal whose properties cannot be decoded is a refusal.
        code => {
            let text = Properties::read(&mut reader).map(Properties::explanation);
            return Err(Error::Refused(Reason(code), text.unwrap_or_default()));
        }
    }
    let mut can = Capabilities::default();
    for (id, value) in Properties::read(&mut reader)?.iter() {
        let number = value.number();
        let short = number as u16;
        match id {
            properties::MAXIMUM_QOS => {
                can.maximum_qos = QoS::of(number as u8).ok_or(Malformed::MaximumQos)?;
            }
            properties::RETAIN_AVAILABLE => can.retain = number != 0,
            properties::WILDCARDS_AVAILABLE => can.wildcards = number != 0,
            properties::IDENTIFIERS_AVAILABLE => can.identifiers = number != 0,
            properties::SHARED_AVAILABLE => can.shared = number != 0,
            properties::MAXIMUM_PACKET if number == 0 => {
                return Err(Malformed::MaximumPacket.into());
            }
            properties::MAXIMUM_PACKET => can.maximum_packet = number,
            properties::RECEIVE_MAXIMUM => can.receive_maximum = short.max(1),
            properties::SERVER_KEEP_ALIVE => can.keep_alive = Some(short),
            properties::TOPIC_ALIAS_MAXIMUM => can.topic_aliases = short,
            properties::SESSION_EXPIRY => can.session_expiry = Some(number as u32),
            properties::ASSIGNED_CLIENT_ID => {
                if let properties::Value::Text(text) = value {
                    can.assigned_client_id = Some(text.into());
                }
            }
            _ => {}
        }
    }
    Ok((flags == 1, can))
}
