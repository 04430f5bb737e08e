//! The AimDB engine: typed records, four buffers, a graph that is checked whole before the first message flows, and
//! supervised stages. It knows no runtime, no socket and no protocol; adapters and connectors bring those.
//!
//! A program declares *records* (a [key](RecordKey), a Rust type, a [buffer](BufferCfg)) and the async *stages* around
//! them, and hands control over:
//!
//! ```text
//!              configure()                  build()                   start()
//!  your code ─────────────▶ Graph (data) ───check──▶ Plan (valid) ─────────▶ stages, one task each
//!                                │                                              │
//!                             findings,                     source ─▶ [buffer] ─▶ tap
//!                           all at once                  link_from ─▶   │   └─▶ link_to ─▶ connector ─▶ broker
//!                                                        transform ◀────┘
//! ```
//!
//! Start with [`AimDbBuilder`]. [`Registrar`] has everything that can be said of one record, [`buffer`] compares the
//! four buffers, [`graph`] is what gets checked, [`AimDb`] is the running database, [`link`] and [`runtime`] are for
//! those who write a connector or an adapter.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `std` (default) | a lock for threads; panics are caught at the edge of a stage |
//! | `derive` (default) | `#[derive(RecordKey)]` |
//! | `json` (default) | the [`Json`] codec |
//! | `postcard` (default) | the [`Postcard`] codec |
//! | `serde` | `serde::Serialize` for the graph, metrics, health and reports |
//!
//! Features add names; they never change behaviour.
#![cfg_attr(not(feature = "std"), no_std)]
// Only `buffer::slot` and `buffer::queue` may say otherwise, and say why.
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

pub mod buffer;
mod builder;
mod context;
mod engine;
mod error;
pub mod graph;
pub mod handle;
mod key;
pub mod link;
pub mod metrics;
mod panic;
pub mod race;
mod registrar;
pub mod runtime;
mod sync;
pub mod wait;
mod wiring;

pub use buffer::{
    BufferCfg, Closed, Event, ProduceError, ProduceManyError, TryProduceError, TryRecvError,
};
pub use builder::{AimDbBuilder, NoRuntime};
pub use context::{Elapsed, Interval, Log, RuntimeContext, Time, Timeout};
pub use engine::health;
pub use engine::{AimDb, Input, Restart, ShutdownReport, Undelivered, input};
pub use error::{DbError, DbResult, StageFailure, SubscribeError};
pub use graph::{Finding, Findings, Graph, Rule};
pub use handle::{Consumer, Producer, Reader};
pub use key::{Record, RecordKey};
#[cfg(feature = "json")]
pub use link::Json;
#[cfg(feature = "postcard")]
pub use link::Postcard;
pub use link::{
    Address, CodecError, Connector, DeadLetter, Decode, Encode, Incoming, decode_with, encode_with,
};
pub use registrar::Registrar;
pub use runtime::{Instant, LogLevel, Runtime, Spawn};
pub use sync::Arc;
/// Atomics for the models of crates above this one.
#[cfg(aimdb_loom)]
#[doc(hidden)]
pub use sync::loom_atomic;

#[cfg(feature = "derive")]
pub use aimdb_derive::RecordKey;

/// Types that stand in public signatures but are never written down by hand.
pub mod stages {
    pub use crate::engine::{
        Filtered, Inputs, JoinInputs, JoinReaders, JoinStage, MapStage, Mapped, Restarting,
        Scanned, Stage, Step,
    };
}
