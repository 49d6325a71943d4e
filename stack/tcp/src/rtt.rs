//! Round-trip time and retransmission timeout (RFC 6298).

use core::time::Duration;

use types::Instant;

use crate::timestamp::{low_32, millis};
use crate::{SeqNum, limits};

/// SRTT, RTTVAR, RTO, and the one segment that is being timed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rtt {
    /// Smoothed round-trip time in microseconds, 0 before the first sample.
    pub(crate) srtt_us: u32,
    /// Its variation in microseconds.
    pub(crate) rttvar_us: u32,
    rto_us: u32,
    backoff: u8,
    /// When the timeout was last backed off, on the millisecond clock.
    backed_off_ms: u32,
    timed_end: SeqNum,
    /// When the timed segment was sent; `FAR_FUTURE`: none is timed.
    timed_at_us: u32,
    /// A segment is being timed; it is sent again, and no longer timed, long before the clock wraps.
    timing: bool,
}

/// SRTT, RTTVAR and RTO in microseconds, while nothing is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    srtt: u32,
    rttvar: u32,
    rto: u32,
}

/// SRTT_prev and RTTVAR_prev of RFC 4015 §3.2, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BeforeTimeout {
    srtt_us: u32,
    rttvar_us: u32,
}

impl Rtt {
    pub(crate) fn new() -> Self {
        Self {
            srtt_us: 0,
            rttvar_us: 0,
            rto_us: micros(limits::RTO_INITIAL),
            backoff: 0,
            backed_off_ms: 0,
            timed_end: SeqNum::new(0),
            timed_at_us: 0,
            timing: false,
        }
    }

    /// All there is to know, if no segment is being timed and the timeout is not backed off.
    pub(crate) fn settled(&self) -> Option<Settled> {
        let Self { srtt_us: srtt, rttvar_us: rttvar, rto_us: rto, .. } = *self;
        (!self.timing && self.backoff == 0).then_some(Settled { srtt, rttvar, rto })
    }

    pub(crate) fn resumed(settled: Settled) -> Self {
        let Settled { srtt, rttvar, rto } = settled;
        Self { srtt_us: srtt, rttvar_us: rttvar, rto_us: rto, ..Self::new() }
    }

    /// The timeout to arm the timer with, backed off.
    pub(crate) fn rto(&self) -> Duration {
        let factor = 1_u32.checked_shl(u32::from(self.backoff)).unwrap_or(u32::MAX);
        self.base().saturating_mul(factor).min(limits::RTO_MAX)
    }

    /// How often the timeout was doubled.
    pub(crate) const fn backoff(&self) -> u8 {
        self.backoff
    }

    /// The timeout without back-off.
    pub(crate) fn base(&self) -> Duration {
        Duration::from_micros(u64::from(self.rto_us))
    }

    /// RFC 6298 §5.5.
    pub(crate) fn back_off(&mut self, now: Instant) {
        self.backed_off_ms = millis(now);
        self.backoff = self.backoff.saturating_add(1).min(16);
    }

    /// A timestamp was echoed `elapsed_ms` after it was sent (RFC 7323 §4.1). It is a sample where
    /// Karn's algorithm has none, if it is of a segment sent after the timeout. An older one may
    /// stand for an ACK that was lost long ago, and would count the timeouts as round trip.
    pub(crate) fn sample_echo(&mut self, elapsed_ms: u32, now: Instant) {
        let since_timeout_ms = millis(now).wrapping_sub(self.backed_off_ms);
        if self.backoff > 0 && elapsed_ms <= since_timeout_ms {
            self.sample(Duration::from_millis(u64::from(elapsed_ms)));
        }
    }

    /// RFC 6298 §5.7: the SYN was lost and there is no sample.
    pub(crate) fn begin_after_syn_loss(&mut self) {
        self.backoff = 0;
        if self.srtt_us == 0 {
            self.rto_us = micros(limits::RTO_AFTER_SYN_LOSS);
        }
    }

    /// Times the segment that ends at `end`, unless one is timed already.
    pub(crate) fn time(&mut self, end: SeqNum, now: Instant) {
        if !self.timing {
            self.timing = true;
            self.timed_end = end;
            self.timed_at_us = clock_us(now);
        }
    }

    /// Karn's algorithm: what is sent twice can't be timed (RFC 6298 §3).
    pub(crate) fn cancel(&mut self) {
        self.timing = false;
    }

    /// Takes the sample of the timed segment if `ack` covers it.
    pub(crate) fn take_timed(&mut self, ack: SeqNum, now: Instant) -> Option<Duration> {
        if !self.timing || ack.before(self.timed_end) {
            return None;
        }
        self.timing = false;
        let elapsed_us = clock_us(now).wrapping_sub(self.timed_at_us);
        Some(Duration::from_micros(elapsed_us.into()))
    }

    /// RFC 6298 §2.2, 2.3. A sample ends the back-off.
    pub(crate) fn sample(&mut self, rtt: Duration) {
        self.sample_of(rtt, 1);
    }

    /// One of `count` samples per round trip: each weighs so much less (RFC 7323 appendix G).
    pub(crate) fn sample_of(&mut self, rtt: Duration, count: u32) {
        let rtt = micros(rtt.min(limits::RTO_MAX)).max(1);
        if self.srtt_us == 0 {
            self.srtt_us = rtt;
            self.rttvar_us = rtt >> 1;
        } else {
            let error = self.srtt_us.abs_diff(rtt);
            // RTTVAR <- 3/4 RTTVAR + 1/4 |SRTT - R'|; SRTT <- 7/8 SRTT + 1/8 R'
            let step = |from: u32, to: u32, shift: u32| {
                let all = from.abs_diff(to) >> shift;
                // `count` is 1 most often, and division takes its time.
                if count == 1 { all } else { all.checked_div(count).unwrap_or(0) }
            };
            self.rttvar_us = moved(self.rttvar_us, error, step(self.rttvar_us, error, 2));
            self.srtt_us = moved(self.srtt_us, rtt, step(self.srtt_us, rtt, 3));
        }
        self.update_rto();
    }

    /// RFC 6298 §2.2, 2.4, 2.5.
    fn update_rto(&mut self) {
        let margin = self.rttvar_us.saturating_mul(4).max(CLOCK_GRANULARITY_US);
        self.rto_us = self
            .srtt_us
            .saturating_add(margin)
            .clamp(micros(limits::RTO_MIN), micros(limits::RTO_MAX));
        self.backoff = 0;
    }

    /// RFC 4015 §3.2 step 0.
    pub(crate) fn before_timeout(&self) -> BeforeTimeout {
        let srtt_us = self.srtt_us.saturating_add(CLOCK_GRANULARITY_US.saturating_mul(2));
        BeforeTimeout { srtt_us, rttvar_us: self.rttvar_us }
    }

    /// RFC 4015 §3.2 step 9: a timeout was spurious, this is how long round trips take now.
    pub(crate) fn adapt(&mut self, before: BeforeTimeout, rtt: Duration) {
        let rtt = micros(rtt.min(limits::RTO_MAX));
        self.srtt_us = before.srtt_us.max(rtt);
        self.rttvar_us = before.rttvar_us.max(rtt >> 1);
        self.update_rto();
    }

    /// One timeout in a row.
    pub(crate) const fn is_backed_off_once(&self) -> bool {
        self.backoff == 1
    }
}

/// `from`, moved by `step` towards `to`.
fn moved(from: u32, to: u32, step: u32) -> u32 {
    if to > from { from.saturating_add(step) } else { from.saturating_sub(step) }
}

/// G of RFC 6298: the timestamp clock's tick.
const CLOCK_GRANULARITY_US: u32 = 1_000;

pub(crate) fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// The low 32 bits of the clock in microseconds.
fn clock_us(now: Instant) -> u32 {
    low_32(now.as_nanos() / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn first_sample_sets_srtt_and_half_of_it_as_variation() {
        let mut rtt = Rtt::new();
        assert_eq!(rtt.rto(), limits::RTO_INITIAL);
        rtt.sample(ms(100));
        assert_eq!((rtt.srtt_us, rtt.rttvar_us), (100_000, 50_000));
        assert_eq!(rtt.rto(), ms(300));
    }

    #[test]
    fn rto_stays_between_its_bounds_and_backs_off_to_the_maximum() {
        let mut rtt = Rtt::new();
        rtt.sample(Duration::ZERO);
        assert_eq!(rtt.rto(), limits::RTO_MIN);
        for _ in 0..300 {
            rtt.back_off(Instant::ZERO);
        }
        assert_eq!(rtt.rto(), limits::RTO_MAX);
        rtt.sample(Duration::MAX);
        assert_eq!(rtt.rto(), limits::RTO_MAX);
    }

    #[test]
    fn a_retransmitted_segment_gives_no_sample() {
        let mut rtt = Rtt::new();
        rtt.time(SeqNum::new(10), Instant::from_millis(1));
        rtt.time(SeqNum::new(20), Instant::from_millis(5));
        assert_eq!(rtt.take_timed(SeqNum::new(9), Instant::from_millis(9)), None);
        assert_eq!(rtt.take_timed(SeqNum::new(10), Instant::from_millis(9)), Some(ms(8)));
        rtt.time(SeqNum::new(30), Instant::from_millis(9));
        rtt.cancel();
        assert_eq!(rtt.take_timed(SeqNum::new(30), Instant::from_millis(99)), None);
    }
}
