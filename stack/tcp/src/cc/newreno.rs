//! Slow start and congestion avoidance (RFC 5681 §3.1) with appropriate byte counting (RFC 3465).

use super::{AckSample, Cause, SlowStart, Window};

/// Halve on loss, add a segment per round trip.
#[derive(Debug)]
pub(crate) struct NewReno {
    pub(crate) window: Window,
    /// Made on demand: a connection that never filled its window has none.
    side: Option<Box<Side>>,
}

#[derive(Debug)]
struct Side {
    slow_start: SlowStart,
    /// Bytes acknowledged since cwnd last grew in congestion avoidance.
    acked: u32,
    /// cwnd and ssthresh before the last reduction.
    before: Option<Window>,
}

impl Side {
    fn new() -> Box<Self> {
        Box::new(Self { slow_start: SlowStart::new(), acked: 0, before: None })
    }
}

impl NewReno {
    pub(crate) fn new(window: Window) -> Self {
        Self { window, side: None }
    }

    pub(crate) fn on_ack(&mut self, sample: &AckSample) {
        if sample.holds_window(self.side.is_none()) {
            return;
        }
        let side = self.side.get_or_insert_with(Side::new);
        if self.window.in_slow_start() {
            self.window.slow_start(&mut side.slow_start, sample);
        } else if sample.cwnd_limited {
            side.acked = side.acked.saturating_add(sample.delivered_len);
            if side.acked >= self.window.cwnd {
                side.acked = side.acked.saturating_sub(self.window.cwnd);
                self.window.grow(u32::from(sample.mss));
            }
        }
    }

    /// RFC 5681 §3.2; less is enough for a mark, which comes before the queue is full (RFC 8511).
    pub(crate) fn on_congestion(&mut self, cause: Cause, in_flight: u32, mss: u16) {
        let percent = match cause {
            Cause::Loss => 50,
            Cause::Ecn => 80,
        };
        self.reduce(percent, in_flight, mss);
        self.window.set(self.window.ssthresh, mss);
    }

    pub(crate) fn on_timeout(&mut self, first: bool, in_flight: u32, mss: u16) {
        if first {
            self.reduce(50, in_flight, mss);
        }
        // The loss window (RFC 5681 §3.1).
        self.window.set(0, mss);
        self.side.get_or_insert_with(Side::new).slow_start.after_timeout = true;
    }

    /// What was before is kept: the report of duplicates that undoes it may still come.
    pub(crate) fn on_exit_recovery(&mut self) {
        if let Some(side) = &mut self.side {
            side.slow_start.after_timeout = false;
        }
    }

    pub(crate) fn undo(&mut self) {
        if let Some(before) = self.side.take().and_then(|side| side.before) {
            self.window.restore(before);
        }
    }

    pub(crate) fn on_idle(&mut self, mss: u16) {
        self.window.restart_idle(mss);
        self.side = None;
    }

    /// RFC 5681 equation 4: ssthresh = max(FlightSize / 2, 2 SMSS).
    fn reduce(&mut self, percent: u32, in_flight: u32, mss: u16) {
        let side = self.side.get_or_insert_with(Side::new);
        side.before = Some(self.window);
        side.acked = 0;
        self.window.reduce(percent, in_flight, mss);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::acked;
    use super::*;

    fn newreno() -> NewReno {
        NewReno::new(Window::new(1000))
    }

    #[test]
    fn slow_start_doubles_and_avoidance_adds_a_segment_per_window() {
        let mut cc = newreno();
        for _ in 0..5 {
            cc.on_ack(&acked(2000));
        }
        assert_eq!(cc.window.cwnd, 20_000);
        cc.on_congestion(Cause::Loss, 20_000, 1000);
        assert_eq!(cc.window, Window { cwnd: 10_000, ssthresh: 10_000 });
        for _ in 0..10 {
            cc.on_ack(&acked(1000));
        }
        assert_eq!(cc.window.cwnd, 11_000);
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let mut cc = newreno();
        cc.on_ack(&AckSample { cwnd_limited: false, ..acked(1000) });
        assert_eq!(cc.window.cwnd, 10_000);
    }

    #[test]
    fn a_mark_costs_a_fifth() {
        let mut cc = newreno();
        cc.on_congestion(Cause::Ecn, 10_000, 1000);
        assert_eq!(cc.window, Window { cwnd: 8_000, ssthresh: 8_000 });
    }

    #[test]
    fn undo_restores_what_was_before_the_first_timeout() {
        let mut cc = newreno();
        let before = cc.window;
        cc.on_timeout(true, 10_000, 1000);
        cc.on_timeout(false, 1_000, 1000);
        assert_eq!(cc.window, Window { cwnd: 1000, ssthresh: 5000 });
        cc.undo();
        assert_eq!(cc.window, before);
    }
}
