//! A list that stages append to and the test reads, behind the lock of this build.

use aimdb_core::Arc;
use alloc::vec::Vec;
use core::fmt;

/// A list that stages append to and the test reads.
///
/// Clones share one list.
///
/// ```
/// let seen = aimdb_testing::Recorder::new();
/// let in_the_stage = seen.clone();
/// in_the_stage.push(7);
/// assert_eq!(seen.values(), [7]);
/// ```
pub struct Recorder<T>(Arc<imp::Lock<Vec<T>>>);

impl<T> Recorder<T> {
    /// Creates an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(imp::Lock::new(Vec::new())))
    }

    /// Appends `value`.
    pub fn push(&self, value: T) {
        imp::with(&self.0, |values| values.push(value));
    }

    /// Returns the number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        imp::with(&self.0, |values| values.len())
    }

    /// Returns whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone> Recorder<T> {
    /// Returns a copy of the list, oldest value first.
    #[must_use]
    pub fn values(&self) -> Vec<T> {
        imp::with(&self.0, |values| values.clone())
    }
}

impl<T> Default for Recorder<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Recorder<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Recorder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        imp::with(&self.0, |values| fmt::Debug::fmt(values, f))
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
