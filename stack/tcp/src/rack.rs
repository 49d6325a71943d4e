//! RACK (RFC 8985 §6): a segment is lost when one sent sufficiently later has arrived. Time, not
//! the count of duplicate ACKs, decides; so it finds lost retransmissions and losses at the end of
//! a flight too, and reordering within a quarter of the round trip does no harm.

use core::time::Duration;

use types::Instant;

use crate::rtt::micros;
use crate::scoreboard::{Scoreboard, Segment};
use crate::timestamp::seconds;
use crate::{SeqNum, limits};

/// What a connection learns for its lifetime, idle or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reordering {
    /// RACK.min_RTT in microseconds, 0 before the first sample.
    min_rtt_us: u32,
    /// When that was measured.
    min_rtt_s: u32,
    /// RACK.reo_wnd_mult.
    factor: u8,
    /// RACK.reo_wnd_persist.
    persist: u8,
    /// RACK.reordering_seen.
    pub(crate) seen: bool,
}

impl Reordering {
    pub(crate) const fn new() -> Self {
        Self {
            min_rtt_us: 0,
            min_rtt_s: 0,
            factor: 1,
            persist: limits::REO_WND_PERSIST,
            seen: false,
        }
    }

    /// The smallest round-trip time of the last minutes; zero before the first.
    pub(crate) fn min_rtt(&self) -> Duration {
        Duration::from_micros(u64::from(self.min_rtt_us))
    }

    /// What was shorter was not true.
    pub(crate) fn set_min_rtt(&mut self, rtt: Duration) {
        self.min_rtt_us = micros(rtt);
    }

    /// Step 1.
    pub(crate) fn sample(&mut self, rtt: Duration, now: Instant) {
        let rtt_us = micros(rtt).max(1);
        let old = seconds(now).wrapping_sub(self.min_rtt_s) > limits::MIN_RTT_S;
        if self.min_rtt_us == 0 || rtt_us <= self.min_rtt_us || old {
            self.min_rtt_us = rtt_us;
            self.min_rtt_s = seconds(now);
        }
    }

    /// A duplicate was reported: we took something for lost that was not.
    pub(crate) fn widen(&mut self) {
        self.factor = self.factor.saturating_add(1);
        self.persist = limits::REO_WND_PERSIST;
    }

    /// A recovery ended.
    pub(crate) fn on_recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.factor = 1;
        }
    }

    /// RACK.reo_wnd (step 4).
    fn window(&self, hurried: bool, srtt: Duration) -> Duration {
        if hurried && !self.seen {
            return Duration::ZERO;
        }
        let quarter_us = self.min_rtt_us >> 2;
        let window_us = quarter_us.saturating_mul(u32::from(self.factor));
        Duration::from_micros(u64::from(window_us)).min(srtt)
    }
}

/// The variables of RFC 8985 §5.3 that matter while something is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rack {
    /// RACK.xmit_ts and RACK.end_seq: of the segments that have arrived, the one sent last.
    sent_at: Instant,
    end: SeqNum,
    /// RACK.rtt.
    rtt: Duration,
    /// RACK.fack: the highest number that has arrived.
    fack: SeqNum,
    /// RACK.dsack_round.
    dsack_round: Option<SeqNum>,
    /// When the reordering timer is due.
    pub(crate) due: Option<Instant>,
}

impl Rack {
    pub(crate) const fn new(una: SeqNum) -> Self {
        Self {
            sent_at: Instant::ZERO,
            end: una,
            rtt: Duration::ZERO,
            fack: una,
            dsack_round: None,
            due: None,
        }
    }

    /// `segment` was sent after all that has arrived, and so was everything from `una` on.
    pub(crate) fn is_next(&self, segment: &Segment, una: SeqNum) -> bool {
        self.fack.at_or_before(una) && segment.is_sent_after(self.sent_at, self.end)
    }

    /// Steps 2 and 3: `segment` has arrived. `before_resend`: the ACK echoes a timestamp from before
    /// the segment was sent again.
    pub(crate) fn on_delivered(
        &mut self,
        segment: &Segment,
        before_resend: bool,
        reordering: &mut Reordering,
        now: Instant,
    ) {
        if segment.end.after(self.fack) {
            self.fack = segment.end;
        } else if segment.end.before(self.fack) && !segment.retransmitted {
            reordering.seen = true;
        }
        let rtt = now.since(segment.sent_at);
        if segment.retransmitted && (before_resend || rtt < reordering.min_rtt()) {
            return;
        }
        if segment.is_sent_after(self.sent_at, self.end) {
            self.rtt = rtt;
            self.sent_at = segment.sent_at;
            self.end = segment.end;
        }
    }

    /// Step 4, the part with DSACK: the window grows once per round trip that reports a duplicate.
    pub(crate) fn on_duplicate(&mut self, una: SeqNum, nxt: SeqNum, reordering: &mut Reordering) {
        if self.dsack_round.is_none_or(|round| una.at_or_after(round)) {
            self.dsack_round = Some(nxt);
            reordering.widen();
        }
    }

    /// Step 5. `hurried`: in recovery, or three segments have arrived out of order. Returns the
    /// bytes lost. The list is in the order of transmission: the first one that has time left ends
    /// the search. The timer waits for the last of those that were overtaken.
    pub(crate) fn detect_loss(
        &mut self,
        board: &mut Scoreboard,
        reordering: &Reordering,
        hurried: bool,
        srtt: Duration,
        now: Instant,
    ) -> u32 {
        let patience = self.rtt.saturating_add(reordering.window(hurried, srtt));
        let mut lost: u32 = 0;
        while let Some((id, segment)) = board.oldest() {
            if !self.has_overtaken(segment) || segment.sent_at + patience > now {
                break;
            }
            lost = lost.saturating_add(segment.missing_len());
            board.lose(id);
        }
        let late = board.oldest_while(limits::REORDERING_SEGMENTS, |late| self.has_overtaken(late));
        self.due = late.map(|late| late.sent_at + patience).max();
        lost
    }

    /// What was sent later than `segment` has arrived.
    fn has_overtaken(&self, segment: &Segment) -> bool {
        self.sent_at > segment.sent_at
            || (self.sent_at == segment.sent_at && self.end.after(segment.end))
    }

    /// What a timeout takes for lost besides the first segment (RFC 8985 §6.3).
    pub(crate) fn patience(&self, reordering: &Reordering, srtt: Duration) -> Duration {
        let rtt = if self.rtt.is_zero() { srtt } else { self.rtt };
        rtt.saturating_add(reordering.window(true, srtt))
    }
}
