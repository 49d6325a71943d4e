//! SEGMENT ARRIVES in SYN-SENT (RFC 9293 §3.10.7.3): the active side of the handshake.

use core::ops::ControlFlow;

use types::{DropReason, Instant};

use crate::input::{Step, dropped};
use crate::state::Event;
use crate::{Arrival, Events, Flags, RecvBuffer, SegmentIn, Tcb};

impl Tcb {
    pub(crate) fn syn_sent(
        &mut self,
        seg: &mut SegmentIn<'_>,
        now: Instant,
        arrival: &mut Arrival,
        buffer: &mut impl RecvBuffer,
    ) -> Step {
        let acks_syn = self.check_ack_of_syn(seg)?;
        self.check_rst_of_syn(seg, acks_syn, arrival)?;
        if !seg.flags.contains(Flags::SYN) {
            return dropped(DropReason::TcpFlags);
        }
        self.accept_syn(seg, now);
        self.ecn.syn_arrives(seg.flags);
        if !acks_syn {
            // Simultaneous open. Text on this SYN is not taken; it will be sent again.
            self.transition(Event::Syn);
            self.snd.nxt = self.snd.una;
            return ControlFlow::Continue(());
        }
        self.transition(Event::SynAck);
        self.fast_open_answered(&seg.options);
        self.syn_acknowledged(seg, now, arrival);
        self.ack_now();
        seg.flags = seg.flags.without(Flags::SYN);
        seg.seq += 1;
        self.process_urgent(seg, arrival, buffer);
        self.process_text(seg, now, arrival, buffer)?;
        self.process_fin(now, arrival);
        ControlFlow::Continue(())
    }

    /// First: an ACK must cover our SYN and nothing else.
    fn check_ack_of_syn(&mut self, seg: &SegmentIn<'_>) -> ControlFlow<Option<DropReason>, bool> {
        if !seg.flags.contains(Flags::ACK) {
            return ControlFlow::Continue(false);
        }
        if seg.ack.after(self.snd.una) && seg.ack.at_or_before(self.snd.max) {
            return ControlFlow::Continue(true);
        }
        if seg.flags.contains(Flags::RST) {
            return ControlFlow::Break(Some(DropReason::TcpResetUnacceptable));
        }
        self.reset_in_reply(seg.ack);
        ControlFlow::Break(Some(DropReason::TcpAckUnacceptable))
    }

    /// Second: RST counts only if it acknowledges our SYN.
    fn check_rst_of_syn(
        &mut self,
        seg: &SegmentIn<'_>,
        acks_syn: bool,
        arrival: &mut Arrival,
    ) -> Step {
        if !seg.flags.contains(Flags::RST) {
            return ControlFlow::Continue(());
        }
        if !acks_syn {
            return dropped(DropReason::TcpResetUnacceptable);
        }
        self.transition(Event::Reset);
        arrival.events |= Events::REFUSED | Events::CLOSED;
        ControlFlow::Break(None)
    }

    /// Fourth: the peer's SYN. `rcv.adv - rcv.nxt` is the window that our own SYN offered.
    fn accept_syn(&mut self, seg: &SegmentIn<'_>, now: Instant) {
        let offered = self.rcv.adv.since(self.rcv.nxt);
        self.snd.wl1 = seg.seq;
        self.rcv.nxt = seg.seq + 1;
        self.rcv.adv = self.rcv.nxt + offered;
        self.rcv.last_ack = self.rcv.nxt;
        self.negotiate(&seg.options, now);
        self.keepalive.heard(now);
        if let Some(option) = seg.options.user_timeout {
            self.user_timeout_of_peer(option);
        }
    }
}
