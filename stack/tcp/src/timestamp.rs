//! Timestamps and protection against wrapped sequence numbers (RFC 7323 §3-5).

use types::Instant;

use crate::{SeqNum, Timestamps, limits};

/// What a connection knows of both timestamp clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimestampClock {
    /// Offered, and after the handshake: negotiated (Snd.TS.OK).
    pub(crate) enabled: bool,
    /// Ours: milliseconds plus this.
    pub(crate) offset: u32,
    /// TS.Recent.
    pub(crate) recent: u32,
    /// When TS.Recent was set, in seconds.
    recent_at: u16,
}

impl TimestampClock {
    pub(crate) const fn new(enabled: bool, offset: u32) -> Self {
        Self { enabled, offset, recent: 0, recent_at: 0 }
    }

    /// Our clock.
    pub(crate) fn value(&self, now: Instant) -> u32 {
        millis(now).wrapping_add(self.offset)
    }

    /// The option to send.
    pub(crate) fn option(&self, now: Instant) -> Option<Timestamps> {
        self.enabled.then(|| Timestamps { value: self.value(now), echo: self.recent })
    }

    /// RFC 7323 §5.3 R1: older than TS.Recent, and TS.Recent is not outdated (§5.5).
    pub(crate) fn is_old(&self, value: u32, now: Instant) -> bool {
        is_older(value, self.recent)
            && age_clock(now).wrapping_sub(self.recent_at) < limits::PAWS_IDLE
    }

    /// Adopts `value` as TS.Recent.
    pub(crate) fn set_recent(&mut self, value: u32, now: Instant) {
        self.recent = value;
        self.recent_at = age_clock(now);
    }

    /// RFC 7323 §4.3 (2): a segment that covers Last.ACK.sent brings a new TS.Recent.
    pub(crate) fn update(&mut self, value: u32, seq: SeqNum, last_ack: SeqNum, now: Instant) {
        if self.enabled && !self.is_old(value, now) && seq.at_or_before(last_ack) {
            self.set_recent(value, now);
        }
    }

    /// The round trip that the echo tells of (RFC 7323 §4.1), if it is believable.
    pub(crate) fn elapsed_ms(&self, echo: u32, now: Instant) -> Option<u32> {
        let elapsed = self.value(now).wrapping_sub(echo);
        let believable = u128::from(elapsed) <= limits::RTO_MAX.as_millis();
        (self.enabled && echo != 0 && believable).then_some(elapsed)
    }
}

/// `a` comes before `b` on a 32-bit clock that wraps.
pub(crate) fn is_older(a: u32, b: u32) -> bool {
    SeqNum::new(a).before(SeqNum::new(b))
}

/// The low 32 bits of the clock in milliseconds.
pub(crate) fn millis(now: Instant) -> u32 {
    low_32(now.as_millis())
}

pub(crate) fn seconds(now: Instant) -> u32 {
    low_32(now.as_millis() / 1_000)
}

/// The clock in units of 2^40 ns, 18 minutes: 16 bits last for two years of silence.
fn age_clock(now: Instant) -> u16 {
    low_16(low_32(now.as_nanos() >> 40))
}

pub(crate) fn low_32(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0)
}

pub(crate) fn low_16(value: u32) -> u16 {
    u16::try_from(value & u32::from(u16::MAX)).unwrap_or(0)
}
