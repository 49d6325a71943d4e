//! The two atoms: a number that grows and a number that is set.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows. Exactly one thread calls [`add`](Self::add); any thread may read.
///
/// It wraps around after 2^64, which no rate reaches.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts `n` events. For the owning thread only.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Counts one event. For the owning thread only.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Events counted so far.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that is set: an occupancy or a limit. Exactly one thread writes; any thread may read.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// A gauge at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Replaces the value. For the owning thread only.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Raises the value by `n`, at most to `u64::MAX`. For the owning thread only.
    #[inline]
    pub fn add(&self, n: u64) {
        self.set(self.value().saturating_add(n));
    }

    /// Lowers the value by `n`, at least to 0. For the owning thread only.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.set(self.value().saturating_sub(n));
    }

    /// The value last set.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
