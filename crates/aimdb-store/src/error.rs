//! Why a store cannot be opened, written or read.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a store cannot be opened, written or read.
///
/// ```no_run
/// use aimdb_store::{Store, StoreError};
///
/// match Store::open("plant.db") {
///     Ok(store) => println!("{}", store.status()),
///     Err(StoreError::InUse { path }) => println!("is another copy running? {}", path.display()),
///     Err(error) => println!("{error}"),
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the file open, or another store of this one.
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is no database, or one of another program.
    NotOurs {
        /// The file.
        path: PathBuf,
        /// The reason.
        found: String,
    },
    /// A newer version of this crate has written the file.
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its tables.
        version: u32,
    },
    /// The file cannot be opened.
    Open {
        /// The file.
        path: PathBuf,
        /// The operating system's or SQLite's reason.
        reason: String,
    },
    /// The storage does not do what it is asked: a full disk, a read-only file, a corrupted one.
    Storage {
        /// The storage's reason.
        reason: String,
    },
    /// A stored value does not decode.
    Decode {
        /// The record.
        key: String,
        /// The form in which it was stored.
        stored: Form,
        /// The codec's reason.
        reason: String,
    },
    /// The store has ended: its thread is gone.
    Ended,
}

/// The form of a record's stored values: the names of its type and its codec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Form {
    /// The name of the Rust type.
    pub type_name: String,
    /// The media type of the codec.
    pub codec: String,
}

impl Form {
    /// Whether values are text.
    pub(crate) fn is_json(&self) -> bool {
        self.codec.contains("json")
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` as {}", self.type_name, self.codec)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path } => write!(
                f,
                "`{}` is in use: end the other process, or open another file; to look at it use `sqlite3 -readonly`",
                path.display()
            ),
            Self::NotOurs { path, found } => {
                write!(f, "`{}` is no store of AimDB: {found}; name another file", path.display())
            }
            Self::Newer { path, version } => write!(
                f,
                "`{}` was written by a newer version of aimdb-store (tables of version {version}): use that version",
                path.display()
            ),
            Self::Open { path, reason } => {
                write!(f, "`{}` cannot be opened: {reason}", path.display())
            }
            Self::Storage { reason } => f.write_str(reason),
            Self::Decode { key, stored, reason } => {
                write!(f, "the stored value of `{key}` ({stored}) does not decode: {reason}")
            }
            Self::Ended => f.write_str("the store has ended"),
        }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    pub(crate) fn storage(reason: impl fmt::Display) -> Self {
        Self::Storage { reason: reason.to_string() }
    }
}

/// The state of a store.
///
/// ```
/// use aimdb_store::{Status, Store};
///
/// assert!(matches!(Store::in_memory().status(), Status::Good));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Status {
    /// Everything that was given to it is written, or about to be.
    Good,
    /// Its storage refuses what it is given. It is tried again; meanwhile values wait, and those that have no room are counted
    /// as gaps of their record's history.
    Failing {
        /// The last reason.
        error: Arc<StoreError>,
        /// Attempts since it last worked.
        attempts: u32,
    },
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("good"),
            Self::Failing { error, attempts } => {
                write!(f, "the storage has refused {attempts} attempts: {error}")
            }
        }
    }
}
