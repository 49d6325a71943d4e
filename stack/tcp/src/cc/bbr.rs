//! BBR version 1 (draft-cardwell-iccrg-bbr-congestion-control-00): sends at the rate at which the
//! path delivers, with about one round trip's worth in flight, and takes no loss for congestion.
//!
//! ```text
//!   Startup ── rate grows no more ──▶ Drain ── queue is gone ──▶ ProbeBW ◀─┐
//!      ▲                                                     10 s without │ a lower
//!      └──────────────── pipe was not full yet ─────────── ProbeRTT ◀─────┘ round trip
//! ```
//! The two estimates can't be measured at once: a full pipe shows the rate and hides the
//! propagation time behind its queue, an empty one the other way round. So ProbeBW sends faster for
//! a round trip now and then, and ProbeRTT sends next to nothing for 200 ms every 10 s.

use core::time::Duration;

use types::Instant;

use super::{AckSample, Cause, Window, initial_window};
use crate::limits;
use crate::pacing::send_quantum;

#[derive(Debug)]
pub(crate) struct Bbr {
    pub(crate) window: Window,
    state: State,
    rate: RateFilter,
    /// RTprop: the smallest round-trip time of the last ten seconds.
    rt_prop: Option<Duration>,
    rt_prop_at: Instant,
    /// When ProbeRTT may end; the round-trip time must be over too.
    probe_rtt_end: Option<Instant>,
    probe_rtt_round: bool,
    /// cwnd before recovery or ProbeRTT.
    cwnd_prior: u32,
    /// The rate that growth in Startup is measured against, and rounds without growth.
    full_rate: u64,
    full_rounds: u8,
    filled_pipe: bool,
    cycle_phase: u8,
    cycle_at: Instant,
    /// First round of recovery: send what is delivered, no more (§4.2.3.4).
    conserve: bool,
    in_recovery: bool,
    /// Recovery began with a timeout: the window is small for other reasons than the path.
    timed_out: bool,
    idle_restart: bool,
    has_rtt: bool,
    /// Bytes per second.
    pacing_rate: u64,
    mss: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Startup,
    Drain,
    ProbeBw,
    ProbeRtt,
}

/// A factor in units of 1/256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gain(u64);

impl Gain {
    const ONE: Self = Self(256);
    const TWO: Self = Self(512);
    /// 2/ln 2: the smallest that doubles the rate per round (§4.3.2).
    const HIGH: Self = Self(739);
    /// Its inverse.
    const DRAIN: Self = Self(88);

    fn of(self, value: u64) -> u64 {
        // Large values first lose bits that don't matter.
        match value.checked_mul(self.0) {
            Some(product) => product >> 8,
            None => (value >> 8).saturating_mul(self.0),
        }
    }
}

/// Pacing gains of ProbeBW (§4.3.4): probe, drain what that queued, cruise.
const CYCLE: [Gain; 8] =
    [Gain(320), Gain(192), Gain::ONE, Gain::ONE, Gain::ONE, Gain::ONE, Gain::ONE, Gain::ONE];

/// BtlBwFilterLen, in round trips (§4.1.1).
const RATE_ROUNDS: usize = 10;
/// RTpropFilterLen (§4.1.2).
const RT_PROP_WINDOW: Duration = Duration::from_secs(10);
/// ProbeRTTDuration (§4.3.5).
const PROBE_RTT: Duration = Duration::from_millis(200);
/// BBRMinPipeCwnd: enough for delayed ACKs to keep coming (§4.2.3.3).
const PIPE_MIN_SEGMENTS: u32 = 4;
/// Rounds without growth by a quarter that say that the pipe is full (§4.3.2.2).
const FULL_ROUNDS: u8 = 3;

/// BtlBw: the largest delivery rate of the last ten round trips. Only rounds with a sample count,
/// so a sender with little to say does not forget what the path can do.
#[derive(Clone, Copy, Debug)]
struct RateFilter {
    rounds: [u64; RATE_ROUNDS],
    newest: u8,
    round_passed: bool,
}

impl RateFilter {
    const fn new() -> Self {
        Self { rounds: [0; RATE_ROUNDS], newest: 0, round_passed: false }
    }

    fn max(&self) -> u64 {
        self.rounds.iter().copied().max().unwrap_or(0)
    }

    fn update(&mut self, rate: u64) {
        if core::mem::take(&mut self.round_passed) {
            let next = self.newest.saturating_add(1);
            self.newest = if usize::from(next) < RATE_ROUNDS { next } else { 0 };
            self.set(0);
        }
        let newest = self.rounds.get(usize::from(self.newest)).copied().unwrap_or(0);
        self.set(newest.max(rate));
    }

    fn set(&mut self, rate: u64) {
        if let Some(newest) = self.rounds.get_mut(usize::from(self.newest)) {
            *newest = rate;
        }
    }
}

impl Bbr {
    pub(crate) fn new(window: Window, mss: u16) -> Self {
        let mut bbr = Self {
            window: Window { ssthresh: u32::MAX, ..window },
            state: State::Startup,
            rate: RateFilter::new(),
            rt_prop: None,
            rt_prop_at: Instant::ZERO,
            probe_rtt_end: None,
            probe_rtt_round: false,
            cwnd_prior: 0,
            full_rate: 0,
            full_rounds: 0,
            filled_pipe: false,
            cycle_phase: 0,
            cycle_at: Instant::ZERO,
            conserve: false,
            in_recovery: false,
            timed_out: false,
            idle_restart: false,
            has_rtt: false,
            pacing_rate: 0,
            mss,
        };
        bbr.init_pacing_rate(Duration::from_millis(1));
        bbr
    }

    pub(crate) fn pacing_rate(&self) -> u64 {
        self.pacing_rate
    }

    /// BBRUpdateOnACK: the model first, then what follows from it.
    pub(crate) fn on_ack(&mut self, sample: &AckSample) {
        self.mss = sample.mss;
        if !self.has_rtt && !sample.srtt.is_zero() {
            self.has_rtt = true;
            self.init_pacing_rate(sample.srtt);
        }
        if sample.round_start {
            self.rate.round_passed = true;
            self.conserve = false;
        }
        self.update_rate(sample);
        self.check_cycle_phase(sample);
        self.check_full_pipe(sample);
        self.check_drain(sample);
        self.update_rt_prop(sample);
        self.set_pacing_rate(self.pacing_gain());
        self.set_cwnd(sample);
    }

    /// Fast recovery begins (§4.2.3.4). Marks are no signal to this algorithm.
    pub(crate) fn on_congestion(&mut self, cause: Cause, in_flight: u32, mss: u16) {
        if cause == Cause::Loss {
            self.save_cwnd();
            self.in_recovery = true;
            self.conserve = true;
            self.window.set(self.window.cwnd.min(in_flight), mss);
        }
    }

    pub(crate) fn on_timeout(&mut self, mss: u16) {
        self.save_cwnd();
        self.in_recovery = true;
        self.timed_out = true;
        self.window.set(0, mss);
    }

    pub(crate) fn on_exit_recovery(&mut self) {
        self.in_recovery = false;
        self.timed_out = false;
        self.conserve = false;
        self.restore_cwnd();
    }

    /// The path did not change while nothing was sent: no smaller window, but no burst (§4.4).
    pub(crate) fn on_idle(&mut self) {
        self.idle_restart = true;
        if self.state == State::ProbeBw {
            self.set_pacing_rate(Gain::ONE);
        }
    }

    fn pacing_gain(&self) -> Gain {
        match self.state {
            State::Startup => Gain::HIGH,
            State::Drain => Gain::DRAIN,
            State::ProbeBw => {
                CYCLE.get(usize::from(self.cycle_phase)).copied().unwrap_or(Gain::ONE)
            }
            State::ProbeRtt => Gain::ONE,
        }
    }

    fn cwnd_gain(&self) -> Gain {
        match self.state {
            State::Startup | State::Drain => Gain::HIGH,
            State::ProbeBw => Gain::TWO,
            State::ProbeRtt => Gain::ONE,
        }
    }

    /// §4.1.1: a sample that the sender's own lack of text or its own small window made small says
    /// nothing. Without that a timeout on a long path would outlast the memory of ten rounds.
    fn update_rate(&mut self, sample: &AckSample) {
        let Some(rate) = sample.rate else { return };
        let per_second = rate.bytes_per_second();
        let small_on_purpose = rate.app_limited || self.timed_out || self.state == State::ProbeRtt;
        if !small_on_purpose || per_second >= self.rate.max() {
            self.rate.update(per_second);
        }
    }

    /// BBRInflight (§4.2.3.2): gain times the bandwidth-delay product, and three quanta that may
    /// wait in the hosts at both ends.
    fn inflight(&self, gain: Gain) -> u32 {
        let Some(rt_prop) = self.rt_prop else { return initial_window(self.mss) };
        let micros = u64::try_from(rt_prop.as_micros()).unwrap_or(u64::MAX);
        let bdp = self.rate.max().saturating_mul(micros) / 1_000_000;
        let quanta = u64::from(send_quantum(self.pacing_rate, self.mss)).saturating_mul(3);
        u32::try_from(gain.of(bdp).saturating_add(quanta)).unwrap_or(u32::MAX)
    }

    /// §4.3.2.2, once per round trip: has the rate grown by a quarter?
    fn check_full_pipe(&mut self, sample: &AckSample) {
        let app_limited = sample.rate.is_none_or(|rate| rate.app_limited);
        if self.filled_pipe || !sample.round_start || app_limited {
            return;
        }
        let rate = self.rate.max();
        if rate >= self.full_rate.saturating_add(self.full_rate >> 2) {
            self.full_rate = rate;
            self.full_rounds = 0;
            return;
        }
        self.full_rounds = self.full_rounds.saturating_add(1);
        self.filled_pipe = self.full_rounds >= FULL_ROUNDS;
    }

    /// §4.3.3.
    fn check_drain(&mut self, sample: &AckSample) {
        if self.state == State::Startup && self.filled_pipe {
            self.state = State::Drain;
        }
        if self.state == State::Drain && sample.pipe <= self.inflight(Gain::ONE) {
            self.enter_probe_bw(sample.now);
        }
    }

    /// §4.3.4: begins anywhere in the cycle but in its draining phase, so that flows that start
    /// together do not probe together. The clock's microseconds are random enough for that.
    fn enter_probe_bw(&mut self, now: Instant) {
        const PHASES: [u8; 7] = [0, 2, 3, 4, 5, 6, 7];
        let at = usize::try_from((now.as_nanos() >> 10) % 7).unwrap_or(0);
        self.state = State::ProbeBw;
        self.cycle_phase = PHASES.get(at).copied().unwrap_or(0);
        self.cycle_at = now;
    }

    /// §4.3.4: each phase lasts a round trip; probing until it has had its effect, draining not
    /// longer than needed.
    fn check_cycle_phase(&mut self, sample: &AckSample) {
        if self.state != State::ProbeBw {
            return;
        }
        let gain = self.pacing_gain();
        let over = sample.now.since(self.cycle_at) > self.rt_prop.unwrap_or(Duration::ZERO);
        let next = if gain.0 > Gain::ONE.0 {
            over && (sample.lost_len > 0 || sample.in_flight >= self.inflight(gain))
        } else if gain.0 < Gain::ONE.0 {
            over || sample.in_flight <= self.inflight(Gain::ONE)
        } else {
            over
        };
        if next {
            self.cycle_phase = self.cycle_phase.saturating_add(1) & 7;
            self.cycle_at = sample.now;
        }
    }

    /// §4.1.2 and §4.3.5.
    fn update_rt_prop(&mut self, sample: &AckSample) {
        let now = sample.now;
        let expired = self.rt_prop.is_some() && now > self.rt_prop_at + RT_PROP_WINDOW;
        if let Some(rtt) = sample.rtt
            && (expired || self.rt_prop.is_none_or(|rt_prop| rtt <= rt_prop))
        {
            self.rt_prop = Some(rtt);
            self.rt_prop_at = now;
        }
        if expired && self.state != State::ProbeRtt && !self.idle_restart {
            self.save_cwnd();
            self.state = State::ProbeRtt;
            self.probe_rtt_end = None;
        }
        if self.state == State::ProbeRtt {
            self.probe_rtt(sample);
        }
        self.idle_restart = false;
    }

    /// 200 ms and a round trip with next to nothing in flight.
    fn probe_rtt(&mut self, sample: &AckSample) {
        match self.probe_rtt_end {
            None if sample.pipe <= self.pipe_min() => {
                self.probe_rtt_end = Some(sample.now + PROBE_RTT);
                self.probe_rtt_round = false;
            }
            None => {}
            Some(end) => {
                self.probe_rtt_round |= sample.round_start;
                if self.probe_rtt_round && sample.now > end {
                    self.rt_prop_at = sample.now;
                    self.restore_cwnd();
                    if self.filled_pipe {
                        self.enter_probe_bw(sample.now);
                    } else {
                        self.state = State::Startup;
                    }
                }
            }
        }
    }

    /// §4.2.1: before there is an estimate, the initial window per round trip.
    fn init_pacing_rate(&mut self, rtt: Duration) {
        let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX).max(1);
        let bytes = u64::from(self.window.cwnd).saturating_mul(1_000_000);
        self.pacing_rate = Gain::HIGH.of(bytes.checked_div(micros).unwrap_or(0)).max(1);
    }

    /// §4.2.1. In Startup the rate only rises. One percent less than the estimate, so that a queue
    /// that an error of the estimate has built goes away.
    fn set_pacing_rate(&mut self, gain: Gain) {
        let rate = gain.of(self.rate.max()).saturating_mul(99) / 100;
        if rate > 0 && (self.filled_pipe || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    fn pipe_min(&self) -> u32 {
        u32::from(self.mss).saturating_mul(PIPE_MIN_SEGMENTS)
    }

    /// §4.2.3.6.
    fn set_cwnd(&mut self, sample: &AckSample) {
        let target = self.inflight(self.cwnd_gain());
        let mut cwnd = self.window.cwnd;
        if self.in_recovery && sample.lost_len > 0 {
            cwnd = cwnd.saturating_sub(sample.lost_len);
        }
        let grown = cwnd.saturating_add(sample.delivered_len);
        if self.conserve {
            cwnd = cwnd.max(sample.pipe.saturating_add(sample.delivered_len));
        } else {
            if self.filled_pipe {
                cwnd = grown.min(target);
            } else if cwnd < target || self.rate.max() == 0 {
                cwnd = grown;
            }
            cwnd = cwnd.max(self.pipe_min());
        }
        if self.state == State::ProbeRtt {
            cwnd = cwnd.min(self.pipe_min());
        }
        self.window.set(cwnd.min(limits::CWND_MAX), self.mss);
    }

    /// What recovery and ProbeRTT interrupt is not their own small window.
    fn save_cwnd(&mut self) {
        let interrupted = self.in_recovery || self.state == State::ProbeRtt;
        self.cwnd_prior =
            if interrupted { self.cwnd_prior.max(self.window.cwnd) } else { self.window.cwnd };
    }

    fn restore_cwnd(&mut self) {
        self.window.cwnd = self.window.cwnd.max(self.cwnd_prior);
    }
}
