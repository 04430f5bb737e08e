//! Without `std`: a critical section for every lock and every operation on a buffer.
#![allow(
    unsafe_code,
    reason = "a critical section as a guard, so that values need not pass through closures"
)]

use core::cell::RefCell;
use critical_section::Mutex;

pub(crate) use super::plain::{AtomicWaker, CachePadded, UnsafeCell, atomic, seq_cst_for_loom};

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

/// A critical section: interrupts are off until it is dropped.
pub(crate) struct CriticalSection {
    before: critical_section::RestoreState,
    /// It must end on the thread where it began.
    _here: core::marker::PhantomData<*const ()>,
}

impl CriticalSection {
    #[inline]
    pub(crate) fn enter() -> Self {
        // SAFETY: the section is released once, by `drop`, with the state it was acquired with. Sections are locals of
        // functions of this crate that neither store, return nor forget them, so they nest.
        let before = unsafe { critical_section::acquire() };
        Self { before, _here: core::marker::PhantomData }
    }

    /// Ends it before the end of its block.
    #[inline]
    pub(crate) fn exit(self) {}
}

impl Drop for CriticalSection {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: acquired in `enter`.
        unsafe { critical_section::release(self.before) };
    }
}

/// Critical sections cannot interleave, so this never waits.
pub(crate) struct Spin;

impl Spin {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn wait(&mut self) {
        core::hint::spin_loop();
    }

    pub(crate) fn is_long(&self) -> bool {
        false
    }
}
