//! The execution context of an executor: code in one context never runs concurrently with itself.

#[cfg(feature = "std")]
mod target {
    /// A thread. A process never reuses a `ThreadId`.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) struct ExecutionContext(std::thread::ThreadId);

    impl ExecutionContext {
        pub(crate) fn current() -> Self {
            Self(std::thread::current().id())
        }
    }
}

#[cfg(not(feature = "std"))]
mod target {
    #[cfg(not(target_arch = "arm"))]
    compile_error!("the feature `cortex-m-single-core` is for Arm Cortex-M; on the host use `std`");

    /// The number of the active exception; 0 in thread mode.
    ///
    /// Each interrupt executor runs in its own exception. An exception does not interrupt itself, so two executors polled by
    /// one handler run one after the other. The number cannot distinguish the same exception on another core, nor the threads
    /// of an operating system: the feature's promise excludes both.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) struct ExecutionContext(u32);

    impl ExecutionContext {
        pub(crate) fn current() -> Self {
            let exception: u32;
            // SAFETY: the instruction reads a register that every Cortex-M has, and changes nothing.
            #[expect(unsafe_code, reason = "argued above")]
            unsafe {
                core::arch::asm!("mrs {}, IPSR", out(reg) exception, options(nomem, nostack, preserves_flags));
            }
            Self(exception)
        }
    }
}

pub(crate) use target::ExecutionContext;
