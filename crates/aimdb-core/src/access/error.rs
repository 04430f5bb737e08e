//! The refusals of an access by key.

use alloc::string::String;
use core::fmt;

use crate::buffer::error::Closed;
use crate::error::SubscribeError;
use crate::link::codec::CodecError;

/// Why an access to a record by key failed. Each variant names the record. `Debug` prints the same text as `Display`.
///
/// ```
/// use aimdb_core::access::AccessError;
///
/// let error = AccessError::NotSettable { key: "config.limits".into() };
/// assert_eq!(
///     error.to_string(),
///     "record `config.limits` is not settable\n  help: declare it with `.expose(codec).settable()`"
/// );
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessError {
    /// The record has no codec: its values cannot be shown or written.
    NotExposed {
        /// The record's key.
        key: String,
    },
    /// The record can be read and not written.
    NotSettable {
        /// The record's key.
        key: String,
    },
    /// The codec has no encoding for the value, or panicked.
    Encode {
        /// The record's key.
        key: String,
        /// The codec's report.
        error: CodecError,
    },
    /// The bytes are no value of the record, or the codec panicked.
    Decode {
        /// The record's key.
        key: String,
        /// The codec's report.
        error: CodecError,
    },
    /// The record is a queue without room. Temporary.
    Full {
        /// The record's key.
        key: String,
    },
    /// The record is closed, and for a reader: drained.
    Closed {
        /// The record's key.
        key: String,
    },
    /// The record is a mailbox that has a taker and is not shared.
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

impl AccessError {
    /// The key of the record.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::NotExposed { key }
            | Self::NotSettable { key }
            | Self::Encode { key, .. }
            | Self::Decode { key, .. }
            | Self::Full { key }
            | Self::Closed { key }
            | Self::Taken { key, .. }
            | Self::NoMemory { key, .. } => key,
        }
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key();
        match self {
            Self::NotExposed { .. } => write!(
                f,
                "record `{key}` is not exposed: it has no codec\n  help: declare it with `.expose(codec)`"
            ),
            Self::NotSettable { .. } => write!(
                f,
                "record `{key}` is not settable\n  help: declare it with `.expose(codec).settable()`"
            ),
            Self::Encode { error, .. } => {
                write!(f, "the value of record `{key}` has no encoding: {error}")
            }
            Self::Decode { error, .. } => {
                write!(f, "the bytes are no value of record `{key}`: {error}")
            }
            Self::Full { .. } => write!(
                f,
                "record `{key}` has no room: its slowest reader has not received the oldest value\n  help: try again"
            ),
            Self::Closed { .. } => {
                write!(f, "record `{key}` is closed: the database has been shut down")
            }
            Self::NoMemory { bytes, .. } => write!(
                f,
                "record `{key}` cannot be observed: there is no memory for {bytes} bytes of values\n  help: give the \
                 allocator more memory"
            ),
            Self::Taken { taker, .. } => write!(
                f,
                "record `{key}` is a mailbox, and `{taker}` takes its commands\n  help: declare it `.shared()`"
            ),
        }
    }
}

impl fmt::Debug for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The source of a closed record is [`Closed`]: a stage that returns it has ended in order.
impl core::error::Error for AccessError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        matches!(self, Self::Closed { .. }).then_some(&Closed as _)
    }
}

impl From<SubscribeError> for AccessError {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::Closed { key } => Self::Closed { key },
            SubscribeError::Taken { key, taker } => Self::Taken { key, taker },
            SubscribeError::NoMemory { key, bytes } => Self::NoMemory { key, bytes },
        }
    }
}
