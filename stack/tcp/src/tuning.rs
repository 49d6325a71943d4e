//! Buffers that grow with the connection: the receive buffer by what the user reads in a round trip
//! (dynamic right-sizing, Fisk and Feng 2001, as Linux does it), the send buffer by cwnd. The engine
//! only proposes; limits and memory are the caller's. Nothing ever shrinks, since what was offered
//! to the peer must stay (RFC 9293 §3.8.6).

use types::Instant;

use crate::timestamp::millis;
use crate::{SeqNum, Tcb};

/// What was read in the last round trip.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReceiveTuning {
    /// When the current round trip began, on the millisecond clock.
    began_ms: u32,
    /// How far the user had read by then.
    read_to: SeqNum,
    /// Most bytes ever read in one round trip; 0 before the first.
    read_max: u32,
}

/// Room in the receive buffer besides what is read: 16 segments, for small windows (Linux).
const SLACK_SEGMENTS: u32 = 16;

/// Segments that a first round trip is expected to bring (RFC 6928).
const FIRST_SEGMENTS: u32 = 10;

impl Tcb {
    /// The receive buffer the connection could use, if it is `limit` now and `unread` bytes wait in
    /// it: room for what the peer will send while as much is read as in the last round trip, and for
    /// its growth. At least `limit`. Call it when text is delivered or read.
    pub fn tune_receive(&mut self, limit: u32, unread: u32, now: Instant) -> u32 {
        let elapsed_ms = millis(now).wrapping_sub(self.tuning.began_ms);
        let mss = u32::from(self.rcv.mss);
        let before = self.tuning.read_max;
        let read_to = self.rcv.nxt - unread;
        if before > 0 && elapsed_ms < (self.rtt.srtt_us / MICROS_PER_MILLI).max(1) {
            return limit;
        }
        let read = if before > 0 { read_to.since(self.tuning.read_to) } else { 0 };
        let read_max = before.max(read).max(mss.saturating_mul(FIRST_SEGMENTS));
        self.tuning = ReceiveTuning { began_ms: millis(now), read_to, read_max };
        if before == 0 || read <= before {
            return limit;
        }
        // Twice what was read lets the peer double; it grew by this much already, so twice of that
        // once more.
        let twice = u64::from(read).saturating_mul(2);
        let base = twice.saturating_add(u64::from(mss.saturating_mul(SLACK_SEGMENTS)));
        let growth = u64::from(read.saturating_sub(before)).saturating_mul(base);
        let growth = growth.checked_div(u64::from(before)).unwrap_or(0).saturating_mul(2);
        limit.max(u32::try_from(base.saturating_add(growth)).unwrap_or(u32::MAX))
    }

    /// The send buffer the connection could use: a window in flight, and one to follow it.
    #[must_use]
    pub fn send_buffer_wanted(&self) -> u32 {
        self.cc.cwnd().saturating_mul(2)
    }

    /// Bytes sent and not acknowledged.
    #[must_use]
    pub fn unacked_len(&self) -> u32 {
        self.snd.max.since(self.snd.una).min(self.snd.queued)
    }
}

const MICROS_PER_MILLI: u32 = 1_000;
