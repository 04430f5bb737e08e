//! A database with one record, and wakers that count.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use aimdb_core::buffer::{Subscription, WaitTicket};
use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Closed, Consumer, Producer, Record};
use aimdb_testing::TestRuntime;

pub(crate) const RING: BufferCfg = BufferCfg::SpmcRing { capacity: 4 };
pub(crate) const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 4 };
pub(crate) const LATEST: BufferCfg = BufferCfg::SingleLatest;
pub(crate) const MAILBOX: BufferCfg = BufferCfg::Mailbox;

pub(crate) type Db = AimDb<TestRuntime>;

/// A record, shared if it is a mailbox.
pub(crate) fn open<T: Record>(
    cfg: BufferCfg,
) -> (Db, Producer<T, TestRuntime>, Consumer<T, TestRuntime>) {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TestRuntime::new()));
    builder.configure::<T>("record", |reg| {
        reg.buffer(cfg).shared();
    });
    let db = builder.build().unwrap();
    let (producer, consumer) = (db.producer("record").unwrap(), db.consumer("record").unwrap());
    (db, producer, consumer)
}

/// Closes every record.
pub(crate) fn close(db: &Db) {
    let mut shutdown = pin!(db.shutdown(Duration::ZERO));
    let polled = shutdown.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_ready(), "no stage has to be waited for");
}

/// Whether `work` panics.
pub(crate) fn panics<O>(work: impl FnOnce() -> O) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

/// Counts how often it is woken, and panics then if it is told to.
#[derive(Default)]
pub(crate) struct Bell {
    rung: AtomicUsize,
    breaks: AtomicBool,
}

impl Bell {
    /// How often it was woken since the last look.
    pub(crate) fn rung(&self) -> usize {
        self.rung.swap(0, SeqCst)
    }

    pub(crate) fn break_next(&self) {
        self.breaks.store(true, SeqCst);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.fetch_add(1, SeqCst);
        assert!(!self.breaks.swap(false, SeqCst), "a waker was told to panic");
    }
}

/// A place in a line, with a waker of its own.
#[derive(Default)]
pub(crate) struct Waiter {
    pub(crate) ticket: WaitTicket,
    pub(crate) bell: Arc<Bell>,
}

impl Waiter {
    pub(crate) fn read<T: Record>(&mut self, place: &Subscription<T>) -> Poll<Result<T, Closed>> {
        let waker = Waker::from(Arc::clone(&self.bell));
        place.poll_value(&mut self.ticket, &mut Context::from_waker(&waker))
    }

    pub(crate) fn write(
        &mut self,
        producer: &Producer<u64, TestRuntime>,
        value: u64,
    ) -> Poll<Result<(), Closed>> {
        let waker = Waker::from(Arc::clone(&self.bell));
        producer.poll_produce(&mut Some(value), &mut self.ticket, &mut Context::from_waker(&waker))
    }
}

/// How often each was woken since the last look.
pub(crate) fn rung<'w>(waiters: impl IntoIterator<Item = &'w Waiter>) -> Vec<usize> {
    waiters.into_iter().map(|waiter| waiter.bell.rung()).collect()
}
