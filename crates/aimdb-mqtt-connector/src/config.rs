//! The settings that both connectors have, and their limits.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use aimdb_core::link::driver::Reconnect;
use aimdb_mqtt_protocol::SessionConfig;

use crate::target::DEFAULT_NAME;
use crate::topic::topic_fault;
use crate::will::LastWill;

/// The least pause before a reconnect. Less is an attack on the broker.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// A problem and its remedy.
pub(crate) type Fault = (String, &'static str);

/// The settings of either connector.
#[derive(Clone)]
pub(crate) struct ClientConfig {
    pub(crate) name: String,
    pub(crate) client_id: Option<String>,
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) keep_alive: Duration,
    pub(crate) connect_timeout: Duration,
    /// How long the broker keeps the session; `None` if it does not.
    pub(crate) session: Option<Duration>,
    pub(crate) last_will: Option<LastWill>,
    pub(crate) first_pause: Duration,
    pub(crate) max_pause: Duration,
}

impl ClientConfig {
    pub(crate) fn new() -> Self {
        Self {
            name: DEFAULT_NAME.into(),
            client_id: None,
            credentials: None,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            session: None,
            last_will: None,
            first_pause: Duration::from_millis(250),
            max_pause: Duration::from_secs(10),
        }
    }

    /// The faults of the settings.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut add = |problem: String, remedy| faults.push((problem, remedy));
        if self.name.is_empty() || self.name.contains("://") {
            add(
                format!("the name `{}` cannot be a link's scheme", self.name),
                "use letters and digits",
            );
        }
        if self.client_id.as_deref() == Some("") {
            add("the client id is empty".into(), "leave it out to get one that nobody else has");
        }
        if self.client_id.as_ref().is_some_and(|id| id.contains(char::is_control)) {
            add("the client id has a control character".into(), "use letters and digits");
        }
        for (what, length) in [
            ("client id", self.client_id.as_ref().map_or(0, String::len)),
            ("last will's payload", self.last_will.as_ref().map_or(0, |will| will.payload.len())),
        ] {
            if length > usize::from(u16::MAX) {
                add(format!("the {what} is {length} bytes long"), MQTTS_LIMIT);
            }
        }
        if let Some((user, password)) = &self.credentials {
            credential_faults(user, password, &mut add);
        }
        if !self.keep_alive.is_zero() && !is_seconds(self.keep_alive, u16::MAX.into()) {
            let problem = format!("a keep-alive of {:?} cannot be sent", self.keep_alive);
            add(problem, "use whole seconds, 1 to 65535, or zero for none");
        }
        if let Some(expiry) = self.session
            && !is_seconds(expiry, u32::MAX.into())
        {
            let problem = format!("a session cannot be kept for {expiry:?}");
            add(problem, "use whole seconds, 1 to 4294967295");
        }
        if self.connect_timeout.is_zero() {
            add(
                "it would give up before it has tried to connect".into(),
                "give `.connect_timeout(…)` some seconds",
            );
        }
        if self.first_pause < LEAST_PAUSE {
            add(
                "it would try to connect without a pause".into(),
                "give `.backoff(…)` a first pause, for instance 250 ms",
            );
        }
        if let Some(fault) = self.last_will.as_ref().and_then(|will| topic_fault(&will.topic)) {
            add(format!("the last will's topic {fault}"), "name one exact topic");
        }
        if let Some(will) = &self.last_will
            && !will.delay.is_zero()
            && !is_seconds(will.delay, u32::MAX.into())
        {
            let problem = format!("the last will's delay is {:?}", will.delay);
            add(problem, "use whole seconds, 1 to 4294967295");
        }
        faults
    }

    /// The session's settings. The caller adds its limits.
    pub(crate) fn session(&self) -> SessionConfig {
        // The faults above exclude what does not fit.
        let mut session = SessionConfig::new(self.client_id.as_deref().unwrap_or_default());
        session.keep_alive = u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX);
        let expiry = self.session.unwrap_or_default().as_secs();
        session.session_expiry = u32::try_from(expiry).unwrap_or(u32::MAX);
        session.credentials = self
            .credentials
            .as_ref()
            .map(|(user, password)| (user.clone(), password.clone().into_bytes()));
        session.will = self.last_will.as_ref().map(LastWill::to_protocol);
        session
    }

    pub(crate) fn reconnect(&self, seed: u32) -> Reconnect {
        Reconnect::new(self.first_pause, self.max_pause).seed(seed)
    }
}

const MQTTS_LIMIT: &str = "use 65535 bytes at most, MQTT's own limit";

/// The faults of user and password, which are not shown.
pub(crate) fn credential_faults(
    user: &str,
    password: &str,
    add: &mut impl FnMut(String, &'static str),
) {
    if user.contains('\0') {
        add("the user has a NUL character".into(), "remove it");
    }
    for (what, length) in [("user", user.len()), ("password", password.len())] {
        if length > usize::from(u16::MAX) {
            add(format!("the {what} is {length} bytes long"), MQTTS_LIMIT);
        }
    }
}

/// Whether the duration is whole seconds, from 1 to `max`.
fn is_seconds(duration: Duration, max: u64) -> bool {
    (1..=max).contains(&duration.as_secs()) && duration.subsec_nanos() == 0
}
