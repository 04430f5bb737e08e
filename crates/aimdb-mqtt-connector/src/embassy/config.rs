//! The configuration of a connection, and its findings.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use aimdb_core::link::LinkRequest;
use aimdb_core::{Finding, Rule};

use crate::options;
use crate::target::DEFAULT_NAME;
use crate::topic::topic_fault;
use crate::will::LastWill;

/// The receive buffer of [`EmbassyMqttConnector`](crate::EmbassyMqttConnector) unless set otherwise, in bytes; the send
/// buffer has twice as much.
pub const DEFAULT_BUFFER: usize = 1024;

/// The client has room for a client id and a last will's topic of this many bytes.
const MAX_CLIENT_ID: usize = 64;
const MAX_WILL_TOPIC: usize = 128;

/// Bytes of a packet besides topic and payload: header, packet identifier, properties, and the encoder's reserve.
pub(crate) const PACKET_OVERHEAD: usize = 20;

/// The smallest part of the send buffer for messages, in bytes.
const MIN_MESSAGE_ROOM: usize = 64;

/// Room for a broker's CONNACK, in bytes.
const MIN_RECEIVE_BUFFER: usize = 128;

pub(crate) struct EmbassyConfig {
    pub(crate) name: String,
    pub(crate) target: String,
    pub(crate) client_id: Option<String>,
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) keep_alive: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) session_expiry: Duration,
    pub(crate) last_will: Option<LastWill>,
    pub(crate) receive_buffer: usize,
    pub(crate) send_buffer: usize,
    pub(crate) first_pause: Duration,
    pub(crate) max_pause: Duration,
}

impl EmbassyConfig {
    pub(crate) fn new(target: String) -> Self {
        Self {
            name: DEFAULT_NAME.into(),
            target,
            client_id: None,
            credentials: None,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            session_expiry: Duration::ZERO,
            last_will: None,
            receive_buffer: DEFAULT_BUFFER,
            send_buffer: 2 * DEFAULT_BUFFER,
            first_pause: Duration::from_millis(250),
            max_pause: Duration::from_secs(10),
        }
    }

    /// The findings about this configuration and the links.
    pub(crate) fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        let own = self.faults().into_iter().map(|(problem, remedy)| {
            let problem = format!("connector `{}` to `{}`: {problem}", self.name, self.target);
            Finding::new(Rule::BadConnector, "", problem, remedy)
        });
        let own: Vec<Finding> = own.collect();
        // The room for a topic is known only if the buffer sizes are valid.
        let long_topics: Vec<Finding> = if own.is_empty() {
            links.iter().filter_map(|link| self.long_topic(link)).collect()
        } else {
            Vec::new()
        };
        own.into_iter().chain(links.iter().flat_map(options::check)).chain(long_topics).collect()
    }

    fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut add = |problem: String, remedy: &str| faults.push((problem, remedy.into()));
        if self.name.is_empty() || self.name.contains("://") {
            add(
                format!("the name `{}` cannot be a link's scheme", self.name),
                "use letters and digits",
            );
        }
        match self.client_id.as_deref().map(str::len) {
            Some(0) => {
                add("the client id is empty".into(), "leave it out, and the broker assigns one");
            }
            Some(length) if length > MAX_CLIENT_ID => add(
                format!("the client id is {length} bytes long"),
                "use 64 bytes at most, which is what the client has room for",
            ),
            _ => {}
        }
        if !self.keep_alive.is_zero() && seconds(self.keep_alive, u16::MAX.into()).is_none() {
            let problem = format!("a keep-alive of {:?} cannot be sent", self.keep_alive);
            add(problem, "use whole seconds, 1 to 65535, or zero for none");
        }
        if !self.session_expiry.is_zero() && seconds(self.session_expiry, u32::MAX.into()).is_none()
        {
            let problem =
                format!("a session cannot be kept for {:?} after a break", self.session_expiry);
            add(problem, "use whole seconds, 1 to 4294967295");
        }
        if self.connect_timeout.is_zero() {
            add(
                "it would give up before it has tried to connect".into(),
                "give `.connect_timeout(…)` some seconds",
            );
        }
        if self.first_pause.is_zero() {
            add(
                "it would try to connect without a pause".into(),
                "give `.backoff(…)` a first pause, for instance 250 ms",
            );
        }
        self.check_will(&mut add);
        self.check_buffers(&mut faults);
        faults
    }

    fn check_will(&self, add: &mut impl FnMut(String, &str)) {
        let (user, password) = self
            .credentials
            .as_ref()
            .map_or((0, 0), |(user, password)| (user.len(), password.len()));
        let will = self.last_will.as_ref();
        for (what, length) in [
            ("user", user),
            ("password", password),
            ("last will's payload", will.map_or(0, |will| will.payload.len())),
        ] {
            if length > usize::from(u16::MAX) {
                add(
                    format!("the {what} is {length} bytes long"),
                    "use 65535 bytes at most, MQTT's own limit",
                );
            }
        }
        let Some(topic) = will.map(|will| &will.topic) else { return };
        if let Some(fault) = topic_fault(topic) {
            add(format!("the last will's topic {fault}"), "name one exact topic");
        } else if topic.len() > MAX_WILL_TOPIC {
            add(
                format!("the last will's topic is {} bytes long", topic.len()),
                "use 128 bytes at most, which is what the client has room for",
            );
        }
    }

    fn check_buffers(&self, faults: &mut Vec<(String, String)>) {
        if self.receive_buffer < MIN_RECEIVE_BUFFER {
            let problem = format!("a receive buffer of {} bytes is too small", self.receive_buffer);
            faults.push((problem, format!("use {MIN_RECEIVE_BUFFER} bytes at least")));
        }
        let connecting = self.connect_size();
        if self.send_buffer < connecting + MIN_MESSAGE_ROOM {
            let problem = format!(
                "a send buffer of {} bytes is too small: connecting takes {connecting} of them",
                self.send_buffer
            );
            faults.push((problem, format!("use {} bytes at least", connecting + MIN_MESSAGE_ROOM)));
        }
    }

    fn long_topic(&self, link: &LinkRequest<'_>) -> Option<Finding> {
        let (length, room) =
            (link.address.topic.len(), self.max_message_packet().saturating_sub(PACKET_OVERHEAD));
        if link.computed_topic || length <= room {
            return None;
        }
        let direction = if link.direction.is_outbound() { "link to" } else { "link from" };
        let problem = format!(
            "in its {direction} `{}` the topic is {length} bytes long, and the send buffer has room for {room}",
            link.address
        );
        let remedy = "use a larger `.send_buffer(…)`, or a shorter topic";
        Some(Finding::new(Rule::BadTopic, link.record, problem, remedy))
    }

    /// The bytes that the client reserves for connecting, at most.
    fn connect_size(&self) -> usize {
        let text = |length: usize| 2 + length;
        // Header and encoder's reserve, protocol and flags, keep-alive, three properties.
        let fixed = 5 + 8 + 2 + 14;
        let client_id = text(self.client_id.as_ref().map_or(MAX_CLIENT_ID, String::len));
        let will = self
            .last_will
            .as_ref()
            .map_or(0, |will| 1 + text(will.topic.len()) + text(will.payload.len()));
        let credentials = self
            .credentials
            .as_ref()
            .map_or(0, |(user, password)| text(user.len()) + text(password.len()));
        fixed + client_id + will + credentials
    }

    /// The largest packet of a message at QoS 1 or 2, in bytes.
    pub(crate) fn max_message_packet(&self) -> usize {
        self.send_buffer.saturating_sub(self.connect_size())
    }
}

/// The duration as whole seconds, from 1 to `max`; `None` if it is not.
fn seconds(duration: Duration, max: u64) -> Option<u64> {
    Some(duration.as_secs()).filter(|secs| (1..=max).contains(secs) && duration.subsec_nanos() == 0)
}

impl fmt::Debug for EmbassyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbassyMqttConnector")
            .field("name", &self.name)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
