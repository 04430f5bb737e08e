//! A value whose clones and drops are counted. A test may make one of them panic.

use aimdb_core::Arc;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts the clones and the drops of its [`Counted`] values.
///
/// Every access is `Relaxed`: an ordering of the counter's own would hide from a race detector that a buffer has none.
///
/// ```
/// let instances = aimdb_testing::InstanceCounter::new();
/// let value = instances.value(7);
/// drop(value.clone());
/// assert_eq!((instances.cloned(), instances.alive()), (1, 1));
/// ```
#[derive(Debug, Default)]
pub struct InstanceCounter {
    made: AtomicUsize,
    cloned: AtomicUsize,
    dropped: AtomicUsize,
    /// Clones from now on up to the one that panics; zero for none.
    panicking_clone: AtomicUsize,
    /// As `panicking_clone`, for drops.
    panicking_drop: AtomicUsize,
}

impl InstanceCounter {
    /// Creates a counter without values.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Creates a value that this counter counts.
    #[must_use]
    pub fn value(self: &Arc<Self>, number: u64) -> Counted {
        self.made.fetch_add(1, Relaxed);
        Counted { number, instances: Arc::clone(self) }
    }

    /// Returns the number of clones made.
    #[must_use]
    pub fn cloned(&self) -> usize {
        self.cloned.load(Relaxed)
    }

    /// Returns the number of values and clones that are not dropped.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.made.load(Relaxed) + self.cloned() - self.dropped.load(Relaxed)
    }

    /// Makes the `nth` clone from now on panic, counted from 1. The other clones succeed.
    pub fn panic_in_clone(&self, nth: usize) {
        self.panicking_clone.store(nth, Relaxed);
    }

    /// Makes the `nth` drop from now on panic, counted from 1. It is counted as a drop before it panics.
    pub fn panic_in_drop(&self, nth: usize) {
        self.panicking_drop.store(nth, Relaxed);
    }
}

/// Counts down. Returns whether the count has just reached zero.
fn reaches_zero(count: &AtomicUsize) -> bool {
    count.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) == Ok(1)
}

/// A number whose clones and drops an [`InstanceCounter`] counts.
#[derive(Debug)]
pub struct Counted {
    /// The number.
    pub number: u64,
    instances: Arc<InstanceCounter>,
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        assert!(!reaches_zero(&self.instances.panicking_clone), "a clone panics on purpose");
        self.instances.cloned.fetch_add(1, Relaxed);
        Self { number: self.number, instances: Arc::clone(&self.instances) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.instances.dropped.fetch_add(1, Relaxed);
        assert!(!reaches_zero(&self.instances.panicking_drop), "a drop panics on purpose");
    }
}
