//! What the clients of one user may have together, counted where it is used: by all workers at once.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How far work may run ahead of its rate: as long as a scheduler's turn, so that a program that was
/// not run for one can catch up.
const AHEAD_NS: u64 = 20_000_000;

/// So many a second, in the long run. Time is an argument: nanoseconds of a clock that never goes back.
///
/// One word: the time up to which what has been done is paid for.
#[derive(Debug, Default)]
pub struct Rate {
    /// Time that one takes; 0: there is no limit.
    interval_ns: u64,
    paid_until: AtomicU64,
}

impl Rate {
    /// A rate; `None` is one without end.
    #[must_use]
    pub fn new(per_second: Option<u32>) -> Self {
        let interval = |count: u32| 1_000_000_000_u64.checked_div(count.into()).unwrap_or(u64::MAX);
        let interval_ns = per_second.map_or(0, |count| interval(count).max(1));
        Self { interval_ns, paid_until: AtomicU64::new(0) }
    }

    /// When the next one may be done; not later than now: at once.
    #[must_use]
    pub fn opens_at(&self) -> u64 {
        self.paid_until.load(Ordering::Relaxed).saturating_sub(AHEAD_NS)
    }

    /// May the next one be done?
    #[must_use]
    pub fn is_open(&self, now_ns: u64) -> bool {
        self.interval_ns == 0 || self.opens_at() <= now_ns
    }

    /// So many have been done. The last of them may have been too many: the next ones wait for it.
    pub fn charge(&self, now_ns: u64, count: u64) {
        if self.interval_ns == 0 {
            return;
        }
        let cost = self.interval_ns.saturating_mul(count);
        let charged = |paid: u64| Some(paid.max(now_ns).saturating_add(cost));
        let _ = self.paid_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charged);
    }
}

/// Receive memory and posts of one user's clients. The default is without limits.
#[derive(Debug)]
pub struct Share {
    memory_max: u64,
    memory: AtomicU64,
    loans_max: u32,
    loans: AtomicU32,
    /// Packets posted.
    pub packets: Rate,
}

impl Share {
    /// A share of so many bytes of receive blocks and so many packets a second.
    #[must_use]
    pub fn new(memory_max: Option<u64>, packets_per_s: Option<u32>) -> Self {
        Self {
            memory_max: memory_max.unwrap_or(u64::MAX),
            memory: AtomicU64::new(0),
            loans_max: 0,
            loans: AtomicU32::new(0),
            packets: Rate::new(packets_per_s),
        }
    }

    /// The same, with so many packet buffers that may be lent.
    #[must_use]
    pub fn lending(self, loans_max: u32) -> Self {
        Self { loans_max, ..self }
    }

    /// May packets be lent?
    #[must_use]
    pub fn lends(&self) -> bool {
        self.loans_max > 0
    }

    /// Takes up to so many loans; how many there were.
    pub(crate) fn take_loans(&self, most: u32) -> u32 {
        let left = |loans: u32| self.loans_max.saturating_sub(loans).min(most);
        let taken = |loans: u32| loans.checked_add(left(loans));
        let before = self.loans.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
        before.map_or(0, left)
    }

    pub(crate) fn give_loans(&self, count: u32) {
        let _ = self.loans.fetch_sub(count, Ordering::Relaxed);
    }

    /// Bytes of receive blocks in use; they are not counted where there is no limit.
    #[must_use]
    pub fn memory_in_use(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// Bytes of receive blocks that are left.
    #[must_use]
    pub(crate) fn memory_left(&self) -> u64 {
        self.memory_max.saturating_sub(self.memory_in_use())
    }

    /// Takes so many bytes, or none.
    pub(crate) fn take(&self, len: u64) -> bool {
        if self.memory_max == u64::MAX {
            return true;
        }
        // At no moment is more counted than is taken: others would be refused.
        let taken = |memory: u64| memory.checked_add(len).filter(|sum| *sum <= self.memory_max);
        self.memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    pub(crate) fn give(&self, len: u64) {
        if self.memory_max < u64::MAX {
            let _ = self.memory.fetch_sub(len, Ordering::Relaxed);
        }
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::new(None, None)
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicBool;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// How many of those that come as fast as they may are done within a time.
    fn done(rate: &Rate, from: u64, until: u64, at_once: u64) -> u64 {
        let mut count = 0;
        for now in (from..until).step_by(100_000) {
            while rate.is_open(now) && count < 1_000_000 {
                rate.charge(now, at_once);
                count = at_once.saturating_add(count);
            }
        }
        count
    }

    #[test]
    fn a_rate_is_kept_in_the_long_run_however_much_comes_at_once() {
        for at_once in [1, 32, 500] {
            let rate = Rate::new(Some(1000));
            let count = done(&rate, 0, 10 * SECOND, at_once);
            assert!((10_000..=10_520).contains(&count), "{count} by {at_once}");
        }
    }

    #[test]
    fn time_that_was_not_used_is_not_saved_up() {
        let rate = Rate::new(Some(1000));
        let count = done(&rate, 100 * SECOND, 101 * SECOND, 1);
        assert!((1000..=1022).contains(&count), "{count}");
    }

    #[test]
    fn without_a_limit_everything_is_open() {
        let rate = Rate::new(None);
        rate.charge(0, u64::MAX);
        assert!(rate.is_open(0));
        let never = Rate::new(Some(0));
        never.charge(0, 1);
        assert!(!never.is_open(SECOND));
    }

    #[test]
    fn memory_ends_where_the_share_does_and_comes_back() {
        let share = Share::new(Some(100), None);
        assert!(share.take(60) && !share.take(41) && share.take(40));
        assert_eq!((share.memory_in_use(), share.memory_left()), (100, 0));
        share.give(60);
        assert_eq!(share.memory_left(), 60);
    }

    #[test]
    fn loans_end_where_the_share_does_and_come_back() {
        let share = Share::default().lending(40);
        assert_eq!([share.take_loans(32), share.take_loans(32), share.take_loans(32)], [32, 8, 0]);
        share.give_loans(10);
        assert_eq!(share.take_loans(32), 10);
        assert!(!Share::default().lends());
    }

    #[test]
    fn what_is_refused_one_worker_is_not_taken_from_another() {
        const TRIES: u32 = 200_000;
        let share = Share::new(Some(100), None);
        let (others, done) = (AtomicU32::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let _ = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(!share.take(101));
                    let _ = others.fetch_add(1, Ordering::Relaxed);
                }
            });
            // Each has tried that often while the other did.
            let mut own: u32 = 0;
            let mut refused: u32 = 0;
            while own < TRIES || others.load(Ordering::Relaxed) < TRIES {
                own = own.saturating_add(1);
                match share.take(100) {
                    true => share.give(100),
                    false => refused = refused.saturating_add(1),
                }
            }
            done.store(true, Ordering::Relaxed);
            assert_eq!(refused, 0);
        });
        assert_eq!(share.memory_in_use(), 0);
    }
}
