//! Header prediction for the sender's side: on a connection that sends, nearly every segment is the
//! next ACK, of segments that were sent once, and reports neither loss nor duplicates. For that one
//! most of what recovery looks at has nothing to decide, and is left out.
//!
//! It does what [`Tcb::recover_by_ack`] would have done, and nothing besides: a test compares the two.

use types::Instant;

use crate::cc::AckSample;
use crate::flight::{Flight, Phase};
use crate::forward::Forward;
use crate::{SegmentIn, SeqNum, Tcb};

impl Flight {
    /// Nothing is lost, doubted or waited for but ACKs in their order.
    pub(crate) fn is_well(&self) -> bool {
        self.phase == Phase::Open
            && self.forward == Forward::Off
            && self.undo.is_none()
            && self.probe.is_none()
            && self.adapting.is_none()
            && (self.dup_acks, self.dup_len) == (0, 0)
            && !self.impatient
    }

    /// All is acknowledged, and nothing is left to be repaired.
    pub(crate) fn is_over(&self) -> bool {
        self.board.is_empty() && self.is_well() && !self.probe_due && !self.belief.is_holding()
    }
}

impl Tcb {
    /// SND.UNA has moved on from `una`. `false`, and nothing done: the ACK is none of the usual ones.
    pub(crate) fn usual_ack(&mut self, seg: &SegmentIn<'_>, una: SeqNum, now: Instant) -> bool {
        let ece = self.is_echo(seg);
        let Some(flight) = self.flight.as_mut() else { return false };
        if ece || !seg.options.sack.is_empty() || !flight.is_well() {
            return false;
        }
        let before = flight.board.pipe();
        let rack = &flight.rack;
        let Some(run) = flight.board.acknowledge_run(self.snd.una, |last| rack.is_next(last, una))
        else {
            return false;
        };
        let (acked_len, last_rtt) = (self.snd.una.since(una), now.since(run.last.sent_at));
        flight.probe_due = false;
        flight.rto_base = now;
        flight.recover = flight.recover.later(self.snd.una - 1);
        flight.rack.on_delivered(&run.last, false, &mut self.reordering, now);
        flight.rack.due = None;
        self.reordering.sample(last_rtt, now);
        let two = u32::from(self.snd.mss).saturating_mul(2);
        let samples = if before <= two { 1 } else { before.checked_div(two).unwrap_or(1) };
        self.rtt.sample_of(now.since(run.first_sent_at), samples);
        let min_rtt = self.reordering.min_rtt();
        let (rate, round_start) = flight.delivery.finish_run(acked_len, &run.last, min_rtt, now);
        let pipe = flight.board.pipe();
        let sample = AckSample {
            now,
            acked_len,
            delivered_len: acked_len,
            lost_len: 0,
            in_flight: before,
            pipe,
            rtt: Some(last_rtt),
            srtt: self.srtt(),
            rate,
            mss: self.snd.mss,
            cwnd_limited: self.cwnd_limited,
            in_recovery: false,
            ece: false,
            round_start,
        };
        self.cc.on_ack(&sample);
        self.arm_loss_timer(now);
        true
    }
}
