//! The types of loom's shape for builds that are no model.
#![cfg_attr(
    any(aimdb_loom, feature = "std"),
    expect(dead_code, reason = "other builds have some of these types themselves")
)]

#[cfg_attr(aimdb_loom, allow(unused_imports, reason = "loom brings its own"))]
pub(crate) use atomic_waker::AtomicWaker;

/// Sequentially consistent accesses need no fence outside of loom.
#[inline(always)]
pub(crate) const fn seq_cst_for_loom() {}

#[cfg_attr(aimdb_loom, allow(unused_imports, reason = "loom brings its own"))]
pub(crate) mod atomic {
    pub(crate) use portable_atomic::{AtomicBool, AtomicUsize, Ordering, fence};

    #[cfg(not(any(feature = "std", target_has_atomic = "64")))]
    pub(crate) use super::super::halves::AtomicU64;
    #[cfg(any(feature = "std", target_has_atomic = "64"))]
    pub(crate) use portable_atomic::AtomicU64;
}

/// `core::cell::UnsafeCell` with loom's interface.
pub(crate) struct UnsafeCell<V>(core::cell::UnsafeCell<V>);

impl<V> UnsafeCell<V> {
    pub(crate) const fn new(value: V) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<O>(&self, work: impl FnOnce(*const V) -> O) -> O {
        work(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn with_mut<O>(&self, work: impl FnOnce(*mut V) -> O) -> O {
        work(self.0.get())
    }
}

/// No padding: on one core there is no false sharing.
pub(crate) struct CachePadded<V>(V);

impl<V> CachePadded<V> {
    pub(crate) const fn new(value: V) -> Self {
        Self(value)
    }
}

impl<V> core::ops::Deref for CachePadded<V> {
    type Target = V;

    #[inline(always)]
    fn deref(&self) -> &V {
        &self.0
    }
}
