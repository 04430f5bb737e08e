//! The pauses between connections.

use core::time::Duration;

/// When a connector connects again.
///
/// The first attempt follows at once. The pause before each further one doubles from the first to the longest; it
/// starts over only after a connection that has lasted as long as the longest pause. A connection that the peer accepts
/// and ends again and again proves nothing, and is repeated less and less often.
///
/// Each pause is lengthened or shortened by up to a fifth, so that the clients of a peer that restarts do not all return
/// at once.
///
/// ```
/// use aimdb_core::link::driver::Reconnect;
/// use std::time::Duration;
///
/// let reconnect = Reconnect::new(Duration::from_millis(250), Duration::from_secs(10))
///     .require_within(Some(Duration::from_secs(60)));
/// # let _ = reconnect;
/// ```
#[derive(Clone, Debug)]
pub struct Reconnect {
    first: Duration,
    max: Duration,
    at_once: bool,
    pub(super) required_within: Option<Duration>,
    seed: u32,
}

impl Reconnect {
    /// Pauses from `first` to `max`; `max` is at least `first`.
    #[must_use]
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max: max.max(first), at_once: false, required_within: None, seed: 0 }
    }

    /// Connects without a pause after a connection that has lasted.
    #[must_use]
    pub fn at_once(mut self) -> Self {
        self.at_once = true;
        self
    }

    /// Makes the connector fail if its first connection takes longer than this, or if the peer refuses it before.
    #[must_use]
    pub fn require_within(mut self, limit: Option<Duration>) -> Self {
        self.required_within = limit;
        self
    }

    /// Sets where the random lengths begin: any number that differs from client to client.
    #[must_use]
    pub fn seed(mut self, seed: u32) -> Self {
        self.seed = seed;
        self
    }
}

/// The pauses of one connector.
pub(super) struct Pauses {
    reconnect: Reconnect,
    /// Pauses since a connection lasted.
    attempts: u32,
    random: u32,
}

impl Pauses {
    pub(super) fn new(reconnect: Reconnect) -> Self {
        let random = reconnect.seed;
        Self { reconnect, attempts: 0, random }
    }

    /// The pause after an attempt. `lasted` is how long its connection did, if there was one; `explained`, that its end
    /// was the work of a message that is dealt with.
    pub(super) fn next(&mut self, lasted: Option<Duration>, explained: bool) -> Duration {
        let Reconnect { first, max, at_once, .. } = self.reconnect;
        if lasted.is_some_and(|lasted| lasted >= max) {
            self.attempts = 0;
            if at_once {
                return Duration::ZERO;
            }
        }
        let doublings = if explained { 0 } else { self.attempts.min(16) };
        self.attempts += u32::from(!explained);
        let plain = first.saturating_mul(1 << doublings).min(max);
        // A linear congruential generator: its upper bits are random enough to scatter clients.
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        plain / 5 * 4 + plain / 5 * 2 / u32::from(u16::MAX) * (self.random >> 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(1);

    fn about(pause: Duration, plain: u64) {
        let millis = pause.as_millis() as u64;
        assert!((plain * 79 / 100..=plain * 121 / 100).contains(&millis), "{millis} for {plain}");
    }

    #[test]
    fn pauses_double_until_a_connection_has_lasted() {
        let mut pauses = Pauses::new(Reconnect::new(FIRST, MAX).seed(7));
        for plain in [100, 200, 400] {
            about(pauses.next(None, false), plain);
        }
        // Connected, but not for long.
        for plain in [800, 1000, 1000] {
            about(pauses.next(Some(MAX / 2), false), plain);
        }
        about(pauses.next(Some(MAX), false), 100);
        about(pauses.next(Some(Duration::ZERO), false), 200);
    }

    #[test]
    fn an_end_that_is_explained_does_not_lengthen_the_pause() {
        let mut pauses = Pauses::new(Reconnect::new(FIRST, MAX));
        about(pauses.next(None, false), 100);
        about(pauses.next(Some(Duration::ZERO), true), 100);
        about(pauses.next(Some(Duration::ZERO), true), 100);
        about(pauses.next(None, false), 200);
    }

    #[test]
    fn a_connector_that_opens_at_once_does_so_only_after_a_connection_that_lasted() {
        let mut pauses = Pauses::new(Reconnect::new(FIRST, MAX).at_once());
        about(pauses.next(None, false), 100);
        about(pauses.next(Some(FIRST), false), 200);
        assert_eq!(pauses.next(Some(MAX), false), Duration::ZERO);
        about(pauses.next(None, false), 100);
    }
}
