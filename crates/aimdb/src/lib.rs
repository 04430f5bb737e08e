//! AimDB: an async, in-memory, typed data plane.
#![no_std]
#![forbid(unsafe_code)]
pub use aimdb_core::*;
#[cfg(feature = "tokio")]
pub use aimdb_tokio_adapter::TokioAdapter;
