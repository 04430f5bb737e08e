//! From a plan to running stages, and back to nothing.
//!
//! ```text
//! build:    plan ─▶ records and readers ─▶ one task for each stage, waiting at the gate
//! start:    gate open ─▶ stages run
//! shutdown: sources stopped ─▶ records closed, upstream first ─▶ readers drain ─▶ stages end ─▶ report
//! ```

pub(crate) mod db;
pub mod health;
pub(crate) mod inner;
pub(crate) mod lifecycle;
#[cfg(all(test, aimdb_loom))]
mod models;
pub(crate) mod notify;
mod phase;
pub(crate) mod report;
pub(crate) mod restart;
mod shutdown;
pub(crate) mod stage;
