//! SEGMENT ARRIVES (RFC 9293 §3.10.7.4): the steps, each of which may be the last.

use core::ops::ControlFlow;

use types::{DropReason, Instant};

use crate::fast_path::Predicted;
use crate::state::Event;
use crate::timers::Timer;
use crate::{Arrival, Events, Flags, RecvBuffer, SegmentIn, SeqNum, State, Tcb, limits};

/// The RFC's "and return": `Some` names why the segment was dropped.
pub(crate) type Step = ControlFlow<Option<DropReason>>;

pub(crate) const fn dropped(reason: DropReason) -> Step {
    ControlFlow::Break(Some(reason))
}

impl Tcb {
    /// SEGMENT ARRIVES. Sends nothing: call [`Tcb::poll_transmit`] after the burst.
    pub fn segment_arrives(
        &mut self,
        seg: &SegmentIn<'_>,
        now: Instant,
        buffer: &mut impl RecvBuffer,
    ) -> Arrival {
        self.arrives(seg, now, buffer, self.predict(seg, now))
    }

    /// SEGMENT ARRIVES, for a segment that is what was expected or for any other.
    pub(crate) fn arrives(
        &mut self,
        seg: &SegmentIn<'_>,
        now: Instant,
        buffer: &mut impl RecvBuffer,
        predicted: Option<Predicted>,
    ) -> Arrival {
        let mut arrival = Arrival::default();
        self.pacing_advance(now);
        self.counts.arrived(seg);
        let step = match predicted {
            Some(predicted) => self.predicted(predicted, seg, now, &mut arrival, buffer),
            None => self.by_state(seg, now, &mut arrival, buffer),
        };
        if let ControlFlow::Break(Some(reason)) = step {
            arrival.drop = Some(reason);
        }
        self.update_persist(now);
        self.assert_invariants();
        arrival
    }

    /// Any segment in any state.
    fn by_state(
        &mut self,
        seg: &SegmentIn<'_>,
        now: Instant,
        arrival: &mut Arrival,
        buffer: &mut impl RecvBuffer,
    ) -> Step {
        let mut seg = *seg;
        match self.state {
            State::Closed | State::Listen => dropped(DropReason::TcpNoListener),
            State::SynSent => self.syn_sent(&mut seg, now, arrival, buffer),
            _ => self.steps(&mut seg, now, arrival, buffer),
        }
    }

    /// The synchronized states. RFC 5961 answers SYN and RST wherever they are, so these two come
    /// before the check of the sequence number, which would only answer in the same way.
    fn steps(
        &mut self,
        seg: &mut SegmentIn<'_>,
        now: Instant,
        arrival: &mut Arrival,
        buffer: &mut impl RecvBuffer,
    ) -> Step {
        self.check_rst(seg, now, arrival)?;
        self.check_syn(seg, now)?;
        self.check_timestamps(seg, now)?;
        self.check_sequence(seg, now, arrival)?;
        self.ecn_arrives(seg);
        self.process_ack(seg, now, arrival)?;
        self.keepalive.heard(now);
        if let Some(option) = seg.options.user_timeout {
            self.user_timeout_of_peer(option);
        }
        self.process_urgent(seg, arrival, buffer);
        self.process_text(seg, now, arrival, buffer)?;
        self.process_fin(now, arrival);
        ControlFlow::Continue(())
    }

    /// Second: RST (RFC 9293 §3.10.7.4, RFC 5961 §3.2): only the exact number resets; elsewhere
    /// in the window it is answered, so that a peer who means it can do better.
    fn check_rst(&mut self, seg: &SegmentIn<'_>, now: Instant, arrival: &mut Arrival) -> Step {
        if !seg.flags.contains(Flags::RST) {
            return ControlFlow::Continue(());
        }
        if self.state == State::TimeWait {
            // RFC 1337: a RST must not assassinate TIME-WAIT.
            return dropped(DropReason::TcpResetUnacceptable);
        }
        if seg.seq != self.rcv.nxt {
            if seg.seq.in_window(self.rcv.nxt, self.rcv.adv.since(self.rcv.nxt)) {
                self.challenge(now);
            }
            return dropped(DropReason::TcpResetUnacceptable);
        }
        // Both sides had sent their FIN: all the user's text may have arrived, nobody is harmed.
        arrival.events |= match self.state {
            State::Closing | State::LastAck => Events::CLOSED,
            State::SynReceived if !self.passive => Events::CLOSED | Events::REFUSED,
            _ => Events::CLOSED | Events::RESET,
        };
        self.transition(Event::Reset);
        ControlFlow::Break(None)
    }

    /// Fourth: SYN (RFC 5961 §4.2): a challenge ACK, whatever the sequence number. A peer that
    /// lost its state answers that with an exact RST.
    fn check_syn(&mut self, seg: &mut SegmentIn<'_>, now: Instant) -> Step {
        if !seg.flags.contains(Flags::SYN) {
            return ControlFlow::Continue(());
        }
        let answers_ours = !seg.flags.contains(Flags::ACK)
            || (seg.ack.after(self.snd.una) && seg.ack.at_or_before(self.snd.max));
        if self.state != State::SynReceived || seg.seq != self.snd.wl1 || !answers_ours {
            self.challenge(now);
            return dropped(DropReason::TcpSynUnacceptable);
        }
        if !seg.flags.contains(Flags::ACK) {
            // The peer's own SYN again: our SYN-ACK was lost, and only a SYN-ACK helps it.
            self.repeat_syn();
            return dropped(DropReason::TcpDuplicate);
        }
        // RFC 9293 figure 8: the other half of a simultaneous open; its SYN is old news.
        seg.flags = seg.flags.without(Flags::SYN);
        seg.seq += 1;
        self.ack_now();
        ControlFlow::Continue(())
    }

    /// RFC 7323 §5.3 R1 and §3.2.
    fn check_timestamps(&mut self, seg: &SegmentIn<'_>, now: Instant) -> Step {
        if !self.timestamps.enabled {
            return ControlFlow::Continue(());
        }
        let Some(theirs) = seg.options.timestamps else {
            return dropped(DropReason::TcpTimestampMissing);
        };
        if self.timestamps.is_old(theirs.value, now) {
            self.answer_unacceptable(seg, now);
            return dropped(DropReason::TcpPaws);
        }
        ControlFlow::Continue(())
    }

    /// First: the sequence number (RFC 9293 §3.10.7.4). Besides the RFC's four cases these are
    /// acceptable: a pure ACK exactly at the right edge (its sender has filled our window), and
    /// the first byte of a closed window (its sender probes; the ACK field still counts).
    fn check_sequence(&mut self, seg: &SegmentIn<'_>, now: Instant, arrival: &mut Arrival) -> Step {
        let rcv = &self.rcv;
        let wnd = rcv.adv.since(rcv.nxt);
        let len = seg.len();
        let begins_inside = seg.seq.since(rcv.nxt) < wnd || seg.seq == rcv.nxt;
        let acceptable = if len == 0 {
            seg.seq.since(rcv.nxt) <= wnd
        } else {
            begins_inside || (seg.seq.before(rcv.nxt) && (seg.seq + len).after(rcv.nxt))
        };
        if acceptable {
            return ControlFlow::Continue(());
        }
        self.answer_unacceptable(seg, now);
        if self.state == State::TimeWait && seg.flags.contains(Flags::FIN) {
            // The peer did not get our last ACK: 2 MSL begin again.
            self.timers.start(Timer::TwoMsl, now + limits::TIME_WAIT);
        }
        let duplicate = len > 0 && (seg.seq + len).at_or_before(self.rcv.nxt);
        if seg.seq.in_window(self.rcv.nxt - limits::SEND_QUEUE_MAX, limits::SEND_QUEUE_MAX) {
            self.ack_of_old_segment(seg, now, arrival);
        }
        dropped(if duplicate { DropReason::TcpDuplicate } else { DropReason::TcpSequence })
    }

    /// An unacceptable segment is answered with an ACK (RFC 9293 §3.10.7.4). One with text or FIN
    /// is most likely a retransmission whose ACK was lost; anything else could be part of a loop
    /// or an attack and counts against the limit.
    fn answer_unacceptable(&mut self, seg: &SegmentIn<'_>, now: Instant) {
        if seg.is_empty() {
            self.challenge(now);
        } else {
            self.note_duplicate(seg);
            self.ack_now();
        }
    }

    /// RFC 5961 §7: a challenge ACK, unless this connection has sent its share.
    pub(crate) fn challenge(&mut self, now: Instant) {
        if self.challenge.allow(now) {
            self.ack_now();
        }
    }

    /// RST with the number the peer expects, for an ACK of something never sent (§3.10.7.3).
    pub(crate) fn reset_in_reply(&mut self, ack: SeqNum) {
        self.rare_mut().reply_reset = Some(ack);
    }
}
