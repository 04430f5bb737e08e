//! A broker of raw bytes for one client, without a socket: MQTT 5 and 3.1.1, QoS 0 to 2 in both directions, one session.

use std::collections::{BTreeSet, VecDeque};

use aimdb_testing::connectors::{Exchange, Protocol};

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// The flag of a message that is sent again.
const DUP: u8 = 0x08;

/// Messages under way to the client, as many as Mosquitto has unless configured otherwise.
const WINDOW: usize = 20;

/// A broker that sends its messages at one QoS.
pub(crate) struct RawBroker {
    qos: u8,
    /// Bytes of an unfinished packet.
    input: Vec<u8>,
    /// The client has sent CONNECT on this connection.
    connected: bool,
    is_v5: bool,
    has_session: bool,
    window: usize,
    /// Messages at QoS 2 of the client that it has not released.
    unreleased: BTreeSet<u16>,
    /// Messages that wait for room in the window.
    waiting: VecDeque<Message>,
    /// Messages under way, oldest first.
    in_flight: VecDeque<(u16, Message)>,
    last_id: u16,
}

struct Message {
    topic: String,
    payload: Vec<u8>,
    copies: usize,
    /// The client has answered with PUBREC.
    accepted: bool,
}

impl RawBroker {
    pub(crate) fn new(qos: u8) -> Self {
        Self {
            qos,
            input: Vec::new(),
            connected: false,
            is_v5: true,
            has_session: false,
            window: WINDOW,
            unreleased: BTreeSet::new(),
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            last_id: 0,
        }
    }

    /// Removes the first whole packet from the input: its first byte and its body.
    fn next_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let header = *self.input.first()?;
        let (length, used) = read_length(&self.input[1..])?;
        let end = 1 + used + length;
        if self.input.len() < end {
            return None;
        }
        let body = self.input[1 + used..end].to_vec();
        self.input.drain(..end);
        Some((header, body))
    }

    fn handle(&mut self, header: u8, body: &[u8], exchange: &mut Exchange) {
        match header >> 4 {
            CONNECT => self.connect(body, exchange),
            PUBLISH => self.receive(header, body, exchange),
            PUBREL => {
                let id = id_of(body);
                self.unreleased.remove(&id);
                write_packet(PUBCOMP << 4, &[&id.to_be_bytes()], exchange);
            }
            PUBACK => self.complete(id_of(body), exchange),
            PUBREC => {
                let id = id_of(body);
                let sent = self.in_flight.iter_mut().find(|(sent, _)| *sent == id);
                if let Some((_, message)) = sent
                    && !message.accepted
                {
                    // From here on the message is the client's.
                    message.accepted = true;
                    exchange.acknowledge(&message.topic);
                    write_packet(PUBREL << 4 | 2, &[&id.to_be_bytes()], exchange);
                }
            }
            PUBCOMP => {
                self.in_flight.retain(|(sent, _)| *sent != id_of(body));
                self.send_waiting(exchange);
            }
            SUBSCRIBE => self.subscribe(body, exchange),
            UNSUBSCRIBE => write_packet(0xb0, &[&body[..2], self.no_properties(), &[0]], exchange),
            PINGREQ => write_packet(0xd0, &[], exchange),
            DISCONNECT => exchange.hang_up(),
            other => panic!("a client sends no packet of type {other}"),
        }
    }

    fn connect(&mut self, body: &[u8], exchange: &mut Exchange) {
        assert_eq!(&body[..6], b"\0\x04MQTT");
        let (level, flags) = (body[6], body[7]);
        self.is_v5 = level == 5;
        self.window = WINDOW;
        if self.is_v5 {
            let (length, used) = read_length(&body[10..]).expect("properties");
            let properties = &body[10 + used..10 + used + length];
            self.window = WINDOW.min(receive_maximum(properties));
        }
        let is_clean = flags & 2 != 0;
        if is_clean {
            self.has_session = false;
            self.unreleased.clear();
            self.in_flight.clear();
            self.waiting.clear();
        }
        let session_present = u8::from(self.has_session);
        self.has_session = true;
        self.connected = true;
        write_packet(0x20, &[&[session_present, 0], self.no_properties()], exchange);
        for (id, message) in &self.in_flight {
            if message.accepted {
                write_packet(PUBREL << 4 | 2, &[&id.to_be_bytes()], exchange);
            } else {
                self.publish(DUP, *id, message, exchange);
            }
        }
        self.send_waiting(exchange);
    }

    fn receive(&mut self, header: u8, body: &[u8], exchange: &mut Exchange) {
        let (topic, mut rest) = body[2..].split_at(usize::from(id_of(body)));
        let topic = std::str::from_utf8(topic).expect("a topic is UTF-8");
        let qos = header >> 1 & 3;
        let id = if qos > 0 { id_of(rest) } else { 0 };
        rest = &rest[if qos > 0 { 2 } else { 0 }..];
        if self.is_v5 {
            let (length, used) = read_length(rest).expect("properties");
            rest = &rest[used + length..];
        }
        if qos < 2 || self.unreleased.insert(id) {
            exchange.receive(topic, rest);
        }
        match qos {
            0 => {}
            1 => write_packet(PUBACK << 4, &[&id.to_be_bytes()], exchange),
            _ => write_packet(PUBREC << 4, &[&id.to_be_bytes()], exchange),
        }
    }

    /// Ends a message at QoS 1.
    fn complete(&mut self, id: u16, exchange: &mut Exchange) {
        let sent = self.in_flight.iter().position(|(sent, _)| *sent == id);
        if let Some((_, message)) = sent.and_then(|sent| self.in_flight.remove(sent)) {
            exchange.acknowledge(&message.topic);
            self.send_waiting(exchange);
        }
    }

    /// Grants each filter the QoS that it asks for.
    fn subscribe(&self, body: &[u8], exchange: &mut Exchange) {
        let mut filters = &body[2..];
        if self.is_v5 {
            let (length, used) = read_length(filters).expect("properties");
            filters = &filters[used + length..];
        }
        let mut granted = Vec::new();
        while !filters.is_empty() {
            let end = 2 + usize::from(id_of(filters));
            granted.push(filters[end] & 3);
            filters = &filters[end + 1..];
        }
        write_packet(0x90, &[&body[..2], self.no_properties(), &granted], exchange);
    }

    fn send_waiting(&mut self, exchange: &mut Exchange) {
        while self.connected && self.in_flight.len() < self.window {
            let Some(message) = self.waiting.pop_front() else { return };
            self.last_id = self.last_id % 60_000 + 1;
            self.publish(0, self.last_id, &message, exchange);
            for _ in 1..message.copies {
                self.publish(DUP, self.last_id, &message, exchange);
            }
            self.in_flight.push_back((self.last_id, message));
        }
    }

    fn publish(&self, flags: u8, id: u16, message: &Message, exchange: &mut Exchange) {
        let length = u16::try_from(message.topic.len()).expect("a short topic").to_be_bytes();
        let id = id.to_be_bytes();
        let id = if self.qos > 0 { &id[..] } else { &[] };
        let header = PUBLISH << 4 | self.qos << 1 | flags;
        let topic = message.topic.as_bytes();
        write_packet(
            header,
            &[&length, topic, id, self.no_properties(), &message.payload],
            exchange,
        );
    }

    /// The encoding of "no properties" in the client's version.
    fn no_properties(&self) -> &'static [u8] {
        if self.is_v5 { &[0] } else { &[] }
    }
}

impl Protocol for RawBroker {
    fn connected(&mut self, _: &mut Exchange) {
        self.input.clear();
        self.connected = false;
    }

    fn read(&mut self, bytes: &[u8], exchange: &mut Exchange) {
        self.input.extend(bytes);
        while let Some((header, body)) = self.next_packet() {
            self.handle(header, &body, exchange);
        }
    }

    fn send(&mut self, topic: &str, payload: &[u8], copies: usize, exchange: &mut Exchange) {
        let (topic, payload) = (topic.into(), payload.into());
        let message = Message { topic, payload, copies, accepted: false };
        if self.qos > 0 {
            self.waiting.push_back(message);
            return self.send_waiting(exchange);
        }
        for _ in 0..message.copies {
            self.publish(0, 0, &message, exchange);
        }
    }

    fn rubbish(&self) -> Vec<Vec<u8>> {
        vec![
            // The reserved type, with a length that no packet has.
            vec![0xf7, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x11],
            // A message at QoS 3.
            vec![0x36, 7, 0, 2, b'i', b'n', 0, 9, b'1'],
            // A topic that is longer than its packet.
            vec![0x30, 5, 0, 99, b'i', b'n', 0],
            // A topic that is no UTF-8.
            vec![0x30, 6, 0, 2, 0xff, 0xfe, 0, b'1'],
            // A packet that only clients send.
            vec![0x82, 6, 0, 1, 0, 0, 0, 0],
        ]
    }
}

/// The first two bytes as a number.
fn id_of(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

/// A length of variable size, and the bytes it takes. `None` if bytes are missing.
fn read_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, byte) in bytes.iter().enumerate().take(4) {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((length, index + 1));
        }
    }
    None
}

fn write_packet(header: u8, parts: &[&[u8]], exchange: &mut Exchange) {
    let body = parts.concat();
    let mut packet = vec![header];
    let mut length = body.len();
    loop {
        let more = u8::from(length >= 128) << 7;
        packet.push((length % 128) as u8 | more);
        length /= 128;
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    exchange.write(&packet);
}

/// The receive maximum in the properties of a CONNECT.
fn receive_maximum(mut properties: &[u8]) -> usize {
    while let Some((id, rest)) = properties.split_first() {
        let size = match id {
            0x21 => return usize::from(id_of(rest)),
            0x11 | 0x27 => 4,
            0x22 => 2,
            0x17 | 0x19 => 1,
            0x15 | 0x16 => 2 + usize::from(id_of(rest)),
            0x26 => {
                let name = 2 + usize::from(id_of(rest));
                name + 2 + usize::from(id_of(&rest[name..]))
            }
            other => panic!("CONNECT has no property {other:#x}"),
        };
        properties = &rest[size..];
    }
    usize::from(u16::MAX)
}
