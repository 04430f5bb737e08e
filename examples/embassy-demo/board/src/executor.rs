//! Embassy's executor, asleep while there is nothing to do.
//!
//! The executor of `embassy-executor`'s `executor-thread` waits for events (`WFE`), which QEMU 7 takes for "go on": it
//! would keep one of the host's cores busy.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::SeqCst;

use cortex_m::Peripherals;
use embassy_executor::{Spawner, raw};

/// Whether a task has been woken since the executor last looked.
static WOKEN: AtomicBool = AtomicBool::new(false);

// SAFETY: the name is `embassy-executor`'s hook, with its signature; no other executor is linked that defines it.
#[unsafe(export_name = "__pender")]
fn pend(_context: *mut ()) {
    WOKEN.store(true, SeqCst);
}

/// Starts the clock, lets `begin` spawn the first tasks, and runs them for ever.
///
/// # Panics
///
/// If it is called twice.
pub fn run(begin: impl FnOnce(Spawner)) -> ! {
    let mut peripherals = Peripherals::take().expect("the executor is started once");
    let executor = raw::Executor::new(core::ptr::null_mut());
    // SAFETY: this function never returns, so what lives in it lives for ever, and never moves again.
    let executor: &'static raw::Executor = unsafe { &*core::ptr::from_ref(&executor) };
    crate::clock::start(&mut peripherals.SYST);
    begin(executor.spawner());
    loop {
        // SAFETY: called from here alone, never from within itself.
        unsafe { executor.poll() };
        // A wake-up between the look and the sleep is an interrupt that is pending, and ends the sleep.
        cortex_m::interrupt::free(|_| {
            if !WOKEN.swap(false, SeqCst) {
                cortex_m::asm::wfi();
            }
        });
    }
}
