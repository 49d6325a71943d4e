//! A train: segments of a connection that came in one burst, each continuing the one before, with
//! nothing new in them but their text. What GRO would merge and hand up as one is one event here,
//! and the text stays where it is.
//!
//! It does what [`Tcb::segment_arrives`] would have done with each, and nothing besides: tests compare
//! the two.

use types::Instant;

use crate::fast_path::Predicted;
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
        if !same_window || self.predict(&seg, now) != Some(Predicted::Text) {
            return 0;
        }
        if let Some(theirs) = seg.options.timestamps {
            self.timestamps.update(theirs.value, seg.seq, self.rcv.last_ack, now);
        }
        let mut stored = Stored::of(texts, self.rcv.adv.since(self.rcv.nxt), self.rcv.mss);
        let fitting = texts.get(..stored.whole.into()).unwrap_or_default();
        let len = buffer.write_all(0, fitting).min(stored.len);
        if len < stored.len {
            stored = Stored::of(fitting, len, self.rcv.mss);
        }
        let cut = stored.len < len;
        let taken = stored.whole.saturating_add(u8::from(cut));
        if taken == 0 {
            return 0;
        }
        seg.seq = self.rcv.nxt + if cut { stored.len } else { stored.last };
        let _ = self.update_window(&seg);
        self.keepalive.heard(now);
        self.counts.texts_arrived(taken);
        self.deliver(len, arrival, buffer);
        self.ack_texts(stored.whole, stored.whole.saturating_add(stored.pairs), now);
        if cut {
            self.ack_now();
        }
        self.update_persist(now);
        self.assert_invariants();
        usize::from(taken)
    }
}

/// The texts of a train that are stored as they are.
struct Stored {
    /// How many.
    whole: u8,
    /// How many of them stand for two segments.
    pairs: u8,
    /// Their length.
    len: u32,
    /// Where the last of them begins.
    last: u32,
}

impl Stored {
    /// Those that fit in `room`.
    fn of(texts: &[&[u8]], room: u32, mss: u16) -> Self {
        let mut stored = Self { whole: 0, pairs: 0, len: 0, last: 0 };
        for text in texts.iter().take(u8::MAX.into()) {
            let len = len_of(text);
            if len == 0 || len > room.saturating_sub(stored.len) {
                break;
            }
            stored.last = stored.len;
            stored.len = stored.len.saturating_add(len);
            stored.whole = stored.whole.wrapping_add(1);
            stored.pairs = stored.pairs.wrapping_add(u8::from(len > u32::from(mss)));
        }
        stored
    }
}
