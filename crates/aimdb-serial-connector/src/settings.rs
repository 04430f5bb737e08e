//! The settings of a connector, and the findings about them and about its links.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use aimdb_core::link::LinkRequest;
use aimdb_core::{Finding, Rule};

use crate::frame::{DEFAULT_MAX_PAYLOAD, MAX_PAYLOAD_LIMIT, TopicId};
use crate::status::SerialStatus;

/// The default name of a connector, and so the scheme of its links.
const DEFAULT_NAME: &str = "serial";

/// The settings that both connectors of this crate have. [`setters`] documents them.
#[derive(Clone, Debug)]
pub(crate) struct SerialSettings {
    pub(crate) name: String,
    pub(crate) session: u16,
    pub(crate) max_payload: usize,
    pub(crate) heartbeat: Duration,
    pub(crate) initial_backoff: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) full_record_timeout: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) status: SerialStatus,
}

impl SerialSettings {
    pub(crate) fn new(session: u16) -> Self {
        Self {
            name: DEFAULT_NAME.into(),
            session,
            max_payload: DEFAULT_MAX_PAYLOAD,
            heartbeat: Duration::from_secs(1),
            initial_backoff: Duration::from_millis(250),
            max_backoff: Duration::from_secs(10),
            full_record_timeout: Duration::from_millis(20),
            idle_timeout: None,
            status: SerialStatus::default(),
        }
    }
}

/// Defines the setters that both connectors of this crate have.
macro_rules! setters {
    () => {
        /// Sets the connector's name, which is the scheme of its links. Default: `serial`.
        ///
        /// Several connectors in one database need different names.
        #[must_use]
        pub fn named(mut self, name: impl Into<alloc::string::String>) -> Self {
            self.settings.name = name.into();
            self
        }

        /// Sets the largest payload in both directions, in bytes. Default:
        /// [`DEFAULT_MAX_PAYLOAD`](crate::frame::DEFAULT_MAX_PAYLOAD), 512.
        ///
        /// Both ends should use the same limit. The connector does not send a larger value and discards a longer frame;
        /// it counts both. `build()` accepts 1 to [`MAX_PAYLOAD_LIMIT`](crate::frame::MAX_PAYLOAD_LIMIT).
        #[must_use]
        pub fn max_payload(mut self, bytes: usize) -> Self {
            self.settings.max_payload = bytes;
            self
        }

        /// Sets the time without a frame sent after which the connector sends a heartbeat. Default: one second.
        #[must_use]
        pub fn heartbeat(mut self, interval: core::time::Duration) -> Self {
            self.settings.heartbeat = interval;
            self
        }

        /// Sets the first and the longest delay before the port is opened again. Default: 250 ms and 10 s.
        ///
        /// The delay doubles with each attempt, lengthened or shortened by up to a fifth. It starts over only after a
        /// connection that has lasted as long as the longest delay; after such a one the first attempt has none.
        #[must_use]
        pub fn backoff(mut self, initial: core::time::Duration, max: core::time::Duration) -> Self {
            self.settings.initial_backoff = initial;
            self.settings.max_backoff = max;
            self
        }

        /// Sets how long the connector waits for a full record before it drops a value for it. Default: 20 ms.
        ///
        /// The default gives the record's reader time to run, and is shorter than the time that the receive buffers of
        /// usual serial hardware cover.
        #[must_use]
        pub fn full_record_timeout(mut self, limit: core::time::Duration) -> Self {
            self.settings.full_record_timeout = limit;
            self
        }

        /// Sets the time without a valid frame after which the connector closes the port and opens it again. Default:
        /// no limit.
        ///
        /// Without a limit a line on which the peer never sends stays open: a sensor's line may be unidirectional. Set
        /// it where the peer can disappear without the port noticing, for instance behind a network. It must exceed the
        /// peer's heartbeat interval.
        #[must_use]
        pub fn idle_timeout(mut self, limit: core::time::Duration) -> Self {
            self.settings.idle_timeout = Some(limit);
            self
        }

        /// Returns a handle to the connector's counters. Call it before the builder takes the connector.
        #[must_use]
        pub fn status(&self) -> crate::status::SerialStatus {
            self.settings.status.clone()
        }
    };
}
pub(crate) use setters;

/// A problem of a connector's configuration, and the remedy.
pub(crate) type ConfigProblem = (String, &'static str);

/// Returns the findings about the settings, the port and the links.
pub(crate) fn check(
    settings: &SerialSettings,
    port: impl IntoIterator<Item = ConfigProblem>,
    links: &[LinkRequest<'_>],
) -> Vec<Finding> {
    let connector = settings.problems().into_iter().chain(port).map(|(problem, remedy)| {
        let problem = format!("connector `{}`: {problem}", settings.name);
        Finding::new(Rule::BadConnector, "", problem, remedy)
    });
    connector.chain(links.iter().flat_map(link_findings)).chain(colliding_topics(links)).collect()
}

impl SerialSettings {
    fn problems(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut report = |problem: String, remedy| problems.push((problem, remedy));
        if self.name.is_empty() || self.name.contains("://") {
            report("its name cannot be a link's scheme".into(), "use letters and digits");
        }
        if !(1..=MAX_PAYLOAD_LIMIT).contains(&self.max_payload) {
            let problem = format!("a payload limit of {} bytes is not possible", self.max_payload);
            report(problem, "use 1 to 65535 bytes");
        }
        if self.heartbeat.is_zero() {
            let problem = "its heartbeat interval is zero".into();
            report(problem, "pass `.heartbeat(…)` a longer interval, for instance 1 s");
        }
        if self.initial_backoff.is_zero() {
            let problem = "its initial backoff is zero".into();
            report(problem, "pass `.backoff(…)` a longer initial delay, for instance 250 ms");
        }
        if let Some(limit) = self.idle_timeout.filter(|limit| *limit <= self.heartbeat) {
            let problem = format!(
                "its idle timeout of {limit:?} does not exceed the heartbeat interval of {:?}",
                self.heartbeat
            );
            report(problem, "set `.idle_timeout(…)` to several heartbeat intervals");
        }
        problems
    }
}

fn link_findings(link: &LinkRequest<'_>) -> Vec<Finding> {
    let unknown_options = link.address.options.iter().map(|(name, _)| {
        let problem = in_link(link, format_args!("the option `{name}` is unknown"));
        let remedy = "remove it: a serial link has no options";
        Finding::new(Rule::BadOption, link.record, problem, remedy)
    });
    let bad_topic = topic_problem(link).map(|(problem, remedy)| {
        let problem = in_link(link, format_args!("{problem}"));
        Finding::new(Rule::BadTopic, link.record, problem, remedy)
    });
    unknown_options.chain(bad_topic).collect()
}

fn topic_problem(link: &LinkRequest<'_>) -> Option<(&'static str, &'static str)> {
    const NAME_ONE: &str = "name one topic, for instance `sensors/temp/indoor`";
    if link.computed_topic {
        return Some((
            "the topic is computed, but a frame carries only the id of a topic that both ends know",
            "link one record for each topic",
        ));
    }
    match &link.address.topic {
        topic if topic.is_empty() => Some(("the topic is empty", NAME_ONE)),
        topic if topic.contains(['+', '#']) => Some((
            "the topic has a wildcard, but a frame carries only the id of a topic that both ends know",
            NAME_ONE,
        )),
        _ => None,
    }
}

/// Returns a finding for each topic whose id equals that of another topic of the same direction.
///
/// With 32-bit ids that is unlikely, and without a finding the cause would be hard to find.
fn colliding_topics(links: &[LinkRequest<'_>]) -> Vec<Finding> {
    let mut known: BTreeMap<(bool, TopicId), &str> = BTreeMap::new();
    let mut findings = Vec::new();
    for link in links.iter().filter(|link| !link.computed_topic) {
        let topic = link.address.topic.as_str();
        let id = TopicId::of(topic);
        let first = *known.entry((link.direction.is_outbound(), id)).or_insert(topic);
        if first != topic {
            let problem =
                in_link(link, format_args!("the topic has the same id as `{first}`, {id}"));
            let remedy = "rename one of the two: the peer cannot distinguish them";
            findings.push(Finding::new(Rule::BadTopic, link.record, problem, remedy));
        }
    }
    findings
}

/// Prefixes `problem` with the link it is about.
fn in_link(link: &LinkRequest<'_>, problem: core::fmt::Arguments<'_>) -> String {
    let direction = if link.direction.is_outbound() { "link to" } else { "link from" };
    format!("in its {direction} `{}` {problem}", link.address)
}
