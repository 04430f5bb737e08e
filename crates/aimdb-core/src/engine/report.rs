//! What a shutdown did.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::error::StageFailure;
use crate::owner::StageId;

/// What a shutdown did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ShutdownReport {
    /// How long it took.
    pub elapsed: Duration,
    /// Values that taps, transforms and outbound links took after the shutdown began.
    pub drained: u64,
    /// Values that were accepted and not dealt with, stage by stage. Empty after a shutdown in time.
    pub undelivered: Vec<Undelivered>,
    /// Stages that were aborted at the deadline, each as its owner and its name.
    pub aborted: Vec<StageId>,
    /// Stages that could not be aborted because they keep their thread busy.
    pub unresponsive: Vec<StageId>,
    /// Stages that had failed, at any time, for good.
    pub failures: Vec<StageFailure>,
}

/// What one stage did not get to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Undelivered {
    /// The record.
    pub record: String,
    /// The stage that should have read it.
    pub stage: String,
    /// Values still in the buffer.
    pub unread: u64,
    /// Values the stage had taken and was still busy with: handed out, but the stage never came back for another, or,
    /// for a link, sent and not acknowledged.
    pub interrupted: u64,
}

impl ShutdownReport {
    /// Everything accepted was dealt with and every stage ended by itself.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.undelivered.is_empty() && self.aborted.is_empty() && self.unresponsive.is_empty()
    }

    /// How many values were left, unread or interrupted.
    #[must_use]
    pub fn total_undelivered(&self) -> u64 {
        self.undelivered.iter().map(|left| left.unread + left.interrupted).sum()
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
        for left in &self.undelivered {
            write!(
                f,
                "\n  {} of `{}`: {} unread, {} interrupted",
                left.stage, left.record, left.unread, left.interrupted
            )?;
        }
        self.aborted.iter().try_for_each(|stage| write!(f, "\n  aborted: {stage}"))?;
        self.unresponsive.iter().try_for_each(|stage| write!(f, "\n  unresponsive: {stage}"))?;
        self.failures.iter().try_for_each(|failure| write!(f, "\n  failed: {failure}"))
    }
}
