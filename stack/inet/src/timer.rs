//! Lazy timers: an owner has at most one entry that matters, and deadlines that move later cost nothing.
//!
//! A connection's deadline moves with each acknowledgement. The entry in the heap stays; when it
//! fires, the owner is asked for its real deadline and re-armed if that is still to come. A deadline
//! that moves earlier leaves a stale entry behind; stale entries are swept out when they are many.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use types::{FlowKey, Instant};

use crate::limits::TIMER_CROWD_MIN;
use crate::socket::SocketId;

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// A connection's earliest timer.
    Socket(SocketId),
    /// A half-open or TIME-WAIT endpoint.
    Flow(FlowKey),
    /// The neighbour table.
    Neighbors,
}

/// All timers of a worker.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Owner)>>,
    /// Entries at which the stale ones are swept out.
    crowd: usize,
}

impl Default for Timers {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), crowd: TIMER_CROWD_MIN }
    }
}

impl Timers {
    /// Arms a timer.
    pub(crate) fn arm(&mut self, at: Instant, owner: Owner) {
        self.heap.push(Reverse((at, owner)));
    }

    /// Arms a timer for an owner that remembers its entry in `armed`: only if none fires earlier.
    pub(crate) fn arm_lazily(
        &mut self,
        at: Option<Instant>,
        owner: Owner,
        armed: &mut Option<Instant>,
    ) {
        let Some(at) = at else { return };
        if armed.is_none_or(|entry| entry > at) {
            *armed = Some(at);
            self.arm(at, owner);
        }
    }

    /// Takes the next timer that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Owner)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// When the next timer is due.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// So many entries that it is time to [`Self::sweep`].
    #[must_use]
    pub(crate) fn is_crowded(&self) -> bool {
        self.heap.len() >= self.crowd
    }

    /// Takes stale entries out. The next sweep is due when there are twice as many as now, so that
    /// each entry pays for one look on average.
    pub(crate) fn sweep(&mut self, is_live: impl Fn(Instant, &Owner) -> bool) {
        self.heap.retain(|Reverse((at, owner))| is_live(*at, owner));
        self.crowd = self.heap.len().saturating_mul(2).max(TIMER_CROWD_MIN);
    }

    /// Entries, live and stale.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn timers_fire_in_order_and_not_early() {
        let mut timers = Timers::default();
        let at = |ms| Instant::from_millis(ms);
        timers.arm(at(20), Owner::Neighbors);
        timers.arm(at(10), Owner::Neighbors);
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(25)), Some((at(10), Owner::Neighbors)));
        assert_eq!(timers.pop_due(at(25)), Some((at(20), Owner::Neighbors)));
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn stale_entries_never_crowd_out_the_live_one() {
        let mut timers = Timers::default();
        for ms in 0..100_000 {
            // As a delayed acknowledgement in front of a far deadline does, again and again.
            timers.arm(Instant::from_millis(7_200_000 + ms), Owner::Neighbors);
            if timers.is_crowded() {
                timers.sweep(|at, _| at == Instant::from_millis(7_200_000 + ms));
            }
        }
        assert!(timers.len() <= TIMER_CROWD_MIN);
        assert!(timers.next().is_some());
    }

    #[test]
    fn a_deadline_that_moves_later_adds_no_entry() {
        let mut timers = Timers::default();
        let mut armed = None;
        for ms in 10..1000 {
            timers.arm_lazily(Some(Instant::from_millis(ms)), Owner::Neighbors, &mut armed);
        }
        assert_eq!(timers.len(), 1);
        timers.arm_lazily(
            Some(Instant::ZERO + Duration::from_millis(5)),
            Owner::Neighbors,
            &mut armed,
        );
        assert_eq!(timers.next(), Some(Instant::from_millis(5)));
    }
}
