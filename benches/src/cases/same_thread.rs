//! One thread writes a value and reads it back: the cost of the data structure alone.

use std::hint::black_box;

use aimdb_core::{BufferCfg, Reader};

use crate::kit::{Case, Run, Scale, time};
use crate::payload::{Payload, Value};
use crate::peers::{self, TryRead, TryWrite};
use crate::table::Table;

const CAPACITY: usize = 1024;

pub(super) fn ring(scale: Scale) -> Table {
    Case::against("broadcast", "same thread, try_produce + try_recv: ring(1024) / broadcast(1024)")
        .contestant(
            "broadcast",
            write_then_read::<Value, _, _>(scale, peers::broadcast(CAPACITY, 1)),
        )
        .contestant(
            "aimdb ring",
            write_then_read::<Value, _, _>(
                scale,
                peers::record(BufferCfg::SpmcRing { capacity: CAPACITY }, 1),
            ),
        )
        .run(scale)
}

pub(super) fn latest(scale: Scale) -> Table {
    Case::against("watch", "same thread, try_produce + try_recv: latest / watch")
        .contestant("watch", write_then_read::<Value, _, _>(scale, peers::watch()))
        .contestant(
            "aimdb latest",
            write_then_read::<Value, _, _>(scale, peers::record(BufferCfg::SingleLatest, 1)),
        )
        .run(scale)
}

pub(super) fn queue(scale: Scale) -> Table {
    Case::against("mpsc", "same thread, try_produce + try_recv: queue(1024) / mpsc(1024)")
        .contestant("mpsc", write_then_read::<Value, _, _>(scale, peers::mpsc(CAPACITY)))
        .contestant(
            "aimdb queue",
            write_then_read::<Value, _, _>(
                scale,
                peers::record(BufferCfg::SpmcQueue { capacity: CAPACITY }, 1),
            ),
        )
        .run(scale)
}

pub(super) fn mailbox(scale: Scale) -> Table {
    Case::against(
        "Mutex + Notify",
        "same thread, try_produce + try_recv: mailbox / Mutex<Option<T>> + Notify",
    )
    .contestant("Mutex + Notify", write_then_read::<Value, _, _>(scale, peers::notify_slot()))
    .contestant(
        "aimdb mailbox",
        write_then_read::<Value, _, _>(scale, peers::record(BufferCfg::Mailbox, 1)),
    )
    .run(scale)
}

/// Writes a value and reads it back, repeatedly.
pub fn write_then_read<P: Payload, W: TryWrite<P>, R: TryRead<P>>(
    scale: Scale,
    (mut writer, mut readers): (W, Vec<R>),
) -> impl FnMut() -> Run {
    let operations = scale.operations(500_000);
    move || {
        let reader = &mut readers[0];
        let elapsed = time(|| {
            for n in 0..operations {
                writer.try_write(given(n));
                black_box(reader.try_read().map(|value| value.digest()));
            }
        });
        Run::new(operations, elapsed)
    }
}

/// [`write_then_read`] without copies: the value is made in its place, and read there.
pub(super) fn write_then_read_in_place<P: Payload>(
    scale: Scale,
    (record, mut readers): (peers::Record<P>, Vec<Reader<P>>),
) -> impl FnMut() -> Run {
    let operations = scale.operations(500_000);
    move || {
        let reader = &mut readers[0];
        let elapsed = time(|| {
            for n in 0..operations {
                record.try_write_with(|| P::new(black_box(n)));
                black_box(reader.try_recv_with(P::digest).expect("a value"));
            }
        });
        Run::new(operations, elapsed)
    }
}

/// A value to write. A small one is in registers. A large one is in memory that the compiler knows nothing of, as one that
/// comes from a device: otherwise it builds the value in the slot of one contestant, and copies it into that of another.
#[inline]
fn given<P: Payload>(n: u64) -> P {
    let value = P::new(black_box(n));
    if size_of::<P>() > 64 { black_box(value) } else { value }
}
