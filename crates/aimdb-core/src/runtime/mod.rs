//! What the engine asks of a runtime: tasks, time and a log.
//!
//! An adapter implements [`Runtime`] (a clock, a timer, a log line) and [`Spawn`] (a task). It holds no
//! semantics: buffers, supervision and shutdown live in this crate and behave alike everywhere.

pub(crate) mod adapter;
pub(crate) mod spawn;

pub use spawn::SpawnError;
