//! When to acknowledge text (RFC 9293 §3.8.6.3, RFC 5681 §4.2): every second segment at once, a
//! single one when it has waited for company; at once also while the peer's window is young, unless
//! the connection is a dialogue, in which the answer carries the ACK.

use types::Instant;

use crate::tcb::AckIntent;
use crate::timers::Timer;
use crate::{Tcb, limits};

impl Tcb {
    pub(crate) fn ack_now(&mut self) {
        self.ack = AckIntent::Now;
        self.timers.stop(Timer::DelayedAck);
    }

    /// `len` bytes of text have arrived in order.
    pub(crate) fn ack_text(&mut self, len: u32, now: Instant) {
        // A receive-offloaded segment stands for several.
        let segments = if len > u32::from(self.rcv.mss) { 2 } else { 1 };
        self.ack_texts(1, segments, now);
    }

    /// The same for several segments at once that stand for `segments`.
    pub(crate) fn ack_texts(&mut self, count: u8, segments: u8, now: Instant) {
        if count == 0 {
            return;
        }
        self.delayed_segments = self.delayed_segments.saturating_add(segments);
        if self.quick_acks > 0 && !self.dialogue {
            self.quick_acks = self.quick_acks.saturating_sub(count);
            self.ack_now();
        } else if self.delayed_segments >= limits::DELAYED_ACK_SEGMENTS {
            self.ack_now();
        } else if self.ack == AckIntent::None {
            self.ack = AckIntent::Delayed;
            self.timers.start(Timer::DelayedAck, now + limits::DELAYED_ACK);
        }
    }

    /// New text goes out. If it carries an ACK that was waiting, it is most likely the answer to
    /// what has arrived, and the next ACK may wait for the next answer.
    pub(crate) fn note_answer(&mut self) {
        self.dialogue |= self.ack == AckIntent::Delayed;
    }

    /// `TCP_QUICKACK`. As in Linux it is an order for now and no lasting setting: on acknowledges
    /// what waits and the next segments at once, off lets ACKs wait for answers.
    pub fn set_quick_ack(&mut self, quick: bool) {
        self.dialogue = !quick;
        if quick {
            self.quick_acks = limits::QUICK_ACKS;
            if self.ack == AckIntent::Delayed {
                self.ack_now();
            }
        }
    }
}
