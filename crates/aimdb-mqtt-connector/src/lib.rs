//! Links AimDB records to MQTT brokers: MQTT 5, and 3.1.1 on request, over TCP or TLS.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use aimdb_core::{AimDbBuilder, BufferCfg, DbResult, Json};
//! # use aimdb_tokio_adapter::TokioAdapter;
//! use aimdb_mqtt_connector::{MqttConnector, QoS, mqtt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> DbResult<()> {
//! let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new()?));
//! builder.connector(MqttConnector::new("mqtt://127.0.0.1:1883").client_id("gateway-7"));
//! builder.configure::<f32>("sensor.temp", |reg| {
//!     reg.buffer(BufferCfg::SpmcRing { capacity: 100 })
//!         .link_from("mqtt://sensors/+/temp?qos=1", Json)
//!         .link_to(mqtt::topic("archive/temp").qos(QoS::AtLeastOnce).retain(), Json);
//! });
//! builder.run().await
//! # }
//! ```
//!
//! # Links
//!
//! A link is a text, `name://topic?option=value`, or typed, [`mqtt::topic`], [`mqtt::topic_from`], [`mqtt::filter`].
//! The name is the connector's: `mqtt` unless [`named`](MqttConnector::named), so several brokers live side by side.
//!
//! | option | outbound | inbound |
//! |---|---|---|
//! | `qos=0`, `1`, `2` | how it is published; 0 unless set | how it is subscribed; 0 unless set |
//! | `retain` | the broker keeps the newest | refused |
//!
//! An inbound topic may be a filter with `+` and `#`, or a shared subscription `$share/group/filter`; the codec sees
//! what the wildcards matched. Everything unknown or impossible is a finding of `build()`.
//!
//! # What is promised
//!
//! - **Outbound follows the buffer.** Without a connection nothing is taken from the record: a ring drops its oldest
//!   and counts, a queue holds its writers back, latest sends the newest once back. At QoS 1 and 2 what was taken is
//!   kept until the broker has acknowledged it, and sent again on a new session if need be.
//! - **Inbound acknowledges last.** At QoS 1 and 2 the broker gets its acknowledgement when the record has the value.
//!   With a [persistent session](MqttConnector::persistent_session) what was not acknowledged comes again.
//! - **An orderly shutdown leaves nothing open.** It ends when the broker has read every acknowledgement and closed the
//!   connection, or has not within 5 s: the next process gets no message again that a record of this one has.
//! - **Both directions heal** after the broker was away: connecting, subscribing and sending start anew by themselves,
//!   with a pause that doubles from 250 ms to 10 s ([`backoff`](MqttConnector::backoff)).
//! - **A payload that does not decode** is counted, logged and given to the dead-letter hook, and the link goes on.
//!
//! # What is not
//!
//! - At QoS 0 a message that was taken from the record when the connection broke is lost; it is counted in
//!   `dropped`, as is an incoming one for which a full queue had no room.
//! - QoS 2 is exactly once for as long as both sides keep the session. If the broker loses it, a message may come
//!   twice; messages that are sent again may come after later ones.
//! - Without an orderly shutdown (a crash, a broken connection at the last moment, a deadline that is over) the broker
//!   may not know what was acknowledged last. A persistent session sends it again to the next process, at QoS 1 and 2,
//!   since nothing outlives a process that would tell. Within one process a broken connection can double a message at
//!   QoS 1 whose acknowledgement was under way; at QoS 2 it cannot.
//! - With a persistent session, a QoS 2 publish that was cut off by the end of the *process* may hide one message of
//!   the next process from its receivers, because packet identifiers start over. Publish at QoS 1 where that matters.
//! - A message that the broker refuses is counted in `dropped` with MQTT 5. MQTT 3.1.1 has no words for it: the broker
//!   acknowledges the message and throws it away.
//! - MQTT 3.1.1 has no receive maximum: a broker that sends more than 1,024 unacknowledged messages to one full record
//!   is held back by not reading from the connection.
#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use aimdb_core::link::{LinkRequest, Links};
use aimdb_core::{Connector, Finding, RuntimeContext};
use aimdb_tokio_adapter::TokioAdapter;

mod backoff;
mod config;
mod inbound;
mod options;
mod outbound;
mod protocol;
mod routes;
mod session;
mod target;
mod tls;
mod topic;

pub use config::{DEFAULT_MAX_PAYLOAD, LastWill, MqttVersion};

/// Typed links.
pub mod mqtt {
    pub use crate::target::{ComputedTopic, Filter, Topic, filter, topic, topic_from};
}

use config::{Config, Session};

/// A connector's name, and so its links' scheme, unless it is given another one.
const DEFAULT_NAME: &str = "mqtt";

/// How surely a message arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum QoS {
    /// 0: sent once, not acknowledged.
    #[default]
    AtMostOnce = 0,
    /// 1: sent until acknowledged; duplicates are possible.
    AtLeastOnce = 1,
    /// 2: handed over exactly once within a session.
    ExactlyOnce = 2,
}

/// A connection to one MQTT broker. The [crate](self) says what it promises.
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

    /// The largest payload in both directions, in bytes; [`DEFAULT_MAX_PAYLOAD`] unless set. A larger value is not
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
