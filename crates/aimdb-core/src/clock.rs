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

/// A point in time of the calendar, as the nanoseconds since the beginning of 1970 (UTC), without leap seconds.
///
/// [`Runtime::unix_now`](crate::Runtime::unix_now) returns the present one where there is a clock for it. A `u64` lasts until
/// the year 2554. In JSON it is a number; a reader that keeps numbers as `f64` rounds it to 256 ns.
///
/// ```
/// use aimdb_core::UnixTime;
/// use std::time::{Duration, UNIX_EPOCH};
///
/// let time = UnixTime::from_nanos(1_500_000_000_000_000_000);
/// assert_eq!(UNIX_EPOCH + time.since_epoch(), UNIX_EPOCH + Duration::from_secs(1_500_000_000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UnixTime(u64);

impl UnixTime {
    /// Returns the time `nanos` nanoseconds after the beginning of 1970.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The nanoseconds since the beginning of 1970.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time since the beginning of 1970.
    #[must_use]
    pub const fn since_epoch(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The calendar's time of `instant`, where `self` is the calendar's time of `now`, the present time of a runtime's clock.
    ///
    /// It is exact if the calendar's clock was not set between the two.
    ///
    /// ```
    /// use aimdb_core::{Instant, UnixTime};
    ///
    /// let (now, earlier) = (Instant::from_nanos(700), Instant::from_nanos(300));
    /// assert_eq!(UnixTime::from_nanos(10_000).of(earlier, now), UnixTime::from_nanos(9_600));
    /// ```
    #[must_use]
    pub const fn of(self, instant: Instant, now: Instant) -> Self {
        Self(self.0.saturating_add(instant.0).saturating_sub(now.0))
    }
}

/// The clock that buffers use, without the runtime's type.
pub(crate) trait Clock: Send + Sync {
    fn now(&self) -> Instant;
}
