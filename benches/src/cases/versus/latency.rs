//! Two sides answer each other with a time stamp: how long a value is under way.

use std::thread;
use std::time::{Duration, Instant};

use aimdb_core::BufferCfg;
use tokio::runtime::Runtime;

use crate::cases::sync::alone;
use crate::cases::wake::runtime;
use crate::kit::{Case, Run, Scale, Tail, on_threads};
use crate::payload::{Payload, Value};
use crate::peers::{self, Get, Read, Set, Write};
use crate::table::Table;

const DEPTH: usize = 16;
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: DEPTH };
const RING: BufferCfg = BufferCfg::SpmcRing { capacity: DEPTH };
/// Long enough for the other side to spin, give up and park.
const PAUSE: Duration = Duration::from_micros(30);

pub(super) fn threads(scale: Scale) -> Table {
    Case::against("aimdb-sync queue", "parked threads")
        .contestant("aimdb-sync queue", || parked(scale, || alone(peers::door(QUEUE))))
        .contestant("aimdb-sync ring", || parked(scale, || alone(peers::door(RING))))
        .contestant("std sync_channel", || parked(scale, || alone(peers::sync_channel(DEPTH))))
        .contestant("crossbeam", || parked(scale, || alone(peers::crossbeam(DEPTH))))
        .contestant("flume", || parked(scale, || alone(peers::flume(DEPTH))))
        .contestant("kanal", || parked(scale, || alone(peers::kanal(DEPTH))))
        .contestant("async-channel", || parked(scale, || alone(peers::async_channel(DEPTH))))
        .contestant("tokio broadcast", || parked(scale, || alone(peers::broadcast(DEPTH, 1))))
        .run(scale)
}

pub(super) fn tasks(scale: Scale) -> Table {
    let on = &runtime(2);
    Case::against("aimdb queue", "Tokio tasks")
        .contestant("aimdb queue", || spawned(on, scale, || peers::record(QUEUE, 1)))
        .contestant("aimdb ring", || spawned(on, scale, || peers::record(RING, 1)))
        .contestant("aimdb latest", || {
            spawned(on, scale, || peers::record(BufferCfg::SingleLatest, 1))
        })
        .contestant("tokio mpsc", || spawned(on, scale, || peers::mpsc(DEPTH)))
        .contestant("tokio broadcast", || spawned(on, scale, || peers::broadcast(DEPTH, 1)))
        .contestant("tokio watch", || spawned(on, scale, peers::watch))
        .contestant("flume", || spawned(on, scale, || peers::flume(DEPTH)))
        .contestant("kanal", || spawned(on, scale, || peers::kanal_async(DEPTH)))
        .contestant("async-channel", || spawned(on, scale, || peers::async_channel(DEPTH)))
        .contestant("async-broadcast", || spawned(on, scale, || peers::async_broadcast(DEPTH, 1)))
        .contestant("thingbuf", || spawned(on, scale, || peers::thingbuf(DEPTH)))
        .contestant("embassy pubsub", || spawned(on, scale, peers::pubsub::<Value, DEPTH, 1>))
        .run(scale)
}

/// A clock both sides read, and what one of them found.
struct Stamps {
    start: Instant,
    nanos: Vec<u64>,
}

impl Stamps {
    fn since(start: Instant, trips: u64) -> Self {
        Self { start, nanos: Vec::with_capacity(trips as usize) }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn stamp(&self) -> Value {
        Value::new(self.now())
    }

    fn arrived(&mut self, value: Value) {
        self.nanos.push(self.now().saturating_sub(value.number()));
    }
}

/// The median stands for the run: one long stall would outweigh all the rest.
fn one_way(there: Stamps, back: Stamps) -> Run {
    let tail = Tail::of([there.nanos, back.nanos].concat());
    Run::new(1, Duration::from_nanos(tail.p50)).with_tail(tail)
}

/// Two threads that wait a moment before they answer, so that each is parked when a value comes for it.
pub fn parked<S: Set, G: Get>(scale: Scale, make: impl Fn() -> (S, G)) -> Run {
    let trips = scale.operations(1_000);
    let (start, ends) = (Instant::now(), (make(), make()));
    let ((mut ping, mut pinged), (mut pong, mut ponged)) = ends;
    let mut there = Stamps::since(start, trips);
    let serve = || {
        for _ in 0..trips {
            thread::sleep(PAUSE);
            ping.set(there.stamp());
            there.arrived(ponged.get());
        }
    };
    let back = || {
        let mut back = Stamps::since(start, trips);
        for _ in 0..trips {
            back.arrived(pinged.get());
            thread::sleep(PAUSE);
            pong.set(back.stamp());
        }
        // Kept open until the other side has read the last one.
        (back, pong)
    };
    let mut flow = on_threads(vec![serve], vec![back]);
    let (back, _open) = flow.outcomes.remove(0);
    one_way(there, back)
}

/// Two tasks that answer at once.
pub fn spawned<W: Write, R: Read>(
    runtime: &Runtime,
    scale: Scale,
    make: impl Fn() -> (W, Vec<R>),
) -> Run {
    let trips = scale.operations(50_000);
    let (start, ends) = (Instant::now(), (alone(make()), alone(make())));
    let ((mut ping, mut pinged), (mut pong, mut ponged)) = ends;
    let there = runtime.spawn(async move {
        let mut there = Stamps::since(start, trips);
        for _ in 0..trips {
            ping.write(there.stamp()).await;
            there.arrived(ponged.read().await);
        }
        there
    });
    let back = runtime.spawn(async move {
        let mut back = Stamps::since(start, trips);
        for _ in 0..trips {
            back.arrived(pinged.read().await);
            pong.write(back.stamp()).await;
        }
        (back, pong)
    });
    runtime.block_on(async {
        let there = there.await.expect("plays");
        let (back, _open) = back.await.expect("plays");
        one_way(there, back)
    })
}
