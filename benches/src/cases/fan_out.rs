//! One writer and four readers, each on an operating-system thread of its own. The time is the writer's, over the
//! values it wrote: the cost of readers for the writer.

use std::hint::black_box;

use aimdb_core::BufferCfg;

use crate::kit::{Case, Delivery, Run, Scale, blocking_on, on_threads};
use crate::payload::stream;
use crate::peers::{self, Read, Write, drain};
use crate::table::Table;

const CAPACITY: usize = 1024;
const READERS: usize = 4;

pub(super) fn ring(scale: Scale) -> Table {
    let buffer = BufferCfg::SpmcRing { capacity: CAPACITY };
    Case::against(
        "broadcast",
        "1 → 4 threads, writer's time per send: ring(1024) / broadcast(1024)",
    )
    .contestant("broadcast", || spread(scale, peers::broadcast(CAPACITY, READERS)))
    .contestant("aimdb ring", || spread(scale, peers::record(buffer, READERS)))
    .run(scale)
}

pub(super) fn queue(scale: Scale) -> Table {
    let buffer = BufferCfg::SpmcQueue { capacity: CAPACITY };
    Case::against("aimdb queue", "1 → 4 threads, writer's time per send, nothing lost: queue(1024)")
        .contestant("aimdb queue", || spread(scale, peers::record(buffer, READERS)))
        .run(scale)
}

fn spread<W: Write, R: Read>(scale: Scale, (mut writer, readers): (W, Vec<R>)) -> Run {
    let operations = scale.operations(50_000);
    let write = async {
        for value in stream(operations) {
            writer.write(black_box(value)).await;
        }
    };
    let flow = on_threads(
        vec![blocking_on(write)],
        readers.into_iter().map(|reader| blocking_on(drain(reader))).collect(),
    );
    let delivery: Delivery = flow.outcomes.into_iter().sum();
    assert_eq!(delivery.delivered + delivery.lagged, operations * READERS as u64);
    Run::new(operations, flow.written).with_delivery(delivery)
}
