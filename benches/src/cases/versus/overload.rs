//! A writer that never waits, and readers that cannot keep up.

use std::hint::black_box;
use std::time::Instant;

use aimdb_core::BufferCfg;

use crate::kit::{Case, Delivery, Percentiles, Run, Scale, blocking_on, on_threads};
use crate::payload::{Value, stream};
use crate::peers::{self, Read, TryWrite, drain};
use crate::table::Table;

const CAPACITY: usize = 1024;
const READERS: usize = 4;
const RING: BufferCfg = BufferCfg::SpmcRing { capacity: CAPACITY };

pub(super) fn ring(scale: Scale) -> Table {
    Case::against("aimdb ring", "1 → 4, writer's time for a send")
        .contestant("aimdb ring", || flood(scale, peers::record(RING, READERS)))
        .contestant("tokio broadcast", || flood(scale, peers::broadcast(CAPACITY, READERS)))
        .contestant("async-broadcast", || {
            flood(scale, peers::async_broadcast_overflowing(CAPACITY, READERS))
        })
        .contestant("embassy pubsub", || flood(scale, peers::pubsub::<Value, CAPACITY, READERS>()))
        .run(scale)
}

/// The writer sends as fast as it can and times each send; four readers have a thread each.
pub fn flood<W: TryWrite, R: Read>(scale: Scale, (mut writer, readers): (W, Vec<R>)) -> Run {
    let values = scale.operations(1_000_000);
    let mut nanos = Vec::with_capacity(values as usize);
    let write = || {
        let mut before = Instant::now();
        for value in stream::<Value>(values) {
            writer.try_write(black_box(value));
            let after = Instant::now();
            nanos.push((after - before).as_nanos() as u64);
            before = after;
        }
    };
    let readers = readers.into_iter().map(|reader| blocking_on(drain(reader))).collect();
    let flow = on_threads(vec![write], readers);
    let delivery: Delivery = flow.outcomes.into_iter().sum();
    assert_eq!(
        delivery.delivered + delivery.lagged,
        values * READERS as u64,
        "each value has a fate"
    );
    Run::new(values, flow.written).with_delivery(delivery).with_percentiles(Percentiles::of(nanos))
}
