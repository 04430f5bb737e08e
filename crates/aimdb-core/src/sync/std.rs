//! With `std`: threads block on a lock.

use std::sync::{Mutex, PoisonError};

pub(crate) use super::plain::{AtomicWaker, UnsafeCell, atomic, seq_cst_for_loom};
pub(crate) use crossbeam_utils::CachePadded;

pub(crate) struct Lock<S>(Mutex<S>);

impl<S> Lock<S> {
    pub(crate) const fn new(state: S) -> Self {
        Self(Mutex::new(state))
    }

    /// Ignores poisoning: the data is consistent after every step, so that a clock that panics spoils nothing.
    #[inline]
    pub(crate) fn with<O>(&self, work: impl FnOnce(&mut S) -> O) -> O {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// No critical section: operations of other threads run at the same time.
pub(crate) struct CriticalSection;

impl CriticalSection {
    #[inline(always)]
    pub(crate) const fn enter() -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) const fn exit(self) {}
}

/// The number of times that a spinning thread yields its processor before it sleeps.
const YIELDS: u32 = 64;

/// A sleeping thread lets a thread of lower priority run, which `yield_now` does not under a real-time policy
/// (`SCHED_FIFO`): the spinning thread would keep the thread that it waits for off the processor.
const NAP: std::time::Duration = std::time::Duration::from_micros(50);

/// Spins briefly, then yields the processor, then sleeps for short times.
pub(crate) struct Spin {
    backoff: crossbeam_utils::Backoff,
    yields: u32,
}

impl Spin {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { backoff: crossbeam_utils::Backoff::new(), yields: 0 }
    }

    #[cold]
    pub(crate) fn wait(&mut self) {
        if self.is_long() {
            return std::thread::sleep(NAP);
        }
        self.yields += u32::from(self.backoff.is_completed());
        self.backoff.snooze();
    }

    /// Whether the wait is longer than an operation without user code. A task then yields to its runtime.
    #[cold]
    pub(crate) fn is_long(&self) -> bool {
        self.yields >= YIELDS
    }
}
