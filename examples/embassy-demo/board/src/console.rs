//! Text and exit status for whoever started QEMU, by semihosting. It stops the processor for each call: not for paths
//! that matter.

use core::fmt;

use cortex_m_rt::{ExceptionFrame, exception};
use cortex_m_semihosting::{hio, syscall};
use panic_semihosting as _;

/// Writes one line.
pub fn line(text: fmt::Arguments<'_>) {
    use fmt::Write;
    if let Ok(mut host) = hio::hstdout() {
        // A console that is gone is nothing a firmware can mend.
        let _ = writeln!(host, "{text}");
    }
}

/// Ends QEMU with this status.
pub fn exit(status: u32) -> ! {
    const SYS_EXIT_EXTENDED: usize = 0x20;
    const APPLICATION_EXIT: u32 = 0x2_0026;
    loop {
        // SAFETY: the call takes a pointer to these two words and does not return.
        unsafe { syscall(SYS_EXIT_EXTENDED, &[APPLICATION_EXIT, status]) };
    }
}

/// The default handler would loop for ever, and nobody would see why.
// SAFETY: prints and ends the program; it returns to nothing.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    line(format_args!("hard fault: {frame:?}"));
    exit(101)
}
