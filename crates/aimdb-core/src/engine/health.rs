//! The health of a database, as plain data.
//!
//! [`AimDb::health`](crate::AimDb::health) returns a [`Health`]: the state of the database, of every stage and link,
//! and of every record whose writers wait.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::clock::{Instant, UnixTime};
use crate::error::StageFailure;
use crate::graph::node::StageRole;
use crate::metrics::BlockedWriter;
use crate::owner::{Owner, StageId};

/// The health of a whole database at one moment.
///
/// `Display` prints one line for each entry.
///
/// ```
/// use aimdb_core::{AimDb, Runtime};
///
/// fn report<R: Runtime>(db: &AimDb<R>) {
///     let health = db.health();
///     if let Some(sensor) = health.stage("temp.indoor", "sensor") {
///         println!("{} after {} restarts", sensor.state, sensor.restarts);
///     }
///     if !health.is_healthy() {
///         eprintln!("{health}");
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Health {
    /// The time of the snapshot, by the runtime's clock, as all times in it.
    pub at: Instant,
    /// The calendar's time of the snapshot, where there is a clock for it.
    pub unix_at: Option<UnixTime>,
    /// The lifecycle state of the database.
    pub state: DbState,
    /// Every stage, in the order of registration.
    pub stages: Vec<StageHealth>,
    /// The records whose writers wait for room.
    pub blocked: Vec<BlockedRecord>,
    /// Every link, in the order of registration.
    pub links: Vec<LinkHealth>,
}

/// The lifecycle state of a database.
///
/// ```
/// use aimdb_core::health::DbState;
/// use aimdb_core::{AimDb, Runtime};
///
/// /// The status code for a load balancer's probe.
/// fn readiness<R: Runtime>(db: &AimDb<R>) -> u16 {
///     match db.health().state {
///         DbState::Running => 200,
///         _ => 503, // not started yet, or shutting down
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum DbState {
    /// The database is built; its stages wait for `start` or `run`.
    Built,
    /// The stages run.
    Running,
    /// A shutdown has begun: sources have been stopped, and the stages drain the accepted values.
    Stopping,
    /// The shutdown is complete: its report is written and all records are closed.
    Stopped,
}

/// The health of one stage.
///
/// ```
/// use aimdb_core::{AimDb, Runtime};
///
/// fn print_restarts<R: Runtime>(db: &AimDb<R>) {
///     for stage in db.health().stages.iter().filter(|stage| stage.restarts > 0) {
///         let cause = stage.cause.as_deref().unwrap_or("unknown");
///         println!("{}: {} restarts, the last one because of: {cause}", stage.id(), stage.restarts);
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StageHealth {
    /// The record, connector or service that the stage belongs to.
    pub owner: Owner,
    /// The stage's name, unique for its owner.
    pub stage: String,
    /// The stage's role in the graph.
    pub role: StageRole,
    /// The stage's lifecycle state.
    pub state: StageState,
    /// The cause of the stage's failure, or of its last attempt's.
    pub cause: Option<String>,
    /// The number of restarts, all recoveries included.
    pub restarts: u32,
}

/// The lifecycle state of a stage.
///
/// ```
/// use aimdb_core::health::StageState;
///
/// fn color(state: StageState) -> &'static str {
///     match state {
///         StageState::Running => "green",
///         StageState::Ready | StageState::Restarting => "yellow",
///         StageState::Failed => "red",
///         _ => "gray",
///     }
/// }
///
/// assert_eq!(color(StageState::Restarting), "yellow");
/// assert!(!StageState::Restarting.is_terminal());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum StageState {
    /// The stage waits for the database to start.
    Ready,
    /// The stage runs.
    Running,
    /// The stage failed or returned, and waits for its next attempt.
    Restarting,
    /// The stage returned by itself, without a failure.
    Finished,
    /// The stage panicked, or reported a failure and returned.
    Failed,
    /// The engine stopped the stage, or the runtime dropped its task.
    Stopped,
}

/// A record whose writers wait for room.
///
/// ```
/// use aimdb_core::{AimDb, Runtime};
///
/// /// The records whose writers wait, each with the name of the reader that they wait for.
/// fn bottlenecks<R: Runtime>(db: &AimDb<R>) -> Vec<(String, String)> {
///     let blocked = db.health().blocked.into_iter();
///     blocked.map(|record| (record.key, record.blocked.held_back_by)).collect()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BlockedRecord {
    /// The record's key.
    pub key: String,
    /// The waiting writers, the reader that blocks them, and the time.
    pub blocked: BlockedWriter,
}

/// The health of one link.
///
/// ```
/// use aimdb_core::{AimDb, Runtime};
///
/// fn print_offline<R: Runtime>(db: &AimDb<R>) {
///     for link in db.health().links.iter().filter(|link| !link.connected) {
///         match &link.last_error {
///             Some(error) => println!("{} is offline: {error}", link.address),
///             None => println!("{} is offline", link.address),
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LinkHealth {
    /// The record's key.
    pub key: String,
    /// The link's name, unique for its record.
    pub stage: String,
    /// The link's address.
    pub address: String,
    /// Whether the connector has a connection that serves this link.
    pub connected: bool,
    /// The link's last error. It remains after the link has recovered.
    pub last_error: Option<String>,
    /// The time of the last error.
    pub last_error_at: Option<Instant>,
    /// Whether a connection was made or a message went through since the last error. `true` without an error.
    pub last_error_is_over: bool,
}

impl Health {
    /// Whether no stage has failed or is restarting, and every link is connected.
    ///
    /// Blocked writers are not a failure.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let stages = self
            .stages
            .iter()
            .all(|s| !matches!(s.state, StageState::Failed | StageState::Restarting));
        stages && self.links.iter().all(|link| link.connected)
    }

    /// The stages that have failed for good, in the order of registration.
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

    /// Returns the stage `stage` of the record `record`, if the graph has it.
    #[must_use]
    pub fn stage(&self, record: &str, stage: &str) -> Option<&StageHealth> {
        self.stages
            .iter()
            .find(|known| known.owner.record() == Some(record) && known.stage == stage)
    }

    /// Returns the connector `name`, if the graph has it.
    #[must_use]
    pub fn connector(&self, name: &str) -> Option<&StageHealth> {
        self.stages
            .iter()
            .find(|known| matches!(&known.owner, Owner::Connector(known) if **known == *name))
    }
}

impl StageHealth {
    /// The stage's identifier, as reports name it.
    #[must_use]
    pub fn id(&self) -> StageId {
        StageId::new(self.owner.clone(), self.stage.as_str())
    }
}

impl StageState {
    /// Whether the state is final: the stage will not run again.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
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
                Some(error) if !link.last_error_is_over => writeln!(f, ": {error}")?,
                Some(error) => writeln!(f, " (last error, over: {error})")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}
