//! A 64-bit word for processors with 32-bit words, where every operation on a buffer runs inside a critical section.
//!
//! No other operation interleaves, so the word is two plain halves. A word that is atomic by itself would need a critical
//! section for each operation, a dozen of them for one value: three quarters of the cost of a value.

use portable_atomic::AtomicU32;
use portable_atomic::Ordering::{self, Relaxed};

pub(crate) struct AtomicU64 {
    low: AtomicU32,
    high: AtomicU32,
}

// The critical section orders these operations.
impl AtomicU64 {
    pub(crate) const fn new(value: u64) -> Self {
        let (low, high) = (value as u32, (value >> 32) as u32);
        Self { low: AtomicU32::new(low), high: AtomicU32::new(high) }
    }

    #[inline(always)]
    pub(crate) fn load(&self, _: Ordering) -> u64 {
        u64::from(self.low.load(Relaxed)) | u64::from(self.high.load(Relaxed)) << 32
    }

    #[inline(always)]
    pub(crate) fn store(&self, value: u64, _: Ordering) {
        self.low.store(value as u32, Relaxed);
        self.high.store((value >> 32) as u32, Relaxed);
    }

    #[inline(always)]
    pub(crate) fn compare_exchange(
        &self,
        seen: u64,
        new: u64,
        _: Ordering,
        _: Ordering,
    ) -> Result<u64, u64> {
        let current = self.load(Relaxed);
        if current != seen {
            return Err(current);
        }
        self.store(new, Relaxed);
        Ok(current)
    }

    #[inline(always)]
    pub(crate) fn fetch_sub(&self, less: u64, _: Ordering) -> u64 {
        let before = self.load(Relaxed);
        self.store(before.wrapping_sub(less), Relaxed);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_halves_are_one_word() {
        let word = AtomicU64::new(0xFFFF_FFFF);
        assert_eq!(word.fetch_sub(u64::MAX, Relaxed), 0xFFFF_FFFF);
        assert_eq!(word.load(Relaxed), 0x1_0000_0000);
        word.store(0x8000_0001_0000_0001, Relaxed);
        assert_eq!(word.compare_exchange(1, 2, Relaxed, Relaxed), Err(0x8000_0001_0000_0001));
        assert_eq!(
            word.compare_exchange(0x8000_0001_0000_0001, 7, Relaxed, Relaxed),
            Ok(0x8000_0001_0000_0001)
        );
        assert_eq!(word.load(Relaxed), 7);
    }
}
