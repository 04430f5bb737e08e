//! One writer and one reader on two operating-system threads that park when they must wait. The time is until the
//! reader has the last value, over the values delivered.

use std::hint::black_box;

use aimdb_core::BufferCfg;

use crate::kit::{Case, Delivery, Run, Scale, blocking_on, on_threads};
use crate::payload::{Payload, Value, stream, sum};
use crate::peers::{self, Read, Write, drain, drain_many};
use crate::table::Table;

const LARGE: usize = 1 << 16;
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: DEPTH };
const DEPTH: usize = 1024;
const BATCH: usize = 256;

pub(super) fn ring(scale: Scale) -> Table {
    let buffer = BufferCfg::SpmcRing { capacity: LARGE };
    Case::against("broadcast", "two threads, per value delivered: ring(65536) / broadcast(65536)")
        .contestant("broadcast", || transfer::<Value, _, _>(scale, peers::broadcast(LARGE, 1)))
        .contestant("aimdb ring", || transfer::<Value, _, _>(scale, peers::record(buffer, 1)))
        .run(scale)
}

pub(super) fn queue(scale: Scale) -> Table {
    Case::against("mpsc", "two threads, per value: queue(1024) / mpsc(1024)")
        .contestant("mpsc", || transfer::<Value, _, _>(scale, peers::mpsc(DEPTH)))
        .contestant("aimdb queue", || transfer::<Value, _, _>(scale, peers::record(QUEUE, 1)))
        .run(scale)
}

pub(super) fn batches(scale: Scale) -> Table {
    Case::against(
        "mpsc, recv_many(256)",
        "two threads, per value, in batches: queue(1024) / mpsc(1024)",
    )
    .contestant("mpsc, recv_many(256)", || {
        transfer_to_batches::<Value, _, _>(scale, peers::mpsc(DEPTH))
    })
    .contestant("aimdb, recv_many(256)", || {
        transfer_to_batches::<Value, _, _>(scale, peers::record(QUEUE, 1))
    })
    .contestant("aimdb, produce_many too", || {
        transfer_batches::<Value, _, _>(scale, peers::record(QUEUE, 1))
    })
    .run(scale)
}

fn values(scale: Scale) -> u64 {
    scale.operations(200_000)
}

/// Sends and receives one value at a time.
pub fn transfer<P: Payload, W: Write<P>, R: Read<P>>(
    scale: Scale,
    (writer, readers): (W, Vec<R>),
) -> Run {
    flow::<P, _, _>(scale, write_stream(scale, writer), readers, drain)
}

/// Sends one value at a time and receives in batches.
pub(super) fn transfer_to_batches<P: Payload, W: Write<P>, R: Read<P>>(
    scale: Scale,
    (writer, readers): (W, Vec<R>),
) -> Run {
    flow::<P, _, _>(scale, write_stream(scale, writer), readers, |reader| drain_many(reader, BATCH))
}

/// Sends and receives in batches.
pub(super) fn transfer_batches<P: Payload, W: Write<P>, R: Read<P>>(
    scale: Scale,
    (mut writer, readers): (W, Vec<R>),
) -> Run {
    let write = async move {
        writer.write_many(stream(values(scale)).map(black_box)).await;
        writer
    };
    flow::<P, _, _>(scale, write, readers, |reader| drain_many(reader, BATCH))
}

/// `write` returns the writer, so that the channel stays open until the last reader is done.
fn flow<P: Payload, R, F>(
    scale: Scale,
    write: impl Future<Output: Send> + Send,
    readers: Vec<R>,
    read: impl Fn(R) -> F,
) -> Run
where
    F: Future<Output = Delivery> + Send,
{
    let mut open = None;
    let write = || open = Some(blocking_on(write)());
    let flow = on_threads(vec![write], readers.into_iter().map(|r| blocking_on(read(r))).collect());
    let delivery: Delivery = flow.outcomes.into_iter().sum();
    assert_eq!(delivery.delivered + delivery.lagged, values(scale), "every value is accounted for");
    if delivery.lagged == 0 {
        assert_eq!(delivery.sum, sum::<P>(values(scale)), "what came out is what went in");
    }
    Run::new(delivery.delivered, flow.read).with_delivery(delivery)
}

async fn write_stream<P: Payload, W: Write<P>>(scale: Scale, mut writer: W) -> W {
    for value in stream(values(scale)) {
        writer.write(black_box(value)).await;
    }
    writer
}
