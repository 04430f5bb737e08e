//! Conversion between `embassy-time`'s ticks and the engine's nanoseconds.

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Converts ticks to nanoseconds, rounding down. The result saturates at the end of the engine's clock, after 584 years.
pub(crate) const fn to_nanos(ticks: u64, hz: u64) -> u64 {
    scale(ticks, NANOS_PER_SECOND, hz, false)
}

/// Converts nanoseconds to ticks, rounding up: a timer must not be early.
pub(crate) const fn from_nanos(nanos: u64, hz: u64) -> u64 {
    scale(nanos, hz, NANOS_PER_SECOND, true)
}

/// Returns `count * times / per`, saturating.
const fn scale(count: u64, times: u64, per: u64, round_up: bool) -> u64 {
    // For the usual rates one of the two numbers divides the other, and 64-bit arithmetic suffices. A microcontroller needs
    // about a hundred cycles for the 128-bit division.
    if times.is_multiple_of(per) {
        return count.saturating_mul(times / per);
    }
    if per.is_multiple_of(times) {
        let step = per / times;
        return if round_up { count.div_ceil(step) } else { count / step };
    }
    let product = count as u128 * times as u128;
    let scaled = if round_up { product.div_ceil(per as u128) } else { product / per as u128 };
    if scaled > u64::MAX as u128 { u64::MAX } else { scaled as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Rates that divide 10⁹, rates that do not, and a rate above it.
    const RATES: [u64; 7] = [1, 1_000, 32_768, 1_000_000, 64_000_000, 1_000_000_000, 2_000_000_000];

    #[test]
    fn a_millisecond_is_a_million_nanoseconds() {
        assert_eq!(to_nanos(7, 1_000), 7_000_000);
        assert_eq!(from_nanos(7_000_000, 1_000), 7);
        assert_eq!(from_nanos(7_000_001, 1_000), 8);
    }

    #[test]
    fn a_tick_of_a_watch_crystal_lasts_thirty_microseconds() {
        assert_eq!(to_nanos(1, 32_768), 30_517);
        assert_eq!(to_nanos(32_768, 32_768), NANOS_PER_SECOND);
    }

    #[test]
    fn the_clock_saturates_at_its_end_instead_of_wrapping() {
        for hz in [1, 1_000, 32_768, 1_000_000] {
            assert_eq!(to_nanos(u64::MAX, hz), u64::MAX);
            assert!(to_nanos(u64::MAX / 2, hz) >= to_nanos(u64::MAX / 4, hz));
        }
        assert_eq!(from_nanos(u64::MAX, 2_000_000_000), u64::MAX);
    }

    proptest! {
        #[test]
        fn a_timer_is_never_early_and_late_by_less_than_a_tick(nanos in 0..u64::MAX / 4, rate in 0..RATES.len()) {
            let hz = RATES[rate];
            let fires = to_nanos(from_nanos(nanos, hz), hz);
            let tick = NANOS_PER_SECOND.div_ceil(hz);
            prop_assert!(fires >= nanos, "{fires} for {nanos}");
            prop_assert!(fires - nanos <= tick);
        }

        #[test]
        fn the_clock_is_monotonic(ticks in 0..u64::MAX - 1, rate in 0..RATES.len()) {
            prop_assert!(to_nanos(ticks, RATES[rate]) <= to_nanos(ticks + 1, RATES[rate]));
        }
    }
}
