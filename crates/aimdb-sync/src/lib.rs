//! The sync API of AimDB, for callers without async: scripts, threads, test harnesses, C and C++.
//!
//! ```
//! use std::sync::Arc;
//! use aimdb_core::{AimDbBuilder, BufferCfg};
//! use aimdb_sync::Attach;
//! use aimdb_tokio_adapter::TokioAdapter;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
//! builder.configure::<f32>("sensor.temperature", |reg| {
//!     reg.buffer(BufferCfg::SpmcRing { capacity: 10 });
//! });
//! let handle = builder.attach()?;
//!
//! let producer = handle.producer::<f32>("sensor.temperature")?;
//! let consumer = handle.consumer::<f32>("sensor.temperature")?;
//! producer.set(21.5)?;
//! assert_eq!(consumer.get()?, 21.5);
//!
//! let report = handle.detach()?;
//! assert!(report.is_clean());
//! # Ok(())
//! # }
//! ```
//!
//! The graph, the stages and the buffers are those of the async API (`build()` and `run()`); only the calling convention
//! differs.
//!
//! # Direct and queued handles
//!
//! | | direct | queued |
//! |---|---|---|
//! | made by | [`producer`](SyncHandle::producer), [`consumer`](SyncHandle::consumer) | [`producer_with_capacity`](SyncHandle::producer_with_capacity), [`consumer_with_capacity`](SyncHandle::consumer_with_capacity) |
//! | between caller and record | nothing | a channel of `n` values and a task |
//! | semantics | the buffer's own | the buffer's own, behind a queue |
//! | `set`, then `try_get` | sees the value | may see it later |
//! | a burst | meets the buffer at once | waits in its own queue |
//!
//! # Threads
//!
//! Handles are `Send + Sync`. A blocking call parks the calling thread on the wait list that tasks use too. Blocking calls
//! work in plain threads, in workers of any Tokio runtime and in `spawn_blocking`. On the database's own runtime thread
//! (in a stage, without [`workers`](AttachOptions::workers)) a call that would have to wait returns `WouldDeadlock`.
//!
//! # Memory
//!
//! A call that need not wait allocates nothing. The first call of a thread that finds no value, or no room, allocates the
//! thread's waker: once, a few words, even if its limit is zero. The thread keeps the waker, and its later waits allocate
//! nothing, with four exceptions:
//!
//! - The wait list of a record, a queue or a [`CancelToken`] grows when more threads wait than ever before. The wait list of
//!   a [`CancelToken`] is also allocated again by the first wait after each cancellation.
//! - [`wait_any`] for more than 16 consumers allocates in each call.
//! - A wait inside a wait, for instance of an iterator that [`set_many`](SyncProducer::set_many) reads from, allocates once for
//!   each outer wait.
//! - A wait of a worker of the database's runtime ([`workers`](AttachOptions::workers)) hands the worker's tasks to another
//!   thread, which Tokio may have to start.
//!
//! A thread that must not allocate during its work calls [`get_within`](SyncConsumer::get_within) with a limit of zero
//! at its start. The queue of [`producer_with_capacity`](SyncHandle::producer_with_capacity) is Tokio's channel, which
//! allocates memory for 32 values at a time and mostly reuses it.
//!
//! # Limits on waiting
//!
//! `set` and `get` wait without limit. [`set_within`](SyncProducer::set_within), [`get_within`](SyncConsumer::get_within)
//! and their siblings take a [`WaitLimit`]: a time, a deadline, a [`CancelToken`] for another thread to cancel, or both.
//! [`wait_any`] waits for the first of several consumers that has something to read.
//!
//! # Detaching
//!
//! [`detach`](SyncHandle::detach) drains queues and records, wakes every blocked call with `Closed`, joins the runtime
//! thread and returns a report. A consumer then returns the values that remain for it, and after them `Closed`.
#![forbid(unsafe_code)]

mod attach;
mod blocking;
mod blocking_source;
mod consumer;
mod error;
mod handle;
mod limit;
mod observer;
mod park;
mod producer;
mod queued;
mod runtime;
mod wait;

pub use aimdb_core::wait::CancelToken;
pub use attach::{Attach, AttachOptions};
pub use blocking::BlockingHandles;
pub use blocking_source::{BlockingSourceRun, blocking_source};
pub use consumer::{Iter, SyncConsumer};
pub use error::{DetachError, GetError, OpenError, SetError, SetManyError};
pub use handle::SyncHandle;
pub use limit::WaitLimit;
pub use observer::SyncObserver;
pub use producer::SyncProducer;
pub use wait::{WaitTicket, Waitable, wait_any};

/// The README's example, compiled and run as a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
