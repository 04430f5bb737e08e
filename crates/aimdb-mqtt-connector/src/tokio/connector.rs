//! The public connector type and its builder methods.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use aimdb_core::link::{LinkRequest, Links};
use aimdb_core::{Connector, Finding, RuntimeContext};
use aimdb_tokio_adapter::TokioAdapter;

use super::config::{self, ConnectorConfig, MqttVersion, SessionPolicy};
use super::driver;
use super::protocol;
use crate::options;
use crate::will::LastWill;

/// Links records to one MQTT broker, on Tokio, over TCP or TLS.
///
/// The [crate documentation](crate) states its guarantees and limits. The connector connects when the database starts;
/// an invalid setting is a finding of `build()`.
///
/// ```no_run
/// use std::time::Duration;
///
/// use aimdb_core::{AimDbBuilder, BufferCfg, Json};
/// use aimdb_mqtt_connector::{LastWill, MqttConnector};
/// # use aimdb_tokio_adapter::TokioAdapter;
/// # let mut builder = AimDbBuilder::new().runtime(std::sync::Arc::new(TokioAdapter::new().unwrap()));
///
/// let connector = MqttConnector::new("mqtts://me:p%40ss@broker.example")
///     .client_id("gateway-7")
///     .persistent_session(Duration::from_secs(3600))
///     .ca_file("/etc/ssl/private-ca.pem")
///     .last_will(LastWill::new("gateways/7/state", "offline"));
/// builder.connector(connector);
/// builder.configure::<bool>("pump", |reg| {
///     reg.buffer(BufferCfg::Mailbox).link_from("mqtt://pumps/7?qos=1", Json).tap(|_ctx, pump| async move {
///         let mut commands = pump.subscribe().unwrap();
///         while let Ok(on) = commands.recv().await {
///             println!("pump: {on}");
///         }
///     });
/// });
/// ```
#[derive(Clone)]
pub struct MqttConnector {
    config: ConnectorConfig,
}

impl MqttConnector {
    /// A connector to the broker at `url`.
    ///
    /// The form is `mqtt://user:password@host:port`, or `mqtts://…` with TLS. User, password and port are optional. The
    /// port defaults to 1883, with TLS to 8883. User and password are percent-decoded. A URL that does not parse is a
    /// finding.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { config: ConnectorConfig::new(url.into()) }
    }

    /// Sets the name, which is the scheme of the links that use this connector. `mqtt` unless set.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Sets the version of the protocol. MQTT 5 unless set.
    #[must_use]
    pub fn version(mut self, version: MqttVersion) -> Self {
        self.config.version = version;
        self
    }

    /// Sets the client id. `aimdb-` and twelve random characters unless set.
    ///
    /// Two clients must not use the same id: the broker disconnects the first one when the second one connects. An
    /// empty id is a finding.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.config.client_id = Some(id.into());
        self
    }

    /// Sets user and password. They take precedence over those in the URL.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.config.credentials = Some((user.into(), password.into()));
        self
    }

    /// Sets the keep-alive interval: how often an idle connection is tested. 30 s unless set.
    ///
    /// The interval is in whole seconds, up to 65,535; zero disables the test. The connector detects a broker that
    /// disappeared without closing the connection after twice the interval.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.config.keep_alive = interval;
        self
    }

    /// Sets the time limit for TCP, TLS and the broker's CONNACK together. 5 s unless set.
    ///
    /// With MQTT 3.1.1 the limit is rounded down to whole seconds, and at least one second.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.config.connect_timeout = limit;
        self
    }

    /// Sets a message that the broker publishes if this client disappears without a DISCONNECT.
    #[must_use]
    pub fn last_will(mut self, will: LastWill) -> Self {
        self.config.last_will = Some(will);
        self
    }

    /// Makes the broker discard subscriptions and undelivered messages when the connection ends. This is the default.
    #[must_use]
    pub fn clean_session(mut self) -> Self {
        self.config.session = SessionPolicy::Clean;
        self
    }

    /// Makes the broker keep subscriptions and messages at QoS 1 and 2 for `expiry` after the connection ended.
    ///
    /// `expiry` counts in whole seconds. With MQTT 3.1.1 the broker alone decides how long it keeps the session. A
    /// persistent session without a [`client_id`](Self::client_id) is a finding.
    #[must_use]
    pub fn persistent_session(mut self, expiry: Duration) -> Self {
        self.config.session = SessionPolicy::Persistent { expiry };
        self
    }

    /// Sets the largest payload in both directions, in bytes. [`DEFAULT_MAX_PAYLOAD`](crate::DEFAULT_MAX_PAYLOAD)
    /// unless set.
    ///
    /// The connector does not send a larger value, and counts it as dropped. A larger incoming message is dropped and
    /// counted too; a broker that speaks MQTT 5 does not send packets far above the limit.
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.config.max_payload = bytes;
        self
    }

    /// Sets the first and the longest pause before a reconnect. 250 ms and 10 s unless set.
    ///
    /// The pause doubles after each failed attempt. Each one is lengthened or shortened by a random amount, up to a
    /// fifth.
    #[must_use]
    pub fn backoff(mut self, first: Duration, max: Duration) -> Self {
        self.config.first_pause = first;
        self.config.max_pause = max;
        self
    }

    /// Makes the connector fail if it has no first connection after `within`, or if the broker refuses it before.
    ///
    /// Without this setting the connector retries without limit, and `health()` shows the reason meanwhile. After the
    /// first connection the setting has no effect.
    #[must_use]
    pub fn require_connection(mut self, within: Duration) -> Self {
        self.config.require_connection = Some(within);
        self
    }

    /// Trusts the certificate authorities in this PEM text, and no others.
    ///
    /// Without this setting the connector trusts the system's certificate authorities. It is a finding if the URL does
    /// not ask for TLS.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.config.ca = Some(Ok(pem.into()));
        self
    }

    /// Like [`ca_pem`](Self::ca_pem), from a file.
    ///
    /// The call reads the file. A file that cannot be read is a finding of `build()`.
    #[must_use]
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.config.ca = Some(config::read_file(path.as_ref()));
        self
    }

    /// Presents this certificate chain to a broker that requests one. Chain and private key are PEM texts.
    #[must_use]
    pub fn client_certificate_pem(
        mut self,
        chain: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.config.identity = Some((Ok(chain.into()), Ok(key.into())));
        self
    }

    /// Like [`client_certificate_pem`](Self::client_certificate_pem), from files.
    ///
    /// The call reads the files. A file that cannot be read is a finding of `build()`.
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
            .field("url", &self.config.redacted_url())
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
        format!("{version} at {}", self.config.redacted_url())
    }

    fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        let own = self.config.resolve().err().unwrap_or_default();
        own.into_iter().chain(links.iter().flat_map(options::check)).collect()
    }

    fn run(self, links: Links, context: RuntimeContext<TokioAdapter>) -> Self::Run {
        match (self.config.resolve(), self.config.version) {
            (Ok(config), MqttVersion::V5) => {
                Box::pin(driver::run::<protocol::V5>(config, links, context))
            }
            #[cfg(feature = "v311")]
            (Ok(config), MqttVersion::V311) => {
                Box::pin(driver::run::<protocol::V311>(config, links, context))
            }
            (Err(findings), _) => Box::pin(async move {
                let problems: Vec<String> = findings.iter().map(ToString::to_string).collect();
                context.fail(problems.join("; "));
            }),
        }
    }
}
