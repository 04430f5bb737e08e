//! One thread writes a value and reads it back.

use aimdb_core::BufferCfg;

use crate::cases::same_thread::{write_then_read, write_then_read_in_place};
use crate::kit::{Case, Run, Scale};
use crate::payload::Payload;
use crate::peers::{self, TryRead, TryWrite};
use crate::table::Table;

const CAPACITY: usize = 64;

fn against_ours<'c, P: Payload>(
    scale: Scale,
    ours: &'static str,
    others: &str,
    buffer: BufferCfg,
) -> Case<'c> {
    Case::against(ours, format!("{}: {ours} / {others}", P::NAME))
        .contestant(ours, run::<P, _, _>(scale, peers::record(buffer, 1)))
        .contestant(
            "aimdb, in place",
            write_then_read_in_place::<P>(scale, peers::record(buffer, 1)),
        )
}

fn run<P: Payload, W: TryWrite<P>, R: TryRead<P>>(
    scale: Scale,
    ends: (W, Vec<R>),
) -> impl FnMut() -> Run {
    write_then_read(scale, ends)
}

pub(super) fn ring<P: Payload>(scale: Scale) -> Table {
    let buffer = BufferCfg::SpmcRing { capacity: CAPACITY };
    against_ours::<P>(scale, "aimdb ring", "broadcast channels", buffer)
        .contestant("aimdb-sync ring", run::<P, _, _>(scale, peers::sync_record(buffer)))
        .contestant("tokio broadcast", run::<P, _, _>(scale, peers::broadcast(CAPACITY, 1)))
        .contestant(
            "async-broadcast",
            run::<P, _, _>(scale, peers::async_broadcast_overflowing(CAPACITY, 1)),
        )
        .contestant("embassy pubsub", run::<P, _, _>(scale, peers::pubsub::<P, CAPACITY, 1>()))
        .contestant("disruptor", run::<P, _, _>(scale, peers::disruptor(CAPACITY, 1)))
        .run(scale)
}

pub(super) fn latest<P: Payload>(scale: Scale) -> Table {
    against_ours::<P>(scale, "aimdb latest", "watch channels", BufferCfg::SingleLatest)
        .contestant("tokio watch", run::<P, _, _>(scale, peers::watch()))
        .contestant("embassy watch", run::<P, _, _>(scale, peers::embassy_watch()))
        .run(scale)
}

pub(super) fn queue<P: Payload>(scale: Scale) -> Table {
    let buffer = BufferCfg::SpmcQueue { capacity: CAPACITY };
    against_ours::<P>(scale, "aimdb queue", "bounded queues", buffer)
        .contestant("aimdb-sync queue", run::<P, _, _>(scale, peers::sync_record(buffer)))
        .contestant("tokio mpsc", run::<P, _, _>(scale, peers::mpsc(CAPACITY)))
        .contestant("std sync_channel", run::<P, _, _>(scale, peers::sync_channel(CAPACITY)))
        .contestant("crossbeam", run::<P, _, _>(scale, peers::crossbeam(CAPACITY)))
        .contestant("flume", run::<P, _, _>(scale, peers::flume(CAPACITY)))
        .contestant("kanal", run::<P, _, _>(scale, peers::kanal_async(CAPACITY)))
        .contestant("async-channel", run::<P, _, _>(scale, peers::async_channel(CAPACITY)))
        .contestant("thingbuf", run::<P, _, _>(scale, peers::thingbuf(CAPACITY)))
        .contestant("disruptor", run::<P, _, _>(scale, peers::disruptor(CAPACITY, 1)))
        .run(scale)
}

pub(super) fn mailbox<P: Payload>(scale: Scale) -> Table {
    against_ours::<P>(scale, "aimdb mailbox", "Mutex<Option<T>> + Notify", BufferCfg::Mailbox)
        .contestant("Mutex + Notify", run::<P, _, _>(scale, peers::notify_slot()))
        .run(scale)
}
