//! How the database is: plain data.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::error::StageFailure;
use crate::graph::node::StageRole;
use crate::metrics::BlockedWriter;
use crate::owner::{Owner, StageId};

/// Where the database is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum DbState {
    /// Built; its stages wait for `start` or `run`.
    Built,
    /// Values flow.
    Running,
    /// Sources have been stopped; what was accepted is being drained.
    Stopping,
    /// All stages have ended and all records are closed.
    Stopped,
}

/// Where a stage is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum StageState {
    /// Waits for the database to start.
    Ready,
    /// Runs.
    Running,
    /// Failed or returned, and waits for its next attempt.
    Restarting,
    /// Returned of its own accord.
    Finished,
    /// Panicked, or reported a failure and returned.
    Failed,
    /// Was ended by a shutdown.
    Stopped,
}

impl StageState {
    /// Whether it will never run again.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Stopped)
    }
}

impl fmt::Display for StageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        })
    }
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct StageHealth {
    /// The record, connector or service that it belongs to.
    pub owner: Owner,
    /// Its name.
    pub stage: String,
    /// What it does.
    pub role: StageRole,
    /// Where it is in its life.
    pub state: StageState,
    /// Why it failed, or why its last attempt did.
    pub cause: Option<String>,
    /// How often it was started again.
    pub restarts: u32,
}

impl StageHealth {
    /// The stage as reports name it.
    #[must_use]
    pub fn id(&self) -> StageId {
        StageId::new(self.owner.clone(), self.stage.as_str())
    }
}

/// A record whose writers wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BlockedRecord {
    /// The record's key.
    pub key: String,
    /// Who waits, for whom, and since when.
    pub blocked: BlockedWriter,
}

/// One link, as far as health goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LinkHealth {
    /// The record's key.
    pub key: String,
    /// The link's name, unique within its record.
    pub stage: String,
    /// The link's address.
    pub address: String,
    /// Whether its connector holds a connection that serves it.
    pub connected: bool,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// The whole database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Health {
    /// Where the database is in its life.
    pub state: DbState,
    /// Every stage, in the order of registration.
    pub stages: Vec<StageHealth>,
    /// The records whose writers wait now.
    pub blocked: Vec<BlockedRecord>,
    /// Every link.
    pub links: Vec<LinkHealth>,
}

impl Health {
    /// No stage has failed or is restarting, and every link is connected. Writers that wait are not a failure.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let stages = self
            .stages
            .iter()
            .all(|s| !matches!(s.state, StageState::Failed | StageState::Restarting));
        stages && self.links.iter().all(|link| link.connected)
    }

    /// The stages that have failed for good.
    #[must_use]
    pub fn failures(&self) -> Vec<StageFailure> {
        let failed = self.stages.iter().filter(|stage| stage.state == StageState::Failed);
        failed
            .map(|stage| StageFailure {
                owner: stage.owner.clone(),
                stage: stage.stage.clone(),
                cause: stage.cause.clone().unwrap_or_default(),
            })
            .collect()
    }

    /// The stage `stage` of the record `record`.
    #[must_use]
    pub fn stage(&self, record: &str, stage: &str) -> Option<&StageHealth> {
        self.stages
            .iter()
            .find(|known| known.owner.record() == Some(record) && known.stage == stage)
    }

    /// The connector `name`.
    #[must_use]
    pub fn connector(&self, name: &str) -> Option<&StageHealth> {
        self.stages
            .iter()
            .find(|known| matches!(&known.owner, Owner::Connector(known) if **known == *name))
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "database: {:?}", self.state)?;
        for stage in &self.stages {
            write!(f, "  {:<10} {} of {}", stage.state, stage.stage, stage.owner.name())?;
            if stage.restarts > 0 {
                write!(f, ", {} restarts", stage.restarts)?;
            }
            match &stage.cause {
                Some(cause) => writeln!(f, ": {cause}")?,
                None => writeln!(f)?,
            }
        }
        for record in &self.blocked {
            writeln!(f, "  {}: {}", record.key, record.blocked)?;
        }
        for link in &self.links {
            let state = if link.connected { "connected" } else { "not connected" };
            write!(f, "  {state} {} {}", link.key, link.address)?;
            match &link.last_error {
                Some(error) => writeln!(f, ": {error}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}
