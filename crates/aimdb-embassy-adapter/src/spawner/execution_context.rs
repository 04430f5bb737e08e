//! A place that an executor never leaves, and in which code runs one after the other.

#[cfg(feature = "std")]
mod of_the_target {
    /// A thread. An id is never used twice in one process.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Place(std::thread::ThreadId);

    impl Place {
        pub(crate) fn here() -> Self {
            Self(std::thread::current().id())
        }
    }
}

#[cfg(not(feature = "std"))]
mod of_the_target {
    #[cfg(not(target_arch = "arm"))]
    compile_error!("the feature `cortex-m-single-core` is for Arm Cortex-M; on the host use `std`");

    /// The exception that is being handled, 0 for none: an interrupt executor runs in its own. An exception does not interrupt
    /// itself, so two executors that one handler polls take turns. The feature's promise excludes what a number cannot tell
    /// apart: the same exception on another core, and threads of an operating system.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Place(u32);

    impl Place {
        pub(crate) fn here() -> Self {
            let exception: u32;
            // SAFETY: reads a register that every Cortex-M has; changes nothing.
            #[expect(unsafe_code, reason = "argued above")]
            unsafe {
                core::arch::asm!("mrs {}, IPSR", out(reg) exception, options(nomem, nostack, preserves_flags));
            }
            Self(exception)
        }
    }
}

pub(crate) use of_the_target::Place;
