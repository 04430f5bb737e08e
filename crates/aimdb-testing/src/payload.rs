//! A value whose clones and drops are counted.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Counts the clones and the drops of its [`Counted`] values.
#[derive(Debug, Default)]
pub struct Census {
    made: AtomicUsize,
    cloned: AtomicUsize,
    dropped: AtomicUsize,
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
        self.made.fetch_add(1, SeqCst);
        Counted { number, census: Arc::clone(self) }
    }

    /// How many clones were made.
    #[must_use]
    pub fn cloned(&self) -> usize {
        self.cloned.load(SeqCst)
    }

    /// How many values and clones there are now.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.made.load(SeqCst) + self.cloned() - self.dropped.load(SeqCst)
    }
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
        self.census.cloned.fetch_add(1, SeqCst);
        Self { number: self.number, census: Arc::clone(&self.census) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.census.dropped.fetch_add(1, SeqCst);
    }
}
