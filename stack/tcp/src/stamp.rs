//! A point in time in six bytes, for what every connection at rest keeps.

use types::Instant;

/// Microseconds on the clock of [`Instant`]: 48 bits last for nine years of uptime.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp([u16; 3]);

impl Stamp {
    /// [`Instant::FAR_FUTURE`].
    pub(crate) const NEVER: Self = Self([u16::MAX; 3]);

    /// The last microsecond that is not later: for what has happened.
    #[expect(clippy::cast_possible_truncation, reason = "the three parts of 48 bits")]
    pub(crate) const fn of(at: Instant) -> Self {
        let micros = at.as_nanos() / NANOS;
        if micros > MAX {
            return Self::NEVER;
        }
        Self([(micros >> 32) as u16, (micros >> 16) as u16, micros as u16])
    }

    pub(crate) fn instant(self) -> Instant {
        if self == Self::NEVER {
            return Instant::FAR_FUTURE;
        }
        let [high, middle, low] = self.0.map(u64::from);
        Instant::from_nanos((high << 32 | middle << 16 | low).saturating_mul(NANOS))
    }
}

impl core::fmt::Debug for Stamp {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.instant().fmt(f)
    }
}

const NANOS: u64 = 1_000;
const MAX: u64 = (1 << 48) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_happened_is_not_late() {
        let at = Instant::from_nanos(98_765_432_198_765_432);
        let stamp = Stamp::of(at).instant();
        assert!(stamp <= at && at.since(stamp).as_nanos() < 1_000);
    }

    #[test]
    fn beyond_the_range_is_never() {
        assert_eq!(Stamp::of(Instant::FAR_FUTURE), Stamp::NEVER);
        assert_eq!(Stamp::NEVER.instant(), Instant::FAR_FUTURE);
    }
}
