//! Loss recovery: fast retransmit and NewReno fast recovery (RFC 5681 §3.2, RFC 6582), limited
//! transmit (RFC 3042).

use core::time::Duration;

use types::Instant;

use crate::cc::{AckSample, Cause};
use crate::{SeqNum, Tcb, limits};

/// Where recovery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No loss is being repaired.
    Open,
    /// Fast recovery; `partial`: a partial ACK has restarted the retransmission timer.
    Fast { partial: bool },
    /// After a timeout: slow start up to `recover`.
    Loss,
}

/// The variables of RFC 6582.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    pub(crate) phase: Phase,
    pub(crate) dup_acks: u8,
    /// The highest sequence number sent when loss was last noticed.
    recover: SeqNum,
}

impl Recovery {
    pub(crate) const fn new(iss: SeqNum) -> Self {
        Self { phase: Phase::Open, dup_acks: 0, recover: iss }
    }

    /// RFC 6582 §3.2 step 4: after a timeout, duplicate ACKs below `recover` mean nothing.
    pub(crate) fn on_timeout(&mut self, max: SeqNum) {
        self.phase = Phase::Loss;
        self.dup_acks = 0;
        self.recover = max;
    }

    /// No loss is being repaired.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Bytes that limited transmit allows beyond cwnd (RFC 3042 §2).
    pub(crate) fn limited_transmit(&self, mss: u16) -> u32 {
        match self.phase {
            Phase::Open => u32::from(self.dup_acks.min(2)).saturating_mul(u32::from(mss)),
            Phase::Fast { .. } | Phase::Loss => 0,
        }
    }
}

impl Tcb {
    /// A duplicate ACK as RFC 5681 §2 defines it.
    pub(crate) fn duplicate_ack(&mut self, now: Instant) {
        self.recovery.dup_acks = self.recovery.dup_acks.saturating_add(1);
        match self.recovery.phase {
            // Step 4: each one says that a segment has left the network.
            Phase::Fast { .. } => self.inflate(u32::from(self.snd.mss)),
            _ if self.recovery.dup_acks == limits::DUP_ACKS => self.enter_fast_recovery(now),
            _ => {}
        }
    }

    /// RFC 6582 §3.2 steps 1-3, RFC 5681 §3.2 steps 2-3.
    fn enter_fast_recovery(&mut self, now: Instant) {
        if self.snd.una.at_or_before(self.recovery.recover) {
            return;
        }
        self.recovery.recover = self.snd.max;
        self.recovery.phase = Phase::Fast { partial: false };
        self.ecn.reduced(self.snd.max);
        self.cc.on_congestion(Cause::Loss, self.snd.in_flight(), self.snd.mss, now);
        self.inflate(u32::from(self.snd.mss).saturating_mul(u32::from(limits::DUP_ACKS)));
        self.retransmit_first = true;
        self.restart_retransmit(now);
    }

    /// `acked_len` bytes of sequence space are newly acknowledged; SND.UNA has moved.
    pub(crate) fn recovery_on_ack(&mut self, acked_len: u32, now: Instant) {
        self.recovery.dup_acks = 0;
        let full = self.snd.una.at_or_after(self.recovery.recover);
        match self.recovery.phase {
            Phase::Open => {
                self.restart_retransmit(now);
                self.cc.on_ack(&self.ack_sample(acked_len, now));
            }
            Phase::Loss => {
                self.restart_retransmit(now);
                self.cc.on_ack(&self.ack_sample(acked_len, now));
                if full {
                    self.recovery.phase = Phase::Open;
                    self.cc.on_exit_recovery();
                }
            }
            Phase::Fast { .. } if full => self.leave_fast_recovery(now),
            Phase::Fast { partial } => self.partial_ack(acked_len, partial, now),
        }
    }

    /// RFC 6582 §3.2 step 3, full acknowledgment, option 1: no burst.
    fn leave_fast_recovery(&mut self, now: Instant) {
        let mss = u32::from(self.snd.mss);
        let flight = self.snd.in_flight().max(mss).saturating_add(mss);
        self.cc.set_cwnd(self.cc.ssthresh().min(flight), self.snd.mss);
        self.cc.on_exit_recovery();
        self.recovery.phase = Phase::Open;
        // Nothing below was sent three times, so duplicate ACKs for SND.UNA itself mean a loss.
        self.recovery.recover = self.snd.una - 1;
        self.retransmit_first = false;
        self.restart_retransmit(now);
    }

    /// RFC 6582 §3.2 step 3, partial acknowledgment: the next hole begins at SND.UNA. Only the
    /// first one restarts the timer ("impatient"), so that many holes end in slow start.
    fn partial_ack(&mut self, acked_len: u32, restarted: bool, now: Instant) {
        let mss = u32::from(self.snd.mss);
        self.retransmit_first = true;
        let mut cwnd = self.cc.cwnd().saturating_sub(acked_len).max(mss);
        if acked_len >= mss {
            cwnd = cwnd.saturating_add(mss);
        }
        self.cc.set_cwnd(cwnd, self.snd.mss);
        if !restarted {
            self.recovery.phase = Phase::Fast { partial: true };
            self.restart_retransmit(now);
        }
    }

    fn inflate(&mut self, len: u32) {
        self.cc.set_cwnd(self.cc.cwnd().saturating_add(len), self.snd.mss);
    }

    fn ack_sample(&self, acked_len: u32, now: Instant) -> AckSample {
        let srtt = Duration::from_micros(u64::from(self.rtt.srtt_us));
        AckSample {
            now,
            acked_len,
            delivered_len: acked_len,
            lost_len: 0,
            in_flight: self.snd.in_flight().saturating_add(acked_len),
            pipe: self.snd.in_flight(),
            rtt: None,
            min_rtt: srtt,
            srtt,
            rate: None,
            mss: self.snd.mss,
            cwnd_limited: self.cwnd_limited,
            app_limited: false,
            in_recovery: false,
            ece: false,
            round_start: false,
        }
    }
}
