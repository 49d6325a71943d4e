//! Urgent text (RFC 9293 §3.8.5, RFC 6093). Both ways it stays where it is in the stream: the engine
//! carries a mark, never takes a byte out, so that no pointer can shift, lose or repeat text. What
//! is made of the mark (`MSG_OOB`, `SO_OOBINLINE`, `SIOCATMARK`) is the socket's business.
//!
//! ```text
//!   SEG.SEQ            the urgent byte  SND.UP
//!   ───┼──────────────────────┼───────────┼────
//!      └───── urgent pointer ─────────────┘      points one beyond, as everybody does it (RFC 6093 §3.1)
//! ```

use crate::{Arrival, Events, Flags, RecvBuffer, SegmentIn, SeqNum, Tcb};

impl Tcb {
    /// SEND with the URGENT flag: `len` more bytes, of which the last is urgent. The peer learns of
    /// it even if its window is closed.
    pub fn send_urgent(&mut self, len: u32) {
        let before = self.snd.queued;
        self.send(len);
        if self.snd.queued == before {
            return;
        }
        let syn = u32::from(self.snd.opening);
        self.rare_mut().snd_up = Some(self.snd.una + syn + self.snd.queued);
        if syn == 0 && self.snd.in_flight() >= self.snd.wnd {
            self.ack_now();
        }
        self.assert_invariants();
    }

    /// Urgent text is queued or in flight.
    pub(crate) fn is_urgent(&self) -> bool {
        self.snd_up().is_some()
    }

    fn snd_up(&self) -> Option<SeqNum> {
        self.rare.as_ref()?.snd_up.filter(|up| up.after(self.snd.una))
    }

    /// Forgets SND.UP once it is acknowledged. Called with each SEND, between which SND.UNA can't
    /// move as far as half of the sequence space.
    pub(crate) fn forget_acknowledged_urgent(&mut self) {
        if let Some(rare) = &mut self.rare
            && rare.snd_up.is_some_and(|up| up.at_or_before(self.snd.una))
        {
            rare.snd_up = None;
        }
    }

    /// The urgent pointer of a segment that begins at `seq`, if it is to have one. Where the urgent
    /// byte is too far away for the field, the largest value announces that it is coming; but not
    /// while that would mark a byte that has been sent already.
    pub(crate) fn urgent_pointer(&self, seq: SeqNum) -> Option<u16> {
        let up = self.snd_up().filter(|up| up.after(seq))?;
        match u16::try_from(up.since(seq)) {
            Ok(pointer) => Some(pointer),
            Err(_) => (seq + u32::from(u16::MAX)).after(self.snd.max).then_some(u16::MAX),
        }
    }

    /// Sixth: URG (RFC 9293 §3.10.7.4). Only an urgent byte that is still to come and beyond the
    /// last one is news; with a pointer of 0 the byte is the segment's first.
    pub(crate) fn process_urgent(
        &mut self,
        seg: &SegmentIn<'_>,
        arrival: &mut Arrival,
        buffer: &mut impl RecvBuffer,
    ) {
        if !seg.flags.contains(Flags::URG) || !self.state.is_receiving() {
            return;
        }
        let at = seg.seq + u32::from(seg.urgent.saturating_sub(1));
        let known = self.rare.as_ref().and_then(|rare| rare.rcv_up);
        if at.before(self.rcv.nxt) || known.is_some_and(|known| at.at_or_before(known)) {
            return;
        }
        self.rare_mut().rcv_up = Some(at);
        buffer.mark_urgent(at.since(self.rcv.nxt));
        arrival.events |= Events::URGENT;
    }

    /// RCV.NXT has moved; an urgent byte before it is the reader's.
    pub(crate) fn forget_received_urgent(&mut self) {
        if let Some(rare) = &mut self.rare
            && rare.rcv_up.is_some_and(|up| up.before(self.rcv.nxt))
        {
            rare.rcv_up = None;
        }
    }
}
