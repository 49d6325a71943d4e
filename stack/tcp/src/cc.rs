//! Congestion control: how much may be in flight, and how fast it leaves. One algorithm per file.
//!
//! Recovery decides *that* there is congestion and drives the window while it repairs losses
//! (`set_cwnd`); the algorithm decides how far to fall and how to grow again. Each event names its
//! time; nothing here reads a clock.

mod bbr;
mod cubic;
mod hystart;
mod newreno;

use core::time::Duration;

use types::Instant;

use crate::{Tcb, limits};
use bbr::Bbr;
use cubic::Cubic;
use hystart::{HyStart, Phase};
use newreno::NewReno;

/// The algorithms to choose from (`TCP_CONGESTION`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 5681, RFC 6582.
    NewReno,
    /// RFC 9438.
    #[default]
    Cubic,
    /// draft-cardwell-iccrg-bbr-congestion-control-00 (version 1).
    Bbr,
}

impl Algorithm {
    /// The name that `TCP_CONGESTION` knows it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewReno => "reno",
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "reno" | "newreno" => Some(Self::NewReno),
            "cubic" => Some(Self::Cubic),
            "bbr" => Some(Self::Bbr),
            _ => None,
        }
    }
}

/// Why the algorithm is told to slow down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A segment was lost.
    Loss,
    /// A router marked a segment (RFC 3168).
    Ecn,
}

/// Delivery rate over one flight (draft-cheng-iccrg-delivery-rate-estimation §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateSample {
    /// Bytes delivered in `interval`.
    pub(crate) delivered: u32,
    /// The longer of the send and the acknowledgment phase.
    pub(crate) interval: Duration,
    /// The sender had nothing to send for a part of it: the path may be faster than this.
    pub(crate) app_limited: bool,
}

impl RateSample {
    /// Bytes per second. The interval is none shorter than the shortest round trip, and not zero.
    pub(crate) fn bytes_per_second(&self) -> u64 {
        let nanos = types::nanos(self.interval);
        let bytes = u64::from(self.delivered).saturating_mul(1_000_000_000);
        bytes.checked_div(nanos).unwrap_or(0)
    }
}

/// What one acknowledgment says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckSample {
    pub(crate) now: Instant,
    /// Bytes by which SND.UNA moved.
    pub(crate) acked_len: u32,
    /// Bytes newly known to have arrived, by SND.UNA or by SACK.
    pub(crate) delivered_len: u32,
    /// Bytes newly taken for lost.
    pub(crate) lost_len: u32,
    /// Bytes in flight before this acknowledgment.
    pub(crate) in_flight: u32,
    /// Bytes in flight after it (RFC 6675's pipe).
    pub(crate) pipe: u32,
    /// Round-trip time of the newest segment it covers, if that was sent once.
    pub(crate) rtt: Option<Duration>,
    /// Smoothed round-trip time; zero before the first.
    pub(crate) srtt: Duration,
    pub(crate) rate: Option<RateSample>,
    pub(crate) mss: u16,
    /// The window was what held the sender back (RFC 7661 §1: else it must not grow).
    pub(crate) cwnd_limited: bool,
    /// Fast recovery is on: it decides cwnd, growth waits.
    pub(crate) in_recovery: bool,
    /// The peer echoes congestion experienced (RFC 3168).
    pub(crate) ece: bool,
    /// A round trip has passed since the last ACK that had this set.
    pub(crate) round_start: bool,
}

impl AckSample {
    /// It is no reason to grow, whatever the algorithm: recovery decides, or a mark was echoed (RFC
    /// 3168 §6.1.2), or the window has never been used up (`fresh`) and is not now.
    pub(crate) fn holds_window(&self, fresh: bool) -> bool {
        self.in_recovery || self.ece || (fresh && !self.cwnd_limited)
    }
}

/// What slow start remembers of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlowStart {
    hystart: HyStart,
    /// It comes after a timeout.
    pub(crate) after_timeout: bool,
}

impl SlowStart {
    pub(crate) const fn new() -> Self {
        Self { hystart: HyStart::new(), after_timeout: false }
    }
}

/// cwnd and ssthresh, in bytes: what every algorithm has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) cwnd: u32,
    pub(crate) ssthresh: u32,
}

impl Window {
    pub(crate) fn new(mss: u16) -> Self {
        Self { cwnd: initial_window(mss), ssthresh: u32::MAX }
    }

    pub(crate) fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// RFC 5681 §3.1 with byte counting: before the first congestion HyStart++ watches (RFC 9406);
    /// after a timeout an ACK counts for one segment (RFC 3465 §2.3), because it may cover text
    /// that had arrived before.
    pub(crate) fn slow_start(&mut self, state: &mut SlowStart, sample: &AckSample) {
        let first = self.ssthresh == u32::MAX;
        let phase = if first { state.hystart.on_ack(sample) } else { Phase::SlowStart };
        if phase == Phase::Done {
            self.ssthresh = self.cwnd;
        } else if sample.cwnd_limited {
            let segments = if state.after_timeout { 1 } else { hystart::GROWTH_SEGMENTS };
            let most = u32::from(sample.mss).saturating_mul(segments);
            let divisor = if phase == Phase::Conservative { hystart::GROWTH_DIVISOR } else { 1 };
            let len = sample.delivered_len.min(most).checked_div(divisor).unwrap_or(0);
            self.grow(len.min(self.ssthresh.saturating_sub(self.cwnd)));
        }
    }

    /// ssthresh = a part of FlightSize, two segments at least (RFC 5681 equation 4).
    pub(crate) fn reduce(&mut self, percent: u32, in_flight: u32, mss: u16) {
        let floor = u32::from(mss).saturating_mul(2);
        self.ssthresh = percent_of(in_flight, percent).clamp(floor, limits::CWND_MAX);
    }

    /// Back to what it was before a mistake; what grew since stays.
    pub(crate) fn restore(&mut self, before: Self) {
        self.cwnd = self.cwnd.max(before.cwnd);
        self.ssthresh = before.ssthresh;
    }

    pub(crate) fn grow(&mut self, len: u32) {
        self.cwnd = self.cwnd.saturating_add(len).min(limits::CWND_MAX);
    }

    /// One segment at least, so that something can always be sent.
    pub(crate) fn set(&mut self, cwnd: u32, mss: u16) {
        self.cwnd = cwnd.clamp(u32::from(mss), limits::CWND_MAX);
    }

    /// RFC 5681 §4.1: cwnd after an idle period is at most the initial window.
    pub(crate) fn restart_idle(&mut self, mss: u16) {
        self.cwnd = self.cwnd.min(initial_window(mss));
    }
}

/// The congestion control of one connection.
#[derive(Debug)]
pub(crate) enum Congestion {
    NewReno(NewReno),
    Cubic(Cubic),
    Bbr(Box<Bbr>),
}

const _: () = assert!(size_of::<Congestion>() <= 24, "every idle connection pays for this");

impl Congestion {
    pub(crate) fn new(algorithm: Algorithm, mss: u16) -> Self {
        Self::with_window(algorithm, Window::new(mss), mss)
    }

    fn with_window(algorithm: Algorithm, window: Window, mss: u16) -> Self {
        match algorithm {
            Algorithm::NewReno => Self::NewReno(NewReno::new(window)),
            Algorithm::Cubic => Self::Cubic(Cubic::new(window)),
            Algorithm::Bbr => Self::Bbr(Box::new(Bbr::new(window, mss))),
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::NewReno(_) => Algorithm::NewReno,
            Self::Cubic(_) => Algorithm::Cubic,
            Self::Bbr(_) => Algorithm::Bbr,
        }
    }

    /// Another algorithm goes on from the same window.
    pub(crate) fn change(&mut self, algorithm: Algorithm, mss: u16) {
        if self.algorithm() != algorithm {
            *self = Self::with_window(algorithm, *self.window(), mss);
        }
    }

    /// Bytes that may be in flight.
    pub(crate) fn cwnd(&self) -> u32 {
        self.window().cwnd
    }

    /// Below it the window doubles per round trip; `u32::MAX` before the first congestion.
    pub(crate) fn ssthresh(&self) -> u32 {
        self.window().ssthresh
    }

    /// Recovery drives the window (RFC 6937), unless the algorithm has a way of its own.
    pub(crate) fn set_cwnd(&mut self, cwnd: u32, mss: u16) {
        match self {
            Self::NewReno(cc) => cc.window.set(cwnd, mss),
            Self::Cubic(cc) => cc.window.set(cwnd, mss),
            Self::Bbr(_) => {}
        }
    }

    /// Segments have become larger: the window has room for at least one, whoever drives it.
    pub(crate) fn segments_grew(&mut self, mss: u16) {
        let window = match self {
            Self::NewReno(cc) => &mut cc.window,
            Self::Cubic(cc) => &mut cc.window,
            Self::Bbr(cc) => &mut cc.window,
        };
        window.set(window.cwnd, mss);
    }

    /// Something has arrived. A window grows only while SND.UNA moves (RFC 5681 §3.1): what a
    /// duplicate ACK reports may be there because something before it is lost.
    pub(crate) fn on_ack(&mut self, sample: &AckSample) {
        match self {
            Self::NewReno(_) | Self::Cubic(_) if sample.acked_len == 0 => {}
            Self::NewReno(cc) => cc.on_ack(sample),
            Self::Cubic(cc) => cc.on_ack(sample),
            Self::Bbr(cc) => cc.on_ack(sample),
        }
    }

    /// Once per episode, before recovery lowers cwnd: sets ssthresh, and cwnd to it, and remembers
    /// what was before for [`Congestion::undo`]. `in_flight`: FlightSize.
    pub(crate) fn on_congestion(&mut self, cause: Cause, in_flight: u32, mss: u16) {
        match self {
            Self::NewReno(cc) => cc.on_congestion(cause, in_flight, mss),
            Self::Cubic(cc) => cc.on_congestion(cause, in_flight, mss),
            Self::Bbr(cc) => cc.on_congestion(cause, in_flight, mss),
        }
    }

    /// The retransmission timer fired: cwnd is one segment. `first`: not yet a repetition for the
    /// same segment (RFC 5681 §3.1 lowers ssthresh once).
    pub(crate) fn on_timeout(&mut self, first: bool, in_flight: u32, mss: u16) {
        match self {
            Self::NewReno(cc) => cc.on_timeout(first, in_flight, mss),
            Self::Cubic(cc) => cc.on_timeout(first, in_flight, mss),
            Self::Bbr(cc) => cc.on_timeout(mss),
        }
    }

    /// All that was out when loss was noticed is acknowledged, after a timeout too.
    pub(crate) fn on_exit_recovery(&mut self) {
        match self {
            Self::NewReno(cc) => cc.on_exit_recovery(),
            Self::Cubic(cc) => cc.on_exit_recovery(),
            Self::Bbr(cc) => cc.on_exit_recovery(),
        }
    }

    /// The last reduction was a mistake (RFC 5682, RFC 3522): nothing had been lost.
    pub(crate) fn undo(&mut self) {
        match self {
            Self::NewReno(cc) => cc.undo(),
            Self::Cubic(cc) => cc.undo(),
            Self::Bbr(cc) => cc.on_exit_recovery(),
        }
    }

    /// Text is sent after more than an RTO without any.
    pub(crate) fn on_idle(&mut self, mss: u16) {
        match self {
            Self::NewReno(cc) => cc.on_idle(mss),
            Self::Cubic(cc) => cc.on_idle(mss),
            Self::Bbr(cc) => cc.on_idle(),
        }
    }

    /// It slows down when a router marks; else the marks must not be asked for (RFC 3168 §6.1.2).
    pub(crate) fn answers_marks(&self) -> bool {
        match self {
            Self::NewReno(_) | Self::Cubic(_) => true,
            Self::Bbr(_) => false,
        }
    }

    /// Bytes per second at which text should leave; `None`: as the window allows.
    pub(crate) fn pacing_rate(&self) -> Option<u64> {
        match self {
            Self::NewReno(_) | Self::Cubic(_) => None,
            Self::Bbr(cc) => Some(cc.pacing_rate()),
        }
    }

    fn window(&self) -> &Window {
        match self {
            Self::NewReno(cc) => &cc.window,
            Self::Cubic(cc) => &cc.window,
            Self::Bbr(cc) => &cc.window,
        }
    }
}

impl Tcb {
    /// `TCP_CONGESTION`: another algorithm goes on from the same window.
    pub fn set_congestion(&mut self, algorithm: Algorithm) {
        self.cc.change(algorithm, self.snd.mss);
        self.assert_invariants();
    }

    /// The algorithm in use.
    #[must_use]
    pub fn congestion(&self) -> Algorithm {
        self.cc.algorithm()
    }
}

/// `percent` of `len`, rounded down.
fn percent_of(len: u32, percent: u32) -> u32 {
    let part = u64::from(len).saturating_mul(u64::from(percent)) / 100;
    u32::try_from(part).unwrap_or(u32::MAX)
}

/// RFC 6928 §2: min(10 MSS, max(2 MSS, 14 600)).
pub(crate) fn initial_window(mss: u16) -> u32 {
    let mss = u32::from(mss);
    let ceiling = mss.saturating_mul(2).max(limits::INITIAL_WINDOW_LEN);
    mss.saturating_mul(limits::INITIAL_WINDOW_SEGMENTS).min(ceiling)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An ACK that grows whatever can grow.
    pub(crate) fn acked(acked_len: u32) -> AckSample {
        AckSample {
            now: Instant::ZERO,
            acked_len,
            delivered_len: acked_len,
            lost_len: 0,
            in_flight: acked_len,
            pipe: 0,
            rtt: None,
            srtt: Duration::ZERO,
            rate: None,
            mss: 1000,
            cwnd_limited: true,
            in_recovery: false,
            ece: false,
            round_start: false,
        }
    }

    #[test]
    fn initial_window_is_ten_segments_or_what_rfc_6928_allows() {
        assert_eq!(initial_window(1460), 14_600);
        assert_eq!(initial_window(536), 5_360);
        assert_eq!(initial_window(8_960), 17_920);
    }

    #[test]
    fn larger_segments_lift_a_window_below_one() {
        for algorithm in [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr] {
            let window = Window { cwnd: 2_048, ssthresh: u32::MAX };
            let mut cc = Congestion::with_window(algorithm, window, 512);
            cc.segments_grew(8_960);
            assert_eq!(cc.cwnd(), 8_960, "{algorithm:?}");
        }
    }

    #[test]
    fn window_never_falls_below_a_segment_nor_exceeds_its_limit() {
        let mut window = Window::new(1000);
        window.set(0, 1000);
        assert_eq!(window.cwnd, 1000);
        window.grow(u32::MAX);
        assert_eq!(window.cwnd, limits::CWND_MAX);
    }
}
