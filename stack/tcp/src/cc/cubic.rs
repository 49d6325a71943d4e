//! CUBIC (RFC 9438): after a loss the window comes back along a cubic function of time, fast at
//! first, slowly around the size where the loss was (concave), then fast again (convex). Where
//! Reno would be ahead, CUBIC does as Reno.
//!
//! ```text
//!   W                                      ╱
//!   W_max ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ ______────────╯      W_cubic(t) = C (t - K)³ + W_max
//!                   ╭────╯        ╎  convex
//!   0.7 W_max ┄┄ ╱     concave    ╎
//!                0                K            t
//! ```
//! All in integers: bytes and milliseconds. C = 0.4 segments/s³ is 4 MSS / (10 · 1000³ ms³).

use types::Instant;

use super::{AckSample, Cause, SlowStart, Window};
use crate::rtt::micros;
use crate::timestamp::millis;

#[derive(Debug)]
pub(crate) struct Cubic {
    pub(crate) window: Window,
    /// Made on demand: a connection that never filled its window has none.
    side: Option<Box<Side>>,
}

#[derive(Debug)]
struct Side {
    slow_start: SlowStart,
    curve: Option<Curve>,
    /// Where the last reduction was, in bytes; 0: the next epoch begins at its own plateau.
    w_max: u32,
    /// cwnd when ssthresh was last set.
    cwnd_prior: u32,
    before: Option<Before>,
}

/// What undo restores (RFC 9438 §4.9).
#[derive(Clone, Copy, Debug)]
struct Before {
    window: Window,
    w_max: u32,
    curve: Option<Curve>,
    cwnd_prior: u32,
}

/// One congestion avoidance epoch.
#[derive(Clone, Copy, Debug)]
struct Curve {
    k_ms: u32,
    /// t: time in this epoch, without the times when the window was not used (RFC 9438 §5.8).
    elapsed_ms: u32,
    /// When `elapsed_ms` was last brought forward.
    seen_ms: u32,
    /// The window was not used since then.
    paused: bool,
    /// What Reno's window would be.
    w_est: u32,
    /// Bytes acknowledged since `w_est` last grew.
    est_acked: u32,
    /// Growth of less than a byte, in units of 1/cwnd.
    credit: u32,
}

/// beta_cubic (RFC 9438 §4.6).
const BETA_PERCENT: u32 = 70;
/// beta for congestion that a mark tells of (RFC 8511 §3).
const BETA_ECN_PERCENT: u32 = 85;
/// Longest time whose cube is computed: four minutes, longer than any K.
const SPAN_MS_MAX: u32 = 1 << 18;

impl Cubic {
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
            side.avoid(&mut self.window, sample);
        } else if let Some(curve) = &mut side.curve {
            curve.paused = true;
        }
    }

    pub(crate) fn on_congestion(&mut self, cause: Cause, in_flight: u32, mss: u16) {
        let percent = match cause {
            Cause::Loss => BETA_PERCENT,
            Cause::Ecn => BETA_ECN_PERCENT,
        };
        self.reduce(percent, in_flight, mss);
        self.window.set(self.window.ssthresh, mss);
    }

    /// RFC 9438 §4.8: the epoch after the coming slow start begins with K = 0.
    pub(crate) fn on_timeout(&mut self, first: bool, in_flight: u32, mss: u16) {
        if first {
            self.reduce(BETA_PERCENT, in_flight, mss);
        }
        self.window.set(0, mss);
        let side = self.side.get_or_insert_with(Side::new);
        side.w_max = 0;
        side.slow_start.after_timeout = true;
    }

    pub(crate) fn on_exit_recovery(&mut self) {
        if let Some(side) = &mut self.side {
            side.slow_start.after_timeout = false;
        }
    }

    /// RFC 9438 §4.9.
    pub(crate) fn undo(&mut self) {
        let Some(side) = &mut self.side else { return };
        side.slow_start.after_timeout = false;
        if let Some(before) = side.before.take() {
            self.window.restore(before.window);
            side.w_max = before.w_max;
            side.cwnd_prior = before.cwnd_prior;
            side.curve = before.curve.map(|curve| Curve { paused: true, ..curve });
        }
    }

    pub(crate) fn on_idle(&mut self, mss: u16) {
        self.window.restart_idle(mss);
        if let Some(side) = &mut self.side {
            side.curve = None;
        }
    }

    /// RFC 9438 §4.6, §4.7.
    fn reduce(&mut self, percent: u32, in_flight: u32, mss: u16) {
        let window = self.window;
        let side = self.side.get_or_insert_with(Side::new);
        let (curve, w_max, cwnd_prior) = (side.curve.take(), side.w_max, side.cwnd_prior);
        side.before = Some(Before { window, w_max, curve, cwnd_prior });
        side.cwnd_prior = window.cwnd;
        // Fast convergence: who comes down for the second time makes room for a newcomer.
        // W_max = cwnd (1 + beta_cubic) / 2.
        side.w_max = if window.cwnd < w_max {
            super::percent_of(window.cwnd, (100 + BETA_PERCENT) / 2)
        } else {
            window.cwnd
        };
        self.window.reduce(percent, in_flight, mss);
    }
}

impl Side {
    fn new() -> Box<Self> {
        Box::new(Self {
            slow_start: SlowStart::new(),
            curve: None,
            w_max: 0,
            cwnd_prior: 0,
            before: None,
        })
    }

    /// Congestion avoidance, for one ACK (RFC 9438 §4.2-4.5).
    fn avoid(&mut self, window: &mut Window, sample: &AckSample) {
        let (mss, cwnd) = (u32::from(sample.mss), window.cwnd.max(1));
        let prior = self.cwnd_prior;
        if self.curve.is_none() {
            // Without a loss to aim at (after slow start, a timeout, idling) the plateau is here.
            self.w_max = self.w_max.max(cwnd);
        }
        let w_max = self.w_max;
        let curve = self.curve.get_or_insert_with(|| Curve::begin(cwnd, w_max, mss, sample.now));
        curve.advance(sample);
        curve.estimate(sample.delivered_len, cwnd, mss, prior);
        let t = curve.elapsed_ms;
        if curve.w_cubic(t, w_max, mss) < curve.w_est {
            // Reno-friendly region.
            window.set(cwnd.max(curve.w_est), sample.mss);
            return;
        }
        let ahead = t.saturating_add(micros(sample.srtt) / 1_000);
        let target = curve.w_cubic(ahead, w_max, mss);
        let step = target.saturating_sub(cwnd).min(cwnd >> 1);
        window.grow(curve.spend(step, sample.delivered_len, cwnd));
    }
}

impl Curve {
    fn begin(cwnd: u32, w_max: u32, mss: u32, now: Instant) -> Self {
        Self {
            k_ms: k_ms(w_max.saturating_sub(cwnd), mss),
            elapsed_ms: 0,
            seen_ms: millis(now),
            paused: false,
            w_est: cwnd,
            est_acked: 0,
            credit: 0,
        }
    }

    fn advance(&mut self, sample: &AckSample) {
        let now_ms = millis(sample.now);
        let passed = now_ms.wrapping_sub(self.seen_ms);
        self.seen_ms = now_ms;
        if !self.paused {
            self.elapsed_ms = self.elapsed_ms.saturating_add(passed).min(SPAN_MS_MAX << 1);
        }
        // Nothing is in flight: what comes now is idling.
        self.paused = sample.pipe == 0;
    }

    /// W_est grows by alpha_cubic segments per window, alpha_cubic = 3 (1 - 0.7) / (1 + 0.7) = 9/17,
    /// and by one as soon as it has reached the window before the loss (RFC 9438 §4.3).
    fn estimate(&mut self, acked_len: u32, cwnd: u32, mss: u32, prior: u32) {
        let per_segment = if self.w_est >= prior { cwnd } else { cwnd.saturating_mul(17) / 9 };
        self.est_acked = self.est_acked.saturating_add(acked_len);
        if self.est_acked >= per_segment {
            self.est_acked = self.est_acked.saturating_sub(per_segment).min(cwnd);
            self.w_est = self.w_est.saturating_add(mss);
        }
    }

    /// W_cubic(t) in bytes.
    fn w_cubic(&self, t_ms: u32, w_max: u32, mss: u32) -> u32 {
        let span = u64::from(t_ms.abs_diff(self.k_ms).min(SPAN_MS_MAX));
        // At most 2^54; divided in two steps, so that nothing overflows or loses a byte.
        let cube = span.saturating_mul(span).saturating_mul(span) / 1_000_000;
        let bytes = cube.saturating_mul(u64::from(mss).saturating_mul(4)) / 10_000;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if t_ms < self.k_ms { w_max.saturating_sub(bytes) } else { w_max.saturating_add(bytes) }
    }

    /// cwnd grows by `step` per window acknowledged: step · acked / cwnd, remainder kept.
    fn spend(&mut self, step: u32, acked_len: u32, cwnd: u32) -> u32 {
        let product = u64::from(step).saturating_mul(u64::from(acked_len.min(cwnd)));
        let credit = product.saturating_add(u64::from(self.credit));
        let cwnd = u64::from(cwnd.max(1));
        self.credit = u32::try_from(credit.checked_rem(cwnd).unwrap_or(0)).unwrap_or(0);
        u32::try_from(credit.checked_div(cwnd).unwrap_or(0)).unwrap_or(u32::MAX)
    }
}

/// K = ∛((W_max - cwnd_epoch) / C), in milliseconds (RFC 9438 equation 2).
fn k_ms(gap: u32, mss: u32) -> u32 {
    let cube = u64::from(gap).saturating_mul(2_500_000_000).checked_div(u64::from(mss));
    cube_root(cube.unwrap_or(0))
}

/// The largest integer whose cube is not larger: bit by bit, 22 of them.
fn cube_root(value: u64) -> u32 {
    let mut root: u64 = 0;
    for bit in (0..22).rev() {
        let next = root | (1 << bit);
        if next.saturating_mul(next).saturating_mul(next) <= value {
            root = next;
        }
    }
    u32::try_from(root).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests panic on overflow on purpose")]
mod tests {
    use core::time::Duration;

    use super::super::tests::acked;
    use super::*;

    const MSS: u32 = 1000;

    /// One ACK per segment, a window per round trip of `rtt_ms`, for `rounds` round trips; returns
    /// (t in ms, cwnd in bytes) at the end of each.
    fn run(cc: &mut Cubic, now: &mut Instant, rtt_ms: u64, rounds: usize) -> Vec<(f64, f64)> {
        let begin = *now;
        let rtt = Duration::from_millis(rtt_ms);
        let mut points = Vec::new();
        for _ in 0..rounds {
            let segments = cc.window.cwnd / MSS;
            let gap = rtt / segments;
            for _ in 0..segments {
                let pipe = cc.window.cwnd;
                cc.on_ack(&AckSample { now: *now, pipe, srtt: rtt, ..acked(MSS) });
                *now += gap;
            }
            points.push((now.since(begin).as_secs_f64(), f64::from(cc.window.cwnd)));
        }
        points
    }

    /// A window of `segments`, reduced once by a loss.
    fn reduced(segments: u32) -> Cubic {
        let mut cc = Cubic::new(Window { cwnd: segments * MSS, ssthresh: segments * MSS });
        cc.on_congestion(Cause::Loss, segments * MSS, 1000);
        cc
    }

    fn w_max(cc: &Cubic) -> u32 {
        cc.side.as_ref().unwrap().w_max
    }

    #[test]
    fn window_follows_the_closed_form_of_rfc_9438_equation_1() {
        for (segments, rtt_ms, rounds) in [(1_000, 100, 200), (4_000, 50, 500), (300, 200, 80)] {
            let mut cc = reduced(segments);
            let w_max = f64::from(segments);
            let k = (w_max * 0.3 / 0.4).cbrt();
            let mut now = Instant::from_millis(5_000);
            let mut checked = [0, 0];
            for (t, cwnd) in run(&mut cc, &mut now, rtt_ms, rounds) {
                // The window at the end of a round is what the curve says of then.
                let expected = 0.4 * (t - k).powi(3) + w_max;
                if t < 4.0 * rtt_ms as f64 / 1000.0 || expected > 2.0 * w_max {
                    continue;
                }
                let error = (cwnd / 1000.0 - expected).abs() / expected;
                assert!(error < 0.015, "{segments} segments, t = {t}: {cwnd}, not {expected}");
                checked[usize::from(t > k)] += 1;
            }
            assert!(checked[0] > 10 && checked[1] > 10, "both regions: {checked:?}");
        }
    }

    #[test]
    fn short_round_trips_follow_reno_and_are_as_fast() {
        // RFC 9438 §4.3: alpha = 9/17 per round up to cwnd_prior, then 1.
        let mut cc = reduced(100);
        let mut now = Instant::from_millis(1);
        let points = run(&mut cc, &mut now, 5, 120);
        let rounds_to_prior = 57; // 30 segments at 9/17 per round
        for (round, (_, cwnd)) in points.iter().enumerate() {
            let round = round as f64 + 1.0;
            let before = round.min(rounds_to_prior as f64) * 9.0 / 17.0;
            let expected = 70.0 + before + (round - rounds_to_prior as f64).max(0.0);
            assert!((cwnd / 1000.0 - expected).abs() < 2.0, "round {round}: {cwnd}, {expected}");
        }
    }

    #[test]
    fn second_loss_below_the_first_releases_room() {
        let mut cc = reduced(1000);
        assert_eq!((cc.window.cwnd, w_max(&cc)), (700_000, 1_000_000));
        cc.on_congestion(Cause::Loss, 700_000, 1000);
        assert_eq!((cc.window.cwnd, w_max(&cc)), (490_000, 595_000));
    }

    #[test]
    fn a_mark_costs_less_than_a_loss() {
        let mut cc = Cubic::new(Window { cwnd: 100_000, ssthresh: 100_000 });
        cc.on_congestion(Cause::Ecn, 100_000, 1000);
        assert_eq!(cc.window, Window { cwnd: 85_000, ssthresh: 85_000 });
    }

    #[test]
    fn after_a_timeout_the_curve_starts_flat_at_its_own_window() {
        let mut cc = Cubic::new(Window { cwnd: 1_000_000, ssthresh: 1_000_000 });
        cc.on_timeout(true, 1_000_000, 1000);
        assert_eq!(cc.window, Window { cwnd: 1000, ssthresh: 700_000 });
        cc.on_exit_recovery();
        let mut now = Instant::from_millis(1);
        while cc.window.in_slow_start() {
            let _ = run(&mut cc, &mut now, 100, 1);
        }
        let points = run(&mut cc, &mut now, 100, 50);
        for (t, cwnd) in points.iter().filter(|(t, _)| *t > 1.0) {
            // K = 0; the epoch began at the last round of slow start.
            let expected = [0.0, 0.15].map(|lead| 0.4 * (t + lead).powi(3) + 700.0);
            let inside = (expected[0] * 0.99..expected[1] * 1.01 + 5.0).contains(&(cwnd / 1000.0));
            assert!(inside, "t = {t}: {cwnd}, {expected:?}");
        }
    }

    #[test]
    fn undo_restores_window_and_curve() {
        let mut cc = reduced(1000);
        let mut now = Instant::from_millis(1);
        let _ = run(&mut cc, &mut now, 100, 20);
        let before = (cc.window, w_max(&cc));
        let elapsed = |cc: &Cubic| cc.side.as_ref().unwrap().curve.unwrap().elapsed_ms;
        let t = elapsed(&cc);
        for timeout in [false, true] {
            if timeout {
                cc.on_timeout(true, cc.window.cwnd, 1000);
            } else {
                cc.on_congestion(Cause::Loss, cc.window.cwnd, 1000);
            }
            cc.undo();
            assert_eq!(((cc.window, w_max(&cc)), elapsed(&cc)), (before, t));
        }
    }

    #[test]
    fn time_without_use_of_the_window_does_not_count() {
        let mut cc = reduced(1000);
        let mut now = Instant::from_millis(1);
        let _ = run(&mut cc, &mut now, 100, 20);
        let before = cc.window.cwnd;
        cc.on_ack(&AckSample { now, cwnd_limited: false, ..acked(MSS) });
        now += Duration::from_secs(60);
        let (_, after) = run(&mut cc, &mut now, 100, 1)[0];
        assert!(after < f64::from(before) * 1.02, "{before} grew to {after} by idling");
    }

    #[test]
    fn cube_root_is_exact() {
        for root in [0_u64, 1, 2, 999, 1_000, 12_345, 1 << 20, (1 << 21) + 7] {
            let cube = root.pow(3);
            assert_eq!(u64::from(cube_root(cube)), root);
            assert_eq!(u64::from(cube_root(cube + 1)), root.max(1));
            assert_eq!(u64::from(cube_root(cube.saturating_sub(1))), root.saturating_sub(1));
        }
    }
}
