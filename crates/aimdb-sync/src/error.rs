//! The errors of the sync API.

use std::fmt;

use aimdb_core::{Closed, DbError, ShutdownReport, StageId, SubscribeError, TryRecvError};

use crate::limit::WaitError;

/// Why a value was not accepted. Every variant returns the value.
///
/// ```
/// use std::time::Duration;
/// use aimdb_sync::{SetError, SyncProducer};
///
/// /// Keeps an order for later if there is no room. Returns whether later orders may succeed.
/// fn submit(orders: &SyncProducer<String>, order: String, kept: &mut Vec<String>) -> bool {
///     match orders.set_with_timeout(order, Duration::from_secs(1)) {
///         Ok(()) => return true,
///         Err(SetError::Timeout(order)) => kept.push(order),
///         Err(SetError::Closed(_)) => return false,
///         Err(error) => eprintln!("{error}"),
///     }
///     true
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetError<T> {
    /// There is no room now ([`try_set`](crate::SyncProducer::try_set)).
    Full(T),
    /// There was no room in time ([`set_with_timeout`](crate::SyncProducer::set_with_timeout)).
    Timeout(T),
    /// The database has been detached or shut down; no later attempt will succeed.
    Closed(T),
    /// A [`CancelToken`](crate::CancelToken) ended the wait.
    Cancelled(T),
    /// The call would have to wait on the database's own runtime thread, which would then wait for itself.
    WouldDeadlock(T),
}

impl<T> SetError<T> {
    /// The value that was not accepted.
    #[must_use]
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value)
            | Self::Timeout(value)
            | Self::Closed(value)
            | Self::Cancelled(value)
            | Self::WouldDeadlock(value) => value,
        }
    }

    /// The same error with another value, made from this one's.
    #[must_use]
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> SetError<U> {
        match self {
            Self::Full(value) => SetError::Full(with(value)),
            Self::Timeout(value) => SetError::Timeout(with(value)),
            Self::Closed(value) => SetError::Closed(with(value)),
            Self::Cancelled(value) => SetError::Cancelled(with(value)),
            Self::WouldDeadlock(value) => SetError::WouldDeadlock(with(value)),
        }
    }

    pub(crate) fn from_wait(error: WaitError, value: T) -> Self {
        match error {
            WaitError::Timeout => Self::Timeout(value),
            WaitError::Cancelled => Self::Cancelled(value),
        }
    }

    const fn reason(&self) -> &'static str {
        match self {
            Self::Full(_) => "there is no room now",
            Self::Timeout(_) => "there was no room in time",
            Self::Closed(_) => CLOSED,
            Self::Cancelled(_) => CANCELLED,
            Self::WouldDeadlock(_) => DEADLOCK,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Full(_) => "Full",
            Self::Timeout(_) => "Timeout",
            Self::Closed(_) => "Closed",
            Self::Cancelled(_) => "Cancelled",
            Self::WouldDeadlock(_) => "WouldDeadlock",
        }
    }
}

impl<T> fmt::Debug for SetError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(..)", self.name())
    }
}

impl<T> fmt::Display for SetError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value was not accepted: ")?;
        f.write_str(self.reason())
    }
}

impl<T> std::error::Error for SetError<T> {}

/// [`set_many`](crate::SyncProducer::set_many) accepted only the first values.
///
/// ```
/// # use std::sync::Arc;
/// # use aimdb_core::{AimDbBuilder, BufferCfg};
/// # use aimdb_tokio_adapter::TokioAdapter;
/// use std::time::Duration;
/// use aimdb_sync::{Attach, SetError, WaitLimit};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
/// # builder.configure::<u32>("order", |reg| { reg.buffer(BufferCfg::queue(4)); });
/// # let handle = builder.attach()?;
/// let consumer = handle.consumer::<u32>("order")?;
/// let producer = handle.producer::<u32>("order")?; // a queue record of 4
/// let orders = [10, 11, 12, 13, 14, 15];
/// let error = producer.set_many_within(orders, WaitLimit::after(Duration::ZERO)).unwrap_err();
/// assert_eq!(error.reason, SetError::Timeout(()));
/// assert_eq!(&orders[error.accepted..], [14, 15]); // to send again later
/// # drop(consumer);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetManyError {
    /// The number of values accepted, from the first on. The others were dropped.
    pub accepted: usize,
    /// Why the next value was not accepted.
    pub reason: SetError<()>,
}

impl fmt::Display for SetManyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "only the first {} values were accepted: ", self.accepted)?;
        f.write_str(self.reason.reason())
    }
}

impl std::error::Error for SetManyError {}

/// Why a call returned no value.
///
/// ```
/// use std::time::Duration;
/// use aimdb_sync::{GetError, SyncConsumer};
///
/// /// Prints levels until the database ends, and a warning for each minute without one.
/// fn watch(levels: &SyncConsumer<f32>) -> Result<(), GetError> {
///     loop {
///         match levels.get_with_timeout(Duration::from_secs(60)) {
///             Ok(level) => println!("{level:.1}"),
///             Err(GetError::Timeout) => println!("no level for a minute"),
///             Err(GetError::Closed) => return Ok(()),
///             Err(error) => return Err(error),
///         }
///     }
/// }
/// ```
// As `TryRecvError`: a smaller one would make copies of values next to it slow.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError {
    /// There is no new value now ([`try_get`](crate::SyncConsumer::try_get)).
    Empty,
    /// There was no new value in time ([`get_with_timeout`](crate::SyncConsumer::get_with_timeout)).
    Timeout,
    /// The database has been detached or shut down, and the consumer has read everything.
    Closed,
    /// A [`CancelToken`](crate::CancelToken) ended the wait.
    Cancelled,
    /// The call would have to wait on the database's own runtime thread, which would then wait for itself.
    WouldDeadlock,
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "nothing new to read",
            Self::Timeout => "nothing new to read in time",
            Self::Closed => {
                "everything has been read, and the database has been detached or shut down"
            }
            Self::Cancelled => CANCELLED,
            Self::WouldDeadlock => DEADLOCK,
        })
    }
}

impl std::error::Error for GetError {}

impl From<Closed> for GetError {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<TryRecvError> for GetError {
    fn from(error: TryRecvError) -> Self {
        match error {
            TryRecvError::Empty => Self::Empty,
            TryRecvError::Closed => Self::Closed,
        }
    }
}

impl From<WaitError> for GetError {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Timeout => Self::Timeout,
            WaitError::Cancelled => Self::Cancelled,
        }
    }
}

const CLOSED: &str = "the database has been detached or shut down";

const CANCELLED: &str = "the wait was cancelled";

const DEADLOCK: &str = "the call would block the database's own runtime thread, which would then wait for itself; in a \
                        stage use its async handles, or attach with `AttachOptions::workers`";

/// Why a handle to a record could not be made.
///
/// ```
/// # use std::sync::Arc;
/// # use aimdb_core::{AimDbBuilder, BufferCfg};
/// # use aimdb_tokio_adapter::TokioAdapter;
/// use aimdb_core::DbError;
/// use aimdb_sync::{Attach, OpenError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
/// # builder.configure::<f32>("level.tank", |reg| { reg.buffer(BufferCfg::latest()); });
/// # let handle = builder.attach()?;
/// // The key is a user's input.
/// match handle.consumer::<f32>("level.tnak") {
///     Ok(consumer) => println!("{:?}", consumer.get()),
///     Err(OpenError::Db(DbError::UnknownKey { known, .. })) => assert_eq!(known, ["level.tank"]),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such record, or it holds another type.
    Db(DbError),
    /// The record does not accept one more reader.
    Subscribe(SubscribeError),
    /// The capacity of a queued bridge must be 1 at least.
    ZeroCapacity {
        /// The record's key.
        key: String,
    },
    /// There is no memory for the queue of a queued bridge.
    NoMemory {
        /// The record's key.
        key: String,
        /// The capacity requested, in values.
        capacity: usize,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Db(error) => error.fmt(f),
            Self::Subscribe(error) => error.fmt(f),
            Self::ZeroCapacity { key } => write!(
                f,
                "a queued bridge to `{key}` has capacity 0, expected 1 at least; request 1 or more, or use the direct \
                 `producer(key)` / `consumer(key)`"
            ),
            Self::NoMemory { key, capacity } => write!(
                f,
                "there is no memory for a queued bridge to `{key}` with a capacity of {capacity} values; request a \
                 smaller capacity"
            ),
        }
    }
}

impl fmt::Debug for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for OpenError {}

impl From<DbError> for OpenError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl From<SubscribeError> for OpenError {
    fn from(error: SubscribeError) -> Self {
        Self::Subscribe(error)
    }
}

/// Why a database could not be detached or shut down.
///
/// ```
/// use aimdb_sync::{DetachError, SyncHandle};
///
/// fn stop(handle: &SyncHandle) {
///     match handle.detach() {
///         Ok(report) => println!("{report}"),
///         Err(DetachError::Unresponsive { report, stages }) => {
///             // The threads of these stages end with the process.
///             eprintln!("{report}\nstill busy: {stages:?}");
///         }
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DetachError {
    /// Stages kept the runtime thread busy past the deadline and cannot be aborted from outside. The thread keeps running
    /// until they return.
    Unresponsive {
        /// The report of the shutdown: values lost, and the unresponsive stages.
        report: Box<ShutdownReport>,
        /// The stages that were still running, as `record/stage`.
        stages: Vec<StageId>,
    },
    /// The call was made on the database's own runtime thread, or by one of its stages, and would wait for itself.
    WouldDeadlock,
}

impl fmt::Display for DetachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresponsive { stages, .. } => {
                let stages: Vec<_> = stages.iter().map(ToString::to_string).collect();
                write!(f, "the runtime thread did not end in time: busy with {}", stages.join(", "))
            }
            Self::WouldDeadlock => f.write_str(
                "detach was called on the database's own runtime thread, or by one of its stages, and would wait for \
                 itself; a stage ends the database with `ctx.shutdown()`",
            ),
        }
    }
}

impl fmt::Debug for DetachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for DetachError {}
