//! Two tasks send one value back and forth over two channels: the cost of a wake-up. The time is of a round trip, which
//! is two wake-ups.

use std::hint::black_box;
use std::time::Instant;

use aimdb_core::BufferCfg;
use tokio::runtime::{Builder, Runtime};

use crate::kit::{Case, Run, Scale};
use crate::payload::{Payload, Value};
use crate::peers::{self, Read, Write};
use crate::table::Table;

pub(super) fn one_worker(scale: Scale) -> Table {
    ping_pong("ping-pong of two tasks, one worker, per round trip", &runtime(1), scale)
}

pub(super) fn two_workers(scale: Scale) -> Table {
    ping_pong("ping-pong of two tasks, two workers, per round trip", &runtime(2), scale)
}

/// Creates a Tokio runtime with this number of workers.
///
/// # Panics
///
/// If the system cannot create the threads.
#[must_use]
pub fn runtime(workers: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_time()
        .build()
        .expect("a runtime can be had")
}

fn ping_pong(title: &'static str, runtime: &Runtime, scale: Scale) -> Table {
    let ring = BufferCfg::SpmcRing { capacity: 16 };
    let queue = BufferCfg::SpmcQueue { capacity: 16 };
    Case::against("mpsc(16)", title)
        .contestant("mpsc(16)", || ping_pong_run(runtime, scale, || peers::mpsc(16)))
        .contestant("aimdb queue(16)", || ping_pong_run(runtime, scale, || peers::record(queue, 1)))
        .contestant("broadcast(16)", || ping_pong_run(runtime, scale, || peers::broadcast(16, 1)))
        .contestant("aimdb ring(16)", || ping_pong_run(runtime, scale, || peers::record(ring, 1)))
        .contestant("watch", || ping_pong_run(runtime, scale, peers::watch))
        .contestant("aimdb latest", || {
            ping_pong_run(runtime, scale, || peers::record(BufferCfg::SingleLatest, 1))
        })
        .run(scale)
}

fn ping_pong_run<W: Write, R: Read>(
    runtime: &Runtime,
    scale: Scale,
    make: impl Fn() -> (W, Vec<R>),
) -> Run {
    let operations = scale.operations(20_000);
    let (mut ping, mut pinged) = make();
    let (mut pong, mut ponged) = make();
    let mut pinged = pinged.remove(0);
    let mut ponged = ponged.remove(0);
    let there = async move {
        for n in 0..operations {
            ping.write(black_box(Value::new(n))).await;
            black_box(ponged.read().await);
        }
    };
    let back = async move {
        for _ in 0..operations {
            pong.write(black_box(pinged.read().await)).await;
        }
        // The sender stays open until the other end has read its last value.
        pong
    };
    let start = Instant::now();
    let back = runtime.spawn(back);
    let there = runtime.spawn(there);
    runtime.block_on(async {
        there.await.expect("plays");
        let elapsed = start.elapsed();
        back.await.expect("plays");
        Run::new(operations, elapsed)
    })
}
