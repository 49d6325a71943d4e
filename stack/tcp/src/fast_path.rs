//! Header prediction (V. Jacobson, RFC 1323 appendix A was its last written form): on a connection
//! that receives, nearly every segment is the next piece of text and says nothing else; on one that
//! sends, nearly every one is the next ACK; on one that answers, the next request acknowledges the
//! last response. For these most of the steps of SEGMENT ARRIVES have nothing to decide, and are left out.
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
    /// Both in one.
    TextAndAck,
}

impl Tcb {
    /// What the segment is, if it is what was expected.
    pub(crate) fn predict(&self, seg: &SegmentIn<'_>, now: Instant) -> Option<Predicted> {
        let predicted = if seg.text.is_empty() {
            self.is_next_ack(seg).then_some(Predicted::Ack)
        } else if !self.is_next_text(seg) {
            None
        } else if seg.ack == self.snd.una {
            Some(Predicted::Text)
        } else {
            self.is_next_ack(seg).then_some(Predicted::TextAndAck)
        };
        predicted.filter(|_| seg.seq == self.rcv.nxt && self.is_plain(seg, now))
    }

    /// The segment acknowledges text that is in flight, and nothing that was held back.
    fn is_next_ack(&self, seg: &SegmentIn<'_>) -> bool {
        let acked_len = seg.ack.since(self.snd.una);
        let text_len = self.snd.in_flight().min(self.snd.queued);
        acked_len.wrapping_sub(1) < text_len && !self.acknowledges_held(seg)
    }

    /// All of the text fits the window, nothing waits for it, and somebody will read it.
    fn is_next_text(&self, seg: &SegmentIn<'_>) -> bool {
        let fits = seg.text_len() <= self.rcv.adv.since(self.rcv.nxt);
        fits && !self.orphan && self.reassembly.is_empty()
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

    /// What is left of the steps for such a segment.
    pub(crate) fn predicted(
        &mut self,
        predicted: Predicted,
        seg: &SegmentIn<'_>,
        now: Instant,
        arrival: &mut Arrival,
        buffer: &mut impl RecvBuffer,
    ) -> Step {
        if let Some(theirs) = seg.options.timestamps {
            self.timestamps.update(theirs.value, seg.seq, self.rcv.last_ack, now);
        }
        if predicted == Predicted::Text {
            let _ = self.update_window(seg);
        } else {
            self.set_window(seg);
            self.new_ack(seg, now, arrival, true);
        }
        self.keepalive.heard(now);
        if predicted == Predicted::Ack {
            return Step::Continue(());
        }
        self.store_in_order(seg.text, now, arrival, buffer)
    }
}
