//! The one place that knows which lock this build uses.
//!
//! | build | lock |
//! |---|---|
//! | `std` | `std::sync::Mutex`: threads block |
//! | no `std` | `critical_section::Mutex`: interrupts off, so a task and an interrupt may share a record |
//! | `--cfg loom` | loom's mutex: the models explore every interleaving |
//!
//! A lock is only ever held inside the closure given to [`Lock::with`], so no guard can outlive a statement
//! or be carried over an `.await`.

#[cfg(loom)]
mod imp {
    pub(crate) struct Lock<S>(loom::sync::Mutex<S>);

    impl<S> Lock<S> {
        pub(crate) fn new(state: S) -> Self {
            Self(loom::sync::Mutex::new(state))
        }

        pub(crate) fn with<O>(&self, work: impl FnOnce(&mut S) -> O) -> O {
            work(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
        }
    }
}

#[cfg(all(feature = "std", not(loom)))]
mod imp {
    use std::sync::{Mutex, PoisonError};

    pub(crate) struct Lock<S>(Mutex<S>);

    impl<S> Lock<S> {
        pub(crate) const fn new(state: S) -> Self {
            Self(Mutex::new(state))
        }

        /// A poisoned lock is entered all the same: the only user code that runs inside one is `Clone`, and
        /// every state machine clones before it changes anything.
        #[inline]
        pub(crate) fn with<O>(&self, work: impl FnOnce(&mut S) -> O) -> O {
            work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }
}

#[cfg(not(any(feature = "std", loom)))]
mod imp {
    use core::cell::RefCell;
    use critical_section::Mutex;

    pub(crate) struct Lock<S>(Mutex<RefCell<S>>);

    impl<S> Lock<S> {
        pub(crate) const fn new(state: S) -> Self {
            Self(Mutex::new(RefCell::new(state)))
        }

        #[inline]
        pub(crate) fn with<O>(&self, work: impl FnOnce(&mut S) -> O) -> O {
            critical_section::with(|token| work(&mut self.0.borrow_ref_mut(token)))
        }
    }
}

pub(crate) use imp::Lock;
