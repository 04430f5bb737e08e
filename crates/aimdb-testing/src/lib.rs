//! Conformance suites for runtime adapters, connectors and record APIs, and a runtime with a virtual clock.
//!
//! | suite | subject | macro |
//! |---|---|---|
//! | [`buffers`] | a [`RecordApi`](buffers::RecordApi): a way to write and read a record | [`buffer_conformance!`] |
//! | [`runtime`] | a [`Host`]: a runtime's clock, timers and log | [`runtime_conformance!`] |
//! | [`engine`] | a [`Host`]: the engine with its stages, on that runtime | [`engine_conformance!`] |
//! | [`connectors`] (with `std`) | a [`Subject`](connectors::Subject): a connector and its peer | [`connector_conformance!`] |
//!
//! [`auto_traits!`] is a table of the auto traits that types promise.
//!
//! Each case is a public function named after its promise. It panics if the promise is broken. The macros expand to one
//! `#[test]` for each case; each suite's `run_all` is for places without a test harness, such as firmware. Numbers are
//! exact. No case asserts how much real time has passed, except that a timer is not early, and that a connector resumes and
//! ends within bounds that a loaded machine meets.
//!
//! ```
//! mod on_the_test_runtime {
//!     use std::sync::Arc;
//!     use aimdb_testing::{TestRuntime, buffers::AsyncApi};
//!
//!     aimdb_testing::buffer_conformance!(AsyncApi(Arc::new(TestRuntime::new())));
//! }
//! ```
//!
//! [`TestRuntime`] (with `std`) runs a database on one thread with a virtual clock, in the order of wake-ups or in an
//! order that a seed chooses. [`MemoryPeer`] (with `std`) is the remote end of links that need no broker.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `std` (default) | [`connectors`], [`TestRuntime`], [`MemoryPeer`], and the cases in which user code panics |
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod auto_traits;
pub mod buffers;
#[cfg(feature = "std")]
pub mod connectors;
mod counted;
pub mod engine;
mod host;
#[cfg(feature = "std")]
mod memory;
mod recorder;
pub mod runtime;
#[cfg(feature = "std")]
mod test_runtime;

pub use counted::{Counted, InstanceCounter};
pub use host::{BoxStage, Host, SourceFn, TapFn};
#[cfg(feature = "std")]
pub use memory::{Fault, MemoryConnector, MemoryPeer, PeerCounts};
pub use recorder::Recorder;
#[cfg(feature = "std")]
pub use test_runtime::{LogLine, TestRuntime, VirtualSleep};

/// The README's program, compiled.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct Readme;
