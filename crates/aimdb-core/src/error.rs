//! Errors of the database as a whole. Errors of a single buffer operation live in [`buffer`](crate::buffer).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::graph::finding::Findings;
use crate::owner::Owner;

/// What the database answers with.
pub type DbResult<T> = Result<T, DbError>;

/// Why the database could not do what it was asked.
///
/// `Debug` prints the same text as `Display`, because that is what `fn main() -> DbResult<()>` shows.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DbError {
    /// The graph is not valid: everything that is wrong with it, at once.
    Build(Findings),
    /// No record has this key.
    UnknownKey {
        /// The key that was asked for.
        key: String,
        /// The keys there are.
        known: Vec<String>,
    },
    /// The record holds another type.
    WrongType {
        /// The record's key.
        key: String,
        /// The type it was registered with.
        registered: &'static str,
        /// The type that was asked for.
        requested: &'static str,
    },
    /// The runtime is not there or refused something.
    Runtime {
        /// What was refused, and what to do.
        reason: String,
    },
    /// Stages failed, and the builder said that this stops the database, or no source was left.
    StagesFailed {
        /// The stage and its cause, one for each.
        failures: Vec<StageFailure>,
    },
}

/// A stage that ended by a panic or by its own report.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct StageFailure {
    /// The record, connector or service that the stage belongs to.
    pub owner: Owner,
    /// The stage.
    pub stage: String,
    /// The panic's message or the reported reason.
    pub cause: String,
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
            Self::UnknownKey { key, known } if known.is_empty() => {
                write!(
                    f,
                    "no record `{key}`: the database has no records; register it with `configure`"
                )
            }
            Self::UnknownKey { key, known } => {
                write!(f, "no record `{key}`; there are: `{}`", known.join("`, `"))
            }
            Self::WrongType { key, registered, requested } => write!(
                f,
                "record `{key}` holds `{registered}`, but `{requested}` was asked for; ask for `{registered}` or use \
                 another key"
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
#[derive(Clone, PartialEq, Eq)]
pub enum SubscribeError {
    /// The database has been shut down.
    Closed {
        /// The record's key.
        key: String,
    },
    /// A mailbox gives each command to one taker, has one, and was not declared shared.
    Taken {
        /// The record's key.
        key: String,
        /// Who takes.
        taker: String,
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
                "cannot subscribe to mailbox `{key}`: `{taker}` takes its commands already; declare the record \
                 `.shared()` if several takers are meant to divide them"
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
