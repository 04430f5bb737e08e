//! Two ends exchange time stamps: the time that a value takes from one end to the other.

use std::thread;
use std::time::{Duration, Instant};

use aimdb_core::BufferCfg;
use tokio::runtime::Runtime;

use crate::cases::sync::single_reader;
use crate::cases::wake::runtime;
use crate::kit::{Case, Percentiles, Run, Scale, on_threads};
use crate::payload::{Payload, Value};
use crate::peers::{self, Get, Read, Set, Write};
use crate::table::Table;

const DEPTH: usize = 16;
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: DEPTH };
const RING: BufferCfg = BufferCfg::SpmcRing { capacity: DEPTH };
/// The number of round trips of tasks that answer at once.
const TRIPS: u64 = 50_000;
/// The time for which a busy task keeps its worker.
const COMPUTES: Duration = Duration::from_micros(20);
/// The round trips of two fresh threads that are not measured: both begin on one core, and each trip takes the time of a
/// switch between them until the kernel moves one of them.
const WARM_UP: u64 = 300;
/// Longer than the other end spins before it parks.
const PAUSE: Duration = Duration::from_micros(30);

pub(super) fn threads(scale: Scale) -> Table {
    Case::against("aimdb-sync queue", "parked threads")
        .contestant("aimdb-sync queue", || {
            thread_latency(scale, || single_reader(peers::sync_record(QUEUE)))
        })
        .contestant("aimdb-sync ring", || {
            thread_latency(scale, || single_reader(peers::sync_record(RING)))
        })
        .contestant("std sync_channel", || {
            thread_latency(scale, || single_reader(peers::sync_channel(DEPTH)))
        })
        .contestant("crossbeam", || {
            thread_latency(scale, || single_reader(peers::crossbeam(DEPTH)))
        })
        .contestant("flume", || thread_latency(scale, || single_reader(peers::flume(DEPTH))))
        .contestant("kanal", || thread_latency(scale, || single_reader(peers::kanal(DEPTH))))
        .contestant("async-channel", || {
            thread_latency(scale, || single_reader(peers::async_channel(DEPTH)))
        })
        .contestant("tokio broadcast", || {
            thread_latency(scale, || single_reader(peers::broadcast(DEPTH, 1)))
        })
        .contestant("limit: park and unpark", || thread_latency(scale, peers::handoff))
        .run(scale)
}

pub(super) fn tasks(scale: Scale) -> Table {
    tasks_on(&runtime(2), "Tokio tasks", scale, scale.operations(TRIPS))
}

pub(super) fn tasks_loaded(scale: Scale) -> Table {
    let on = runtime(2);
    let computes = async || loop {
        let start = Instant::now();
        while start.elapsed() < COMPUTES {
            std::hint::spin_loop();
        }
        tokio::task::yield_now().await;
    };
    // They end with the runtime.
    on.spawn(computes());
    on.spawn(computes());
    tasks_on(&on, "Tokio tasks, two busy tasks on the same workers", scale, scale.operations(500))
}

fn tasks_on(on: &Runtime, title: &'static str, scale: Scale, trips: u64) -> Table {
    Case::against("aimdb queue", title)
        .contestant("aimdb queue", || exchange(on, trips, || peers::record(QUEUE, 1)))
        .contestant("aimdb ring", || exchange(on, trips, || peers::record(RING, 1)))
        .contestant("aimdb latest", || {
            exchange(on, trips, || peers::record(BufferCfg::SingleLatest, 1))
        })
        .contestant("tokio mpsc", || exchange(on, trips, || peers::mpsc(DEPTH)))
        .contestant("tokio broadcast", || exchange(on, trips, || peers::broadcast(DEPTH, 1)))
        .contestant("tokio watch", || exchange(on, trips, peers::watch))
        .contestant("flume", || exchange(on, trips, || peers::flume(DEPTH)))
        .contestant("kanal", || exchange(on, trips, || peers::kanal_async(DEPTH)))
        .contestant("async-channel", || exchange(on, trips, || peers::async_channel(DEPTH)))
        .contestant("async-broadcast", || exchange(on, trips, || peers::async_broadcast(DEPTH, 1)))
        .contestant("thingbuf", || exchange(on, trips, || peers::thingbuf(DEPTH)))
        .contestant("embassy pubsub", || exchange(on, trips, peers::pubsub::<Value, DEPTH, 1>))
        .run(scale)
}

/// The clock that both ends read, and the latencies that one end measured.
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

/// The run's time is the median of both directions, without the first `skipped` trips: one long stall would dominate a
/// mean.
fn one_way(there: Stamps, back: Stamps, skipped: u64) -> Run {
    let measured = [there.nanos, back.nanos].map(|nanos| nanos[skipped as usize..].to_vec());
    let tail = Percentiles::of(measured.concat());
    Run::new(1, Duration::from_nanos(tail.p50)).with_percentiles(tail)
}

/// Two threads that pause before they answer, so that the receiver of each value is parked.
pub fn thread_latency<S: Set, G: Get>(scale: Scale, make: impl Fn() -> (S, G)) -> Run {
    let trips = WARM_UP + scale.operations(1_000);
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
        // The sender stays open until the other end has read its last value.
        (back, pong)
    };
    let mut flow = on_threads(vec![serve], vec![back]);
    let (back, _open) = flow.outcomes.remove(0);
    one_way(there, back, WARM_UP)
}

/// Two tasks that answer without a pause.
pub fn task_latency<W: Write, R: Read>(
    runtime: &Runtime,
    scale: Scale,
    make: impl Fn() -> (W, Vec<R>),
) -> Run {
    exchange(runtime, scale.operations(TRIPS), make)
}

fn exchange<W: Write, R: Read>(
    runtime: &Runtime,
    trips: u64,
    make: impl Fn() -> (W, Vec<R>),
) -> Run {
    let (start, ends) = (Instant::now(), (single_reader(make()), single_reader(make())));
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
        one_way(there, back, 0)
    })
}
