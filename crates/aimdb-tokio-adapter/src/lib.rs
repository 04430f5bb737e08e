//! The Tokio adapter of AimDB: each stage is a Tokio task, timers are Tokio's, log lines are `tracing` events.
//!
//! The adapter adds no semantics: catching panics, supervising stages and waking readers are part of `aimdb-core`, and behave the
//! same on every runtime. It works on current-thread and on multi-thread runtimes.
//!
//! ```
//! use std::sync::Arc;
//! use aimdb_core::{AimDbBuilder, BufferCfg, DbResult};
//! use aimdb_tokio_adapter::TokioAdapter;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> DbResult<()> {
//!     let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new()?));
//!     builder.configure::<u32>("counter", |reg| {
//!         reg.buffer(BufferCfg::SpmcQueue { capacity: 4 })
//!             .source(|_ctx, counter| async move {
//!                 for n in 0..10 {
//!                     counter.produce(n).await.ok();
//!                 }
//!             })
//!             .tap(|_ctx, counter| async move {
//!                 let mut reader = counter.subscribe().unwrap();
//!                 while let Ok(n) = reader.recv().await {
//!                     println!("{n}");
//!                 }
//!             });
//!     });
//!     builder.run().await
//! }
//! ```
//!
//! # Timers
//!
//! The runtime needs Tokio's timers: `enable_time`, which `#[tokio::main]` and `enable_all` include.
//!
//! # Blocking stages
//!
//! On a multi-thread runtime a stage that blocks its thread does not stop the timers of other stages: within 2 ms a watchdog
//! thread makes another worker take the timers over. The watchdog sleeps while the database is idle. A current-thread runtime
//! has no other worker, so a stage that blocks there stops all other stages.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod adapter;
#[cfg(feature = "signal")]
mod signal;
mod watchdog;

pub use adapter::TokioAdapter;
#[cfg(feature = "signal")]
pub use signal::run_until_signalled;
pub use watchdog::polls_a_stage_of;

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctest;
