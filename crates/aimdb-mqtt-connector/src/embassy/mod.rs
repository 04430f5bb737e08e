//! The connector for microcontrollers.

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

use crate::LastWill;

mod driver;
mod gate;
mod inlets;
mod network;
mod outlets;
mod packet;
mod settings;
#[cfg(feature = "embassy-net")]
mod tcp;

pub use network::Network;
use settings::Settings;
#[cfg(feature = "embassy-net")]
pub use tcp::{NoConnection, TcpNetwork, TcpStream};

/// The receive buffer's size unless set otherwise, in bytes; a send buffer has twice as much.
pub const DEFAULT_BUFFER: usize = 1024;

/// A connection to one MQTT 5 broker without an operating system, over any [`Network`]. The [crate] says what it promises.
///
/// Its future need not be `Send`, so it runs where the runtime asks for no such thing: on Embassy. It is boxed once, when
/// the database is built. Nothing is connected before the database starts; whatever is wrong with the settings is a
/// finding of `build()`.
pub struct EmbassyMqttConnector<N> {
    network: N,
    settings: Settings,
}

impl<N: Network> EmbassyMqttConnector<N> {
    /// A connector over `network`. `target` says to people where that leads: `10.0.0.2:1883`, for instance.
    #[must_use]
    pub fn new(target: impl Into<String>, network: N) -> Self {
        Self { network, settings: Settings::new(target.into()) }
    }

    /// The name, which is the scheme of the links that use it. `mqtt` unless set.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// The client id, of 64 bytes at most. The broker gives one unless set. A broker knows one client by an id: a second
    /// one takes its place.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.settings.client_id = Some(id.into());
        self
    }

    /// User and password.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.settings.credentials = Some((user.into(), password.into()));
        self
    }

    /// How often the connection is tested when nothing else is sent; whole seconds, zero for never, 30 s unless set. The
    /// answer is waited for 5 s.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.settings.keep_alive = interval;
        self
    }

    /// How long the stream and the broker's answer may take together. 5 s unless set.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.settings.connect_timeout = limit;
        self
    }

    /// A message that the broker publishes if this client goes away without a word. Its topic has 128 bytes at most.
    #[must_use]
    pub fn last_will(mut self, will: LastWill) -> Self {
        self.settings.last_will = Some(will);
        self
    }

    /// The broker forgets subscriptions and undelivered messages when the connection ends. This is the default.
    #[must_use]
    pub fn clean_session(mut self) -> Self {
        self.settings.session_expiry = Duration::ZERO;
        self
    }

    /// The broker keeps subscriptions and messages of QoS 1 and 2 for `expiry` (whole seconds) after a connection broke,
    /// and the next connection goes on with them. It does not outlive this program: the client begins a new session with
    /// its first connection.
    #[must_use]
    pub fn keep_session(mut self, expiry: Duration) -> Self {
        self.settings.session_expiry = expiry;
        self
    }

    /// The largest packet that comes in, in bytes: topic, payload and some 20 bytes around them; [`DEFAULT_BUFFER`]
    /// unless set. The broker is told, and sends no larger one.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.settings.receive_buffer = bytes;
        self
    }

    /// The room for all packets that are under way to the broker, in bytes; twice [`DEFAULT_BUFFER`] unless set. What
    /// connecting takes (some 30 bytes, client id, credentials, last will) is kept free in it. A message that is larger
    /// than the rest is dropped and counted. At QoS 1 and 2 a copy of each message is kept beside it until it is
    /// acknowledged.
    #[must_use]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.settings.send_buffer = bytes;
        self
    }

    /// The first pause before connecting again, and the longest. Pauses double, give or take a fifth. 250 ms and 10 s
    /// unless set.
    #[must_use]
    pub fn backoff(mut self, first: Duration, max: Duration) -> Self {
        self.settings.first_pause = first;
        self.settings.longest_pause = max;
        self
    }
}

impl<N> fmt::Debug for EmbassyMqttConnector<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl<R: Runtime, N: Network + 'static> Connector<R> for EmbassyMqttConnector<N> {
    type Run = Pin<Box<dyn Future<Output = ()>>>;

    fn name(&self) -> &str {
        &self.settings.name
    }

    fn describe(&self) -> String {
        format!("MQTT 5 at {}", self.settings.target)
    }

    fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        self.settings.check(links)
    }

    fn run(self, links: Links, context: RuntimeContext<R>) -> Self::Run {
        Box::pin(driver::run(self.network, self.settings, links, context))
    }
}
