//! How much of a record's history is kept.

use std::time::Duration;

/// How much of a record's history is kept: the newest values, within each limit that is set.
///
/// The limits hold after each commit; that of the age also while no value comes, to a second. A value that is no longer kept is
/// deleted, from the oldest on, and its place in the file is used again. A value with a time in the future, by a clock that was
/// wrong, keeps those behind it until then.
///
/// ```
/// use aimdb_store::Keep;
/// use std::time::Duration;
///
/// let a_month = Keep::all().age(Duration::from_secs(30 * 24 * 3600)).bytes(1 << 30);
/// assert_ne!(a_month, Keep::values(1000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Keep {
    pub(crate) age: Option<Duration>,
    pub(crate) values: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

impl Keep {
    /// Everything, until the disk is full.
    pub const fn all() -> Self {
        Self { age: None, values: None, bytes: None }
    }

    /// The last `values` values.
    pub const fn values(values: u64) -> Self {
        Self { age: None, values: Some(values), bytes: None }
    }

    /// Also no value that is older than this, by the calendar's clock.
    pub const fn age(self, age: Duration) -> Self {
        Self { age: Some(age), ..self }
    }

    /// Also no more bytes of encoded values than this; what the file adds to each is not counted.
    pub const fn bytes(self, bytes: u64) -> Self {
        Self { bytes: Some(bytes), ..self }
    }

    /// The time of the oldest value that is young enough, if there is a limit.
    pub(crate) fn oldest(&self, now: i64) -> Option<i64> {
        let age = self.age?.as_nanos().min(i64::MAX as u128) as i64;
        Some(now.saturating_sub(age))
    }

    /// Why nothing at all would be kept.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match self {
            Self { values: Some(0), .. } => Some("it keeps 0 values"),
            Self { bytes: Some(0), .. } => Some("it keeps 0 bytes"),
            Self { age: Some(Duration::ZERO), .. } => Some("it keeps values of age 0"),
            _ => None,
        }
    }
}
