//! The AimDB engine: an async, in-memory, typed data plane.
//!
//! The engine has typed records with four kinds of buffer, a graph that is checked as a whole before the first value
//! flows, and supervised stages. It depends on no runtime, no socket and no protocol: runtime adapters and connectors
//! provide those.
//!
//! A program declares *records* (a [key](RecordKey), a Rust type, a [buffer](BufferCfg)) and the async *stages* around
//! them, and passes control to the engine:
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
//! Start with [`AimDbBuilder`]. [`Registrar`] declares one record, [`buffer`] compares the four buffers, [`graph`]
//! describes the graph and its findings, and [`AimDb`] is the running database. Authors of connectors read [`link`],
//! authors of runtime adapters read [`runtime`].
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `std` (default) | a lock for threads; the engine catches panics of stages and codecs |
//! | `derive` (default) | `#[derive(RecordKey)]` |
//! | `json` (default) | the [`Json`] codec |
//! | `postcard` (default) | the [`Postcard`] codec |
//! | `serde` | `serde::Serialize` for the graph, metrics, health and reports |
//!
//! Features add names; they never change behaviour.
#![cfg_attr(not(feature = "std"), no_std)]
// Only `buffer::slot` and `buffer::queue` allow unsafe code; both state why.
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

pub mod access;
pub mod account;
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
pub mod loss;
pub mod metrics;
mod owner;
mod panic;
pub mod race;
mod record;
mod registrar;
pub mod runtime;
pub mod service;
pub mod stages;
mod sync;
pub mod wait;
mod wiring;

pub use access::any::{AnyObserver, AnyReader, AnyRecord};
pub use address::{Address, Direction};
pub use buffer::cfg::BufferCfg;
pub use buffer::error::{Closed, ProduceError, ProduceManyError, TryProduceError, TryRecvError};
pub use buffer::event::Event;
pub use buffer::start::Start;
pub use builder::{AimDbBuilder, IntoRuntime, NoRuntime};
pub use clock::{Instant, UnixTime};
pub use context::{Elapsed, Interval, Log, RuntimeContext, Time, Timeout};
pub use engine::db::{AimDb, WeakAimDb};
pub use engine::events;
pub use engine::health;
pub use engine::report::{ShutdownReport, Undelivered};
pub use engine::restart::Restart;
pub use engine::result::BoxError;
pub use error::{DbError, DbResult, StageFailure, SubscribeError};
pub use graph::finding::{Finding, Findings, Rule};
pub use graph::node::Graph;
pub use handle::consumer::Consumer;
pub use handle::observer::{Observed, Observer};
pub use handle::producer::Producer;
pub use handle::reader::Reader;
pub use key::{Record, RecordKey};
#[cfg(feature = "json")]
pub use link::codec::Json;
#[cfg(feature = "postcard")]
pub use link::codec::Postcard;
pub use link::codec::{
    CodecError, Decode, Encode, Incoming, MessageProperties, decode_with, encode_with,
};
pub use link::connector::Connector;
pub use link::inbound::DeadLetter;
pub use owner::{Owner, StageId};
pub use registrar::{Exposing, Registrar};
pub use runtime::adapter::{LogLevel, Runtime};
pub use runtime::spawn::{SendRuntime, Spawn};
pub use stages::input::{Input, input};
pub use stages::processor::{Output, output};
pub use sync::Arc;
/// Loom's atomics, for the models of crates that depend on this one.
#[cfg(aimdb_loom)]
#[doc(hidden)]
pub use sync::loom_atomic;

#[cfg(feature = "derive")]
pub use aimdb_derive::RecordKey;
