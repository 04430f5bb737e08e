//! The blocking door to AimDB, for callers without async: scripts, threads, test harnesses, C and C++.
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
//! The graph, the stages and the buffers are those of `build()` and `run()`; only the calling convention differs.
//!
//! # Two bridges
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
//! Handles are `Send + Sync`. Blocking calls park the calling thread on the same wait list on which tasks wait; they
//! work in plain threads, in workers of any Tokio runtime and in `spawn_blocking`. On the database's own runtime thread
//! (in a stage, without [`workers`](AttachOptions::workers)) a call that would have to wait is refused with
//! `WouldDeadlock`.
//!
//! # Memory
//!
//! A call that need not wait allocates nothing. The first call of a thread that finds nothing to take, or no room, allocates
//! what the thread is woken with: once, a few words, even if its limit is zero. The thread keeps it, and its later waits
//! allocate nothing, with four exceptions:
//!
//! - The line of those who wait for one thing (a record, a queue, a [`CancelToken`]) grows when more threads wait than ever before,
//!   and the line of a [`CancelToken`] is made anew by the first wait after each cancellation.
//! - [`wait_any`] for more than 16 consumers allocates in each call.
//! - A wait inside a wait, for instance of an iterator that [`set_many`](SyncProducer::set_many) reads from, allocates once for
//!   each outer wait.
//! - A wait of a worker of the database's runtime ([`workers`](AttachOptions::workers)) hands the worker's tasks to another
//!   thread, which Tokio may have to start.
//!
//! A thread that must not allocate while it does its work calls [`get_within`](SyncConsumer::get_within) with a limit of zero
//! at its start. A queue of [`producer_with_capacity`](SyncHandle::producer_with_capacity) is Tokio's channel, which takes
//! memory for 32 values at a time and mostly uses it again.
//!
//! # How long to wait
//!
//! `set` and `get` wait as long as it takes. [`set_within`](SyncProducer::set_within), [`get_within`](SyncConsumer::get_within)
//! and their like wait within a [`WaitLimit`]: a time, a deadline, or until another thread [cancels](CancelToken) them. [`wait_any`]
//! waits for the first of several consumers that has something to read.
//!
//! # The end
//!
//! [`detach`](SyncHandle::detach) drains queues and records, wakes every blocked call with `Closed`, joins the runtime
//! thread and reports. Consumers then get what is left and after that `Closed`.
#![forbid(unsafe_code)]

mod attach;
mod consumer;
mod error;
mod handle;
mod limit;
mod owned;
mod park;
mod producer;
mod queued;
mod wait;

pub use aimdb_core::wait::CancelToken;
pub use attach::{Attach, AttachOptions};
pub use consumer::{Iter, SyncConsumer};
pub use error::{DetachError, GetError, OpenError, SetError, SetManyError};
pub use handle::SyncHandle;
pub use limit::WaitLimit;
pub use producer::SyncProducer;
pub use wait::{WaitTicket, Waitable, wait_any};
