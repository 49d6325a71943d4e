//! One counter per reason for dropping a packet.

use core::array;

use crate::Counter;

/// `N` counters indexed by the discriminant of an enum of reasons.
///
/// The crate does not know the enum, so that it stays below every other crate: write
/// `drops.count(reason as usize)`.
#[derive(Debug)]
#[repr(align(64))]
pub struct Drops<const N: usize>([Counter; N]);

impl<const N: usize> Drops<N> {
    /// Counts one drop for the reason with discriminant `reason`. Nothing happens for a
    /// discriminant of `N` or more, which an enum of `N` reasons does not have.
    #[inline]
    pub fn count(&self, reason: usize) {
        if let Some(counter) = self.0.get(reason) {
            counter.increment();
        }
    }

    /// Counts `drops` drops for the reason with discriminant `reason`.
    #[inline]
    pub fn add(&self, reason: usize, drops: u64) {
        if let Some(counter) = self.0.get(reason) {
            counter.add(drops);
        }
    }

    /// Drops counted for `reason`; 0 for a discriminant of `N` or more.
    #[must_use]
    pub fn value(&self, reason: usize) -> u64 {
        self.0.get(reason).map_or(0, Counter::value)
    }

    /// Drops for every reason, in the order of the discriminants.
    pub fn values(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().map(Counter::value)
    }

    /// Drops for all reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.values().fold(0, u64::wrapping_add)
    }
}

impl<const N: usize> Default for Drops<N> {
    fn default() -> Self {
        Self(array::from_fn(|_| Counter::new()))
    }
}
