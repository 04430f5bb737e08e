//! The connector for gateways and servers, on Tokio.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use aimdb_core::link::{LinkRequest, Links};
use aimdb_core::{Connector, Finding, RuntimeContext};
use aimdb_tokio_adapter::TokioAdapter;

use crate::config::{self, Config, MqttVersion, Session};
use crate::{LastWill, options, protocol, session};

/// A connection to one MQTT broker. The [crate] says what it promises.
///
/// Nothing is connected before the database starts; whatever is wrong with the settings is a finding of `build()`.
#[derive(Clone)]
pub struct MqttConnector {
    config: Config,
}

impl MqttConnector {
    /// A connector to the broker at `url`: `mqtt://host:port` or, with TLS, `mqtts://user:password@host:port`. Ports
    /// default to 1883 and 8883. User and password are percent-decoded.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { config: Config::new(url.into()) }
    }

    /// The name, which is the scheme of the links that use it. `mqtt` unless set.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// The protocol's version. MQTT 5 unless set.
    #[must_use]
    pub fn version(mut self, version: MqttVersion) -> Self {
        self.config.version = version;
        self
    }

    /// The client id. `aimdb-` and twelve random letters unless set. A broker knows one client by an id: a second one
    /// takes its place.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.config.client_id = Some(id.into());
        self
    }

    /// User and password. They win over those in the URL.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.config.credentials = Some((user.into(), password.into()));
        self
    }

    /// How often the connection is tested when nothing else is sent; whole seconds, zero for never, 30 s unless set. A
    /// broker that is silently gone is noticed after twice that.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.config.keep_alive = interval;
        self
    }

    /// How long TCP, TLS and the broker's answer may take together. 5 s unless set; 3.1.1 rounds to whole seconds.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.config.connect_timeout = limit;
        self
    }

    /// A message that the broker publishes if this client goes away without a word.
    #[must_use]
    pub fn last_will(mut self, will: LastWill) -> Self {
        self.config.last_will = Some(will);
        self
    }

    /// The broker forgets subscriptions and undelivered messages when the connection ends. This is the default.
    #[must_use]
    pub fn clean_session(mut self) -> Self {
        self.config.session = Session::Clean;
        self
    }

    /// The broker keeps subscriptions and messages of QoS 1 and 2 for `expiry` after the connection ended (MQTT 3.1.1:
    /// for as long as the broker likes). Needs a [`client_id`](Self::client_id).
    #[must_use]
    pub fn persistent_session(mut self, expiry: Duration) -> Self {
        self.config.session = Session::Persistent { expiry };
        self
    }

    /// The largest payload in both directions, in bytes; [`DEFAULT_MAX_PAYLOAD`](crate::DEFAULT_MAX_PAYLOAD) unless set. A larger value is not
    /// sent, and counted as dropped; a broker that speaks MQTT 5 does not send larger ones.
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.config.max_payload = bytes;
        self
    }

    /// The first pause before connecting again, and the longest. Pauses double, give or take a fifth.
    #[must_use]
    pub fn backoff(mut self, first: Duration, max: Duration) -> Self {
        self.config.first_pause = first;
        self.config.longest_pause = max;
        self
    }

    /// Fails for good if the broker refuses the first connection, or if there is none after `within`. Without this the
    /// connector tries for ever; `health()` shows the reason meanwhile.
    #[must_use]
    pub fn require_connection(mut self, within: Duration) -> Self {
        self.config.require_connection = Some(within);
        self
    }

    /// Trusts the certificate authorities in this PEM text, and no others. Without it the system's are trusted.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.config.ca = Some(Ok(pem.into()));
        self
    }

    /// [`ca_pem`](Self::ca_pem) from a file, read now. A file that cannot be read is a finding.
    #[must_use]
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.config.ca = Some(config::read_file(path.as_ref()));
        self
    }

    /// Shows this certificate (chain) to a broker that asks for one; both as PEM texts.
    #[must_use]
    pub fn client_certificate_pem(
        mut self,
        chain: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.config.identity = Some((Ok(chain.into()), Ok(key.into())));
        self
    }

    /// [`client_certificate_pem`](Self::client_certificate_pem) from files, read now.
    #[must_use]
    pub fn client_certificate(mut self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.config.identity =
            Some((config::read_file(chain.as_ref()), config::read_file(key.as_ref())));
        self
    }
}

impl fmt::Debug for MqttConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttConnector")
            .field("name", &self.config.name)
            .field("url", &self.config.shown_url())
            .finish_non_exhaustive()
    }
}

impl Connector<TokioAdapter> for MqttConnector {
    type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn name(&self) -> &str {
        &self.config.name
    }

    fn describe(&self) -> String {
        let version = match self.config.version {
            MqttVersion::V5 => "MQTT 5",
            #[cfg(feature = "v311")]
            MqttVersion::V311 => "MQTT 3.1.1",
        };
        format!("{version} at {}", self.config.shown_url())
    }

    fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        let own = self.config.read().err().unwrap_or_default();
        own.into_iter().chain(links.iter().flat_map(options::check)).collect()
    }

    fn run(self, links: Links, context: RuntimeContext<TokioAdapter>) -> Self::Run {
        match (self.config.read(), self.config.version) {
            (Ok(settings), MqttVersion::V5) => {
                Box::pin(session::run::<protocol::v5::V5>(settings, links, context))
            }
            #[cfg(feature = "v311")]
            (Ok(settings), MqttVersion::V311) => {
                Box::pin(session::run::<protocol::v311::V311>(settings, links, context))
            }
            (Err(findings), _) => Box::pin(async move {
                let problems: Vec<String> = findings.iter().map(ToString::to_string).collect();
                context.fail(problems.join("; "));
            }),
        }
    }
}
