//! The configuration of a connection, and its findings.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use aimdb_core::link::LinkRequest;
use aimdb_core::link::driver::Limits;
use aimdb_core::{Finding, Rule};
use aimdb_mqtt_protocol::Version;

use crate::checks;
use crate::config::ClientConfig;
use crate::driver::{MqttStatus, Settings};

/// The receive buffer of [`EmbassyMqttConnector`](crate::EmbassyMqttConnector) unless set otherwise, in bytes; the send
/// buffer has twice as much.
pub const DEFAULT_BUFFER: usize = 1024;

/// The room for a client id that the broker assigns, in bytes.
const ASSIGNED_ID: usize = 64;

/// Messages at QoS 1 and 2 that may be unacknowledged, in each direction.
const MAX_IN_FLIGHT: u16 = 8;

/// The most messages that may wait at QoS 1 and 2. A broker that respects the receive maximum never reaches it.
/// Mosquitto 2.0.11 does not respect it after an outage, and has 20 messages in flight unless configured otherwise. At
/// this number the connector stops reading.
const MAX_WAITING: usize = 64;

/// The most messages at QoS 0 that may wait for one link.
const MAX_WAITING_QOS_0: usize = 8;

/// Bytes of a packet besides topic and payload: header, packet identifier, properties, and the encoder's reserve.
pub(crate) const PACKET_OVERHEAD: usize = 20;

/// The smallest part of the send buffer for messages, in bytes.
const MIN_MESSAGE_ROOM: usize = 64;

/// Room for a broker's CONNACK, in bytes.
const MIN_RECEIVE_BUFFER: usize = 128;

pub(crate) struct EmbassyConfig {
    pub(crate) client: ClientConfig,
    pub(crate) target: String,
    pub(crate) receive_buffer: usize,
    pub(crate) send_buffer: usize,
    pub(crate) status: MqttStatus,
}

impl EmbassyConfig {
    pub(crate) fn new(target: String) -> Self {
        Self {
            client: ClientConfig::new(),
            target,
            receive_buffer: DEFAULT_BUFFER,
            send_buffer: 2 * DEFAULT_BUFFER,
            status: MqttStatus::default(),
        }
    }

    /// The findings about this configuration and the links.
    pub(crate) fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        let mut faults: Vec<(String, String)> = self
            .client
            .faults()
            .into_iter()
            .map(|(problem, remedy)| (problem, remedy.into()))
            .collect();
        self.check_buffers(&mut faults);
        // The room for a topic is known only if the buffer sizes are valid.
        let long_topics: Vec<Finding> = match faults.is_empty() {
            true => links.iter().filter_map(|link| self.long_topic(link)).collect(),
            false => Vec::new(),
        };
        let own = faults.into_iter().map(|(problem, remedy)| {
            let problem =
                format!("connector `{}` to `{}`: {problem}", self.client.name, self.target);
            Finding::new(Rule::BadConnector, "", problem, remedy)
        });
        own.chain(checks::links(links, Version::V5)).chain(long_topics).collect()
    }

    /// The settings of the driver. `seed` differs from client to client.
    pub(crate) fn settings(&self, seed: u32) -> Settings {
        let mut session = self.client.session();
        session.receive_maximum = MAX_IN_FLIGHT;
        session.window = MAX_IN_FLIGHT;
        session.max_incoming = self.receive_buffer;
        session.max_outgoing = self.max_message_packet();
        session.output_room = self.send_buffer / 2;
        Settings {
            session,
            session_of_program: true,
            connect_timeout: self.client.connect_timeout,
            max_payload: usize::MAX,
            target: self.target.clone(),
            limits: Limits {
                acknowledged: MAX_WAITING,
                unacknowledged: MAX_WAITING_QOS_0,
                ..Limits::default()
            },
            reconnect: self.client.reconnect(seed),
            has_alternatives: false,
            proof: self.client.max_pause.max(self.client.first_pause),
            last_will: self.client.last_will.clone(),
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
        let client_id = text(self.client.client_id.as_ref().map_or(ASSIGNED_ID, String::len));
        let will = self
            .client
            .last_will
            .as_ref()
            .map_or(0, |will| 1 + text(will.topic.len()) + text(will.payload.len()));
        let credentials = self
            .client
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

impl fmt::Debug for EmbassyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbassyMqttConnector")
            .field("name", &self.client.name)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
