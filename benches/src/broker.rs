//! A Mosquitto that belongs to one comparison, and the far ends of its connections.
//!
//! The far ends speak just enough MQTT 5 to send packets prepared beforehand and to count bytes: they are the same for
//! every contestant, and should cost none of them anything.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long the broker may take to start, and how long a far end waits for its next byte.
const PATIENCE: Duration = Duration::from_secs(20);

/// Not to be the bottleneck: Mosquitto has 20 messages under way to a client unless told otherwise, and writes small
/// packets one by one.
const SETTINGS: &str = "max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n";

/// Where Mosquitto is installed, if it is.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join("mosquitto")).find(|file| file.is_file())
}

/// A running broker on a free port of 127.0.0.1. It ends with this value.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    port: u16,
    config: PathBuf,
}

impl Broker {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// If Mosquitto is not [`installed`], or does not start.
    #[must_use]
    pub fn start() -> Self {
        let binary = installed().expect("mosquitto is installed");
        // Somebody else may take the port between the look and the start.
        (0..10).find_map(|_| Self::try_start(&binary)).expect("mosquitto starts")
    }

    fn try_start(binary: &PathBuf) -> Option<Self> {
        let port = free_port();
        let name = format!("aimdb-bench-{}-{port}.conf", std::process::id());
        let config = std::env::temp_dir().join(name);
        let lines = format!(
            "log_dest none\npersistence false\nlistener {port} 127.0.0.1\nallow_anonymous true\n"
        );
        fs::write(&config, lines + SETTINGS).expect("the temporary folder can be written to");
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
        while began.elapsed() < PATIENCE && broker.child.try_wait().is_ok_and(|end| end.is_none()) {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(broker);
            }
            thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Somebody who hears everything on `topic`, at QoS 0.
    ///
    /// # Panics
    ///
    /// If the broker does not do as MQTT 5 says.
    #[must_use]
    pub fn listener(&self, topic: &str) -> Listener {
        let mut stream = self.connect();
        let filter = [&text(topic)[..], &[0]].concat();
        stream.write_all(&packet(0x82, &[&[0, 1, 0][..], &filter].concat())).expect("subscribes");
        assert_eq!(read_packet(&mut stream).expect("an answer")[0], 0x90, "SUBACK");
        Listener { stream, size: publish(topic, 0, 0, &[0; PAYLOAD]).len() }
    }

    /// Somebody with `count` messages for `topic` at hand.
    #[must_use]
    pub fn feeder(&self, topic: &str, qos: u8, count: u64) -> Feeder {
        let packets = (0..count).flat_map(|n| publish(topic, qos, (n + 1) as u16, &payload(n)));
        Feeder { stream: self.connect(), packets: packets.collect(), answers: qos > 0 }
    }

    fn connect(&self) -> TcpStream {
        let connect = || -> Result<TcpStream> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            // MQTT 5, clean start, no keep-alive, no properties, an identifier from the broker.
            stream.write_all(&packet(0x10, b"\0\x04MQTT\x05\x02\0\0\0\0\0"))?;
            assert_eq!(read_packet(&mut stream)?[0], 0x20, "CONNACK");
            Ok(stream)
        };
        connect().expect("the broker listens")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        let _gone = fs::remove_file(&self.config);
    }
}

/// Below the range that systems give to outgoing connections: whoever knocks on a port of that range where nobody listens
/// may end up connected to itself.
fn free_port() -> u16 {
    loop {
        let port = 20_000 + (RandomState::new().build_hasher().finish() % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// See [`Broker::listener`].
#[derive(Debug)]
pub struct Listener {
    stream: TcpStream,
    size: usize,
}

impl Listener {
    /// Returns when `count` messages have come.
    ///
    /// # Panics
    ///
    /// If they do not come.
    pub fn hear(mut self, count: u64) {
        let mut left = count as usize * self.size;
        let mut buffer = vec![0; 64 << 10];
        while left > 0 {
            let most = left.min(buffer.len());
            left -= match self.stream.read(&mut buffer[..most]).expect("all messages come") {
                0 => panic!("the broker is gone"),
                some => some,
            };
        }
    }
}

/// See [`Broker::feeder`].
#[derive(Debug)]
pub struct Feeder {
    stream: TcpStream,
    packets: Vec<u8>,
    answers: bool,
}

impl Feeder {
    /// Sends everything, takes the answers without looking at them, and stays until `arrived` returns: a broker may
    /// throw away what it has not read of a connection that is closed.
    ///
    /// # Panics
    ///
    /// If the broker hangs up.
    pub fn feed_until<O>(self, arrived: impl FnOnce() -> O) -> O {
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

/// Bytes in every message.
pub const PAYLOAD: usize = 128;

/// The payload of message `n`.
#[must_use]
pub fn payload(n: u64) -> [u8; PAYLOAD] {
    let mut payload = [0; PAYLOAD];
    payload[..8].copy_from_slice(&n.to_be_bytes());
    payload
}

fn publish(topic: &str, qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let id = if qos > 0 { id.to_be_bytes().to_vec() } else { Vec::new() };
    packet(0x30 | qos << 1, &[&text(topic)[..], &id, &[0], payload].concat())
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// A packet with a body of less than 16 KiB.
fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    let length = match body.len() {
        short @ 0..0x80 => vec![short as u8],
        long => vec![long as u8 | 0x80, (long >> 7) as u8],
    };
    [&[header][..], &length, body].concat()
}

fn read_packet(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut packet = vec![0; 2 + usize::from(head[1])];
    packet[..2].copy_from_slice(&head);
    stream.read_exact(&mut packet[2..])?;
    Ok(packet)
}
