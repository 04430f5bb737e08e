//! A broker of raw bytes whose behaviour a test chooses.
//!
//! It speaks MQTT 5 and 3.1.1 and records every packet that it reads. It is not a full broker: it forwards no message
//! from one client to another. Unless a test says otherwise, it accepts everything; it always ends a connection that
//! breaks what [`Capabilities`] allow, sends a malformed packet, or is taken over by another client with its id.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aimdb_mqtt_connector::MqttVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::packets::{
    Connect, Fields, Publish, Subscribe, Subscription, packet, put_number, put_properties, put_text,
};

/// How long a broker that has sent its last packet waits for the client to close.
const LINGER: Duration = Duration::from_millis(200);

/// A connection that is read or written no longer, or only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Serving,
    /// Reads and writes nothing.
    Frozen,
    /// Reads, and writes nothing.
    Mute,
    /// Ends, because another connection has the client's id.
    TakenOver,
    Closed,
}

/// The broker. It serves until it is dropped.
pub struct Picky {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// The abilities of the broker. MQTT 5 clients read it in CONNACK; in either version the broker ends a connection that asks
/// for more.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    pub maximum_qos: Option<u8>,
    pub no_retain: bool,
    pub no_identifiers: bool,
    pub no_wildcards: bool,
    pub no_shared: bool,
    pub topic_alias_maximum: Option<u16>,
    pub receive_maximum: Option<u16>,
    pub maximum_packet_size: Option<u32>,
    pub server_keep_alive: Option<u16>,
    pub assigned_client_id: Option<String>,
    /// The broker keeps sessions of clients that ask for it.
    pub sessions: bool,
    /// CONNACK says this about the session, whatever the broker has.
    pub session_present: Option<bool>,
    /// The broker ends a connection for a topic or filter that common brokers do not accept, see [`is_strange`].
    pub strict_topics: bool,
    /// After a DISCONNECT the broker waits for the client to close the connection.
    pub lingers: bool,
}

/// The broker's reaction to a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConnect {
    Accept,
    /// CONNACK with this code.
    Refuse(u8),
    /// Ends the connection without a CONNACK.
    HangUp,
    /// Ends the connection right after its CONNACK.
    AcceptAndHangUp,
    /// Sends nothing.
    Ignore,
}

/// The broker's reaction to a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPublish {
    Accept,
    /// Acknowledges after this time.
    AcceptAfter(Duration),
    /// Ends the connection without a word.
    HangUp,
    /// DISCONNECT with this reason, then ends the connection. MQTT 3.1.1 has no such packet.
    Disconnect(u8),
    /// An acknowledgement with this reason. Without one (QoS 0, MQTT 3.1.1) the message is discarded.
    Refuse(u8),
    /// Sends no acknowledgement.
    Ignore,
}

/// The broker's reaction to one filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSubscribe {
    Grant,
    HangUp,
    Disconnect(u8),
    /// This code in the SUBACK.
    Refuse(u8),
    /// Sends no SUBACK.
    Ignore,
}

/// A message that the broker sends.
#[derive(Clone, Debug)]
pub struct Delivery {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    dup: bool,
    /// `None`: the identifiers of the subscriptions that match.
    identifiers: Option<Vec<u32>>,
    /// Further properties, encoded.
    properties: Vec<u8>,
    copies: usize,
}

/// The rules and the record of everything that happened.
struct Shared {
    version: MqttVersion,
    rules: Mutex<Rules>,
    state: Mutex<State>,
}

struct Rules {
    capabilities: Capabilities,
    on_connect: Box<dyn FnMut(&Connect) -> OnConnect + Send>,
    on_publish: Box<dyn FnMut(&Publish) -> OnPublish + Send>,
    on_subscribe: Box<dyn FnMut(&Subscription) -> OnSubscribe + Send>,
    retained: Vec<Delivery>,
    /// The reasons of PUBREL and PUBCOMP, and the properties of the broker's packets, by the packets' kinds.
    reasons: HashMap<u8, u8>,
    properties: HashMap<u8, Vec<u8>>,
}

#[derive(Default)]
struct State {
    accepted_at: Vec<Instant>,
    open: Vec<OpenConnection>,
    connects: Vec<Connect>,
    publishes: Vec<Publish>,
    subscribes: Vec<Subscribe>,
    unsubscribes: Vec<String>,
    /// The kind, packet identifier and reason of each acknowledgement of the client.
    acknowledgements: Vec<(u8, u16, u8)>,
    disconnects: Vec<u8>,
    pings: usize,
    /// Why the broker ended connections.
    complaints: Vec<String>,
    sessions: HashMap<String, Vec<Subscription>>,
}

/// A connection whose CONNECT was accepted.
struct OpenConnection {
    number: usize,
    client_id: String,
    mode: watch::Sender<Mode>,
    outbox: mpsc::UnboundedSender<Vec<u8>>,
    subscriptions: Vec<Subscription>,
    next_id: u16,
}

impl Picky {
    /// A broker that accepts everything.
    pub async fn start(version: MqttVersion) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            version,
            rules: Mutex::new(Rules {
                capabilities: Capabilities::default(),
                on_connect: Box::new(|_| OnConnect::Accept),
                on_publish: Box::new(|_| OnPublish::Accept),
                on_subscribe: Box::new(|_| OnSubscribe::Grant),
                retained: Vec::new(),
                reasons: HashMap::new(),
                properties: HashMap::new(),
            }),
            state: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { port, shared, accepting }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets what the broker can do, for later connections.
    pub fn can(&self, capabilities: Capabilities) {
        self.shared.rules().capabilities = capabilities;
    }

    pub fn on_connect(&self, rule: impl FnMut(&Connect) -> OnConnect + Send + 'static) {
        self.shared.rules().on_connect = Box::new(rule);
    }

    pub fn on_publish(&self, rule: impl FnMut(&Publish) -> OnPublish + Send + 'static) {
        self.shared.rules().on_publish = Box::new(rule);
    }

    pub fn on_subscribe(&self, rule: impl FnMut(&Subscription) -> OnSubscribe + Send + 'static) {
        self.shared.rules().on_subscribe = Box::new(rule);
    }

    /// Sets the reason of later packets of this kind, PUBREL or PUBCOMP. MQTT 5.
    pub fn set_reason(&self, kind: u8, reason: u8) {
        self.shared.rules().reasons.insert(kind, reason);
    }

    /// Adds these encoded properties to later packets of this kind: CONNACK, SUBACK, UNSUBACK, and the four that
    /// acknowledge a message. MQTT 5.
    pub fn set_properties(&self, kind: u8, properties: impl Into<Vec<u8>>) {
        self.shared.rules().properties.insert(kind, properties.into());
    }

    /// Keeps a message for each later subscription that matches it.
    pub fn retain(&self, message: Delivery) {
        let message = Delivery { retain: true, ..message };
        self.shared.rules().retained.push(message);
    }

    /// Sends a message to every client, whether or not it subscribed. The packet identifiers, 0 at QoS 0.
    pub fn send(&self, message: &Delivery) -> Vec<u16> {
        let mut state = self.shared.state();
        let version = self.shared.version;
        state.open.iter_mut().map(|connection| connection.send(version, message)).collect()
    }

    /// Sends these bytes to every client.
    pub fn send_bytes(&self, bytes: &[u8]) {
        for connection in &self.shared.state().open {
            let _connection_ended = connection.outbox.send(bytes.to_vec());
        }
    }

    /// Ends every open connection.
    pub fn cut(&self) {
        self.shared.set_mode(Mode::Closed);
    }

    /// Stops reading and writing on every open connection, without closing it. Later connections are served.
    pub fn freeze(&self) {
        self.shared.set_mode(Mode::Frozen);
    }

    /// Stops writing on every open connection, and reads on. Later connections are served.
    pub fn mute(&self) {
        self.shared.set_mode(Mode::Mute);
    }

    /// The number of accepted TCP connections.
    pub fn connections(&self) -> usize {
        self.shared.state().accepted_at.len()
    }

    pub fn accepted_at(&self) -> Vec<Instant> {
        self.shared.state().accepted_at.clone()
    }

    pub fn open_connections(&self) -> usize {
        self.shared.state().open.len()
    }

    pub fn connects(&self) -> Vec<Connect> {
        self.shared.state().connects.clone()
    }

    /// Every PUBLISH that the broker has read, accepted or not.
    pub fn publishes(&self) -> Vec<Publish> {
        self.shared.state().publishes.clone()
    }

    /// How many messages on this topic the broker has read, accepted or not.
    pub fn attempts(&self, topic: &str) -> usize {
        self.shared.state().publishes.iter().filter(|message| message.topic == topic).count()
    }

    /// The payloads of the accepted messages on this topic, as text.
    pub fn payloads(&self, topic: &str) -> Vec<String> {
        let state = self.shared.state();
        let accepted =
            state.publishes.iter().filter(|message| message.accepted && message.topic == topic);
        accepted.map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect()
    }

    pub fn subscribes(&self) -> Vec<Subscribe> {
        self.shared.state().subscribes.clone()
    }

    /// Every request to subscribe to this filter, granted or not.
    pub fn subscriptions_to(&self, filter: &str) -> Vec<Subscription> {
        let state = self.shared.state();
        let all = state.subscribes.iter().flat_map(|subscribe| &subscribe.subscriptions);
        all.filter(|subscription| subscription.filter == filter).cloned().collect()
    }

    /// The identifier of the newest subscription to this filter.
    pub fn identifier_of(&self, filter: &str) -> Option<u32> {
        self.subscriptions_to(filter).last()?.identifier
    }

    /// Whether an open connection has a granted subscription to this filter.
    pub fn is_subscribed(&self, filter: &str) -> bool {
        let state = self.shared.state();
        let mut all = state.open.iter().flat_map(|connection| &connection.subscriptions);
        all.any(|subscription| subscription.filter == filter)
    }

    pub fn unsubscribes(&self) -> Vec<String> {
        self.shared.state().unsubscribes.clone()
    }

    /// The packet identifiers of the client's acknowledgements of this kind, in their order.
    pub fn acknowledged(&self, kind: u8) -> Vec<u16> {
        self.acknowledged_with(kind).into_iter().map(|(id, _)| id).collect()
    }

    /// The packet identifiers and reasons of the client's acknowledgements of this kind, in their order.
    pub fn acknowledged_with(&self, kind: u8) -> Vec<(u16, u8)> {
        let state = self.shared.state();
        let of_kind = state.acknowledgements.iter().filter(|(of, ..)| *of == kind);
        of_kind.map(|(_, id, reason)| (*id, *reason)).collect()
    }

    /// The reasons of the client's DISCONNECT packets.
    pub fn disconnects(&self) -> Vec<u8> {
        self.shared.state().disconnects.clone()
    }

    pub fn pings(&self) -> usize {
        self.shared.state().pings
    }

    /// Why the broker ended connections.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.state().complaints.clone()
    }
}

impl Drop for Picky {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Delivery {
    /// A message at QoS 0 with the identifiers of the matching subscriptions.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: 0,
            retain: false,
            dup: false,
            identifiers: None,
            properties: Vec::new(),
            copies: 1,
        }
    }

    pub fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    pub fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    /// Sets the subscription identifiers, of MQTT 5.
    pub fn identifiers(mut self, identifiers: impl Into<Vec<u32>>) -> Self {
        self.identifiers = Some(identifiers.into());
        self
    }

    /// Adds encoded properties, of MQTT 5.
    pub fn properties(mut self, properties: &[u8]) -> Self {
        self.properties.extend_from_slice(properties);
        self
    }

    /// Sends the same packet, with one packet identifier, this many times.
    pub fn copies(mut self, copies: usize) -> Self {
        self.copies = copies;
        self
    }

    fn encode(&self, version: MqttVersion, id: u16, identifiers: &[u32]) -> Vec<u8> {
        let mut body = Vec::new();
        put_text(&mut body, self.topic.as_bytes());
        if self.qos > 0 {
            body.extend(id.to_be_bytes());
        }
        if version == MqttVersion::V5 {
            let mut properties = self.properties.clone();
            for identifier in identifiers {
                properties.push(0x0b);
                put_number(&mut properties, *identifier);
            }
            put_properties(&mut body, &properties);
        }
        body.extend_from_slice(&self.payload);
        let header = 0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        packet(header, &body)
    }
}

/// The first `count` times `first`, and `then` ever after.
pub fn at_first<V: Copy + Send>(count: usize, first: V, then: V) -> impl FnMut() -> V + Send {
    let mut seen = 0;
    move || {
        seen += 1;
        if seen <= count { first } else { then }
    }
}

/// A rule that ends the connection on each message to this topic.
pub fn hang_up_on(topic: &str) -> impl FnMut(&Publish) -> OnPublish + Send + 'static {
    let topic = topic.to_owned();
    move |message| if message.topic == topic { OnPublish::HangUp } else { OnPublish::Accept }
}

/// Whether common brokers end a connection for this topic or filter: control characters and U+FFFE, U+FFFF, which MQTT
/// lets a receiver refuse; more levels than Mosquitto (200) or EMQX (128) have room for.
pub fn is_strange(topic: &str) -> bool {
    topic.chars().any(|c| c.is_control() || u32::from(c) & 0xfffe == 0xfffe)
        || topic.split('/').count() > 128
}

/// Whether a filter matches a topic. The prefixes `$share/group/`, `$exclusive/` and `$queue/` are no part of it.
fn matches(filter: &str, topic: &str) -> bool {
    let filter = match filter.split_once('/') {
        Some(("$share", rest)) => rest.split_once('/').map_or("", |(_, filter)| filter),
        Some(("$exclusive" | "$queue", rest)) => rest,
        _ => filter,
    };
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        match (part, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (part, Some(level)) if part == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The properties of the broker's packets of this kind.
    fn properties(&self, kind: u8) -> Vec<u8> {
        self.rules().properties.get(&kind).cloned().unwrap_or_default()
    }

    /// A PUBACK, PUBREC, PUBREL or PUBCOMP. A reason that the test has set replaces this one.
    fn acknowledgement(&self, header: u8, id: u16, reason: u8) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        if self.is_v5() {
            let kind = header >> 4;
            let reason = self.rules().reasons.get(&kind).copied().unwrap_or(reason);
            let properties = self.properties(kind);
            if reason != 0 || !properties.is_empty() {
                body.push(reason);
            }
            if !properties.is_empty() {
                put_properties(&mut body, &properties);
            }
        }
        packet(header, &body)
    }

    fn is_v5(&self) -> bool {
        self.version == MqttVersion::V5
    }

    fn set_mode(&self, mode: Mode) {
        for connection in &self.state().open {
            connection.mode.send_replace(mode);
        }
    }
}

impl OpenConnection {
    fn send(&mut self, version: MqttVersion, message: &Delivery) -> u16 {
        let identifiers = message.identifiers.clone().unwrap_or_else(|| {
            let matching = self
                .subscriptions
                .iter()
                .filter(|subscription| matches(&subscription.filter, &message.topic));
            matching.filter_map(|subscription| subscription.identifier).collect()
        });
        let id = if message.qos > 0 { self.next_id } else { 0 };
        self.next_id += u16::from(message.qos > 0);
        let bytes = message.encode(version, id, &identifiers).repeat(message.copies);
        let _connection_ended = self.outbox.send(bytes);
        id
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let number = {
            let mut state = shared.state();
            state.accepted_at.push(Instant::now());
            state.accepted_at.len()
        };
        tokio::spawn(serve(stream, number, Arc::clone(&shared)));
    }
}

/// Why the broker's side of a connection ends.
enum End {
    /// The client has closed, or the test ends the connection.
    Closed,
    /// The broker ends the connection at once.
    HangUp(String),
    /// The broker sends its last packets first.
    Goodbye(String),
}

async fn serve(stream: TcpStream, number: usize, shared: Arc<Shared>) {
    let _connection_ended = stream.set_nodelay(true);
    let (mut from_client, to_client) = stream.into_split();
    let (mode, watched) = watch::channel(Mode::Serving);
    let (outbox, queue) = mpsc::unbounded_channel();
    let writing = tokio::spawn(write(to_client, queue, watched.clone()));
    let session = Session {
        number,
        shared: Arc::clone(&shared),
        outbox,
        mode: mode.clone(),
        capabilities: Capabilities::default(),
        aliases: HashMap::new(),
        unacknowledged: Arc::default(),
    };
    let end = session.run(&mut from_client, watched).await;
    shared.state().open.retain(|connection| connection.number != number);
    match end {
        End::Closed => {}
        End::HangUp(why) => shared.state().complaints.push(why),
        End::Goodbye(why) => {
            shared.state().complaints.push(why);
            // No sender is left: the writer ends after the last packet. A socket that is closed with unread bytes would
            // be reset, and the client might not see the packet.
            let _writer_ended = tokio::time::timeout(LINGER, writing).await;
            let mut sink = tokio::io::sink();
            let discard = tokio::io::copy(&mut from_client, &mut sink);
            let _client_closed = tokio::time::timeout(LINGER, discard).await;
        }
    }
    mode.send_replace(Mode::Closed);
}

async fn write(
    mut to_client: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
    mode: watch::Receiver<Mode>,
) {
    let mut watched = mode.clone();
    loop {
        let bytes = tokio::select! {
            biased;
            () = stopped(&mut watched) => return closed(&mut watched).await,
            bytes = queue.recv() => bytes,
        };
        let Some(bytes) = bytes else { return };
        if *mode.borrow() == Mode::Mute {
            continue;
        }
        tokio::select! {
            biased;
            () = stopped(&mut watched) => return closed(&mut watched).await,
            written = to_client.write_all(&bytes) => if written.is_err() { return },
        }
    }
}

/// Waits until the connection is to end, by the test or by another connection.
async fn ended(mode: &mut watch::Receiver<Mode>) {
    let running = |mode: &Mode| matches!(mode, Mode::Serving | Mode::Mute);
    let _sender_dropped = mode.wait_for(|mode| !running(mode)).await;
}

/// Waits until the test stops the connection.
async fn stopped(mode: &mut watch::Receiver<Mode>) {
    let _sender_dropped = mode.wait_for(|mode| matches!(mode, Mode::Frozen | Mode::Closed)).await;
}

/// Waits until the test closes the connection. Until then a frozen one keeps its socket.
async fn closed(mode: &mut watch::Receiver<Mode>) {
    let _sender_dropped = mode.wait_for(|mode| *mode == Mode::Closed).await;
}

/// One client's connection.
struct Session {
    number: usize,
    shared: Arc<Shared>,
    outbox: mpsc::UnboundedSender<Vec<u8>>,
    mode: watch::Sender<Mode>,
    capabilities: Capabilities,
    aliases: HashMap<u16, String>,
    /// Packet identifiers of the client's messages.
    unacknowledged: Arc<Mutex<HashSet<u16>>>,
}

impl Session {
    async fn run(
        mut self,
        from_client: &mut OwnedReadHalf,
        mut mode: watch::Receiver<Mode>,
    ) -> End {
        let mut bytes = Vec::with_capacity(64 << 10);
        loop {
            loop {
                match take_packet(&mut bytes) {
                    Ok(None) => break,
                    Ok(Some((header, body))) => {
                        if let Err(end) = self.handle(header, &body) {
                            return end;
                        }
                    }
                    Err(why) => return self.goodbye(0x81, why),
                }
                if !matches!(*mode.borrow(), Mode::Serving | Mode::Mute) {
                    break;
                }
            }
            let read: io::Result<usize> = tokio::select! {
                biased;
                () = ended(&mut mode) => {
                    if *mode.borrow() == Mode::TakenOver {
                        return self.goodbye(0x8e, "taken over".into());
                    }
                    closed(&mut mode).await;
                    return End::Closed;
                }
                read = from_client.read_buf(&mut bytes) => read,
            };
            if !read.is_ok_and(|count| count > 0) {
                return End::Closed;
            }
        }
    }

    fn handle(&mut self, header: u8, body: &[u8]) -> Result<(), End> {
        if let Some(limit) = self.capabilities.maximum_packet_size
            && body.len() + 2 > limit as usize
        {
            return Err(self.goodbye(0x95, format!("a packet of {} bytes", body.len())));
        }
        let v5 = self.shared.is_v5();
        let fields = Fields::new(body, v5);
        let malformed = |why: String| End::HangUp(format!("malformed packet {header:#x}: {why}"));
        match header >> 4 {
            1 => self.connect(Connect::parse(fields, self.number).map_err(malformed)?),
            3 => self.publish(Publish::parse(fields, header, self.number).map_err(malformed)?),
            kind @ 4..=7 => {
                self.acknowledged(kind, fields).map_err(malformed)?;
                Ok(())
            }
            8 => self.subscribe(Subscribe::parse(fields, self.number).map_err(malformed)?),
            10 => self.unsubscribe(fields).map_err(malformed),
            12 => {
                self.shared.state().pings += 1;
                self.write(packet(0xd0, &[]));
                Ok(())
            }
            14 => {
                self.shared.state().disconnects.push(body.first().copied().unwrap_or(0));
                if self.capabilities.lingers { Ok(()) } else { Err(End::Closed) }
            }
            _ => Err(malformed("a client does not send it".into())),
        }
    }

    fn connect(&mut self, connect: Connect) -> Result<(), End> {
        let (verdict, capabilities) = {
            let mut rules = self.shared.rules();
            ((rules.on_connect)(&connect), rules.capabilities.clone())
        };
        self.capabilities = capabilities;
        let client_id = match &self.capabilities.assigned_client_id {
            Some(assigned) if connect.client_id.is_empty() => assigned.clone(),
            _ => connect.client_id.clone(),
        };
        let keeps = self.capabilities.sessions && connect.wants_session;
        let clean = connect.clean;
        let assigned = connect.client_id.is_empty().then(|| client_id.clone());
        self.shared.state().connects.push(connect);
        match verdict {
            OnConnect::Accept | OnConnect::AcceptAndHangUp => {}
            OnConnect::Ignore => return Ok(()),
            OnConnect::HangUp => return Err(End::HangUp("a CONNECT".into())),
            OnConnect::Refuse(code) => {
                self.write_connack(false, code, None);
                return Err(End::Goodbye(format!("CONNECT refused with {code:#x}")));
            }
        }
        let subscriptions = {
            let mut state = self.shared.state();
            for earlier in state.open.iter().filter(|earlier| earlier.client_id == client_id) {
                earlier.mode.send_replace(Mode::TakenOver);
            }
            if clean || !self.capabilities.sessions {
                state.sessions.remove(&client_id);
            }
            let kept = state.sessions.get(&client_id).cloned();
            if keeps && kept.is_none() {
                state.sessions.insert(client_id.clone(), Vec::new());
            }
            kept
        };
        let present = self.capabilities.session_present.unwrap_or(subscriptions.is_some());
        self.write_connack(present, 0, assigned);
        if verdict == OnConnect::AcceptAndHangUp {
            return Err(End::Goodbye("after the CONNACK".into()));
        }
        self.shared.state().open.push(OpenConnection {
            number: self.number,
            client_id,
            mode: self.mode.clone(),
            outbox: self.outbox.clone(),
            subscriptions: subscriptions.unwrap_or_default(),
            next_id: 1,
        });
        Ok(())
    }

    fn write_connack(&self, session_present: bool, code: u8, assigned: Option<String>) {
        let mut body = vec![u8::from(session_present), code];
        if self.shared.is_v5() {
            let own = connack_properties(&self.capabilities, assigned);
            put_properties(&mut body, &[own, self.shared.properties(2)].concat());
        }
        self.write(packet(0x20, &body));
    }

    fn publish(&mut self, mut message: Publish) -> Result<(), End> {
        self.resolve_alias(&mut message)?;
        if message.qos > 0 {
            self.unacknowledged.lock().unwrap().insert(message.id);
        }
        if let Some((reason, why)) = self.overstepped_by(&message) {
            self.shared.state().publishes.push(message);
            return Err(self.goodbye(reason, why));
        }
        let verdict = (self.shared.rules().on_publish)(&message);
        let (topic, qos, id) = (message.topic.clone(), message.qos, message.id);
        message.accepted = matches!(verdict, OnPublish::Accept | OnPublish::AcceptAfter(_));
        self.shared.state().publishes.push(message);
        match verdict {
            OnPublish::HangUp => return Err(End::HangUp(format!("a message on `{topic}`"))),
            OnPublish::Disconnect(reason) => {
                return Err(self.goodbye(reason, format!("a message on `{topic}`")));
            }
            OnPublish::Ignore => {}
            OnPublish::Accept => self.acknowledge(qos, id, 0),
            // Discarded without a word: these have no means to refuse.
            OnPublish::Refuse(_) if !self.shared.is_v5() => self.acknowledge(qos, id, 0),
            OnPublish::Refuse(reason) => self.acknowledge(qos, id, reason),
            OnPublish::AcceptAfter(pause) => {
                let (shared, outbox) = (Arc::clone(&self.shared), self.outbox.clone());
                let unacknowledged = Arc::clone(&self.unacknowledged);
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    acknowledge(&shared, &outbox, &unacknowledged, qos, id, 0);
                });
            }
        }
        Ok(())
    }

    fn acknowledge(&self, qos: u8, id: u16, reason: u8) {
        acknowledge(&self.shared, &self.outbox, &self.unacknowledged, qos, id, reason);
    }

    fn resolve_alias(&mut self, message: &mut Publish) -> Result<(), End> {
        let Some(alias) = message.properties.number(0x23) else { return Ok(()) };
        let alias = u16::try_from(alias).unwrap();
        if alias == 0 || alias > self.capabilities.topic_alias_maximum.unwrap_or(0) {
            return Err(self.goodbye(0x94, format!("the topic alias {alias}")));
        }
        if message.topic.is_empty() {
            let Some(topic) = self.aliases.get(&alias) else {
                return Err(self.goodbye(0x82, format!("the unknown topic alias {alias}")));
            };
            message.topic.clone_from(topic);
        } else {
            self.aliases.insert(alias, message.topic.clone());
        }
        Ok(())
    }

    /// The reason for a DISCONNECT if the message asks for more than the broker can.
    fn overstepped_by(&self, message: &Publish) -> Option<(u8, String)> {
        let Capabilities { maximum_qos, no_retain, receive_maximum, strict_topics, .. } =
            self.capabilities;
        let topic = &message.topic;
        let length = topic.len();
        if topic.is_empty() {
            return Some((0x82, "a message without a topic".into()));
        }
        if topic.contains(['+', '#']) || strict_topics && is_strange(topic) {
            let start: String = topic.chars().take(40).collect();
            return Some((0x90, format!("a message on a topic of {length} bytes: {start:?}")));
        }
        if maximum_qos.is_some_and(|maximum| message.qos > maximum) {
            return Some((0x9b, format!("a message on `{topic}` at QoS {}", message.qos)));
        }
        if no_retain && message.retain {
            return Some((0x9a, format!("a retained message on `{topic}`")));
        }
        let unacknowledged = self.unacknowledged.lock().unwrap().len();
        receive_maximum
            .is_some_and(|maximum| unacknowledged > usize::from(maximum))
            .then(|| (0x93, format!("{unacknowledged} messages in flight")))
    }

    fn acknowledged(&self, kind: u8, mut fields: Fields<'_>) -> Result<(), String> {
        let id = fields.u16()?;
        let reason = fields.u8().unwrap_or(0);
        self.shared.state().acknowledgements.push((kind, id, reason));
        match kind {
            // A PUBREC that does not refuse, and a PUBREL.
            5 if reason < 0x80 => self.write(self.shared.acknowledgement(0x62, id, 0)),
            6 => {
                self.unacknowledged.lock().unwrap().remove(&id);
                self.write(self.shared.acknowledgement(0x70, id, 0));
            }
            _ => {}
        }
        Ok(())
    }

    fn subscribe(&self, subscribe: Subscribe) -> Result<(), End> {
        let id = subscribe.id.to_be_bytes();
        let subscriptions = subscribe.subscriptions.clone();
        self.shared.state().subscribes.push(subscribe);
        let mut codes = Vec::new();
        let mut granted = Vec::new();
        for subscription in subscriptions {
            if let Some((reason, why)) = self.overstepped_by_filter(&subscription) {
                return Err(self.goodbye(reason, why));
            }
            let verdict = (self.shared.rules().on_subscribe)(&subscription);
            let filter = &subscription.filter;
            match verdict {
                OnSubscribe::HangUp => return Err(End::HangUp(format!("the filter `{filter}`"))),
                OnSubscribe::Disconnect(reason) => {
                    return Err(self.goodbye(reason, format!("the filter `{filter}`")));
                }
                OnSubscribe::Ignore => return Ok(()),
                OnSubscribe::Refuse(code) => codes.push(code),
                OnSubscribe::Grant => {
                    codes.push(subscription.qos.min(self.capabilities.maximum_qos.unwrap_or(2)));
                    granted.push(subscription);
                }
            }
        }
        let mut body = id.to_vec();
        if self.shared.is_v5() {
            put_properties(&mut body, &self.shared.properties(9));
        }
        body.extend(codes);
        self.write(packet(0x90, &body));
        self.grant(granted);
        Ok(())
    }

    /// The reason for a DISCONNECT if the subscription asks for more than the broker can.
    fn overstepped_by_filter(&self, subscription: &Subscription) -> Option<(u8, String)> {
        let Capabilities { no_identifiers, no_wildcards, no_shared, strict_topics, .. } =
            self.capabilities;
        let filter = &subscription.filter;
        let reason = if no_identifiers && subscription.identifier.is_some() {
            0xa1
        } else if no_wildcards && filter.contains(['+', '#']) {
            0xa2
        } else if no_shared && filter.starts_with("$share/") {
            0x9e
        } else if filter.is_empty() || strict_topics && is_strange(filter) {
            0x8f
        } else {
            return None;
        };
        let identifier = subscription.identifier;
        let start: String = filter.chars().take(40).collect();
        Some((reason, format!("the filter {start:?} with the identifier {identifier:?}")))
    }

    fn grant(&self, granted: Vec<Subscription>) {
        let retained = self.shared.rules().retained.clone();
        let mut state = self.shared.state();
        let State { open, sessions, .. } = &mut *state;
        let Some(connection) = open.iter_mut().find(|connection| connection.number == self.number)
        else {
            return;
        };
        for subscription in granted {
            let filter = &subscription.filter;
            let known = connection.subscriptions.iter().any(|known| known.filter == *filter);
            connection.subscriptions.retain(|known| known.filter != *filter);
            connection.subscriptions.push(subscription.clone());
            let wanted = match subscription.retain_handling() {
                0 => true,
                1 => !known,
                _ => false,
            };
            if !wanted || subscription.filter.starts_with("$share/") {
                continue;
            }
            for message in &retained {
                if matches(&subscription.filter, &message.topic) {
                    let qos = message.qos.min(subscription.qos);
                    let message = message.clone().qos(qos);
                    let own = subscription.identifier.into_iter().collect::<Vec<_>>();
                    connection.send(self.shared.version, &message.identifiers(own));
                }
            }
        }
        if let Some(kept) = sessions.get_mut(&connection.client_id) {
            kept.clone_from(&connection.subscriptions);
        }
    }

    fn unsubscribe(&self, mut fields: Fields<'_>) -> Result<(), String> {
        let id = fields.u16()?;
        fields.properties()?;
        let mut codes = Vec::new();
        let mut state = self.shared.state();
        while !fields.is_empty() {
            let filter = fields.text()?;
            for connection in state.open.iter_mut().filter(|open| open.number == self.number) {
                connection.subscriptions.retain(|known| known.filter != filter);
            }
            state.unsubscribes.push(filter);
            codes.push(0);
        }
        let mut body = id.to_be_bytes().to_vec();
        if self.shared.is_v5() {
            put_properties(&mut body, &self.shared.properties(11));
            body.extend(codes);
        }
        self.write(packet(0xb0, &body));
        Ok(())
    }

    /// The end of the connection, after a DISCONNECT where the version has one.
    fn goodbye(&self, reason: u8, why: String) -> End {
        if self.shared.is_v5() {
            self.write(packet(0xe0, &[reason]));
            return End::Goodbye(format!("{why} ({reason:#x})"));
        }
        End::HangUp(why)
    }

    fn write(&self, bytes: Vec<u8>) {
        let _connection_ended = self.outbox.send(bytes);
    }
}

/// Writes a PUBACK or a PUBREC. A reason from 0x80 on refuses the message.
fn acknowledge(
    shared: &Shared,
    outbox: &mpsc::UnboundedSender<Vec<u8>>,
    unacknowledged: &Mutex<HashSet<u16>>,
    qos: u8,
    id: u16,
    reason: u8,
) {
    let header = match qos {
        0 => return,
        1 => 0x40,
        _ => 0x50,
    };
    if qos == 1 || reason >= 0x80 {
        unacknowledged.lock().unwrap().remove(&id);
    }
    let _connection_ended = outbox.send(shared.acknowledgement(header, id, reason));
}

fn connack_properties(capabilities: &Capabilities, assigned: Option<String>) -> Vec<u8> {
    let Capabilities {
        maximum_qos,
        no_retain,
        no_identifiers,
        no_wildcards,
        no_shared,
        topic_alias_maximum,
        receive_maximum,
        maximum_packet_size,
        server_keep_alive,
        ..
    } = capabilities;
    let mut properties = Vec::new();
    if let Some(qos) = maximum_qos {
        properties.extend([0x24, *qos]);
    }
    for (missing, id) in
        [(no_retain, 0x25), (no_wildcards, 0x28), (no_identifiers, 0x29), (no_shared, 0x2a)]
    {
        if *missing {
            properties.extend([id, 0]);
        }
    }
    for (value, id) in
        [(server_keep_alive, 0x13), (receive_maximum, 0x21), (topic_alias_maximum, 0x22)]
    {
        if let Some([high, low]) = value.map(u16::to_be_bytes) {
            properties.extend([id, high, low]);
        }
    }
    if let Some(size) = maximum_packet_size {
        properties.push(0x27);
        properties.extend(size.to_be_bytes());
    }
    if let Some(assigned) = assigned.filter(|_| capabilities.assigned_client_id.is_some()) {
        properties.push(0x12);
        put_text(&mut properties, assigned.as_bytes());
    }
    properties
}

/// Removes the first packet: its header and its body. `None` if it is not complete.
fn take_packet(bytes: &mut Vec<u8>) -> Result<Option<(u8, Vec<u8>)>, String> {
    let mut length = 0;
    for at in 0..4 {
        let Some(byte) = bytes.get(1 + at) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let start = 2 + at;
            if bytes.len() < start + length {
                return Ok(None);
            }
            let header = bytes[0];
            let body = bytes[start..start + length].to_vec();
            bytes.drain(..start + length);
            return Ok(Some((header, body)));
        }
    }
    Err("a length of more than four bytes".into())
}
