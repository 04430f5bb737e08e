//! A source and a tap in a running database, next to two plain tasks, on a runtime with two workers. The time is from
//! the start until the reader has the last value, over the values written. The time to build is not part of it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_tokio_adapter::TokioAdapter;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::kit::{Case, Run, Scale};
use crate::payload::{Value, stream};
use crate::peers::{self, Read, Write, drain};
use crate::table::Table;

const CAPACITY: usize = 1024;

pub(super) fn queue(scale: Scale) -> Table {
    let runtime = &super::wake::runtime(2);
    let buffer = BufferCfg::SpmcQueue { capacity: CAPACITY };
    Case::against("two tasks, mpsc", "source → tap, per value: queue(1024) / mpsc(1024)")
        .contestant("two tasks, mpsc", || plain(runtime, scale, peers::mpsc(CAPACITY)))
        .contestant("aimdb queue", || engine(runtime, scale, buffer))
        .run(scale)
}

pub(super) fn ring(scale: Scale) -> Table {
    let runtime = &super::wake::runtime(2);
    let buffer = BufferCfg::SpmcRing { capacity: CAPACITY };
    Case::against("broadcast, giving way", "source → tap, per send: ring(1024) / broadcast(1024)")
        .contestant("broadcast, giving way", || {
            let (writer, readers) = peers::broadcast(CAPACITY, 1);
            plain(runtime, scale, (peers::Cooperative(writer), readers))
        })
        .contestant("broadcast, never waiting", || {
            plain(runtime, scale, peers::broadcast(CAPACITY, 1))
        })
        .contestant("aimdb ring", || engine(runtime, scale, buffer))
        .run(scale)
}

fn values(scale: Scale) -> u64 {
    scale.operations(200_000)
}

fn plain<W: Write, R: Read>(
    runtime: &Runtime,
    scale: Scale,
    (mut writer, mut readers): (W, Vec<R>),
) -> Run {
    let operations = values(scale);
    let reader = readers.remove(0);
    let start = Instant::now();
    let tap = runtime.spawn(drain(reader));
    let source = runtime.spawn(async move {
        for value in stream(operations) {
            writer.write(black_box(value)).await;
        }
        writer
    });
    runtime.block_on(async {
        let delivery = tap.await.expect("drains");
        let elapsed = start.elapsed();
        source.await.expect("writes");
        Run::new(operations, elapsed).with_delivery(delivery)
    })
}

fn engine(runtime: &Runtime, scale: Scale, buffer: BufferCfg) -> Run {
    let operations = values(scale);
    let (done, finished) = oneshot::channel();
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    builder.configure::<Value>("bench", |reg| {
        reg.buffer(buffer)
            .source(move |_ctx, bench| async move {
                for value in stream(operations) {
                    bench.produce(black_box(value)).await.expect("open");
                }
            })
            .tap(|_ctx, bench| async move {
                let delivery = drain(bench.subscribe().expect("open")).await;
                done.send(delivery).expect("the receiver waits for it");
            });
    });
    runtime.block_on(async {
        let db = builder.build().expect("a source, a buffer, a tap");
        let start = Instant::now();
        db.start();
        let delivery = finished.await.expect("the tap drains");
        let elapsed = start.elapsed();
        db.shutdown(Duration::from_secs(1)).await;
        Run::new(operations, elapsed).with_delivery(delivery)
    })
}
