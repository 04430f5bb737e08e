//! `--cfg aimdb_loom`: the models explore every interleaving.

pub(crate) use loom::cell::UnsafeCell;

/// Loom's atomics, with one more operation before each load.
///
/// Loom remembers only the last access to an atomic. If two threads load a word before one of them changes it, the second
/// load hides the first, and loom never tries the order in which the change is first. (A model with one load and one store
/// explored a single order.) The operation before a load is a change of its own, on which the other thread's access depends;
/// it is relaxed and orders nothing else.
pub mod atomic {
    pub use loom::sync::atomic::{Ordering, fence};

    macro_rules! loads_seen_by_loom {
        ($($name:ident: $value:ty,)*) => {$(
            #[derive(Debug)]
            #[allow(missing_docs, reason = "as loom's")]
            pub struct $name {
                word: loom::sync::atomic::$name,
                loads: loom::sync::atomic::AtomicUsize,
            }

            impl $name {
                #[allow(missing_docs, reason = "as loom's")]
                pub fn new(value: $value) -> Self {
                    let loads = loom::sync::atomic::AtomicUsize::new(0);
                    Self { word: loom::sync::atomic::$name::new(value), loads }
                }

                #[allow(missing_docs, reason = "as loom's")]
                pub fn load(&self, ordering: Ordering) -> $value {
                    self.loads.fetch_add(1, Ordering::Relaxed);
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

    loads_seen_by_loom! {
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

pub(crate) struct CriticalSection;

impl CriticalSection {
    pub(crate) fn enter() -> Self {
        Self
    }

    pub(crate) fn exit(self) {}
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

pub(crate) use super::plain::CachePadded;

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

/// A fence between a sequentially consistent write and a sequentially consistent load. Loom treats both as release and
/// acquire, but supports this fence, which orders the two as the accesses themselves do elsewhere.
pub(crate) fn seq_cst_for_loom() {
    atomic::fence(atomic::Ordering::SeqCst);
}
