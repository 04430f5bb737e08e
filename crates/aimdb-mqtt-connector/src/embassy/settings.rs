//! What the user says of a connection, and whatever is wrong with it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use aimdb_core::link::LinkRequest;
use aimdb_core::{Finding, Rule};

use super::DEFAULT_BUFFER;
use crate::topic::topic_fault;
use crate::{LastWill, options};

/// What the client keeps of a client id, and of a last will's topic.
const LONGEST_CLIENT_ID: usize = 64;
const LONGEST_WILL_TOPIC: usize = 128;

/// What a packet has besides topic and payload: header, packet identifier, properties, and the encoder's own room.
pub(crate) const OVERHEAD: usize = 20;

/// The least that must be left for messages.
const LEAST_ROOM: usize = 64;

/// A broker's answer to connecting fits into this.
const LEAST_RECEIVE_BUFFER: usize = 128;

pub(crate) struct Settings {
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
    pub(crate) longest_pause: Duration,
}

impl Settings {
    pub(crate) fn new(target: String) -> Self {
        Self {
            name: crate::DEFAULT_NAME.into(),
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
            longest_pause: Duration::from_secs(10),
        }
    }

    /// Everything that is wrong with the settings and the links.
    pub(crate) fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        let own = self.faults().into_iter().map(|(problem, remedy)| {
            let problem = format!("connector `{}` to `{}`: {problem}", self.name, self.target);
            Finding::new(Rule::BadConnector, "", problem, remedy)
        });
        let own: Vec<Finding> = own.collect();
        let long = links.iter().filter_map(|link| self.long_topic(link)).filter(|_| own.is_empty());
        let long: Vec<Finding> = long.collect();
        own.into_iter().chain(links.iter().flat_map(options::check)).chain(long).collect()
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
                add("the client id is empty".into(), "leave it out to be given one by the broker");
            }
            Some(length) if length > LONGEST_CLIENT_ID => add(
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
        } else if topic.len() > LONGEST_WILL_TOPIC {
            add(
                format!("the last will's topic is {} bytes long", topic.len()),
                "use 128 bytes at most, which is what the client has room for",
            );
        }
    }

    fn check_buffers(&self, faults: &mut Vec<(String, String)>) {
        if self.receive_buffer < LEAST_RECEIVE_BUFFER {
            let problem = format!("a receive buffer of {} bytes is too small", self.receive_buffer);
            faults.push((problem, format!("use {LEAST_RECEIVE_BUFFER} bytes at least")));
        }
        let connecting = self.connect_size();
        if self.send_buffer < connecting + LEAST_ROOM {
            let problem = format!(
                "a send buffer of {} bytes is too small: connecting takes {connecting} of them",
                self.send_buffer
            );
            faults.push((problem, format!("use {} bytes at least", connecting + LEAST_ROOM)));
        }
    }

    fn long_topic(&self, link: &LinkRequest<'_>) -> Option<Finding> {
        let (length, room) =
            (link.address.topic.len(), self.message_room().saturating_sub(OVERHEAD));
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

    /// What the client keeps free to connect again, at most.
    fn connect_size(&self) -> usize {
        let text = |length: usize| 2 + length;
        // Header and encoder's room, protocol and flags, keep-alive, three properties.
        let fixed = 5 + 8 + 2 + 14;
        let client_id = text(self.client_id.as_ref().map_or(LONGEST_CLIENT_ID, String::len));
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

    /// The largest packet of a message at QoS 1 or 2.
    pub(crate) fn message_room(&self) -> usize {
        self.send_buffer.saturating_sub(self.connect_size())
    }
}

/// Whole seconds up to `most`.
fn seconds(duration: Duration, most: u64) -> Option<u64> {
    Some(duration.as_secs())
        .filter(|secs| (1..=most).contains(secs) && duration.subsec_nanos() == 0)
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbassyMqttConnector")
            .field("name", &self.name)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
