//! Slow start and congestion avoidance (RFC 5681 §3.1) with appropriate byte counting (RFC 3465).

use super::{AckSample, Cause, Window};
use crate::limits;

/// Halve on loss, add a segment per round trip.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewReno {
    pub(crate) window: Window,
    /// Bytes acknowledged since cwnd last grew in congestion avoidance.
    acked: u32,
    /// cwnd and ssthresh before the last reduction.
    before: Option<Window>,
    /// Slow start after a timeout: no more than a segment per ACK (RFC 3465 §2.3), because one ACK
    /// may cover text that had arrived before.
    after_timeout: bool,
}

impl NewReno {
    pub(crate) fn new(mss: u16) -> Self {
        Self { window: Window::new(mss), acked: 0, before: None, after_timeout: false }
    }

    pub(crate) fn on_ack(&mut self, sample: &AckSample) {
        if !sample.cwnd_limited || sample.in_recovery {
            return;
        }
        let mss = u32::from(sample.mss);
        if self.window.cwnd < self.window.ssthresh {
            let segments = if self.after_timeout { 1 } else { limits::BYTE_COUNTING_SEGMENTS };
            self.window.grow(sample.acked_len.min(mss.saturating_mul(segments)));
            return;
        }
        self.acked = self.acked.saturating_add(sample.acked_len);
        if self.acked >= self.window.cwnd {
            self.acked = self.acked.saturating_sub(self.window.cwnd);
            self.window.grow(mss);
        }
    }

    pub(crate) fn on_congestion(&mut self, cause: Cause, in_flight: u32, mss: u16) {
        let Cause::Loss = cause;
        self.reduce(in_flight, mss);
        self.window.set(self.window.ssthresh, mss);
    }

    pub(crate) fn on_timeout(&mut self, first: bool, in_flight: u32, mss: u16) {
        if first {
            self.reduce(in_flight, mss);
        }
        // The loss window (RFC 5681 §3.1).
        self.window.set(0, mss);
        self.acked = 0;
        self.after_timeout = true;
    }

    pub(crate) fn on_exit_recovery(&mut self) {
        self.after_timeout = false;
        self.before = None;
    }

    pub(crate) fn undo(&mut self) {
        if let Some(before) = self.before.take() {
            self.window.cwnd = self.window.cwnd.max(before.cwnd);
            self.window.ssthresh = before.ssthresh;
        }
        self.after_timeout = false;
    }

    /// RFC 5681 equation 4: ssthresh = max(FlightSize / 2, 2 SMSS).
    fn reduce(&mut self, in_flight: u32, mss: u16) {
        self.before = Some(self.window);
        self.window.ssthresh = (in_flight >> 1).max(u32::from(mss).saturating_mul(2));
        self.acked = 0;
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use types::Instant;

    use super::*;

    fn acked(acked_len: u32) -> AckSample {
        AckSample {
            now: Instant::ZERO,
            acked_len,
            delivered_len: acked_len,
            lost_len: 0,
            in_flight: acked_len,
            pipe: 0,
            rtt: None,
            min_rtt: Duration::ZERO,
            srtt: Duration::ZERO,
            rate: None,
            mss: 1000,
            cwnd_limited: true,
            app_limited: false,
            in_recovery: false,
            ece: false,
            round_start: false,
        }
    }

    #[test]
    fn slow_start_doubles_and_avoidance_adds_a_segment_per_window() {
        let mut cc = NewReno::new(1000);
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
        let mut cc = NewReno::new(1000);
        cc.on_ack(&AckSample { cwnd_limited: false, ..acked(1000) });
        assert_eq!(cc.window.cwnd, 10_000);
    }

    #[test]
    fn undo_restores_what_was_before_the_first_timeout() {
        let mut cc = NewReno::new(1000);
        let before = cc.window;
        cc.on_timeout(true, 10_000, 1000);
        cc.on_timeout(false, 1_000, 1000);
        assert_eq!(cc.window, Window { cwnd: 1000, ssthresh: 5000 });
        cc.undo();
        assert_eq!(cc.window, before);
    }
}
