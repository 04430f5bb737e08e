//! How this build keeps threads apart. No other module of the crate chooses its locks and atomics by the build.
//!
//! Outside of this module a `cfg` for the build is rare: `panic` catches panics with `std` only, `graph::location`,
//! `graph::sort` and `link::codec` differ without `std`, `buffer::{buffer, subscription}` inline with `std` only, and
//! `buffer::ring` pauses its writers earlier under loom.
//!
//! | build | lock | atomics | an operation on a buffer |
//! |---|---|---|---|
//! | `std` | `std::sync::Mutex`: threads block | the processor's | runs in parallel with others |
//! | no `std` | `critical_section::Mutex`: interrupts off | `portable-atomic`'s, also without compare-and-swap; 64-bit words as two halves where the processor has 32 bits | runs inside a [`CriticalSection`], so that no other operation interleaves |
//! | `--cfg aimdb_loom` | loom's | loom's | runs in parallel with others: the models explore every interleaving |
//!
//! Every access to the words of a buffer is inside a [`CriticalSection`] or under a [`Lock`].
//!
//! A [`Lock`] is held only inside the closure given to [`Lock::with`], so no guard can outlive a statement or be carried
//! over an `.await`.

#[cfg(any(test, not(any(feature = "std", target_has_atomic = "64"))))]
mod halves;
#[cfg(not(any(feature = "std", aimdb_loom)))]
#[path = "critical_section.rs"]
mod imp;
#[cfg(all(feature = "std", not(aimdb_loom)))]
#[path = "std.rs"]
mod imp;
#[cfg(aimdb_loom)]
#[path = "loom.rs"]
mod imp;
mod plain;

/// Shared ownership: `alloc`'s, or `portable-atomic-util`'s where the processor has no compare-and-swap.
#[cfg(target_has_atomic = "ptr")]
pub use alloc::sync::Arc;
#[cfg(target_has_atomic = "ptr")]
pub(crate) use alloc::sync::Weak;
#[cfg(not(target_has_atomic = "ptr"))]
pub use portable_atomic_util::Arc;
#[cfg(not(target_has_atomic = "ptr"))]
pub(crate) use portable_atomic_util::Weak;

#[cfg(aimdb_loom)]
pub use imp::atomic as loom_atomic;
pub(crate) use imp::{
    AtomicWaker, CachePadded, CriticalSection, Lock, Spin, UnsafeCell, atomic, seq_cst_for_loom,
};
