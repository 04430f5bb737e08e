//! One writer and one reader, futures on two threads, nothing lost.

use aimdb_core::BufferCfg;

use crate::cases::cross_thread::{across, batched, half_batched};
use crate::kit::{Case, Scale};
use crate::payload::Payload;
use crate::peers;
use crate::table::Table;

const DEPTH: usize = 1024;
const BATCH: usize = 256;
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: DEPTH };

pub(super) fn single<P: Payload>(scale: Scale) -> Table {
    Case::against("aimdb queue", format!("{}, one by one", P::NAME))
        .contestant("aimdb queue", || across::<P, _, _>(scale, peers::record(QUEUE, 1)))
        .contestant("tokio mpsc", || across::<P, _, _>(scale, peers::mpsc(DEPTH)))
        .contestant("flume", || across::<P, _, _>(scale, peers::flume(DEPTH)))
        .contestant("kanal", || across::<P, _, _>(scale, peers::kanal_async(DEPTH)))
        .contestant("async-channel", || across::<P, _, _>(scale, peers::async_channel(DEPTH)))
        .contestant("thingbuf", || across::<P, _, _>(scale, peers::thingbuf(DEPTH)))
        .contestant("async-broadcast", || {
            across::<P, _, _>(scale, peers::async_broadcast(DEPTH, 1))
        })
        .contestant("disruptor, spinning", || across::<P, _, _>(scale, peers::disruptor(DEPTH, 1)))
        .run(scale)
}

pub(super) fn batches<P: Payload>(scale: Scale) -> Table {
    Case::against("aimdb, both ends", format!("{}, in batches of 256", P::NAME))
        .contestant("aimdb, both ends", || batched::<P, _, _>(scale, peers::record(QUEUE, 1)))
        .contestant("aimdb, recv_many", || half_batched::<P, _, _>(scale, peers::record(QUEUE, 1)))
        .contestant("tokio mpsc, both ends", || {
            batched::<P, _, _>(scale, peers::reserving(DEPTH, BATCH))
        })
        .contestant("tokio mpsc, recv_many", || half_batched::<P, _, _>(scale, peers::mpsc(DEPTH)))
        .contestant("disruptor, both ends", || {
            batched::<P, _, _>(scale, peers::disruptor(DEPTH, 1))
        })
        .run(scale)
}
