//! An MQTT broker inside the process, for demos and tests: on a free loopback port, without files.

use std::io;

use mqtt5::broker::auth::PasswordAuthProvider;
use mqtt5::broker::config::{AuthConfig, StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerConfig, MqttBroker};
use tokio::task::JoinHandle;

/// A running broker for MQTT 3.1.1 and 5. Dropped without [`stop`](Self::stop), it ends with its runtime.
#[derive(Debug)]
pub struct EmbeddedBroker {
    port: u16,
    stop: Box<dyn Stop>,
    running: JoinHandle<()>,
}

/// The shutdown handle of the broker library, whose type has no public name.
trait Stop: std::fmt::Debug + Send {
    fn stop(&self);
}

struct StopWith<F>(F);

impl<F> std::fmt::Debug for StopWith<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StopWith")
    }
}

impl<F: Fn() + Send> Stop for StopWith<F> {
    fn stop(&self) {
        (self.0)();
    }
}

impl EmbeddedBroker {
    /// Starts a broker that accepts every client.
    ///
    /// # Errors
    ///
    /// If no loopback port can be bound.
    pub async fn start() -> io::Result<Self> {
        Self::start_on(0).await
    }

    /// Starts a broker that accepts every client, on this loopback port: one that returns after an outage.
    ///
    /// # Errors
    ///
    /// If the port cannot be bound.
    pub async fn start_on(port: u16) -> io::Result<Self> {
        Self::with_auth(port, AuthConfig::new().with_allow_anonymous(true)).await
    }

    /// Starts a broker that requires this user and password. It writes the password's hash into a temporary file and removes
    /// the file again.
    ///
    /// # Errors
    ///
    /// If no loopback port can be bound or the file cannot be written.
    pub async fn start_with_password(user: &str, password: &str) -> io::Result<Self> {
        let hash = PasswordAuthProvider::hash_password(password).map_err(io::Error::other)?;
        let file = std::env::temp_dir().join(format!("aimdb-broker-{}-{user}", std::process::id()));
        std::fs::write(&file, format!("{user}:{hash}\n"))?;
        let auth = AuthConfig::new().with_allow_anonymous(false).with_password_file(file.clone());
        let started = Self::with_auth(0, auth).await;
        std::fs::remove_file(file)?;
        started
    }

    async fn with_auth(port: u16, auth: AuthConfig) -> io::Result<Self> {
        let config = BrokerConfig::new()
            .with_bind_address(([127, 0, 0, 1], port))
            .with_max_packet_size(8 << 20)
            // With more waiting messages for one client, the library drops those at QoS 0.
            .with_client_channel_capacity(100_000)
            // The default storage writes files into the working directory.
            .with_storage(StorageConfig::new().with_backend(StorageBackend::Memory))
            .with_sys_topics_enabled(false)
            .with_auth(auth);
        let mut broker = MqttBroker::with_config(config).await.map_err(io::Error::other)?;
        let port = broker
            .local_addr()
            .ok_or_else(|| io::Error::other("the broker has no address"))?
            .port();
        let stop = broker.shutdown_handle();
        let mut ready = broker.ready_receiver();
        let running = tokio::spawn(async move {
            // `run` returns after a shutdown request; the end of the runtime drops it.
            let _ended = broker.run().await;
        });
        while !*ready.borrow() {
            ready.changed().await.map_err(io::Error::other)?;
        }
        Ok(Self { port, stop: Box::new(StopWith(move || stop.shutdown())), running })
    }

    /// The loopback port that the broker listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The broker's URL, `mqtt://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Stops the broker and waits until it has stopped.
    pub async fn stop(self) {
        self.stop.stop();
        let _ended = self.running.await;
    }
}
