//! Slow start and congestion avoidance (RFC 5681 §3.1) with appropriate byte counting (RFC 3465).

use super::initial_window;
use crate::limits;

/// The congestion window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewReno {
    /// cwnd, in bytes.
    pub(crate) cwnd: u32,
    /// ssthresh, in bytes.
    pub(crate) ssthresh: u32,
    /// Bytes acknowledged since cwnd last grew in congestion avoidance.
    acked: u32,
    /// The last segment left less than a segment of cwnd unused: growth is justified
    /// (RFC 9293 §3.8.2 by way of RFC 7661 §1: a window that isn't used must not grow).
    pub(crate) limited: bool,
}

impl NewReno {
    pub(crate) fn new(mss: u16) -> Self {
        Self { cwnd: initial_window(mss), ssthresh: u32::MAX, acked: 0, limited: false }
    }

    /// New text was acknowledged outside of fast recovery. `slow_segments`: the most segments cwnd
    /// may grow by per ACK in slow start (RFC 3465 §2.3).
    pub(crate) fn on_ack(&mut self, acked_len: u32, mss: u16, slow_segments: u32) {
        if !self.limited {
            return;
        }
        let mss = u32::from(mss);
        if self.cwnd < self.ssthresh {
            self.grow(acked_len.min(mss.saturating_mul(slow_segments)));
            return;
        }
        self.acked = self.acked.saturating_add(acked_len);
        if self.acked >= self.cwnd {
            self.acked = self.acked.saturating_sub(self.cwnd);
            self.grow(mss);
        }
    }

    /// RFC 5681 equation 4: ssthresh = max(FlightSize / 2, 2 SMSS).
    pub(crate) fn reduce(&mut self, in_flight: u32, mss: u16) {
        self.ssthresh = (in_flight >> 1).max(u32::from(mss).saturating_mul(2));
        self.acked = 0;
    }

    /// The loss window: one segment (RFC 5681 §3.1).
    pub(crate) fn restart(&mut self, mss: u16) {
        self.cwnd = u32::from(mss);
        self.acked = 0;
    }

    /// RFC 5681 §4.1: cwnd after an idle period is at most the initial window.
    pub(crate) fn on_idle(&mut self, mss: u16) {
        self.cwnd = self.cwnd.min(initial_window(mss));
    }

    /// Inflates cwnd, or grows it.
    pub(crate) fn grow(&mut self, len: u32) {
        self.cwnd = self.cwnd.saturating_add(len).min(limits::CWND_MAX);
    }

    /// Deflates cwnd, to one segment at least.
    pub(crate) fn deflate(&mut self, len: u32, mss: u16) {
        self.cwnd = self.cwnd.saturating_sub(len).max(u32::from(mss));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_start_doubles_and_avoidance_adds_a_segment_per_window() {
        let mut cc = NewReno::new(1000);
        cc.limited = true;
        for _ in 0..5 {
            cc.on_ack(2000, 1000, 2);
        }
        assert_eq!(cc.cwnd, 20_000);
        cc.reduce(20_000, 1000);
        assert_eq!(cc.ssthresh, 10_000);
        cc.cwnd = 10_000;
        for _ in 0..10 {
            cc.on_ack(1000, 1000, 2);
        }
        assert_eq!(cc.cwnd, 11_000);
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let mut cc = NewReno::new(1000);
        cc.on_ack(1000, 1000, 2);
        assert_eq!(cc.cwnd, 10_000);
    }

    #[test]
    fn window_never_falls_below_a_segment_nor_exceeds_its_limit() {
        let mut cc = NewReno::new(1000);
        cc.deflate(u32::MAX, 1000);
        assert_eq!(cc.cwnd, 1000);
        cc.grow(u32::MAX);
        assert_eq!(cc.cwnd, limits::CWND_MAX);
    }
}
