//! The packets of a broker, and a client whose stream is two byte vectors.

// Each test program uses another part.
#![allow(dead_code, unreachable_pub)]

use aimdb_mqtt_protocol::{
    Error, Event, Lost, Message, QoS, Reason, Receipt, Session, SessionConfig, Token, Version,
};

/// The versions that this build has.
pub fn versions() -> Vec<Version> {
    vec![
        Version::V5,
        #[cfg(feature = "v311")]
        Version::V311,
    ]
}

pub fn is_v5(version: Version) -> bool {
    version == Version::V5
}

/// A packet of a client, as a broker reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Connect(Connect),
    Publish(Publish),
    Puback(u16, u8),
    Pubrec(u16, u8),
    Pubrel(u16, u8),
    Pubcomp(u16, u8),
    Subscribe { id: u16, filter: String, options: u8, identifier: Option<usize> },
    Unsubscribe { id: u16, filter: String },
    Ping,
    Disconnect(u8),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    pub level: u8,
    pub flags: u8,
    pub keep_alive: u16,
    pub session_expiry: Option<u32>,
    pub receive_maximum: Option<u16>,
    pub maximum_packet: Option<u32>,
    pub client_id: String,
    pub will_delay: Option<u32>,
    pub will: Option<(String, Vec<u8>)>,
    pub user: Option<String>,
    pub password: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub dup: bool,
    pub retain: bool,
    pub id: u16,
    pub properties: Vec<u8>,
}

struct Fields<'p>(&'p [u8]);

impl<'p> Fields<'p> {
    fn take(&mut self, count: usize) -> &'p [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from(self.u8()) << 8 | u16::from(self.u8())
    }

    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    fn binary(&mut self) -> Vec<u8> {
        let length = self.u16();
        self.take(length.into()).to_vec()
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.binary()).unwrap()
    }

    fn varint(&mut self) -> usize {
        let (value, length) = varint(self.0).expect("a whole integer");
        self.take(length);
        value
    }

    fn properties(&mut self, v5: bool) -> Fields<'p> {
        let length = if v5 { self.varint() } else { 0 };
        Fields(self.take(length))
    }
}

fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate() {
        assert!(index < 4, "a length of more than four bytes");
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Takes the whole packets at the start of `bytes`. Panics if a packet is not as MQTT demands.
pub fn take_packets(bytes: &mut Vec<u8>, version: Version) -> Vec<Sent> {
    let mut packets = Vec::new();
    let mut start = 0;
    while let Some((first, rest)) = bytes[start..].split_first()
        && let Some((size, length)) = varint(rest)
        && rest.len() >= length + size
    {
        packets.push(read_packet(*first, &rest[length..length + size], version));
        start += 1 + length + size;
    }
    bytes.drain(..start);
    packets
}

fn read_packet(first: u8, body: &[u8], version: Version) -> Sent {
    let v5 = is_v5(version);
    let mut fields = Fields(body);
    let kind = first >> 4;
    let flags = first & 0x0f;
    assert!(kind == 3 || flags == if matches!(kind, 6 | 8 | 10) { 2 } else { 0 }, "{first:#x}");
    let packet = match kind {
        1 => Sent::Connect(read_connect(&mut fields)),
        3 => {
            let qos = flags >> 1 & 3;
            let topic = fields.text();
            let id = if qos > 0 { fields.u16() } else { 0 };
            assert!((id > 0) == (qos > 0) && qos < 3);
            let properties = fields.properties(v5).0.to_vec();
            let payload = std::mem::take(&mut fields.0).to_vec();
            let (dup, retain) = (flags & 8 != 0, flags & 1 != 0);
            assert!(!(dup && qos == 0), "DUP at QoS 0");
            Sent::Publish(Publish { topic, payload, qos, dup, retain, id, properties })
        }
        4..=7 => {
            let id = fields.u16();
            let reason = if v5 && !fields.0.is_empty() { fields.u8() } else { 0 };
            match kind {
                4 => Sent::Puback(id, reason),
                5 => Sent::Pubrec(id, reason),
                6 => Sent::Pubrel(id, reason),
                _ => Sent::Pubcomp(id, reason),
            }
        }
        8 | 10 => {
            let id = fields.u16();
            let mut properties = fields.properties(v5);
            let identifier = (!properties.0.is_empty()).then(|| {
                assert_eq!(properties.u8(), 0x0b);
                properties.varint()
            });
            let filter = fields.text();
            match kind {
                8 => Sent::Subscribe { id, filter, options: fields.u8(), identifier },
                _ => Sent::Unsubscribe { id, filter },
            }
        }
        12 => Sent::Ping,
        14 => Sent::Disconnect(if fields.0.is_empty() { 0 } else { fields.u8() }),
        _ => panic!("a client sends no packet of kind {kind}"),
    };
    assert!(fields.0.is_empty(), "{packet:?} has more bytes");
    packet
}

fn read_connect(fields: &mut Fields<'_>) -> Connect {
    assert_eq!(fields.binary(), b"MQTT");
    let level = fields.u8();
    let flags = fields.u8();
    let mut connect = Connect { level, flags, keep_alive: fields.u16(), ..Connect::default() };
    let mut properties = fields.properties(level == 5);
    while !properties.0.is_empty() {
        match properties.u8() {
            0x11 => connect.session_expiry = Some(properties.u32()),
            0x21 => connect.receive_maximum = Some(properties.u16()),
            0x27 => connect.maximum_packet = Some(properties.u32()),
            other => panic!("a CONNECT with the property {other:#x}"),
        }
    }
    connect.client_id = fields.text();
    if flags & 0x04 != 0 {
        let mut properties = fields.properties(level == 5);
        if !properties.0.is_empty() {
            assert_eq!(properties.u8(), 0x18);
            connect.will_delay = Some(properties.u32());
        }
        connect.will = Some((fields.text(), fields.binary()));
    }
    connect.user = (flags & 0x80 != 0).then(|| fields.text());
    connect.password = (flags & 0x40 != 0).then(|| fields.binary());
    connect
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A packet with this first byte and this body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    put_varint(&mut out, body.len());
    out.extend_from_slice(body);
    out
}

pub fn connack(version: Version, present: bool, code: u8, properties: &[u8]) -> Vec<u8> {
    let mut body = vec![u8::from(present), code];
    if is_v5(version) {
        put_varint(&mut body, properties.len());
        body.extend_from_slice(properties);
    }
    packet(0x20, &body)
}

/// A PUBLISH of the broker. The first byte has QoS, DUP and RETAIN.
pub fn publish(version: Version, first: u8, topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    if first & 6 != 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    if is_v5(version) {
        body.push(0);
    }
    body.extend_from_slice(payload);
    packet(first, &body)
}

/// A PUBACK (0x40), PUBREC (0x50), PUBREL (0x62) or PUBCOMP (0x70).
pub fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

pub fn ack_with(first: u8, id: u16, reason: u8) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    packet(first, &[high, low, reason])
}

pub fn suback(version: Version, id: u16, code: u8) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    match is_v5(version) {
        true => packet(0x90, &[high, low, 0, code]),
        false => packet(0x90, &[high, low, code]),
    }
}

pub fn unsuback(version: Version, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    match is_v5(version) {
        true => packet(0xb0, &[high, low, 0, 0]),
        false => packet(0xb0, &[high, low]),
    }
}

pub const PONG: [u8; 2] = [0xd0, 0];

/// An [`Event`] that borrows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    Connected(bool),
    Message(Arrived),
    Oversized { topic: String, size: usize, receipt: Option<Receipt> },
    Published(Token, Result<(), Lost>),
    Subscribed(Token, Result<QoS, Reason>),
    Unsubscribed(Token),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    pub dup: bool,
    pub receipt: Option<Receipt>,
}

impl Happened {
    pub fn of(event: Event<'_>) -> Self {
        match event {
            Event::Connected { session_present } => Self::Connected(session_present),
            Event::Message(message) => Self::Message(Arrived {
                topic: message.topic.into(),
                payload: message.payload.into(),
                qos: message.qos,
                retain: message.retain,
                dup: message.dup,
                receipt: message.receipt,
            }),
            Event::Oversized(message) => Self::Oversized {
                topic: message.topic.into(),
                size: message.size,
                receipt: message.receipt,
            },
            Event::Published { token, outcome } => Self::Published(token, outcome),
            Event::Subscribed { token, outcome } => Self::Subscribed(token, outcome),
            Event::Unsubscribed { token } => Self::Unsubscribed(token),
            other => panic!("an event that the tests do not know: {other:?}"),
        }
    }

    pub fn receipt(&self) -> Receipt {
        match self {
            Self::Message(Arrived { receipt: Some(receipt), .. })
            | Self::Oversized { receipt: Some(receipt), .. } => *receipt,
            other => panic!("{other:?} has no receipt"),
        }
    }

    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Message(message) => &message.payload,
            other => panic!("{other:?} is no message"),
        }
    }
}

/// A session with a clock and a broker that the test plays.
pub struct Client {
    pub session: Session,
    pub version: Version,
    pub now: u64,
}

impl Client {
    /// A client with the usual settings that keeps its session.
    pub fn new(version: Version) -> Self {
        let mut config = SessionConfig::new("node-7");
        config.clean_start = false;
        config.session_expiry = 3600;
        Self::with(version, config)
    }

    pub fn with(version: Version, mut config: SessionConfig) -> Self {
        config.version = version;
        Self { session: Session::new(config), version, now: 1_000 }
    }

    /// A client whose connection is accepted.
    pub fn online(version: Version) -> Self {
        let mut client = Self::new(version);
        client.go_online(false, &[]);
        client
    }

    /// Connects and returns what the session sends after the CONNACK.
    pub fn go_online(&mut self, present: bool, properties: &[u8]) -> Vec<Sent> {
        let happened = self.connect(present, properties);
        assert_eq!(happened.last(), Some(&Happened::Connected(present)));
        self.sent()
    }

    /// Connects and returns the events up to the CONNACK's.
    pub fn connect(&mut self, present: bool, properties: &[u8]) -> Vec<Happened> {
        self.session.connect(self.now);
        let sent = self.sent();
        assert!(matches!(sent[..], [Sent::Connect(_)]), "{sent:?}");
        self.feed(&connack(self.version, present, 0, properties))
    }

    /// Writes all output, and returns its packets.
    pub fn sent(&mut self) -> Vec<Sent> {
        let mut bytes = self.session.output().to_vec();
        self.session.written(bytes.len(), self.now);
        let packets = take_packets(&mut bytes, self.version);
        assert!(bytes.is_empty(), "the output ends within a packet");
        packets
    }

    /// The broker sends these bytes, which are no reason to end the connection.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Happened> {
        let mut happened = Vec::new();
        self.read(bytes, &mut happened).unwrap();
        happened
    }

    /// The broker sends these bytes, which end the connection.
    pub fn feed_fatal(&mut self, bytes: &[u8]) -> Error {
        self.read(bytes, &mut Vec::new()).expect_err("the connection should end")
    }

    fn read(&mut self, mut bytes: &[u8], happened: &mut Vec<Happened>) -> Result<(), Error> {
        loop {
            let space = self.session.input();
            let count = space.len().min(bytes.len());
            assert!(count > 0 || bytes.is_empty(), "no room to read");
            space[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.session.received(count, self.now);
            while let Some(event) = self.session.next_event()? {
                happened.push(Happened::of(event));
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    pub fn events(&mut self) -> Vec<Happened> {
        self.feed(&[])
    }

    /// Publishes at this QoS, and returns the token and the packet that is sent at once.
    pub fn publish(&mut self, qos: QoS, payload: &[u8]) -> (Token, Publish) {
        let token = self.queue(qos, payload);
        match &self.sent()[..] {
            [Sent::Publish(publish)] => (token, publish.clone()),
            other => panic!("not one message: {other:?}"),
        }
    }

    pub fn queue(&mut self, qos: QoS, payload: &[u8]) -> Token {
        self.session.publish(&Message::new("a/b", payload).qos(qos)).unwrap()
    }

    /// The broker sends a message, which is new.
    pub fn receive(&mut self, qos: QoS, id: u16, payload: &[u8]) -> Happened {
        let mut happened =
            self.feed(&publish(self.version, 0x30 | (qos as u8) << 1, "t", id, payload));
        assert_eq!(happened.len(), 1, "{happened:?}");
        happened.remove(0)
    }

    pub fn acknowledge(&mut self, message: &Happened) -> Vec<Sent> {
        self.session.acknowledge(message.receipt());
        self.sent()
    }
}

/// The identifiers of these messages.
pub fn ids(sent: &[Sent]) -> Vec<u16> {
    let id = |sent: &Sent| match sent {
        Sent::Publish(publish) => publish.id,
        other => panic!("{other:?} is no message"),
    };
    sent.iter().map(id).collect()
}

/// Their payloads, and whether they have DUP.
pub fn messages(sent: &[Sent]) -> Vec<(&[u8], bool)> {
    sent.iter()
        .map(|sent| match sent {
            Sent::Publish(publish) => (&publish.payload[..], publish.dup),
            other => panic!("{other:?} is no message"),
        })
        .collect()
}

/// Random numbers that a seed repeats (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
