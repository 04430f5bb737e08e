//! The public connector type and its builder methods.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::time::Duration;

use aimdb_core::link::{LinkRequest, Links};
use aimdb_core::{Connector, Finding, Runtime, RuntimeContext};

use super::config::EmbassyConfig;
use super::network::Network;
use super::stream::NetworkDial;
use crate::driver::{self, MqttStatus};
use crate::will::LastWill;

/// Links records to one MQTT 5 broker without an operating system, over any [`Network`].
///
/// The [crate documentation](crate) states its guarantees and limits. The connector connects when the database starts;
/// an invalid setting is a finding of `build()`.
///
/// The connector's future is not `Send`; it runs on a runtime that does not require `Send`, such as Embassy. It is
/// boxed once, when the database is built.
///
/// ```
/// use std::time::Duration;
///
/// use aimdb_core::{AimDbBuilder, BufferCfg, Json};
/// use aimdb_embassy_adapter::EmbassyAdapter;
/// use aimdb_mqtt_connector::{EmbassyMqttConnector, LastWill, Network};
///
/// fn add_room<N: Network + 'static>(builder: &mut AimDbBuilder<EmbassyAdapter>, network: N) {
///     let connector = EmbassyMqttConnector::new("10.0.0.2:1883", network)
///         .client_id("node-7")
///         .keep_session(Duration::from_secs(600))
///         .last_will(LastWill::new("nodes/7/state", "offline"))
///         .send_buffer(4096);
///     builder.connector(connector);
///     builder.configure::<f32>("room.temperature", |reg| {
///         reg.buffer(BufferCfg::SpmcRing { capacity: 16 }).link_to("mqtt://rooms/7?qos=1", Json);
///     });
/// }
/// ```
pub struct EmbassyMqttConnector<N> {
    network: N,
    config: EmbassyConfig,
}

impl<N: Network> EmbassyMqttConnector<N> {
    /// A connector over `network`.
    ///
    /// `target` names the broker in logs, findings and reports: `10.0.0.2:1883`, for instance.
    #[must_use]
    pub fn new(target: impl Into<String>, network: N) -> Self {
        Self { network, config: EmbassyConfig::new(target.into()) }
    }

    /// Sets the name, which is the scheme of the links that use this connector. `mqtt` unless set.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.config.client.name = name.into();
        self
    }

    /// Sets the client id, of 65,535 bytes at most. The broker assigns one unless set.
    ///
    /// Two clients must not use the same id: the broker disconnects the first one when the second one connects. An
    /// empty id is a finding.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.config.client.client_id = Some(id.into());
        self
    }

    /// Sets user and password, of 65,535 bytes at most each.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.config.client.credentials = Some((user.into(), password.into()));
        self
    }

    /// Sets the keep-alive interval: how often an idle connection is tested. 30 s unless set.
    ///
    /// The interval is in whole seconds, up to 65,535; zero disables the test. A broker may set another one. The
    /// connection counts as broken if the broker does not respond to a test within the interval.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.config.client.keep_alive = interval;
        self
    }

    /// Sets the time limit for the network's stream and the broker's CONNACK together. 5 s unless set.
    ///
    /// Zero is a finding.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.config.client.connect_timeout = limit;
        self
    }

    /// Sets a message that the broker publishes if this client disappears without a DISCONNECT.
    ///
    /// Its payload has 65,535 bytes at most.
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

    /// Makes the broker keep subscriptions and messages at QoS 1 and 2 for `expiry` after a broken connection.
    ///
    /// The next connection resumes the session. `expiry` is in whole seconds. The session does not outlive this
    /// program: the client begins a new session with its first connection.
    #[must_use]
    pub fn keep_session(mut self, expiry: Duration) -> Self {
        self.config.client.session = Some(expiry);
        self
    }

    /// Sets the size of the largest incoming packet, in bytes. [`DEFAULT_BUFFER`](crate::DEFAULT_BUFFER) unless set.
    ///
    /// A packet contains topic, payload and some 20 further bytes. The connector announces the size to the broker,
    /// which sends no larger packet; one that arrives nevertheless is read past, counted and acknowledged. Fewer than 128
    /// bytes are a finding.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.config.receive_buffer = bytes;
        self
    }

    /// Sets the size of the buffer for bytes on their way to the network, in bytes. Twice
    /// [`DEFAULT_BUFFER`](crate::DEFAULT_BUFFER) unless set.
    ///
    /// The part that connecting needs (some 30 bytes, client id, credentials, last will) is reserved. A message larger
    /// than the rest is dropped and counted. No message is taken from a record while half of the buffer waits to be
    /// written. At QoS 1 and 2 the connector keeps a copy of each message outside this buffer until the broker has
    /// acknowledged it.
    #[must_use]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.config.send_buffer = bytes;
        self
    }

    /// Sets the first and the longest pause before a reconnect. 250 ms and 10 s unless set.
    ///
    /// The pause doubles after each attempt, and starts over only after a connection that has lasted as long as the
    /// longest pause. Each one is lengthened or shortened by up to a fifth. A first pause of zero is a finding.
    #[must_use]
    pub fn backoff(mut self, first: Duration, max: Duration) -> Self {
        self.config.client.first_pause = first;
        self.config.client.max_pause = max;
        self
    }
}

impl<N> EmbassyMqttConnector<N> {
    /// The counters of the connector that belong to no link.
    #[must_use]
    pub fn status(&self) -> MqttStatus {
        self.config.status.clone()
    }
}

impl<N> fmt::Debug for EmbassyMqttConnector<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl<R: Runtime, N: Network + 'static> Connector<R> for EmbassyMqttConnector<N> {
    type Run = Pin<Box<dyn Future<Output = ()>>>;

    fn name(&self) -> &str {
        &self.config.client.name
    }

    fn describe(&self) -> String {
        format!("MQTT 5 at {}", self.config.target)
    }

    fn identity(&self) -> Option<String> {
        let id = self.config.client.client_id.as_deref()?;
        Some(format!("the client id `{id}` at {}", self.config.target))
    }

    /// Only MQTT 5 has properties.
    fn carries_properties(&self) -> bool {
        true
    }

    fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        self.config.check(links)
    }

    fn run(self, links: Links, context: RuntimeContext<R>) -> Self::Run {
        // There is no source of randomness. The clocks of many clients differ by microseconds, which is enough to
        // scatter them.
        let settings = self.config.settings(context.time().now().as_nanos() as u32);
        let dial = NetworkDial(self.network);
        Box::pin(driver::run(dial, settings, self.config.status, links, context))
    }
}
