//! The packets of MQTT 5 that the comparisons need.

use std::io::{Read, Result};
use std::net::TcpStream;

/// The size of every payload, in bytes.
pub(super) const PAYLOAD: usize = 128;

/// The payload of message `n`.
#[must_use]
pub fn payload(n: u64) -> [u8; PAYLOAD] {
    let mut payload = [0; PAYLOAD];
    payload[..8].copy_from_slice(&n.to_be_bytes());
    payload
}

pub(super) fn publish(topic: &str, qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let id = if qos > 0 { id.to_be_bytes().to_vec() } else { Vec::new() };
    packet(0x30 | qos << 1, &[&text(topic)[..], &id, &[0], payload].concat())
}

pub(super) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// Encodes a packet with a body of less than 16 KiB.
pub(super) fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    let length = match body.len() {
        short @ 0..0x80 => vec![short as u8],
        long => vec![long as u8 | 0x80, (long >> 7) as u8],
    };
    [&[header][..], &length, body].concat()
}

pub(super) fn read_packet(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut packet = vec![0; 2 + usize::from(head[1])];
    packet[..2].copy_from_slice(&head);
    stream.read_exact(&mut packet[2..])?;
    Ok(packet)
}
