//! Which broker, and how.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use aimdb_core::{Finding, Rule};
use http::Uri;
use percent_encoding::percent_decode_str;

use crate::topic::topic_fault;
use crate::{LastWill, tls};

/// The largest payload that passes unless set otherwise: 1 MiB.
pub const DEFAULT_MAX_PAYLOAD: usize = 1 << 20;

/// What a packet may carry besides its payload: a topic of the greatest length, properties, and headers.
pub(crate) const PACKET_OVERHEAD: usize = 68 * 1024;

/// The version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MqttVersion {
    /// MQTT 5.
    #[default]
    V5,
    /// MQTT 3.1.1.
    #[cfg(feature = "v311")]
    V311,
}

/// What the broker remembers of this client between connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    Clean,
    Persistent { expiry: Duration },
}

/// Everything a connection needs, as the user said it; [`Config::read`] makes it usable.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) version: MqttVersion,
    pub(crate) client_id: Option<String>,
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) keep_alive: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) session: Session,
    pub(crate) last_will: Option<LastWill>,
    pub(crate) max_payload: usize,
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
    pub(crate) require_connection: Option<Duration>,
    pub(crate) ca: Option<tls::Pem>,
    pub(crate) identity: Option<(tls::Pem, tls::Pem)>,
}

impl Config {
    pub(crate) fn new(url: String) -> Self {
        Self {
            name: crate::DEFAULT_NAME.into(),
            url,
            version: MqttVersion::V5,
            client_id: None,
            credentials: None,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            session: Session::Clean,
            last_will: None,
            max_payload: DEFAULT_MAX_PAYLOAD,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(10),
            require_connection: None,
            ca: None,
            identity: None,
        }
    }

    /// Without user and password.
    pub(crate) fn shown_url(&self) -> String {
        match self.url.split_once("://") {
            Some((scheme, rest)) => {
                format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host))
            }
            None => self.url.clone(),
        }
    }

    /// The settings as a client can use them, or everything that is wrong with them.
    pub(crate) fn read(&self) -> Result<Settings, Vec<Finding>> {
        let mut faults = Faults { name: &self.name, url: self.shown_url(), found: Vec::new() };
        let broker = Broker::read(&self.url).map_err(|fault| faults.add(fault.0, fault.1)).ok();
        self.check_values(&mut faults);
        let tls = broker.as_ref().and_then(|broker| self.read_tls(broker, &mut faults));
        match broker {
            Some(broker) if faults.found.is_empty() => Ok(Settings {
                credentials: self.credentials.clone().or(broker.credentials),
                host: broker.host,
                port: broker.port,
                client_id: self.client_id.clone().unwrap_or_else(random_client_id),
                tls,
                config: self.clone(),
            }),
            _ => Err(faults.found),
        }
    }

    fn check_values(&self, faults: &mut Faults<'_>) {
        if self.name.is_empty() || self.name.contains("://") {
            faults.add(
                format!("the name `{}` cannot be a link's scheme", self.name),
                "use letters and digits",
            );
        }
        if matches!(self.session, Session::Persistent { .. }) && self.client_id.is_none() {
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
        if self.max_payload == 0 || self.max_payload > MOST_PAYLOAD {
            let problem = format!("a payload limit of {} bytes is not possible", self.max_payload);
            faults.add(problem, "use 1 to 268 million bytes, MQTT's own limit");
        }
        if let Some(fault) = self.last_will.as_ref().and_then(|will| topic_fault(&will.topic)) {
            faults.add(format!("the last will's topic {fault}"), "name one exact topic");
        }
    }

    fn read_tls(
        &self,
        broker: &Broker,
        faults: &mut Faults<'_>,
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
            .map_err(|fault| {
                faults.add(fault, "give PEM files with `.ca_file(…)` and `.client_certificate(…)`")
            })
            .ok()
    }
}

/// MQTT's remaining length is at most 268,435,455 bytes.
const MOST_PAYLOAD: usize = 268_435_455 - PACKET_OVERHEAD;

struct Faults<'c> {
    name: &'c str,
    url: String,
    found: Vec<Finding>,
}

impl Faults<'_> {
    fn add(&mut self, problem: impl fmt::Display, remedy: impl Into<String>) {
        let problem = format!("connector `{}` to `{}`: {problem}", self.name, self.url);
        self.found.push(Finding::new(Rule::BadConnector, "", problem, remedy));
    }
}

/// A configuration that can be used.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) config: Config,
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

/// A broker's URL, read.
#[derive(Debug, PartialEq, Eq)]
struct Broker {
    tls: bool,
    host: String,
    port: u16,
    credentials: Option<(String, String)>,
}

impl Broker {
    fn read(url: &str) -> Result<Self, (String, &'static str)> {
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
        let (user_info, place) = match authority.as_str().rsplit_once('@') {
            Some((user_info, place)) => (Some(user_info), place),
            None => (None, authority.as_str()),
        };
        let host = authority.host();
        if host.is_empty() {
            return Err(fail("the URL has no host".into()));
        }
        // `Authority::port` takes a number that is too large for none.
        let port = match place[host.len()..].strip_prefix(':') {
            Some(digits) => digits.parse().ok().filter(|port| *port != 0),
            None => Some(default_port),
        };
        let port = port.ok_or_else(|| fail("the URL's port is not between 1 and 65535".into()))?;
        let credentials = user_info.map(read_credentials).transpose().map_err(fail)?;
        Ok(Self {
            tls,
            host: host.trim_start_matches('[').trim_end_matches(']').into(),
            port,
            credentials,
        })
    }
}

fn read_credentials(user_info: &str) -> Result<(String, String), String> {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let decode =
        |text: &str| percent_decode_str(text).decode_utf8().map(|decoded| decoded.into_owned());
    match (decode(user), decode(password)) {
        (Ok(user), Ok(password)) => Ok((user, password)),
        _ => Err("user or password in the URL are not UTF-8".into()),
    }
}

pub(crate) fn read_file(path: &Path) -> tls::Pem {
    std::fs::read(path).map_err(|error| format!("`{}` cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(url: &str) -> Result<Broker, String> {
        Broker::read(url).map_err(|(problem, _)| problem)
    }

    #[test]
    fn a_url_gives_host_port_and_credentials() {
        let plain =
            |host: &str, port| Broker { tls: false, host: host.into(), port, credentials: None };
        assert_eq!(broker("mqtt://localhost"), Ok(plain("localhost", 1883)));
        assert_eq!(broker("mqtt://127.0.0.1:2883/"), Ok(plain("127.0.0.1", 2883)));
        assert_eq!(broker("mqtt://[::1]:2883"), Ok(plain("::1", 2883)));
        let secured = broker("mqtts://me:p%40ss@broker.example").unwrap();
        assert_eq!((secured.tls, secured.port), (true, 8883));
        assert_eq!(secured.credentials, Some(("me".into(), "p@ss".into())));
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong() {
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
        let config = Config::new("mqtts://me:secret@host:1".into());
        assert_eq!(config.shown_url(), "mqtts://host:1");
    }
}
