//! One writer and one reader, threads that block, nothing lost.

use aimdb_core::BufferCfg;

use crate::cases::sync::{across, alone, batched};
use crate::kit::{Case, Scale};
use crate::payload::Payload;
use crate::peers;
use crate::table::Table;

const DEPTH: usize = 1024;
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: DEPTH };

pub(super) fn single<P: Payload>(scale: Scale) -> Table {
    Case::against("aimdb-sync queue", format!("{}, one by one", P::NAME))
        .contestant("aimdb-sync queue", || across::<P, _, _>(scale, alone(peers::door(QUEUE))))
        .contestant("std sync_channel", || {
            across::<P, _, _>(scale, alone(peers::sync_channel(DEPTH)))
        })
        .contestant("crossbeam", || across::<P, _, _>(scale, alone(peers::crossbeam(DEPTH))))
        .contestant("flume", || across::<P, _, _>(scale, alone(peers::flume(DEPTH))))
        .contestant("kanal", || across::<P, _, _>(scale, alone(peers::kanal(DEPTH))))
        .contestant("async-channel", || {
            across::<P, _, _>(scale, alone(peers::async_channel(DEPTH)))
        })
        .contestant("disruptor, spinning", || {
            across::<P, _, _>(scale, alone(peers::disruptor(DEPTH, 1)))
        })
        .run(scale)
}

pub(super) fn batches<P: Payload>(scale: Scale) -> Table {
    Case::against("aimdb-sync, batches", format!("{}, in batches of 256", P::NAME))
        .contestant("aimdb-sync, batches", || batched::<P, _, _>(scale, alone(peers::door(QUEUE))))
        .contestant("std sync_channel", || {
            across::<P, _, _>(scale, alone(peers::sync_channel(DEPTH)))
        })
        .contestant("crossbeam", || across::<P, _, _>(scale, alone(peers::crossbeam(DEPTH))))
        .contestant("disruptor, batches", || {
            batched::<P, _, _>(scale, alone(peers::disruptor(DEPTH, 1)))
        })
        .run(scale)
}
