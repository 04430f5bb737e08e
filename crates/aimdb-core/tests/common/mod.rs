//! Parts that several test files share: a database with one record, wakers that count, futures on virtual time.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Consumer, Producer, Record};
use aimdb_testing::TestRuntime;

mod future;
mod waker;

pub(crate) use future::*;
pub(crate) use waker::*;

pub(crate) const RING: BufferCfg = BufferCfg::SpmcRing { capacity: 4 };
pub(crate) const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 4 };
pub(crate) const LATEST: BufferCfg = BufferCfg::SingleLatest;
pub(crate) const MAILBOX: BufferCfg = BufferCfg::Mailbox;

pub(crate) type Db = AimDb<TestRuntime>;

/// A runtime with a virtual clock, and a builder on it.
pub(crate) fn builder() -> (Arc<TestRuntime>, AimDbBuilder<TestRuntime>) {
    let runtime = Arc::new(TestRuntime::new());
    (Arc::clone(&runtime), AimDbBuilder::new().runtime(runtime))
}

/// A database with one record and no stages. The record is shared, so a mailbox may have several takers.
pub(crate) fn open<T: Record>(
    cfg: BufferCfg,
) -> (Db, Producer<T, TestRuntime>, Consumer<T, TestRuntime>) {
    let (_, mut builder) = builder();
    builder.configure::<T>("record", |reg| {
        reg.buffer(cfg).shared();
    });
    let db = builder.build().unwrap();
    let (producer, consumer) = (db.producer("record").unwrap(), db.consumer("record").unwrap());
    (db, producer, consumer)
}

/// Closes every record of a database that has no running stage.
pub(crate) fn close(db: &Db) {
    let polled = poll_once(db.shutdown(Duration::ZERO), Waker::noop());
    assert!(polled.is_ready(), "the shutdown waits for a stage");
}

/// Whether `work` panics.
pub(crate) fn panics<O>(work: impl FnOnce() -> O) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}
