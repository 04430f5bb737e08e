//! Looking at a record from a thread, without being one of its readers.

use std::fmt;
use std::time::{Duration, Instant};

use aimdb_core::{Observed, Observer, Record};

use crate::error::GetError;
use crate::limit::WaitLimit;
use crate::park;
use crate::runtime::ExecutorThread;

/// Looks at the values of a record from a thread, and changes nothing: no writer waits for it, and it takes no command.
///
/// [`SyncHandle::observe`](crate::SyncHandle::observe) returns it. The page of [`Observer`] says what an observer costs the
/// writer, and what it misses. The methods take `&mut self`: each thread that looks makes an observer of its own.
///
/// ```
/// # use std::sync::Arc;
/// # use aimdb_core::{AimDbBuilder, BufferCfg};
/// # use aimdb_tokio_adapter::TokioAdapter;
/// use aimdb_sync::{Attach, GetError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
/// # builder.configure::<u32>("pump.command", |reg| { reg.buffer(BufferCfg::Mailbox); });
/// # let handle = builder.attach()?;
/// let mut observer = handle.observe::<u32>("pump.command", "test bench")?; // a mailbox
/// handle.producer::<u32>("pump.command")?.set(7)?;
/// let seen = observer.see()?;
/// assert_eq!((seen.seq, seen.missed, *seen.value), (1, 0, 7));
/// assert_eq!(handle.consumer::<u32>("pump.command")?.get(), Ok(7), "its taker receives the command");
/// handle.detach()?;
/// assert_eq!(observer.see().unwrap_err(), GetError::Closed);
/// # Ok(())
/// # }
/// ```
pub struct SyncObserver<T: Record> {
    observer: Observer<T>,
    executor: ExecutorThread,
}

impl<T: Record> SyncObserver<T> {
    pub(crate) fn new(observer: Observer<T>, executor: ExecutorThread) -> Self {
        Self { observer, executor }
    }

    /// Returns the next value and waits for one if there is none.
    ///
    /// # Errors
    ///
    /// [`GetError::Closed`] once the database has been detached or shut down and everything has been seen;
    /// [`GetError::WouldDeadlock`] if the call would have to wait on the runtime thread.
    pub fn see(&mut self) -> Result<Observed<T>, GetError> {
        self.see_within(WaitLimit::none())
    }

    /// [`see`](Self::see), waiting no longer than `limit`. A limit of zero tries once.
    ///
    /// # Errors
    ///
    /// [`GetError::Timeout`], besides those of [`see`](Self::see).
    pub fn see_with_timeout(&mut self, limit: Duration) -> Result<Observed<T>, GetError> {
        self.see_within(WaitLimit::after(limit))
    }

    /// [`see`](Self::see), waiting within `limit`.
    ///
    /// # Errors
    ///
    /// [`GetError::Timeout`] and [`GetError::Cancelled`], besides those of [`see`](Self::see).
    pub fn see_within(&mut self, limit: WaitLimit<'_>) -> Result<Observed<T>, GetError> {
        match self.try_see() {
            // Without time to wait there is nothing to refuse.
            Err(GetError::Empty) if self.executor.is_current() => match limit.deadline() {
                Some(deadline) if deadline <= Instant::now() => Err(GetError::Timeout),
                _ => Err(GetError::WouldDeadlock),
            },
            Err(GetError::Empty) => Ok(park::block_on(limit, self.observer.see())??),
            outcome => outcome,
        }
    }

    /// Returns the next value if there is one now.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] and [`GetError::Closed`].
    pub fn try_see(&mut self) -> Result<Observed<T>, GetError> {
        Ok(self.observer.try_see()?)
    }

    /// The number of values that this observer has missed, up to the one seen last; after the end, all of them.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.observer.missed()
    }
}

impl<T: Record> fmt::Debug for SyncObserver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncObserver").field("observer", &self.observer).finish_non_exhaustive()
    }
}
