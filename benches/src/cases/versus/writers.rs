//! Four writers, one reader, nothing lost.

use std::hint::black_box;

use aimdb_core::BufferCfg;

use crate::cases::sync::single_reader;
use crate::kit::{Case, Delivery, Run, Scale, blocking_on, on_threads};
use crate::payload::{Payload, Value};
use crate::peers::{self, Get, Read, Set, Write};
use crate::table::Table;

const WRITERS: u64 = 4;
const DEPTH: usize = 1024;
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: DEPTH };

pub(super) fn tasks(scale: Scale) -> Table {
    Case::against("aimdb queue", "4 → 1, tasks")
        .contestant("aimdb queue", || futures(scale, single_reader(peers::record(QUEUE, 1))))
        .contestant("tokio mpsc", || futures(scale, single_reader(peers::mpsc(DEPTH))))
        .contestant("flume", || futures(scale, single_reader(peers::flume(DEPTH))))
        .contestant("kanal", || futures(scale, single_reader(peers::kanal_async(DEPTH))))
        .contestant("async-channel", || futures(scale, single_reader(peers::async_channel(DEPTH))))
        .contestant("thingbuf", || futures(scale, single_reader(peers::thingbuf(DEPTH))))
        .run(scale)
}

pub(super) fn blocking(scale: Scale) -> Table {
    Case::against("aimdb-sync queue", "4 → 1, blocking threads")
        .contestant("aimdb-sync queue", || threads(scale, single_reader(peers::sync_record(QUEUE))))
        .contestant("std sync_channel", || {
            threads(scale, single_reader(peers::sync_channel(DEPTH)))
        })
        .contestant("crossbeam", || threads(scale, single_reader(peers::crossbeam(DEPTH))))
        .contestant("flume", || threads(scale, single_reader(peers::flume(DEPTH))))
        .contestant("kanal", || threads(scale, single_reader(peers::kanal(DEPTH))))
        .contestant("async-channel", || threads(scale, single_reader(peers::async_channel(DEPTH))))
        .run(scale)
}

/// The numbers that each writer sends.
fn shares(scale: Scale) -> impl Iterator<Item = std::ops::Range<u64>> {
    let each = scale.operations(200_000) / WRITERS;
    (0..WRITERS).map(move |writer| writer * each..(writer + 1) * each)
}

fn total(scale: Scale) -> u64 {
    shares(scale).map(|share| share.end - share.start).sum()
}

fn futures<W: Write + Clone, R: Read>(scale: Scale, (writer, mut reader): (W, R)) -> Run {
    let write = |share: std::ops::Range<u64>| {
        let mut writer = writer.clone();
        blocking_on(async move {
            for n in share {
                writer.write(black_box(Value::new(n))).await;
            }
        })
    };
    let read = async {
        let mut delivery = Delivery::default();
        for _ in 0..total(scale) {
            delivery.take(&black_box(reader.read().await));
        }
        delivery
    };
    run_writers(scale, shares(scale).map(write).collect(), blocking_on(read))
}

fn threads<S: Set + Clone, G: Get>(scale: Scale, (setter, mut getter): (S, G)) -> Run {
    let write = |share: std::ops::Range<u64>| {
        let mut setter = setter.clone();
        || share.for_each(move |n| setter.set(black_box(Value::new(n))))
    };
    let read = || {
        let mut delivery = Delivery::default();
        for _ in 0..total(scale) {
            delivery.take(&black_box(getter.get()));
        }
        delivery
    };
    run_writers(scale, shares(scale).map(write).collect(), read)
}

fn run_writers(
    scale: Scale,
    writers: Vec<impl FnOnce() + Send>,
    reader: impl FnOnce() -> Delivery + Send,
) -> Run {
    let flow = on_threads(writers, vec![reader]);
    let delivery: Delivery = flow.outcomes.into_iter().sum();
    let expected: u64 = shares(scale).flatten().sum();
    assert_eq!((delivery.delivered, delivery.sum), (total(scale), expected), "all came out");
    Run::new(delivery.delivered, flow.read)
}
