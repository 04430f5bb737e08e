//! The public connector type and its builder methods.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use aimdb_core::link::{LinkRequest, Links};
use aimdb_core::{Connector, Finding, RuntimeContext};
use aimdb_tokio_adapter::TokioAdapter;

use aimdb_mqtt_protocol::Version as MqttVersion;

use super::settings::TokioConfig;
use super::tls::Pem;
use crate::checks;
use crate::driver::{self, MqttStatus};
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
    config: TokioConfig,
}

impl MqttConnector {
    /// A connector to the broker at `url`.
    ///
    /// The form is `mqtt://user:password@host:port`, or `mqtts://…` with TLS; with the feature `ws` also
    /// `ws://host:port/path` and `wss://…`. User, password and port are optional. The port defaults to 1883, with TLS to
    /// 8883, for WebSockets to 80 and 443. User and password are percent-decoded: `#`, `/`, `?` and `@` in them must be
    /// percent-encoded. A URL that does not parse is a finding, which shows nothing of it.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { config: TokioConfig::new(url.into()) }
    }

    /// Adds a broker that is tried if the one before it does not accept the client or soon ends the connection, and so on
    /// in turn.
    ///
    /// The brokers should share their sessions; otherwise each begins one of its own. After a connection that has lasted
    /// as long as the longest pause, the same broker is tried first. The pause between two attempts is that of
    /// [`backoff`](Self::backoff).
    ///
    /// ```
    /// use aimdb_mqtt_connector::MqttConnector;
    ///
    /// let connector = MqttConnector::new("mqtt://10.0.0.2").or("mqtt://10.0.0.3");
    /// # let _ = connector;
    /// ```
    #[must_use]
    pub fn or(mut self, url: impl Into<String>) -> Self {
        self.config.urls.push(url.into());
        self
    }

    /// Sets the name, which is the scheme of the links that use this connector. `mqtt` unless set.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.config.client.name = name.into();
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
        self.config.client.client_id = Some(id.into());
        self
    }

    /// Sets user and password. They take precedence over those in the URL.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.config.client.credentials = Some((user.into(), password.into()));
        self
    }

    /// Asks `credentials` for user and password before each connection, for tokens that expire.
    ///
    /// It takes precedence over [`credentials`](Self::credentials) and the URL. It runs on the connector's task and must
    /// not block for long. Its error is shown and logged, and the connector tries again after its pause.
    ///
    /// ```
    /// use aimdb_mqtt_connector::MqttConnector;
    ///
    /// let connector = MqttConnector::new("mqtts://broker.example").credentials_from(|| {
    ///     Ok::<_, std::io::Error>(("gateway-7", std::fs::read_to_string("/run/secrets/token")?))
    /// });
    /// # let _ = connector;
    /// ```
    #[must_use]
    pub fn credentials_from<U: Into<String>, P: Into<String>, E: fmt::Display>(
        mut self,
        credentials: impl Fn() -> Result<(U, P), E> + Send + Sync + 'static,
    ) -> Self {
        self.config.credentials_from = Some(std::sync::Arc::new(move || {
            credentials()
                .map(|(user, password)| (user.into(), password.into()))
                .map_err(|error| error.to_string())
        }));
        self
    }

    /// The counters of the connector that belong to no link.
    #[must_use]
    pub fn status(&self) -> MqttStatus {
        self.config.status.clone()
    }

    /// Sets the keep-alive interval: how often an idle connection is tested. 30 s unless set.
    ///
    /// The interval is in whole seconds, up to 65,535; zero disables the test. A broker may set another one. The
    /// connector detects a broker that disappeared without closing the connection after twice the interval, also while
    /// it sends: only what is read proves that the broker lives.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.config.client.keep_alive = interval;
        self
    }

    /// Sets the time limit for TCP, TLS and the broker's CONNACK together. 5 s unless set. Zero is a finding.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.config.client.connect_timeout = limit;
        self
    }

    /// Sets a message that the broker publishes if this client disappears without a DISCONNECT.
    #[must_use]
    pub fn last_will(mut self, will: LastWill) -> Self {
        self.config.client.last_will = Some(will);
        self
    }

    /// Makes the broker discard subscriptions and undelivered messages when the connection ends. This is the default.
    #[must_use]
    pub fn clean_session(mut self) -> Self {
        self.config.client.session = None;
        self
    }

    /// Makes the broker keep subscriptions and messages at QoS 1 and 2 for `expiry` after the connection ended.
    ///
    /// `expiry` counts in whole seconds. With MQTT 3.1.1 the broker alone decides how long it keeps the session. A
    /// persistent session without a [`client_id`](Self::client_id) is a finding.
    #[must_use]
    pub fn persistent_session(mut self, expiry: Duration) -> Self {
        self.config.client.session = Some(expiry);
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
    /// The pause doubles after each attempt, and starts over only after a connection that has lasted as long as the
    /// longest pause: two clients that take each other's place do so less and less often. Each pause is lengthened or
    /// shortened by a random amount, up to a fifth. A first pause of zero is a finding.
    #[must_use]
    pub fn backoff(mut self, first: Duration, max: Duration) -> Self {
        self.config.client.first_pause = first;
        self.config.client.max_pause = max;
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
        self.config.ca = Some(Pem::Text(pem.into()));
        self
    }

    /// Like [`ca_pem`](Self::ca_pem), from a file.
    ///
    /// The file is read for each connection, so that it can be replaced. One that cannot be read is a finding of
    /// `build()`, and later an error of the attempt.
    #[must_use]
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.config.ca = Some(Pem::File(path.as_ref().into()));
        self
    }

    /// Presents this certificate chain to a broker that requests one. Chain and private key are PEM texts.
    #[must_use]
    pub fn client_certificate_pem(
        mut self,
        chain: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.config.identity = Some((Pem::Text(chain.into()), Pem::Text(key.into())));
        self
    }

    /// Like [`client_certificate_pem`](Self::client_certificate_pem), from files.
    ///
    /// The files are read for each connection, so that they can be replaced. One that cannot be read is a finding of
    /// `build()`, and later an error of the attempt.
    #[must_use]
    pub fn client_certificate(mut self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.config.identity =
            Some((Pem::File(chain.as_ref().into()), Pem::File(key.as_ref().into())));
        self
    }
}

impl MqttConnector {
    /// Sets the names of protocols that TLS offers to the broker (ALPN), for brokers that expect one. None unless set.
    ///
    /// ```
    /// use aimdb_mqtt_connector::MqttConnector;
    ///
    /// let connector = MqttConnector::new("mqtts://broker.example:443").alpn(["x-amzn-mqtt-ca"]);
    /// # let _ = connector;
    /// ```
    #[must_use]
    pub fn alpn<N: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = N>) -> Self {
        self.config.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }
}

impl fmt::Debug for MqttConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttConnector")
            .field("name", &self.config.client.name)
            .field("url", &self.config.target())
            .finish_non_exhaustive()
    }
}

impl Connector<TokioAdapter> for MqttConnector {
    type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn name(&self) -> &str {
        &self.config.client.name
    }

    fn describe(&self) -> String {
        let version = match self.config.version {
            MqttVersion::V5 => "MQTT 5",
            #[cfg(feature = "v311")]
            MqttVersion::V311 => "MQTT 3.1.1",
        };
        format!("{version} at {}", self.config.target())
    }

    fn identity(&self) -> Option<String> {
        let id = self.config.client.client_id.as_deref()?;
        Some(format!("the client id `{id}` at {}", self.config.brokers()))
    }

    /// Only MQTT 5 has properties.
    fn carries_properties(&self) -> bool {
        self.config.version == MqttVersion::V5
    }

    fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        let mut findings = self.config.resolve().err().unwrap_or_default();
        findings.extend(checks::links(links, self.config.version));
        findings
    }

    fn run(self, links: Links, context: RuntimeContext<TokioAdapter>) -> Self::Run {
        match self.config.resolve() {
            Ok((settings, dial)) => {
                Box::pin(driver::run(dial, settings, self.config.status, links, context))
            }
            Err(findings) => Box::pin(async move {
                let problems: Vec<String> = findings.iter().map(ToString::to_string).collect();
                context.fail(problems.join("; "));
            }),
        }
    }
}
