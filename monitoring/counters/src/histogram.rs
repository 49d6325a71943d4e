//! A distribution of durations over fixed power-of-two buckets.

use core::array;

use crate::Counter;

/// How many durations lasted at most [`upper_us`](Self::upper_us).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The longest duration in this bucket, in microseconds; `None` in the last bucket: no bound.
    pub upper_us: Option<u64>,
    /// Durations in this bucket and all before it, as Prometheus' `le` wants them.
    pub cumulative_count: u64,
}

/// Durations in microseconds, counted by their order of magnitude. One thread records; any reads.
///
/// ```text
/// bucket    0      1      2      3            26         27
/// us      [0,1]    2    [3,4]  [5,8]   …   ≤ 67 s     longer
/// ```
///
/// From one microsecond (two cores of one host) to 67 s, more than the longest round-trip time
/// TCP's retransmission timer waits for (RFC 6298, 2.4), at a resolution of a factor of two.
#[derive(Debug)]
#[repr(align(64))]
pub struct Histogram {
    counts: [Counter; Self::BUCKETS],
    sum_us: Counter,
}

impl Histogram {
    /// How many buckets there are, the unbounded one included.
    pub const BUCKETS: usize = 28;

    /// Counts one duration. For the owning thread only.
    #[inline]
    pub fn record(&self, us: u64) {
        if let Some(count) = self.counts.get(bucket_index(us)) {
            count.increment();
        }
        self.sum_us.add(us);
    }

    /// Every bucket, shortest durations first. The last one's count is that of all durations.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.counts.iter().enumerate().scan(0_u64, |cumulative_count, (i, count)| {
            *cumulative_count = cumulative_count.wrapping_add(count.value());
            let upper_us = (i + 1 < Self::BUCKETS).then_some(1 << i);
            Some(Bucket { upper_us, cumulative_count: *cumulative_count })
        })
    }

    /// Durations recorded so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().map(Counter::value).fold(0, u64::wrapping_add)
    }

    /// Sum of all durations in microseconds.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us.value()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: array::from_fn(|_| Counter::new()), sum_us: Counter::new() }
    }
}

/// The number of bits of `us - 1`: the exponent of the power of two at or above `us`.
#[inline]
fn bucket_index(us: u64) -> usize {
    let exponent = u64::BITS - us.saturating_sub(1).leading_zeros();
    usize::try_from(exponent).unwrap_or(usize::MAX).min(Histogram::BUCKETS - 1)
}
