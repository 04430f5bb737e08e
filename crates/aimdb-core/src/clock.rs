//! Instants of the runtime's clock.

use core::time::Duration;

/// A point in time on the runtime's monotonic clock.
///
/// It counts nanoseconds since an origin that the runtime chooses. Instants of one runtime can be compared and
/// subtracted; the origin has no meaning. A `u64` of nanoseconds lasts 584 years.
///
/// ```
/// use aimdb_core::Instant;
/// use std::time::Duration;
///
/// let (earlier, later) = (Instant::from_nanos(500), Instant::from_nanos(2_500));
/// assert_eq!(later - earlier, Duration::from_micros(2));
/// assert_eq!(earlier - later, Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Instant(u64);

impl Instant {
    /// Returns the instant `nanos` nanoseconds after the origin.
    ///
    /// Runtime adapters and virtual clocks use it.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, or zero if `earlier` is later.
    #[must_use]
    pub const fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Adds `duration`, saturating at the end of the clock.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

impl core::ops::Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

/// The clock that buffers use, without the runtime's type.
pub(crate) trait Clock: Send + Sync {
    fn now(&self) -> Instant;
}
