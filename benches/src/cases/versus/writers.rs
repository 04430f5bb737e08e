//! Four writers, one reader, nothing lost.

use std::hint::black_box;

use aimdb_core::BufferCfg;

use crate::cases::sync::alone;
use crate::kit::{Case, Fate, Run, Scale, driven, on_threads};
use crate::payload::{Payload, Value};
use crate::peers::{self, Get, Read, Set, Write};
use crate::table::Table;

const WRITERS: u64 = 4;
const DEPTH: usize = 1024;
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: DEPTH };

pub(super) fn tasks(scale: Scale) -> Table {
    Case::against("aimdb queue", "4 → 1, tasks")
        .contestant("aimdb queue", || futures(scale, alone(peers::record(QUEUE, 1))))
        .contestant("tokio mpsc", || futures(scale, alone(peers::mpsc(DEPTH))))
        .contestant("flume", || futures(scale, alone(peers::flume(DEPTH))))
        .contestant("kanal", || futures(scale, alone(peers::kanal_async(DEPTH))))
        .contestant("async-channel", || futures(scale, alone(peers::async_channel(DEPTH))))
        .contestant("thingbuf", || futures(scale, alone(peers::thingbuf(DEPTH))))
        .run(scale)
}

pub(super) fn blocking(scale: Scale) -> Table {
    Case::against("aimdb-sync queue", "4 → 1, blocking threads")
        .contestant("aimdb-sync queue", || threads(scale, alone(peers::door(QUEUE))))
        .contestant("std sync_channel", || threads(scale, alone(peers::sync_channel(DEPTH))))
        .contestant("crossbeam", || threads(scale, alone(peers::crossbeam(DEPTH))))
        .contestant("flume", || threads(scale, alone(peers::flume(DEPTH))))
        .contestant("kanal", || threads(scale, alone(peers::kanal(DEPTH))))
        .contestant("async-channel", || threads(scale, alone(peers::async_channel(DEPTH))))
        .run(scale)
}

/// What each of the writers sends.
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
        driven(async move {
            for n in share {
                writer.write(black_box(Value::new(n))).await;
            }
        })
    };
    let read = async {
        let mut fate = Fate::default();
        for _ in 0..total(scale) {
            fate.take(&black_box(reader.read().await));
        }
        fate
    };
    race(scale, shares(scale).map(write).collect(), driven(read))
}

fn threads<S: Set + Clone, G: Get>(scale: Scale, (setter, mut getter): (S, G)) -> Run {
    let write = |share: std::ops::Range<u64>| {
        let mut setter = setter.clone();
        || share.for_each(move |n| setter.set(black_box(Value::new(n))))
    };
    let read = || {
        let mut fate = Fate::default();
        for _ in 0..total(scale) {
            fate.take(&black_box(getter.get()));
        }
        fate
    };
    race(scale, shares(scale).map(write).collect(), read)
}

fn race(
    scale: Scale,
    writers: Vec<impl FnOnce() + Send>,
    reader: impl FnOnce() -> Fate + Send,
) -> Run {
    let flow = on_threads(writers, vec![reader]);
    let fate: Fate = flow.outcomes.into_iter().sum();
    let expected: u64 = shares(scale).flatten().sum();
    assert_eq!((fate.delivered, fate.sum), (total(scale), expected), "all came out");
    Run::new(fate.delivered, flow.read)
}
