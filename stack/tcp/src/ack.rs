//! Fifth: the ACK field (RFC 9293 §3.10.7.4): what is acknowledged, what the peer's window is.

use core::ops::ControlFlow;

use types::{DropReason, Instant};

use crate::input::{Step, dropped};
use crate::state::Event;
use crate::timers::Timer;
use crate::{Arrival, Events, Flags, SegmentIn, State, Tcb, limits};

impl Tcb {
    pub(crate) fn process_ack(
        &mut self,
        seg: &SegmentIn<'_>,
        now: Instant,
        arrival: &mut Arrival,
    ) -> Step {
        if !seg.flags.contains(Flags::ACK) {
            return dropped(DropReason::TcpAckMissing);
        }
        let opening = self.state == State::SynReceived;
        if opening {
            self.ack_of_syn(seg, now, arrival)?;
        }
        self.check_ack(seg, now)?;
        if let Some(theirs) = seg.options.timestamps {
            self.timestamps.update(theirs.value, seg.seq, self.rcv.last_ack, now);
        }
        let window_changed = self.update_window(seg);
        if self.timers.is_on(Timer::Persist) {
            // Nothing but window probes is out, and the peer answers them.
            self.retransmits = 0;
        }
        self.ecn_echoed(seg);
        if seg.ack.after(self.snd.una) {
            self.new_ack(seg, now, arrival, false);
        } else if seg.ack == self.snd.una && self.flight.is_some() {
            let duplicate = !opening && self.is_duplicate(seg, window_changed);
            if duplicate || !seg.options.sack.is_empty() {
                self.recover_by_ack(seg, self.snd.una, duplicate, now);
            }
        }
        if self.state == State::Closed {
            ControlFlow::Break(None)
        } else {
            ControlFlow::Continue(())
        }
    }

    /// SYN-RECEIVED: the handshake ends here, or the ACK belongs to another life.
    fn ack_of_syn(&mut self, seg: &SegmentIn<'_>, now: Instant, arrival: &mut Arrival) -> Step {
        let first = self.snd.una + u32::from(self.snd.opening);
        if !(seg.ack.at_or_after(first) && seg.ack.at_or_before(self.snd.max)) {
            self.reset_in_reply(seg.ack);
            return dropped(DropReason::TcpAckUnacceptable);
        }
        self.transition(Event::AckOfSyn);
        self.syn_acknowledged(seg, now, arrival);
        ControlFlow::Continue(())
    }

    /// Our SYN is acknowledged by `seg`, with or without a SYN of its own.
    pub(crate) fn syn_acknowledged(
        &mut self,
        seg: &SegmentIn<'_>,
        now: Instant,
        arrival: &mut Arrival,
    ) {
        self.sample_syn(seg, now);
        self.snd.wl1 = seg.seq;
        self.set_window(seg);
        self.retransmits = 0;
        self.timers.stop(Timer::Retransmit);
        if core::mem::take(&mut self.snd.opening) {
            self.text_of_our_syn(seg, arrival);
        }
        if self.syn_lost {
            // RFC 5681 §3.1 and RFC 6298 §5.7.
            self.cc.set_cwnd(0, self.snd.mss);
            self.rtt.begin_after_syn_loss();
        }
        self.snd.sent_at = now;
        self.start_keepalive();
        arrival.events |= Events::ESTABLISHED;
        self.watch_early_text(now);
        if self.snd.fin_queued {
            self.transition(Event::Close);
        }
    }

    /// SND.UNA goes beyond our SYN, and beyond what is acknowledged of the text that it took along;
    /// the rest of that is sent again now.
    fn text_of_our_syn(&mut self, seg: &SegmentIn<'_>, arrival: &mut Arrival) {
        let snd = &mut self.snd;
        snd.una += 1;
        let text_len = seg.ack.since(snd.una).min(snd.queued);
        snd.queued = snd.queued.saturating_sub(text_len);
        snd.una += text_len;
        snd.nxt = snd.una;
        arrival.acked_len = text_len;
        if text_len > 0 {
            arrival.events |= Events::WRITABLE;
        }
    }

    /// RFC 5961 §5.2: SND.UNA - MAX.SND.WND =< SEG.ACK =< SND.NXT.
    fn check_ack(&mut self, seg: &SegmentIn<'_>, now: Instant) -> Step {
        let oldest = self.snd.una - self.snd.wnd_max.min(limits::SEND_QUEUE_MAX);
        let unsent = self.acknowledges_held(seg);
        if unsent {
            self.catch_liar();
        }
        if unsent || seg.ack.after(self.snd.max) || seg.ack.before(oldest) {
            self.challenge(now);
            return dropped(DropReason::TcpAckUnacceptable);
        }
        ControlFlow::Continue(())
    }

    /// The ACK field of a segment that is otherwise old. If it acknowledges something new it is
    /// used: two ends that both lost ACKs may know no acceptable sequence number to repeat them
    /// with (RFC 9293 §3.10.7.4: "special allowance should be made to accept valid ACKs").
    pub(crate) fn ack_of_old_segment(
        &mut self,
        seg: &SegmentIn<'_>,
        now: Instant,
        arrival: &mut Arrival,
    ) {
        let news = seg.ack.after(self.snd.una)
            && seg.ack.at_or_before(self.snd.max)
            && !self.acknowledges_held(seg);
        if seg.flags.contains(Flags::ACK) && self.state != State::SynReceived && news {
            self.set_window(seg);
            self.new_ack(seg, now, arrival, false);
        }
    }

    /// SND.WND. What acknowledges something new is news, whatever its sequence number: a repeated
    /// segment has an old number and a fresh window, and a window that stayed behind while SND.UNA
    /// moves on would reach beyond what the peer offered. Else the RFC's SND.WL1 and SND.WL2
    /// decide. Says if the window changed.
    pub(crate) fn update_window(&mut self, seg: &SegmentIn<'_>) -> bool {
        let snd = &self.snd;
        let newer = seg.ack.after(snd.una)
            || snd.wl1.before(seg.seq)
            || (snd.wl1 == seg.seq && snd.wl2.at_or_before(seg.ack));
        if !newer || seg.ack.before(snd.una) {
            return false;
        }
        let before = snd.wnd;
        self.set_window(seg);
        self.snd.wnd != before
    }

    /// The window of a SYN is never scaled (RFC 7323 §2.2).
    pub(crate) fn scaled_window(&self, seg: &SegmentIn<'_>) -> u32 {
        let scale = if seg.flags.contains(Flags::SYN) { 0 } else { self.snd.scale };
        u32::from(seg.window).checked_shl(u32::from(scale)).unwrap_or(0)
    }

    pub(crate) fn set_window(&mut self, seg: &SegmentIn<'_>) {
        self.snd.wnd = self.scaled_window(seg);
        self.snd.wnd_max = self.snd.wnd_max.max(self.snd.wnd);
        self.snd.wl1 = self.snd.wl1.later(seg.seq);
        self.snd.wl2 = seg.ack;
    }

    /// `usual`: it is likely that recovery has nothing to do.
    pub(crate) fn new_ack(
        &mut self,
        seg: &SegmentIn<'_>,
        now: Instant,
        arrival: &mut Arrival,
        usual: bool,
    ) {
        let snd = &mut self.snd;
        let una = snd.una;
        let acked_len = seg.ack.since(snd.una);
        let text_len = acked_len.min(snd.queued);
        let fin_acked = acked_len > snd.queued && snd.fin_queued;
        snd.queued = snd.queued.saturating_sub(text_len);
        snd.una = seg.ack;
        snd.nxt = snd.nxt.later(seg.ack);
        arrival.acked_len = text_len;
        if text_len > 0 {
            arrival.events |= Events::WRITABLE;
        }
        self.retransmits = 0;
        self.ecn.acknowledged(seg.ack);
        if !(usual && self.usual_ack(seg, una, now)) {
            self.recover_by_ack(seg, una, false, now);
        }
        self.search_on_ack(now);
        self.note_all_acknowledged(now);
        if fin_acked {
            self.fin_acknowledged(now, arrival);
        }
    }

    /// Our FIN is acknowledged.
    fn fin_acknowledged(&mut self, now: Instant, arrival: &mut Arrival) {
        // The FIN is behind SND.UNA now; it must not be sent again.
        self.snd.fin_queued = false;
        self.flight = None;
        self.timers.stop(Timer::Idle);
        self.transition(Event::AckOfFin);
        match self.state {
            State::FinWait2 => self.limit_fin_wait_2(now),
            State::TimeWait => self.enter_time_wait(now, arrival),
            State::Closed => arrival.events |= Events::CLOSED,
            _ => {}
        }
    }

    pub(crate) fn enter_time_wait(&mut self, now: Instant, arrival: &mut Arrival) {
        self.timers.start(Timer::TwoMsl, now + limits::TIME_WAIT);
        arrival.events |= Events::TIME_WAIT;
    }

    /// The round trip of our SYN; if that was sent twice, RFC 7323 §4.1 with the echo.
    fn sample_syn(&mut self, seg: &SegmentIn<'_>, now: Instant) {
        match self.rtt.take_timed(seg.ack, now) {
            Some(rtt) => {
                self.reordering.sample(rtt, now);
                self.rtt.sample(rtt);
            }
            None => self.sample_echo(seg, now),
        }
    }

    /// RFC 7323 §4.1, where Karn's algorithm has no sample.
    pub(crate) fn sample_echo(&mut self, seg: &SegmentIn<'_>, now: Instant) {
        if let Some(theirs) = seg.options.timestamps
            && let Some(elapsed_ms) = self.timestamps.elapsed_ms(theirs.echo, now)
        {
            self.rtt.sample_echo(elapsed_ms, now);
        }
    }

    /// RFC 5681 §2: nothing new in it, and something of ours is missing.
    fn is_duplicate(&self, seg: &SegmentIn<'_>, window_changed: bool) -> bool {
        seg.ack == self.snd.una && seg.is_empty() && !window_changed && self.snd.una != self.snd.nxt
    }
}
