//! `embassy-time`'s driver on SysTick.

use core::cell::{Cell, RefCell};
use core::task::Waker;

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;
use critical_section::Mutex;
use embassy_time_driver::{Driver, TICK_HZ};
use embassy_time_queue_utils::Queue;

/// The processor's clock, in hertz.
const CORE_HZ: u64 = 25_000_000;

struct SysTickClock {
    /// Interrupts since the start. A counter of 64 bits does not wrap.
    ticks: Mutex<Cell<u64>>,
    timers: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static CLOCK: SysTickClock = SysTickClock {
    ticks: Mutex::new(Cell::new(0)),
    timers: Mutex::new(RefCell::new(Queue::new())),
});

impl Driver for SysTickClock {
    fn now(&self) -> u64 {
        critical_section::with(|token| self.ticks.borrow(token).get())
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        // The interrupt checks all timers at every tick, so there is no alarm to set.
        critical_section::with(|token| self.timers.borrow_ref_mut(token).schedule_wake(at, waker));
    }
}

#[exception]
fn SysTick() {
    critical_section::with(|token| {
        let ticks = CLOCK.ticks.borrow(token);
        ticks.set(ticks.get() + 1);
        CLOCK.timers.borrow_ref_mut(token).next_expiration(ticks.get());
    });
}

pub(crate) fn start(syst: &mut SYST) {
    const RELOAD: u32 = (CORE_HZ / TICK_HZ - 1) as u32;
    syst.set_clock_source(SystClkSource::Core);
    syst.set_reload(RELOAD);
    syst.clear_current();
    syst.enable_counter();
    syst.enable_interrupt();
}

/// Cycles of the processor's clock since the start. With QEMU's `-icount shift=0` an instruction takes a nanosecond, so a
/// cycle of 40 ns counts 40 of them.
#[must_use]
pub fn cycles() -> u64 {
    let per_tick = CORE_HZ / TICK_HZ;
    critical_section::with(|token| {
        let before = SYST::get_current();
        let overflowed = is_pending();
        let now = if overflowed { SYST::get_current() } else { before };
        let ticks = CLOCK.ticks.borrow(token).get() + u64::from(overflowed);
        (ticks + 1) * per_tick - 1 - u64::from(now)
    })
}

/// Whether the interrupt of a tick waits to be served.
fn is_pending() -> bool {
    const PENDSTSET: u32 = 1 << 26;
    // SAFETY: every Cortex-M has this register, and a read of it has no side effect.
    let icsr = unsafe { &*cortex_m::peripheral::SCB::PTR }.icsr.read();
    icsr & PENDSTSET != 0
}
