//! Pauses between attempts to connect.

use std::time::Duration;

/// Doubles from the first pause to the longest, each lengthened or shortened by up to a fifth, so that many clients
/// of a broker that comes back do not all return at once.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self { first, max: max.max(first), attempts: 0 }
    }

    pub(crate) fn next_pause(&mut self) -> Duration {
        let plain = self.first.saturating_mul(1 << self.attempts.min(16)).min(self.max);
        self.attempts += 1;
        plain.mul_f64(0.8 + 0.4 * fastrand::f64())
    }

    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let plain = [100, 200, 400, 800, 1000, 1000];
        for millis in plain {
            let pause = backoff.next_pause().as_millis();
            assert!((millis * 4 / 5..=millis * 6 / 5).contains(&pause), "{pause} for {millis}");
        }
        backoff.reset();
        assert!(backoff.next_pause() <= Duration::from_millis(120));
    }
}
