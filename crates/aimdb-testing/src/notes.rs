//! What a suite's stages write down for the test to read: a list behind the lock this build has.

use aimdb_core::Arc;
use alloc::vec::Vec;
use core::fmt;

/// A list that stages append to and the test looks at. Clones are the same list.
pub struct Notes<T>(Arc<imp::Lock<Vec<T>>>);

impl<T> Notes<T> {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(imp::Lock::new(Vec::new())))
    }

    /// Appends one.
    pub fn add(&self, note: T) {
        imp::with(&self.0, |notes| notes.push(note));
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        imp::with(&self.0, |notes| notes.len())
    }
}

impl<T: Clone> Notes<T> {
    /// A copy of the list.
    #[must_use]
    pub fn all(&self) -> Vec<T> {
        imp::with(&self.0, |notes| notes.clone())
    }
}

impl<T> Default for Notes<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Notes<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Notes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        imp::with(&self.0, |notes| fmt::Debug::fmt(notes, f))
    }
}

#[cfg(feature = "std")]
mod imp {
    use std::sync::PoisonError;

    pub(super) use std::sync::Mutex as Lock;

    pub(super) fn with<S, O>(lock: &Lock<S>, work: impl FnOnce(&mut S) -> O) -> O {
        work(&mut lock.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(not(feature = "std"))]
mod imp {
    use core::cell::RefCell;

    pub(super) struct Lock<S>(critical_section::Mutex<RefCell<S>>);

    impl<S> Lock<S> {
        pub(super) const fn new(state: S) -> Self {
            Self(critical_section::Mutex::new(RefCell::new(state)))
        }
    }

    pub(super) fn with<S, O>(lock: &Lock<S>, work: impl FnOnce(&mut S) -> O) -> O {
        critical_section::with(|token| work(&mut lock.0.borrow_ref_mut(token)))
    }
}
