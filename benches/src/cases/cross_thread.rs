//! One writer and one reader on two operating-system threads that park when they must wait. The time is until the
//! reader has the last value, over the values delivered.

use std::hint::black_box;

use aimdb_core::{BufferCfg, Reader};
use tokio::sync::mpsc;

use crate::kit::{Case, Fate, Run, Scale, Table, on_threads};
use crate::peers::{self, Read, Record, Write, drain};
use crate::{Value, stream};

const LARGE: usize = 1 << 16;
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: DEPTH };
const DEPTH: usize = 1024;
const BATCH: usize = 256;

pub(super) fn ring(scale: Scale) -> Table {
    let buffer = BufferCfg::SpmcRing { capacity: LARGE };
    Case::against("broadcast", "two threads, per value delivered: ring(65536) / broadcast(65536)")
        .contestant("broadcast", || across(scale, peers::broadcast(LARGE, 1)))
        .contestant("aimdb ring", || across(scale, peers::record(buffer, 1)))
        .run(scale)
}

pub(super) fn queue(scale: Scale) -> Table {
    Case::against("mpsc", "two threads, per value: queue(1024) / mpsc(1024)")
        .contestant("mpsc", || across(scale, peers::mpsc(DEPTH)))
        .contestant("aimdb queue", || across(scale, peers::record(QUEUE, 1)))
        .run(scale)
}

pub(super) fn batches(scale: Scale) -> Table {
    Case::against(
        "mpsc, recv_many(256)",
        "two threads, per value, in batches: queue(1024) / mpsc(1024)",
    )
    .contestant("mpsc, recv_many(256)", || mpsc_batches(scale))
    .contestant("aimdb, recv_many(256)", || {
        let (writer, readers) = peers::record(QUEUE, 1);
        flow(scale, write_stream(scale, &writer), readers, drain_batches)
    })
    .contestant("aimdb, produce_many too", || {
        let (writer, readers) = peers::record(QUEUE, 1);
        flow(scale, produce_many(scale, &writer), readers, drain_batches)
    })
    .run(scale)
}

fn values(scale: Scale) -> u64 {
    scale.operations(200_000)
}

fn across<W: Write, R: Read>(scale: Scale, (writer, readers): (W, Vec<R>)) -> Run {
    flow(scale, write_stream(scale, &writer), readers, drain)
}

fn mpsc_batches(scale: Scale) -> Run {
    let (writer, readers) = peers::mpsc(DEPTH);
    flow(scale, write_stream(scale, &writer), readers, drain_mpsc_batches)
}

fn flow<R, F>(
    scale: Scale,
    write: impl Future<Output = ()>,
    readers: Vec<R>,
    read: impl Fn(R) -> F,
) -> Run
where
    F: Future<Output = Fate> + Send,
{
    let flow = on_threads(write, readers.into_iter().map(read).collect());
    let fate: Fate = flow.outcomes.into_iter().sum();
    assert_eq!(fate.delivered + fate.lagged, values(scale), "every value is accounted for");
    Run { operations: fate.delivered, elapsed: flow.read, fate: Some(fate) }
}

async fn write_stream(scale: Scale, writer: &impl Write) {
    for value in stream(values(scale)) {
        writer.write(black_box(value)).await;
    }
}

async fn produce_many(scale: Scale, writer: &Record) {
    let produced = writer.producer.produce_many(stream(values(scale)).map(black_box)).await;
    assert_eq!(produced.ok(), Some(values(scale) as usize));
}

async fn drain_batches(mut reader: Reader<Value>) -> Fate {
    let mut batch = Vec::with_capacity(BATCH);
    let mut delivered = 0;
    loop {
        delivered += reader.recv_many(&mut batch, BATCH).await.expect("open") as u64;
        if ends(&mut batch) {
            return Fate { delivered, lagged: reader.lagged() };
        }
    }
}

async fn drain_mpsc_batches(mut reader: mpsc::Receiver<Value>) -> Fate {
    let mut batch = Vec::with_capacity(BATCH);
    let mut delivered = 0;
    loop {
        delivered += reader.recv_many(&mut batch, BATCH).await as u64;
        if ends(&mut batch) {
            return Fate { delivered, lagged: 0 };
        }
    }
}

fn ends(batch: &mut Vec<Value>) -> bool {
    let ends = black_box(&*batch).last().is_some_and(Value::is_last);
    batch.clear();
    ends
}
