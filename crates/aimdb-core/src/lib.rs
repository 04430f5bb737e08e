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

mod address;
pub mod buffer;
mod builder;
mod clock;
mod context;
mod engine;
mod error;
pub mod graph;
pub mod handle;
mod key;
pub mod link;
pub mod metrics;
mod owner;
mod panic;
pub mod race;
mod record;
mod registrar;
pub mod runtime;
pub mod stages;
mod sync;
pub mod wait;
mod wiring;

pub use address::{Address, Direction};
pub use buffer::cfg::BufferCfg;
pub use buffer::error::{Closed, ProduceError, ProduceManyError, TryProduceError, TryRecvError};
pub use buffer::event::Event;
pub use builder::{AimDbBuilder, IntoRuntime, NoRuntime};
pub use clock::Instant;
pub use context::{Elapsed, Interval, Log, RuntimeContext, Time, Timeout};
pub use engine::db::AimDb;
pub use engine::health;
pub use engine::report::{ShutdownReport, Undelivered};
pub use engine::restart::Restart;
pub use error::{DbError, DbResult, StageFailure, SubscribeError};
pub use graph::finding::{Finding, Findings, Rule};
pub use graph::node::Graph;
pub use handle::consumer::Consumer;
pub use handle::producer::Producer;
pub use handle::reader::Reader;
pub use key::{Record, RecordKey};
#[cfg(feature = "json")]
pub use link::codec::Json;
#[cfg(feature = "postcard")]
pub use link::codec::Postcard;
pub use link::codec::{CodecError, Decode, Encode, Incoming, decode_with, encode_with};
pub use link::connector::Connector;
pub use link::inbound::DeadLetter;
pub use owner::{Owner, StageId};
pub use registrar::Registrar;
pub use runtime::adapter::{LogLevel, Runtime};
pub use runtime::spawn::{SendRuntime, Spawn};
pub use stages::input::{Input, input};
pub use sync::Arc;
/// Atomics for the models of crates above this one.
#[cfg(aimdb_loom)]
#[doc(hidden)]
pub use sync::loom_atomic;

#[cfg(feature = "derive")]
pub use aimdb_derive::RecordKey;
