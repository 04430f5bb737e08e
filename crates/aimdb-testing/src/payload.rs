//! A value whose clones and drops are counted, and panic if they are told to.

use aimdb_core::Arc;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts the clones and the drops of its [`Counted`] values. It orders nothing between threads: an order of its own
/// would hide from a race detector that a buffer has none.
#[derive(Debug, Default)]
pub struct Census {
    made: AtomicUsize,
    cloned: AtomicUsize,
    dropped: AtomicUsize,
    panicking_clone: AtomicUsize,
    panicking_drop: AtomicUsize,
}

impl Census {
    /// A census that has seen nothing.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A value that this census counts.
    #[must_use]
    pub fn value(self: &Arc<Self>, number: u64) -> Counted {
        self.made.fetch_add(1, Relaxed);
        Counted { number, census: Arc::clone(self) }
    }

    /// How many clones were made.
    #[must_use]
    pub fn cloned(&self) -> usize {
        self.cloned.load(Relaxed)
    }

    /// How many values and clones there are now.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.made.load(Relaxed) + self.cloned() - self.dropped.load(Relaxed)
    }

    /// From now on the `nth` clone, counted from one, panics; the others do not.
    pub fn panic_in_clone(&self, nth: usize) {
        self.panicking_clone.store(nth, Relaxed);
    }

    /// From now on the `nth` drop, counted from one, panics when it has been counted; the others do not.
    pub fn panic_in_drop(&self, nth: usize) {
        self.panicking_drop.store(nth, Relaxed);
    }
}

/// Counts down, and says whether it has just come to the end.
fn is_over(count: &AtomicUsize) -> bool {
    count.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) == Ok(1)
}

/// A number that a [`Census`] follows.
#[derive(Debug)]
pub struct Counted {
    /// The number.
    pub number: u64,
    census: Arc<Census>,
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        assert!(!is_over(&self.census.panicking_clone), "a clone was told to panic");
        self.census.cloned.fetch_add(1, Relaxed);
        Self { number: self.number, census: Arc::clone(&self.census) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.census.dropped.fetch_add(1, Relaxed);
        assert!(!is_over(&self.census.panicking_drop), "a drop was told to panic");
    }
}
