//! The cost of observers for a writer: writes next to the same writes without an observer. The observers do not
//! read meanwhile, so that the time is the writer's alone.

use aimdb_core::{BufferCfg, Observer};

use super::same_thread::write_then_read;
use crate::kit::{Case, Run, Scale};
use crate::payload::Value;
use crate::peers;
use crate::table::Table;

pub(super) fn ring(scale: Scale) -> Table {
    observed(scale, "ring(64)", BufferCfg::SpmcRing { capacity: 64 })
}

pub(super) fn latest(scale: Scale) -> Table {
    observed(scale, "latest", BufferCfg::SingleLatest)
}

pub(super) fn queue(scale: Scale) -> Table {
    observed(scale, "queue(64)", BufferCfg::SpmcQueue { capacity: 64 })
}

pub(super) fn mailbox(scale: Scale) -> Table {
    observed(scale, "mailbox", BufferCfg::Mailbox)
}

fn observed(scale: Scale, kind: &str, buffer: BufferCfg) -> Table {
    let title = format!("same thread, try_produce + try_recv of a {kind} with observers");
    Case::against("no observer", title)
        .contestant("no observer", with_observers(scale, buffer, 0))
        .contestant("1 observer", with_observers(scale, buffer, 1))
        .contestant("100 observers", with_observers(scale, buffer, 100))
        .run(scale)
}

fn with_observers(scale: Scale, buffer: BufferCfg, observers: usize) -> impl FnMut() -> Run {
    let (record, readers) = peers::record::<Value>(buffer, 1);
    let observers: Vec<Observer<Value>> =
        (0..observers).map(|n| record.observe(&format!("observer {n}"))).collect();
    let mut run = write_then_read(scale, (record, readers));
    move || {
        let run = run();
        assert!(observers.iter().all(|observer| observer.missed() == 0), "none has seen a value");
        run
    }
}
