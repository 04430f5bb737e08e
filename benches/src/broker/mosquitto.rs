//! A Mosquitto for one comparison, and two clients of it.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::packets::{PAYLOAD, packet, payload, publish, read_packet, text};
use super::traits::{Broker, Publisher, Subscriber, TIMEOUT};

/// Mosquitto's settings, so that the broker is not the bottleneck: by default it has at most 20 messages in flight to a
/// client, and Nagle's algorithm delays its small packets.
const MOSQUITTO_SETTINGS: &str =
    "max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n";

/// The path of Mosquitto, if it is installed.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join("mosquitto")).find(|file| file.is_file())
}

/// A running Mosquitto.
#[derive(Debug)]
pub struct Mosquitto {
    child: Child,
    port: u16,
    config: PathBuf,
}

impl Mosquitto {
    fn try_start(binary: &PathBuf) -> Option<Self> {
        let port = free_port();
        let name = format!("aimdb-bench-{}-{port}.conf", std::process::id());
        let config = std::env::temp_dir().join(name);
        let lines = format!(
            "log_dest none\npersistence false\nlistener {port} 127.0.0.1\nallow_anonymous true\n"
        );
        fs::write(&config, lines + MOSQUITTO_SETTINGS)
            .expect("the temporary folder can be written to");
        let child = Command::new(binary)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a program can be started");
        let mut broker = Self { child, port, config };
        let began = Instant::now();
        while began.elapsed() < TIMEOUT && broker.child.try_wait().is_ok_and(|end| end.is_none()) {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(broker);
            }
            thread::sleep(Duration::from_millis(5));
        }
        None
    }

    fn connect(&self) -> TcpStream {
        let connect = || -> Result<TcpStream> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            // MQTT 5, clean start, no keep-alive, no properties, an identifier from the broker.
            stream.write_all(&packet(0x10, b"\0\x04MQTT\x05\x02\0\0\0\0\0"))?;
            assert_eq!(read_packet(&mut stream)?[0], 0x20, "CONNACK");
            Ok(stream)
        };
        connect().expect("the broker listens")
    }
}

impl Broker for Mosquitto {
    type Subscriber = Receiving;
    type Publisher = Sending;

    const NAME: &str = "Mosquitto";

    fn start() -> Self {
        let binary = installed().expect("mosquitto is installed");
        // Another process may take the port between the check and the start.
        (0..10).find_map(|_| Self::try_start(&binary)).expect("mosquitto starts")
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn subscriber(&self, topic: &str, count: u64) -> Receiving {
        let mut stream = self.connect();
        let filter = [&text(topic)[..], &[0]].concat();
        stream.write_all(&packet(0x82, &[&[0, 1, 0][..], &filter].concat())).expect("subscribes");
        assert_eq!(read_packet(&mut stream).expect("an answer")[0], 0x90, "SUBACK");
        Receiving { stream, bytes: count as usize * publish(topic, 0, 0, &[0; PAYLOAD]).len() }
    }

    fn publisher(&self, topic: &str, qos: u8, count: u64) -> Sending {
        let packets = (0..count).flat_map(|n| publish(topic, qos, (n + 1) as u16, &payload(n)));
        Sending { stream: self.connect(), packets: packets.collect(), answers: qos > 0 }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ignored = self.child.kill();
        let _ignored = self.child.wait();
        let _ignored = fs::remove_file(&self.config);
    }
}

/// A free port below the range of ephemeral ports: a connection to an unused port of that range may connect to itself.
fn free_port() -> u16 {
    loop {
        let port = 20_000 + (RandomState::new().build_hasher().finish() % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A client of the broker that has subscribed.
#[derive(Debug)]
pub struct Receiving {
    stream: TcpStream,
    bytes: usize,
}

impl Subscriber for Receiving {
    fn receive(mut self) {
        let mut buffer = vec![0; 64 << 10];
        while self.bytes > 0 {
            let most = self.bytes.min(buffer.len());
            self.bytes -= match self.stream.read(&mut buffer[..most]).expect("all messages come") {
                0 => panic!("the broker is gone"),
                some => some,
            };
        }
    }
}

/// A client of the broker with its prepared messages.
#[derive(Debug)]
pub struct Sending {
    stream: TcpStream,
    packets: Vec<u8>,
    answers: bool,
}

impl Publisher for Sending {
    // It stays connected because a broker may discard unread bytes of a closed connection.
    fn publish_until<O>(self, arrived: impl FnOnce() -> O) -> O {
        let Self { mut stream, packets, answers } = self;
        let mut back = stream.try_clone().expect("a second handle");
        let end = stream.try_clone().expect("a third handle");
        thread::scope(|scope| {
            if answers {
                scope.spawn(move || while back.read(&mut [0; 4096]).is_ok_and(|size| size > 0) {});
            }
            scope.spawn(move || stream.write_all(&packets).expect("the broker takes them"));
            let arrived = arrived();
            end.shutdown(Shutdown::Both).expect("still open");
            arrived
        })
    }
}
