//! Allocations of the connector for each message. It is a test binary of its own, because it counts those of the process.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aimdb_core::{CodecError, Incoming, decode_with, encode_with};
use aimdb_mqtt_connector::MqttVersion;
use support::*;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: it forwards every call to the system's allocator, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: guaranteed by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: guaranteed by the caller; the pointer is from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: guaranteed by the caller; the pointer is from `System`.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const ALL: u64 = 16_000;

/// For a message that is sent and one that is received.
const ALLOWED: f64 = 2.0;

/// A broker that accepts everything and returns each message at QoS 0 on the topic `in`: it allocates nothing once it
/// runs, so that the allocations are the connector's.
fn echo(version: MqttVersion) -> u16 {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let v5 = version == MqttVersion::V5;
        let mut input = vec![0_u8; 1 << 20];
        let mut output = Vec::with_capacity(1 << 20);
        let mut filled = 0;
        while let Ok(count @ 1..) = stream.read(&mut input[filled..]) {
            filled += count;
            let mut at = 0;
            // Packets of less than 128 bytes have one byte of length.
            while filled - at >= 2 && filled - at >= 2 + usize::from(input[at + 1]) {
                let end = at + 2 + usize::from(input[at + 1]);
                let body = &input[at + 2..end];
                match input[at] >> 4 {
                    1 => output.extend_from_slice(if v5 {
                        &[0x20, 3, 0, 0, 0]
                    } else {
                        &[0x20, 2, 0, 0]
                    }),
                    8 if v5 => output.extend_from_slice(&[0x90, 4, body[0], body[1], 0, 0]),
                    8 => output.extend_from_slice(&[0x90, 3, body[0], body[1], 0]),
                    3 => {
                        let topic = 2 + usize::from(body[1]);
                        let id = if input[at] & 6 == 0 { 0 } else { 2 };
                        if id > 0 {
                            output.extend_from_slice(&[0x40, 2, body[topic], body[topic + 1]]);
                        }
                        let rest = &body[topic + id..];
                        output.extend_from_slice(&[0x30, 4 + rest.len() as u8, 0, 2, b'i', b'n']);
                        output.extend_from_slice(rest);
                    }
                    12 => output.extend_from_slice(&[0xd0, 0]),
                    14 => return,
                    _ => {}
                }
                at = end;
            }
            input.copy_within(at..filled, 0);
            filled -= at;
            if stream.write_all(&output).is_err() {
                return;
            }
            output.clear();
        }
    });
    port
}

#[tokio::test]
async fn a_message_costs_at_most_two_allocations_out_and_in_together() {
    for version in VERSIONS {
        for qos in [0, 1] {
            let mut builder = builder();
            builder.connector(mqtt_to(echo(version)).version(version));
            builder.configure::<u64>("out", |reg| {
                let codec = encode_with(|value: &u64, out: &mut Vec<u8>| {
                    out.extend_from_slice(&value.to_be_bytes());
                    Ok::<_, CodecError>(())
                });
                reg.buffer(QUEUE).link_to(format!("mqtt://out?qos={qos}"), codec);
            });
            builder.configure::<u64>("in", |reg| {
                let codec = decode_with(|message: &Incoming<'_>| {
                    message.payload.try_into().map(u64::from_be_bytes).map_err(CodecError::new)
                });
                reg.buffer(QUEUE).link_from("mqtt://in", codec);
            });
            let db = start(builder).await;
            let out = db.producer::<u64>("out").unwrap();
            let mut input = db.consumer::<u64>("in").unwrap().subscribe().unwrap();
            let mut round = async |count: u64| {
                // A few at a time, as sensors send them.
                for first in (0..count).step_by(16) {
                    out.produce_many(first..first + 16).await.unwrap();
                    for n in first..first + 16 {
                        assert_eq!(value(&mut input).await, n);
                    }
                }
            };
            round(1600).await;
            let before = ALLOCATIONS.load(Relaxed);
            round(ALL).await;
            let each = (ALLOCATIONS.load(Relaxed) - before) as f64 / ALL as f64;
            assert!(each <= ALLOWED, "{version:?}, QoS {qos}: {each:.2} allocations a message");
            shut_down(&db).await;
        }
    }
}
