//! The brokers of the MQTT comparisons, with the other end of each: who receives what a contestant sends, who sends what it
//! receives.
//!
//! - [`Mosquitto`]: the real one. It costs several times the processor time of any client, so it bounds the throughput.
//! - [`RawBroker`]: one thread that knows the few packets of a comparison, so that the client bounds the throughput.
//!
//! The other ends implement just enough MQTT 5 to send prepared packets and to count received ones. They are the same for
//! every contestant, and cheap enough not to affect the result.

mod mosquitto;
mod raw;

use std::io::{Read, Result};
use std::net::TcpStream;
use std::time::Duration;

pub use mosquitto::{Mosquitto, installed};
pub use raw::RawBroker;

/// The longest start of a broker, and the longest wait of either end for its next byte.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A broker on a port of 127.0.0.1. Dropping it stops it.
pub trait Broker: std::fmt::Debug {
    /// Receives what a contestant sends.
    type Subscriber: Subscriber;
    /// Sends what a contestant receives.
    type Publisher: Publisher;

    /// The port that the broker listens on.
    fn port(&self) -> u16;

    /// The receiver of `count` messages for `topic`, at QoS 0. Call this before the contestant connects.
    fn subscriber(&self, topic: &str, count: u64) -> Self::Subscriber;

    /// The sender of `count` prepared messages for `topic`. Call this before the contestant connects.
    fn publisher(&self, topic: &str, qos: u8, count: u64) -> Self::Publisher;
}

/// See [`Broker::subscriber`].
pub trait Subscriber {
    /// Returns when all messages have arrived.
    ///
    /// # Panics
    ///
    /// If they do not arrive in time.
    fn receive(self);
}

/// See [`Broker::publisher`].
pub trait Publisher {
    /// Sends all messages, reads the answers, and stays connected until `arrived` returns.
    ///
    /// # Panics
    ///
    /// If the other end closes the connection.
    fn publish_until<O>(self, arrived: impl FnOnce() -> O) -> O;
}

/// The size of every payload, in bytes.
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

/// Encodes a packet with a body of less than 16 KiB.
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
