//! An MQTT broker inside the process, on a free loopback port, with nothing on disk. For demos and tests.

use std::io;

use mqtt5::broker::auth::PasswordAuthProvider;
use mqtt5::broker::config::{AuthConfig, StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerConfig, MqttBroker};
use tokio::task::JoinHandle;

/// A running broker for MQTT 3.1.1 and 5. Dropped without [`stop`](Self::stop), it goes with its runtime.
#[derive(Debug)]
pub struct EmbeddedBroker {
    port: u16,
    stop: Box<dyn Stop>,
    running: JoinHandle<()>,
}

/// The library's own handle, whose type it does not name.
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
    /// A broker that lets everybody in.
    ///
    /// # Errors
    ///
    /// When no loopback port can be bound.
    pub async fn start() -> io::Result<Self> {
        Self::with_auth(AuthConfig::new().with_allow_anonymous(true)).await
    }

    /// A broker that asks for this user and password. The hash is kept in a file that is removed again.
    ///
    /// # Errors
    ///
    /// When no loopback port can be bound or the file cannot be written.
    pub async fn start_with_password(user: &str, password: &str) -> io::Result<Self> {
        let hash = PasswordAuthProvider::hash_password(password).map_err(io::Error::other)?;
        let file = std::env::temp_dir().join(format!("aimdb-broker-{}-{user}", std::process::id()));
        std::fs::write(&file, format!("{user}:{hash}\n"))?;
        let auth = AuthConfig::new().with_allow_anonymous(false).with_password_file(file.clone());
        let started = Self::with_auth(auth).await;
        std::fs::remove_file(file)?;
        started
    }

    async fn with_auth(auth: AuthConfig) -> io::Result<Self> {
        let config = BrokerConfig::new()
            .with_bind_address(([127, 0, 0, 1], 0))
            .with_max_packet_size(8 << 20)
            // Above this many waiting messages for one client the library drops those at QoS 0.
            .with_client_channel_capacity(100_000)
            // The default writes files into the working folder.
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
            // It ends when it is told to, or with the runtime.
            let _ended = broker.run().await;
        });
        while !*ready.borrow() {
            ready.changed().await.map_err(io::Error::other)?;
        }
        Ok(Self { port, stop: Box::new(StopWith(move || stop.shutdown())), running })
    }

    /// The loopback port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, `mqtt://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Ends it and waits until it has.
    pub async fn stop(self) {
        self.stop.stop();
        let _ended = self.running.await;
    }
}
