//! HyStart++ (RFC 9406): the first slow start ends when the round-trip time rises, before losses
//! do it. A rise may be jitter, so growth is only slowed at first (conservative slow start).

use super::AckSample;
use crate::rtt::micros;

/// What one round's round-trip times say of the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HyStart {
    /// currentRoundMinRTT in microseconds; [`NONE`] before the round's first sample.
    current_us: u32,
    /// lastRoundMinRTT.
    last_us: u32,
    /// cssBaselineMinRtt; [`NONE`] while slow start is at full speed.
    baseline_us: u32,
    /// rttSampleCount.
    samples: u8,
    css_rounds: u8,
}

/// How slow start goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Doubling per round trip.
    SlowStart,
    /// A quarter of that.
    Conservative,
    /// The rise was no jitter: congestion avoidance.
    Done,
}

const NONE: u32 = u32::MAX;

// RFC 9406 §4.3.
const MIN_RTT_THRESH_US: u32 = 4_000;
const MAX_RTT_THRESH_US: u32 = 16_000;
const N_RTT_SAMPLE: u8 = 8;
const CSS_ROUNDS: u8 = 5;
/// CSS_GROWTH_DIVISOR.
pub(crate) const GROWTH_DIVISOR: u32 = 4;
/// L: segments by which cwnd may grow per ACK.
pub(crate) const GROWTH_SEGMENTS: u32 = 8;

impl HyStart {
    pub(crate) const fn new() -> Self {
        Self { current_us: NONE, last_us: NONE, baseline_us: NONE, samples: 0, css_rounds: 0 }
    }

    /// RFC 9406 §4.2, for each ACK in slow start.
    pub(crate) fn on_ack(&mut self, sample: &AckSample) -> Phase {
        if sample.round_start {
            self.last_us = self.current_us;
            self.current_us = NONE;
            self.samples = 0;
            if self.is_conservative() {
                self.css_rounds = self.css_rounds.saturating_add(1);
            }
        }
        if let Some(rtt) = sample.rtt {
            self.current_us = self.current_us.min(micros(rtt));
            self.samples = self.samples.saturating_add(1);
        }
        if self.samples >= N_RTT_SAMPLE {
            self.compare();
        }
        match self.is_conservative() {
            true if self.css_rounds >= CSS_ROUNDS => Phase::Done,
            true => Phase::Conservative,
            false => Phase::SlowStart,
        }
    }

    fn is_conservative(&self) -> bool {
        self.baseline_us != NONE
    }

    /// Enough samples in this round to judge it by.
    fn compare(&mut self) {
        if self.is_conservative() {
            if self.current_us < self.baseline_us {
                // It was jitter.
                self.baseline_us = NONE;
            }
            return;
        }
        let thresh = (self.last_us >> 3).clamp(MIN_RTT_THRESH_US, MAX_RTT_THRESH_US);
        if self.last_us != NONE && self.current_us >= self.last_us.saturating_add(thresh) {
            self.baseline_us = self.current_us;
            self.css_rounds = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::super::tests::acked;
    use super::*;

    /// A round of ten ACKs, all with this round-trip time; the last verdict.
    fn round(hystart: &mut HyStart, rtt_ms: u64) -> Phase {
        let rtt = Some(Duration::from_millis(rtt_ms));
        let mut phase = Phase::SlowStart;
        for i in 0..10 {
            phase = hystart.on_ack(&AckSample { rtt, round_start: i == 0, ..acked(1000) });
        }
        phase
    }

    #[test]
    fn rise_of_an_eighth_slows_and_five_rounds_end_slow_start() {
        let mut hystart = HyStart::new();
        assert_eq!(round(&mut hystart, 80), Phase::SlowStart);
        assert_eq!(round(&mut hystart, 89), Phase::SlowStart, "9 ms: below 80/8");
        let mut hystart = HyStart::new();
        let _ = round(&mut hystart, 80);
        for _ in 0..5 {
            assert_eq!(round(&mut hystart, 90), Phase::Conservative);
        }
        assert_eq!(round(&mut hystart, 90), Phase::Done);
    }

    #[test]
    fn threshold_is_between_four_and_sixteen_ms() {
        for (base, below, at) in [(1, 4, 5), (400, 415, 416)] {
            for (rtt, phase) in [(below, Phase::SlowStart), (at, Phase::Conservative)] {
                let mut hystart = HyStart::new();
                let _ = round(&mut hystart, base);
                assert_eq!(round(&mut hystart, rtt), phase, "{base} ms, then {rtt} ms");
            }
        }
    }

    #[test]
    fn jitter_that_passes_resumes_slow_start() {
        let mut hystart = HyStart::new();
        let _ = round(&mut hystart, 80);
        assert_eq!(round(&mut hystart, 95), Phase::Conservative);
        assert_eq!(round(&mut hystart, 80), Phase::SlowStart);
    }

    #[test]
    fn seven_samples_are_too_few() {
        let mut hystart = HyStart::new();
        let _ = round(&mut hystart, 80);
        let rtt = Some(Duration::from_millis(200));
        for i in 0..7 {
            let sample = AckSample { rtt, round_start: i == 0, ..acked(1000) };
            assert_eq!(hystart.on_ack(&sample), Phase::SlowStart);
        }
    }
}
