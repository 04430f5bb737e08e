//! What the user says of a line, and whatever is wrong with it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use aimdb_core::link::LinkRequest;
use aimdb_core::{Finding, Rule};

use crate::frame::{DEFAULT_MAX_PAYLOAD, MOST_PAYLOAD, TopicId};
use crate::status::SerialStatus;

/// A connector's name, and so its links' scheme, unless it is given another one.
const DEFAULT_NAME: &str = "serial";

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) session: u16,
    pub(crate) max_payload: usize,
    pub(crate) heartbeat: Duration,
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
    pub(crate) patience: Duration,
    pub(crate) silence: Option<Duration>,
    pub(crate) status: SerialStatus,
}

impl Settings {
    pub(crate) fn new(session: u16) -> Self {
        Self {
            name: DEFAULT_NAME.into(),
            session,
            max_payload: DEFAULT_MAX_PAYLOAD,
            heartbeat: Duration::from_secs(1),
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(10),
            patience: Duration::from_millis(20),
            silence: None,
            status: SerialStatus::default(),
        }
    }
}

/// The settings that every kind of connector here has.
macro_rules! settings {
    () => {
        /// The name, which is the scheme of the links that use it. `serial` unless set.
        #[must_use]
        pub fn named(mut self, name: impl Into<alloc::string::String>) -> Self {
            self.settings.name = name.into();
            self
        }

        /// The largest payload in both directions, in bytes; [`DEFAULT_MAX_PAYLOAD`](crate::frame::DEFAULT_MAX_PAYLOAD)
        /// unless set. Both ends should agree. A larger value is not sent, a longer frame is thrown away; both are counted.
        #[must_use]
        pub fn max_payload(mut self, bytes: usize) -> Self {
            self.settings.max_payload = bytes;
            self
        }

        /// How long the line may be quiet before a heartbeat is sent. One second unless set.
        #[must_use]
        pub fn heartbeat(mut self, interval: core::time::Duration) -> Self {
            self.settings.heartbeat = interval;
            self
        }

        /// The first pause before opening the line again, and the longest; they double. 250 ms and 10 s unless set. A
        /// line by which whole frames came is opened again at once.
        #[must_use]
        pub fn backoff(
            mut self,
            first: core::time::Duration,
            longest: core::time::Duration,
        ) -> Self {
            self.settings.first_pause = first;
            self.settings.longest_pause = longest;
            self
        }

        /// How long a record that is full is waited for before a value for it is dropped. 20 ms unless set: enough for
        /// its reader to have its turn, and less than a usual line's own buffers hold.
        #[must_use]
        pub fn patience(mut self, limit: core::time::Duration) -> Self {
            self.settings.patience = limit;
            self
        }

        /// Opens the line anew when not one whole frame came for this long. Unless set, silence is endured: a sensor's line
        /// may go one way only. Set it where the peer can vanish without a word, behind a network for instance.
        #[must_use]
        pub fn silence(mut self, limit: core::time::Duration) -> Self {
            self.settings.silence = Some(limit);
            self
        }

        /// The line's counters. Take it before the connector goes to the builder.
        #[must_use]
        pub fn status(&self) -> crate::SerialStatus {
            self.settings.status.clone()
        }
    };
}
pub(crate) use settings;

/// What is wrong with a port: the problem, and what to do.
pub(crate) type Fault = (String, &'static str);

/// Everything that is wrong with the settings, the port, and the links.
pub(crate) fn check(
    settings: &Settings,
    port: impl IntoIterator<Item = Fault>,
    links: &[LinkRequest<'_>],
) -> Vec<Finding> {
    let own = settings.faults().into_iter().chain(port).map(|(problem, remedy)| {
        let problem = format!("connector `{}`: {problem}", settings.name);
        Finding::new(Rule::BadConnector, "", problem, remedy)
    });
    own.chain(links.iter().flat_map(link_findings)).chain(same_ids(links)).collect()
}

impl Settings {
    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |problem: String, remedy| faults.push((problem, remedy));
        if self.name.is_empty() || self.name.contains("://") {
            fault("its name cannot be a link's scheme".into(), "use letters and digits");
        }
        if !(1..=MOST_PAYLOAD).contains(&self.max_payload) {
            let problem = format!("a payload limit of {} bytes is not possible", self.max_payload);
            fault(problem, "use 1 to 65535 bytes");
        }
        if self.heartbeat.is_zero() {
            fault("it would send heartbeats without a pause".into(), "give `.heartbeat(…)` a time");
        }
        if self.first_pause.is_zero() {
            let problem = "it would try to open the line without a pause".into();
            fault(problem, "give `.backoff(…)` a first pause, for instance 250 ms");
        }
        if let Some(limit) = self.silence.filter(|limit| *limit <= self.heartbeat) {
            let problem = format!(
                "it would take a silence of {limit:?} for a dead line, but heartbeats come every {:?}",
                self.heartbeat
            );
            fault(problem, "let `.silence(…)` be several heartbeats");
        }
        faults
    }
}

fn link_findings(link: &LinkRequest<'_>) -> Vec<Finding> {
    let unknown = link.address.options.iter().map(|(name, _)| {
        let problem = on(link, format_args!("the option `{name}` is unknown"));
        Finding::new(Rule::BadOption, link.record, problem, "a serial link has no options")
    });
    let topic = topic_fault(link).map(|(fault, remedy)| {
        Finding::new(Rule::BadTopic, link.record, on(link, format_args!("{fault}")), remedy)
    });
    unknown.chain(topic).collect()
}

fn topic_fault(link: &LinkRequest<'_>) -> Option<(&'static str, &'static str)> {
    const REMEDY: &str = "name one topic, for instance `sensors/temp/indoor`";
    if link.computed_topic {
        return Some((
            "the topic is computed, but the line carries no topics, only the ids of those that both ends know",
            "link one record for each topic",
        ));
    }
    match &link.address.topic {
        topic if topic.is_empty() => Some(("the topic is empty", REMEDY)),
        topic if topic.contains(['+', '#']) => Some((
            "the topic has a wildcard, but the line carries no topics, only the ids of those that both ends know",
            REMEDY,
        )),
        _ => None,
    }
}

/// Two topics of one direction that a peer could not tell apart. Very unlikely, and very confusing.
fn same_ids(links: &[LinkRequest<'_>]) -> Vec<Finding> {
    let mut known: BTreeMap<(bool, TopicId), &str> = BTreeMap::new();
    let mut findings = Vec::new();
    for link in links.iter().filter(|link| !link.computed_topic) {
        let topic = link.address.topic.as_str();
        let id = TopicId::of(topic);
        let first = *known.entry((link.direction.is_outbound(), id)).or_insert(topic);
        if first != topic {
            let problem = on(link, format_args!("the topic has the same id as `{first}`, {id}"));
            let remedy = "name one of the two differently: a peer could not tell them apart";
            findings.push(Finding::new(Rule::BadTopic, link.record, problem, remedy));
        }
    }
    findings
}

/// `the problem`, with the link it stands on.
fn on(link: &LinkRequest<'_>, problem: core::fmt::Arguments<'_>) -> String {
    let direction = if link.direction.is_outbound() { "link to" } else { "link from" };
    format!("in its {direction} `{}` {problem}", link.address)
}
