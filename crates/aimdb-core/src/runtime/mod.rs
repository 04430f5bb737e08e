//! The interface between the engine and an async runtime: tasks, time and a log.
//!
//! A runtime adapter implements [`Runtime`] (a clock, a timer, log lines) and [`Spawn`] (tasks). It has no semantics of
//! its own: buffers, supervision and shutdown are part of this crate and behave the same on every runtime.
//!
//! [`Runtime`]: crate::Runtime
//! [`Spawn`]: crate::Spawn

pub(crate) mod adapter;
pub(crate) mod spawn;

pub use spawn::SpawnError;
