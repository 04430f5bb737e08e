//! AimDB's contract as code that whoever implements a part of it can run.
//!
//! | suite | what it is run on | how |
//! |---|---|---|
//! | [`buffers`] | a [`Door`](buffers::Door): a way to write and read a record | [`buffer_conformance!`] |
//! | [`runtime`] | a [`Host`]: a runtime's clock, timers and log | [`runtime_conformance!`] |
//! | [`engine`] | a [`Host`]: the engine with its stages, on that runtime | [`engine_conformance!`] |
//!
//! [`auto_traits!`] is a table of what may cross threads.
//!
//! Each case is a public function named after what it promises, panics when the promise is broken, and stands in the
//! suite's `run_all` and in its macro. The macros make one `#[test]` of each case; `run_all` is for where there is no
//! test harness, as in firmware. Numbers are exact; nothing is asserted of real time but that a timer is not early.
//!
//! ```
//! mod on_the_test_runtime {
//!     use std::sync::Arc;
//!     use aimdb_testing::{TestRuntime, buffers::HandleDoor};
//!
//!     aimdb_testing::buffer_conformance!(HandleDoor(Arc::new(TestRuntime::new())));
//! }
//! ```
//!
//! [`TestRuntime`] (with `std`) runs a database on one thread with a virtual clock, in the order of wake-ups or in one
//! that a seed chooses. [`MemoryPeer`] (with `std`) is the other end of links that need no broker.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `std` (default) | [`TestRuntime`], [`MemoryPeer`], and the cases in which user code panics |
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod auto_traits;
pub mod buffers;
pub mod engine;
mod host;
#[cfg(feature = "std")]
mod memory;
mod notes;
mod payload;
pub mod runtime;
#[cfg(feature = "std")]
mod test_runtime;

pub use host::{BoxStage, Host, SourceFn, TapFn};
#[cfg(feature = "std")]
pub use memory::{Fault, MemoryConnector, MemoryPeer, PeerCounts};
pub use notes::Notes;
pub use payload::{Census, Counted};
#[cfg(feature = "std")]
pub use test_runtime::{LogLine, TestRuntime, VirtualSleep};
