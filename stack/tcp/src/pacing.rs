//! Pacing: text leaves at a rate instead of in bursts of a window. The rate is the congestion
//! control's, or follows from the window, and `SO_MAX_PACING_RATE` caps both.
//!
//! ```text
//!   quantum   quantum   quantum         a quantum is about a millisecond's worth: one timer
//!   ▂▂▂▂      ▂▂▂▂      ▂▂▂▂     ──▶ t  and one burst for the port instead of one per segment
//!   │         │next
//! ```

use core::time::Duration;

use types::Instant;

use crate::{Tcb, limits};

/// The pacer of one connection; it exists where something is paced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacer {
    /// `SO_MAX_PACING_RATE`, bytes per second.
    max_rate: u64,
    /// Pace algorithms too that have no rate of their own.
    window_paced: bool,
    /// The quantum is used up: nothing leaves before `next`.
    blocked: bool,
    /// When what has been sent is through at the rate.
    next: Instant,
    /// The quantum began so much too late, and may make up for it.
    late: Duration,
}

impl Default for Pacer {
    fn default() -> Self {
        Self {
            max_rate: u64::MAX,
            window_paced: false,
            blocked: false,
            next: Instant::ZERO,
            late: Duration::ZERO,
        }
    }
}

/// Bytes that may leave at once at this rate (BBR draft §4.2.2).
pub(crate) fn send_quantum(rate: u64, mss: u16) -> u32 {
    let mss = u32::from(mss);
    if rate < limits::PACING_SLOW_RATE {
        mss
    } else if rate < limits::PACING_FAST_RATE {
        mss.saturating_mul(2)
    } else {
        let millisecond = u32::try_from(rate / 1_000).unwrap_or(u32::MAX);
        millisecond.min(limits::SEND_QUANTUM_MAX)
    }
}

impl Pacer {
    pub(crate) fn of_window() -> Self {
        Self { window_paced: true, ..Self::default() }
    }

    /// Time has come to `now`: is the quantum there again? A timer that fired late is made up for,
    /// within `credit`: on a busy host timers are late again and again, and the rate must be kept.
    fn release(&mut self, now: Instant, credit: Duration) {
        if self.blocked && now >= self.next {
            self.blocked = false;
            self.late = now.since(self.next).min(credit);
            self.next = self.next.max(now - self.late);
        }
    }

    fn sent(&mut self, len: u32, rate: u64, quantum_time: Duration, now: Instant) {
        if self.next < now - self.late {
            // There was nothing to send meanwhile; that gives no credit.
            self.late = Duration::ZERO;
            self.next = now;
        }
        self.next += duration_at(len, rate);
        self.blocked = self.next.since(now - self.late) >= quantum_time;
    }
}

/// How long `len` bytes take.
fn duration_at(len: u32, rate: u64) -> Duration {
    let nanos = u64::from(len).saturating_mul(1_000_000_000);
    Duration::from_nanos(nanos.div_ceil(rate.max(1)))
}

impl Tcb {
    /// `SO_MAX_PACING_RATE`: text leaves no faster than this, in bytes per second; whatever the
    /// congestion control. `u64::MAX`: as fast as that allows.
    pub fn set_max_pacing_rate(&mut self, bytes_per_second: u64) {
        self.rare_mut().pacer.max_rate = bytes_per_second.max(1);
    }

    pub(crate) fn max_pacing_rate(&self) -> u64 {
        self.rare.as_ref().map_or(u64::MAX, |rare| rare.pacer.max_rate)
    }

    /// Spread the window over the round-trip time, where the congestion control does not pace by
    /// itself.
    pub fn set_pacing(&mut self, pacing: bool) {
        self.rare_mut().pacer.window_paced = pacing;
    }

    /// Bytes per second at which text leaves now; `None`: as the window allows.
    #[must_use]
    pub fn pacing_rate(&self) -> Option<u64> {
        let Some(rare) = &self.rare else { return self.cc.pacing_rate() };
        let pacer = &rare.pacer;
        let window_rate = || pacer.window_paced.then(|| self.window_rate()).flatten();
        let rate = self.cc.pacing_rate().or_else(window_rate).unwrap_or(u64::MAX);
        Some(rate.min(pacer.max_rate)).filter(|rate| *rate != u64::MAX)
    }

    /// A little more than cwnd per round trip, so that pacing does not hold the window back: twice
    /// as much in slow start, where the window doubles, a fifth more afterwards.
    fn window_rate(&self) -> Option<u64> {
        let cwnd = u64::from(self.cc.cwnd());
        let percent = if self.cc.cwnd() < self.cc.ssthresh() { 200 } else { 120 };
        let per_second = cwnd.saturating_mul(percent).saturating_mul(10_000);
        per_second.checked_div(u64::from(self.rtt.srtt_us)).map(|rate| rate.max(1))
    }

    /// The quantum is used up.
    pub(crate) fn pacing_holds(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.pacer.blocked)
    }

    /// When the next quantum may go, if text waits for it.
    pub(crate) fn pacing_due(&self) -> Option<Instant> {
        let pacer = &self.rare.as_ref()?.pacer;
        (pacer.blocked && self.sends_text()).then_some(pacer.next)
    }

    pub(crate) fn pacing_advance(&mut self, now: Instant) {
        if self.pacing_holds() {
            let credit = self.pacing_rate().map_or(Duration::ZERO, |rate| {
                duration_at(limits::SEND_QUANTUM_MAX, rate).min(limits::PACING_CREDIT)
            });
            self.rare_mut().pacer.release(now, credit);
        }
    }

    /// Text went out.
    pub(crate) fn pacing_sent(&mut self, len: u32, now: Instant) {
        let Some(rate) = self.pacing_rate() else { return };
        let quantum_time = duration_at(send_quantum(rate, self.snd.mss), rate);
        self.rare_mut().pacer.sent(len, rate, quantum_time, now);
    }
}
