//! A token bucket for replies that nobody should be able to demand without limit.

use core::time::Duration;

use types::Instant;

/// At most `per_second` permits a second, in bursts of at most as many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateLimit {
    per_second: u32,
    tokens: u32,
    refilled: Instant,
}

impl RateLimit {
    /// A full bucket.
    #[must_use]
    pub(crate) const fn new(per_second: u32) -> Self {
        Self { per_second, tokens: per_second, refilled: Instant::ZERO }
    }

    /// Takes a permit if there is one.
    pub(crate) fn permit(&mut self, now: Instant) -> bool {
        let passed = now.since(self.refilled);
        if passed >= Duration::from_secs(1) {
            self.tokens = self.per_second;
            self.refilled = now;
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_in_any_second() {
        let mut limit = RateLimit::new(10);
        let granted = (0..5000).filter(|ms| limit.permit(Instant::from_millis(1000 + ms))).count();
        assert_eq!(granted, 50);
    }
}
