//! Errors of the database as a whole. Errors of a single buffer operation are in [`buffer`](crate::buffer).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::graph::finding::Findings;
use crate::owner::Owner;

/// A result of the database.
pub type DbResult<T> = Result<T, DbError>;

/// An error of the database as a whole.
///
/// `Display` prints the problem and, on a line of its own, the remedy. `Debug` prints the same text, because that is what
/// `fn main() -> DbResult<()>` shows.
///
/// ```
/// use aimdb_core::DbError;
///
/// let error = DbError::UnknownKey { key: "tmep".into(), known: vec!["command".into(), "temp".into()] };
/// assert_eq!(
///     error.to_string(),
///     "no record has the key `tmep`\n  help: use one of the keys there are: `command`, `temp`"
/// );
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DbError {
    /// The graph is not valid. The findings are all that is wrong with it.
    Build(Findings),
    /// No record has this key.
    UnknownKey {
        /// The requested key.
        key: String,
        /// The keys of the database.
        known: Vec<String>,
    },
    /// The record holds values of another type.
    WrongType {
        /// The record's key.
        key: String,
        /// The type that the record was configured with.
        registered: &'static str,
        /// The requested type.
        requested: &'static str,
    },
    /// There is no runtime, or the runtime refused something.
    Runtime {
        /// The refusal, and the remedy.
        reason: String,
    },
    /// Stages failed and the database stopped, because the builder said so or because every source had failed.
    StagesFailed {
        /// Each stage that failed, with the cause.
        failures: Vec<StageFailure>,
    },
}

/// A stage that ended by a panic or by reporting a failure.
///
/// ```
/// use aimdb_core::{DbError, Owner};
///
/// fn print_failures(error: &DbError) {
///     let DbError::StagesFailed { failures } = error else { return eprintln!("{error}") };
///     for failure in failures {
///         match &failure.owner {
///             Owner::Connector(name) => eprintln!("check the broker of `{name}`: {}", failure.cause),
///             _ => eprintln!("{failure}"), // `sensor` of `temp.indoor`: no answer from the bus
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StageFailure {
    /// The record, connector or service that the stage belongs to.
    pub owner: Owner,
    /// The stage's name.
    pub stage: String,
    /// The panic's message or the reported reason.
    pub cause: String,
}

impl StageFailure {
    /// The failure of the stage `stage` of `owner`.
    #[must_use]
    pub fn new(owner: Owner, stage: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { owner, stage: stage.into(), cause: cause.into() }
    }
}

impl fmt::Display for StageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of `{}`: {}", self.stage, self.owner.name(), self.cause)
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(findings) => findings.fmt(f),
            Self::UnknownKey { key, known } if known.is_empty() => write!(
                f,
                "no record has the key `{key}`; the database has no records\n  help: declare it with `configure`"
            ),
            Self::UnknownKey { key, known } => write!(
                f,
                "no record has the key `{key}`\n  help: use one of the keys there are: `{}`",
                known.join("`, `")
            ),
            Self::WrongType { key, registered, requested } => write!(
                f,
                "record `{key}` holds `{registered}`, but `{requested}` was requested\n  help: request \
                 `{registered}`, or use another key"
            ),
            Self::Runtime { reason } => f.write_str(reason),
            Self::StagesFailed { failures } => {
                write!(f, "the database stopped because of failed stages")?;
                failures.iter().try_for_each(|failure| write!(f, "\n  {failure}"))
            }
        }
    }
}

impl fmt::Debug for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for DbError {}

/// Why a consumer could not subscribe.
///
/// `Debug` prints the same text as `Display`.
///
/// ```
/// # use aimdb_testing::TestRuntime;
/// use aimdb_core::{AimDbBuilder, BufferCfg, SubscribeError};
///
/// # let adapter = TestRuntime::new();
/// let mut builder = AimDbBuilder::on(adapter);
/// builder.configure::<bool>("valve.open", |reg| {
///     reg.buffer(BufferCfg::Mailbox);
/// });
/// let db = builder.build()?;
/// let commands = db.consumer::<bool>("valve.open")?;
/// let taker = commands.subscribe()?;
/// match commands.subscribe() {
///     Err(SubscribeError::Taken { taker, .. }) => assert_eq!(taker, "outside"), // not a stage
///     Err(SubscribeError::Closed { key }) => println!("{key}: too late"),
///     other => panic!("a second taker: {other:?}"),
/// }
/// drop(taker);
/// assert!(commands.subscribe().is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The database has been shut down.
    Closed {
        /// The record's key.
        key: String,
    },
    /// The record is a mailbox with a taker and was not declared shared.
    Taken {
        /// The record's key.
        key: String,
        /// The name of the taker.
        taker: String,
    },
    /// There is no memory for the values that the record's observers may be behind.
    NoMemory {
        /// The record's key.
        key: String,
        /// The size of those values.
        bytes: usize,
    },
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { key } => {
                write!(f, "cannot subscribe to `{key}`: the database has been shut down")
            }
            Self::Taken { key, taker } => write!(
                f,
                "cannot subscribe to mailbox `{key}`: `{taker}` takes its commands already\n  help: declare the record \
                 `.shared()` if several takers are meant to divide them"
            ),
            Self::NoMemory { key, bytes } => write!(
                f,
                "cannot observe `{key}`: there is no memory for {bytes} bytes of values\n  help: give the allocator more memory"
            ),
        }
    }
}

impl fmt::Debug for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for SubscribeError {}
