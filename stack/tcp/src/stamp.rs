//! A point in time in six bytes, for what every idle connection keeps.

use types::Instant;

/// Microseconds on the clock of [`Instant`]: 48 bits last for nine years of uptime.
/// The earlier is the smaller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp([u16; 3]);

impl Stamp {
    /// [`Instant::FAR_FUTURE`].
    pub(crate) const NEVER: Self = Self([u16::MAX; 3]);

    /// The last microsecond that is not later: for what has happened.
    pub(crate) const fn of(at: Instant) -> Self {
        Self::micros(at.as_nanos() / NANOS)
    }

    /// The first microsecond that is not earlier: for what is to happen.
    pub(crate) const fn not_before(at: Instant) -> Self {
        Self::micros(at.as_nanos().div_ceil(NANOS))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the three parts of 48 bits")]
    const fn micros(micros: u64) -> Self {
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
    fn what_is_to_happen_is_not_early_and_what_has_is_not_late() {
        let at = Instant::from_nanos(98_765_432_198_765_432);
        assert!(Stamp::of(at).instant() <= at && at <= Stamp::not_before(at).instant());
        let apart = Stamp::not_before(at).instant().since(Stamp::of(at).instant());
        assert_eq!(apart.as_nanos(), 1_000);
    }

    #[test]
    fn beyond_the_range_is_never() {
        assert_eq!(Stamp::not_before(Instant::FAR_FUTURE), Stamp::NEVER);
        assert_eq!(Stamp::NEVER.instant(), Instant::FAR_FUTURE);
    }
}
