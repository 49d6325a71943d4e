//! Sequence numbers (RFC 9293 §3.4).
//!
//! Serial arithmetic modulo 2^32 is not a total order, so there is no `Ord`: two numbers compare
//! only by `before` and `after`, which are meaningful while they are less than 2^31 apart.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};

/// A byte's place in the stream, modulo 2^32.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SeqNum(u32);

impl SeqNum {
    /// The number as it stands in a header.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The number as it stands in a header.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// How far this number is beyond `earlier`, modulo 2^32.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Strictly before `other`.
    #[must_use]
    pub const fn before(self, other: Self) -> bool {
        self.since(other) >= HALF
    }

    /// Strictly after `other`.
    #[must_use]
    pub const fn after(self, other: Self) -> bool {
        other.before(self)
    }

    /// Before `other` or the same.
    #[must_use]
    pub const fn at_or_before(self, other: Self) -> bool {
        !self.after(other)
    }

    /// After `other` or the same.
    #[must_use]
    pub const fn at_or_after(self, other: Self) -> bool {
        !self.before(other)
    }

    /// One of the `len` numbers from `start` on.
    #[must_use]
    pub const fn in_window(self, start: Self, len: u32) -> bool {
        self.since(start) < len
    }

    /// The later of the two.
    #[must_use]
    pub const fn later(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }

    /// The earlier of the two.
    #[must_use]
    pub const fn earlier(self, other: Self) -> Self {
        if other.before(self) { other } else { self }
    }
}

/// Half of the sequence space: numbers further apart than this can't be ordered.
const HALF: u32 = 1 << 31;

impl Add<u32> for SeqNum {
    type Output = Self;
    fn add(self, len: u32) -> Self {
        Self(self.0.wrapping_add(len))
    }
}

impl AddAssign<u32> for SeqNum {
    fn add_assign(&mut self, len: u32) {
        *self = *self + len;
    }
}

impl Sub<u32> for SeqNum {
    type Output = Self;
    fn sub(self, len: u32) -> Self {
        Self(self.0.wrapping_sub(len))
    }
}

impl fmt::Debug for SeqNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for SeqNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_across_the_wrap() {
        let low = SeqNum::new(u32::MAX - 1);
        let high = low + 5;
        assert_eq!(high.value(), 3);
        assert!(low.before(high) && high.after(low));
        assert!(!high.before(low) && !low.after(high));
        assert!(low.at_or_before(low) && low.at_or_after(low));
        assert_eq!(high.since(low), 5);
        assert_eq!(high - 5, low);
        assert_eq!(low.later(high), high);
        assert_eq!(high.later(low), high);
    }

    #[test]
    fn window_is_half_open_and_wraps() {
        let start = SeqNum::new(u32::MAX);
        assert!(start.in_window(start, 1));
        assert!((start + 9).in_window(start, 10));
        assert!(!(start + 10).in_window(start, 10));
        assert!(!(start - 1).in_window(start, 10));
        assert!(!start.in_window(start, 0));
    }
}
