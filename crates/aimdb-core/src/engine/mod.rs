//! The life of a database: start, supervision, shutdown.
//!
//! ```text
//! build:    plan ─▶ records and readers ─▶ one task for each stage, each waiting for the start
//! start:    the gate opens ─▶ stages run
//! shutdown: sources stop ─▶ records close, upstream first ─▶ readers drain ─▶ stages end ─▶ report
//! ```

pub(crate) mod db;
pub mod events;
pub mod health;
pub(crate) mod inner;
pub(crate) mod lifecycle;
#[cfg(all(test, aimdb_loom))]
mod models;
pub(crate) mod monitor;
pub(crate) mod notify;
pub(crate) mod report;
pub(crate) mod restart;
pub(crate) mod result;
mod shutdown;
mod shutdown_state;
pub(crate) mod stage;
