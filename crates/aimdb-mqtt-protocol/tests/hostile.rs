//! Streams that no broker sends: random bytes, and valid packets with random changes, in random pieces.
//!
//! `AIMDB_HOSTILE` is the number of streams for each version, `AIMDB_HOSTILE_SEED` the seed of the first.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use aimdb_mqtt_protocol::{
    Error, Event, Message, QoS, Receipt, Session, SessionConfig, SubscribeOptions, Token, Version,
};
use support::*;

const MAX_INCOMING: usize = 256;
const OUTPUT_ROOM: usize = 600;

/// The output at which reading stops, the answers to one more input buffer, and one message.
const MAX_OUTPUT: usize = 2 * OUTPUT_ROOM + 2 * MAX_INCOMING;

/// All that a session may own, with the small limits above.
const MAX_MEMORY: isize = 48 * 1024;

/// Counts the bytes that each thread has allocated.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends may free something after its counter.
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

fn live() -> isize {
    LIVE.with(Cell::get)
}

// SAFETY: every method passes its arguments to `System`, and counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often the streams ended in each way: a test whose streams end in one way only proves little.
#[derive(Debug, Default)]
struct Ends {
    refused: usize,
    disconnected: usize,
    malformed: usize,
    silent: usize,
    blocked: usize,
    none: usize,
    messages: usize,
    oversized: usize,
    outcomes: usize,
}

struct Attack {
    version: Version,
    random: Random,
    session: Session,
    now: u64,
    /// Published and without an outcome.
    open: Vec<Token>,
    receipts: Vec<Receipt>,
    ends: Ends,
    stream: Vec<u8>,
    packet: Vec<u8>,
}

impl Attack {
    fn new(version: Version, seed: u64) -> Self {
        let mut config = SessionConfig::new("node-7");
        config.version = version;
        config.clean_start = false;
        config.max_incoming = MAX_INCOMING;
        config.output_room = OUTPUT_ROOM;
        config.window = 8;
        config.receive_maximum = 16;
        Self {
            version,
            random: Random(seed),
            session: Session::new(config),
            now: 0,
            open: Vec::with_capacity(64),
            receipts: Vec::with_capacity(64),
            ends: Ends::default(),
            stream: Vec::with_capacity(8192),
            packet: Vec::with_capacity(2048),
        }
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.random.below(one_in) == 0
    }

    /// One stream, and the connection after it.
    fn attack(&mut self) {
        self.prepare_stream();
        self.session.set_cautious(false);
        self.session.connect(self.now);
        let end = self.serve_stream();
        match end {
            Ok(()) => self.ends.none += 1,
            Err(Error::Refused(..)) => self.ends.refused += 1,
            Err(Error::Disconnected(..)) => self.ends.disconnected += 1,
            Err(Error::Malformed(what)) => {
                assert!(!what.to_string().is_empty());
                self.ends.malformed += 1;
            }
            Err(Error::Silent) => self.ends.silent += 1,
            Err(Error::Blocked) => self.ends.blocked += 1,
            Err(other) => panic!("an error without a name: {other:?}"),
        }
        self.recover();
    }

    fn prepare_stream(&mut self) {
        self.stream.clear();
        if !self.chance(16) {
            let properties: &[u8] = match self.random.below(8) {
                0 => &[0x21, 0, 2],
                1 => &[0x27, 0, 0, 0, 30],
                2 => &[0x24, 1, 0x25, 0],
                3 => &[0x13, 0, 5, 0x12, 0, 1, b'x'],
                _ => &[],
            };
            let present = self.chance(2);
            let code = if self.chance(32) { self.random.below(256) as u8 } else { 0 };
            self.stream.extend(connack(self.version, present, code, properties));
        }
        for _ in 0..1 + self.random.below(8) {
            let start = self.stream.len();
            self.put_packet();
            if self.chance(6) {
                self.mutate(start);
            }
        }
    }

    /// Appends a packet that a broker could send.
    fn put_packet(&mut self) {
        let v5 = is_v5(self.version);
        // Few identifiers, so that they meet those under way; at times any.
        let any = self.chance(8);
        let id = self.random.below(if any { 65_536 } else { 24 }) as u16;
        let [high, low] = id.to_be_bytes();
        let out = &mut self.packet;
        out.clear();
        let first = match self.random.below(16) {
            0..=5 => {
                let flags = self.random.below(16) as u8;
                out.extend([0, 1, b"tuvw"[self.random.below(4)]]);
                if flags & 6 != 0 {
                    out.extend([high, low]);
                }
                if v5 {
                    match self.random.below(4) {
                        0 => out.extend(b"\x0b\x0b\x05\x26\0\x01k\0\x01v\x01\x01"),
                        1 => out.extend(b"\x05\x02\0\0\0\x09"),
                        _ => out.push(0),
                    }
                }
                let length = match self.random.below(8) {
                    0 => self.random.below(800),
                    _ => self.random.below(16),
                };
                out.resize(out.len() + length, b'p');
                0x30 | flags
            }
            kind @ 6..=11 => {
                out.extend([high, low]);
                if v5 && self.random.below(3) == 0 {
                    out.push([0, 0x10, 0x87, 0x92, 0x95][self.random.below(5)]);
                }
                [0x40, 0x50, 0x62, 0x70, 0x50, 0x62][kind - 6]
            }
            12 => {
                out.extend([high, low]);
                out.extend(v5.then_some(0));
                out.push([0, 1, 2, 0x80][self.random.below(4)]);
                0x90
            }
            13 => {
                out.extend([high, low]);
                if v5 {
                    out.extend([0, 0]);
                }
                0xb0
            }
            14 if self.random.below(8) == 0 => {
                out.extend(b"\x8b\x05\x1f\0\x02hi");
                0xe0
            }
            15 if self.random.below(4) == 0 => {
                let length = self.random.below(40);
                for _ in 0..length {
                    out.push(self.random.next() as u8);
                }
                self.random.next() as u8
            }
            _ => 0xd0,
        };
        self.stream.push(first);
        let mut length = self.packet.len();
        while length >= 0x80 {
            self.stream.push(length as u8 | 0x80);
            length >>= 7;
        }
        self.stream.push(length as u8);
        self.stream.extend_from_slice(&self.packet);
    }

    /// Changes the stream from here.
    fn mutate(&mut self, start: usize) {
        let at = start + self.random.below(self.stream.len() - start);
        match self.random.below(6) {
            0 => self.stream[at] = self.random.next() as u8,
            1 => self.stream[at] ^= 1 << self.random.below(8),
            2 => self.stream.truncate(at),
            3 => self.stream.insert(at, self.random.next() as u8),
            4 => drop(self.stream.remove(at)),
            _ => self.stream.extend_from_within(at..),
        }
    }

    fn serve_stream(&mut self) -> Result<(), Error> {
        let mut position = 0;
        let stream = std::mem::take(&mut self.stream);
        let mut end = Ok(());
        while position < stream.len() && end.is_ok() {
            if self.session.wants_input() {
                let most = [1, 4, 40, 4096][self.random.below(4)];
                let space = self.session.input();
                assert!((1..=MAX_INCOMING).contains(&space.len()));
                let rest = &stream[position..];
                let length = (1 + self.random.below(most)).min(space.len()).min(rest.len());
                space[..length].copy_from_slice(&rest[..length]);
                self.session.received(length, self.now);
                position += length;
            }
            end = self.take_events().and_then(|()| self.act());
            let output = self.session.output().len();
            assert!(output <= MAX_OUTPUT, "{output} bytes of output");
        }
        self.stream = stream;
        end
    }

    fn take_events(&mut self) -> Result<(), Error> {
        while let Some(event) = self.session.next_event()? {
            match event {
                Event::Message(message) => {
                    self.ends.messages += 1;
                    assert!(message.payload.len() < MAX_INCOMING);
                    assert_eq!(message.receipt.is_some(), message.qos != QoS::AtMostOnce);
                    let _ = message.properties.user().count();
                    self.receipts.extend(message.receipt);
                }
                Event::Oversized(message) => {
                    self.ends.oversized += 1;
                    assert!(message.topic.len() <= 256 * 3, "a lossy character has three bytes");
                    self.receipts.extend(message.receipt);
                }
                Event::Published { token, .. } => {
                    self.ends.outcomes += 1;
                    let found = self.open.iter().position(|open| *open == token);
                    self.open
                        .swap_remove(found.expect("an outcome without a message, or a second"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The program does something.
    fn act(&mut self) -> Result<(), Error> {
        match self.random.below(12) {
            0..=2 => {
                let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
                let payload = [0; 40];
                let length = self.random.below(40);
                let message = Message::new("t", &payload[..length])
                    .qos(qos[self.random.below(3)])
                    .retain(length == 7);
                self.open.extend(self.session.publish(&message));
            }
            3..=4 => {
                if !self.receipts.is_empty() {
                    let receipt = self.receipts.swap_remove(self.random.below(self.receipts.len()));
                    self.session.acknowledge(receipt);
                }
            }
            5..=7 => {
                let length = 1 + self.random.below(200);
                self.session.written(length, self.now);
            }
            8 => {
                // It is refused without room.
                let _ = self.session.subscribe("t/+", SubscribeOptions::default(), Some(7));
            }
            9 => {
                let cautious = self.chance(3);
                self.session.set_cautious(cautious);
            }
            10 => {
                if let Some(index) = self.open.len().checked_sub(1)
                    && self.chance(4)
                    && self.session.forget(self.open[index])
                {
                    self.open.swap_remove(index);
                }
                if self.chance(32) {
                    self.session.disconnect(true);
                }
            }
            _ => {
                self.now += self.random.below(12_000) as u64;
                if let Some(deadline) = self.session.deadline()
                    && self.chance(8)
                {
                    self.now = self.now.max(deadline);
                }
            }
        }
        self.session.handle_time(self.now)
    }

    /// The next broker is a correct one: everything completes.
    fn recover(&mut self) {
        self.session.connection_lost();
        self.session.set_cautious(false);
        self.receipts.clear();
        self.session.connect(self.now);
        // Half of the time with what the attack has left.
        let present = self.chance(2);
        let mut probe = None;
        let mut answers = Vec::new();
        for _ in 0..1_000 {
            let mut output = self.session.output().to_vec();
            self.session.written(output.len(), self.now);
            for packet in take_packets(&mut output, self.version) {
                answers.extend(match packet {
                    Sent::Connect(_) => connack(self.version, present, 0, &[]),
                    Sent::Publish(publish) if publish.qos == 0 => continue,
                    Sent::Publish(publish) if publish.qos == 1 => ack(0x40, publish.id),
                    Sent::Publish(publish) => ack(0x50, publish.id),
                    Sent::Pubrel(id, _) => ack(0x70, id),
                    other => panic!("{other:?}"),
                });
            }
            let space = self.session.input();
            let length = space.len().min(answers.len());
            space[..length].copy_from_slice(&answers[..length]);
            answers.drain(..length);
            self.session.received(length, self.now);
            self.take_events().expect("a correct broker");
            if probe.is_none() && self.session.has_room(QoS::ExactlyOnce) {
                let message = Message::new("t", b"probe").qos(QoS::ExactlyOnce);
                let token = self.session.publish(&message).expect("room for a message");
                self.open.push(token);
                probe = Some(token);
            }
            if probe.is_some() && self.session.in_flight() == 0 {
                break;
            }
        }
        assert!(probe.is_some(), "no room after an attack");
        assert_eq!(self.open, [], "messages without an outcome");
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

fn streams_that_no_broker_sends(version: Version) {
    let (count, first) = (number("AIMDB_HOSTILE", 20_000), number("AIMDB_HOSTILE_SEED", 1));
    let before = live();
    let mut attack = Attack::new(version, 0);
    for seed in first..first + count {
        attack.random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        attack.attack();
        let memory = live() - before;
        assert!(memory <= MAX_MEMORY, "{memory} bytes after seed {seed}");
    }
    let Ends { refused, disconnected, malformed, silent, blocked, none, .. } = attack.ends;
    let Ends { messages, oversized, outcomes, .. } = attack.ends;
    let ends = [refused, malformed, silent, blocked, none, messages, oversized, outcomes];
    let expected = ends.iter().all(|times| *times > 0) && (disconnected > 0) == is_v5(version);
    assert!(expected || count < 20_000, "{:?}", attack.ends);
}

#[test]
fn no_stream_of_mqtt_5_harms_a_session() {
    streams_that_no_broker_sends(Version::V5);
}

#[cfg(feature = "v311")]
#[test]
fn no_stream_of_mqtt_3_1_1_harms_a_session() {
    streams_that_no_broker_sends(Version::V311);
}

/// Traffic in both directions, and connections that break, for as many rounds.
fn traffic(client: &mut Client, rounds: usize) -> isize {
    for round in 0..rounds {
        for (qos, payload) in [
            (QoS::AtMostOnce, &b"small"[..]),
            (QoS::AtLeastOnce, &[b'x'; 500]),
            (QoS::ExactlyOnce, &[b'y'; 5_000]),
        ] {
            client.queue(qos, payload);
        }
        for sent in client.sent() {
            let Sent::Publish(sent) = sent else { panic!("{sent:?}") };
            let first = [0, 0x40, 0x50][usize::from(sent.qos)];
            if first > 0 {
                client.feed(&ack(first, sent.id));
                client.feed(&ack(0x70, sent.id));
            }
        }
        for (qos, size) in [(QoS::AtLeastOnce, 40_000), (QoS::ExactlyOnce, 10)] {
            let message = client.receive(qos, 1 + qos as u16, &vec![b'z'; size]);
            client.acknowledge(&message);
        }
        client.feed(&ack(0x62, 3));
        client.session.subscribe("t", SubscribeOptions::default(), None).unwrap();
        client.sent();
        client.events();
        if round % 10 == 9 {
            client.session.connection_lost();
            client.go_online(true, &[]);
        }
    }
    live()
}

#[test]
fn traffic_leaves_nothing_behind() {
    for version in versions() {
        let mut client = Client::online(version);
        let early = traffic(&mut client, 50);
        assert_eq!(traffic(&mut client, 1_000) - early, 0);
    }
}

#[test]
fn large_messages_leave_no_large_buffers() {
    for version in versions() {
        let before = live();
        let mut client = Client::new(version);
        client.session.config().max_incoming = 4_000_000;
        client.go_online(false, &[]);
        let large = vec![b'x'; 1_000_000];
        let mut sent = Vec::new();
        for _ in 0..20 {
            sent.push(client.publish(QoS::AtLeastOnce, &large).1.id);
        }
        assert!(live() - before > 20_000_000, "they are kept for the answer");
        sent.into_iter().for_each(|id| assert_eq!(client.feed(&ack(0x40, id)).len(), 1));
        // Many small ones at once: their buffers are kept, but not all.
        client.session.connection_lost();
        client.session.config().window = 10_000;
        client.session.config().output_room = usize::MAX;
        client.go_online(true, &[]);
        for _ in 0..500 {
            client.queue(QoS::AtLeastOnce, &large[..8_000]);
        }
        let sent = ids(&client.sent());
        sent.into_iter().for_each(|id| assert_eq!(client.feed(&ack(0x40, id)).len(), 1));
        client.receive(QoS::AtMostOnce, 0, &large);
        assert!(live() - before > 1_000_000 + large.len() as isize, "the input has grown");
        drop(large);
        client.session.connection_lost();
        client.go_online(true, &[]);
        let memory = live() - before;
        assert!(memory < 500_000, "{memory} bytes");
    }
}
