//! Support for the connector's tests: a Mosquitto process, a broker of raw bytes, a plain MQTT client, a proxy that
//! breaks connections, and waiting with a time limit.
//!
//! All of it uses 127.0.0.1. Dropping a value ends the process or task that it started.
#![allow(dead_code, unreachable_pub, unused_imports)] // Every test binary uses only a part.

use std::fmt::Debug;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aimdb_core::metrics::LinkMetrics;
use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Reader, Runtime};
use aimdb_mqtt_connector::{MqttConnector, MqttVersion, QoS};
use aimdb_tokio_adapter::TokioAdapter;
pub use rumqttc_v5 as raw;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

mod certificates;
mod embassy;
pub mod packets;
pub mod picky;
mod proxy;

pub use certificates::Certificates;
pub use embassy::{Tcp, embassy_to};
pub use picky::Picky;
pub use proxy::Proxy;

pub type Db = AimDb<TokioAdapter>;

/// The time limit of every wait, long enough for a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// After this time without an event, a test concludes that none follows.
pub const QUIET_TIME: Duration = Duration::from_millis(300);

pub const VERSIONS: [MqttVersion; 2] = [MqttVersion::V5, MqttVersion::V311];

pub const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A Mosquitto process of one test.
pub struct Mosquitto {
    child: Option<Child>,
    binary: PathBuf,
    port: u16,
    dir: TempDir,
}

impl Mosquitto {
    /// A broker with these lines in its configuration, in addition to a listener and, unless the lines set it,
    /// anonymous access. `None` if Mosquitto is not installed: then the test is skipped, except in CI, where it fails.
    #[allow(clippy::print_stderr)]
    pub fn start(lines: &str) -> Option<Self> {
        Self::start_in(TempDir::new().unwrap(), lines)
    }

    /// Like [`start`](Self::start), with files of the test in `dir`.
    #[allow(clippy::print_stderr)]
    pub fn start_in(dir: TempDir, lines: &str) -> Option<Self> {
        let Some(binary) = find_mosquitto() else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "install mosquitto");
            eprintln!("skipped: mosquitto is not installed");
            return None;
        };
        let mut broker = Self { child: None, binary, port: 0, dir };
        // Another process may take the port between the check and the start.
        for _ in 0..20 {
            broker.port = free_port();
            broker.configure(lines);
            if broker.try_start() {
                return Some(broker);
            }
        }
        panic!("mosquitto does not start: {}", broker.log());
    }

    /// A broker that accepts only `user`.
    pub fn start_with_password(user: &str, password: &str) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let passwords = dir.path().join("passwords");
        let made = Command::new("mosquitto_passwd")
            .args(["-b", "-c"])
            .arg(&passwords)
            .args([user, password])
            .status();
        if !made.is_ok_and(|status| status.success()) {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "install mosquitto");
            return None;
        }
        let lines = format!("allow_anonymous false\npassword_file {}", passwords.display());
        Self::start_in(dir, &lines)
    }

    /// Sets the lines of the configuration for the next start.
    pub fn configure(&self, lines: &str) {
        let anonymous = if lines.contains("allow_anonymous") { "" } else { "allow_anonymous true" };
        let persistence = if lines.contains("persistence ") { "" } else { "persistence false" };
        let text = format!(
            "user root\nlog_dest stderr\n{persistence}\nlistener {} 127.0.0.1\n{anonymous}\n{lines}\n",
            self.port
        );
        std::fs::write(self.dir.path().join("mosquitto.conf"), text).unwrap();
    }

    fn try_start(&mut self) -> bool {
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let mut child = Command::new(&self.binary)
            .arg("-c")
            .arg(self.dir.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let began = Instant::now();
        while began.elapsed() < TIMEOUT {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                self.child = Some(child);
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        false
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends SIGTERM: the broker writes its persistent state, and ends.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let signal = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            assert!(signal.unwrap().success());
            child.wait().unwrap();
        }
    }

    /// Starts the broker again, on the same port.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.try_start(), "mosquitto does not start again: {}", self.log());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ended = child.kill();
            let _ended = child.wait();
        }
    }
}

fn find_mosquitto() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join("mosquitto")).find(|file| file.is_file())
}

/// A free port below the range of outgoing connections: a client that connects to an unused port in that range may be
/// connected to itself.
pub fn free_port() -> u16 {
    use std::hash::{BuildHasher, Hasher};
    loop {
        let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
        let port = 20_000 + (random % 12_000) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A plain MQTT 5 client, independent of AimDB.
pub struct Probe {
    client: raw::AsyncClient,
    received: mpsc::UnboundedReceiver<raw::Publish>,
    task: JoinHandle<()>,
}

impl Probe {
    pub async fn connect(port: u16) -> Self {
        let id = format!("probe-{}-{port}", Instant::now().elapsed().as_nanos());
        Self::with_options(raw::MqttOptions::new(id, ("127.0.0.1", port)), true).await
    }

    pub async fn with_options(mut options: raw::MqttOptions, unique: bool) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        if unique {
            let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            options.set_client_id(format!("probe-{}-{number}", std::process::id()));
        }
        options.set_max_packet_size(Some(16 << 20)).set_connect_timeout(TIMEOUT);
        let mut network = raw::NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let (client, mut events) =
            raw::AsyncClient::builder(options).capacity(1000).try_build().unwrap();
        let (sender, received) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(raw::Event::Incoming(raw::Packet::Publish(publish))) => {
                        let _receiver_dropped = sender.send(publish);
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        Self { client, received, task }
    }

    pub async fn subscribe(&self, filter: &str, qos: QoS) {
        let subscription = self.client.subscribe_tracked(filter, level(qos)).await.unwrap();
        within("a subscription", subscription.wait_completion_async()).await.unwrap();
    }

    /// Publishes, and returns when the broker has acknowledged it.
    pub async fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>, qos: QoS) {
        self.send(topic, payload.into(), raw::PublishOptions::new(level(qos))).await;
    }

    pub async fn publish_retained(&self, topic: &str, payload: impl Into<Vec<u8>>, qos: QoS) {
        self.send(topic, payload.into(), raw::PublishOptions::new(level(qos)).retained()).await;
    }

    pub async fn publish_with(
        &self,
        topic: &str,
        payload: impl Into<Vec<u8>>,
        properties: raw::mqttbytes::v5::PublishProperties,
    ) {
        let options = raw::PublishOptions::new(raw::QoS::AtLeastOnce).properties(properties);
        self.send(topic, payload.into(), options).await;
    }

    async fn send(&self, topic: &str, payload: Vec<u8>, options: raw::PublishOptions) {
        let sent = self.client.publish_tracked(topic, payload, options).await.unwrap();
        within("a publish of the probe", sent.wait_completion_async()).await.unwrap();
    }

    pub async fn next(&mut self) -> raw::Publish {
        within("a message for the probe", self.received.recv()).await.unwrap()
    }

    /// The next message, unless none arrives in this time.
    pub async fn next_within(&mut self, limit: Duration) -> Option<raw::Publish> {
        tokio::time::timeout(limit, self.received.recv()).await.ok().flatten()
    }

    /// The next message as `(topic, text)`.
    pub async fn text(&mut self) -> (String, String) {
        let message = self.next().await;
        let text = |bytes: &[u8]| String::from_utf8(bytes.into()).unwrap();
        (text(&message.topic), text(&message.payload))
    }

    pub async fn number(&mut self) -> u64 {
        self.text().await.1.parse().unwrap()
    }

    pub fn try_number(&mut self) -> Option<u64> {
        let message = self.received.try_recv().ok()?;
        Some(std::str::from_utf8(&message.payload).unwrap().parse().unwrap())
    }

    pub async fn receives_nothing(&mut self) {
        if let Some(message) = self.next_within(QUIET_TIME).await {
            panic!("the probe received {message:?}");
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn level(qos: QoS) -> raw::QoS {
    match qos {
        QoS::AtMostOnce => raw::QoS::AtMostOnce,
        QoS::AtLeastOnce => raw::QoS::AtLeastOnce,
        QoS::ExactlyOnce => raw::QoS::ExactlyOnce,
    }
}

/// The output of `future`. The test fails if it takes longer than [`TIMEOUT`].
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(TIMEOUT, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} took more than {TIMEOUT:?}"),
    }
}

/// Waits until `condition` holds for `observe()`. The test fails with the last observation after [`TIMEOUT`].
pub async fn eventually<D: Debug>(
    what: &str,
    observe: impl Fn() -> D,
    condition: impl Fn(&D) -> bool,
) {
    let began = Instant::now();
    loop {
        let now = observe();
        if condition(&now) {
            return;
        }
        assert!(began.elapsed() < TIMEOUT, "not within {TIMEOUT:?}: {what}: {now:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Disables two limits of Mosquitto: it has at most 20 messages in flight to a client unless configured otherwise, and
/// does not keep the order at QoS 2 when more of them wait.
pub const UNLIMITED: &str = "max_inflight_messages 0\nmax_queued_messages 0";

pub const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 4096 };

pub fn builder() -> AimDbBuilder<TokioAdapter> {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new().unwrap()));
    builder.shutdown_deadline(TIMEOUT);
    builder
}

/// A connector with a short backoff.
pub fn mqtt_to(port: u16) -> MqttConnector {
    to_url(format!("mqtt://127.0.0.1:{port}"))
}

pub fn to_url(url: impl Into<String>) -> MqttConnector {
    MqttConnector::new(url).backoff(Duration::from_millis(20), Duration::from_millis(100))
}

/// Starts the database and waits until every link is connected.
pub async fn start<R: Runtime>(builder: AimDbBuilder<R>) -> AimDb<R> {
    let db = builder.build().unwrap();
    db.start();
    connected(&db).await;
    db
}

pub async fn connected<R: Runtime>(db: &AimDb<R>) {
    eventually(
        "every link is connected",
        || db.health(),
        |health| health.links.iter().all(|link| link.connected),
    )
    .await;
}

pub async fn value<T: Clone + Send + Sync + 'static>(reader: &mut Reader<T>) -> T {
    within("a value", reader.recv()).await.unwrap()
}

pub async fn no_value<T: Clone + Debug + Send + Sync + 'static>(reader: &mut Reader<T>) {
    if let Ok(value) = tokio::time::timeout(QUIET_TIME, reader.recv()).await {
        panic!("the record received {value:?}");
    }
}

/// The metrics of one link, by its index in the order of registration.
pub fn link<R: Runtime>(db: &AimDb<R>, index: usize) -> LinkMetrics {
    db.metrics().links.swap_remove(index)
}

/// Shuts down and asserts that every value was delivered.
pub async fn shut_down<R: Runtime>(db: &AimDb<R>) {
    let report = db.shutdown(TIMEOUT).await;
    assert!(report.is_clean() && report.failures.is_empty(), "{report}");
    for account in db.metrics().accounts() {
        assert!(account.is_balanced(), "{account}");
    }
}
