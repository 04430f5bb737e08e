//! The report of a shutdown.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::error::StageFailure;
use crate::owner::StageId;

/// The result of a shutdown: elapsed time, drained values, undelivered values, stages.
///
/// [`AimDb::shutdown`](crate::AimDb::shutdown) and [`AimDb::run_until`](crate::AimDb::run_until) return it, and the
/// engine logs it. `Display` prints one line, followed by one line for each entry of the four lists.
///
/// ```
/// use aimdb_core::{AimDb, Runtime};
/// use std::time::Duration;
///
/// async fn stop<R: Runtime>(db: AimDb<R>) {
///     let report = db.shutdown(Duration::from_secs(5)).await;
///     if !report.is_clean() {
///         eprintln!("{} values are undelivered\n{report}", report.total_undelivered());
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The time from the first call to the report.
    pub elapsed: Duration,
    /// Values that taps, transforms and outbound links took after the shutdown began.
    pub drained: u64,
    /// Values that a record accepted and a stage did not process, by stage. Empty after a shutdown in time.
    pub undelivered: Vec<Undelivered>,
    /// Stages that the shutdown aborted at the deadline.
    pub aborted: Vec<StageId>,
    /// Stages that could not be aborted because they keep their thread busy.
    pub unresponsive: Vec<StageId>,
    /// Stages that failed for good, before the shutdown or during it.
    pub failures: Vec<StageFailure>,
}

/// The values of one record that one stage did not process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Undelivered {
    /// The record's key.
    pub record: String,
    /// The name of the stage that reads the record.
    pub stage: String,
    /// Values still in the buffer.
    pub unread: u64,
    /// Values in progress: the stage took them and did not ask for another value, or the link sent them and has no
    /// acknowledgement.
    pub interrupted: u64,
}

impl ShutdownReport {
    /// Whether every accepted value was processed and every stage ended by itself.
    ///
    /// Failures do not count: a stage that failed has ended by itself.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.undelivered.is_empty() && self.aborted.is_empty() && self.unresponsive.is_empty()
    }

    /// The number of undelivered values, unread and interrupted, of all stages.
    #[must_use]
    pub fn total_undelivered(&self) -> u64 {
        self.undelivered.iter().map(Undelivered::total).sum()
    }
}

impl Undelivered {
    /// The values of `record` that `stage` did not process: `unread` in the buffer, `interrupted` in progress.
    ///
    /// ```
    /// use aimdb_core::Undelivered;
    ///
    /// let undelivered = Undelivered::new("temp.indoor", "tap", 3, 1);
    /// assert_eq!(undelivered.unread + undelivered.interrupted, 4);
    /// ```
    #[must_use]
    pub fn new(
        record: impl Into<String>,
        stage: impl Into<String>,
        unread: u64,
        interrupted: u64,
    ) -> Self {
        Self { record: record.into(), stage: stage.into(), unread, interrupted }
    }

    pub(super) fn total(&self) -> u64 {
        self.unread + self.interrupted
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "shut down in {:.1?}: {} values drained, {} undelivered",
            self.elapsed,
            self.drained,
            self.total_undelivered()
        )?;
        for undelivered in &self.undelivered {
            write!(
                f,
                "\n  {} of `{}`: {} unread, {} interrupted",
                undelivered.stage, undelivered.record, undelivered.unread, undelivered.interrupted
            )?;
        }
        self.aborted.iter().try_for_each(|stage| write!(f, "\n  aborted: {stage}"))?;
        self.unresponsive.iter().try_for_each(|stage| write!(f, "\n  unresponsive: {stage}"))?;
        self.failures.iter().try_for_each(|failure| write!(f, "\n  failed: {failure}"))
    }
}
