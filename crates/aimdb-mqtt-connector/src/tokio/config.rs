//! The configuration of a connection: as the user sets it, and resolved.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use aimdb_core::{Finding, Rule};
use http::Uri;
use percent_encoding::percent_decode_str;

use super::tls;
use crate::target::DEFAULT_NAME;
use crate::topic::topic_fault;
use crate::will::LastWill;

/// The payload limit of [`MqttConnector`](crate::MqttConnector) unless set otherwise: 1 MiB, in bytes.
pub const DEFAULT_MAX_PAYLOAD: usize = 1 << 20;

/// Bytes of a packet besides its payload, at most: the longest topic, properties, and headers.
pub(crate) const PACKET_OVERHEAD: usize = 68 * 1024;

/// The version of the MQTT protocol.
///
/// ```
/// use aimdb_mqtt_connector::{MqttConnector, MqttVersion};
///
/// let connector = MqttConnector::new("mqtt://127.0.0.1").version(MqttVersion::V5);
/// # let _ = connector;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MqttVersion {
    /// MQTT 5, the default.
    #[default]
    V5,
    /// MQTT 3.1.1. It has no receive maximum, and its broker cannot refuse a message.
    #[cfg(feature = "v311")]
    V311,
}

/// Whether the broker keeps the client's session between connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionPolicy {
    Clean,
    Persistent { expiry: Duration },
}

/// The configuration as the user sets it. [`resolve`](Self::resolve) checks it.
#[derive(Clone)]
pub(crate) struct ConnectorConfig {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) version: MqttVersion,
    pub(crate) client_id: Option<String>,
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) keep_alive: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) session: SessionPolicy,
    pub(crate) last_will: Option<LastWill>,
    pub(crate) max_payload: usize,
    pub(crate) first_pause: Duration,
    pub(crate) max_pause: Duration,
    pub(crate) require_connection: Option<Duration>,
    pub(crate) ca: Option<tls::Pem>,
    pub(crate) identity: Option<(tls::Pem, tls::Pem)>,
}

impl ConnectorConfig {
    pub(crate) fn new(url: String) -> Self {
        Self {
            name: DEFAULT_NAME.into(),
            url,
            version: MqttVersion::V5,
            client_id: None,
            credentials: None,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            session: SessionPolicy::Clean,
            last_will: None,
            max_payload: DEFAULT_MAX_PAYLOAD,
            first_pause: Duration::from_millis(250),
            max_pause: Duration::from_secs(10),
            require_connection: None,
            ca: None,
            identity: None,
        }
    }

    /// The URL without user and password.
    pub(crate) fn redacted_url(&self) -> String {
        match self.url.split_once("://") {
            Some((scheme, rest)) => {
                format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host))
            }
            None => self.url.clone(),
        }
    }

    /// The checked configuration.
    ///
    /// # Errors
    ///
    /// All findings about this configuration.
    pub(crate) fn resolve(&self) -> Result<ResolvedConfig, Vec<Finding>> {
        let mut faults =
            FindingList { name: &self.name, url: self.redacted_url(), findings: Vec::new() };
        let broker = BrokerUrl::parse(&self.url).map_err(|fault| faults.add(fault.0, fault.1)).ok();
        self.check_values(&mut faults);
        let tls = broker.as_ref().and_then(|broker| self.read_tls(broker, &mut faults));
        match broker {
            Some(broker) if faults.findings.is_empty() => Ok(ResolvedConfig {
                credentials: self.credentials.clone().or(broker.credentials),
                host: broker.host,
                port: broker.port,
                client_id: self.client_id.clone().unwrap_or_else(random_client_id),
                tls,
                config: self.clone(),
            }),
            _ => Err(faults.findings),
        }
    }

    fn check_values(&self, faults: &mut FindingList<'_>) {
        if self.name.is_empty() || self.name.contains("://") {
            faults.add(
                format!("the name `{}` cannot be a link's scheme", self.name),
                "use letters and digits",
            );
        }
        if matches!(self.session, SessionPolicy::Persistent { .. }) && self.client_id.is_none() {
            faults.add(
                "a persistent session belongs to a client id, and none is set",
                "set `.client_id(…)`, the same after every start",
            );
        }
        if self.client_id.as_deref() == Some("") {
            faults.add("the client id is empty", "leave it out to get a random one");
        }
        if !self.keep_alive.is_zero()
            && !(1..=u64::from(u16::MAX)).contains(&self.keep_alive.as_secs())
        {
            let problem = format!("a keep-alive of {:?} cannot be sent", self.keep_alive);
            faults.add(problem, "use whole seconds, 1 to 65535, or zero for none");
        }
        if self.max_payload == 0 || self.max_payload > LARGEST_PAYLOAD {
            let problem = format!("a payload limit of {} bytes is not possible", self.max_payload);
            faults.add(problem, "use 1 to 268 million bytes, MQTT's own limit");
        }
        if let Some(fault) = self.last_will.as_ref().and_then(|will| topic_fault(&will.topic)) {
            faults.add(format!("the last will's topic {fault}"), "name one exact topic");
        }
    }

    fn read_tls(
        &self,
        broker: &BrokerUrl,
        faults: &mut FindingList<'_>,
    ) -> Option<std::sync::Arc<rustls::ClientConfig>> {
        if !broker.tls {
            if self.ca.is_some() || self.identity.is_some() {
                let remedy = "write `mqtts://`, or remove the certificates";
                faults
                    .add("certificates are given, but the URL asks for a plain connection", remedy);
            }
            return None;
        }
        tls::client_config(self.ca.as_ref(), self.identity.as_ref())
            .map_err(|reasons| {
                let remedy = "give PEM files with `.ca_file(…)` and `.client_certificate(…)`";
                reasons.iter().for_each(|reason| faults.add(reason, remedy));
            })
            .ok()
    }
}

/// MQTT's remaining length is at most 268,435,455 bytes.
const LARGEST_PAYLOAD: usize = 268_435_455 - PACKET_OVERHEAD;

/// The findings about one connector.
struct FindingList<'c> {
    name: &'c str,
    url: String,
    findings: Vec<Finding>,
}

impl FindingList<'_> {
    fn add(&mut self, problem: impl fmt::Display, remedy: impl Into<String>) {
        let problem = format!("connector `{}` to `{}`: {problem}", self.name, self.url);
        self.findings.push(Finding::new(Rule::BadConnector, "", problem, remedy));
    }
}

/// A configuration without findings. Created by [`ConnectorConfig::resolve`].
#[derive(Clone)]
pub(crate) struct ResolvedConfig {
    pub(crate) config: ConnectorConfig,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) client_id: String,
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) tls: Option<std::sync::Arc<rustls::ClientConfig>>,
}

fn random_client_id() -> String {
    let letters: String = (0..12).map(|_| fastrand::alphanumeric().to_ascii_lowercase()).collect();
    format!("aimdb-{letters}")
}

/// The parsed URL of a broker.
#[derive(Debug, PartialEq, Eq)]
struct BrokerUrl {
    tls: bool,
    host: String,
    port: u16,
    credentials: Option<(String, String)>,
}

impl BrokerUrl {
    fn parse(url: &str) -> Result<Self, (String, &'static str)> {
        const SHAPE: &str = "write `mqtt://host:port` or `mqtts://user:password@host:port`";
        let fail = |problem: String| (problem, SHAPE);
        let uri: Uri =
            url.parse().map_err(|error| fail(format!("the URL cannot be read: {error}")))?;
        let (tls, default_port) = match uri.scheme_str() {
            Some("mqtt") => (false, 1883),
            Some("mqtts") => (true, 8883),
            Some(other) => return Err(fail(format!("the URL's scheme is `{other}`"))),
            None => return Err(fail("the URL has no scheme".into())),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(fail("the URL has a path or a query, which a broker does not have".into()));
        }
        let authority = uri.authority().ok_or_else(|| fail("the URL has no host".into()))?;
        let (user_info, host_port) = match authority.as_str().rsplit_once('@') {
            Some((user_info, host_port)) => (Some(user_info), host_port),
            None => (None, authority.as_str()),
        };
        let host = authority.host();
        if host.is_empty() {
            return Err(fail("the URL has no host".into()));
        }
        // Not `Authority::port`: it treats a number that is too large as a missing port.
        let port = match host_port[host.len()..].strip_prefix(':') {
            Some(digits) => digits.parse().ok().filter(|port| *port != 0),
            None => Some(default_port),
        };
        let port = port.ok_or_else(|| fail("the URL's port is not between 1 and 65535".into()))?;
        let credentials = user_info.map(parse_credentials).transpose().map_err(fail)?;
        Ok(Self {
            tls,
            host: host.trim_start_matches('[').trim_end_matches(']').into(),
            port,
            credentials,
        })
    }
}

fn parse_credentials(user_info: &str) -> Result<(String, String), String> {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let decode =
        |text: &str| percent_decode_str(text).decode_utf8().map(|decoded| decoded.into_owned());
    match (decode(user), decode(password)) {
        (Ok(user), Ok(password)) => Ok((user, password)),
        _ => Err("user or password in the URL are not UTF-8".into()),
    }
}

/// The contents of a PEM file, or the reason why it cannot be read.
pub(crate) fn read_file(path: &Path) -> tls::Pem {
    std::fs::read(path).map_err(|error| format!("`{}` cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(url: &str) -> Result<BrokerUrl, String> {
        BrokerUrl::parse(url).map_err(|(problem, _)| problem)
    }

    #[test]
    fn a_url_has_host_port_and_credentials() {
        let plain =
            |host: &str, port| BrokerUrl { tls: false, host: host.into(), port, credentials: None };
        assert_eq!(broker("mqtt://localhost"), Ok(plain("localhost", 1883)));
        assert_eq!(broker("mqtt://127.0.0.1:2883/"), Ok(plain("127.0.0.1", 2883)));
        assert_eq!(broker("mqtt://[::1]:2883"), Ok(plain("::1", 2883)));
        let secured = broker("mqtts://me:p%40ss@broker.example").unwrap();
        assert_eq!((secured.tls, secured.port), (true, 8883));
        assert_eq!(secured.credentials, Some(("me".into(), "p@ss".into())));
    }

    #[test]
    fn the_error_of_an_invalid_url_names_the_fault() {
        for (url, problem) in [
            ("http://host", "the URL's scheme is `http`"),
            ("localhost", "the URL has no scheme"),
            ("mqtt://host/path", "the URL has a path or a query, which a broker does not have"),
            ("mqtt://host:0", "the URL's port is not between 1 and 65535"),
            ("mqtt://host:99999", "the URL's port is not between 1 and 65535"),
            ("mqtt://host:", "the URL's port is not between 1 and 65535"),
            ("mqtt://u:p@host:x1", "the URL's port is not between 1 and 65535"),
        ] {
            assert_eq!(broker(url).unwrap_err(), problem);
        }
        assert!(broker("mqtt://").is_err() && broker("").is_err());
    }

    #[test]
    fn the_password_is_never_shown() {
        let config = ConnectorConfig::new("mqtts://me:secret@host:1".into());
        assert_eq!(config.redacted_url(), "mqtts://host:1");
    }
}
