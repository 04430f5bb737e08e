//! Embassy's executor, asleep while there is nothing to do.
//!
//! The executor of `embassy-executor`'s `executor-thread` waits for events (`WFE`). QEMU 7 implements `WFE` as a no-op, so that
//! executor would keep one of the host's cores busy.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::SeqCst;

use cortex_m::Peripherals;
use embassy_executor::{Spawner, raw};

/// Whether a task has been woken since the last poll of the executor.
static WOKEN: AtomicBool = AtomicBool::new(false);

// SAFETY: the name is `embassy-executor`'s hook, with its signature; no other executor is linked that defines it.
#[unsafe(export_name = "__pender")]
fn pend(_context: *mut ()) {
    WOKEN.store(true, SeqCst);
}

/// Starts the clock, calls `begin` to spawn the first tasks, and runs them. It does not return.
///
/// # Panics
///
/// If it is called twice.
pub fn run(begin: impl FnOnce(Spawner)) -> ! {
    let mut peripherals = Peripherals::take().expect("the executor is started once");
    let executor = raw::Executor::new(core::ptr::null_mut());
    // SAFETY: this function never returns, so the executor in its frame is never dropped or moved.
    let executor: &'static raw::Executor = unsafe { &*core::ptr::from_ref(&executor) };
    crate::clock::start(&mut peripherals.SYST);
    begin(executor.spawner());
    loop {
        // SAFETY: this is the only call of `poll`, and no task calls it, so it is not reentrant.
        unsafe { executor.poll() };
        // Interrupts are masked here. An interrupt that wakes a task after the check stays pending, and ends the `wfi`.
        cortex_m::interrupt::free(|_| {
            if !WOKEN.swap(false, SeqCst) {
                cortex_m::asm::wfi();
            }
        });
    }
}
