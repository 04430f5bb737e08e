//! A wire of two registers, in place of a network.

use core::ptr;

const DATA: *mut u32 = 0x4001_0008 as *mut u32;

/// Reads what has arrived; 0 bytes if nothing has.
pub(crate) fn read(bytes: &mut [u8]) -> usize {
    for (count, byte) in bytes.iter_mut().enumerate() {
        // SAFETY: the register can be read at any time.
        let word = unsafe { ptr::read_volatile(DATA) };
        if word > 0xff {
            return count;
        }
        *byte = word as u8;
    }
    bytes.len()
}

pub(crate) fn write(bytes: &[u8]) -> usize {
    for byte in bytes {
        // SAFETY: the register accepts any word.
        unsafe { ptr::write_volatile(DATA, u32::from(*byte)) };
    }
    bytes.len()
}
