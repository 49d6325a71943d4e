//! Seventh and eighth: text and FIN (RFC 9293 §3.10.7.4), and how much window to offer
//! (§3.8.6.2.2).

use core::ops::ControlFlow;

use types::{DropReason, Instant};

use crate::input::{Step, dropped};
use crate::state::Event;
use crate::tcb::ReceiveSequence;
use crate::{Arrival, Events, Flags, RecvBuffer, SegmentIn, SeqNum, State, Tcb};

impl Tcb {
    /// Seventh: stores the text that is in the window and delivers what is complete.
    pub(crate) fn process_text(
        &mut self,
        seg: &SegmentIn<'_>,
        now: Instant,
        arrival: &mut Arrival,
        buffer: &mut impl RecvBuffer,
    ) -> Step {
        if !self.state.is_receiving() {
            // The peer's FIN was received: "this should not occur", ignore the text.
            return ControlFlow::Continue(());
        }
        let end = seg.seq + seg.text_len();
        if self.orphan && !seg.text.is_empty() && end.after(self.rcv.nxt) {
            // RFC 1122 §4.2.2.13: nobody will read this; the peer must know.
            self.abort();
            arrival.events |= Events::CLOSED;
            return dropped(DropReason::TcpAfterClose);
        }
        self.note_fin(seg, end);
        self.note_duplicate(seg);
        let (seq, text) = self.rcv.trim(seg);
        if text.is_empty() {
            return self.nothing_in_window(seg);
        }
        if seq == self.rcv.nxt {
            self.store_in_order(text, now, arrival, buffer)
        } else {
            self.store_out_of_order(seq, text, buffer)
        }
    }

    /// Text on a SYN with a valid Fast Open cookie. What does not fit is sent again.
    pub(crate) fn text_of_syn(
        &mut self,
        seg: &SegmentIn<'_>,
        now: Instant,
        arrival: &mut Arrival,
        buffer: &mut impl RecvBuffer,
    ) {
        let (_, text) = self.rcv.trim(seg);
        if !text.is_empty() {
            let _ = self.store_in_order(text, now, arrival, buffer);
        }
    }

    /// Text that had arrived before is reported with the next ACK (RFC 2883). What is older than a
    /// window was not sent by this peer.
    pub(crate) fn note_duplicate(&mut self, seg: &SegmentIn<'_>) {
        let next = self.rcv.nxt;
        let old = seg.seq.before(next) && next.since(seg.seq) <= self.rcv.wnd_max;
        let beyond = seg.seq.at_or_after(next) && !self.reassembly.is_empty();
        if self.sack && !seg.text.is_empty() && (old || beyond) {
            self.reassembly.note_duplicate(seg.seq, seg.seq + seg.text_len(), next);
        }
    }

    /// A FIN may come before the text in front of it; its place is kept.
    fn note_fin(&mut self, seg: &SegmentIn<'_>, at: SeqNum) {
        let room = self.rcv.adv.since(self.rcv.nxt);
        let stored_beyond = self.reassembly.end().is_some_and(|end| end.after(at));
        if seg.flags.contains(Flags::FIN)
            && self.rcv.fin.is_none()
            && at.since(self.rcv.nxt) <= room
            && !stored_beyond
        {
            self.rcv.fin = Some(at);
        }
        if seg.flags.contains(Flags::FIN) {
            self.ack_now();
        }
    }

    /// No text, or a probe of a closed window, which must be answered (RFC 9293 §3.8.6.1).
    fn nothing_in_window(&mut self, seg: &SegmentIn<'_>) -> Step {
        if seg.text.is_empty() {
            return ControlFlow::Continue(());
        }
        self.ack_now();
        dropped(DropReason::TcpReceiveBuffer)
    }

    pub(crate) fn store_in_order(
        &mut self,
        text: &[u8],
        now: Instant,
        arrival: &mut Arrival,
        buffer: &mut impl RecvBuffer,
    ) -> Step {
        let len = len_of(text);
        let stored = buffer.write(0, text).min(len);
        if stored == 0 {
            self.ack_now();
            return dropped(DropReason::TcpReceiveBuffer);
        }
        let had_hole = !self.reassembly.is_empty();
        self.deliver(stored, arrival, buffer);
        if had_hole || stored < len {
            self.ack_now();
        } else {
            self.ack_text(len, now);
        }
        ControlFlow::Continue(())
    }

    /// `len` bytes from RCV.NXT on are stored: delivers what is complete with them.
    pub(crate) fn deliver(
        &mut self,
        len: u32,
        arrival: &mut Arrival,
        buffer: &mut impl RecvBuffer,
    ) {
        let next = self.reassembly.advance(self.rcv.nxt + len);
        let complete = next.since(self.rcv.nxt);
        self.rcv.nxt = next;
        self.forget_received_urgent();
        buffer.advance(complete);
        arrival.delivered_len = arrival.delivered_len.saturating_add(complete);
        arrival.events |= Events::READABLE;
    }

    /// RFC 5681 §4.2: acknowledged at once, so that the sender can count duplicate ACKs.
    fn store_out_of_order(
        &mut self,
        seq: SeqNum,
        text: &[u8],
        buffer: &mut impl RecvBuffer,
    ) -> Step {
        self.ack_now();
        if !self.reassembly.has_room(seq, seq + len_of(text)) {
            return dropped(DropReason::TcpReceiveBuffer);
        }
        let stored = buffer.write(seq.since(self.rcv.nxt), text).min(len_of(text));
        if stored == 0 || !self.reassembly.insert(seq, seq + stored) {
            return dropped(DropReason::TcpReceiveBuffer);
        }
        self.count_out_of_order();
        ControlFlow::Continue(())
    }

    /// Eighth: FIN, as soon as all text before it is here.
    pub(crate) fn process_fin(&mut self, now: Instant, arrival: &mut Arrival) {
        if self.rcv.fin != Some(self.rcv.nxt) || !self.state.is_receiving() {
            return;
        }
        self.rcv.fin = None;
        self.rcv.nxt += 1;
        self.rcv.adv = self.rcv.adv.later(self.rcv.nxt);
        self.ack_now();
        self.transition(Event::Fin);
        arrival.events |= Events::FIN_RECEIVED;
        if self.state == State::TimeWait {
            self.enter_time_wait(now, arrival);
        }
    }
}

impl ReceiveSequence {
    /// The part of the text that is new, in the window and before the FIN.
    fn trim<'a>(&self, seg: &SegmentIn<'a>) -> (SeqNum, &'a [u8]) {
        let old = if seg.seq.before(self.nxt) { self.nxt.since(seg.seq) } else { 0 };
        let seq = seg.seq + old;
        let text = seg.text.get(index(old)..).unwrap_or_default();
        let mut edge = self.adv;
        if let Some(fin) = self.fin.filter(|fin| fin.before(edge)) {
            edge = fin;
        }
        let room = if seq.before(edge) { edge.since(seq) } else { 0 };
        (seq, text.get(..index(room)).unwrap_or(text))
    }

    /// RCV.WND to offer if the buffer has `space`: the right edge moves only by a worthwhile step
    /// (silly window avoidance, RFC 9293 §3.8.6.2.2), and never back.
    pub(crate) fn window(&self, space: u32) -> u32 {
        let offered = self.adv.since(self.nxt);
        let space = space.min(self.window_limit());
        let step = u32::from(self.mss).min(self.wnd_max >> 1).max(1);
        if space >= offered.saturating_add(step) { space } else { offered }
    }

    /// The window field for `space`, and the new right edge. The field counts in units of 2^scale;
    /// it is rounded up where the old edge would move back, unless that promises space that the
    /// buffer does not have (RFC 7323 §2.4: peers must bear this retraction of less than a unit;
    /// we keep accepting up to the edge once offered).
    pub(crate) fn advertise(&mut self, space: u32) -> u16 {
        self.wnd_max = self.wnd_max.max(space);
        let window = self.window(space);
        let unit = 1_u32.checked_shl(u32::from(self.scale)).unwrap_or(1);
        let up = window.div_ceil(unit);
        let down = window.checked_div(unit).unwrap_or(0);
        let fits = up.saturating_mul(unit) <= space;
        let field = if fits && window == self.adv.since(self.nxt) { up } else { down };
        let field = u16::try_from(field).unwrap_or(u16::MAX);
        self.adv = self.adv.later(self.nxt + u32::from(field).saturating_mul(unit));
        field
    }

    /// The window field of a SYN: not scaled.
    pub(crate) fn advertise_unscaled(&mut self, space: u32) -> u16 {
        self.wnd_max = self.wnd_max.max(space);
        let field = u16::try_from(space).unwrap_or(u16::MAX);
        self.adv = self.adv.later(self.nxt + u32::from(field));
        field
    }

    fn window_limit(&self) -> u32 {
        u32::from(u16::MAX).checked_shl(u32::from(self.scale)).unwrap_or(u32::MAX)
    }
}

pub(crate) fn len_of(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

fn index(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
