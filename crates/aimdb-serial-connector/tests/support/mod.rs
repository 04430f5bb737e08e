//! A cable with injectable faults, and a database on each end.
#![allow(dead_code, reason = "each test binary uses a part of the module")]

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Postcard, Reader, Record, ShutdownReport};
use aimdb_serial_connector::{SerialConnector, SerialCounters};
use aimdb_testing::TestRuntime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 64 };

/// A fault of one direction: maps the written bytes to the bytes that arrive.
pub type LineFault = Box<dyn FnMut(&[u8]) -> Vec<u8> + Send>;

/// One direction of a cable. It buffers few bytes, as a serial line does.
pub struct Direction {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// The reader receives nothing; written bytes stay in the cable.
    blocked: bool,
    fault: Option<LineFault>,
    /// All bytes written, before any fault.
    pub written: Vec<u8>,
    wakers: Vec<Waker>,
}

impl Direction {
    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// A cable with two plugs, `A` and `B`, that can be unplugged and plugged in again.
#[derive(Clone)]
pub struct Cable {
    a_to_b: Arc<Mutex<Direction>>,
    b_to_a: Arc<Mutex<Direction>>,
    /// Whether an end can be opened now.
    plugged: Arc<Mutex<bool>>,
    /// The number of times the cable was unplugged. An end of an earlier generation fails.
    generation: Arc<Mutex<u64>>,
}

impl Cable {
    pub fn new() -> Self {
        let direction = || {
            Arc::new(Mutex::new(Direction {
                bytes: VecDeque::new(),
                capacity: 256,
                blocked: false,
                fault: None,
                written: Vec::new(),
                wakers: Vec::new(),
            }))
        };
        Self {
            a_to_b: direction(),
            b_to_a: direction(),
            plugged: Arc::new(Mutex::new(true)),
            generation: Arc::default(),
        }
    }

    pub fn a_to_b(&self) -> MutexGuard<'_, Direction> {
        self.a_to_b.lock().unwrap()
    }

    pub fn b_to_a(&self) -> MutexGuard<'_, Direction> {
        self.b_to_a.lock().unwrap()
    }

    /// A connector on plug `A`. It can open its end any number of times while the cable is plugged in.
    pub fn a(&self) -> SerialConnector {
        self.end(&self.b_to_a, &self.a_to_b)
    }

    /// A connector on plug `B`.
    pub fn b(&self) -> SerialConnector {
        self.end(&self.a_to_b, &self.b_to_a)
    }

    fn end(&self, read: &Arc<Mutex<Direction>>, write: &Arc<Mutex<Direction>>) -> SerialConnector {
        let (read, write, cable) = (Arc::clone(read), Arc::clone(write), self.clone());
        SerialConnector::stream("the cable", move || {
            let opened = match *cable.plugged.lock().unwrap() {
                true => Ok(End {
                    read: Arc::clone(&read),
                    write: Arc::clone(&write),
                    generation: *cable.generation.lock().unwrap(),
                    cable: cable.clone(),
                }),
                false => Err(io::Error::other("it is unplugged")),
            };
            std::future::ready(opened)
        })
        .session(7)
    }

    /// Fails both ends and discards the bytes in the cable.
    pub fn unplug(&self) {
        *self.plugged.lock().unwrap() = false;
        *self.generation.lock().unwrap() += 1;
        for direction in [&self.a_to_b, &self.b_to_a] {
            let mut direction = direction.lock().unwrap();
            direction.bytes.clear();
            direction.wake();
        }
    }

    pub fn plug_in(&self) {
        *self.plugged.lock().unwrap() = true;
    }
}

impl Direction {
    pub fn set_fault(&mut self, fault: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) {
        self.fault = Some(Box::new(fault));
    }

    pub fn clear_fault(&mut self) {
        self.fault = None;
    }

    /// Stops the reader: written bytes stay in the cable, up to `capacity`.
    pub fn block(&mut self, capacity: usize) {
        self.blocked = true;
        self.capacity = capacity;
    }

    pub fn unblock(&mut self) {
        self.blocked = false;
        self.set_capacity(256);
    }

    pub fn set_capacity(&mut self, bytes: usize) {
        self.capacity = bytes;
        self.wake();
    }

    /// Adds bytes that no database sent.
    pub fn inject(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.wake();
    }
}

/// One end of a cable, usable until the cable is unplugged.
struct End {
    read: Arc<Mutex<Direction>>,
    write: Arc<Mutex<Direction>>,
    generation: u64,
    cable: Cable,
}

impl End {
    fn is_unplugged(&self) -> bool {
        *self.cable.generation.lock().unwrap() != self.generation
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_unplugged() {
            return Poll::Ready(Err(io::Error::other("the cable was unplugged")));
        }
        let mut direction = self.read.lock().unwrap();
        if direction.bytes.is_empty() || direction.blocked {
            direction.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        let count = direction.bytes.len().min(buf.remaining());
        direction.bytes.drain(..count).for_each(|byte| buf.put_slice(&[byte]));
        direction.wake();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_unplugged() {
            return Poll::Ready(Err(io::Error::other("the cable was unplugged")));
        }
        let mut direction = self.write.lock().unwrap();
        let room = direction.capacity.saturating_sub(direction.bytes.len());
        if room == 0 {
            direction.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = &buf[..buf.len().min(room)];
        direction.written.extend(taken);
        let bytes = match &mut direction.fault {
            Some(fault) => fault(taken),
            None => taken.to_vec(),
        };
        direction.bytes.extend(bytes);
        direction.wake();
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub type Db = AimDb<TestRuntime>;

/// A database with the records `up` (numbers) and `down` (texts): one has an outbound link, the other an inbound one.
pub fn database(runtime: &Arc<TestRuntime>, connector: SerialConnector, sends_up: bool) -> Db {
    database_with(runtime, connector, sends_up, QUEUE)
}

pub fn database_with(
    runtime: &Arc<TestRuntime>,
    connector: SerialConnector,
    sends_up: bool,
    up: BufferCfg,
) -> Db {
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(runtime));
    builder.connector(connector);
    builder.configure::<u64>("up", |reg| {
        let reg = reg.buffer(up);
        match sends_up {
            true => reg.link_to("serial://up", Postcard),
            false => reg.link_from("serial://up", Postcard),
        };
    });
    builder.configure::<String>("down", |reg| {
        let reg = reg.buffer(QUEUE);
        match sends_up {
            true => reg.link_from("serial://down", Postcard),
            false => reg.link_to("serial://down", Postcard),
        };
    });
    builder.build().unwrap()
}

pub fn reader<T: Record>(db: &Db, key: &'static str) -> Reader<T> {
    db.consumer::<T>(key).unwrap().subscribe().unwrap()
}

pub fn produce<T: Record>(runtime: &TestRuntime, db: &Db, key: &'static str, value: T) {
    let producer = db.producer::<T>(key).unwrap();
    assert!(runtime.block_on(producer.produce(value)).is_ok());
}

/// Reads all values available now.
pub fn take_all<T: Record>(reader: &mut Reader<T>) -> Vec<T> {
    let mut taken = Vec::new();
    while let Ok(value) = reader.try_recv() {
        taken.push(value);
    }
    taken
}

pub fn shut_down(runtime: &TestRuntime, db: &Db) -> ShutdownReport {
    runtime.block_on(db.shutdown(secs(30)))
}

/// The number of values accounted for; for each session of the peer it equals the number sent.
pub fn accounted(counters: SerialCounters) -> u64 {
    counters.received + counters.lost + counters.before_first_frame
}
