//! A train: segments of a connection that came in one burst, each continuing the one before, with
//! nothing new in them but their text. What GRO would merge and hand up as one is one event here,
//! and the text stays where it is.
//!
//! It does what [`Tcb::segment_arrives`] would have done with each, and nothing besides: tests compare
//! the two.

use types::Instant;

use crate::text::len_of;
use crate::{Arrival, RecvBuffer, SegmentIn, Tcb};

impl Tcb {
    /// SEGMENT ARRIVES for the segments behind `head`, which has arrived just now. They have its ACK,
    /// flags, window and options; `texts` are what they carry, each beginning where the one before
    /// ends. Adds what they do to `arrival` and returns how many were taken. The next one, if there
    /// is, is for [`Tcb::segment_arrives`].
    pub fn train_arrives(
        &mut self,
        head: &SegmentIn<'_>,
        texts: &[&[u8]],
        now: Instant,
        buffer: &mut impl RecvBuffer,
        arrival: &mut Arrival,
    ) -> usize {
        let Some(first) = texts.first() else { return 0 };
        let mut seg = SegmentIn { seq: head.seq + head.text_len(), text: first, ..*head };
        let same_window = self.snd.wnd == self.scaled_window(&seg);
        if !same_window || !self.is_predicted(&seg, now) {
            return 0;
        }
        if let Some(theirs) = seg.options.timestamps {
            self.timestamps.update(theirs.value, seg.seq, self.rcv.last_ack, now);
        }
        let room = self.rcv.adv.since(self.rcv.nxt);
        let (mut stored_len, mut whole, mut pairs): (u32, u8, u8) = (0, 0, 0);
        let mut cut = false;
        for text in texts {
            let len = len_of(text);
            if cut || len == 0 || len > room.saturating_sub(stored_len) {
                break;
            }
            let stored = buffer.write(stored_len, text).min(len);
            if stored == 0 {
                break;
            }
            seg.seq = self.rcv.nxt + stored_len;
            stored_len = stored_len.saturating_add(stored);
            cut = stored < len;
            if !cut {
                whole = whole.saturating_add(1);
                pairs = pairs.saturating_add(u8::from(len > u32::from(self.rcv.mss)));
            }
        }
        let taken = whole.saturating_add(u8::from(cut));
        if taken == 0 {
            return 0;
        }
        let _ = self.update_window(&seg);
        self.keepalive.heard(now);
        self.counts.texts_arrived(taken);
        self.deliver(stored_len, arrival, buffer);
        self.ack_texts(whole, whole.saturating_add(pairs), now);
        if cut {
            self.ack_now();
        }
        self.update_persist(now);
        self.assert_invariants();
        usize::from(taken)
    }
}
