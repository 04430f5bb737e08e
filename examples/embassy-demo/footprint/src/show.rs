//! The output.

use core::ptr;

/// Writes to the machine's general-purpose outputs, so that the compiler cannot remove the value.
pub(crate) fn show(value: u32) {
    const OUTPUTS: *mut u32 = 0x4001_0004 as *mut u32;
    // SAFETY: the register accepts any word.
    unsafe { ptr::write_volatile(OUTPUTS, value) };
}
