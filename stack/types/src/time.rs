//! A point in time that is handed in, so that every engine can run on a virtual clock.

use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// Nanoseconds on a monotonic clock whose origin is arbitrary but the same within one process.
///
/// All arithmetic saturates: a clock that jumps can make a timer late, never make the stack panic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);
    /// Later than every other instant: "never".
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the clock's origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The instant `millis` milliseconds after the clock's origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the clock's origin.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time since `earlier`, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(nanos(rhs)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(rhs)))
    }
}

/// Nanoseconds of a duration, or as many as there may be. (`Duration::as_nanos` counts in 128 bits.)
#[inline]
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_end_where_the_clock_does() {
        let at = Instant::from_nanos(5);
        let last = Duration::from_nanos(u64::MAX - 5);
        assert_eq!(at + last, Instant::FAR_FUTURE);
        assert_eq!(at + (last - Duration::from_nanos(1)), Instant::from_nanos(u64::MAX - 1));
        assert_eq!(at + Duration::MAX, Instant::FAR_FUTURE);
        assert_eq!(at - Duration::MAX, Instant::ZERO);
        assert_eq!(at - Duration::from_nanos(2), Instant::from_nanos(3));
    }
}
