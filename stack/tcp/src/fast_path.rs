//! Header prediction (V. Jacobson, RFC 1323 appendix A was its last written form): on a connection
//! that receives, nearly every segment is the next piece of text and says nothing else. For that one
//! most of the steps of SEGMENT ARRIVES have nothing to decide, and are left out.
//!
//! It does what the steps would have done, and nothing besides: a test compares the two.

use types::Instant;

use crate::ecn::Codepoint;
use crate::input::Step;
use crate::timers::Timer;
use crate::{Arrival, Flags, RecvBuffer, SegmentIn, State, Tcb};

impl Tcb {
    /// The segment is the next piece of text, all of it in the window, from a peer that is still
    /// there, and acknowledges nothing new.
    pub(crate) fn is_predicted(&self, seg: &SegmentIn<'_>, now: Instant) -> bool {
        let (rcv, options) = (&self.rcv, &seg.options);
        let next = seg.seq == rcv.nxt && seg.ack == self.snd.una;
        let plain = seg.flags.without(Flags::PSH) == Flags::ACK
            && seg.ecn != Codepoint::Ce
            && options.sack.is_empty()
            && options.user_timeout.is_none();
        let fits = !seg.text.is_empty() && seg.text_len() <= rcv.adv.since(rcv.nxt);
        let undisturbed = self.state == State::Established
            && !self.orphan
            && rcv.fin.is_none()
            && self.reassembly.is_empty()
            && !self.timers.is_on(Timer::Persist);
        let current = !self.timestamps.enabled
            || options.timestamps.is_some_and(|theirs| !self.timestamps.is_old(theirs.value, now));
        next && plain && fits && undisturbed && current
    }

    /// What is left of the steps for such a segment.
    pub(crate) fn predicted(
        &mut self,
        seg: &SegmentIn<'_>,
        now: Instant,
        arrival: &mut Arrival,
        buffer: &mut impl RecvBuffer,
    ) -> Step {
        if let Some(theirs) = seg.options.timestamps {
            self.timestamps.update(theirs.value, seg.seq, self.rcv.last_ack, now);
        }
        let _ = self.update_window(seg);
        self.keepalive.heard(now);
        self.store_in_order(seg.text, now, arrival, buffer)
    }
}
