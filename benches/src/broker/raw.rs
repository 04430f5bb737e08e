//! A broker of one thread and one client, which knows the packets of a comparison.

use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::packets::{payload, publish};
use super::traits::{Broker, Publisher, Subscriber, TIMEOUT};

/// The messages at QoS 1 that the broker has in flight to the client: fewer than the bare client has room for
/// acknowledgements, because it stalls when it has none.
const WINDOW: u64 = 100;

/// A socket that accepts one client for each [`Subscriber`] or [`Publisher`].
#[derive(Debug)]
pub struct RawBroker(TcpListener);

impl RawBroker {
    /// Serves the next client in a thread of its own, until it closes the connection.
    fn serve(&self, serve: impl FnOnce(TcpStream) -> Result<()> + Send + 'static) {
        let listener = self.0.try_clone().expect("a second handle");
        thread::spawn(move || {
            let (stream, _) = listener.accept().expect("the contestant connects");
            stream.set_nodelay(true).expect("a TCP socket");
            stream.set_read_timeout(Some(TIMEOUT)).expect("a positive time");
            // A contestant may reset the connection at its end.
            let _ended = serve(stream);
        });
    }
}

impl Broker for RawBroker {
    type Subscriber = Counted;
    type Publisher = Prepared;

    const NAME: &str = "MQTT";

    fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    fn port(&self) -> u16 {
        self.0.local_addr().expect("it listens").port()
    }

    fn subscriber(&self, _topic: &str, count: u64) -> Counted {
        let (done, counted) = channel();
        self.serve(move |stream| {
            let mut client = Client::new(stream);
            while client.published < count {
                client.answer()?;
            }
            done.send(()).expect("the subscriber waits");
            loop {
                client.answer()?;
            }
        });
        Counted(counted)
    }

    fn publisher(&self, topic: &str, qos: u8, count: u64) -> Prepared {
        let packets: Vec<u8> =
            (0..count).flat_map(|n| publish(topic, qos, (n + 1) as u16, &payload(n))).collect();
        let (go, started) = channel::<()>();
        self.serve(move |stream| {
            let mut client = Client::new(stream);
            while !client.subscribed {
                client.answer()?;
            }
            let Ok(()) = started.recv() else { return Ok(()) };
            let size = packets.len() / count as usize;
            let mut unsent = &packets[..];
            let mut sent = 0;
            while sent < count {
                let next = if qos == 0 { count } else { count.min(client.acknowledged + WINDOW) };
                let (now, later) = unsent.split_at((next - sent) as usize * size);
                client.stream.write_all(now)?;
                (sent, unsent) = (next, later);
                if qos > 0 {
                    client.answer()?;
                }
            }
            loop {
                client.answer()?;
            }
        });
        Prepared(go)
    }
}

/// The end of the thread's count.
#[derive(Debug)]
pub struct Counted(Receiver<()>);

impl Subscriber for Counted {
    fn receive(self) {
        self.0.recv_timeout(TIMEOUT).expect("all messages come");
    }
}

/// The start of the thread's messages.
#[derive(Debug)]
pub struct Prepared(Sender<()>);

impl Publisher for Prepared {
    fn publish_until<O>(self, arrived: impl FnOnce() -> O) -> O {
        self.0.send(()).expect("the client has subscribed or will");
        arrived()
    }
}

/// The client's connection, and what has come over it.
struct Client {
    stream: TcpStream,
    /// The start of a packet that has not arrived as a whole.
    unread: Vec<u8>,
    subscribed: bool,
    published: u64,
    acknowledged: u64,
}

impl Client {
    const fn new(stream: TcpStream) -> Self {
        Self { stream, unread: Vec::new(), subscribed: false, published: 0, acknowledged: 0 }
    }

    /// Reads once, and answers the packets that have arrived.
    fn answer(&mut self) -> Result<()> {
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            size => self.unread.extend_from_slice(&buffer[..size]),
        }
        let mut answers = Vec::new();
        let unread = std::mem::take(&mut self.unread);
        let mut rest = &unread[..];
        while let Some((header, body, after)) = split(rest) {
            self.take(header, body, &mut answers);
            rest = after;
        }
        self.unread = rest.to_vec();
        self.stream.write_all(&answers)
    }

    fn take(&mut self, header: u8, body: &[u8], answers: &mut Vec<u8>) {
        match header >> 4 {
            // CONNACK without subscription identifiers: the prepared messages have none.
            1 => answers.extend_from_slice(&[0x20, 5, 0, 0, 2, 0x29, 0]),
            3 => {
                self.published += 1;
                if header & 0b110 != 0 {
                    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                    answers.extend_from_slice(&[0x40, 2, body[2 + topic], body[3 + topic]]);
                }
            }
            4 => self.acknowledged += 1,
            8 => {
                self.subscribed = true;
                answers.extend_from_slice(&[0x90, 4, body[0], body[1], 0, 1]);
            }
            12 => answers.extend_from_slice(&[0xd0, 0]),
            // DISCONNECT, and whatever else needs no answer.
            _ => {}
        }
    }
}

/// The first packet, if it has arrived as a whole: its header, its body, and what follows.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [header, first, second, ..] = *bytes else {
        return match *bytes {
            [header, 0] => Some((header, &[], &[])),
            _ => None,
        };
    };
    let (length, head) = match first {
        0..0x80 => (usize::from(first), 2),
        _ => (usize::from(first & 0x7f) | usize::from(second) << 7, 3),
    };
    let body = bytes.get(head..head + length)?;
    Some((header, body, &bytes[head + length..]))
}
