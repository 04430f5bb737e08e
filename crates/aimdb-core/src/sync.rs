//! The one place that knows how this build keeps threads apart.
//!
//! | build | lock | atomics | a buffer's step |
//! |---|---|---|---|
//! | `std` | `std::sync::Mutex`: threads block | the processor's | runs beside others' |
//! | no `std` | `critical_section::Mutex`: interrupts off | `portable-atomic`'s, also where there is no compare-and-swap; 64-bit words as two halves where the processor has 32 | runs inside a critical section, so that it never meets another one half-way |
//! | `--cfg aimdb_loom` | loom's | loom's | runs beside others': the models explore every interleaving |
//!
//! Everything that looks at a buffer's words is a step, or holds the [`Lock`].
//!
//! A [`Lock`] is only ever held inside the closure given to [`Lock::with`], so no guard can outlive a statement
//! or be carried over an `.await`.

#[cfg(aimdb_loom)]
mod imp {
    pub(crate) use loom::cell::UnsafeCell;

    /// Loom's atomics, with one more step before each load.
    ///
    /// Loom remembers the last access to an atomic alone. Where two threads look at a word before one of them changes it,
    /// the second look hides the first, and the order in which the change comes first is never tried. (A model that did
    /// nothing but read and write once explored a single order.) The step before a load is a change of its own, which the
    /// other thread's depends on; it is relaxed and orders nothing else.
    pub mod atomic {
        pub use loom::sync::atomic::{Ordering, fence};

        macro_rules! seen_by_loom {
            ($($name:ident: $value:ty,)*) => {$(
                #[derive(Debug)]
                #[allow(missing_docs, reason = "as loom's")]
                pub struct $name {
                    word: loom::sync::atomic::$name,
                    looks: loom::sync::atomic::AtomicUsize,
                }

                impl $name {
                    #[allow(missing_docs, reason = "as loom's")]
                    pub fn new(value: $value) -> Self {
                        let looks = loom::sync::atomic::AtomicUsize::new(0);
                        Self { word: loom::sync::atomic::$name::new(value), looks }
                    }

                    #[allow(missing_docs, reason = "as loom's")]
                    pub fn load(&self, ordering: Ordering) -> $value {
                        self.looks.fetch_add(1, Ordering::Relaxed);
                        self.word.load(ordering)
                    }
                }

                impl core::ops::Deref for $name {
                    type Target = loom::sync::atomic::$name;

                    fn deref(&self) -> &Self::Target {
                        &self.word
                    }
                }
            )*};
        }

        seen_by_loom! {
            AtomicBool: bool,
            AtomicIsize: isize,
            AtomicU64: u64,
            AtomicUsize: usize,
        }
    }

    pub(crate) struct Lock<S>(loom::sync::Mutex<S>);

    impl<S> Lock<S> {
        pub(crate) fn new(state: S) -> Self {
            Self(loom::sync::Mutex::new(state))
        }

        pub(crate) fn with<O>(&self, work: impl FnOnce(&mut S) -> O) -> O {
            work(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
        }
    }

    pub(crate) struct Step;

    impl Step {
        pub(crate) fn begin() -> Self {
            Self
        }

        pub(crate) fn end(self) {}
    }

    pub(crate) struct Spin;

    impl Spin {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn wait(&mut self) {
            loom::thread::yield_now();
        }

        pub(crate) fn is_long(&self) -> bool {
            false
        }
    }

    pub(crate) use super::plain::Padded;

    pub(crate) struct AtomicWaker(loom::future::AtomicWaker);

    impl AtomicWaker {
        pub(crate) fn new() -> Self {
            Self(loom::future::AtomicWaker::new())
        }

        pub(crate) fn register(&self, waker: &core::task::Waker) {
            self.0.register_by_ref(waker);
        }

        pub(crate) fn wake(&self) {
            self.0.wake();
        }
    }

    /// Comes behind a sequentially consistent write and before a sequentially consistent load. Loom takes both for release
    /// and acquire, but knows such a fence, which orders the two as the accesses themselves do elsewhere.
    pub(crate) fn seq_cst_for_loom() {
        atomic::fence(atomic::Ordering::SeqCst);
    }
}

#[cfg(all(feature = "std", not(aimdb_loom)))]
mod imp {
    use std::sync::{Mutex, PoisonError};

    pub(crate) use super::plain::{AtomicWaker, UnsafeCell, atomic, seq_cst_for_loom};
    pub(crate) use crossbeam_utils::CachePadded as Padded;

    pub(crate) struct Lock<S>(Mutex<S>);

    impl<S> Lock<S> {
        pub(crate) const fn new(state: S) -> Self {
            Self(Mutex::new(state))
        }

        /// A poisoned lock is entered all the same: no user code runs inside one.
        #[inline]
        pub(crate) fn with<O>(&self, work: impl FnOnce(&mut S) -> O) -> O {
            work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }

    /// A buffer's step runs beside others'.
    pub(crate) struct Step;

    impl Step {
        #[inline(always)]
        pub(crate) const fn begin() -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) const fn end(self) {}
    }

    /// Times that a spinning thread gives its processor away before it sleeps.
    const YIELDS: u32 = 64;

    /// A thread that sleeps lets a thread of lower priority run, which `yield_now` does not under a real-time policy
    /// (`SCHED_FIFO`): spinning would then wait for ever for a thread that it keeps off the processor.
    const NAP: std::time::Duration = std::time::Duration::from_micros(50);

    /// Spins a little, then gives the processor away, then sleeps in short naps.
    pub(crate) struct Spin {
        backoff: crossbeam_utils::Backoff,
        yields: u32,
    }

    impl Spin {
        #[inline]
        pub(crate) fn new() -> Self {
            Self { backoff: crossbeam_utils::Backoff::new(), yields: 0 }
        }

        #[cold]
        pub(crate) fn wait(&mut self) {
            if self.is_long() {
                return std::thread::sleep(NAP);
            }
            self.yields += u32::from(self.backoff.is_completed());
            self.backoff.snooze();
        }

        /// The wait is longer than a step without user code takes. A task goes back to its runtime instead.
        #[cold]
        pub(crate) fn is_long(&self) -> bool {
            self.yields >= YIELDS
        }
    }
}

#[cfg(not(any(feature = "std", aimdb_loom)))]
#[allow(
    unsafe_code,
    reason = "a critical section as a guard, so that values need not pass through closures"
)]
mod imp {
    use core::cell::RefCell;
    use critical_section::Mutex;

    pub(crate) use super::plain::{AtomicWaker, Padded, UnsafeCell, atomic, seq_cst_for_loom};

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

    /// A buffer's step: interrupts are off until it is dropped.
    pub(crate) struct Step {
        before: critical_section::RestoreState,
        /// Where it began is where it must end.
        _here: core::marker::PhantomData<*const ()>,
    }

    impl Step {
        #[inline]
        pub(crate) fn begin() -> Self {
            // SAFETY: the section is released once, by `drop`, with the state it was acquired with. Steps are locals
            // of functions of this crate that neither store, return nor forget them, so sections nest.
            let before = unsafe { critical_section::acquire() };
            Self { before, _here: core::marker::PhantomData }
        }

        /// Ends it before the block that it began in.
        #[inline]
        pub(crate) fn end(self) {}
    }

    impl Drop for Step {
        #[inline]
        fn drop(&mut self) {
            // SAFETY: acquired in `begin`.
            unsafe { critical_section::release(self.before) };
        }
    }

    /// Nobody is ever met half-way here, so nobody is ever waited for.
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
}

/// What has the shape of loom's types where nothing is being modelled.
#[cfg_attr(
    any(aimdb_loom, feature = "std"),
    expect(dead_code, reason = "other builds bring some of it themselves")
)]
mod plain {
    #[cfg_attr(aimdb_loom, allow(unused_imports, reason = "loom brings its own"))]
    pub(crate) use atomic_waker::AtomicWaker;

    /// Sequentially consistent accesses need no help outside of loom.
    #[inline(always)]
    pub(crate) const fn seq_cst_for_loom() {}

    #[cfg_attr(aimdb_loom, allow(unused_imports, reason = "loom brings its own"))]
    pub(crate) mod atomic {
        pub(crate) use portable_atomic::{AtomicBool, AtomicUsize, Ordering, fence};

        #[cfg(not(any(feature = "std", target_has_atomic = "64")))]
        pub(crate) use super::halves::AtomicU64;
        #[cfg(any(feature = "std", target_has_atomic = "64"))]
        pub(crate) use portable_atomic::AtomicU64;
    }

    /// A 64-bit word where the processor has 32-bit ones and buffers take their steps in critical sections.
    ///
    /// Nobody meets it half-way there, so it is two plain halves. A word that stood on its own would need a critical
    /// section for each operation, a dozen of them for one value: three quarters of what a value cost.
    #[cfg(any(test, not(any(feature = "std", target_has_atomic = "64"))))]
    mod halves {
        use portable_atomic::AtomicU32;
        use portable_atomic::Ordering::{self, Relaxed};

        pub(crate) struct AtomicU64 {
            low: AtomicU32,
            high: AtomicU32,
        }

        // The critical section orders what these do.
        impl AtomicU64 {
            pub(crate) const fn new(value: u64) -> Self {
                let (low, high) = (value as u32, (value >> 32) as u32);
                Self { low: AtomicU32::new(low), high: AtomicU32::new(high) }
            }

            #[inline(always)]
            pub(crate) fn load(&self, _: Ordering) -> u64 {
                u64::from(self.low.load(Relaxed)) | u64::from(self.high.load(Relaxed)) << 32
            }

            #[inline(always)]
            pub(crate) fn store(&self, value: u64, _: Ordering) {
                self.low.store(value as u32, Relaxed);
                self.high.store((value >> 32) as u32, Relaxed);
            }

            #[inline(always)]
            pub(crate) fn compare_exchange(
                &self,
                seen: u64,
                new: u64,
                _: Ordering,
                _: Ordering,
            ) -> Result<u64, u64> {
                let current = self.load(Relaxed);
                if current != seen {
                    return Err(current);
                }
                self.store(new, Relaxed);
                Ok(current)
            }

            #[inline(always)]
            pub(crate) fn fetch_sub(&self, less: u64, _: Ordering) -> u64 {
                let before = self.load(Relaxed);
                self.store(before.wrapping_sub(less), Relaxed);
                before
            }
        }

        #[cfg(test)]
        mod tests {
            use super::*;

            #[test]
            fn two_halves_are_one_word() {
                let word = AtomicU64::new(0xFFFF_FFFF);
                assert_eq!(word.fetch_sub(u64::MAX, Relaxed), 0xFFFF_FFFF);
                assert_eq!(word.load(Relaxed), 0x1_0000_0000);
                word.store(0x8000_0001_0000_0001, Relaxed);
                assert_eq!(
                    word.compare_exchange(1, 2, Relaxed, Relaxed),
                    Err(0x8000_0001_0000_0001)
                );
                assert_eq!(
                    word.compare_exchange(0x8000_0001_0000_0001, 7, Relaxed, Relaxed),
                    Ok(0x8000_0001_0000_0001)
                );
                assert_eq!(word.load(Relaxed), 7);
            }
        }
    }

    /// `core::cell::UnsafeCell`, opened the way loom's is.
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

    /// On one core there are no cache lines to keep apart.
    pub(crate) struct Padded<V>(V);

    impl<V> Padded<V> {
        pub(crate) const fn new(value: V) -> Self {
            Self(value)
        }
    }

    impl<V> core::ops::Deref for Padded<V> {
        type Target = V;

        #[inline(always)]
        fn deref(&self) -> &V {
            &self.0
        }
    }
}

/// Shared ownership: `alloc`'s, or `portable-atomic-util`'s where the processor has no compare-and-swap.
#[cfg(target_has_atomic = "ptr")]
pub use alloc::sync::Arc;
#[cfg(not(target_has_atomic = "ptr"))]
pub use portable_atomic_util::Arc;

#[cfg(aimdb_loom)]
pub use imp::atomic as loom_atomic;
pub(crate) use imp::{AtomicWaker, Lock, Padded, Spin, Step, UnsafeCell, atomic, seq_cst_for_loom};
