//! One writer and one reader, threads that block, nothing lost.

use aimdb_core::BufferCfg;

use crate::cases::sync::{single_reader, transfer, transfer_batches};
use crate::kit::{Case, Scale};
use crate::payload::{Payload, Value};
use crate::peers;
use crate::table::Table;

const DEPTH: usize = 1024;
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: DEPTH };

pub(super) fn single<P: Payload>(scale: Scale) -> Table {
    Case::against("aimdb-sync queue", format!("{}, one by one", P::NAME))
        .contestant("aimdb-sync queue", || {
            transfer::<P, _, _>(scale, single_reader(peers::sync_record(QUEUE)))
        })
        .contestant("std sync_channel", || {
            transfer::<P, _, _>(scale, single_reader(peers::sync_channel(DEPTH)))
        })
        .contestant("crossbeam", || {
            transfer::<P, _, _>(scale, single_reader(peers::crossbeam(DEPTH)))
        })
        .contestant("flume", || transfer::<P, _, _>(scale, single_reader(peers::flume(DEPTH))))
        .contestant("kanal", || transfer::<P, _, _>(scale, single_reader(peers::kanal(DEPTH))))
        .contestant("async-channel", || {
            transfer::<P, _, _>(scale, single_reader(peers::async_channel(DEPTH)))
        })
        .contestant("disruptor, spinning", || {
            transfer::<P, _, _>(scale, single_reader(peers::disruptor(DEPTH, 1)))
        })
        .contestant("limit: one cache line a value of 32 B", || {
            transfer::<Value, _, _>(scale, single_reader(peers::lines(DEPTH, 1)))
        })
        .run(scale)
}

pub(super) fn batches<P: Payload>(scale: Scale) -> Table {
    Case::against("aimdb-sync, batches", format!("{}, in batches of 256", P::NAME))
        .contestant("aimdb-sync, batches", || {
            transfer_batches::<P, _, _>(scale, single_reader(peers::sync_record(QUEUE)))
        })
        .contestant("std sync_channel", || {
            transfer::<P, _, _>(scale, single_reader(peers::sync_channel(DEPTH)))
        })
        .contestant("crossbeam", || {
            transfer::<P, _, _>(scale, single_reader(peers::crossbeam(DEPTH)))
        })
        .contestant("disruptor, batches", || {
            transfer_batches::<P, _, _>(scale, single_reader(peers::disruptor(DEPTH, 1)))
        })
        .run(scale)
}
