//! One writer and one reader, futures on two threads, nothing lost.

use aimdb_core::BufferCfg;

use crate::cases::cross_thread::{transfer, transfer_batches, transfer_to_batches};
use crate::kit::{Case, Scale};
use crate::payload::{Payload, Value};
use crate::peers;
use crate::table::Table;

const DEPTH: usize = 1024;
const BATCH: usize = 256;
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: DEPTH };

pub(super) fn single<P: Payload>(scale: Scale) -> Table {
    Case::against("aimdb queue", format!("{}, one by one", P::NAME))
        .contestant("aimdb queue", || transfer::<P, _, _>(scale, peers::record(QUEUE, 1)))
        .contestant("tokio mpsc", || transfer::<P, _, _>(scale, peers::mpsc(DEPTH)))
        .contestant("flume", || transfer::<P, _, _>(scale, peers::flume(DEPTH)))
        .contestant("kanal", || transfer::<P, _, _>(scale, peers::kanal_async(DEPTH)))
        .contestant("async-channel", || transfer::<P, _, _>(scale, peers::async_channel(DEPTH)))
        .contestant("thingbuf", || transfer::<P, _, _>(scale, peers::thingbuf(DEPTH)))
        .contestant("async-broadcast", || {
            transfer::<P, _, _>(scale, peers::async_broadcast(DEPTH, 1))
        })
        .contestant("disruptor, spinning", || {
            transfer::<P, _, _>(scale, peers::disruptor(DEPTH, 1))
        })
        .contestant("limit: one cache line a value of 32 B", || {
            transfer::<Value, _, _>(scale, peers::lines(DEPTH, 1))
        })
        .run(scale)
}

pub(super) fn batches<P: Payload>(scale: Scale) -> Table {
    Case::against("aimdb, both ends", format!("{}, in batches of 256", P::NAME))
        .contestant("aimdb, both ends", || {
            transfer_batches::<P, _, _>(scale, peers::record(QUEUE, 1))
        })
        .contestant("aimdb, recv_many", || {
            transfer_to_batches::<P, _, _>(scale, peers::record(QUEUE, 1))
        })
        .contestant("tokio mpsc, both ends", || {
            transfer_batches::<P, _, _>(scale, peers::mpsc_reserving(DEPTH, BATCH))
        })
        .contestant("tokio mpsc, recv_many", || {
            transfer_to_batches::<P, _, _>(scale, peers::mpsc(DEPTH))
        })
        .contestant("disruptor, both ends", || {
            transfer_batches::<P, _, _>(scale, peers::disruptor(DEPTH, 1))
        })
        .run(scale)
}
