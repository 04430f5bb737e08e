//! Random schedules of a client and a correct broker, whose connections break at any byte.

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aimdb_mqtt_protocol::{
    Error, Lost, Message, QoS, Receipt, Session, SessionConfig, Token, Version,
};
use proptest::prelude::*;
use support::*;

use QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};

#[derive(Clone, Debug)]
enum Step {
    /// The program publishes.
    Publish(QoS),
    /// The client writes at most this number of bytes.
    Write(usize),
    /// The broker reads at most this number of bytes.
    BrokerReads(usize),
    /// The broker sends at most this number of its answers.
    BrokerAnswers(usize),
    /// The client reads at most this number of bytes.
    Read(usize),
    /// The program acknowledges one of the messages that it has.
    Acknowledge(usize),
    /// The broker sends a message.
    BrokerPublishes(QoS),
    /// The connection breaks. The broker has the session at the next one, or not.
    Break {
        kept: bool,
        window: u16,
        maximum: u16,
    },
    SetCautious(bool),
    /// All that is under way arrives.
    Calm,
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![1 => Just(AtMostOnce), 2 => Just(AtLeastOnce), 2 => Just(ExactlyOnce)]
}

fn step() -> impl Strategy<Value = Step> {
    let count = || prop_oneof![1..8_usize, 8..200_usize];
    prop_oneof![
        6 => qos().prop_map(Step::Publish),
        6 => count().prop_map(Step::Write),
        6 => count().prop_map(Step::BrokerReads),
        5 => (1..4_usize).prop_map(Step::BrokerAnswers),
        6 => count().prop_map(Step::Read),
        5 => any::<usize>().prop_map(Step::Acknowledge),
        5 => qos().prop_map(Step::BrokerPublishes),
        2 => (any::<bool>(), any::<bool>(), 1..6_u16, 1..6_u16).prop_map(
            |(one, two, window, maximum)| Step::Break { kept: one || two, window, maximum }
        ),
        1 => prop::bool::weighted(0.3).prop_map(Step::SetCautious),
        1 => Just(Step::Calm),
    ]
}

/// A message to the client, in the broker's session.
#[derive(Clone, Debug)]
struct Outgoing {
    number: u32,
    qos: QoS,
    id: u16,
    /// Whether it was sent on an earlier connection.
    dup: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unsent,
    Sent,
    /// PUBREC has arrived.
    Released,
}

/// A correct broker with one client.
struct Broker {
    version: Version,
    unread: Vec<u8>,
    /// The bytes that the client has not read.
    down: Vec<u8>,
    connected: bool,
    keeps: bool,
    maximum: u16,
    /// The client's window on this connection.
    window: u16,
    /// The client's receive maximum.
    quota: usize,
    /// The identifiers at QoS 2 that wait for a PUBREL.
    received: BTreeSet<u16>,
    /// The messages of this connection whose last answer is not sent: the receive maximum bounds them.
    open: BTreeSet<u16>,
    /// Answers that are not sent, and the identifier that each closes.
    answers: VecDeque<(Vec<u8>, Option<u16>)>,
    outgoing: VecDeque<Outgoing>,
    /// All arrivals, in order.
    arrivals: Vec<u32>,
    /// Counts the sessions.
    session: u32,
}

impl Broker {
    fn broken(&mut self, kept: bool, maximum: u16) {
        self.unread.clear();
        self.down.clear();
        self.connected = false;
        self.keeps = kept;
        self.maximum = maximum;
        self.open.clear();
        self.answers.clear();
    }

    fn answer(&mut self, count: usize) {
        for (bytes, closed) in self.answers.drain(..count.min(self.answers.len())) {
            self.down.extend(bytes);
            if let Some(id) = closed {
                self.open.remove(&id);
            }
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        for packet in take_packets(&mut self.unread, self.version) {
            assert_eq!(self.connected, !matches!(packet, Sent::Connect(_)), "{packet:?}");
            self.handle(packet);
            self.send();
        }
    }

    fn handle(&mut self, packet: Sent) {
        let v5 = is_v5(self.version);
        match packet {
            Sent::Connect(connect) => {
                self.connected = true;
                self.quota = connect.receive_maximum.unwrap_or(u16::MAX).into();
                if !self.keeps {
                    self.received.clear();
                    self.outgoing.clear();
                    self.session += 1;
                }
                let [high, low] = self.maximum.to_be_bytes();
                self.down.extend(connack(self.version, self.keeps, 0, &[0x21, high, low]));
                self.resume();
            }
            Sent::Publish(publish) => {
                let number = u32::from_be_bytes(publish.payload[..4].try_into().unwrap());
                if publish.qos == 0 {
                    self.arrivals.push(number);
                    return;
                }
                assert!(self.open.insert(publish.id), "the identifier is in use");
                assert!(self.open.len() <= self.window.into(), "the window");
                assert!(!v5 || self.open.len() <= self.maximum.into(), "the receive maximum");
                if publish.qos == 1 {
                    self.arrivals.push(number);
                    self.answers.push_back((ack(0x40, publish.id), Some(publish.id)));
                    return;
                }
                if self.received.insert(publish.id) {
                    self.arrivals.push(number);
                } else {
                    assert!(publish.dup, "another message with an identifier in use");
                }
                self.answers.push_back((ack(0x50, publish.id), None));
            }
            Sent::Pubrel(id, reason) => {
                assert_eq!(reason, 0, "the broker sends a PUBREC only for a message under way");
                let known = self.received.remove(&id);
                let unknown = v5 && !known;
                let bytes = if unknown { ack_with(0x70, id, 0x92) } else { ack(0x70, id) };
                self.answers.push_back((bytes, Some(id)));
            }
            Sent::Puback(id, 0) => {
                let oldest = self.oldest(AtLeastOnce, State::Sent);
                assert_eq!(self.outgoing[oldest].id, id, "a PUBACK out of order");
                self.outgoing.remove(oldest);
            }
            Sent::Pubrec(id, 0) => {
                let oldest = self.oldest(ExactlyOnce, State::Sent);
                assert_eq!(self.outgoing[oldest].id, id, "a PUBREC out of order");
                self.outgoing[oldest].state = State::Released;
                self.down.extend(ack(0x62, id));
            }
            Sent::Pubcomp(id, reason) => {
                // 0x92: the client had released it, and its PUBCOMP was lost.
                assert!(matches!(reason, 0 | 0x92));
                let found = self
                    .outgoing
                    .iter()
                    .position(|message| message.id == id && message.state == State::Released);
                self.outgoing.remove(found.expect("a PUBREL is under way"));
            }
            Sent::Ping => self.answers.push_back((PONG.to_vec(), None)),
            other => panic!("{other:?}"),
        }
    }

    fn oldest(&self, qos: QoS, state: State) -> usize {
        let found =
            self.outgoing.iter().position(|message| message.qos == qos && message.state == state);
        found.expect("a message waits for this answer")
    }

    /// Sends what the kept session has under way, in its order.
    fn resume(&mut self) {
        for message in &mut self.outgoing {
            match message.state {
                State::Unsent => {}
                State::Sent => {
                    message.dup = true;
                    message.state = State::Unsent;
                }
                State::Released => self.down.extend(ack(0x62, message.id)),
            }
        }
    }

    /// Sends as many messages as the client takes.
    fn send(&mut self) {
        let mut open =
            self.outgoing.iter().filter(|message| message.state != State::Unsent).count();
        for index in 0..self.outgoing.len() {
            if !self.connected || self.outgoing[index].state != State::Unsent || open >= self.quota
            {
                continue;
            }
            if self.outgoing[index].id == 0 {
                // The lowest one that is free, so that identifiers are soon used again.
                let used = |id| self.outgoing.iter().any(|message| message.id == id);
                self.outgoing[index].id = (1..).find(|id| !used(*id)).unwrap();
            }
            let message = &mut self.outgoing[index];
            message.state = State::Sent;
            open += 1;
            let first = 0x30 | u8::from(message.dup) << 3 | (message.qos as u8) << 1;
            let payload = message.number.to_be_bytes();
            self.down.extend(publish(self.version, first, "t", message.id, &payload));
        }
    }

    fn publish(&mut self, number: u32, qos: QoS) {
        if qos == AtMostOnce {
            if self.connected {
                self.down.extend(publish(self.version, 0x30, "t", 0, &number.to_be_bytes()));
            }
            return;
        }
        self.outgoing.push_back(Outgoing { number, qos, id: 0, dup: false, state: State::Unsent });
        self.send();
    }
}

/// A published message, as the program knows it.
struct Published {
    number: u32,
    qos: QoS,
    outcomes: Vec<Result<(), Lost>>,
    /// The broker's session at each attempt to say how often it may arrive.
    sessions: BTreeSet<u32>,
}

struct World {
    session: Session,
    broker: Broker,
    /// The bytes that the broker has not read.
    up: Vec<u8>,
    published: BTreeMap<Token, Published>,
    next: u32,
    /// The broker's session at the latest CONNACK that the client read.
    known_session: u32,
    /// Messages that the program has and has not acknowledged, with the broker's session.
    held: Vec<(u32, u32, Receipt)>,
    /// The events about each message of the broker: its QoS, and the program's acknowledgements before each.
    events: BTreeMap<u32, Vec<bool>>,
    order: Vec<u32>,
    sent_by_broker: BTreeMap<u32, (QoS, u32)>,
    acknowledged: BTreeSet<u32>,
}

impl World {
    fn new(version: Version) -> Self {
        let mut config = SessionConfig::new("node-7");
        config.version = version;
        config.clean_start = false;
        config.receive_maximum = 4;
        config.window = 5;
        config.output_room = 200;
        config.max_incoming = 64;
        let mut session = Session::new(config);
        session.connect(0);
        let broker = Broker {
            version,
            unread: Vec::new(),
            down: Vec::new(),
            connected: false,
            keeps: false,
            maximum: 3,
            quota: 0,
            received: BTreeSet::new(),
            open: BTreeSet::new(),
            answers: VecDeque::new(),
            window: 5,
            outgoing: VecDeque::new(),
            arrivals: Vec::new(),
            session: 0,
        };
        Self {
            session,
            broker,
            up: Vec::new(),
            published: BTreeMap::new(),
            next: 0,
            known_session: 0,
            held: Vec::new(),
            events: BTreeMap::new(),
            order: Vec::new(),
            sent_by_broker: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
        }
    }

    fn run(&mut self, step: &Step) -> Result<(), Error> {
        match *step {
            Step::Publish(qos) => self.publish(qos),
            Step::Write(count) => self.write(count),
            Step::BrokerReads(count) => {
                let count = count.min(self.up.len());
                let bytes: Vec<u8> = self.up.drain(..count).collect();
                self.broker.read(&bytes);
            }
            Step::BrokerAnswers(count) => self.broker.answer(count),
            Step::Read(count) => {
                let space = self.session.input();
                let count = count.min(space.len()).min(self.broker.down.len());
                space[..count].copy_from_slice(&self.broker.down[..count]);
                self.broker.down.drain(..count);
                self.session.received(count, 0);
            }
            Step::Acknowledge(which) => {
                if !self.held.is_empty() {
                    let (number, _, receipt) = self.held.remove(which % self.held.len());
                    self.acknowledged.insert(number);
                    self.session.acknowledge(receipt);
                }
            }
            Step::BrokerPublishes(qos) => {
                self.next += 1;
                self.sent_by_broker.insert(self.next, (qos, self.broker.session));
                self.broker.publish(self.next, qos);
            }
            Step::Break { kept, window, maximum } => {
                self.up.clear();
                // If the broker keeps a session whose CONNACK the client never read, the client takes it for the one
                // before: MQTT has no means against that.
                let known = self.known_session == self.broker.session && self.known_session > 0;
                self.broker.broken(kept && known, maximum);
                self.session.connection_lost();
                self.take_events()?;
                self.session.config().window = window;
                self.broker.window = window;
                self.session.connect(0);
            }
            Step::SetCautious(cautious) => self.session.set_cautious(cautious),
            Step::Calm => self.calm()?,
        }
        self.take_events()
    }

    fn publish(&mut self, qos: QoS) {
        let number = self.next + 1;
        // A payload of a varying size, so that packets end anywhere.
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(4 + number as usize % 23, 0);
        let message = Message::new("a", &payload).qos(qos);
        let room = self.session.has_room(qos);
        if let Ok(token) = self.session.publish(&message) {
            assert!(room, "a message was taken without room");
            self.next = number;
            let sessions = BTreeSet::from([self.broker.session]);
            let published = Published { number, qos, outcomes: Vec::new(), sessions };
            assert!(self.published.insert(token, published).is_none(), "a token twice");
        }
    }

    fn write(&mut self, count: usize) {
        let output = self.session.output();
        let count = count.min(output.len());
        self.up.extend_from_slice(&output[..count]);
        self.session.written(count, 0);
    }

    fn take_events(&mut self) -> Result<(), Error> {
        while let Some(event) = self.session.next_event()? {
            match Happened::of(event) {
                Happened::Connected(present) => {
                    assert_eq!(present, self.broker.keeps);
                    self.known_session = self.broker.session;
                    for published in self.published.values_mut() {
                        if published.outcomes.is_empty() {
                            published.sessions.insert(self.broker.session);
                        }
                    }
                }
                Happened::Published(token, outcome) => {
                    let published = self.published.get_mut(&token).expect("an own token");
                    published.outcomes.push(outcome);
                    assert_eq!(published.outcomes.len(), 1, "a second outcome");
                    if published.qos > AtMostOnce {
                        assert_eq!(outcome, Ok(()));
                        assert!(self.broker.arrivals.contains(&published.number));
                    }
                }
                Happened::Message(message) => {
                    let number = u32::from_be_bytes(message.payload[..4].try_into().unwrap());
                    let session = self.broker.session;
                    let events = self.events.entry(number).or_default();
                    events.push(self.acknowledged.contains(&number));
                    if events.len() == 1 && message.qos > AtMostOnce {
                        self.order.push(number);
                    }
                    if let Some(receipt) = message.receipt {
                        assert!(
                            self.held.iter().all(|held| (held.0, held.1) != (number, session)),
                            "a second event about a message that the program holds"
                        );
                        self.held.push((number, session, receipt));
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        Ok(())
    }

    /// Moves all bytes, and acknowledges all messages, until nothing moves.
    fn calm(&mut self) -> Result<(), Error> {
        for _ in 0..10_000 {
            self.take_events()?;
            let idle = self.session.output().is_empty()
                && self.up.is_empty()
                && self.broker.answers.is_empty()
                && self.broker.down.is_empty()
                && self.held.is_empty();
            if idle {
                return Ok(());
            }
            self.write(usize::MAX);
            let bytes = std::mem::take(&mut self.up);
            self.broker.read(&bytes);
            self.broker.answer(usize::MAX);
            let space = self.session.input();
            let count = space.len().min(self.broker.down.len());
            space[..count].copy_from_slice(&self.broker.down[..count]);
            self.broker.down.drain(..count);
            self.session.received(count, 0);
            self.take_events()?;
            for (number, _, receipt) in std::mem::take(&mut self.held) {
                self.acknowledged.insert(number);
                self.session.acknowledge(receipt);
            }
        }
        panic!("the bytes never end")
    }

    /// The state when nothing is under way.
    fn check(&self) {
        assert!(self.session.is_connected());
        assert_eq!((self.session.in_flight(), self.session.under_way()), (0, None));
        assert!(self.session.has_room(AtMostOnce) && self.session.has_room(ExactlyOnce));
        let mut expected = Vec::new();
        for published in self.published.values() {
            let Published { number, qos, outcomes, sessions } = published;
            assert_eq!(outcomes.len(), 1, "message {number}");
            let arrivals = self.broker.arrivals.iter().filter(|other| *other == number).count();
            match qos {
                AtMostOnce => {
                    assert!(arrivals <= 1);
                    // With a proof it did arrive; without one, it was written.
                    assert!(
                        arrivals == 0 || matches!(outcomes[0], Ok(()) | Err(Lost::Disconnected))
                    );
                }
                AtLeastOnce => assert!(arrivals >= 1, "message {number} never arrived"),
                ExactlyOnce => {
                    assert!(arrivals >= 1, "message {number} never arrived");
                    assert!(
                        arrivals <= sessions.len(),
                        "message {number} arrived {arrivals} times in {} sessions",
                        sessions.len()
                    );
                }
            }
            if *qos > AtMostOnce {
                expected.push(*number);
            }
        }
        let mut seen = BTreeSet::new();
        let is_first = |number: &&u32| expected.contains(number) && seen.insert(**number);
        let first: Vec<u32> = self.broker.arrivals.iter().filter(is_first).copied().collect();
        assert_eq!(first, expected, "the order of the first arrivals");

        assert!(self.broker.outgoing.is_empty(), "{:?}", self.broker.outgoing);
        assert!(self.broker.received.is_empty(), "{:?}", self.broker.received);
        let ascending = self.order.is_sorted();
        assert!(ascending, "the order of the first events: {:?}", self.order);
        for (number, (qos, session)) in &self.sent_by_broker {
            let events = self.events.get(number).map_or(&[][..], |events| events);
            match qos {
                AtMostOnce => assert!(events.len() <= 1),
                AtLeastOnce => {
                    // Only a lost PUBACK makes another event.
                    assert!(events.iter().skip(1).all(|acknowledged| *acknowledged));
                }
                ExactlyOnce => assert!(events.len() <= 1, "message {number} is two events"),
            }
            // A lost session loses its messages, and a new one begins with the next CONNECT.
            if *qos > AtMostOnce && *session == self.broker.session {
                assert!(!events.is_empty(), "message {number} is no event");
            }
        }
    }
}

fn run(version: Version, steps: &[Step]) {
    let mut world = World::new(version);
    for step in steps {
        world.run(step).unwrap();
    }
    world.calm().unwrap();
    world.check();
}

proptest! {
    #[test]
    fn every_message_arrives_as_its_qos_says(steps in prop::collection::vec(step(), 1..250)) {
        for version in versions() {
            run(version, &steps);
        }
    }
}
