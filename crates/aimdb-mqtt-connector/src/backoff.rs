//! Pauses between attempts to connect.

use core::time::Duration;

/// An exponential backoff with jitter.
///
/// The pause doubles from `first` to `max`. Each pause is lengthened or shortened by up to a fifth, so that many
/// clients of a broker that restarts do not all reconnect at once.
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

    /// The pause before the next attempt. `random` is any number that differs from client to client.
    pub(crate) fn next_pause(&mut self, random: u16) -> Duration {
        let plain = self.first.saturating_mul(1 << self.attempts.min(16)).min(self.max);
        self.attempts += 1;
        plain / 5 * 4 + plain / 5 * 2 / u32::from(u16::MAX) * u32::from(random)
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
            let random = (millis * 7919) as u16;
            let pause = backoff.next_pause(random).as_millis();
            assert!((millis * 4 / 5..=millis * 6 / 5).contains(&pause), "{pause} for {millis}");
        }
        backoff.reset();
        let (shortest, longest) = (backoff.clone().next_pause(0), backoff.next_pause(u16::MAX));
        assert_eq!(shortest, Duration::from_millis(80));
        assert!((119..=120).contains(&longest.as_millis()), "{longest:?}");
    }
}
