//! Header prediction (V. Jacobson, RFC 1323 appendix A was its last written form): on a connection
//! that receives, nearly every segment is the next piece of text and says nothing else; on one that
//! sends, nearly every one is the next ACK. For these most of the steps of SEGMENT ARRIVES have
//! nothing to decide, and are left out.
//!
//! It does what the steps would have done, and nothing besides: a test compares the two.

use types::Instant;

use crate::ecn::Codepoint;
use crate::input::Step;
use crate::timers::Timer;
use crate::{Arrival, Flags, RecvBuffer, SegmentIn, State, Tcb};

/// What was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Predicted {
    /// The next piece of text.
    Text,
    /// The next ACK.
    Ack,
}

impl Tcb {
    /// What the segment is, if it is what was expected.
    pub(crate) fn predict(&self, seg: &SegmentIn<'_>, now: Instant) -> Option<Predicted> {
        if seg.text.is_empty() {
            self.is_next_ack(seg, now).then_some(Predicted::Ack)
        } else {
            self.is_predicted(seg, now).then_some(Predicted::Text)
        }
    }

    /// The segment has no text and acknowledges text that is in flight, and nothing that was held back.
    fn is_next_ack(&self, seg: &SegmentIn<'_>, now: Instant) -> bool {
        let acked_len = seg.ack.since(self.snd.una);
        let text_len = self.snd.in_flight().min(self.snd.queued);
        seg.seq == self.rcv.nxt
            && acked_len.wrapping_sub(1) < text_len
            && self.is_plain(seg, now)
            && !self.acknowledges_held(seg)
    }

    /// A segment that carries nothing but text and ACK, at a connection where nothing goes on but
    /// sending and receiving.
    fn is_plain(&self, seg: &SegmentIn<'_>, now: Instant) -> bool {
        let options = &seg.options;
        let plain = seg.flags.without(Flags::PSH) == Flags::ACK
            && seg.ecn != Codepoint::Ce
            && options.sack.is_empty()
            && options.user_timeout.is_none();
        let undisturbed = self.state == State::Established
            && self.rcv.fin.is_none()
            && !self.timers.is_on(Timer::Persist);
        let current = !self.timestamps.enabled
            || options.timestamps.is_some_and(|theirs| !self.timestamps.is_old(theirs.value, now));
        plain && undisturbed && current
    }

    /// What is left of the steps for the next ACK.
    pub(crate) fn predicted_ack(
        &mut self,
        seg: &SegmentIn<'_>,
        now: Instant,
        arrival: &mut Arrival,
    ) -> Step {
        if let Some(theirs) = seg.options.timestamps {
            self.timestamps.update(theirs.value, seg.seq, self.rcv.last_ack, now);
        }
        self.set_window(seg);
        self.new_ack(seg, now, arrival, true);
        self.keepalive.heard(now);
        Step::Continue(())
    }

    /// The segment is the next piece of text, all of it in the window, from a peer that is still
    /// there, and acknowledges nothing new.
    pub(crate) fn is_predicted(&self, seg: &SegmentIn<'_>, now: Instant) -> bool {
        let rcv = &self.rcv;
        let next = seg.seq == rcv.nxt && seg.ack == self.snd.una;
        let fits = !seg.text.is_empty() && seg.text_len() <= rcv.adv.since(rcv.nxt);
        let wanted = !self.orphan && self.reassembly.is_empty();
        next && fits && wanted && self.is_plain(seg, now)
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
