//! The settings of the connector on Tokio: as the user sets them, and checked.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use aimdb_core::link::driver::{Failure, Limits};
use aimdb_core::{Finding, Rule};
use aimdb_mqtt_protocol::{SessionConfig, Version};
use rustls::ClientConfig as TlsConfig;

use super::stream::{self, TokioStream};
use super::tls::{self, Pem};
use super::url::BrokerUrl;
use crate::config::{ClientConfig, Fault, credential_faults};
use crate::driver::{Dial, MqttStatus, Settings};

/// The payload limit of [`MqttConnector`](crate::MqttConnector) unless set otherwise: 1 MiB, in bytes.
pub const DEFAULT_MAX_PAYLOAD: usize = 1 << 20;

/// Bytes of a packet besides its payload, at most: the longest topic, properties, and headers.
const PACKET_OVERHEAD: usize = 68 * 1024;

/// MQTT's remaining length is at most 268,435,455 bytes.
const LARGEST_PAYLOAD: usize = 268_435_455 - PACKET_OVERHEAD;

/// The receive maximum: unacknowledged messages at QoS 1 and 2 that the broker may send to this client.
const RECEIVE_MAXIMUM: u16 = 256;

/// Messages at QoS 1 and 2 that may be unacknowledged at the broker with MQTT 5, where it states a lower number.
const WINDOW: u16 = 100;

/// The same with MQTT 3.1.1, which has no number: Mosquitto loses what is above its own, which is 20.
#[cfg(feature = "v311")]
const WINDOW_V311: u16 = 20;

/// Received messages that wait for a record: with receipts for all links, without for each.
const LIMITS: (usize, usize) = (1024, 512);

type CredentialsFn = Arc<dyn Fn() -> Result<(String, String), String> + Send + Sync>;

/// The settings as the user makes them. [`resolve`](Self::resolve) checks them.
#[derive(Clone)]
pub(crate) struct TokioConfig {
    pub(crate) client: ClientConfig,
    /// The brokers in the order in which they are tried.
    pub(crate) urls: Vec<String>,
    pub(crate) version: Version,
    pub(crate) credentials_from: Option<CredentialsFn>,
    pub(crate) max_payload: usize,
    pub(crate) require_connection: Option<std::time::Duration>,
    pub(crate) ca: Option<Pem>,
    pub(crate) identity: Option<(Pem, Pem)>,
    pub(crate) alpn: Vec<Vec<u8>>,
    pub(crate) status: MqttStatus,
}

impl TokioConfig {
    pub(crate) fn new(url: String) -> Self {
        Self {
            client: ClientConfig::new(),
            urls: vec![url],
            version: Version::V5,
            credentials_from: None,
            max_payload: DEFAULT_MAX_PAYLOAD,
            require_connection: None,
            ca: None,
            identity: None,
            alpn: Vec::new(),
            status: MqttStatus::default(),
        }
    }

    /// The brokers as their URLs were understood, without credentials. Nothing is shown of a URL that does not parse.
    pub(crate) fn target(&self) -> String {
        let shown = |url: &String| BrokerUrl::parse(url).map(|url| url.shown());
        let shown: Vec<String> = self
            .urls
            .iter()
            .map(|url| shown(url).unwrap_or_else(|_| "an unreadable URL".into()))
            .collect();
        shown.join(" or ")
    }

    /// The brokers without what does not tell them apart.
    pub(crate) fn brokers(&self) -> String {
        let address = |url: &String| BrokerUrl::parse(url).ok().map(|url| url.address());
        let addresses: Vec<String> = self.urls.iter().filter_map(address).collect();
        addresses.join(", ").to_lowercase()
    }

    /// The checked settings, and how streams are opened.
    ///
    /// # Errors
    ///
    /// All findings about them.
    pub(crate) fn resolve(&self) -> Result<(Settings, TokioDial), Vec<Finding>> {
        let mut faults =
            FindingList { name: &self.client.name, url: self.target(), findings: Vec::new() };
        let mut brokers = Vec::new();
        for url in &self.urls {
            match BrokerUrl::parse(url) {
                Ok(broker) => brokers.push(broker),
                Err(fault) => faults.add(fault),
            }
        }
        self.client.faults().into_iter().for_each(|fault| faults.add(fault));
        self.own_faults(&brokers).into_iter().for_each(|fault| faults.add(fault));
        let tls = match brokers.iter().any(|broker| broker.tls) {
            true => self.tls().map_err(|reasons| {
                let remedy = "give PEM files with `.ca_file(…)` and `.client_certificate(…)`";
                reasons.into_iter().for_each(|reason| faults.add((reason, remedy)));
            }),
            false => Err(()),
        };
        if !faults.findings.is_empty() {
            return Err(faults.findings);
        }
        let mut session = self.client.session();
        if session.client_id.is_empty() {
            session.client_id = random_client_id();
        }
        session.version = self.version;
        session.clean_start = self.client.session.is_none();
        session.receive_maximum = RECEIVE_MAXIMUM;
        session.max_incoming = self.max_payload + PACKET_OVERHEAD;
        session.window = match self.version {
            Version::V5 => WINDOW,
            #[cfg(feature = "v311")]
            Version::V311 => WINDOW_V311,
        };
        session.first_id = fastrand::u16(..);
        let settings = Settings {
            session,
            session_of_program: false,
            connect_timeout: self.client.connect_timeout,
            max_payload: self.max_payload,
            target: self.target(),
            limits: Limits {
                acknowledged: LIMITS.0,
                unacknowledged: LIMITS.1,
                ..Limits::default()
            },
            reconnect: self
                .client
                .reconnect(fastrand::u32(..))
                .require_within(self.require_connection),
            has_alternatives: self.urls.len() > 1,
            proof: self.client.max_pause.max(self.client.first_pause),
            last_will: self.client.last_will.clone(),
        };
        let rereads = self.ca.iter().chain(self.identity.iter().flat_map(|(a, b)| [a, b]));
        let dial = TokioDial {
            brokers,
            next: 0,
            rereads: rereads.into_iter().any(Pem::is_file),
            tls: tls.ok(),
            config: self.clone(),
        };
        Ok((settings, dial))
    }

    fn tls(&self) -> Result<Arc<TlsConfig>, Vec<String>> {
        tls::client_config(self.ca.as_ref(), self.identity.as_ref(), &self.alpn)
    }

    fn own_faults(&self, brokers: &[BrokerUrl]) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.client.session.is_some() && self.client.client_id.is_none() {
            faults.push((
                "a persistent session belongs to a client id, and none is set".into(),
                "set `.client_id(…)`, the same after every start",
            ));
        }
        if self.max_payload == 0 || self.max_payload > LARGEST_PAYLOAD {
            let problem = format!("a payload limit of {} bytes is not possible", self.max_payload);
            faults.push((problem, "use 1 to 268 million bytes, MQTT's own limit"));
        }
        let delay =
            self.client.last_will.as_ref().map_or(std::time::Duration::ZERO, |will| will.delay);
        if !delay.is_zero() && self.version != Version::V5 {
            faults.push((
                "the last will has a delay, which needs MQTT 5".into(),
                "remove `.delay(…)`, or choose MQTT 5 with `.version(…)`",
            ));
        }
        let for_tls = self.ca.is_some() || self.identity.is_some() || !self.alpn.is_empty();
        if for_tls && brokers.iter().any(|broker| !broker.tls) {
            faults.push((
                "certificates are given, but the URL asks for a plain connection".into(),
                "write `mqtts://`, or remove the certificates",
            ));
        }
        if self.alpn.iter().any(|name| name.is_empty() || name.len() > 255) {
            let problem = "a name of a protocol for ALPN is empty or longer than 255 bytes";
            faults.push((problem.into(), "write `.alpn([\"mqtt\"])`, for instance"));
        }
        for (user, password) in brokers.iter().filter_map(|broker| broker.credentials.as_ref()) {
            credential_faults(user, password, &mut |problem, remedy| {
                faults.push((problem, remedy))
            });
        }
        faults
    }
}

/// The findings about one connector.
struct FindingList<'c> {
    name: &'c str,
    url: String,
    findings: Vec<Finding>,
}

impl FindingList<'_> {
    fn add(&mut self, (problem, remedy): (impl fmt::Display, impl Into<String>)) {
        let problem = format!("connector `{}` to `{}`: {problem}", self.name, self.url);
        self.findings.push(Finding::new(Rule::BadConnector, "", problem, remedy));
    }
}

fn random_client_id() -> String {
    let letters: String = (0..12).map(|_| fastrand::alphanumeric().to_ascii_lowercase()).collect();
    format!("aimdb-{letters}")
}

/// Opens streams to the brokers, the next one after each that does not accept the client.
pub(crate) struct TokioDial {
    brokers: Vec<BrokerUrl>,
    /// The broker that is tried next.
    next: usize,
    tls: Option<Arc<TlsConfig>>,
    /// Certificates are in files, which are read for each connection.
    rereads: bool,
    config: TokioConfig,
}

impl Dial for TokioDial {
    type Stream<'d> = TokioStream;

    fn prepare(&mut self, session: &mut SessionConfig) -> Result<(), Failure> {
        let set = &self.config.client.credentials;
        let credentials = match (&self.config.credentials_from, set) {
            (Some(credentials), _) => {
                // The function is the user's: if it panics, this attempt fails.
                let read = std::panic::catch_unwind(AssertUnwindSafe(|| credentials()));
                let read = read.unwrap_or_else(|_| Err("their function panicked".into()));
                Some(read.map_err(|error| {
                    Failure::retry(format_args!("the credentials cannot be read: {error}"))
                })?)
            }
            (None, Some(set)) => Some(set.clone()),
            (None, None) => self.brokers[self.next].credentials.clone(),
        };
        let mut fault = None;
        if let Some((user, password)) = &credentials {
            credential_faults(user, password, &mut |problem, _| fault = Some(problem));
        }
        if let Some(fault) = fault {
            return Err(Failure::retry(fault));
        }
        session.credentials = credentials.map(|(user, password)| (user, password.into_bytes()));
        Ok(())
    }

    async fn dial(&mut self) -> Result<TokioStream, Failure> {
        let broker = &self.brokers[self.next];
        let tls = match (broker.tls, self.rereads) {
            (false, _) => None,
            (true, false) => self.tls.clone(),
            (true, true) => {
                Some(self.config.tls().map_err(|reasons| Failure::retry(reasons.join("; ")))?)
            }
        };
        let opened = stream::open(broker, tls).await;
        let several = self.brokers.len() > 1;
        opened.map_err(|reason| match several {
            true => Failure::retry(format_args!("{}: {reason}", broker.shown())),
            false => Failure::retry(reason),
        })
    }

    fn note_outcome(&mut self, accepted: bool) {
        if !accepted {
            self.next = (self.next + 1) % self.brokers.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_shown() {
        let config = TokioConfig::new("mqtts://me:secret@host:1".into());
        assert_eq!(config.target(), "mqtts://host:1");
        assert_eq!(TokioConfig::new("me:secret@host:1".into()).target(), "an unreadable URL");
    }
}
