//! Text and exit status for the process that started QEMU, by semihosting. Each call stops the processor, so it does not
//! belong in time-critical code.

use core::fmt;

use cortex_m_rt::{ExceptionFrame, exception};
use cortex_m_semihosting::{hio, syscall};
use panic_semihosting as _;

/// Writes one line.
pub fn line(text: fmt::Arguments<'_>) {
    use fmt::Write;
    if let Ok(mut host) = hio::hstdout() {
        // The firmware cannot repair a closed console, so the error is ignored.
        let _ = writeln!(host, "{text}");
    }
}

/// Ends QEMU with this status.
pub fn exit(status: u32) -> ! {
    const SYS_EXIT_EXTENDED: usize = 0x20;
    const APPLICATION_EXIT: u32 = 0x2_0026;
    loop {
        // SAFETY: the call reads these two words and does not return.
        unsafe { syscall(SYS_EXIT_EXTENDED, &[APPLICATION_EXIT, status]) };
    }
}

/// Prints the frame and ends QEMU. The default handler would loop without a message.
// SAFETY: the handler does not return to the code that faulted.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    line(format_args!("hard fault: {frame:?}"));
    exit(101)
}
